# SPDX-License-Identifier: GPL-3.0-or-later
"""report(): may a denoised series be believed? The door for signals, and the report itself."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from n2a import signals
from n2a.cropping import middle_part
from n2a.judging import Case, Findings, Unsuitable, judge
from n2a.lines import FINE, GRAVE, Line
from n2a.views import UNSEEN

if TYPE_CHECKING:
    import os

    from hyperspy.api.signals import BaseSignal
    from matplotlib.figure import Figure

    from n2a.atoms import AtomMap
    from n2a.model import Noise2Atom

    Method = Noise2Atom | str | os.PathLike | Callable[[np.ndarray], np.ndarray] | None

PIXELS = 1e7  # that are judged
EDGE = 512  # of the part of large frames that is judged
RUN = 18  # frames in a row: what looks at five on each side sees as much as in the series for eight of them
_MATCH = 0.02  # of the result: what the ends of a run and the edges of a crop change


class Report:
    """What :func:`n2a.report` found.

    ``report["upsnr"]`` is a line, and iterating gives all of them.

    Attributes
    ----------
    verdicts
        What is wrong, in short: "over-smoothed", "structure removed", "atoms without support in the counts",
        "intensities not linear", "noise left"; or "fine", alone. Empty when nothing could be judged.
    lines
        The measures, with their errors, judgements and blind spots.
    messages
        What the reader must know of the data.
    frames
        What was judged.

    Examples
    --------
    >>> import n2a
    >>> noisy = n2a.acquire(n2a.simulate(structure="2d", frames=8, seed=1), dose=20, seed=1)
    >>> report = n2a.report(noisy, n2a.denoise(noisy, show_progressbar=False))
    >>> report.verdicts
    ['fine']
    >>> report["css"].value > report["css_raw"].value
    True
    """

    def __init__(
        self,
        findings: Findings | None,
        frames: str,
        messages: list[str],
        title: str = "",
        pair: tuple | None = None,
    ):
        self.verdicts: list[str] = [] if findings is None else findings.verdicts
        self.lines: tuple[Line, ...] = () if findings is None else tuple(findings.lines)
        self.messages = messages
        self.frames = frames
        self.title = title
        self._findings = findings
        self._pair = pair

    def __getitem__(self, key: str) -> Line:
        for line in self.lines:
            if line.key == key:
                return line
        known = ", ".join(repr(line.key) for line in self.lines) or "no lines"
        raise KeyError(f"{key!r}: the report has {known}")

    def __contains__(self, key: str) -> bool:
        return any(line.key == key for line in self.lines)

    def __iter__(self):
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def sort_key(self) -> tuple[float, float]:
        """Ranks results of the same frames, the lower the better: by the gravest fault, then by the error.

        Fine results come first; then those with faults; then those in which structure is missing or atoms are
        invented; then what could not be judged.
        """
        if self._findings is None:
            return math.inf, math.inf
        gravest = 0 if self.verdicts == [FINE] else 2 if set(GRAVE) & set(self.verdicts) else 1
        return gravest, self._findings.error

    @property
    def split_error(self) -> float | None:
        """Mean squared error by noise that was added, whatever moves; None without the method."""
        return self._findings and self._findings.split_error

    @property
    def unseen_error(self) -> float | None:
        """Mean squared error against frames that the result has not seen, which counts motion; None without those."""
        return self._findings and self._findings.unseen_error

    @cached_property
    def atoms(self) -> AtomMap | None:
        """Atoms of the whole result, from :func:`n2a.atom_map` when it is asked for; None where nothing was judged."""
        if self._pair is None:
            return None
        from n2a.atoms import atom_map

        denoised, raw = self._pair
        if hasattr(denoised, "axes_manager") != hasattr(raw, "axes_manager"):
            denoised, raw = (getattr(each, "data", each) for each in (denoised, raw))
        return atom_map(denoised, raw, show_progressbar=False)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures, in JSON-compatible values; None where a number is missing."""
        return {
            "title": self.title,
            "frames": self.frames,
            "verdicts": list(self.verdicts),
            "messages": list(self.messages),
            "lines": [
                {
                    name: None if isinstance(value, float) and not math.isfinite(value) else value
                    for name, value in line._asdict().items()
                }
                for line in self.lines
            ],
        }

    def summary(self) -> dict[str, str]:
        """Values of the lines with their errors and units, as text by the key of the line.

        Examples
        --------
        >>> from n2a.reporting import Report
        >>> Report(None, "", []).summary()
        {}
        """
        from n2a.report_view import value_text

        return {line.key: value_text(line) for line in self.lines}

    def __repr__(self) -> str:
        from n2a.report_view import to_text

        return to_text(self)

    def _repr_html_(self) -> str:
        from n2a.report_view import to_html

        return to_html(self)

    def plot(self, figure: Figure | None = None) -> Figure:
        """One figure: a frame before and after, what was taken away, and the curves behind the lines.

        Parameters
        ----------
        figure
            Draw into this empty figure. Default: a new figure of pyplot.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from n2a.report_view import draw

        if not self.lines:
            raise ValueError(f"There is nothing to plot: {' '.join(self.messages)}")
        return draw(self._findings, self.title, figure)


def report(
    raw: BaseSignal | ArrayLike,
    denoised: BaseSignal | ArrayLike,
    model: Method = None,
    truth: BaseSignal | ArrayLike | None = None,
    *,
    time_axis="auto",
) -> Report:
    """Say whether a denoised series may be believed, and why.

    Parameters
    ----------
    raw
        As recorded: a signal, in memory or lazy, or an array (n, y, x) or (y, x), real.
    denoised
        The result for these frames, of the same shape, in their units. With the background or without; without one it
        is put on the slow part of the raw frames.
    model
        The method itself, to be run again on parts of the data: a model, its path, or a function that takes frames
        (n, y, x), float32, and gives their total intensity. Default: the weights in the box, if the result names them
        and they give it; without a method some lines stay open and say so.
    truth
        The scene, where it is known: of the same shape, with or without background.
    time_axis
        Navigation axis along which frames follow each other, as in :func:`n2a.denoise`; for signals only.

    Returns
    -------
    Report
        Readable in a terminal and in Jupyter; ``verdicts`` in short, ``lines``, ``plot()``, ``to_dict()``.

    Raises
    ------
    TypeError
        If `raw` or `denoised` is neither a signal nor an array of real numbers.

    Notes
    -----
    Of a long series runs of 18 frames are judged, spread evenly, about ten million pixels; of larger frames the middle
    of 512 x 512 pixels. What cannot be judged is said in the report: it does not raise. Frames of NaN or of one value
    everywhere do not count, nor do single pixels that are not finite.

    CSS, uPSNR, PSNR and SSIM have one data range, which does not depend on the result: that of the truth, or where it
    is not known from the 0.1 to the 99.9 percentile of the raw frames after the best linear filter.

    Examples
    --------
    >>> import n2a
    >>> noisy = n2a.acquire(n2a.simulate(structure="2d", frames=8, seed=1), dose=20, seed=1)
    >>> from scipy.ndimage import gaussian_filter
    >>> blurred = gaussian_filter(noisy.data.astype(float), (0, 6, 6))
    >>> n2a.report(noisy.data, blurred).verdicts[0]
    'over-smoothed'
    """
    frames, axis, size = open_frames("raw", raw, time_axis)
    title = _title(denoised) or _title(raw)
    try:
        case = _case(raw, denoised, model, truth, frames, axis, size)
        findings = judge(case)
    except Unsuitable as problem:
        return Report(None, "nothing was judged", [str(problem)], title)
    return Report(findings, case.frames, findings.messages, title, (denoised, raw))


def _title(data) -> str:
    return data.metadata.General.get_item("title", "") if hasattr(data, "metadata") else ""


def open_frames(name: str, data, time_axis):
    """Frames (..., n, y, x), the time axis (True for arrays of frames, None for none), the pixel size."""
    if hasattr(data, "axes_manager"):
        signals.check_images(data)
        axis = signals.resolve_time_axis(data, time_axis)
        return signals.stack_frames(data, axis), axis, signals.pixel_size(data)
    array = data if hasattr(data, "dtype") and hasattr(data, "shape") else np.asarray(data)
    if array.dtype.kind not in "uif" or array.ndim not in (2, 3) or 0 in array.shape:
        raise TypeError(
            f"'{name}' has dtype '{array.dtype}' and shape {array.shape}; expected a HyperSpy signal of images, or a "
            "real array (n, y, x) or (y, x)."
        )
    return (array, True, None) if array.ndim == 3 else (array[None], None, None)


def _case(raw, denoised, model, truth, frames, axis, size) -> Case:
    messages: list[str] = []
    given = _like("denoised", denoised, raw, frames, axis, messages)
    if getattr(given, "dtype", np.dtype(float)).kind in "ui":
        messages.append(
            "'denoised' holds whole numbers: rounding adds its own error, 1/12 of a unit squared, and more where the "
            "result was clipped. Denoise with dtype='float32'."
        )
    scene = None if truth is None else _like("truth", truth, raw, frames, axis, messages)
    if min(frames.shape[-2:]) < 16:
        raise Unsuitable(
            f"The frames have {frames.shape[-1]} x {frames.shape[-2]} px; expected at least 16 x 16. Pass a larger "
            "region."
        )
    series = axis is not None and frames.shape[-3] > 1
    if not series:
        messages.append(
            "A single image, or images that are no series: what needs frames that follow each other is left open."
        )
    spans, window, words = judged_spans(frames.shape, series)
    raws, results = ([read_span(a, span, window) for span in spans] for a in (frames, given))
    truths = None if scene is None else [read_span(scene, span, window) for span in spans]
    provenance = denoising_record(denoised)
    method, background = _method(model, provenance, frames, raws, results, series, size, messages)
    sites = None if scene is None else _sites(raw, frames.shape, spans, window)
    return Case(
        raws,
        results,
        truths,
        series,
        size,
        method,
        background,
        [_inner(span, frames.shape[-3]) for span in spans],
        provenance and not provenance.get("background", False),
        None if provenance is None else provenance.get("contrast") == "dark",
        sites,
        words,
        messages,
    )


def _like(name: str, data, raw, frames, axis, messages: list[str]):
    """Frames of the shape of the raw ones; what does not fit is said."""
    if hasattr(data, "axes_manager"):
        signals.check_images(data)
        if hasattr(raw, "axes_manager"):
            if not signals.same_layout(data, raw):
                raise Unsuitable(_other_shape(name, data.data.shape, raw.data.shape))
            if problem := signals.other_calibration(data, raw):
                messages.append(
                    f"'{name}' and 'raw' are calibrated differently ({problem}); that of 'raw' is used. Check that the "
                    "two belong together."
                )
            return signals.stack_frames(raw, axis, data.data)
        data = signals.stack_frames(data)
    stacked, _, _ = open_frames(name, data, None)
    if hasattr(raw, "axes_manager") and stacked.shape[-3:] != frames.shape:
        if np.shape(data) == raw.data.shape:
            return signals.stack_frames(raw, axis, np.asarray(data))
    if stacked.shape != frames.shape:
        raise Unsuitable(_other_shape(name, np.shape(data), np.shape(getattr(raw, "data", raw))))
    return stacked


def _other_shape(name: str, shape, expected) -> str:
    return (
        f"'{name}' has shape {tuple(shape)}; expected that of 'raw', {tuple(expected)}: the result of denoising these "
        "very frames. Select the same frames and the same region of both."
    )


def judged_spans(
    shape: tuple[int, ...], series: bool
) -> tuple[list[tuple], tuple[slice, slice], str]:
    """Which frames are judged, as (other indices, start, stop), the part of each, and both in words."""
    *others, n, height, width = shape
    window = middle_part((height, width), EDGE)
    area = min(height, EDGE) * min(width, EDGE)
    total = n * math.prod(others)
    budget = max(RUN if series else 4, int(PIXELS // area))
    if not series:
        picks = np.unique(np.linspace(0, total - 1, min(total, budget)).round().astype(int))
        places = [np.unravel_index(pick, (*others, n)) for pick in picks]
        spans = [(tuple(place[:-1]), int(place[-1]), int(place[-1]) + 1) for place in places]
    else:
        # Runs of one length each, evenly over all series; the whole of them where that is allowed.
        each = max(1, n // RUN)
        edges = np.linspace(0, n, each + 1).round().astype(int).tolist()
        every = [
            (index, a, b) for index in np.ndindex(*others) for a, b in itertools.pairwise(edges)
        ]
        count = max(1, min(len(every), round(budget / max(b - a for _, a, b in every))))
        picks = ((np.arange(count) + 0.5) / count * len(every)).astype(int)
        spans = [every[pick] for pick in picks]
    judged = sum(b - a for _, a, b in spans)
    words = (
        f"{judged} of {total} frames"
        if judged < total
        else f"all {total} frames"
        if total > 1
        else "the image"
    )
    if series and len(spans) > 1:
        words += f", in {len(spans)} runs"
    if area < height * width:
        middle = f"middle {min(width, EDGE)} x {min(height, EDGE)} px"
        words += f", the {middle} of each" if total > 1 else f", its {middle}"
    return spans, window, words


def read_span(frames, span, window) -> np.ndarray:
    """One run of frames, computed."""
    index, start, stop = span
    part = frames[(*index, slice(start, stop), *window)]
    return np.asarray(part if isinstance(part, np.ndarray) else part.compute())


# The method


def denoising_record(denoised) -> dict | None:
    """What :func:`n2a.denoise` wrote into the metadata of its result; None where there is no such record."""
    if not hasattr(denoised, "metadata"):
        return None
    node = denoised.metadata.get_item("n2a.denoising", None)
    return None if node is None else node.as_dictionary()


def _inner(span: tuple, length: int) -> slice:
    """Frames of a run for which a method sees as much as in the whole series; all, where there are none."""
    _, start, stop = span
    context = UNSEEN[0] - 1
    first = 0 if start == 0 else context
    last = stop - start - (0 if stop == length else context)
    return slice(first, last) if last > first else slice(None)


def _method(model, provenance, frames, raws, results, series, size, messages):
    """Functions from frames to total frames and to their background, or None; what is doubtful is said."""
    if callable(model) and not hasattr(model, "generator"):
        return lambda part: _checked(model, part), None
    predictors = _predictors(model, provenance, frames, series, size)
    if predictors is None:
        return None, None
    bare, full = predictors
    own = full if provenance and provenance.get("background", False) else bare
    away = _difference(own, raws[0], results[0])
    if away > _MATCH and model is None:
        messages.append(
            "The weights in the box do not give this result of these frames, although it names them (difference "
            f"{100 * away:.2g} % of its standard deviation): it was changed afterwards, or was made from other frames. "
            "It is judged without the method; pass 'model' for the lines that need it."
        )
        return None, None
    if away > _MATCH and provenance is not None:
        messages.append(
            f"'model' gives another result of these frames (difference {100 * away:.2g} % of the standard deviation): "
            "lines that need the method judge 'model'."
        )
    sign = -1 if bare.plan.contrast == "dark" else 1
    return (
        lambda part: full(part).astype(np.float64),
        lambda part: full(part).astype(np.float64) - sign * bare(part),
    )


def _predictors(model, provenance, frames, series, size):
    """Atoms alone, and with background, of a model; None where none is known."""
    from n2a.model import get_model
    from n2a.plan import Plan, plan_series
    from n2a.predictor import Predictor

    if model is None:
        if provenance is None or provenance.get("model_digest") != get_model(None).digest:
            return None
        plan = Plan(**{name: provenance[name] for name in Plan.__dataclass_fields__})
        use_time = provenance.get("time_axis") is not None
    else:
        plan = plan_series(signals.sample_frames(frames), pixel_size=size)
        use_time = series
        if provenance is not None:
            plan = Plan(**{name: provenance[name] for name in Plan.__dataclass_fields__})
    return tuple(
        Predictor(model, plan, background=background, use_time=use_time)
        for background in (False, True)
    )


def _difference(method, raw: np.ndarray, result: np.ndarray) -> float:
    """RMS difference of what a method gives, over the standard deviation of the result, away from the ends."""
    count = len(raw)
    start = min(UNSEEN[0] - 1, max(0, (count - 1) // 2))
    own = method(raw)[start : max(start + 1, count - start)]
    there = result[start : max(start + 1, count - start)].astype(np.float64)
    inner = tuple(slice(n // 8, n - n // 8) for n in raw.shape[1:])
    own, there = own[(slice(None), *inner)], there[(slice(None), *inner)]
    known = np.isfinite(own) & np.isfinite(there)
    if not known.any() or not np.ptp(there[known]) > 0:
        return math.inf
    return float(np.sqrt(np.mean((own - there)[known] ** 2)) / there[known].std())


def _checked(method, part: np.ndarray) -> np.ndarray:
    """What a user's function makes of frames, or a clear error."""
    try:
        found = np.asarray(method(part.astype(np.float32)))
    except Exception as error:
        raise Unsuitable(
            f"'model' is a function that failed on frames of shape {part.shape}, float32: {error!r}. Expected total "
            "frames of that shape; or leave 'model' out."
        ) from error
    if found.shape != part.shape or found.dtype.kind not in "uif" or not np.isfinite(found).all():
        raise Unsuitable(
            f"'model' is a function that gave shape {found.shape}, dtype '{found.dtype}' of frames of shape "
            f"{part.shape}; expected finite real frames of that shape, with their background."
        )
    return found.astype(np.float64)


def _sites(raw, shape, spans, window):
    """True positions by run, where a simulated signal carries them."""
    from n2a.atoms import true_atoms

    if not hasattr(raw, "axes_manager") or len(shape) > 3 or signals.attached_atoms(raw)[0] is None:
        return None
    sites = true_atoms(raw)
    rows, columns = (part.start for part in window)
    sites = replace(sites, row=sites.row - rows, column=sites.column - columns)
    height, width = (part.stop - part.start for part in window)
    sites = sites[
        (sites.row > -0.5)
        & (sites.column > -0.5)
        & (sites.row < height - 0.5)
        & (sites.column < width - 0.5)
    ]
    parts = []
    for _, start, stop in spans:
        part = sites[(sites.frame >= start) & (sites.frame < stop)]
        parts.append(replace(part, frame=part.frame - start))
    return parts
