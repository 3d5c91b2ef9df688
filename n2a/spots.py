# SPDX-License-Identifier: GPL-3.0-or-later
"""A frame as a sum of Gaussian spots and a slow background: the model behind what is measured on atoms."""

from __future__ import annotations

import numpy as np

from n2a.sampling import bin_frames

REACH = 3.5  # atom widths: where a spot ends
KNOTS = 8.0  # atom widths between the knots of the background
_FINE = 1.25  # px: narrower spots are not binned
_RIDGE = 1e-6  # of the diagonal: keeps spots that coincide from blowing up
_SEEN = 0.3  # part of a spot that must have been measured


class Spots:
    """Gaussian spots of one width in a frame, and the windows of pixels around them.

    All is computed on means over `factor` x `factor` pixels where atoms are wide: a spot is sampled well from a
    width of 1.25 px on, and the work is a fraction.

    Parameters
    ----------
    row, column
        Centres in px of the frame.
    width
        Standard deviation in px.
    shape
        Of the frame (y, x).

    Attributes
    ----------
    values
        (atoms, pixels): the spots in their windows, 1 at the centre; 0 outside of the frame.
    square
        (atoms, pixels): squared distance from the centre, in widths.
    integral
        Sum over the pixels of the frame of a spot of height 1.
    """

    def __init__(self, row: np.ndarray, column: np.ndarray, width: float, shape: tuple[int, int]):
        self.factor = max(1, int(width / _FINE))
        self.shape = tuple(-(-n // self.factor) for n in shape)
        # A mean over pixels widens a spot.
        self.width = np.sqrt(width**2 + (self.factor**2 - 1) / 12) / self.factor
        self.integral = 2 * np.pi * (self.width * self.factor) ** 2
        row, column = ((v - (self.factor - 1) / 2) / self.factor for v in (row, column))
        reach = max(2, int(np.ceil(REACH * self.width)))
        y, x = (v.ravel() for v in np.mgrid[-reach : reach + 1, -reach : reach + 1])
        disc = y**2 + x**2 <= (REACH * self.width + 0.5) ** 2
        y = np.rint(row).astype(int)[:, None] + y[disc]
        x = np.rint(column).astype(int)[:, None] + x[disc]
        self.inside = (y >= 0) & (x >= 0) & (y < self.shape[0]) & (x < self.shape[1])
        self.pixel = np.where(self.inside, y * self.shape[1] + x, 0)
        self.dy, self.dx = (y - row[:, None]) / self.width, (x - column[:, None]) / self.width
        self.square = self.dy**2 + self.dx**2
        self.values = np.where(self.inside, np.exp(-self.square / 2), 0.0)
        self._hats = tuple(_hats(n, KNOTS * self.width) for n in self.shape)

    def __len__(self) -> int:
        return len(self.values)

    def bin(self, frame: np.ndarray) -> np.ndarray:
        """A frame on the pixels that the spots are computed on."""
        return bin_frames(frame[None], self.factor)[0]

    def window(self, image: np.ndarray) -> np.ndarray:
        """Values (atoms, pixels) of a binned frame around the atoms; NaN outside of it."""
        return np.where(self.inside, image.ravel()[self.pixel], np.nan)

    def seen(self, image: np.ndarray) -> np.ndarray:
        """Which spots were measured well enough to tell their height from a binned frame."""
        weight = np.where(np.isfinite(self.window(image)), self.values**2, 0.0).sum(axis=1)
        return weight > _SEEN * np.pi * self.width**2

    def under(self, image: np.ndarray) -> np.ndarray:
        """Mean of a binned frame under each spot; NaN do not count."""
        around = self.window(image)
        weight = np.where(np.isfinite(around), self.values, 0.0)
        total = (weight * np.nan_to_num(around)).sum(axis=1)
        return total / np.maximum(weight.sum(axis=1), 1e-300)

    def render(self, heights: np.ndarray, shapes: np.ndarray | None = None) -> np.ndarray:
        """Sum of the spots, or of other `shapes` (..., atoms, pixels) with `heights` (..., atoms)."""
        shapes = self.values if shapes is None else shapes
        values = (heights[..., None] * shapes).reshape(-1, *self.values.shape)
        weights = np.where(self.inside, values.sum(axis=0), 0.0).ravel()
        size = self.shape[0] * self.shape[1]
        return np.bincount(self.pixel.ravel(), weights, size).reshape(self.shape)

    def solve(
        self,
        image: np.ndarray,
        among: np.ndarray | None = None,
        background: bool = True,
        shapes: np.ndarray | None = None,
        tolerance: float = 1e-5,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Heights of the spots and background (y, x) that explain a binned frame best, all at once.

        Parameters
        ----------
        image
            (y, x), binned; NaN do not count.
        among
            Which spots take part. Default: all.
        background
            Whether there is one: linear between knots.
        shapes
            (k, atoms, pixels): what each atom is made of. Default: its spot.
        tolerance
            When the conjugate gradients stop.

        Returns
        -------
        heights : numpy.ndarray
            Of the shape of `shapes` without pixels; 0 for spots that take no part.
        level : numpy.ndarray
            The background, binned.
        """
        single = shapes is None
        shapes = self.values[None] if single else shapes
        among = np.arange(len(self)) if among is None else np.flatnonzero(among)
        shapes, pixel = shapes[:, among], self.pixel[among]
        measured = np.isfinite(image)
        offset = float(np.median(image[measured])) if background and measured.any() else 0.0
        values = np.where(measured, image - offset, 0.0)
        rows, columns = self._hats
        size = image.size

        def forward(heights: np.ndarray, knots: np.ndarray) -> np.ndarray:
            spots = np.einsum("ka,kap->ap", heights, shapes).ravel()
            sum_ = np.bincount(pixel.ravel(), spots, size).reshape(self.shape)
            return sum_ + rows @ knots @ columns.T if background else sum_

        def back(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            image = np.where(measured, image, 0.0)
            heights = np.einsum("ap,kap->ka", image.ravel()[pixel], shapes)
            return heights, rows.T @ image @ columns if background else 0.0

        seen = np.einsum("ap,kap->ka", measured.ravel()[pixel], shapes**2)
        under = (rows**2).T @ measured @ columns**2 if background else np.ones((1, 1))
        diagonal = tuple(np.maximum(d, 1e-3 * d.max(initial=1e-300)) for d in (seen, under))
        heights, knots = _conjugate_gradients(forward, back, values, diagonal, tolerance)
        full = np.zeros((len(shapes), len(self)))
        full[:, among] = heights
        level = offset + rows @ knots @ columns.T if background else np.zeros(self.shape)
        return (full[0] if single else full), level


def _conjugate_gradients(forward, back, image, diagonal, tolerance):
    """Least squares ``forward(x) = image``; x is a pair of arrays, preconditioned by the `diagonal`."""

    def dot(a, b):
        return sum(float(np.vdot(p, q)) for p, q in zip(a, b))

    x = tuple(np.zeros_like(d) for d in diagonal)
    rest = tuple(np.broadcast_to(r, d.shape) for r, d in zip(back(image), diagonal))
    step = scaled = tuple(r / d for r, d in zip(rest, diagonal))
    error = first = dot(rest, scaled)
    for _ in range(300):
        if error <= tolerance**2 * first:
            break
        product = tuple(p + _RIDGE * d * s for p, d, s in zip(back(forward(*step)), diagonal, step))
        length = error / dot(step, product)
        x = tuple(a + length * s for a, s in zip(x, step))
        rest = tuple(r - length * p for r, p in zip(rest, product))
        scaled = tuple(r / d for r, d in zip(rest, diagonal))
        error, before = dot(rest, scaled), error
        step = tuple(z + error / before * s for z, s in zip(scaled, step))
    return x


def _hats(length: int, spacing: float) -> np.ndarray:
    """Linear interpolation (length, knots) between knots about `spacing` apart."""
    number = max(2, round((length - 1) / spacing) + 1)
    place = np.linspace(0, number - 1, length)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(number)))
