# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of the weights in the box on simulated pairs."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable

import numpy as np
import torch

from n2a.devices import has_bfloat16, without_denormals
from n2a.generator import PRESETS, Generator
from n2a.losses import paired_decibels
from n2a.pairs import PairSampler, Recipe

Batch = dict[str, torch.Tensor]


def pretrain(
    *,
    preset: str = "fast",
    recipe: Recipe | None = None,
    max_time: float = 60.0,
    max_steps: int | None = None,
    batch: int = 16,
    size: int = 96,
    reuse: int = 3,
    learning_rate: float = 1e-3,
    seed: int = 0,
    device: str = "cpu",
    start: Generator | None = None,
    report: Callable[[dict], None] | None = None,
    every: float = 30.0,
    snapshot: Callable[[Generator], None] | None = None,
) -> tuple[Generator, list[dict]]:
    """Train a generator on pairs from the simulator and the acquisition model.

    Parameters
    ----------
    preset
        Key of :data:`n2a.generator.PRESETS`.
    recipe
        Ranges of the pairs.
    max_time, max_steps
        Budget in seconds or in steps; with `max_steps` the result depends on the seed alone.
    batch, size
        Windows per step and edge of their square patches in pixels.
    reuse
        How often a pair is used on average, mirrored at random: making a pair costs about as much as one step.
    learning_rate
        Peak of the schedule: a short warm-up, then a half cosine to nothing.
    seed
        Seeds the pairs, the network and the mirroring.
    device
        Where to train.
    start
        Go on from this network instead of a new one.
    report
        Called about every `every` seconds with the newest entry of the history.
    snapshot
        Called likewise with the averaged network.

    Returns
    -------
    generator
        The exponential moving average of the network.
    history
        One dictionary per report: step, seconds, loss.
    """
    rng = np.random.default_rng(seed + 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = copy.deepcopy(start) if start is not None else Generator(**PRESETS[preset])
    network = network.to(device, memory_format=torch.channels_last).train().requires_grad_(True)
    average = copy.deepcopy(network).eval()
    sampler = PairSampler(recipe or Recipe(), size, network.window, seed, device)
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.9, 0.99))
    pool: list[Batch] = []
    history: list[dict] = []
    losses: list[float] = []
    began = last = time.perf_counter()
    step = 0

    def tell():
        history.append({"step": step, "seconds": last - began, "loss": float(np.mean(losses))})
        losses.clear()
        if report:
            report(history[-1])
        if snapshot:
            snapshot(average)

    while True:
        seconds = time.perf_counter() - began
        done = step / max_steps if max_steps else seconds / max_time
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = (
                learning_rate * min(1, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * done))
            )
        with without_denormals():
            if step % reuse == 0:
                pool = [*pool[-63:], sampler(batch)]
            loss = _step(network, optimiser, _mirrored(_mixed(pool, rng), rng))
        with torch.no_grad():
            keep = min(0.999, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - keep)
        losses.append(loss)
        step += 1
        if time.perf_counter() - last > every:
            last = time.perf_counter()
            tell()
    if losses:
        last = time.perf_counter()
        tell()
    return average, history


def _step(network: Generator, optimiser: torch.optim.Optimizer, pairs: Batch) -> float:
    device = pairs["frames"].device.type
    with torch.autocast(device, torch.bfloat16, enabled=has_bfloat16(device)):
        output = network(
            pairs["frames"].contiguous(memory_format=torch.channels_last),
            pairs["valid"].contiguous(memory_format=torch.channels_last),
            pairs["curvature"],
        )
    truth = {k: pairs[k] for k in ("curvature", "atoms", "background", "weight")}
    loss = paired_decibels(output.float(), **truth)
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    return loss.item()


def _mixed(pool: list[Batch], rng: np.random.Generator) -> Batch:
    """A batch put together from the pool, half of it from the newest."""
    size = len(pool[-1]["curvature"])
    newest = rng.uniform(size=size) < 0.5
    chosen = np.where(newest, len(pool) - 1, rng.integers(len(pool), size=size))
    return {k: torch.stack([pool[j][k][i] for i, j in enumerate(chosen)]) for k in pool[-1]}


def _mirrored(pairs: Batch, rng: np.random.Generator) -> Batch:
    """Mirror a batch along y and backwards in time at random; the scan has a direction along x."""
    if rng.uniform() < 0.5:
        pairs = {k: v.flip(-2) if v.dim() > 1 else v for k, v in pairs.items()}
    if rng.uniform() < 0.5:
        pairs = {k: v.flip(1) if v.dim() == 4 else v for k, v in pairs.items()}
    return pairs
