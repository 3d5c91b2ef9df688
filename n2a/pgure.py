# SPDX-License-Identifier: GPL-3.0-or-later
"""Singular value thresholding of patches followed through time, its threshold by the unbiased risk."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter

from n2a.baselines import as_series
from n2a.noise import estimate_noise
from n2a.risk import Risk
from n2a.sampling import band_spectrum, find_shift, measure_atom_width

_SAMPLE = 96  # px: edge of the region in which the threshold is chosen
# Thresholds that are tried, in units of the largest singular value of noise alone.
_FACTORS = np.geomspace(0.4, 5, 14)


def pgure_svt(
    frames: ArrayLike,
    seed: int = 0,
    threshold: float | None = None,
    patch: int | None = None,
    length: int = 15,
    search: int = 3,
    step: int = 2,
) -> np.ndarray:
    """Singular value thresholding of patches along their trajectories in time (after PGURE-SVT).

    Each patch of a frame is searched for in the frames before and after it. The patches found, one a column, make a
    matrix of low rank where the scene repeats itself. Their mean is kept; of what differs from it the singular values
    s become ``s - threshold**2 / s``, or 0 below the threshold. The threshold is the one with the least unbiased
    estimate of the squared error under Poisson-Gaussian noise (:mod:`n2a.risk`), on a part of the series.

    Parameters
    ----------
    frames : array_like
        Real series of shape (n, y, x), of at least 3 frames and 16 x 16 px.
    seed : int, optional
        Of the probe with which the risk is estimated.
    threshold : float, optional
        In units of `frames`. Default: by the least risk.
    patch : int, optional
        Side of the patches, px. Default: four standard deviations of an atom, 6 to 10 px.
    length : int, optional
        Most frames in a trajectory.
    search : int, optional
        How far a patch is searched for around where the drift of the whole scene takes it, px in each direction.
    step : int, optional
        Distance of neighbouring patches, px.

    Returns
    -------
    numpy.ndarray
        Total intensity, shape (n, y, x), float32, units of `frames`.

    Raises
    ------
    ValueError
        If `frames` is not a real, finite series of that size, or a parameter is out of range.

    Notes
    -----
    Written anew from the publication; it differs from the authors' program (`pguresvt`) in the shrinkage of the
    singular values, in the search, which is exhaustive, and in a threshold that is one for the whole series.

    References
    ----------
    .. [1] T. Furnival, R. K. Leary, P. A. Midgley, Ultramicroscopy 178 (2017) 112-124,
           doi:10.1016/j.ultramic.2016.05.005.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.pgure import pgure_svt
    >>> truth = 9 + 8 * np.sin(np.arange(32) / 2) * np.ones((6, 32, 1))
    >>> noisy = np.random.default_rng(0).poisson(truth)
    >>> bool(np.std(pgure_svt(noisy) - truth) < 0.4 * np.std(noisy - truth))
    True
    """
    frames, width, sizes = _open(frames, patch, length, search, step)
    if threshold is not None and not threshold >= 0:
        raise ValueError(f"threshold: expected a number of at least 0 or None, got {threshold!r}.")
    if np.ptp(frames) == 0:
        return frames
    # Single precision is for what differs between patches, not for an offset.
    mean = np.float32(frames.mean(dtype=np.float64))
    frames = frames - mean
    smooth = gaussian_filter(frames, (0, width, width))
    drift = steady_drift(frames, width)
    if threshold is None:
        threshold = _best_threshold(frames, smooth, drift, sizes, seed)
    return _restore(_follow(smooth, drift, *sizes), frames, sizes[0], [threshold])[0] + mean


def choose_threshold(frames: ArrayLike, seed: int = 0) -> dict[str, float]:
    """The arguments `threshold` and `patch` that :func:`pgure_svt` chooses for these frames.

    Parameters
    ----------
    frames, seed
        As for :func:`pgure_svt`.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.pgure import choose_threshold
    >>> noisy = np.random.default_rng(0).poisson(9.0, (6, 32, 32))
    >>> sorted(choose_threshold(noisy))
    ['patch', 'threshold']
    """
    frames, width, sizes = _open(frames)
    frames = frames - np.float32(frames.mean(dtype=np.float64))
    smooth = gaussian_filter(frames, (0, width, width))
    threshold = _best_threshold(frames, smooth, steady_drift(frames, width), sizes, seed)
    return {"threshold": threshold, "patch": sizes[0]}


def _open(frames, patch=None, length=15, search=3, step=2):
    """Frames, atom width and (patch, length, search, step), or a clear error."""
    frames = as_series(frames)
    if len(frames) < 3 or min(frames.shape[1:]) < 16:
        raise ValueError(
            "frames: 'pgure_svt' follows patches through time; expected at least 3 frames of 16 x 16 px, got the "
            f"shape {frames.shape}."
        )
    width = measure_atom_width(frames[:: -(-len(frames) // 16)]) or 2.0
    if patch is None:
        patch = int(np.clip(round(4 * width), 6, 10))
    for name, value, least, most in (
        ("patch", patch, 2, min(frames.shape[1:])),
        ("length", length, 2, np.inf),
        ("search", search, 0, np.inf),
        ("step", step, 1, patch),
    ):
        if not least <= value <= most:
            raise ValueError(f"{name}: expected {least} to {most}, got {value!r}.")
    return frames, width, (int(patch), int(length), int(search), int(step))


def steady_drift(frames: np.ndarray, width: float) -> np.ndarray:
    """Drift (y, x) of a scene of atoms of that width, whole px a frame: what is at p is at p - drift a frame later."""
    spectra = [band_spectrum(frame, width) for frame in frames]
    shape = frames.shape[1:]
    shifts = [find_shift(a, b, shape).shift for a, b in itertools.pairwise(spectra)]
    # What single pairs say beyond that is noise.
    return np.rint(np.median(shifts, axis=0)).astype(int)


def _best_threshold(frames, smooth, drift, sizes, seed) -> float:
    """The threshold with the least risk in the middle of the series."""
    patch, length, *_ = sizes
    n = min(len(frames), length)
    first = (len(frames) - n) // 2
    part = [slice(first, first + n)]
    for size in frames.shape[1:]:
        edge = min(size, _SAMPLE)
        part.append(slice((size - edge) // 2, (size - edge) // 2 + edge))
    sample, smooth = frames[tuple(part)], smooth[tuple(part)]
    risk = Risk(sample, estimate_noise(sample), seed)
    thresholds = np.sqrt(risk.variance.mean()) * (patch + np.sqrt(n)) * _FACTORS
    # The trajectories are those of the frames themselves: the disturbance is to change what is found, not where.
    trajectories = list(_follow(smooth, drift, *sizes))
    first, second = (
        _restore(trajectories, one, patch, thresholds) for one in (sample, risk.disturbed)
    )
    return float(thresholds[np.argmin([risk.of(a, b) for a, b in zip(first, second)])])


class _Trajectory(NamedTuple):
    """Where the patches of one frame are in the frames around it: first rows and columns, (patch, frame)."""

    frames: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def _follow(
    smooth: np.ndarray, drift: np.ndarray, patch: int, length: int, search: int, step: int
) -> Iterator[_Trajectory]:
    """The trajectories of all patches of each frame; `smooth` (n, y, x) is without most of its noise."""
    n, height, width = smooth.shape
    rows, columns = (_positions(size, patch, step) for size in (height, width))
    row, column = (a.ravel() for a in np.meshgrid(rows, columns, indexing="ij"))
    reach = range(-search, search + 1)
    # The nearest first: of equal patches the first is taken.
    offsets = sorted(itertools.product(reach, reach), key=lambda one: one[0] ** 2 + one[1] ** 2)
    count = min(n, length)
    for frame in range(n):
        start = min(max(0, frame - count // 2), n - count)
        frames = np.arange(start, start + count)
        found = np.empty((2, len(row), count), int)
        for place, other in enumerate(frames):
            centre = -drift * (other - frame)
            best = np.full((len(rows), len(columns)), np.inf)
            shift = np.zeros((2, *best.shape), int)
            for offset in offsets if other != frame else [(0, 0)]:
                y, x = centre + offset
                there = smooth[other].take(np.arange(height) + y, 0, mode="clip")
                there = there.take(np.arange(width) + x, 1, mode="clip")
                distance = _box_sums((there - smooth[frame]) ** 2, rows, columns, patch)
                better = distance < best
                best[better] = distance[better]
                shift[:, better] = np.array([[y], [x]])
            found[0, :, place] = np.clip(row + shift[0].ravel(), 0, height - patch)
            found[1, :, place] = np.clip(column + shift[1].ravel(), 0, width - patch)
        yield _Trajectory(frames, *found)


def _restore(
    trajectories: Iterable[_Trajectory], frames: np.ndarray, patch: int, thresholds: Sequence[float]
) -> np.ndarray:
    """Series (threshold, n, y, x): the mean of all patches that cover a pixel, after thresholding."""
    windows = sliding_window_view(frames, (patch, patch), (1, 2))
    total = np.zeros((len(thresholds), frames.size))
    weight = np.zeros(frames.size)
    _, height, width = frames.shape
    inside = (np.arange(patch)[:, None] * width + np.arange(patch)).ravel()
    for one in trajectories:
        matrix = windows[one.frames, one.rows, one.columns]  # (patches, frames, y, x)
        matrix = matrix.reshape(*matrix.shape[:2], -1)
        mean = matrix.mean(1, keepdims=True)
        matrix = matrix - mean
        # Singular vectors along the frames, without the long side of the matrix.
        power, vectors = np.linalg.eigh(matrix @ np.swapaxes(matrix, 1, 2))
        power = np.maximum(power.astype(np.float64), 1e-30)
        first = (one.frames * height + one.rows) * width + one.columns
        pixels = (first[..., None] + inside).ravel()
        weight += np.bincount(pixels, minlength=frames.size)
        for index, threshold in enumerate(thresholds):
            kept = np.maximum(1 - threshold**2 / power, 0).astype(np.float32)
            mixture = (vectors * kept[:, None, :]) @ np.swapaxes(vectors, 1, 2)
            total[index] += np.bincount(pixels, (mixture @ matrix + mean).ravel(), frames.size)
    return (total / weight).reshape(-1, *frames.shape).astype(np.float32)


def _positions(size: int, patch: int, step: int) -> np.ndarray:
    """First pixels of the patches along an axis; the last reaches the end."""
    return np.unique(np.append(np.arange(0, size - patch + 1, step), size - patch))


def _box_sums(image: np.ndarray, rows: np.ndarray, columns: np.ndarray, patch: int) -> np.ndarray:
    """Sums over the patches that begin at rows and columns."""
    total = np.zeros((image.shape[0] + 1, image.shape[1] + 1))
    np.cumsum(np.cumsum(image, 0, dtype=np.float64), 1, out=total[1:, 1:])
    low, high = total[rows], total[rows + patch]
    return high[:, columns + patch] - high[:, columns] - low[:, columns + patch] + low[:, columns]
