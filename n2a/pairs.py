# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated pairs for the weights in the box: noisy windows and what is behind them, made on the fly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch.nn import functional as F

from n2a import acquisition, structures
from n2a.normalization import ANSCOMBE, stabilise
from n2a.rendering import render
from n2a.windows import ALIKE, AREA, MOVED

# Share of the drifting windows that are registered by whole pixels, as those of a series are.
REGISTERED = 0.7
# Most frames from beyond a window that its first and last frame are averaged with.
FURTHER = 3


@dataclass(frozen=True)
class Recipe:
    """Ranges that the pairs are drawn from; pixels, counts and frames. The model card repeats them."""

    atom_width: tuple[float, float] = (0.9, 3.4)  # sigma of a spot, px
    peak: tuple[float, float] = (0.2, 1000.0)  # counts per pixel at the top of a typical column
    usual_peak: tuple[float, float] = (0.4, 15.0)  # every second series is drawn from here
    background: tuple[float, float] = (0.03, 20.0)  # times the peak
    even: bool = False  # background drawn evenly from its range; else most often below 2
    astigmatism: float = 0.04  # spread of the logarithm of the spot's axes
    elongation: tuple[float, float] = (1.0, 1.0)  # of the spots along x, over y
    correlation: float = 0.0  # of y and x in a spot, whose axes are not those of the image then
    thickness: tuple[float, float] = (0.0, 0.4)  # contrast of slow changes of the background
    slope: tuple[float, float] = (0.0, 0.5)  # of the background across a patch, both edges together
    texture: tuple[float, float] = (0.0, 0.15)  # contrast of the film at the size of the atoms
    texture_share: float = 0.6  # of the series
    grain: tuple[float, float] = (1.0, 4.0)  # correlation length of that texture, widths of an atom
    drift: tuple[float, float] = (0.02, 2.0)  # px per frame
    tumble: tuple[float, float] = (0.0, 0.10)  # rad per frame
    beam: tuple[float, float] = (0.05, 0.4)  # spread of the logarithm of the dose of frames
    afterglow: tuple[float, float] = (0.05, 0.5)  # share of the signal in the following pixels
    afterglow_decay: tuple[float, float] = (0.7, 6.0)  # px
    afterglow_share: float = 0.4  # of the series
    line_noise: tuple[float, float] = (0.1, 0.6)  # times the noise at the background
    line_reach: tuple[float, float] = (1.0, 40.0)  # px
    line_share: float = 0.3  # of the series
    row_jitter: tuple[float, float] = (0.05, 0.4)  # px, standard deviation
    dark: float = 0.16  # share of series with dark atoms
    spacing: tuple[float, float] = (2.6, 7.0)  # of lattices, widths of an atom
    nearest: tuple[float, float] = (3.0, 7.5)  # of the atoms in clusters, likewise
    lone: tuple[int, int] = (1, 25)  # single atoms per patch of the structure "atoms"
    crowd: tuple[int, int] = (20, 180)  # and of "random"
    structures: tuple[tuple[str, float], ...] = (
        ("empty", 0.08),
        ("atoms", 0.18),
        ("cluster", 0.26),
        ("crystal", 0.22),
        ("2d", 0.18),
        ("random", 0.08),
    )

    def to_dict(self) -> dict:
        """As plain values, for the model card."""
        return asdict(self)


@dataclass
class Scene:
    """Atoms of one window: (t, n, 2) positions, (t, n) heights; sites (m, 2) empty in the middle; (t, 2) drift."""

    positions: np.ndarray
    heights: np.ndarray
    empty: np.ndarray
    shift: np.ndarray


class PairSampler:
    """Draws batches of (noisy window, truth) from a :class:`Recipe`; a seed reproduces them.

    Parameters
    ----------
    recipe
        Ranges of everything.
    size
        Edge of the square patches in pixels.
    window
        Frames per window, odd.
    seed
        Seeds NumPy's and torch's generators of this sampler.
    device
        Where images are made; structures are made in NumPy.
    images
        Clear images (n, y, x), at least `size` pixels on a side, a bright column at 1: patches of them take the place
        of simulated atoms.
    """

    def __init__(
        self,
        recipe: Recipe,
        size: int = 96,
        window: int = 5,
        seed: int = 0,
        device="cpu",
        images: np.ndarray | None = None,
    ):
        self.recipe, self.size, self.window, self.device = recipe, size, window, device
        self.images = images
        self.rng = np.random.default_rng(seed)
        self.torch = torch.Generator(device).manual_seed(seed)

    def __call__(self, batch: int) -> dict[str, torch.Tensor]:
        """A batch: frames, valid, curvature as the generator takes them; atoms, background and weight as truth.

        The truth is linear, in units of the noise at the background level. Clean holds all frames of the window
        without noise, stabilised.
        """
        rng, recipe = self.rng, self.recipe
        width = _log_uniform(rng, recipe.atom_width, batch)
        kinds = rng.choice(
            [k for k, _ in recipe.structures], size=batch, p=[p for _, p in recipe.structures]
        )
        scenes = [self._scene(k, w) for k, w in zip(kinds, width, strict=True)]
        positions, heights = self._pad(scenes)
        stretch = _log_uniform(rng, recipe.elongation, batch) ** 0.5
        astigmatic = width[:, None] * np.stack([1 / stretch, stretch], 1)
        astigmatic *= np.exp(rng.normal(scale=recipe.astigmatism, size=(batch, 2)))
        tilt = recipe.correlation
        # A tilted spot of the same area reaches further along both axes.
        astigmatic *= (1 - tilt**2) ** -0.25
        width_t = self._tensor(astigmatic)[:, None].expand(-1, self.window, -1)
        shape = (self.size, self.size)
        atoms = render(positions, heights, width_t, shape, tilt)
        tails = self._tensor(
            np.where(rng.uniform(size=batch) < 0.4, rng.uniform(0.02, 0.12, batch), 0)
        )
        spread = self._tensor(rng.uniform(2, 4.5, batch))[:, None, None]
        middle = self.window // 2
        here = slice(middle, middle + 1)  # tails are wide and weak: their motion does not matter
        halo = render(positions[:, here], heights[:, here], width_t[:, here] * spread, shape, tilt)
        halo = halo * tails[:, None, None, None]
        if self.images is not None:
            atoms, halo = self._cut(batch), torch.zeros_like(halo)
        weight = torch.ones((batch, *shape), device=self.device)
        for i, scene in enumerate(scenes):
            if len(scene.empty):
                spots = self._tensor(scene.empty)
                ones = torch.ones(len(spots), device=self.device)
                weight[i] += 4 * render(spots, ones, width_t[i, 0], shape, tilt).clamp_max(1)

        peak = np.where(
            rng.uniform(size=batch) < 0.5,
            np.clip(_log_uniform(rng, recipe.usual_peak, batch), *recipe.peak),
            _log_uniform(rng, recipe.peak, batch),
        )
        dark = rng.uniform(size=batch) < recipe.dark
        ratio = self._ratio(dark)
        sign = self._tensor(np.where(dark, -1.0, 1.0))[:, None, None, None]
        peak_t = self._tensor(peak)[:, None, None, None]
        shifts = self._tensor(np.stack([scene.shift for scene in scenes]))
        support = self._support(width, shifts) * self._tensor(ratio)[:, None, None, None] * peak_t
        background = support + sign * halo * peak_t
        total = (background + sign * atoms * peak_t).clamp_min(0)
        truth = (sign * (total - background))[:, middle]

        seen = total * self._beam(batch)
        # Alike for the batch, which saves making frames that are not used.
        further = rng.integers(FURTHER + 1, size=2) if self.window > 3 else (0, 0)
        more = [seen[:, [slot] * n] for slot, n in zip((0, -1), further, strict=True)]
        counts, extra = self._acquire(torch.cat([seen, *more], 1), peak)
        level = torch.stack([
            torch.quantile(t.flatten(), 0.7 if d else 0.3)
            for t, d in zip(total[:, middle], dark, strict=True)
        ])  # fmt: skip
        noise = extra(level + ANSCOMBE).sqrt()
        level = level + noise * self._tensor(rng.normal(scale=0.3, size=batch))
        noise = noise * self._tensor(np.exp(rng.normal(scale=0.12, size=batch)))
        curvature = (1 / noise).clamp_max(ANSCOMBE**-0.5) * self._tensor(
            np.exp(rng.normal(scale=0.2, size=batch)) * (rng.uniform(size=batch) > 0.2)
        )
        curvature = curvature * sign.flatten()
        scale = (sign.flatten() / noise)[:, None, None, None]
        x = (counts - level[:, None, None, None]) * scale
        still = self._still(total / noise[:, None, None, None], width)
        frames, number = self._averaged(
            stabilise(x, curvature[:, None, None, None]), still, further
        )
        valid = self._valid(batch)
        return {
            "frames": frames * valid,
            "valid": number * valid,
            "curvature": curvature,
            "atoms": truth / noise[:, None, None],
            "background": (background[:, middle] - level[:, None, None]) * scale[:, 0],
            "weight": weight,
            "clean": stabilise(
                (total - level[:, None, None, None]) * scale, curvature[:, None, None, None]
            ),
        }

    def _cut(self, batch: int) -> torch.Tensor:
        """Windows (b, t, h, w) of the images of the user's own, drifting by whole pixels."""
        rng, size = self.rng, self.size
        windows = np.empty((batch, self.window, size, size), np.float32)
        room = np.array(self.images.shape[1:]) - size
        for window in windows:
            image = self.images[rng.integers(len(self.images))]
            path = rng.integers(room + 1) + np.rint(self._drift()).astype(int)
            for frame, (y, x) in zip(window, path.clip(0, room), strict=True):
                frame[...] = image[y : y + size, x : x + size]
        return self._tensor(windows)

    def _tensor(self, array) -> torch.Tensor:
        return torch.as_tensor(np.asarray(array), dtype=torch.float32, device=self.device)

    def _pad(self, scenes: list[Scene]) -> tuple[torch.Tensor, torch.Tensor]:
        most = max(1, max(s.positions.shape[1] for s in scenes))
        positions = np.full((len(scenes), self.window, most, 2), -1e3)
        heights = np.zeros((len(scenes), self.window, most))
        for i, scene in enumerate(scenes):
            n = scene.positions.shape[1]
            positions[i, :, :n], heights[i, :, :n] = scene.positions, scene.heights
        return self._tensor(positions), self._tensor(heights)

    def _scene(self, kind: str, width: float) -> Scene:
        """One window of one structure, lengths in pixels."""
        rng, recipe, size, frames = self.rng, self.recipe, self.size, self.window
        none = np.zeros((0, 2))
        if kind == "empty":
            return Scene(np.zeros((frames, 0, 2)), np.zeros((frames, 0)), none, self._drift())
        extent = (size + 8 * width,) * 2
        spacing = max(width * rng.uniform(*recipe.spacing), 4.0)
        empty, vacant = none, None
        if kind == "atoms":
            points = structures.scattered(rng.integers(*recipe.lone), extent, 2 * width, rng)
            heights = rng.choice([1.0, 1.0, 0.5, 0.25]) * np.exp(
                rng.normal(scale=0.1, size=len(points))
            )
        elif kind == "random":
            points = structures.scattered(rng.integers(*recipe.crowd), extent, 2.2 * width, rng)
            heights = rng.integers(1, 5, len(points)) / rng.integers(1, 5)
        elif kind == "cluster":
            return self._clusters(width, extent)
        else:
            layered = ("graphene", "mos2", "wse2", "hexagonal")
            pattern = rng.choice(layered if kind == "2d" else list(structures.PATTERNS))
            thick = int(rng.integers(1, 12)) if kind == "crystal" else 1
            defective = rng.uniform() < 0.7
            columns = structures.lattice(
                pattern, max(spacing, 5.0), extent, rng, thickness=thick, wedge=rng.uniform() < 0.4,
                edge=extent[0] if rng.uniform() < 0.45 else None, vacancies=rng.uniform(0, 0.15) if defective else 0,
                dopants=rng.uniform(0, 0.08) if defective else 0, dopant_contrast=rng.uniform(0.4, 3.5),
            )  # fmt: skip
            points, heights, vacant = columns.positions, columns.intensities, columns.vacant
            # A typical column, not the rare brightest, stands at height one.
            heights = heights / max(np.quantile(heights, 0.8) if len(heights) else 1, 1e-3)
        path = np.repeat(points[None], frames, 0)
        heights = np.repeat(heights[None], frames, 0)
        if kind in ("atoms", "random") or rng.uniform() < 0.25:
            path, heights, empty = self._hopping(path, heights, width)
        if vacant is not None and vacant.any():
            empty = np.concatenate([empty, points[vacant]])
        shift = self._drift() - 4 * width
        return Scene(
            self._vibrate(path, width) + shift[:, None], heights, empty + shift[frames // 2], shift
        )

    def _clusters(self, width: float, extent: tuple[float, float]) -> Scene:
        rng, frames = self.rng, self.window
        paths, heights = [], []
        nearest = max(width * rng.uniform(*self.recipe.nearest), 3.0)
        for _ in range(rng.choice([1, 1, 2, 3])):
            n_atoms = int(_log_uniform(rng, (2, 200)))
            kind = rng.choice(["fcc", "icosahedral", "amorphous"])
            body = structures.cluster(n_atoms, nearest, kind, rng)
            step = rng.uniform(*self.recipe.tumble) * (rng.uniform() < 0.6)
            turns = structures.rotations(frames, step, rng)
            centre = rng.uniform(0, 1, 2) * np.asarray(extent)
            paths.append(np.stack([turn.apply(body)[:, :2] for turn in turns]) + centre)
            heights.append(np.full((frames, n_atoms), np.exp(rng.normal(scale=0.2))))
        stray = structures.scattered(rng.integers(0, 12), extent, 2 * width, rng)
        stray_path, stray_heights, empty = self._hopping(
            np.repeat(stray[None], frames, 0),
            np.full((frames, len(stray)), heights[0].flat[0]),
            width,
        )
        path = np.concatenate([*paths, stray_path], 1)
        height = np.concatenate([*heights, stray_heights], 1)
        # A thick cluster's columns hold several atoms: a typical one stands at about height one.
        height = height / max(1.0, rng.uniform(0.5, 1) * (len(path[0]) / 6) ** (1 / 3))
        shift = self._drift() - 4 * width
        return Scene(
            self._vibrate(path, width) + shift[:, None], height, empty + shift[frames // 2], shift
        )

    def _hopping(self, path, heights, width):
        """Some atoms hop, some come and go; the sites left empty in the middle frame are returned too."""
        rng, frames = self.rng, self.window
        if rng.uniform() < 0.5 or path.shape[1] == 0:
            return path, heights, np.zeros((0, 2))
        probability = rng.uniform(0.02, 0.3) if rng.uniform() < 0.5 else 0.03
        moved, _ = structures.hops(path, probability, width * rng.uniform(2, 5), rng)
        there = rng.uniform(size=heights.shape) > rng.choice([0, 0.03, 0.1])
        middle = frames // 2
        far = np.hypot(*(moved - moved[middle]).transpose(2, 0, 1)) > 2.5 * width
        left = np.concatenate([moved[far], moved[middle][~there[middle]]])
        return moved, heights * there, left

    def _drift(self) -> np.ndarray:
        if self.rng.uniform() < 0.25:
            return np.zeros((self.window, 2))
        path = structures.drift(self.window, _log_uniform(self.rng, self.recipe.drift), self.rng)
        if self.rng.uniform() < REGISTERED:
            path -= np.rint(path - path[self.window // 2])
        return path

    def _vibrate(self, path, width):
        return path + self.rng.normal(scale=width * self.rng.uniform(0, 0.15), size=path.shape)

    def _support(self, width: np.ndarray, shifts: torch.Tensor) -> torch.Tensor:
        """Backgrounds (b, t, h, w) around one: slow thickness, film texture about as fine as atoms, tilt."""
        rng, recipe, batch = self.rng, self.recipe, len(width)
        shape = (batch, self.size, self.size)
        share = np.array([[0.6], [recipe.texture_share], [0.4]])
        on = rng.uniform(size=(3, batch)) < share
        low, high = np.transpose([recipe.thickness, recipe.texture, recipe.slope])[..., None]
        amplitude = on * (low + rng.uniform(size=(3, batch)) * (high - low))
        slow, fine, tilt = (self._tensor(a)[:, None, None, None] for a in amplitude)
        lengths = _log_uniform(rng, (10, 60), batch), width * rng.uniform(*recipe.grain, batch)
        thickness, texture = (
            acquisition.random_field(shape, self._tensor(length), shifts, self.torch, self.device)
            for length in lengths
        )
        grid = torch.linspace(-0.5, 0.5, self.size, device=self.device)
        angle = self._tensor(rng.uniform(0, 2 * np.pi, batch))[:, None, None, None]
        ramp = torch.cos(angle) * grid[:, None] + torch.sin(angle) * grid
        return (1 + slow * thickness + fine * texture + tilt * ramp).clamp_min(0.02)

    def _ratio(self, dark: np.ndarray) -> np.ndarray:
        """Background over peak."""
        rng, recipe, batch = self.rng, self.recipe, len(dark)
        if recipe.even:
            return _log_uniform(rng, recipe.background, batch)
        ratio = np.where(
            rng.uniform(size=batch) < 0.35,
            rng.uniform(recipe.background[0], 0.2, batch),
            _log_uniform(rng, (0.1, 2.0), batch),
        )
        bright = _log_uniform(rng, (2.0, recipe.background[1]), batch)
        ratio = np.where(rng.uniform(size=batch) < 0.12, bright, ratio)
        return np.where(dark, _log_uniform(rng, (1.3, 20.0), batch), ratio)

    def _beam(self, batch: int) -> torch.Tensor:
        """Dose of the frames (b, t, 1, 1) relative to the middle one: mostly all the same."""
        spread = (self.rng.uniform(size=batch) < 0.1) * self.rng.uniform(*self.recipe.beam, batch)
        dose = np.exp(spread[:, None] * self.rng.normal(size=(batch, self.window)))
        return self._tensor(dose / dose[:, [self.window // 2]])[:, :, None, None]

    def _acquire(
        self, total: torch.Tensor, peak: np.ndarray
    ) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        """Counts, and the variance of their noise by the mean (b,) of what is counted."""
        rng, recipe = self.rng, self.recipe
        batch = len(total)

        def some(share, low, high):
            return self._tensor((rng.uniform(size=batch) < share) * rng.uniform(low, high, batch))

        jitter = some(0.3, *recipe.row_jitter)[:, None, None]
        rows = torch.randn(total.shape[:3], generator=self.torch, device=self.device)
        total = acquisition.shift_rows(total, rows * jitter)
        mean = total.mean(dim=(1, 2, 3))
        read = some(0.5, 0.02, 0.5) * (mean.sqrt() + 0.3)
        counts = acquisition.count(total, read[:, None, None, None], self.torch)
        frames = counts.shape[1]
        fraction = some(recipe.afterglow_share, *recipe.afterglow)[:, None].expand(-1, frames)
        decay = self._tensor(_log_uniform(rng, recipe.afterglow_decay, batch))[:, None]
        decay = decay.expand(-1, frames)
        counts = acquisition.afterglow(counts, fraction, decay)
        lines = some(recipe.line_share, *recipe.line_noise) * (mean + read**2).sqrt()
        reach = self._tensor(_log_uniform(rng, recipe.line_reach, batch))[:, None]
        reach = reach.expand(-1, frames)
        counts = counts + lines[:, None, None, None] * acquisition.line_noise(
            counts.shape, reach, self.torch, self.device
        )
        # Afterglow smooths the noise: the sum of its squared kernel is what is left of the variance.
        faded = torch.exp(-1 / decay[:, 0])
        left = (1 - fraction[:, 0]) ** 2 + fraction[:, 0] ** 2 * (1 - faded) / (1 + faded)

        def variance(counted: torch.Tensor) -> torch.Tensor:
            return left * (counted + read**2) + lines**2

        high = self._tensor(peak * _log_uniform(rng, (2, 100), batch))
        counts = acquisition.defects(counts, some(0.1, 1e-4, 2e-3), high, self.torch)
        # Some pixels are hot in all frames.
        hot = torch.rand((batch, 1, *total.shape[2:]), generator=self.torch, device=self.device)
        hot = hot < some(0.06, 1e-4, 1e-3)[:, None, None, None]
        return torch.where(hot, high[:, None, None, None], counts), variance

    def _still(self, total: torch.Tensor, width: np.ndarray) -> torch.Tensor:
        """Weight (b, 2, h, w) of frames further away than the first and the last of a window, as windows give it."""
        pool = round(AREA * float(np.median(width))) // 2 * 2 + 1
        moved = (total[:, [0, -1]] - total[:, [self.window // 2]]).square()
        moved = F.avg_pool2d(moved, pool, 1, pool // 2, count_include_pad=False)
        # What a square of the difference gains over its noise by smoothing with the width of an atom.
        gain = self._tensor(2 * np.pi * width**2)[:, None, None, None]
        return ((MOVED - 1 - gain * moved) / (MOVED - ALIKE)).clamp(0, 1)

    def _averaged(
        self, frames: torch.Tensor, still: torch.Tensor, further: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Windows whose first and last frame are means with so many more, and how many stand behind each pixel."""
        result, *more = frames.split([self.window, *map(int, further)], 1)
        result, number = result.clone(), torch.ones_like(result)
        for slot, weight, others in zip((0, -1), still.unbind(1), more, strict=True):
            number[:, slot] += weight * others.shape[1]
            result[:, slot] = (result[:, slot] + weight * others.sum(1)) / number[:, slot]
        return result, number

    def _valid(self, batch: int) -> torch.Tensor:
        """Masks of what a window may lack: single images, ends of series, short ones, lost frames, aligned borders."""
        rng, window = self.rng, self.window
        middle = window // 2
        valid = np.ones((batch, window, self.size, self.size), np.float32)
        for i in range(batch):
            case = rng.uniform() if middle else 0
            if case < 0.2:
                valid[i, np.arange(window) != middle] = 0
            elif case < 0.38:
                missing = rng.integers(1, middle + 1)
                valid[i, :missing] = 0
                if rng.uniform() < 0.5:
                    valid[i] = valid[i, ::-1]
            elif case < 0.48:
                before, after = rng.integers(1, middle + 1, size=2)
                valid[i, :before] = valid[i, window - after :] = 0
            elif case < 0.56:
                valid[i, (middle + rng.integers(1, window)) % window] = 0
            if rng.uniform() < 0.12:
                for t in range(window):
                    border = int(rng.integers(0, 16))
                    edge = rng.integers(4)
                    if border and t != middle:
                        view = np.rot90(valid[i, t], edge)
                        view[:border] = 0
        return self._tensor(valid)


def _log_uniform(rng: np.random.Generator, limits: tuple[float, float], size=None):
    return np.exp(rng.uniform(*np.log(limits), size))
