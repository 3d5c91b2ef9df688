# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays in, arrays out: how a series is put before the network, and what comes back."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from os import PathLike
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from n2a.devices import has_bfloat16, pick_device
from n2a.model import Noise2Atom, get_model
from n2a.noise import background_level, estimate_noise
from n2a.normalization import ANSCOMBE, Normalization
from n2a.sampling import (
    Match,
    Spectrum,
    band_spectrum,
    bin_frames,
    find_shift,
    measure_atom_width,
    move,
    unbin_frames,
)

# Atoms as wide as this or narrower are seen by the network as they are, wider ones binned until they are.
WIDEST = 3.0
NARROWEST = 0.9
USUAL_WIDTH_NM = 0.045
COARSEST_PIXEL_NM = 0.06
# Largest tile (y, x) before the network; what it needs of memory grows with the area.
TILE = (288, 1024)
OVERLAP = 64
# Likeness, relative to that of a frame's neighbours, above which nothing has moved to speak of.
STILL = 0.9
# Difference of the levels of two frames, in units of the noise, that only the beam can make.
FLICKER = 2.0

_device_lock = threading.Lock()


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
        _warn(
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
        _warn(
            f"pixels of {pixel_size:.3g} nm do not resolve atoms; the network knows only images of atoms "
            f"(pixels of at most {COARSEST_PIXEL_NM} nm): check the calibration or do not trust the result"
        )
        usual = None
    if measured is None:
        _warn(
            "nothing of the size of atoms stands out of the noise in the sampled frames; if there are atoms, pass "
            "their standard deviation in pixels as 'atom_width'"
        )
        return usual or 2.0
    if usual is None:
        return measured
    if measured < usual / 3:
        _warn(
            f"the images show structure of {measured:.2g} px (standard deviation), where atoms would be {usual:.2g} px "
            f"wide with pixels of {pixel_size:.3g} nm; the calibration is left out of account: check it, or pass "
            "'atom_width'"
        )
        return measured
    # Two rough answers, from the spectrum and from what microscopes do: their geometric mean.
    return float(np.sqrt(np.clip(measured, 0.4 * usual, 2.5 * usual) * usual))


def _warn(message: str) -> None:
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


class _Frame(NamedTuple):
    """One frame as the network sees it; its spectrum serves the registration."""

    values: np.ndarray
    valid: np.ndarray
    level: float
    spectrum: Spectrum | None


class Predictor:
    """Denoises blocks of neighbouring frames with one model and one plan.

    Parameters
    ----------
    model
        What :func:`n2a.get_model` takes.
    plan
        From :func:`plan_series`.
    background
        Add the estimated background to the atoms.
    device
        ``"auto"``, or a torch device.
    use_time
        Whether the frames of a block are neighbours in time.

    Notes
    -----
    An instance holds no network when it is pickled for another process, if the model came from a file or the box.
    """

    def __init__(
        self,
        model: Noise2Atom | str | PathLike | None,
        plan: Plan,
        background: bool = False,
        device: str = "auto",
        use_time: bool = True,
    ):
        self._source = model
        self.model = get_model(model)
        self.plan, self.background, self.use_time = plan, background, use_time
        self.device = pick_device(device)
        # Half a window, and at the ends of a series one frame more.
        self.halo = self.model.generator.window // 2 + 1 if use_time else 0
        self._width = plan.atom_width / plan.factor
        self.normalization = Normalization(
            plan.level, plan.noise, plan.gain, 1 if plan.contrast == "bright" else -1
        )

    def __getstate__(self) -> dict:
        state = self.__dict__.copy()
        if not isinstance(self._source, Noise2Atom):
            del state["model"]
        return state

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        if "model" not in state:
            self.model = get_model(self._source)

    def __dask_tokenize__(self):
        return (
            type(self).__name__,
            self.model.digest,
            tuple(asdict(self.plan).items()),
            self.background,
            self.use_time,
            self.device,
        )

    def __call__(self, frames: np.ndarray, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Denoise frames (t, y, x) of any real dtype.

        Parameters
        ----------
        frames
            Neighbours in time, if `use_time`.
        start, stop
            Which of them are wanted; the others are only looked at.

        Returns
        -------
        numpy.ndarray
            (stop - start, y, x) float32 in the units of the frames, NaN where they are not finite. Each depends on
            the `halo` frames on each side of it only.
        """
        restored = list(self.restore(frames, start, stop))
        return np.stack(restored) if restored else np.empty((0, *frames.shape[-2:]), np.float32)

    def restore(
        self, frames: np.ndarray, start: int = 0, stop: int | None = None
    ) -> Iterator[np.ndarray]:
        """Denoise frame by frame: as a call does, with only one window in memory."""
        stop = len(frames) if stop is None else stop
        prepared: dict[int, _Frame] = {}
        matches: dict[tuple[int, int], Match] = {}
        for i in range(start, stop):
            slots = self._slots(i, len(frames))
            prepared = {j: prepared.get(j) or self._prepare(frames[j]) for j in slots.values()}
            restored = self._restore_window(*self._window(prepared, i, slots, matches))
            restored = unbin_frames(restored[None], self.plan.factor, frames.shape[-2:])[0]
            if not self.background:
                np.clip(restored, 0, None, out=restored)
            restored[~np.isfinite(frames[i])] = np.nan
            yield restored

    def _prepare(self, frame: np.ndarray) -> _Frame:
        finite = np.isfinite(frame)
        if not finite.all():
            frame = np.where(finite, frame, np.nan)
        values = self.normalization.forward(bin_frames(frame[None], self.plan.factor)[0])
        valid = np.isfinite(values)
        values[~valid] = 0
        spectrum = None
        if self.halo:
            spectrum = band_spectrum(values, self._width)
        return _Frame(values, valid, float(np.median(values[::2, ::2])), spectrum)

    def _slots(self, i: int, length: int) -> dict[int, int]:
        """Which frame stands in each slot of the window around frame `i` of a series of `length`.

        Where the series ends, the outermost slot takes the next frame of the other side.
        """
        window = self.model.generator.window
        half = window // 2
        if not self.use_time:
            return {half: i}
        steps = {half + k: i + k for k in range(-half, half + 1)}
        if i < half:
            steps[0] = i + half + 1
        elif i >= length - half:
            steps[window - 1] = i - half - 1
        return {slot: j for slot, j in steps.items() if 0 <= j < length}

    def _window(
        self, frames: dict[int, _Frame], i: int, slots: dict[int, int], known: dict
    ) -> tuple[np.ndarray, np.ndarray]:
        """The frames of the slots, moved onto frame `i`, and which of their pixels were measured.

        `known` keeps what was found for pairs of frames.
        """
        middle = frames[i]
        window = self.model.generator.window
        stack = np.zeros((window, *middle.values.shape), np.float32)
        valid = np.zeros(stack.shape, bool)
        half = window // 2
        matches = {j: self._match(frames, i, j, known) for j in slots.values() if j != i}
        near = [m.likeness for j, m in matches.items() if abs(j - i) <= half]
        for slot, j in slots.items():
            if j == i:
                stack[slot], valid[slot] = middle.values, middle.valid
                continue
            # A blanked or flickering beam says nothing about its neighbours.
            if np.ptp(frames[j].values) == 0 or abs(frames[j].level - middle.level) > FLICKER:
                continue
            # What is further away in time helps only where nothing has moved meanwhile.
            if abs(j - i) > half and matches[j].likeness < STILL * np.mean(near):
                continue
            shift = matches[j].shift if i < j else tuple(-s for s in matches[j].shift)
            stack[slot] = move(frames[j].values, shift)
            valid[slot] = move(frames[j].valid, shift)
        return stack, valid

    def _match(self, frames: dict[int, _Frame], i: int, j: int, known: dict) -> Match:
        """How the later of two frames lies on the earlier: the same from both sides."""
        pair = min(i, j), max(i, j)
        if pair not in known:
            first, second = (frames[k] for k in pair)
            known[pair] = find_shift(first.spectrum, second.spectrum, first.values.shape)
        return known[pair]

    def _restore_window(self, frames: np.ndarray, valid: np.ndarray) -> np.ndarray:
        height, width = frames.shape[1:]
        # Borders without a measured pixel (after an alignment) are cut off: the network knows whole images.
        seen = valid[len(valid) // 2]
        y, x = _extent(seen.any(axis=1)), _extent(seen.any(axis=0))
        if (y, x) != (slice(0, height), slice(0, width)):
            inner = self._restore_window(frames[:, y, x], valid[:, y, x])
            return np.pad(inner, ((y.start, height - y.stop), (x.start, width - x.stop)), "edge")
        total = np.zeros((height, width), np.float32)
        weights = np.zeros((height, width), np.float32)
        for y in _tiles(height, TILE[0]):
            for x in _tiles(width, TILE[1]):
                atoms, background = self._network(frames[:, y, x], valid[:, y, x])
                intensity = self.normalization.atoms(np.maximum(atoms, 0), background)
                if self.background:
                    intensity = (
                        self.normalization.background(background)
                        + self.normalization.sign * intensity
                    )
                weight = _ramp(y, height)[:, None] * _ramp(x, width)
                total[y, x] += weight * intensity
                weights[y, x] += weight
        return total / weights

    def _network(self, frames: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Atoms and background (2, y, x), stabilised, of one window (t, y, x)."""
        generator = self.model.generator
        height, width = frames.shape[1:]
        pad = ((0, 0), (0, -height % generator.multiple), (0, -width % generator.multiple))
        if np.any(pad):
            frames, valid = (np.pad(a, pad, mode="reflect") for a in (frames, valid))
        # Faster where the processor has bfloat16; its rounding lies below the noise of the frames.
        fast = has_bfloat16(self.device)
        dtype = torch.bfloat16 if fast else torch.float32
        # One network at a time per process: it uses all cores (or the whole GPU) by itself.
        with _device_lock, torch.inference_mode():
            generator.to(self.device, memory_format=torch.channels_last)
            inputs = [
                torch.from_numpy(a)[None].to(self.device, dtype, memory_format=torch.channels_last)
                for a in (frames, valid)
            ]
            curvature = torch.tensor([self.normalization.curvature], device=self.device)
            with torch.autocast(torch.device(self.device).type, torch.bfloat16, fast):
                output = generator(*inputs, curvature)[0, :, :height, :width]
            return output.float().cpu().numpy()


def _extent(measured: np.ndarray) -> slice:
    """From the first to the last true element; all of it where too little is left for the network."""
    true = np.flatnonzero(measured)
    if len(true) == 0 or true[-1] - true[0] < 15:
        return slice(0, len(measured))
    return slice(int(true[0]), int(true[-1]) + 1)


def _tiles(length: int, largest: int) -> list[slice]:
    """Overlapping slices that cover `length`, all of one size, starting at multiples of 8."""
    if length <= largest + OVERLAP:
        return [slice(0, length)]
    number = -(-(length - OVERLAP) // (largest - OVERLAP))
    step = -(-(length - OVERLAP) // number)
    step = -(-step // 8) * 8
    size = step + OVERLAP
    return [
        slice(start, start + size)
        for start in (min(k * step, length - size) for k in range(number))
    ]


def _ramp(tile: slice, length: int) -> np.ndarray:
    """Weight of a tile's pixels along one axis: falling to its inner edges, 1 at the image's own."""
    n = tile.stop - tile.start
    x = np.arange(n) + 0.5
    rise = np.ones(n) if tile.start == 0 else np.minimum(1, x / OVERLAP)
    fall = np.ones(n) if tile.stop == length else np.minimum(1, x[::-1] / OVERLAP)
    return (rise * fall).astype(np.float32)
