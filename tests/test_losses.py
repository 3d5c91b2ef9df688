# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses against the same formulas in NumPy, written out."""

import numpy as np
import pytest
import torch

from n2a.losses import paired_decibels


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return {
        "output": rng.normal(1, 1, (3, 2, 8, 9)),
        "curvature": np.array([0.0, 0.7, -0.1]),
        "atoms": rng.uniform(0, 3, (3, 8, 9)),
        "background": rng.normal(0, 1, (3, 8, 9)),
        "weight": rng.uniform(1, 5, (3, 8, 9)),
    }


def loss(batch, **options):
    return float(paired_decibels(**{k: torch.from_numpy(v) for k, v in batch.items()}, **options))


def perfect(batch):
    """The output that is the truth: from linear values back to stabilised ones."""

    def stabilised(x, bend):
        return 2 * x / (1 + np.sqrt(1 + bend * x))

    batch = {**batch, "background": np.abs(batch["background"])}
    bend = np.array([0.0, 0.7, 0.1])[:, None, None]
    under = stabilised(batch["background"], bend)
    both = stabilised(batch["background"] + batch["atoms"], bend)
    return {**batch, "curvature": bend[:, 0, 0], "output": np.stack([both - under, under], 1)}


def test_against_numpy(batch):
    expected = []
    for i in range(3):
        c = batch["curvature"][i]
        a, b = batch["output"][i]
        under = b + c / 4 * b**2
        found = (a + b) + c / 4 * (a + b) ** 2 - under
        w = batch["weight"][i]
        error = np.sum(w * (found - batch["atoms"][i]) ** 2) / np.sum(w)
        total = np.mean((found + under - batch["atoms"][i] - batch["background"][i]) ** 2)
        expected.append(0.5 * (np.log(error + 3e-4) + np.log(total + 1e-3)))
    assert loss(batch) == pytest.approx(np.mean(expected), rel=1e-9)


def test_truth_reaches_the_floor(batch):
    best = loss(perfect(batch))
    assert best == pytest.approx(0.5 * (np.log(3e-4) + np.log(1e-3)), abs=1e-6)
    assert best < loss(batch)
    assert loss(perfect(batch), floor=(1.0, 1.0)) == pytest.approx(0, abs=1e-6)


def test_ten_times_the_error_costs_the_same_at_every_dose(batch):
    # A logarithm: what counts is the ratio, in decibels, whatever the numbers.
    truth = perfect({**batch, "weight": np.ones((3, 8, 9))})
    truth["curvature"] = np.zeros(3)
    truth["output"] = np.stack([truth["atoms"], truth["background"]], 1)
    steps = []
    for size in (1.0, 100.0):
        near, far = (
            {**truth, "output": truth["output"] + e * size * np.array([1.0, 0])[:, None, None]}
            for e in (1, 10)
        )
        steps.append(loss(far) - loss(near))
    np.testing.assert_allclose(steps, np.log(100), rtol=1e-3)


def test_empty_sites_weigh_more(batch):
    batch["weight"][:] = 1
    plain = loss(batch)
    worst = (batch["output"][:, 0] - batch["atoms"]) ** 2
    batch["weight"][worst > np.median(worst)] = 5
    assert loss(batch) > plain


def test_gradients_are_finite_at_the_truth(batch):
    batch = {k: torch.from_numpy(v) for k, v in perfect(batch).items()}
    batch["output"].requires_grad_(True)
    paired_decibels(**batch).backward()
    assert torch.isfinite(batch["output"].grad).all()
