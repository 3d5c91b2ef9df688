# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured on the benchmark set: fidelity, and the detection of atoms.

One detector serves all methods, :func:`n2a.detection.detect`. It takes local maxima of an image of bright atoms, by
their height (an image of dark atoms is turned over before). A maximum is refined to a fraction of a pixel by a least-
squares parabola over its surroundings. Going from the highest to the lowest, each maximum is matched to the nearest
free column within 0.5 angstrom. Columns that cannot be told from their neighbours in the noise-free image and those
within one atom width of the edge are not judged: finding them is neither right nor wrong.

Matching in the order of height makes the matches at a threshold a part of those at any lower
one, so that the best F1 over all thresholds is exact.
"""

import numpy as np
from scipy.spatial import cKDTree

from n2a.detection import detect
from n2a.detection import psnr as psnr
from n2a.detection import ssim as ssim

TOLERANCE = 0.05  # nm
#: Minimal distances of two maxima (atom widths) among which the tuned detector chooses, and the
#: blur (atom widths) that it may subtract as background; None subtracts nothing.
MIN_DISTANCES = (0.75, 1.5)
BACKGROUNDS = (None, 4.0)
#: The untuned detector: its threshold is this part of the height of the weakest columns.
FIXED_FRACTION = 1 / 3


def match(found, series):
    """Match detections to the columns of a series.

    Returns
    -------
    verdict : numpy.ndarray
        Per detection 1 (a judged column), 0 (not judged), -1 (no column there).
    distance : numpy.ndarray
        Distance of the matched pair in px, NaN otherwise.
    total : int
        Number of judged columns.
    """
    tolerance = TOLERANCE / series.pixel_size
    height, width = series.atoms.shape[1:]
    margin = series.atom_width

    def inside(row, column):
        return (
            (row >= margin)
            & (column >= margin)
            & (row <= height - 1 - margin)
            & (column <= width - 1 - margin)
        )

    sites = series.sites
    judged = sites["resolved"] & inside(sites["row"], sites["column"])
    verdict = np.where(inside(found.row, found.column), -1, 0)
    distance = np.full(len(verdict), np.nan)
    for frame in range(len(series.atoms)):
        here = np.flatnonzero(sites["frame"] == frame)
        mine = np.flatnonzero(found.frame == frame)
        if not len(here) or not len(mine):
            continue
        tree = cKDTree(np.column_stack([sites["row"][here], sites["column"][here]]))
        points = np.column_stack([found.row[mine], found.column[mine]])
        free = np.ones(len(here), bool)
        for detection, near in zip(mine, tree.query_ball_point(points, tolerance)):
            if not near:
                continue
            near = np.array(near)
            offsets = np.hypot(
                sites["row"][here[near]] - found.row[detection],
                sites["column"][here[near]] - found.column[detection],
            )
            order = np.argsort(offsets)
            taken = [i for i in order if free[near[i]] and judged[here[near[i]]]]
            if taken:
                free[near[taken[0]]] = False
                verdict[detection] = 1
                distance[detection] = offsets[taken[0]]
            elif not judged[here[near]].all():
                verdict[detection] = 0
    return verdict, distance, int(judged.sum())


def f1_at(verdict, distance, total, keep):
    """F1 and the root-mean-square distance (px) of the detections `keep`."""
    true = int((verdict[keep] == 1).sum())
    false = int((verdict[keep] == -1).sum())
    offsets = distance[keep][verdict[keep] == 1]
    rms = float(np.sqrt(np.mean(offsets**2))) if len(offsets) else np.nan
    return 2 * true / max(true + false + total, 1), rms


def tuned_detection(frames, series):
    """The best F1 over thresholds, minimal distances and backgrounds, chosen with the truth.

    Returns
    -------
    dict
        ``f1``, ``rms_px`` and ``found``, the `Detections` above the best threshold; ``detector``,
        what was chosen, for `known_detection`.
    """
    best = {"f1": 0.0, "rms_px": np.nan, "found": detect(frames, series.atom_width)[:0]}
    best["detector"] = {"min_distance": MIN_DISTANCES[0], "background": None, "threshold": np.inf}
    for background in BACKGROUNDS:
        for distance in MIN_DISTANCES:
            found = detect(frames, series.atom_width, distance, background)
            # with four times as many maxima as columns, F1 is below one half
            found = found[: 4 * len(series.sites) + 50]
            verdict, offsets, total = match(found, series)
            true = np.cumsum(verdict == 1)
            false = np.cumsum(verdict == -1)
            if not len(true) or not total:
                continue
            curve = 2 * true / (true + false + total)
            # equal heights stand or fall together
            last = np.append(found.height[1:] < found.height[:-1], True)
            index = int(np.argmax(np.where(last, curve, -1)))
            if curve[index] > best["f1"]:
                f1, rms = f1_at(verdict, offsets, total, slice(0, index + 1))
                best = {"f1": f1, "rms_px": rms, "found": found[: index + 1]}
                best["detector"] = {
                    "min_distance": distance,
                    "background": background,
                    # half way to the next: other noise moves both
                    "threshold": float(found.height[index : index + 2].mean()),
                }
    return best


def known_detection(frames, series, detector):
    """F1 and position error with a detector that `tuned_detection` chose on another draw of the noise."""
    found = detect(frames, series.atom_width, detector["min_distance"], detector["background"])
    return _above(detector["threshold"], found, series)


def _above(threshold, found, series):
    """F1 and position error of the detections from `threshold` on; `found` goes from the highest to the lowest."""
    found = found[: int((found.height >= threshold).sum())]
    verdict, offsets, total = match(found, series)
    f1, rms = f1_at(verdict, offsets, total, slice(None))
    return {"f1": f1, "rms_px": rms, "found": found}


def fixed_detection(atoms, observation):
    """Detection in domain C with nothing tuned but the series' own scale.

    The threshold is `FIXED_FRACTION` of the height of the weakest columns, the 10th percentile of
    the resolved ones.
    """
    series = observation.series
    weakest = np.percentile(heights(series, series.sites["resolved"]), 10) * observation.unit
    return _above(FIXED_FRACTION * weakest, detect(atoms, series.atom_width), series)


def heights(series, which):
    """Values of the noise-free atoms at the columns `which`, fractions of the beam."""
    sites = series.sites[which]
    row, column = (
        np.clip(np.rint(sites[axis]).astype(int), 0, size - 1)
        for axis, size in zip(("row", "column"), series.atoms.shape[1:])
    )
    return series.atoms[sites["frame"], row, column]


def false_atoms(frames, atom_width, height):
    """False atoms per frame of empty support.

    An atom is a local maximum of at least a third of `height`, the peak of a single atom, whose
    intensity within two atom widths is at least a third of that of a Gaussian of that height.
    """
    found = detect(frames, atom_width)
    keep = found.height >= FIXED_FRACTION * height
    radius = round(2 * atom_width)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = y**2 + x**2 <= radius**2
    single = height * np.exp(-(y**2 + x**2) / (2 * atom_width**2))[disc].sum()
    count = 0
    padded = np.pad(frames, ((0, 0), (radius, radius), (radius, radius)), mode="reflect")
    for frame, row, column in zip(found.frame[keep], found.row[keep], found.column[keep]):
        r, c = round(row), round(column)
        window = padded[frame, r : r + 2 * radius + 1, c : c + 2 * radius + 1]
        count += window[disc].sum() >= FIXED_FRACTION * single
    return count / len(frames)


def filled_vacancies(found, series):
    """Part of the empty columns at which an atom is reported; NaN where there are none."""
    empty = series.vacancies[series.vacancies["count"] == 2]
    if not len(empty):
        return np.nan
    tolerance = TOLERANCE / series.pixel_size
    filled = 0
    for one in empty:
        here = found.frame == one["frame"]
        offsets = np.hypot(found.row[here] - one["row"], found.column[here] - one["column"])
        filled += bool((offsets <= tolerance).any())
    return filled / len(empty)
