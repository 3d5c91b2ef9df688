# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be known of a series before the network: level, noise, contrast, width of the atoms."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from n2a.noise import background_level, estimate_noise
from n2a.normalization import ANSCOMBE
from n2a.sampling import bin_frames, measure_atom_width

# Atoms as wide as this or narrower are seen by the network as they are, wider ones binned until they are.
WIDEST = 3.0
NARROWEST = 0.9
USUAL_WIDTH_NM = 0.045
COARSEST_PIXEL_NM = 0.06


@dataclass(frozen=True)
class Plan:
    """How one series is put before the network.

    Attributes
    ----------
    level
        Background level, in the series' units.
    noise
        Standard deviation of the noise at that level, in the series' units, after binning.
    gain
        Intensity of one count after binning (slope of the variance); 0 when it cannot be told.
    contrast
        ``"bright"`` or ``"dark"`` atoms.
    atom_width
        Gaussian standard deviation of an atom in pixels of the series.
    factor
        The network sees means over factor x factor pixels.
    """

    level: float
    noise: float
    gain: float
    contrast: str
    atom_width: float
    factor: int


def plan_series(
    sample: np.ndarray,
    contrast: str = "auto",
    atom_width: float | None = None,
    pixel_size: float | None = None,
) -> Plan:
    """Measure what the network must know of a series.

    Parameters
    ----------
    sample
        (n, y, x), some frames of the series; NaN where nothing was measured.
    contrast
        ``"bright"`` (HAADF), ``"dark"`` (BF, ABF), or ``"auto"``: the sign of the skewness of atom-sized structure.
    atom_width
        Standard deviation of an atom in pixels; measured on the power spectrum when None.
    pixel_size
        In nm; when known, a measured width that no microscope gives is corrected.

    Raises
    ------
    ValueError
        For arguments out of range, and for frames that are constant, too small, or without finite pixels.

    Warns
    -----
    UserWarning
        When the frames are unlike what the network was trained on.
    """
    if contrast not in ("auto", "bright", "dark"):
        raise ValueError(f"'contrast' must be 'auto', 'bright' or 'dark', not {contrast!r}")
    if atom_width is not None and not 0.3 <= atom_width <= 100:
        raise ValueError(f"'atom_width' is {atom_width!r}; expected the standard deviation of an atom in pixels, "
                         "0.3 to 100, or None to measure it")  # fmt: skip
    if min(sample.shape[-2:]) < 16:
        raise ValueError(f"the images are {sample.shape[-1]} x {sample.shape[-2]} pixels; expected at least "
                         "16 x 16: pass a larger region")  # fmt: skip
    if not np.isfinite(sample).mean() > 0.05:
        raise ValueError(
            "the series has (almost) no finite pixels; expected measured intensities: "
            "crop it, or replace NaN and inf"
        )
    finite = np.isfinite(sample)
    measured = sample[finite]
    offset = float(np.median(measured))
    span = float(measured.max()) - float(measured.min())
    if span == 0:
        raise ValueError(
            f"the series is constant ({offset:g} everywhere); there is nothing to denoise"
        )
    # From here on intensities are 0 at the offset and span 1: single precision suffices for any units.
    values = np.empty(sample.shape, np.float32)
    for value, frame in zip(values, sample, strict=True):
        np.divide(
            np.subtract(frame, offset, dtype=np.float64), span, out=value, casting="same_kind"
        )
    values[~finite] = np.nan
    del measured  # copies of the sample are what memory is needed for here
    # Hot and dead pixels, flashes: what is far outside of everything else would bend every estimate.
    low, high = np.nanpercentile(values[:, ::2, ::2], (0.1, 99.9))
    if high > low:
        np.clip(values, low - 3 * (high - low), high + 3 * (high - low), out=values)
        rest = float(np.nanmax(values) - np.nanmin(values))
        values /= rest
        span *= rest
    filled = values if finite.all() else np.nan_to_num(values)

    width = atom_width
    if width is None:
        width = _plausible_width(measure_atom_width(filled), pixel_size)
    factor = max(1, int(np.ceil(width / WIDEST)))
    factor = min(factor, max(1, min(sample.shape[-2:]) // 16))
    binned = bin_frames(values, factor)
    if contrast == "auto":
        contrast = (
            "bright" if _skewness(bin_frames(filled, factor), width / factor) >= 0 else "dark"
        )
    level = background_level(binned, contrast == "bright")
    noise = estimate_noise(binned)
    variance = noise.variance(level) + ANSCOMBE * noise.gain**2
    # An image without noise stays usable: nothing is divided by zero.
    low, high = np.nanpercentile(binned[:, ::2, ::2], (0.5, 99.5))
    standard = max(float(np.sqrt(variance)), 1e-3 * float(high - low), 1e-6)
    if width < 0.75 * NARROWEST:
        warn(
            f"atoms are only {width:.2g} px wide (standard deviation); the network was trained for {NARROWEST} px "
            "and more: record finer pixels, or check the result against the raw frames"
        )
    return Plan(
        level=offset + span * level,
        noise=span * standard,
        gain=span * noise.gain,
        contrast=contrast,
        atom_width=float(width),
        factor=factor,
    )


def _plausible_width(measured: float | None, pixel_size: float | None) -> float:
    usual = USUAL_WIDTH_NM / pixel_size if pixel_size else None
    if usual is not None and pixel_size > COARSEST_PIXEL_NM:
        warn(
            f"pixels of {pixel_size:.3g} nm do not resolve atoms; the network knows only images of atoms "
            f"(pixels of at most {COARSEST_PIXEL_NM} nm): check the calibration or do not trust the result"
        )
        usual = None
    if measured is None:
        warn(
            "nothing of the size of atoms stands out of the noise in the sampled frames; if there are atoms, pass "
            "their standard deviation in pixels as 'atom_width'"
        )
        return usual or 2.0
    if usual is None:
        return measured
    if measured < usual / 3:
        warn(
            f"the images show structure of {measured:.2g} px (standard deviation), where atoms would be {usual:.2g} px "
            f"wide with pixels of {pixel_size:.3g} nm; the calibration is left out of account: check it, or pass "
            "'atom_width'"
        )
        return measured
    # Two rough answers, from the spectrum and from what microscopes do: their geometric mean.
    return float(np.sqrt(np.clip(measured, 0.4 * usual, 2.5 * usual) * usual))


def warn(message: str) -> None:
    """Warn on the line that called this package, however deep inside it this is."""
    level, frame = 1, sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] == "n2a":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def _skewness(frames: np.ndarray, width: float) -> float:
    band = np.empty_like(frames, dtype=np.float32)
    for out, frame in zip(band, frames, strict=True):
        np.subtract(gaussian_filter(frame, width), gaussian_filter(frame, 3 * width), out=out)
    # Single hot pixels must not decide.
    low, high = np.quantile(band[:, ::2, ::2], (0.001, 0.999))
    return float(np.mean([(np.clip(frame, low, high) ** 3).mean() for frame in band]))
