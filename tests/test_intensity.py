# SPDX-License-Identifier: GPL-3.0-or-later
"""Proportion of column intensities, on columns whose heights are known here."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from n2a.detection import Detections, detect
from n2a.intensity import proportion
from n2a.noise import Noise

WIDTH = 2.0
COUNTING = Noise(1, 0, 0)
PITCH = 15
HEIGHTS = np.random.default_rng(0).uniform(10, 60, (7, 7))


def columns(heights=HEIGHTS, frames=3, pitch=PITCH):
    """Gaussian columns on a square lattice, without background."""
    size = [pitch * n + 10 for n in heights.shape]
    y, x = (np.arange(n)[:, None] for n in size)
    row = np.exp(-((y - 12 - pitch * np.arange(heights.shape[0])) ** 2) / (2 * WIDTH**2))
    column = np.exp(-((x - 12 - pitch * np.arange(heights.shape[1])) ** 2) / (2 * WIDTH**2))
    return np.broadcast_to(row @ heights @ column.T, (frames, *size))


def counts(spots, seed=0, background=5.0):
    return np.random.default_rng(seed).poisson(background + spots)


def judged(denoised, raw, noise=COUNTING, found=None):
    found = detect(denoised, WIDTH) if found is None else found
    return proportion(denoised, raw, found, WIDTH, noise)


def departure(denoised, raw):
    """Of the best parabola from the best line through 0, for noise-free intensities: as the docstring says."""
    x, y = denoised.ravel() / denoised.mean(), raw.ravel() / denoised.mean()
    weight = 1 / (100 + raw.ravel())  # about that of counts on a background
    parabola = np.polyfit(x, y, 2, w=np.sqrt(weight))
    grid = np.quantile(x, np.linspace(0.05, 0.95, 19))
    curve = np.polyval(parabola, grid)
    return np.sqrt(np.mean((curve - grid * (curve @ grid) / (grid @ grid)) ** 2))


class TestSlope:
    @pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
    def test_finds_a_known_scale_within_its_error(self, scale):
        spots = columns()
        found = detect(spots, WIDTH)
        deviations, linear = [], []
        for seed in range(12):
            told = judged(scale * spots, counts(spots, seed), found=found)
            deviations.append((told.slope - 1 / scale) / told.slope_error)
            linear.append(told.linear)
            assert told.slope == pytest.approx(1 / scale, rel=0.03)
        assert abs(np.mean(deviations)) < 4 / np.sqrt(12)
        assert 0.5 < np.std(deviations) < 1.7
        assert np.mean(linear) > 0.9

    def test_intensities_are_those_of_the_columns(self):
        told = judged(columns(), counts(columns()))
        assert told.number == 3 * HEIGHTS.size == len(told.denoised) == len(told.raw)
        expected = np.sort(np.tile(2 * np.pi * WIDTH**2 * HEIGHTS.ravel(), 3))
        np.testing.assert_allclose(np.sort(told.denoised), expected, rtol=0.02)
        # In the noisy frames as well, on the mean.
        assert told.raw.mean() == pytest.approx(expected.mean(), rel=0.03)

    def test_chance_is_the_scatter_of_columns_in_the_mean_of_frames(self):
        spots = columns(frames=8)
        told = judged(spots, counts(spots))
        scatter = (told.raw - told.denoised).std() / told.denoised.mean()
        assert told.chance == pytest.approx(scatter / np.sqrt(8), rel=0.25)

    def test_error_falls_with_more_frames(self):
        few, many = (judged(columns(frames=n), counts(columns(frames=n))) for n in (2, 8))
        assert many.slope_error == pytest.approx(few.slope_error / 2, rel=0.3)
        assert many.departure_error == pytest.approx(few.departure_error / 2, rel=0.3)


class TestShape:
    @pytest.mark.parametrize("gamma", [0.5, 0.7, 1.4, 2.0])
    def test_a_gamma_is_seen_and_measured(self, gamma):
        bent = 40 * (HEIGHTS / 40) ** gamma
        told = judged(columns(bent, 6), counts(columns(frames=6)))
        assert not told.linear
        expected = departure(bent, HEIGHTS)
        assert told.departure == pytest.approx(expected, rel=0.15, abs=3 * told.departure_error)

    def test_a_gamma_of_the_image_itself(self):
        # As a user would spoil it: pixel by pixel, which also changes the shape of the spots.
        spots = columns(frames=6)
        raw = counts(spots)
        assert judged(spots, raw).linear
        for gamma in (0.5, 2.0):
            assert not judged(60 * (spots / 60) ** gamma, raw).linear

    def test_saturation_is_seen(self):
        spots = columns(frames=6)
        assert not judged(columns(np.minimum(HEIGHTS, 30), 6), counts(spots)).linear

    def test_an_offset_of_every_column_is_seen(self):
        # A line that misses the origin is no proportion either.
        told = judged(columns(HEIGHTS + 20, 6), counts(columns(frames=6)))
        assert not told.linear

    def test_a_bend_that_nobody_would_notice_is_none(self):
        bright = 1000 * HEIGHTS  # so many counts show everything
        raw = counts(columns(bright, 6))
        faint, clear = (
            judged(columns(40e3 * (bright / 40e3) ** gamma, 6), raw) for gamma in (0.99, 0.9)
        )
        assert max(3 * faint.departure_error, faint.chance) < faint.departure < 0.01
        assert faint.linear
        assert not clear.linear

    def test_honest_results_rarely_alarm(self):
        spots = columns()
        found = detect(spots, WIDTH)
        seeds = range(30)
        told = [judged(spots, counts(spots, seed), found=found) for seed in seeds]
        assert np.mean([not each.linear for each in told]) < 0.1
        # What chance alone bends is taken off.
        assert np.median([each.departure / each.departure_error for each in told]) < 0.5


class TestInvariance:
    def test_background_does_not_matter(self):
        spots = columns()
        raw = counts(spots)
        found = detect(spots, WIDTH)
        base = judged(spots, raw, found=found)
        ramp = 30 + 0.2 * np.arange(spots.shape[-1])
        shifted = judged(spots + ramp, raw + 50.0, Noise(1, -50, 0), found)
        np.testing.assert_allclose(shifted[:5], base[:5], rtol=0.02, atol=1e-3)

    def test_units_do_not_matter(self):
        spots = columns()
        raw = counts(spots)
        base = judged(spots, raw, Noise(1, 2, 0))
        scaled = judged(40 * spots, 40 * raw, Noise(40, 2 * 40**2, 0))
        np.testing.assert_allclose(scaled[:5], base[:5], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(scaled.raw, 40 * base.raw, rtol=1e-6)

    def test_dark_atoms_are_negative_in_both(self):
        spots = columns()
        noisy = 200 - spots + np.random.default_rng(0).normal(0, 3, spots.shape)
        found = detect(spots, WIDTH)
        flat = Noise(0, 9, 0)
        dark = judged(200 - spots, noisy, flat, found)
        bright = judged(spots, 200 - noisy, flat, found)
        assert (dark.denoised < 0).all()
        np.testing.assert_allclose(dark[:5], bright[:5], rtol=1e-6, atol=1e-9)

    def test_a_hot_pixel_does_not_bend_it(self):
        spots = columns()
        raw = counts(spots).astype(float)
        base = judged(spots, raw)
        raw[1, 12 + PITCH, 13 + 2 * PITCH] = 2000
        raw[2, 11 + 3 * PITCH, 12 + PITCH] = 3000
        told = judged(spots, raw)
        assert base.number - 6 <= told.number < base.number
        assert told.linear
        assert told.slope == pytest.approx(base.slope, rel=0.01)

    def test_pixels_without_a_value(self):
        spots = columns()
        raw = counts(spots).astype(float)
        base = judged(spots, raw)
        raw[0, :, :30] = np.nan
        raw[1, 40, 40] = np.inf
        told = judged(spots, raw)
        assert np.isfinite(told[:5]).all()
        assert told.number < base.number
        assert abs(told.slope - base.slope) < 3 * told.slope_error

    def test_close_neighbours_are_left_out(self):
        spots = columns()
        found = detect(spots, WIDTH)
        near = Detections(  # two more, each beside a column
            np.append(found.frame, [0, 0]),
            np.append(found.row, [12.0, 12 + PITCH]),
            np.append(found.column, [12 + 2 * WIDTH, 12 + 2 * WIDTH]),
            np.append(found.height, [5.0, 5.0]),
        )
        told = judged(spots, counts(spots), found=near)
        assert told.number == judged(spots, counts(spots), found=found).number - 2

    def test_nothing_is_changed(self):
        spots = columns().copy()
        raw = counts(spots)
        before = spots.copy(), raw.copy()
        judged(spots, raw)
        np.testing.assert_array_equal(spots, before[0])
        np.testing.assert_array_equal(raw, before[1])


@pytest.mark.parametrize("number", [0, 3, 11])
def test_too_few_columns(number):
    spots = columns(frames=1)
    found = detect(spots, WIDTH)[:number]
    with pytest.raises(ValueError, match=rf"^{number} columns stand apart .* expected 12 or more"):
        judged(spots, counts(spots), found=found)
    assert judged(spots, counts(spots), found=detect(spots, WIDTH)[:12]).number == 12


def test_columns_that_the_raw_frames_do_not_show():
    # Maxima of smoothed noise: the raw frames are brighter there as well, which says nothing of real columns.
    raw = np.random.default_rng(0).poisson(9.0, (4, 128, 128)).astype(float)
    smooth = gaussian_filter(raw, (0, 2, 2))
    with pytest.raises(ValueError, match="hardly stand out of the noise .* Record more counts"):
        judged(smooth, raw)
    faint = columns(HEIGHTS / 200)
    with pytest.raises(ValueError, match="hardly stand out"):
        judged(faint, counts(faint), found=detect(columns(), WIDTH))


def test_a_result_without_columns():
    flat = np.full((2, 64, 64), 3.0)
    with pytest.raises(ValueError, match="^0 columns .* Take more frames"):
        judged(flat, counts(flat))
