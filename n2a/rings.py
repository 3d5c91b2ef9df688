# SPDX-License-Identifier: GPL-3.0-or-later
"""Structure, noise and error of a result by spatial frequency, and what a linear filter of single frames would reach.

Functions on arrays. They work on cosine transforms: frames need no edges there, and white noise stays white and
independent. A result F of frames Y = X + N is compared, ring by ring, with the scene X, which nobody knows: the mean
of each product below is what it is named after, because the noise of its factors is independent, or because it is
known.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import fft

from n2a.means import Estimate
from n2a.views import UNSEEN, unseen_pairs

RINGS = 24
_GROUPS = 4  # of rings, with as much of the structure each: what is judged by itself
_SURE = 3.0  # standard errors


class Corner(NamedTuple):
    """Low frequencies of frames, and what is beyond them.

    Attributes
    ----------
    values
        (n, rows, columns): coefficients of the cosine transforms.
    outside
        Sum of the squares of all other coefficients.
    profile
        Mean power by frequency along x, where along y it is too high for atoms.
    points
        Number of coefficients behind the profile.
    shape
        Of the frames.
    """

    values: np.ndarray
    outside: float
    profile: np.ndarray
    points: int
    shape: tuple[int, int]


class Excess(NamedTuple):
    """An error in units of that of the best linear filter of single frames, and its standard error."""

    value: float
    error: float

    @property
    def clear(self) -> bool:
        """Whether it is above 1 by more than chance."""
        return self.value - 1 > _SURE * self.error


def band_limit(atom_width: float) -> float:
    """Cycles per pixel beyond which Gaussian atoms have no power to speak of (5e-5)."""
    return min(0.5 / atom_width, 0.5)


def corner(frames: np.ndarray, limit: float) -> Corner:
    """Cosine transforms of frames (n, y, x) up to `limit` cycles per pixel."""
    n, height, width = frames.shape
    rows, columns = (min(size, int(np.ceil(2 * limit * size)) + 1) for size in (height, width))
    inside = _frequency((height, width), rows, columns) <= limit
    high = int(2 * height * min(1.5 * limit, 0.42))
    values = np.zeros((n, rows, columns))
    profile, outside = np.zeros(width), 0.0
    for frame, value in zip(frames, values, strict=True):
        spectrum = fft.dctn(np.asarray(frame, np.float32), norm="ortho")
        value[...] = spectrum[:rows, :columns] * inside
        outside += max(float(np.sum(spectrum**2, dtype=np.float64)) - float(np.sum(value**2)), 0.0)
        profile += np.mean(spectrum[high:] ** 2, axis=0, dtype=np.float64) / n
    return Corner(values, outside, profile, n * (height - high) * width, (height, width))


def _frequency(shape: tuple[int, int], rows: int, columns: int) -> np.ndarray:
    """Of the coefficients, in cycles per pixel."""
    return np.hypot(np.arange(rows)[:, None] / (2 * shape[0]), np.arange(columns) / (2 * shape[1]))


def linear_filter(frames: np.ndarray, limit: float, gain: np.ndarray) -> np.ndarray:
    """Frames (n, y, x) with their rings multiplied by `gain`; nothing passes beyond the limit."""
    height, width = frames.shape[1:]
    edges = (np.arange(len(gain)) + 0.5) / len(gain) * limit
    frequency = _frequency((height, width), height, width)
    factor = np.interp(frequency, np.append(edges, limit), np.append(gain, 0.0))
    factor[0, 0] = 1.0
    result = np.empty(frames.shape, np.float32)
    for frame, place in zip(frames, result, strict=True):
        spectrum = fft.dctn(np.asarray(frame, np.float32), norm="ortho")
        place[...] = fft.idctn(spectrum * factor.astype(np.float32), norm="ortho")
    return result


class Budget:
    """Where the error of a result comes from, ring by ring; runs of frames are added one by one.

    Parameters
    ----------
    limit
        Highest frequency of the scene, see :func:`band_limit`.

    Attributes
    ----------
    frequency
        Upper edges of the rings, in cycles per pixel.
    count, raw, noise, power, own, residual
        By ring: number of coefficients; power of the raw frames, of their noise and of the result; their product; power
        of their difference.
    profile
        Power of the noise by cosine frequency along x, of the last run.
    outside
        Power of the result beyond the limit, where the scene has none.
    """

    def __init__(self, limit: float):
        self.limit = limit
        self.frequency = np.linspace(0, limit, RINGS + 1)[1:]
        self.count, self.raw, self.noise, self.power, self.own, self.residual = np.zeros((6, RINGS))
        self.profile = np.ones(1)
        self.outside, self._points, self.frames, self.pixels = 0.0, 0, 0, 0
        # Products with frames that the result has not seen, and variances of their sums.
        self._kept, self._lasting, self._kept_variance = np.zeros((3, RINGS))
        self._still, self._still_variance, self._still_terms = *np.zeros((2, RINGS)), 0
        self._near, self._far, self._motion_variance = np.zeros((3, RINGS))
        self._steps = [0, 0]
        # What the result has in common with the noise of its own frame, told by noise that was added.
        self._common, self._common_variance, self._split = *np.zeros((2, RINGS)), False

    def add(
        self,
        raw: np.ndarray,
        result: np.ndarray,
        series: bool = True,
        draws: Sequence[tuple[np.ndarray, np.ndarray]] = (),
    ) -> None:
        """One run of frames (n, y, x), put on one another, finite and with the background.

        Parameters
        ----------
        raw, result
            As recorded, and denoised.
        series
            Whether neighbours show the same scene.
        draws
            Pairs: noise like that of the raw frames, and by how much the result changes where it is added, per unit of
            it.
        """
        y, f = corner(raw, self.limit), corner(result, self.limit)
        n, rows, columns = y.values.shape
        frequency = _frequency(y.shape, rows, columns)
        ring = np.minimum((frequency / self.limit * RINGS).astype(int), RINGS)
        ring[frequency > self.limit] = RINGS
        noise = np.broadcast_to(y.profile[:columns], ring.shape)
        for total, terms in (
            (self.count, np.full(ring.shape, n)),
            (self.noise, n * noise),
            (self.raw, (y.values**2).sum(0)),
            (self.power, (f.values**2).sum(0)),
            (self.own, (f.values * y.values).sum(0)),
            (self.residual, ((y.values - f.values) ** 2).sum(0)),
        ):
            total += _by_ring(terms, ring)
        self.profile = y.profile
        self.outside += f.outside
        self._points += y.points
        self.frames += n
        self.pixels += n * y.shape[0] * y.shape[1]
        for added, answer in draws:
            products = corner(added, self.limit).values * corner(answer, self.limit).values
            self._common += _by_ring(products.sum(0), ring) / len(draws)
            self._common_variance += _by_ring((products**2).sum(0), ring) / len(draws) ** 2
            self._split = True
        if series:
            self._add_unseen(y.values, f.values, noise, ring)

    def _add_unseen(self, y: np.ndarray, f: np.ndarray, noise: np.ndarray, ring: np.ndarray):
        users: dict[tuple[int, ...], list[int]] = {}
        for i, others in unseen_pairs(len(y)):
            unseen = y[others].mean(0)
            kept, lasting = _by_ring(f[i] * unseen, ring), _by_ring(y[i] * unseen, ring)
            self._kept += kept
            self._lasting += lasting
            part = np.divide(kept, lasting, out=np.zeros(RINGS), where=lasting > 0)
            part = np.append(part.clip(0, 2), 0)[ring]
            self._kept_variance += _by_ring(((f[i] - part * y[i]) * unseen) ** 2, ring)
            for pair in itertools.combinations(sorted(others), 2):
                users.setdefault(pair, []).append(i)
        # By pair: all that look at the same two frames share the product of their noise.
        for (a, b), seen in users.items():
            self._still += _by_ring(sum((f[i] - y[a]) * (f[i] - y[b]) for i in seen), ring)
            self._still_variance += len(seen) ** 2 * _by_ring(noise**2, ring)
            self._still_terms += len(seen)
        for far, (distance, total) in enumerate(((1, self._near), (UNSEEN[1], self._far))):
            for i in range(len(y) - distance):
                alike = y[i] * y[i + distance]
                total += _by_ring(alike, ring)
                self._steps[far] += 1
        self._motion_variance += _by_ring(noise**2 + 2 * noise * (f**2).mean(0), ring)

    # What follows from the sums

    @property
    def structure(self) -> np.ndarray:
        """Power of the scene by ring."""
        return np.maximum(self.raw - self.noise, 0.0)

    @property
    def gain(self) -> np.ndarray:
        """Factors by ring of the best linear filter of single frames (Wiener)."""
        return self.structure / np.maximum(self.structure + self.noise, 1e-300)

    @property
    def reference(self) -> np.ndarray:
        """Error of that filter by ring."""
        return self.noise * self.gain

    def _noise_variance(self, inside: np.ndarray) -> float:
        """Of the sum of squares of the noise over some rings, with that of what is taken away as its mean."""
        own = 2 * self.noise[inside] ** 2 / np.maximum(self.count[inside], 1)
        return float(own.sum() + 2 * self.noise[inside].sum() ** 2 / max(self._points, 1))

    def transfer(self) -> tuple[np.ndarray, np.ndarray]:
        """How much of the structure is in the result, by ring, and the standard error.

        Told by frames that the result has not seen, where enough of the scene lasts that long; otherwise by the raw
        frames themselves, whose noise in the result makes it look like more structure unless it was told.
        """
        enough = self._lasting > _SURE * np.sqrt(self._kept_variance) + 0.3 * self.structure * (
            self._still_terms > 0
        ) * (self._steps[1] / max(self.frames, 1))
        structure = np.maximum(self.structure, 1e-300)
        own = (self.own - self._common) / structure
        own_error = (
            np.sqrt(
                self._common_variance
                + self.noise / np.maximum(self.count, 1) * (self.power + self.noise)
            )
            / structure
        )
        lasting = np.maximum(self._lasting, 1e-300)
        value = np.where(enough, self._kept / lasting, own)
        return value, np.where(enough, np.sqrt(self._kept_variance) / lasting, own_error)

    def groups(self) -> list[np.ndarray]:
        """Rings from coarse to fine in which structure stands out of the noise, with as much of it each."""
        chance = self.noise * np.sqrt(2 / np.maximum(self.count, 1))
        seen = self.structure > _SURE * chance
        seen[0] = False  # the background
        if not seen.any():
            return []
        weight = np.cumsum(np.where(seen, self.reference, 0))
        group = np.minimum((weight / weight[-1] * _GROUPS * (1 - 1e-9)).astype(int), _GROUPS - 1)
        found = [seen & (group == g) for g in range(_GROUPS)]
        return [g for g in found if g.any()]

    def smoothed(self) -> list[Excess]:
        """By group: structure that is there but weaker than in the scene, as a blur makes it."""
        part, error = self.transfer()
        missing = np.maximum(1 - part, 0)
        found = []
        for group in self.groups():
            reference = self.reference[group].sum()
            lost = np.maximum(missing[group] ** 2 - error[group] ** 2, 0) * self.structure[group]
            spread = 2 * missing[group] * error[group] * self.structure[group]
            found.append(Excess(lost.sum() / reference, np.sqrt((spread**2).sum()) / reference))
        return found

    def removed(self) -> list[Excess]:
        """By group: structure of the raw frames that is not in the result, in no way that a blur explains."""
        lost = self.residual - self.noise
        found = []
        for group, smoothed in zip(self.groups(), self.smoothed(), strict=True):
            reference = self.reference[group].sum()
            power = self.noise[group] / np.maximum(self.count[group], 1)
            variance = self._noise_variance(group) + 4 * np.sum(power * np.maximum(lost[group], 0))
            value = lost[group].sum() / reference - smoothed.value
            found.append(
                Excess(float(value), float(np.hypot(np.sqrt(variance) / reference, smoothed.error)))
            )
        return found

    @property
    def blank(self) -> bool:
        """Whether the result has next to nothing where the scene has structure."""
        rings = np.logical_or.reduce([np.zeros(RINGS, bool), *self.groups()])
        return bool(rings.any() and self.power[rings].sum() < 1e-3 * self.structure[rings].sum())

    def motion(self) -> tuple[float, float]:
        """Error that motion adds where unseen frames stand for the truth, over all frames, and its standard error."""
        if not min(self._steps):
            return 0.0, np.inf
        fall = (self._near / self._steps[0] - self._far / self._steps[1]).sum()
        error = np.sqrt(2 * self._motion_variance.sum() / self._steps[1])
        return float(2 * fall * self.frames), float(2 * error * np.sqrt(self.frames))

    def still_error(self) -> Estimate | None:
        """Mean squared error per pixel, by two unseen frames each; None for fewer than six frames in a row."""
        if not self._still_terms:
            return None
        scale = self.frames / self._still_terms
        value = scale * self._still.sum()
        power = self.noise / np.maximum(self.count, 1)
        variance = scale**2 * self._still_variance.sum() + 2 * np.sum(power) / RINGS * max(value, 0)
        return Estimate((value + self.outside) / self.pixels, np.sqrt(variance) / self.pixels)

    def split_error(self) -> Estimate | None:
        """Mean squared error per pixel, by noise that was added; None where none was."""
        if not self._split:
            return None
        value = (self.residual - self.noise + 2 * self._common).sum()
        every = np.ones(RINGS, bool)
        power = self.noise / np.maximum(self.count, 1)
        variance = (
            self._noise_variance(every)
            + 4 * np.sum(power) / RINGS * max(value, 0)
            + 4 * self._common_variance.sum()
        )
        return Estimate((value + self.outside) / self.pixels, np.sqrt(variance) / self.pixels)

    def least_error(self) -> Estimate | None:
        """Mean squared error per pixel, or less where a method looks at several frames; None without unseen frames.

        ``F² - 2 FX + X²``, with FX as the unseen frames tell it: they say too much of it where a method mixes frames.
        """
        if not self._still_terms:
            return None
        part, error = self.transfer()
        value = (self.power + (1 - 2 * part) * self.structure).sum()
        spread = 2 * error * self.structure
        every = np.ones(RINGS, bool)
        variance = np.sum(spread**2) + self._noise_variance(every)
        return Estimate((value + self.outside) / self.pixels, np.sqrt(variance) / self.pixels)

    def reference_error(self) -> float:
        """Mean squared error per pixel of the best linear filter of single frames."""
        return float(self.reference.sum() / max(self.pixels, 1))


def _by_ring(values: np.ndarray, ring: np.ndarray) -> np.ndarray:
    return np.bincount(ring.ravel(), values.ravel(), RINGS + 1)[:RINGS]
