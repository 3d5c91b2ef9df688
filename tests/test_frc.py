# SPDX-License-Identifier: GPL-3.0-or-later
"""Fourier ring correlation against what follows from signal-to-noise ratios that are known here."""

import numpy as np
import pytest
from scipy import fft

from n2a.ring_correlation import RingCorrelation, frc


def coloured(rng, shape, power):
    """Periodic noise of zero mean whose spectrum has the power `power(k)` per pixel, k in cycles per pixel."""
    k = np.hypot(fft.fftfreq(shape[-2])[:, None], fft.rfftfreq(shape[-1]))
    return fft.irfft2(fft.rfft2(rng.normal(size=shape)) * np.sqrt(power(k)), s=shape[-2:])


def falling(k):
    """Signal to unit noise: 30 at first, 1/6 at 0.322 cycles per pixel, which is a correlation of 1/7."""
    return 30 * np.exp(-50 * k**2)


def lattice(shape, period=8.0):
    y, x = (2 * np.pi * np.arange(n) / period for n in shape)
    return np.cos(y)[:, None] + np.cos(x)


class TestCorrelation:
    @pytest.mark.parametrize("shape", [(16, 96, 96), (12, 81, 128)])
    @pytest.mark.parametrize("noise", [1.0, 3.0])
    def test_follows_from_the_signal_to_noise_ratio(self, shape, noise):
        rng = np.random.default_rng(0)
        scene = coloured(rng, shape, falling)
        first = scene + rng.normal(size=shape)
        second = scene + np.sqrt(noise) * rng.normal(size=shape)
        curve = frc(first, second)
        s = falling(curve.frequency)
        expected = s / np.sqrt((s + 1) * (s + noise))
        assert np.abs(curve.correlation - expected).mean() < 0.02
        # Two widths of chance and what one ring spans; a ring of few points has more of both.
        assert (np.abs(curve.correlation - expected) < curve.three_sigma + 0.02).all()

    def test_unrelated_noise_stays_below_three_sigma(self):
        beyond, scatter = [], []
        for seed, shape in enumerate([(96, 96), (3, 64, 96), (2, 97, 65)] * 8):
            rng = np.random.default_rng(seed)
            curve = frc(rng.normal(size=shape), rng.poisson(4, shape))
            inner = slice(2, None)  # the first rings have a handful of points
            beyond.append(curve.correlation[inner] > curve.three_sigma[inner])
            scatter.append(3 * curve.correlation[inner] / curve.three_sigma[inner])
        scatter = np.concatenate(scatter)
        assert np.concatenate(beyond).mean() < 0.01
        # Three sigma are three standard deviations, neither two nor five.
        assert scatter.std() == pytest.approx(1, abs=0.15)
        assert abs(scatter.mean()) < 4 / np.sqrt(len(scatter))

    def test_a_lattice_that_both_halves_share_but_the_counts_do_not(self):
        rng = np.random.default_rng(1)
        raw = rng.poisson(20, (2, 12, 96, 96)).astype(float)  # nothing but background
        painted = lattice((96, 96))
        results = 20 + painted + 0.02 * (raw - 20)
        agreement = frc(*results)
        at = int(2 * len(agreement.frequency) / 8)  # of the lattice
        assert agreement.correlation[at] > 0.99
        for result, other in ((results[0], raw[1]), (results[1], raw[0])):
            cross = frc(result, other)
            assert (cross.correlation > cross.three_sigma).mean() < 0.1
            assert abs(cross.correlation[at]) < 0.2
        # The counts do support one that is there.
        raw = rng.poisson(20 + 5 * painted, (12, 96, 96))
        assert frc(results[0], raw).correlation[at] > 0.8

    def test_equal_and_opposite(self):
        image = np.random.default_rng(2).normal(size=(48, 64))
        np.testing.assert_allclose(frc(image, image).correlation, 1)
        np.testing.assert_allclose(frc(image, -image).correlation, -1)

    def test_units_offsets_and_order_do_not_matter(self):
        rng = np.random.default_rng(3)
        first, second = coloured(rng, (3, 48, 64), falling) + rng.normal(size=(2, 3, 48, 64))
        base = frc(first, second).correlation
        np.testing.assert_allclose(frc(second, first).correlation, base)
        np.testing.assert_allclose(frc(70 * first - 400, second / 9 + 5).correlation, base)
        offsets = np.array([3.0, -50, 7])[:, None, None]
        np.testing.assert_allclose(frc(first + offsets, second).correlation, base)

    def test_integers_do_not_wrap(self):
        first, second = np.random.default_rng(4).integers(0, 255, (2, 40, 40))
        expected = frc(first.astype(float), second.astype(float)).correlation
        small = frc(first.astype(np.uint8), second.astype(np.uint8)).correlation
        np.testing.assert_allclose(small, expected)

    def test_edges_of_unrelated_frames_do_not_correlate(self):
        # Without a taper the steps from one edge to the other make crosses in both spectra.
        rng = np.random.default_rng(5)
        ramp = np.linspace(-100, 100, 96)
        first, second = (ramp + ramp[:, None] + rng.normal(size=(96, 96)) for _ in range(2))
        curve = frc(first, second)
        fine = curve.frequency > 0.15
        assert (curve.correlation[fine] < curve.three_sigma[fine]).mean() > 0.95

    def test_pixels_without_a_value(self):
        rng = np.random.default_rng(6)
        first, second = coloured(rng, (4, 64, 64), falling) + rng.normal(size=(2, 4, 64, 64))
        base = frc(first, second).correlation
        first[0, 10, 20] = np.nan
        first[2, 30:33, 40] = np.inf
        second[3, 5] = -np.inf
        with np.errstate(all="raise"):
            told = frc(first, second).correlation
        np.testing.assert_allclose(told, base, atol=0.06)
        # A blank frame says nothing; the others still do.
        first[1] = np.nan
        np.testing.assert_allclose(
            frc(first, second).correlation,
            frc(first[[0, 2, 3]], second[[0, 2, 3]]).correlation,
            rtol=1e-9,
        )


class TestAxis:
    @pytest.mark.parametrize("shape", [(128, 128), (96, 160)])
    @pytest.mark.parametrize("period", [3.2, 6.4, 16.0])
    def test_a_wave_shows_at_its_frequency(self, shape, period):
        rng = np.random.default_rng(7)
        y, x = np.mgrid[: shape[0], : shape[1]]
        wave = np.sin(2 * np.pi * (0.6 * y + 0.8 * x) / period)
        curve = frc(*(wave + 3 * rng.normal(size=(2, *shape))), pixel_size=0.02)
        # Between two rings the wave is in both.
        best = np.argmax(curve.correlation)
        assert abs(curve.frequency[best] - 1 / period) < 1.05 / (2 * len(curve.frequency))
        assert curve.frequency_nm[best] == pytest.approx(1 / (0.02 * period), rel=0.2)

    def test_rings_reach_half_a_cycle(self):
        image = np.random.default_rng(8).normal(size=(60, 100))
        for rings in (2, 10, 30, None):
            curve = frc(image, image, rings=rings)
            number = 15 if rings is None else rings
            edges = np.linspace(0, 0.5, number + 1)
            np.testing.assert_allclose(curve.frequency, (edges[1:] + edges[:-1]) / 2)
            assert curve.correlation.shape == curve.three_sigma.shape == (number,)
        assert frc(image, image).frequency_nm is None


class TestResolution:
    def test_is_where_the_curve_falls(self):
        rng = np.random.default_rng(9)
        first, second = coloured(rng, (12, 128, 128), falling) + rng.normal(size=(2, 12, 128, 128))
        curve = frc(first, second, pixel_size=0.01)
        # s / (s + 1) = 1/7 and 1/2.
        for threshold, s in (("1/7", 1 / 6), (0.5, 1.0)):
            crossing = np.sqrt(np.log(30 / s) / 50)
            assert curve.resolution(threshold) == pytest.approx(1 / crossing, rel=0.05)
        # More frames, less chance: finer detail stands out of it.
        fewer = frc(first[:2], second[:2])
        assert curve.resolution("3-sigma") < curve.resolution("1/7") < 1.1 * fewer.resolution()
        assert curve.resolution("3-sigma") < fewer.resolution("3-sigma")
        nm = f"{0.01 * curve.resolution():.3g} nm ({curve.resolution():.3g} px) at 1/7"
        assert nm in repr(curve)

    def test_all_or_nothing(self):
        rng = np.random.default_rng(10)
        first, second = rng.normal(size=(2, 8, 64, 64))
        assert frc(first, first).resolution() == 2
        assert frc(first, second).resolution(0.8) is None
        assert "none at 1/7" in repr(frc(first, second))

    def test_empty_rings_between_reflections_do_not_end_it(self):
        k = (np.arange(20) + 0.5) / 40
        correlation = np.full(20, 0.01)
        correlation[[1, 2, 7, 8]] = 0.9
        correlation[15] = 0.3  # one ring alone is chance
        curve = RingCorrelation(k, correlation, np.full(20, 0.1))
        assert k[8] < 1 / curve.resolution() < k[9]

    @pytest.mark.parametrize("threshold", ["half", None, [0.5]])
    def test_refuses_other_thresholds(self, threshold):
        image = np.random.default_rng(0).normal(size=(32, 32))
        with pytest.raises(ValueError, match="'threshold' is .*expected '1/7', '3-sigma' or"):
            frc(image, image).resolution(threshold)


GOOD = np.random.default_rng(0).normal(size=(2, 32, 40))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frc(GOOD, GOOD[:, :, 1:]), r"'second' has shape \(2, 32, 39\).*\(2, 32, 40\)"),
        (lambda: frc(GOOD, GOOD[0]), r"'second' has shape \(32, 40\).*'first'"),
        (lambda: frc(GOOD * 1j, GOOD), "'first' has dtype 'complex128'"),
        (lambda: frc(GOOD[..., :15], GOOD[..., :15]), r"'first' has shape \(2, 32, 15\).*16 x 16"),
        (lambda: frc(GOOD[None], GOOD[None]), r"expected \(y, x\) or \(n, y, x\)"),
        (lambda: frc(GOOD, GOOD, pixel_size=0), "'pixel_size' is 0; expected a positive"),
        (lambda: frc(GOOD, GOOD, pixel_size=np.nan), "'pixel_size' is nan"),
        (lambda: frc(GOOD, GOOD, rings=1), "'rings' is 1; expected a whole number from 2 to 16"),
        (lambda: frc(GOOD, GOOD, rings=17), "'rings' is 17"),
        (lambda: frc(GOOD, GOOD, rings=4.5), "'rings' is 4.5"),
        (lambda: frc(np.ones((32, 32)), np.ones((32, 32))), "'first' is constant"),
        (lambda: frc(GOOD, np.full(GOOD.shape, 3)), "'second' is constant"),
        (lambda: frc(GOOD, np.full(GOOD.shape, np.nan)), "'second' is constant"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
