# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a result keeps the integrated intensities of columns in proportion. Functions on arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from n2a.detection import Detections, measure, usual_width
from n2a.noise import Noise

FEWEST = 12  # columns: fewer define no curve
#: Atom widths between neighbours below which their intensities cannot be told apart.
APART = 2.5
#: Lower maxima are not taken for columns, as a part of the height of the bright ones.
LEAST_HEIGHT = 0.2
#: Lower departures are none, as a part of the mean intensity: a quarter of an atom in a column of ten.
LEAST_DEPARTURE = 0.025

_OUTLIER = 6.0  # standard deviations
_SEEN = 3.0  # standard errors of a column's raw intensity, in the median: maxima of noise alone have about 1
_MEAN = 12  # raw frames at most, whose mean is what a result must measure up to


class Proportion(NamedTuple):
    """How the raw intensities of columns follow those of the result, from :func:`proportion`.

    Attributes
    ----------
    slope, slope_error
        Raw over denoised, of the best line through the origin, and its standard error. Good: 1.
    departure, departure_error
        Root mean square distance of the best parabola from that line, over the range of the intensities and as a
        fraction of their mean, and its standard error. Good: 0.
    chance
        Standard error of the intensity of one column in the mean of the raw frames, twelve at most, as the same
        fraction: what can be measured without denoising.
    number
        Columns.
    denoised, raw
        Their intensities, for a plot.
    """

    slope: float
    slope_error: float
    departure: float
    departure_error: float
    chance: float
    number: int
    denoised: np.ndarray
    raw: np.ndarray

    @property
    def tolerance(self) -> float:
        """The departure that nobody would notice: `chance`, at least :data:`LEAST_DEPARTURE`."""
        return max(self.chance, LEAST_DEPARTURE)

    @property
    def linear(self) -> bool:
        """Whether no departure is there that is more than chance, and worth the name."""
        return self.departure < 3 * self.departure_error or self.departure < self.tolerance


def proportion(
    denoised: ArrayLike,
    raw: ArrayLike,
    found: Detections,
    atom_width: float,
    noise: Noise,
) -> Proportion:
    """Compare integrated intensities of the same columns in a result and in the raw frames.

    Parameters
    ----------
    denoised, raw
        Real, (n, y, x), in the same units. A background does not matter. Dark atoms have negative intensities in both.
    found
        Columns of the result. Those with a neighbour nearer than 2.5 atom widths are left out.
    atom_width
        Standard deviation of an atom in pixels.
    noise
        Of `raw`.

    Returns
    -------
    Proportion

    Raises
    ------
    ValueError
        If fewer than 12 columns stand apart, if most of them do not stand out of the noise of single raw frames, or if
        they are dark in the one and bright in the other.

    Notes
    -----
    The noisy raw intensities are fitted as a function of the quiet denoised ones, not the other way round: noise in
    the abscissa would bend and flatten the curve. The result has seen the noise of the raw frames, which makes the
    slope a little too steep, by a few percent of its distance from 0 for atoms near the limit of detection.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.detection import detect
    >>> from n2a.intensity import proportion
    >>> from n2a.noise import Noise
    >>> y, x = np.mgrid[:128, :128]
    >>> heights = np.tile(np.linspace(10, 60, 64), 4).reshape(16, 16)[::2, ::2]
    >>> spots = sum(
    ...     h * np.exp(-((y - 12 - 15 * i) ** 2 + (x - 12 - 15 * j) ** 2) / 8)
    ...     for (i, j), h in np.ndenumerate(heights)
    ... )[None]
    >>> raw = np.random.default_rng(0).poisson(5 + spots)
    >>> found = detect(spots, 2)
    >>> honest, gamma = (proportion(s, raw, found, 2, Noise(1, 0, 0)) for s in (spots, 60 * (spots / 60) ** 0.5))
    >>> honest.linear, gamma.linear, bool(abs(honest.slope - 1) < 0.05)
    (True, False, True)
    """
    width = usual_width(np.asarray(denoised), found, atom_width) if len(found) else atom_width
    # The same weights for the pixels of both; all columns together, or neighbours would count as background.
    ours, theirs = (measure(each, found, width, fit=False) for each in (denoised, raw))
    known = np.isfinite(ours.intensity) & np.isfinite(theirs.intensity) & _apart(found, atom_width)
    x, y = ours.intensity[known], theirs.intensity[known]
    if len(x) < FEWEST or not np.abs(x.mean()) > 0:
        raise ValueError(
            f"{len(x)} columns stand apart from their neighbours by {APART} atom widths; expected {FEWEST} or more. "
            "Take more frames, or a larger region."
        )
    level = theirs.background[known]
    flat = np.maximum(noise.gain * level + noise.offset, 0) * 4 * np.pi * width**2
    seen = float(np.median(y * np.sign(x.mean()) / np.sqrt(np.maximum(flat, 1e-300))))
    if seen < -_SEEN:
        raise ValueError(
            f"the columns of the result are dark where those of the raw frames are bright, or the other way round (by "
            f"{-seen:.2g} standard errors, in the median). Turn one of the two over, so that atoms are bright in both: "
            "-raw, or -denoised."
        )
    if seen < _SEEN:
        raise ValueError(
            f"the columns hardly stand out of the noise of single raw frames (by {seen:.2g} standard errors, in the "
            f"median; expected {_SEEN:g} or more), so that their intensities say nothing of the result's. Record more "
            "counts, or bin neighbouring frames."
        )
    variance = np.maximum(flat + noise.gain * x, 1e-6 * np.median(np.abs(x)) ** 2)
    # A flash or a hot pixel near a column must not bend the curve.
    away = (y - x * np.median(y) / np.median(x)) / np.sqrt(variance)
    scatter = 1.4826 * np.median(np.abs(away - np.median(away)))
    kept = np.abs(away - np.median(away)) <= _OUTLIER * max(scatter, 1.0)
    x, y, variance = x[kept], y[kept], variance[kept]
    mean = abs(x.mean())
    scale = x / mean
    design = np.column_stack([np.ones_like(x), scale, scale**2]) / np.sqrt(variance)[:, None]
    inverse = np.linalg.pinv(design.T @ design)
    parabola = inverse @ (design.T @ (y / np.sqrt(variance)))
    rest = y / np.sqrt(variance) - design @ parabola
    # What the noise does not explain, neighbours that overlap for example, scatters too.
    excess = max(1.0, float(np.sum(rest**2) / max(len(x) - 3, 1)))
    slope = float(np.sum(x * y / variance) / np.sum(x**2 / variance))
    grid = np.quantile(scale, np.linspace(0.05, 0.95, 19))
    away = np.eye(19) - np.outer(grid, grid) / (grid @ grid)
    curve = away @ np.column_stack([np.ones(19), grid, grid**2])
    spread = np.trace(curve @ inverse @ curve.T) * excess / 19
    square = np.mean((curve @ parabola) ** 2)
    return Proportion(
        slope=slope,
        slope_error=float(np.sqrt(excess / np.sum(x**2 / variance))),
        # Without what chance adds to it.
        departure=float(np.sqrt(max(square - spread, 0)) / mean),
        departure_error=float(np.sqrt(spread) / mean),
        chance=float(np.median(np.sqrt(variance)) / mean / np.sqrt(min(len(raw), _MEAN))),
        number=len(x),
        denoised=x,
        raw=y,
    )


def _apart(found: Detections, atom_width: float) -> np.ndarray:
    """Which columns have no near neighbour."""
    apart = np.ones(len(found), bool)
    for frame in np.unique(found.frame):
        here = np.flatnonzero(found.frame == frame)
        if len(here) > 1:
            places = np.column_stack([found.row[here], found.column[here]])
            distance, _ = cKDTree(places).query(places, k=2)
            apart[here] = distance[:, 1] > APART * atom_width
    return apart
