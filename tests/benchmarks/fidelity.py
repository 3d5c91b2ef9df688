# SPDX-License-Identifier: GPL-3.0-or-later
"""How well the uPSNR of a report agrees with the true PSNR, which only a simulation knows.

    python tests/benchmarks/fidelity.py [--size 160] [--frames 12] [--seeds 2]

Prints a Markdown table: what `n2a.report` tells of a result without the truth, and what the truth says, with the same
range of intensities. Series have Poisson noise, independent from pixel to pixel; those of the last rows have noise that
is correlated along the scan lines: at rest other frames tell the error all the same, in motion the report is to
say "optimistic".
"""

import argparse
import re
import time
import warnings

import hyperspy.api as hs
import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter1d

import n2a

SCENES = {
    "cluster": dict(structure="cluster"),
    "cluster at rest": dict(structure="cluster", rotation=0, hop=0, drift=0),
    "monolayer": dict(structure="2d", vacancies=0.05),
    "crystal at rest": dict(structure="crystal", thickness=4, drift=0),
}
DOSES = (3, 20, 200)
BLUR, FRAMES = 2.0, 3  # px; frames of the running mean
LINES = 0.5  # standard deviation of the correlated noise, over that of the counts at the top


def blurred(frames):
    """Gaussian blur of each frame."""
    return gaussian_filter(np.asarray(frames, float), (0, BLUR, BLUR))


def averaged(frames):
    """Running mean over frames."""
    return uniform_filter1d(np.asarray(frames, float), FRAMES, axis=0, mode="nearest")


METHODS = {"n2a box": None, f"blur, {BLUR:g} px": blurred, f"mean of {FRAMES} frames": averaged}


def series(scene, dose, seed, size, frames, lines=0.0):
    """Expected counts (n, y, x), and a series of them as recorded."""
    clean = n2a.simulate(shape=(size, size), frames=frames, seed=seed, **scene)
    y, x = np.mgrid[:size, :size] / size
    film = 0.2 + 0.04 * np.sin(2 * np.pi * x) * np.cos(2 * np.pi * y)
    truth = dose * (clean.data.astype(float) / clean.data.max() + film)
    # Film and atoms are in the expected counts already.
    expected = clean.deepcopy()
    expected.data = truth
    noisy = n2a.acquire(
        expected,
        dose=truth.max(),
        support=0,
        dtype="float32",
        line_noise=lines * np.sqrt(dose),
        line_decay=8,
        seed=seed,
    )
    return truth, noisy


def judged(truth, noisy, method):
    """What the report tells: uPSNR, its error, whether it says optimistic, verdicts; and the true PSNR."""
    if method is None:
        denoised = n2a.denoise(noisy, background=True)
    else:
        denoised = noisy.deepcopy()
        denoised.data = method(noisy.data)
    report = n2a.report(noisy, denoised, model=method)
    line = report["upsnr"]
    told, error = (np.nan if each is None else each for each in (line.value, line.error))
    data_range = float(re.search(r"data range ([\d.e+-]+)", line.source)[1])
    true = 10 * np.log10(data_range**2 / np.mean((denoised.data - truth) ** 2))
    return told, error, true, "optimistic" in line.remark, report.verdicts


def rows(scenes, doses, options, lines=0.0):
    """One row of the table for each scene, dose and method: mean over the seeds, and the largest difference."""
    for name in scenes:
        for dose in doses:
            made = [
                series(SCENES[name], dose, seed, options.size, options.frames, lines)
                for seed in range(1, options.seeds + 1)
            ]
            for method, function in METHODS.items():
                found = [judged(*one, function) for one in made]
                told, error, true = np.array([each[:3] for each in found]).T
                said = sum(each[3] for each in found)
                verdicts = ", ".join(sorted({v for each in found for v in each[4]}))
                worst = (told - true)[np.argmax(np.abs(told - true))]
                yield (
                    f"| {name}{', line noise' if lines else ''} | {dose} | {method} | {told.mean():.2f} ± "
                    f"{error.mean():.2f} | {true.mean():.2f} | {(told - true).mean():+.2f} | {worst:+.2f} | "
                    f"{said} of {len(found)} | {verdicts} |",
                    told - true,
                    not lines,
                    said,
                )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    hs.preferences.General.show_progressbar = False
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    heads = "series|counts|method|uPSNR told, dB|true PSNR, dB|difference|largest|said optimistic|verdicts"
    print("| " + heads.replace("|", " | ") + " |\n" + "| --- " * 9 + "|")
    independent, correlated, said = [], [], [0, 0]
    for text, difference, independence, optimistic in (
        *rows(SCENES, DOSES, options),
        *rows(("cluster at rest", "monolayer"), (20,), options, LINES),
    ):
        print(text, flush=True)
        (independent if independence else correlated).extend(difference)
        said[not independence] += optimistic
    away = np.abs(independent)
    print(
        f"\nIndependent noise: {len(away)} results, differences of {np.median(away):.2f} dB in the median, "
        f"{away.max():.2f} dB at most, {np.count_nonzero(away > 0.5)} above 0.5 dB; {said[0]} times said optimistic. "
        f"Correlated noise: {len(correlated)} results, {said[1]} times said optimistic, differences of "
        f"{np.min(correlated):+.2f} to {np.max(correlated):+.2f} dB. "
        f"{options.frames} frames of {options.size} x {options.size} px; {time.perf_counter() - start:.0f} s."
    )


if __name__ == "__main__":
    main()
