# SPDX-License-Identifier: GPL-3.0-or-later
"""Patches of a noisy series: cut from the windows around its frames, without held-out frames, without loading it."""

import dask.array as da
import numpy as np
import pytest
import torch

from n2a import patches
from n2a.patches import NoisySeries, hot_pixels
from n2a.plan import Plan
from n2a.windows import Windows

PLAN = Plan(level=8.0, noise=3.0, gain=1.0, contrast="bright", atom_width=2.0, factor=1)


def make_frames(length=9, shape=(40, 56), seed=0, others=()):
    """Drifting atoms: no two places of a frame are alike."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    spots = rng.uniform(0, shape, (25, 2))
    frames = np.empty((*others, length, *shape))
    for index in np.ndindex(*others, length):
        at = spots + index[-1] * np.array([0.5, -0.3])
        rate = sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / 8) for a, b in at)
        frames[index] = rng.poisson(8 + 20 * rate)
    return frames


def find(patch, window):
    """Where a patch was cut from a window, mirrored or not; None if nowhere."""
    size = patch.shape[-1]
    for t in (1, -1):
        for y in (1, -1):
            turned = patch[::t, ::y]
            for top in range(window.shape[1] - size + 1):
                for left in range(window.shape[2] - size + 1):
                    if window[0, top, left] == turned[0, 0, 0] and np.array_equal(
                        window[:, top : top + size, left : left + size], turned
                    ):
                        return top, left
    return None


class TestValues:
    @pytest.mark.parametrize("factor", [1, 2])
    def test_are_those_of_the_windows(self, factor):
        frames = make_frames(shape=(40 * factor, 56 * factor))
        plan = Plan(8.0, 3.0 / factor, 1.0 / factor**2, "bright", 2.0 * factor, factor)
        series = NoisySeries(frames, plan, 5, held_out=(3,))
        batch = series.patches(np.random.default_rng(0), batch=6, size=24)
        assert batch["frames"].shape == batch["valid"].shape == (6, 5, 24, 24)
        assert {v.dtype for v in batch.values()} == {torch.float32}
        assert batch["curvature"].tolist() == pytest.approx([1 / 3 / factor] * 6)
        windows = Windows(plan, 5)
        prepared = {i: windows.prepare(frames[i]) for i in range(9)}
        candidates = []
        for i in range(9):
            slots = {s: j for s, j in windows.slots(i, 9).items() if j != 3}
            if i != 3:
                candidates.append(windows.gather(prepared, i, slots, {}).cut()[0])
        places = set()
        for patch in batch["frames"].numpy():
            found = [place for place in (find(patch, c) for c in candidates) if place is not None]
            assert found
            places.add(found[0])
        assert len(places) > 1

    def test_what_was_not_measured_is_zero_and_not_valid(self):
        frames = make_frames()
        frames[:, :, :20] = np.nan
        batch = NoisySeries(frames, PLAN).patches(np.random.default_rng(0), batch=8, size=32)
        missing = batch["valid"] == 0
        assert missing.any()
        assert not missing.all()
        assert (batch["frames"][missing] == 0).all()
        assert torch.isfinite(batch["frames"]).all()

    def test_dark_atoms_are_turned_up(self):
        frames = make_frames()
        bright, dark = (
            NoisySeries(f, Plan(level, 3.0, 0.0, contrast, 2.0, 1)).window(4)[0]
            for f, level, contrast in ((frames, 8.0, "bright"), (100 - frames, 92.0, "dark"))
        )
        np.testing.assert_allclose(dark, bright, atol=1e-5)
        assert bright[2].mean() > 0

    def test_rng_decides(self):
        series = NoisySeries(make_frames(), PLAN)
        first, again, other = (
            series.patches(np.random.default_rng(seed), 4, 24) for seed in (1, 1, 2)
        )
        assert torch.equal(first["frames"], again["frames"])
        assert not torch.equal(first["frames"], other["frames"])
        # What was drawn before does not matter, nor that the frames are lazy.
        lazy = NoisySeries(da.from_array(make_frames(), chunks=(4, 20, 56)), PLAN)
        fresh = lazy.patches(np.random.default_rng(1), 4, 24)
        assert torch.equal(first["frames"], fresh["frames"])

    def test_mirrored_along_y_only_where_asked_for(self):
        frames = make_frames()
        series = NoisySeries(frames, PLAN)
        windows = [series.window(i)[0] for i in range(9)]

        def as_recorded(mirror):
            told = []
            for seed in range(8):
                (patch,) = series.patches(np.random.default_rng(seed), 1, 24, mirror=mirror)[
                    "frames"
                ]
                places = (where(patch.numpy()[::t], w) for w in windows for t in (1, -1))
                told.append(any(place is not None for place in places))
            return told

        def where(patch, window):
            rows, columns = np.nonzero(window[0, :17, :33] == patch[0, 0, 0])
            for y, x in zip(rows, columns):
                if np.array_equal(window[:, y : y + 24, x : x + 24], patch):
                    return y, x
            return None

        assert all(as_recorded(False))
        assert 0 < sum(as_recorded(True)) < 8

    def test_as_large_as_the_frames_allow(self):
        series = NoisySeries(make_frames(), PLAN)
        assert series.patches(np.random.default_rng(0), 2, 96)["frames"].shape[-2:] == (40, 40)

    def test_every_axis_is_visited(self):
        frames = make_frames(length=5, others=(3,))
        frames *= np.array([1, 10, 100]).reshape(3, 1, 1, 1)
        series = NoisySeries(frames, PLAN)
        levels = [
            float(series.patches(np.random.default_rng(seed), 1, 32)["frames"][:, 2].median())
            for seed in range(12)
        ]
        assert len({round(np.log10(max(level, 1))) for level in levels}) == 3

    def test_single_images_have_no_neighbours(self):
        batch = NoisySeries(make_frames(), PLAN, use_time=False).patches(
            np.random.default_rng(0), 4, 24
        )
        assert (batch["valid"].flatten(2).any(2).sum(1) == 1).all()
        assert batch["valid"][:, 2].all()


class TestHeldOut:
    HELD = (2, 5)

    def marked(self, held):
        frames = make_frames()
        # A trace of its own in each frame, finer than any patch, which alignment cannot hide. Single pixels are hot.
        for i, frame in enumerate(frames):
            frame[::6, ::6] = frame[::6, 1::6] = 500 * (i + 1)
        return NoisySeries(frames, Plan(8.0, 3.0, 0.0, "bright", 2.0, 1), held_out=held)

    def traces(self, held):
        series, seen = self.marked(held), set()
        for step in range(25):
            batch = series.patches(np.random.default_rng(step), 4, 24, step)
            values = batch["frames"][batch["frames"] > 100]
            seen |= set(((values * 3 + 8) / 500).round().int().tolist())
        return {trace - 1 for trace in seen}

    def test_never_in_a_patch(self):
        assert self.traces(()) == set(range(9))
        assert self.traces(self.HELD) == set(range(9)) - set(self.HELD)

    def test_seen_where_they_are_asked_for(self):
        series = self.marked(self.HELD)
        assert series.window(3)[2] == [1, 2, 3, 4, 5]
        assert series.window(3, without=series.held_out)[2] == [1, None, 3, 4, None]


class TestLongSeries:
    LENGTH, SHAPE = 400, (24, 32)

    @pytest.fixture
    def counted(self, monkeypatch):
        """A lazy series of 400 frames of which 20 are kept, and the frames that were read."""
        monkeypatch.setattr(patches, "KEPT_PIXELS", 20 * 24 * 32)
        read = []

        def load(block_info=None):
            (start, _), *_ = block_info[None]["array-location"]
            read.append(start)
            rng = np.random.default_rng(start)
            return rng.poisson(8.0, (1, *self.SHAPE)).astype(np.uint16)

        frames = da.map_blocks(
            load, chunks=((1,) * self.LENGTH, *((n,) for n in self.SHAPE)), dtype=np.uint16,
            meta=np.empty((0, 0, 0), np.uint16),
        )  # fmt: skip
        return NoisySeries(frames, PLAN, held_out=range(3, self.LENGTH, 6)), read

    def test_is_not_loaded(self, counted):
        series, read = counted
        for step in range(patches.ERA):
            series.patches(np.random.default_rng(step), 4, 16, step)
        # A run of neighbours, each read once, serves a whole era.
        assert len(read) == len(set(read)) <= 20
        assert max(read) - min(read) < 20
        assert not any(i % 6 == 3 for i in read)
        assert len(series._kept) <= 20

    def test_is_walked_through(self, counted):
        series, read = counted
        for step in range(0, 50 * patches.ERA, patches.ERA // 2):
            series.patches(np.random.default_rng(step), 4, 16, step)
        assert min(read) < 25
        assert max(read) > self.LENGTH - 25
        assert len(set(read)) > self.LENGTH / 3
        assert len(series._kept) <= 20


class TestHotPixels:
    def test_found_beside_the_narrowest_atoms(self):
        y, x = np.mgrid[:64, :64]
        rng = np.random.default_rng(0)
        for width in (0.5, 1.0, 2.0):
            atoms = sum(
                50 * np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * width**2))
                for a in np.arange(8, 60, 12.3)
                for b in np.arange(8, 60, 11.7)
            )
            frame = atoms + rng.normal(size=atoms.shape)
            assert not hot_pixels(frame).any()
            frame[[0, 14, 14], [0, 14, 50]] += [60, 80, -60]
            assert np.argwhere(hot_pixels(frame)).tolist() == [[0, 0], [14, 14], [14, 50]]

    def test_count_as_not_measured(self):
        frames = make_frames(length=5)
        frames[:, 12, 20] = 3000
        values, valid, _ = NoisySeries(frames, PLAN, 5).window(2)
        assert not valid[2, 12, 20]
        assert values[2, 12, 20] == 0
        assert valid[2].sum() == valid[2].size - 1


class TestLines:
    def test_looks_are_spread_over_other_axes(self):
        series = NoisySeries(make_frames(others=(3, 4)), PLAN, 5)
        assert len({series.line(look) for look in range(6)}) == 6
        assert {series.line(look) for look in range(40)} == set(np.ndindex(3, 4))
        assert NoisySeries(make_frames(), PLAN, 5).line(7) == ()

    def test_measured(self):
        frames = make_frames()
        frames[1], frames[2, :30], frames[3, :10] = 0, np.nan, np.nan
        series = NoisySeries(frames, PLAN, 5)
        told = [series.measured((), i) for i in range(-1, 10)]
        assert told == [False, True, False, False, *6 * [True], False]
