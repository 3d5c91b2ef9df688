# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel that compares: methods side by side, with the lines of their reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np

from n2a import signals
from n2a.comparison import Comparison, compare
from n2a.methods import METHODS
from n2a.widgets.parts import LABEL, Bar, Panel, Status, button, checkbox, group, row
from n2a.widgets.viewer import Viewer
from n2a.widgets.work import Caught, Worker

if TYPE_CHECKING:
    from hyperspy.api.signals import BaseSignal

    from n2a.model import Noise2Atom
    from n2a.runs import Entry

RAW = "raw"
# Ticked at the beginning: quick ones that every microscopist knows, and the weights in the box.
FIRST = ("gaussian", "svd", "n2a")
STYLE = """<style>
.widget-html-content:has(> .n2a-table, > .n2a-report) {min-width: 0}
.n2a-table {overflow-x: auto; line-height: 1.4}
.n2a-table table {border-collapse: collapse}
.n2a-table td, .n2a-table th {text-align: left; padding: 2px 14px 2px 0; white-space: nowrap;
 border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent)}
.n2a-table td:nth-child(2) {white-space: normal; min-width: 9em}
.n2a-table ul {margin: .4em 0; padding-left: 1.2em; opacity: .8}
</style>"""


class ComparePanel(Panel):
    """Several denoisers on one series, in the background.

    Parameters
    ----------
    signal
        Images or a series of images. They are not changed.
    model
        One more method: a model, or the path of one.
    **options
        Arguments of :func:`n2a.compare` that the panel has no control for.

    Attributes
    ----------
    comparison : n2a.comparison.Comparison or None
        What :func:`n2a.compare` gave.
    methods : dict of str to ipywidgets.Checkbox
        What can be compared.
    widget : ipywidgets.Widget
        The panel.
    """

    title = "Compare"

    def __init__(self, signal: BaseSignal, model: Noise2Atom | str | None = None, **options: Any):
        signals.check_images(signal)
        self.signal, self.options = signal, options
        self.comparison: Comparison | None = None
        self._entries: list[Entry] = []
        self._stop = False
        self._axis = signals.resolve_time_axis(signal, options.get("time_axis", "auto"))
        self._frames = signals.stack_frames(signal, self._axis)
        self.status, self.bar = Status(), Bar()
        self.worker = Worker(self.status.fail, self.stop)
        self.viewer = Viewer(signal, self._axis, (RAW,))
        self.viewer.set_levels(RAW, signals.sample_frames(self._frames))
        self.viewer.moved = self._show_frames

        self._known: dict[str, Any] = {name.replace("_", " "): name for name in ("n2a", *METHODS)}
        self.methods = {name: checkbox(name) for name in self._known}
        for name in FIRST:
            self.methods[name].value = True
        self._boxes = widgets.GridBox(
            list(self.methods.values()),
            layout=widgets.Layout(grid_template_columns="repeat(auto-fill, minmax(170px, 1fr))"),
        )
        self.rerun = checkbox("resolution and error, too: five times longer")
        self.start_button = button("Compare", "play", self.start, "primary")
        self.stop_button = button("Stop after this method", "stop", self.stop)
        self.stop_button.disabled = True
        self.table = widgets.HTML(layout=widgets.Layout(width="100%"))
        self.choice = widgets.Dropdown(
            description="Report of",
            style=LABEL,
            layout=widgets.Layout(width="320px", display="none"),
        )
        self.report = widgets.HTML(layout=widgets.Layout(width="100%"))
        self.choice.observe(lambda change: self._show_report(), "value")
        if model is not None:
            self.offer(getattr(model, "name", str(model)), model)
        buttons = widgets.HBox([self.start_button, self.stop_button], layout={"grid_gap": "8px"})
        methods = group(
            self._boxes, self.rerun, buttons, self.bar.widget, title="Methods", width="520px"
        )
        methods.layout.max_width = "900px"
        self.widget = widgets.VBox(
            [
                self.viewer.widget,
                self.status.widget,
                row(self.viewer.controls, methods),
                self.table,
                self.choice,
                self.report,
            ]
        )
        self.status.tell("The parameters of every method are found in the series itself.")
        self._show_frames()

    def start(self) -> None:
        """Compare in the background."""
        chosen = [name for name, box in self.methods.items() if box.value]
        if not chosen:
            self.status.fail(ValueError("Tick at least one method."))
            return
        self._stop = False
        self._entries = []
        self._running(True)
        self.viewer.clear((RAW,))
        self._show_frames()
        self._show_table(None)
        self.worker.submit(lambda: self._compare(chosen))

    def stop(self) -> None:
        """End the comparison when the method that runs is done."""
        self._stop = True
        self.status.tell("Stopping when this method is done \N{HORIZONTAL ELLIPSIS}")

    def offer(self, name: str, model: Noise2Atom | str) -> None:
        """Add a model to the methods."""
        self._known[name] = model
        self.methods[name] = checkbox(name)
        self.methods[name].value = True
        self._boxes.children = list(self.methods.values())

    def _compare(self, chosen: list[str]) -> None:
        def seen(entry: Entry) -> bool:
            self._entries.append(entry)
            self._show_entry(entry)
            done = len(self._entries)
            following = f", {chosen[done]} runs" if done < len(chosen) else ""
            self.bar.move(done / len(chosen), f"{done} of {len(chosen)}{following}")
            return self._stop

        try:
            self.bar.start(f"{chosen[0]} runs")
            self.status.tell("Comparing \N{HORIZONTAL ELLIPSIS}")
            with Caught() as caught:
                self.comparison = compare(
                    self.signal,
                    {name: self._known[name] for name in chosen},
                    **{"rerun": self.rerun.value, "show_progressbar": False} | self.options,
                    watch=seen,
                )
            self._show_table(self.comparison)
            number = len(self.comparison)
            told = f"Compared: {number} method{'s' * (number != 1)}, the best first in the table."
            if caught.text:
                self.status.warn(f"{told} Note: {caught.text}.")
            else:
                self.status.tell(told)
        finally:
            self._running(False)

    def _show_entry(self, entry: Entry) -> None:
        """Show a result beside the others, on the grey values of the first."""
        if entry.signal is not None:
            self.viewer.add(entry.name, *self.viewer.names[1:2])
            if len(self.viewer.names) == 2:
                frames = signals.stack_frames(self.signal, self._axis, entry.signal.data)
                self.viewer.set_levels(entry.name, signals.sample_frames(frames))
            self._show_frame(entry)
        self._show_table(Comparison(self.signal, self._entries, None))

    def _show_frames(self) -> None:
        self.viewer.set(
            RAW, np.asarray(self._frames[self.viewer.index]), signals.quantity(self.signal)
        )
        for entry in list(self._entries):
            if entry.signal is not None:
                self._show_frame(entry)

    def _show_frame(self, entry: Entry) -> None:
        frames = signals.stack_frames(self.signal, self._axis, entry.signal.data)
        frame = np.asarray(frames[self.viewer.index])
        self.viewer.set(entry.name, frame, signals.quantity(self.signal))

    def _show_table(self, comparison: Comparison | None) -> None:
        told = [] if comparison is None else list(comparison.reports)
        chosen = self.choice.value
        self.choice.options = told
        self.choice.value = chosen if chosen in told else next(iter(told), None)
        self.choice.layout.display = None if told else "none"
        self.table.value = (
            ""
            if comparison is None
            else f"{STYLE}<div class='n2a-table'>{comparison._repr_html_()}</div>"
        )
        self._show_report()

    def _show_report(self) -> None:
        told = {entry.name: entry.report for entry in self._entries}.get(self.choice.value)
        self.report.value = "" if told is None else told._repr_html_()

    def _running(self, running: bool) -> None:
        for control in (*self.methods.values(), self.rerun, self.start_button):
            control.disabled = running
        self.stop_button.disabled = not running
        if not running:
            self.bar.hide()
