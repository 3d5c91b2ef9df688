# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures of a report one by one, on signals and arrays: umse, upsnr, residual_whiteness, frc, linearity.

The work is done by functions on arrays: :mod:`n2a.evaluation`, :mod:`n2a.whiteness`, :mod:`n2a.ring_correlation`,
:mod:`n2a.intensity`. Of signals that are long, the same frames are judged as in :func:`n2a.report`; of arrays all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from n2a import evaluation, intensity, signals, whiteness
from n2a.detection import detect, local_background
from n2a.intensity import Proportion
from n2a.judging import recorded, without_holes
from n2a.means import Estimate
from n2a.noise import Noise, estimate_noise
from n2a.reporting import denoising_record, judged_spans, open_frames, read_span
from n2a.ring_correlation import RingCorrelation
from n2a.ring_correlation import frc as ring_correlation
from n2a.rings import Budget, band_limit
from n2a.sampling import measure_atom_width
from n2a.views import register
from n2a.whiteness import Whiteness

if TYPE_CHECKING:
    from hyperspy.api.signals import BaseSignal


def _runs(time_axis, **data) -> list[list[np.ndarray]]:
    """Runs of frames (n, y, x) of each of the data, of one shape."""
    opened = {}
    for name, each in data.items():
        frames, axis, _ = open_frames(name, each, time_axis)
        opened[name] = frames, axis, hasattr(each, "axes_manager")
    (first, (frames, axis, is_signal)), *_ = opened.items()
    for name, (other, _, _) in opened.items():
        if other.shape != frames.shape:
            raise ValueError(
                f"'{name}' has frames of shape {other.shape}; expected that of '{first}', {frames.shape}. Select the "
                "same frames and the same region of both."
            )
    of_signals = [(n, each) for n, each in data.items() if hasattr(each, "axes_manager")]
    for name, each in of_signals[1:]:
        if problem := signals.other_calibration(of_signals[0][1], each):
            _warn(
                f"'{of_signals[0][0]}' and '{name}' are calibrated differently ({problem}). Check that the two belong "
                "together."
            )
    if is_signal:
        spans, window, _ = judged_spans(frames.shape, axis is not None and frames.shape[-3] > 1)
    else:
        spans = [((), 0, len(frames))]
        window = (slice(0, frames.shape[-2]), slice(0, frames.shape[-1]))
    return [[read_span(each, span, window) for span in spans] for each, _, _ in opened.values()]


def _warn(message: str) -> None:
    from n2a.plan import warn  # imports PyTorch

    warn(message)


def _check_background(denoised) -> None:
    """Warn of a result that is known to be without its background."""
    record = denoising_record(denoised)
    if record is not None and not record.get("background", True):
        _warn(
            "'denoised' is without its background, as metadata.n2a.denoising says: what is missing counts as error. "
            "Denoise with background=True, or judge it by n2a.report, which puts it on the background of the raw "
            "frames."
        )


def _whole(time_axis, **data) -> list[np.ndarray]:
    return [np.concatenate(runs) for runs in _runs(time_axis, **data)]


def umse(
    denoised: BaseSignal | ArrayLike,
    a: BaseSignal | ArrayLike,
    b: BaseSignal | ArrayLike | None = None,
    c: BaseSignal | ArrayLike | None = None,
    mask: ArrayLike | None = None,
    *,
    time_axis="auto",
) -> Estimate:
    """Mean squared error of a result, told without the truth.

    Parameters
    ----------
    denoised
        Result with its background, in the units of the raw frames: a signal, or an array (n, y, x) or (y, x).
    a, b, c
        Three independent noisy views of the same scene that the result has not seen. Or, as `a` alone, the raw series:
        then each frame is judged by raw frames 6 to 8 before or after it, put on it by whole pixels. That is for
        scenes nearly at rest, and for methods that look at five frames to either side at most.
        Of fewer than fourteen frames the middle ones have no two such frames: the nearest that have stand for them.
    mask
        True where pixels count; for arrays with `a`, `b` and `c` only.
    time_axis
        Of signals, as in :func:`n2a.denoise`.

    Returns
    -------
    Estimate
        `value` and its standard `error`, in squared units of the frames. It can be negative where noise hides it.

    Raises
    ------
    ValueError
        If shapes differ, or a series is too short to have unseen frames.

    See Also
    --------
    n2a.report : The same with the method itself, also for single images and scenes that move.

    References
    ----------
    A. Marcos-Morales et al., ICML 2023, PMLR 202, 23919.

    Examples
    --------
    >>> import numpy as np, n2a
    >>> truth = np.full((12, 64, 64), 10.0)
    >>> raw = np.random.default_rng(0).poisson(truth)
    >>> error = n2a.umse(truth + 3, raw)  # the true one is 9
    >>> bool(abs(error.value - 9) < 4 * error.error)
    True
    """
    _check_background(denoised)
    arrays = not any(hasattr(each, "axes_manager") for each in (denoised, a, b, c))
    if mask is not None and (b is None or not arrays):
        raise ValueError(
            "'mask' goes with arrays as 'denoised', 'a', 'b' and 'c' only; expected None. Cut out the region of "
            "signals with isig, or give their arrays."
        )
    if b is not None or c is not None:
        given = {"denoised": denoised, "a": a, "b": b, "c": c}
        missing = [name for name, each in given.items() if each is None]
        if missing:
            raise ValueError(
                f"'{missing[0]}' is missing; expected three views 'a', 'b' and 'c', or the raw series as 'a' alone."
            )
        if arrays:
            return evaluation.umse(denoised, a, b, c, mask)
        return evaluation.umse(*_whole(time_axis, **given))
    runs = _runs(time_axis, denoised=denoised, a=a)
    budget, measured = None, 0
    for result, raw in zip(*runs):
        kept = recorded(raw, result)
        raw, result = without_holes(raw[kept], result[kept])
        measured += len(raw)
        if not len(raw):
            continue
        level = float(np.median(raw))
        raw, result = raw - level, result - level
        if budget is None:
            width = measure_atom_width(raw) or 2.0
            budget = Budget(band_limit(width))
        budget.add(raw, result, register(raw, width))
    if budget is None:
        raise ValueError(
            "'denoised' and 'a' have no frame with a quarter of its pixels finite in both; expected at most a few NaN."
        )
    estimate = budget.still_error()
    if estimate is None:
        raise ValueError(
            f"'a' has {measured} frames; expected a series of eight or more at rest, so that each has two "
            "that the result has not seen, or three views 'a', 'b' and 'c'. n2a.report with the method as 'model' "
            "judges single images too."
        )
    return estimate


def upsnr(
    denoised: BaseSignal | ArrayLike,
    a: BaseSignal | ArrayLike,
    b: BaseSignal | ArrayLike | None = None,
    c: BaseSignal | ArrayLike | None = None,
    data_range: float | None = None,
    mask: ArrayLike | None = None,
    *,
    time_axis="auto",
) -> float:
    """Peak signal-to-noise ratio of a result, told without the truth: ``10 log10(data_range**2 / umse)``.

    Parameters
    ----------
    denoised, a, b, c, mask, time_axis
        As for :func:`n2a.umse`.
    data_range
        Range of intensities of the scene in the units of the frames; the same for all that you compare. Default: from
        the 0.1 to the 99.9 percentile of `denoised`.

    Returns
    -------
    float
        In dB.

    Raises
    ------
    ValueError
        If the estimated error is not positive, because noise hides it: :func:`n2a.umse` tells how well it is known.

    References
    ----------
    A. Marcos-Morales et al., ICML 2023, PMLR 202, 23919.

    Examples
    --------
    >>> import numpy as np, n2a
    >>> truth = np.full((12, 64, 64), 10.0)
    >>> raw = np.random.default_rng(0).poisson(truth)
    >>> abs(n2a.upsnr(truth + 3, raw, data_range=30) - 20) < 1
    True
    """
    error = umse(denoised, a, b, c, mask, time_axis=time_axis)
    if data_range is None:
        (result,) = _whole(time_axis, denoised=denoised)
        low, high = np.percentile(result[np.isfinite(result)], (0.1, 99.9))
        data_range = float(high - low)
        if not data_range > 0:
            raise ValueError(
                f"'denoised' is {low:.4g} nearly everywhere, which leaves no range of intensities; expected an image, "
                "or the range of the scene as 'data_range'."
            )
    return evaluation.decibels(data_range, error)


def residual_whiteness(
    raw: BaseSignal | ArrayLike,
    denoised: BaseSignal | ArrayLike,
    width: float | None = None,
    noise: Noise | None = None,
    *,
    time_axis="auto",
) -> Whiteness:
    """How far raw - denoised is from noise alone: whether structure went away with the noise.

    Parameters
    ----------
    raw
        As recorded: a signal, or an array (n, y, x) or (y, x), of at least 32 x 32 px.
    denoised
        Result of the same shape, in the same units and with the background.
    width
        Standard deviation of an atom in pixels. Default: measured.
    noise
        Noise of `raw`, an :class:`n2a.noise.Noise`. Default: measured.
    time_axis
        Of signals, as in :func:`n2a.denoise`.

    Returns
    -------
    Whiteness
        Correlation along y and x, Bragg peaks and variance of the residual; its docstring says what is good.

    Raises
    ------
    ValueError
        If shapes differ or there is nothing to judge.

    See Also
    --------
    n2a.whiteness.residual_whiteness : How it is measured.

    Examples
    --------
    >>> import n2a
    >>> noisy = n2a.acquire(n2a.simulate(shape=(64, 64), frames=3, seed=1), dose=20, seed=1)
    >>> denoised = n2a.denoise(noisy, background=True, show_progressbar=False)
    >>> bool(n2a.residual_whiteness(noisy, denoised).y < 0.02)
    True
    """
    _check_background(denoised)
    raw, denoised = _whole(time_axis, raw=raw, denoised=denoised)
    return whiteness.residual_whiteness(raw, denoised, width, noise)


def frc(
    first: BaseSignal | ArrayLike,
    second: BaseSignal | ArrayLike | None = None,
    pixel_size: float | None = None,
    rings: int | None = None,
    *,
    time_axis="auto",
) -> RingCorrelation:
    """Fourier ring correlation: down to which detail two images, or the pairs of frames of two series, agree.

    Parameters
    ----------
    first, second
        Signals or arrays (n, y, x) or (y, x) of one shape, at least 16 x 16 px, whose noise is independent. Results of
        denoising need two halves of the data that were denoised separately. Without `second` even and odd frames of
        `first`, a raw series, are compared, put on one another by whole pixels.
    pixel_size
        In nm, for frequencies in 1/nm. Default: the calibration of `first`, if it is a signal.
    rings
        Number of rings up to half a cycle per pixel. Default: one for each two frequencies, 128 at most.
    time_axis
        Of signals, as in :func:`n2a.denoise`.

    Returns
    -------
    RingCorrelation
        Curve, and the 3-sigma and 1/7 resolutions by ``resolution()``.

    Raises
    ------
    ValueError
        If shapes differ, images are too small or constant, or a single image has no second one.

    See Also
    --------
    n2a.ring_correlation.frc : How it is measured, and what it cannot see.

    Examples
    --------
    >>> import n2a
    >>> noisy = n2a.acquire(n2a.simulate(structure="2d", frames=8, seed=1), dose=20, seed=1)
    >>> n2a.frc(noisy)
    RingCorrelation(resolution 0.0... nm (... px) at 1/7, 0.0... nm (... px) at 3-sigma)
    """
    if hasattr(first, "axes_manager"):
        signals.check_images(first)
        pixel_size = signals.pixel_size(first) if pixel_size is None else pixel_size
    if second is not None:
        first, second = _whole(time_axis, first=first, second=second)
        return ring_correlation(first, second, pixel_size, rings)
    halves: tuple[list, list] = ([], [])
    for run in _runs(time_axis, first=first)[0]:
        if len(run) < 2:
            raise ValueError(
                "'second' is missing, and 'first' is no series whose even and odd frames could be compared; expected "
                "two images with independent noise."
            )
        known = np.isfinite(run)
        level = float(np.median(run[known])) if known.any() else 0.0
        run = np.where(known, run - level, 0.0)
        moved = register(run, measure_atom_width(run) or 2.0).apply(run)
        count = len(moved) // 2 * 2
        for half in (0, 1):
            halves[half].append(moved[half:count:2])
    shape = [min(run.shape[k] for run in halves[0]) for k in (1, 2)]
    even, odd = (
        np.concatenate([run[:, : shape[0], : shape[1]] for run in half]) for half in halves
    )
    return ring_correlation(even, odd, pixel_size, rings)


def linearity(
    denoised: BaseSignal | ArrayLike,
    raw: BaseSignal | ArrayLike,
    atom_width: float | None = None,
    *,
    time_axis="auto",
) -> Proportion:
    """Whether a result keeps the integrated intensities of columns in proportion.

    Parameters
    ----------
    denoised
        Result with bright atoms, with or without its background: a signal, or an array (n, y, x) or (y, x).
    raw
        As recorded, of the same shape, in the same units and with bright atoms too. Turn dark atoms over in both, but
        not where `denoised` is a signal from :func:`n2a.denoise`: its metadata say what is dark.
    atom_width
        Standard deviation of an atom in pixels. Default: measured.
    time_axis
        Of signals, as in :func:`n2a.denoise`.

    Returns
    -------
    Proportion
        Slope of the raw over the denoised intensities, and how far they depart from a straight line.

    Raises
    ------
    ValueError
        If shapes differ, fewer than 12 columns stand apart from their neighbours, or they do not stand out of the
        noise of the raw frames.

    See Also
    --------
    n2a.intensity.proportion : How it is measured.

    Examples
    --------
    >>> import n2a
    >>> noisy = n2a.acquire(n2a.simulate(structure="2d", frames=8, seed=1), dose=20, seed=1)
    >>> denoised = n2a.denoise(noisy, show_progressbar=False)
    >>> n2a.linearity(denoised, noisy).linear, n2a.linearity(denoised**0.5, noisy).linear
    (True, False)
    """
    record = denoising_record(denoised) or {}
    denoised, raw = _whole(time_axis, denoised=denoised, raw=raw)
    known = np.isfinite(denoised) & np.isfinite(raw)
    if not known.any():
        raise ValueError(
            "'denoised' and 'raw' have no pixel that is finite in both; expected at most a few NaN."
        )
    denoised, raw = (np.where(known, a, np.median(a[known])).astype(float) for a in (denoised, raw))
    raw = raw - float(np.median(raw))
    noise = estimate_noise(raw)
    width = atom_width or measure_atom_width(raw) or 2.0
    if record.get("contrast") == "dark":
        raw, noise = -raw, noise._replace(gain=-noise.gain)
        if record.get("background", False):  # atoms alone are bright in any case
            denoised = -denoised
    atoms = denoised - local_background(denoised, width)
    found = detect(atoms, width)
    if len(found):
        found = found[found.height > intensity.LEAST_HEIGHT * np.quantile(found.height, 0.9)]
    return intensity.proportion(denoised, raw, found, width, noise)
