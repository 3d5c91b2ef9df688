# SPDX-License-Identifier: GPL-3.0-or-later
"""CSS against scikit-image, and as a calibrated curve over the time of a series."""

from itertools import pairwise

import hyperspy.api as hs
import numpy as np
import pytest
from skimage.metrics import structural_similarity

import n2a
from n2a import signals
from n2a.similarity import css_pairs


def reference(a, b, data_range):
    return structural_similarity(
        np.asarray(a, float),
        np.asarray(b, float),
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


def make_frames(shape=(5, 37, 53), seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    clean = 4 + 40 * np.exp(-((y % 14 - 7) ** 2 + (x % 14 - 7) ** 2) / 8)
    return rng.poisson(np.broadcast_to(clean, shape))


def make_series(**kwargs):
    s = hs.signals.Signal2D(make_frames(**kwargs).astype(np.float32))
    s.axes_manager[0].name = "time"
    s.axes_manager[0].units = "s"
    s.axes_manager[0].scale = 0.25
    s.axes_manager[0].offset = 3.0
    s.metadata.General.title = "clusters"
    return s


class TestPairs:
    @pytest.mark.parametrize("dtype", ["u1", ">u2", "i4", "u4", "f2", "f4", ">f8"])
    def test_equals_scikit_image(self, dtype):
        frames = make_frames().astype(dtype)
        expected = [reference(a, b, 50) for a, b in pairwise(frames)]
        np.testing.assert_allclose(css_pairs(frames, 50), expected, atol=1e-5)

    @pytest.mark.parametrize("shape", [(3, 11, 11), (2, 11, 80), (2, 130, 12), (2, 43, 42)])
    def test_any_size(self, shape):
        frames = make_frames(shape=shape)
        expected = [reference(a, b, 30) for a, b in pairwise(frames)]
        np.testing.assert_allclose(css_pairs(frames, 30), expected, atol=1e-5)

    @pytest.mark.parametrize("offset", [3_000_000, -70_000])
    @pytest.mark.parametrize("dtype", ["i4", "f8"])
    def test_huge_offsets_do_not_harm(self, offset, dtype):
        frames = (make_frames() + offset).astype(dtype)
        expected = [reference(a, b, 50) for a, b in pairwise(frames)]
        # The difference is scikit-image's: squares of 3e6 leave double precision 1e-3.
        np.testing.assert_allclose(css_pairs(frames, 50), expected, atol=1e-4)

    def test_weak_contrast_on_a_strong_ramp(self):
        y, _ = np.mgrid[:64, :64]
        frames = make_frames(shape=(3, 64, 64)) + 1000.0 * y / 63
        expected = [reference(a, b, 40) for a, b in pairwise(frames)]
        np.testing.assert_allclose(css_pairs(frames, 40), expected, atol=1e-4)

    def test_result_does_not_depend_on_the_origin_of_the_arithmetic(self):
        frames = make_frames()
        np.testing.assert_allclose(
            css_pairs(frames, 50, offset=0.0), css_pairs(frames, 50, offset=25.0), atol=1e-5
        )

    def test_constant_frames_are_identical(self):
        frames = np.full((3, 20, 20), 7.0)
        np.testing.assert_array_equal(css_pairs(frames, 1.0), [1, 1])

    def test_nan_border_is_left_out(self):
        frames = make_frames().astype(float)
        expected = reference(frames[0, :, 9:], frames[1, :, 9:], 50)
        frames[0, :, :9] = np.nan
        frames[1, :, :4] = np.inf
        np.testing.assert_allclose(css_pairs(frames[:2], 50), expected, atol=1e-5)

    def test_no_window_left_is_nan(self):
        frames = make_frames().astype(float)
        frames[2] = np.nan
        np.testing.assert_array_equal(np.isnan(css_pairs(frames, 50)), [False, True, True, False])

    def test_small_frames_are_refused(self):
        with pytest.raises(ValueError, match="11 x 11"):
            css_pairs(np.zeros((3, 10, 40)), 1)


class TestSignal:
    def test_curve_over_the_time_axis(self):
        s = make_series()
        curve = s.n2a.css(data_range=50)
        assert type(curve) is hs.signals.Signal1D
        axis = curve.axes_manager[0]
        assert (axis.name, axis.units) == ("time", "s")
        np.testing.assert_allclose(axis.axis, [3.25, 3.5, 3.75, 4.0])
        assert curve.metadata.General.title == "CSS of clusters"
        expected = [reference(a, b, 50) for a, b in pairwise(s.data)]
        np.testing.assert_allclose(curve.data, expected, atol=1e-5)
        assert curve.metadata.n2a.css.mean == pytest.approx(np.mean(expected), abs=1e-5)
        assert curve.metadata.n2a.css.lag == 1
        assert curve.metadata.n2a.css.data_range == 50

    def test_lag_compares_with_an_earlier_frame(self):
        s = make_series()
        curve = n2a.css(s, lag=3, data_range=50)
        expected = [reference(s.data[i], s.data[i + 3], 50) for i in range(2)]
        np.testing.assert_allclose(curve.data, expected, atol=1e-5)
        np.testing.assert_allclose(curve.axes_manager[0].axis, [3.75, 4.0])
        assert n2a.css(s, lag=4).data.shape == (1,)

    def test_default_range_is_robust_and_recorded(self):
        s = make_series()
        low, high = np.percentile(s.data, (0.1, 99.9))
        curve = s.n2a.css()
        assert curve.metadata.n2a.css.data_range == pytest.approx(high - low, rel=1e-6)
        np.testing.assert_allclose(curve.data, s.n2a.css(data_range=high - low).data, atol=1e-7)
        hot = s.deepcopy()
        hot.data[2, 3, 3] = 1e6
        assert hot.n2a.css().metadata.n2a.css.data_range == pytest.approx(high - low, rel=0.1)

    @pytest.mark.parametrize("chunks", [(1, 37, 53), (2, 10, 53), (5, 37, 7)])
    def test_lazy_equals_in_memory_in_blocks(self, chunks, monkeypatch):
        s = make_series(shape=(19, 37, 53))
        whole = s.n2a.css(lag=2)
        monkeypatch.setattr(signals, "BLOCK_PIXELS", 8 * 37 * 53)
        np.testing.assert_array_equal(s.n2a.css(lag=2).data, whole.data)
        lazy = s.as_lazy(chunks=chunks)
        curve = lazy.n2a.css(lag=2)
        assert lazy._lazy
        assert not curve._lazy
        np.testing.assert_array_equal(curve.data, whole.data)

    def test_a_block_at_a_time_is_read(self, monkeypatch):
        import dask.array as da

        largest = []

        def load(block):
            largest.append(block.shape[0])
            return block

        monkeypatch.setattr(signals, "BLOCK_PIXELS", 8 * 37 * 53)
        frames = make_frames(shape=(40, 37, 53)).astype(np.float32)
        data = da.from_array(frames, chunks=(1, -1, -1)).map_blocks(load, dtype=np.float32)
        n2a.css(hs.signals.Signal2D(data).as_lazy())
        assert max(largest) == 1
        assert signals.frame_spans(data.shape, 39)[0][1] <= 8

    def test_other_navigation_axes_stay(self):
        frames = np.stack([make_frames(shape=(4, 3, 20, 21), seed=i) for i in range(2)])
        s = hs.signals.Signal2D(frames.astype(np.float32))  # array (2, 4, 3, 20, 21)
        for index, (name, scale) in enumerate([("z", 1), ("time", 0.5), ("tilt", 2)]):
            s.axes_manager[index].name = name
            s.axes_manager[index].scale = scale
        curve = s.n2a.css(data_range=50)
        assert [axis.name for axis in curve.axes_manager.navigation_axes] == ["z", "tilt"]
        assert [axis.name for axis in curve.axes_manager.signal_axes] == ["time"]
        assert curve.data.shape == (2, 3, 3)
        assert curve.axes_manager["tilt"].scale == 2
        expected = reference(frames[1, 2, 0], frames[1, 3, 0], 50)
        np.testing.assert_allclose(curve.data[1, 0, 2], expected, atol=1e-5)

    def test_time_axis_by_name_when_none_stands_out(self):
        s = hs.signals.Signal2D(make_frames(shape=(3, 2, 20, 21)).astype(np.float32))
        s.axes_manager[1].name = "dwell"
        with pytest.raises(ValueError, match="give its name"):
            s.n2a.css()
        assert s.n2a.css(time_axis="dwell").axes_manager.signal_axes[0].name == "dwell"

    def test_signal_axes_not_last(self):
        s = make_series()
        moved = s.deepcopy()
        moved.data = np.moveaxis(s.data, 0, -1)  # (y, x, time), as in Velox files
        for axis, navigate, like in zip(
            moved.axes_manager._axes, (False, False, True), ("y", "x", "time")
        ):
            axis.navigate, axis.size, axis.name = navigate, 0, like
        for axis, size in zip(moved.axes_manager._axes, moved.data.shape):
            axis.size = size
        np.testing.assert_array_equal(moved.n2a.css().data, s.n2a.css().data)

    def test_uneven_times_are_kept(self):
        times = np.array([0.0, 1.0, 4.0, 9.0, 16.0])
        s = hs.signals.Signal2D(
            make_frames().astype(np.float32),
            axes=[
                {"axis": times, "name": "time", "units": "s", "navigate": True},
                {"size": 37, "name": "y"},
                {"size": 53, "name": "x"},
            ],
        )
        np.testing.assert_array_equal(s.n2a.css(lag=2).axes_manager["time"].axis, [4, 9, 16])

    def test_source_is_untouched_and_curve_survives_a_file(self, tmp_path):
        s = make_series()
        before = s.deepcopy()
        curve = s.n2a.css()
        np.testing.assert_array_equal(s.data, before.data)
        assert s.metadata.as_dictionary() == before.metadata.as_dictionary()
        curve.save(tmp_path / "curve.hspy")
        loaded = hs.load(tmp_path / "curve.hspy")
        assert loaded.metadata.n2a.as_dictionary() == curve.metadata.n2a.as_dictionary()

    def test_pair_without_finite_window_is_left_out_of_the_mean(self):
        s = make_series()
        s.data[4] = np.nan
        curve = s.n2a.css(data_range=50)
        assert np.isnan(curve.data).tolist() == [False, False, False, True]
        assert curve.metadata.n2a.css.mean == pytest.approx(curve.data[:3].mean())

    @pytest.mark.parametrize("lag", [0, -1, 5, 1.5, True, "2"])
    def test_lag_out_of_range(self, lag):
        with pytest.raises(ValueError, match="'lag'.*1 to 4"):
            make_series().n2a.css(lag=lag)

    @pytest.mark.parametrize("data_range", [0, -3.0, np.nan, np.inf, "5"])
    def test_bad_data_range(self, data_range):
        with pytest.raises(ValueError, match="'data_range'"):
            make_series().n2a.css(data_range=data_range)

    def test_nothing_to_compare(self):
        s = make_series()
        with pytest.raises(ValueError, match="single image"):
            s.inav[0].n2a.css()
        with pytest.raises(ValueError, match="only one"):
            s.inav[:1].n2a.css()
        with pytest.raises(ValueError, match="constant.*'data_range'"):
            (s * 0).n2a.css()
        with pytest.raises(ValueError, match="NaN"):
            (s * np.nan).n2a.css()
        with pytest.raises(ValueError, match="11 x 11"):
            s.isig[:9, :].n2a.css()
        with pytest.raises(ValueError, match=r"array of shape \(37, 53\) is a single image"):
            n2a.css(s.data[0])
        for bad in ("series", s.data * 1j, s.data[None], s.data[0, 0]):
            with pytest.raises(TypeError, match="'signal' has dtype .* expected a HyperSpy signal"):
                n2a.css(bad)


class TestArrays:
    @pytest.mark.parametrize("dtype", ["u1", ">u2", "f4"])
    @pytest.mark.parametrize("lag", [1, 3])
    def test_have_the_curve_of_the_signal(self, dtype, lag):
        import dask.array as da

        frames = make_frames(shape=(9, 37, 53)).astype(dtype)
        expected = n2a.css(hs.signals.Signal2D(frames), lag=lag)
        for array in (frames, da.from_array(frames, chunks=(2, 20, -1)), frames.tolist()):
            curve = n2a.css(array, lag=lag)
            assert type(curve) is np.ndarray
            assert curve.dtype == np.float64
            np.testing.assert_array_equal(curve, expected.data)

    def test_range_and_missing_pixels(self):
        frames = make_frames().astype(float)
        frames[4] = np.nan
        curve = n2a.css(frames, data_range=50)
        expected = [reference(a, b, 50) for a, b in pairwise(frames[:4])]
        np.testing.assert_allclose(curve, [*expected, np.nan], atol=1e-5)
        with pytest.raises(ValueError, match="'lag'.*1 to 4"):
            n2a.css(frames, lag=5)
