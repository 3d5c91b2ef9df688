# SPDX-License-Identifier: GPL-3.0-or-later
"""uncertainty(): how much the denoised intensity of a pixel would differ had the noise been another."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from n2a import signals
from n2a.noise import Noise, background_level, estimate_noise, scan_covariance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hyperspy.api.signals import BaseSignal

    from n2a.model import Noise2Atom
    from n2a.predictor import Predictor

METHODS = ("noise", "flips")
_LAGS = 32  # px along the scan over which noise is taken to be correlated
_CORRELATED = 0.03  # smaller correlations are not told from chance


def uncertainty(
    signal: BaseSignal,
    model: Noise2Atom | str | Path | None = None,
    draws: int = 8,
    *,
    method: str = "noise",
    background: bool = False,
    contrast: str = "auto",
    atom_width: float | None = None,
    time_axis="auto",
    seed: int = 0,
    lazy_output: bool | None = None,
    device: str = "auto",
    show_progressbar: bool | None = None,
    num_workers: int | None = None,
) -> BaseSignal:
    """Standard deviation of the denoised intensity of every pixel, for other noise on the same scene.

    Parameters
    ----------
    signal
        The raw images or series, as for :func:`n2a.denoise`. Not changed.
    model
        As for :func:`n2a.denoise`.
    draws
        How often the series is denoised again, 2 or more (2 to 8 with "flips"). The standard deviation is itself known
        to ``1 / sqrt(2 * (draws - 1))``: 27 % of it with 8 draws.
    method
        "noise": noise as it was measured in the series is drawn anew and added to the denoised frames, which are
        denoised again. "flips": the frames themselves, mirrored and turned, are denoised, and turned back: this asks
        how sure the network is, not what the noise does.
    background, contrast, atom_width, time_axis
        As for :func:`n2a.denoise`: which result the uncertainty is that of.
    seed
        The same seed gives the same result.
    lazy_output
        Whether the result is lazy. Default: as `signal`.
    device
        Where the network runs: "auto", "cpu", "cuda", "cuda:1", "mps".
    show_progressbar
        Default: HyperSpy's preference.
    num_workers
        Number of dask threads. Default: dask's.

    Returns
    -------
    hyperspy.api.signals.BaseSignal
        float32, of the class, axes and metadata of `signal`, in its units of intensity; ``metadata.n2a.uncertainty``
        says how it was made. Pixels that are NaN stay NaN.

    Raises
    ------
    TypeError
        If `signal` is no HyperSpy signal.
    ValueError
        If the signal is unsuitable for denoising, or an argument is none of those named above.

    Notes
    -----
    It is the scatter of the result, not its error: what is always wrong in the same way, for example an atom that is
    never found, a scene that moves faster than the frames, an atom that the network adds where there is none, has no
    scatter. On simulated crystals and clusters of 2 to 50 counts per pixel the root-mean-square error on atoms was
    1.2 to 2.1 times the uncertainty ("flips": 1.9 to 3.1 times), more at more counts. It is small on empty
    background, because the network puts noise to zero there. For what the counts say of an atom see
    :func:`n2a.atom_map`.

    Noise is drawn as Poisson counts in the gain of the series, shifted so that read-out noise is in it, and correlated
    along the scan lines as in the series; normally distributed where no gain can be told.

    References
    ----------
    B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap (1993), ch. 6.5 (parametric bootstrap).

    Examples
    --------
    >>> import n2a
    >>> noisy = n2a.acquire(n2a.simulate(shape=(64, 64), frames=2, seed=1), dose=20, seed=1)
    >>> spread = n2a.uncertainty(noisy, draws=3, show_progressbar=False)
    >>> spread.data.dtype, spread.axes_manager.shape == noisy.axes_manager.shape
    (dtype('float32'), True)
    """
    from n2a.denoising import Denoising
    from n2a.predictor import Predictor

    signals.check_images(signal)
    if method not in METHODS:
        raise ValueError(f"'method' must be 'noise' or 'flips', not {method!r}.")
    most = 8 if method == "flips" else 1000
    if not isinstance(draws, Integral) or not 2 <= draws <= most:
        raise ValueError(
            f"'draws' must be a whole number from 2 to {most} for the method {method!r}, not {draws!r}."
        )
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"'seed' must be a whole number, 0 or more, not {seed!r}.")
    task = Denoising(signal, model, background, contrast, atom_width, time_axis, device)
    redraw = None
    if method == "noise":
        sample = signals.sample_frames(task.frames)
        redraw = Redraw.of(sample, task.plan.atom_width, task.plan.contrast == "bright", int(seed))
    total = Predictor(model, task.plan, True, device, task.axis is not None)
    spread = Spread(task.predictor, total, redraw, int(draws))
    if lazy_output is None:
        lazy_output = signals.is_lazy(signal)
    if lazy_output or signals.is_lazy(signal):
        result = signals.unstack_frames(_lazily(task.frames, spread), signal, task.axis)
        if not lazy_output:
            result = signals.compute(result, show_progressbar, num_workers)
    else:
        result = np.empty(signal.data.shape, np.float32)
        place = signals.stack_frames(signal, task.axis, result)
        with tqdm(
            total=task.count * spread.passes,
            unit="frame",
            disable=not signals.wants_progress(show_progressbar),
        ) as progress:
            for start, stop in signals.frame_spans(place.shape, place.shape[-3]):
                first, last = _reach(spread, start, stop, place.shape[-3])
                part = task.frames[..., first:last, :, :]
                numbers = _numbers(place.shape)[..., first:last, :, :]
                place[..., start:stop, :, :] = spread(
                    part, numbers, start - first, stop - first, progress.update
                )
    new = signals.with_data(signal, result)
    title = signal.metadata.get_item("General.title", "")
    new.metadata.General.title = f"uncertainty of {title}" if title else "uncertainty"
    signals.record(
        new,
        "uncertainty",
        {
            "method": method,
            "draws": int(draws),
            "seed": int(seed),
            **task.predictor.model.summary(),
            "background": bool(background),
            **asdict(task.plan),
            "time_axis": None if task.axis is None else signals.axis_name(task.axis),
        },
    )
    return new


@dataclass(frozen=True)
class Redraw:
    """Noise of a series, to be drawn anew for each frame."""

    noise: Noise
    correlation: tuple[float, ...]  # along the scan, from lag 0 on; (1,) when white
    seed: int

    @classmethod
    def of(cls, sample: np.ndarray, width: float, bright: bool, seed: int) -> Redraw:
        """Measure the noise in some frames (n, y, x); where atoms are does not count for its correlation."""
        noise = estimate_noise(sample)
        lags = min(_LAGS, sample.shape[2] - 1)
        total = np.zeros(lags + 1)
        level = background_level(np.asarray(sample, np.float64), bright)
        for frame in np.asarray(sample, np.float64):
            finite = np.isfinite(frame)
            if not finite.any():
                continue
            filled = np.where(finite, frame, level)
            smooth = gaussian_filter(filled, width)
            where = finite & (
                (smooth <= np.median(smooth)) if bright else (smooth >= np.median(smooth))
            )
            total += scan_covariance(filled, where, lags)
        correlation = total / total[0] if total[0] > 0 else np.eye(1, lags + 1)[0]
        if np.abs(correlation[1:4]).max(initial=0) < _CORRELATED:
            correlation = correlation[:1]
        return cls(noise, tuple(float(c) for c in correlation), seed)

    def __call__(self, expected: np.ndarray, number: int, draw: int) -> np.ndarray:
        """A frame (y, x) with other noise; the same for the same seed, number of the frame and draw."""
        rng = np.random.default_rng((self.seed, draw, number))
        gain, offset = self.noise.gain, self.noise.offset
        finite = np.isfinite(expected)
        if gain > 0:
            mean = np.where(finite, np.maximum(expected / gain + offset / gain**2, 0), 0)
            noise = gain * (rng.poisson(mean) - mean)
        else:
            noise = np.sqrt(max(offset, 0)) * rng.standard_normal(expected.shape)
        if len(self.correlation) > 1:
            power = self._power(expected.shape[1])
            noise = fft.irfft(fft.rfft(noise) * np.sqrt(power), n=expected.shape[1])
        return np.where(finite, expected + noise, np.nan).astype(np.float32)

    def _power(self, width: int) -> np.ndarray:
        """Power of the noise by frequency along a line; its mean over all frequencies is 1."""
        k = np.arange(width // 2 + 1) / width
        lags = np.arange(1, len(self.correlation))
        taper = np.cos(np.pi / 2 * lags / len(self.correlation)) ** 2
        power = 1 + 2 * np.cos(2 * np.pi * k[:, None] * lags) @ (taper * self.correlation[1:])
        power = np.maximum(power, 0.05)
        weight = np.full(len(k), 2.0)
        weight[0] = 1
        if width % 2 == 0:
            weight[-1] = 1
        return power * weight.sum() / (weight * power).sum()


@dataclass(frozen=True)
class Spread:
    """Standard deviation of what a predictor makes of blocks of frames, for other noise or other orientations."""

    predictor: Predictor
    total: Predictor  # with background
    redraw: Redraw | None
    draws: int

    @property
    def halo(self) -> int:
        """Frames on each side that the result of a frame depends on."""
        return self.predictor.halo * (1 if self.redraw is None else 2)

    @property
    def passes(self) -> int:
        """How often a frame is denoised."""
        return self.draws + (self.redraw is not None)

    def __call__(
        self,
        block: np.ndarray,
        numbers: np.ndarray,
        start: int,
        stop: int,
        told: Callable[[int], object] = lambda count: None,
    ) -> np.ndarray:
        """Standard deviation of frames start..stop of (..., n, y, x); `numbers` (..., n, 1, 1) count all frames."""
        result = np.empty((*block.shape[:-3], stop - start, *block.shape[-2:]), np.float32)
        for index in np.ndindex(block.shape[:-3]):
            frames, names = block[index], numbers[index].ravel()
            result[index] = self._series(frames, names, start, stop, told)
        return result

    def _series(self, frames, names, start, stop, told) -> np.ndarray:
        if self.redraw is None:
            results = (_turned(self.predictor, frames, start, stop, k) for k in range(self.draws))
        else:
            near = self.predictor.halo
            first, last = max(0, start - near), min(len(frames), stop + near)
            expected = self.total(frames, first, last)
            told(stop - start)
            results = (
                self.predictor(
                    np.stack(
                        [
                            self.redraw(frame, int(name), draw)
                            for frame, name in zip(expected, names[first:last], strict=True)
                        ]
                    ),
                    start - first,
                    stop - first,
                )
                for draw in range(self.draws)
            )
        mean, square = 0.0, 0.0
        for count, values in enumerate(results, 1):
            step = values - mean
            mean = mean + step / count
            square = square + step * (values - mean)
            told(stop - start)
        return np.sqrt(square / (self.draws - 1))


def _turned(predictor: Predictor, frames: np.ndarray, start: int, stop: int, k: int) -> np.ndarray:
    """Denoise frames in one of the eight orientations of a square, and turn the result back."""
    turned = np.rot90(frames, k % 4, (1, 2))
    if k >= 4:
        turned = turned[:, :, ::-1]
    result = predictor(np.ascontiguousarray(turned), start, stop)
    if k >= 4:
        result = result[:, :, ::-1]
    return np.rot90(result, -(k % 4), (1, 2))


def _numbers(shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of the frames of (..., n, y, x) as (..., n, 1, 1)."""
    return np.arange(int(np.prod(shape[:-2]))).reshape(*shape[:-2], 1, 1)


def _reach(spread: Spread, start: int, stop: int, length: int) -> tuple[int, int]:
    return max(0, start - spread.halo), min(length, stop + spread.halo)


def _lazily(frames, spread: Spread):
    """Dask array of the shape of frames (..., n, y, x)."""
    import dask.array as da

    parts = []
    for start, stop in signals.frame_spans(frames.shape, frames.shape[-3]):
        first, last = _reach(spread, start, stop, frames.shape[-3])
        block = signals.frame_blocks(frames, first, last)
        numbers = da.from_array(
            _numbers(frames.shape)[..., first:last, :, :],
            chunks=(*block.chunks[:-2], (1,), (1,)),
        )
        parts.append(
            da.map_blocks(
                spread,
                block,
                numbers,
                start - first,
                stop - first,
                dtype=np.float32,
                meta=np.empty((0,) * block.ndim, np.float32),
                chunks=(*block.chunks[:-3], (stop - start,), *block.chunks[-2:]),
            )
        )
    return da.concatenate(parts, axis=-3)
