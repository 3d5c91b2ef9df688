# SPDX-License-Identifier: GPL-3.0-or-later
"""Other denoisers with one calling convention: frames (t, y, x) in, frames of that shape out.

They are what a user would try first and what the benchmark compares with. All of them are linear
in the units of the frames where their parameters allow it: strengths are given in units of the
standard deviation of the series, so that a grid of parameters serves every detector.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike
from scipy import ndimage

__all__ = [
    "BASELINES",
    "Baseline",
    "bm3d",
    "gaussian",
    "gaussian_spacetime",
    "nonlocal_means",
    "svd",
    "total_variation",
    "wavelet",
]


def as_series(frames: ArrayLike) -> np.ndarray:
    """`frames` as float32 (t, y, x), or a clear error."""
    frames = np.asarray(frames)
    if frames.ndim != 3:
        raise ValueError(
            f"frames: expected an array of shape (t, y, x), got {frames.ndim} dimensions; "
            "add a first axis to a single image with image[np.newaxis]."
        )
    if frames.size == 0:
        raise ValueError(f"frames: expected at least one pixel, got the shape {frames.shape}.")
    if frames.dtype.kind not in "buif":
        raise ValueError(f"frames: expected real numbers, got dtype {frames.dtype}.")
    frames = frames.astype(np.float32)
    if not np.isfinite(frames).all():
        raise ValueError("frames: expected finite values, got NaN or inf; fill them first.")
    return frames


def _non_negative(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name}: expected a number of at least 0, got {value!r}.")


def _each_frame(function: Callable, frames: np.ndarray) -> np.ndarray:
    """`function` of every frame of the standardised series, in the units of the series."""
    mean, scale = frames.mean(dtype=np.float64), frames.std(dtype=np.float64)
    if scale == 0:
        return frames
    standard = (frames - np.float32(mean)) / np.float32(scale)
    result = np.stack([function(frame) for frame in standard])
    return (scale * result + mean).astype(np.float32)


def gaussian(frames: ArrayLike, sigma: float = 1.5) -> np.ndarray:
    """Blur every frame by a Gaussian.

    Parameters
    ----------
    frames : array_like
        Real series of shape (t, y, x).
    sigma : float, optional
        Standard deviation in px.

    Returns
    -------
    numpy.ndarray
        Shape (t, y, x), float32, units of `frames`.

    Raises
    ------
    ValueError
        If `frames` is not a real, finite series, or `sigma` is negative.

    Examples
    --------
    >>> import numpy as np
    >>> gaussian(np.ones((2, 8, 8)), sigma=2).shape
    (2, 8, 8)
    """
    _non_negative(sigma=sigma)
    return ndimage.gaussian_filter(as_series(frames), (0, sigma, sigma))


def gaussian_spacetime(frames: ArrayLike, sigma: float = 1.5, sigma_t: float = 1.0) -> np.ndarray:
    """Blur the series by a Gaussian in space and time.

    Parameters
    ----------
    frames : array_like
        Real series of shape (t, y, x).
    sigma : float, optional
        Standard deviation in space, px.
    sigma_t : float, optional
        Standard deviation in time, frames.

    Returns
    -------
    numpy.ndarray
        Shape (t, y, x), float32, units of `frames`.

    Raises
    ------
    ValueError
        If `frames` is not a real, finite series, or a width is negative.

    Examples
    --------
    >>> import numpy as np
    >>> gaussian_spacetime(np.ones((4, 8, 8)), sigma=1, sigma_t=2).shape
    (4, 8, 8)
    """
    _non_negative(sigma=sigma, sigma_t=sigma_t)
    return ndimage.gaussian_filter(as_series(frames), (sigma_t, sigma, sigma))


def total_variation(frames: ArrayLike, weight: float = 1.0) -> np.ndarray:
    """Total-variation denoising of every frame.

    Parameters
    ----------
    frames : array_like
        Real series of shape (t, y, x).
    weight : float, optional
        Strength, in units of the standard deviation of the series.

    Returns
    -------
    numpy.ndarray
        Shape (t, y, x), float32, units of `frames`.

    Raises
    ------
    ValueError
        If `frames` is not a real, finite series, or `weight` is not positive.

    References
    ----------
    .. [1] A. Chambolle, J. Math. Imaging Vis. 20 (2004) 89-97.

    Examples
    --------
    >>> import numpy as np
    >>> total_variation(np.eye(8)[np.newaxis], weight=0.5).shape
    (1, 8, 8)
    """
    from skimage.restoration import denoise_tv_chambolle

    if not weight > 0:
        raise ValueError(f"weight: expected a positive number, got {weight!r}.")
    return _each_frame(lambda frame: denoise_tv_chambolle(frame, weight), as_series(frames))


def nonlocal_means(
    frames: ArrayLike, h: float = 0.6, patch_size: int = 7, patch_distance: int = 9
) -> np.ndarray:
    """Non-local means of every frame.

    Parameters
    ----------
    frames : array_like
        Real series of shape (t, y, x).
    h : float, optional
        Cut-off of the patch distance, in units of the standard deviation of the series.
    patch_size : int, optional
        Side of the compared patches, px.
    patch_distance : int, optional
        Largest distance of two compared patches, px.

    Returns
    -------
    numpy.ndarray
        Shape (t, y, x), float32, units of `frames`.

    Raises
    ------
    ValueError
        If `frames` is not a real, finite series, or a parameter is not positive.

    References
    ----------
    .. [1] A. Buades, B. Coll, J.-M. Morel, CVPR 2005, 60-65.

    Examples
    --------
    >>> import numpy as np
    >>> nonlocal_means(np.eye(16)[np.newaxis], h=0.5).shape
    (1, 16, 16)
    """
    from skimage.restoration import denoise_nl_means

    for name, value in (("h", h), ("patch_size", patch_size), ("patch_distance", patch_distance)):
        if not value > 0:
            raise ValueError(f"{name}: expected a positive number, got {value!r}.")

    def denoise(frame: np.ndarray) -> np.ndarray:
        return denoise_nl_means(frame, patch_size, patch_distance, h=h, fast_mode=True)

    return _each_frame(denoise, as_series(frames))


def wavelet(frames: ArrayLike, sigma: float = 0.9, shifts: int = 3) -> np.ndarray:
    """Wavelet shrinkage of every frame, averaged over shifts of the grid.

    Parameters
    ----------
    frames : array_like
        Real series of shape (t, y, x).
    sigma : float, optional
        Assumed standard deviation of the noise, in units of that of the series.
    shifts : int, optional
        The result is the mean over shifts of 0 to `shifts` px in both directions.

    Returns
    -------
    numpy.ndarray
        Shape (t, y, x), float32, units of `frames`.

    Raises
    ------
    ValueError
        If `frames` is not a real, finite series, or a parameter is negative.

    References
    ----------
    .. [1] S. G. Chang, B. Yu, M. Vetterli, IEEE Trans. Image Process. 9 (2000) 1532-1546.
    .. [2] R. R. Coifman, D. L. Donoho, Lecture Notes in Statistics 103 (1995) 125-150.

    Examples
    --------
    >>> import numpy as np
    >>> wavelet(np.eye(16)[np.newaxis], sigma=0.5).shape
    (1, 16, 16)
    """
    from skimage.restoration import denoise_wavelet

    _non_negative(sigma=sigma, shifts=shifts)
    moves = [(y, x) for y in range(int(shifts) + 1) for x in range(int(shifts) + 1)]

    def denoise(frame: np.ndarray) -> np.ndarray:
        total = np.zeros_like(frame)
        for move in moves:
            result = denoise_wavelet(
                np.roll(frame, move, (0, 1)), sigma=sigma, wavelet="db2", method="BayesShrink"
            )
            total += np.roll(result, (-move[0], -move[1]), (0, 1))
        return total / len(moves)

    return _each_frame(denoise, as_series(frames))


def svd(frames: ArrayLike, rank: int = 8, patch: int | None = 10) -> np.ndarray:
    """Low-rank approximation of the series by singular value decomposition.

    The rows of the matrix are all overlapping square patches of all frames, or whole frames. Only
    its first `rank` singular vectors are kept, and overlapping patches are averaged.

    Parameters
    ----------
    frames : array_like
        Real series of shape (t, y, x).
    rank : int, optional
        Number of components; the mean comes on top of them.
    patch : int, optional
        Side of a patch in px, at most the smaller side of a frame; None for whole frames.

    Returns
    -------
    numpy.ndarray
        Shape (t, y, x), float32, units of `frames`.

    Raises
    ------
    ValueError
        If `frames` is not a real, finite series, `rank` is negative, or `patch` does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> svd(np.ones((3, 16, 16)), rank=1, patch=4).shape
    (3, 16, 16)
    """
    frames = as_series(frames)
    _non_negative(rank=rank)
    count, height, width = frames.shape
    if patch is None:
        rows = frames.reshape(count, -1)
        mean = rows.mean(0)
        left, values, right = np.linalg.svd(rows - mean, full_matrices=False)
        kept = (left[:, :rank] * values[:rank]) @ right[:rank] + mean
        return kept.reshape(frames.shape)
    if not 1 <= patch <= min(height, width):
        raise ValueError(
            f"patch: expected 1 to {min(height, width)} px for frames of {height} x {width} px, "
            f"got {patch!r}."
        )
    windows = sliding_window_view(frames, (patch, patch), (1, 2))
    size = patch * patch
    mean = windows.mean((0, 1, 2), dtype=np.float64).reshape(size).astype(np.float32)

    def rows():
        for one in windows:  # all at once would take a hundred times the memory of the frames
            yield one.reshape(-1, size) - mean

    # the right singular vectors, without the long side of the matrix
    _, vectors = np.linalg.eigh(sum(row.T @ row for row in rows()))
    vectors = vectors[:, ::-1][:, :rank]
    result = np.zeros_like(frames)
    weight = np.zeros((height, width), np.float32)
    y, x = windows.shape[1:3]
    for index, row in enumerate(rows()):
        kept = ((row @ vectors) @ vectors.T + mean).reshape(y, x, patch, patch)
        for i in range(patch):
            for j in range(patch):
                result[index, i : i + y, j : j + x] += kept[:, :, i, j]
                if index == 0:
                    weight[i : i + y, j : j + x] += 1
    return result / weight


def bm3d(
    frames: ArrayLike,
    strength: float = 1.0,
    gain: float = 1.0,
    offset: float = 0.0,
    read_noise: float = 0.0,
) -> np.ndarray:
    """BM3D of every frame after variance stabilisation.

    The generalised Anscombe transform makes Poisson counts with Gaussian read-out noise nearly
    Gaussian with standard deviation 1; the result is transformed back by the closed form of the
    exact unbiased inverse. Needs the package ``bm3d`` (free for non-commercial use).

    Parameters
    ----------
    frames : array_like
        Real series of shape (t, y, x).
    strength : float, optional
        Assumed standard deviation of the stabilised noise; 1 is the nominal value.
    gain : float, optional
        Units of `frames` per count; 0 for noise that is the same everywhere, which needs no stabilisation.
    offset : float, optional
        Value of `frames` at zero counts.
    read_noise : float, optional
        Standard deviation of the read-out noise in units of `frames`.

    Returns
    -------
    numpy.ndarray
        Shape (t, y, x), float32, units of `frames`.

    Raises
    ------
    ImportError
        If the package ``bm3d`` is missing.
    ValueError
        If `frames` is not a real, finite series, or a parameter is out of range.

    References
    ----------
    .. [1] K. Dabov et al., IEEE Trans. Image Process. 16 (2007) 2080-2095.
    .. [2] M. Makitalo, A. Foi, IEEE Trans. Image Process. 22 (2013) 91-103.

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.random.default_rng(0).poisson(5.0, (1, 32, 32))
    >>> bm3d(counts).shape  # doctest: +SKIP
    (1, 32, 32)
    """
    frames = as_series(frames)
    _non_negative(gain=gain, read_noise=read_noise)
    if not strength > 0:
        raise ValueError(f"strength: expected a positive number, got {strength!r}.")
    if not gain > 0 and not read_noise > 0:
        raise ValueError("read_noise: expected a positive number where 'gain' is 0, got 0.")
    try:
        from bm3d import BM3DProfile
        from bm3d import bm3d as denoise
    except ImportError as error:
        raise ImportError("the baseline 'bm3d' needs the package bm3d: pip install bm3d") from error

    if gain > 0:
        variance = (read_noise / gain) ** 2
        stable = stabilise((frames - offset) / gain, variance)
    else:
        stable = (frames - offset) / read_noise
    # BM3D reads values as fractions of the white level: noise of 1 must be small against it
    scale = max(float(np.ptp(stable)), 1.0)
    profile = BM3DProfile()
    profile.num_threads = 1  # with more, results differ from run to run
    result = np.stack(
        [
            scale * denoise(frame / scale, strength / scale, profile)
            for frame in stable.astype(np.float64)
        ]
    )
    if not gain > 0:
        return (read_noise * result + offset).astype(np.float32)
    return (gain * unstabilise(result, variance) + offset).astype(np.float32)


def stabilise(counts: np.ndarray, variance: float = 0.0) -> np.ndarray:
    """Generalised Anscombe transform of counts with Gaussian noise of that variance."""
    return 2 * np.sqrt(np.maximum(counts + 0.375 + variance, 0))


def unstabilise(values: np.ndarray, variance: float = 0.0) -> np.ndarray:
    """Closed form of the exact unbiased inverse of `stabilise`."""
    d = np.maximum(values, 2 * np.sqrt(0.375))
    root = np.sqrt(1.5)
    series = d**2 / 4 + root / (4 * d) - 11 / (8 * d**2) + 5 * root / (8 * d**3) - 0.125
    return series - variance


class Baseline(NamedTuple):
    """A baseline and the parameters among which the benchmark chooses."""

    function: Callable[..., np.ndarray]
    grid: dict[str, Sequence[Any]]


#: Name of a baseline -> its function and its grid of parameters.
BASELINES: dict[str, Baseline] = {
    "gaussian": Baseline(gaussian, {"sigma": (0.6, 0.8, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 6, 12)}),
    "gaussian_spacetime": Baseline(
        gaussian_spacetime,
        {
            "sigma": (0.6, 0.8, 1, 1.25, 1.5, 1.75, 2, 2.5, 3.5, 8),
            "sigma_t": (0.4, 0.7, 1, 1.5, 2, 4),
        },
    ),
    "total_variation": Baseline(total_variation, {"weight": (0.2, 0.4, 0.7, 1, 1.5, 2.5, 4)}),
    "nonlocal_means": Baseline(nonlocal_means, {"h": (0.1, 0.2, 0.35, 0.5, 0.7, 1, 1.4)}),
    "wavelet": Baseline(wavelet, {"sigma": (0.1, 0.2, 0.35, 0.55, 0.8, 1.1, 1.6, 2.4)}),
    "svd": Baseline(svd, {"rank": (1, 2, 4, 8, 12, 20, 32), "patch": (8, 16, None)}),
    "bm3d": Baseline(bm3d, {"strength": (0.7, 0.85, 1.0, 1.25, 1.6, 2.0)}),
}
