# SPDX-License-Identifier: GPL-3.0-or-later
"""Means over the pixels of frames with their standard errors, and checks of such arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

BLOCK = 32  # px: longer than noise is correlated along a scan line
_FEWEST_BLOCKS = 16  # fewer say too little about their scatter


class Estimate(NamedTuple):
    """A mean over pixels and its standard error."""

    value: float
    error: float


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
    >>> from n2a.means import block_mean
    >>> truth = np.full((4, 64, 64), 5.0)
    >>> unseen = np.random.default_rng(0).poisson(truth)
    >>> difference = block_mean((unseen - 1.02 * truth) ** 2 - (unseen - 1.2 * truth) ** 2)
    >>> difference.value < -3 * difference.error
    True
    """
    values = real_frames("values", values)
    counted = np.isfinite(values)
    if weight is None:
        weight = counted.astype(np.float64)
    else:
        weight = np.where(counted, check_weight("weight", weight, values.shape), 0.0)
    size = max(1, int(check_positive("block", block)))
    height, width = values.shape[-2:]
    frames = values[..., 0, 0].size
    while size > 1 and frames * max(1, height // size) * max(1, width // size) < _FEWEST_BLOCKS:
        size //= 2
    return mean_in_blocks(values, weight, size, size)


def mean_in_blocks(values: np.ndarray, weight: np.ndarray, rows: int, columns: int) -> Estimate:
    """Weighted mean, its error from the scatter of blocks of `rows` x `columns` pixels of each frame."""
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


def real_frames(name: str, array: ArrayLike) -> np.ndarray:
    """(..., y, x) as float64, or a clear error."""
    array = np.asarray(array)
    if array.dtype.kind not in "uif" or array.ndim < 2 or array.size == 0:
        raise ValueError(
            f"'{name}' has dtype '{array.dtype}' and shape {array.shape}; expected real frames (..., y, x), integer or "
            "float. Give the array of the series, for example signal.data."
        )
    return array.astype(np.float64)


def alike(**arrays: ArrayLike) -> list[np.ndarray]:
    """Real arrays of one shape, that of the first."""
    first = next(iter(arrays))
    checked = {name: real_frames(name, array) for name, array in arrays.items()}
    shape = checked[first].shape
    for name, array in checked.items():
        if array.shape != shape:
            raise ValueError(
                f"'{name}' has shape {array.shape}; expected that of '{first}', {shape}. Select the same frames and "
                "the same region of both."
            )
    return list(checked.values())


def check_weight(name: str, weight: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """Weights of pixels, broadcast to `shape`, or a clear error."""
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


def check_positive(name: str, value: float) -> float:
    """A positive, finite float, or a clear error."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not (np.isfinite(number) and number > 0):
        raise ValueError(
            f"'{name}' is {value!r}; expected a positive, finite number in the units that its description gives."
        )
    return number
