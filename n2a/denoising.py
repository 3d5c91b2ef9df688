# SPDX-License-Identifier: GPL-3.0-or-later
"""denoise(): from a signal to blocks of frames, through the predictor, and back to a signal."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from n2a import signals

if TYPE_CHECKING:
    from pathlib import Path

    import dask.array as da
    from hyperspy.api.signals import BaseSignal

    from n2a.model import Noise2Atom
    from n2a.predictor import Predictor

_logger = logging.getLogger(__name__)


def denoise(
    signal: BaseSignal,
    model: Noise2Atom | str | Path | None = None,
    *,
    background: bool = False,
    contrast: str = "auto",
    atom_width: float | None = None,
    time_axis="auto",
    dtype: str | np.dtype | None = "float32",
    inplace: bool = False,
    out: BaseSignal | None = None,
    lazy_output: bool | None = None,
    device: str = "auto",
    show_progressbar: bool | None = None,
    num_workers: int | None = None,
) -> BaseSignal | None:
    """Denoise atomic-resolution images: atoms on a flat background, in the units of the input.

    The result is linear in the input: `signal` times k gives the result times k, and an offset
    changes only the background. One normalisation, found in a few frames spread over the whole
    series, serves for all frames, so that brightness does not flicker.

    Parameters
    ----------
    signal
        Images or series of images of any navigation shape, real, of any integer or float dtype, in
        memory or lazy. It is not changed unless `inplace` is True.
    model
        A `Noise2Atom` model, the path of a saved one, or the name of weights in the box. Default:
        the weights in the box.
    background
        If True, the estimated background is added back, so that the result compares with the raw
        frames in absolute intensity. Default: intensity above the background, which is 0.
    contrast
        "bright" atoms (annular dark field), "dark" atoms (bright field, annular bright field), or
        "auto": told from the series. Dark atoms come out positive too: their depth.
    atom_width
        Width of an atom as the standard deviation of a Gaussian, in pixels of `signal`. Default:
        measured.
    time_axis
        Navigation axis along which frames follow each other, whose neighbours help each other: a
        name, an index, an axis, or "auto": the only navigation axis, else the one called time, t
        or frame or with units of time. None: every frame on its own.
    dtype
        Data type of the result; integers are rounded and clipped. None: that of `signal`.
    inplace
        If True, `signal` receives the result and nothing is returned.
    out
        Signal of the same shape that receives the result; nothing is returned then.
    lazy_output
        Whether the result is lazy. Default: as `signal`, or as `out`.
    device
        Where the network runs: "auto", "cpu", "cuda", "cuda:1", "mps".
    show_progressbar
        Default: HyperSpy's preference.
    num_workers
        Number of dask threads that read and write a lazy series. The network itself uses PyTorch's
        threads. Default: dask's.

    Returns
    -------
    hyperspy.api.signals.BaseSignal or None
        Signal of the same class, axes, metadata and markers. ``metadata.n2a.denoising`` says what
        was done. Pixels that are NaN stay NaN.

    Raises
    ------
    TypeError
        If `signal` or `out` is no HyperSpy signal.
    ValueError
        If the signal holds no real 2D images, is constant or without finite pixels; if an argument
        is none of those named above; if NaN pixels would have to become integers.

    References
    ----------
    F. Wang et al., Applied Microscopy 50 (2020) 23, doi:10.1186/s42649-020-00041-8.

    Examples
    --------
    >>> import n2a
    >>> noisy = n2a.acquire(n2a.simulate(shape=(64, 64), frames=3, seed=1), dose=20, seed=1)
    >>> denoised = n2a.denoise(noisy, show_progressbar=False)
    >>> denoised.data.dtype, denoised.axes_manager.shape == noisy.axes_manager.shape
    (dtype('float32'), True)
    """
    signals.check_images(signal)
    if lazy_output and (inplace or out is not None):
        raise ValueError("'lazy_output=True' requires 'inplace=False' and 'out=None'.")
    if inplace and out is not None:
        raise ValueError("'inplace=True' requires 'out=None': the result can go to one place only.")
    if out is not None:
        _check_out(out, signal)
    dtype = _check_dtype(signal.data.dtype if dtype is None else dtype)
    task = Denoising(signal, model, background, contrast, atom_width, time_axis, device)
    target = signal if inplace else out
    if lazy_output is None:
        lazy_output = signals.is_lazy(signal if target is None else target)
    if lazy_output or signals.is_lazy(signal):
        result = task.lazy(dtype)
        if not lazy_output:
            result = signals.compute(result, show_progressbar, num_workers)
    else:
        with tqdm(
            total=task.count,
            unit="frame",
            disable=not signals.wants_progress(show_progressbar),
        ) as progress:
            result = task.compute(dtype, progress.update)

    new = task.signal_with(result)
    if target is None:
        return new
    signals.overwrite(target, new)
    return None


class Denoising:
    """What is to be done to one signal: its plan and its predictor, for any frame alone or for all.

    Parameters
    ----------
    signal, model, background, contrast, atom_width, time_axis, device
        As for :func:`denoise`.

    Attributes
    ----------
    frames : array
        The data as (..., n, y, x); n is the time axis.
    count : int
        Number of frames.
    """

    def __init__(
        self,
        signal: BaseSignal,
        model: Noise2Atom | str | Path | None = None,
        background: bool = False,
        contrast: str = "auto",
        atom_width: float | None = None,
        time_axis="auto",
        device: str = "auto",
    ):
        from n2a.plan import plan_series
        from n2a.predictor import Predictor

        if atom_width is not None:
            atom_width = signals.check_positive("atom_width", atom_width)
        self.signal = signal
        self.axis = signals.resolve_time_axis(signal, time_axis)
        self.frames = signals.stack_frames(signal, self.axis)
        self.count = math.prod(self.frames.shape[:-2])
        self.plan = plan_series(
            signals.sample_frames(self.frames), contrast, atom_width, signals.pixel_size(signal)
        )
        _logger.info("Plan for %r: %s", signal, self.plan)
        self.predictor = Predictor(
            model,
            self.plan,
            background=background,
            device=device,
            use_time=self.axis is not None,
        )

    def frame(self, index: tuple[int, ...]) -> np.ndarray:
        """One denoised frame (y, x), float32, as it is in the whole result; index as in `frames`."""
        *others, i = index
        first = max(0, i - self.predictor.halo)
        span = slice(first, i + self.predictor.halo + 1)
        window = np.asarray(self.frames[(*others, span)])
        return self.predictor(window, i - first, i - first + 1)[0]

    def lazy(self, dtype: np.dtype) -> da.Array:
        """The result in the shape of the signal's data, still to be computed."""
        lazy = _predict(self.frames, self.predictor, dtype)
        return signals.unstack_frames(lazy, self.signal, self.axis)

    def compute(self, dtype: np.dtype, told: Callable[[], object]) -> np.ndarray:
        """The result in the shape of the signal's data, which is in memory; `told` is called after every frame."""
        result = np.empty(self.signal.data.shape, dtype)
        place = signals.stack_frames(self.signal, self.axis, result)
        _fill(place, self.frames, self.predictor, told=told)
        return result

    def signal_with(self, result: np.ndarray | da.Array) -> BaseSignal:
        """The result as a signal, with what was done in its metadata."""
        from n2a import __version__

        new = signals.with_data(self.signal, result)
        signals.record(
            new,
            "denoising",
            {
                "version": __version__,
                **self.predictor.model.summary(),
                "background": bool(self.predictor.background),
                **asdict(self.plan),
                "time_axis": None if self.axis is None else signals.axis_name(self.axis),
            },
        )
        return new


def _predict(frames: np.ndarray | da.Array, predictor: Predictor, dtype: np.dtype) -> da.Array:
    """Lazy prediction for (..., n, y, x), in blocks of whole frames and their neighbours in time."""
    import dask.array as da

    halo, length = predictor.halo, frames.shape[-3]
    parts = []
    for start, stop in signals.frame_spans(frames.shape, length):
        first, last = max(0, start - halo), min(length, stop + halo)
        block = signals.frame_blocks(frames, first, last)
        parts.append(
            block.map_blocks(
                _predict_block,
                predictor,
                start - first,
                stop - first,
                dtype,
                dtype=dtype,
                meta=np.empty((0,) * block.ndim, dtype),
                chunks=(*block.chunks[:-3], (stop - start,), *block.chunks[-2:]),
            )
        )
    return da.concatenate(parts, axis=-3)


def _predict_block(
    block: np.ndarray, predictor: Predictor, start: int, stop: int, dtype: np.dtype
) -> np.ndarray:
    """Predict (..., n, y, x) and keep frames start..stop: those around them are context."""
    result = np.empty((*block.shape[:-3], stop - start, *block.shape[-2:]), dtype)
    _fill(result, block, predictor, start)
    return result


def _fill(
    result: np.ndarray,
    frames: np.ndarray,
    predictor: Predictor,
    start: int = 0,
    told: Callable[[], object] | None = None,
) -> None:
    """Put predicted frames (..., n, y, x) into `result`, from frame `start` on, one by one."""
    length = result.shape[-3]
    for index in np.ndindex(result.shape[:-3]):
        restored = predictor.restore(frames[index], start, start + length)
        for place, frame in zip(result[index], restored, strict=True):
            place[...] = _cast(frame, result.dtype)
            if told is not None:
                told()


def _cast(frames: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Float frames as `dtype`: integers rounded, and what does not fit clipped."""
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        return frames if dtype.itemsize > 2 else np.clip(frames, limits.min, limits.max)
    if np.isnan(frames).any():
        raise ValueError(
            f"NaN pixels cannot become '{dtype}'. Use 'dtype=\"float32\"', or replace them first, "
            "for example with signal.data = numpy.nan_to_num(signal.data)."
        )
    limits = np.iinfo(dtype)
    highest = float(limits.max)
    if highest > limits.max:  # rounded up on the way to float
        highest = math.nextafter(highest, 0)
    return np.rint(frames.astype(np.float64)).clip(limits.min, highest)


def _check_dtype(dtype) -> np.dtype:
    try:
        checked = np.dtype(dtype)
    except TypeError:
        checked = None
    if checked is None or checked.kind not in "uif":
        raise ValueError(f"'dtype' must be an integer or float type, or None, not {dtype!r}.")
    return checked


def _check_out(out: BaseSignal, signal: BaseSignal) -> None:
    try:
        signals.check_images(out)
    except (TypeError, ValueError) as error:
        raise type(error)(f"'out' cannot receive the result: {error}") from None
    if not signals.same_layout(out, signal):
        raise ValueError(
            f"'out' must have the shape of the signal, {signal!r}, not that of {out!r}. "
            "In hyperspy.api.interactive, pass the event that changes the shape as "
            "'recompute_out_event', and 'event=None'."
        )
