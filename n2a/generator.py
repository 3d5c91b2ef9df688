# SPDX-License-Identifier: GPL-3.0-or-later
"""The generator: a noisy window of frames in, clear atoms and their background out."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

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
        return x + self.second(F.relu(self.first(F.relu(x))))


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
            (b, window, h, w) of 0 and 1: which pixels were measured. Frames must be 0 where it is 0.
        curvature
            (b,) how much the noise grows with the signal, see :class:`n2a.normalization.Normalization`.

        Returns
        -------
        torch.Tensor
            (b, 2, h, w): atoms above the background, and the background, both as stabilised values.
        """
        folded = F.pixel_unshuffle(frames, 2)
        plane = curvature[:, None, None, None].expand(-1, 1, *folded.shape[-2:])
        x = self.stem(torch.cat([folded, F.avg_pool2d(valid, 2), plane.to(folded.dtype)], 1))
        skips = []
        for encoder, down in zip(self.encoder, self.down, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.middle(x)
        for up, decoder, skip in zip(
            reversed(self.up), reversed(self.decoder), reversed(skips), strict=True
        ):
            x = decoder(F.pixel_shuffle(up(x), 2) + skip)
        return F.pixel_shuffle(self.head(torch.cat([F.relu(x), folded], 1)), 2)


def _stack(channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*[Residual(channels) for _ in range(blocks)])
