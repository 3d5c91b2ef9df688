# SPDX-License-Identifier: GPL-3.0-or-later
"""Restored frames averaged with those before and after them where they agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter

from n2a.sampling import move

# Weight of a neighbour where it agrees fully; edge of the square in which it has to, in atom widths.
SHARE, AREA = 0.5, 6.0


class Restored(NamedTuple):
    """What the network made of one frame.

    Attributes
    ----------
    intensity
        (y, x), to be averaged.
    seen
        (y, x) atoms and background as stabilised values, in units of the noise of one frame: what is compared.
    measured
        (y, x) where the frame was measured; None: everywhere.
    """

    intensity: np.ndarray
    seen: np.ndarray
    measured: np.ndarray | None


def fuse(
    frame: Restored, others: Sequence[tuple[Restored, tuple[int, int]]], atom_width: float
) -> np.ndarray:
    """Intensity of a frame, averaged with that of its neighbours in time where they agree with it.

    Parameters
    ----------
    frame
        The frame that is wanted.
    others
        Its neighbours, and how far they are to be moved (y, x) to lie on it.
    atom_width
        Standard deviation of an atom in pixels.

    Returns
    -------
    numpy.ndarray
        (y, x) float32.

    Notes
    -----
    Two restored frames see the noise of the frames that both were made of with other weights, so that their mean has
    less of it. The mean squared difference D of the two around a pixel tells whether something has moved: noise of
    one frame that is smoothed with the width s of an atom has the variance ``1 / (4 pi s**2)``. The weight falls from a
    half at D = 0 to nothing at four times that.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.fusion import Restored, fuse
    >>> first, second = (Restored(np.full((16, 16), v), np.zeros((16, 16)), None) for v in (2.0, 5.0))
    >>> fuse(first, [(second, (0, 0))], atom_width=2)[8, 8], fuse(first, [], atom_width=2)[8, 8]
    (np.float32(3.0), np.float32(2.0))
    """
    total = frame.intensity.astype(np.float32)
    weights = np.ones_like(total)
    seen = frame.seen.astype(np.float32)
    for other, shift in others:
        measured = np.ones(seen.shape, bool) if other.measured is None else other.measured
        there = move(measured, shift)
        # Nothing speaks against a neighbour where it shows nothing.
        square = np.square(move(other.seen, shift) - seen) * there
        local = uniform_filter(square, max(1, round(AREA * atom_width)), mode="nearest")
        weight = SHARE * there * (1 - math.pi * atom_width**2 * local).clip(0)
        total += weight * move(other.intensity, shift)
        weights += weight
    return total / weights
