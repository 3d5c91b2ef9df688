# SPDX-License-Identifier: GPL-3.0-or-later
"""Atoms of a result that the raw counts speak against, one by one and in several frames together."""

import numpy as np
import pytest
from hyperspy.signals import Signal2D

import n2a
from n2a.contradiction import TOGETHER, contradicted, runs_of_atoms

UNSUPPORTED = "atoms without support in the counts"
SUPPORT = 4.0  # counts


def layer(vacancies, **settings):
    """A monolayer; one seed gives one lattice, whatever its vacancies."""
    scene = n2a.simulate(
        structure="2d", shape=(96, 96), frames=9, vacancies=vacancies, seed=2, **settings
    )
    return np.asarray(scene.data, float)


def test_runs_follow_what_moves_and_break_where_it_is_lost():
    # Two atoms cross the frame; one is missed once. Another series begins at frame 6.
    frame, place = [], []
    for number in range(12):
        for atom, start in enumerate((5.0, 30.0)):
            if (number, atom) != (2, 1):
                frame.append(number)
                place.append((start + 0.8 * (number % 6), 10.0))
    frame, place = np.array(frame), np.array(place)
    runs = runs_of_atoms(frame, place, np.arange(12) // 6, reach=1)
    assert runs.shape == (3, TOGETHER)
    for run in runs:
        assert np.diff(frame[run]).tolist() == [1] * (TOGETHER - 1)
        assert np.diff(place[run, 0]) == pytest.approx(0.8)
    assert len(np.unique(runs)) == runs.size
    assert len(runs_of_atoms(frame, place, np.arange(12), reach=1)) == 0
    assert len(runs_of_atoms(frame, place, np.arange(12) // 6, reach=0.7)) == 0


def test_chance_alone_contradicts_nothing():
    rng = np.random.default_rng(0)
    runs = np.arange(4000).reshape(-1, TOGETHER)
    for height in (3.0, 8.0, 20.0):
        expected = rng.uniform(0.5 * height, 1.5 * height, 4000)
        found = rng.normal(expected)
        false, _, sure = contradicted(found, expected, np.full(4000, 3.5), runs)
        assert not sure
        assert not false.any()


@pytest.mark.parametrize("drift", [0.0, 0.02])
def test_atoms_too_weak_for_one_frame_are_contradicted_by_several(drift):
    truth, whole = (layer(share, drift=drift) for share in (0.04, 0.0))
    unit = 3.0 / np.quantile(truth, 0.995)
    honest, painted = (SUPPORT + unit * each for each in (truth, whole))
    raw = np.random.default_rng(1).poisson(honest)
    assert UNSUPPORTED not in n2a.report(raw, honest).verdicts
    forged = n2a.report(raw, painted)
    assert UNSUPPORTED in forged.verdicts
    assert "frames of an atom together" in forged["contradicted"].source
    # The same frames, each for itself.
    images = (Signal2D(frames) for frames in (raw, painted))
    assert UNSUPPORTED not in n2a.report(*images, time_axis=None).verdicts
