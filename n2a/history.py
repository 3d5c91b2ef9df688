# SPDX-License-Identifier: GPL-3.0-or-later
"""What a training has recorded: losses and held-out values over its steps."""

from __future__ import annotations

import base64
import html
import io
import math
import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hyperspy.api.signals import Signal1D
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# A name with one of these words in it is a held-out value, any other one is a loss.
HELD_OUT_WORDS = {"css", "gain", "psnr", "upsnr", "whiteness", "frc", "likelihood", "f1"}
_SPELLING = {"css": "CSS", "psnr": "PSNR", "upsnr": "uPSNR", "frc": "FRC", "f1": "F1"}

# Okabe and Ito: told apart by all common kinds of colour vision, and in grey.
LOSS_COLOUR, HELD_OUT_COLOUR = "#0072B2", "#D55E00"
INK = "#777777"  # legible on white pages and on dark ones
KEY = "blue: losses \N{MIDDLE DOT} orange: on held-out frames, dotted: at their start"


def is_held_out(name: str) -> bool:
    """Whether a value measures quality on held-out frames (CSS, gain, uPSNR) rather than a loss.

    Examples
    --------
    >>> from n2a.history import is_held_out
    >>> is_held_out("css"), is_held_out("upsnr_box"), is_held_out("noisy_cycle")
    (True, True, False)
    """
    return bool(HELD_OUT_WORDS & set(name.lower().split("_")))


def label(name: str) -> str:
    """Name of a value as figures and tables write it.

    Examples
    --------
    >>> from n2a.history import label
    >>> label("noisy_cycle"), label("css"), label("upsnr")
    ('noisy cycle', 'CSS', 'uPSNR (dB)')
    """
    words = [_SPELLING.get(word.lower(), word) for word in name.split("_")]
    return " ".join(words) + (" (dB)" if {"PSNR", "uPSNR"} & set(words) else "")


def duration(seconds: float) -> str:
    """Seconds for people to read.

    Examples
    --------
    >>> from n2a.history import duration
    >>> duration(8.2), duration(200), duration(7500)
    ('8 s', '3 min 20 s', '2 h 05 min')
    """
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"


class History:
    """Values that a training has recorded, one row per step at which it did.

    ``history["css"]`` is an array over the rows, NaN where a row lacks the value; ``len`` counts
    the rows, and iterating gives them as dictionaries.

    Examples
    --------
    >>> from n2a.history import History
    >>> history = History()
    >>> history.add(step=0, seconds=0.0, critic=-0.5, css=0.31)
    >>> history.add(step=100, seconds=12.5, critic=-1.2)
    >>> history
    History(step 100, 12 s: critic -1.2, CSS 0.31)
    >>> history["css"]
    array([0.31,  nan])
    >>> history.to_signals()["critic"]
    <Signal1D, title: critic in training, dimensions: (|2)>
    """

    def __init__(self):
        self._columns: dict[str, list] = {"step": [], "seconds": []}

    def add(self, *, step: int, seconds: float, **values: float | None) -> None:
        """Record the values of one step.

        Parameters
        ----------
        step
            Number of the step. The same step again adds its values to the row that is there.
        seconds
            Duration of the training so far.
        **values
            Numbers by name. None, and names that are not given, are missing in this row.

        Raises
        ------
        ValueError
            If `step` is smaller than the one before.
        """
        step, seconds = operator.index(step), float(seconds)
        values = {k: math.nan if v is None else float(v) for k, v in values.items()}
        steps = self._columns["step"]
        if steps and step < steps[-1]:
            raise ValueError(f"'step' must not decrease: {step} comes after {steps[-1]}.")
        if not steps or step > steps[-1]:
            for column in self._columns.values():
                column.append(math.nan)
        steps[-1], self._columns["seconds"][-1] = step, seconds
        for name, value in values.items():
            column = self._columns.setdefault(name, [math.nan] * len(steps))
            column[-1] = value

    def __len__(self) -> int:
        return len(self._columns["step"])

    def __iter__(self) -> Iterator[dict[str, float]]:
        for row in zip(*self._columns.values()):
            yield {k: v for k, v in zip(self._columns, row) if not math.isnan(v)}

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._columns:
            raise KeyError(f"{name!r}: the history has {', '.join(map(repr, self._columns))}")
        return np.array(self._columns[name], np.int64 if name == "step" else np.float64)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the values in the order of their appearance, without step and seconds."""
        return tuple(self._columns)[2:]

    def newest(self, name: str) -> float:
        """The last number recorded under a name; NaN when there is none."""
        return next((v for v in reversed(self._columns[name]) if not math.isnan(v)), math.nan)

    # Storage

    def to_dict(self) -> dict[str, list[float | None]]:
        """Columns by name, JSON-compatible: numbers that are not finite become None.

        ``pandas.DataFrame(history.to_dict())`` makes a table of it.
        """
        return {
            name: [v if math.isfinite(v) else None for v in column]
            for name, column in self._columns.items()
        }

    @classmethod
    def from_dict(cls, columns: dict[str, list[float | None]]) -> History:
        """Undo :meth:`to_dict`.

        Raises
        ------
        ValueError
            If the dictionary is not one of :meth:`to_dict`.

        Examples
        --------
        >>> from n2a.history import History
        >>> columns = {"step": [0, 100], "seconds": [0.0, 12.5], "css": [None, 0.31]}
        >>> History.from_dict(columns).to_dict() == columns
        True
        """
        history = cls()
        try:
            columns["step"], columns["seconds"]
            for row in zip(*columns.values(), strict=True):
                history.add(**dict(zip(columns, row)))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"This is no history of a training as 'History.to_dict' writes it: {error!r}."
            ) from error
        return history

    def to_signals(self) -> dict[str, Signal1D]:
        """Curves of the values over the steps, by name.

        Returns
        -------
        dict of str to hyperspy.api.signals.Signal1D
            The axis "step" is not uniform; steps without a (finite) value are left out, and so
            are names without any.
        """
        from hyperspy.api import signals as hs_signals

        curves = {}
        for name in self.names:
            steps, values = self.known(name)
            if not len(values):
                continue
            axis = {
                "_type": "DataAxis",
                "name": "step",
                "axis": steps,
                "navigate": False,
                "is_binned": False,
            }
            curves[name] = hs_signals.Signal1D(values, axes=[axis])
            curves[name].metadata.General.title = f"{label(name)} in training"
            curves[name].metadata.Signal.quantity = label(name)
        return curves

    def known(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps at which a value is there and finite, and its values."""
        steps, values = self["step"], self[name]
        known = np.isfinite(values)
        return steps[known], values[known]

    # Looks

    def summary(self) -> str:
        """How long the training was, in words."""
        if not len(self):
            return "nothing recorded"
        return f"step {self._columns['step'][-1]}, {duration(self._columns['seconds'][-1])}"

    def __repr__(self) -> str:
        values = ", ".join(f"{label(name)} {self.newest(name):.3g}" for name in self.names)
        return f"History({self.summary()}{': ' if values else ''}{values})"

    def _repr_html_(self) -> str:
        head = f"<p><b>History of a training</b>: {self.summary()}</p>"
        if not len(self):
            return head
        rows = ""
        for name in self.names:
            steps, values = self.known(name)
            if len(values):
                rows += (
                    f"<tr><th style='text-align: left'>{html.escape(label(name))}</th>"
                    f"<td>{values[0]:.4g}</td><td>{values[-1]:.4g}</td><td>{steps[-1]}</td></tr>"
                )
        table = (
            "<table><thead><tr><th></th><th>first</th><th>newest</th><th>at step</th></tr></thead>"
            f"<tbody>{rows}</tbody></table>"
        )
        from matplotlib.figure import Figure

        picture = base64.b64encode(to_png(self.plot(Figure()))).decode()
        alt = "Curves of the recorded values over the steps"
        return (
            f"{head}{table}<img alt='{alt}' style='width: 100%; max-width: 900px' "
            f"src='data:image/png;base64,{picture}'>"
        )

    def plot(self, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
        """Draw every value over the steps, each on axes of its own: losses first, held-out values below.

        Thin lines are the records, thick ones their running mean. A dotted line marks where a
        held-out value began. Values that span orders of magnitude get a logarithmic scale.

        Parameters
        ----------
        figure
            Draw into this empty figure. Default: a new figure of pyplot, which a notebook shows once.

        Returns
        -------
        matplotlib.figure.Figure
            The figure.

        Examples
        --------
        >>> from matplotlib.figure import Figure
        >>> from n2a.history import History
        >>> history = History()
        >>> for step in range(3):
        ...     history.add(step=step, seconds=step, critic=-step, css=0.9)
        >>> [axes.get_title("left") for axes in history.plot(Figure()).axes]
        ['critic', 'CSS']
        """
        if figure is None:
            from n2a.overlay import new_figure

            figure = new_figure((9, 3))
        draw_curves(figure, self)
        return figure


def to_png(figure: Figure, dpi: float = 130) -> bytes:
    """Render a figure for light and dark pages, without a ground, away from pyplot and its windows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import to_rgb
    from matplotlib.text import Text

    for axes in figure.axes:
        axes.set_facecolor("none")
        axes.tick_params(colors=INK, grid_color=INK, grid_alpha=0.25)
        axes.spines[:].set_color(INK)
    for text in figure.findobj(Text):
        if len(set(to_rgb(text.get_color()))) == 1:  # black or grey; what is coloured stays
            text.set_color(INK)
    for part in (figure, *figure.subfigs):
        part.set_facecolor("none")
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(file, format="png", dpi=dpi)
    return file.getvalue()


def curves_height(history: History, columns: int = 3) -> float:
    """Height in inches that the curves of a history need."""
    return max(1.5, 0.4 + 1.55 * len(_rows(history, columns)))


def _rows(history: History, columns: int) -> list[list[str]]:
    """Names of the values as they are drawn: rows of losses, then rows of held-out values."""
    names = [name for name in history.names if len(history.known(name)[1])]
    rows = []
    for held_out in (False, True):
        group = [name for name in names if is_held_out(name) is held_out]
        rows += [group[i : i + columns] for i in range(0, len(group), columns)]
    return rows


def draw_curves(figure: Figure | SubFigure, history: History, columns: int = 3) -> None:
    """Draw the curves of a history into an empty figure; a whole figure is made to fit them."""
    from matplotlib.figure import Figure

    if isinstance(figure, Figure):
        figure.set_layout_engine("constrained")
        figure.set_size_inches(9, curves_height(history, columns))
    figure.suptitle(f"Training: {history.summary()}", x=0.01, ha="left", fontsize=10)
    figure.text(0.99, 0.99, KEY, ha="right", va="top", fontsize=8, color="0.35")
    rows = _rows(history, columns)
    if not rows:
        return
    grid = figure.add_gridspec(len(rows), max(map(len, rows)))
    steps = history["step"]
    room = max(0.5, 0.02 * (steps[-1] - steps[0]))
    for i, names in enumerate(rows):
        for j, name in enumerate(names):
            axes = figure.add_subplot(grid[i, j])
            _draw_curve(axes, *history.known(name), name)
            axes.set_xlim(steps[0] - room, steps[-1] + room)
            if all(len(others) <= j for others in rows[i + 1 :]):  # the lowest of its column
                axes.set_xlabel("step", fontsize=8, labelpad=1)


def _draw_curve(axes: Axes, steps: np.ndarray, values: np.ndarray, name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    colour = HELD_OUT_COLOUR if is_held_out(name) else LOSS_COLOUR
    few = len(values) <= 40
    axes.plot(
        steps,
        values,
        color=colour,
        linewidth=1.4 if few else 0.7,
        alpha=1 if few else 0.35,
        marker="o" if few else None,
        markersize=3,
    )
    if not few:
        axes.plot(steps, _running_mean(values, len(values) // 25), color=colour, linewidth=1.6)
    if is_held_out(name):
        axes.axhline(values[0], color="0.5", linewidth=1, linestyle=":")
    size = np.abs(values)
    if values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
        _place_ticks(axes)
    elif size.max() > 10 * (middle := np.median(size)) > 0:
        axes.set_yscale("symlog", linthresh=middle)
        _place_ticks(axes)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    axes.tick_params(labelsize=8)
    axes.yaxis.get_offset_text().set_size(8)
    axes.grid(color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(label(name), loc="left", fontsize=9)
    axes.set_title(number(values[-1]), loc="right", fontsize=9, color=colour)


def _place_ticks(axes: Axes) -> None:
    """Round numbers, well apart: on small logarithmic axes Matplotlib has one of them, or a heap."""
    limits = axes.get_ylim()
    candidates = [0.0, *np.outer((1, -1, 2, -2, 5, -5), 10.0 ** np.arange(-12, 13)).ravel()]
    to_height = axes.yaxis.get_transform().transform
    low, high = to_height(np.array(limits))
    ticks = {}
    for value in candidates:
        if limits[0] < value < limits[1]:
            height = (to_height(np.array([value]))[0] - low) / (high - low)
            if all(abs(height - other) > 0.2 for other in ticks.values()):
                ticks[value] = height
    axes.set_yticks(list(ticks), [number(value) for value in ticks])
    axes.minorticks_off()


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Mean over `width` values to either side; fewer near the start, from which losses fall fast."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    i = np.arange(len(values))
    reach = np.minimum(width, i)
    low, high = i - reach, np.minimum(i + reach + 1, len(values))
    return (total[high] - total[low]) / (high - low)


def number(value: float) -> str:
    """Three digits of a number, with a true minus sign."""
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")
