# SPDX-License-Identifier: GPL-3.0-or-later
"""Axes, calibration and blocks: what the rest of the package is told about a signal."""

import hyperspy.api as hs
import numpy as np
import pytest

from n2a import signals


def make(shape, names=(), units=(), lazy=False):
    """Signal2D that holds 0, 1, 2, ...; names and units in the order of the array."""
    s = hs.signals.Signal2D(np.arange(np.prod(shape), dtype=np.float64).reshape(shape))
    for axis, name in zip(s.axes_manager._axes, names):
        axis.name = name
    for axis, unit in zip(s.axes_manager._axes, units):
        axis.units = unit
    return s.as_lazy() if lazy else s


def view(data, navigate):
    """Signal whose navigation axes are those marked in array order."""
    axes = [{"size": n, "navigate": nav} for n, nav in zip(data.shape, navigate)]
    return hs.signals.BaseSignal(data, axes=axes)


class TestPixelSize:
    @pytest.mark.parametrize(
        ("scale", "units", "expected"),
        [
            (0.02, "nm", 0.02),
            (-0.02, "nm", 0.02),
            (0.2, "Å", 0.02),
            (0.2, "A", 0.02),
            (0.2, "Angstrom", 0.02),
            (20, "pm", 0.02),
            (2e-5, "µm", 0.02),
            (2e-5, "um", 0.02),
            (2e-5, "micron", 0.02),
            (2e-11, "m", 0.02),
            (0.0, "nm", None),
            (1.0, None, None),
            (0.02, "", None),
            (0.02, "px", None),
            (0.02, "pixels", None),
            (0.02, "1/nm", None),
            (0.02, "mrad", None),
            (0.02, "s", None),
            (0.02, "3", None),
            (0.02, "furlong per", None),
        ],
    )
    def test_units(self, scale, units, expected, recwarn):
        s = make((3, 4))
        for axis in s.axes_manager.signal_axes:
            axis.scale = scale
            if units is not None:
                axis.units = units
        size = signals.pixel_size(s)
        assert size == (None if expected is None else pytest.approx(expected))
        assert not recwarn.list
        if units is not None:
            assert s.axes_manager[0].units == units

    def test_units_may_differ_but_pixels_must_be_square(self):
        s = make((3, 4), units=("pm", "nm"))
        s.axes_manager[0].scale, s.axes_manager[1].scale = 0.02, 20
        assert signals.pixel_size(s) == pytest.approx(0.02)
        s.axes_manager[1].scale = 30
        assert signals.pixel_size(s) is None

    def test_uneven_axis(self):
        axes = [{"axis": [0, 1, 3]}, {"size": 4, "scale": 0.02, "units": "nm"}]
        assert signals.pixel_size(hs.signals.Signal2D(np.ones((3, 4)), axes=axes)) is None


class TestTimeAxis:
    @pytest.mark.parametrize(
        ("shape", "names", "units", "expected"),
        [
            ((8, 9), (), (), None),
            ((5, 8, 9), (), (), 0),
            ((1, 8, 9), (), (), 0),
            ((5, 6, 8, 9), (), (), None),
            ((5, 6, 8, 9), ("time", "tilt"), (), 0),
            ((5, 6, 8, 9), ("tilt", "Frame"), (), 1),
            ((5, 6, 8, 9), ("tilt", "dwell"), ("", "ms"), 1),
            ((5, 6, 8, 9), ("time", "t"), (), None),
            ((5, 6, 8, 9), ("a", "b"), ("s", "min"), None),
            ((5, 1, 8, 9), ("a", "b"), (), 0),
            ((1, 6, 8, 9), ("time", "b"), (), 1),
            ((2, 5, 6, 8, 9), ("a", "t", "c"), ("s", "", ""), 1),
        ],
    )
    def test_auto(self, shape, names, units, expected):
        s = make(shape, names, units)
        axis = signals.resolve_time_axis(s)
        assert (None if axis is None else axis.index_in_array) == expected

    def test_chosen(self):
        s = make((5, 6, 8, 9), ("loop", "tilt"))
        loop = s.axes_manager["loop"]
        for choice in ("loop", 1, loop):  # HyperSpy counts from the last array axis
            assert signals.resolve_time_axis(s, choice) is loop
        assert signals.resolve_time_axis(s, None) is None

    @pytest.mark.parametrize("choice", ["x", 7, "nothing", True, 1.5, object()])
    def test_wrong_choice(self, choice):
        s = make((5, 8, 9), ("loop", "y", "x"))
        with pytest.raises(ValueError, match="'time_axis'.*'loop'"):
            signals.resolve_time_axis(s, choice)


class TestFrames:
    @pytest.mark.parametrize("lazy", [False, True])
    @pytest.mark.parametrize(
        ("shape", "navigate", "time", "expected"),
        [
            ((5, 6), (0, 0), None, (1, 5, 6)),
            ((4, 5, 6), (1, 0, 0), 0, (4, 5, 6)),
            ((4, 5, 6), (1, 0, 0), None, (4, 5, 6)),
            ((5, 6, 4), (0, 0, 1), 2, (4, 5, 6)),
            ((5, 4, 6), (0, 1, 0), 1, (4, 5, 6)),
            ((3, 4, 5, 6), (1, 1, 0, 0), 0, (4, 3, 5, 6)),
            ((3, 5, 4, 6), (1, 0, 1, 0), 0, (4, 3, 5, 6)),
            ((2, 3, 4, 5, 6), (1, 1, 1, 0, 0), 1, (2, 4, 3, 5, 6)),
            ((2, 3, 4, 5, 6), (1, 1, 1, 0, 0), None, (2, 3, 4, 5, 6)),
        ],
    )
    def test_order_and_back(self, shape, navigate, time, expected, lazy):
        import dask.array as da

        data = np.arange(np.prod(shape)).reshape(shape)
        s = view(data, [bool(n) for n in navigate])
        s = s.as_lazy() if lazy else s
        axis = None
        if time is not None:
            axis = next(a for a in s.axes_manager.navigation_axes if a.index_in_array == time)
        frames = signals.stack_frames(s, axis)
        assert frames.shape == expected
        assert isinstance(frames, da.Array) == lazy
        if not lazy:
            assert np.shares_memory(frames, s.data)
        back = signals.unstack_frames(da.asarray(frames), s, axis)
        np.testing.assert_array_equal(back.compute(), data)

    def test_masked_pixels_are_nan(self):
        data = np.ma.masked_greater(np.arange(12.0).reshape(3, 4), 9)
        frames = signals.stack_frames(hs.signals.Signal2D(data))
        np.testing.assert_array_equal(frames, [np.where(data.data > 9, np.nan, data.data)])

    @pytest.mark.parametrize("shape", [(5, 6), (3, 5, 6), (20, 5, 6), (3, 7, 5, 6)])
    def test_sample_is_spread_and_the_same_for_lazy(self, shape):
        s = make(shape)
        frames = signals.stack_frames(s, signals.resolve_time_axis(s))
        sample = signals.sample_frames(frames)
        number = int(np.prod(shape[:-2]))
        assert len(sample) == min(16, number)
        flat = frames.reshape(-1, 5, 6)
        np.testing.assert_array_equal(sample[[0, -1]], flat[[0, -1]])
        steps = np.diff(sample[:, 0, 0]) / 30
        assert np.ptp(steps) <= 1 if len(steps) else True
        lazy = signals.stack_frames(s.as_lazy(), signals.resolve_time_axis(s))
        np.testing.assert_array_equal(signals.sample_frames(lazy), sample)

    def test_sample_takes_the_middle_of_large_frames(self):
        frames = np.broadcast_to(np.arange(40.0)[:, None], (2, 40, 6))
        sample = signals.sample_frames(frames, size=10)
        assert sample.shape == (2, 10, 6)
        np.testing.assert_array_equal(sample[0, :, 0], np.arange(15, 25))

    @pytest.mark.parametrize("length", [1, 3, 16, 17, 1000])
    @pytest.mark.parametrize("size", [16, 512, 2048])
    def test_spans_cover_everything_evenly_within_bounds(self, length, size):
        spans = signals.frame_spans((length, size, size), length)
        covered = [i for start, stop in spans for i in range(start, stop)]
        assert covered == list(range(length))
        sizes = [stop - start for start, stop in spans]
        assert max(sizes) - min(sizes) <= 1
        most = max(signals.MIN_FRAMES, signals.BLOCK_PIXELS // size**2)
        assert max(sizes) <= most
        assert len(spans) == -(-length // most)

    def test_blocks_hold_whole_frames_and_few_of_them(self, monkeypatch):
        monkeypatch.setattr(signals, "BLOCK_PIXELS", 4 * 2 * 30)
        s = make((3, 7, 4, 5, 6), lazy=True)
        s.data = s.data.rechunk((1, 1, 3, 2, 4))
        frames = signals.stack_frames(s, s.axes_manager[0])
        lazy = signals.frame_blocks(frames, 0, 4)
        assert lazy.chunks == ((1, 1, 1), (2, 2, 2, 1), (4,), (5,), (6,))
        eager = signals.frame_blocks(np.zeros((3, 7, 4, 5, 6)), 0, 4)
        assert eager.chunks == lazy.chunks


class TestCheck:
    def test_good(self):
        signals.check_images(make((4, 5)))

    @pytest.mark.parametrize("shape", [(0, 5, 6), (3, 0, 6)])
    def test_empty(self, shape):
        with pytest.raises(ValueError, match="empty"):
            signals.check_images(make(shape))

    def test_array(self):
        with pytest.raises(TypeError, match=r"Signal2D\(array\)"):
            signals.check_images(np.ones((4, 5)))

    def test_one_dimension(self):
        with pytest.raises(ValueError, match="as_signal2D"):
            signals.check_images(hs.signals.Signal1D(np.ones((4, 5))))


class TestOtherCalibration:
    @staticmethod
    def calibrated(scale=0.0125, units="nm", x=0.0, time=0.0):
        s = make((5, 16, 16), ("time", "y", "x"), ("s", units, units))
        for axis in s.axes_manager.signal_axes:
            axis.scale = scale
        s.axes_manager["x"].offset, s.axes_manager["time"].offset = x, time
        s.axes_manager["time"].scale = 0.1
        return s

    @pytest.mark.parametrize(
        "other",
        [
            dict(scale=1.25e-5, units="µm"),
            dict(scale=0.125, units="Å"),
            dict(scale=12.5, units="pm", x=5.0),
            dict(x=0.004, time=0.03),
        ],
    )
    def test_is_none_where_steps_and_starts_agree(self, other):
        assert signals.other_calibration(self.calibrated(), self.calibrated(**other)) is None

    @pytest.mark.parametrize(
        ("other", "told"),
        [
            (dict(scale=0.025), "x in steps of 0.0125 nm against 0.025 nm"),
            (dict(scale=2.5e-5, units="µm"), "x in steps of 0.0125 nm against 2.5e-05 µm"),
            (dict(units="1/nm"), "x in steps of 0.0125 nm against 0.0125 1/nm"),
            (dict(units=""), "x in steps of 0.0125 nm against 0.0125"),
            (dict(scale=1.25e-5, units="µm", x=5e-5), "x from 0 nm against 5e-05 µm on"),
            (dict(time=0.1), "time from 0 s against 0.1 s on"),
        ],
    )
    def test_says_what_differs(self, other, told):
        assert told in signals.other_calibration(self.calibrated(), self.calibrated(**other))
