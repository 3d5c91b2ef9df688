# SPDX-License-Identifier: GPL-3.0-or-later
"""Drift that is known is found, nobody is judged by what went into a result, and added noise is like the real one."""

import itertools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from n2a.noise import Noise
from n2a.views import UNSEEN, added_noise, register, unseen_pairs

WIDTH = 2.0


def scene(shape=(150, 170), seed=0):
    """Atoms at random places, counts of 1 at their tops on a background of 0.3."""
    rng = np.random.default_rng(seed)
    sites = np.zeros(shape)
    sites.flat[rng.choice(sites.size, sites.size // 200, replace=False)] = rng.uniform(0.5, 1)
    return 0.3 + 2 * np.pi * WIDTH**2 * gaussian_filter(sites, WIDTH)


def seen_through(view, places, shape=(80, 96)):
    """Frames of a drifting field of view with its corner at `places`."""
    return np.stack([view[y : y + shape[0], x : x + shape[1]] for y, x in places])


def random_walk(rng, n, step, centre=(35, 37)):
    walk = np.cumsum(rng.integers(-step, step + 1, (n, 2)), axis=0)
    return walk - walk[n // 2] + centre


class TestRegister:
    @pytest.mark.parametrize("dose", [5, 40])
    def test_finds_a_known_walk(self, dose):
        away = []
        for seed in range(8):
            rng = np.random.default_rng(seed)
            places = random_walk(rng, 9, 2)
            found = register(rng.poisson(dose * seen_through(scene(), places)), WIDTH)
            away.append(np.abs(found.shifts - (places - places[4])))
        # Half an atom width at most, and seldom: a step that hardly matters is not taken.
        assert np.max(away) <= 1
        assert np.mean(away) < 0.06

    @pytest.mark.parametrize("n", [2, 5, 8])
    def test_frames_lie_on_one_another(self, n):
        places = [(20 + 2 * i, 40 - 3 * i) for i in range(n)]
        clean = seen_through(scene(), places)
        found = register(clean, WIDTH)
        moved = found.apply(clean)
        np.testing.assert_array_equal(moved, np.broadcast_to(moved[0], moved.shape))
        # All that every frame shows, and nothing that one of them does not.
        assert moved.shape[1:] == (80 - 2 * (n - 1), 96 - 3 * (n - 1))
        np.testing.assert_array_equal(moved[0], clean[n // 2][found.region])

    def test_moves_other_frames_along(self):
        # Found in noisy frames, applied to the scene.
        places = [(30, 30), (31, 34), (35, 33), (34, 29), (33, 31), (30, 28)]
        clean = seen_through(scene(), places)
        found = register(np.random.default_rng(0).poisson(20 * clean), WIDTH)
        moved = found.apply(clean)
        np.testing.assert_array_equal(moved, np.broadcast_to(moved[0], moved.shape))

    def test_slow_drift_does_not_add_up_to_an_error(self):
        # A third of a pixel per frame, which every single step rounds to nothing.
        fine = scene((330, 330), seed=1)
        soft = gaussian_filter(fine, 4)  # width of atoms: hypot(2, 4) px here
        frames = np.stack([soft[:, i : i + 240][::3, ::3] for i in range(13)])
        found = register(frames, np.hypot(2, 4) / 3)
        expected = np.round((np.arange(13) - 6) / 3)
        assert np.abs(found.shifts[:, 1] - expected).max() <= 1
        assert np.ptp(found.shifts[:, 1]) >= 3
        assert not found.shifts[:, 0].any()

    @pytest.mark.parametrize("dose", [0.2, 0.4, 1, 5, 100])
    def test_a_scene_at_rest_stays_where_it_is(self, dose):
        # A fifth of a count too: some pairs of frames seem shifted for sure, all together do not.
        for seed in range(4):
            still = np.broadcast_to(scene(seed=seed)[:80, :96], (8, 80, 96))
            found = register(np.random.default_rng(seed).poisson(dose * still), WIDTH)
            assert not found.shifts.any()
            assert found.apply(still).shape == still.shape

    def test_noise_alone_is_not_moved(self):
        frames = np.random.default_rng(3).poisson(10, (6, 64, 64))
        found = register(frames, WIDTH)
        assert not found.shifts.any()
        np.testing.assert_array_equal(found.apply(frames), frames)

    def test_gives_up_where_too_little_is_in_common(self):
        # Each step is small, but in the end less than 0.6 of the height is left.
        view = scene((200, 200))
        short = seen_through(view, [(4 * i, 10) for i in range(9)])
        long = seen_through(view, [(4 * i, 10) for i in range(11)])
        assert register(short, WIDTH).apply(short).shape == (9, 48, 96)
        found = register(long, WIDTH)
        assert not found.shifts.any()
        np.testing.assert_array_equal(found.apply(long), long)

    def test_a_single_frame(self):
        frame = scene()[None]
        found = register(frame, WIDTH)
        np.testing.assert_array_equal(found.shifts, [[0, 0]])
        np.testing.assert_array_equal(found.apply(frame), frame)

    def test_the_frames_are_not_changed(self):
        frames = seen_through(scene(), [(30, 30), (32, 31), (31, 33)]).astype(np.float32)
        before = frames.copy()
        register(frames, WIDTH).apply(frames)
        np.testing.assert_array_equal(frames, before)


class TestUnseenPairs:
    @pytest.mark.parametrize("count", range(20))
    def test_what_no_method_of_seven_frames_has_seen(self, count):
        found = list(unseen_pairs(count))
        for i, others in found:
            assert 0 <= min(others) <= max(others) < count
            assert len(set(others)) == len(others) >= 2
            assert min(abs(i - k) for k in others) > 3
            # One side: with one frame before and one after, a steady motion would cancel.
            assert len({k > i for k in others}) == 1
        sides = {(i, others[0] > i) for i, others in found}
        assert len(sides) == len(found)
        # Every frame and side that has two such frames near is there.
        expected = {
            (i, later)
            for i, later in itertools.product(range(count), (True, False))
            if (count - 1 - i if later else i) >= sorted(UNSEEN)[1]
        }
        assert sides == expected

    def test_eight_frames_are_the_fewest(self):
        assert list(unseen_pairs(7)) == []
        assert sorted((i, sorted(o)) for i, o in unseen_pairs(8)) == [(0, [6, 7]), (7, [0, 1])]


def first_order(keep, columns):
    """Power by frequency of unit noise whose correlation falls by `keep` per pixel."""
    angle = np.pi * (np.arange(columns) + 0.5) / columns
    return (1 - keep**2) / (1 - 2 * keep * np.cos(angle) + keep**2)


class TestAddedNoise:
    def test_grows_with_the_intensity_as_told(self):
        expected = np.linspace(2, 40, 64)[:, None] * np.ones((200, 64, 48))
        noise = Noise(1.5, 4.0, 0)
        variance = noise.gain * expected[0, :, 0] + noise.offset
        flat = np.full(48, variance.mean())  # the power that such noise has
        drawn = added_noise(expected, noise, flat, np.random.default_rng(0))
        assert drawn.dtype == np.float32
        assert drawn.shape == expected.shape
        np.testing.assert_allclose(drawn.var(axis=(0, 2)), variance, rtol=0.08)
        assert abs(drawn.mean()) < 4 * np.sqrt(variance.mean() / drawn.size)

    @pytest.mark.parametrize("columns", [64, 96, 128])
    def test_is_correlated_along_the_lines_as_told(self, columns):
        drawn = added_noise(
            np.full((20, 64, 96), 7.0),
            Noise(1, 0, 0),
            9 * first_order(0.6, columns),
            np.random.default_rng(1),
        )
        assert drawn.var() == pytest.approx(9, rel=0.03)
        for lag in (1, 2, 4):
            inner = drawn[..., 8:-8]  # cosines fold the correlation back at the edges
            along = np.mean(inner[..., lag:] * inner[..., :-lag]) / drawn.var()
            across = np.mean(drawn[:, lag:] * drawn[:, :-lag]) / drawn.var()
            assert along == pytest.approx(0.6**lag, abs=0.02)
            assert abs(across) < 0.02
        frames = np.mean(drawn[1:] * drawn[:-1]) / drawn.var()
        assert abs(frames) < 0.02

    def test_comes_and_goes_in_whole_counts(self):
        # A sixteenth of the counts of a faint scene: none at most pixels, one at some.
        drawn = added_noise(
            np.full((4, 64, 64), 0.5),
            Noise(2, 0, 0),
            np.full(64, 1.0),
            np.random.default_rng(5),
            step=0.25,
        )
        assert drawn.var() == pytest.approx(1, rel=0.1)
        steps = np.unique((0.25 * drawn).round(4))
        assert len(steps) > 1
        np.testing.assert_allclose(np.diff(steps), 2, rtol=1e-3)

    def test_white_noise_is_white(self):
        drawn = added_noise(
            np.full((20, 64, 64), 3.0), Noise(2, 0, 0), np.full(16, 6.0), np.random.default_rng(2)
        )
        assert drawn.var() == pytest.approx(6, rel=0.03)
        assert abs(np.mean(drawn[..., 1:] * drawn[..., :-1])) < 0.02 * 6

    def test_none_where_nothing_is_expected(self):
        expected = np.zeros((2, 64, 64))
        expected[:, :, 32:] = 5
        drawn = added_noise(expected, Noise(1, 0, 0), np.full(64, 2.5), np.random.default_rng(3))
        assert not drawn[:, :, :32].any()
        assert drawn[:, :, 32:].var() == pytest.approx(5, rel=0.1)
        # A result may dip below zero: that is no variance, and no NaN.
        drawn = added_noise(
            expected - 2, Noise(1, 0, 0), np.full(64, 1.5), np.random.default_rng(3)
        )
        assert np.isfinite(drawn).all()
        assert not drawn[:, :, :32].any()

    def test_strength_is_that_of_the_profile_where_no_line_was_found(self):
        for noise in (Noise(0, 0, 0), Noise(1, -100, 0)):
            drawn = added_noise(
                np.full((8, 64, 64), 10.0), noise, np.full(64, 4.0), np.random.default_rng(4)
            )
            assert drawn.var() == pytest.approx(4, rel=0.05)
