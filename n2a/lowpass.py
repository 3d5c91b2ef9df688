# SPDX-License-Identifier: GPL-3.0-or-later
"""The low-pass filter through which noisy images are compared."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F


class LowPass(nn.Module):
    """Fixed Gaussian filter, sum 1 and centred, that leaves the size as it is and has nothing to train.

    Parameters
    ----------
    sigma
        Standard deviation in pixels; the authors' variance of 15 by default.
    size
        Extent of the kernel in pixels, odd.

    Notes
    -----
    Images are continued by reflection about their outermost pixels, so that a constant stays a constant (zeros
    beyond the border would darken it).

    Examples
    --------
    >>> import torch
    >>> from n2a.lowpass import LowPass
    >>> LowPass()(torch.full((1, 1, 32, 40), 3.0)).std() < 1e-5
    tensor(True)
    """

    def __init__(self, sigma: float = 15**0.5, size: int = 33):
        super().__init__()
        if not (sigma > 0 and math.isfinite(sigma)):
            raise ValueError(
                f"sigma: expected a positive, finite number of pixels, got {sigma!r}; "
                "leave the filter out to compare images as they are."
            )
        if size != int(size) or size < 1 or size % 2 == 0:
            raise ValueError(
                f"size: expected an odd number of pixels, got {size!r}; an even kernel has no middle, "
                f"use for example {2 * math.ceil(4 * sigma) + 1}, four sigma to each side."
            )
        self.sigma, self.size = float(sigma), int(size)
        distance = torch.arange(self.size, dtype=torch.float64) - self.size // 2
        kernel = torch.exp(-0.5 * (distance / self.sigma).square())
        self.register_buffer("kernel", (kernel / kernel.sum()).float(), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Filter (b, c, h, w), each channel by itself; h and w are more than half of `size`."""
        height, width = images.shape[-2:]
        if min(height, width) <= self.size // 2:
            raise ValueError(
                f"images: expected more than {self.size // 2} px in height and width, got {height} x {width}; "
                "use larger images, or a LowPass of smaller size."
            )
        return self._along(height, images) @ images @ self._along(width, images).mT

    def _along(self, length: int, like: torch.Tensor) -> torch.Tensor:
        """Convolution along one axis as a matrix, reflection included.

        On images of a training step, products of matrices take an eighth of the time of convolutions of
        one channel, there and back.
        """
        middle = self.size // 2
        identity = torch.eye(length, dtype=like.dtype, device=like.device)[:, None]
        padded = F.pad(identity, (middle, middle), mode="reflect")
        return F.conv1d(padded, self.kernel.to(like)[None, None])[:, 0].mT
