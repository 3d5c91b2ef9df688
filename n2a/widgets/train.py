# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel that trains: live curves and a patch, an end at any time with the best kept, a verdict in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from n2a import signals
from n2a.history import duration, to_png
from n2a.loop import SETTINGS
from n2a.progress import Progress
from n2a.progress import panel as draw_panel
from n2a.training import train
from n2a.widgets import saving
from n2a.widgets.parts import LABEL, Bar, ModelChoice, Panel, SaveBox, Status, button, group, row
from n2a.widgets.work import Caught, Worker, quiet_here

if TYPE_CHECKING:
    from hyperspy.api.signals import BaseSignal

    from n2a.model import Noise2Atom


class TrainPanel(Panel):
    """A training on the signal in the background.

    Parameters
    ----------
    signal
        Images or series of images. They are not changed.
    model
        To start from: what :func:`n2a.get_model` takes.
    **options
        Arguments of :func:`n2a.train` that the panel has no control for.

    Attributes
    ----------
    model : Noise2Atom or None
        What the training has given.
    trained : callable
        Called with that model; what it returns is told to the user.
    widget : ipywidgets.Widget
        The panel.
    """

    title = "Train"

    def __init__(
        self, signal: BaseSignal, model: Noise2Atom | str | Path | None = None, **options: Any
    ):
        signals.check_images(signal)
        self.signal, self.options = signal, options
        self.model: Noise2Atom | None = None
        self.trained: Callable[[Noise2Atom], str] = lambda model: ""
        self._stop = self._told = False
        self._rows = 0
        self.status, self.bar = Status(), Bar()
        self.worker = Worker(self.status.fail, self.stop)
        self.picture = widgets.Image(
            format="png", layout=widgets.Layout(width="100%", max_width="1100px", height="auto")
        )
        self.picture.layout.display = "none"
        self.preset = widgets.Dropdown(
            options=list(SETTINGS), description="Preset", style=LABEL,
            layout=widgets.Layout(width="auto"),
        )  # fmt: skip
        self.preset.tooltip = "'paper': the networks and losses of the authors, from a random start"
        self.start_from = ModelChoice("Start from", model)
        self.minutes = widgets.BoundedFloatText(
            10, min=0.01, max=10000, step=1, description="Minutes", style=LABEL,
            layout=widgets.Layout(width="auto"),
        )  # fmt: skip
        self.start_button = button("Train", "play", self.start, "primary")
        self.stop_button = button("Stop, keep the best", "stop", self.stop)
        self.stop_button.disabled = True
        self.save_box = SaveBox(
            f"{saving.stem_of(signal)}.n2a", saving.MODELS, self._save, self.status.fail
        )
        buttons = widgets.HBox([self.start_button, self.stop_button], layout={"grid_gap": "8px"})
        self.widget = widgets.VBox(
            [
                row(
                    group(
                        self.preset,
                        self.start_from.widget,
                        self.minutes,
                        buttons,
                        self.bar.widget,
                        title="Train on these images",
                    ),
                    self.save_box.widget,
                ),
                self.status.widget,
                self.picture,
            ]
        )
        self.status.tell(
            "The network learns from these very images, and is judged on frames that it has not seen."
        )

    def start(self) -> None:
        """Train in the background."""
        self._stop = self._told = False
        self._rows = 0
        self._running(True)
        self.status.tell("Looking at the series \N{HORIZONTAL ELLIPSIS}")
        self.worker.submit(self._train)

    def stop(self) -> None:
        """End the training after the step that it is at; the best so far is judged and kept."""
        self._stop = True
        self.status.tell("Stopping: the best so far is judged \N{HORIZONTAL ELLIPSIS}")

    def _train(self) -> None:
        arguments = {"max_time": 60 * self.minutes.value, "show_progressbar": False} | self.options
        try:
            self.bar.start("preparing")
            with Caught() as self._caught, quiet_here("n2a.training"):
                model = train(
                    self.signal,
                    preset=self.preset.value,
                    start=self.start_from.value,
                    watch=self._watch,
                    **arguments,
                )
            self.model = model
            steps, seconds = model.training["steps"], model.training["seconds"]
            told = f"{model.training['words']} {steps} steps in {duration(seconds)}."
            self._tell(f"{told} {self.trained(model)}".strip())
        finally:
            self._running(False)

    def _watch(self, progress: Progress) -> bool:
        """Show how the training goes; True where the user has asked for its end."""
        self._caught.close()  # what is doubtful about a series is told before the first step
        self.bar.move(progress.done, f"step {progress.at[0]}")
        if len(progress.history) != self._rows:
            self._rows = len(progress.history)
            self.picture.value = to_png(draw_panel(progress.history, *progress.images))
            self.picture.layout.display = None
        if not self._told:
            self._told = True
            self.bar.start()  # the time that is left follows the steps, not what came before them
            if not self._stop:
                self._tell(
                    "Training. The curves are drawn at every look at the held-out frames, 20 in all."
                )
        return self._stop

    def _tell(self, text: str) -> None:
        if self._caught.text:
            self.status.warn(f"{text} Note: {self._caught.text}.")
        else:
            self.status.tell(text)

    def _save(self, path: Path) -> None:
        try:
            self.model.save(path)
        except OSError as error:
            self.status.fail(error)
        else:
            self.status.tell(f"Saved to {path}.")

    def _running(self, running: bool) -> None:
        self.start_from.enable(not running)
        for control in (self.preset, self.minutes, self.start_button):
            control.disabled = running
        self.stop_button.disabled = not running
        if not running:
            self.bar.hide()
        self.save_box.button.disabled = running or self.model is None
