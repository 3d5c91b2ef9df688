# SPDX-License-Identifier: GPL-3.0-or-later
"""From columns to images: sums of Gaussian spots, vectorised over batches of frames, on any device."""

from __future__ import annotations

import torch


def render(
    positions: torch.Tensor,
    intensities: torch.Tensor,
    width: torch.Tensor,
    shape: tuple[int, int],
) -> torch.Tensor:
    """Sum of Gaussian spots.

    Parameters
    ----------
    positions
        (..., n, 2) as (y, x) in pixels; integer positions are pixel centres.
    intensities
        (..., n) height of each spot; 0 for padding.
    width
        (...,) or (..., 2) standard deviation of the spots in pixels (along y and x).
    shape
        Height and width of the images in pixels.

    Returns
    -------
    torch.Tensor
        (..., height, width). A Gaussian separates, so that each image is one matrix product.

    Examples
    --------
    >>> import torch
    >>> from n2a.rendering import render
    >>> image = render(torch.tensor([[4.0, 5.0]]), torch.tensor([2.0]), torch.tensor(1.0), (9, 9))
    >>> float(image[4, 5])
    2.0
    """
    if width.dim() == positions.dim() - 2:
        width = torch.stack([width, width], -1)
    profiles = []
    for axis, length in enumerate(shape):
        grid = torch.arange(length, dtype=positions.dtype, device=positions.device)
        distance = (positions[..., axis, None] - grid) / width[..., axis, None, None]
        profiles.append(torch.exp(-0.5 * distance.square()))
    return (profiles[0] * intensities[..., None]).transpose(-1, -2) @ profiles[1]
