# SPDX-License-Identifier: GPL-3.0-or-later
"""What judging costs: the time of a report, and the speed of CSS beside scikit-image's structural similarity.

    python tests/benchmarks/report_cost.py [--frames 100] [--size 512] [--threads 2]

Prints one JSON object. Wall time includes waiting for a busy processor; the time of the processor does not.
"""

import argparse
import itertools
import json
import time

import hyperspy.api as hs
import numpy as np
import torch
from skimage.metrics import structural_similarity

import n2a
from n2a.similarity import css_pairs


def timed(function):
    """Result, wall time and processor time (all threads) in s."""
    wall, processor = time.perf_counter(), time.process_time()
    result = function()
    return result, time.perf_counter() - wall, time.process_time() - processor


def reference_ssim(frames, data_range):
    """Of each frame and the next, by scikit-image."""
    return [
        structural_similarity(
            a,
            b,
            data_range=data_range,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in itertools.pairwise(frames)
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    hs.preferences.General.show_progressbar = False
    if options.threads:
        torch.set_num_threads(options.threads)

    shape = (options.size, options.size)
    clean = n2a.simulate(structure="2d", shape=shape, frames=options.frames, vacancies=0.05, seed=1)
    noisy = n2a.acquire(clean, dose=10, seed=1)
    denoised, seconds, _ = timed(lambda: n2a.denoise(noisy))
    told = {"frames": options.frames, "size": options.size, "threads": torch.get_num_threads()}
    told["denoise_s"] = round(seconds, 1)

    report, wall, processor = timed(lambda: n2a.report(noisy, denoised))
    told |= {
        "report_s": round(wall, 1),
        "report_processor_s": round(processor, 1),
        "report_judged": report.frames,
        "report_verdicts": report.verdicts,
    }

    series = denoised.inav[: min(options.frames, 40)]
    pixels = series.data.size
    data_range = float(np.ptp(series.data))
    curve, *_ = timed(lambda: n2a.css(series, data_range=data_range))  # starts the threads
    curve, wall, processor = timed(lambda: n2a.css(series, data_range=data_range))
    _, alone, alone_processor = timed(lambda: css_pairs(series.data, data_range))
    few = series.data[:12].astype(np.float64)
    expected, theirs, theirs_processor = timed(lambda: reference_ssim(few, data_range))
    difference = float(np.max(np.abs(curve.data[:11] - expected)))
    told |= {
        "css_mpx_per_s": round(pixels / wall / 1e6, 1),
        "css_one_thread_mpx_per_s": round(pixels / alone / 1e6, 1),
        "css_mpx_per_processor_s": round(pixels / alone_processor / 1e6, 1),
        "skimage_mpx_per_s": round(few.size / theirs / 1e6, 1),
        "skimage_mpx_per_processor_s": round(few.size / theirs_processor / 1e6, 1),
        "css_over_skimage": round((pixels / alone_processor) / (few.size / theirs_processor), 1),
        "css_difference": difference,
    }
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
