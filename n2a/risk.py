# SPDX-License-Identifier: GPL-3.0-or-later
"""The squared error of any denoiser, told from the noisy frames alone: what other methods are tuned with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import convolve1d, gaussian_filter

from n2a.noise import Noise, estimate_noise, scan_covariance

_STEP = 0.3  # of the probe, in standard deviations of the noise
_LAGS = 64  # px along the scan lines


class Risk:
    """Unbiased estimate of a denoiser's mean squared error under Poisson-Gaussian noise.

    ``mean((f(y) - y)**2) - mean(variance) + 2 * mean(probe * covariance * df / dprobe)``: what a result loses against
    the noisy frames, less the noise, and twice how much of the noise it lets through. The last is measured by
    disturbing the frames a little, once, at random.

    Parameters
    ----------
    frames
        Noisy series (n, y, x), real and finite.
    noise
        Of the frames. Default: measured.
    seed
        Of the disturbance. With one seed two methods are compared with little scatter.

    Notes
    -----
    Stein's estimate for noise whose variance is ``gain * intensity + offset``, to first order in the gain, by one
    random probe. Noise that is correlated along the scan lines is measured and allowed for. The variance is that at
    the slightly smoothed intensity.

    References
    ----------
    .. [1] S. Ramani, T. Blu, M. Unser, IEEE Trans. Image Process. 17 (2008) 1540-1554.
    .. [2] Y. Le Montagner, E. D. Angelini, J.-C. Olivo-Marin, IEEE Trans. Image Process. 23 (2014) 1255-1268.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.ndimage import gaussian_filter
    >>> from n2a.noise import Noise
    >>> from n2a.risk import Risk
    >>> truth = 8 + 4 * np.sin(np.arange(128) / 6) * np.ones((2, 128, 1))
    >>> noisy = np.random.default_rng(0).poisson(truth)
    >>> risk = Risk(noisy, Noise(gain=1, offset=0, gain_error=0))
    >>> def blur(frames):
    ...     return gaussian_filter(frames, (0, 2, 2))
    >>> error = np.mean((blur(noisy.astype(float)) - truth) ** 2)
    >>> bool(abs(risk(blur) - error) < 0.1)
    True
    """

    def __init__(self, frames: np.ndarray, noise: Noise | None = None, seed: int = 0):
        self.frames = np.asarray(frames, np.float32)
        noise = estimate_noise(self.frames) if noise is None else noise
        smooth = gaussian_filter(self.frames, (0, 2, 2)).astype(np.float64)
        deviation = np.sqrt(np.maximum(noise.gain * smooth + noise.offset, 0))
        self.variance = deviation**2
        self.probe = np.random.default_rng(seed).choice((-1.0, 1.0), self.frames.shape)
        along = scan_correlation(self.frames)
        self.weight = deviation * convolve1d(deviation * self.probe, along, mode="constant")
        scale = max(np.sqrt(self.variance.mean()), 1e-6 * max(np.ptp(self.frames), 1e-30))
        self.step = _STEP * scale

    @property
    def disturbed(self) -> np.ndarray:
        """The frames, a little disturbed."""
        return self.frames + (self.step * self.probe).astype(np.float32)

    def __call__(self, denoise: Callable[[np.ndarray], np.ndarray]) -> float:
        """Mean squared error of `denoise`, in squared units of the frames; it can scatter below zero."""
        return self.of(denoise(self.frames), denoise(self.disturbed))

    def of(self, first: np.ndarray, second: np.ndarray, part: slice = slice(None)) -> float:
        """The same from the results of the frames and of the disturbed ones, or of a part of either."""
        first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
        lost = np.mean((first - self.frames[part]) ** 2 - self.variance[part])
        kept = np.mean(self.weight[part] * (second - first)) / self.step
        return float(lost + 2 * kept)


def scan_correlation(frames: np.ndarray) -> np.ndarray:
    """Autocorrelation of the noise along the scan lines, at lags -m to m; 0 where it cannot be told from none.

    Parameters
    ----------
    frames
        (n, y, x), real and finite.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.risk import scan_correlation
    >>> scan_correlation(np.random.default_rng(0).poisson(5, (2, 64, 64))).tolist()
    [1.0]
    """
    lags = min(_LAGS, frames.shape[-1] // 4)
    covariance, number = np.zeros(lags + 1), 0
    for frame in np.asarray(frames, np.float64):
        smooth = gaussian_filter(frame, 1.5)
        quiet = smooth <= np.median(smooth)
        covariance += scan_covariance(frame, quiet, lags)
        number += quiet.sum()
    if not covariance[0] > 0:
        return np.ones(1)
    correlation = covariance / covariance[0]
    # The fourth differences tie five rows together: fewer independent products than pixels.
    chance = 4 * np.sqrt(2 / max(number, 1))
    strong = np.flatnonzero(correlation > chance)
    # Up to the first lag that chance explains.
    reach = int(np.argmin(np.append(np.isin(np.arange(lags + 1), strong), False)))
    side = correlation[1:reach]
    return np.concatenate([side[::-1], [1.0], side])
