# SPDX-License-Identifier: GPL-3.0-or-later
"""How the atoms of a series lie: how far apart, how many, and whether they fill the image as a crystal does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

# Of fewer atoms per frame nothing is said.
FEWEST = 4
# Structures that fill a patch; the others leave most of it empty.
LATTICES = ("crystal", "2d")
# Atoms per square of their spacing: up to the first they are scattered (at random: 0.22), from the second on they are a
# lattice (graphene: 0.77; dumbbells, with 0.41, are taken for something between).
LOOSE, FULL = 0.3, 0.7
# What is left of the share of a structure that does not look like the series.
DOUBT = 0.3
# Over the distance of the columns that are seen: the length that lattices are measured in, from one whose weak columns
# are not seen to dumbbells; and the distance in a cluster, whose columns are nearer to each other in projection.
LATTICE, CLUSTER = (0.65, 1.4), (1.0, 2.2)
# A typical one of the latter for the median distance: a cluster of some 80 atoms.
NEAREST = 1.8
# Least and largest distances in widths of an atom that pairs are made with. Nearer columns are a plateau.
CLOSEST, FARTHEST = 2.4, 12.0


class Layout(NamedTuple):
    """Arrangement of the atoms of a series.

    Attributes
    ----------
    spacing
        Distance to the nearest neighbour in pixels of the network: that which a tenth, half and nine tenths of the
        atoms are below.
    density
        Atoms per square pixel in the same parts of the frames.
    filled
        How much it looks like a lattice that fills the frame, 0 to 1.
    """

    spacing: tuple[float, float, float]
    density: tuple[float, float, float]
    filled: float


def measure_layout(frames: Sequence[np.ndarray], shape: tuple[int, int]) -> Layout | None:
    """Arrangement of atoms, or None where there are too few.

    Parameters
    ----------
    frames
        Positions (n, 2) of the atoms in several frames, in pixels.
    shape
        Height and width of the frames.
    """
    number = np.array([len(positions) for positions in frames])
    if not len(number) or number.mean() < FEWEST:
        return None
    nearest = [
        cKDTree(positions).query(positions, k=2)[0][:, 1]
        for positions in map(np.asarray, frames)
        if len(positions) > 1
    ]
    density = number / float(np.prod(shape))
    packing = density * np.median(np.concatenate(nearest)) ** 2
    filled = ((packing - LOOSE) / (FULL - LOOSE)).clip(0, 1).mean()
    spacing, density = (
        tuple(np.quantile(values, (0.1, 0.5, 0.9)).tolist())
        for values in (np.concatenate(nearest), density)
    )
    return Layout(spacing, density, float(filled))


def match_layout(
    layout: Layout,
    width: float,
    size: int,
    base: Sequence[tuple[str, float]],
) -> dict:
    """Fields of a :class:`n2a.pairs.Recipe` whose scenes lie like this.

    Parameters
    ----------
    layout
        Of the series.
    width
        Of an atom, px.
    size
        Edge of the patches, px.
    base
        Structures and their shares before anything is known.
    """
    low, high = (distance / width for distance in layout.spacing[::2])
    # Scenes reach beyond their patches.
    fewest, most = (density * (size + 8 * width) ** 2 for density in layout.density[::2])
    crowd = int(np.clip(0.5 * fewest, 2, 90))
    weights = {
        kind: share
        * (DOUBT + (1 - DOUBT) * (layout.filled if kind in LATTICES else 1 - layout.filled))
        for kind, share in base
        if kind != "empty"
    }
    # Empty support is as frequent as it was: a network forgets what it is not shown.
    kept = sum(share for kind, share in base if kind in weights)
    scale = kept / sum(weights.values()) if weights else 0
    return {
        "spacing": _within(LATTICE[0] * low, LATTICE[1] * high),
        "nearest": _within(CLUSTER[0] * low, CLUSTER[1] * high),
        "lone": (1, int(np.clip(1.5 * most, 4, 60))),
        "crowd": (crowd, int(np.clip(1.5 * most, 2 * crowd, 180))),
        "structures": tuple(
            (kind, weights[kind] * scale if kind in weights else share) for kind, share in base
        ),
    }


def _within(low: float, high: float) -> tuple[float, float]:
    """The range, as far as pairs can be made with it, and a range in any case."""
    low = float(np.clip(low, CLOSEST, FARTHEST / 2))
    return low, float(np.clip(high, 1.3 * low, FARTHEST))
