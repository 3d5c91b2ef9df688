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
from n2a.views import UNSEEN, Registration, unseen_pairs

RINGS = 24
_GROUPS = 4  # of rings, with as much of the structure each: what is judged by itself
_SURE = 3.0  # standard errors
_SAMPLE = 0.5  # of the frames must have unseen ones
_KNOWN = 0.1  # of a factor: greater errors say nothing of what is common to coarse and fine
_FALL, _RISE = (
    0.05,
    0.2,
)  # of a factor from coarse to fine: blurs fall more; noise makes the finest rings rise
_SCALED = 0.15  # smaller factors occur in honest results


class Corner(NamedTuple):
    """Low frequencies of frames, and the noise beyond them.

    Attributes
    ----------
    values
        (n, rows, columns): coefficients of the cosine transforms. Behind the last low frequency along y, and along x,
        stand those of the `tails`.
    profile
        Mean power by frequency along x, where along y it is too high for atoms; the same everywhere unless noise is
        correlated along x for sure.
    first, points
        Frequencies along y and x from which on the profile was taken (None along x where it was taken at each), and
        the number of coefficients behind its mean.
    shape
        Of the frames.
    tails
        Along y and along x, (frequencies beyond the low ones, 2 or 0): what atoms that the borders cut have there.
    """

    values: np.ndarray
    profile: np.ndarray
    first: tuple[int, int | None]
    points: int
    shape: tuple[int, int]
    tails: tuple[np.ndarray, np.ndarray]


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
    """Cosine transforms of frames (n, y, x), up to `limit` cycles per pixel."""
    n, height, width = frames.shape
    rows, columns = (min(size, int(np.ceil(2 * limit * size)) + 1) for size in (height, width))
    tails = _tails(height, rows), _tails(width, columns)
    inside = _inside((height, width), rows, columns, tails, limit)
    values = np.zeros((n, *inside.shape))
    # Away from both axes: atoms that the borders cut have power along them up to high frequencies.
    high, far, beyond = (int(2 * size * min(1.2 * limit, 0.42)) for size in (height, height, width))
    far = max(high, int(0.6 * height))
    profile, level = np.zeros(width), 0.0
    for frame, value in zip(frames, values, strict=True):
        spectrum = fft.dctn(np.asarray(frame, np.float32), norm="ortho")
        value[:rows, :columns] = spectrum[:rows, :columns]
        value[:rows, columns:] = spectrum[:rows, columns:] @ tails[1]
        value[rows:, :columns] = tails[0].T @ spectrum[rows:, :columns]
        value *= inside
        profile += np.mean(spectrum[far:] ** 2, axis=0, dtype=np.float64) / n
        level += np.mean(spectrum[high:, beyond:] ** 2, dtype=np.float64) / n
    if _is_white(profile, n * (height - far)):
        profile[:] = level
        first, points = (high, beyond), n * (height - high) * (width - beyond)
    else:
        first, points = (far, None), n * (height - far) * columns
    return Corner(values, profile, first, points, (height, width), tails)


def _tails(size: int, first: int) -> np.ndarray:
    """What functions with a slope at either end have at the frequencies from `first` on: orthonormal, (., 2 or 0).

    A cosine transform mirrors them there, and the kink falls with the frequency squared.
    """
    k = np.arange(first, size)
    if len(k) < 8:
        return np.zeros((len(k), 0))
    return np.linalg.qr(np.stack([1.0 / k**2, (-1.0) ** k / k**2], axis=1))[0]


def _inside(
    shape: tuple[int, int],
    rows: int,
    columns: int,
    tails: tuple[np.ndarray, np.ndarray],
    limit: float,
) -> np.ndarray:
    """Which of the coefficients of a corner count."""
    low = _frequency(shape, rows, columns) <= limit
    inside = np.pad(low, [(0, tail.shape[1]) for tail in tails])
    inside[:rows, columns:] = low[:, :1]
    inside[rows:, :columns] = low[:1]
    return inside


def _is_white(profile: np.ndarray, points: int) -> bool:
    """Whether noise is the same at all frequencies along x, as far as can be told."""
    parts = np.array_split(profile, 8)
    means, sizes = (np.array([f(part) for part in parts]) for f in (np.mean, len))
    excess = np.sum((means / max(profile.mean(), 1e-300) - 1) ** 2 * points * sizes / 2)
    return bool(excess < 7 + _SURE * np.sqrt(14))  # chi squared


def _frequency(shape: tuple[int, int], rows: int, columns: int) -> np.ndarray:
    """Of the coefficients, in cycles per pixel."""
    return np.hypot(np.arange(rows)[:, None] / (2 * shape[0]), np.arange(columns) / (2 * shape[1]))


def _unevenness(
    variance: np.ndarray, first: tuple[int, int | None], rows: int, columns: int
) -> np.ndarray:
    """Power of uneven white noise in cosines (rows, columns), over its mean where the profile was taken.

    A cosine squared is one plus the cosine of twice the frequency, over two: bright edges weigh more in low ones.
    """
    height, width = variance.shape
    doubled = fft.dctn(variance) / 4  # type II: index 2k holds cosines of twice the frequency k

    def twice(size: int) -> tuple[np.ndarray, np.ndarray]:
        index = 2 * np.arange(size)
        beyond = index > size  # there the cosines run backwards, with the other sign
        return np.where(beyond, 2 * size - index, index) % size, np.where(
            index == size, 0.0, np.where(beyond, -1.0, 1.0)
        ) * np.where(index == 0, 0.0, 1.0)

    (y, sign_y), (x, sign_x) = twice(height), twice(width)
    whole = doubled[0, 0]
    along_y, along_x = sign_y * doubled[y, 0], sign_x * doubled[0, x]
    both = sign_y[:, None] * sign_x * doubled[np.ix_(y, x)]
    power = (whole + along_y[:, None] + along_x + both) / max(whole, 1e-300)
    if first[1] is None:
        return (power / power[first[0] :].mean(axis=0))[:rows, :columns]
    return power[:rows, :columns] / power[first[0] :, first[1] :].mean()


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


def _alike(looks: list[int], count: int) -> np.ndarray:
    """How much one look at a frame counts, so that all frames do alike; the nearest stand for those without a look.

    Near the ends of a series, where methods have fewer frames to go by, results are worse.
    """
    number = np.bincount(np.asarray(looks, int), minlength=count)
    distance = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    distance = np.where(number > 0, distance, count)
    nearest = distance == distance.min(axis=1, keepdims=True)
    stood_for = (nearest / nearest.sum(axis=1, keepdims=True)).sum(axis=0)
    return np.where(number > 0, stood_for / np.maximum(number, 1), 0)


class Neighbours:
    """What frames that a result has not seen say about it; sums are over pairs of frames, by ring and of the tails."""

    def __init__(self):
        # Result and raw frame, each times the mean of unseen ones.
        self.kept, self.lasting, self.kept_variance = np.zeros((3, RINGS + 1))
        self.kept_outside, self.lasting_outside, self.outside_variance = np.zeros(3)
        self.kept_pixels = 0
        # Differences of the result from two unseen frames, multiplied: sum, variance, pixels.
        self.still = np.zeros(3)
        # Raw frames times the next one, and times one as far away as the unseen ones; sum, variance, pixels.
        self.near, self.far = np.zeros(3), np.zeros(3)

    def add(
        self,
        raw: np.ndarray,
        result: np.ndarray,
        limit: float,
        variance: np.ndarray | None = None,
    ) -> None:
        """One run of frames (n, y, x), put on one another; variance of the noise (y, x) up to a factor."""
        corners = corner(raw, limit), corner(result, limit)
        y, f = (each.values for each in corners)
        ring, noise = coefficient_rings(corners[0], limit, variance)
        area = raw[0].size
        pairs: dict[tuple[int, ...], float] = {}
        weights = np.zeros((len(y), len(y)))  # of results, by the frame that they are compared with
        looks = list(unseen_pairs(len(y)))
        counts = _alike([i for i, _ in looks], len(y))
        for i, others in looks:
            unseen = y[others].mean(0)
            kept, lasting = _sums(f[i] * unseen, ring), _sums(y[i] * unseen, ring)
            self.kept += kept
            self.lasting += lasting
            part = np.divide(kept, lasting, out=np.zeros(RINGS + 1), where=lasting > 0)
            part = np.append(part.clip(0, 2), 0)[ring]
            self.kept_variance += _sums(((f[i] - part * y[i]) * unseen) ** 2, ring)
            others_mean = raw[others].mean(0)
            self.kept_outside += _beyond(result[i], others_mean, f[i], unseen)
            self.lasting_outside += _beyond(raw[i], others_mean, y[i], unseen)
            self.outside_variance += 2 * noise.mean() ** 2 * area / len(others)
            self.kept_pixels += area
            couples = list(itertools.combinations(sorted(others), 2))
            share = counts[i] / len(couples)
            for a, b in couples:
                pairs[a, b] = pairs.get((a, b), 0) + share
                weights[[a, b], i] += share
                self.still[0] += share * np.vdot(f[i] - y[a], f[i] - y[b])
                self.still[2] += share * area
        # All that look at the same frame share its noise: times their errors together, and times that of another.
        clumped = _clumping(variance)
        self.still[1] += clumped * np.sum(noise**2) * sum(m**2 for m in pairs.values())
        for a, weight in enumerate(weights):
            error = np.tensordot(weight, f - y[a], 1)
            own = noise * weight.sum() ** 2
            # Twice: the noise in these errors is that of frames which are looked at in turn.
            self.still[1] += 2 * clumped**2 * max(np.vdot(noise, error**2 - own), 0.0)
        scatter = np.sum(noise**2 + 2 * noise * (f**2).mean(0))
        for distance, total in ((1, self.near), (UNSEEN[1], self.far)):
            for i in range(len(y) - distance):
                total += np.vdot(y[i], y[i + distance]), scatter, area

    @property
    def shared_outside(self) -> float:
        """What a result can share with unseen frames beyond the limit: as much as raw frames do, or chance."""
        return max(self.lasting_outside, 0.0) + _SURE * np.sqrt(self.outside_variance)

    @property
    def seen(self) -> bool:
        """Whether the result holds noise of the frames that are taken as unseen, for sure."""
        return bool(self.kept_outside > self.shared_outside)

    def motion(self) -> Estimate:
        """Mean squared error per pixel that motion adds to :meth:`error`; infinitely uncertain for few frames."""
        if not (self.near[2] and self.far[2]):
            return Estimate(0.0, np.inf)
        fall = self.near[0] / self.near[2] - self.far[0] / self.far[2]
        spread = np.hypot(*(np.sqrt(total[1]) / total[2] for total in (self.near, self.far)))
        return Estimate(float(2 * fall), float(2 * spread))


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
        By ring, and last of the tails that atoms cut by the borders have beyond the limit: number of coefficients;
        power of the raw frames, of their noise and of the result; their product; power of their difference.
    outside
        Power of the result elsewhere beyond the limit, where the scene has next to none.
    pixels
        Number of them, over all frames.
    neighbours
        What unseen frames say.
    """

    def __init__(self, limit: float):
        self.limit = limit
        self.frequency = np.linspace(0, limit, RINGS + 1)[1:]
        sums = np.zeros((6, RINGS + 1))
        self.count, self.raw, self.noise, self.power, self.own, self.residual = sums
        self.outside, self._points, self.pixels = 0.0, 0, 0
        self.neighbours = Neighbours()
        # What the result has in common with the noise of its own frame, told by noise that was added.
        self._common, self._common_variance, self._split = *np.zeros((2, RINGS + 1)), False
        self._clumped = np.zeros(2)  # of the noise, times pixels; pixels
        # Beyond the limit: with the raw frames, with their noise.
        self._own_outside = self._common_outside = 0.0

    def add(
        self,
        raw: np.ndarray,
        result: np.ndarray,
        registered: Registration | None = None,
        draws: Sequence[tuple[np.ndarray, np.ndarray]] = (),
        variance: np.ndarray | None = None,
    ) -> None:
        """One run of frames (n, y, x), finite and with the background.

        Parameters
        ----------
        raw, result
            As recorded, and denoised.
        registered
            How neighbours lie on one another, if they show the same scene.
        draws
            Pairs: noise like that of the raw frames, and by how much the result changes where it is added, per unit of
            it; of all frames or of some.
        variance
            (y, x), of the noise, up to a factor. Default: the same everywhere.
        """
        y, f = corner(raw, self.limit), corner(result, self.limit)
        ring, noise = coefficient_rings(y, self.limit, variance)
        n = len(y.values)
        for total, terms in (
            (self.count, np.full(ring.shape, n)),
            (self.noise, n * noise),
            (self.raw, (y.values**2).sum(0)),
            (self.power, (f.values**2).sum(0)),
            (self.own, (f.values * y.values).sum(0)),
            (self.residual, ((y.values - f.values) ** 2).sum(0)),
        ):
            total += _sums(terms, ring)
        self._clumped += _clumping(variance) * raw.size, raw.size
        self.outside += _beyond(result, result, f.values, f.values)
        self._own_outside += _beyond(result, raw, f.values, y.values)
        self._points += y.points
        self.pixels += n * y.shape[0] * y.shape[1]
        for added, answer in draws:
            z, d = (corner(part, self.limit).values for part in (added, answer))
            weight = n / len(z) / len(draws)
            self._common_outside += weight * _beyond(added, answer, z, d)
            # The noise that was drawn is known: of its answer only what varies within a ring is left to chance.
            drawn = np.maximum(_sums((z**2).sum(0), ring), 1e-300)
            part = _sums((z * d).sum(0), ring) / drawn
            strength = _sums(n * noise, ring) / len(draws)
            self._common += part * strength
            chance = z * (d - np.append(part, 0)[ring] * z)
            self._common_variance += (strength / drawn) ** 2 * _sums((chance**2).sum(0), ring)
            self._split = True
        if registered is not None:
            region = None if variance is None else variance[registered.region]
            moved = (registered.apply(frames) for frames in (raw, result))
            self.neighbours.add(*moved, self.limit, region)

    # What follows from the sums

    @property
    def structure(self) -> np.ndarray:
        """Power of the scene by ring."""
        return np.maximum(self.raw - self.noise, 0.0)

    @property
    def gain(self) -> np.ndarray:
        """Factors by ring of the best linear filter of single frames (Wiener)."""
        return (self.structure / np.maximum(self.structure + self.noise, 1e-300))[:RINGS]

    @property
    def reference(self) -> np.ndarray:
        """Error of that filter by ring; the tails are lost."""
        return np.append(self.noise[:RINGS] * self.gain, self.structure[RINGS])

    def _noise_variance(self, inside: np.ndarray) -> float:
        """Of the sum of squares of the noise over some rings, with that of what is taken away as its mean."""
        own = 2 * self.noise[inside] ** 2 / np.maximum(self.count[inside], 1)
        return float(own.sum() + 2 * self.noise[inside].sum() ** 2 / max(self._points, 1))

    def transfer(self) -> tuple[np.ndarray, np.ndarray]:
        """How much of the structure is in the result, by ring, and the standard error.

        Told by frames that the result has not seen, where enough of the scene lasts that long; otherwise by the raw
        frames themselves, whose noise in the result makes it look like more structure unless it was told, up to the
        most that there can be.
        """
        seen = self.neighbours
        share = seen.kept_pixels / max(self.pixels, 1)
        enough = seen.lasting > _SURE * np.sqrt(seen.kept_variance) + 0.3 * share * self.structure
        # The ends of a short series are no sample of it: results are worse there.
        enough &= share > _SAMPLE
        structure = np.maximum(self.structure, 1e-12 * max(self.raw.max(), 1e-300))
        own = (self.own - self._common) / structure
        # A linear filter of a frame has nothing that the frame has not: what else there is might be structure.
        raw = np.maximum(self.raw, 1e-300)
        other = np.maximum(self.power - self.own**2 / raw, 0) / structure
        own = np.minimum(own, self.own / raw + np.sqrt(other))
        own_error = (
            np.sqrt(
                self._common_variance
                + self.noise / np.maximum(self.count, 1) * (self.power + self.noise)
            )
            / structure
        )
        lasting = np.maximum(seen.lasting, 1e-300)
        value = np.where(enough, seen.kept / lasting, own)
        return value, np.where(enough, np.sqrt(seen.kept_variance) / lasting, own_error)

    def groups(self) -> list[np.ndarray]:
        """Rings from coarse to fine in which structure stands out of the noise, with as much of it each."""
        chance = self.noise * np.sqrt(2 / np.maximum(self.count, 1))
        seen = self.structure > _SURE * chance
        seen[[0, RINGS]] = False  # the background, the tails
        if not seen.any():
            return []
        weight = np.cumsum(np.where(seen, self.reference, 0))
        group = np.minimum((weight / weight[-1] * _GROUPS * (1 - 1e-9)).astype(int), _GROUPS - 1)
        found = [seen & (group == g) for g in range(_GROUPS)]
        return [g for g in found if g.any()]

    def factor(self) -> Estimate | None:
        """How strong structure of all frequencies is in the result, where that is the same for all and not 1.

        Of a blur less passes of the fine than of the coarse. The coarsest group does not count: it holds what is left
        of the background, which may have been put back.
        """
        part, error = self.transfer()
        groups = self.groups()[1:]
        told = [self._mean(part, error, group) for group in groups]
        known = [spread < _KNOWN * value for value, spread in told]
        if sum(known) < 2 or not known[0]:
            return None
        (first, first_error), *others = told
        for value, spread in others:
            chance = 2 * np.hypot(spread, first_error)
            if not -_FALL * first - chance < value - first < _RISE * first + chance:
                return None
        rings = np.logical_or.reduce([group for group, sure in zip(groups, known) if sure])
        factor = Estimate(*self._mean(part, error, rings))
        return factor if abs(factor.value - 1) > max(_SCALED, _SURE * factor.error) else None

    def _mean(self, part: np.ndarray, error: np.ndarray, rings: np.ndarray) -> tuple[float, float]:
        """Of transfers and of their errors, as each ring has structure."""
        weight = self.structure[rings] / self.structure[rings].sum()
        return float(weight @ part[rings]), float(np.sqrt(weight**2 @ error[rings] ** 2))

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
        rings = np.logical_or.reduce([np.zeros(RINGS + 1, bool), *self.groups()])
        return bool(rings.any() and self.power[rings].sum() < 1e-3 * self.structure[rings].sum())

    def still_error(self) -> Estimate | None:
        """Mean squared error per pixel, by two unseen frames each; None for fewer than eight frames in a row."""
        value, variance, pixels = self.neighbours.still
        if not pixels:
            return None
        return self._estimate(value / pixels, variance / pixels**2, self._kept_outside(), pixels)

    def split_error(self) -> Estimate | None:
        """Mean squared error per pixel, by noise that was added; None where none was."""
        if not self._split:
            return None
        value = (self.residual - self.noise + 2 * self._common).sum() / self.pixels
        power = self.noise.sum() / max(self.count.sum(), 1) / self.pixels
        every = self._noise_variance(np.ones(RINGS + 1, bool)) + 4 * self._common_variance.sum()
        # Results are wrong where they are bright, and the noise is strong there, too.
        clumped = self._clumped[0] / self._clumped[1]
        variance = clumped * every / self.pixels**2 + clumped**2 * 4 * power * max(value, 0)
        shared = (self._own_outside - self._common_outside) / self.pixels
        return self._estimate(value, variance, shared, self.pixels)

    def least_error(self) -> Estimate:
        """Mean squared error per pixel, or less where a method looks at several frames or nothing is unseen.

        ``F² - 2 FX + X²``, with FX as :meth:`transfer` tells it, or too much of it.
        """
        part, error = self.transfer()
        value = (self.power + (1 - 2 * part) * self.structure).sum() / self.pixels
        spread = np.sum((2 * error * self.structure) ** 2)
        variance = (spread + self._noise_variance(np.ones(RINGS + 1, bool))) / self.pixels**2
        pixels = self.neighbours.kept_pixels or self.pixels
        return self._estimate(value, variance, self._kept_outside(), pixels)

    def _kept_outside(self) -> float:
        """Beyond the limit, what the result shares with unseen frames, per pixel."""
        seen = self.neighbours
        if not seen.kept_pixels:
            return 0.0
        return min(seen.kept_outside, seen.shared_outside) / seen.kept_pixels

    def _estimate(self, value: float, variance: float, shared: float, pixels: float) -> Estimate:
        """With what the result has beyond the limit and does not share with the scene, as `pixels` tell."""
        outside = self.outside / self.pixels
        power = self.noise.sum() / max(self.count.sum(), 1)
        # Neighbouring results share frames, and thereby noise.
        variance += len(UNSEEN) * power * max(outside, 0.0) / pixels
        return Estimate(float(value + max(outside - shared, 0.0)), float(np.sqrt(variance)))

    @property
    def noise_outside(self) -> float:
        """Power of the result beyond the limit that is not the scene's, per pixel; without unseen frames all of it."""
        return max(self.outside / self.pixels - self._kept_outside(), 0.0)

    def reference_error(self) -> float:
        """Mean squared error per pixel of the best linear filter of single frames."""
        return float(self.reference.sum() / max(self.pixels, 1))


def coefficient_rings(
    y: Corner, limit: float, variance: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Ring of each coefficient, `RINGS` for tails and one more for none, and the power of the noise there."""
    rows, columns = (n - tail.shape[1] for n, tail in zip(y.values.shape[1:], y.tails, strict=True))
    inside = _inside(y.shape, rows, columns, y.tails, limit)
    ring = np.where(inside, RINGS, RINGS + 1)
    low = np.minimum((_frequency(y.shape, rows, columns) / limit * RINGS).astype(int), RINGS - 1)
    ring[:rows, :columns] = np.where(inside[:rows, :columns], low, RINGS + 1)
    along = np.append(y.profile[:columns], y.profile[columns:] @ y.tails[1] ** 2)
    noise = np.tile(along, (len(ring), 1))
    if variance is not None:
        noise[:rows, :columns] *= _unevenness(variance, y.first, rows, columns)
        mean = max(variance.mean(), 1e-300)
        for axis, part in ((0, noise[rows:]), (1, noise[:, columns:].T)):
            # Tails are made at the borders.
            tail = y.tails[axis]
            spectrum = np.concatenate([np.zeros((y.shape[axis] - len(tail), tail.shape[1])), tail])
            shapes = fft.idct(spectrum, axis=0, norm="ortho")
            part *= ((variance.mean(1 - axis) @ shapes**2) / mean)[:, None]
    return ring, noise


def _beyond(a: np.ndarray, b: np.ndarray, low_a: np.ndarray, low_b: np.ndarray) -> float:
    """Sum of products of the coefficients that are not in the corners."""
    return float(np.vdot(a, b)) - float(np.vdot(low_a, low_b))


def _clumping(variance: np.ndarray | None) -> float:
    """How much more the power of noise scatters that is stronger in some places than in others."""
    if variance is None:
        return 1.0
    return float(np.mean(variance**2) / max(np.mean(variance) ** 2, 1e-300))


def by_ring(values: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Sums of the coefficients of each ring."""
    return _sums(values, ring)[:RINGS]


def _sums(values: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """The same, and last that of the tails."""
    return np.bincount(ring.ravel(), values.ravel(), RINGS + 2)[: RINGS + 1]
