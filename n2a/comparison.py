# SPDX-License-Identifier: GPL-3.0-or-later
"""compare(): several denoisers on one series, each with the same report, its time and its memory."""

from __future__ import annotations

import gc
import html
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from n2a import signals

if TYPE_CHECKING:
    import pandas as pd
    from hyperspy.api.signals import BaseSignal
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from n2a.lines import Line
    from n2a.model import Noise2Atom
    from n2a.reporting import Report

    Method = str | os.PathLike | Noise2Atom | BaseSignal | Callable

_logger = logging.getLogger(__name__)

#: Methods of this package: the weights in the box, after training on the series, and the authors' configuration.
OWN = ("n2a", "n2a-trained", "n2a-paper")
_SAMPLING = 0.01  # s between two looks at the memory
# Lines of the reports that the table shows, with short names; all of them are in `to_dict`.
_COLUMNS = {
    "css": "CSS",
    "upsnr": "uPSNR",
    "frc": "FRC",
    "supported": "atoms supported",
    "contradicted": "contradicted",
    "linearity": "not linear by",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "f1": "F1",
    "position_error": "position error",
}


@dataclass
class Entry:
    """One method of a comparison.

    Attributes
    ----------
    name
        In the table and the figure.
    method
        What it was, in words.
    signal
        The result: total intensity, float32, calibrated as the raw series; None where the method failed.
    report
        From :func:`n2a.report`; None where the method failed.
    seconds
        Wall time of the method, with all that it finds out or learns from the series; None for finished signals.
    memory
        MiB by which the memory of the process rose at most meanwhile; None where it could not be told.
    problem
        Why there is no result; empty where there is one.
    note
        What else must be said.
    """

    name: str
    method: str
    signal: BaseSignal | None = None
    report: Report | None = None
    seconds: float | None = None
    memory: float | None = None
    problem: str = ""
    note: str = ""
    _again: Any = field(default=None, repr=False)

    @property
    def sort_key(self) -> tuple:
        """The better, the lower; failures come last."""
        return (self.report is None, *(self.report.sort_key if self.report else ()))


class Comparison(Mapping):
    """What :func:`n2a.compare` found, the best first.

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
        self.entries = sorted(entries, key=lambda entry: entry.sort_key)
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
            measures = {_COLUMNS[k]: _text(told[k]) if told and k in told else "" for k in shown}
            taken = "" if entry.seconds is None else _duration(entry.seconds)
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
        for report in self.reports.values():
            if "css_raw" in report:
                raw, blur = (_text(report[key]) for key in ("css_raw", "css_blur"))
                found.append(
                    f"CSS is highest for an image of nothing; that of the raw frames is {raw}, that of the best linear "
                    f"filter {blur}."
                )
                break
        if self.reports:
            found.append(
                "Time is wall time with all that a method learns from the series; memory is by how much that of the "
                "process rose at most, looked at 100 times a second."
            )
        return found

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
            f"<p><b>Comparison</b> of {len(self)} methods, the best first</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><ul>{notes}</ul>"
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
        >>> comparison = n2a.compare(noisy, ["gaussian"], show_progressbar=False)
        >>> figure = comparison.plot(zoom=0.25, figure=Figure())
        >>> [axes.get_title() for axes in figure.axes][:2]
        ['raw', 'gaussian']
        """
        from matplotlib.patches import Rectangle

        from n2a.overlay import show_image

        pictures = [("raw", self.raw)]
        pictures += [(one.name, one.signal) for one in self.entries if one.signal is not None]
        if len(pictures) == 1:
            raise ValueError("There is nothing to plot: no method gave a result.")
        if self.truth is not None:
            pictures.append(("truth", self.truth))
        raw = self._frame(self.raw, frame)
        images = []
        for name, signal in pictures:
            image = self._frame(signal, frame)
            # Atoms on nothing have another grey scale.
            if (
                name == "truth"
                or signal.metadata.get_item("n2a.denoising.background", True) is False
            ):
                image = _fitted(image, raw)
            images.append((name, image))
        shape = raw.shape
        best = images[1 if self.truth is None else -1][1]
        low, high = np.nanpercentile(best, (0.5, 99.9))
        box = None if zoom is None else self._box(zoom, best)
        columns = min(4, len(images))
        deep = 1 if box is None else 2
        rows = -(-len(images) // columns)
        if figure is None:
            import matplotlib.pyplot as plt

            figure = plt.figure(
                figsize=(2.6 * columns, rows * deep * (2.6 * shape[0] / shape[1] + 0.2) + 0.3),
                layout="constrained",
            )
        axes = figure.subplots(rows * deep, columns, squeeze=False)
        (_, step, units), _ = signals.image_axes(self.raw)[::-1]
        for one in axes.flat:
            one.set_axis_off()
        for number, (name, image) in enumerate(images):
            row, column = divmod(number, columns)
            regions = [None] if box is None else [None, box]
            for below, region in enumerate(regions):
                panel = axes[row * deep + below, column]
                show_image(panel, image, step, units, region)
                panel.images[0].set_clim(low, max(high, low + 1e-12))
            whole = axes[row * deep, column]
            whole.set_title(name, fontsize=9)
            if box is not None:
                left, right, top, bottom = box
                frame = Rectangle((left - 0.5, top - 0.5), right - left, bottom - top)
                frame.set(fill=False, edgecolor="#E69F00", linewidth=1)
                whole.add_patch(frame)
        return figure

    def _frame(self, signal: BaseSignal, frame: int | None) -> np.ndarray:
        axis = signals.resolve_time_axis(signal, self._time_axis)
        frames = signals.stack_frames(signal, axis)
        n = len(frames)
        if frame is None:
            frame = n // 2
        if not -n <= frame < n:
            raise ValueError(f"'frame' is {frame!r}; the series has frames 0 to {n - 1}.")
        return np.asarray(frames[frame], np.float64)

    def _box(self, zoom, image: np.ndarray) -> tuple[int, int, int, int]:
        """Left, right, top and bottom of the enlarged part, px."""
        height, width = image.shape
        if np.ndim(zoom) == 0 and not hasattr(zoom, "left"):
            if not 0 < zoom <= 1:
                raise ValueError(
                    f"'zoom' is {zoom!r}; expected a fraction of the frame's edge, above 0 and up to 1; left, top, "
                    "right and bottom in units of the axes; or None."
                )
            from scipy.ndimage import uniform_filter

            edge = max(8, round(zoom * min(height, width)))
            edge = min(edge, height, width)
            bright = uniform_filter(np.nan_to_num(image), edge, mode="nearest")
            inner = bright[
                edge // 2 : height - (edge - 1) // 2, edge // 2 : width - (edge - 1) // 2
            ]
            top, left = np.unravel_index(np.argmax(inner), inner.shape)
            return int(left), int(left) + edge, int(top), int(top) + edge
        if hasattr(zoom, "left"):  # a region of interest of HyperSpy
            zoom = (zoom.left, zoom.top, zoom.right, zoom.bottom)
        if len(zoom) != 4:
            raise ValueError(f"'zoom' is {zoom!r}; expected left, top, right and bottom.")
        (y0, dy, _), (x0, dx, _) = signals.image_axes(self.raw)
        left, right = sorted(round((value - x0) / dx) for value in (zoom[0], zoom[2]))
        top, bottom = sorted(round((value - y0) / dy) for value in (zoom[1], zoom[3]))
        top, left = max(top, 0), max(left, 0)
        bottom, right = min(bottom, height), min(right, width)
        if bottom - top < 2 or right - left < 2:
            raise ValueError(
                f"'zoom' is {zoom!r}, which leaves nothing of the frame; expected left, top, right and bottom in units "
                "of the axes."
            )
        return left, right, top, bottom


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
        cannot be told without stays open.
    max_time
        Budget in seconds of each training of "n2a-trained" and "n2a-paper".
    time_axis
        As in :func:`n2a.denoise`.
    seed
        Of everything random.
    show_progressbar
        Default: HyperSpy's preference.

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
    truth = _check_truth(truth, signal)
    for name, value in (("max_time", max_time),):
        signals.check_positive(name, value)
    chosen = _choose(methods, names, signal)
    bench = _Bench(signal, time_axis, seed, max_time, show_progressbar)
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
    return Comparison(signal, entries, truth, time_axis)


class _Bench:
    """Runs methods on one series."""

    def __init__(self, signal, time_axis, seed, max_time, show_progressbar):
        self.signal, self.time_axis, self.seed = signal, time_axis, seed
        self.max_time, self.show_progressbar = max_time, show_progressbar
        self.axis = signals.resolve_time_axis(signal, time_axis)
        frames = np.asarray(signals.stack_frames(signal, self.axis))
        self.frames, self.holes = _fill(frames.astype(np.float32).reshape(-1, *frames.shape[-2:]))

    def run(self, name: str, method: Method) -> Entry:
        """The result of a method with its time and memory, or its problem."""
        entry = Entry(name, _describe(method))
        if hasattr(method, "axes_manager"):
            entry.signal = method
            return entry
        watch = _Watch()
        try:
            with watch:
                result = self._denoise(entry, method)
            entry.seconds, entry.memory = watch.seconds, watch.memory
            entry.signal = self._as_signal(entry, result)
        except Exception as error:  # whatever it is: the other methods go on
            _logger.debug("%s failed", name, exc_info=True)
            entry.problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return entry

    def judge(self, entry: Entry, truth, rerun: bool) -> None:
        from n2a.reporting import report

        try:
            entry.report = report(
                self.signal,
                entry.signal,
                model=entry._again if rerun else None,
                truth=truth,
                time_axis=self.time_axis,
            )
        except Exception as error:
            # The method may fail on a part of the data: then without it.
            if not rerun or entry._again is None:
                raise
            _logger.debug("%s failed again", entry.name, exc_info=True)
            entry.note = (
                f"{entry.note + '; ' if entry.note else ''}it could not be run on parts of the data "
                f"({' '.join(str(error).split())})"
            )
            entry.report = report(self.signal, entry.signal, truth=truth, time_axis=self.time_axis)
        finally:
            entry._again = None

    def _denoise(self, entry: Entry, method: Method):
        """Frames or a signal; what can do it again is left in the entry."""
        from n2a.methods import find_method, prepare
        from n2a.model import Noise2Atom, get_model

        if isinstance(method, str) and method in OWN:
            method = self._own_model(entry, method)
        elif isinstance(method, str) and not os.path.exists(method):
            method = prepare(find_method(method), self.frames, self.seed)
        elif isinstance(method, (str, os.PathLike)):
            method = get_model(method)
        if isinstance(method, Noise2Atom):
            from n2a.denoising import denoise

            entry._again = method
            return denoise(
                self.signal, method, background=True, time_axis=self.time_axis,
                lazy_output=False, show_progressbar=False,
            )  # fmt: skip
        entry._again, result = self._call(method)
        return result

    def _own_model(self, entry: Entry, name: str) -> Noise2Atom:
        from n2a.model import get_model
        from n2a.training import train

        if name == "n2a":
            return get_model()
        paper = name == "n2a-paper"
        model = train(
            self.signal, preset="paper" if paper else "fast", max_time=self.max_time, seed=self.seed,
            time_axis=self.time_axis, keep=paper, show_progressbar=self.show_progressbar,
        )  # fmt: skip
        kept = "" if paper or model.verdict in ("better", "not judged") else ", the box is kept"
        entry.note = f"trained for {_duration(self.max_time)}: {model.verdict}{kept}"
        return model

    def _call(self, method: Callable):
        """The function as one of frames, and what it gives; of frames first, then of a signal."""
        try:
            return method, _plain(method(self.frames.copy()))
        except (TypeError, AttributeError) as error:

            def on_signal(frames: np.ndarray) -> np.ndarray:
                return _plain(method(self._wrapped(frames)))

            try:
                return on_signal, on_signal(self.frames)
            except Exception as second:
                raise error from second

    def _wrapped(self, frames: np.ndarray) -> BaseSignal:
        """Frames (n, y, x), of all or of a part of the series, as a signal with its axes."""
        part = self.signal.isig[: frames.shape[2], : frames.shape[1]]
        if part.axes_manager.navigation_dimension:
            part = part.inav[: len(frames)]
        return signals.with_data(part, self._unstacked(frames, part))

    def _unstacked(self, frames: np.ndarray, signal: BaseSignal) -> np.ndarray:
        """Frames (n, y, x) in the order of the data of a signal."""
        data = np.empty(signal.data.shape, frames.dtype)
        axis = signals.resolve_time_axis(signal, self.time_axis)
        signals.stack_frames(signal, axis, data)[...] = frames
        return data

    def _as_signal(self, entry: Entry, result) -> BaseSignal:
        if not hasattr(result, "axes_manager"):
            frames = np.asarray(result)
            if frames.shape != self.frames.shape:
                raise ValueError(
                    f"it gave an array of shape {frames.shape} for frames of shape {self.frames.shape}"
                )
            if frames.dtype.kind not in "uif":
                raise ValueError(f"it gave data of type {frames.dtype}, not real numbers")
            frames = frames.astype(np.float32)
            if not np.isfinite(frames).all():
                raise ValueError("it gave NaN or infinite pixels")
            if self.holes is not None:
                frames[self.holes] = np.nan
            result = signals.with_data(self.signal, self._unstacked(frames, self.signal))
        title = self.signal.metadata.General.get_item("title", "")
        result.metadata.General.title = f"{entry.name} of {title}" if title else entry.name
        values = {"method": entry.name, "seconds": entry.seconds}
        signals.record(result, "comparison", values)
        return result


class _Watch:
    """Wall time, and by how much the resident memory of the process rises at most."""

    def __enter__(self):
        gc.collect()
        self._before = self._highest = _resident()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self._start
        self._end.set()
        self._thread.join()
        self.memory = None
        if self._before is not None:
            last = _resident()
            self.memory = (max(self._highest, last) - self._before) / 2**20

    def _look(self):
        while self._before is not None and not self._end.wait(_SAMPLING):
            self._highest = max(self._highest, _resident())


def _resident() -> int | None:
    """Bytes of memory that the process holds; None where nothing tells."""
    try:
        import psutil

        return psutil.Process().memory_info().rss
    except ImportError:
        pass
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def _choose(methods, names, signal) -> dict[str, Method]:
    """Methods by name, checked as far as they can be before anything is run."""
    if isinstance(methods, Mapping):
        if names is not None:
            raise ValueError("'names' go with a list of methods; a mapping has names already.")
        pairs = list(methods.items())
    else:
        if isinstance(methods, str) or not isinstance(methods, Sequence):
            methods = [methods]
        if names is not None and len(names) != len(methods):
            raise ValueError(f"'names' has {len(names)} entries for {len(methods)} methods.")
        pairs = list(zip(names or [None] * len(methods), methods))
    if not pairs:
        raise ValueError("'methods' is empty; expected at least one, for example 'gaussian'.")
    chosen: dict[str, Method] = {}
    for number, (name, method) in enumerate(pairs):
        method = _check_method(method, number, signal)
        if name is None:
            name = base = _usual_name(method)
            count = 1
            while name in chosen:
                count += 1
                name = f"{base} ({count})"
        if name in chosen:
            raise ValueError(f"'names': {name!r} is given twice; expected names that differ.")
        chosen[str(name)] = method
    return chosen


def _check_method(method, number: int, signal) -> Method:
    from n2a.methods import METHODS, find_method

    if isinstance(method, str):
        plain = method.strip().lower().replace("_", "-").replace(" ", "-")
        if plain in OWN:
            return plain
        if os.path.exists(method):
            return method
        try:
            return find_method(method)
        except ValueError:
            raise ValueError(
                f"'methods': there is no method {method!r}, and no file of that name; expected one of "
                f"{', '.join((*OWN, *METHODS))}, the path of a model, a model, a function or a signal."
            ) from None
    if hasattr(method, "axes_manager"):
        signals.check_images(method)
        if not signals.same_layout(method, signal):
            raise ValueError(
                f"'methods': {method!r} is not of the shape of the series, {signal!r}; expected a result for the same "
                "frames and the same region."
            )
        return method
    if isinstance(method, os.PathLike) or callable(method) or hasattr(method, "generator"):
        return method
    raise TypeError(
        f"'methods': number {number} is of type {type(method).__name__}; expected a name, a model, the path of a "
        "model, a function or a signal."
    )


def _usual_name(method) -> str:
    if isinstance(method, str):
        return method if method in OWN or not os.path.exists(method) else os.path.basename(method)
    if isinstance(method, os.PathLike):
        return os.path.basename(os.fspath(method))
    if hasattr(method, "axes_manager"):
        return method.metadata.General.get_item("title", "") or "signal"
    if hasattr(method, "generator"):
        return method.name
    return getattr(method, "__name__", type(method).__name__)


def _describe(method) -> str:
    if isinstance(method, (str, os.PathLike)):
        return os.fspath(method)
    if hasattr(method, "axes_manager"):
        return "finished signal"
    return repr(method) if hasattr(method, "generator") else f"function {_usual_name(method)}"


def _check_truth(truth, signal):
    """The truth as a signal of the shape of the series, or None."""
    if truth is None:
        return None
    if hasattr(truth, "axes_manager"):
        signals.check_images(truth)
        if not signals.same_layout(truth, signal):
            raise ValueError(f"'truth' is {truth!r}; expected the shape of the series, {signal!r}.")
        return truth
    truth = np.asarray(truth)
    if truth.shape != signal.data.shape or truth.dtype.kind not in "uif":
        raise ValueError(
            f"'truth' has shape {truth.shape} and dtype '{truth.dtype}'; expected real numbers of the shape of the "
            f"series, {signal.data.shape}."
        )
    return signals.with_data(signal, truth)


def _plain(result) -> np.ndarray:
    """What a function gave, as an array."""
    data = result.data if hasattr(result, "axes_manager") else result
    return np.asarray(data.compute() if hasattr(data, "compute") else data)


def _fill(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Frames with the median of each in the place of what was not measured, and where that is; None for nowhere."""
    holes = ~np.isfinite(frames)
    if not holes.any():
        return frames, None
    filled = frames.copy()
    for frame, missing in zip(filled, holes):
        frame[missing] = np.median(frame[~missing]) if not missing.all() else 0
    return filled, holes


def _text(line: Line) -> str:
    """The value of a line of a report, with its unit and, in dB, its error."""
    if line.value is None:
        return "-"
    error = f" ± {line.error:.1g}" if line.error is not None and line.unit == "dB" else ""
    unit = f" {line.unit}" if line.unit in ("dB", "nm", "pm", "px") else ""
    return f"{line.value:.3g}{error}{unit}"


def _fitted(image: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """The image with the factor and the offset that fit a raw frame."""
    seen = np.isfinite(image) & np.isfinite(raw)
    clear, noisy = image[seen], raw[seen]
    variance = np.var(clear)
    slope = np.mean((clear - clear.mean()) * (noisy - noisy.mean())) / variance if variance else 0.0
    return slope * (image - clear.mean()) + noisy.mean()


def _short(text: str) -> str:
    return "no result" if text.startswith("no result") else text


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min"
