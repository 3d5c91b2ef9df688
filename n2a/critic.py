# SPDX-License-Identifier: GPL-3.0-or-later
"""The critic: images in, one number per image out, larger for those that look like clear atoms."""

from __future__ import annotations

import torch
from torch import nn

from n2a.generator import _Norm


class Critic(nn.Module):
    """Scores of overlapping regions, averaged to one number per image, for any size of 16 pixels and more.

    Parameters
    ----------
    inputs
        Channels of an image.
    widths
        Channels at 1/2, 1/4, 1/8 ... of the size.

    Notes
    -----
    Each of the local scores sees 38 pixels across (three `widths`), a few atoms and what lies between them: whether
    an image looks like atoms is decided there, not by where its clusters lie. There is neither normalisation nor
    dropout: the gradient penalty needs a score that depends on its own image only, and on nothing else.

    Examples
    --------
    >>> import torch
    >>> from n2a.critic import Critic
    >>> Critic()(torch.zeros(3, 1, 40, 57)).shape
    torch.Size([3])
    """

    def __init__(self, inputs: int = 1, widths: list[int] = (32, 64, 128)):
        super().__init__()
        self.inputs, self.widths = inputs, list(widths)
        layers = []
        for before, after in zip([inputs, *widths], widths):
            # A kernel that the stride divides: every pixel counts as often as its neighbours.
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.score = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 3, padding=1))

    @property
    def configuration(self) -> dict:
        """What rebuilds this network: ``Critic(**configuration)``."""
        return {"inputs": self.inputs, "widths": self.widths}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Score (b, inputs, h, w), as (b,)."""
        return self.score(images).mean((1, 2, 3))


class PaperCritic(nn.Module):
    """The critic of Noise2Atom as its authors configured it: 0.27 M parameters, for images of one size.

    Four down-sampling blocks of 64, 64, 128 and 128 channels, the first without normalisation, dropout of 0.25 in
    each, and a dense layer.

    Parameters
    ----------
    size
        Height and width of the images; the dense layer fixes it.
    inputs
        Channels of an image.

    Notes
    -----
    Where the authors' configuration is not known this is the usual one: kernel 3, stride 2, LeakyReLU of 0.2, the
    normalisation of the generator (within one image, as the gradient penalty requires), then dropout.

    References
    ----------
    F. Wang, T. R. Henninen, D. Keller, R. Erni, Applied Microscopy 50:23 (2020).

    Examples
    --------
    >>> from n2a.critic import PaperCritic
    >>> sum(p.numel() for p in PaperCritic().parameters())
    267207
    """

    def __init__(self, size: int = 128, inputs: int = 1):
        super().__init__()
        self.size, self.inputs = size, inputs
        widths = (64, 64, 128, 128)
        layers = []
        for before, after in zip([inputs, *widths], widths):
            norm = [_Norm()] if layers else []
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), *norm]
            layers += [nn.LeakyReLU(0.2), nn.Dropout(0.25)]
            size = (size + 1) // 2
        self.score = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * size**2, 1))

    @property
    def configuration(self) -> dict:
        """What rebuilds this network: ``PaperCritic(**configuration)``."""
        return {"size": self.size, "inputs": self.inputs}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Score (b, inputs, size, size), as (b,)."""
        if images.shape[-2:] != (self.size, self.size):
            raise ValueError(
                f"images: expected {self.size} x {self.size} px, got {images.shape[-2]} x {images.shape[-1]}; "
                "crop them, or make the critic for their size with PaperCritic(size=...)."
            )
        return self.score(images)[:, 0]


PRESETS: dict[str, type[nn.Module]] = {"fast": Critic, "paper": PaperCritic}


def make_critic(preset: str = "fast", **configuration) -> Critic | PaperCritic:
    """Make the critic of a preset.

    Parameters
    ----------
    preset
        Key of :data:`PRESETS`: ``"fast"`` for :class:`Critic`, ``"paper"`` for :class:`PaperCritic`.
    **configuration
        Arguments of that class.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset: expected one of {sorted(PRESETS)}, got {preset!r}.")
    return PRESETS[preset](**configuration)
