# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows around a frame: what is taken from beyond them, and how many frames stand behind each pixel."""

import numpy as np
import pytest

from n2a.plan import Plan
from n2a.windows import REACH, Windows

PLAN = Plan(level=100.0, noise=10.0, gain=0.0, contrast="bright", atom_width=2.0, factor=1)


def record(frames=13, shape=(64, 80), seed=0):
    """Some atoms at rest, with noise of 10 on a level of 100."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    scene = np.full(shape, 100.0)
    for row, column in rng.uniform(0, shape, (shape[0] * shape[1] // 150, 2)):
        scene += 60 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 8)
    return scene, scene + 10 * rng.normal(size=(frames, *shape))


def around(frames, i, window=5, plan=PLAN):
    """Values and numbers (window, y, x) as the network gets them."""
    windows = Windows(plan, window)
    prepared = {j: windows.prepare(frame) for j, frame in enumerate(frames)}
    known = {}
    gathered = windows.gather(prepared, i, windows.slots(i, len(frames)), known)
    beyond = windows.beyond(i, len(frames))
    return windows.extend(gathered, prepared, i, beyond, known).cut()


def test_at_rest_all_frames_within_reach_take_part():
    scene, frames = record()
    values, number = around(frames, 6)
    assert number.sum(0).mean() > 5 + 0.5 * (2 * REACH - 4)
    assert number.sum(0).max() <= 2 * REACH + 1.01
    assert (number[1:4] == 1).all()
    # The noise of a mean of n is that of one over the square root of n.
    rest = values - (scene - 100) / 10
    for slot in (0, 4):
        assert (rest[slot] * np.sqrt(number[slot])).std() == pytest.approx(1, abs=0.06)
        assert abs(rest[slot].mean()) < 0.05


@pytest.mark.parametrize("i", [0, 1, 11, 12])
def test_at_the_ends_of_a_series_as_many_as_there_are(i):
    _, frames = record()
    _, number = around(frames, i)
    there = sum(0 <= i + k < 13 for k in range(-REACH, REACH + 1))
    assert there - 1.2 < number.sum(0).mean() <= there


def test_where_something_changes_there_are_fewer():
    _, frames = record()
    y, x = np.mgrid[:64, :80]
    before = around(frames, 6)[1]
    frames[9:] += 80 * np.exp(-((y - 20) ** 2 + (x - 20) ** 2) / 8)
    after = around(frames, 6)[1]
    assert after[:, 20, 20].sum() < 5 + 3 + 0.1
    np.testing.assert_array_equal(after[:, 20:, 60:], before[:, 20:, 60:])


def test_a_scene_that_is_another_is_left_alone():
    _, frames = record()
    frames[9:] = record(seed=1)[1][9:][:, ::-1, ::-1]
    frames[:4] = record(seed=2)[1][:4][:, ::-1]
    _, number = around(frames, 6)
    assert number.max() <= 1.2


def test_pixels_that_were_not_measured_count_for_nothing():
    _, frames = record()
    frames[2, :20] = np.nan
    frames[9, 30:40] = np.nan
    values, number = around(frames, 6)
    whole = around(record()[1], 6)[1]
    assert np.isfinite(values).all()
    assert (number[:, 10, 40].sum() < whole[:, 10, 40].sum() - 0.5).all()
    # Smoothing sees across the rim of what is missing.
    np.testing.assert_allclose(number[:, 58, 40].sum(), whole[:, 58, 40].sum(), atol=1)


def test_a_blanked_frame_is_left_out_wherever_it_stands():
    _, frames = record()
    for blank in (4, 7, 10):
        changed = frames.copy()
        changed[blank] = 0
        values, number = around(changed, 6)
        assert np.isfinite(values).all()
        assert number.sum(0).max() <= 2 * REACH + 1e-3


@pytest.mark.parametrize("shape", [(16, 16), (17, 33), (20, 200)])
def test_small_and_odd_sizes(shape):
    _, frames = record(shape=shape)
    values, number = around(frames, 6)
    assert values.shape == number.shape == (5, *shape)
    assert np.isfinite(values).all()
    assert number.sum(0).mean() > 5


@pytest.mark.parametrize(("window", "most"), [(1, 1), (3, 3), (7, 2 * REACH + 1)])
def test_other_windows(window, most):
    _, frames = record()
    _, number = around(frames, 6, window)
    assert len(number) == window
    assert number.sum(0).max() == pytest.approx(most, abs=0.01)


@pytest.mark.parametrize("window", [1, 3, 5, 7, 11, 13])
def test_the_halo_holds_all_that_is_looked_at(window):
    windows = Windows(PLAN, window)
    for i in range(30):
        seen = {*windows.slots(i, 30).values(), *windows.beyond(i, 30)}
        assert max(abs(j - i) for j in seen) <= windows.halo


def test_empty_places_are_filled_by_whole_frames_only():
    """The network has seen no pixel with less than one frame behind it, but none."""
    _, frames = record()
    y, x = np.mgrid[:64, :80]
    for k in range(3, 13):
        frames[k] += 8 * k * np.exp(-((y - 20) ** 2 + (x - 20) ** 2) / 50)
    for i in (0, 1):
        _, number = around(frames, i)
        assert not ((number > 0.001) & (number < 0.89)).any()
