# SPDX-License-Identifier: GPL-3.0-or-later
"""From columns to images: sums of Gaussian spots, vectorised over batches of frames, on any device."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch

# Terms of a tilted spot that are smaller are left out.
_LEAST = 3e-3


def render(
    positions: torch.Tensor,
    intensities: torch.Tensor,
    width: torch.Tensor,
    shape: tuple[int, int],
    correlation: float = 0.0,
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
    correlation
        Of y and x in a spot, -1 < correlation < 1: not 0 for an ellipse whose axes are not those of the image.

    Returns
    -------
    torch.Tensor
        (..., height, width).

    Notes
    -----
    A Gaussian separates, so that each image is one matrix product. With a correlation it is a sum of such products
    with Hermite polynomials (Mehler 1866), which converges as the powers of the correlation.

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
        distance = (grid - positions[..., axis, None]) / width[..., axis, None, None]
        profiles.append(_hermite_functions(distance))
    heights, weight, image = intensities[..., None], (1 - correlation**2) ** 0.5, 0.0
    for along_y, along_x in zip(*profiles, strict=True):
        image = image + (along_y * (weight * heights)).transpose(-1, -2) @ along_x
        weight *= correlation
        if abs(weight) < _LEAST:
            break
    return image


def _hermite_functions(x: torch.Tensor) -> Iterator[torch.Tensor]:
    """Gaussian times normalised Hermite polynomials of orders 0, 1, 2, ..."""
    before, now = torch.zeros_like(x), torch.exp(-0.5 * x.square())
    for order in itertools.count():
        yield now
        before, now = now, (x * now - order**0.5 * before) / (order + 1) ** 0.5
