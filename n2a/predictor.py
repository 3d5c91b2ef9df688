# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays in, arrays out: how a series is put before the network, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from os import PathLike

import numpy as np

from n2a.devices import pick_device
from n2a.fusion import Restored, fuse
from n2a.inference import infer
from n2a.model import Noise2Atom, get_model
from n2a.plan import Plan
from n2a.sampling import Match, unbin_frames
from n2a.windows import Frame, Window, Windows

# Pixels and columns of the largest tile before the network, which needs memory in proportion to the pixels; and how
# far tiles reach into each other.
TILE, COLUMNS, OVERLAP = 60_000, 544, 32
# Largest number in half precision, about.
FARTHEST = 6e4


class Predictor:
    """Denoises blocks of neighbouring frames with one model and one plan.

    Parameters
    ----------
    model
        What :func:`n2a.get_model` takes.
    plan
        From :func:`n2a.plan.plan_series`.
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
        self.windows = Windows(plan, self.model.generator.window, use_time)
        # Restored frames are averaged with the next ones.
        self.halo = self.windows.halo and self.windows.halo + 1
        self.normalization = self.windows.normalization

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
        """Denoise frame by frame: as a call does, with the frames that one window needs in memory."""
        stop = len(frames) if stop is None else stop
        prepared: dict[int, Frame] = {}
        matches: dict[tuple[int, int], Match] = {}
        known: dict[int, Restored] = {}
        for i in range(start, stop):
            around = [
                j for j in (i - 1, i, i + 1) if 0 <= j < len(frames) and (self.halo or j == i)
            ]
            known = {
                j: known[j] if j in known else self._restored(frames, j, prepared, matches)
                for j in around
            }
            others = [
                (known[j], self.windows.shift(prepared, i, j, matches)) for j in around if j != i
            ]
            restored = fuse(known[i], others, self.plan.atom_width / self.plan.factor)
            restored = unbin_frames(restored[None], self.plan.factor, frames.shape[-2:])[0]
            if not self.background:
                np.clip(restored, 0, None, out=restored)
            restored[~np.isfinite(frames[i])] = np.nan
            yield restored

    def _restored(
        self,
        frames: np.ndarray,
        i: int,
        prepared: dict[int, Frame],
        matches: dict[tuple[int, int], Match],
    ) -> Restored:
        """Frame `i` by itself; `prepared` and `matches` keep what the next one needs."""
        slots = self.windows.slots(i, len(frames))
        beyond = self.windows.beyond(i, len(frames))
        needed = {*slots.values(), *beyond}
        for j in prepared.keys() - needed:
            del prepared[j]
        for j in sorted(needed - prepared.keys()):
            prepared[j] = self.windows.prepare(frames[j])
        window = self.windows.gather(prepared, i, slots, matches)
        window = self.windows.extend(window, prepared, i, beyond, matches)
        # Where they lie on this frame is all that later ones will ask of it.
        for j in needed:
            if j > i:
                self.windows.match(prepared, i, j, matches)
        prepared[i] = prepared[i]._replace(spectrum=None)
        return self._restore_window(window)

    def _restore_window(self, window: Window) -> Restored:
        height, width = window.middle.values.shape
        # Borders without a measured pixel (after an alignment) are cut off: the network knows whole images.
        rows, columns = slice(0, height), slice(0, width)
        if window.middle.valid is not None:
            rows, columns = (_extent(window.middle.valid.any(axis=axis)) for axis in (1, 0))
        size = rows.stop - rows.start, columns.stop - columns.start
        total, seen, weights = (np.zeros(size, np.float32) for _ in range(3))
        across = _tiles(size[1], COLUMNS)
        for y in _tiles(size[0], TILE // (across[0].stop - across[0].start)):
            for x in across:
                atoms, background = infer(
                    self.model.generator,
                    *window.cut(_within(rows, y), _within(columns, x)),
                    self.normalization.curvature,
                    self.device,
                )
                atoms = np.maximum(atoms, 0)
                intensity = self.normalization.atoms(atoms, background)
                if self.background:
                    intensity = (
                        self.normalization.background(background)
                        + self.normalization.sign * intensity
                    )
                weight = _ramp(y, size[0])[:, None] * _ramp(x, size[1])
                total[y, x] += weight * intensity
                seen[y, x] += weight * (atoms + background)
                weights[y, x] += weight
        total /= weights
        seen /= weights
        if size != (height, width):
            around = ((rows.start, height - rows.stop), (columns.start, width - columns.stop))
            total, seen = (np.pad(each, around, "edge") for each in (total, seen))
        # Half precision rounds by less than the noise that is compared.
        seen = seen.clip(-FARTHEST, FARTHEST).astype(np.float16)
        return Restored(total, seen, window.middle.valid)


def _extent(measured: np.ndarray) -> slice:
    """From the first to the last true element; all of it where too little is left for the network."""
    true = np.flatnonzero(measured)
    if len(true) == 0 or true[-1] - true[0] < 15:
        return slice(0, len(measured))
    return slice(int(true[0]), int(true[-1]) + 1)


def _within(whole: slice, part: slice) -> slice:
    return slice(whole.start + part.start, whole.start + part.stop)


def _tiles(length: int, largest: int) -> list[slice]:
    """Overlapping slices that cover `length`, all of one size, starting at multiples of 8."""
    if length <= largest:
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
