# SPDX-License-Identifier: GPL-3.0-or-later
"""What went away with the noise: structure in raw - denoised, judged against noise alone. Functions on arrays."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft
from scipy.ndimage import gaussian_filter1d
from scipy.special import fdtrc, gammaincinv

from n2a.means import Estimate, alike, check_positive, mean_in_blocks
from n2a.noise import Noise, estimate_noise
from n2a.sampling import measure_atom_width

_FOURTH_DIFFERENCE = (1.0, -4.0, 6.0, -4.0, 1.0)
_BAND = 8  # rows that are averaged for the errors of autocovariances
_CLIP = 8.0  # standard deviations: a hot pixel must not outweigh everything else
_SLOW = 3  # cosines along each axis that count as background: offset, slope, bend
_ZERO_COUNT = 3 / 8  # Anscombe: a count of zero still has this much variance, in counts squared
_RING = 4  # frequencies: width of the rings in the spectrum
# Of the points of a spectrum: the window ties neighbours, and a median knows half as much as a mean.
_INDEPENDENT = 0.13
_SMALLEST = 32  # px, for residual_whiteness


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
    >>> from n2a.whiteness import residual_whiteness
    >>> y, x = np.mgrid[:96, :96]
    >>> truth = 3 + 6 * (1 + np.cos(y / 2) * np.cos(x / 2))
    >>> raw = np.random.default_rng(0).poisson(truth, (4, 96, 96))
    >>> good = residual_whiteness(raw, np.broadcast_to(truth, raw.shape))
    >>> lost = residual_whiteness(raw, np.full(raw.shape, 9.0))
    >>> max(good.y, good.x) < 0.01, min(lost.y, lost.x) > 0.1, good.chance > 0.01, lost.chance < 1e-6
    (True, True, True, True)
    """
    raw, denoised = alike(raw=raw, denoised=denoised)
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
    width = min(check_positive("width", width), min(raw.shape[1:]) / 12)
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
    return mean_in_blocks(products, weight, band, products.shape[-1])


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
