# SPDX-License-Identifier: GPL-3.0-or-later
"""From frames to a plan, and from frames to atoms: quality, promises, and input of every kind."""

import itertools
import pickle
import re
import warnings

import numpy as np
import pytest
from dask.base import tokenize
from scipy.ndimage import gaussian_filter

import n2a
from n2a import predictor as predictor_module
from n2a.model import Noise2Atom, get_model
from n2a.plan import Plan, plan_series
from n2a.predictor import Predictor

GAIN, OFFSET = 2.0, 100.0


class Series:
    """Raw frames of a simulated scene, their film, and the atoms in the same units."""

    def __init__(self, structure, dose, support=0.3, frames=6, shape=(96, 96), seed=5, **scene):
        clean = n2a.simulate(
            structure=structure, shape=shape, frames=frames, scale=0.015, seed=seed, **scene
        )
        self.atoms = clean.data.astype(float) * GAIN * dose / clean.data.max()
        self.film = OFFSET + GAIN * support * dose
        self.raw = n2a.acquire(
            clean, dose=dose, support=support, texture=0, slope=0, gain=GAIN, offset=OFFSET,
            dtype="float64", seed=2,
        ).data  # fmt: skip
        self.plan = plan_series(self.raw)


def film(mean, frames=6, shape=(128, 128), seed=3, **options):
    """Raw frames of support film without a single atom."""
    clean = n2a.simulate(structure="empty", shape=shape, frames=frames, scale=0.015, seed=seed)
    clean.data[:, 0, 0] = 1e-6  # the brightest "column", out of sight
    options = {"texture": 0.02, "slope": 0.05, "dtype": "float64", "seed": seed, **options}
    return n2a.acquire(clean, dose=1e-3, support=1e3 * mean, **options).data[:, 1:]


def decibels(result, truth):
    return 10 * np.log10(truth.max() ** 2 / np.mean((result - truth) ** 2))


def best_blur(raw, truth):
    return max(
        decibels(gaussian_filter(raw, (0, s, s)), truth) for s in (0.5, 1, 1.5, 2, 2.5, 3, 4, 5)
    )


@pytest.fixture(scope="module")
def cluster():
    return Series("cluster", 10)


@pytest.fixture(scope="module")
def denoised(cluster):
    return Predictor(None, cluster.plan)(cluster.raw)


@pytest.fixture(scope="module")
def predict(cluster):
    return Predictor(None, cluster.plan)


class TestPlan:
    @pytest.mark.parametrize("structure", ["cluster", "2d", "atoms"])
    @pytest.mark.parametrize("dose", [5, 50])
    def test_measures_what_was_recorded(self, structure, dose):
        series = Series(structure, dose)
        plan = series.plan
        sigma = np.sqrt(0.3 * dose + 3 / 8)
        assert plan.level == pytest.approx(series.film, abs=GAIN * sigma)
        assert plan.contrast == "bright"
        # An atom of 0.1 nm at half maximum, on pixels of 15 pm.
        assert plan.atom_width == pytest.approx(0.1 / 2.355 / 0.015, rel=0.5)
        # The mean over factor x factor pixels has less noise, and a count weighs less in it.
        assert plan.noise == pytest.approx(GAIN * sigma / plan.factor, rel=0.35)
        assert plan.gain == pytest.approx(GAIN / plan.factor**2, rel=0.35)

    def test_no_warning_in_the_domain(self, cluster):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            plan_series(cluster.raw, pixel_size=0.015)

    @pytest.mark.parametrize(("width", "factor"), [(1.0, 1), (2.9, 1), (3.5, 2), (6.5, 3)])
    def test_wide_atoms_are_binned(self, cluster, width, factor):
        plan = plan_series(cluster.raw, atom_width=width)
        assert plan.atom_width == width
        assert plan.factor == factor
        fine = plan_series(cluster.raw, atom_width=1.0)
        assert plan.noise == pytest.approx(fine.noise / factor, rel=0.25)

    def test_binning_leaves_16_pixels(self):
        frames = np.random.default_rng(0).poisson(9, (4, 20, 60))
        assert plan_series(frames, atom_width=30).factor == 1

    def test_dark_atoms_are_told_from_bright_ones(self):
        for structure in ("cluster", "2d", "atoms"):
            series = Series(structure, 30)
            assert plan_series(series.raw).contrast == "bright"
            assert plan_series(-series.raw).contrast == "dark"
        plan = plan_series(series.raw, contrast="dark")
        assert plan.contrast == "dark"

    def test_dark_level_is_between_the_atoms(self):
        series = Series("atoms", 30)
        plan = plan_series(-series.raw)
        assert plan.level == pytest.approx(-series.film, abs=GAIN * 3)

    def test_pixel_size_corrects_an_impossible_width(self):
        # Film grain of 5 px at 50 pm would be atoms of 0.6 nm.
        coarse = gaussian_filter(np.random.default_rng(0).normal(size=(4, 128, 128)), (0, 5, 5))
        frames = 100 + 300 * coarse + np.random.default_rng(1).normal(size=coarse.shape)
        free, bound = plan_series(frames), plan_series(frames, pixel_size=0.05)
        assert free.atom_width > 3
        assert bound.atom_width < 2

    def test_series_of_one_frame(self, cluster):
        assert isinstance(plan_series(cluster.raw[:1]), Plan)

    def test_clean_images(self, cluster):
        # Without any noise nothing is divided by zero.
        plan = plan_series(cluster.atoms)
        assert plan.noise > 0
        result = Predictor(None, plan)(cluster.atoms)
        assert np.isfinite(result).all()
        assert decibels(result, cluster.atoms) > 20

    @pytest.mark.parametrize(
        ("factor", "offset"),
        [(2.0**-10, 0), (3.7, -50), (1e-20, 0), (1e20, 0), (1, 4e6), (0.001, 9)],
    )
    def test_units_and_offsets_do_not_matter(self, cluster, factor, offset):
        one, other = plan_series(cluster.raw), plan_series(factor * cluster.raw + offset)
        assert other.level == pytest.approx(
            factor * one.level + offset, abs=0.05 * factor * one.noise
        )
        assert other.noise == pytest.approx(factor * one.noise, rel=0.02)
        assert other.gain == pytest.approx(factor * one.gain, rel=0.05)
        assert other.atom_width == pytest.approx(one.atom_width, rel=0.02)
        assert (other.contrast, other.factor) == (one.contrast, one.factor)

    def test_dark_atoms_in_any_unit(self, cluster):
        for factor in (1e-18, 1e18):
            assert plan_series(-factor * cluster.raw).contrast == "dark"

    @pytest.mark.parametrize(
        "dtype", ["uint8", "int16", ">u2", "uint32", "int64", "float16", ">f4"]
    )
    def test_dtypes(self, cluster, dtype):
        frames = np.clip(np.rint(cluster.raw), 0, 255)
        expected, found = plan_series(frames), plan_series(frames.astype(dtype))
        assert found.level == pytest.approx(expected.level, abs=0.01)
        assert found.noise == pytest.approx(expected.noise, rel=1e-3)

    def test_unmeasured_pixels_are_left_out(self, cluster):
        frames = cluster.raw.copy()
        frames[:, :12] = np.nan
        frames[2, :, 80:] = np.inf
        frames[0, 40, 40] = -np.inf
        plan, whole = plan_series(frames), cluster.plan
        assert plan.noise == pytest.approx(whole.noise, rel=0.2)
        assert plan.level == pytest.approx(whole.level, abs=0.3 * whole.noise)
        assert plan.contrast == whole.contrast

    def test_frames_are_not_changed(self, cluster):
        frames = cluster.raw.copy()
        frames[0, 3, 3] = np.inf
        kept = frames.copy()
        frames.flags.writeable = False
        plan_series(frames)
        np.testing.assert_array_equal(frames, kept)


class TestPlanRefuses:
    NOISE = np.random.default_rng(0).poisson(9, (4, 64, 64)).astype(float)

    @pytest.mark.parametrize("value", [0.0, -7.5, 3e9])
    def test_constant(self, value):
        with pytest.raises(ValueError, match=f"constant.*{re.escape(f'{value:g}')}"):
            plan_series(np.full((3, 32, 32), value))

    def test_constant_where_measured(self):
        frames = np.full((2, 32, 32), 5.0)
        frames[:, :9] = np.nan
        with pytest.raises(ValueError, match="constant"):
            plan_series(frames)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_nothing_measured(self, value):
        with pytest.raises(ValueError, match="no finite pixels.*crop"):
            plan_series(np.full((3, 32, 32), value))

    @pytest.mark.parametrize("shape", [(2, 15, 64), (2, 64, 8), (1, 1, 1)])
    def test_too_small(self, shape):
        with pytest.raises(ValueError, match=f"{shape[2]} x {shape[1]} pixels.*16 x 16"):
            plan_series(np.random.default_rng(0).normal(size=shape))

    @pytest.mark.parametrize("contrast", ["light", "", None, 1])
    def test_contrast(self, contrast):
        with pytest.raises(ValueError, match="'contrast'.*'auto', 'bright' or 'dark'"):
            plan_series(self.NOISE, contrast=contrast)

    @pytest.mark.parametrize("width", [0, -1, 0.1, 1000, np.nan, np.inf])
    def test_atom_width(self, width):
        with pytest.raises(ValueError, match="'atom_width'.*0.3 to 100"):
            plan_series(self.NOISE, atom_width=width)


class TestPlanWarns:
    NOISE = TestPlanRefuses.NOISE

    def test_where_nothing_looks_like_atoms(self):
        with pytest.warns(UserWarning, match="nothing of the size of atoms.*'atom_width'"):
            plan = plan_series(self.NOISE)
        assert 1 < plan.atom_width < 4

    def test_where_pixels_do_not_resolve_atoms(self, cluster):
        with pytest.warns(UserWarning, match="do not resolve atoms"):
            plan_series(cluster.raw, pixel_size=0.5)

    def test_where_atoms_are_narrower_than_in_training(self, cluster):
        with pytest.warns(UserWarning, match="atoms are only 0.5 px"):
            plan_series(cluster.raw, atom_width=0.5)


class TestQuality:
    @pytest.mark.parametrize("structure", ["cluster", "2d", "atoms"])
    @pytest.mark.parametrize("dose", [5, 30])
    def test_better_than_raw_and_than_the_best_blur(self, structure, dose):
        series = Series(structure, dose)
        result = Predictor(None, series.plan)(series.raw)
        raw = series.raw - series.film  # without its background: the hardest opponent
        found = decibels(result, series.atoms)
        assert found > decibels(raw, series.atoms) + 8
        assert found > best_blur(raw, series.atoms) + 0.5

    def test_single_images_gain_too(self):
        series = Series("atoms", 30)
        result = Predictor(None, series.plan, use_time=False)(series.raw)
        assert (
            decibels(result, series.atoms) > best_blur(series.raw - series.film, series.atoms) + 1
        )

    def test_neighbours_in_time_help(self):
        series = Series("2d", 5)
        alone, together = (
            decibels(Predictor(None, series.plan, use_time=t)(series.raw), series.atoms)
            for t in (False, True)
        )
        assert together > alone + 1

    def test_intensities_are_linear(self):
        # Bright and dim columns: what is integrated around each comes out in proportion.
        series = Series("2d", 60)
        result = Predictor(None, series.plan)(series.raw)
        blurred, truth = (
            gaussian_filter(a, (0, 3, 3))[:, 9:-9, 9:-9] for a in (result, series.atoms)
        )
        slope = np.polyfit(truth.ravel(), blurred.ravel(), 1)[0]
        assert slope == pytest.approx(1, abs=0.12)
        assert np.corrcoef(truth.ravel(), blurred.ravel())[0, 1] > 0.97

    @pytest.mark.parametrize("mean", [0.5, 5, 50, 500])
    def test_next_to_nothing_on_empty_support(self, mean):
        frames = film(mean)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plan = plan_series(frames, pixel_size=0.015)
        result = Predictor(None, plan)(frames)
        assert result.mean() < 0.1 * plan.noise
        assert np.quantile(result, 0.999) < plan.noise

    def test_dark_atoms_come_out_as_their_depth(self):
        series = Series("atoms", 30)
        inverted = 5000 - series.raw
        plan = plan_series(inverted)
        result = Predictor(None, plan)(inverted)
        assert plan.contrast == "dark"
        raw = series.raw - series.film
        assert decibels(result, series.atoms) > decibels(raw, series.atoms) + 5
        assert np.corrcoef(result.ravel(), series.atoms.ravel())[0, 1] > 0.9

    def test_background_can_be_added_back(self, cluster, denoised):
        absolute = Predictor(None, cluster.plan, background=True)(cluster.raw)
        below = absolute - denoised
        # What is below the atoms is the film: its level, and none of the noise.
        assert np.median(below) == pytest.approx(cluster.film, abs=0.5 * cluster.plan.noise)
        assert below.std() < 0.7 * cluster.raw.std()
        assert absolute.mean() == pytest.approx(cluster.raw.mean(), abs=0.3 * cluster.plan.noise)

    def test_background_of_dark_atoms(self):
        series = Series("atoms", 30)
        inverted = 5000 - series.raw
        absolute = Predictor(None, plan_series(inverted), background=True)(inverted)
        assert absolute.mean() == pytest.approx(inverted.mean(), abs=2)
        assert decibels(5000 - absolute - series.film, series.atoms) > 15

    def test_never_negative(self, denoised):
        assert denoised.min() == 0
        assert denoised.dtype == np.float32


class TestPromises:
    @pytest.mark.parametrize("factor", [2.0**-20, 2.0**8])
    def test_scaling_the_series_scales_the_result(self, cluster, denoised, factor):
        frames = factor * cluster.raw
        result = Predictor(None, plan_series(frames))(frames)
        np.testing.assert_allclose(result / factor, denoised, atol=0.02 * cluster.plan.noise)

    @pytest.mark.parametrize(
        ("factor", "offset"), [(0.37, 0), (1.0, -1000), (12.5, 4e6), (1e-9, 1e-7)]
    )
    def test_any_unit_and_offset(self, cluster, denoised, factor, offset):
        frames = factor * cluster.raw + offset
        result = Predictor(None, plan_series(frames))(frames)
        # Networks in half precision turn the last digit of their input into a per cent.
        difference = np.abs(result / factor - denoised)
        assert difference.max() < 0.35 * cluster.plan.noise
        assert difference.mean() < 0.02 * cluster.plan.noise

    def test_a_frame_depends_on_five_on_each_side(self, cluster, predict):
        assert predict.halo == 5
        rng = np.random.default_rng(0)
        long = np.concatenate([cluster.raw, cluster.raw[::-1], cluster.raw])
        expected = predict(long)
        for changed in (0, 8, 17):
            frames = long.copy()
            frames[changed] = rng.permuted(frames[changed])
            result = predict(frames)
            for t in range(18):
                same = np.array_equal(result[t], expected[t])
                assert same or abs(t - changed) <= 5
                # The two next to it always count, those beyond where nothing has moved.
                assert not same or abs(t - changed) > 2

    @pytest.mark.parametrize("i", [0, 5])
    def test_frames_beyond_the_window_help_where_nothing_moves(self, i):
        series = Series("crystal", 2, frames=11, shape=(128, 128), drift=0.0)
        predict = Predictor(None, series.plan)
        near = predict(series.raw[max(0, i - 2) : i + 3])[i - max(0, i - 2)]
        gained = decibels(predict(series.raw)[i], series.atoms[i]) - decibels(near, series.atoms[i])
        assert gained > 0.5

    def test_what_moves_is_left_alone(self):
        differences = []
        for seed in (0, 1, 2, 3, 5):
            series = Series("cluster", 10, frames=11, rotation=3.0, seed=seed)
            predict = Predictor(None, series.plan)
            truth = series.atoms[5]
            near, far = predict(series.raw[3:8])[2], predict(series.raw, 5, 6)[0]
            differences.append(decibels(far, truth) - decibels(near, truth))
        assert np.mean(differences) > -0.1
        assert min(differences) > -0.4

    def test_an_atom_that_comes_later_is_not_shown_before(self):
        # A crystal at rest, and from the frame after the window on one column more.
        series = Series("crystal", 4, frames=8, shape=(128, 128), drift=0.0)
        rng = np.random.default_rng(3)
        y, x = np.mgrid[:128, :128]
        truth = series.atoms[0]
        hidden = np.argwhere(truth == truth[40:88, 40:88].max())[0]
        width = series.plan.atom_width
        spot = np.exp(-((y - hidden[0]) ** 2 + (x - hidden[1]) ** 2) / (2 * width**2))
        # Counts are taken away by chance where the column is missing.
        keep = 1 - np.clip(truth * spot, 0, None) / (truth + series.film - OFFSET)
        counts = np.rint((series.raw - OFFSET) / GAIN).clip(0).astype(int)
        raw = series.raw.copy()
        raw[:6] = OFFSET + GAIN * rng.binomial(counts[:6], keep)
        place = tuple(hidden)
        with_atom = Predictor(None, series.plan)(series.raw)[3][place]
        result = Predictor(None, series.plan)(raw)
        assert result[3][place] < 0.25 * with_atom
        alone = Predictor(None, series.plan)(raw[:6])[3][place]
        assert result[3][place] < alone + 0.1 * with_atom

    def test_blocks_do_not_matter(self, cluster, predict):
        long = np.concatenate([cluster.raw, cluster.raw[::-1], cluster.raw])
        whole = predict(long)
        np.testing.assert_array_equal(predict(long[4:])[5:], whole[9:])
        np.testing.assert_array_equal(predict(long[:11])[:6], whole[:6])
        np.testing.assert_array_equal(predict(long, 2, 4), whole[2:4])

    def test_long_series(self, cluster, predict):
        frames = np.concatenate([cluster.raw] * 4)
        result = predict(frames)
        np.testing.assert_array_equal(result[14:19], predict(frames[9:24])[5:10])

    def test_frames_alone_do_not_see_each_other(self, cluster):
        alone = Predictor(None, cluster.plan, use_time=False)
        assert alone.halo == 0
        result = alone(cluster.raw)
        for t in (0, 4):
            np.testing.assert_array_equal(alone(cluster.raw[t : t + 1])[0], result[t])

    def test_repeatable(self, cluster, predict, denoised):
        np.testing.assert_array_equal(predict(cluster.raw), denoised)

    def test_no_seams_between_tiles(self, monkeypatch):
        series = Series("crystal", 30, frames=1, shape=(80, 200))
        whole = Predictor(None, series.plan)(series.raw)
        monkeypatch.setattr(predictor_module, "TILE", 64 * 116)
        monkeypatch.setattr(predictor_module, "COLUMNS", 128)
        tiled = Predictor(None, series.plan)(series.raw)
        assert not np.array_equal(tiled, whole)  # there were tiles
        difference = np.abs(tiled - whole)[:, :, 20:-20]
        assert difference.max() < 0.5 * series.plan.noise
        assert difference.mean() < 0.03 * series.plan.noise

    @pytest.mark.parametrize("length", [64, 575, 576, 577, 600, 1024, 1500, 4096])
    def test_tiles_cover_an_image_smoothly(self, length):
        tiles = predictor_module._tiles(length, 512)
        weight = np.zeros(length)
        for tile in tiles:
            weight[tile] += predictor_module._ramp(tile, length)
            assert tile.start >= 0
            assert tile.stop <= length
        assert weight.min() > 0.4
        starts = [tile.start for tile in tiles]
        assert all(
            b.start <= a.stop - predictor_module.OVERLAP for a, b in itertools.pairwise(tiles)
        )
        assert len({tile.stop - tile.start for tile in tiles}) == 1
        assert starts == sorted(starts)


class TestInput:
    @pytest.mark.parametrize(
        "dtype",
        ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32",
         ">u2", ">i4", ">f4", ">f8"],
    )  # fmt: skip
    def test_dtypes(self, cluster, dtype):
        frames = np.clip(np.rint(cluster.raw[:3]) - 60, 0, 127)
        plan = plan_series(frames)
        expected = Predictor(None, plan)(frames)
        result = Predictor(None, plan)(frames.astype(dtype))
        assert result.dtype == np.float32
        assert result.dtype.isnative
        np.testing.assert_array_equal(result, expected)

    def test_read_only_and_memory_mapped(self, cluster, predict, denoised, tmp_path):
        frames = cluster.raw.copy()
        frames.flags.writeable = False
        np.testing.assert_array_equal(predict(frames), denoised)
        path = tmp_path / "frames.npy"
        np.save(path, frames)
        mapped = np.load(path, mmap_mode="r")
        np.testing.assert_array_equal(predict(mapped), denoised)
        np.testing.assert_array_equal(np.load(path), cluster.raw)

    def test_other_memory_orders(self, cluster, predict, denoised):
        turned = np.ascontiguousarray(cluster.raw.transpose(2, 1, 0)).transpose(2, 1, 0)
        np.testing.assert_array_equal(predict(turned), denoised)
        spaced = np.repeat(cluster.raw, 2, axis=0)[::2]
        np.testing.assert_array_equal(predict(spaced), denoised)

    def test_frames_are_not_changed(self, cluster, predict):
        frames = cluster.raw.copy()
        frames[1, :5] = np.nan
        kept = frames.copy()
        predict(frames)
        np.testing.assert_array_equal(frames, kept)

    @pytest.mark.parametrize("frames", [1, 2, 3])
    def test_short_series(self, cluster, predict, frames):
        result = predict(cluster.raw[:frames])
        assert result.shape == (frames, 96, 96)
        assert decibels(result, cluster.atoms[:frames]) > 18

    @pytest.mark.parametrize("shape", [(16, 16), (17, 33), (50, 91), (16, 130)])
    def test_any_size(self, shape):
        frames = np.random.default_rng(0).poisson(9, (3, *shape)).astype(float)
        frames[:, 8, 8] += 60
        for width in (1.2, 2.5, 7.0):
            result = Predictor(None, plan_series(frames, atom_width=width))(frames)
            assert result.shape == frames.shape
            assert np.isfinite(result).all()

    def test_binned_series(self):
        # Atoms 6 px wide are seen on a coarser grid, and come back on the fine one.
        series = Series("atoms", 20, shape=(120, 121), probe=0.21, source=0, nearest=0.6)
        assert series.plan.factor > 1
        result = Predictor(None, series.plan)(series.raw)
        assert result.shape == series.raw.shape
        raw = series.raw - series.film
        assert decibels(result, series.atoms) > decibels(raw, series.atoms) + 8

    def test_unmeasured_pixels(self, cluster, predict, denoised):
        # As after align2D: borders, and a frame that is lost.
        frames = cluster.raw.copy()
        frames[1, :10] = np.nan
        frames[2, :, -7:] = np.nan
        frames[4] = np.nan
        frames[3, 50, 50] = np.inf
        result = predict(frames)
        np.testing.assert_array_equal(np.isnan(result), ~np.isfinite(frames))
        inner = np.s_[:4, 20:-20, 20:-20]
        truth, found = cluster.atoms[inner], np.nan_to_num(result[inner])
        assert decibels(found, truth) > decibels(denoised[inner], truth) - 1.5

    def test_nothing_but_unmeasured_pixels(self, predict):
        assert np.isnan(predict(np.full((3, 96, 96), np.nan))).all()

    def test_borders_without_data_do_not_reach_inside(self, cluster, predict):
        frames = cluster.raw.copy()
        frames[:, :5], frames[:, :, -7:] = np.nan, np.nan
        inside = np.s_[:, 5:, :-7]
        cropped = Predictor(None, cluster.plan)(cluster.raw[inside])
        np.testing.assert_array_equal(np.isnan(predict(frames)), np.isnan(frames))
        result, truth = predict(frames)[inside], cluster.atoms[inside]
        assert decibels(result, truth) > decibels(cropped, truth) - 0.5

    def test_blanked_frame(self, cluster, predict):
        frames = cluster.raw.copy()
        frames[2] = 0
        result = predict(frames)
        assert np.isfinite(result).all()
        inner = np.s_[[0, 1, 3, 4, 5]]
        assert decibels(result[inner], cluster.atoms[inner]) > 18

    def test_no_frames(self, predict):
        assert predict(np.zeros((0, 96, 96))).shape == (0, 96, 96)

    def test_extreme_values(self, cluster, predict):
        frames = cluster.raw.copy()
        frames[2, 30, 30], frames[3, 60, 60] = 1e30, -1e30
        result = predict(frames)
        assert np.isfinite(result).all()
        assert np.abs(result[0]).max() < 10 * cluster.atoms.max()


class TestObject:
    def test_pickle_gives_the_same_result(self, cluster, predict, denoised):
        again = pickle.loads(pickle.dumps(predict))
        np.testing.assert_array_equal(again(cluster.raw), denoised)
        assert len(pickle.dumps(predict)) < 20_000  # no weights travel

    def test_pickle_of_a_model_of_ones_own(self, cluster, tmp_path):
        box = get_model()
        box.save(tmp_path / "own.n2a")
        plan = cluster.plan
        for model in (tmp_path / "own.n2a", str(tmp_path / "own.n2a"), Noise2Atom(box.generator)):
            predict = pickle.loads(pickle.dumps(Predictor(model, plan)))
            np.testing.assert_array_equal(
                predict(cluster.raw[:1]), Predictor(box, plan)(cluster.raw[:1])
            )

    def test_tokens_for_dask(self, cluster):
        plan = cluster.plan
        token = tokenize(Predictor(None, plan))
        assert tokenize(Predictor(None, plan)) == token
        assert tokenize(Predictor("fast", plan)) == token  # the same model by its name
        assert tokenize(pickle.loads(pickle.dumps(Predictor(None, plan)))) == token
        others = [
            Predictor(None, plan, background=True),
            Predictor(None, plan, use_time=False),
            Predictor(None, plan_series(cluster.raw, atom_width=1.5)),
            Predictor(Noise2Atom(type(get_model().generator)()), plan),
        ]
        assert len({token, *map(tokenize, others)}) == 5

    def test_devices(self, cluster, denoised):
        result = Predictor(None, cluster.plan, device="cpu")(cluster.raw)
        np.testing.assert_allclose(result, denoised, atol=0.3 * cluster.plan.noise)
        with pytest.raises(ValueError, match="'device' is 'abacus'"):
            Predictor(None, cluster.plan, device="abacus")

    def test_plan_is_small_and_plain(self, cluster):
        plan = pickle.loads(pickle.dumps(cluster.plan))
        assert plan == cluster.plan
        for value in vars(plan).values():
            assert type(value) in (int, float, str)


class TestCalibration:
    def test_a_wrong_calibration_does_not_erase_atoms(self):
        series = Series("crystal", 20)
        with pytest.warns(UserWarning, match="calibration is left out"):
            plan = plan_series(series.raw, pixel_size=0.001)
        assert plan.atom_width < 2 * series.plan.atom_width
        assert plan.contrast == "bright"
