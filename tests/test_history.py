# SPDX-License-Identifier: GPL-3.0-or-later
"""What a training has recorded: storage, signals and figures."""

import io
import json
import math

import hyperspy.api as hs
import matplotlib
import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from n2a.history import History, duration, to_png

NAN = math.nan


@pytest.fixture
def history() -> History:
    """Steps that are not evenly spaced, CSS at some of them."""
    history = History()
    for step in (0, 10, 15, 40):
        history.add(step=step, seconds=step / 2, critic=-1.0 - step, noisy_cycle=1 / (1 + step))
    history.add(step=40, seconds=21.0, css=0.75)
    history.add(step=100, seconds=50.0, css=0.875, critic=NAN)
    return history


def curves(figure) -> dict[str, np.ndarray]:
    """Title to the points of the first line of all axes."""
    return {a.get_title("left"): a.lines[0].get_xydata() for a in figure.axes}


class TestRows:
    def test_missing_values_are_nan(self, history):
        assert len(history) == 5
        np.testing.assert_array_equal(history["css"], [NAN, NAN, NAN, 0.75, 0.875])
        np.testing.assert_array_equal(history["critic"], [-1, -11, -16, -41, NAN])
        assert history["css"].dtype == np.float64

    def test_names_keep_their_order(self, history):
        assert history.names == ("critic", "noisy_cycle", "css")
        assert "css" in history
        assert "upsnr" not in history

    def test_the_same_step_again_adds_to_its_row(self, history):
        assert history["step"].tolist() == [0, 10, 15, 40, 100]
        assert history["seconds"].tolist() == [0, 5, 7.5, 21, 50]

    def test_iterates_over_rows_without_missing_values(self, history):
        assert list(history)[-1] == {"step": 100, "seconds": 50.0, "css": 0.875}

    def test_newest_skips_missing_values(self, history):
        assert history.newest("critic") == -41

    def test_takes_tensors_and_none(self):
        history = History()
        history.add(
            step=np.int64(3), seconds=torch.tensor(1.5), critic=torch.tensor(-2.0), css=None
        )
        assert history.to_dict() == {"step": [3], "seconds": [1.5], "critic": [-2.0], "css": [None]}

    def test_steps_do_not_decrease(self, history):
        with pytest.raises(ValueError, match="'step' must not decrease: 99 comes after 100"):
            history.add(step=99, seconds=60)
        assert len(history) == 5

    def test_a_value_that_is_no_number_leaves_the_history_as_it_was(self, history):
        with pytest.raises(ValueError, match="abc"):
            history.add(step=101, seconds=60, critic="abc")
        assert len(history) == len(history["critic"]) == 5

    def test_unknown_name(self, history):
        with pytest.raises(KeyError, match=r"'upsnr'.*'noisy_cycle', 'css'"):
            history["upsnr"]


class TestStorage:
    def test_round_trip_through_strict_json(self, history):
        history.add(step=101, seconds=51, critic=math.inf)
        text = json.dumps(history.to_dict(), allow_nan=False)
        again = History.from_dict(json.loads(text))
        assert again.names == history.names
        for name in ("step", "seconds", "noisy_cycle", "css"):
            np.testing.assert_array_equal(again[name], history[name])
        assert math.isnan(again["critic"][-1])

    def test_goes_on_after_loading(self, history):
        again = History.from_dict(history.to_dict())
        again.add(step=120, seconds=60, critic=-3)
        assert len(again) == 6
        assert len(history) == 5

    def test_empty(self):
        assert len(History.from_dict(History().to_dict())) == 0

    @pytest.mark.parametrize(
        "columns",
        [
            {},
            {"step": [1, 2], "seconds": [1.0]},
            {"step": [2, 1], "seconds": [1.0, 2.0]},
            {"step": [1], "seconds": [1.0], "css": ["high"]},
            {"step": 1, "seconds": 2},
            [1, 2],
        ],
    )
    def test_foreign_dictionaries_are_refused(self, columns):
        with pytest.raises(ValueError, match=r"no history .*'History.to_dict'"):
            History.from_dict(columns)


class TestSignals:
    def test_values_stand_over_their_own_steps(self, history):
        signals = history.to_signals()
        assert list(signals) == ["critic", "noisy_cycle", "css"]
        axis = signals["critic"].axes_manager["step"]
        assert not axis.is_uniform
        np.testing.assert_array_equal(axis.axis, [0, 10, 15, 40])
        np.testing.assert_array_equal(signals["critic"].data, [-1, -11, -16, -41])
        np.testing.assert_array_equal(signals["css"].axes_manager["step"].axis, [40, 100])
        np.testing.assert_array_equal(signals["css"].data, [0.75, 0.875])

    def test_are_named(self, history):
        history.add(step=101, seconds=51, upsnr=24.5)
        signals = history.to_signals()
        assert signals["css"].metadata.General.title == "CSS in training"
        assert signals["css"].metadata.Signal.quantity == "CSS"
        assert signals["upsnr"].metadata.Signal.quantity == "uPSNR (dB)"
        assert signals["upsnr"].data.tolist() == [24.5]

    def test_names_without_values_are_left_out(self):
        history = History()
        history.add(step=0, seconds=0, critic=NAN, css=None)
        assert history.to_signals() == {}

    def test_are_plotted_and_saved_by_hyperspy(self, history, tmp_path):
        css = history.to_signals()["css"]
        css.plot()
        assert "CSS" in css._plot.signal_plot.ax.get_ylabel()
        css.save(tmp_path / "css.hspy")
        again = hs.load(tmp_path / "css.hspy")
        np.testing.assert_array_equal(again.axes_manager[0].axis, [40, 100])


class TestPlot:
    def test_every_value_has_axes_losses_first(self, history):
        history.add(step=110, seconds=55, identity=0.2)
        drawn = curves(history.plot(Figure()))
        assert list(drawn) == ["critic", "noisy cycle", "identity", "CSS"]
        np.testing.assert_array_equal(drawn["CSS"], [[40, 0.75], [100, 0.875]])

    def test_labels_do_not_overlap(self):
        history = History()
        for step in range(0, 5000, 50):
            falling = np.exp(-step / 500)
            history.add(
                step=step, seconds=step, critic=-40 * falling - 2 + np.sin(step), css=0.9 - falling,
                gradient_penalty=5 * falling + 0.1, noisy_cycle=1e-5 * falling, upsnr=25 - falling,
            )  # fmt: skip
        figure = history.plot(Figure())
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        boxes, texts = [], [*figure.texts]
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                labels = zip(axis.get_ticklocs(), axis.get_ticklabels())
                boxes += [
                    text.get_window_extent(renderer)
                    for place, text in labels
                    if low <= place <= high and text.get_text()
                ]
                boxes.append(axis.get_offset_text().get_window_extent(renderer))
            texts += [child for child in axes.get_children() if isinstance(child, Text)]
        boxes += [text.get_window_extent(renderer) for text in texts]
        boxes = [box for box in boxes if box.width > 1]
        assert len(boxes) > 40
        assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
        assert all(figure.bbox.containsx(x) for box in boxes for x in (box.x0, box.x1))

    @pytest.mark.parametrize("values", [[], [0.0], [5.0, 5.0, 5.0], [NAN, math.inf], [-1e9, 1e-9]])
    def test_odd_values(self, values):
        history = History()
        for step, value in enumerate(values):
            history.add(step=step, seconds=step, critic=value, css=value)
        assert "<p>" in history._repr_html_()
        assert repr(history).startswith("History(")

    def test_default_is_a_figure_of_pyplot(self, history):
        import matplotlib.pyplot as plt

        figure = history.plot()
        assert plt.get_fignums() == [figure.number]


class TestReadable:
    def test_repr(self, history):
        assert repr(history) == (
            "History(step 100, 50 s: critic -41, noisy cycle 0.0244, CSS 0.875)"
        )
        assert repr(History()) == "History(nothing recorded)"

    def test_html_has_a_table_and_a_picture(self, history):
        history.add(step=101, seconds=51, **{"<b>": 2.0})
        text = history._repr_html_()
        assert (
            "<th style='text-align: left'>CSS</th><td>0.75</td><td>0.875</td><td>100</td>" in text
        )
        assert "&lt;b&gt;" in text
        assert "src='data:image/png;base64,iVBOR" in text

    def test_picture_is_legible_on_light_and_dark_pages(self, history):
        picture = matplotlib.image.imread(io.BytesIO(to_png(history.plot(Figure()))))
        colour, opacity = picture[..., :3], picture[..., 3:]
        assert opacity[-1, 0] == 0
        drawn = opacity[..., 0] > 0.9
        assert drawn.mean() > 0.01
        for ground in (0.0, 1.0):
            seen = opacity * colour + (1 - opacity) * ground
            distance = np.abs(seen - ground).max(-1)[drawn]
            assert np.percentile(distance, 5) > 0.3, ground

    def test_durations(self):
        times = (0, 59.6, 61, 3599.6, 7325)
        assert [duration(t) for t in times] == [
            "0 s", "1 min 00 s", "1 min 01 s", "1 h 00 min", "2 h 02 min",
        ]  # fmt: skip
