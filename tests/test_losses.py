# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses against the same formulas in NumPy, written out."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from n2a.losses import (
    clean_cycle,
    critic_wasserstein,
    generator_wasserstein,
    gradient_penalty,
    neighbour_likelihood,
    noisy_cycle,
    paired_decibels,
    wasserstein_divergence,
)
from n2a.lowpass import LowPass


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


class TestCritic:
    @pytest.fixture
    def images(self):
        rng = np.random.default_rng(1)
        return rng.normal(0, 0.2, (3, 2, 4, 5)), rng.normal(1, 0.3, (3, 2, 4, 5)), rng.uniform(size=3)  # fmt: skip

    @staticmethod
    def value(penalty, critic, images, **options):
        return penalty(critic, *map(torch.from_numpy, images), **options).item()

    def test_wasserstein(self):
        real, fake = torch.tensor([1.0, 4.0]), torch.tensor([2.0, 0.0, 7.0])
        assert critic_wasserstein(real, fake).item() == pytest.approx(3.0 - 2.5)
        assert generator_wasserstein(fake).item() == pytest.approx(-3.0)

    @pytest.mark.parametrize("length", [0.3, 1.0, 2.5])
    def test_linear_critic(self, images, length):
        # Its gradient is `slope` everywhere.
        slope = np.random.default_rng(2).normal(size=(2, 4, 5))
        slope = torch.from_numpy(length * slope / np.linalg.norm(slope)).requires_grad_(True)

        def critic(x):
            return (slope * x).sum((1, 2, 3))

        assert self.value(gradient_penalty, critic, images) == pytest.approx((length - 1) ** 2)
        assert self.value(wasserstein_divergence, critic, images) == pytest.approx(2 * length**6)
        assert self.value(wasserstein_divergence, critic, images, k=3, p=4) == pytest.approx(
            3 * length**4
        )
        # What the critic is taught: d/da (|a| - 1)^2 = 2 (|a| - 1) a / |a|, and d/da 2 |a|^6 = 12 |a|^4 a.
        for penalty, factor in (
            (gradient_penalty, 2 * (length - 1) / length),
            (wasserstein_divergence, 12 * length**4),
        ):
            loss = penalty(critic, *map(torch.from_numpy, images))
            (found,) = torch.autograd.grad(loss, slope)
            np.testing.assert_allclose(found, factor * slope.detach(), atol=1e-12)

    def test_quadratic_critic(self, images):
        # Its gradient is the image at which it is taken.
        def critic(x):
            return 0.5 * x.square().sum((1, 2, 3))

        lengths = np.array(
            [np.linalg.norm(m * r + (1 - m) * f) for r, f, m in zip(*images)]
        )  # a share m of the real image
        assert self.value(gradient_penalty, critic, images) == pytest.approx(np.mean((lengths - 1) ** 2))  # fmt: skip
        assert self.value(wasserstein_divergence, critic, images) == pytest.approx(2 * np.mean(lengths**6))  # fmt: skip

    @pytest.mark.parametrize("penalty", [gradient_penalty, wasserstein_divergence])
    def test_a_flat_critic_has_a_finite_gradient(self, images, penalty):
        slope = torch.zeros(2, 4, 5, dtype=torch.float64, requires_grad=True)
        loss = penalty(lambda x: (slope * x).sum((1, 2, 3)), *map(torch.from_numpy, images))
        assert loss.item() == (1 if penalty is gradient_penalty else 0)
        loss.backward()
        assert torch.isfinite(slope.grad).all()

    @pytest.mark.parametrize("penalty", [gradient_penalty, wasserstein_divergence])
    def test_penalty_does_not_train_the_generator(self, images, penalty):
        real, fake, mix = map(torch.from_numpy, images)
        fake.requires_grad_(True)
        scale = torch.ones((), dtype=torch.float64, requires_grad=True)
        penalty(lambda x: scale * x.square().sum((1, 2, 3)), real, fake, mix).backward()
        assert fake.grad is None
        assert scale.grad != 0


class TestCycles:
    @pytest.fixture
    def pair(self):
        rng = np.random.default_rng(3)
        noisy = torch.from_numpy(rng.normal(size=(2, 1, 40, 44)))
        return noisy, torch.from_numpy(rng.normal(0.5, 1, noisy.shape))

    def test_clean(self, pair):
        clean, cycled = pair
        expected = np.mean(np.abs(clean.numpy() - cycled.numpy()))
        assert clean_cycle(clean, cycled).item() == pytest.approx(expected)
        assert clean_cycle(clean, clean) == 0

    def test_noisy(self, pair):
        # Each image filtered by itself, as published.
        noisy, cycled = (
            gaussian_filter(x.numpy(), (0, 0, 2, 2), radius=(0, 0, 8, 8), mode="mirror")
            for x in pair
        )
        found = noisy_cycle(LowPass(2.0, 17), *pair).item()
        assert found == pytest.approx(np.mean(np.abs(noisy - cycled)), rel=1e-5)

    def test_new_noise_costs_little_and_a_new_level_all(self, pair):
        noisy, _ = pair
        other = noisy.flip(3)  # noise of the same kind
        assert noisy_cycle(LowPass(), noisy, other) < 0.15 * clean_cycle(noisy, other)
        assert noisy_cycle(LowPass(), noisy, noisy - 3).item() == pytest.approx(3, rel=1e-5)

    def test_all_valid_is_as_without(self, pair):
        low_pass = LowPass(2.0, 17)
        found = noisy_cycle(low_pass, *pair, valid=torch.ones(2, 1, 1, 1))
        assert found.item() == pytest.approx(noisy_cycle(low_pass, *pair).item(), rel=1e-6)

    def test_what_was_not_measured_does_not_matter(self, pair):
        noisy, cycled = pair
        valid = torch.ones_like(noisy)
        valid[0, :, :, 30:] = 0
        valid[1, :, 5:9, ::2] = 0
        low_pass = LowPass(2.0, 17)
        found = noisy_cycle(low_pass, noisy, cycled, valid)
        garbage = torch.where(valid > 0, cycled, 1e3)
        assert noisy_cycle(low_pass, noisy, garbage, valid).item() == pytest.approx(found.item())
        # A change of level is seen in full, whatever is missing.
        assert noisy_cycle(low_pass, noisy, noisy + 3, valid).item() == pytest.approx(3, rel=1e-5)
        # By hand: what remains of each place's average, weighted by its measured pixels.
        top, under = low_pass(valid * (cycled - noisy)), low_pass(valid)
        mean, share = (top / under.clamp_min(1e-9)).abs().numpy(), under.numpy()
        assert found.item() == pytest.approx(np.sum(share * mean) / np.sum(share), rel=1e-5)

    def test_nothing_measured(self, pair):
        assert noisy_cycle(LowPass(), *pair, valid=torch.zeros_like(pair[0])) == 0


class TestNeighbour:
    def test_against_numpy(self):
        rng = np.random.default_rng(4)
        found, counted = rng.normal(1, 2, (2, 3, 6, 7))
        curvature, weight = np.array([0.0, 0.8, -0.5]), rng.uniform(0, 5, (3, 6, 7))
        top = 0
        for i in range(3):
            variance = np.maximum(1 + curvature[i] * found[i], 0.2)
            top += np.sum(weight[i] * (counted[i] - found[i]) ** 2 / variance)
        expected = top / np.sum(weight)
        arguments = map(torch.from_numpy, (found, counted, curvature, weight))
        assert neighbour_likelihood(*arguments).item() == pytest.approx(expected)

    def test_nothing_measured(self):
        x = torch.zeros(1, 4, 4)
        assert neighbour_likelihood(x, x + 1, torch.ones(1), x) == 0

    @staticmethod
    def counts(background, shape=(300, 300)):
        """An image in counts and a frame of it, both normalised, and the curvature."""
        rng = np.random.default_rng(5)
        intensity = background + rng.uniform(0, 8 * background, shape) * (rng.uniform(size=shape) < 0.3)  # fmt: skip
        noise = np.sqrt(background)
        truth, counted = ((x - background) / noise for x in (intensity, rng.poisson(intensity)))
        return *(torch.from_numpy(x)[None] for x in (truth, counted)), torch.tensor([1 / noise])

    @pytest.mark.parametrize("background", [0.7, 5.0])
    def test_descent_ends_at_the_truth(self, background):
        truth, counted, curvature = self.counts(background)
        weight = torch.ones_like(truth)
        weight[:, :40], counted[:, :40] = 0, 50.0  # a part that was not measured

        shift = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
        for _ in range(60):
            loss = neighbour_likelihood(truth + shift, counted, curvature, weight)
            (slope,) = torch.autograd.grad(loss, shift)
            with torch.no_grad():
                shift -= 0.4 * slope
        # Its standard error: at most that of the mean of as many values of variance 1 ... 9.
        assert abs(shift.item()) < 4 * 3 / np.sqrt(260 * 300)

    def test_is_one_at_the_truth(self):
        # Counts have the variance that the normalisation says.
        truth, counted, curvature = self.counts(4.0)
        loss = neighbour_likelihood(truth, counted, curvature, torch.ones_like(truth))
        assert loss.item() == pytest.approx(1, abs=0.03)
