# SPDX-License-Identifier: GPL-3.0-or-later
"""Domain S: noisy windows of a series for training, without loading the series."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import maximum_filter

from n2a.plan import Plan
from n2a.sampling import Match
from n2a.windows import Frame, Windows

if TYPE_CHECKING:
    import dask.array as da

# Pixels that are kept prepared: some 20 bytes each.
KEPT_PIXELS = 2**25
# Patches that are drawn from one window before the next: reading and registering frames is what takes time.
PER_WINDOW = 4
# Steps that a run of neighbouring frames of a long series serves.
ERA = 64
# A pixel that stands so far above (or below) its surroundings, in units of the noise, is a hot one if its neighbours do
# so by less than this share of it, and chance: half of what they do around an atom of half a pixel.
HOT, SHARE, CHANCE = 10.0, 0.05, 3.0
_RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)


class NoisySeries:
    """Windows of one series, binned, normalised and registered, and random patches of them.

    Parameters
    ----------
    frames
        (..., n, y, x), numpy or dask, any real dtype. Read frame by frame when needed.
    plan
        From :func:`n2a.plan.plan_series`.
    window
        Frames per window, odd.
    use_time
        Whether the n frames are neighbours in time.
    held_out
        Frames 0 <= i < n that no window of :meth:`patches` contains.

    Attributes
    ----------
    length, others
        Number n of frames, and the shape of the other axes.

    Notes
    -----
    Single hot pixels count as not measured: they are in every frame, and would be learned.
    """

    def __init__(
        self,
        frames: np.ndarray | da.Array,
        plan: Plan,
        window: int = 5,
        use_time: bool = True,
        held_out: Collection[int] = (),
    ):
        self.frames, self.plan = frames, plan
        self.windows = Windows(plan, window, use_time)
        self.length, self.others = frames.shape[-3], frames.shape[:-3]
        self.shape = tuple(-(-n // plan.factor) for n in frames.shape[-2:])
        self.held_out = frozenset(held_out)
        self.room = max(window + 3, KEPT_PIXELS // (self.shape[0] * self.shape[1]))
        self._kept: OrderedDict[tuple, Frame] = OrderedDict()
        self._known: dict[tuple, dict[tuple[int, int], Match]] = {}

    @property
    def curvature(self) -> float:
        """Of the normalisation, see :class:`n2a.normalization.Normalization`."""
        return self.windows.normalization.curvature

    def line(self, number: int) -> tuple[int, ...]:
        """Place on the other axes of the look of that number: a few looks are spread over all of them."""
        size = math.prod(self.others)
        # The golden section leaves no large gap, however many there will be.
        return tuple(
            int(i) for i in np.unravel_index(int(number * 0.618034 * size) % size, self.others)
        )

    def measured(self, other: tuple[int, ...], i: int) -> bool:
        """Whether there is a frame `i` of which half and more was recorded, and not one value everywhere."""
        if not 0 <= i < self.length:
            return False
        frame = np.asarray(self.frames[(*other, i)])
        known = frame[np.isfinite(frame)]
        return bool(known.size >= 0.5 * frame.size and np.ptp(known) > 0)

    def window(
        self, i: int, other: tuple[int, ...] = (), without: Collection[int] = ()
    ) -> tuple[np.ndarray, np.ndarray, list[int | None]]:
        """Values and validity (window, h, w) around frame `i`, and which frame stands in each slot."""
        slots = {
            slot: j
            for slot, j in self.windows.slots(i, self.length).items()
            if j == i or j not in without
        }
        frames = {j: self._frame(other, j) for j in slots.values()}
        known = self._known.setdefault(other, {})
        values, valid = self.windows.gather(frames, i, slots, known).cut()
        return values, valid > 0, [slots.get(slot) for slot in range(self.windows.window)]

    def patches(
        self, rng: np.random.Generator, batch: int, size: int, step: int = 0, mirror: bool = True
    ) -> dict:
        """Random patches: frames and valid (b, window, size, size) and curvature (b,), as tensors.

        Long series are walked through in runs of neighbouring frames that `step` and `rng` choose. Every second batch
        is mirrored along y, unless not `mirror`: a tilted spot would tilt the other way.
        """
        size = min(size, *(n // 8 * 8 for n in self.shape))
        values, valid = [], []
        while len(values) < batch:
            other = tuple(int(rng.integers(n)) for n in self.others)
            frames, seen, _ = self.window(self._centre(rng, step), other, self.held_out)
            for _ in range(min(PER_WINDOW, batch - len(values))):
                y, x = (int(rng.integers(n - size + 1)) for n in self.shape)
                values.append(frames[:, y : y + size, x : x + size])
                valid.append(seen[:, y : y + size, x : x + size])
        frames, seen = np.stack(values), np.stack(valid).astype(np.float32)
        # The scan has a direction along x: mirrored along y and in time only.
        if rng.uniform() < 0.5 and mirror:
            frames, seen = frames[:, :, ::-1], seen[:, :, ::-1]
        if rng.uniform() < 0.5:
            frames, seen = frames[:, ::-1], seen[:, ::-1]
        return {
            "frames": torch.from_numpy(frames.copy()),
            "valid": torch.from_numpy(seen.copy()),
            "curvature": torch.full((batch,), self.curvature),
        }

    def _centre(self, rng: np.random.Generator, step: int) -> int:
        first, number = 0, self.length
        run = self.room - 2 * (self.windows.window // 2 + 1)
        if self.length > self.room:
            # All batches of an era agree on where it begins.
            first = int(np.random.default_rng([step // ERA]).integers(self.length - run + 1))
            number = run
        allowed = [i for i in range(first, first + number) if i not in self.held_out]
        return int(rng.choice(allowed or [first]))

    def _frame(self, other: tuple[int, ...], i: int) -> Frame:
        key = (*other, i)
        if key not in self._kept:
            self._kept[key] = _without_hot(self.windows.prepare(np.asarray(self.frames[key])))
            while len(self._kept) > self.room:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def hot_pixels(values: np.ndarray) -> np.ndarray:
    """Where single pixels of a frame (y, x), in units of its noise, are brighter or darker than an atom can be."""
    found = np.zeros(values.shape, bool)
    for sign in (1, -1):
        near = maximum_filter(sign * values, footprint=_RING, mode="mirror")
        # Few are left to be looked at closely.
        for row, column in np.argwhere(sign * values - near > (1 - SHARE) * HOT - CHANCE):
            around = values[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
            level = sign * float(np.median(around))
            away = sign * float(values[row, column]) - level
            found[row, column] |= away > HOT and near[row, column] - level < SHARE * away + CHANCE
    return found


def _without_hot(frame: Frame) -> Frame:
    hot = hot_pixels(frame.values.astype(np.float32))
    if not hot.any():
        return frame
    valid = ~hot if frame.valid is None else np.where(hot, 0, frame.valid).astype(frame.valid.dtype)
    return frame._replace(values=np.where(hot, 0, frame.values), valid=valid)
