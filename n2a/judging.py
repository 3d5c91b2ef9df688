# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report says: a bounded sample of a series is measured, and each measure becomes a line with its blind spot.

Functions on arrays; :mod:`n2a.reporting` opens the signals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import ndtr

from n2a.contradiction import TOGETHER, contradicted, runs_of_atoms
from n2a.detection import (
    Detections,
    Support,
    detect,
    local_background,
    log_likelihood,
    match_positions,
    measure,
    psnr,
    ssim,
    usual_width,
)
from n2a.intensity import LEAST_DEPARTURE, LEAST_HEIGHT, proportion
from n2a.lines import (
    FINE,
    NOISE_LEFT,
    NOT_LINEAR,
    OVER_SMOOTHED,
    STRUCTURE_REMOVED,
    UNSUPPORTED,
    VERDICTS,
    Line,
    line,
)
from n2a.means import Estimate
from n2a.noise import estimate_noise, scan_covariance
from n2a.ring_correlation import RingCorrelation, frc
from n2a.rings import (
    RINGS,
    Budget,
    band_limit,
    by_ring,
    coefficient_rings,
    corner,
    linear_filter,
)
from n2a.sampling import bin_frames, measure_atom_width, unbin_frames
from n2a.similarity import WINDOW, css_pairs
from n2a.views import Registration, added_noise, register
from n2a.whiteness import Whiteness, residual_whiteness

_SLOW = 4.0  # atom widths: what is slower is background
_STEP = (
    0.25  # of the noise: small enough for a derivative, large enough for one in single precision
)
_DRAW_PIXELS = 2**21  # more noise is drawn for fewer pixels
_WHITENESS_PIXELS = 2**21
_ATOM_PIXELS = 2**21
_SURE = 3.0  # standard errors
_EMPTY_THRESHOLD = (
    5.0  # of significance, in a frame of 512 x 512 px without an atom that the counts support
)
_MISLED = 1.4  # usual width in the result over that of the raw frames: nearly the limit of the fit
_SMALLEST = 32  # px


class Unsuitable(ValueError):
    """Data that cannot be judged; the report says why."""


@dataclass
class Case:
    """Runs of consecutive frames to be judged; arrays (n, y, x), in the units of the raw frames.

    Attributes
    ----------
    raw, given
        As recorded, and the result as it was handed in.
    truth
        The scene, or None.
    series
        Whether the frames of a run are neighbours in time.
    pixel_size
        In nm, or None.
    method, background
        Frames as recorded to total frames, and to their background; None when they are not known.
    inner
        By run, the frames for which the method sees as much in the run as in the whole series.
    atoms_only
        Whether the result is without background; None when that is not known.
    dark
        Whether the result shows dark atoms as bright ones; None when that is not known.
    sites
        True positions by run, or None.
    frames
        What was judged, in words.
    messages
        What the reader must know.
    """

    raw: list[np.ndarray]
    given: list[np.ndarray]
    truth: list[np.ndarray] | None
    series: bool
    pixel_size: float | None
    method: Callable[[np.ndarray], np.ndarray] | None
    background: Callable[[np.ndarray], np.ndarray] | None
    inner: list[slice]
    atoms_only: bool | None
    dark: bool | None
    sites: list[Detections] | None
    frames: str
    messages: list[str] = field(default_factory=list)


@dataclass
class Findings:
    """What :func:`judge` gives: lines and verdicts, and what figures and tables are made of.

    Of the mean squared errors `error` is the one that is told, `split_error` that by added noise, and `unseen_error`
    that against unseen frames, to which motion adds; None where there is none.
    """

    lines: list[Line]
    verdicts: list[str]
    messages: list[str]
    error: float
    split_error: float | None
    unseen_error: float | None
    pictures: dict[str, Any]
    found: Detections | None = None
    support: Support | None = None


def with_slow_part(atoms: np.ndarray, raw: np.ndarray, atom_width: float) -> np.ndarray:
    """Frames of atoms on the slow background of the raw frames: all that varies over four atom widths and more.

    Parameters
    ----------
    atoms, raw
        (n, y, x), finite.
    atom_width
        Standard deviation of an atom in pixels.
    """
    sigma = _SLOW * atom_width
    factor = max(1, int(sigma / 4))
    factor = min(factor, max(1, min(raw.shape[1:]) // 16))
    slow = bin_frames(raw - atoms, factor)
    slow = gaussian_filter(slow, (0, sigma / factor, sigma / factor), mode="nearest")
    return atoms + unbin_frames(slow, factor, raw.shape[1:])


def recorded(raw: np.ndarray, result: np.ndarray) -> np.ndarray:
    """Which frames (n, y, x) were recorded: more than a quarter finite in both, and raw not of one value everywhere."""
    share = np.mean(np.isfinite(raw) & np.isfinite(result), axis=(1, 2))
    first = raw.reshape(len(raw), -1)[:, :1, None]
    varied = np.any(np.isfinite(raw) & (raw != first), axis=(1, 2))
    return (share > 0.25) & (varied | ~varied.any())


def without_holes(raw: np.ndarray, result: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames as float64; what is missing in either becomes the mean result there in both, which hardly counts."""
    known = np.isfinite(raw) & np.isfinite(result)
    if known.all():
        return raw.astype(float), result.astype(float)
    number = known.sum(axis=0)
    mean = np.where(known, result, 0.0).sum(axis=0) / np.maximum(number, 1)
    mean = np.where(number > 0, mean, np.median(raw[known]))
    return np.where(known, raw, mean), np.where(known, result, mean)


def judge(case: Case) -> Findings:
    """Measure everything that can be measured."""
    judge = _Judge(case)
    judge.prepare()
    judge.run_method()
    judge.references()
    judge.similarity()
    judge.error()
    judge.structure()
    judge.residual()
    judge.halves()
    judge.atoms()
    judge.noise_found()
    judge.against_truth()
    return judge.findings()


class _Judge:
    def __init__(self, case: Case):
        self.case = case
        self.lines: list[Line] = []
        self.verdicts: list[str] = []
        self.messages = list(case.messages)
        self.pictures: dict[str, Any] = {}
        self.found: Detections | None = None
        self.support: Support | None = None

    def say(self, *values, **texts) -> None:
        self.lines.append(line(*values, **texts))

    # What is judged

    def prepare(self) -> None:
        """Holes filled, an offset taken away, the result brought to the intensities of the raw frames."""
        self._leave_out()
        self._check_truth()
        case = self.case
        raw, given = ([np.asarray(r, np.float64) for r in runs] for runs in (case.raw, case.given))
        self.measured = [np.isfinite(a) & np.isfinite(b) for a, b in zip(raw, given)]
        holes = 1 - np.mean(np.concatenate([m.mean(axis=(1, 2)) for m in self.measured]))
        if holes > 0:
            self.messages.append(
                f"{100 * holes:.2g} % of the pixels are NaN or infinite in the raw frames or in the result; they do "
                "not count."
            )
        flat = np.concatenate([a[m] for a, m in zip(given, self.measured)])
        self.constant = bool(np.ptp(flat) == 0)
        if self.constant:
            self.messages.append(f"'denoised' is constant ({flat[0]:g}): there is nothing on it.")
        self.offset = float(np.median(np.concatenate([a[m] for a, m in zip(raw, self.measured)])))
        self.raw = [np.where(m, a - self.offset, 0.0) for a, m in zip(raw, self.measured)]
        if not max(np.ptp(a) for a in self.raw) > 0:
            raise Unsuitable(
                f"'raw' is constant ({self.offset:g} everywhere): there is nothing to denoise; expected frames as "
                "recorded."
            )
        some = np.concatenate(self.raw)[:: max(1, sum(map(len, self.raw)) // 16)]
        width = measure_atom_width(some)
        if width is None:
            self.messages.append(
                "Nothing of the size of atoms stands out of the noise in the raw frames: the result cannot be checked "
                "for much, and whatever atoms it shows are doubtful."
            )
        self.width = width or 2.0
        self.limit = band_limit(self.width)
        holed = np.concatenate([np.where(m, a, np.nan) for a, m in zip(self.raw, self.measured)])
        self.noise = estimate_noise(holed[:: max(1, len(holed) // 16)])
        if not (self.noise.gain > 0 or self.noise.offset > 0):
            raise Unsuitable(
                "'raw' has no noise: its frames were filtered or simulated without; expected frames as recorded."
            )
        if all(np.array_equal(a[m], b[m]) for a, b, m in zip(raw, given, self.measured)):
            self.messages.append("'denoised' equals 'raw' in every pixel: nothing was denoised.")
        self._bring_to_raw(given)
        filled = [
            without_holes(a, b) for a, b in zip(self._whole(self.raw), self._whole(self.total))
        ]
        self.raw, self.total = (list(runs) for runs in zip(*filled))
        if case.series:
            self.registered = [register(run.astype(np.float32), self.width) for run in self.raw]
        else:
            self.registered = [
                Registration(np.zeros((len(run), 2), int), (slice(None), slice(None)))
                for run in self.raw
            ]

    def _leave_out(self) -> None:
        """Frames that were not recorded. Neighbours then seem nearer than they are; what is unseen stays so."""
        case = self.case
        kept = recorded(np.concatenate(case.raw), np.concatenate(case.given))
        if not kept.any():
            raise Unsuitable(
                "Fewer than a quarter of the pixels are finite in both 'raw' and 'denoised', in every frame; expected "
                "at most a few NaN. Cut off the borders without data."
            )
        if kept.all():
            return
        self.messages.append(
            f"{(~kept).sum()} of {len(kept)} frames are empty (NaN, or one value everywhere): they do not count."
        )
        runs = []
        for number, (first, last) in enumerate(self._places(case.raw)):
            which = np.flatnonzero(kept[first:last])
            if not len(which):
                continue
            a, b = np.searchsorted(which, case.inner[number].indices(last - first)[:2])
            one = [each and each[number][which] for each in (case.raw, case.given, case.truth)]
            one.append(slice(a, b) if b > a else slice(None))
            if case.sites is not None:
                sites = case.sites[number]
                sites = sites[np.isin(sites.frame, which)]
                one.append(replace(sites, frame=np.searchsorted(which, sites.frame)))
            runs.append(one)
        raw, given, truth, inner, *sites = map(list, zip(*runs))
        self.case = replace(
            case,
            raw=raw,
            given=given,
            truth=truth if case.truth else None,
            inner=inner,
            sites=sites[0] if sites else None,
        )

    def _check_truth(self) -> None:
        """Say where there is none; without any go on as if it had not been given."""
        if self.case.truth is None:
            return
        self.true = [np.isfinite(run) for run in self.case.truth]
        holes = 1 - np.mean(np.concatenate([known.mean(axis=(1, 2)) for known in self.true]))
        if holes == 1:
            self.messages.append(
                "'truth' is NaN or infinite in every pixel: nothing is compared with it. Pass the scene in the units "
                "and of the shape of 'raw'."
            )
            self.case = replace(self.case, truth=None, sites=None)
        elif holes > 0:
            self.messages.append(
                f"{100 * holes:.2g} % of the pixels are NaN or infinite in 'truth'; what is compared with it leaves "
                "them out."
            )

    def _bring_to_raw(self, given: list[np.ndarray]) -> None:
        """`total`: the result with the background of the raw frames, dark atoms dark."""
        case = self.case
        self.sign = 1
        known = np.concatenate([np.where(m, a, np.nan) for a, m in zip(given, self.measured)])
        middle = float(np.nanmedian(known))
        filled = [np.where(m, a, middle) for a, m in zip(given, self.measured)]
        spread = np.sqrt(self.noise.variance(0.0))
        if case.atoms_only is None:
            slow = [_slow(a - (b - self.offset), self.width) for a, b in zip(self.raw, filled)]
            away = np.sqrt(np.mean([np.mean(a**2) for a in slow]))
            self.atoms_only = bool(away > 0.5 * spread) and not self.constant
        else:
            self.atoms_only = case.atoms_only
        if self.constant and abs(middle - self.offset) > 0.5 * spread:
            filled = [np.full_like(a, self.offset) for a in filled]
        if not self.atoms_only:
            self.total = [a - self.offset for a in filled]
            return
        dark = case.dark
        if dark is None:
            likeness = sum(
                np.sum((a - _slow(a, self.width)) * (b - _slow(b, self.width)))
                for a, b in zip(self.raw, filled)
            )
            dark = likeness < 0
        self.sign = -1 if dark else 1
        if case.background is not None:
            self.total = [
                case.background(a + self.offset) - self.offset + self.sign * b
                for a, b in zip(self.raw, filled)
            ]
            return
        self.total = [
            with_slow_part(self.sign * a, b, self.width) for a, b in zip(filled, self.raw)
        ]
        self.messages.append(
            "The result has another background than the raw frames"
            + (", and shows dark atoms bright" if dark else "")
            + f": it was put on their slow part (over {_SLOW * self.width:.0f} px). What varies faster in the support "
            "counts as lost. Pass the result with background=True to have that judged."
        )

    def run_method(self) -> None:
        """The error budget, with the method run once more on frames with a little more noise."""
        case = self.case
        self.budget = Budget(self.limit)
        pixels = sum(run.size for run in self.raw)
        draws = int(np.clip(_DRAW_PIXELS // pixels, 1, 4))
        rng = np.random.default_rng(0)
        for raw, total, registered, inner in zip(self.raw, self.total, self.registered, case.inner):
            pairs = []
            if case.method is not None:
                profile = corner(raw, self.limit).profile
                own = case.method(raw + self.offset) - self.offset
                for _ in range(draws):
                    added = added_noise(own, self.noise, profile, rng, _STEP)
                    answer = case.method(raw + self.offset + _STEP * added) - self.offset - own
                    pairs.append((added[inner], answer[inner] / _STEP))
            mean = gaussian_filter(raw.mean(0), self.width / 2)  # not the result: the same for all
            uneven = np.maximum(self.noise.gain * mean + self.noise.offset, 0)
            self.budget.add(raw, total, registered if case.series else None, pairs, uneven)

    def references(self) -> None:
        """The best linear filter of single frames, a range of intensities, the correlation along the scan lines."""
        self.reference = [linear_filter(run, self.limit, self.budget.gain) for run in self.raw]
        # Never that of the result: the same for all results of a comparison.
        some = np.concatenate([run[:, ::2, ::2].ravel() for run in self.reference])
        low, high = np.percentile(some, (0.1, 99.9))
        self.range, self.range_source = float(high - low), "that of the filtered raw frames"
        if self.case.truth is not None:
            self._scale_truth()
            extent = float(np.ptp([(run.min(), run.max()) for run in self.truth]))
            if extent > 0:
                self.range, self.range_source = extent, "that of the truth"
        total, number = np.zeros(2), 0
        for frame, result in zip(self.raw[0][:8], self.total[0][:8]):
            where = np.ones(frame.shape, bool)
            total += scan_covariance(frame - result, where, 1)
            number += frame.size
        self.correlated = Estimate(
            float(total[1] / total[0]) if total[0] > 0 else 0.0, 1 / math.sqrt(0.38 * number)
        )

    # Lines

    def similarity(self) -> None:
        """CSS of the result, of a blur, and of the raw frames."""
        source = f"neighbouring frames; data range {self.range:.4g}, {self.range_source}"
        remark = ""
        if not self.case.series:
            remark = "needs a series: two frames or more that follow each other in time"
        elif min(self.raw[0].shape[1:]) < WINDOW:
            remark = f"needs frames of at least {WINDOW} x {WINDOW} px"
        elif not self.range > 0:
            remark = "the raw frames show no structure, so that there is no range of intensities"
        for key, runs in (
            ("css", self.total),
            ("css_blur", self.reference),
            ("css_raw", self.raw),
        ):
            if remark:
                self.say(key, source=source, remark=remark)
                continue
            pairs = [
                css_pairs(run + self.offset, self.range)
                for run in self._whole(runs)
                if len(run) > 1
            ]
            self.pictures[key] = pairs
            values = np.concatenate([np.empty(0), *pairs])
            values = values[np.isfinite(values)]
            if len(values):
                error = values.std() / math.sqrt(len(values))
                self.say(key, values.mean(), error, source=source)
            else:
                self.say(key, source=source, remark="no pair of frames has a window without NaN")

    def error(self) -> None:
        """uMSE and uPSNR."""
        budget = self.budget
        still, split = budget.still_error(), budget.split_error()
        motion, spread = budget.neighbours.motion()
        moves, seen = motion > 2 * spread, budget.neighbours.seen
        disagree = (
            still is not None
            and split is not None
            and abs(still.value - split.value) > _SURE * math.hypot(still.error, split.error)
        )
        remarks = []
        self.estimate, self.unbiased, source = None, False, ""
        added = f"the frames themselves, the method run again on them with {_STEP:g} times the noise (Stein)"
        unseen = "raw frames 6 to 8 away, put on the frame by whole pixels, taken as unseen by the method"
        if split is not None:
            self.estimate, self.unbiased, source = split, True, added
            # Not their mean: much of their error is the same. Where they differ the scene moves, or was seen. Noise
            # that is correlated is added only as far as it is known; that of other frames is independent anyway.
            correlated, rests = self._is_correlated(), not (moves or seen)
            if still is not None and rests:
                if correlated or (not disagree and still.error < split.error):
                    self.estimate, source = still, unseen
            if correlated and source == added:
                remarks.append(
                    "may be optimistic: the noise is correlated along the scan lines; that is allowed for only as far "
                    "as it was measured"
                )
        elif still is not None:
            self.estimate, self.unbiased, source = still, not (moves or seen), unseen
            if seen:
                remarks.append(
                    "optimistic: the result holds noise of the frames that it is compared with. Pass 'model', the "
                    "method itself"
                )
            elif moves:
                remarks.append(
                    "pessimistic: the scene moves, which counts as error. Pass 'model', the method itself, to tell"
                )
            elif motion + 2 * spread > 0.25 * max(still.value, 1e-300):
                self.unbiased = False  # motion that nobody sees is not the result's fault
                remarks.append("motion too small to be seen in so few pixels would count as error")
        else:
            remarks.append(
                "needs views that the result has not seen: a series of eight frames or more at rest, or 'model', the "
                "method itself"
            )
        self._say_error(source, remarks)

    def _say_error(self, source: str, remarks: list[str]) -> None:
        estimate, reference = self.estimate, self.budget.reference_error()
        keys = ("upsnr", "umse_gain", "umse")
        if estimate is None:
            for key in keys:
                self.say(key, source=source, remark="; ".join(remarks))
            return
        optimistic = self.budget.neighbours.seen and not self.unbiased
        better = estimate.value + _SURE * estimate.error < reference and not optimistic
        judgement = "good" if better else "bad" if self._worse_than_filter() else "unknown"
        decibel = None
        if estimate.value > estimate.error:
            decibel = 10 / math.log(10) * estimate.error / estimate.value
        elif estimate.value > -_SURE * estimate.error:
            remarks.insert(0, "noise hides the error. Give more frames or pixels")
        else:
            remarks.insert(
                0,
                "the estimated error is clearly below zero, so that the result has seen the frames that it was "
                "compared with. Pass 'model', the method itself",
            )
            judgement, self.unbiased = "unknown", False
        if decibel is None:
            remarks[0] = f"uMSE is {estimate.value:.3g} ± {estimate.error:.2g}: {remarks[0]}"
        remark = "; ".join(remarks)
        for key, over in (("upsnr", self.range**2), ("umse_gain", reference)):
            known = decibel is not None and over > 0
            value = 10 * math.log10(over / estimate.value) if known else None
            where = (
                f"{source}; data range {self.range:.4g}, {self.range_source}"
                if key == "upsnr"
                else source
            )
            self.say(key, value, decibel if known else None, judgement, source=where, remark=remark)
        self.say("umse", *estimate, judgement, source=source, remark=remark)

    def _worse_than_filter(self) -> bool:
        """Than the best linear filter of single frames, for sure."""
        estimate = self.estimate if self.unbiased else self.budget.least_error()
        return estimate.value - _SURE * estimate.error > self.budget.reference_error()

    def structure(self) -> None:
        """What became of the structure, from coarse to fine."""
        budget = self.budget
        source = "spectra of the raw frames and of the result, from coarse to fine"
        told = {"smoothed": budget.smoothed(), "removed": budget.removed()}
        for key, found in told.items():
            if not found:
                self.say(
                    key,
                    source=source,
                    remark="no structure stands out of the noise of the raw frames",
                )
                continue
            worst = max(found, key=lambda e: e.value - _SURE * e.error)
            self.say(key, *worst, "bad" if worst.clear else "good", source=source)
        over, lost = (any(e.clear for e in found) for found in told.values())
        factor = None if self.constant else budget.factor()
        if factor is not None:
            self.messages.append(
                f"All structure of the result, coarse and fine alike, is {factor.value:.2g} times as strong as in the "
                "raw frames: it seems to be in other units than they are, or its method loses or adds a share of every "
                f"intensity. Multiply it by {1 / factor.value:.3g}, or pass what the method gave before it was scaled."
            )
        if self.constant or budget.blank:
            over, lost = False, True
        if over:
            self.verdicts.append(OVER_SMOOTHED)
        if lost:
            self.verdicts.append(STRUCTURE_REMOVED)
        outside = budget.noise_outside > budget.reference_error()
        if not over and not lost and (outside or self._worse_than_filter()):
            self.verdicts.append(NOISE_LEFT)

    def _is_correlated(self) -> bool:
        return abs(self.correlated.value) > max(_SURE * self.correlated.error, 0.02)

    def residual(self) -> None:
        """Whiteness of raw - denoised."""
        source = "raw - denoised in units of the noise, beside that of the linear filter"
        keys = ("whiteness_y", "whiteness_x", "peaks", "residual_power")
        try:
            ours, theirs = (self._whiteness(runs) for runs in (self.total, self.reference))
        except ValueError as error:
            for key in keys:
                self.say(key, source=source, remark=str(error))
            return
        for key, value, error, other, times in (
            ("whiteness_y", ours.y, ours.y_error, theirs.y, 2),
            ("whiteness_x", ours.x, ours.x_error, theirs.x, 3),
        ):
            good = value <= max(times * error, other)
            text = (
                f"within {times} standard errors, or below that of the linear filter, {other:.2g}"
            )
            self.say(key, value, error, "good" if good else "bad", source=source, good=text)
        good = ours.chance >= 0.01 or ours.peaks <= theirs.peaks
        self.say(
            "peaks",
            ours.peaks,
            None,
            "good" if good else "bad",
            source=source,
            good=f"chance above 0.01, or below that of the linear filter, {theirs.peaks:.3g}",
            remark=f"chance {ours.chance:.2g}"
            + ("" if good else "; hot pixels and hum locked to the scan look like peaks"),
        )
        good = 0.9 <= ours.power <= 1.1
        self.say("residual_power", ours.power, None, "good" if good else "bad", source=source)

    def _whiteness(self, runs: list[np.ndarray]) -> Whiteness:
        raw, result = (
            self._some(
                [np.where(m, run, np.nan) for run, m in zip(which, self.measured)],
                _WHITENESS_PIXELS,
            )
            for which in (self.raw, runs)
        )
        return residual_whiteness(raw, result, self.width, self.noise)

    def _some(self, runs: Sequence[np.ndarray], pixels: int) -> np.ndarray:
        """The first frames of each run, about so many pixels together."""
        share = -(-max(1, pixels // self.raw[0][0].size) // len(self.raw))
        return np.concatenate([run[:share] for run in runs])

    def halves(self) -> None:
        """Fourier ring correlation of even and odd frames, denoised separately."""
        raws, results = self._split_frames()
        nm = self.case.pixel_size
        unit, size = ("px", 1.0) if nm is None else ("nm", nm)
        source = "even and odd frames, put on one another by whole pixels; 1/7 threshold"
        series = "needs a series of four frames or more"
        method = f"{series}, and 'model', the method itself, to run it on half of the frames"
        crossed = (results[0] + results[1], raws[1] + raws[0])
        for key, halves, remark in (
            ("frc", results, method),
            ("frc_half", crossed if results[0] else ([], []), method),
            ("frc_raw", raws, series),
        ):
            if not halves[0]:
                self.say(key, source=source, remark=remark, unit=unit)
                continue
            curve = _frc(*halves, nm)
            self.pictures[key] = curve
            told = curve.resolution() if curve else None
            if told is None:
                self.say(key, source=source, remark="the halves correlate in no ring", unit=unit)
            else:
                limit = "up to the limit of the pixels" if told == 2 else ""
                self.say(key, told * size, source=source, unit=unit, remark=limit)
        if results[0]:
            self._cross(raws, results, source)
        else:
            self.say("frc_cross", source=source, remark=method)

    def _split_frames(self) -> tuple[tuple[list, list], tuple[list, list]]:
        """Even and odd frames of each run: as recorded, and each half denoised without the other."""
        raws, results = ([], []), ([], [])
        method = self.case.method
        for run, registered in zip(self.raw, self.registered):
            count = len(run) // 2 * 2
            if not self.case.series or count < 4:
                continue
            moved = registered.apply(run)
            for half in (0, 1):
                which = np.arange(half, count, 2)
                raws[half].append(moved[which])
                if method is not None:
                    own = np.zeros_like(run)
                    own[which] = method(run[which] + self.offset) - self.offset
                    results[half].append(registered.apply(own)[which])
        return raws, results

    def _cross(self, raws: tuple[list, list], results: tuple[list, list], source: str) -> None:
        shared, against, variance = np.zeros((3, RINGS))
        pixels = 0
        for y0, y1, f0, f1 in zip(*raws, *results):
            a, b, f, g = (corner(part, self.limit) for part in (y0, y1, f0, f1))
            ring, noise = coefficient_rings(a, self.limit)
            for total, terms in (
                (shared, f.values * g.values),
                (against, (f.values * b.values + g.values * a.values) / 2),
                (variance, noise * (f.values**2 + g.values**2) / 4),
            ):
                total += by_ring(terms.sum(0), ring)
            pixels += f0.size
        # Rings in which the result is weaker than the scene must not hide those in which it invents; without
        # the background, and without what chance adds to a sum of what is positive.
        spread = np.sqrt(variance[1:])
        excess = np.maximum(shared - against, 0)[1:] - spread / math.sqrt(2 * math.pi)
        lacking, error = max(excess.sum(), 0.0), math.sqrt(variance[1:].sum())
        whole = shared[1:].sum()
        if not whole > 0:
            self.say("frc_cross", source=source, remark="the denoised halves do not agree at all")
            return
        bad = lacking - _SURE * error > self.budget.reference_error() * pixels
        self.say(
            "frc_cross",
            1 - lacking / whole,
            error / whole,
            "bad" if bad else "good",
            source=source,
            good="1, or what is lacking is less than the error of the linear filter",
        )

    def atoms(self) -> None:
        """Support of each atom by the counts, and linearity of the intensities."""
        total, raw = (
            self._some(self._whole(runs), _ATOM_PIXELS) for runs in (self.total, self.raw)
        )
        self.bright = self._is_bright(self._some(self.total, _ATOM_PIXELS))
        sign = 1 if self.bright else -1
        heights = sign * total - local_background(sign * total, self.width)
        found = detect(heights, self.width)
        if len(found):
            found = found[found.height > LEAST_HEIGHT * np.quantile(found.height, 0.9)]
        source = "maxima of the result, higher than a fifth of the bright ones; raw counts of the same frame"
        if not len(found) or self.constant:
            for key in ("supported", "contradicted", "likelihood", "linearity", "slope"):
                self.say(key, source=source, remark="no atoms found in the result")
            return
        self.found = found
        support = log_likelihood(
            raw, total, None, found, self.width, self.noise, bright=self.bright
        )
        self.support = support
        kept = support.significance >= support.threshold[found.frame]
        self.say(
            "supported",
            kept.mean(),
            source=f"{source}; {support.model} noise",
            remark=f"{len(found)} atoms in {len(total)} frames, {int((~kept).sum())} of them not supported; of those "
            "supported 5 % are expected to be noise",
        )
        false, due, bad = self._contradicted(sign * total, sign * raw, heights, kept)
        chance = len(found) * float(ndtr(-_SURE))
        self.say(
            "contradicted",
            int(false.sum()),
            math.sqrt(chance),
            "bad" if bad else "good",
            source=f"{source}; one by one, and {TOGETHER} frames of an atom together",
            good=f"what chance gives, {chance:.2g}",
            remark=f"{int(due.sum())} atoms are so bright that their frames must show them",
        )
        middle = float(np.median(support.ratio))
        self.say("likelihood", middle, None, "good" if middle > 0 else "bad", source=source)
        if bad:
            self.verdicts.append(UNSUPPORTED)
        self._linearity(sign * total, sign * raw, found[~false])

    def _contradicted(
        self, total: np.ndarray, raw: np.ndarray, heights: np.ndarray, kept: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """As :func:`n2a.contradiction.contradicted`."""
        found, support = self.found, self.support
        width = usual_width(heights, found, self.width)
        claimed, seen = (measure(a, found, width, fit=False).intensity for a in (total, raw))
        row, column = (
            np.clip(np.rint(v).astype(int), 0, n - 1)
            for v, n in zip((found.row, found.column), total.shape[1:])
        )
        level = (total - heights)[found.frame, row, column]
        gain = self.noise.gain * (1 if self.bright else -1)
        least = 1e-3 * max(self.noise.variance(0.0), 1e-300)
        variance = np.maximum(gain * level + self.noise.offset, least)
        spread = 2 * math.sqrt(math.pi) * width * np.sqrt(variance)  # of the intensity of nothing
        # Significance by intensity, from the atoms that are there: noise may be correlated.
        strong = kept & (seen > 0)
        usual = 1.0
        if np.count_nonzero(strong) > 5:
            usual = float(np.median(support.significance[strong] * spread[strong] / seen[strong]))
        expected = np.nan_to_num(usual * claimed / spread)
        # A threshold is infinite where a frame has no atom that is supported.
        threshold = np.minimum(support.threshold[found.frame], _EMPTY_THRESHOLD)
        runs = np.empty((0, TOGETHER), int)
        # A width that noise along the scan has misled takes broad atoms for background, in every frame alike.
        if self.case.series and width < _MISLED * self.width:
            numbers = [np.full(len(run), k) for k, run in enumerate(self.raw)]
            shifts, series = (
                self._some(each, _ATOM_PIXELS)
                for each in ([one.shifts for one in self.registered], numbers)
            )
            place = np.column_stack([found.row, found.column]) + shifts[found.frame]
            runs = runs_of_atoms(found.frame, place, series, width)
        return contradicted(support.significance, expected, threshold, runs)

    def _is_bright(self, total: np.ndarray) -> bool:
        if self.case.dark is not None or self.sign < 0:
            return not self.case.dark and self.sign > 0
        band = (total - _slow(total, self.width))[:, ::2, ::2]
        low, high = np.quantile(band, (0.001, 0.999))
        return bool(np.mean(np.clip(band, low, high) ** 3) >= 0)

    def _linearity(self, total: np.ndarray, raw: np.ndarray, found: Detections) -> None:
        source = "integrated intensities of columns that stand apart, in the result and in the raw frames"
        noise = self.noise if self.bright else self.noise._replace(gain=-self.noise.gain)
        try:
            told = proportion(total, raw, found, self.width, noise)
        except ValueError as error:
            for key in ("linearity", "slope"):
                self.say(key, source=source, remark=str(error))
            return
        self.pictures["intensities"] = told
        source = f"{source}; {told.number} columns"
        self.say(
            "linearity",
            told.departure,
            told.departure_error,
            "good" if told.linear else "bad",
            source=source,
            good="within 3 standard errors, or less than one column has in the mean of the raw frames or than "
            f"{LEAST_DEPARTURE:g}: {told.tolerance:.2g}",
        )
        alike = abs(told.slope - 1) < max(_SURE * told.slope_error, told.tolerance)
        self.say(
            "slope", told.slope, told.slope_error, "good" if alike else "unknown", source=source
        )
        if not told.linear:
            self.verdicts.append(NOT_LINEAR)

    def noise_found(self) -> None:
        """The noise that was found in the raw frames."""
        noise, source = self.noise, "fourth differences of the raw frames along y"
        if noise.gain > 0:
            self.say("noise_gain", noise.gain, noise.gain_error, source=source)
        else:
            flat = "the noise does not grow with the intensity, as far as can be told"
            self.say("noise_gain", source=source, remark=flat)
        dark = noise.offset - noise.gain * self.offset  # variance at zero intensity
        chance = _SURE * noise.gain_error * abs(self.offset)
        if dark >= 0:
            self.say("read_noise", math.sqrt(dark), source=source)
        elif -dark < chance:
            little = f"less than {math.sqrt(chance):.2g}, too little beside the counting noise to be told"
            self.say("read_noise", source=source, remark=little)
        else:
            away = f"the detector has an offset of {-dark / noise.gain:.4g} or more, below which there is no noise"
            self.say("read_noise", source=source, remark=away)
        sure = self._is_correlated()
        self.say(
            "scan_correlation",
            *self.correlated,
            "bad" if sure else "good",
            source="fourth differences of raw - denoised along y",
            remark="misleads all that takes pixels as independent" if sure else "",
        )

    def against_truth(self) -> None:
        """PSNR and the like, where the truth is given."""
        if self.case.truth is None:
            return
        truth, shown, source = self._true_frames()
        source += f"; data range {self.range:.4g}, {self.range_source}"
        known = np.isfinite(shown) & np.concatenate(self.true)
        self.say("psnr", psnr(shown[known], truth[known], self.range), source=source)
        if min(truth.shape[1:]) >= WINDOW:
            shown = np.where(known, shown, truth)
            self.say("ssim", ssim(shown, truth, self.range), source=source)
        else:
            self.say(
                "ssim", source=source, remark=f"needs frames of at least {WINDOW} x {WINDOW} px"
            )
        share = self._some([truth[a:b] for a, b in self._places(self.raw)], _ATOM_PIXELS)
        sites, where = self._true_sites(share if self.bright else -share)
        known = self._some([m & true for m, true in zip(self.measured, self.true)], _ATOM_PIXELS)
        sites, found = (each and each[_inside(each, known)] for each in (sites, self.found))
        nm = self.case.pixel_size
        unit, size = ("px", 1.0) if nm is None else ("pm", 1000 * nm)
        if not found or not sites:
            none = "no atoms found in the " + ("truth" if found else "result")
            self.say("f1", source=where, remark=none)
            self.say("position_error", source=where, remark=none, unit=unit)
            return
        pairs = match_positions(found, sites, self.width)
        self.say("f1", pairs.f1, source=where)
        if len(pairs.found):
            self.say("position_error", pairs.rms * size, source=where, unit=unit)
        else:
            self.say("position_error", source=where, unit=unit, remark="no atom is near a true one")

    def _scale_truth(self) -> None:
        """`truth`: in the units of the raw frames."""
        middle = np.median(np.concatenate([run[k] for run, k in zip(self.case.truth, self.true)]))
        runs = [
            without_holes(run, run)[0] if known.any() else np.full(run.shape, middle)
            for run, known in zip(self.case.truth, self.true)
        ]
        self.truth, self.truth_scale, self.truth_source = runs, 1.0, "the truth as given"
        fast = [run - _slow(run, self.width) for run in runs]
        power = sum(np.sum(run**2) for run in fast)
        if not power > 0:
            return
        # The fast part of both: the slow part of the raw frames is not orthogonal to it.
        seen = [run - _slow(run, self.width) for run in self.raw]
        fit = float(sum(np.sum(a * b) for a, b in zip(fast, seen)) / power)
        if abs(fit - 1) > max(0.1, _SURE * math.sqrt(self.noise.variance(0.0) / power)):
            self.truth, self.truth_scale = [fit * run for run in runs], fit
            self.truth_source = f"the truth times {fit:.4g}, which fits the raw frames"

    def _true_frames(self) -> tuple[np.ndarray, np.ndarray, str]:
        """Truth and result in the units of the raw frames: both with their background, or both without."""
        runs, source = self.truth, self.truth_source
        slow = [
            _slow(a - (b - self.offset), self.width)
            for a, b, known in zip(self.raw, runs, self.true)
            if known.any()
        ]
        away = math.sqrt(np.mean([np.mean(a**2) for a in slow]))
        if self.truth_scale == 1 and away < 0.5 * math.sqrt(self.noise.variance(0.0)):
            runs, shown = [run - self.offset for run in runs], self.total
        elif self.atoms_only:
            shown = [self.sign * np.asarray(run, np.float64) for run in self.case.given]
            source += ", atoms alone"
        else:
            runs, shown = (
                [with_slow_part(a, b, self.width) for a, b in zip(runs, self.raw)],
                self.total,
            )
            source += ", on the slow part of the raw frames"
        return np.concatenate(runs), np.concatenate(self._whole(shown)), source

    def _true_sites(self, truth: np.ndarray) -> tuple[Detections, str]:
        if self.case.sites is not None:
            share = len(self._some(self.raw[:1], _ATOM_PIXELS))
            start, parts = 0, []
            for run, sites in zip(self.raw, self.case.sites):
                parts.append(sites[sites.frame < share])
                parts[-1] = replace(parts[-1], frame=parts[-1].frame + start)
                start += min(share, len(run))
            names = ("frame", "row", "column", "height")
            sites = Detections(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))
            return sites, "positions from the simulation"
        atoms = truth - local_background(truth, self.width)
        sites = detect(atoms, self.width)
        if len(sites):
            sites = sites[sites.height > LEAST_HEIGHT * np.quantile(sites.height, 0.9)]
        return sites, "maxima of the truth, as in the result"

    def _places(self, runs: Sequence[np.ndarray]) -> list[tuple[int, int]]:
        """First and last frame of each run, counted through."""
        ends = np.cumsum([len(run) for run in runs]).tolist()
        return list(zip([0, *ends], ends))

    def _whole(self, runs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [
            np.where(m, run, np.nan) if not m.all() else run for run, m in zip(runs, self.measured)
        ]

    # The end

    def findings(self) -> Findings:
        """Verdicts, and the pictures."""
        verdicts = [v for v in VERDICTS if v in self.verdicts] or [FINE]
        told = {one.key: one.value for one in self.lines}
        if verdicts == [FINE] and told["css"] is not None and told["css"] > told["css_blur"]:
            self.lines = [
                one._replace(judgement="good") if one.key == "css" else one for one in self.lines
            ]
        middle = len(self.raw[0]) // 2
        residual = self.raw[0] - self.total[0]
        self.pictures.update(
            raw=self.raw[0][middle] + self.offset,
            denoised=self.total[0][middle] + self.offset,
            filtered=self.reference[0][middle] + self.offset,
            residual=residual[middle],
            spectrum=_spectrum(residual),
            pixel_size=self.case.pixel_size,
        )
        error = math.inf if self.estimate is None else self.estimate.value
        others = (self.budget.split_error(), self.budget.still_error())
        split, unseen = (None if one is None else one.value for one in others)
        return Findings(
            self.lines,
            verdicts,
            self.messages,
            error,
            split,
            unseen,
            self.pictures,
            self.found,
            self.support,
        )


def _inside(atoms: Detections, known: np.ndarray) -> np.ndarray:
    """Which atoms are in pixels (n, y, x) that are known."""
    row, column = (
        np.clip(np.rint(v).astype(int), 0, n - 1)
        for v, n in zip((atoms.row, atoms.column), known.shape[1:])
    )
    return known[atoms.frame, row, column]


def _slow(frames: np.ndarray, atom_width: float) -> np.ndarray:
    """What varies slowly in frames (n, y, x)."""
    return with_slow_part(np.zeros_like(frames), frames, atom_width)


def _frc(
    first: list[np.ndarray], second: list[np.ndarray], pixel_size: float | None
) -> RingCorrelation | None:
    """Of runs, which may differ in size: the common part of each frame."""
    shape = tuple(min(run.shape[k] for run in first) for k in (1, 2))
    if min(shape) < _SMALLEST:
        return None
    a, b = (
        np.concatenate([run[:, : shape[0], : shape[1]] for run in runs]) for runs in (first, second)
    )
    try:
        return frc(a, b, pixel_size)
    except ValueError:
        return None


def _spectrum(frames: np.ndarray) -> np.ndarray:
    """Mean power spectrum, zero frequency in the middle."""
    window = np.hanning(frames.shape[1] + 2)[1:-1, None] * np.hanning(frames.shape[2] + 2)[1:-1]
    power = np.mean([np.abs(np.fft.fft2((f - f.mean()) * window)) ** 2 for f in frames], axis=0)
    return np.fft.fftshift(power)
