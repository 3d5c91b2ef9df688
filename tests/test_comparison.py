# SPDX-License-Identifier: GPL-3.0-or-later
"""compare(): methods of all kinds on one series, what their table and figure say, and what goes wrong."""

import json
import math
import sys
import time

import hyperspy.api as hs
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

import n2a
from n2a.comparison import Comparison
from n2a.methods import denoise_with


def blur(frames):
    return gaussian_filter(frames, (0, 1.5, 1.5))


def broken(frames):
    raise RuntimeError("the detector\n is on fire")


@pytest.fixture(scope="module")
def truth():
    return n2a.simulate(structure="2d", shape=(64, 64), frames=6, seed=1)


@pytest.fixture(scope="module")
def noisy(truth):
    signal = n2a.acquire(truth, dose=20, seed=1)
    signal.metadata.General.title = "MoS2"
    return signal


@pytest.fixture(scope="module")
def comparison(noisy, truth):
    finished = noisy._deepcopy_with_new_data(blur(noisy.data.astype(np.float32)))
    methods = {
        "a blur": "gaussian",
        "mine": blur,
        "<b>": broken,
        "flat": lambda frames: np.full_like(frames, frames.mean()),
        "done": finished,
        "n2a": "n2a",
    }
    return n2a.compare(noisy, methods, truth, show_progressbar=False)


class TestResults:
    def test_are_those_of_the_methods(self, comparison, noisy):
        frames = noisy.data.astype(np.float32)
        np.testing.assert_array_equal(comparison["a blur"].data, denoise_with("gaussian", frames))
        np.testing.assert_array_equal(comparison["mine"].data, blur(frames))
        box = noisy.n2a.denoise(background=True, show_progressbar=False)
        np.testing.assert_array_equal(comparison["n2a"].data, box.data)

    def test_keep_calibration_and_metadata(self, comparison, noisy):
        for name in ("a blur", "mine", "n2a"):
            signal = comparison[name]
            assert type(signal) is type(noisy)
            assert signal.data.dtype == np.float32
            for axis, expected in zip(signal.axes_manager._axes, noisy.axes_manager._axes):
                assert axis.get_axis_dictionary() == expected.get_axis_dictionary()
            assert signal.metadata.General.title == f"{name} of MoS2"
            assert signal.metadata.n2a.comparison.method == name

    def test_do_not_change_the_series(self, noisy):
        before, told = noisy.data.copy(), noisy.metadata.as_dictionary()

        def rude(frames):
            frames[:] = 0
            return frames

        n2a.compare(noisy, [rude, "gaussian"], rerun=False, show_progressbar=False)
        np.testing.assert_array_equal(noisy.data, before)
        assert noisy.metadata.as_dictionary() == told

    def test_of_a_function_of_signals_are_those_of_the_same_function_of_frames(self, noisy):
        def of_signal(signal):
            assert signal.axes_manager.signal_axes[0].units == "nm"
            return signal._deepcopy_with_new_data(blur(signal.data.astype(np.float32)))

        both = n2a.compare(noisy, [of_signal, blur], show_progressbar=False)
        np.testing.assert_array_equal(both["of_signal"].data, both["blur"].data)
        told = both.reports["of_signal"].to_dict()["lines"]
        assert told == both.reports["blur"].to_dict()["lines"]

    def test_of_lazy_series_and_of_other_orders_of_axes_are_the_same(self, noisy):
        expected = n2a.compare(noisy, blur, rerun=False, show_progressbar=False)["blur"]
        lazy = n2a.compare(noisy.as_lazy(), blur, rerun=False, show_progressbar=False)["blur"]
        np.testing.assert_array_equal(lazy.data, expected.data)
        assert not lazy._lazy
        x, y = (axis.name for axis in noisy.axes_manager.signal_axes)
        turned = noisy.transpose(signal_axes=(y, x))
        result = n2a.compare(turned, blur, rerun=False, show_progressbar=False)["blur"]
        assert result.axes_manager.as_dictionary() == turned.axes_manager.as_dictionary()
        np.testing.assert_allclose(
            result.data, expected.transpose(signal_axes=(y, x)).data, rtol=1e-5
        )

    def test_have_the_holes_of_the_series(self, noisy):
        holed = noisy._deepcopy_with_new_data(noisy.data.astype(np.float32))
        holed.data[2, 10:14, 20] = np.nan
        told = n2a.compare(holed, ["gaussian", "n2a"], rerun=False, show_progressbar=False)
        for signal in told.values():
            np.testing.assert_array_equal(np.isnan(signal.data), np.isnan(holed.data))

    def test_of_one_image(self, noisy):
        told = n2a.compare(noisy.inav[0], ["gaussian", "svd"], show_progressbar=False)
        assert told["gaussian"].data.shape == (64, 64)
        assert "at least 4, got 1" in told.entry("svd").problem


class TestOrder:
    def test_best_first_failures_last(self, comparison):
        names = list(comparison)
        assert names[0] in ("n2a", "done", "mine", "a blur")
        assert names[-1] == "<b>"
        keys = [comparison.entry(name).report.sort_key for name in names[:-1]]
        assert keys == sorted(keys)
        assert names.index("flat") > names.index("n2a")

    def test_every_result_has_the_report_of_its_own(self, comparison, noisy, truth):
        assert set(comparison.reports) == set(comparison) - {"<b>"}
        expected = n2a.report(noisy, comparison["flat"], truth=truth).verdicts
        assert comparison.reports["flat"].verdicts == expected
        assert comparison.reports["n2a"]["psnr"].value > comparison.reports["flat"]["psnr"].value


def test_finished_result_of_a_moving_scene_is_not_ranked_by_the_motion():
    clean = n2a.simulate(structure="cluster", shape=(96, 96), frames=9, seed=1)
    noisy = n2a.acquire(clean, dose=4, seed=1)
    finished = n2a.denoise(noisy, background=True)
    del finished.metadata.n2a  # as from a file of another program
    told = n2a.compare(noisy, {"finished": finished, "gaussian": "gaussian"}, clean)
    first, second = (told.reports[name] for name in ("finished", "gaussian"))
    assert first.verdicts == second.verdicts == ["fine"]
    assert first["upsnr"].value < second["upsnr"].value < first["psnr"].value
    assert list(told) == ["finished", "gaussian"]
    cells = [row["uPSNR"][:2] for row in told.table()]
    assert cells[0] == "≥ "
    assert cells[1].strip().isdigit()
    assert any(note.startswith("Order of finished, gaussian: ") for note in told.notes())


class TestCost:
    def test_time_and_memory_are_those_of_the_method(self, noisy):
        def costly(frames):
            room = np.ones(40_000_000)  # 305 MiB
            time.sleep(0.3)
            return blur(frames) + 0 * room[0]

        told = n2a.compare(noisy, [costly], rerun=False, show_progressbar=False).entry("costly")
        assert 0.3 <= told.seconds < 30
        assert 250 < told.memory < 600

    def test_finished_signals_cost_nothing_to_tell(self, comparison):
        assert comparison.entry("done").seconds is None
        assert comparison.entry("done").memory is None

    @pytest.mark.parametrize(("rerun", "most"), [(False, 1), (True, 20)])
    def test_methods_run_again_only_where_they_may(self, rerun, most, noisy):
        calls = []

        def counted(frames):
            calls.append(len(frames))
            return blur(frames)

        told = n2a.compare(noisy, counted, rerun=rerun, show_progressbar=False)
        assert 1 <= len(calls) <= most
        assert (len(calls) > 1) == rerun
        assert (told.reports["counted"]["frc"].value is None) != rerun


class TestFailures:
    def test_are_rows_with_their_reason(self, comparison):
        entry = comparison.entry("<b>")
        assert entry.problem == "RuntimeError: the detector is on fire"
        assert entry.signal is None
        with pytest.raises(KeyError, match="gave no result: .*on fire"):
            comparison["<b>"]

    def test_missing_package(self, noisy, monkeypatch):
        monkeypatch.setitem(sys.modules, "bm3d", None)
        told = n2a.compare(noisy, ["bm3d", blur], rerun=False, show_progressbar=False)
        assert "pip install bm3d" in told.entry("bm3d").problem
        assert "pip install bm3d" in repr(told)
        assert list(told) == ["blur", "bm3d"]

    @pytest.mark.parametrize(
        ("result", "reason"),
        [
            (lambda frames: frames[0], "shape \\(64, 64\\) for frames of shape \\(6, 64, 64\\)"),
            (lambda frames: frames + 1j, "complex"),
            (lambda frames: frames * np.nan, "NaN"),
            (lambda frames: None, "shape \\(\\)"),
        ],
    )
    def test_unusable_results(self, result, reason, noisy):
        told = n2a.compare(noisy, {"odd": result}, show_progressbar=False)
        with pytest.raises(KeyError, match=reason):
            told["odd"]

    def test_method_that_cannot_be_run_on_parts_is_judged_without(self, noisy):
        def whole_only(frames):
            if len(frames) != 6 or frames.min() < 0 or np.any(frames != np.round(frames)):
                raise RuntimeError("only this very series")
            return blur(frames)

        told = n2a.compare(noisy, whole_only, show_progressbar=False).entry("whole_only")
        assert "could not be run on parts of the data" in told.note
        assert "only this very series" in told.note
        assert told.report.verdicts


class TestBadInput:
    @pytest.mark.parametrize(
        ("methods", "error", "message"),
        [
            ("sharpen", ValueError, "no method 'sharpen'.*expected one of n2a.*gaussian"),
            ([], ValueError, "'methods' is empty"),
            ([3], TypeError, "number 0 is of type int"),
            ([hs.signals.Signal2D(np.ones((2, 5, 5)))], ValueError, "not of the shape"),
        ],
    )
    def test_methods(self, methods, error, message, noisy):
        with pytest.raises(error, match=message):
            n2a.compare(noisy, methods, show_progressbar=False)

    def test_names(self, noisy):
        with pytest.raises(ValueError, match="'names' has 1 entries for 2 methods"):
            n2a.compare(noisy, [blur, blur], names=["a"])
        with pytest.raises(ValueError, match="'a' is given twice"):
            n2a.compare(noisy, [blur, blur], names=["a", "a"])
        with pytest.raises(ValueError, match="a mapping has names already"):
            n2a.compare(noisy, {"a": blur}, names=["b"])

    def test_series(self, noisy):
        with pytest.raises(TypeError, match="must be a HyperSpy signal"):
            n2a.compare(noisy.data, "gaussian")
        several = hs.signals.Signal2D(np.ones((2, 3, 16, 16)))
        with pytest.raises(ValueError, match="holds more than one series"):
            n2a.compare(several, "gaussian")

    def test_truth(self, noisy, truth):
        with pytest.raises(ValueError, match="'truth' has shape"):
            n2a.compare(noisy, "gaussian", truth.data[:3])
        with pytest.raises(ValueError, match="'truth' is"):
            n2a.compare(noisy, "gaussian", truth.inav[:3])

    def test_max_time(self, noisy):
        with pytest.raises(ValueError, match="'max_time'"):
            n2a.compare(noisy, "gaussian", max_time=0)

    def test_unknown_name_of_a_comparison(self, comparison):
        with pytest.raises(KeyError, match="the comparison has"):
            comparison["svd"]


class TestNames:
    def test_of_functions_signals_and_short_forms(self, noisy):
        finished = noisy._deepcopy_with_new_data(blur(noisy.data.astype(np.float32)))
        told = n2a.compare(noisy, [blur, blur, "tv", finished], rerun=False, show_progressbar=False)
        assert set(told) == {"blur", "blur (2)", "total_variation", "MoS2"}

    def test_model_and_its_path(self, noisy, tmp_path):
        path = tmp_path / "own.n2a"
        model = n2a.get_model()
        model.save(path)
        told = n2a.compare(noisy, [model, path, str(path)], rerun=False, show_progressbar=False)
        assert set(told) == {"fast", "own.n2a", "own.n2a (2)"}
        np.testing.assert_array_equal(told["fast"].data, told["own.n2a"].data)

    def test_accessor(self, noisy):
        told = noisy.n2a.compare(blur, rerun=False, show_progressbar=False)
        assert isinstance(told, Comparison)
        assert list(told) == ["blur"]
        assert told.raw is noisy


class TestTables:
    def test_rows_have_the_same_columns(self, comparison):
        rows = comparison.table()
        assert [row["method"] for row in rows] == list(comparison)
        assert len({tuple(row) for row in rows}) == 1
        assert {"CSS", "uPSNR", "PSNR", "F1", "time", "memory"} <= set(rows[0])
        assert rows[-1]["verdicts"] == "no result: RuntimeError: the detector is on fire"

    def test_css_stands_beside_that_of_the_raw_frames_and_of_a_filter(self, comparison):
        text = repr(comparison)
        assert "CSS is highest for an image of nothing" in text
        first = next(iter(comparison.reports.values()))
        assert f"raw frames is {first['css_raw'].value:.3g}" in text
        assert f"linear filter {first['css_blur'].value:.3g}" in text

    def test_says_once_why_a_number_is_missing(self, noisy):
        methods = {"a": blur, "b": "gaussian"}
        told = n2a.compare(noisy.inav[0], methods, show_progressbar=False)
        assert [row["FRC"] for row in told.table()] == ["-", "-"]
        assert (
            told.notes().count(
                "CSS: needs a series: two frames or more that follow each other in time"
            )
            == 1
        )
        for text in (repr(told), told._repr_html_()):
            assert text.count("two frames or more") == 1
            assert text.count("FRC: needs a series") == 1
            assert "raw frames is -" not in text

    def test_says_whose_number_is_missing(self, comparison, noisy):
        # Finished signals are judged without their method.
        assert any(
            note.startswith("FRC (done, flat): ") or note.startswith("FRC (done): ")
            for note in comparison.notes()
        )

    def test_warns_of_correlated_noise(self):
        clean = n2a.simulate(structure="2d", shape=(96, 96), frames=6, seed=2)
        lines = n2a.acquire(clean, dose=20, line_noise=2, line_decay=8, seed=2)
        told = n2a.compare(lines, [blur], show_progressbar=False)
        assert any(note.startswith("uPSNR: may be optimistic") for note in told.notes())

    def test_html_is_escaped(self, comparison):
        page = comparison._repr_html_()
        assert "<td>&lt;b&gt;</td>" in page
        assert "<td><b></td>" not in page
        assert page.count("<tr>") == len(comparison) + 1

    def test_dictionary_is_json_and_complete(self, comparison):
        told = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
        assert list(told) == list(comparison)
        assert told["<b>"]["report"] is None
        assert told["mine"]["report"]["verdicts"] == comparison.reports["mine"].verdicts
        assert told["mine"]["seconds"] > 0

    def test_dataframe(self, comparison):
        pytest.importorskip("pandas", reason="install n2a[tests] for tables of pandas")
        frame = comparison.to_dataframe()
        assert list(frame.index) == list(comparison)
        assert frame.loc["mine", "psnr"] == comparison.reports["mine"]["psnr"].value
        assert math.isnan(frame.loc["<b>", "psnr"])

    def test_dataframe_without_pandas(self, comparison, monkeypatch):
        monkeypatch.setitem(sys.modules, "pandas", None)
        with pytest.raises(ImportError, match="pip install pandas"):
            comparison.to_dataframe()


class TestFigure:
    def pictures(self, figure):
        return {
            axes.get_title(): axes.images[0]
            for axes in figure.axes
            if axes.images and axes.get_title()
        }

    def test_shows_everything_in_one_grey_scale(self, comparison):
        figure = comparison.plot(figure=Figure())
        shown = self.pictures(figure)
        assert list(shown) == ["raw", *list(comparison)[:-1], "truth"]
        limits = {picture.get_clim() for axes in figure.axes for picture in axes.images}
        assert len(limits) == 1
        expected = comparison["mine"].data[3]
        np.testing.assert_allclose(shown["mine"].get_array(), expected, rtol=1e-5)

    def test_truth_is_in_the_units_of_the_raw_frames(self, comparison):
        shown = self.pictures(comparison.plot(figure=Figure(), frame=2, zoom=None))
        clear, raw = shown["truth"].get_array(), comparison.raw.data[2]
        assert clear.mean() == pytest.approx(raw.mean(), rel=1e-3)
        assert np.std(raw - clear) < 0.8 * np.std(raw)

    def test_zoom(self, comparison):
        step = comparison.raw.axes_manager.signal_axes[0].scale
        region = hs.roi.RectangularROI(8 * step, 16 * step, 40 * step, 32 * step)
        for zoom in (region, (8 * step, 16 * step, 40 * step, 32 * step)):
            figure = comparison.plot(zoom=zoom, figure=Figure())
            near = [axes for axes in figure.axes if axes.images and not axes.get_title()]
            assert len(near) == len(self.pictures(figure))
            assert near[0].get_xlim() == pytest.approx((7.5, 39.5))
            assert near[0].get_ylim() == pytest.approx((31.5, 15.5))
        whole = comparison.plot(zoom=None, figure=Figure())
        assert sum(bool(axes.images) for axes in whole.axes) == len(self.pictures(whole))

    def test_scale_bars_have_the_units_of_the_axes(self, comparison):
        from matplotlib.text import Text

        figure = comparison.plot(figure=Figure())
        texts = [text.get_text() for text in figure.findobj(Text)]
        assert sum(text.endswith(" nm") for text in texts) == sum(
            bool(axes.images) for axes in figure.axes
        )

    @pytest.mark.parametrize("zoom", [0, 1.5, (1, 2), (90, 90, 95, 95)])
    def test_bad_zoom(self, zoom, comparison):
        with pytest.raises(ValueError, match="'zoom' is"):
            comparison.plot(zoom=zoom, figure=Figure())

    def test_a_frame_that_was_not_recorded(self, noisy, truth, recwarn):
        holed = noisy._deepcopy_with_new_data(noisy.data.astype(np.float32))
        holed.data[2] = np.nan
        told = n2a.compare(holed, [blur], truth, rerun=False, show_progressbar=False)
        recwarn.clear()
        for truth_too in (True, False):
            told.truth = told.truth if truth_too else None
            figure = told.plot(frame=2, figure=Figure())
            FigureCanvasAgg(figure).draw()
        assert not recwarn.list

    def test_bad_frame(self, comparison):
        with pytest.raises(ValueError, match="'frame' is 6; the series has frames 0 to 5"):
            comparison.plot(frame=6, figure=Figure())

    def test_nothing_to_plot(self, noisy):
        with pytest.raises(ValueError, match="nothing to plot"):
            n2a.compare(noisy, broken, show_progressbar=False).plot(figure=Figure())


@pytest.mark.parametrize("name", ["n2a-trained", "n2a-paper"])
def test_training_within_a_budget(name, truth):
    noisy = n2a.acquire(truth.inav[:4], dose=20, seed=2)
    told = n2a.compare(noisy, name, max_time=1, rerun=False, show_progressbar=False)
    entry = told.entry(name)
    assert entry.problem == ""
    assert entry.note.startswith("trained for 1 s: ")
    assert entry.seconds >= 1
    assert told[name].data.shape == noisy.data.shape
