# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel that denoises: every frame at a look, the whole series at a click."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np

from n2a import signals
from n2a.denoising import Denoising
from n2a.widgets import saving
from n2a.widgets.parts import (
    LABEL,
    LABELLED,
    Bar,
    ModelChoice,
    Panel,
    SaveBox,
    Status,
    button,
    checkbox,
    group,
    row,
)
from n2a.widgets.viewer import Viewer
from n2a.widgets.work import Blocks, Caught, Stopped, Worker

if TYPE_CHECKING:
    from hyperspy.api.signals import BaseSignal

    from n2a.model import Noise2Atom

OPTIONS = ("atom_width", "time_axis", "device")
RAW, DENOISED = "raw", "denoised"


def no_option(unknown: set[str]) -> ValueError:
    """The error for options that a panel does not have."""
    expected = ", ".join(map(repr, OPTIONS))
    return ValueError(f"the panel has no option {min(unknown)!r}; expected {expected}.")


class DenoisePanel(Panel):
    """Raw and denoised frames beside each other, and the whole series denoised in the background.

    Parameters
    ----------
    signal
        Images or series of images. They are not changed.
    model
        To begin with: what :func:`n2a.get_model` takes.
    **options
        ``atom_width``, ``time_axis`` and ``device`` of :func:`n2a.denoise`.

    Attributes
    ----------
    result : hyperspy.api.signals.BaseSignal or None
        What :func:`n2a.denoise` gives for the settings that the button was pressed with.
    widget : ipywidgets.Widget
        The panel.
    """

    title = "Denoise"

    def __init__(
        self, signal: BaseSignal, model: Noise2Atom | str | Path | None = None, **options: Any
    ):
        signals.check_images(signal)
        if unknown := set(options) - set(OPTIONS):
            raise no_option(unknown)
        self.signal, self.options = signal, options
        self.result: BaseSignal | None = None
        self._result_settings: tuple | None = None
        self._task: Denoising | None = None
        self._task_settings: tuple | None = None
        self._asked = self._stop = self._busy = False
        axis = signals.resolve_time_axis(signal, options.get("time_axis", "auto"))
        self._axis, self._frames = axis, signals.stack_frames(signal, axis)
        self.status, self.bar = Status(), Bar()
        self.worker = Worker(self.status.fail, self.cancel)
        self.viewer = Viewer(signal, axis, (RAW, DENOISED), wipe=True)
        self.viewer.moved = self._refresh
        self.viewer.set_levels(RAW, signals.sample_frames(self._frames))

        self.model = ModelChoice("Model", model)
        self.contrast = widgets.Dropdown(
            options=["auto", "bright", "dark"], description="Atoms", style=LABEL,
            layout=widgets.Layout(width="auto"),
        )  # fmt: skip
        self.background = checkbox("with the background", margin=LABELLED)
        single = self._frames.shape[:-2] == (1,)
        self.start_button = button(
            "Denoise" if single else "Denoise all frames", "play", self.start, "primary"
        )
        self.stop_button = button("Cancel", "stop", self.cancel)
        self.stop_button.disabled = True
        self.save_box = SaveBox(
            f"{saving.stem_of(signal)} denoised.hspy", saving.SIGNALS, self._save, self.status.fail
        )
        for control in (self.contrast, self.background):
            control.observe(lambda change: self._settings_changed(), "value")
        self.model.changed = self._settings_changed
        buttons = widgets.HBox([self.start_button, self.stop_button], layout={"grid_gap": "8px"})
        self.widget = widgets.VBox(
            [
                self.viewer.widget,
                self.status.widget,
                row(
                    self.viewer.controls,
                    group(
                        self.model.widget,
                        self.contrast,
                        self.background,
                        buttons,
                        self.bar.widget,
                        title="Denoise",
                    ),
                    self.save_box.widget,
                ),
            ]
        )
        self._refresh()

    # What the user does

    def start(self) -> None:
        """Denoise the whole series in the background."""
        self._stop = False
        self._running(True)
        self.worker.submit(self._denoise_all)

    def cancel(self) -> None:
        """End what runs after the frame that it is at; an earlier result is kept."""
        self._stop = True

    def offer(self, name: str, model: Noise2Atom) -> str:
        """Add a model to the choice, and return the name that it has there."""
        return self.model.add(name, model)

    def _settings(self) -> tuple:
        return self.model.value, self.background.value, self.contrast.value

    def _settings_changed(self) -> None:
        self._allow_saving()
        self._refresh()

    def _refresh(self) -> None:
        """Ask for the frame that is looked at; of many requests only the last one is answered."""
        self._asked = True
        self.worker.submit(self._show_frame)

    # What is done in the background

    def _prepare(self) -> Denoising:
        """Plan and predictor for the settings; what was measured, or should be known, is told."""
        settings = self._settings()
        if self._task is not None and self._task_settings == settings:
            return self._task
        self._task = None
        self.viewer.forget(DENOISED)
        model, background, contrast = settings
        with Caught() as caught:
            task = Denoising(self.signal, model, background, contrast, **self.options)
        self._task, self._task_settings = task, settings
        if caught.text:
            self.status.warn(caught.text)
        else:
            self.status.tell(
                f"{task.plan.contrast.capitalize()} atoms, {task.plan.atom_width:.2g} px wide (standard deviation)."
            )
        return task

    def _show_frame(self) -> None:
        """Show the frame that is looked at, raw first; a request that a later one has overtaken does nothing."""
        if not self._asked:
            return
        self._asked = False
        index = self.viewer.index
        quantity = signals.quantity(self.signal)
        self.viewer.set(RAW, np.asarray(self._frames[index]), quantity)
        self.viewer.set(DENOISED, None)
        task = self._prepare()
        frame = self._known_frame(index)
        if frame is None:
            frame = task.frame(index)
        if not task.predictor.background:
            side = "above" if task.plan.contrast == "bright" else "below"
            quantity = f"{quantity} {side} background".strip()
        if not self._asked:
            self.viewer.set(DENOISED, frame, quantity)

    def _known_frame(self, index: tuple[int, ...]) -> np.ndarray | None:
        """The frame of the result, if that is in memory and of the present settings."""
        if not self._result_is_current() or signals.is_lazy(self.result):
            return None
        return signals.stack_frames(self.signal, self._axis, self.result.data)[index]

    def _denoise_all(self) -> None:
        number = 0

        def told() -> None:
            nonlocal number
            number += 1
            if self._stop:
                raise Stopped
            self.bar.move(number / task.count, f"{number} of {task.count}")
            self._show_frame()

        try:
            task = self._prepare()
            if signals.is_lazy(self.signal):
                result = task.lazy(np.dtype("float32"))
                told_at_end = (
                    "The result is lazy: its frames are computed when they are looked at or saved."
                )
            else:
                self.bar.start()
                result = task.compute(np.dtype("float32"), told)
                frames = signals.stack_frames(self.signal, self._axis, result)
                self.viewer.set_levels(DENOISED, signals.sample_frames(frames))
                told_at_end = f"Denoised: {task.count} frame{'s' * (task.count > 1)}."
            self.result = task.signal_with(result)
            self._result_settings = self._task_settings
        except Stopped:
            kept = "the result before is kept" if self.result is not None else "nothing is kept"
            told_at_end = f"Cancelled at frame {number} of {task.count}; {kept}."
        finally:
            self._running(False)
        self.status.tell(told_at_end)
        self._refresh()

    def _save(self, path: Path) -> None:
        result, self._stop = self.result, False
        self._running(True)
        self.worker.submit(lambda: self._write(result, path))

    def _write(self, result: BaseSignal, path: Path) -> None:
        def told(done: float) -> None:
            if self._stop:
                raise Stopped
            self.bar.move(done, f"{done:.0%}")

        try:
            if signals.is_lazy(result):
                self.bar.start("computing")
            else:
                self.status.tell(f"Saving to {path} \N{HORIZONTAL ELLIPSIS}")
            with Blocks(told):
                saving.save_signal(result, path, self.signal)
            self.status.tell(f"Saved to {path}.")
        except Stopped:
            self.status.tell("Cancelled; nothing was written.")
        finally:
            self._running(False)

    # What the user can do now

    def _running(self, running: bool) -> None:
        self.model.enable(not running)
        for control in (self.contrast, self.background, self.start_button):
            control.disabled = running
        self.stop_button.disabled = not running
        if not running:
            self.bar.hide()
        self._busy = running
        self._allow_saving()

    def _result_is_current(self) -> bool:
        try:
            return self.result is not None and self._result_settings == self._settings()
        except ValueError:  # a file is to be named
            return False

    def _allow_saving(self) -> None:
        self.save_box.button.disabled = self._busy or not self._result_is_current()
