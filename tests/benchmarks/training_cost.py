# SPDX-License-Identifier: GPL-3.0-or-later
"""What training costs: time per step against its arithmetic, and memory for a series larger than it.

Usage: ``python tests/benchmarks/training_cost.py [--repeats 3] [--gigabytes 20]``.

The arithmetic of a step is counted by PyTorch while the step runs; the peak of the machine is what
a product of large matrices reaches at best, before and after, in the precision that the preset's
generator runs in. Memory is measured in a process of its own: growth of the peak by training on a
lazy series, from which frames are computed when they are read.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmark_data import load_benchmark, observe
from speed import memory_bytes


class Operations(TorchDispatchMode):
    """Counts operations as PyTorch's own table has them; its counter stops at a gradient of a gradient."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            count = flop_registry[func._overloadpacket]
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


def peak_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """Operations per second of a matrix product."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    times = []
    for _ in range(10):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def step_cost(preset: str, repeats: int) -> tuple[float, float]:
    """Seconds and operations of one training step."""
    from n2a.loop import SETTINGS
    from n2a.matching import measure_features
    from n2a.model import get_model
    from n2a.patches import NoisySeries
    from n2a.plan import plan_series
    from n2a.training import make_loop

    seen = observe(load_benchmark(["gold_edge"])[0], "mid")
    plan = plan_series(seen.frames, atom_width=2.0)
    series = [NoisySeries(seen.frames, plan)]
    box = get_model().generator
    features = [measure_features(series[0], box)]
    loop = make_loop(series, features, box, preset, SETTINGS[preset])
    loop.step(0, 0.0)
    times = []
    for number in range(1, repeats + 1):
        start = time.perf_counter()
        loop.step(number, 0.0)
        times.append(time.perf_counter() - start)
    with Operations() as operations:
        loop.step(repeats + 1, 0.0)
    return statistics.median(times), operations.total


def grow(gigabytes: float) -> tuple[float, float]:
    """Bytes of a lazy series, and growth of the peak memory by ten steps of training on it."""
    import dask.array as da
    import hyperspy.api as hs

    import n2a

    frame = observe(load_benchmark(["cluster"])[0], "mid").frames[0].astype(np.float32)
    frame = np.tile(frame, (8, 8))
    number = int(gigabytes * 1e9 / frame.nbytes)
    shape = (number, *frame.shape)

    def noisy(block_info=None):
        start = block_info[None]["array-location"][0][0]
        return np.random.default_rng(start).poisson(frame / 10)[None].astype(np.float32)

    series = da.map_blocks(
        noisy, dtype=np.float32, chunks=((1,) * number, *((n,) for n in shape[1:]))
    )
    signal = hs.signals.Signal2D(series).as_lazy()
    before, _ = memory_bytes()
    n2a.train(signal, max_steps=10, show_progressbar=False)
    return signal.data.nbytes, memory_bytes()[1] - before


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.memory:
        print(json.dumps(grow(arguments.gigabytes)))
        return
    print(
        "| one training step | seconds | GFLOP | GFLOP/s | peak of a matrix product, GFLOP/s | share |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    from n2a.devices import has_bfloat16

    dtype = torch.bfloat16 if has_bfloat16("cpu") else torch.float32
    # Where others use the machine, too, its peak is only seen now and then.
    peaks = [peak_rate(dtype)]
    costs = {}
    for preset in ("fast", "paper"):
        costs[preset] = step_cost(preset, arguments.repeats)
        peaks.append(peak_rate(dtype))
    peak = max(peaks)
    for preset, (seconds, operations) in costs.items():
        print(
            f"| {preset} | {seconds:.2f} | {operations / 1e9:.0f} | {operations / seconds / 1e9:.0f} "
            f"| {peak / 1e9:.0f} ({str(dtype).removeprefix('torch.')}) | {operations / seconds / peak:.0%} |"
        )
    if dtype is not torch.float32:
        single = peak_rate(torch.float32) / 1e9
        print(f"\nA product in float32, in which the critics run, reaches {single:.0f} GFLOP/s.")
    if sys.platform == "win32":
        return
    command = [sys.executable, __file__, "--memory", "--gigabytes", str(arguments.gigabytes)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    size, growth = json.loads(process.stdout.splitlines()[-1])
    print(
        f"\nTraining on a lazy series of {size / 1e9:.1f} GB takes {growth / 1e9:.2f} GB of memory."
    )


if __name__ == "__main__":
    main()
