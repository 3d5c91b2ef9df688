# SPDX-License-Identifier: GPL-3.0-or-later
"""The generator: a noisy window of frames in, clear atoms and their background out."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from n2a.lowpass import LowPass

PRESETS: dict[str, dict] = {
    # Little work at full resolution: frames enter folded 2x2, and most of the arithmetic runs on 64 and 128
    # channels at a quarter and an eighth of the size, where CPUs reach their full rate.
    "fast": {"window": 5, "widths": [32, 64, 128], "blocks": [1, 1, 3]},
}


class Residual(nn.Module):
    """Two 3x3 convolutions around a ReLU, added to the input."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply to (b, channels, h, w)."""
        # In place where nothing else needs the values: large images take less memory.
        return self.second(F.relu_(self.first(F.relu(x)))).add_(x)


class Generator(nn.Module):
    """U-Net from a window of noise-normalised frames to atoms and background.

    Parameters
    ----------
    window
        Number of neighbouring frames, odd; the middle one is restored.
    widths
        Channels at 1/2, 1/4, 1/8 ... of the size.
    blocks
        Residual blocks at each of these sizes (the last number is that of the deepest).

    Notes
    -----
    There are no normalisation layers: intensities must come out in proportion. The noise of every input is
    brought to unit variance beforehand (:mod:`n2a.normalization`), which is what makes one network serve all doses.
    """

    def __init__(
        self, window: int = 5, widths: list[int] = (32, 64, 128), blocks: list[int] = (1, 1, 3)
    ):
        super().__init__()
        self.window, self.widths, self.blocks = window, list(widths), list(blocks)
        self.multiple = 2 ** len(widths)
        folded = 4 * window
        self.stem = nn.Conv2d(folded + window + 1, widths[0], 3, padding=1)
        depth = len(widths) - 1
        self.encoder = nn.ModuleList(_stack(widths[i], blocks[i]) for i in range(depth))
        self.down = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 2, stride=2) for i in range(depth)
        )
        self.middle = _stack(widths[-1], blocks[-1])
        self.up = nn.ModuleList(nn.Conv2d(widths[i + 1], 4 * widths[i], 1) for i in range(depth))
        self.decoder = nn.ModuleList(_stack(widths[i], blocks[i]) for i in range(depth))
        self.head = nn.Conv2d(widths[0] + folded, 8, 3, padding=1)

    @property
    def configuration(self) -> dict:
        """What rebuilds this network: ``Generator(**configuration)``."""
        return {"window": self.window, "widths": self.widths, "blocks": self.blocks}

    def forward(
        self, frames: torch.Tensor, valid: torch.Tensor, curvature: torch.Tensor
    ) -> torch.Tensor:
        """Restore the middle frame.

        Parameters
        ----------
        frames
            (b, window, h, w), unit noise, zero at the background level; h and w multiples of `multiple`.
        valid
            (b, window, h, w): how many recorded frames a pixel is the mean of, 0 where none was measured. Frames must
            be 0 there.
        curvature
            (b,) how much the noise grows with the signal, see :class:`n2a.normalization.Normalization`.

        Returns
        -------
        torch.Tensor
            (b, 2, h, w): atoms above the background, and the background, both as stabilised values.
        """
        _check_size(frames, self.multiple)
        folded = F.pixel_unshuffle(frames, 2)
        plane = curvature[:, None, None, None].expand(-1, 1, *folded.shape[-2:])
        x = self.stem(torch.cat([folded, F.avg_pool2d(valid, 2), plane.to(folded.dtype)], 1))
        skips = []
        for encoder, down in zip(self.encoder, self.down, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.middle(x)
        for up, decoder in zip(reversed(self.up), reversed(self.decoder), strict=True):
            x = decoder(F.pixel_shuffle(up(x), 2).add_(skips.pop()))
        return F.pixel_shuffle(self.head(torch.cat([F.relu(x), folded], 1)), 2)


class NoiseMaker(nn.Module):
    """From clear to noisy, C to N: a clear frame and white noise in, a noisy frame out.

    It starts as plain white noise of unit variance, which is what counting statistics are after stabilisation,
    and learns what a detector and a scan make of it: correlation along the lines, afterglow, jitter.

    Parameters
    ----------
    width
        Channels of the two hidden layers.
    reach
        Length of the convolutions along the scan lines, in pixels, odd.
    """

    def __init__(self, width: int = 16, reach: int = 33):
        super().__init__()
        self.width, self.reach = width, reach
        self.along = nn.Conv2d(
            2, width, (1, reach), padding=(0, reach // 2), padding_mode="reflect"
        )
        self.around = nn.Conv2d(width + 2, width, 3, padding=1, padding_mode="reflect")
        self.out = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    @property
    def configuration(self) -> dict:
        """What rebuilds this network: ``NoiseMaker(**configuration)``."""
        return {"width": self.width, "reach": self.reach}

    def forward(self, clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Make (b, 1, h, w) noisy; `noise` is white, of the same shape and unit variance. Stabilised values."""
        inputs = torch.cat([clean, noise], 1)
        hidden = F.leaky_relu(self.along(inputs), 0.2)
        hidden = F.leaky_relu(self.around(torch.cat([hidden, inputs], 1)), 0.2)
        return clean + noise + self.out(hidden)


def _check_size(frames: torch.Tensor, multiple: int) -> None:
    height, width = frames.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(
            f"frames: expected a height and a width that are multiples of {multiple} px, got {height} x {width}; "
            "crop them, or continue them by reflection (n2a.denoise does)."
        )


def _stack(channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*[Residual(channels) for _ in range(blocks)])


class PaperGenerator(nn.Module):
    """The generator of Noise2Atom as its authors configured it: 13.8 M parameters, 1.6 MFLOP per pixel.

    One channel in and out, values in -1..1; height and width are multiples of 8. It is the reference that
    the ``fast`` preset is compared with.

    Parameters
    ----------
    noise
        Take noise as a second channel. From clear to noisy images there are many answers, and a function of
        the clear image alone has one.

    References
    ----------
    F. Wang, T. R. Henninen, D. Keller, R. Erni, Applied Microscopy 50:23 (2020).

    Examples
    --------
    >>> from n2a.generator import PaperGenerator
    >>> sum(p.numel() for p in PaperGenerator().parameters())
    13780111
    """

    multiple = 8

    def __init__(self, noise: bool = False):
        super().__init__()
        self.first = nn.Sequential(
            _Pair(2 if noise else 1, 64, 3, norm=False), _Branches(64, (1, 3, 5, 7))
        )
        self.second = nn.Sequential(_shrink(64, 64), _Pair(64, 64, 3), _Branches(64, (3, 5)))
        self.third = nn.Sequential(_shrink(64, 64), _Pair(64, 64, 3), _Branches(64, (3, 5)))
        self.fourth = nn.Sequential(
            _shrink(64, 128), _Pair(128, 128, 3), _Branches(128, (3, 5)), _Pair(128, 192, 3)
        )
        self.residuals = nn.ModuleList(_Pair(192, 192, 3) for _ in range(16))
        self.grow = nn.ModuleList([_grow(192, 64), _grow(64, 64), _grow(64, 64)])
        self.decode = nn.ModuleList(
            nn.Sequential(_Pair(64, 64, 3), _Branches(64, kernels))
            for kernels in ((3, 5), (3, 5), (1, 3, 5, 7))
        )
        self.exit = nn.Sequential(
            nn.ConvTranspose2d(64, 8, 9), _Norm(), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 9), nn.Tanh()
        )

    def forward(self, x: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Map (b, 1, h, w) to the other domain, same shape; `noise` likewise, where the network takes it."""
        _check_size(x, self.multiple)
        skips = [self.first(x if noise is None else torch.cat([x, noise], 1))]
        skips.append(self.second(skips[-1]))
        skips.append(self.third(skips[-1]))
        x = self.fourth(skips[-1])
        for residual in self.residuals:
            x = x + residual(x)
        for grow, decode in zip(self.grow, self.decode, strict=True):
            x = decode(grow(x) + skips.pop())
        return self.exit(x)


class _Norm(nn.Module):
    """Normalisation over channels, height and width of each sample, with one scale and one offset."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        std, mean = torch.std_mean(x, (1, 2, 3), correction=0, keepdim=True)
        return (x - mean) / (std + 1e-3) * self.scale + self.offset


class _Pair(nn.Sequential):
    """A transposed and a plain convolution without padding, so that the size is kept."""

    def __init__(self, inputs: int, outputs: int, kernel: int, norm: bool = True):
        layers = (nn.ConvTranspose2d(inputs, outputs, kernel), nn.Conv2d(outputs, outputs, kernel))
        super().__init__(*_activated(layers, norm))


class _Branches(nn.Module):
    """Pairs of several kernel sizes side by side, their outputs concatenated."""

    def __init__(self, channels: int, kernels: tuple[int, ...]):
        super().__init__()
        self.branches = nn.ModuleList(_Pair(channels, channels // len(kernels), k) for k in kernels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def _shrink(inputs: int, outputs: int) -> nn.Sequential:
    layers = (nn.ConvTranspose2d(inputs, outputs, 3), nn.Conv2d(outputs, outputs, 3, stride=2))
    return nn.Sequential(*_activated(layers))


def _grow(inputs: int, outputs: int) -> nn.Sequential:
    layers = (nn.ConvTranspose2d(inputs, outputs, 4, stride=2), nn.Conv2d(outputs, outputs, 3))
    return nn.Sequential(*_activated(layers))


def _activated(layers: tuple[nn.Module, ...], norm: bool = True) -> list[nn.Module]:
    return [part for layer in layers
            for part in ((layer, _Norm(), nn.LeakyReLU(0.2)) if norm else (layer, nn.LeakyReLU(0.2)))]  # fmt: skip


class PaperClear(nn.Module):
    """N to C with the authors' network, in the place of :class:`Generator`: one frame, atoms and background out.

    The authors scale a series to -1..1, which loses its intensities. Here the scales are kept, so that they come back:
    atoms of the stated height where the network says 1; what the frame has besides them, low-passed, is the background.

    Parameters
    ----------
    low, high
        Stabilised values of the series that the network sees as -1 and 1.
    height
        Stabilised height of an atom that the network shows as 1.
    """

    window, multiple = 1, PaperGenerator.multiple

    def __init__(self, low: float, high: float, height: float):
        super().__init__()
        self.low, self.high, self.height = low, high, height
        self.network = PaperGenerator()
        self.low_pass = LowPass()

    @property
    def configuration(self) -> dict:
        """What rebuilds this network: ``make_generator(**configuration)``."""
        return {"preset": "paper", "low": self.low, "high": self.high, "height": self.height}

    def forward(
        self, frames: torch.Tensor, valid: torch.Tensor, curvature: torch.Tensor
    ) -> torch.Tensor:
        """As :meth:`Generator.forward`; only the middle frame matters."""
        middle = frames.shape[1] // 2
        frames = frames[:, middle : middle + 1]
        scaled = 2 * (frames - self.low) / (self.high - self.low) - 1
        atoms = (self.network(scaled) + 1) / 2 * self.height
        with torch.no_grad():
            background = self.low_pass(frames.float() - atoms.float())
        return torch.cat([atoms, background.to(atoms)], 1)


class PaperNoisy(nn.Module):
    """C to N with the authors' network and a second input for the noise, in the place of :class:`NoiseMaker`."""

    def __init__(self, low: float, high: float, height: float):
        super().__init__()
        self.low, self.high, self.height = low, high, height
        self.network = PaperGenerator(noise=True)

    def forward(self, clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """As :meth:`NoiseMaker.forward`, from atoms without a background."""
        scaled = 2 * clean / self.height - 1
        return self.low + (self.network(scaled, noise) + 1) / 2 * (self.high - self.low)


def make_generator(preset: str = "fast", **configuration) -> Generator | PaperClear:
    """The network N to C of a configuration."""
    if preset not in ("fast", "paper"):
        raise ValueError(f"preset: expected 'fast' or 'paper', got {preset!r}.")
    return PaperClear(**configuration) if preset == "paper" else Generator(**configuration)
