# SPDX-License-Identifier: GPL-3.0-or-later
"""A training as it is seen: in a terminal, in a real Jupyter kernel, in TensorBoard."""

import base64
import importlib.util
import io
import json
import sys
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

from n2a.history import History
from n2a.progress import Progress, panel

PNG = b"\x89PNG"


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def text() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def shown(monkeypatch) -> list[bytes]:
    """PNGs that the panel displays, in place of a notebook's front end."""
    display = pytest.importorskip(
        "IPython.display", reason="the extra 'notebooks' is not installed"
    )
    images = []

    class Handle:
        def update(self, image):
            images.append(image.data)

    def show(image, display_id):
        assert display_id
        images.append(image.data)
        return Handle()

    monkeypatch.setattr(display, "display", show)
    return images


def last_line(text: io.StringIO) -> str:
    return text.getvalue().strip().split("\r")[-1].strip()


class TestBar:
    def test_says_what_is_done_and_what_is_left(self, text, clock):
        with Progress(total_seconds=400, file=text, clock=clock) as progress:
            row = {"critic": -1.25, "noisy_cycle": 0.0125, "gain": 0.1, "css": 0.875}
            progress.update({"step": 50, "seconds": 100.0, **row})
        line = last_line(text)
        assert line.startswith("25%|")
        assert line.endswith("| step 50, 05:00 left, CSS 0.875, critic -1.25, noisy cycle 0.0125")

    def test_remaining_time_follows_the_steps(self, text, clock):
        with Progress(total_steps=100, file=text, clock=clock) as progress:
            clock.now += 30
            progress.update({"step": 25, "critic": 2})
        assert "25%" in last_line(text)
        assert "step 25, 01:30 left" in last_line(text)
        assert progress.history["seconds"].tolist() == [30.0]

    def test_the_sooner_end_counts(self, text, clock):
        with Progress(total_seconds=1000, total_steps=100, file=text, clock=clock) as progress:
            progress.update({"step": 50, "seconds": 10})
        assert "50%" in last_line(text)
        assert "00:10 left" in last_line(text)

    def test_an_interrupted_training_goes_on(self, text, clock):
        history = History()
        history.add(step=60, seconds=600, critic=1)
        progress = Progress(total_steps=100, history=history, file=text, clock=clock)
        with progress:
            clock.now += 20
            progress.update({"step": 80, "critic": 1})
        assert "step 80, 00:20 left" in last_line(text)  # at the pace of this run
        assert history["seconds"].tolist() == [600, 620]

    def test_without_a_budget_it_tells_the_time(self, text, clock):
        with Progress(file=text, clock=clock) as progress:
            progress.update({"step": 7, "seconds": 65, "css": 0.5})
        assert last_line(text) == "step 7, 01:05, CSS 0.5"

    def test_ticks_move_it_and_record_nothing(self, text, clock):
        with Progress(total_seconds=100, file=text, clock=clock) as progress:
            progress.update({"step": 1, "seconds": 1, "css": 0.5})
            for step in range(2, 50):
                clock.now += 0.1
                progress.tick(step, step)
        assert "49%" in last_line(text)
        assert "step 49, 00:51 left, CSS 0.5" in last_line(text)
        assert len(progress.history) == 1
        assert text.getvalue().count("step") < 30  # at most every 0.2 s

    def test_nothing_is_shown_on_demand(self, text, capfd):
        with Progress(total_seconds=10, show=False, live=True, file=text) as progress:
            progress.update({"step": 1, "critic": 1})
        assert text.getvalue() == ""
        assert capfd.readouterr() == ("", "")
        assert progress.history["critic"].tolist() == [1]

    def test_an_empty_training(self, text):
        with Progress(total_seconds=10, file=text):
            pass
        assert "0%" in last_line(text)


class TestNothingStopsTheTraining:
    def test_a_failing_panel_is_told_once(self, text, clock, shown):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with Progress(live=True, file=text, clock=clock) as progress:
                for step in range(5):
                    clock.now += 60
                    progress.update({"step": step, "critic": 1}, before=np.zeros((2, 3, 4, 5)))
        (warning,) = caught
        assert "live panel is switched off and the training goes on" in str(warning.message)
        assert len(progress.history) == 5
        assert not shown
        assert "step 4" in last_line(text)

    def test_a_stream_that_fails_is_told_once(self, clock):
        class FullDisk(io.StringIO):
            def write(self, text):
                if "step" in text:
                    raise OSError(28, "No space left on device")

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with Progress(file=FullDisk(), clock=clock) as progress:
                for step in range(5):
                    clock.now += 60
                    progress.update({"step": step, "critic": 1})
        (warning,) = caught
        assert "progress bar is switched off" in str(warning.message)
        assert "No space left" in str(warning.message)
        assert len(progress.history) == 5

    def test_an_interrupt_passes(self, text, clock, monkeypatch):
        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr("n2a.progress.panel", interrupt)
        with Progress(live=True, file=text, clock=clock) as progress:
            with pytest.raises(KeyboardInterrupt):
                progress.update({"step": 1, "critic": 1})
            monkeypatch.undo()

    def test_mistakes_of_the_caller_are_told(self, text):
        with Progress(file=text) as progress:
            progress.update({"step": 2})
            with pytest.raises(ValueError, match="'step' must not decrease"):
                progress.update({"step": 1})


class TestPanel:
    def test_is_drawn_every_two_seconds(self, text, clock, shown):
        with Progress(live=True, file=text, clock=clock) as progress:
            due = []
            for step in range(50):  # 5 s
                due.append(progress.due)
                progress.update({"step": step, "critic": step})
                clock.now += 0.1
            assert [step for step in range(50) if due[step]] == [0, 20, 40]
            assert len(shown) == 3
        assert len(shown) == 4  # the end of the training is shown in any case
        assert all(image.startswith(PNG) for image in shown)

    def test_takes_a_small_share_of_the_time(self, text, clock, shown, monkeypatch):
        def slow(history, *_):
            clock.now += 1
            return Figure(figsize=(1, 1))

        monkeypatch.setattr("n2a.progress.panel", slow)
        with Progress(live=True, file=text, clock=clock) as progress:
            for step in range(1000):
                clock.now += 0.1
                progress.update({"step": step})
            assert 4 < len(shown) < 8

    def test_shows_the_patch_before_and_after(self):
        history = History()
        history.add(step=1, seconds=1, critic=-1, css=0.5)
        before, after = np.random.default_rng(0).poisson(2.0, (2, 24, 32))
        after = after.astype(np.float32)
        after[0, 0] = np.nan
        figure = panel(history, before, after)
        drawn = {a.get_title() or a.get_title("left"): a for a in _all_axes(figure)}
        assert list(drawn) == ["critic", "CSS", "noisy patch", "denoised"]
        np.testing.assert_array_equal(drawn["noisy patch"].images[0].get_array(), before)
        np.testing.assert_array_equal(drawn["denoised"].images[0].get_array(), after)

    def test_leaves_pyplot_alone(self, text, clock, shown):
        import matplotlib.pyplot as plt

        with Progress(live=True, file=text, clock=clock) as progress:
            progress.update({"step": 1, "critic": 1}, np.eye(16), np.eye(16))
        assert len(shown) == 1
        assert not plt.get_fignums()


def _all_axes(figure):
    return [axes for part in (figure, *figure.subfigs) for axes in part._localaxes]


CELL = """
%matplotlib inline
import json, sys
import numpy as np
import n2a.progress
n2a.progress.PANEL_SECONDS = 0
with n2a.progress.Progress(total_steps=3) as progress:
    for step in (1, 2, 3):
        progress.update({"step": step, "seconds": step, "critic": -step}, np.eye(16), np.eye(16))
pyplot = sys.modules.get("matplotlib.pyplot")
print(json.dumps({"figures": pyplot.get_fignums() if pyplot else [], "torch": "torch" in sys.modules}))
"""


@pytest.fixture(scope="module")
def notebook():
    """A notebook that a real kernel has run."""
    nbformat = pytest.importorskip("nbformat", reason="the extra 'notebooks' is not installed")
    nbclient = pytest.importorskip("nbclient", reason="the extra 'notebooks' is not installed")
    pytest.importorskip("ipykernel", reason="the extra 'notebooks' is not installed")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    return nbclient.NotebookClient(notebook, timeout=120).execute()


class TestNotebook:
    @pytest.fixture
    def outputs(self, notebook):
        return notebook.cells[0].outputs

    def test_one_image_and_it_is_the_last(self, outputs):
        (image,) = [o for o in outputs if "image/png" in o.get("data", {})]
        assert base64.b64decode(image.data["image/png"]).startswith(PNG)
        assert "step 3" in image.metadata["image/png"]["alt"]

    def test_no_figure_is_left_open(self, outputs):
        printed = "".join(o.text for o in outputs if o.get("name") == "stdout")
        line = next(line for line in printed.splitlines() if line.startswith("{"))
        assert json.loads(line) == {"figures": [], "torch": False}

    def test_there_is_a_bar_and_no_complaint(self, notebook, outputs):
        # The bar is a widget where ipywidgets is installed, else text.
        told = str(notebook.metadata.get("widgets", "")) + str(outputs)
        assert "step 3, 00:00 left" in told.replace("\\u2007", " ")
        assert "Warning" not in told
        assert not [o for o in outputs if o.output_type == "error"]


class TestTensorBoard:
    @pytest.mark.skipif(
        importlib.util.find_spec("tensorboard") is None,
        reason="the package tensorboard is absent: pip install tensorboard",
    )
    def test_scalars_are_written(self, tmp_path):
        folder = tmp_path / "runs" / "first"
        with Progress(show=False, tensorboard=folder) as progress:
            for step in (1, 5):
                progress.update({"step": step, "critic": -step, "css": None})
            progress.update({"step": 9, "css": 0.5})

        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(folder))
        events.Reload()
        points = {
            tag: [(event.step, event.value) for event in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }
        assert points == {"loss/critic": [(1, -1), (5, -5)], "held-out/css": [(9, 0.5)]}

    def test_its_absence_is_told_before_the_training(self, tmp_path, monkeypatch):
        monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
        monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not installed
        with pytest.raises(ImportError, match=r"'tensorboard'.*pip install \"n2a\[tensorboard\]\""):
            Progress(show=False, tensorboard=tmp_path)
