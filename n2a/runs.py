# SPDX-License-Identifier: GPL-3.0-or-later
"""Running denoisers of all kinds on one series, with their time and memory: the engine of compare()."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from n2a import signals
from n2a.history import duration

if TYPE_CHECKING:
    from hyperspy.api.signals import BaseSignal

    from n2a.model import Noise2Atom
    from n2a.reporting import Report

    Method = str | os.PathLike | Noise2Atom | BaseSignal | Callable

_logger = logging.getLogger(__name__)

#: Methods of this package: the weights in the box, after training on the series, and the authors' configuration.
OWN = ("n2a", "n2a-trained", "n2a-paper")
_SAMPLING = 0.01  # s between two looks at the memory


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


class Bench:
    """Runs methods on one series."""

    def __init__(self, signal, time_axis, seed, max_time, show_progressbar):
        import n2a.predictor  # noqa: F401, PyTorch's own start is not the first method's time

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
        """Put the report into the entry."""
        from n2a.reporting import report

        again, entry._again = entry._again, None
        known = {"truth": truth, "time_axis": self.time_axis}
        entry.report = report(self.signal, entry.signal, model=again if rerun else None, **known)
        if rerun and again is not None and not entry.report.verdicts:
            # The method may fail on a part of the data: then without it.
            reason = " ".join(entry.report.messages)
            entry.report = report(self.signal, entry.signal, **known)
            if entry.report.verdicts:
                note = f"it could not be run on parts of the data ({' '.join(reason.split())})"
                entry.note = f"{entry.note}; {note}" if entry.note else note

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
        entry.note = f"trained for {duration(self.max_time)}: {model.verdict}{kept}"
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


def choose_methods(methods, names, signal) -> dict[str, Method]:
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


def check_truth(truth, signal):
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
