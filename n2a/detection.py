# SPDX-License-Identifier: GPL-3.0-or-later
"""Atoms in images: where they are, how bright and how wide, and whether the counts support them.

Functions on arrays. Series are (n, y, x); "total" frames are those with their background, in the units of the raw
frames. :func:`n2a.atom_map` puts these functions together for signals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt, gaussian_filter, grey_opening, maximum_filter
from scipy.spatial import cKDTree
from scipy.special import gammainc, ndtr, ndtri

from n2a.means import check_positive, real_frames
from n2a.noise import Noise, estimate_noise, scan_covariance
from n2a.spots import REACH, Spots

#: Atoms do not stand nearer to each other than this (atom widths), half an edge of a square.
MIN_DISTANCE = 1.25
_ROUNDS = 6  # of admitting atoms
_ZONE = 2.0  # atom widths: radius of the region R of the likelihood
_LEAST_SIGNIFICANCE = 2.5  # below, noise has so many maxima that their expected number is not known
_LEAST_COUNTS = 0.25  # counts under an atom that a background has at least


@dataclass(frozen=True)
class Detections:
    """Local maxima in a series: frame, row, column (px), height, from the highest down.

    ``len(found)`` counts them; ``found[keep]`` selects by a mask, a slice or indices.
    """

    frame: np.ndarray
    row: np.ndarray
    column: np.ndarray
    height: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, keep) -> Detections:
        return Detections(self.frame[keep], self.row[keep], self.column[keep], self.height[keep])


class Measurement(NamedTuple):
    """What :func:`measure` finds, one value per atom."""

    intensity: np.ndarray
    width: np.ndarray
    background: np.ndarray


class Support(NamedTuple):
    """What the counts say about each atom, from :func:`log_likelihood`.

    Attributes
    ----------
    ratio
        Log likelihood ratio, mean over the pixels around the atom: with the atom as the result has it, against
        without it. Positive: the raw frame is more likely with it.
    significance
        How far the raw frame rises above everything but this atom, in standard deviations of what noise does at a
        place chosen beforehand.
    supported
        Whether both are high enough.
    threshold
        Least significance of a supported atom, by frame of the series; infinite where there is none.
    model
        ``"Poisson"`` or ``"Gaussian"``: the noise that was assumed.
    """

    ratio: np.ndarray
    significance: np.ndarray
    supported: np.ndarray
    threshold: np.ndarray
    model: str


class Matches(NamedTuple):
    """Pairs of detections and true atoms, from :func:`match_positions`.

    Attributes
    ----------
    found, truth
        Indices of the partners in the two lists.
    distance
        Of each pair, in px.
    f1
        Harmonic mean of precision and recall; 1 is perfect.
    precision, recall
        Part of the detections that are atoms, and part of the atoms that were detected.
    rms
        Root-mean-square distance of the pairs in px; infinite without a pair.
    """

    found: np.ndarray
    truth: np.ndarray
    distance: np.ndarray
    f1: float
    precision: float
    recall: float
    rms: float


# Against the truth


def psnr(image: ArrayLike, truth: ArrayLike, data_range: float | None = None) -> float:
    """Peak signal-to-noise ratio in dB.

    Parameters
    ----------
    image, truth
        Real, of one shape and in the same units.
    data_range
        The peak, in their units. Default: the range of the truth of the series.

    Returns
    -------
    float
        Infinite where the two are equal.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.detection import psnr
    >>> truth = np.linspace(0, 10, 100).reshape(1, 10, 10)
    >>> round(psnr(truth + 1, truth), 6)
    20.0
    """
    error = np.mean((np.asarray(image, np.float64) - truth) ** 2)
    peak = float(np.ptp(truth)) if data_range is None else data_range
    return float(10 * np.log10(peak**2 / error)) if error > 0 else np.inf


def ssim(image: ArrayLike, truth: ArrayLike, data_range: float | None = None) -> float:
    """Mean structural similarity of the frames (Gaussian window of 1.5 px).

    Parameters
    ----------
    image, truth
        Real, (n, y, x), in the same units.
    data_range
        Of SSIM's constants, in their units. Default: the range of the truth of the series.

    Returns
    -------
    float
        At most 1.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.detection import ssim
    >>> truth = np.random.default_rng(0).poisson(5, (2, 32, 32))
    >>> ssim(truth, truth)
    1.0
    """
    from skimage.metrics import structural_similarity

    return float(
        np.mean(
            [
                structural_similarity(
                    a.astype(np.float64),
                    b.astype(np.float64),
                    data_range=float(np.ptp(truth)) if data_range is None else data_range,
                    gaussian_weights=True,
                    sigma=1.5,
                    use_sample_covariance=False,
                )
                for a, b in zip(image, truth)
            ]
        )
    )


def match_positions(found: Detections, truth: Detections, tolerance: float) -> Matches:
    """Pair detections with true atoms, the nearest first, each at most once.

    Parameters
    ----------
    found, truth
        Frames, rows and columns in px. :func:`n2a.atoms.true_atoms` gives those of a simulated signal; columns
        that overlap more than the image resolves cannot be found by anybody.
    tolerance
        Largest distance of a pair in px.

    Returns
    -------
    Matches

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.detection import Detections, match_positions
    >>> truth = Detections(np.array([0, 0]), np.array([5.0, 20]), np.array([5.0, 9]), np.ones(2))
    >>> found = Detections(np.array([0, 0, 1]), np.array([5.3, 40, 20]), np.array([5.4, 9, 9]), np.ones(3))
    >>> pairs = match_positions(found, truth, tolerance=2)
    >>> pairs.found, pairs.truth, round(pairs.rms, 6), pairs.recall
    (array([0]), array([0]), 0.5, 0.5)
    """
    tolerance = check_positive("tolerance", tolerance)
    pairs = []
    for frame in np.intersect1d(found.frame, truth.frame):
        mine, theirs = (np.flatnonzero(each.frame == frame) for each in (found, truth))
        trees = (
            cKDTree(np.column_stack([each.row[here], each.column[here]]))
            for each, here in ((found, mine), (truth, theirs))
        )
        near = next(trees).sparse_distance_matrix(next(trees), tolerance, output_type="ndarray")
        near.sort(order="v")
        taken: tuple[set, set] = set(), set()
        for i, j, distance in near:
            if i not in taken[0] and j not in taken[1]:
                taken[0].add(i)
                taken[1].add(j)
                pairs.append((mine[i], theirs[j], distance))
    here, there = (np.array([pair[k] for pair in pairs], np.intp) for k in (0, 1))
    distance = np.array([pair[2] for pair in pairs], np.float64)
    return Matches(
        here,
        there,
        distance,
        f1=2 * len(pairs) / max(len(found) + len(truth), 1),
        precision=len(pairs) / max(len(found), 1),
        recall=len(pairs) / max(len(truth), 1),
        rms=float(np.sqrt(np.mean(distance**2))) if pairs else np.inf,
    )


# Where


def detect(
    frames: ArrayLike,
    atom_width: float,
    min_distance: float = MIN_DISTANCE,
    background: float | None = None,
) -> Detections:
    """Local maxima of images of bright atoms, to a fraction of a pixel.

    Parameters
    ----------
    frames
        Real, (n, y, x), denoised: every maximum counts, however low. NaN where nothing was measured; there and right
        beside it are no maxima. Turn dark atoms over before.
    atom_width
        Standard deviation of an atom in px.
    min_distance
        A maximum is the highest in a square that reaches this far, in atom widths.
    background
        Subtract a Gaussian blur of this many atom widths before. Default: nothing is subtracted.

    Returns
    -------
    Detections
        Positions are those of a least-squares parabola over the top, at most 1 px from the pixel of the maximum.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.detection import detect
    >>> y, x = np.mgrid[:40, :50]
    >>> found = detect(np.exp(-((y - 20.3) ** 2 + (x - 30.6) ** 2) / 18)[None], atom_width=3)
    >>> found.row.round(1), found.column.round(1)
    (array([20.3]), array([30.6]))
    """
    frames = _frames("frames", frames)
    atom_width = check_positive("atom_width", atom_width)
    missing = ~np.isfinite(frames)
    holes = missing.any()
    if holes:
        frames = _fill(frames, missing)
    if background is not None:
        sigma = background * atom_width
        frames = frames - gaussian_filter(frames, (0, sigma, sigma))
    radius = max(1, round(min_distance * atom_width))
    maximum = frames == maximum_filter(frames, (1, 2 * radius + 1, 2 * radius + 1))
    maximum &= frames > frames.min(axis=(1, 2), keepdims=True)
    if holes:  # the flank of an atom that was not measured
        maximum &= ~maximum_filter(missing, (1, 3, 3))
    frame, row, column = np.nonzero(maximum)
    height = frames[frame, row, column]
    order = np.argsort(-height, kind="stable")
    frame, row, column, height = frame[order], row[order], column[order], height[order]
    dy, dx = _refine(frames, frame, row, column, max(1, round(0.7 * atom_width)))
    return Detections(frame, row + dy, column + dx, height)


def _fill(frames: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Frames with the least measured value of each where nothing was measured."""
    least = np.where(missing, np.inf, frames).min(axis=(1, 2), keepdims=True)
    return np.where(missing, np.where(np.isfinite(least), least, 0), frames)


def _refine(frames, frame, row, column, radius):
    """Offsets of the top of a least-squares parabola, at most 1 px in each direction."""
    y, x = (v.ravel() for v in np.mgrid[-radius : radius + 1, -radius : radius + 1])
    solve = np.linalg.pinv(np.column_stack([np.ones_like(x), x, y, x * x, y * y, x * y]))
    padded = np.pad(frames, ((0, 0), (radius, radius), (radius, radius)), mode="reflect")
    values = padded[frame[:, None], row[:, None] + radius + y, column[:, None] + radius + x]
    _, bx, by, xx, yy, xy = (values @ solve.T).T
    determinant = 4 * xx * yy - xy**2
    good = (determinant > 0) & (xx < 0)
    safe = np.where(good, determinant, 1)
    dx = np.where(good, (xy * by - 2 * yy * bx) / safe, 0)
    dy = np.where(good, (xy * bx - 2 * xx * by) / safe, 0)
    return np.clip(dy, -1, 1), np.clip(dx, -1, 1)


# How bright and how wide


def measure(
    frames: ArrayLike, found: Detections, atom_width: float, fit: bool = True
) -> Measurement:
    """Integrated intensity above the local background, and width, of atoms at given places.

    Parameters
    ----------
    frames
        Real, (n, y, x), denoised or raw, with or without background. Pixels that are not finite do not count.
    found
        Where the atoms are, all of them: what is not listed is taken for background.
    atom_width
        Standard deviation of an atom in px.
    fit
        Whether to take it for a guess, from which the usual width in `frames` is fitted, one for all atoms, see
        :func:`usual_width`.

    Returns
    -------
    Measurement
        `intensity` is a sum over pixels, in the units of `frames`, 2 pi times the squared usual width times the
        height of the spot. Dark atoms have negative ones. `width` is a standard deviation in px, half to twice the
        usual one; where atoms overlap it is rough. `background` is the level under the atom. Intensity and width are
        NaN where too few pixels were measured.

    Notes
    -----
    A frame is taken as a sum of Gaussian spots of one width and a background that is linear between knots eight atom
    widths apart. The least-squares solution for all atoms at once keeps neighbours that overlap apart, and is linear in
    the frame. Then each spot may become wider or narrower, to first order, on what the sum does not explain.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.detection import Detections, measure
    >>> y, x = np.mgrid[:40, :50]
    >>> image = 7 + 0.02 * x + 5 * np.exp(-((y - 20.3) ** 2 + (x - 30.6) ** 2) / (2 * 2.2**2))
    >>> found = Detections(np.array([0]), np.array([20.3]), np.array([30.6]), np.array([5.0]))
    >>> told = measure(image[None], found, atom_width=2)
    >>> bool(abs(told.intensity[0] / (5 * 2 * np.pi * 2.2**2) - 1) < 0.01), told.width.round(1)
    (True, array([2.2]))
    """
    frames = _frames("frames", frames)
    usual = (
        usual_width(frames, found, atom_width) if fit else check_positive("atom_width", atom_width)
    )
    intensity, width, background = np.full((3, len(found)), np.nan)
    for frame in np.unique(found.frame):
        here = found.frame == frame
        spots = Spots(found.row[here], found.column[here], usual, frames.shape[1:])
        image = spots.bin(frames[frame])
        heights, level = spots.solve(image)
        heights[~spots.seen(image)] = np.nan
        intensity[here] = spots.integral * heights
        width[here] = usual * np.clip(1 + _growth(spots, image - level, heights), 0.5, 2)
        background[here] = spots.under(level)
    return Measurement(intensity, width, background)


def _growth(spots: Spots, image: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Relative growth of the width of each spot that explains best what all spots leave of a frame."""
    rest = spots.window(image - spots.render(np.nan_to_num(heights)))
    known = np.isfinite(rest)
    g = np.where(known, spots.values, 0.0)
    h = g * spots.square
    gg, gh, hh = ((a * b).sum(axis=1) for a, b in ((g, g), (g, h), (h, h)))
    gr, hr = ((a * np.where(known, rest, 0.0)).sum(axis=1) for a in (g, h))
    own = (gg * hh - gh**2) * heights
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(own == 0, 0.0, (gg * hr - gh * gr) / own)


def refine(frames: ArrayLike, found: Detections, atom_width: float) -> Detections:
    """Positions of atoms as the Gaussian spots that explain a denoised image best, all at once.

    Parameters
    ----------
    frames
        Real, (n, y, x). Pixels that are not finite do not count.
    found
        All atoms, from :func:`detect`.
    atom_width
        Standard deviation of an atom in px, of these frames: see :func:`usual_width`.

    Returns
    -------
    Detections
        The same atoms in the same order. One that would leave its maximum by more than half a width stays there.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.detection import detect, refine
    >>> y, x = np.mgrid[:40, :50]
    >>> image = 7 + np.exp(-((y - 20.32) ** 2 + (x - 30.64) ** 2) / 18)[None]
    >>> found = refine(image, detect(image, atom_width=3), atom_width=3)
    >>> found.row.round(2), found.column.round(2)
    (array([20.32]), array([30.64]))
    """
    frames = _frames("frames", frames)
    atom_width = check_positive("atom_width", atom_width)
    row, column = found.row.copy(), found.column.copy()
    for frame in np.unique(found.frame):
        here = np.flatnonzero(found.frame == frame)
        for _ in range(3):
            spots = Spots(row[here], column[here], atom_width, frames.shape[1:])
            slopes = np.stack([spots.values, spots.dy * spots.values, spots.dx * spots.values])
            heights, *steps = spots.solve(spots.bin(frames[frame]), shapes=slopes, tolerance=1e-4)[
                0
            ]
            bright = heights > 0
            for place, step in ((row, steps[0]), (column, steps[1])):
                step = np.where(bright, step / np.where(bright, heights, 1), 0)
                place[here] += atom_width * np.clip(step, -0.5, 0.5)
    astray = np.hypot(row - found.row, column - found.column) > 0.5 * atom_width
    row[astray], column[astray] = found.row[astray], found.column[astray]
    return Detections(found.frame, row, column, found.height)


def usual_width(frames: ArrayLike, found: Detections, atom_width: float) -> float:
    """Standard deviation in px that explains most atoms of frames best, from a guess.

    Parameters
    ----------
    frames, found
        As for :func:`measure`. Up to eight frames are looked at.
    atom_width
        The guess; the result lies within a factor of 1.5 of it.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.detection import detect, usual_width
    >>> y, x = np.mgrid[:40, :50]
    >>> image = np.exp(-((y - 20.3) ** 2 + (x - 30.6) ** 2) / (2 * 2.2**2))[None]
    >>> round(usual_width(image, detect(image, 2), atom_width=2), 2)
    2.2
    """
    frames = _frames("frames", frames)
    guess = width = check_positive("atom_width", atom_width)
    if not len(found):
        return guess
    numbers = np.unique(found.frame)
    numbers = numbers[np.unique(np.linspace(0, len(numbers) - 1, 4).round().astype(int))]
    parts = [_crowd(frames[frame], found[found.frame == frame], guess) for frame in numbers]
    for _ in range(4):
        total, norm = 0.0, 0.0
        for image, row, column in parts:
            spots = Spots(row, column, width, image.shape)
            image = spots.bin(image)
            heights, level = spots.solve(image)
            rest = image - spots.render(heights) - level
            wider = spots.render(heights, spots.values * spots.square)
            # Only what no change of heights and background can do.
            other, slow = spots.solve(np.where(np.isfinite(image), wider, np.nan))
            wider -= spots.render(other) + slow
            known = np.isfinite(rest)
            total += np.sum(rest[known] * wider[known])
            norm += np.sum(wider[known] ** 2)
        step = np.clip(total / norm, -0.3, 0.3) if norm > 0 else 0.0
        width = float(np.clip(width * (1 + step), guess / 1.5, guess * 1.5))
        if abs(step) < 0.003:
            break
    return width


def _crowd(
    image: np.ndarray, found: Detections, width: float, number: int = 250
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Part of a frame around some `number` neighbouring atoms, and all atoms that reach into it."""
    place = np.column_stack([found.row, found.column])
    distance = np.hypot(*(place - np.median(place, axis=0)).T)
    near = place[np.argsort(distance, kind="stable")[:number]]
    low = np.maximum(near.min(axis=0) - 2 * width, 0).astype(int)
    high = np.ceil(near.max(axis=0) + 2 * width).astype(int) + 1
    reach = 2 * REACH * width
    row, column = (place[((place > low - reach) & (place < high + reach)).all(axis=1)] - low).T
    return image[low[0] : high[0], low[1] : high[1]], row, column


def local_background(frames: ArrayLike, atom_width: float) -> np.ndarray:
    """What bright atoms stand on, from the valleys between them.

    Parameters
    ----------
    frames
        Real, (n, y, x), denoised. Turn dark atoms over before.
    atom_width
        Standard deviation of an atom in px.

    Returns
    -------
    numpy.ndarray
        (n, y, x) float64: a grey opening by a square of six atom widths, smoothed; never above what is smooth.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.detection import local_background
    >>> y, x = np.mgrid[:40, :50]
    >>> image = 7 + 5 * np.exp(-((y - 20) ** 2 + (x - 30) ** 2) / 8)
    >>> bool(np.abs(local_background(image[None], 2) - 7).max() < 0.2)
    True
    """
    frames = _frames("frames", frames)
    atom_width = check_positive("atom_width", atom_width)
    missing = ~np.isfinite(frames)
    if missing.any():
        highest = np.where(missing, -np.inf, frames).max(axis=(1, 2), keepdims=True)
        frames = np.where(missing, np.where(np.isfinite(highest), highest, 0), frames)
    size = 2 * max(1, round(3 * atom_width)) + 1
    lowest = grey_opening(frames, (1, size, size), mode="nearest")
    return gaussian_filter(lowest, (0, 2 * atom_width, 2 * atom_width), mode="nearest")


# Whether the counts support them


def log_likelihood(
    raw: ArrayLike,
    expected: ArrayLike,
    background: ArrayLike | None,
    found: Detections,
    atom_width: float,
    noise: Noise | None = None,
    *,
    bright: bool = True,
    false_rate: float = 0.05,
    unseen: bool = False,
) -> Support:
    """Whether the raw counts support the atoms that a result shows.

    Parameters
    ----------
    raw
        Frames as recorded, (n, y, x), real. Pixels that are not finite do not count.
    expected
        The result with its background ("total"), of the same shape and in the same units.
    background
        What the frames are without any atom, in the same units, where it is known; broadcast to them. Default: fitted
        to `raw`, linear between knots eight atom widths apart.
    found
        Atoms of the result.
    atom_width
        Standard deviation of an atom in px.
    noise
        Noise of `raw`. Default: measured on it.
    bright
        Whether atoms are brighter than the background.
    false_rate
        Expected part of noise among the supported atoms of a frame. On an empty frame, about the chance that any is
        supported.
    unseen
        True when `expected` was computed without any knowledge of `raw`. Then the places were not chosen by the noise
        of `raw`, and less is asked of an atom.

    Returns
    -------
    Support
        One value per atom, and what was assumed. An atom without a measured pixel has ratio and significance 0.

    Raises
    ------
    ValueError
        If the shapes differ, or `raw` has no noise.

    Notes
    -----
    For a region R of two atom widths around an atom, ``ratio`` is the mean over R of ``log Pois(y; f) - log Pois(y;
    f0)``, with y the raw counts, f the result, and f0 the background and the other atoms (Mohan et al. put constants in
    the place of both). It is negative as well where the result claims much more than was counted. With the noise
    variance ``gain * intensity + offset``, a frame in counts is ``intensity / gain + offset / gain**2``: mean and
    variance are then equal, with read-out noise too. Where no gain can be told, both logarithms are those of a normal
    distribution of the variance ``offset``.

    ``significance`` is that of the sum of the counts, weighted with the spot of an atom, over that of f0: a scaled
    Poisson variable with the same first three moments, so that few counts are treated right. f0 is fitted to `raw`,
    and knows nothing of the intensities that the result claims: first without any atom, then with those that turned out
    to be supported, until there are no more of them. Noise that is correlated along the scan lines is measured on
    `raw` and allowed for; noise that is smooth along y is not seen, so frames that were interpolated or filtered look
    more certain than they are. What is supported rises out of its surroundings like an atom; so does thick film.

    **Many places were looked at.** Atoms are maxima of an image that was made from these same counts, so that among
    the maxima of pure noise some are high. The expected number of maxima of smoothed noise above a level u is ``area
    / (2 s**2) (2 pi)**(-3/2) u exp(-u**2 / 2)``, s being the atom width (Adler; cf. Worsley 1996). The threshold is
    the lowest at which this number is at most `false_rate` times that of the atoms above it (Benjamini and Hochberg
    1995), about 5 for an empty frame of 512 x 512 pixels. No choice of maxima by the denoiser can exceed it, whatever
    frames it has seen. An atom that was painted where there is none has, on average, significance 0.

    References
    ----------
    S. Mohan et al., Microsc. Microanal. 28 (2022), "Deep denoising for scientific discovery: a case study in electron
    microscopy" (likelihood maps). K. J. Worsley et al., Hum. Brain Mapp. 4, 58 (1996).

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.detection import detect, log_likelihood
    >>> from n2a.noise import Noise
    >>> y, x = np.mgrid[:64, :64]
    >>> atoms = 6 * np.exp(-((y - 20) ** 2 + (x - 30) ** 2) / 8)[None]
    >>> raw = np.random.default_rng(0).poisson(3 + atoms)
    >>> painted = atoms + np.roll(atoms, 25, axis=1)
    >>> found = detect(painted, 2)
    >>> support = log_likelihood(raw, 3 + painted, 3, found, 2, Noise(1, 0, 0))
    >>> support.supported[np.argsort(found.row)], support.model
    (array([ True, False]), 'Poisson')
    """
    raw, expected = _frames("raw", raw), _frames("expected", expected)
    if raw.shape != expected.shape:
        raise ValueError(
            f"'expected' has shape {expected.shape}; expected that of 'raw', {raw.shape}. Select the same frames and "
            "the same region of both."
        )
    atom_width = check_positive("atom_width", atom_width)
    false_rate = check_positive("false_rate", false_rate)
    if noise is None:
        noise = noise_of(raw)
    if not (noise.gain > 0 or noise.offset > 0):
        raise ValueError(
            f"'raw' has no noise ({noise}): its frames are constant or noise-free, so that counts cannot be told; "
            "expected frames as recorded. Pass 'noise' if it is known."
        )
    counted = noise.gain > 0
    # Mean and variance equal from here on, or a variance of one.
    shift = noise.offset / noise.gain if counted else 0.0
    unit = noise.gain if counted else np.sqrt(noise.offset)
    raw, expected = (raw + shift) / unit, (expected + shift) / unit
    if background is not None:
        background = np.broadcast_to((np.asarray(background, np.float64) + shift) / unit, raw.shape)
    spread = np.sqrt(_scan_inflation(raw, found, atom_width))

    ratio, significance = np.zeros((2, len(found)))
    threshold = np.full(len(raw), np.inf)
    for frame in np.unique(found.frame):
        here = found.frame == frame
        spots = Spots(found.row[here], found.column[here], atom_width, raw.shape[1:])
        # Sums over binned pixels have their mean as variance again, or one.
        scale = spots.factor**2 if counted else spots.factor
        y, f = (scale * spots.bin(a[frame]) for a in (raw, expected))
        known = None if background is None else scale * spots.bin(background[frame])
        area = np.count_nonzero(np.isfinite(raw[frame]))
        cells = None if unseen else area / (2 * atom_width**2)
        admitted = np.zeros(len(spots), bool)
        for _ in range(_ROUNDS):
            without = _without_each(spots, y, known, admitted)
            gained, score = _evidence(spots, y, f, without, counted)
            score *= (1 if bright else -1) / spread
            threshold[frame] = _threshold(score, false_rate, cells)
            more = (score >= threshold[frame]) & ~admitted
            admitted |= more
            if not more.any():
                break
        ratio[here], significance[here] = gained / spots.factor**2, score
    supported = (significance >= threshold[found.frame]) & (ratio > 0)
    return Support(ratio, significance, supported, threshold, "Poisson" if counted else "Gaussian")


def _without_each(
    spots: Spots, y: np.ndarray, background: np.ndarray | None, admitted: np.ndarray
) -> np.ndarray:
    """What a frame would be around each atom without it (atoms, pixels): background and the other admitted atoms."""
    if background is None:
        heights, level = spots.solve(y, admitted, tolerance=1e-3)
    else:
        heights, _ = spots.solve(y - background, admitted, background=False, tolerance=1e-3)
        level = background
    return spots.window(level + spots.render(heights)) - heights[:, None] * spots.values


def _evidence(
    spots: Spots, raw: np.ndarray, expected: np.ndarray, without: np.ndarray, counted: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Log likelihood ratio and significance of each atom, for white noise; in counts, or units of the noise."""
    y, f = spots.window(raw), spots.window(expected)
    known = np.isfinite(y) & np.isfinite(f)
    y, f, without = (np.where(known, a, 1.0) for a in (y, f, without))
    weight = np.where(known, spots.values, 0.0)
    if counted:
        least = _LEAST_COUNTS / (4 * np.pi * spots.width**2)
        f, without = np.maximum(f, least), np.maximum(without, least)
        gained = y * np.log(f / without) - (f - without)
        score = _poisson_significance(y, without, weight)
    else:
        gained = ((y - without) ** 2 - (y - f) ** 2) / 2
        norm = np.sqrt(np.maximum((weight**2).sum(axis=1), 1e-300))
        score = (weight * (y - without)).sum(axis=1) / norm
    zone = known & (spots.square <= _ZONE**2)
    number = np.maximum(np.count_nonzero(zone, axis=1), 1)
    return np.where(zone, gained, 0.0).sum(axis=1) / number, score


def noise_of(raw: ArrayLike) -> Noise:
    """Noise of raw frames (n, y, x), with an error that says what to do where it cannot be measured."""
    try:
        return estimate_noise(_frames("raw", raw))
    except ValueError:
        raise ValueError(
            "'raw' has no block of 8 x 8 finite pixels to measure the noise in; expected larger frames, or fewer NaN. "
            "Pass 'noise' if it is known."
        ) from None


def _poisson_significance(y: np.ndarray, rate: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Standard deviations by which weighted sums of counts exceed those of the rate; (atoms, pixels) each."""
    k1, k2, k3 = ((weight**k * rate).sum(axis=1) for k in (1, 2, 3))
    seen = k2 > 0
    step = np.where(seen, k3 / np.where(seen, k2, 1), 1)
    mean = np.where(seen, k2 / step**2, 1)
    count = np.maximum((weight * y).sum(axis=1) / step - k1 / step + mean, 0)
    # Of one exactly; the signed root of the deviance where that is too small for a number.
    exact = -ndtri(gammainc(np.maximum(count, 1e-9), mean))
    ratio = np.where(count > 0, count, 1) / mean
    deviance = mean - count + np.where(count > 0, count * np.log(ratio), 0)
    root = np.sign(count - mean) * np.sqrt(2 * np.maximum(deviance, 0))
    return np.where(seen, np.where(np.abs(root) < 7, exact, root), 0.0)


def _scan_inflation(raw: np.ndarray, found: Detections, atom_width: float) -> float:
    """How much more a spot-weighted sum varies than with noise that is white along the scan lines."""
    lags = min(int(np.ceil(4 * atom_width)), raw.shape[2] - 1)
    total = np.zeros(lags + 1)
    for frame in np.unique(np.linspace(0, len(raw) - 1, 8).round().astype(int)):
        finite = np.isfinite(raw[frame])
        if not finite.any():
            continue
        away = finite.copy()
        atoms = found[found.frame == frame]
        away &= ~_discs(atoms.row, atoms.column, _ZONE * atom_width, finite.shape)
        where = away if away.mean() > 0.1 else finite
        filled = np.where(finite, raw[frame], np.median(raw[frame][finite]))
        total += scan_covariance(filled, where, lags)
    if not total[0] > 0:
        return 1.0
    lag = np.arange(1, lags + 1)
    overlap = np.exp(-(lag**2) / (4 * atom_width**2))
    return float(max(1.0, 1 + 2 * np.sum(total[1:] / total[0] * overlap)))


def _discs(
    row: np.ndarray, column: np.ndarray, radius: float, shape: tuple[int, int]
) -> np.ndarray:
    """Mask (y, x) of what lies within a radius of any of the places."""
    centres = np.ones(shape, bool)
    y, x = (np.clip(np.rint(v).astype(int), 0, n - 1) for v, n in zip((row, column), shape))
    centres[y, x] = False
    return distance_transform_edt(centres) <= radius if len(y) else np.zeros(shape, bool)


def _threshold(significance: np.ndarray, false_rate: float, cells: float | None) -> float:
    """Lowest significance above which noise is expected to be at most this part; infinite where there is none."""
    value = np.sort(significance)[::-1]
    if cells is None:
        noise = len(value) * ndtr(-value)
    else:
        noise = cells * (2 * np.pi) ** -1.5 * value * np.exp(-np.minimum(value**2, 1400) / 2)
    good = (noise <= false_rate * np.arange(1, len(value) + 1)) & (value >= _LEAST_SIGNIFICANCE)
    return float(value[np.flatnonzero(good)[-1]]) if good.any() else np.inf


def _frames(name: str, array: ArrayLike) -> np.ndarray:
    frames = real_frames(name, array)
    if frames.ndim != 3:
        raise ValueError(
            f"'{name}' has shape {frames.shape}; expected frames (n, y, x). Give a single image as image[None]."
        )
    return frames
