# SPDX-License-Identifier: GPL-3.0-or-later
"""The noise estimator, against noise whose gain and read-out are known."""

import numpy as np
import pytest

import n2a
from n2a.noise import Noise, background_level, estimate_noise


def rng(seed=0):
    return np.random.default_rng(seed)


def ramp(low, high, shape=(4, 160, 192)):
    return np.linspace(low, high, shape[2]) * np.ones(shape)


@pytest.fixture(scope="module")
def scenes():
    """Clean series of every structure, by name."""
    return {
        name: n2a.simulate(structure=name, shape=(128, 128), frames=6, seed=1)
        for name in ("cluster", "2d", "crystal", "atoms")
    }


class TestKnownNoise:
    @pytest.mark.parametrize("dose", [0.3, 3, 50, 2000])
    @pytest.mark.parametrize(
        ("gain", "read_noise", "offset"), [(1, 0, 0), (0.02, 0.3, 5), (100, 0.5, -5e5)]
    )
    def test_gain_and_variance_within_ten_percent(self, dose, gain, read_noise, offset):
        rate = ramp(dose, 10 * dose)
        counts = rng().poisson(rate) + read_noise * rng(1).normal(size=rate.shape)
        noise = estimate_noise(gain * counts + offset)
        assert noise.gain == pytest.approx(gain, rel=0.1)
        assert noise.gain_error < 0.1 * gain
        for level in (dose, 5 * dose, 10 * dose):
            true = gain**2 * (level + read_noise**2)
            assert noise.variance(gain * level + offset) == pytest.approx(true, rel=0.12)

    @pytest.mark.parametrize("structure", ["cluster", "2d", "crystal", "atoms"])
    @pytest.mark.parametrize("dose", [2, 30, 300])
    def test_among_atoms(self, scenes, structure, dose):
        noisy = n2a.acquire(
            scenes[structure], dose=dose, support=0.3, gain=2, offset=100, dtype="float32"
        )
        noise = estimate_noise(noisy.data)
        assert noise.gain == pytest.approx(2, rel=0.15)
        assert noise.variance(100 + 0.6 * dose) == pytest.approx(4 * 0.3 * dose, rel=0.15)

    def test_gain_from_a_flat_field_is_not_made_up(self):
        noise = estimate_noise(7 + 3 * rng().normal(size=(4, 128, 128)))
        assert noise.gain == 0
        assert noise.variance(7) == pytest.approx(9, rel=0.05)
        assert noise.variance(1e6) == noise.variance(7)

    def test_gaussian_noise_on_atoms_has_no_gain(self, scenes):
        clean = scenes["2d"].data * 20
        noise = estimate_noise(clean + rng().normal(size=clean.shape))
        assert abs(noise.gain) * np.ptp(clean) < 0.3
        assert noise.variance(0.0) == pytest.approx(1, rel=0.15)

    @pytest.mark.parametrize("correlation", [{"afterglow": 0.3}, {"line_noise": 4.0}])
    def test_noise_correlated_along_the_scan_is_seen_whole(self, correlation):
        # Every pixel's own variance counts, whatever it shares with its neighbours along x.
        empty = n2a.simulate(structure="2d", pattern="square", shape=(160, 160), frames=6, seed=3)
        noisy = n2a.acquire(
            empty,
            dose=1e-3,
            support=2e4,
            texture=0,
            slope=0,
            dtype="float64",
            seed=4,
            **correlation,
        )  # 20 counts of support and next to no atoms
        inner = noisy.data[..., 20:]
        noise = estimate_noise(inner)
        assert noise.variance(20.0) == pytest.approx(inner.var(), rel=0.1)

    def test_slow_background_is_no_noise(self):
        y, x = np.mgrid[:128, :128]
        slow = 1000 + 100 * np.sin(y / 25) + 2 * x
        noise = estimate_noise(slow + rng().normal(size=(4, 128, 128)))
        assert noise.variance(1000.0) == pytest.approx(1, rel=0.1)


class TestOddInput:
    def test_hot_pixels_are_ignored(self):
        frames = rng().poisson(ramp(5, 50)).astype(float)
        frames[rng(1).uniform(size=frames.shape) < 5e-4] = 500
        noise = estimate_noise(frames)
        assert noise.variance(20.0) == pytest.approx(20, rel=0.3)

    def test_nan_are_left_out(self):
        frames = rng().poisson(ramp(5, 50)).astype(float)
        frames[:, 100:] = np.nan
        frames[1, :, 30:60] = np.nan
        assert estimate_noise(frames).gain == pytest.approx(1, rel=0.12)

    @pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", ">f4", ">u2"])
    def test_dtypes(self, dtype):
        frames = rng().poisson(ramp(5, 50))
        expected, found = estimate_noise(frames.astype(float)), estimate_noise(frames.astype(dtype))
        assert found.gain == pytest.approx(expected.gain, rel=1e-3)
        assert found.offset == pytest.approx(expected.offset, abs=1e-2)

    @pytest.mark.parametrize("factor", [1e-15, 1e-3, 1e15])
    def test_units_do_not_matter(self, factor):
        frames = rng().poisson(ramp(5, 50)).astype(float)
        one, other = estimate_noise(frames), estimate_noise(factor * frames)
        assert other.gain == pytest.approx(factor * one.gain, rel=1e-3)
        assert other.offset == pytest.approx(factor**2 * one.offset, rel=1e-2)

    def test_small_images(self):
        noise = estimate_noise(rng().poisson(20, (16, 8, 8)))
        assert noise.variance(20.0) == pytest.approx(20, rel=0.4)

    def test_no_noise_at_all(self):
        noise = estimate_noise(np.full((2, 32, 32), 4.0))
        assert noise.gain == 0
        assert noise.variance(4.0) == 0

    def test_nothing_measured(self):
        with pytest.raises(ValueError, match="'frames'.*finite"):
            estimate_noise(np.full((2, 32, 32), np.nan))

    def test_frames_are_not_changed(self):
        frames = rng().poisson(ramp(5, 50)).astype(float)
        frames.flags.writeable = False
        estimate_noise(frames)


def test_variance_is_never_negative():
    assert Noise(1.0, -5.0, 0.1).variance(2.0) == 0
    assert Noise(2.0, 1.0, 0.1).variance(3.0) == 7


class TestBackgroundLevel:
    @pytest.mark.parametrize("dose", [3, 100])
    def test_between_bright_and_dark_atoms(self, scenes, dose):
        atoms = scenes["atoms"].data * dose
        support = 2.0 * dose
        spread = np.sqrt(support)
        bright = rng().poisson(support + atoms)
        assert background_level(bright, True) == pytest.approx(support, abs=0.5 * spread)
        dark = rng().poisson(np.clip(support - atoms, 0, None))
        assert background_level(dark, False) == pytest.approx(support, abs=0.5 * spread)

    def test_nan_and_offset(self):
        frames = rng().normal(1e6, 1, (3, 64, 64))
        frames[:, :, 50:] = np.nan
        assert background_level(frames, True) == pytest.approx(1e6, abs=0.5)
