# SPDX-License-Identifier: GPL-3.0-or-later
"""Consecutive structural similarity (CSS): how alike are neighbouring frames of a series."""

from __future__ import annotations

import operator
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from n2a import signals

if TYPE_CHECKING:
    from hyperspy.api.signals import BaseSignal, Signal1D
    from numpy.typing import ArrayLike

# Wang et al. 2004; the window is cut off at 3.5 sigma, as scikit-image does.
SIGMA, K1, K2 = 1.5, 0.01, 0.03
REACH = 5
WINDOW = 2 * REACH + 1

_TILE = 32  # outputs per matrix product in `_smooth`: the fastest of 16 to 128


def _band_matrix() -> np.ndarray:
    """Window as a banded matrix (tile, tile + window - 1): its product is a convolution."""
    taps = np.exp(-0.5 * (np.arange(-REACH, REACH + 1) / SIGMA) ** 2)
    matrix = np.zeros((_TILE, _TILE + WINDOW - 1), np.float32)
    for row in range(_TILE):
        matrix[row, row : row + WINDOW] = taps / taps.sum()
    return matrix


_BAND = _band_matrix()


def _smooth(image: np.ndarray) -> np.ndarray:
    """Gaussian mean of every window that lies wholly inside: float32 (y, x) to (y - 10, x - 10).

    Products of small matrices run about five times as fast as `scipy.ndimage.gaussian_filter`.
    """
    height, width = image.shape[0] - WINDOW + 1, image.shape[1] - WINDOW + 1
    rows = np.empty((height, image.shape[1]), np.float32)
    for start in range(0, height, _TILE):
        n = min(_TILE, height - start)
        np.matmul(
            _BAND[:n, : n + WINDOW - 1],
            image[start : start + n + WINDOW - 1],
            out=rows[start : start + n],
        )
    result = np.empty((height, width), np.float32)
    for start in range(0, width, _TILE):
        n = min(_TILE, width - start)
        result[:, start : start + n] = (
            rows[:, start : start + n + WINDOW - 1] @ _BAND[:n, : n + WINDOW - 1].T
        )
    return result


class _Frame:
    """One frame with its local means and variances, computed once for all its pairs."""

    def __init__(self, frame: np.ndarray, offset: float):
        # Variances do not change with an offset, so it goes first: float32 is then precise enough.
        values = np.asarray(frame, np.float64) - offset
        bad = ~np.isfinite(values)
        self.touched = None
        if bad.any():
            values[bad] = 0.0
            self.touched = _smooth(bad.astype(np.float32)) > 0
        self.values = values.astype(np.float32)
        self.mean = _smooth(self.values)
        self.variance = _smooth(self.values * self.values)
        self.variance -= self.mean * self.mean
        np.maximum(self.variance, 0, out=self.variance)


def _similarity(a: _Frame, b: _Frame, data_range: float, offset: float) -> float:
    # SSIM with both fractions written as 1 - (difference): equal to the textbook form,
    # (2 ab + C) / (a² + b² + C) = 1 - (a - b)² / (a² + b² + C), but free of cancellation.
    step = a.mean - b.mean
    step *= step
    brightness = (a.mean + offset) ** 2
    brightness += (b.mean + offset) ** 2
    brightness += (K1 * data_range) ** 2
    np.divide(step, brightness, out=brightness)
    np.subtract(1, brightness, out=brightness)

    difference = a.values - b.values
    difference *= difference
    structure = _smooth(difference)
    structure -= step
    np.maximum(structure, 0, out=structure)
    spread = a.variance + b.variance
    spread += (K2 * data_range) ** 2
    structure /= spread
    np.subtract(1, structure, out=structure)

    structure *= brightness
    touched = [frame.touched for frame in (a, b) if frame.touched is not None]
    if touched:
        structure = structure[~np.logical_or.reduce(touched)]
        if not structure.size:
            return np.nan
    return float(structure.mean(dtype=np.float64))


def css_pairs(
    frames: np.ndarray, data_range: float, lag: int = 1, offset: float | None = None
) -> np.ndarray:
    """Structural similarity of each frame and the one `lag` frames later.

    Parameters
    ----------
    frames
        Real array (n, y, x) of any dtype, frames of at least 11 x 11 px. Windows that touch a NaN
        or infinite pixel are left out of the mean.
    data_range
        Intensity range that the constants of SSIM refer to, in the units of `frames`.
    lag
        Distance of the two frames of a pair.
    offset
        Intensity taken as the origin of the arithmetic (not of the result): near that of the
        frames for the best precision. Default: the median of the first frame.

    Returns
    -------
    numpy.ndarray
        float64 (n - lag,); NaN where no window is left.

    References
    ----------
    Z. Wang et al., IEEE Trans. Image Process. 13 (2004) 600, doi:10.1109/TIP.2003.819861.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.similarity import css_pairs
    >>> frames = np.random.default_rng(0).poisson(5, (3, 32, 32))
    >>> css_pairs(frames[[0, 0, 1]], data_range=10).round(2)[0]
    np.float64(1.0)
    """
    if min(frames.shape[-2:]) < WINDOW:
        raise ValueError(
            f"Frames of {frames.shape[-1]} x {frames.shape[-2]} px are smaller than the window of "
            f"SSIM; 'css' needs at least {WINDOW} x {WINDOW} px."
        )
    if offset is None:
        finite = frames[0][np.isfinite(frames[0])]
        offset = float(np.median(finite)) if finite.size else 0.0
    earlier: deque[_Frame] = deque(maxlen=lag)
    result = []
    for frame in frames:
        later = _Frame(frame, offset)
        if len(earlier) == lag:
            result.append(_similarity(earlier[0], later, data_range, offset))
        earlier.append(later)
    return np.array(result)


def _css_block(block: np.ndarray, data_range: float, lag: int, offset: float) -> np.ndarray:
    """(..., n, y, x) to (..., n - lag)."""
    others = block.shape[:-3]
    pairs = [css_pairs(block[i], data_range, lag, offset) for i in np.ndindex(others)]
    return np.reshape(pairs, (*others, block.shape[-3] - lag))


def _robust_range(sample: np.ndarray) -> tuple[float, float]:
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        raise ValueError("'css' found only NaN or infinite pixels in the frames that it sampled.")
    low, middle, high = np.percentile(finite, (0.1, 50, 99.9))
    return float(high - low), float(middle)


def css(
    signal: BaseSignal | ArrayLike,
    *,
    lag: int = 1,
    data_range: float | None = None,
    time_axis="auto",
    show_progressbar: bool | None = None,
    num_workers: int | None = None,
) -> Signal1D | np.ndarray:
    """Consecutive structural similarity: SSIM of each frame and the one `lag` frames before it.

    A high CSS says that neighbouring frames are alike. It is highest for an image with nothing on
    it, so never show it alone: compare with a blur, and beside a measure of fidelity.

    Parameters
    ----------
    signal
        Series of images, in memory or lazy (then read block by block), or an array (n, y, x), of numpy or dask.
    lag
        Distance in frames of the two frames compared, 1 or more.
    data_range
        Intensity range of SSIM's constants, in the units of the signal. Give the same range for all
        series that you compare. Default: from the 0.1 to the 99.9 percentile of up to eight frames
        spread evenly over the whole series; one range for all pairs, recorded in the result.
    time_axis
        Navigation axis along which frames follow each other: a name, an index, an axis, or "auto":
        the only navigation axis, else the one called time, t or frame or with units of time. For signals only.
    show_progressbar
        Default: HyperSpy's preference.
    num_workers
        Number of dask threads. Default: dask's.

    Returns
    -------
    hyperspy.api.signals.Signal1D or numpy.ndarray
        Of an array float64 (n - lag,). Of a signal n - lag values over the time axis of the series; each stands at the
        time of the later frame of its pair. Other navigation axes stay navigation axes. ``metadata.n2a.css`` holds
        `lag`, `data_range` and `mean`. Windows of 11 x 11 px that touch a NaN or infinite pixel do not count; a pair
        without any other window is NaN, and is left out of the mean.

    Raises
    ------
    TypeError
        If `signal` is neither a HyperSpy signal nor an array (n, y, x) of real numbers.
    ValueError
        If there are no two frames to compare, or the frames are unsuitable (not real 2D images,
        smaller than 11 x 11 px, constant, without a finite pixel).

    References
    ----------
    F. Wang et al., Applied Microscopy 50 (2020) 23, doi:10.1186/s42649-020-00041-8.

    Examples
    --------
    >>> import hyperspy.api as hs, numpy as np, n2a
    >>> series = hs.signals.Signal2D(np.random.default_rng(0).poisson(5.0, (4, 32, 32)))
    >>> curve = n2a.css(series, data_range=10, show_progressbar=False)
    >>> curve
    <Signal1D, title: CSS, dimensions: (|3)>
    >>> bool(curve.metadata.n2a.css.mean < 0.2)
    True
    >>> bool(n2a.css(series.data, data_range=10, show_progressbar=False).mean() < 0.2)
    True
    """
    import dask.array as da

    from n2a.reporting import open_frames  # imports this module

    is_signal = hasattr(signal, "axes_manager")
    frames, axis, _ = open_frames("signal", signal, time_axis)
    if axis is None:
        several = is_signal and signal.axes_manager.navigation_dimension
        given = repr(signal) if is_signal else f"an array of shape {frames.shape[1:]}"
        raise ValueError(
            "'css' compares frames along one navigation axis, and "
            + (
                f"'time_axis={time_axis!r}' does not tell which of {given}; give its name."
                if several
                else f"{given} is a single image."
            )
        )
    count = frames.shape[-3]
    lag = _check_lag(lag, count)
    robust_range, offset = _robust_range(signals.sample_frames(frames))
    if data_range is None:
        data_range = robust_range
        if not data_range > 0:
            raise ValueError(
                "The frames are constant, so that 'css' finds no range of intensities in them; "
                "give 'data_range'."
            )
    else:
        data_range = signals.check_positive("data_range", data_range)

    parts = []
    for start, stop in signals.frame_spans(frames.shape, count - lag):
        block = signals.frame_blocks(frames, start, stop + lag)
        parts.append(
            block.map_blocks(
                _css_block,
                data_range,
                lag,
                offset,
                dtype=np.float64,
                meta=np.empty((0,) * (block.ndim - 2)),
                drop_axis=(block.ndim - 2, block.ndim - 1),
                chunks=(*block.chunks[:-3], (stop - start,)),
            )
        )
    values = signals.compute(da.concatenate(parts, axis=-1), show_progressbar, num_workers)
    if not is_signal:
        return values
    mean = float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
    curve = signals.curve_over_time(values, signal, axis, first=lag, name="CSS")
    signals.record(curve, "css", {"lag": lag, "data_range": data_range, "mean": mean})
    return curve


def _check_lag(lag: int, frames: int) -> int:
    try:
        value = operator.index(lag)
    except TypeError:
        value = 0
    if isinstance(lag, bool) or not 1 <= value < frames:
        raise ValueError(
            f"'lag' must be a whole number from 1 to {frames - 1} for a series of {frames} frames, "
            f"not {lag!r}."
            if frames > 1
            else "'css' compares frames, and this series has only one."
        )
    return value
