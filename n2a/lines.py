# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of a report: what each measure is called, what is good, and what it cannot see."""

from __future__ import annotations

from typing import NamedTuple

from n2a.intensity import LEAST_DEPARTURE

OVER_SMOOTHED = "over-smoothed"
STRUCTURE_REMOVED = "structure removed"
UNSUPPORTED = "atoms without support in the counts"
NOT_LINEAR = "intensities not linear"
NOISE_LEFT = "noise left"
FINE = "fine"
#: In the order in which they are told; "fine" only alone.
VERDICTS = (OVER_SMOOTHED, STRUCTURE_REMOVED, UNSUPPORTED, NOT_LINEAR, NOISE_LEFT, FINE)
#: Atoms that are gone or invented: worse than any picture that is not sharp, not linear or not quiet enough.
GRAVE = (STRUCTURE_REMOVED, UNSUPPORTED)


class Line(NamedTuple):
    """One measure of a report.

    Attributes
    ----------
    key
        Short name, the same in every report.
    name
        As people read it.
    value, error
        The number and its standard error; None where there is none, and `remark` says why.
    unit
        Empty for plain numbers.
    judgement
        ``"good"``, ``"bad"`` or ``"unknown"``.
    good
        What would be good.
    blind
        What the measure cannot see.
    source
        What it was measured on.
    remark
        What else must be said.
    """

    key: str
    name: str
    value: float | None
    error: float | None
    unit: str
    judgement: str
    good: str
    blind: str
    source: str
    remark: str = ""


class _Text(NamedTuple):
    name: str
    unit: str
    good: str
    blind: str


_NOT_FIDELITY = "fidelity: it is highest for an image of nothing"
_SHARED = (
    "errors that the views share: what all raw frames have (jitter, afterglow) counts as truth; without the method, "
    "noise of many frames that a smooth result holds"
)
_SMEARED = "noise that was left in; a little lost structure beside as much smeared noise"
_FAINT = "atoms of which single frames know nothing; atoms that are missing"
_CROWD = "columns that overlap"

TEXTS = {
    "css": _Text(
        "CSS of the result", "", "above that of the linear filter, with good lines below", _NOT_FIDELITY
    ),
    "css_blur": _Text(
        "CSS of a blur: the best linear filter (Wiener)", "", "a reference", _NOT_FIDELITY
    ),
    "css_raw": _Text("CSS of the raw frames", "", "a reference", _NOT_FIDELITY),
    "upsnr": _Text("uPSNR", "dB", "above that of the best linear filter of single frames", _SHARED),
    "umse": _Text("uMSE", "units²", "near 0", _SHARED),
    "umse_gain": _Text("uPSNR above that of the best linear filter", "dB", "positive", _SHARED),
    "smoothed": _Text(
        "weakened structure", "× error of the linear filter", "below 1",
        "what single frames do not show above their noise",
    ),
    "removed": _Text(
        "missing structure", "× error of the linear filter", "below 1; negative where noise is left in",
        "what was invented; what moves and is weaker than the noise",
    ),
    "whiteness_y": _Text("residual correlated along y", "", "what noise alone has", _SMEARED),
    "whiteness_x": _Text("residual correlated along x", "", "what the noise has by itself", _SMEARED),
    "peaks": _Text(
        "highest peak in the residual's spectrum", "× noise", "what noise alone has", "disorder that moves"
    ),
    "residual_power": _Text(
        "variance of the residual over that of the noise", "",
        "0.9 to 1.1; below, noise is left; above, structure is gone",
        "as much as the noise itself is known",
    ),
    "frc": _Text(
        "FRC resolution of two halves denoised separately", "", "not much finer than the next line",
        "what the method invents in both halves alike counts as agreement",
    ),
    "frc_half": _Text(
        "FRC resolution of each half with the other raw half", "", "finer than that of the raw frames",
        "detail that the raw half is too noisy for",
    ),
    "frc_raw": _Text("FRC resolution of the raw frames", "", "a reference", "noise that the halves share"),
    "frc_cross": _Text(
        "structure of each denoised half that the other raw half has", "",
        "1: the halves agree on nothing that the raw frames do not show",
        "what is missing in both; motion from frame to frame lowers it",
    ),
    "supported": _Text(
        "atoms that the counts of their frame support", "of all", "near 1 where the dose shows single atoms", _FAINT
    ),
    "contradicted": _Text(
        "atoms that the counts contradict", "", "what chance gives",
        "atoms of which a few frames know nothing; atoms that are missing",
    ),
    "likelihood": _Text("log likelihood ratio per atom, median", "per px", "positive", _FAINT),
    "linearity": _Text(
        "departure of column intensities from a straight line", "of the mean",
        "within 3 standard errors, or less than one column has in the mean of the raw frames or than "
        f"{LEAST_DEPARTURE:g}",
        f"a factor common to all; {_CROWD}",
    ),
    "slope": _Text("raw over denoised column intensity", "", "1", _CROWD),
    "noise_gain": _Text("gain: intensity of one count", "units", "that of the detector", "noise smooth along y"),
    "read_noise": _Text(
        "read-out noise, at zero intensity", "units", "that of the detector", "a detector's offset"
    ),
    "scan_correlation": _Text(
        "correlation of the noise along the scan, one pixel on", "", "0", "correlation along y"
    ),
    "psnr": _Text("PSNR", "dB", "high", "what the truth does not hold"),
    "ssim": _Text("SSIM", "", "near 1", "what the truth does not hold"),
    "f1": _Text("F1 of the atoms", "", "near 1", "how bright they are"),
    "position_error": _Text("position error, rms", "px", "near 0", "atoms that were not found"),
}  # fmt: skip


def line(
    key: str,
    value: float | None = None,
    error: float | None = None,
    judgement: str = "unknown",
    *,
    source: str = "",
    remark: str = "",
    good: str | None = None,
    unit: str | None = None,
) -> Line:
    """A line, with its texts from the table."""
    text = TEXTS[key]
    return Line(
        key,
        text.name,
        None if value is None else float(value),
        None if error is None else float(error),
        text.unit if unit is None else unit,
        judgement,
        text.good if good is None else good,
        text.blind,
        source,
        remark,
    )
