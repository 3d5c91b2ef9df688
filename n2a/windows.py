# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows of neighbouring frames as the network sees them: binned, normalised, registered."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from n2a.normalization import Normalization
from n2a.plan import Plan
from n2a.sampling import Match, Spectrum, band_spectrum, bin_frames, find_shift, move

# Likeness, relative to that of a frame's neighbours, above which nothing has moved to speak of.
STILL = 0.9
# Difference of the levels of two frames, in units of the noise, that only the beam can make.
FLICKER = 2.0


class Frame(NamedTuple):
    """One frame as the network sees it; its spectrum serves the registration.

    Many are kept at a time: values in half precision, whose rounding is below their noise of 1 (0.03 at 64, at
    most 0.5); `valid` is None where all pixels were measured.
    """

    values: np.ndarray
    valid: np.ndarray | None
    level: float
    spectrum: Spectrum | None


class Window(NamedTuple):
    """Which frame stands in each slot, and how far it is to be moved (y, x); None where there is none."""

    slots: tuple[tuple[Frame, tuple[int, int]] | None, ...]

    @property
    def middle(self) -> Frame:
        """The frame that is restored."""
        return self.slots[len(self.slots) // 2][0]

    def cut(
        self, rows: slice = slice(None), columns: slice = slice(None)
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values (t, y, x), float32, of a part of the window, and which of its pixels were measured."""
        shape = [
            len(range(n)[part])
            for n, part in zip(self.middle.values.shape, (rows, columns), strict=True)
        ]
        values = np.zeros((len(self.slots), *shape), np.float32)
        valid = np.zeros(values.shape, bool)
        for slot, part in enumerate(self.slots):
            if part is None:
                continue
            frame, shift = part
            seen = np.ones(frame.values.shape, bool) if frame.valid is None else frame.valid
            values[slot] = move(frame.values, shift, rows, columns)
            valid[slot] = move(seen, shift, rows, columns)
        return values, valid


class Windows:
    """Makes windows from the frames of one series.

    Parameters
    ----------
    plan
        From :func:`n2a.plan.plan_series`.
    window
        Frames per window, odd.
    use_time
        Whether frames are neighbours in time; otherwise all but the middle of a window stays empty.

    Attributes
    ----------
    halo
        How far a window reaches: half its length, and at the ends of a series one frame more.
    """

    def __init__(self, plan: Plan, window: int, use_time: bool = True):
        self.plan, self.window, self.use_time = plan, window, use_time
        self.halo = window // 2 + 1 if use_time else 0
        self.normalization = Normalization(
            plan.level, plan.noise, plan.gain, 1 if plan.contrast == "bright" else -1
        )
        self._width = plan.atom_width / plan.factor

    def prepare(self, frame: np.ndarray) -> Frame:
        """Bin and normalise one frame (y, x) of any real dtype."""
        finite = np.isfinite(frame)
        if not finite.all():
            frame = np.where(finite, frame, np.nan)
        values = self.normalization.forward(bin_frames(frame[None], self.plan.factor)[0])
        valid = np.isfinite(values)
        values[~valid] = 0
        spectrum = None
        if self.use_time:
            spectrum = band_spectrum(values, self._width)
        level = float(np.median(values[::2, ::2]))
        return Frame(values.astype(np.float16), None if valid.all() else valid, level, spectrum)

    def slots(self, i: int, length: int) -> dict[int, int]:
        """Which frame stands in each slot of the window around frame `i` of a series of `length`.

        Where the series ends, the outermost slot takes the next frame of the other side.
        """
        half = self.window // 2
        if not self.use_time:
            return {half: i}
        steps = {half + k: i + k for k in range(-half, half + 1)}
        if i < half:
            steps[0] = i + half + 1
        elif i >= length - half:
            steps[self.window - 1] = i - half - 1
        return {slot: j for slot, j in steps.items() if 0 <= j < length}

    def gather(
        self, frames: dict[int, Frame], i: int, slots: dict[int, int], known: dict
    ) -> Window:
        """The frames of the slots, and how far they are to be moved to lie on frame `i`.

        `known` keeps what was found for pairs of frames.
        """
        middle, half = frames[i], self.window // 2
        found: list = [None] * self.window
        matches = {j: self.match(frames, i, j, known) for j in slots.values() if j != i}
        near = [m.likeness for j, m in matches.items() if abs(j - i) <= half]
        for slot, j in slots.items():
            if j == i:
                found[slot] = middle, (0, 0)
                continue
            # A blanked or flickering beam says nothing about its neighbours.
            if np.ptp(frames[j].values) == 0 or abs(frames[j].level - middle.level) > FLICKER:
                continue
            # What is further away in time helps only where nothing has moved meanwhile.
            if abs(j - i) > half and matches[j].likeness < STILL * np.mean(near):
                continue
            shift = matches[j].shift
            found[slot] = frames[j], shift if i < j else tuple(-s for s in shift)
        return Window(tuple(found))

    def match(self, frames: dict[int, Frame], i: int, j: int, known: dict) -> Match:
        """How the later of two frames lies on the earlier: the same from both sides."""
        pair = min(i, j), max(i, j)
        if pair not in known:
            first, second = (frames[k] for k in pair)
            known[pair] = find_shift(first.spectrum, second.spectrum, first.values.shape)
        return known[pair]
