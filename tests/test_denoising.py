# SPDX-License-Identifier: GPL-3.0-or-later
"""denoise(): what a HyperSpy user gets back, and what is left as it was."""

import hyperspy.api as hs
import numpy as np
import pytest
from hyperspy.extensions import ALL_EXTENSIONS

import n2a
from n2a import signals

# Rounding of the input reaches the result through the plan, and where the network runs in bfloat16
# (8 bits) it shows: 1 % of the brightest atoms.
CLOSE = 0.4


def make_frames(shape=(5, 48, 56), seed=0, gain=1.0):
    """Counts of drifting atoms (sigma 2.5 px, 30 counts at the peak) on a support of 8 counts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[-2], : shape[-1]].astype(float)
    frames = np.empty(shape)
    for number, index in enumerate(np.ndindex(shape[:-2])):
        dy, dx = (y - 0.3 * number) % 14 - 7, (x + 0.2 * number) % 14 - 7
        frames[index] = rng.poisson(8 + 30 * np.exp(-(dy**2 + dx**2) / (2 * 2.5**2)))
    return gain * frames


def make_series(shape=(5, 48, 56), dtype=np.float32, **kwargs):
    s = hs.signals.Signal2D(make_frames(shape, **kwargs).astype(dtype))
    s.metadata.General.title = "clusters"
    for axis in s.axes_manager.signal_axes:
        axis.scale, axis.units, axis.offset = 0.02, "nm", -1.5
    if len(shape) == 3:
        s.axes_manager[0].name, s.axes_manager[0].units = "time", "s"
        s.axes_manager[0].scale, s.axes_manager[0].offset = 0.2, 4.0
    return s


@pytest.fixture(scope="module")
def denoised():
    """The plain result for `make_series()`, in memory."""
    return n2a.denoise(make_series(), show_progressbar=False)


class TestResult:
    def test_atoms_come_out_of_the_noise(self, denoised):
        y, x = np.mgrid[:48, :56].astype(float)
        noisy, error = make_series().data, []
        for i, frame in enumerate(denoised.data):
            dy, dx = (y - 0.3 * i) % 14 - 7, (x + 0.2 * i) % 14 - 7
            truth = 30 * np.exp(-(dy**2 + dx**2) / (2 * 2.5**2))
            inner = np.s_[6:-6, 6:-6]
            before = np.sqrt(np.mean((noisy[i] - 8 - truth)[inner] ** 2))
            error.append(np.sqrt(np.mean((frame - truth)[inner] ** 2)) / before)
        assert max(error) < 0.5

    def test_calibration_and_metadata_are_kept(self, denoised):
        s = make_series()
        assert type(denoised) is type(s)
        assert denoised.data.dtype == np.float32
        for new, old in zip(denoised.axes_manager._axes, s.axes_manager._axes):
            assert new.get_axis_dictionary() == old.get_axis_dictionary()
        assert denoised.metadata.General.as_dictionary() == s.metadata.General.as_dictionary()

    def test_provenance_is_small_and_true(self, denoised):
        record = denoised.metadata.n2a.denoising.as_dictionary()
        assert all(
            value is None or isinstance(value, str | int | float) for value in record.values()
        )
        assert record["version"] == n2a.__version__
        assert record["model_digest"] == n2a.get_model().digest
        assert record["contrast"] == "bright"
        assert record["time_axis"] == "time"
        assert record["background"] is False
        # 8 counts of support, Poisson noise of unit gain, atoms of sigma 2.5 px
        assert record["level"] == pytest.approx(8, abs=2)
        assert record["noise"] == pytest.approx(np.sqrt(8), rel=0.35)
        assert record["atom_width"] == pytest.approx(2.5, rel=0.35)

    def test_source_is_untouched(self):
        s = make_series()
        s.metadata.Signal.set_item("Noise_properties.variance", 3.0)
        s.original_metadata.set_item("deep.down", 1)
        s.tmp_parameters.set_item("filename", "clusters")
        s.decomposition(output_dimension=2, print_info=False)
        data, metadata = s.data, s.metadata.as_dictionary()
        copy = data.copy()
        d = s.n2a.denoise()
        assert s.data is data
        np.testing.assert_array_equal(data, copy)
        assert s.metadata.as_dictionary() == metadata
        assert s.learning_results.loadings is not None
        assert d.original_metadata.deep.down == 1
        assert d.tmp_parameters.filename == "clusters"
        # The noise and the decomposition of the raw data are not those of the result.
        assert not d.metadata.has_item("Signal.Noise_properties")
        assert d.learning_results.loadings is None

    def test_permanent_markers_stay(self):
        s = make_series()
        s.add_marker(
            hs.plot.markers.Points(offsets=[[0.0, 0.0]]), permanent=True, plot_marker=False
        )
        assert len(s.n2a.denoise().metadata.Markers) == 1
        assert len(s.as_lazy().n2a.denoise().metadata.Markers) == 1

    def test_signal_of_an_extension_stays_one(self, monkeypatch):
        entry = {
            "signal_type": "atomic_series",
            "signal_dimension": 2,
            "dtype": "real",
            "lazy": False,
            "module": __name__,
        }
        monkeypatch.setitem(ALL_EXTENSIONS["signals"], "AtomicSeries", entry)
        s = AtomicSeries(make_frames())
        assert type(s.n2a.denoise()) is AtomicSeries
        assert s.as_lazy().n2a.denoise().metadata.Signal.signal_type == "atomic_series"

    def test_slicing_and_arithmetic_with_the_raw_series(self, denoised):
        residual = make_series() - denoised
        assert residual.isig[-1.5:-1.0, :].axes_manager[1].size == 25
        assert not residual.metadata.has_item("n2a")

    @pytest.mark.parametrize("extension", ["hspy", "zspy"])
    def test_saved_and_loaded(self, denoised, tmp_path, extension):
        if extension == "zspy":
            zarr = pytest.importorskip("zarr", reason="the extra 'zspy' is not installed")
            if int(zarr.__version__.split(".")[0]) > 2:
                pytest.skip("RosettaSciIO writes .zspy with zarr 2")
        denoised.deepcopy().save(tmp_path / f"result.{extension}")
        loaded = hs.load(tmp_path / f"result.{extension}")
        np.testing.assert_array_equal(loaded.data, denoised.data)
        assert loaded.metadata.n2a.as_dictionary() == denoised.metadata.n2a.as_dictionary()
        assert loaded.axes_manager["time"].offset == 4.0

    def test_saved_and_loaded_without_time(self, tmp_path):
        d = make_series().n2a.denoise(time_axis=None)
        d.save(tmp_path / "result.hspy")
        assert hs.load(tmp_path / "result.hspy").metadata.n2a.denoising.time_axis is None

    def test_twice_the_same(self, denoised):
        again = make_series().n2a.denoise()
        np.testing.assert_array_equal(again.data, denoised.data)
        assert again.metadata.as_dictionary() == denoised.metadata.as_dictionary()


class AtomicSeries(hs.signals.Signal2D):
    """As another HyperSpy extension would define it."""

    _signal_type = "atomic_series"


class TestShapes:
    def test_single_image(self):
        s = make_series((48, 56))
        d = s.n2a.denoise()
        assert d.data.shape == (48, 56)
        assert d.metadata.n2a.denoising.time_axis is None
        np.testing.assert_array_equal(s.as_lazy().n2a.denoise().data.compute(), d.data)

    def test_time_among_other_axes(self):
        s = make_series((2, 3, 48, 56))
        s.axes_manager[1].name = "time"  # array axis 0
        s.axes_manager[0].name = "tilt"
        d = s.n2a.denoise()
        assert d.metadata.n2a.denoising.time_axis == "time"
        assert d.data.shape == s.data.shape
        moved = hs.signals.Signal2D(np.moveaxis(s.data, 0, 1))
        moved.axes_manager[0].name = "time"
        for axis, same in zip(moved.axes_manager.signal_axes, s.axes_manager.signal_axes):
            axis.scale, axis.units = same.scale, same.units
        np.testing.assert_array_equal(np.moveaxis(moved.n2a.denoise().data, 1, 0), d.data)

    def test_no_time_among_several_axes(self):
        s = make_series((2, 3, 48, 56))
        d = s.n2a.denoise()
        assert d.metadata.n2a.denoising.time_axis is None
        flat = hs.signals.Signal2D(s.data.reshape(6, 48, 56)).n2a.denoise(time_axis=None)
        np.testing.assert_allclose(d.data.reshape(6, 48, 56), flat.data, atol=CLOSE)

    def test_three_navigation_axes(self):
        s = make_series((2, 3, 2, 32, 40))
        s.axes_manager[2].name = "time"
        d = s.n2a.denoise()
        lazy = s.as_lazy(chunks=(1, 2, 1, 16, 40)).n2a.denoise()
        assert d.axes_manager.shape == s.axes_manager.shape
        np.testing.assert_array_equal(lazy.data.compute(), d.data)

    def test_time_axis_off_looks_at_each_frame_alone(self):
        s = make_series()
        d = s.n2a.denoise(time_axis=None, contrast="bright")
        other = s.deepcopy()
        other.data[1] = other.data[1][::-1]
        again = other.n2a.denoise(time_axis=None, contrast="bright")
        assert np.abs(again.data[2] - d.data[2]).max() < 0.05 * d.data.max()
        assert not np.allclose(d.data[2], s.n2a.denoise().data[2], atol=0.01)

    def test_signal_axes_not_last(self, denoised):
        data = np.moveaxis(
            make_frames().astype(np.float32), 0, -1
        )  # (y, x, time), as in Velox files
        axes = [
            {"size": 48, "name": "y", "navigate": False, "scale": 0.02, "units": "nm"},
            {"size": 56, "name": "x", "navigate": False, "scale": 0.02, "units": "nm"},
            {"size": 5, "name": "time", "navigate": True, "units": "s"},
        ]
        s = hs.signals.Signal2D(data, axes=axes)
        d = s.n2a.denoise()
        assert [axis.name for axis in d.axes_manager._axes] == ["y", "x", "time"]
        np.testing.assert_array_equal(np.moveaxis(d.data, -1, 0), denoised.data)
        lazy = s.as_lazy(chunks=(20, 56, 2)).n2a.denoise()
        np.testing.assert_array_equal(lazy.data.compute(), d.data)


class TestLazy:
    @pytest.mark.parametrize("chunks", [(1, 48, 56), (2, 20, 56), (5, 7, 11), (3, 48, 56)])
    def test_equals_in_memory(self, denoised, chunks):
        lazy = make_series().as_lazy(chunks=chunks)
        d = lazy.n2a.denoise()
        assert d._lazy
        assert lazy._lazy
        assert d.data.dtype == np.float32
        assert d.metadata.n2a.as_dictionary() == denoised.metadata.n2a.as_dictionary()
        np.testing.assert_array_equal(d.data.compute(), denoised.data)

    def test_blocks_leave_no_seams_in_time(self, monkeypatch):
        s = make_series((13, 32, 40))
        whole = s.n2a.denoise()
        monkeypatch.setattr(signals, "MIN_FRAMES", 4)
        monkeypatch.setattr(signals, "BLOCK_PIXELS", 4 * 32 * 40)
        split = s.n2a.denoise(lazy_output=True)
        assert len(split.data.chunks[0]) == 4
        np.testing.assert_allclose(split.data.compute(), whole.data, atol=CLOSE)
        np.testing.assert_array_equal(s.n2a.denoise().data, split.data.compute())
        np.testing.assert_array_equal(
            s.as_lazy(chunks=(5, 32, 9)).n2a.denoise().data.compute(), split.data.compute()
        )

    def test_laziness_of_the_result(self, denoised):
        s = make_series()
        lazy = s.as_lazy()
        assert not lazy.n2a.denoise(lazy_output=False)._lazy
        assert type(lazy.n2a.denoise(lazy_output=False)) is hs.signals.Signal2D
        d = s.n2a.denoise(lazy_output=True)
        assert d._lazy
        d.compute()
        np.testing.assert_array_equal(d.data, denoised.data)

    def test_one_frame_computes_one_block(self, monkeypatch):
        import dask.array as da

        read = []

        def load(block):
            read.append(len(block))
            return block

        monkeypatch.setattr(signals, "MIN_FRAMES", 4)
        monkeypatch.setattr(signals, "BLOCK_PIXELS", 4 * 32 * 40)
        data = da.from_array(make_frames((40, 32, 40)), chunks=(1, -1, -1))
        s = hs.signals.Signal2D(data.map_blocks(load, dtype=float)).as_lazy()
        d = s.n2a.denoise()
        read.clear()
        d.inav[20].compute()
        assert len(read) <= 4 + 2 * 5  # a block and its neighbours in time

    @pytest.mark.parametrize("shape", [(13, 32, 40), (2, 13, 32, 40)])
    @pytest.mark.parametrize("preset", [False, True])
    def test_plot_computes_one_block(self, shape, preset, monkeypatch):
        from n2a import denoising

        monkeypatch.setattr(signals, "MIN_FRAMES", 4)
        monkeypatch.setattr(signals, "BLOCK_PIXELS", 4 * 32 * 40)
        calls = []
        predict = denoising._predict_block

        def counting(*args):
            calls.append(1)
            return predict(*args)

        monkeypatch.setattr(denoising, "_predict_block", counting)
        s = make_series(shape).as_lazy()
        if preset:
            s.compute_navigator()
        d = s.n2a.denoise(time_axis=1 if len(shape) == 4 else "auto")
        d.plot()
        assert len(calls) == 1
        np.testing.assert_allclose(d.navigator.data, np.asarray(s.data).sum((-2, -1)), rtol=1e-5)

    def test_distinct_series_do_not_share_results(self):
        a, b = make_series(seed=1).as_lazy(), make_series(seed=2).as_lazy()
        da_, db = a.n2a.denoise(), b.n2a.denoise()
        assert da_.data.name != db.data.name
        assert not np.array_equal(da_.data.compute(), db.data.compute())


class TestDtypes:
    @pytest.mark.parametrize(
        "dtype", ["u1", "i2", "u2", ">u2", "<u4", ">i4", "i8", "f8", ">f4", ">f8"]
    )
    def test_same_numbers_same_result(self, denoised, dtype):
        d = make_series(dtype=dtype).n2a.denoise()
        assert d.data.dtype == np.float32
        assert d.data.dtype.isnative
        np.testing.assert_allclose(d.data, denoised.data, atol=CLOSE)

    def test_half_precision(self, denoised):
        d = make_series(dtype=np.float16).n2a.denoise()
        np.testing.assert_allclose(d.data, denoised.data, atol=CLOSE)

    def test_read_only_and_memory_mapped(self, denoised, tmp_path):
        s = make_series()
        s.data.flags.writeable = False
        np.testing.assert_array_equal(s.n2a.denoise().data, denoised.data)
        np.save(tmp_path / "frames.npy", s.data)
        mapped = s._deepcopy_with_new_data(np.load(tmp_path / "frames.npy", mmap_mode="r"))
        d = mapped.n2a.denoise()
        assert not isinstance(d.data, np.memmap)
        np.testing.assert_allclose(d.data, denoised.data, atol=CLOSE)

    def test_not_contiguous(self, denoised):
        s = make_series()
        data = np.repeat(s.data, 2, axis=-1)[::-1, :, ::-2]
        s.data = data[::-1, :, ::-1]
        np.testing.assert_array_equal(s.n2a.denoise().data, denoised.data)

    @pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8", "u8", "f2", "f8", ">u2"])
    def test_dtype_of_the_result(self, dtype):
        s = make_series()
        expected = s.n2a.denoise(background=True).data.astype(float)
        d = s.n2a.denoise(background=True, dtype=dtype)
        assert d.data.dtype == np.dtype(dtype)
        if d.data.dtype.kind != "f":
            expected = np.rint(expected).clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
        np.testing.assert_allclose(d.data, expected, rtol=1e-3)

    def test_dtype_of_the_input(self):
        s = make_series(dtype=">u2")
        assert s.n2a.denoise(dtype=None).data.dtype == np.dtype(">u2")
        # Around the zero background there are small negative values, which do not wrap around.
        assert s.n2a.denoise(dtype=None).data.max() < 100

    def test_too_bright_for_the_type_is_clipped(self):
        s = make_series(gain=20.0)
        d = s.n2a.denoise(background=True, dtype="u1")
        assert d.data.max() == 255
        assert s.n2a.denoise(background=True).data.max() > 300

    def test_huge_offset(self, denoised):
        s = make_series(dtype=np.uint32)
        s.data += np.uint32(3_000_000)
        d = s.n2a.denoise()
        np.testing.assert_allclose(d.data, denoised.data, atol=CLOSE)
        with_background = s.n2a.denoise(background=True, dtype="f8").data
        assert 3_000_000 < with_background.mean() < 3_000_050


class TestIntensity:
    @pytest.mark.parametrize("factor", [1e-3, 7.0, 1e5])
    def test_linear_in_scale(self, denoised, factor):
        s = make_series(dtype=np.float64)
        s.data *= factor
        d = s.n2a.denoise()
        np.testing.assert_allclose(d.data / factor, denoised.data, atol=CLOSE)

    @pytest.mark.parametrize("offset", [-500.0, 2000.0])
    def test_an_offset_changes_the_background_only(self, denoised, offset):
        s = make_series(dtype=np.float64)
        plain = s.n2a.denoise(background=True).data
        s.data += offset
        np.testing.assert_allclose(s.n2a.denoise().data, denoised.data, atol=CLOSE)
        with_background = s.n2a.denoise(background=True).data
        np.testing.assert_allclose(with_background - offset, plain, atol=CLOSE)

    def test_background_is_added_back(self, denoised):
        s = make_series()
        d = s.n2a.denoise(background=True)
        assert d.metadata.n2a.denoising.background is True
        background = d.data - denoised.data
        assert np.median(background) == pytest.approx(8, abs=1.5)
        # Mean intensity is that of the raw frames.
        assert d.data.mean() == pytest.approx(s.data.mean(), rel=0.05)

    def test_dark_atoms(self):
        s = make_series(dtype=np.float64)
        dark = s.deepcopy()
        dark.data = 100 - s.data
        d = dark.n2a.denoise(contrast="dark")
        assert d.metadata.n2a.denoising.contrast == "dark"
        # How far the atoms are below the background: 30 counts at most, 0 between them.
        assert 20 < d.data.max() < 45
        assert np.percentile(d.data, 10) < 3
        assert np.corrcoef(d.data.ravel(), s.data.ravel())[0, 1] > 0.8
        absolute = dark.n2a.denoise(contrast="dark", background=True)
        assert absolute.data.mean() == pytest.approx(dark.data.mean(), rel=0.05)
        assert np.corrcoef(absolute.data.ravel(), dark.data.ravel())[0, 1] > 0.8

    def test_contrast_is_told(self):
        s = make_series(dtype=np.float64)
        s.data = 100 - s.data
        assert s.n2a.denoise().metadata.n2a.denoising.contrast == "dark"

    def test_atom_width_is_taken(self):
        d = make_series().n2a.denoise(atom_width=2.0)
        assert d.metadata.n2a.denoising.atom_width == 2.0


class TestBadPixels:
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_border_stays_away_from_the_rest(self, denoised, bad):
        s = make_series()
        s.data[1, :, :5] = bad  # as align2D leaves it
        d = s.n2a.denoise()
        assert np.isfinite(d.data[:, :, 5:]).all()
        if np.isnan(bad):
            assert np.isnan(d.data[1, :, :5]).all()
        assert np.abs(d.data[:, :, 16:] - denoised.data[:, :, 16:]).max() < 6
        lazy = s.as_lazy(chunks=(2, 48, 9)).n2a.denoise()
        np.testing.assert_array_equal(lazy.data.compute(), d.data)

    def test_after_align2d(self):
        s = make_series()
        shifts = np.array([[0, 0], [2, -1], [4, -2], [3, 0], [1, 1]])
        s.align2D(shifts=shifts, fill_value=np.nan, crop=False)
        hole = np.isnan(s.data)
        assert hole.any()
        d = s.n2a.denoise()
        np.testing.assert_array_equal(np.isnan(d.data), hole)

    def test_nan_cannot_become_an_integer(self):
        s = make_series()
        s.data[0, 0, 0] = np.nan
        before = s.data.copy()
        with pytest.raises(ValueError, match="NaN.*'uint16'.*nan_to_num"):
            s.n2a.denoise(dtype="uint16", inplace=True)
        np.testing.assert_array_equal(s.data, before)
        s.data = np.nan_to_num(s.data, nan=8.0)
        assert s.n2a.denoise(dtype="uint16").data.dtype == np.uint16

    def test_masked_pixels_count_as_nan(self):
        s = make_series()
        mask = np.zeros(s.data.shape, bool)
        mask[:, :3] = True
        s.data = np.ma.masked_array(s.data, mask)
        np.testing.assert_array_equal(np.isnan(s.n2a.denoise().data), mask)

    @pytest.mark.parametrize("value", [0.0, 5.0, np.nan, np.inf])
    @pytest.mark.parametrize("lazy", [False, True])
    def test_nothing_to_see(self, value, lazy):
        s = hs.signals.Signal2D(np.full((3, 24, 32), value, np.float32))
        with pytest.raises(ValueError, match="(?i)constant|finite|nan"):
            (s.as_lazy() if lazy else s).n2a.denoise()

    def test_one_constant_frame_among_others(self, denoised):
        s = make_series()
        s.data[2] = 8.0
        d = s.n2a.denoise()
        assert np.isfinite(d.data).all()
        assert np.abs(d.data[2]).max() < denoised.data.max()

    @pytest.mark.parametrize("shape", [(16, 16), (2, 33, 31), (3, 17, 40)])
    def test_small_and_odd_sizes(self, shape):
        s = make_series(shape, dtype="u2")
        d = s.n2a.denoise()
        assert d.data.shape == shape
        assert np.isfinite(d.data).all()

    @pytest.mark.parametrize("shape", [(3, 9, 7), (3, 1, 40), (17, 15)])
    def test_too_small(self, shape):
        with pytest.raises(ValueError, match="16 x 16"):
            make_series(shape).n2a.denoise()


class TestPlaces:
    def test_inplace(self, denoised):
        s = make_series(dtype=np.uint16)
        s.metadata.Signal.set_item("Noise_properties.variance", 3.0)
        heard = []
        s.events.data_changed.connect(lambda obj: heard.append(obj))
        assert s.n2a.denoise(inplace=True) is None
        np.testing.assert_allclose(s.data, denoised.data, atol=CLOSE)
        assert s.data.dtype == np.float32
        assert heard == [s]
        assert s.metadata.n2a.denoising.time_axis == "time"
        assert s.metadata.General.title == "clusters"
        assert not s.metadata.has_item("Signal.Noise_properties")

    def test_inplace_of_a_lazy_signal(self, denoised):
        s = make_series().as_lazy()
        s.n2a.denoise(inplace=True)
        assert s._lazy
        np.testing.assert_array_equal(s.data.compute(), denoised.data)
        t = make_series().as_lazy()
        t.n2a.denoise(inplace=True, lazy_output=False)
        assert type(t) is hs.signals.Signal2D
        np.testing.assert_array_equal(t.data, denoised.data)

    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize("lazy_out", [False, True])
    def test_out(self, denoised, lazy, lazy_out):
        s = make_series().as_lazy() if lazy else make_series()
        out = make_series(seed=9)
        out.metadata.General.title = "preview"
        out = out.as_lazy() if lazy_out else out
        heard = []
        out.events.data_changed.connect(lambda obj: heard.append(obj))
        assert s.n2a.denoise(out=out) is None
        assert out._lazy == lazy_out
        np.testing.assert_array_equal(np.asarray(out.data), denoised.data)
        assert heard == [out]
        assert out.metadata.General.title == "preview"
        assert out.metadata.n2a.as_dictionary() == denoised.metadata.n2a.as_dictionary()

    def test_live_preview_of_a_region(self):
        s = make_series((4, 64, 64))
        roi = hs.roi.RectangularROI(left=-1.5, top=-1.5, right=-0.86, bottom=-0.86)
        region = hs.interactive(roi, event=roi.events.changed, signal=s)
        live = hs.interactive(
            region.n2a.denoise, event=region.events.data_changed, recompute_out_event=None
        )
        np.testing.assert_array_equal(live.data, s.isig[:32, :32].n2a.denoise().data)
        roi.left, roi.right = -1.2, -0.56
        roi_now = roi(s)
        np.testing.assert_array_equal(live.data, roi_now.n2a.denoise().data)

    def test_out_of_another_shape(self):
        out = make_series((4, 48, 56))
        before = out.data.copy()
        with pytest.raises(ValueError, match="'out' must have the shape.*recompute_out_event"):
            make_series().n2a.denoise(out=out)
        np.testing.assert_array_equal(out.data, before)
        with pytest.raises(TypeError, match="'out'.*HyperSpy"):
            make_series().n2a.denoise(out=np.empty((5, 48, 56)))

    @pytest.mark.parametrize("kwargs", [{"inplace": True}, {"out": make_series()}])
    def test_lazy_output_excludes_other_places(self, kwargs):
        with pytest.raises(
            ValueError, match="'lazy_output=True' requires 'inplace=False' and 'out=None'"
        ):
            make_series().n2a.denoise(lazy_output=True, **kwargs)

    def test_one_place_only(self):
        with pytest.raises(ValueError, match="'inplace=True' requires 'out=None'"):
            make_series().n2a.denoise(inplace=True, out=make_series())


class TestArguments:
    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"contrast": "darkish"}, "'contrast'.*'bright'.*'darkish'"),
            ({"atom_width": 0}, "'atom_width'.*positive"),
            ({"atom_width": np.inf}, "'atom_width'.*positive"),
            ({"atom_width": "2"}, "'atom_width'.*positive"),
            ({"dtype": "complex64"}, "'dtype'.*integer or float"),
            ({"dtype": bool}, "'dtype'.*integer or float"),
            ({"dtype": "fast"}, "'dtype'.*integer or float"),
            ({"time_axis": "scan"}, "'time_axis'.*'time'"),
            ({"model": 7}, "'model'"),
            ({"device": "abacus"}, "'device'"),
        ],
    )
    def test_wrong_values(self, kwargs, message):
        s = make_series()
        before = s.data.copy()
        with pytest.raises(ValueError, match=message):
            s.n2a.denoise(inplace=True, **kwargs)
        np.testing.assert_array_equal(s.data, before)
        assert not s.metadata.has_item("n2a")

    @pytest.mark.parametrize(
        "s",
        [
            hs.signals.Signal1D(np.ones((3, 8))),
            hs.signals.ComplexSignal2D(np.ones((3, 8, 9)) * 1j),
            hs.signals.Signal2D(np.ones((0, 8, 9))),
        ],
        ids=["1D", "complex", "empty"],
    )
    def test_unsuitable_signals(self, s):
        with pytest.raises(ValueError, match="real images|empty"):
            n2a.denoise(s)

    def test_array_is_refused(self):
        with pytest.raises(TypeError, match="Signal2D"):
            n2a.denoise(np.ones((3, 8, 9)))

    def test_progress_bar_on_request(self, capfd):
        s = make_series((2, 24, 32))
        s.n2a.denoise()
        assert "100%" not in capfd.readouterr().err
        s.n2a.denoise(show_progressbar=True, num_workers=1)
        assert "100%" in capfd.readouterr().err
