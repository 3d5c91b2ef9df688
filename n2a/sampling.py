# SPDX-License-Identifier: GPL-3.0-or-later
"""How atoms are sampled: their width in pixels, coarser and finer grids, drift between frames."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import fft
from scipy.interpolate import BSpline


def measure_atom_width(frames: np.ndarray) -> float | None:
    """Gaussian width of the atoms, from the fall of the power spectrum.

    Parameters
    ----------
    frames
        (n, y, x), real and finite, at least 16 x 16 pixels.

    Returns
    -------
    float or None
        Standard deviation in pixels of the Gaussian spot that explains the spectrum; None when nothing stands out of
        the noise at spatial frequencies where atoms would.

    Notes
    -----
    For spots of width s the power falls as exp(-(2 pi s k)^2); the moment <k^2> of the power, weighted with k^4 so that
    support and thickness count little, is 3 / (4 pi^2 s^2). Scan jitter and afterglow colour the noise along one
    direction, atoms are alike in all: of the sectors along ky and along kx the weaker one counts.
    """
    n, height, width = frames.shape
    window = (np.hanning(height)[:, None] * np.hanning(width)).astype(np.float32)
    power = 0
    for frame in frames:
        frame = np.asarray(frame, np.float32)
        power = power + np.abs(fft.rfft2((frame - frame.mean()) * window)) ** 2 / n
    ky = np.abs(fft.fftfreq(height))[:, None]
    kx = fft.rfftfreq(width)[None]
    k = np.hypot(ky, kx)
    edges = np.arange(0.015, 0.5, max(1.5 / min(height, width), 1 / 96))
    centre = (edges[1:] + edges[:-1]) / 2
    ratio = np.full(len(centre), np.inf)
    error = np.zeros(len(centre))
    for sector in (ky >= kx, ky <= kx):
        sector = sector & (k < 0.5)
        ring = np.digitize(k[sector], edges)
        number = np.bincount(ring, minlength=len(edges) + 1)[1:-1]
        level = np.bincount(ring, power[sector], len(edges) + 1)[1:-1] / np.maximum(number, 1)
        ratio = np.minimum(ratio, level / max(np.median(level[centre > 0.4]), 1e-300))
        # Power is exponentially distributed; the window leaves about a quarter of the points independent.
        error = np.maximum(error, 1 / np.sqrt(np.maximum(n * number / 4, 1)))
    # What is only a little above white is more likely coloured noise than atoms, unless there is nothing else.
    for coloured in (0.3, 0.0):
        signal = np.where(ratio - 1 > coloured + 4 * error, ratio - 1 - coloured, 0)
        signal[centre > 0.4] = 0
        weight = signal * centre**5
        if np.count_nonzero(weight) >= 2:
            moment = np.sum(weight * centre**2) / np.sum(weight)
            return float(np.sqrt(3 / moment) / (2 * np.pi))
    return None


def bin_frames(frames: np.ndarray, factor: int) -> np.ndarray:
    """Mean over `factor` x `factor` pixels of frames (n, y, x); an incomplete last block repeats the edge.

    NaN are left out of the mean; a block without any measured pixel is NaN.
    """
    if factor == 1:
        return frames
    height, width = frames.shape[1:]
    pad = [(0, 0), (0, -height % factor), (0, -width % factor)]
    frames = np.pad(frames, pad, mode="edge")
    blocks = frames.reshape(len(frames), frames.shape[1] // factor, factor, -1, factor)
    measured = np.isfinite(blocks)
    if measured.all():
        # Sums of integers are exact; float32 loses nothing that float16 or float32 frames have.
        total = blocks.sum(axis=(2, 4), dtype=np.float64)
        return total / factor**2
    number = measured.sum(axis=(2, 4))
    total = np.where(measured, blocks, 0).sum(axis=(2, 4))
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def unbin_frames(frames: np.ndarray, factor: int, shape: tuple[int, int]) -> np.ndarray:
    """Inverse of :func:`bin_frames` for smooth images: binning the result gives `frames` back.

    Cubic splines whose means over the blocks are the given values, so that integrated intensities stay.
    """
    if factor == 1:
        return frames
    rows = _unbinning(frames.shape[1], factor)[: shape[0]]
    columns = _unbinning(frames.shape[2], factor)[: shape[1]]
    return np.matmul(np.matmul(rows, frames), columns.T)


@lru_cache(maxsize=16)
def _unbinning(length: int, factor: int) -> np.ndarray:
    """Matrix (length * factor, length) from block means to samples of a cubic spline."""
    fine = (np.arange(length * factor) + 0.5) / factor - 0.5
    knots = np.arange(-2, 3, dtype=float)
    bump = BSpline.basis_element(knots, extrapolate=False)
    # Coefficients beyond the ends mirror the inner ones.
    spline = np.zeros((length * factor, length))
    for centre in range(-2, length + 2):
        inner = min(max(centre if centre >= 0 else -centre - 1, 0), length - 1)
        if centre >= length:
            inner = max(2 * length - 1 - centre, 0)
        spline[:, inner] += np.nan_to_num(bump(fine - centre))
    means = spline.reshape(length, factor, length).mean(axis=1)
    return np.ascontiguousarray((spline @ np.linalg.inv(means)).astype(np.float32))


class Spectrum(NamedTuple):
    """Low frequencies of what atoms look like in a frame, and how much noise there is in it along kx."""

    values: np.ndarray
    noise: np.ndarray


class Match(NamedTuple):
    """Shift (y, x) in whole pixels, and the cross-correlation there: noise adds nothing to it on average."""

    shift: tuple[int, int]
    likeness: float


def band_spectrum(frame: np.ndarray, width: float) -> Spectrum:
    """What atoms of standard deviation `width` look like in a frame (y, x), for :func:`find_shift`."""
    height, length = frame.shape
    # A dopant or a bright particle must not outweigh everything else.
    spread = 4 * frame.std()
    frame = np.clip(frame - frame.mean(), -spread, spread)
    frame *= np.hanning(height + 2)[1:-1, None].astype(np.float32)
    frame *= np.hanning(length + 2)[1:-1].astype(np.float32)
    spectrum = fft.rfft2(frame)
    # No atoms beyond 0.4 along ky; noise is white along y, whatever it is along the scan.
    noise = np.mean(np.abs(spectrum[np.abs(fft.fftfreq(height)) > 0.4]) ** 2, axis=0)
    band, passed = _band(height, length, width)
    rows, columns = _reach(height, length, width)
    values = np.concatenate([spectrum[:rows, :columns], spectrum[height - rows + 1 :, :columns]])
    values *= np.concatenate([band[:rows, :columns], band[height - rows + 1 :, :columns]])
    return Spectrum(values.astype(np.complex64), (noise * passed)[:columns])


def _reach(height: int, length: int, width: float) -> tuple[int, int]:
    """Number of frequencies along ky (0 and above) and kx that the band lets through, to 1e-4."""
    highest = 0.684 / width
    rows = min(height // 2, int(highest * height)) + 1
    return min(rows, (height + 1) // 2), min(length // 2, int(highest * length)) + 1


@lru_cache(maxsize=4)
def _band(height: int, length: int, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Filter (ky, kx), and how much of white noise comes through it twice, by kx."""
    k2 = fft.fftfreq(height)[:, None] ** 2 + fft.rfftfreq(length) ** 2
    # Smoothed as much as the atoms are wide, less what is four times as wide: support, thickness.
    band = np.exp(-2 * (np.pi * width) ** 2 * k2) - np.exp(-2 * (4 * np.pi * width) ** 2 * k2)
    power = (band**4).sum(axis=0)
    power[1 : (length + 1) // 2] *= 2  # negative kx
    return band.astype(np.float32), np.sqrt(power)


@lru_cache(maxsize=4)
def _overlap(height: int, length: int, reach: int) -> np.ndarray:
    """Noise of the correlation by shift, 1 without one: tapered frames overlap less and less."""
    taper = np.outer(np.hanning(height + 2)[1:-1], np.hanning(length + 2)[1:-1]) ** 2
    overlap = fft.irfft2(np.abs(fft.rfft2(taper)) ** 2, s=(height, length))
    near = np.roll(overlap, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
    return np.sqrt(near / overlap[0, 0])


def find_shift(first: Spectrum, second: Spectrum, shape: tuple[int, int]) -> Match:
    """How far the second frame must be moved to lie on the first, and how alike they are then.

    Parameters
    ----------
    first, second
        From :func:`band_spectrum`.
    shape
        Of the frames.

    Notes
    -----
    Cross-correlation. Only what stands five standard deviations out of the correlation of unrelated noise counts, and
    three quarters of one above the correlation without a shift; otherwise frames stay where they are. Of the nearly
    equal peaks of a crystal a near one is taken, at most a fifth of the frame away.
    """
    r = max(4, min(64, shape[0] // 5, shape[1] // 5))
    low = first.values * np.conj(second.values)
    product = np.zeros((shape[0], shape[1] // 2 + 1), low.dtype)
    rows = (len(low) + 1) // 2
    product[:rows, : low.shape[1]] = low[:rows]
    product[shape[0] - rows + 1 :, : low.shape[1]] = low[rows:]
    correlation = fft.irfft2(product, s=shape)
    near = np.roll(correlation, (r, r), (0, 1))[: 2 * r + 1, : 2 * r + 1]
    y, x = np.ogrid[-r : r + 1, -r : r + 1]
    # The tapers tie neighbouring frequencies together: (35/18)^2 times the variance of independent ones.
    noise = 35 / 18 * np.sqrt((first.noise * second.noise).sum()) / (shape[0] * shape[1])
    merit = near * (1 - 0.15 * np.hypot(y, x) / r)
    best = np.unravel_index(np.argmax(merit), merit.shape)
    # A broad peak is high at its flanks too: what is hardly above the middle is no reason to move.
    rise = near[best] - near[r, r]
    sure = near[best] > 5 * noise * _overlap(*shape, r)[best] and rise > 0.75 * noise
    if not sure or merit[best] < 1.02 * merit[r, r]:
        best = (r, r)
    return Match((int(best[0] - r), int(best[1] - r)), float(near[best]))


def move(
    frame: np.ndarray,
    shift: tuple[int, int],
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> np.ndarray:
    """`frame` (y, x) moved by whole pixels, or a part of it; 0 where nothing comes in."""
    here, there, shape = [], [], []
    for step, length, part in zip(shift, frame.shape, (rows, columns), strict=True):
        start, stop, _ = part.indices(length)
        # Pixels of the part that a pixel of the frame comes to.
        first, last = max(start, step), max(min(stop, length + step), max(start, step))
        here.append(slice(first - start, last - start))
        there.append(slice(first - step, last - step))
        shape.append(stop - start)
    moved = np.zeros(shape, frame.dtype)
    moved[tuple(here)] = frame[tuple(there)]
    return moved
