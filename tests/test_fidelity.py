# SPDX-License-Identifier: GPL-3.0-or-later
"""The measures of the report one by one: against independent calculations."""

import numpy as np
import pytest
from scipy import fft
from scipy.ndimage import gaussian_filter, shift

from n2a.detection import detect
from n2a.intensity import proportion
from n2a.noise import Noise
from n2a.ring_correlation import frc
from n2a.rings import (
    RINGS,
    Budget,
    band_limit,
    by_ring,
    coefficient_rings,
    corner,
    linear_filter,
)
from n2a.views import UNSEEN, Registration, added_noise, register, unseen_pairs


def scene(n=8, size=128, width=2.5, seed=0):
    """A smooth random scene at rest."""
    rng = np.random.default_rng(seed)
    one = gaussian_filter(rng.normal(size=(size, size)), width)
    return np.repeat(5 * one[None] / one.std(), n, axis=0)


class TestRingCorrelation:
    def test_of_known_signal_to_noise(self):
        # White scene and noise: s / (s + 1) in every ring.
        rng = np.random.default_rng(0)
        both = rng.normal(size=(20, 96, 96))
        first, second = (both + np.sqrt(0.5) * rng.normal(size=both.shape) for _ in range(2))
        curve = frc(first, second)
        np.testing.assert_allclose(curve.correlation[2:], 2 / 3, atol=0.06)
        assert curve.correlation.mean() == pytest.approx(2 / 3, abs=0.01)

    def test_three_sigma_is_that_of_chance(self):
        rng = np.random.default_rng(1)
        told = [frc(*rng.normal(size=(2, 80, 100))) for _ in range(40)]
        ratio = np.array([curve.correlation / curve.three_sigma for curve in told])
        assert np.std(3 * ratio) == pytest.approx(1, abs=0.15)
        assert np.mean(ratio > 1) < 0.01

    def test_equal_images_and_unequal_edges(self):
        image = scene(1)[0]
        np.testing.assert_allclose(frc(image, image).correlation, 1)
        # A ramp in both halves: a jump at the borders must not correlate at high frequencies.
        rng = np.random.default_rng(2)
        ramp = np.linspace(0, 100, 128) * np.ones((128, 1))
        curve = frc(*(ramp + rng.normal(size=(2, 128, 128))))
        assert np.abs(curve.correlation[8:]).max() < 3 * curve.three_sigma[8:].max()

    def test_resolution_of_a_cut_off(self):
        # Structure up to a tenth of a cycle per pixel, noise everywhere.
        rng = np.random.default_rng(3)
        k = np.hypot(fft.fftfreq(256)[:, None], fft.rfftfreq(256))
        sharp = fft.irfft2(fft.rfft2(rng.normal(size=(256, 256))) * (k < 0.1), s=(256, 256))
        first, second = 10 * sharp + 2 * rng.normal(size=(2, 256, 256))
        curve = frc(first, second, pixel_size=0.02)
        for threshold in ("1/7", "3-sigma", 0.5):
            # The taper spreads what is strong into the next rings.
            assert curve.resolution(threshold) == pytest.approx(10, rel=0.12)
        assert curve.frequency_nm[-1] == pytest.approx(curve.frequency[-1] / 0.02)
        resolution = curve.resolution()
        assert f"resolution {0.02 * resolution:.3g} nm ({resolution:.3g} px) at 1/7" in repr(curve)
        assert frc(*rng.normal(size=(2, 64, 64))).resolution(0.9) is None
        with pytest.raises(ValueError, match="'threshold' is 'half'"):
            curve.resolution("half")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((np.ones((32, 32)), np.ones((32, 31))), "'second' has shape"),
            ((np.ones((32, 32)), np.eye(32)), "'first' is constant"),
            ((np.eye(8), np.eye(8)), "at least 16 x 16 px"),
            ((np.eye(32), np.eye(32), -1.0), "'pixel_size' is -1"),
            ((np.eye(32), np.eye(32), None, 1), "'rings' is 1"),
        ],
    )
    def test_bad_input(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            frc(*arguments)


class TestViews:
    def test_drift_is_undone(self):
        big = scene(1, 160)[0]
        steps = np.array([[3 * i, -2 * i] for i in range(9)])
        frames = np.stack([big[s[0] : s[0] + 120, 20 + s[1] : 140 + s[1]] for s in steps])
        noisy = frames + np.random.default_rng(0).normal(size=frames.shape)
        found = register(noisy, 2.5)
        np.testing.assert_array_equal(found.shifts, steps - steps[4])
        placed = found.apply(frames)
        assert placed.shape == (9, 120 - 24, 120 - 16)
        np.testing.assert_array_equal(placed, np.repeat(placed[:1], 9, 0))

    def test_noise_does_not_move(self):
        frames = np.random.default_rng(0).normal(size=(6, 64, 64))
        found = register(frames, 2)
        assert not found.shifts.any()
        assert found.apply(frames).shape == frames.shape

    def test_unseen_frames(self):
        pairs = list(unseen_pairs(14))
        assert {i for i, _ in pairs} == set(range(14))
        for i, others in pairs:
            assert {abs(i - j) for j in others} <= set(UNSEEN)
            assert len({np.sign(i - j) for j in others}) == 1
            assert len(others) >= 2
        assert not list(unseen_pairs(7))

    def test_added_noise_is_like_the_noise(self):
        expected = np.linspace(2, 40, 200) * np.ones((30, 64, 1))
        profile = 21 * np.interp(np.arange(200), [0, 50, 200], [4, 1, 0.2])
        noise = added_noise(expected, Noise(1, 0, 0), profile, np.random.default_rng(0))
        assert noise.var() == pytest.approx(profile.mean(), rel=0.03)
        white = added_noise(expected, Noise(1, 0, 0), np.full(3, 21.0), np.random.default_rng(0))
        np.testing.assert_allclose(white.var(axis=(0, 1)), expected[0, 0], rtol=0.15)
        assert np.mean(noise[..., 1:] * noise[..., :-1]) > 0.3 * noise.var()
        assert abs(np.mean(white[..., 1:] * white[..., :-1])) < 0.03 * white.var()
        assert abs(np.mean(noise[:, 1:] * noise[:, :-1])) < 0.03 * noise.var()


class TestRings:
    def test_noise_and_structure(self):
        truth = scene(10)
        raw = truth + 2 * np.random.default_rng(0).normal(size=truth.shape)
        budget = Budget(band_limit(2.5))
        budget.add(raw, truth)
        spectrum = corner(truth, budget.limit)
        ring, noise = coefficient_rings(corner(raw, budget.limit), budget.limit)
        expected = by_ring((spectrum.values**2).sum(0), ring)
        assert budget.count[:RINGS].sum() == 10 * np.count_nonzero(ring < RINGS)
        np.testing.assert_allclose(noise, 4, rtol=0.02)
        strong = expected > 10 * budget.noise[:RINGS]
        np.testing.assert_allclose(budget.structure[:RINGS][strong], expected[strong], rtol=0.1)

    def test_uneven_noise_in_cosines(self):
        # Exact: the power of independent noise in a cosine is a weighted sum of its variances.
        height, width = 24, 31
        rng = np.random.default_rng(0)
        variance = rng.uniform(0.1, 3, (height, width))
        flat = corner(np.zeros((1, height, width)), 0.2)
        flat.profile[:] = 1.0
        _, power = coefficient_rings(flat, 0.2, variance)
        tails_y, tails_x = flat.tails
        rows, columns = height - len(tails_y), width - len(tails_x)
        cosines_y, cosines_x = (
            fft.dct(np.eye(n), norm="ortho", axis=0) ** 2 for n in (height, width)
        )
        exact = cosines_y @ variance @ cosines_x.T
        exact /= exact[flat.first[0] :].mean(axis=0)
        np.testing.assert_allclose(power[:rows, :columns], exact[:rows, :columns], rtol=1e-6)

    def test_error_of_a_result_that_saw_nothing(self):
        truth = scene(12)
        raw = truth + 2 * np.random.default_rng(1).normal(size=truth.shape)
        result = 0.8 * truth + 0.3 * scene(12, seed=9)
        budget = Budget(band_limit(2.5))
        budget.add(raw, result, register(raw, 2.5))
        error = budget.still_error()
        assert error.value == pytest.approx(np.mean((result - truth) ** 2), abs=4 * error.error)
        assert error.error < 0.05 * error.value

    def test_error_of_a_linear_filter_by_added_noise(self):
        truth = scene(4)
        rng = np.random.default_rng(2)
        raw = truth + 3 * rng.normal(size=truth.shape)
        result, z = gaussian_filter(raw, (0, 2, 2)), 3 * rng.normal(size=truth.shape)
        budget = Budget(band_limit(2.5))
        budget.add(raw, result, draws=[(z, gaussian_filter(z, (0, 2, 2)))])
        error = budget.split_error()
        assert error.value == pytest.approx(np.mean((result - truth) ** 2), abs=4 * error.error)
        assert error.error < 0.2 * error.value
        assert budget.still_error() is None

    @pytest.mark.parametrize("blur", [1.0, 2.5])
    def test_errors_of_atoms_that_the_borders_cut(self, blur):
        # Slopes at the borders have power at frequencies where whole atoms have none; noise is strong at the atoms.
        rng = np.random.default_rng(6)
        sites = np.zeros((72, 64))
        sites.flat[rng.choice(sites.size, 40, replace=False)] = rng.uniform(0.5, 1, 40)
        truth = 8 + 60 * 2 * np.pi * 2.5**2 * gaussian_filter(sites, 2.5, mode="constant") / 4
        truth = np.repeat(truth[None], 16, 0)

        def method(frames):
            return gaussian_filter(frames, (0, blur, blur))

        away = {"still": [], "split": []}
        for seed in range(24):
            rng = np.random.default_rng(seed)
            raw = rng.poisson(truth).astype(float)
            z = np.sqrt(truth) * rng.normal(size=truth.shape)
            budget = Budget(band_limit(2.5))
            whole = Registration(np.zeros((16, 2), int), (slice(None), slice(None)))
            budget.add(raw, method(raw), whole, [(z, method(z))], truth[0])
            true = np.mean((method(raw) - truth) ** 2)
            for name, told in (("still", budget.still_error()), ("split", budget.split_error())):
                away[name].append(((told.value - true) / true, told.error / true))
        for each in away.values():
            difference, error = np.transpose(each)
            scatter = difference.std(ddof=1)
            assert abs(difference.mean()) < 0.02
            # As much as it is told to be, never much more.
            assert 0.4 < scatter / error.mean() < 1.5

    def test_frames_that_were_seen_are_told(self):
        truth = scene(12)
        raw = truth + 3 * np.random.default_rng(8).normal(size=truth.shape)
        results = {
            "truth": truth,
            "blur": gaussian_filter(raw, (0, 2, 2)),
            "neighbours": gaussian_filter(raw, (1, 0, 0), truncate=3),  # three to either side
            "mean": np.repeat(raw.mean(axis=0, keepdims=True), 12, axis=0),
        }
        for name, result in results.items():
            budget = Budget(band_limit(2.5))
            budget.add(raw, result, register(raw, 2.5))
            assert budget.neighbours.seen == (name == "mean"), name
            # The noise beyond the limit is there, whoever has seen it.
            expected = np.mean((result - truth) ** 2) if name in ("neighbours", "mean") else 0
            assert budget.noise_outside == pytest.approx(0.87 * expected, rel=0.12, abs=0.03)

    @pytest.mark.parametrize("blur", [1.0, 2.0, 3.0])
    def test_transfer_of_a_single_frame_that_was_blurred(self, blur):
        # Nothing is unseen, the method is unknown: noise must not pass for structure.
        truth = scene(1, size=256)
        raw = truth + 4 * np.random.default_rng(3).normal(size=truth.shape)
        budget = Budget(band_limit(2.5))
        budget.add(raw, gaussian_filter(raw, (0, blur, blur)))
        value, _ = (each[:RINGS] for each in budget.transfer())
        middle = budget.frequency - budget.limit / RINGS / 2
        expected = np.exp(-2 * (np.pi * blur * middle) ** 2)
        strong = budget.structure[:RINGS] > budget.noise[:RINGS]
        assert strong.sum() > 6
        np.testing.assert_allclose(value[strong], expected[strong], atol=0.1)
        # The scene itself is not accused of anything.
        honest = Budget(band_limit(2.5))
        honest.add(raw, truth)
        assert not any(each.clear for each in honest.smoothed())
        assert honest.least_error().value < honest.reference_error()

    def test_transfer_is_that_of_the_blur(self):
        truth = scene(12)
        raw = truth + np.random.default_rng(3).normal(size=truth.shape)
        budget = Budget(band_limit(2.5))
        budget.add(raw, gaussian_filter(raw, (0, 2, 2)), register(raw, 2.5))
        value, error = (each[:RINGS] for each in budget.transfer())
        middle = budget.frequency - budget.limit / RINGS / 2
        expected = np.exp(-2 * (np.pi * 2 * middle) ** 2)
        known = error < 0.05
        assert known.sum() > 8
        np.testing.assert_allclose(value[known], expected[known], atol=0.06)

    def test_linear_filter_is_the_best_of_the_blurs(self):
        truth = scene(6)
        raw = truth + 3 * np.random.default_rng(4).normal(size=truth.shape)
        budget = Budget(band_limit(2.5))
        budget.add(raw, raw)
        filtered = linear_filter(raw, budget.limit, budget.gain)
        error = np.mean((filtered - truth) ** 2)
        assert error == pytest.approx(budget.reference_error(), rel=0.1)
        blurs = [np.mean((gaussian_filter(raw, (0, s, s)) - truth) ** 2) for s in (1, 1.5, 2, 3)]
        assert error < min(blurs)

    def test_motion_is_seen(self):
        truth = scene(12)
        rng = np.random.default_rng(5)
        moving = np.stack([shift(f, (0.4 * i, 0), order=3) for i, f in enumerate(truth)])
        told = []
        for frames in (truth, moving[:, 8:-8]):
            raw = frames + rng.normal(size=frames.shape)
            budget = Budget(band_limit(2.5))
            budget.add(raw, frames, register(raw, 2.5))
            told.append(budget.neighbours.motion())
        assert abs(told[0].value) < 3 * told[0].error
        assert told[1].value > 5 * told[1].error


@pytest.fixture(scope="module")
def columns():
    y, x = np.mgrid[:160, :160]
    heights = np.random.default_rng(0).uniform(10, 60, (10, 10))
    spots = sum(
        h * np.exp(-((y - 8 - 16 * i) ** 2 + (x - 8 - 16 * j) ** 2) / (2 * 2.5**2))
        for (i, j), h in np.ndenumerate(heights)
    )
    frames = np.repeat(spots[None], 3, 0)
    return frames, np.random.default_rng(1).poisson(5 + frames)


class TestProportion:
    def test_scale(self, columns):
        atoms, raw = columns
        told = proportion(0.8 * atoms, raw, detect(atoms, 2.5), 2.5, Noise(1, 0, 0))
        assert told.slope == pytest.approx(1.25, abs=4 * told.slope_error)
        assert told.slope_error < 0.01
        assert told.linear
        assert told.number == 300

    @pytest.mark.parametrize("power", [0.6, 1.6])
    def test_gamma(self, columns, power):
        atoms, raw = columns
        bent = 60 * (atoms / 60) ** power
        told = proportion(bent, raw, detect(atoms, 2.5), 2.5, Noise(1, 0, 0))
        assert not told.linear
        assert told.departure > 10 * told.departure_error

    def test_offset(self, columns):
        atoms, raw = columns
        found = detect(atoms, 2.5)
        told = proportion(atoms + 15 * _unit(atoms), raw, found, 2.5, Noise(1, 0, 0))
        assert not told.linear

    def test_few_columns(self, columns):
        atoms, raw = columns
        found = detect(atoms[:1], 2.5)[:5]
        with pytest.raises(ValueError, match="5 columns stand apart.*expected 12"):
            proportion(atoms[:1], raw[:1], found, 2.5, Noise(1, 0, 0))


def _unit(atoms):
    """Spots of height 1 at the columns of the fixture."""
    y, x = np.mgrid[:160, :160]
    return sum(
        np.exp(-((y - 8 - 16 * i) ** 2 + (x - 8 - 16 * j) ** 2) / (2 * 2.5**2))
        for i in range(10)
        for j in range(10)
    )[None].repeat(len(atoms), 0)
