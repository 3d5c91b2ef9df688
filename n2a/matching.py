# SPDX-License-Identifier: GPL-3.0-or-later
"""Domain C and its acquisition matched to a series: ranges for the simulated pairs, measured on the frames."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from n2a.cropping import middle_part
from n2a.generator import Generator
from n2a.inference import restore
from n2a.layout import Layout, match_layout, measure_layout
from n2a.noise import scan_covariance
from n2a.normalization import linearise
from n2a.pairs import Recipe
from n2a.patches import NoisySeries
from n2a.spot_shape import Sighting, SpotShape, faint_and_alone, find_tops, measure_spot

LAGS = 48
# Edge in pixels of what counts as a patch of the training.
PATCH = 96
# Edge in pixels of the part of a frame that the shape of the atoms is measured on.
EDGE = 384
# Spots of a lower elongation pass as round, since atoms that stand in each other's way look like it; those of a higher
# one are rows of atoms that touch. Of a lower correlation they are along an axis of the image.
ROUND, ROW, TILTED = 1.4, 2.5, 0.25
# Of fewer atoms that stand alone nothing is said.
FEWEST_ALONE = 10
# Texture of the support is looked at after smoothing by so many widths of an atom, without what is wider than so many,
# and has a correlation length among these.
FINE, COARSE, GRAIN = (0.5, 1.0), 4.0, (0.6, 4.0)
# Fewer pairs of frames do not tell their scatter.
FEWEST_PAIRS = 4
# Lengths where nothing is known: what many atoms without order look like through the probe is as fine as one atom.
AMORPHOUS = 0.7, 4.0
# Measured width of the spots over that of the plan, above which noise along the scan has misled the plan.
MISLED = 1.5


class Features(NamedTuple):
    """What the simulated pairs of a series must have in common with it.

    Attributes
    ----------
    atom_width
        Of the plan, in pixels of the network: where the measurement of the shape starts.
    spot
        Shape of an atom, from frames that its position was found without.
    height
        Typical bright column, in units of the noise at the background level.
    texture
        Standard deviation of what does not change from frame to frame between the atoms, in units of the noise.
    grain
        Its correlation length in pixels, as :func:`n2a.acquisition.random_field` has it; None where it cannot be told
        from noise or is longer than some atoms, and `texture` is what there is at the size of the atoms.
    slow
        Standard deviation of the background within a patch, without what is of the size of atoms, in the same units.
    line, reach
        Part of the variance of the noise that is correlated along the scan lines, and how far in pixels.
    afterglow, decay
        Share of the signal that leaks into the following pixels, and over how many.
    atoms
        Number of atoms found in the frames that were looked at.
    layout
        How they lie; None where there are too few.
    single
        Shape of the faintest ones that stand alone, which are single columns; None where there are too few.
    """

    atom_width: float
    spot: SpotShape
    height: float
    texture: float
    grain: float | None
    slow: float
    line: float
    reach: float
    afterglow: float
    decay: float
    atoms: int
    layout: Layout | None = None
    single: SpotShape | None = None


def measure_features(series: NoisySeries, generator: Generator, samples: int = 6) -> Features:
    """Measure a series with the help of a network that already knows atoms.

    Parameters
    ----------
    series
        Domain S.
    generator
        Usually that of the weights in the box.
    samples
        Number of frames to look at.
    """
    width = series.plan.atom_width / series.plan.factor
    heights, places, slow, sightings = [], [], [], []
    film: dict[tuple, list[np.ndarray]] = {}
    covariance = np.zeros(min(LAGS, series.shape[1] - 1) + 1)
    frames = [i for i in range(series.length) if i not in series.held_out] or [0]
    for look, i in enumerate(
        np.unique(np.linspace(0, len(frames) - 1, samples).round().astype(int))
    ):
        line_of = series.line(look)
        values, valid, slots = series.window(frames[i], line_of, series.held_out)
        if not valid[values.shape[0] // 2].any():  # nothing was measured
            continue
        atoms, under = restore(generator, values, valid, series.curvature)
        slow.append(_slow_variance(under, 4 * width))
        least = _least(width, valid)
        found = find_tops(atoms, width, least)
        tops = found[:, 2]
        heights.extend(tops)
        places.append(found[:, :2])
        sightings += _sightings(generator, values, valid, series.curvature, width)
        # Noise of the middle frame, away from the atoms.
        middle = values.shape[0] // 2
        quiet = (atoms < 1) & valid[middle]
        if quiet.mean() < 0.1:
            quiet = valid[middle]
        covariance += scan_covariance(values[middle], quiet, len(covariance) - 1)
        # What two frames have in common is not noise, and not atoms where those that were found are taken away.
        away = atoms < 0.3 * max(np.quantile(tops, 0.8) if len(tops) else 0, least)
        bands = {
            number: _bands((linearise(v, series.curvature) - atoms) * seen, width)
            for number, v, seen in zip(slots, values, valid, strict=True)
            if seen.mean() > 0.5
        }
        for (first, a), (second, b) in combinations(bands.items(), 2):
            if away.any():
                film.setdefault((line_of, first, second), []).append((a * b)[:, away].mean(1))
    line, reach, afterglow, decay = fit_scan_noise(covariance[1:] / max(covariance[0], 1e-12))
    # Two frames that stand in several windows are looked at several times, and say the same.
    common = np.array([np.mean(products, 0) for products in film.values()]).reshape(-1, 2)
    texture, grain = fit_texture(common, width)
    singles = faint_and_alone(sightings, width)
    enough = sum(len(one.atoms) for one in singles) >= FEWEST_ALONE
    return Features(
        atom_width=width,
        spot=measure_spot(sightings, width),
        height=float(np.quantile(heights, 0.8)) if len(heights) > 4 else 3.0,
        texture=texture,
        grain=grain,
        slow=float(np.sqrt(np.mean(slow))) if slow else 0.0,
        line=line,
        reach=reach,
        afterglow=afterglow,
        decay=decay,
        atoms=len(heights),
        layout=measure_layout(places, series.shape),
        single=measure_spot(singles, width) if enough else None,
    )


def _bands(frame: np.ndarray, width: float) -> np.ndarray:
    """The frame smoothed by each of `FINE`, without what is as wide as `COARSE`."""
    coarse = gaussian_filter(frame, COARSE * width)
    return np.stack([gaussian_filter(frame, fine * width) - coarse for fine in FINE])


def fit_texture(common: np.ndarray, width: float) -> tuple[float, float | None]:
    """Standard deviation and correlation length of a texture that two frames have in common.

    Parameters
    ----------
    common
        (n, 2) mean products of two frames in the two bands, in units of the noise variance; two other frames each.
    width
        Of an atom, px.

    Returns
    -------
    texture, grain
        Standard deviation in units of the noise, and correlation length in pixels. Where the products are no larger
        than their scatter, or there is nothing fine in them: the standard deviation in the first band, and None.

    Notes
    -----
    White noise smoothed by L, brought to unit variance and smoothed by s has the variance L^2 / (L^2 + s^2). The
    product of two such filters counts as one of the mean of their squares.
    """
    if not len(common):
        return 0.0, None
    seen = common.mean(0)
    error = common.std(0) / np.sqrt(len(common))
    if len(common) < FEWEST_PAIRS or not (seen > 3 * error).all():
        return float(np.sqrt(max(seen[0], 0))), None
    lengths = np.geomspace(*GRAIN, 60)
    squares = lengths**2

    def left(fine: float) -> np.ndarray:
        between = (fine**2 + COARSE**2) / 2
        return squares * (
            1 / (squares + fine**2) + 1 / (squares + COARSE**2) - 2 / (squares + between)
        )

    fine, finer = left(FINE[0]), left(FINE[1])
    best = np.abs(finer / fine - seen[1] / seen[0]).argmin()
    if best == len(lengths) - 1:  # smooth at the size of the atoms
        return float(np.sqrt(seen[0])), None
    return float(np.sqrt(seen[0] / fine[best])), float(lengths[best] * width)


def _sightings(generator, values, valid, curvature, width) -> list[Sighting]:
    """The frames next to the middle one, each with the atoms that are found without it."""
    part = (slice(None), *middle_part(values.shape[1:], EDGE))
    values, valid = values[part], valid[part]
    middle, found = len(values) // 2, []
    for slot in (middle - 1, middle + 1):
        if not 0 <= slot < len(values) or valid[slot].mean() < 0.5:
            continue
        left, known = values.copy(), valid.copy()
        left[slot], known[slot] = 0, 0
        atoms, under = restore(generator, left, known, curvature)
        frame = np.where(valid[slot], linearise(values[slot], curvature), atoms + under)
        tops = find_tops(atoms, width, _least(width, known))
        if len(tops):
            found.append(Sighting(frame, tops))
    return found


def _least(width: float, valid: np.ndarray) -> float:
    """Four times what is left of the noise after a matched filter over the window."""
    return 4 / (2 * np.sqrt(np.pi) * width * np.sqrt(max(valid.any(axis=(1, 2)).sum(), 1)))


def _slow_variance(background: np.ndarray, width: float) -> float:
    """Of a smoothed background, within patches."""
    smooth = gaussian_filter(background, width)
    return float(
        np.mean(
            [
                smooth[y : y + PATCH, x : x + PATCH].var()
                for y in range(0, max(1, smooth.shape[0] - PATCH // 2), PATCH)
                for x in range(0, max(1, smooth.shape[1] - PATCH // 2), PATCH)
            ]
        )
    )


def fit_scan_noise(correlation: np.ndarray) -> tuple[float, float, float, float]:
    """Line noise and afterglow that explain the autocorrelation of the noise along the scan.

    Parameters
    ----------
    correlation
        Autocorrelation at lags 1, 2, ... pixels along x.

    Returns
    -------
    line, reach
        Part of the variance that is line noise, and its decay in pixels.
    afterglow, decay
        Share of the signal that comes later, and its decay in pixels.

    Notes
    -----
    The model is that of :mod:`n2a.acquisition`: white counts through afterglow, plus line noise with the
    spectrum of an exponential decay. The best of a grid of values is taken.
    """
    lags = np.arange(1, len(correlation) + 1)
    best, found = np.inf, (0.0, 10.0, 0.0, 2.0)
    for decay in (0.7, 1.5, 3.0, 6.0):
        tail = np.exp(-np.arange(1, 40) / decay)
        tail /= tail.sum()
        for afterglow in np.arange(0, 0.65, 0.05):
            kernel = np.concatenate([[1 - afterglow], afterglow * tail])
            full = np.correlate(kernel, kernel, "full")[len(kernel) - 1 :]
            glow = np.pad(full[1:] / full[0], (0, 64))[: len(lags)]
            for reach in np.geomspace(1.5, 48, 31):
                slow = np.exp(-lags / reach)
                # Linear in the fraction of line noise.
                direction = slow - glow
                line = np.clip(
                    (direction @ (correlation - glow)) / (direction @ direction), 0, 0.95
                )
                # Simple explanations first.
                error = ((correlation - glow - line * direction) ** 2).mean()
                error += 2e-5 * (afterglow > 0) + 2e-5 * (line > 0.02)
                if error < best:
                    best, found = error, (float(line), float(reach), float(afterglow), decay)
    return found


def match_recipe(
    features: Features,
    curvature: float,
    dark: bool,
    base: Recipe | None = None,
    size: int = PATCH,
) -> Recipe:
    """Ranges of simulated pairs around what was measured on a series.

    Parameters
    ----------
    features
        From :func:`measure_features`.
    curvature
        Of the series' normalisation; 0 where the counts cannot be told.
    dark
        Whether the atoms are dark.
    base
        What is kept of it: drift, tumbling and the rest.
    size
        Edge of the patches in pixels, which hold as many atoms as those of the series do.
    """
    noise = 1 / abs(curvature) if abs(curvature) > 0.02 else 30.0
    # The variance at the background is that of its counts, with read-out and Anscombe's constant.
    level = max(noise**2 - 0.375, 0.05) * (1 - features.line)
    peak = max(features.height * noise, 0.05)
    ratio = level / peak
    texture, slow = features.texture * noise / level, features.slow * noise / level
    # Of the strongest texture that is drawn: so much may have been overlooked.
    least = min(0.1, 0.3 * noise / level)
    spot = features.spot
    # Pairs of columns that touch are long where single ones are not. Afterglow makes atoms longer along the scan, and
    # simulated pairs have it.
    alike = features.single is None or features.single.elongation > ROUND
    elongated = ROUND < spot.elongation < ROW and alike and features.afterglow <= 0.02
    shape = spot.along_x / spot.along_y
    # Columns that touch make the spots look wider than the plan does.
    touching = spot.width < MISLED * features.atom_width
    narrowest = min(spot.width, features.atom_width) if touching else spot.width
    changes = {
        "atom_width": (0.75 * narrowest, 1.2 * spot.width),
        "elongation": (0.85 * shape, 1.15 * shape) if elongated else (1.0, 1.0),
        "correlation": spot.correlation if elongated and abs(spot.correlation) > TILTED else 0.0,
        "peak": (0.5 * peak, 1.6 * peak),
        "usual_peak": (0.7 * peak, 1.3 * peak),
        "background": (0.5 * ratio, 1.2 * ratio),
        "even": True,
        # As standard deviations: a slope has 0.3 of its height.
        "thickness": (0.0, float(np.clip(2 * slow, min(0.05, 0.2 * noise / level), 0.4))),
        "slope": (0.0, float(np.clip(5 * slow, min(0.1, 0.5 * noise / level), 0.5))),
        "texture": (0.0, float(np.clip(3 * texture, least, 0.6))),
        "texture_share": 0.9 if texture * level > 0.1 * peak else 0.6,
        "grain": AMORPHOUS,
        "dark": 1.0 if dark else 0.0,
    }
    if features.grain is not None:
        grain = features.grain / spot.width
        changes |= {
            "texture": (min(0.5 * texture, 0.4), float(np.clip(1.5 * texture, least, 0.6))),
            "grain": (0.75 * grain, 1.4 * grain),
        }
    if features.line > 0.02:
        strength = float(np.sqrt(features.line / (1 - features.line)))
        changes |= {
            "line_noise": (0.7 * strength, 1.2 * strength),
            "line_reach": (0.6 * features.reach, 1.6 * features.reach),
            "line_share": 0.9,
        }
    if features.afterglow > 0.02:
        changes |= {
            "afterglow": (0.7 * features.afterglow, min(1.3 * features.afterglow, 0.8)),
            "afterglow_decay": (0.7 * features.decay, 1.4 * features.decay),
            "afterglow_share": 0.9,
        }
    base = base or Recipe()
    if features.layout is not None:
        changes |= match_layout(features.layout, spot.width, size, base.structures)
    return replace(base, **changes)
