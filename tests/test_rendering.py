# SPDX-License-Identifier: GPL-3.0-or-later
"""From columns to images, against the formula of a Gaussian spot written out."""

import numpy as np
import pytest
import torch

from n2a.rendering import render


def spots(positions, intensities, width, shape, correlation=0.0):
    """Sum of spots, pixel by pixel, by the inverse of their covariance."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    sy, sx = np.broadcast_to(width, 2)
    a, b, c = sy**2, correlation * sy * sx, sx**2
    image = np.zeros(shape)
    for (py, px), height in zip(positions, intensities):
        dy, dx = y - py, x - px
        distance = (c * dy**2 - 2 * b * dy * dx + a * dx**2) / (a * c - b**2)
        image += height * np.exp(-distance / 2)
    return image


@pytest.fixture
def atoms():
    rng = np.random.default_rng(0)
    return rng.uniform(-3, 43, (12, 2)), rng.uniform(0.1, 5, 12)


@pytest.mark.parametrize("width", [0.7, 2.5, (1.5, 3.0)])
def test_sum_of_gaussians(atoms, width):
    image = render(*map(torch.from_numpy, atoms), torch.tensor(width).double(), (40, 33))
    assert image.shape == (40, 33)
    np.testing.assert_allclose(image.numpy(), spots(*atoms, width, (40, 33)), atol=1e-6)


@pytest.mark.parametrize("correlation", [0.2, -0.6, 0.8])
def test_tilted_spots(atoms, correlation):
    width = (1.5, 3.0)
    image = render(
        *map(torch.from_numpy, atoms), torch.tensor(width).double(), (40, 33), correlation
    )
    expected = spots(*atoms, width, (40, 33), correlation)
    np.testing.assert_allclose(image.numpy(), expected, atol=2e-3 * atoms[1].max())


def test_batches_of_frames_have_their_own_atoms_and_widths():
    rng = np.random.default_rng(1)
    positions, heights = rng.uniform(0, 20, (2, 3, 5, 2)), rng.uniform(0, 2, (2, 3, 5))
    widths = rng.uniform(1, 3, (2, 3))
    images = render(*map(torch.from_numpy, (positions, heights, widths)), (18, 24)).numpy()
    assert images.shape == (2, 3, 18, 24)
    for i in np.ndindex(2, 3):
        expected = spots(positions[i], heights[i], widths[i], (18, 24))
        np.testing.assert_allclose(images[i], expected, atol=1e-9)


def test_integral_of_a_spot():
    image = render(
        torch.tensor([[31.3, 30.8]]), torch.tensor([3.0]), torch.tensor(2.5), (64, 64)
    )  # fmt: skip
    assert float(image.sum()) == pytest.approx(2 * np.pi * 2.5**2 * 3.0, rel=1e-5)


def test_columns_add_up_and_padding_counts_nothing(atoms):
    positions, heights = map(torch.from_numpy, atoms)
    width = torch.tensor(2.0).double()
    image = render(positions, heights, width, (40, 40))
    double = render(positions.repeat(2, 1), heights.repeat(2), width, (40, 40))
    np.testing.assert_allclose(double, 2 * image)
    padded = render(
        torch.cat([positions, torch.full((3, 2), -1e3).double()]),
        torch.cat([heights, torch.zeros(3).double()]), width, (40, 40),
    )  # fmt: skip
    np.testing.assert_allclose(padded, image)


def test_no_atoms_no_light():
    image = render(torch.zeros(4, 0, 2), torch.zeros(4, 0), torch.ones(4), (9, 7))
    assert image.shape == (4, 9, 7)
    assert not image.any()
