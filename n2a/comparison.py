# SPDX-License-Identifier: GPL-3.0-or-later
"""compare(): several denoisers on one series, each with the same report, its time and its memory."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from n2a import signals
from n2a.history import duration
from n2a.runs import Bench, Entry, check_truth, choose_methods

if TYPE_CHECKING:
    import pandas as pd
    from hyperspy.api.signals import BaseSignal
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from n2a.lines import Line
    from n2a.reporting import Report
    from n2a.runs import Method

# Lines of the reports that the table shows, with short names; all of them are in `to_dict`.
_COLUMNS = {
    "css": "CSS",
    "upsnr": "uPSNR",
    "frc_half": "FRC",
    "supported": "atoms supported",
    "contradicted": "atoms contradicted",
    "linearity": "not linear by",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "f1": "F1",
    "position_error": "position error",
}

_STYLE = """
.n2a-comparison {overflow-x: auto}
.n2a-comparison td, .n2a-comparison th {text-align: left !important; vertical-align: top}
.n2a-comparison td {white-space: nowrap}
.n2a-comparison td:nth-child(2) {white-space: normal; min-width: 14em}
"""


class Comparison(Mapping):
    """What :func:`n2a.compare` found, the best first.

    Fine results come first, by their estimated error; then those with faults; then those in which structure is missing
    or atoms are invented; then what failed. Without its method, as for finished signals, the error of a result is only
    known against frames that it has not seen, and motion counts in it: then all of the same gravity are ranked by that
    one, and the table says "≥" where the uPSNR that it shows is too low for that reason.

    ``comparison["gaussian"]`` is the denoised signal of that method; iterating gives the names.

    Attributes
    ----------
    entries
        The methods: results, reports, times, and what went wrong.
    raw, truth
        The series, and the scene where it was given.

    Examples
    --------
    >>> import n2a
    >>> noisy = n2a.acquire(n2a.simulate(structure="2d", frames=8, seed=1), dose=20, seed=1)
    >>> comparison = n2a.compare(noisy, ["gaussian", "n2a"], show_progressbar=False)
    >>> list(comparison)
    ['n2a', 'gaussian']
    >>> comparison["gaussian"].data.shape == noisy.data.shape
    True
    """

    def __init__(
        self, raw: BaseSignal, entries: Sequence[Entry], truth: BaseSignal | None, time_axis="auto"
    ):
        self.raw, self.truth = raw, truth
        self.entries, self._note = _ranked(entries)
        self._time_axis = time_axis

    def __getitem__(self, name: str) -> BaseSignal:
        entry = self.entry(name)
        if entry.signal is None:
            raise KeyError(f"{name!r} gave no result: {entry.problem}")
        return entry.signal

    def __iter__(self) -> Iterator[str]:
        return (entry.name for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def entry(self, name: str) -> Entry:
        """The method of that name, with its report, time and memory.

        Raises
        ------
        KeyError
            If there is none.
        """
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise KeyError(f"{name!r}: the comparison has {', '.join(map(repr, self))}.")

    @property
    def reports(self) -> dict[str, Report]:
        """Reports of the methods that gave a result, by name."""
        return {entry.name: entry.report for entry in self.entries if entry.report is not None}

    # Tables

    def table(self) -> list[dict[str, str]]:
        """Rows as text: name, verdicts, measures with their units, time and memory; the same columns in each."""
        shown = [key for key in _COLUMNS if any(key in one for one in self.reports.values())]
        rows = []
        for entry in self.entries:
            told = entry.report
            if told is None:
                verdicts = f"no result: {entry.problem}"
            else:
                verdicts = ", ".join(told.verdicts) or "not judged"
            measures = {_COLUMNS[k]: _cell(told[k]) if told and k in told else "" for k in shown}
            taken = "" if entry.seconds is None else _time(entry.seconds)
            memory = "" if entry.memory is None else f"{entry.memory:.0f} MiB"
            rows.append(
                {
                    "method": entry.name,
                    "verdicts": verdicts,
                    **measures,
                    "time": taken,
                    "memory": memory,
                }
            )
        return rows

    def notes(self) -> list[str]:
        """What must be known to read the table."""
        found = [f"{entry.name}: {entry.note}" for entry in self.entries if entry.note]
        reports = list(self.reports.values())
        if not reports:
            return found
        first = next((one for one in reports if "css_raw" in one), None)
        if first is not None and first["css_raw"].value is not None:
            raw, blur = (_text(first[key]) for key in ("css_raw", "css_blur"))
            found.append(
                f"CSS is highest for an image of nothing; that of the raw frames is {raw}, that of the best linear "
                f"filter {blur}."
            )
        if any("frc_half" in one and one["frc_half"].value is not None for one in reports):
            found.append(
                "FRC is the resolution of each half of the frames, denoised by itself, against the other half as "
                f"recorded; that of the raw halves is {_text(first['frc_raw'])}."
            )
        found += self._remarks()
        found += self._note
        found.append(
            "Time is wall time with all that a method learns from the series; memory is by how much that of the "
            "process rose at most, looked at 100 times a second."
        )
        return found

    def _remarks(self) -> list[str]:
        """Why there are cells without a number, and what must be known of uPSNR; each once."""
        cells: dict[tuple[str, str], list[str]] = {}
        for name, report in self.reports.items():
            for key, column in _COLUMNS.items():
                if key in report and report[key].remark:
                    if report[key].value is None or key == "upsnr":
                        cells.setdefault((report[key].remark, column), []).append(name)
        columns: dict[tuple[str, str], list[str]] = {}
        for (remark, column), names in cells.items():
            whose = "" if len(names) == len(self.reports) else f" ({', '.join(names)})"
            columns.setdefault((remark, whose), []).append(column)
        return [f"{', '.join(them)}{whose}: {text}" for (text, whose), them in columns.items()]

    def __repr__(self) -> str:
        rows = self.table()
        lines = [f"Comparison of {len(self)} methods, the best first"]
        if rows:
            names = list(rows[0])
            # What a failure has to say would make its column too wide: it comes below.
            cells = [[_short(row[name]) for name in names] for row in rows]
            widths = [max(map(len, column)) for column in zip(names, *cells)]
            lines += [
                "  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip()
                for row in (names, *cells)
            ]
            lines += [f"{entry.name}: {entry.problem}" for entry in self.entries if entry.problem]
        return "\n".join([*lines, *self.notes()])

    def _repr_html_(self) -> str:
        rows = self.table()
        if not rows:
            return f"<p>{html.escape(repr(self))}</p>"
        head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row.values()) + "</tr>"
            for row in rows
        )
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes())
        return (
            f"<style>{_STYLE}</style><div class='n2a-comparison'>"
            f"<p><b>Comparison</b> of {len(self)} methods, the best first</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><ul>{notes}</ul></div>"
        )

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Everything but the images, by method, in JSON-compatible values."""
        return {
            entry.name: {
                "method": entry.method,
                "seconds": entry.seconds,
                "memory_MiB": entry.memory,
                "problem": entry.problem,
                "note": entry.note,
                "report": None if entry.report is None else entry.report.to_dict(),
            }
            for entry in self.entries
        }

    def to_dataframe(self) -> pd.DataFrame:
        """Numbers of all lines of the reports as a pandas DataFrame, a row for each method.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "'to_dataframe' needs pandas: pip install pandas. The same numbers are in 'to_dict()'."
            ) from error
        rows = {}
        for entry in self.entries:
            lines = entry.report.lines if entry.report else ()
            rows[entry.name] = {
                "verdicts": ", ".join(entry.report.verdicts) if entry.report else "",
                **{line.key: math.nan if line.value is None else line.value for line in lines},
                "seconds": entry.seconds,
                "memory_MiB": entry.memory,
                "problem": entry.problem,
            }
        return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("method")

    # Figure

    def plot(
        self,
        frame: int | None = None,
        zoom: float | Sequence[float] | None = 0.3,
        figure: Figure | None = None,
    ) -> Figure:
        """One frame of the raw series, of each result and of the truth, with the same part of each enlarged.

        All have one grey scale, that of the best result, or of the truth where it is given. The truth, and results of
        `denoise` without background, are shown with the factor and the offset that fit the raw frame.

        Parameters
        ----------
        frame
            Number of the frame. Default: the middle one.
        zoom
            The part that is enlarged: its edge as a fraction of the frame's, around what is brightest; or left, top,
            right and bottom in units of the axes, as of a `hyperspy.api.roi.RectangularROI`. None: no enlargement.
        figure
            Draw into this empty figure. Default: a new figure of pyplot.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ValueError
            If there is no result, no such frame, or the zoom is out of range.

        Examples
        --------
        >>> import n2a
        >>> from matplotlib.figure import Figure
        >>> noisy = n2a.acquire(n2a.simulate(structure="2d", frames=4, seed=1), dose=20, seed=1)
        >>> comparison = n2a.compare(noisy, ["gaussian"], rerun=False, show_progressbar=False)
        >>> figure = comparison.plot(zoom=0.25, figure=Figure())
        >>> [axes.get_title() for axes in figure.axes][:2]
        ['raw', 'gaussian']
        """
        from n2a.comparison_view import draw, enlarged, fitted

        shown = [("raw", self.raw)]
        shown += [(one.name, one.signal) for one in self.entries if one.signal is not None]
        if len(shown) == 1:
            raise ValueError("There is nothing to plot: no method gave a result.")
        if self.truth is not None:
            shown.append(("truth", self.truth))
        raw = self._frame(self.raw, frame)
        pictures = []
        for name, signal in shown:
            picture = self._frame(signal, frame)
            without = signal.metadata.get_item("n2a.denoising.background", True) is False
            if signal is self.truth or without:
                picture = fitted(picture, raw)
            pictures.append((name, picture))
        best = pictures[1 if self.truth is None else -1][1]
        axes = signals.image_axes(self.raw)
        region = None if zoom is None else enlarged(zoom, best, axes)
        return draw(pictures, best, region, *axes[1][1:], figure)

    def _frame(self, signal: BaseSignal, frame: int | None) -> np.ndarray:
        axis = signals.resolve_time_axis(signal, self._time_axis)
        frames = signals.stack_frames(signal, axis)
        n = len(frames)
        if frame is None:
            frame = n // 2
        if not -n <= frame < n:
            raise ValueError(f"'frame' is {frame!r}; the series has frames 0 to {n - 1}.")
        return np.asarray(frames[frame], np.float64)


def compare(
    signal: BaseSignal,
    methods: Method | Sequence[Method] | Mapping[str, Method] = ("gaussian", "svd", "n2a"),
    truth: BaseSignal | ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    rerun: bool = True,
    max_time: float = 600.0,
    time_axis="auto",
    seed: int = 0,
    show_progressbar: bool | None = None,
    watch: Callable[[Entry], bool | None] | None = None,
) -> Comparison:
    """Denoise one series by several methods, and judge all of them alike.

    Parameters
    ----------
    signal
        An image or a series of images, as recorded. A lazy one is read into memory.
    methods
        One or several of:

        - names: "temporal_mean", "gaussian", "gaussian_spacetime", "total_variation", "nonlocal_means", "wavelet",
          "bm3d", "svd", "svd_patches", "pgure_svt", "noise2noise", "noise2void", "structured_noise2void",
          "noise2self", with parameters that are found in the series; "n2a", the weights in the box; "n2a-trained",
          :func:`n2a.train` on this series first; "n2a-paper", the authors' configuration trained on it;
        - a `Noise2Atom` model or the path of one;
        - a function of your own, from frames (n, y, x), float32, to frames, or from a signal to a signal;
        - a finished signal, of the shape of `signal`.

        A mapping gives them names.
    truth
        The scene, where it is known, of the shape of `signal`.
    names
        Names for the table, one for each method. Default: those given, or of the function, signal or model.
    rerun
        Whether the reports may run each method again on parts of the data: halves, and frames with a little more
        noise, which is what resolution (FRC) and error are told from. It takes each method's time some five times
        more, without what it learns from the series, which is done once: parameters and networks are kept. False: what
        cannot be told without stays open, but for the weights in the box, which the report knows and runs by itself.
    max_time
        Budget in seconds of each training of "n2a-trained" and "n2a-paper".
    time_axis
        As in :func:`n2a.denoise`.
    seed
        Of everything random.
    show_progressbar
        Default: HyperSpy's preference.
    watch
        Function that is called with each method's entry as soon as it is judged. If it returns True, the methods after
        it are left out.

    Returns
    -------
    Comparison
        Table and figure, the best first; ``comparison["gaussian"]`` is a signal. A method that fails is a row that
        says why.

    Raises
    ------
    TypeError
        If `signal` is no HyperSpy signal, or a method is none of the above.
    ValueError
        If `signal` is more than one series, a name is unknown or given twice, or a finished signal or `truth` is of
        another shape.

    Notes
    -----
    The strengths of the other methods are those with the least unbiased estimate of the squared error
    (:mod:`n2a.risk`): what a careful user would reach who does not know the truth. All results are judged by
    :func:`n2a.report` against the same raw frames, with the same atom width and noise. NaN in the raw frames are
    filled with the median of the frame for methods that do not know them, and put back.

    Half of the frames are denoised with what was learnt from all of them, so that FRC flatters networks; the
    likelihood of the atoms, and each half against the other raw half, do not.

    Memory is that of the whole process, which keeps some of what earlier methods have used: take small numbers as
    lower bounds.

    Examples
    --------
    >>> import n2a
    >>> from scipy.ndimage import median_filter
    >>> noisy = n2a.acquire(n2a.simulate(structure="2d", frames=8, seed=1), dose=20, seed=1)
    >>> def median(frames):
    ...     return median_filter(frames, (1, 3, 3))
    >>> comparison = n2a.compare(noisy, ["n2a", median], show_progressbar=False)
    >>> list(comparison), comparison.entry("n2a").report.verdicts
    (['n2a', 'median'], ['fine'])
    """
    signals.check_images(signal)
    axis = signals.resolve_time_axis(signal, time_axis)
    given = signals.stack_frames(signal, axis)
    if given.ndim > 3:
        raise ValueError(
            f"{signal!r} holds more than one series; 'compare' takes one. Choose one with signal.inav, or name the "
            "axis along which frames follow each other as 'time_axis'."
        )
    if signals.is_lazy(signal):
        signal = signals.with_data(signal, signals.compute(signal.data, show_progressbar))
    truth = check_truth(truth, signal)
    for name, value in (("max_time", max_time),):
        signals.check_positive(name, value)
    chosen = choose_methods(methods, names, signal)
    bench = Bench(signal, time_axis, seed, max_time, show_progressbar)
    entries = []
    with tqdm(
        total=len(chosen), unit="method", disable=not signals.wants_progress(show_progressbar)
    ) as progress:
        for name, method in chosen.items():
            progress.set_postfix_str(name)
            entry = bench.run(name, method)
            if entry.signal is not None:
                bench.judge(entry, truth, rerun)
            entries.append(entry)
            progress.update()
            if watch is not None and watch(entry) is True:
                break
    return Comparison(signal, entries, truth, time_axis)


def _ranked(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """The best first, and what must be said of the order."""
    order, notes = [], []
    for _, group in itertools.groupby(
        sorted(entries, key=lambda e: e.sort_key), lambda e: e.sort_key[:2]
    ):
        alike = list(group)
        split, unseen = (
            [e.report and getattr(e.report, name) for e in alike]
            for name in ("split_error", "unseen_error")
        )
        # Motion counts in the one and not in the other.
        if None in split and any(one is not None for one in split) and None not in unseen:
            alike.sort(key=lambda e: e.report.unseen_error)
            names = ", ".join(entry.name for entry in alike)
            notes.append(
                f"Order of {names}: by the error against frames that they have not seen, the only one that is known "
                "of all of them. Motion adds to it; uPSNR is told without motion where it can be."
            )
        order += alike
    return order, notes


def _cell(line: Line) -> str:
    """As :func:`_text`, with what is known of the side on which the true value lies."""
    bounds = {"pessimistic": "≥ ", "optimistic": "≤ "}
    side = next((sign for word, sign in bounds.items() if word in line.remark), "")
    return side + _text(line) if line.key == "upsnr" and line.value is not None else _text(line)


def _text(line: Line) -> str:
    """The value of a line of a report, with its unit and, in dB, its error."""
    if line.value is None:
        return "-"
    if line.unit == "dB":
        places = 1 if line.error is None or line.error >= 0.05 else 2
        error = "" if line.error is None else f" ± {line.error:.{places}f}"
        return f"{line.value:.{places}f}{error} dB"
    unit = f" {line.unit}" if line.unit in ("nm", "pm", "px") else ""
    return f"{line.value:.3g}{unit}"


def _short(text: str) -> str:
    return "no result" if text.startswith("no result") else text


def _time(seconds: float) -> str:
    if seconds < 0.01:
        return "< 0.01 s"
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)
