# SPDX-License-Identifier: GPL-3.0-or-later
"""How good a denoised series is, told without the truth: functions on arrays.

No number here is enough by itself. :func:`umse`, :func:`upsnr` and :func:`neighbour_error` need frames of the same
scene that the result has not seen; :func:`residual_whiteness` tells what was taken away with the noise;
:func:`css_mean` is highest for an image of nothing, so it belongs beside :func:`blur_reference` and one of the others.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.special import fdtrc, gammaincinv

from n2a.noise import Noise, estimate_noise
from n2a.sampling import measure_atom_width
from n2a.similarity import css_pairs

BLOCK = 32  # px: longer than noise is correlated along a scan line
_FEWEST_BLOCKS = 16  # fewer say too little about their scatter
_FOURTH_DIFFERENCE = (1.0, -4.0, 6.0, -4.0, 1.0)
_BAND = 8  # rows that are averaged for the errors of autocovariances
_CLIP = 8.0  # standard deviations: a hot pixel must not outweigh everything else
_SLOW = 3  # cosines along each axis that count as background: offset, slope, bend
_ZERO_COUNT = 3 / 8  # Anscombe: a count of zero still has this much variance, in counts squared
_RING = 4  # frequencies: width of the rings in the spectrum
# Of the points of a spectrum: the window ties neighbours, and a median knows half as much as a mean.
_INDEPENDENT = 0.13
_SMALLEST = 32  # px, for residual_whiteness


class Estimate(NamedTuple):
    """A mean over pixels and its standard error."""

    value: float
    error: float


class Whiteness(NamedTuple):
    """What is left in raw - denoised, from :func:`residual_whiteness`; every field is dimensionless.

    Attributes
    ----------
    y
        RMS autocovariance of the residual along y over that of the noise at lag 0, the part that exceeds chance: about
        the variance of lost structure over that of the noise. Good: not above twice `y_error`; 0 when nothing exceeds
        chance. It rises with structure that was taken away, and less (by 0.1 at most) with noise that was smeared
        into the result. The two have opposite signs: a little of each can pass. Blind to noise kept pixel by pixel.
    y_error
        Standard error of one autocovariance, RMS over the lags: what chance alone has.
    x
        The same along x, without what the noise itself has along scan lines. Good: not above three times `x_error`,
        five in frames of 64 px or less with much noise along lines. Blind to noise that was copied line by line.
    x_error
        Standard error of `x`, as `y_error`.
    peaks
        Power of the point of the residual's spectrum that noise explains least, over the mean power that is usual
        at its kx and its distance from the centre. Perfect noise has 2 to 15, less for many frames. In one frame it
        sees crystals only, in several everything that stays where it is (a static cluster, a hot pixel). Blind to
        moving disorder. Hum that is locked to the scan looks like a peak.
    chance
        Probability that noise alone has such a point somewhere. Good: not below 0.01.
    power
        Variance of the residual over that of the raw noise. Good: 0.9 to 1.1, as well as the noise is known. Below:
        noise stays in the result. Above: structure was taken away. Atoms narrower than 1.5 px at high dose make the
        noise look larger than it is; pass it then.
    """

    y: float
    y_error: float
    x: float
    x_error: float
    peaks: float
    chance: float
    power: float


def block_mean(values: ArrayLike, weight: ArrayLike | None = None, block: int = BLOCK) -> Estimate:
    """Mean of a map, with a standard error that allows for correlation between neighbouring pixels.

    Parameters
    ----------
    values
        Real, (..., y, x). Pixels that are not finite are left out.
    weight
        Weights of the pixels, 0 or more, or a mask that is True where pixels count; broadcast to `values`.
    block
        Edge in pixels of the blocks, of each frame, whose means are taken as independent. Halved until there are 16.

    Returns
    -------
    Estimate
        Mean in the units of `values`, and its standard error from the scatter of the blocks. The scatter includes
        what differs from place to place in the scene, so it is rather too large than too small.

    Examples
    --------
    Which of two results is nearer to a frame that neither has seen. Their errors share the noise of that frame, so
    the error of the difference is much smaller than that of each:

    >>> import numpy as np
    >>> from n2a.evaluation import block_mean
    >>> truth = np.full((4, 64, 64), 5.0)
    >>> unseen = np.random.default_rng(0).poisson(truth)
    >>> difference = block_mean((unseen - 1.02 * truth) ** 2 - (unseen - 1.2 * truth) ** 2)
    >>> difference.value < -3 * difference.error
    True
    """
    values = _real("values", values)
    counted = np.isfinite(values)
    if weight is None:
        weight = counted.astype(np.float64)
    else:
        weight = np.where(counted, _weight("weight", weight, values.shape), 0.0)
    size = max(1, int(_positive("block", block)))
    height, width = values.shape[-2:]
    frames = values[..., 0, 0].size
    while size > 1 and frames * max(1, height // size) * max(1, width // size) < _FEWEST_BLOCKS:
        size //= 2
    return _mean(values, weight, size, size)


def _mean(values: np.ndarray, weight: np.ndarray, rows: int, columns: int) -> Estimate:
    edges = [
        np.arange(n) * length // n
        for length, n in zip(
            values.shape[-2:],
            (max(1, values.shape[-2] // rows), max(1, values.shape[-1] // columns)),
            strict=True,
        )
    ]
    total, number = (
        np.add.reduceat(np.add.reduceat(a, edges[0], axis=-2), edges[1], axis=-1)
        for a in (np.where(weight > 0, values, 0.0) * weight, weight)
    )
    whole = number.sum()
    if not whole > 0:
        raise ValueError(
            "No pixel is left to average: all are NaN, or 'mask' or 'weight' is 0 everywhere; expected some finite "
            "pixels that count. Check the frames and the mask."
        )
    value = total.sum() / whole
    filled = np.count_nonzero(number)
    if filled < 2:
        return Estimate(float(value), float("inf"))
    scatter = np.sum((total - value * number) ** 2) * filled / (filled - 1)
    return Estimate(float(value), float(np.sqrt(scatter) / whole))


def umse(
    denoised: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    c: ArrayLike,
    mask: ArrayLike | None = None,
    block: int = BLOCK,
) -> Estimate:
    """Mean squared error of a result, unbiased, from three noisy views of the same scene.

    The mean of ``(a - denoised)**2 - (b - c)**2 / 2``: what noise adds to the first is what the second measures.

    Parameters
    ----------
    denoised
        Result f(y), (..., y, x), real, in the units of the views and with their background.
    a, b, c
        Noisy views of the same scene with independent noise, of the same shape: neighbouring frames where nothing
        moves. `denoised` must have been computed from none of them, nor trained on them.
    mask
        True where pixels count; broadcast to `denoised`. Pixels that are not finite in any of the four do not count.
    block
        Edge in pixels of the blocks for the standard error, see :func:`block_mean`.

    Returns
    -------
    Estimate
        In squared units of the frames. It scatters around the true error, and below zero when that is small.

    Notes
    -----
    Any noise of zero mean will do, Poisson noise and noise that is correlated along the scan too, if only it is
    independent between the views. What moved between the views counts as an error of the result; where it moved
    between `b` and `c` as well, less. A result that has seen `a` comes out too good.

    References
    ----------
    A. Marcos-Morales et al., ICML 2023, PMLR 202, 23919 ("Evaluating Unsupervised Denoising Requires Unsupervised
    Metrics").

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.evaluation import umse
    >>> truth = np.full((64, 64), 10.0)
    >>> a, b, c = np.random.default_rng(0).poisson(truth, (3, 64, 64))
    >>> error = umse(truth + 3, a, b, c)  # the true one is 9
    >>> bool(abs(error.value - 9) < 3 * error.error)
    True
    """
    denoised, a, b, c = _alike(denoised=denoised, a=a, b=b, c=c)
    if mask is not None:
        mask = _weight("mask", mask, denoised.shape)
    return block_mean((a - denoised) ** 2 - (b - c) ** 2 / 2, mask, block)


def upsnr(
    denoised: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    c: ArrayLike,
    data_range: float,
    mask: ArrayLike | None = None,
) -> float:
    """Peak signal-to-noise ratio of a result without the truth: ``10 log10(data_range**2 / umse)`` in dB.

    Parameters
    ----------
    denoised, a, b, c, mask
        As for :func:`umse`.
    data_range
        Range of intensities of the scene in the units of the frames; the same for all that you compare.

    Returns
    -------
    float
        In dB.

    Raises
    ------
    ValueError
        If the estimated error is not positive, because noise hides it: :func:`umse` tells how well it is known.

    References
    ----------
    A. Marcos-Morales et al., ICML 2023, PMLR 202, 23919.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.evaluation import upsnr
    >>> truth = np.full((64, 64), 10.0)
    >>> a, b, c = np.random.default_rng(0).poisson(truth, (3, 64, 64))
    >>> abs(upsnr(truth + 3, a, b, c, data_range=30) - 20) < 1
    True
    """
    data_range = _positive("data_range", data_range)
    error = umse(denoised, a, b, c, mask)
    if error.value <= 0:
        raise ValueError(
            f"uPSNR does not exist: the estimated error uMSE is {error.value:.3g} with a standard error of "
            f"{error.error:.2g}, expected a positive value. Either the noise of so few pixels hides the error: give "
            "more frames or pixels, or show umse() with its standard error. Or 'denoised' has seen 'a', or 'b' and 'c' "
            "differ by more than noise: give views that it was not computed from, of a scene at rest."
        )
    return float(10 * np.log10(data_range**2 / error.value))


def neighbour_error(
    denoised: ArrayLike,
    target: ArrayLike,
    level: float,
    noise: float,
    gain: float,
    weight: ArrayLike | None = None,
    intensity: ArrayLike | None = None,
    block: int = BLOCK,
) -> Estimate:
    """Squared distance of a result from a frame that it has not seen, in units of that frame's noise variance.

    The mean of ``(target - denoised)**2 / variance``, with ``variance = noise**2 + gain * (denoised - level)``.

    Parameters
    ----------
    denoised
        Result, (..., y, x), real, in the units of the frames and with their background.
    target
        Noisy frames of the same scene and shape that `denoised` was computed from without.
    level
        Background intensity, in the units of the frames.
    noise
        Standard deviation of the noise at `level`, in the same units. `Plan.noise` and `Normalization.noise` contain
        Anscombe's constant: take ``sqrt(plan.noise**2 - 3/8 * plan.gain**2)``, and bin the frames by `plan.factor`.
    gain
        Slope of the noise variance over the intensity, in the same units; 0 for noise that is the same everywhere.
    weight
        Weights of the pixels, or a mask; broadcast to `denoised`.
    intensity
        Where to take the variance, in place of `denoised`. Give the same to all results that you compare: by its own
        variance a result does best when it is too bright, by half a count and at less than one count by several times.
    block
        Edge in pixels of the blocks for the standard error, see :func:`block_mean`.

    Returns
    -------
    Estimate
        1 for a perfect result, if the noise is known that well; what moved or was missed adds to it. The variance is
        taken to be a hundredth of ``noise**2`` at least.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.evaluation import neighbour_error
    >>> truth = np.linspace(4, 40, 128) * np.ones((2, 128, 128))
    >>> target = 3.0 * np.random.default_rng(0).poisson(truth)
    >>> error = neighbour_error(3 * truth, target, level=12, noise=6, gain=3)
    >>> bool(abs(error.value - 1) < 3 * error.error)
    True
    """
    denoised, target = _alike(denoised=denoised, target=target)
    noise = _positive("noise", noise)
    for name, value, least in (("level", level, -np.inf), ("gain", gain, 0)):
        if not (np.isfinite(value) and value >= least):
            raise ValueError(
                f"'{name}' is {value!r}; expected a finite number{', 0 or more,' if least == 0 else ''} in the units "
                "of the frames. n2a.noise.estimate_noise(frames) and background_level(frames, bright) measure both."
            )
    if intensity is None:
        intensity = denoised
    else:
        _, intensity = _alike(denoised=denoised, intensity=intensity)
    variance = np.maximum(noise**2 + gain * (intensity - level), 0.01 * noise**2)
    if weight is not None:
        weight = _weight("weight", weight, denoised.shape)
    return block_mean((target - denoised) ** 2 / variance, weight, block)


def residual_whiteness(
    raw: ArrayLike,
    denoised: ArrayLike,
    width: float | None = None,
    noise: Noise | None = None,
) -> Whiteness:
    """How far raw - denoised is from noise alone: whether structure went away with the noise.

    Parameters
    ----------
    raw
        Frames as recorded, (y, x) or (n, y, x), real, at least 32 x 32 px. Pixels that are not finite do not count.
    denoised
        Result of the same shape, in the same units and with the background (``background=True`` in
        :func:`n2a.denoise`); offsets and slow differences do not count.
    width
        Standard deviation of an atom in pixels: the scale of the structure that is looked for. Autocovariances reach
        to three times that, and to 4 px at least. A twelfth of the frame is the most that is used. Default: measured,
        or 2 where nothing stands out. Give the same for all results that you compare.
    noise
        Noise of `raw`. Default: measured.

    Returns
    -------
    Whiteness
        RMS autocovariances along y and x, Bragg peaks and variance of the residual; its docstring says what is
        good, and what each cannot see.

    Notes
    -----
    The residual is divided by the standard deviation of the noise at the denoised intensity, and smoothed over an
    atom's width across the direction of its autocovariance: atoms have two dimensions, and noise that varies from
    pixel to pixel averages out. Noise of different scan lines is independent, so that along y every covariance counts.
    Along x counts what the fourth differences of the residual along y do not have: these see the noise of each line,
    and are blind to structure that is smooth along y. (Those of the raw frames see narrow atoms at high dose.)

    In the spectrum power is divided by the median over high ky at the same kx, which is the noise, then by the median
    over its ring, which is the shape of what is not periodic. Power of noise is exponentially distributed (its mean
    over n frames: a gamma distribution), its ratio to an estimated mean as F.

    Lines that jump along x move atoms, and a result that puts them right has a residual with structure.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.evaluation import residual_whiteness
    >>> y, x = np.mgrid[:96, :96]
    >>> truth = 3 + 6 * (1 + np.cos(y / 2) * np.cos(x / 2))
    >>> raw = np.random.default_rng(0).poisson(truth, (4, 96, 96))
    >>> good = residual_whiteness(raw, np.broadcast_to(truth, raw.shape))
    >>> lost = residual_whiteness(raw, np.full(raw.shape, 9.0))
    >>> max(good.y, good.x) < 0.01, min(lost.y, lost.x) > 0.1, good.chance > 0.01, lost.chance < 1e-6
    (True, True, True, True)
    """
    raw, denoised = _alike(raw=raw, denoised=denoised)
    if raw.ndim not in (2, 3) or min(raw.shape[-2:]) < _SMALLEST:
        raise ValueError(
            f"'raw' has shape {raw.shape}; expected (y, x) or (n, y, x) with frames of at least {_SMALLEST} x "
            f"{_SMALLEST} px. Smaller frames hold too few pixels to tell structure from chance."
        )
    raw, denoised = (a.reshape(-1, *raw.shape[-2:]) for a in (raw, denoised))
    measured = np.isfinite(raw) & np.isfinite(denoised)
    kept = measured.mean(axis=(1, 2)) > 0.25  # blanked frames say nothing
    if not kept.any():
        raise ValueError(
            "'raw' and 'denoised' have no frame with a quarter of its pixels finite in both; expected at most a few "
            "NaN. Cut off the borders without data."
        )
    raw, denoised, measured = raw[kept], denoised[kept], measured[kept]
    raw, denoised = (np.where(measured, a, np.nan) for a in (raw, denoised))
    if noise is None:
        try:
            noise = estimate_noise(raw)
        except ValueError:
            raise ValueError(
                "'raw' has no block of 8 x 8 finite pixels to measure the noise in; expected fewer NaN. Fill single "
                "dead pixels, or pass 'noise'."
            ) from None
    if not (noise.gain > 0 or noise.offset > 0):
        raise ValueError(
            f"'raw' has no noise ({noise}): its frames are constant or noise-free; expected frames as recorded. Pass "
            "'noise' if it is known."
        )
    if width is None:
        middle = np.nanmedian(raw, axis=(1, 2), keepdims=True)
        width = measure_atom_width(np.where(measured, raw, middle)) or 2.0
    width = min(_positive("width", width), min(raw.shape[1:]) / 12)
    lags = max(4, int(np.ceil(3 * width)))

    residual = raw - denoised
    if not np.nanmax(np.abs(residual)) > 0:
        raise ValueError(
            "'denoised' equals 'raw' in every pixel, so that there is no residual to judge; expected the result of "
            "denoising these frames. Check that the two were not mixed up."
        )
    low, high = np.nanpercentile(residual, (1, 99), axis=(1, 2), keepdims=True)
    offset = np.nanmean(np.clip(residual, low, high), axis=(1, 2), keepdims=True)
    variance = np.maximum(noise.gain * (denoised + offset) + noise.offset, 0)
    scale = np.sqrt(variance + _ZERO_COUNT * noise.gain**2)
    # Noise that does not grow with the intensity can still be nearly nothing at the darkest.
    scale = np.maximum(scale, 1e-3 * np.nanmax(scale))
    residual = np.clip((residual - offset) / scale, -_CLIP, _CLIP)
    residual = np.where(measured, residual - _slow(np.where(measured, residual, 0)), np.nan)

    # Of the noise in the scaled residual.
    unit = max(np.mean((variance / scale**2)[measured]), 1e-300)
    y, x = (_beyond_chance(c, unit) for c in _autocovariances(residual, lags, width))
    power = np.nanmean(residual**2) / unit
    # Power of Gaussian spots is down to 5e-5 there: beyond, lines that swing make ghosts of the lattice.
    peaks, chance = _largest_peak(np.where(measured, residual, 0), min(0.5 / width, 0.5))
    return Whiteness(*y, *x, peaks, chance, float(power))


def _slow(frames: np.ndarray) -> np.ndarray:
    """The few slowest cosines of frames: background, thickness."""
    spectrum = fft.dctn(frames, axes=(1, 2), norm="ortho")
    y, x = np.ogrid[: frames.shape[1], : frames.shape[2]]
    spectrum[:, y + x >= _SLOW] = 0
    return fft.idctn(spectrum, axes=(1, 2), norm="ortho")


def _autocovariances(
    residual: np.ndarray, lags: int, width: float
) -> tuple[list[Estimate], list[Estimate]]:
    """Along y, and along x without that of the noise, at lags 1, 2, ...; NaN do not count."""
    missing, filled = np.isnan(residual), np.nan_to_num(residual)
    # Periodic: then the variance of noise that is white along y shrinks alike everywhere.
    along_x, along_y = (
        np.where(missing, np.nan, gaussian_filter1d(filled, width, axis, mode="wrap"))
        for axis in (2, 1)
    )
    impulse = np.zeros(residual.shape[1])
    impulse[0] = 1
    shrunk = np.sqrt(np.sum(gaussian_filter1d(impulse, width, mode="wrap") ** 2))
    rows = residual.shape[1] - 4
    rough = sum(w * residual[:, i : rows + i] for i, w in enumerate(_FOURTH_DIFFERENCE))
    rough *= shrunk / np.sqrt(np.sum(np.square(_FOURTH_DIFFERENCE)))
    along_y = np.where(np.isnan(rough), np.nan, along_y[:, 2:-2])
    steps = range(1, lags + 1)
    y = [_mean_of_lines(along_x[:, i:] * along_x[:, :-i], _BAND) for i in steps]
    band = max(_BAND, int(np.ceil(4 * width)))  # longer than what the smoothing ties together
    x = [
        _mean_of_lines(
            along_y[..., i:] * along_y[..., :-i] - rough[..., i:] * rough[..., :-i], band
        )
        for i in steps
    ]
    return y, x


def _mean_of_lines(products: np.ndarray, band: int) -> Estimate:
    # Noise may be correlated along whole lines: only bands of them are independent.
    weight = np.isfinite(products).astype(np.float64)
    return _mean(products, weight, band, products.shape[-1])


def _beyond_chance(covariances: list[Estimate], variance: float) -> Estimate:
    """RMS in units of `variance` without what the errors add to it, and the RMS of the errors."""
    value, error = (np.mean(np.square(part)) for part in zip(*covariances))
    return Estimate(*(float(np.sqrt(max(v, 0)) / variance) for v in (value - error, error)))


def _largest_peak(frames: np.ndarray, limit: float) -> tuple[float, float]:
    """Power over its surroundings, as a ratio to the mean of noise, of the least likely point; and its chance.

    Points up to `limit` in cycles per pixel are looked at.
    """
    n, height, width = frames.shape
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
    power = np.mean([np.abs(fft.rfft2(frame * window)) ** 2 for frame in frames], axis=0)
    ky = np.abs(fft.fftfreq(height))
    k = np.hypot(ky[:, None], fft.rfftfreq(width))
    mean = n / gammaincinv(n, 0.5)  # of noise, over its median
    # The noise by kx, where atoms reach least: medians over a few columns each, fewer where it may be steep.
    high = power[ky > 0.25]
    column, known = np.empty((2, power.shape[1]))
    for i in range(power.shape[1]):
        around = high[:, i - min(i, 2) : i + min(i, 2) + 1]
        column[i] = mean * np.median(around)
        known[i] = around.size if i else around.size / 2  # conjugate pairs
    # Where nothing is left at all, nothing is a peak.
    ratio = power / np.maximum(column, 1e-12 * max(column.max(), 1e-300))
    chance, tried = np.ones_like(ratio), 0
    size = min(height, width)
    edges = np.arange(3, max(limit * size, 4) + _RING, _RING) / size  # inside the first: background
    for low, end in itertools.pairwise(edges):
        ring = (k >= low) & (k < end)
        ratio[ring] /= max(mean * np.median(ratio[ring]), 1e-300)
        # An exponential over an estimated mean has an F distribution.
        points = _INDEPENDENT / (1 / ring.sum() + 1 / np.broadcast_to(known, k.shape)[ring])
        chance[ring] = fdtrc(2 * n, 2 * n * points, ratio[ring])
        tried += points.size
    best = np.unravel_index(np.argmin(chance), chance.shape)
    return float(ratio[best]), float(-np.expm1(tried * np.log1p(-min(chance[best], 0.999))))


def css_mean(frames: ArrayLike, data_range: float) -> float:
    """Consecutive structural similarity of a series: mean SSIM of neighbouring frames.

    Parameters
    ----------
    frames
        Real, (n, y, x), two frames or more of at least 11 x 11 px. Pixels that are not finite do not count.
    data_range
        Intensity range of SSIM's constants, in the units of `frames`; the same for all that you compare.

    Returns
    -------
    float
        At most 1. Highest for images of nothing: show it beside :func:`blur_reference` and a measure of fidelity.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.evaluation import css_mean
    >>> css_mean(np.random.default_rng(0).poisson(5, (3, 32, 32)), data_range=10) < 0.2
    True
    >>> css_mean(np.ones((3, 32, 32)), data_range=10)
    1.0
    """
    frames = _real("frames", frames)
    if frames.ndim != 3 or len(frames) < 2:
        raise ValueError(
            f"'frames' has shape {frames.shape}; expected (n, y, x) with n of 2 or more: CSS compares each frame with "
            "the next. Give a series of frames."
        )
    pairs = css_pairs(frames, _positive("data_range", data_range))
    if not np.isfinite(pairs).any():
        raise ValueError(
            "'frames' have no pair with a window of 11 x 11 px without NaN or infinite pixels in both; expected fewer "
            "of them. Cut off the borders without data, or replace single pixels."
        )
    return float(np.nanmean(pairs))


def blur_reference(frames: ArrayLike, data_range: float, sigma: float) -> float:
    """CSS of the raw series after a plain Gaussian blur: what a CSS must be compared with.

    Parameters
    ----------
    frames
        Raw series, as for :func:`css_mean`.
    data_range
        As for :func:`css_mean`, and the same.
    sigma
        Standard deviation of the blur in pixels; state it. About the width of an atom is fair.

    Returns
    -------
    float
        At most 1.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.evaluation import blur_reference
    >>> frames = np.random.default_rng(0).poisson(5, (3, 32, 32))
    >>> blur_reference(frames, data_range=10, sigma=8) > 0.9
    True
    """
    frames, sigma = _real("frames", frames), _positive("sigma", sigma)
    measured = np.isfinite(frames)
    spread = (0,) * (frames.ndim - 2) + (sigma, sigma)
    weight = gaussian_filter(measured.astype(np.float64), spread)
    blurred = gaussian_filter(np.where(measured, frames, 0.0), spread)
    return css_mean(np.where(measured, blurred / np.maximum(weight, 1e-12), np.nan), data_range)


def _real(name: str, array: ArrayLike) -> np.ndarray:
    """(..., y, x) as float64, or a clear error."""
    array = np.asarray(array)
    if array.dtype.kind not in "uif" or array.ndim < 2 or array.size == 0:
        raise ValueError(
            f"'{name}' has dtype '{array.dtype}' and shape {array.shape}; expected real frames (..., y, x), integer or "
            "float. Give the array of the series, for example signal.data."
        )
    return array.astype(np.float64)


def _alike(**arrays: ArrayLike) -> list[np.ndarray]:
    """Real arrays of one shape, that of the first."""
    first = next(iter(arrays))
    checked = {name: _real(name, array) for name, array in arrays.items()}
    shape = checked[first].shape
    for name, array in checked.items():
        if array.shape != shape:
            raise ValueError(
                f"'{name}' has shape {array.shape}; expected that of '{first}', {shape}. Select the same frames and "
                "the same region of both."
            )
    return list(checked.values())


def _weight(name: str, weight: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    try:
        weight = np.broadcast_to(np.asarray(weight, np.float64), shape)
    except (TypeError, ValueError):
        raise ValueError(
            f"'{name}' has shape {np.shape(weight)}; expected numbers or booleans of shape {shape}, or a shape that "
            "broadcasts to it. Give one value for each pixel."
        ) from None
    if not (weight >= 0).all() or np.isinf(weight).any():
        raise ValueError(
            f"'{name}' has values that are negative, NaN or infinite; expected finite values, 0 or more. Give 0 where "
            "pixels do not count."
        )
    return weight


def _positive(name: str, value: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not (np.isfinite(number) and number > 0):
        raise ValueError(
            f"'{name}' is {value!r}; expected a positive, finite number in the units that its description gives."
        )
    return number
