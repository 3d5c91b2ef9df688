# SPDX-License-Identifier: GPL-3.0-or-later
"""How noisy a series is: noise against intensity, measured on the frames themselves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import convolve1d, gaussian_filter

# Fourth difference along the slow axis: blind to anything smooth, and to noise that is correlated along the scan.
_HIGH_PASS = np.array([1.0, -4.0, 6.0, -4.0, 1.0])
_BLOCK = 8


class Noise(NamedTuple):
    """Noise variance ``offset + gain * intensity``, in the frames' units, and its error in `gain`."""

    gain: float
    offset: float
    gain_error: float

    def variance(self, intensity: float) -> float:
        """Variance at an intensity, never negative."""
        return max(self.gain * intensity + self.offset, 0.0)


def estimate_noise(frames: np.ndarray) -> Noise:
    """Poisson-Gaussian noise of frames, from their fourth differences along y.

    Parameters
    ----------
    frames
        (n, y, x), real; NaN where nothing was measured. At least 8 x 8 pixels.

    Returns
    -------
    Noise
        Straight line of the noise variance over the intensity, fitted to blocks of 8 x 8 pixels that are sorted
        by their mean; a trimmed mean in each class of brightness resists edges, atoms and hot pixels. A `gain`
        that cannot be told from zero (less than three errors) is returned as 0, with the mean variance.

    Notes
    -----
    Cf. Foi et al., IEEE Trans. Image Process. 17, 1737 (2008). Noise that is smooth along y is not seen.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.noise import estimate_noise
    >>> rate = np.linspace(5, 50, 256)[None, :, None] * np.ones((4, 256, 256))
    >>> noise = estimate_noise(3.0 * np.random.default_rng(0).poisson(rate))
    >>> bool(abs(noise.gain - 3) < 0.15)
    True
    """
    frames = np.asarray(frames)
    if frames.dtype != np.float32:
        frames = frames.astype(np.float64)
    mean = _blocks(frames)
    rough = (convolve1d(frame, _HIGH_PASS, axis=0, mode="mirror") for frame in frames)
    variance = np.concatenate([_blocks(r[None] ** 2) for r in rough]) / (_HIGH_PASS**2).sum()
    measured = np.isfinite(mean) & np.isfinite(variance)
    mean, variance = mean[measured], variance[measured]
    if len(mean) == 0:
        raise ValueError(
            "'frames' have no 8x8 block of finite pixels; expected larger images or fewer NaN"
        )
    # Rounded, so that scaling the frames does not reorder blocks of equal brightness.
    relative = (mean - mean.min()) / max(np.ptp(mean), 1e-300)
    order = np.argsort(relative.round(5), kind="stable")
    classes = np.array_split(order, max(1, min(16, len(order) // 12)))
    x = np.array([np.median(mean[c]) for c in classes])
    # Without the top tenth, where the hot pixels and the sharpest edges are; that lowers the mean by some 4 %.
    y = np.array([np.sort(variance[c])[: -(-len(c) * 9 // 10)].mean() for c in classes]) * 1.04
    spread = np.array(
        [1.4826 * np.median(np.abs(variance[c] - np.median(variance[c]))) for c in classes]
    )
    error = np.maximum(
        1.25 * spread / np.sqrt([len(c) for c in classes]), 1e-12 * max(y.max(), 1e-300)
    )
    flat = Noise(0.0, float(np.median(y)), np.inf)
    if len(x) < 4 or np.ptp(x) <= 0 or y.max() <= 0:
        return flat
    # Relative weights: structure adds to the bright classes' variance more than counting statistics says.
    weight = 1 / np.maximum(error, 0.05 * y + 1e-3 * y.max())
    centre = np.average(x, weights=weight**2)
    (slope, _), covariance = np.polyfit(x - centre, y, 1, w=weight, cov="unscaled")
    slope_error = float(np.sqrt(covariance[0, 0]))
    value = np.average(y, weights=weight**2)
    if slope < 3 * slope_error:
        return flat._replace(offset=float(value), gain_error=slope_error)
    return Noise(float(slope), float(value - slope * centre), slope_error)


def scan_covariance(frame: np.ndarray, where: np.ndarray, lags: int) -> np.ndarray:
    """Covariance of the noise along the scan lines, at 0 to `lags` pixels.

    Parameters
    ----------
    frame
        (y, x), real and finite.
    where
        (y, x), which pixels show noise and background only.
    lags
        Less than the width of the frame.

    Returns
    -------
    numpy.ndarray
        (lags + 1,), in units of the fourth differences along y, which leave noise: compare with the first.
    """
    rough = convolve1d(frame, _HIGH_PASS, axis=0, mode="mirror")
    low, high = np.quantile(rough[where], (0.001, 0.999))  # hot pixels
    rough = np.clip(rough, low, high) * where
    width = frame.shape[1]
    products = [
        (rough[:, : width - lag] * rough[:, lag:]).sum()
        / max(np.count_nonzero(where[:, : width - lag] & where[:, lag:]), 1)
        for lag in range(lags + 1)
    ]
    return np.array(products)


def background_level(frames: np.ndarray, bright: bool) -> float:
    """Intensity between the atoms: the 30 % (70 % for dark atoms) quantile of the slightly smoothed frames."""
    # Smoothing keeps the noise itself from widening the distribution.
    finite = np.isfinite(frames)
    filled = frames if finite.all() else np.where(finite, frames, np.nanmedian(frames))
    smooth = np.stack([gaussian_filter(frame, 1.5)[::2, ::2] for frame in filled])
    return float(np.quantile(smooth[finite[:, ::2, ::2]], 0.3 if bright else 0.7))


def _blocks(a: np.ndarray) -> np.ndarray:
    n, height, width = a.shape
    b = min(_BLOCK, height, width)
    a = a[:, : height // b * b, : width // b * b]
    return a.reshape(n, height // b, b, -1, b).mean(axis=(2, 4)).ravel()
