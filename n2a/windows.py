# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows of neighbouring frames as the network sees them: binned, normalised, registered."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

from n2a.normalization import Normalization
from n2a.plan import Plan
from n2a.sampling import Match, Spectrum, band_spectrum, bin_frames, find_shift, move

# Frames on each side that may help where nothing has moved.
REACH = 4
# Likeness, relative to that of a frame's neighbours, above which nothing has moved to speak of.
STILL = 0.9
# Mean squared difference, in units of its noise, of a frame that helps fully and of one that does not; over a square of
# so many atom widths. And the squared difference of one place from which on it does not.
ALIKE, MOVED, AREA, GONE = 1.1, 1.5, 14, 12.0
# Frames, as a weight, that fill an empty place at least; the network has seen no fewer.
LEAST = 0.9
# Value, in units of the noise, above which nothing is an atom.
BRIGHT = 500.0
# Difference of the levels of two frames, in units of the noise, that only the beam can make.
FLICKER = 2.0


class Frame(NamedTuple):
    """One frame as the network sees it; its spectrum serves the registration.

    Many are kept at a time: values in half precision, whose rounding is below their noise of 1 (0.03 at 64, at
    most 0.5); `valid` says which pixels were measured, or how many frames they are the mean of; None where all are
    those of one frame.
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
        """Values (t, y, x), float32, of a part of the window, and how many frames each is the mean of."""
        shape = [
            len(range(n)[part])
            for n, part in zip(self.middle.values.shape, (rows, columns), strict=True)
        ]
        values, valid = np.zeros((2, len(self.slots), *shape), np.float32)
        for slot, part in enumerate(self.slots):
            if part is None:
                continue
            frame, shift = part
            values[slot] = move(frame.values, shift, rows, columns)
            valid[slot] = move(_seen(frame), shift, rows, columns)
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
        How far a window reaches: half its length, at the ends of a series one frame more, and :data:`REACH` where
        nothing moves.
    """

    def __init__(self, plan: Plan, window: int, use_time: bool = True):
        self.plan, self.window, self.use_time = plan, window, use_time
        reach = max(window // 2 + 1, REACH if window > 3 else 0)
        self.halo = reach if use_time and window > 1 else 0
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
        # A blanked beam has no level, and says nothing about other frames.
        level = float(np.median(values[::2, ::2])) if np.ptp(values) > 0 else np.nan
        valid = None if valid.all() else valid
        return Frame(values.astype(np.float16), valid, level, spectrum)

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

    def beyond(self, i: int, length: int) -> list[int]:
        """Frames outside of the window around frame `i` that :meth:`extend` may use, the nearest first."""
        half = self.window // 2
        if half < 2:  # the first and last are the next neighbours
            return []
        steps = [k for d in range(half + 1, self.halo + 1) for k in (-d, d)]
        return [i + k for k in steps if 0 <= i + k < length]

    def gather(
        self, frames: dict[int, Frame], i: int, slots: dict[int, int], known: dict
    ) -> Window:
        """The frames of the slots, and how far they are to be moved to lie on frame `i`.

        `known` keeps what was found for pairs of frames.
        """
        half = self.window // 2
        found: list = [None] * self.window
        likeness = {j: self.match(frames, i, j, known).likeness for j in slots.values() if j != i}
        near = [value for j, value in likeness.items() if abs(j - i) <= half]
        for slot, j in slots.items():
            if j != i and not _comparable(frames[j], frames[i]):
                continue
            # What is further away in time helps as a whole only where nothing has moved meanwhile.
            if abs(j - i) <= half or likeness[j] >= STILL * np.mean(near):
                found[slot] = frames[j], self.shift(frames, i, j, known)
        return Window(tuple(found))

    def extend(
        self, window: Window, frames: dict[int, Frame], i: int, beyond: list[int], known: dict
    ) -> Window:
        """The window around frame `i` with frames from beyond it where nothing has moved.

        They are averaged into the outermost slots, or fill them where they are empty, pixel by pixel with the weight
        of their likeness to the mean of the window. Next neighbours stay what they are: where something moves without
        being noticed, they tell best where it is.
        """
        if not beyond:
            return window
        last, middle = self.window - 1, self.window // 2
        # Frames to both sides of the middle: the mean of others would lie on one side of a motion.
        around = window.slots[middle - 1 : middle + 2]
        near = [self._smooth(*part) for part in around if part is not None]
        if len(near) < 2:
            return window
        mean, number, noise = _mean_and_noise(near)
        inside = [id(part[0]) for part in window.slots if part is not None]
        sums = {
            slot: [part]
            for slot, part in enumerate(window.slots)
            if part is not None and slot in (0, last)
        }
        empty = [slot for slot in (0, last) if window.slots[slot] is None]
        for j in beyond:
            if id(frames[j]) in inside or not _comparable(frames[j], window.middle):
                continue
            shift = self.shift(frames, i, j, known)
            smooth, seen = self._smooth(frames[j], shift)
            score = (smooth - mean) / (noise * np.sqrt(1 + 1 / number))
            score = np.where(seen, np.square(score, out=score), 1)
            local = uniform_filter(score, round(AREA / 2 * self._width), mode="nearest")
            weight = ((MOVED - local) / (MOVED - ALIKE)).clip(0, 1) * seen * (score < GONE)
            if not weight.any():
                continue
            ends = (0, last) if j < i else (last, 0)
            slot = empty.pop(0) if empty else min(ends, key=lambda k: len(sums.get(k, ())))
            sums.setdefault(slot, []).append((frames[j], shift, weight))
        slots = list(window.slots)
        for slot, parts in sums.items():
            if len(parts) > 1 or slots[slot] is None:
                slots[slot] = _averaged(parts), (0, 0)
        return Window(tuple(slots))

    def _smooth(self, frame: Frame, shift: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """A moved frame at half the size, smoothed to the width of an atom, and which of its pixels were measured."""
        values = _halved(move(frame.values, shift))
        # A hot pixel must not outweigh all around it.
        smooth = gaussian_filter(values.clip(-BRIGHT, BRIGHT), self._width / 2, truncate=3)
        return smooth, _halved(move(_seen(frame), shift)) == 1

    def shift(self, frames: dict[int, Frame], i: int, j: int, known: dict) -> tuple[int, int]:
        """How far frame `j` is to be moved to lie on frame `i`."""
        if i == j:
            return 0, 0
        shift = self.match(frames, i, j, known).shift
        return shift if i < j else tuple(-s for s in shift)

    def match(self, frames: dict[int, Frame], i: int, j: int, known: dict) -> Match:
        """How the later of two frames lies on the earlier: the same from both sides."""
        pair = min(i, j), max(i, j)
        if pair not in known:
            first, second = (frames[k] for k in pair)
            known[pair] = find_shift(first.spectrum, second.spectrum, first.values.shape)
        return known[pair]


def _comparable(frame: Frame, middle: Frame) -> bool:
    """Whether a frame says something about another: one of another dose does not."""
    return abs(frame.level - middle.level) <= FLICKER


def _seen(frame: Frame) -> np.ndarray:
    return np.ones(frame.values.shape, bool) if frame.valid is None else frame.valid


def _halved(image: np.ndarray) -> np.ndarray:
    """Means over 2 x 2 pixels, float32; an odd last row or column is repeated."""
    image = np.pad(image, [(0, n % 2) for n in image.shape], mode="edge").astype(np.float32)
    rows = image[::2] + image[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) / 4


def _mean_and_noise(parts: list) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean of smoothed frames, how many stand behind each of its pixels, and the noise of one of them."""
    images, seen = (np.stack(each) for each in zip(*parts, strict=True))
    number = np.maximum(seen.sum(0, dtype=np.float32), 1)
    mean = (images * seen).sum(0) / number
    scatter = np.abs(images - mean)[:, ::2, ::2][seen[:, ::2, ::2]]  # enough for a median
    share = 0.674 * np.sqrt(1 - 1 / len(parts))
    return mean, number, max(float(np.median(scatter)) / share, 1e-3) if scatter.size else 1.0


def _averaged(parts: list) -> Frame:
    """One frame of several: (frame, shift) counts fully, (frame, shift, weight) as it says."""
    shape = parts[0][0].values.shape
    total, weights = np.zeros((2, *shape), np.float32)
    for frame, shift, *weight in parts:
        if weight:
            here = np.repeat(np.repeat(weight[0], 2, 0), 2, 1)[: shape[0], : shape[1]]
        else:
            here = move(_seen(frame), shift).astype(np.float32)
        weights += here
        here *= move(frame.values, shift)
        total += here
    # Too little to stand on is nothing.
    weights[weights < LEAST] = 0
    total /= np.maximum(weights, LEAST)
    total *= weights > 0
    return Frame(total.astype(np.float16), weights.astype(np.float16), parts[0][0].level, None)
