# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses, one small function each."""

from __future__ import annotations

import torch

from n2a.normalization import atoms_above, linearise


def paired_decibels(
    output: torch.Tensor,
    curvature: torch.Tensor,
    atoms: torch.Tensor,
    background: torch.Tensor,
    weight: torch.Tensor,
    floor: tuple[float, float] = (3e-4, 1e-3),
) -> torch.Tensor:
    """Mean over the batch of the logarithm of the squared error of atoms and of atoms + background.

    A logarithm per image is its PSNR up to constants: every dose counts the same, however large its
    numbers. `floor` keeps an image without atoms from counting without bound; it is in units of the noise variance.

    Parameters
    ----------
    output
        (b, 2, h, w), stabilised values from the generator.
    curvature
        (b,) of the normalisation.
    atoms, background
        (b, h, w) truth, linear, in units of the noise at the background level.
    weight
        (b, h, w) weight of each pixel's error in the atoms, larger at empty sites.
    """
    bend = curvature[:, None, None]
    found, under = output[:, 0], output[:, 1]
    found, under = atoms_above(found, under, bend), linearise(under, bend)
    error = (weight * (found - atoms).square()).mean((1, 2)) / weight.mean((1, 2))
    total = (found + under - atoms - background).square().mean((1, 2))
    return 0.5 * ((error + floor[0]).log() + (total + floor[1]).log()).mean()
