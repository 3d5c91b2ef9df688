# SPDX-License-Identifier: GPL-3.0-or-later
"""The authors' configuration from a random start beside the preset "fast": CSS against the time, and the truth.

Usage: ``python tests/benchmarks/presets.py [--seconds 600] [--presets fast paper] [--device auto]
[--size 128] [--threads N] [--like] [--set adversarial=1]``.

The series is simulated: moving Pt clusters of 128 x 128 px with 5 counts on a typical bright column. Both presets
train on it for the same time. With ``--like`` domain C of the preset paper is sixteen clusters by `n2a.simulate_like`,
otherwise what `n2a.train` makes by itself, which has all kinds of scenes. The network is judged as it is, whatever the
verdict. CSS of the raw series, of a blur and of the truth stand beside that of the results, all with the range of the
truth; PSNR is that of the atoms alone, after a straight line has been fitted to the truth, because the networks of the
authors do not keep the intensity.
"""

import argparse
import sys
import warnings
from pathlib import Path

import hyperspy.api as hs
import numpy as np
import torch
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).resolve().parent))

import n2a
from n2a.detection import psnr
from n2a.evaluation import css_mean


def fitted(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """`image` after the rising straight line that brings it nearest to the truth; a negative is not near."""
    slope, offset = np.polyfit(image.ravel().astype(np.float64), truth.ravel(), 1)
    return slope * image + offset if slope > 0 else np.full_like(truth, truth.mean())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--seconds", type=float, default=600.0, help="to train each preset")
    add("--presets", nargs="+", choices=("fast", "paper"), default=("fast", "paper"))
    add("--device", default="auto")
    add("--size", type=int, default=128, help="edge of the patches of the preset paper, px")
    add("--threads", type=int, help="of PyTorch")
    add("--like", action="store_true", help="domain C of the preset paper from n2a.simulate_like")
    add("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of n2a.train")
    arguments = parser.parse_args()
    changes = {name: float(value) for name, value in (one.split("=") for one in arguments.set)}
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    clean = n2a.simulate(shape=(128, 128), frames=16, seed=5)
    noisy = n2a.acquire(clean, dose=5, seed=5)
    truth, raw = (np.asarray(one.data, np.float64) for one in (clean, noisy))
    data_range = float(np.ptp(truth))

    def row(name: str, frames: np.ndarray, seconds: str = "", steps: str = "") -> None:
        frames = fitted(frames, truth)
        told = f"{css_mean(frames, data_range):.3f} | {psnr(frames, truth):.1f}"
        print(f"| {name} | {seconds} | {steps} | {told} |", flush=True)

    print("| series | seconds | steps | CSS | PSNR, dB |")
    print("| --- | --- | --- | --- | --- |")
    row("raw", raw)
    row("Gaussian blur, 2 px", gaussian_filter(raw, (0, 2, 2)))
    row("truth", truth)
    row("weights in the box", n2a.denoise(noisy, show_progressbar=False).data)
    curves = []
    for preset in arguments.presets:
        settings = {"preset": "paper", "size": arguments.size} if preset == "paper" else {}
        if arguments.like and preset == "paper":
            settings["simulated"] = hs.stack(
                [n2a.simulate_like(noisy, frames=8, seed=100 + number) for number in range(16)],
                show_progressbar=False,
            )
        model = n2a.train(
            noisy, max_time=arguments.seconds, device=arguments.device, keep=True,
            show_progressbar=False, **settings | changes,
        )  # fmt: skip
        result = n2a.denoise(noisy, model, show_progressbar=False).data
        training = model.training
        row(
            f"{preset} ({training['verdict']})",
            result,
            f"{training['seconds']:.0f}",
            f"{training['steps']}",
        )
        curves.append((preset, *model.history.known("css")))
    for preset, steps, css in curves:
        pairs = ", ".join(f"{step:.0f}: {value:.3f}" for step, value in zip(steps, css))
        print(f"\nCSS on both sides of the held-out frames against the step, {preset}: {pairs}.")


if __name__ == "__main__":
    main()
