# SPDX-License-Identifier: GPL-3.0-or-later
"""Fourier ring correlation: down to which detail two independent images agree. Functions on arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft
from scipy.signal.windows import tukey

from n2a.means import alike, check_positive

SEVENTH = 1 / 7
_TAPER = 0.5  # of the frame, both edges together: the frame's borders must not correlate


@dataclass(frozen=True)
class RingCorrelation:
    """A Fourier ring correlation, from :func:`frc`.

    Attributes
    ----------
    frequency
        Of the rings, in cycles per pixel, up to 0.5.
    correlation
        -1 to 1. White frames that share nothing have 0, equal ones 1; a frame with the signal-to-noise ratio s of the
        spectrum's power against another of that kind has s / (s + 1).
    three_sigma
        What the correlation of unrelated frames stays below, by ring.
    pixel_size
        In nm, or None.
    """

    frequency: np.ndarray
    correlation: np.ndarray
    three_sigma: np.ndarray
    pixel_size: float | None = None

    @property
    def frequency_nm(self) -> np.ndarray | None:
        """Of the rings in 1/nm; None without a calibration."""
        return None if self.pixel_size is None else self.frequency / self.pixel_size

    def resolution(self, threshold: str | float = "1/7") -> float | None:
        """Finest detail, in px, at which the correlation is still above a threshold.

        Parameters
        ----------
        threshold
            ``"1/7"``, ``"3-sigma"`` or a number.

        Returns
        -------
        float or None
            2 px where the correlation never falls below the threshold; None where no ring is above it.
        """
        if threshold not in ("1/7", "3-sigma") and not isinstance(threshold, (int, float)):
            raise ValueError(
                f"'threshold' is {threshold!r}; expected '1/7', '3-sigma' or a number from 0 to 1."
            )
        limit = {"1/7": SEVENTH, "3-sigma": self.three_sigma}.get(threshold, threshold)
        over = self.correlation - limit
        above = over > 0
        if not above.any():
            return None
        # Rings between the reflections of a crystal are empty: the last ring counts, with one more beside it.
        steady = above & (np.roll(above, 1) | np.roll(above, -1))
        last = int(np.flatnonzero(steady if steady.any() else above)[-1])
        if last == len(over) - 1:
            return 2.0
        part = over[last] / max(over[last] - over[last + 1], 1e-12)
        crossing = self.frequency[last] + part * (self.frequency[last + 1] - self.frequency[last])
        return float(1 / crossing)

    def __repr__(self) -> str:
        parts = []
        for threshold in ("1/7", "3-sigma"):
            told = self.resolution(threshold)
            if told is None:
                parts.append(f"none at {threshold}")
            elif self.pixel_size is None:
                parts.append(f"{told:.3g} px at {threshold}")
            else:
                parts.append(f"{told * self.pixel_size:.3g} nm ({told:.3g} px) at {threshold}")
        return f"RingCorrelation(resolution {', '.join(parts)})"


def frc(
    first: ArrayLike,
    second: ArrayLike,
    pixel_size: float | None = None,
    rings: int | None = None,
) -> RingCorrelation:
    """Fourier ring correlation of two images, or of the pairs of frames of two series.

    Parameters
    ----------
    first, second
        Real, (y, x) or (n, y, x), of one shape and at least 16 x 16 px. Their noise must be independent: results of
        denoising need two halves of the data that were denoised separately. Pixels that are not finite are filled
        with the mean; pairs with a frame of nothing else are left out.
    pixel_size
        In nm; gives the frequencies in 1/nm too.
    rings
        Number of rings up to half a cycle per pixel. Default: one for each two frequencies, 128 at most.

    Returns
    -------
    RingCorrelation
        With the 3-sigma and the 1/7 resolution.

    Raises
    ------
    ValueError
        If the shapes differ, the images are smaller, or one of them is constant.

    Notes
    -----
    The frames are multiplied with a cosine taper over a quarter of the frame at each edge, without which the edges
    correlate. Frames that moved against each other must be registered before, by whole pixels: interpolation
    correlates noise.

    What both halves have wrongly in common counts as agreement: a method that paints the same lattice into both has
    a correlation of 1. Compare each denoised half with the raw frames of the other half as well.

    References
    ----------
    W. O. Saxton, W. Baumeister, J. Microsc. 127, 127 (1982). M. van Heel, M. Schatz, J. Struct. Biol. 151, 250 (2005).
    P. B. Rosenthal, R. Henderson, J. Mol. Biol. 333, 721 (2003) (1/7 for half the data).

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.ndimage import gaussian_filter
    >>> from n2a.ring_correlation import frc
    >>> rng = np.random.default_rng(0)
    >>> scene = 20 * gaussian_filter(rng.normal(size=(128, 128)), 3)
    >>> noisy = scene + rng.normal(size=(2, 128, 128))
    >>> curve = frc(noisy[0], noisy[1], pixel_size=0.01)
    >>> curve.correlation[1] > 0.9, abs(curve.correlation[-1]) < 0.2, 5 < curve.resolution() < 12
    (np.True_, np.True_, True)
    """
    first, second = alike(first=first, second=second)
    if first.ndim not in (2, 3) or min(first.shape[-2:]) < 16:
        raise ValueError(
            f"'first' has shape {first.shape}; expected (y, x) or (n, y, x) with frames of at least 16 x 16 px."
        )
    if pixel_size is not None:
        pixel_size = check_positive("pixel_size", pixel_size)
    height, width = first.shape[-2:]
    first, second = (a.reshape(-1, height, width) for a in (first, second))
    # A blank frame says nothing, and nor does the one beside it.
    seen = np.isfinite(first).any(axis=(1, 2)) & np.isfinite(second).any(axis=(1, 2))
    if seen.any():
        first, second = first[seen], second[seen]
    number = min(128, min(height, width) // 4) if rings is None else rings
    if not (isinstance(number, (int, np.integer)) and 2 <= number <= min(height, width) // 2):
        raise ValueError(
            f"'rings' is {rings!r}; expected a whole number from 2 to {min(height, width) // 2} for such frames."
        )
    window = np.outer(tukey(height + 2, _TAPER)[1:-1], tukey(width + 2, _TAPER)[1:-1])
    ky, kx = fft.fftfreq(height)[:, None], fft.rfftfreq(width)
    ring = np.floor(np.hypot(ky, kx) * 2 * number).astype(int)
    weight = np.full(ring.shape, 2.0)  # of conjugate pairs
    weight[:, 0] = 1
    if width % 2 == 0:
        weight[:, -1] = 1
    weight[0, 0] = 0
    sums = np.zeros((3, number))
    for a, b in zip(first, second, strict=True):
        a, b = (_spectrum(frame, window) for frame in (a, b))
        for total, product in zip(
            sums, ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2), strict=True
        ):
            total += _by_ring(weight * product, ring, number)
    for name, power in (("first", sums[1]), ("second", sums[2])):
        if not power.sum() > 0:
            raise ValueError(
                f"'{name}' is constant: it has no structure to correlate; expected images."
            )
    both = np.sqrt(sums[1] * sums[2])
    # Of the points of a spectrum, the window ties neighbours together.
    independent = np.mean(window**2) ** 2 / np.mean(window**4)
    points = independent * len(first) * _by_ring(weight, ring, number)
    return RingCorrelation(
        frequency=(np.arange(number) + 0.5) / (2 * number),
        correlation=np.divide(sums[0], both, out=np.zeros(number), where=both > 0),
        three_sigma=np.minimum(3 / np.sqrt(np.maximum(points, 1)), 1.0),
        pixel_size=pixel_size,
    )


def _spectrum(frame: np.ndarray, window: np.ndarray) -> np.ndarray:
    finite = np.isfinite(frame)
    mean = frame[finite].mean() if finite.any() else 0.0
    return fft.rfft2(np.where(finite, frame - mean, 0.0) * window)


def _by_ring(values: np.ndarray, ring: np.ndarray, number: int) -> np.ndarray:
    inside = ring < number
    return np.bincount(ring[inside], values[inside], number)
