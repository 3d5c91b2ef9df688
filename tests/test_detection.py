# SPDX-License-Identifier: GPL-3.0-or-later
"""Atoms on arrays: where, how bright, how wide, and whether counts support them."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from n2a import detection
from n2a.detection import Detections, detect, log_likelihood, match_positions, measure, refine
from n2a.noise import Noise
from n2a.spots import Spots


def render(row, column, height, sigma, shape):
    """Sum of Gaussian spots, pixel by pixel."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape)
    for r, c, h in zip(row, column, height):
        image += h * np.exp(-((y - r) ** 2 + (x - c) ** 2) / (2 * sigma**2))
    return image


def lattice(spacing, sigma, shape=(120, 140), seed=0, margin=12.0):
    """Jittered square lattice of atoms of one to three times the same height, and its image."""
    rng = np.random.default_rng(seed)
    grid = [np.arange(margin, n - margin, spacing * sigma) for n in shape]
    row, column = (v.ravel() for v in np.meshgrid(*grid, indexing="ij"))
    row, column = (v + rng.uniform(-0.5, 0.5, v.shape) for v in (row, column))
    height = rng.uniform(1, 3, row.shape)
    image = render(row, column, height, sigma, shape)
    return Detections(np.zeros(len(row), int), row, column, height), image


def nearest(found, truth):
    pairs = match_positions(found, truth, tolerance=3)
    return found[pairs.found], truth[pairs.truth]


class TestDetect:
    def test_from_the_highest_down_in_every_frame(self):
        frames = np.stack(
            [render([20], [30], [2], 3, (50, 60)), render([30], [15], [5], 3, (50, 60))]
        )
        found = detect(frames, 3)
        np.testing.assert_array_equal(found.frame, [1, 0])
        np.testing.assert_allclose(found.height, [5, 2])

    @pytest.mark.parametrize(("scale", "offset"), [(1e-3, 0), (4e5, 3e6), (1, -70)])
    def test_places_do_not_depend_on_units(self, scale, offset):
        _, image = lattice(5, 2)
        a, b = detect(image[None], 2), detect(scale * image[None] + offset, 2)
        np.testing.assert_allclose(a.row, b.row, atol=1e-5)
        np.testing.assert_allclose(a.column, b.column, atol=1e-5)

    def test_nothing_is_found_where_nothing_was_measured(self):
        truth, image = lattice(6, 2.5)
        image[:, 60:90] = np.nan
        found = detect(image[None], 2.5)
        assert ((found.column < 59.5) | (found.column > 89.5)).all()
        far = (truth.column < 52) | (truth.column > 98)
        assert match_positions(found, truth[far], 1.5).recall == 1

    @pytest.mark.parametrize("frames", [np.zeros((2, 20, 20)), np.full((1, 20, 20), np.nan)])
    def test_an_image_of_nothing_has_no_atoms(self, frames):
        assert len(detect(frames, 2)) == 0

    @pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 40), (2, 40, 2)])
    def test_tiny_frames(self, shape):
        assert len(detect(np.random.default_rng(0).random(shape), 3)) >= 0

    @pytest.mark.parametrize(
        ("frames", "width", "name"),
        [
            (np.zeros((4, 5)), 2, "frames"),
            (np.zeros((1, 4, 5), complex), 2, "frames"),
            (np.zeros((1, 4, 5)), 0, "atom_width"),
            (np.zeros((1, 4, 5)), np.nan, "atom_width"),
        ],
    )
    def test_bad_input_names_the_argument(self, frames, width, name):
        with pytest.raises(ValueError, match=f"'{name}'"):
            detect(frames, width)


class TestRefine:
    @pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0, 3.0, 5.0])
    @pytest.mark.parametrize("spacing", [4.5, 8])
    def test_noise_free_atoms_to_a_fiftieth_of_a_pixel(self, sigma, spacing):
        truth, image = lattice(spacing, sigma, margin=3 * sigma + 4)
        image = image + 3 + 0.01 * np.arange(image.shape[1])  # on a ramp
        found = refine(image[None], detect(image[None], sigma), sigma)
        mine, theirs = nearest(found, truth)
        assert len(mine) == len(truth)
        error = np.hypot(mine.row - theirs.row, mine.column - theirs.column)
        assert error.max() < 0.02

    def test_better_than_the_parabola(self):
        truth, image = lattice(4.5, 2)
        found = detect(image[None], 2)
        before, after = (
            match_positions(each, truth, 2).rms for each in (found, refine(image[None], found, 2))
        )
        assert after < 0.2 * before

    def test_a_hollow_stays_where_it_was(self):
        hole = Detections(np.array([0]), np.array([20.0]), np.array([20.0]), np.array([1.0]))
        image = -render([22], [22], [1], 2, (40, 40))
        moved = refine(image[None], hole, 2)
        np.testing.assert_array_equal([moved.row[0], moved.column[0]], [20, 20])


class TestMeasure:
    @pytest.mark.parametrize("guess", [0.85, 1.0, 1.2])
    @pytest.mark.parametrize(("spacing", "sigma"), [(3, 1.5), (3, 2.6), (5, 3.2), (9, 1.5)])
    def test_integrated_intensity_and_width(self, spacing, sigma, guess):
        found, image = lattice(spacing, sigma)
        told = measure((image + 5 + 0.01 * np.arange(140))[None], found, guess * sigma)
        np.testing.assert_allclose(told.intensity, 2 * np.pi * sigma**2 * found.height, rtol=0.03)
        np.testing.assert_allclose(told.width, sigma, rtol=0.02)

    def test_is_linear_in_the_frames(self):
        found, image = lattice(4, 2)
        other = np.random.default_rng(1).normal(size=image.shape)
        a, b, both = (
            measure(frame[None], found, 2, fit=False).intensity
            for frame in (image, other, 3 * image - 2 * other)
        )
        np.testing.assert_allclose(both, 3 * a - 2 * b, atol=2e-3 * np.abs(a).max())

    def test_dark_atoms_are_negative(self):
        found, image = lattice(5, 2)
        bright, dark = (measure(50 + s * image[None], found, 2) for s in (1, -1))
        np.testing.assert_allclose(dark.intensity, -bright.intensity, rtol=1e-3)

    def test_each_atom_has_its_own_width(self):
        narrow = render([30], [30], [2], 1.9, (60, 90))
        wide = render([30], [65], [2], 2.1, (60, 90))
        found = Detections(np.zeros(2, int), np.full(2, 30.0), np.array([30.0, 65]), np.ones(2))
        told = measure((narrow + wide)[None], found, 2)
        np.testing.assert_allclose(told.width, [1.9, 2.1], rtol=0.02)

    def test_an_atom_that_was_not_measured_has_no_intensity(self):
        found, image = lattice(8, 2)
        image[:40, :40] = np.nan
        told = measure(image[None], found, 2)
        hidden = (found.row < 36) & (found.column < 36)
        whole = (found.row > 48) | (found.column > 48)
        assert np.isnan(told.intensity[hidden]).all()
        np.testing.assert_allclose(
            told.intensity[whole], (2 * np.pi * 4 * found.height)[whole], rtol=0.02
        )

    def test_without_atoms(self):
        none = Detections(*np.zeros((4, 0)))
        assert measure(np.ones((1, 30, 30)), none, 2).intensity.shape == (0,)


class TestSpots:
    @pytest.mark.parametrize("sigma", [1.0, 1.3, 2.6, 4.4])
    def test_binned_spots_are_the_means_of_the_fine_ones(self, sigma):
        fine = render([41.3], [38.6], [1], sigma, (80, 81))
        spots = Spots(np.array([41.3]), np.array([38.6]), sigma, fine.shape)
        ours = spots.render(np.array([fine.sum() / spots.integral]))
        np.testing.assert_allclose(ours, spots.bin(fine), atol=0.006)

    def test_the_solution_is_that_of_least_squares(self):
        found, image = lattice(3, 1.2, shape=(40, 44), margin=6)
        image = image + np.random.default_rng(0).normal(size=image.shape)
        spots = Spots(found.row, found.column, 1.2, image.shape)
        heights, level = spots.solve(image, tolerance=1e-8)
        columns = [spots.render(unit) for unit in np.eye(len(spots))]
        rows, across = spots._hats
        columns += [np.outer(r, c) for r in rows.T for c in across.T]
        design = np.stack([c.ravel() for c in columns], axis=1)
        expected = np.linalg.lstsq(design, image.ravel(), rcond=None)[0]
        np.testing.assert_allclose(heights, expected[: len(spots)], atol=2e-3)
        np.testing.assert_allclose(
            level.ravel(), design[:, len(spots) :] @ expected[len(spots) :], atol=2e-3
        )


class TestMatch:
    def test_nearest_first_and_each_once(self):
        truth = Detections(np.zeros(2, int), np.array([10.0, 10]), np.array([10.0, 13]), np.ones(2))
        found = Detections(
            np.array([0, 0, 0, 1]), np.full(4, 10.0), np.array([11.4, 12.9, 30, 10]), np.ones(4)
        )
        pairs = match_positions(found, truth, 2)
        assert set(zip(pairs.found.tolist(), pairs.truth.tolist())) == {(1, 1), (0, 0)}
        assert pairs.precision == 0.5
        assert pairs.recall == 1
        assert pairs.f1 == pytest.approx(2 / 3)
        assert pairs.rms == pytest.approx(np.sqrt((1.4**2 + 0.1**2) / 2))

    def test_nothing_to_pair(self):
        none = Detections(*np.zeros((4, 0)))
        one = Detections(np.zeros(1, int), np.ones(1), np.ones(1), np.ones(1))
        for pairs in (match_positions(none, one, 1), match_positions(one, none, 1)):
            assert (pairs.f1, pairs.rms, len(pairs.found)) == (0, np.inf, 0)


def atoms_on_film(sigma=2.5, level=4.0, height=5.0, shape=(96, 96)):
    """Lattice with every third site empty: sites, whether they are full, and the clear frame."""
    grid = np.mgrid[14 : shape[0] - 10 : 12, 14 : shape[1] - 10 : 12].reshape(2, -1).astype(float)
    sites = Detections(np.zeros(grid.shape[1], int), *grid, np.full(grid.shape[1], height))
    full = np.arange(len(sites)) % 3 != 0
    clear = level + render(*grid[:, full], sites.height[full], sigma, shape)
    return sites, full, clear


class TestSupport:
    POISSON = Noise(1.0, 0.0, 0.0)

    @pytest.mark.parametrize("blur", [0.4, 1.0, 2.0])
    @pytest.mark.parametrize(("rate", "read"), [(0.05, 0), (1.0, 0), (1.0, 1.0), (20.0, 0)])
    def test_noise_peaks_of_a_blur_on_empty_support_are_not_supported(self, rate, read, blur):
        rng = np.random.default_rng(3)
        frames, sigma = 40, 2.0
        raw = rng.poisson(rate, (frames, 96, 96)) + read * rng.standard_normal((frames, 96, 96))
        blurred = gaussian_filter(raw.astype(float), (0, blur * sigma, blur * sigma))
        found = detect(blurred, sigma)
        assert len(found) > 20 * frames
        told = log_likelihood(raw, blurred, None, found, sigma)
        wrong = len(np.unique(found.frame[told.supported]))
        # 5 % of 40 frames are 2; 7 or more would be a chance of 1 in 300
        assert wrong < 7

    def test_the_rate_that_is_asked_for_is_that_on_unseen_counts(self):
        # Places that know nothing of the counts: significance is that of a normal distribution.
        rng = np.random.default_rng(5)
        for rate in (0.3, 6.0):
            raw = rng.poisson(rate, (60, 96, 96))
            grid = np.mgrid[10:90:11, 10:90:11].reshape(2, -1).astype(float)
            number = grid.shape[1]
            frame = np.repeat(np.arange(60), number)
            sites = Detections(frame, *np.tile(grid, 60), np.ones(len(frame)))
            told = log_likelihood(
                raw, np.full(raw.shape, rate), rate, sites, 2.0, self.POISSON, unseen=True
            )
            z = told.significance
            assert abs(z.std() - 1) < 0.06
            for level in (1.0, 2.0, 3.0):
                chance = norm.sf(level)
                seen = np.mean(z > level)
                assert abs(seen - chance) < 0.25 * chance + 3 * np.sqrt(chance / len(z))
            assert len(np.unique(frame[z >= told.threshold[frame]])) <= 9

    def test_correlated_noise_along_the_scan_is_allowed_for(self):
        rng = np.random.default_rng(6)
        kernel = np.exp(-np.arange(12) / 3.0)
        white = rng.standard_normal((40, 96, 107))
        raw = 20 + sum(k * white[..., i : i + 96] for i, k in enumerate(kernel))
        blurred = gaussian_filter(raw, (0, 2, 2))
        found = detect(blurred, 2)
        told = log_likelihood(raw, blurred, None, found, 2)
        assert told.model == "Gaussian"
        assert len(np.unique(found.frame[told.supported])) < 7

    def test_real_atoms_are_supported_and_painted_ones_are_not(self):
        sites, full, clear = atoms_on_film()
        raw = np.random.default_rng(1).poisson(clear)[None]
        lie = clear + render(
            sites.row[~full], sites.column[~full], sites.height[~full], 2.5, clear.shape
        )
        told = log_likelihood(raw, lie[None], None, sites, 2.5)
        assert told.supported[full].mean() > 0.95
        assert not told.supported[~full].any()
        assert (told.ratio[full] > 0).mean() > 0.95
        assert (told.ratio[~full] < 0).mean() > 0.95
        assert abs(told.significance[~full].mean()) < 1

    def test_ratio_is_that_of_the_definition(self):
        # One atom on a known background: nothing is fitted but the atom that is left out.
        clear = 6 + render([30], [31], [4], 1.2, (60, 60))
        raw = np.random.default_rng(2).poisson(clear)
        found = Detections(np.array([0]), np.array([30.0]), np.array([31.0]), np.array([4.0]))
        told = log_likelihood(raw[None], clear[None], 6.0, found, 1.2, self.POISSON)
        y, x = np.mgrid[:60, :60]
        zone = (y - 30) ** 2 + (x - 31) ** 2 <= (2 * 1.2) ** 2
        expected = (raw * np.log(clear / 6) - (clear - 6))[zone].mean()
        assert told.ratio[0] == pytest.approx(expected)

    @pytest.mark.parametrize(("gain", "zero"), [(3.5, 0), (0.02, 0), (350.0, 2.9e6), (10.0, -40)])
    def test_gain_and_offset_do_not_matter(self, gain, zero):
        sites, _, clear = atoms_on_film()
        raw = np.random.default_rng(1).poisson(clear)[None]
        a = log_likelihood(raw, clear[None], None, sites, 2.5, self.POISSON)
        noise = Noise(gain, -gain * zero, 0.0)
        b = log_likelihood(gain * raw + zero, (gain * clear + zero)[None], None, sites, 2.5, noise)
        assert a.model == b.model == "Poisson"
        np.testing.assert_allclose(a.ratio, b.ratio, atol=1e-4)
        np.testing.assert_allclose(a.significance, b.significance, atol=0.02)

    def test_dark_atoms(self):
        sites, full, clear = atoms_on_film(level=0, height=12)
        clear = 30 - clear
        raw = np.random.default_rng(1).poisson(clear)[None]
        told = log_likelihood(raw, clear[None], None, sites, 2.5, bright=False)
        assert told.supported[full].mean() > 0.9
        assert not told.supported[~full].any()

    def test_noise_that_does_not_grow_with_the_intensity(self):
        sites, full, clear = atoms_on_film()
        raw = (clear + 2 * np.random.default_rng(1).standard_normal(clear.shape))[None]
        told = log_likelihood(raw, clear[None], None, sites, 2.5, Noise(0.0, 4.0, np.inf))
        assert told.model == "Gaussian"
        assert told.supported[full].mean() > 0.95
        assert not told.supported[~full].any()

    def test_a_claim_that_is_much_too_bright_is_not_supported(self):
        sites, full, clear = atoms_on_film()
        raw = np.random.default_rng(1).poisson(clear)[None]
        told = log_likelihood(raw, (4 + 8 * (clear - 4))[None], None, sites, 2.5)
        assert (told.significance[full] > 5).mean() > 0.9
        assert (told.ratio[full] < 0).mean() > 0.9
        assert not told.supported.any()

    def test_atoms_without_a_measured_pixel_say_nothing(self):
        sites, _, clear = atoms_on_film()
        raw = np.random.default_rng(1).poisson(clear).astype(float)[None]
        raw[:, :40] = np.nan
        told = log_likelihood(raw, clear[None], None, sites, 2.5)
        hidden = sites.row < 30
        assert not told.significance[hidden].any()
        assert not told.supported[hidden].any()
        assert np.isfinite(told.ratio).all()
        assert np.isfinite(told.significance).all()

    def test_unseen_counts_support_weaker_atoms(self):
        sites, full, clear = atoms_on_film(height=1.2)
        raw = np.random.default_rng(1).poisson(clear)[None]
        seen, unseen = (
            log_likelihood(raw, clear[None], None, sites, 2.5, self.POISSON, unseen=u)
            for u in (False, True)
        )
        assert unseen.supported[full].mean() > seen.supported[full].mean()

    @pytest.mark.parametrize(
        ("raw", "expected", "message"),
        [
            (np.ones((1, 20, 20)), np.ones((1, 20, 21)), "'expected' has shape"),
            (np.ones((1, 20, 20)), np.ones((1, 20, 20)), "'raw' has no noise"),
            (np.ones((1, 6, 6)), np.ones((1, 6, 6)), "'raw'"),
            (np.full((1, 20, 20), np.nan), np.ones((1, 20, 20)), "'raw' has no block"),
        ],
    )
    def test_bad_input(self, raw, expected, message):
        one = Detections(np.zeros(1, int), np.full(1, 3.0), np.full(1, 3.0), np.ones(1))
        with pytest.raises(ValueError, match=message):
            log_likelihood(raw, expected, None, one, 2)


class TestAgainstTruth:
    def test_psnr_and_ssim(self):
        truth = np.random.default_rng(0).poisson(5, (2, 24, 24)).astype(float)
        assert detection.psnr(truth, truth) == np.inf
        step = np.ptp(truth) / 100
        assert detection.psnr(truth + step, truth) == pytest.approx(40)
        worse = truth + np.random.default_rng(1).normal(size=truth.shape)
        assert detection.ssim(worse, truth) < detection.ssim(truth, truth) == pytest.approx(1)
