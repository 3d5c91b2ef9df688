# SPDX-License-Identifier: GPL-3.0-or-later
"""Variance stabilisation: unit noise at every count, there and back again."""

import numpy as np
import pytest
import torch

from n2a.normalization import ANSCOMBE, LARGEST, Normalization, atoms_above, linearise, stabilise


def counting(background, gain=1.0, offset=0.0, read_noise=0.0, sign=1):
    """Normalisation of Poisson counts with a known background."""
    noise = gain * np.sqrt(background + read_noise**2 + ANSCOMBE)
    return Normalization(gain * background + offset, noise, gain, sign)


class TestUnitVariance:
    @pytest.mark.parametrize("background", [1, 10, 300])
    @pytest.mark.parametrize("rate", [1.5, 5, 40, 1000, 20000])
    def test_from_low_to_high_counts(self, background, rate):
        counts = np.random.default_rng(0).poisson(rate, 60000)
        values = counting(background).forward(counts)
        assert values.std() == pytest.approx(1, abs=0.08)

    @pytest.mark.parametrize(
        ("gain", "offset", "read_noise"), [(25, -1e4, 0), (0.001, 3, 2), (1, 0, 10)]
    )
    def test_any_gain_offset_and_read_noise(self, gain, offset, read_noise):
        rng = np.random.default_rng(1)
        scheme = counting(4, gain, offset, read_noise)
        for rate in (4, 30, 400):
            counts = rng.poisson(rate, 60000) + read_noise * rng.normal(size=60000)
            assert scheme.forward(gain * counts + offset).std() == pytest.approx(1, abs=0.05)

    def test_gaussian_noise_needs_no_bending(self):
        scheme = Normalization(50.0, 4.0, 0.0)
        frames = np.linspace(-100, 1000, 31)
        np.testing.assert_allclose(scheme.forward(frames), (frames - 50) / 4, rtol=1e-6)

    def test_dark_atoms(self):
        # Few counts in the atoms, many between them: depth counts upwards, and its noise is 1 too.
        scheme = counting(200, gain=3, offset=7, sign=-1)
        rng = np.random.default_rng(2)
        means = []
        for rate in (200, 100, 20, 4):
            values = scheme.forward(3 * rng.poisson(rate, 60000) + 7)
            assert values.std() == pytest.approx(1, abs=0.08)
            means.append(values.mean())
        assert abs(means[0]) < 0.05
        assert np.all(np.diff(means) > 1)

    def test_emptiness_stays_noise_of_variance_one(self):
        # Whatever contrast an image has, it is not stretched.
        for background in (2, 50, 1e4):
            counts = np.random.default_rng(3).poisson(background, 60000)
            values = counting(background).forward(counts)
            assert values.std() == pytest.approx(1, abs=0.08)
            assert abs(values.mean()) < 0.3


class TestRoundTrip:
    SCHEMES = (
        counting(0.1), counting(30, gain=20, offset=-400), counting(500, sign=-1),
        Normalization(1e6, 12.0, 0.0), Normalization(0.0, 1e-12, 0.0, -1), Normalization(5, 1, 100),
    )  # fmt: skip

    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_there_and_back(self, scheme):
        # As far as the variance is positive, and all that depth can be.
        end = 1 / max(-scheme.curvature, 1e-3)
        start = -1 / max(scheme.curvature, 1e-3)
        x = np.linspace(0.99 * start, 0.99 * end, 401)
        image = scheme.level + scheme.sign * scheme.noise * x
        values = scheme.forward(image)
        assert values.dtype == np.float32
        assert np.all(np.diff(values) > 0)
        back = scheme.background(values)
        tolerance = 2e-6 * (abs(scheme.level) + scheme.noise * np.abs(x).max())
        np.testing.assert_allclose(back, image, atol=tolerance)

    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_background_level_is_zero(self, scheme):
        assert scheme.forward(np.array([scheme.level]))[0] == pytest.approx(0, abs=1e-6)
        assert scheme.background(np.zeros(1))[0] == pytest.approx(scheme.level)

    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_atoms_are_the_difference_to_the_background(self, scheme):
        under = np.linspace(-0.3, 2, 9)
        atoms = np.linspace(0, 1.5, 9)
        expected = scheme.sign * (scheme.background(under + atoms) - scheme.background(under))
        found = scheme.atoms(atoms, under)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * abs(scheme.level))

    def test_atoms_on_a_huge_background_keep_their_digits(self):
        scheme = Normalization(1e9, 1e4, 1.0)
        atoms = scheme.atoms(np.float32([1e-3, 2e-3]), np.float32([0, 0]))
        assert atoms[1] / atoms[0] == pytest.approx(2, rel=1e-5)

    def test_scaling_the_series_changes_nothing(self):
        frames = np.random.default_rng(0).poisson(20, 500).astype(float)
        one = Normalization(20, 4.5, 1).forward(frames)
        for scale, offset in ((1e-12, 0), (1e9, 3e10), (-0.0 + 7, -50)):
            scheme = Normalization(20 * scale + offset, 4.5 * scale, scale)
            np.testing.assert_allclose(scheme.forward(frames * scale + offset), one, atol=2e-5)


class TestLimits:
    def test_offsets_beyond_single_precision(self):
        frames = (np.uint32(4_000_000_000) + np.arange(-3, 60, 5)).astype(np.uint32)
        values = Normalization(4e9, 1.0, 0.0).forward(frames)
        np.testing.assert_array_equal(values, np.arange(-3, 60, 5))

    def test_what_counting_cannot_give_stays_finite(self):
        scheme = counting(2)
        values = scheme.forward(np.array([-1e30, -50.0, 0.0, 1e30]))
        assert np.isfinite(values).all()
        assert np.all(np.diff(values) >= 0)
        assert np.abs(values).max() <= LARGEST

    def test_nan_stays_nan(self):
        values = counting(2).forward(np.array([np.nan, 2.0]))
        assert np.isnan(values[0])
        assert values[1] == pytest.approx(0, abs=1e-6)

    def test_curvature_has_the_sign_of_the_atoms_and_a_bound(self):
        assert Normalization(0, 2.0, 1.0).curvature == 0.5
        assert Normalization(0, 2.0, 1.0, -1).curvature == -0.5
        # No noise is less than that of no counts at all.
        assert Normalization(0, 1.0, 50.0).curvature == pytest.approx(1 / np.sqrt(3 / 8))

    def test_arrays_and_tensors_agree(self):
        x = np.linspace(-1, 30, 7)
        u = stabilise(torch.from_numpy(x), torch.tensor(0.7))
        np.testing.assert_allclose(linearise(u.numpy(), 0.7), x, rtol=1e-6)
        np.testing.assert_allclose(linearise(u, torch.tensor(0.7)).numpy(), x, rtol=1e-6)
        above = atoms_above(u, torch.zeros(7), torch.tensor(0.7)).numpy()
        np.testing.assert_allclose(above, x, rtol=1e-6)
