# SPDX-License-Identifier: GPL-3.0-or-later
"""Atoms of a result that the raw counts speak against: they would be seen if they were there.

Functions on arrays; :mod:`n2a.judging` finds and measures the atoms.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import ndtr

#: Frames in a row in which one atom is judged as a whole, beside frame by frame.
TOGETHER = 4
SURE = 3.0  # standard errors


def runs_of_atoms(
    frame: np.ndarray, position: np.ndarray, series: np.ndarray, reach: float
) -> np.ndarray:
    """Which detections are one atom in `TOGETHER` frames in a row.

    Parameters
    ----------
    frame
        (n,) index of the frame of each detection.
    position
        (n, 2) in pixels, without the drift of the frames.
    series
        By frame, the number of the series that it belongs to; neighbours of one series follow one another.
    reach
        An atom is at most so many pixels from where it was one frame earlier, and nearest to it both ways.

    Returns
    -------
    numpy.ndarray
        (m, `TOGETHER`) indices of detections; no detection is there twice. What is left over of an atom's frames at
        its end is in none.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.contradiction import runs_of_atoms
    >>> frame = np.array([0, 0, 1, 1, 2, 2, 3])
    >>> place = np.array([[5, 5], [9, 9], [9.2, 9], [5, 5.1], [5, 5], [20, 9], [5.3, 5]])
    >>> runs_of_atoms(frame, place, series=np.zeros(4), reach=1)
    array([[0, 3, 4, 6]])
    """
    before = np.full(len(frame), -1)
    for first in range(len(series) - 1):
        old, new = (np.flatnonzero(frame == number) for number in (first, first + 1))
        if not len(old) or not len(new) or series[first] != series[first + 1]:
            continue
        forth = cKDTree(position[new]).query(position[old], distance_upper_bound=reach)[1]
        back = cKDTree(position[old]).query(position[new], distance_upper_bound=reach)[1]
        for target, source in enumerate(back):
            if source < len(old) and forth[source] == target:
                before[new[target]] = old[source]
    chains: dict[int, list[int]] = {}
    runs = []
    for atom in np.argsort(frame, kind="stable").tolist():
        chain = [*chains.pop(int(before[atom]), []), atom]
        if len(chain) == TOGETHER:
            runs.append(chain)
            chain = []
        chains[atom] = chain
    return np.array(runs, int).reshape(-1, TOGETHER)


def contradicted(
    significance: np.ndarray, expected: np.ndarray, threshold: np.ndarray, runs: np.ndarray
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Atoms that would be seen if they were there, but are not, one by one and in several frames together.

    Parameters
    ----------
    significance
        (n,) how far the raw frame rises at each atom, in standard deviations.
    expected
        The same, if each atom were as bright as the result has it.
    threshold
        Least significance of an atom that the counts support.
    runs
        (m, k) indices of atoms that are one in several frames.

    Returns
    -------
    false, due : numpy.ndarray
        Which atoms are contradicted, and which would be seen if they were there, (n,).
    sure : bool
        Whether there are more of them than chance gives.

    Notes
    -----
    Atoms that are there scatter about what is expected: noise, jitter and neighbours do their part. What is
    contradicted lies six times as far below it, and below what is supported. The noise of the frames of one atom is
    independent: their mean scatters less, so that weaker atoms can be contradicted.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.contradiction import contradicted
    >>> expected = np.full(40, 10.0)
    >>> there = expected + np.random.default_rng(0).normal(size=40)
    >>> false, due, sure = contradicted(np.where(np.arange(40) < 2, 0, there), expected, 4 + 0 * expected, [])
    >>> np.flatnonzero(false), int(due.sum()), sure
    (array([0, 1]), 40, True)
    """
    false, due = _missed(significance, expected, threshold)
    sure = _is_more_than_chance(false)
    runs = np.asarray(runs, int)
    if len(runs):
        together, _ = _missed(
            *(each[runs].mean(axis=1) for each in (significance, expected, threshold))
        )
        if _is_more_than_chance(together):
            false[runs[together]] = True
            due[runs[together]] = True
            sure = True
    return false, due, sure


def _missed(significance, expected, threshold) -> tuple[np.ndarray, np.ndarray]:
    away = significance - expected
    scatter = max(1.0, 1.4826 * float(np.median(np.abs(away - np.median(away)))))
    due = expected > threshold + SURE * scatter
    return due & (significance < np.minimum(threshold, expected - 2 * SURE * scatter)), due


def _is_more_than_chance(false: np.ndarray) -> bool:
    chance = len(false) * float(ndtr(-SURE))
    return bool(np.count_nonzero(false) > chance + SURE * math.sqrt(chance))
