# SPDX-License-Identifier: GPL-3.0-or-later
"""Training in small: the same seed gives the same weights, and it learns."""

import time

import numpy as np
import pytest
import torch

from n2a.generator import Generator
from n2a.losses import paired_decibels
from n2a.model import Noise2Atom
from n2a.pairs import PairSampler, Recipe
from n2a.pretraining import pretrain

QUICK = {"batch": 2, "size": 32}


def small(seed=0):
    torch.manual_seed(seed)
    return Generator(window=3, widths=[8, 16], blocks=[1, 1])


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def score(generator, batch):
    truth = {k: batch[k] for k in ("curvature", "atoms", "background", "weight")}
    with torch.inference_mode():
        output = generator(batch["frames"], batch["valid"], batch["curvature"])
    return float(paired_decibels(output, **truth))


@pytest.fixture(scope="module")
def trained():
    return pretrain(start=small(), max_steps=60, batch=8, size=32, learning_rate=5e-3, every=0.0)


def test_learns(trained):
    generator, _ = trained
    batch = PairSampler(Recipe(), size=32, window=3, seed=99)(64)
    # A logarithm of the squared error: 4.3 dB of PSNR are 1.
    assert score(generator, batch) < score(small(), batch) - 0.5


def test_history(trained):
    _, history = trained
    assert [entry["step"] for entry in history] == list(range(1, 61))
    assert all(set(entry) == {"step", "seconds", "loss"} for entry in history)
    seconds = [entry["seconds"] for entry in history]
    assert seconds == sorted(seconds)
    losses = [entry["loss"] for entry in history]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-15:]) < np.mean(losses[:15])


def test_steps_and_seed_decide_alone():
    first, again, other = (
        pretrain(start=small(), max_steps=5, seed=seed, **QUICK)[0] for seed in (1, 1, 2)
    )
    assert same(first, again)
    assert not same(first, other)


def test_the_preset_is_trained_and_saved(tmp_path):
    generator, history = pretrain(preset="fast", max_steps=2, **QUICK)
    assert generator.configuration == Generator().configuration
    assert history[-1]["step"] == 2
    again, _ = pretrain(preset="fast", max_steps=2, **QUICK)
    assert same(generator, again)
    Noise2Atom(generator, "tiny", {"history": history}).save(tmp_path / "tiny.n2a")
    assert same(Noise2Atom.load(tmp_path / "tiny.n2a").generator, generator)


def test_start_is_not_changed_and_goes_on():
    start = small()
    kept = small()
    generator, _ = pretrain(start=start, max_steps=3, **QUICK)
    assert same(start, kept)
    assert not same(generator, start)
    assert generator.configuration == start.configuration


def test_a_start_that_was_put_to_rest_learns_again():
    # As it comes out of a saved model.
    start = Noise2Atom(small()).generator
    generator, _ = pretrain(start=start, max_steps=3, **QUICK)
    assert not same(generator, start)


def test_reports_and_snapshots():
    reports, snapshots = [], []
    _, history = pretrain(
        start=small(), max_steps=4, every=0.0, report=reports.append,
        snapshot=lambda g: snapshots.append([p.clone() for p in g.parameters()]), **QUICK,
    )  # fmt: skip
    assert reports == history
    assert len(snapshots) == 4
    assert not all(torch.equal(a, b) for a, b in zip(snapshots[0], snapshots[-1]))


def test_time_is_kept_and_told():
    began = time.perf_counter()
    _, history = pretrain(start=small(), max_time=1.0, **QUICK)
    assert time.perf_counter() - began < 30
    # However short a run, its last state is told.
    assert history
    assert history[-1]["step"] > 0
    assert np.isfinite(history[-1]["loss"])


def test_unknown_preset():
    with pytest.raises((KeyError, ValueError), match="slow"):
        pretrain(preset="slow", max_steps=1, **QUICK)


def test_random_numbers_of_others_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    pretrain(start=small_without_seeding(), max_steps=1, **QUICK)
    assert torch.equal(torch.rand(3), expected)


def small_without_seeding():
    with torch.random.fork_rng():
        return small()
