# SPDX-License-Identifier: GPL-3.0-or-later
"""Independent views of the same scene: neighbouring frames put on one another, and noise that is split off.

Functions on arrays. What a result is judged by must not have gone into it. A frame's neighbours have other noise, but
the scene may have moved and a method may have looked at them; noise that is split off needs the method once more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import fft

from n2a.noise import Noise
from n2a.sampling import Spectrum, band_spectrum, find_shift, move

#: Frames at these distances were not seen by a method that looks at five frames to either side, as the weights in
#: the box do where nothing moves.
UNSEEN = (6, 7, 8)
_LEAST_OVERLAP = 0.6  # of each edge
_SURE = 3.0  # standard errors


class Registration(NamedTuple):
    """Shifts (n, 2) in whole pixels that put frames on the middle one, and the region (y, x) that all of them show."""

    shifts: np.ndarray
    region: tuple[slice, slice]

    def apply(self, frames: np.ndarray) -> np.ndarray:
        """Frames (n, y, x) put on one another, the common region alone."""
        return np.stack(
            [
                move(frame, tuple(shift), *self.region)
                for frame, shift in zip(frames, self.shifts, strict=True)
            ]
        )


def register(frames: np.ndarray, atom_width: float) -> Registration:
    """How a drifting series is put on its middle frame by whole pixels.

    Parameters
    ----------
    frames
        (n, y, x), real and finite.
    atom_width
        Standard deviation of an atom in pixels.

    Returns
    -------
    Registration
        Without shifts where the frames would have too little in common, or agree no better with them for sure. Frames
        that drift are often 1 px away from where they belong: a step that hardly matters is not taken.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.ndimage import gaussian_filter
    >>> from n2a.views import register
    >>> scene = gaussian_filter(np.random.default_rng(0).normal(size=(90, 90)), 2)
    >>> frames = np.stack([scene[i : i + 64, 2 * i : 2 * i + 64] for i in range(5)])
    >>> found = register(frames, 2)
    >>> found.shifts.tolist(), found.apply(frames).shape
    ([[-2, -4], [-1, -2], [0, 0], [1, 2], [2, 4]], (5, 60, 56))
    """
    n, *shape = frames.shape
    still = Registration(np.zeros((n, 2), int), (slice(None), slice(None)))
    if n == 1:
        return still
    spectra = [band_spectrum(frame.astype(np.float32), atom_width) for frame in frames]
    steps = [find_shift(a, b, tuple(shape)).shift for a, b in itertools.pairwise(spectra)]
    shifts = np.concatenate([np.zeros((1, 2), int), np.cumsum(steps, axis=0)])
    middle = n // 2
    shifts -= shifts[middle]
    # Rounding adds up along the chain: once more, against the middle frame itself.
    for i in range(n):
        if abs(i - middle) > 1:
            moved = move(frames[i].astype(np.float32), tuple(shifts[i]))
            shifts[i] += find_shift(
                spectra[middle], band_spectrum(moved, atom_width), tuple(shape)
            ).shift
    # Each step is sure of something; that all frames agree better than as they were recorded is another matter.
    placed = [
        band_spectrum(move(frame.astype(np.float32), tuple(shift)), atom_width)
        for frame, shift in zip(frames, shifts, strict=True)
    ]
    rise = _agreement(placed)[0] - _agreement(spectra)[0]
    if rise < _SURE * _agreement(spectra)[1]:
        return still
    low, high = shifts.max(axis=0), shifts.min(axis=0)
    region = tuple(
        slice(max(a, 0), length + min(b, 0)) for a, b, length in zip(low, high, shape, strict=True)
    )
    common = [(part.stop - part.start) / length for part, length in zip(region, shape, strict=True)]
    return Registration(shifts, region) if min(common) >= _LEAST_OVERLAP else still


def _agreement(spectra: list[Spectrum]) -> tuple[float, float]:
    """Sum of the products of all pairs of frames, and its standard error for unrelated noise."""
    values = np.stack([each.values for each in spectra])
    values[..., 1:] *= np.sqrt(2)  # negative kx
    power = np.sum(np.abs(values.sum(0)) ** 2) - np.sum(np.abs(values) ** 2)
    noise = np.mean([each.noise for each in spectra], axis=0)
    n = len(spectra)
    # The tapers tie neighbouring frequencies together: (35/18)^2 times the variance of independent ones.
    return float(power / 2), float(35 / 18 * np.sqrt(n * (n - 1) / 2 * np.sum(noise**2)))


def unseen_pairs(count: int) -> Iterator[tuple[int, list[int]]]:
    """Each frame, with two or more frames on one side of it that it was not computed from.

    Frames of one side: a steady motion then makes a result look worse, never better.
    """
    for i in range(count):
        for side in (1, -1):
            others = [i + side * k for k in UNSEEN if 0 <= i + side * k < count]
            if len(others) > 1:
                yield i, others


def added_noise(
    expected: np.ndarray,
    noise: Noise,
    profile: np.ndarray,
    rng: np.random.Generator,
    step: float = 1.0,
) -> np.ndarray:
    """Noise like that of the raw frames: counts more or less, correlated along the scan lines alike.

    Parameters
    ----------
    expected
        (n, y, x), the intensities without noise.
    noise
        Its gain and offset; how it is distributed over the image.
    profile
        Mean power of the noise by cosine frequency along x, of any length: its strength and its correlation.
    rng
        Source of randomness.
    step
        Part of the noise that will be added: so much the fewer counts come and go, each a whole one.

    Returns
    -------
    numpy.ndarray
        (n, y, x) float32, of the strength of the whole noise.
    """
    variance = np.maximum(noise.gain * expected + noise.offset, 0)
    # Noise of nowhere must not be spread to where there is none, nor be infinite.
    mean = variance.mean()
    scale = np.sqrt(variance / mean) if mean > 0 else np.ones_like(variance)
    width = expected.shape[-1]
    power = np.interp(
        (np.arange(width) + 0.5) / width, (np.arange(len(profile)) + 0.5) / len(profile), profile
    )
    if noise.gain > 0 and mean > 0:
        counts = step**2 * variance / noise.gain**2
        white = (rng.poisson(counts) - counts) / np.sqrt(np.maximum(counts, 1e-300))
    else:
        white = rng.standard_normal(expected.shape, dtype=np.float32)
    if np.ptp(power) > 0:
        white = fft.idct(white * np.sqrt(power), axis=-1, norm="ortho")
    else:
        white = white * np.sqrt(power[0])
    return (scale * white).astype(np.float32)
