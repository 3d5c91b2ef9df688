# SPDX-License-Identifier: GPL-3.0-or-later
"""One normalisation for a whole series: by its noise, never by its contrast.

With ``x = (image - level) / noise`` the variance of counted data is ``1 + curvature * x``, where ``curvature =
gain / noise``. The variance-stabilised value is ``u = 2 x / (1 + sqrt(1 + curvature * x))``: the generalised
Anscombe transform, shifted to be 0 at the background level and of unit noise everywhere. Curvature 0 is plain
Gaussian noise; dark atoms have the opposite sign. An image of nothing stays noise of variance one: there is no contrast
to be stretched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

# Anscombe's constant: a count of zero still has this much variance, in counts squared.
ANSCOMBE = 3 / 8
LARGEST = 2000.0


@dataclass(frozen=True)
class Normalization:
    """Level and noise of a series in its own units, and its gain.

    Attributes
    ----------
    level
        Background intensity.
    noise
        Standard deviation of the noise at that level.
    gain
        Slope of the noise variance over the intensity: the intensity of one count. 0 when it cannot be told.
    sign
        1 for bright atoms, -1 for dark ones.
    """

    level: float
    noise: float
    gain: float
    sign: int = 1

    @property
    def curvature(self) -> float:
        """Growth of the relative noise variance with the signal, at most 1/sqrt(3/8)."""
        return self.sign * min(self.gain / self.noise, ANSCOMBE**-0.5)

    def forward(self, frames: np.ndarray) -> np.ndarray:
        """Frames in their own units to stabilised float32 values."""
        # The difference in double precision: instruments write offsets of millions (float32 has 24 bits).
        x = np.subtract(frames, self.level, dtype=np.float64) * (self.sign / self.noise)
        return stabilise(torch.from_numpy(x.astype(np.float32)), self.curvature).numpy()

    def atoms(self, stabilised: np.ndarray, background: np.ndarray) -> np.ndarray:
        """How far the atoms stand out of the background, in the series' units; positive for dark atoms too."""
        return self.noise * atoms_above(stabilised, background, self.curvature)

    def background(self, stabilised: np.ndarray) -> np.ndarray:
        """Intensity of the background, in the series' units."""
        return self.level + self.sign * self.noise * linearise(stabilised, self.curvature)


def stabilise(x, curvature):
    """Linear values in units of the noise to values of unit noise."""
    root = (1 + curvature * x).clamp_min(0).sqrt()
    return (2 * x / (1 + root)).clamp(-LARGEST, LARGEST)


def linearise(u, curvature):
    """Inverse of :func:`stabilise`, for arrays and tensors."""
    return u + curvature / 4 * u * u


def atoms_above(atoms, background, curvature):
    """Difference ``linearise(background + atoms) - linearise(background)``, without cancellation."""
    return atoms + curvature / 4 * atoms * (atoms + 2 * background)
