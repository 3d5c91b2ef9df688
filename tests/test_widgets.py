# SPDX-License-Identifier: GPL-3.0-or-later
"""Panels without a browser: values are set on the real widgets, and what a user would see is looked at."""

import io
import re
import subprocess
import sys
import threading
from functools import lru_cache
from pathlib import Path

import hyperspy.api as hs
import matplotlib.image
import numpy as np
import pytest

import n2a

pytest.importorskip("ipywidgets", reason="the panels need the extra 'gui': pip install 'n2a[gui]'")

from n2a.widgets.denoise import DENOISED, RAW, DenoisePanel
from n2a.widgets.drawing import Region, Ruler, grey_limits, picture, to_grey
from n2a.widgets.saving import SIGNALS, save_signal, target
from n2a.widgets.work import Worker

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 120  # seconds


@lru_cache
def clean():
    return n2a.simulate(shape=(64, 64), frames=4, seed=1)


@pytest.fixture
def series():
    return n2a.acquire(clean(), dose=20, seed=1)


@pytest.fixture
def panel(series):
    return ready(series.n2a.gui("denoise", display=False))


def ready(panel):
    assert panel.worker.wait(PATIENCE)
    return panel


def pixels(image):
    """Grey values (y, x) of the PNG in an image widget, 0 to 1."""
    return matplotlib.image.imread(io.BytesIO(bytes(image.value)))[..., :3].mean(-1)


def shown(panel, name):
    return pixels(panel.viewer.images[name])


def grid(image, count=16):
    """Means over a grid of cells."""
    rows = np.array_split(image, count)
    return np.array([[c.mean() for c in np.array_split(row, count, axis=1)] for row in rows])


def resembles(picture, frame):
    """Correlation of a picture and the frame that it should show, away from the scale bar."""
    a, b = grid(picture)[:12], grid(np.asarray(frame, float))[:12]
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


class TestDenoise:
    def test_shows_raw_and_denoised_at_once(self, panel, series):
        expected = series.n2a.denoise()
        assert resembles(shown(panel, RAW), series.data[0]) > 0.95
        assert resembles(shown(panel, DENOISED), expected.data[0]) > 0.95
        # One that has nothing to do with it is told apart.
        assert resembles(shown(panel, RAW), series.data[0][::-1]) < 0.8

    def test_frames_are_those_of_the_whole_result(self, panel, series):
        expected = series.n2a.denoise()
        panel.viewer.sliders[0].value = 2
        ready(panel)
        assert resembles(shown(panel, DENOISED), expected.data[2]) > 0.95
        np.testing.assert_array_equal(panel._task.frame((2,)), expected.data[2])

    def test_frame_slider_changes_the_pictures_and_says_where_it_is(self, panel):
        before = {name: image.value for name, image in panel.viewer.images.items()}
        panel.viewer.sliders[0].value = 3
        ready(panel)
        for name, image in panel.viewer.images.items():
            assert image.value != before[name]
        assert panel.viewer._places[0].value.startswith("4 of 4")

    def test_result_is_that_of_the_function(self, panel, series):
        assert panel.result is None
        panel.start_button.click()
        ready(panel)
        expected = series.n2a.denoise()
        np.testing.assert_array_equal(panel.result.data, expected.data)
        assert panel.result.metadata.n2a.as_dictionary() == expected.metadata.n2a.as_dictionary()
        assert panel.status.text == "Denoised: 4 frames."

    def test_options_of_the_function(self, series):
        panel = ready(DenoisePanel(series, time_axis=None, atom_width=3.5, device="cpu"))
        panel.background.value = True
        panel.contrast.value = "dark"
        panel.start_button.click()
        ready(panel)
        expected = series.n2a.denoise(
            background=True, contrast="dark", time_axis=None, atom_width=3.5
        )
        np.testing.assert_array_equal(panel.result.data, expected.data)

    def test_background_changes_the_picture_and_what_the_intensities_are(self, panel):
        before = panel.viewer.images[DENOISED].value
        assert "above background" in panel.viewer.captions[DENOISED].value
        low = panel.viewer.limits(DENOISED)[0]
        panel.background.value = True
        ready(panel)
        assert panel.viewer.images[DENOISED].value != before
        assert "above background" not in panel.viewer.captions[DENOISED].value
        assert panel.viewer.limits(DENOISED)[0] > low + 1

    def test_signal_is_left_alone(self, panel, series):
        before = series.deepcopy()
        panel.start_button.click()
        ready(panel)
        np.testing.assert_array_equal(series.data, before.data)
        assert series.metadata.as_dictionary() == before.metadata.as_dictionary()
        assert series.axes_manager[0].index == 0

    def test_starts_at_the_frame_that_hyperspy_shows(self, series):
        series.axes_manager[0].index = 2
        panel = ready(series.n2a.gui("denoise", display=False))
        assert resembles(shown(panel, RAW), series.data[2]) > 0.95

    def test_single_image_has_no_frame_slider(self, series):
        panel = ready(series.inav[0].n2a.gui("denoise", display=False))
        assert panel.viewer.sliders == []
        panel.start_button.click()
        ready(panel)
        np.testing.assert_array_equal(panel.result.data, series.inav[0].n2a.denoise().data)

    def test_two_navigation_axes(self, series):
        signal = hs.signals.Signal2D(np.stack([series.data, series.data[::-1]]))
        signal.axes_manager[0].name, signal.axes_manager[1].name = "time", "place"
        panel = ready(signal.n2a.gui("denoise", display=False))
        assert [slider.description for slider in panel.viewer.sliders] == ["place", "time"]
        for slider, value in zip(panel.viewer.sliders, (1, 3)):
            slider.value = value
        ready(panel)
        assert resembles(shown(panel, RAW), signal.inav[3, 1].data) > 0.95
        panel.start_button.click()
        ready(panel)
        np.testing.assert_array_equal(panel.result.data, signal.n2a.denoise().data)

    def test_lazy_gives_lazy(self, series):
        lazy = series.as_lazy()
        panel = ready(lazy.n2a.gui("denoise", display=False))
        assert resembles(shown(panel, RAW), series.data[0]) > 0.95
        panel.start_button.click()
        ready(panel)
        assert panel.result._lazy
        assert "lazy" in panel.status.text
        np.testing.assert_array_equal(panel.result.data.compute(), series.n2a.denoise().data)


class TestCancel:
    def test_between_frames_and_all_is_as_before(self, panel, series, monkeypatch):
        panel.start_button.click()
        ready(panel)
        first = panel.result
        panel.background.value = True
        ready(panel)
        # Cancel is pressed when the second frame is done.
        move = panel.bar.move
        monkeypatch.setattr(
            panel.bar, "move", lambda *args: (move(*args), panel.stop_button.click())
        )
        panel.start_button.click()
        assert panel.start_button.disabled
        assert not panel.stop_button.disabled
        ready(panel)
        assert re.fullmatch(
            r"Cancelled at frame \d of 4; the result before is kept\.", panel.status.text
        )
        assert panel.result is first
        assert not panel.start_button.disabled
        assert panel.stop_button.disabled
        assert panel.bar.widget.layout.visibility == "hidden"
        # And it can be started again.
        monkeypatch.undo()
        panel.start_button.click()
        ready(panel)
        np.testing.assert_array_equal(panel.result.data, series.n2a.denoise(background=True).data)

    def test_frames_can_be_looked_at_while_it_runs(self, panel, series, monkeypatch):
        seen = {}
        move = panel.bar.move

        def moved(done, text):
            move(done, text)
            if done == 0.5:
                panel.viewer.sliders[0].value = 3
            if done == 0.75:
                seen[RAW] = shown(panel, RAW)

        monkeypatch.setattr(panel.bar, "move", moved)
        panel.start_button.click()
        ready(panel)
        assert resembles(seen[RAW], series.data[3]) > 0.95


class TestLook:
    def test_zoom_shows_a_part_and_the_scale_bar_follows(self, panel, series):
        viewer = panel.viewer
        axis = series.axes_manager["x"]
        viewer.zoom.value = 4
        viewer.x.value = axis.scale * 40
        viewer.y.value = axis.scale * 20
        part = viewer.region()
        assert (part.rows, part.columns) == (slice(12, 28), slice(32, 48))
        for name, frame in ((RAW, series.data[0]), (DENOISED, series.n2a.denoise().data[0])):
            assert resembles(shown(panel, name), frame[part]) > 0.95

    def test_position_waits_for_a_zoom(self, panel):
        assert panel.viewer.x.disabled
        panel.viewer.zoom.value = 2
        assert not panel.viewer.x.disabled

    def test_contrast_limits_are_percentiles(self, panel, series):
        viewer = panel.viewer
        viewer.contrast.value = (10, 90)
        assert viewer.limits(RAW) == tuple(np.percentile(series.data, (10, 90)))
        before = shown(panel, RAW)
        viewer.contrast.value = (45, 55)
        assert (shown(panel, RAW) == 0).mean() > (before == 0).mean() + 0.2

    def test_captions_tell_the_limits_with_their_quantity(self, panel):
        panel.signal.metadata.Signal.quantity = "Intensity (counts)"
        panel._refresh()
        ready(panel)
        text = panel.viewer.captions[RAW].value
        assert "Intensity (counts)" in text
        low, high = panel.viewer.limits(RAW)
        assert f"{low:.4g}" in text
        assert f"{high:.4g}" in text

    def test_wipe(self, panel):
        viewer = panel.viewer
        raw, denoised = shown(panel, RAW), shown(panel, DENOISED)
        viewer.mode.value = "wipe"
        viewer.wipe.value = 25
        both = shown(panel, RAW)
        quarter = raw.shape[1] // 4
        above = slice(0, raw.shape[0] * 3 // 4)  # the scale bar is below
        np.testing.assert_array_equal(both[above, : quarter - 8], raw[above, : quarter - 8])
        np.testing.assert_array_equal(both[above, quarter + 8 :], denoised[above, quarter + 8 :])
        assert len(viewer._pictures.children) == 1
        viewer.mode.value = "side by side"
        np.testing.assert_array_equal(shown(panel, RAW), raw)
        assert len(viewer._pictures.children) == 2

    def test_pyplot_is_left_alone(self, panel):
        import matplotlib.pyplot as plt

        assert plt.get_fignums() == []


class TestDrawing:
    @pytest.mark.parametrize(
        ("scale", "unit", "size", "text", "length"),
        [
            (0.0127, "nm", 1024, "2 nm", 2 / 0.0127),
            (0.0092, "nm", 512, "1 nm", 1 / 0.0092),
            (0.5, "", 100, "20 px", 20),
            (9.2, "pm", 64, "200 pm", 200 / 9.2),
        ],
    )
    def test_scale_bar(self, scale, unit, size, text, length):
        signal = hs.signals.Signal2D(np.zeros((4, size)))
        signal.axes_manager["x" if signal.axes_manager[0].name == "x" else 0].scale = scale
        if unit:
            signal.axes_manager[0].units = unit
        pixels_long, told = Ruler.of(signal.axes_manager[0]).bar(size)
        assert told == text
        assert pixels_long == pytest.approx(length)

    def test_bar_has_its_length_in_the_picture(self):
        ruler = Ruler(0.1, 0.0, "nm", 100)
        drawn = matplotlib.image.imread(io.BytesIO(picture(np.full((100, 100), 0.3), ruler)))
        longest = max(
            len(run)
            for line in (drawn[..., :3].min(-1) > 0.98)
            for run in re.findall("1+", "".join(map(str, line.astype(int)))) or [""]
        )
        # 2 nm are 20 of 100 pixels.
        assert longest / drawn.shape[1] == pytest.approx(0.2, abs=0.01)

    def test_pixels_that_are_not_square(self):
        drawn = picture(np.zeros((50, 100)), Ruler(1, 0, "px", 100), aspect=2)
        height, width = matplotlib.image.imread(io.BytesIO(drawn)).shape[:2]
        assert height == width

    def test_nan_has_a_colour_and_no_say_in_the_limits(self):
        frame = np.full((8, 8), 5.0)
        frame[0], frame[-1] = np.nan, 7.0
        assert grey_limits(frame, (0, 100)) == (5, 7)
        drawn = matplotlib.image.imread(
            io.BytesIO(picture(to_grey(frame, (5, 7)), Ruler(1, 0, "px", 8)))
        )
        red, _, blue = drawn[5, 300, :3]
        assert blue > red
        assert grey_limits(np.full(4, np.nan), (0, 100)) == (0, 1)

    def test_constant_frame(self):
        low, high = grey_limits(np.full((4, 4), 3.0), (0.5, 99.8))
        assert low == 3 < high

    def test_region_stays_inside(self):
        assert Region.around((64, 32), 2, 0, 0) == (slice(0, 32), slice(0, 16))
        assert Region.around((64, 32), 2, 63, 31) == (slice(32, 64), slice(16, 32))
        assert Region.around((3, 3), 16, 1, 1) == (slice(1, 2), slice(1, 2))


class TestSave:
    def test_file_loads_again(self, panel, tmp_path):
        assert panel.save_box.button.disabled  # there is nothing to save
        panel.start_button.click()
        ready(panel)
        panel.save_box.name.value = str(tmp_path / "denoised")
        panel.save_box.button.click()
        ready(panel)
        path = tmp_path / "denoised.hspy"
        assert panel.status.text == f"Saved to {path}."
        loaded = hs.load(path)
        np.testing.assert_array_equal(loaded.data, panel.result.data)
        assert loaded.metadata.n2a.denoising.model == "fast"
        assert [p.name for p in tmp_path.iterdir()] == ["denoised.hspy"]
        assert panel.result.tmp_parameters.filename == "denoised"

    def test_replaces_only_when_ticked(self, panel, tmp_path):
        path = tmp_path / "denoised.hspy"
        path.write_text("precious")
        panel.start_button.click()
        ready(panel)
        panel.save_box.name.value = str(path)
        panel.save_box.button.click()
        ready(panel)
        assert "exists already" in panel.status.text
        assert path.read_text() == "precious"
        panel.save_box.replace.value = True
        panel.save_box.button.click()
        ready(panel)
        np.testing.assert_array_equal(hs.load(path).data, panel.result.data)

    def test_what_fails_leaves_the_old_file(self, panel, tmp_path, monkeypatch):
        path = tmp_path / "denoised.hspy"
        path.write_text("precious")
        panel.start_button.click()
        ready(panel)

        def full(filename, *args, **kwargs):
            Path(filename).write_text("half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(type(panel.result), "save", lambda self, *args, **kw: full(*args))
        panel.save_box.name.value, panel.save_box.replace.value = str(path), True
        panel.save_box.button.click()
        ready(panel)
        assert "No space left on device" in panel.status.text
        assert [p.name for p in tmp_path.iterdir()] == ["denoised.hspy"]
        assert path.read_text() == "precious"

    def test_lazy_result_is_computed_and_cancelled_whole(self, series, tmp_path, monkeypatch):
        panel = ready(series.as_lazy().n2a.gui("denoise", display=False))
        panel.start_button.click()
        ready(panel)
        panel.save_box.name.value = str(tmp_path / "lazy.hspy")
        with monkeypatch.context() as patch:
            patch.setattr(panel.bar, "start", lambda *args: panel.cancel())
            panel.save_box.button.click()
            ready(panel)
        assert panel.status.text == "Cancelled; nothing was written."
        assert list(tmp_path.iterdir()) == []
        panel.save_box.button.click()
        ready(panel)
        np.testing.assert_array_equal(
            hs.load(tmp_path / "lazy.hspy").data, series.n2a.denoise().data
        )

    def test_settings_that_changed_since_need_a_new_result(self, panel):
        panel.start_button.click()
        ready(panel)
        assert not panel.save_box.button.disabled
        panel.background.value = True
        assert panel.save_box.button.disabled
        panel.background.value = False
        assert not panel.save_box.button.disabled

    def test_raw_file_is_never_replaced(self, series, tmp_path):
        series.save(tmp_path / "raw.hspy")
        raw = hs.load(tmp_path / "raw.hspy")
        with pytest.raises(ValueError, match="file of the raw images"):
            save_signal(raw.n2a.denoise(), tmp_path / "raw.hspy", raw)
        np.testing.assert_array_equal(hs.load(tmp_path / "raw.hspy").data, series.data)

    @pytest.mark.parametrize(
        ("name", "error", "text"),
        [
            ("", ValueError, "Give the file a name"),
            ("no such folder/x.hspy", FileNotFoundError, "no folder"),
            ("x.docx", ValueError, "does not end in .hspy, .zspy, .tif, .tiff"),
        ],
    )
    def test_names_that_cannot_be(self, name, error, text, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(error, match=text):
            target(name, SIGNALS, replace=True)


class TestModel:
    def test_file(self, panel, series, tmp_path):
        generator = n2a.get_model().generator
        other = type(generator)(**generator.configuration)
        n2a.Noise2Atom(other, "untrained").save(tmp_path / "other.n2a")
        before = panel.viewer.images[DENOISED].value
        panel.model._menu.value = panel.model._menu.options[-1]
        ready(panel)
        assert "path of a .n2a file" in panel.status.text
        panel.model._file.value = str(tmp_path / "other.n2a")
        ready(panel)
        assert panel.viewer.images[DENOISED].value != before
        panel.start_button.click()
        ready(panel)
        assert panel.result.metadata.n2a.denoising.model == "untrained"

    def test_file_that_is_none(self, panel, tmp_path):
        (tmp_path / "bad.n2a").write_text("nothing")
        panel.model._menu.value = panel.model._menu.options[-1]
        for name, text in (("bad.n2a", "damaged"), ("absent.n2a", "there is no file")):
            panel.model._file.value = str(tmp_path / name)
            ready(panel)
            assert text in panel.status.text
            assert "Traceback" not in panel.status.text
        # The raw frame is there all the same, and the box brings the rest back.
        assert panel.viewer.limits(DENOISED) is None
        panel.model._menu.value = panel.model._menu.options[0]
        ready(panel)
        assert panel.viewer.limits(DENOISED) is not None

    def test_of_one_s_own(self, series):
        model = n2a.Noise2Atom(n2a.get_model().generator, "my own")
        panel = ready(series.n2a.gui("denoise", model=model, display=False))
        assert panel.model._menu.value == "my own"
        panel.offer("my own", n2a.get_model())
        assert panel.model._menu.value == "my own"
        assert "my own (2)" in panel.model._menu.options


@pytest.fixture
def training(series):
    """A panel of a training that is over in seconds."""
    return series.n2a.gui(
        "train", display=False, max_time=None, max_steps=6, batch=2, size=48, learning_rate=1e-4
    )


class TestTrain:
    def test_model_with_verdict_and_curves(self, training, capsys, caplog):
        assert training.model is None
        assert training.picture.layout.display == "none"
        training.start_button.click()
        assert training.start_button.disabled
        ready(training)
        assert training.model.training["steps"] == 6
        assert training.status.text.startswith(training.model.training["words"])
        assert training.status.text.split(":")[0].split(" (")[0].lower() == training.model.verdict
        assert not training.start_button.disabled
        assert training.picture.layout.display is None
        assert pixels(training.picture).std() > 0.1
        # Nothing of it lands on the page outside of the panel.
        assert caplog.text == ""
        assert capsys.readouterr() == ("", "")

    def test_is_the_training_of_the_function(self, training, series):
        training.start_button.click()
        ready(training)
        model = n2a.train(
            series, max_steps=6, batch=2, size=48, learning_rate=1e-4, show_progressbar=False
        )
        assert training.model.digest == model.digest
        assert training.model.verdict == model.verdict

    def test_curves_and_patch_grow_while_it_runs(self, training, monkeypatch):
        pictures = []
        move = training.bar.move

        def moved(done, text):
            move(done, text)
            if training.picture.value:
                pictures.append(training.picture.value)

        monkeypatch.setattr(training.bar, "move", moved)
        training.start_button.click()
        ready(training)
        assert len(set(pictures)) > 3

    def test_stop_keeps_the_best(self, training, monkeypatch):
        training.options["max_steps"] = 10**6
        move = training.bar.move

        def moved(done, text):
            move(done, text)
            if text == "step 3":
                training.stop_button.click()

        monkeypatch.setattr(training.bar, "move", moved)
        training.start_button.click()
        ready(training)
        assert training.model.training["steps"] == 3
        assert training.model.verdict in ("better", "no better")
        assert training.stop_button.disabled
        assert not training.start_button.disabled

    def test_minutes_are_the_budget(self, series):
        training = series.n2a.gui("train", display=False, batch=2, size=48)
        training.minutes.value = 0.02
        training.start_button.click()
        ready(training)
        assert 1.2 <= training.model.training["seconds"] < 10

    def test_saved_model_loads(self, training, tmp_path):
        assert training.save_box.button.disabled
        training.start_button.click()
        ready(training)
        training.save_box.name.value = str(tmp_path / "mine")
        training.save_box.button.click()
        assert training.status.text == f"Saved to {tmp_path / 'mine.n2a'}."
        assert n2a.Noise2Atom.load(tmp_path / "mine.n2a").digest == training.model.digest
        training.save_box.button.click()
        assert "exists already" in training.status.text

    def test_errors_are_told(self):
        panel = hs.signals.Signal2D(np.ones((4, 32, 32))).n2a.gui("train", display=False)
        panel.start_button.click()
        ready(panel)
        assert "constant" in panel.status.text
        assert panel.model is None
        assert not panel.start_button.disabled


@pytest.fixture
def comparing(series):
    """A panel that compares two quick methods."""
    panel = series.n2a.gui("compare", display=False)
    for name, box in panel.methods.items():
        box.value = name in ("gaussian", "n2a")
    return panel


class TestCompare:
    def test_methods_side_by_side_with_their_reports(self, comparing, series):
        comparing.start_button.click()
        assert comparing.start_button.disabled
        ready(comparing)
        assert comparing.status.text.startswith("Compared: 2 methods")
        # Raw and results are shown on the page, the results on one grey scale.
        assert set(comparing.viewer.names) == {RAW, "gaussian", "n2a"}
        assert len(comparing.viewer._pictures.children) == 3
        assert resembles(shown(comparing, RAW), series.data[0]) > 0.95
        for name, signal in comparing.comparison.items():
            assert resembles(shown(comparing, name), signal.data[0]) > 0.95
        assert comparing.viewer.limits("gaussian") == comparing.viewer.limits("n2a")
        # The results are those of the function, and so is the table.
        expected = n2a.compare(series, ["n2a", "gaussian"], rerun=False, show_progressbar=False)
        assert list(comparing.comparison) == list(expected)
        for name, signal in expected.items():
            np.testing.assert_array_equal(comparing.comparison[name].data, signal.data)
            for verdict in expected.entry(name).report.verdicts:
                assert verdict in comparing.table.value
        # The lines of one report, and of another one at a choice.
        first, second = expected
        assert list(comparing.choice.options) == [first, second]
        before = comparing.report.value
        assert "CSS of the result" in before
        comparing.choice.value = second
        assert comparing.report.value != before
        assert f"Report of {second}" in comparing.report.value

        # Zoom and frame are linked.
        before = [image.value for image in comparing.viewer.images.values()]
        comparing.viewer.sliders[0].value = 2
        assert resembles(shown(comparing, "n2a"), expected["n2a"].data[2]) > 0.95
        assert all(a != b.value for a, b in zip(before, comparing.viewer.images.values()))

    def test_stop_leaves_out_what_follows(self, comparing, monkeypatch):
        show = comparing._show_entry
        monkeypatch.setattr(comparing, "_show_entry", lambda entry: (comparing.stop(), show(entry)))
        comparing.start_button.click()
        ready(comparing)
        assert list(comparing.comparison) == ["n2a"]
        assert comparing.status.text.startswith("Compared: 1 method,")
        assert not comparing.start_button.disabled

    def test_a_method_that_fails_is_told_and_the_others_go_on(self, series):
        def failing(frames):
            raise RuntimeError("out of order")

        panel = series.n2a.gui("compare", display=False)
        panel.offer("mine", failing)
        for name, box in panel.methods.items():
            box.value = name in ("gaussian", "mine")
        panel.start_button.click()
        ready(panel)
        assert "no result: RuntimeError: out of order" in panel.table.value
        assert set(panel.viewer.names) == {RAW, "gaussian"}
        assert list(panel.choice.options) == ["gaussian"]

    def test_nothing_ticked(self, comparing):
        for box in comparing.methods.values():
            box.value = False
        comparing.start_button.click()
        assert "Tick at least one" in comparing.status.text
        assert not comparing.start_button.disabled

    def test_file_that_is_none(self, series, tmp_path):
        panel = series.n2a.gui("compare", model=str(tmp_path / "absent.n2a"), display=False)
        panel.start_button.click()
        ready(panel)
        assert "there is no method" in panel.status.text
        assert "no file of that name" in panel.status.text
        assert panel.comparison is None


class TestTabs:
    def test_trained_model_is_offered_for_denoising(self, series):
        panels = series.n2a.gui(display=False)
        ready(panels.denoise)
        model = n2a.Noise2Atom(
            n2a.get_model().generator, "fast, trained", {"verdict": "better", "words": "Better."}
        )
        told = panels.train.trained(model)
        assert "'trained here'" in told
        assert panels.compare.methods["trained here"].value
        panels.denoise.model._menu.value = "trained here"
        panels.denoise.start_button.click()
        ready(panels.denoise)
        assert panels.result.metadata.n2a.denoising.model == "fast, trained"

    def test_one_that_is_no_better_is_not(self, series):
        panels = series.n2a.gui(display=False)
        ready(panels.denoise)
        before = panels.denoise.model._menu.options
        assert (
            panels.train.trained(
                n2a.Noise2Atom(n2a.get_model().generator, "x", {"verdict": "no better"})
            )
            == ""
        )
        assert panels.denoise.model._menu.options == before


@pytest.mark.parametrize("name", [None, "denoise", "train", "compare"])
def test_panels_are_made_of_the_controls_that_every_notebook_has(series, name):
    """VS Code shows what is of ipywidgets itself, and looks for anything else on the network."""

    def parts(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from parts(child)

    panel = series.n2a.gui(name, display=False)
    modules = {part._view_module for part in parts(panel.widget)}
    assert modules <= {"@jupyter-widgets/base", "@jupyter-widgets/controls"}
    assert all("<script" not in str(getattr(part, "value", "")) for part in parts(panel.widget))


class TestErrors:
    def test_constant_images(self):
        panel = ready(hs.signals.Signal2D(np.ones((3, 32, 32))).n2a.gui("denoise", display=False))
        assert "constant" in panel.status.text
        assert "nothing to denoise" in panel.status.text
        panel.start_button.click()
        ready(panel)
        assert panel.result is None
        assert not panel.start_button.disabled

    def test_what_is_doubtful_is_told(self):
        noise = np.random.default_rng(1).normal(100, 10, (3, 64, 64))
        signal = hs.signals.Signal2D(noise)
        for axis in signal.axes_manager.signal_axes:
            axis.scale, axis.units = 0.5, "nm"
        panel = ready(signal.n2a.gui("denoise", display=False))
        assert "do not resolve atoms" in panel.status.text

    def test_markup_in_names_is_text(self, series):
        series.axes_manager[0].name = "<b>t</b>"
        series.metadata.Signal.quantity = "<script>"
        panel = ready(series.n2a.gui("denoise", display=False))
        assert "<script>" not in panel.viewer.captions[RAW].value
        panel.status.fail(ValueError("<script>"))
        assert "<script>" not in panel.status.widget.value

    def test_wrong_arguments(self, series):
        with pytest.raises(
            ValueError, match="'panel' must be None or one of 'denoise', 'train', 'compare'"
        ):
            series.n2a.gui("nothing", display=False)
        for panel in (None, "denoise"):
            with pytest.raises(ValueError, match="no option 'colour'; expected 'atom_width'"):
                series.n2a.gui(panel, colour=3, display=False)


class TestWorker:
    def test_in_turn_and_in_a_thread_of_its_own(self):
        done, failed = [], []
        worker = Worker(failed.append)
        worker.submit(lambda: done.append(threading.current_thread()))
        worker.submit(lambda: 1 / 0)
        worker.submit(lambda: done.append("last"))
        assert worker.wait(10)
        assert done[0] is not threading.current_thread()
        assert done[1] == "last"
        assert isinstance(failed[0], ZeroDivisionError)
        worker.submit(lambda: done.append("again"))
        assert worker.wait(10)
        assert done[-1] == "again"

    @pytest.mark.parametrize("panel", ["denoise", "train"])
    def test_the_interpreter_is_left_in_order_while_a_panel_works(self, panel):
        code = f"""
import time, n2a
signal = n2a.acquire(n2a.simulate(shape=(64, 64), frames=6, seed=1), dose=20, seed=1)
panel = signal.n2a.gui({panel!r}, display=False, {"batch=2, size=48" if panel == "train" else ""})
panel.start_button.click()
for _ in range(600):
    time.sleep(0.1)
    if panel.bar._bar.value > 0:
        break
print("works")
"""
        paths = f"import sys; sys.path.insert(0, {str(Path(n2a.__file__).parents[1])!r})\n"
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", paths + code], capture_output=True, text=True
        )
        assert (result.returncode, result.stdout) == (0, "works\n"), result.stderr


class TestRegistration:
    """HyperSpy reads entry points at its start: a fresh interpreter is asked."""

    def ask(self, code, folder):
        """Run code where n2a is an installed distribution with the entry points of its project file."""
        if (ROOT / "pyproject.toml").is_file():
            project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
            table = re.search(
                r'\[project\.entry-points\."hyperspy\.extensions"\]\n((?:.+\n)+)', project
            )
            info = folder / "n2a-0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text("Metadata-Version: 2.1\nName: n2a\nVersion: 0\n")
            (info / "entry_points.txt").write_text(
                "[hyperspy.extensions]\n" + table[1].replace('"', "")
            )
        paths = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(Path(n2a.__file__).parents[1])!r}]\n"
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", paths + code], capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.split()

    def test_hyperspy_finds_and_makes_the_panels(self, tmp_path):
        code = """
import numpy as np, hyperspy.api as hs
from hyperspy.ui_registry import UI_REGISTRY, get_gui
assert "n2a" not in sys.modules
signal = hs.signals.Signal2D(np.random.default_rng(1).normal(9, 1, (3, 32, 32)))
for key in sorted(key for key in UI_REGISTRY if key.startswith("n2a.")):
    made = get_gui(signal, key, display=False)["ipywidgets"]
    print(key, type(made["wdict"]["panel"]).__name__, type(made["widget"]).__name__)
"""
        told = self.ask(code, tmp_path)
        assert told == [
            *("n2a.compare", "ComparePanel", "VBox"),
            *("n2a.denoise", "DenoisePanel", "VBox"),
            *("n2a.gui", "Panels", "Tab"),
            *("n2a.train", "TrainPanel", "VBox"),
        ]
