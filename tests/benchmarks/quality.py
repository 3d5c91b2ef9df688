# SPDX-License-Identifier: GPL-3.0-or-later
"""How good: weights in the box against baselines tuned with the truth, on multislice series.

Usage: ``python tests/benchmarks/quality.py [--quick] [--markdown FILE] [--model PATH]``.

Every baseline gets its best parameters on every very series, dose by dose, once for PSNR and once
for F1, and its detector's threshold, minimal distance and background are tuned for it as well.
n2a has no parameters; its threshold is tuned in the column "F1" and the same for all series, a
third of the height of the weakest columns, in the column "F1 fixed". Results of the baselines are
kept in ``.cache`` in the root of the repository.

From a Python session, ``score(method)`` measures any callable.
"""

import argparse
import dataclasses
import hashlib
import itertools
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmark_data import DATA, DOSES, load_benchmark, observe
from metrics import (
    false_atoms,
    filled_vacancies,
    fixed_detection,
    heights,
    psnr,
    ssim,
    tuned_detection,
)

from n2a import baselines

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache" / "benchmarks"  # outside of what the wheel ships
SEED = 1
QUICK = (("cluster", "mos2", "empty"), ("low",))

#: What the weights in the box have to reach: PSNR above the best baseline, dB.
MARGIN = {"low": 1.5, "mid": 1.5, "scan": 1.5, "high": 0.0}
#: F1 counts as equal within one atom in two hundred.
F1_TIE = 0.005


def run_n2a(
    frames: np.ndarray, pixel_size: float, background: bool, model: str | Path | None = None
) -> np.ndarray:
    """`frames` through the public API, ``sig.n2a.denoise``.

    Parameters
    ----------
    frames : numpy.ndarray
        Raw series (t, y, x).
    pixel_size : float
        In nm; becomes the calibration of the signal's axes.
    background : bool
        Whether to add the support back.
    model : str or Path, optional
        A weights file; the weights in the box by default.

    Returns
    -------
    numpy.ndarray
        Shape (t, y, x), intensity units of `frames`.
    """
    import hyperspy.api as hs

    import n2a  # noqa: F401, registers the accessor

    signal = hs.signals.Signal2D(frames)
    for axis in signal.axes_manager.signal_axes:
        axis.scale = pixel_size
        axis.units = "nm"
    result = signal.n2a.denoise(model, background=background, show_progressbar=False)
    return np.asarray(result.data)


def score(
    method: Callable[[np.ndarray, float, bool], np.ndarray],
    names: Sequence[str] | None = None,
    doses: Sequence[str] = tuple(DOSES),
    seed: int = SEED,
) -> list[dict]:
    """Measure a denoiser on the benchmark set.

    Parameters
    ----------
    method : callable
        ``method(frames, pixel_size_nm, background)`` with raw frames (t, y, x) of integers returns
        frames of that shape and in those units: the total intensity for ``background=True``, the
        atoms alone on zero (domain C; for dark contrast their depth, positive) for ``False``.
    names : sequence of str, optional
        Series; all by default.
    doses : sequence of str, optional
        Keys of `benchmark_data.DOSES`.
    seed : int, optional
        Seed of the noise.

    Returns
    -------
    list of dict
        A row per series and dose: ``series``, ``dose``, ``psnr`` (dB) and ``ssim`` of the total,
        ``psnr_atoms`` (dB) of domain C, ``f1`` (domain C, tuned threshold), ``f1_total`` (total,
        tuned), ``f1_fixed`` (domain C, nothing tuned), ``rms_px`` and ``rms_pm`` of the matched
        atoms, ``filled`` (part of the empty columns at which the untuned detector reports an
        atom), ``false_atoms`` (per frame, empty support only) and ``seconds``. NaN where a
        quantity does not apply.

    Examples
    --------
    >>> from scipy.ndimage import gaussian_filter
    >>> def blur(frames, pixel_size, background):
    ...     result = gaussian_filter(frames.astype(float), (1, 3, 3))
    ...     return result if background else result - np.median(result)
    >>> rows = score(blur, names=["cluster"], doses=["low"])
    >>> rows[0]["psnr"] > 20
    True
    """
    rows = []
    single = single_atom_height()
    for series in load_benchmark(names):
        for dose in doses:
            seen = observe(series, dose, seed)
            start = time.perf_counter()
            atoms = np.asarray(method(seen.frames, series.pixel_size, False), np.float64)
            seconds = time.perf_counter() - start
            total = np.asarray(method(seen.frames, series.pixel_size, True), np.float64)
            row = {
                "series": series.name,
                "dose": dose,
                "psnr": psnr(total, seen.total),
                "ssim": ssim(total, seen.total),
                "seconds": seconds,
                **dict.fromkeys(("psnr_atoms", "f1", "f1_total", "f1_fixed"), np.nan),
                **dict.fromkeys(("rms_px", "rms_pm", "filled", "false_atoms"), np.nan),
            }
            if len(series.sites):
                tuned = tuned_detection(atoms, series)
                fixed = fixed_detection(atoms, seen)
                row.update(
                    psnr_atoms=psnr(atoms, seen.atoms),
                    f1=tuned["f1"],
                    f1_total=tuned_detection(bright(total, series), series)["f1"],
                    f1_fixed=fixed["f1"],
                    rms_px=tuned["rms_px"],
                    rms_pm=tuned["rms_px"] * series.pixel_size * 1000,
                    filled=filled_vacancies(fixed["found"], series),
                )
            else:
                row["false_atoms"] = false_atoms(atoms, series.atom_width, single * seen.unit)
            rows.append(row)
    return rows


def bright(frames: np.ndarray, series) -> np.ndarray:
    """`frames` with bright atoms."""
    return -frames if series.contrast == "dark" else frames


def single_atom_height() -> float:
    """Peak of a single Pt atom, fraction of the beam, in the series "cluster"."""
    (series,) = load_benchmark(["cluster"])
    return float(np.median(heights(series, series.sites["count"] == 1)))


# --- baselines ------------------------------------------------------------------------------

METHODS = {"raw": baselines.Baseline(lambda frames: frames, {}), **baselines.BASELINES}


def apply_baseline(name: str, parameters: dict, seen) -> np.ndarray:
    """A baseline on an observed series; BM3D is told the detector."""
    known = {}
    if name == "bm3d":
        known = {"gain": seen.gain, "offset": seen.offset, "read_noise": seen.read_noise}
    return METHODS[name].function(seen.frames.astype(np.float32), **parameters, **known)


def tune(task: tuple[str, str, str]) -> dict:
    """Best parameters of a baseline for (series, dose, baseline): for PSNR and for F1."""
    series_name, dose, name = task
    (series,) = load_benchmark([series_name])
    seen = observe(series, dose, SEED)
    grid = METHODS[name].grid
    if name == "bm3d":  # a second per frame: its strength is chosen on the first two frames
        start = dataclasses.replace(seen, frames=seen.frames[:2])
        fidelity = [
            psnr(apply_baseline(name, {"strength": value}, start), seen.total[:2])
            for value in grid["strength"]
        ]
        grid = {"strength": [grid["strength"][int(np.argmax(fidelity))]]}
    best = {"psnr": -np.inf, "f1": -np.inf}
    for values in itertools.product(*grid.values()):
        parameters = dict(zip(grid, values))
        image = apply_baseline(name, parameters, seen)
        fidelity = psnr(image, seen.total)
        if fidelity > best["psnr"]:
            best.update(psnr=fidelity, psnr_parameters=parameters, ssim=ssim(image, seen.total))
        if not len(series.sites):
            continue
        tuned = tuned_detection(bright(image, series), series)
        if tuned["f1"] > best["f1"]:
            best.update(
                f1=tuned["f1"],
                f1_parameters=parameters,
                rms_px=tuned["rms_px"],
                filled=filled_vacancies(tuned["found"], series),
            )
    return best


def baseline_false_atoms(task: tuple[str, str, dict]) -> float:
    """False atoms on empty support of a baseline with parameters tuned on "cluster"."""
    dose, name, parameters = task
    (series,) = load_benchmark(["empty"])
    seen = observe(series, dose, SEED)
    image = apply_baseline(name, parameters, seen)
    height = single_atom_height() * seen.unit
    return false_atoms(image - np.median(image), series.atom_width, height)


def cached(function: Callable, tasks: list[tuple]) -> list:
    """`function` of every task on two processes, remembered as long as its inputs stay."""
    sources = [DATA, baselines.__file__, *(HERE / n for n in ("benchmark_data.py", "metrics.py"))]
    key = hashlib.sha256(b"".join(Path(path).read_bytes() for path in sources)).hexdigest()[:16]
    path = CACHE / f"baselines-{key}.json"
    store = json.loads(path.read_text()) if path.exists() else {}
    names = [json.dumps([function.__name__, SEED, *task]) for task in tasks]
    missing = [i for i, name in enumerate(names) if name not in store]
    if missing:
        CACHE.mkdir(parents=True, exist_ok=True)
        # one thread each: the pool uses the cores
        os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            results = pool.imap(function, [tasks[i] for i in missing])
            for count, (i, result) in enumerate(zip(missing, results), 1):
                store[names[i]] = result
                print(f"\r{function.__name__}: {count} of {len(missing)}", end="", file=sys.stderr)
                if count % 20 == 0 or count == len(missing):
                    path.write_text(json.dumps(store))
        print(file=sys.stderr)
    return [store[name] for name in names]


def pixel_pm(name: str) -> float:
    """Pixel size of a series in pm."""
    return 1000 * load_benchmark([name])[0].pixel_size


# --- table ----------------------------------------------------------------------------------


def compare(rows: list[dict]) -> list[dict]:
    """The rows of `score` with the best baselines beside them and a verdict."""
    cells = [(row["series"], row["dose"]) for row in rows]
    tasks = [(*cell, name) for cell in cells for name in METHODS]
    wanted = tasks + [("cluster", d, n) for d in {d for _, d in cells} for n in METHODS]
    wanted = list(dict.fromkeys(wanted))
    tuned = dict(zip(wanted, cached(tune, wanted)))
    doses = sorted({dose for name, dose in cells if name == "empty"})
    best_on_cluster = {
        dose: max(METHODS, key=lambda name: tuned["cluster", dose, name]["f1"]) for dose in doses
    }
    empties = [
        (dose, name, tuned["cluster", dose, name]["f1_parameters"])
        for dose, name in best_on_cluster.items()
    ]
    invented = dict(zip(doses, cached(baseline_false_atoms, empties)))
    result = []
    for row, (series, dose) in zip(rows, cells):
        scores = {name: tuned[series, dose, name] for name in METHODS}
        fidelity = max(METHODS, key=lambda name: scores[name]["psnr"])
        one = {
            **row,
            "raw_psnr": scores["raw"]["psnr"],
            "raw_f1": scores["raw"]["f1"],
            "all": scores,
            "best": fidelity,
            "best_parameters": scores[fidelity]["psnr_parameters"],
            "best_psnr": scores[fidelity]["psnr"],
            "best_ssim": scores[fidelity]["ssim"],
        }
        short = ["PSNR"] * (row["psnr"] - one["best_psnr"] < MARGIN[dose])
        if series == "empty":
            one.update(best_f1_name=best_on_cluster[dose], best_false_atoms=invented[dose])
            short += ["false atoms"] * (row["false_atoms"] > 1)
        else:
            detector = max(METHODS, key=lambda name: scores[name]["f1"])
            one.update(
                best_f1_name=detector,
                best_f1_parameters=scores[detector]["f1_parameters"],
                best_f1=scores[detector]["f1"],
                best_rms_pm=pixel_pm(series) * scores[detector]["rms_px"],
                best_filled=scores[detector]["filled"],
            )
            # nobody can beat 1: there, and at high dose, not losing is enough
            gain = row["f1"] - one["best_f1"]
            equal = dose == "high" or one["best_f1"] > 1 - F1_TIE
            short += ["F1"] * (gain < -F1_TIE if equal else gain <= 0)
        one["verdict"] = "short: " + ", ".join(short) if short else "pass"
        result.append(one)
    return result


def markdown(rows: list[dict]) -> str:
    """The table of `compare` in Markdown."""
    lines = [
        "| series | dose | raw PSNR | best baseline PSNR / SSIM | n2a PSNR / SSIM | gain, dB "
        "| best baseline F1 | n2a F1 (fixed threshold) | position, pm: baseline / n2a "
        "| empty columns filled: baseline / n2a | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        parameters = ", ".join(f"{k} {v}" for k, v in row["best_parameters"].items())
        cells = [
            row["series"],
            row["dose"],
            f"{row['raw_psnr']:.1f}",
            f"{row['best_psnr']:.1f} / {row['best_ssim']:.2f} {row['best']} ({parameters})",
            f"{row['psnr']:.1f} / {row['ssim']:.2f}",
            f"{row['psnr'] - row['best_psnr']:+.1f}",
        ]
        if row["series"] == "empty":
            cells += [
                f"{row['best_false_atoms']:.1f} false atoms ({row['best_f1_name']})",
                f"{row['false_atoms']:.1f} false atoms",
                "",
                "",
            ]
        else:
            filled = ""
            if not np.isnan(row["filled"]):
                filled = f"{100 * row['best_filled']:.0f} % / {100 * row['filled']:.0f} %"
            cells += [
                f"{row['best_f1']:.3f} {row['best_f1_name']}",
                f"{row['f1']:.3f} ({row['f1_fixed']:.3f})",
                f"{row['best_rms_pm']:.0f} / {row['rms_pm']:.0f}",
                filled,
            ]
        lines.append("| " + " | ".join([*cells, row["verdict"]]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three series at low dose")
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    parser.add_argument("--model", help="a weights file instead of the weights in the box")
    arguments = parser.parse_args()
    start = time.perf_counter()
    names, doses = QUICK if arguments.quick else (None, tuple(DOSES))

    def method(frames, pixel_size, background):
        return run_n2a(frames, pixel_size, background, arguments.model)

    warnings.simplefilter("ignore", UserWarning)
    rows = compare(score(method, names, doses))
    table = markdown(rows)
    print(table)
    passed = sum(row["verdict"] == "pass" for row in rows)
    print(f"\n{passed} of {len(rows)} cells pass; {time.perf_counter() - start:.0f} s")
    if arguments.markdown:
        arguments.markdown.write_text(table + "\n")


if __name__ == "__main__":
    main()
