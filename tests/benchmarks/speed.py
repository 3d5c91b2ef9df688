# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast and how large: ``denoise`` against a Gaussian filter and the authors' generator.

Usage: ``python tests/benchmarks/speed.py [--repeats 5] [--frames 16] [--size 512]``.

All times are medians from one run on one machine, so that their ratios carry over. The authors'
generator (13.8 M parameters, ``n2a.generator.PaperGenerator``) is timed on one frame, times the
number of frames. Memory is measured in a process of its own that has denoised six frames of 64 x 64
before: growth of the peak by making and denoising the series, both included, divided by the size
of the series. What that first small call adds (PyTorch's and dask's code, the weights) is told apart.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmark_data import load_benchmark, observe

#: Targets: at most 40 Gaussian filters, at least 20 times faster than the authors' generator, at
#: most 4 times the memory of the series.
GAUSSIANS, PAPERS, MEMORY = 40.0, 20.0, 4.0


def series(frames: int, size: int) -> np.ndarray:
    """A noisy series of (frames, size, size), float32: the cluster series side by side."""
    seen = observe(load_benchmark(["cluster"])[0], "mid").frames
    times = -(-size // seen.shape[1])
    result = np.empty((frames, size, size), np.float32)
    for index in range(frames):
        result[index] = np.tile(seen[index % len(seen)], (times, times))[:size, :size]
    return result


def median_time(function: Callable[[], object], repeats: int) -> float:
    """Median wall time in s, after one call that does not count."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def time_denoise(frames: np.ndarray, repeats: int, **arguments) -> float:
    """Seconds of ``sig.n2a.denoise(**arguments)``."""
    import hyperspy.api as hs

    import n2a  # noqa: F401, registers the accessor

    signal = hs.signals.Signal2D(frames)
    for axis in signal.axes_manager.signal_axes:
        axis.scale, axis.units = 0.013, "nm"
    return median_time(lambda: signal.n2a.denoise(show_progressbar=False, **arguments), repeats)


def time_gaussian(frames: np.ndarray, repeats: int) -> float:
    """Seconds of ``scipy.ndimage.gaussian_filter(frame, 2)`` of every frame."""
    return median_time(lambda: [ndimage.gaussian_filter(frame, 2) for frame in frames], repeats)


def time_paper(frames: np.ndarray, repeats: int) -> float:
    """Seconds of the authors' generator on all frames, from those for one."""
    import torch

    from n2a.generator import PaperGenerator

    network = PaperGenerator().eval()
    image = torch.from_numpy(frames[:1, np.newaxis] / frames.max())
    with torch.inference_mode():
        return len(frames) * median_time(lambda: network(image), repeats)


def measure_memory(frames: int, size: int, atom_width: float | None = None) -> tuple[float, float]:
    """Memory in bytes of the libraries' first use, and of making and denoising a series after it."""
    command = [sys.executable, __file__, "--memory", "--frames", str(frames), "--size", str(size)]
    if atom_width is not None:
        command += ["--atom-width", str(atom_width)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(json.loads(process.stdout.splitlines()[-1]))


def memory_bytes() -> tuple[int, int]:
    """Resident memory of this process now and at its peak."""
    status = Path("/proc/self/status")
    if status.exists():  # not getrusage, whose peak is inherited from the parent process
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return tuple(1024 * int(fields[key].split()[0]) for key in ("VmRSS", "VmHWM"))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return peak, peak


def grow(frames: int, size: int, atom_width: float | None) -> tuple[float, float]:
    """`measure_memory` in this process, which must be a fresh one."""
    import hyperspy.api as hs

    import n2a
    import n2a.predictor  # noqa: F401, imports torch

    steps = [memory_bytes()[0]]
    for shape in ((6, 64), (frames, size)):
        signal = hs.signals.Signal2D(series(*shape))
        result = signal.n2a.denoise(show_progressbar=False, atom_width=atom_width)
        assert result.data.shape == signal.data.shape
        steps.append(memory_bytes()[len(steps) - 1])  # afterwards, then at the peak
        del signal, result
    return steps[1] - steps[0], steps[2] - steps[1]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--atom-width", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        print(json.dumps(grow(arguments.frames, arguments.size, arguments.atom_width)))
        return
    frames = series(arguments.frames, arguments.size)
    pixels = frames.size / 1e6
    print(f"{frames.shape[0]} frames of {frames.shape[1]} x {frames.shape[2]}, float32\n")
    print("| what | seconds | Mpx/s | ratio | target |")
    print("| --- | --- | --- | --- | --- |")
    blur = time_gaussian(frames, arguments.repeats)
    print(f"| gaussian_filter(sigma=2) | {blur:.3f} | {pixels / blur:.1f} | 1 | |")
    ours = time_denoise(frames, arguments.repeats)
    print(
        f"| denoise | {ours:.3f} | {pixels / ours:.2f} | {ours / blur:.1f} x the filter "
        f"| at most {GAUSSIANS:.0f} |"
    )
    # Wide atoms are binned before the network; narrow ones are not, and take longer.
    whole = time_denoise(frames, arguments.repeats, atom_width=2.0)
    print(
        f"| denoise, narrow atoms | {whole:.3f} | {pixels / whole:.2f} "
        f"| {whole / blur:.1f} x the filter | at most {GAUSSIANS:.0f} |"
    )
    paper = time_paper(frames, max(1, arguments.repeats // 2))
    print(
        f"| authors' generator | {paper:.1f} | {pixels / paper:.4f} "
        f"| denoise is {paper / ours:.0f} x faster, {paper / whole:.0f} x with narrow atoms | at least {PAPERS:.0f} |"
    )
    if sys.platform == "win32":
        print("| memory of denoise | | | not available | |")
        return
    size = frames.nbytes
    for what, width in (("denoise", None), ("denoise, narrow atoms", 2.0)):
        first, growth = measure_memory(arguments.frames, arguments.size, width)
        print(
            f"| memory of {what} | | | {growth / size:.1f} x the series of {size / 1e6:.0f} MB | at most {MEMORY:.0f} |"
        )
    print(f"| memory of the libraries' first use | | | {first / 1e6:.0f} MB | |")


if __name__ == "__main__":
    main()
