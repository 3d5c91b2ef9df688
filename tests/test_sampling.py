# SPDX-License-Identifier: GPL-3.0-or-later
"""Atom width, coarser and finer grids, drift: against widths, means and shifts that are known."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

import n2a
from n2a import structures
from n2a.rendering import render
from n2a.sampling import (
    band_spectrum,
    bin_frames,
    find_shift,
    measure_atom_width,
    move,
    unbin_frames,
)

FWHM = 2 * np.sqrt(2 * np.log(2))


def rng(seed=0):
    return np.random.default_rng(seed)


def shift_onto(frames, i, j, width=2.0):
    """How far frame j must be moved to lie on frame i."""
    first, second = (band_spectrum(np.float32(frames[k]), width) for k in (i, j))
    return find_shift(first, second, frames[0].shape).shift


def series(structure, sigma, dose=100, shape=(128, 128), frames=4, **acquisition):
    """Recorded frames with atoms of a known width, 0.1 nm at half maximum."""
    scale = 0.1 / FWHM / sigma
    clean = n2a.simulate(
        structure=structure, shape=shape, frames=frames, scale=scale, probe=0.1, source=0, seed=2,
        pattern="mos2", spacing=0.2,
    )  # fmt: skip
    options = {"support": 0.3, "dtype": "float32", "seed": 3, **acquisition}
    return n2a.acquire(clean, dose=dose, **options).data


class TestAtomWidth:
    @pytest.mark.parametrize("sigma", [1.0, 2.0, 3.4, 6.0])
    @pytest.mark.parametrize("structure", ["cluster", "2d", "atoms"])
    def test_within_30_percent(self, structure, sigma):
        found = measure_atom_width(series(structure, sigma))
        # One small cluster has few spots, and speckle of its own.
        assert found == pytest.approx(sigma, rel=0.5 if structure == "cluster" else 0.3)

    @pytest.mark.parametrize(
        "acquisition", [{"afterglow": 0.3}, {"row_jitter": 0.4}, {"line_noise": 3.0}]
    )
    def test_noise_along_the_scan_does_not_matter(self, acquisition):
        found = measure_atom_width(series("2d", 2.5, **acquisition))
        assert found == pytest.approx(2.5, rel=0.3)

    def test_dark_atoms_and_any_units(self):
        frames = series("2d", 2.0)
        plain = measure_atom_width(frames)
        assert measure_atom_width(-frames) == pytest.approx(plain, rel=1e-3)
        assert measure_atom_width(1e6 * frames) == pytest.approx(plain, rel=1e-3)
        assert measure_atom_width(1e-6 * frames) == pytest.approx(plain, rel=1e-3)

    def test_oblong_frames(self):
        found = measure_atom_width(series("2d", 2.0, shape=(64, 200)))
        assert found == pytest.approx(2.0, rel=0.3)

    @pytest.mark.parametrize("shape", [(1, 128, 128), (8, 64, 64), (4, 100, 60)])
    def test_white_noise_has_no_atoms(self, shape):
        for seed in range(5):
            assert measure_atom_width(rng(seed).normal(size=shape)) is None

    def test_smallest_and_empty_frames(self):
        assert measure_atom_width(np.zeros((2, 16, 16))) is None
        width = measure_atom_width(rng().poisson(5, (3, 16, 16)))
        assert width is None or width > 0


class TestBinning:
    def test_means_over_blocks(self):
        frames = np.arange(48.0).reshape(2, 4, 6)
        binned = bin_frames(frames, 2)
        assert binned.shape == (2, 2, 3)
        assert binned[0, 0, 0] == np.mean([0, 1, 6, 7])
        assert binned[1, 1, 2] == np.mean([40, 41, 46, 47])
        assert bin_frames(frames, 1) is frames

    def test_incomplete_blocks_repeat_the_edge(self):
        frames = rng().normal(size=(1, 5, 7))
        binned = bin_frames(frames, 3)
        assert binned.shape == (1, 2, 3)
        assert binned[0, 1, 2] == pytest.approx((frames[0, 3, 6] + 2 * frames[0, 4, 6]) / 3)

    def test_nan_are_left_out(self):
        frames = np.array([[[1.0, np.nan, np.nan, np.nan], [3.0, 5.0, np.nan, np.nan]]])
        np.testing.assert_array_equal(bin_frames(frames, 2), [[[3.0, np.nan]]])

    def test_integers_do_not_overflow(self):
        assert bin_frames(np.full((1, 4, 4), 255, np.uint8), 2).tolist() == [[[255, 255]] * 2]


class TestUnbinning:
    @pytest.mark.parametrize("factor", [2, 3, 5])
    def test_binning_the_result_gives_the_input(self, factor):
        coarse = rng().normal(size=(2, 12, 17)).astype(np.float32)
        fine = unbin_frames(coarse, factor, (12 * factor, 17 * factor))
        assert fine.shape == (2, 12 * factor, 17 * factor)
        np.testing.assert_allclose(bin_frames(fine, factor), coarse, atol=2e-4)

    @pytest.mark.parametrize("factor", [2, 3, 4])
    def test_atoms_are_reproduced(self, factor):
        # Atoms 1.2 px wide after binning, the narrowest that binning leaves.
        y, x = np.mgrid[:96, :120]
        sigma = 1.2 * factor
        atom = np.exp(-((y - 40.3) ** 2 + (x - 51.8) ** 2) / (2 * sigma**2))[None]
        fine = unbin_frames(bin_frames(atom, factor).astype(np.float32), factor, (96, 120))
        assert np.abs(fine - atom).max() < 0.04
        assert fine.sum() == pytest.approx(atom.sum(), rel=1e-3)

    def test_sizes_that_do_not_divide(self):
        frames = gaussian_filter(rng().normal(size=(1, 50, 61)), (0, 6, 6)) * 20
        fine = unbin_frames(bin_frames(frames, 3).astype(np.float32), 3, (50, 61))
        assert fine.shape == frames.shape
        assert np.abs(fine - frames)[:, 6:-6, 6:-6].max() < 0.02 * np.ptp(frames)
        assert np.abs(fine - frames).max() < 0.3 * np.ptp(frames)

    def test_constants_stay(self):
        flat = unbin_frames(np.full((1, 9, 9), 3.0, np.float32), 2, (17, 18))
        np.testing.assert_allclose(flat, 3, rtol=1e-4)

    def test_factor_one_is_identity(self):
        frames = rng().normal(size=(1, 9, 9)).astype(np.float32)
        np.testing.assert_array_equal(unbin_frames(frames, 1, (9, 9)), frames)


class TestRegistration:
    @staticmethod
    def scene(shifts, noise=1.0, shape=(96, 120), height=4.0, seed=0):
        """Frames of one scene of atoms, moved by `shifts`; new regions come in."""
        generator = rng(seed)
        canvas = np.zeros((shape[0] + 80, shape[1] + 80))
        spots = generator.integers(4, np.array(canvas.shape) - 4, (90, 2))
        canvas[tuple(spots.T)] = 1
        canvas = gaussian_filter(canvas, 2) * 2 * np.pi * 4 * height
        frames = [canvas[40 - y : 40 - y + shape[0], 40 - x : 40 - x + shape[1]] for y, x in shifts]
        return (np.stack(frames) + noise * generator.normal(size=(len(shifts), *shape))).astype(
            np.float32
        )

    @pytest.mark.parametrize(
        "shift", [(5, 0), (-5, 0), (0, 7), (0, -7), (3, -11), (-12, 4), (1, 1), (0, 0)]
    )
    def test_finds_shifts(self, shift):
        frames = self.scene([(0, 0), shift])
        # Frame 1 shows the scene moved by `shift`; moving it back lays it on frame 0.
        assert shift_onto(frames, 0, 1) == (-shift[0], -shift[1])
        assert shift_onto(frames, 1, 0) == shift

    def test_moving_lays_frames_on_each_other(self):
        frames = self.scene([(0, 0), (6, -9)], noise=0.5)
        moved = move(frames[1], shift_onto(frames, 0, 1))
        before = np.abs(frames[0] - frames[1])[12:-12, 12:-12].mean()
        after = np.abs(frames[0] - moved)[12:-12, 12:-12].mean()
        assert after < 0.7 * before
        assert after == pytest.approx(0.5 * np.sqrt(2) * np.sqrt(2 / np.pi), rel=0.1)

    @pytest.mark.parametrize(("size", "width"), [(64, 2.0), (128, 1.0), (128, 3.0), (256, 2.0)])
    def test_pure_noise_stays_where_it_is(self, size, width):
        moved = 0
        for seed in range(10):
            frames = rng(seed).normal(size=(2, size, size))
            moved += shift_onto(frames, 0, 1, width) != (0, 0)
        assert moved <= 1

    def test_noise_along_the_scan_stays(self):
        moved = 0
        for seed in range(10):
            frames = rng(seed).normal(size=(2, 128, 128))
            frames += 0.5 * gaussian_filter(rng(50 + seed).normal(size=frames.shape), (0, 0, 4)) * 4
            moved += shift_onto(frames, 0, 1) != (0, 0)
        assert moved <= 1

    def test_noise_on_the_slope_of_a_film_stays(self):
        slope = np.linspace(-3, 3, 96)
        frames = rng().normal(size=(2, 96, 96)) + slope
        assert shift_onto(frames, 0, 1) == (0, 0)

    @pytest.mark.parametrize("pattern", ["square", "hexagonal", "mos2", "perovskite"])
    def test_of_a_crystal_a_near_shift_is_taken(self, pattern):
        columns = structures.lattice(pattern, 12.0, (128, 128), rng(1))
        for shift in ((2, 0), (0, -3), (3, 3), (-1, 2)):
            frames = [
                render(
                    *(torch.from_numpy(a) for a in (columns.positions + step, columns.intensities)),
                    torch.tensor(2.5).double(), (128, 128),
                ).numpy() * 5 / columns.intensities.max() + rng(5 + step[0]).normal(size=(128, 128))
                for step in ((0, 0), shift)
            ]  # fmt: skip
            found = shift_onto(frames, 1, 0, 2.5)
            assert np.abs(np.subtract(found, shift)).max() <= 1

    def test_a_hot_pixel_that_stands_still_does_not_decide(self):
        frames = self.scene([(0, 0), (4, 3)])
        frames[:, 40, 60] = 300
        found = shift_onto(frames, 0, 1)
        assert np.abs(np.subtract(found, (-4, -3))).max() <= 1

    @pytest.mark.parametrize("shape", [(16, 16), (16, 90)])
    def test_small_frames(self, shape):
        frames = rng().normal(size=(2, *shape))
        assert np.abs(shift_onto(frames, 0, 1, 1.5)).max() <= max(shape) // 4

    def test_flat_frames(self):
        # A blanked beam.
        noise = rng().normal(size=(32, 32))
        assert shift_onto(np.zeros((2, 32, 32)), 0, 1) == (0, 0)
        assert shift_onto([noise, np.zeros((32, 32))], 0, 1) == (0, 0)


class TestMove:
    @pytest.mark.parametrize("shift", [(2, 0), (-2, 0), (0, 3), (0, -3), (1, -4), (0, 0)])
    def test_is_a_roll_without_what_comes_around(self, shift):
        frame = rng().normal(size=(9, 12))
        moved = move(frame, shift)
        inside = np.roll(np.ones_like(frame), shift, (0, 1))
        y, x = np.mgrid[:9, :12]
        inside = (
            (y - shift[0] >= 0) & (y - shift[0] < 9) & (x - shift[1] >= 0) & (x - shift[1] < 12)
        )
        expected = np.where(inside, np.roll(frame, shift, (0, 1)), 0)
        np.testing.assert_array_equal(moved, expected)

    @pytest.mark.parametrize("shift", [(9, 0), (-9, 0), (0, 12), (3, -12)])
    def test_out_of_sight(self, shift):
        assert not move(np.ones((9, 12)), shift).any()

    @pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-4, 5), (20, 0)])
    @pytest.mark.parametrize("part", [(slice(0, 4), slice(2, 9)), (slice(5, 9), slice(0, 12))])
    def test_part_is_cut_out_of_the_whole(self, shift, part):
        frame = np.random.default_rng(0).uniform(1, 2, (9, 12))
        np.testing.assert_array_equal(move(frame, shift, *part), move(frame, shift)[part])
