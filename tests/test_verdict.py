# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict tells the truth without knowing it: checked against scenes whose truth is known."""

from functools import lru_cache

import numpy as np
import pytest
import torch

from n2a.inference import restore
from n2a.model import get_model
from n2a.patches import NoisySeries
from n2a.plan import Plan
from n2a.verdict import CLEAR, Judge

PLAN = Plan(level=6.0, noise=6.375**0.5, gain=1.0, contrast="bright", atom_width=2.0, factor=1)


@lru_cache
def scene(shape=(112, 128)):
    """Mean counts (8, y, x) of atoms of 12 at rest on a support of 6."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    sites = np.stack(np.meshgrid(np.arange(8, shape[0], 13), np.arange(8, shape[1], 13)), -1)
    sites = sites.reshape(-1, 2) + rng.normal(scale=1.5, size=(sites.size // 2, 2))
    spots = sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / 8) for a, b in sites)
    return np.repeat((6 + 12 * spots)[None], 8, 0)


@lru_cache
def series(held=(3,), seed=0, shape=(112, 128)):
    frames = np.random.default_rng(seed).poisson(scene(shape)).astype(np.float32)
    return NoisySeries(frames, PLAN, held_out=held)


def box():
    return get_model().generator


@lru_cache
def perturbed(scale, seed=0):
    generator = type(box())(**box().configuration)
    generator.load_state_dict(box().state_dict())
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in generator.parameters():
            p.add_(scale * torch.randn(p.shape, generator=noise))
    return generator.eval()


class Told(torch.nn.Module):
    """A network with an opinion of its own on the middle frame."""

    window, multiple = 5, 8

    def __init__(self, make):
        super().__init__()
        self.make, self.weight = make, torch.nn.Parameter(torch.zeros(()))

    def forward(self, frames, valid, curvature):
        return torch.stack([self.make(frames), torch.zeros_like(frames[:, 2])], 1)


def true_gain(judge, network, shape=(112, 128)):
    """Fall of the squared error against the scene itself, in units of the same variance."""
    truth, falls = (scene(shape)[0] - PLAN.level) / PLAN.noise, []
    for view, (_, before), variance in zip(
        judge.views, judge.reference, judge._variance, strict=True
    ):
        atoms, background = restore(network, view.values, view.valid, view.curvature)
        fall = ((truth - before) ** 2 - (truth - atoms - background) ** 2) / variance
        falls.append(fall[view.seen].mean())
    return float(np.mean(falls))


class TestGain:
    def test_sign(self):
        judge = Judge([series()], perturbed(0.01))
        gain = judge.gain(box())
        assert gain.value > 3 * gain.error > 0
        judge = Judge([series()], box())
        gain = judge.gain(perturbed(0.01))
        assert gain.value < -3 * gain.error

    @pytest.mark.parametrize("scale", [0.003, 0.01, 0.03])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_is_the_true_one(self, scale, seed):
        judge = Judge([series((1, 4), seed)], box())
        gain = judge.gain(perturbed(scale, seed))
        assert gain.value == pytest.approx(
            true_gain(judge, perturbed(scale, seed)), abs=3 * gain.error
        )

    def test_error_is_honest(self):
        """Over many series the gains scatter about the truth by about the error that is told."""
        deviations = []
        for seed in range(12):
            judge = Judge([series((3,), seed, (64, 64))], box())
            gain = judge.gain(perturbed(0.01))
            true = true_gain(judge, perturbed(0.01), (64, 64))
            deviations.append((gain.value - true) / gain.error)
        assert 0.2 < np.std(deviations) < 1.6
        assert abs(np.mean(deviations)) < 1.5

    def test_nothing_for_the_same_network(self):
        gain = Judge([series()], box()).gain(box())
        assert gain.value == 0
        assert not gain.value > CLEAR * gain.error

    def test_several_series_count(self):
        judge = Judge([series(), series((2,), 5, (64, 80))], perturbed(0.01))
        assert len(judge.views) == 4
        gain = judge.gain(box())
        assert gain.value > 3 * gain.error

    def test_what_was_not_measured_does_not_count(self):
        frames = series().frames.copy()
        frames[3, :, 64:] = np.nan
        holed = NoisySeries(frames, PLAN, held_out=(3,))
        gain = Judge([holed], perturbed(0.01)).gain(box())
        assert gain.value > 3 * gain.error
        frames = series().frames.copy()
        frames[3] = np.nan
        assert not Judge([NoisySeries(frames, PLAN, held_out=(3,))], box()).views

    def test_without_held_out_frames(self):
        judge = Judge([series(())], box())
        assert np.isnan(judge.gain(box())).all()
        assert np.isnan(judge.look(box())[1])
        assert judge.collapsed(box()) == ""
        assert set(judge.fidelity(box()).values()) == {None}
        assert judge.example(box()) == (None, None)


class TestViews:
    def test_are_without_the_held_out_frames(self):
        """Whatever held-out frames hold, the restorations are the same; only the target is theirs."""
        clean = series((2, 5))
        other = clean.frames.copy()
        # Other noise on the same scene, which moves nothing.
        other[[2, 5]] = np.random.default_rng(9).poisson(scene()[[2, 5]])
        marked = NoisySeries(other, PLAN, held_out=(2, 5))
        pairs = list(zip(Judge([clean], box()).views, Judge([marked], box()).views, strict=True))
        assert len(pairs) == 4
        for a, b in pairs:
            np.testing.assert_array_equal(a.values, b.values)
            np.testing.assert_array_equal(a.valid, b.valid)
            assert not np.array_equal(a.target, b.target)
            # Of five frames one at least is left out.
            assert a.valid.any((1, 2)).sum() <= 4
            assert (a.values[~a.valid] == 0).all()

    def test_both_sides(self):
        views = Judge([series((0, 4))], box()).views
        assert [view.held for view in views] == [(0, 0), (0, 4), (0, 4)]

    def test_large_frames_are_cropped(self, monkeypatch):
        monkeypatch.setattr("n2a.verdict.EDGE", 48)
        for view in Judge([series()], box()).views:
            assert view.values.shape == (5, 48, 48)
            assert view.target.shape == view.middle.shape == view.seen.shape == (48, 48)

    def test_long_series_are_sampled(self):
        frames = np.tile(series().frames, (8, 1, 1))[:, :32, :32]
        held = tuple(range(3, 64, 6))
        assert len(Judge([NoisySeries(frames, PLAN, held_out=held)], box()).views) <= 12


@pytest.fixture(scope="module")
def judge():
    return Judge([series()], box())


class TestCollapsed:
    def test_not(self, judge):
        assert judge.collapsed(box()) == ""
        assert judge.collapsed(perturbed(0.003)) == ""

    @pytest.mark.parametrize(
        ("make", "problem"),
        [
            (lambda frames: torch.full_like(frames[:, 2], 2.0), "constant"),
            (lambda frames: torch.full_like(frames[:, 2], torch.nan), "not finite"),
            (lambda frames: torch.full_like(frames[:, 2], torch.inf), "not finite"),
            (lambda frames: frames[:, 2].roll(37, -1).flip(-2).clamp_min(0), "nothing to do"),
        ],
    )
    def test_named(self, judge, make, problem):
        network = Told(make)
        assert problem in judge.collapsed(network)
        # It is told without an error, as the training's history is.
        assert not judge.gain(network).value > 0
        judge.look(network)
        judge.fidelity(network)


class TestFidelity:
    def test_tells_good_from_bad(self):
        judge = Judge([series()], box())
        good, bad = judge.fidelity(box()), judge.fidelity(perturbed(0.03))
        assert good["upsnr"] > bad["upsnr"] + 1
        assert good["whiteness"] < 0.05
        # Smoothing takes the atoms away with the noise, and what it takes is not white.
        blurred = judge.fidelity(Told(lambda f: torch.nn.functional.avg_pool2d(f[:, 2], 21, 1, 10)))
        assert blurred["whiteness"] > 2 * good["whiteness"]
        assert 0 < good["css"] <= 1

    def test_upsnr_is_the_true_psnr(self):
        judge = Judge([series((1, 4))], box())
        truth = (scene()[0] - PLAN.level) / PLAN.noise
        errors = []
        for view in judge.views:
            total = sum(restore(box(), view.values, view.valid, view.curvature))
            errors.append(((total - truth) ** 2)[view.seen].mean())
        expected = 10 * np.log10(judge.range**2 / np.mean(errors))
        assert judge.fidelity(box())["upsnr"] == pytest.approx(expected, abs=2.0)

    def test_small_frames(self):
        told = Judge([series(shape=(24, 28))], box()).fidelity(box())
        assert told["whiteness"] is None
        assert told["css"] is not None

    def test_series_of_different_sizes(self):
        told = Judge([series(), series((2,), 5, (64, 80))], box()).fidelity(box())
        assert None not in told.values()

    def test_example(self):
        before, after = Judge([series()], box()).example(box())
        assert before.shape == after.shape == (112, 128)
        assert np.corrcoef(after.ravel(), scene()[0].ravel())[0, 1] > 0.9
