# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of an atom in a series: an elliptical Gaussian, measured where a network has found atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize
from scipy.signal import fftconvolve
from scipy.spatial import cKDTree

from n2a.detection import detect

# Widths of an atom: how far the shape is looked at, and the background that is taken away.
REACH, BACKGROUND = 5.0, 5.0
# Spread of the logarithms of the widths, and of the correlation, before anything is measured.
PRIOR = 0.35
# Correlation of the most tilted ellipse: three times as long as wide.
MOST_TILTED = 0.8
_PIXELS = 1 / 6  # px^2: mean variance of the four weights with which an atom is put on pixels
# Distance in widths from which on a column stands alone, and the part of those that count as faint.
APART, FAINT = 4.0, 1 / 4


class SpotShape(NamedTuple):
    """Standard deviations of an atom along y and x in pixels, and the correlation of the two."""

    along_y: float
    along_x: float
    correlation: float

    @property
    def width(self) -> float:
        """Of the round atom of the same area."""
        return float(np.prod(self.axes) ** 0.5)

    @property
    def axes(self) -> tuple[float, float]:
        """Width across and along."""
        both = self.correlation * self.along_y * self.along_x
        matrix = [[self.along_y**2, both], [both, self.along_x**2]]
        return tuple(np.sqrt(np.linalg.eigvalsh(matrix).clip(0)).tolist())

    @property
    def elongation(self) -> float:
        """Length over width, 1 or more."""
        across, along = self.axes
        return along / across

    def scaled(self, width: float) -> SpotShape:
        """The same ellipse in another size."""
        factor = width / self.width
        return SpotShape(self.along_y * factor, self.along_x * factor, self.correlation)


class Sighting(NamedTuple):
    """A frame (y, x), linear, in units of its noise, and the atoms (n, 3) that should be in it: row, column, height."""

    frame: np.ndarray
    atoms: np.ndarray


def find_tops(atoms: np.ndarray, width: float, least: float) -> np.ndarray:
    """Maxima (n, 3) of an image of atoms: row and column to a part of a pixel, and height."""
    found = detect(atoms[None], width, min_distance=2)
    found = found[found.height > least]
    return np.stack([found.row, found.column, found.height], 1)


def faint_and_alone(sightings: Sequence[Sighting], width: float) -> list[Sighting]:
    """The sightings with the faintest quarter of the atoms that stand alone.

    Two columns that touch may be found as one atom, long and bright. What all atoms are like, these are like too.
    """
    alone = []
    for frame, atoms in sightings:
        near = cKDTree(atoms[:, :2]).query(atoms[:, :2], k=2)[0][:, 1] if len(atoms) else []
        alone.append(Sighting(frame, atoms[np.asarray(near) > APART * width]))
    heights = np.concatenate([one.atoms[:, 2] for one in alone]) if alone else []
    if not len(heights):
        return []
    typical = np.quantile(heights, FAINT)
    return [Sighting(frame, atoms[atoms[:, 2] <= typical]) for frame, atoms in alone]


def measure_spot(sightings: Sequence[Sighting], width: float) -> SpotShape:
    """Elliptical Gaussian that explains frames best, put where the atoms are.

    Parameters
    ----------
    sightings
        Frames with atoms that were found without them: the noise of a frame at maxima of its own is that of a narrow
        spot.
    width
        What is expected, in pixels; where there are few atoms it is what is found.

    Notes
    -----
    A frame is the sum of the atoms' heights times the shape, on a slow background that both are freed of. What is left
    is quadratic in the shape, with the autocorrelation of the atoms and their correlation with the frame as its
    coefficients: neighbours that overlap with an atom are accounted for.
    """
    reach = int(np.ceil(REACH * width))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    itself, common = np.zeros((4 * reach + 1,) * 2), np.zeros((2 * reach + 1,) * 2)
    for frame, atoms in sightings:
        points = _points(atoms, frame.shape)
        points, frame = (a - gaussian_filter(a, BACKGROUND * width) for a in (points, frame))
        turned = points[::-1, ::-1]
        itself += _centre(fftconvolve(points, turned), 2 * reach)
        common += _centre(fftconvolve(frame, turned), reach)

    def shape(logarithms: np.ndarray) -> SpotShape:
        along_y, along_x = width * np.exp(logarithms[:2].clip(-1.5, 1.5))
        return SpotShape(
            float(along_y), float(along_x), float(MOST_TILTED * np.tanh(logarithms[2]))
        )

    def misfit(logarithms: np.ndarray) -> float:
        # An atom that is put on the four pixels around it is wider by them.
        along_y, along_x, r = shape(logarithms)
        u, v = (a / np.sqrt(max(w**2 - _PIXELS, 0.1)) for a, w in ((y, along_y), (x, along_x)))
        spot = np.exp(-(u**2 + v**2 - 2 * r * u * v) / (2 * (1 - r**2)))
        seen = max(float((common * spot).sum()), 0.0)
        made = float((spot * fftconvolve(itself, spot, "valid")).sum())
        # The height of all is free. Half the squared differences, in units of the noise, and the prior.
        return -(seen**2) / (2 * max(made, 1e-12)) + (logarithms**2).sum() / (2 * PRIOR**2)

    simplex = 0.2 * np.vstack([np.zeros(3), np.eye(3)])
    options = {"initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-3}
    found = minimize(misfit, simplex[0], method="Nelder-Mead", options=options)
    return shape(found.x)


def _points(atoms: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Heights of the atoms on the pixels around them."""
    image = np.zeros(shape)
    low = np.floor(atoms[:, :2]).astype(int)
    part = atoms[:, :2] - low
    for step in np.ndindex(2, 2):
        place = low + step
        weight = np.prod(np.where(step, part, 1 - part), 1) * atoms[:, 2]
        inside = ((place >= 0) & (place < shape)).all(1)
        np.add.at(image, tuple(place[inside].T), weight[inside])
    return image


def _centre(image: np.ndarray, reach: int) -> np.ndarray:
    """Within `reach` of the middle, zero where there is nothing."""
    image = np.pad(image, reach)
    row, column = (n // 2 for n in image.shape)
    return image[row - reach : row + reach + 1, column - reach : column + reach + 1]
