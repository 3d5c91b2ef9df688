# SPDX-License-Identifier: GPL-3.0-or-later
"""A training as it is seen: progress bar, live panel in notebooks, TensorBoard."""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

import numpy as np

from n2a.history import History, curves_height, draw_curves, is_held_out, label, to_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAR_SECONDS = 0.2  # between two drawings of the bar
PANEL_SECONDS = 2.0  # and of the panel,
PANEL_SHARE = 0.05  # which takes no more than this share of the time of the training
BAR_LOSSES = 2  # more do not fit into 80 columns


def in_notebook() -> bool:
    """Whether this is a Jupyter kernel, whose output can hold pictures."""
    ipython = sys.modules.get("IPython")  # a kernel has it loaded
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ == "ZMQInteractiveShell"


class Progress:
    """Show a training while it runs: a bar, in notebooks a live panel, TensorBoard if wanted.

    Nothing that goes wrong in showing stops the training: it is told once in a warning, and that
    part is switched off. A KeyboardInterrupt passes.

    Parameters
    ----------
    total_seconds, total_steps
        Budget of the training from its very beginning, earlier runs included; what is reached
        first ends it. Without them there is no remaining time.
    show
        Whether to show the bar and the panel; history and TensorBoard are kept in any case.
    live
        Whether to show the panel; "auto": in a Jupyter kernel.
    tensorboard
        Folder for the event files of TensorBoard.
    history
        Where to record. Default: a new one. The history of an interrupted training is gone on with.
    file
        Text stream of the bar. Default: as tqdm chooses.
    clock
        Gives the time in seconds.
    watch
        Function that is called with this object at every :meth:`tick`. If it returns True, `stopped` is True from
        then on.

    Attributes
    ----------
    history : History
        What has been recorded.
    at : tuple of int and float
        Step and seconds that the training has reached.
    images : tuple
        The newest patch before and after, arrays (y, x), or None.
    stopped : bool
        Whether `watch` has asked for an end.

    Raises
    ------
    ImportError
        If `tensorboard` is given and the package is not installed.

    Examples
    --------
    >>> from n2a.progress import Progress
    >>> with Progress(total_steps=2, show=False) as progress:
    ...     for step in (1, 2):
    ...         progress.update({"step": step, "seconds": 0.5 * step, "critic": -0.7 * step})
    >>> progress.history
    History(step 2, 1 s: critic -1.4)
    """

    def __init__(
        self,
        total_seconds: float | None = None,
        total_steps: int | None = None,
        show: bool = True,
        live: bool | str = "auto",
        tensorboard: str | os.PathLike | None = None,
        *,
        history: History | None = None,
        file: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        watch: Callable[[Progress], bool | None] | None = None,
    ):
        self.history = History() if history is None else history
        self._total_seconds, self._total_steps = total_seconds, total_steps
        self._file, self._clock = file, clock
        self._folder = tensorboard
        if tensorboard is not None:
            _summary_writer()  # its absence is told before the training begins
        # What is shown; a part that fails is taken out.
        self._parts = {"TensorBoard"} if tensorboard is not None else set()
        if show:
            self._parts.add("progress bar")
            if in_notebook() if live == "auto" else live:
                self._parts.add("live panel")
        if watch is not None:
            self._parts.add("watching")
        self._watch, self.stopped = watch, False
        self._bar = self._writer = self._handle = None
        self.images = (None, None)
        self._bar_due = self._panel_due = -math.inf
        self._panel_step = None  # the last one that the panel shows

    def __enter__(self) -> Progress:
        # Where this run begins: an interrupted training goes on.
        self._first_step, self._first_seconds = self.at = self._last()
        self._began = self._clock()
        self._attempt("progress bar", self._open_bar)
        self._attempt("TensorBoard", self._open_writer)
        return self

    def __exit__(self, *exception) -> None:
        self.at = max(self.at, self._last())
        self._attempt("progress bar", self._draw_bar)
        if len(self.history) and self._panel_step != self._last()[0]:
            self._attempt("live panel", self._draw_panel)
        if self._bar is not None:
            self._attempt("progress bar", self._bar.close)
        if self._writer is not None:
            self._attempt("TensorBoard", self._writer.close)

    def _last(self) -> tuple[int, float]:
        """Step and seconds of the last row."""
        if not len(self.history):
            return 0, 0.0
        return self.history.newest("step"), self.history.newest("seconds")

    def _seconds(self) -> float:
        return self._first_seconds + self._clock() - self._began

    @property
    def due(self) -> bool:
        """Whether the next `update` shows images: only then they are worth making."""
        return "watching" in self._parts or self._panel_is_due

    @property
    def _panel_is_due(self) -> bool:
        return "live panel" in self._parts and self._clock() >= self._panel_due

    def update(
        self, row: dict, before: np.ndarray | None = None, after: np.ndarray | None = None
    ) -> None:
        """Record one row and show it, in the panel at most every 2 s.

        Parameters
        ----------
        row
            Arguments of :meth:`n2a.history.History.add`: "step", and values by name. Without
            "seconds" the time is taken.
        before, after
            The same patch (y, x), noisy and denoised, in any units. Without them the panel keeps
            those that it has.
        """
        row = {"seconds": self._seconds(), **row}
        self.history.add(**row)
        if before is not None or after is not None:
            self.images = (before, after)
        if self._writer is not None:
            self._attempt("TensorBoard", lambda: self._write(row))
        self.tick(*self._last())
        if self._panel_is_due:
            began, first = self._clock(), self._handle is None
            self._attempt("live panel", self._draw_panel)
            # The first drawing loads libraries, and says nothing of the next.
            took = 0 if first else self._clock() - began
            self._panel_due = began + max(PANEL_SECONDS, took / PANEL_SHARE)

    def tick(self, step: int, seconds: float | None = None) -> None:
        """Move the bar, at most every 0.2 s, and record nothing: cheap enough for every step.

        Parameters
        ----------
        step
            Number of the step.
        seconds
            Duration of the training so far. Default: taken.
        """
        self.at = (step, self._seconds() if seconds is None else seconds)
        now = self._clock()
        if now >= self._bar_due:
            self._bar_due = now + BAR_SECONDS
            self._attempt("progress bar", self._draw_bar)
        self._attempt("watching", self._ask)

    def _ask(self) -> None:
        if not self.stopped:
            answer = self._watch(self)
            self.stopped = isinstance(answer, (bool, np.bool_)) and bool(answer)

    @property
    def done(self) -> float:
        """Share of the budget that is spent, 0 to 1; 0 without a budget."""
        step, seconds = self.at
        shares = [
            spent / total
            for spent, total in ((seconds, self._total_seconds), (step, self._total_steps))
            if total
        ]
        return min(1.0, max(shares, default=0.0))

    def _attempt(self, part: str, action: Callable[[], None]) -> None:
        if part not in self._parts:
            return
        try:
            action()
        except Exception as error:
            self._parts.discard(part)
            if part == "progress bar" and self._bar is not None:
                self._bar.disable = True  # or else it tries once more when it is deleted
            warnings.warn(
                f"The {part} is switched off and the training goes on: "
                f"{type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=3,
            )

    # Progress bar

    def _open_bar(self) -> None:
        from tqdm import TqdmWarning

        with warnings.catch_warnings():
            # Notebooks without ipywidgets get the bar of terminals: no reason for a warning.
            warnings.simplefilter("ignore", TqdmWarning)
            from tqdm.auto import tqdm

        bounded = self._total_seconds or self._total_steps
        self._bar = tqdm(
            total=1.0 if bounded else None,
            # tqdm's own remaining time knows nothing of a budget in seconds.
            bar_format="{percentage:3.0f}%|{bar}| {desc}" if bounded else "{desc}",
            desc="starting",
            dynamic_ncols=True,
            file=self._file,
        )

    def _draw_bar(self) -> None:
        from tqdm import tqdm

        step, seconds = self.at
        left = self._total_seconds - seconds if self._total_seconds else math.inf
        if self._total_steps and step > self._first_step:
            pace = (seconds - self._first_seconds) / (step - self._first_step)
            left = min(left, pace * (self._total_steps - step))
        text = [f"step {step}"]
        if math.isfinite(left):
            text.append(f"{tqdm.format_interval(max(0, left))} left")
        else:
            text.append(tqdm.format_interval(seconds))
        names = self.history.names
        losses = [name for name in names if not is_held_out(name)][:BAR_LOSSES]
        for name in ["css"] * ("css" in names) + losses:
            value = self.history.newest(name)
            if not math.isnan(value):
                text.append(f"{label(name)} {value:.3g}")
        self._bar.n = self.done
        self._bar.set_description_str(", ".join(text))

    # Live panel

    def _draw_panel(self) -> None:
        from IPython.display import Image, display

        self._panel_step = self._last()[0]
        figure = panel(self.history, *self.images)
        width = round(figure.get_figwidth() * 100)  # on the page; the image is finer than that
        text = f"Live panel of the training, step {self._panel_step}: curves and a patch"
        image = Image(data=to_png(figure, dpi=150), format="png", width=width, alt=text)
        if self._handle is None:
            self._handle = display(image, display_id=True)
        else:
            self._handle.update(image)

    # TensorBoard

    def _open_writer(self) -> None:
        # What a killed run wrote after its last checkpoint is hidden.
        purge = self._first_step + 1 if len(self.history) else None
        self._writer = _summary_writer()(os.fspath(self._folder), purge_step=purge)

    def _write(self, row: dict) -> None:
        for name, value in row.items():
            if name not in ("step", "seconds") and value is not None and not math.isnan(value):
                group = "held-out" if is_held_out(name) else "loss"
                self._writer.add_scalar(f"{group}/{name}", float(value), int(row["step"]))


def _summary_writer():
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "'tensorboard' writes event files with the package tensorboard, which is not installed "
            f'({error}). Install it with: pip install "n2a[tensorboard]"; or leave the argument out.'
        ) from error
    return SummaryWriter


def panel(
    history: History, before: np.ndarray | None = None, after: np.ndarray | None = None
) -> Figure:
    """Curves of a training, and beside them one patch before and after.

    Parameters
    ----------
    history
        What has been recorded.
    before, after
        The same patch (y, x), noisy and denoised; each gets grey values of its own.

    Returns
    -------
    matplotlib.figure.Figure
        A figure that pyplot knows nothing of.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.history import History
    >>> from n2a.progress import panel
    >>> history = History()
    >>> history.add(step=1, seconds=0.1, critic=-0.7)
    >>> figure = panel(history, np.eye(8), np.eye(8))
    """
    from matplotlib.figure import Figure

    images = {"noisy patch": before, "denoised": after}
    images = {title: np.asarray(x, float) for title, x in images.items() if x is not None}
    if not images:
        return history.plot(Figure())
    columns = 2 if curves_height(history, 2) < 7 else 3
    height = max(4.4, curves_height(history, columns))
    figure = Figure(figsize=(10, height), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(2.4, 1))
    draw_curves(left, history, columns)
    for axes, (title, image) in zip(
        right.subplots(len(images), squeeze=False)[:, 0], images.items()
    ):
        finite = image[np.isfinite(image)]
        low, high = np.percentile(finite, (0.5, 99.8)) if finite.size else (0, 1)
        axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    return figure
