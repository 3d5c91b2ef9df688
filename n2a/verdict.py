# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a trained network better than the one it started from? Told without the truth, on frames held out."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from n2a.cropping import middle_part
from n2a.evaluation import css_mean, umse
from n2a.generator import Generator
from n2a.inference import restore
from n2a.means import Estimate, block_mean
from n2a.normalization import linearise
from n2a.patches import NoisySeries
from n2a.whiteness import residual_whiteness

# Held-out frames of all series that are looked at, each from both sides, and the edge of the part of each, in pixels.
LOOKED_AT, EDGE = 6, 384
# Smaller frames, in pixels, hold too little to tell the whiteness of a residual.
SMALLEST = 32
# Standard errors that a difference must have; and that of the best of twenty looks at one training, which chance
# carries as far as often where their errors correlate by 0.9 from one to the next and by 0.3 from first to last.
CLEAR, CLEAR_OF_MANY = 2.0, 2.7
# Without held-out frames: growth of the residual's highest peak, and of its variance over that of the noise.
MORE_PEAKS, MORE_POWER = 1.5, 0.03


class View(NamedTuple):
    """A window whose middle is to be restored, and a frame that it has not seen."""

    values: np.ndarray
    valid: np.ndarray
    middle: np.ndarray
    target: np.ndarray
    seen: np.ndarray
    curvature: float
    held: tuple[int, int]


class Judge:
    """Compares networks with a reference on windows around frames held out from training.

    A frame next to a held-out one is restored without it; what the held-out frame counted there is independent of
    the restoration, so that differences of the mean squared error are differences of the error to the truth.

    Parameters
    ----------
    series
        With their `held_out` frames.
    reference
        The network to compare with.
    """

    def __init__(self, series: list[NoisySeries], reference: Generator):
        self.series, self._start = series, reference
        self.views = []
        for number, one in enumerate(series):
            for look, held in enumerate(sorted(one.held_out)[: max(1, LOOKED_AT // len(series))]):
                self.views += _views(one, held, number, one.line(look))
        self.reference = [self._restored(reference, view) for view in self.views]
        # One variance for all networks: a network must not lower its error by what it says about the noise.
        self._variance = [
            (1 + view.curvature * total).clip(0.2)
            for view, (_, total) in zip(self.views, self.reference, strict=True)
        ]
        self.reference_errors = self._errors(self.reference)
        heights = [np.quantile(atoms, 0.99) for atoms, _ in self.reference]
        self.range = max([*heights, 1.0])

    def gain(self, network: Generator) -> Estimate:
        """Fall of the mean squared error, in units of the noise variance; positive is better than the reference.

        NaN where there is nothing to tell it on, or the network gives values that are not finite.
        """
        return self.look(network)[0]

    def look(self, network: Generator) -> tuple[Estimate, float]:
        """The gain, and the consecutive structural similarity of the frames on both sides of the held-out ones."""
        restored = [self._restored(network, view) for view in self.views]
        return self._gain(restored), self._css(restored)

    def _gain(self, restored: list[tuple[np.ndarray, np.ndarray]]) -> Estimate:
        if not restored or not _finite(restored):
            return Estimate(float("nan"), float("nan"))
        falls = [a - b for a, b in zip(self.reference_errors, self._errors(restored), strict=True)]
        parts = [
            block_mean(fall, view.seen.astype(float))
            for fall, view in zip(falls, self.views, strict=True)
        ]
        values, errors = np.array(parts).T
        return Estimate(float(values.mean()), float(np.sqrt((errors**2).sum()) / len(parts)))

    def _css(self, restored: list[tuple[np.ndarray, np.ndarray]]) -> float:
        if not _finite(restored):
            return float("nan")
        atoms = [atoms for atoms, _ in restored]
        pairs = [
            np.stack(atoms[i : i + 2])
            for i, (a, b) in enumerate(zip(self.views, self.views[1:], strict=False))
            if a.held == b.held
        ]
        return float(np.mean([css_mean(p, self.range) for p in pairs])) if pairs else float("nan")

    def fidelity(self, network: Generator) -> dict[str, float | None]:
        """uPSNR in dB against the held-out frames, whiteness of what was taken away, and CSS; None where unknown."""
        restored = [self._restored(network, view) for view in self.views]
        told: dict[str, float | None] = {"upsnr": None, "whiteness": None, "css": None}
        if not restored or not _finite(restored):
            return told
        errors = [
            umse(total, view.target, view.target, view.middle, view.seen).value
            for view, (_, total) in zip(self.views, restored, strict=True)
        ]
        if np.mean(errors) > 0:
            told["upsnr"] = float(10 * np.log10(self.range**2 / np.mean(errors)))
        # Frames of one series are judged together: their spectra have the noise in common.
        together: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        for view, (_, total) in zip(self.views, restored, strict=True):
            if min(total.shape) >= SMALLEST:
                together.setdefault(view.held[0], []).append((view.middle, total))
        white = [
            residual_whiteness(*(np.stack(a) for a in zip(*pairs, strict=True))).y
            for pairs in together.values()
        ]
        if white:
            told["whiteness"] = float(np.mean(white))
        css = self._css(restored)
        told["css"] = css if np.isfinite(css) else None
        return told

    def takes_more(self, network: Generator, reference: Generator) -> bool:
        """Whether the network takes clearly more structure away with the noise than the reference does.

        All that can be told where no frame could be held out: by the spectrum and the variance of raw - denoised in
        one frame.
        """
        window = self._window()
        if window is None or min(window[0].shape[1:]) < SMALLEST:
            return False
        values, valid, curvature = window
        middle = len(values) // 2
        raw = linearise(values[middle], curvature)
        raw[~valid[middle]] = np.nan
        try:
            before, after = (
                residual_whiteness(raw, sum(_restore(each, values, valid, curvature)))
                for each in (reference, network)
            )
        except ValueError:  # nothing in it can be told from noise, or it has none
            return False
        return (
            after.peaks > MORE_PEAKS * max(before.peaks, 15)
            or after.power > before.power + MORE_POWER
        )

    def example(self, network: Generator) -> tuple[np.ndarray | None, np.ndarray | None]:
        """A noisy patch and what the network makes of it, to look at."""
        if not self.views:
            return None, None
        view = self.views[0]
        patch = middle_part(view.target.shape, 128)
        return view.middle[patch], self._restored(network, view)[0][patch]

    def collapsed(self, network: Generator) -> str:
        """Why the network cannot be used, or an empty string."""
        looks = [(view.values, view.valid, view.curvature) for view in self.views]
        restored = self.reference
        if not looks and (window := self._window()):
            atoms, under = _restore(self._start, *window)
            looks, restored = [window], [(atoms, atoms + under)]
        for look, (reference, total) in zip(looks, restored, strict=True):
            atoms, under = _restore(network, *look)
            found = atoms + under
            if not np.isfinite(found).all():
                return "values that are not finite"
            if reference.std() > 0.3 and atoms.std() < 0.1 * reference.std():
                return "a constant image"
            if np.corrcoef(found.ravel(), total.ravel())[0, 1] < 0.5 and total.std() > 0.5:
                return "images that have nothing to do with the frames"
        return ""

    def _window(self) -> tuple[np.ndarray, np.ndarray, float] | None:
        """The middle of a window around some frame that was measured, where none was held out."""
        for one in self.series:
            for look in range(math.prod(one.others)):
                line = one.line(look)
                order = sorted(range(one.length), key=lambda i: abs(i - one.length // 2))
                for i in order[:LOOKED_AT]:
                    if one.measured(line, i):
                        values, valid, _ = one.window(i, line)
                        part = (slice(None), *middle_part(one.shape, EDGE))
                        return values[part], valid[part], one.curvature
        return None

    def _restored(self, network: Generator, view: View) -> tuple[np.ndarray, np.ndarray]:
        atoms, background = _restore(network, view.values, view.valid, view.curvature)
        return atoms, atoms + background

    def _errors(self, restored) -> list[np.ndarray]:
        return [
            (view.target - total) ** 2 / variance
            for view, (_, total), variance in zip(self.views, restored, self._variance, strict=True)
        ]


def _restore(
    network: Generator, values: np.ndarray, valid: np.ndarray, curvature: float
) -> tuple[np.ndarray, np.ndarray]:
    """Atoms and background (y, x); a network of shorter windows sees the middle."""
    middle, half = len(values) // 2, network.window // 2
    part = slice(middle - half, middle + half + 1)
    return restore(network, values[part], valid[part], curvature)


def _finite(restored: list[tuple[np.ndarray, np.ndarray]]) -> bool:
    return all(np.isfinite(total).all() for _, total in restored)


def _views(series: NoisySeries, held: int, number: int, other: tuple[int, ...]) -> list[View]:
    """Windows around the neighbours of a held-out frame, which is in none of them."""
    found = []
    for i in (held - 1, held + 1):
        if not 0 <= i < series.length or i in series.held_out:
            continue
        values, valid, slots = series.window(i, other)
        if held not in slots:
            continue
        part = (slice(None), *middle_part(series.shape, EDGE))
        values, valid = values[part].copy(), valid[part].copy()
        hidden = [slot for slot, j in enumerate(slots) if j in series.held_out]
        slot, middle = slots.index(held), len(values) // 2
        if not valid[slot].any() or valid[middle].mean() < 0.5:
            continue
        target = linearise(values[slot], series.curvature)
        seen = valid[slot].copy()
        values[hidden], valid[hidden] = 0, False
        itself = linearise(values[middle], series.curvature)
        itself[~valid[middle].astype(bool)] = np.nan
        found.append(View(values, valid, itself, target, seen, series.curvature, (number, held)))
    return found
