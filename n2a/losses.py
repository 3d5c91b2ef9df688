# SPDX-License-Identifier: GPL-3.0-or-later
"""Losses, one small function each."""

from __future__ import annotations

from collections.abc import Callable

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


def critic_wasserstein(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """What the critic minimises, besides a penalty: ``mean(fake) - mean(real)``.

    Its negative is the distance between real and generated images, as far as this critic can tell.

    Parameters
    ----------
    real, fake
        (b,) scores of real and of generated images.

    References
    ----------
    M. Arjovsky, S. Chintala, L. Bottou, Wasserstein generative adversarial networks, ICML (2017).
    """
    return fake.mean() - real.mean()


def generator_wasserstein(fake: torch.Tensor) -> torch.Tensor:
    """What the generator minimises against the critic: ``-mean(fake)``.

    Parameters
    ----------
    fake
        (b,) scores of generated images.

    References
    ----------
    M. Arjovsky, S. Chintala, L. Bottou, Wasserstein generative adversarial networks, ICML (2017).
    """
    return -fake.mean()


def gradient_penalty(
    critic: Callable[[torch.Tensor], torch.Tensor],
    real: torch.Tensor,
    fake: torch.Tensor,
    mix: torch.Tensor,
) -> torch.Tensor:
    """Keep the slope of the critic at 1: ``mean((|g| - 1)^2)``, without the weight (10 in the reference).

    g is the gradient of each image's score at ``mix * real + (1 - mix) * fake``. Nothing flows back into the images.

    Parameters
    ----------
    critic
        Images to scores (b,), each of its own image only.
    real, fake
        (b, c, h, w) images, as many of each.
    mix
        (b,) shares of the real images, uniform in 0..1.

    References
    ----------
    I. Gulrajani, F. Ahmed, M. Arjovsky, V. Dumoulin, A. Courville, Improved training of Wasserstein GANs,
    NeurIPS (2017).
    """
    slope = torch.linalg.vector_norm(_gradient(critic, real, fake, mix), dim=1)
    return (slope - 1).square().mean()


def wasserstein_divergence(
    critic: Callable[[torch.Tensor], torch.Tensor],
    real: torch.Tensor,
    fake: torch.Tensor,
    mix: torch.Tensor,
    k: float = 2,
    p: float = 6,
) -> torch.Tensor:
    """Keep the slope of the critic low: ``k * mean(|g|^p)``, in place of :func:`gradient_penalty` and its weight.

    With it the critic measures a Wasserstein divergence, and need not be held at one slope.

    Parameters
    ----------
    critic, real, fake, mix
        As for :func:`gradient_penalty`.
    k, p
        Weight and power.

    References
    ----------
    J. Wu, Z. Huang, J. Thoma, D. Acharya, L. Van Gool, Wasserstein divergence for GANs, ECCV (2018).
    """
    return k * _gradient(critic, real, fake, mix).square().sum(1).pow(p / 2).mean()


def _gradient(critic, real, fake, mix) -> torch.Tensor:
    """Gradient of each image's score between real and fake, as (b, n), itself to be differentiated."""
    mix = mix[:, None, None, None]
    between = (mix * real + (1 - mix) * fake).detach().requires_grad_(True)
    # One sum for the batch: no score depends on another image.
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return gradient.flatten(1)


def noisy_cycle(
    low_pass: Callable[[torch.Tensor], torch.Tensor],
    noisy: torch.Tensor,
    cycled: torch.Tensor,
    valid: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean absolute difference of low-passed images: ``mean(|L(cycled) - L(noisy)|)``.

    Noise that is gone does not come back pixel by pixel; what is wider than the filter L has to. Where pixels
    were not measured it is ``sum(|L(valid * (cycled - noisy))|) / sum(L(valid))``: the filter averages over the
    measured ones, and each place counts by how many of them it has. With all of them measured the two are the same.

    Parameters
    ----------
    low_pass
        Linear filter, :class:`n2a.lowpass.LowPass`.
    noisy, cycled
        (b, c, h, w) noisy images, and the same after the way there and back.
    valid
        (b, 1, h, w) or (b, c, h, w) of 0 and 1: which pixels were measured.

    References
    ----------
    F. Wang, T. R. Henninen, D. Keller, R. Erni, Applied Microscopy 50:23 (2020).
    """
    if valid is None:
        return low_pass(cycled - noisy).abs().mean()
    valid = valid.expand_as(noisy)
    return low_pass(valid * (cycled - noisy)).abs().sum() / low_pass(valid).sum().clamp_min(1)


def clean_cycle(clean: torch.Tensor, cycled: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference: ``mean(|cycled - clean|)``.

    Parameters
    ----------
    clean, cycled
        Clear images, and the same after the way there and back; one shape.

    References
    ----------
    J.-Y. Zhu, T. Park, P. Isola, A. A. Efros, Unpaired image-to-image translation using cycle-consistent
    adversarial networks, ICCV (2017).
    """
    return (cycled - clean).abs().mean()


def neighbour_likelihood(
    found: torch.Tensor, counted: torch.Tensor, curvature: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Squared error to another noisy frame of the same scene, over the variance of its noise.

    ``sum(weight * (counted - found)^2 / variance) / sum(weight)`` with ``variance = 1 + curvature * found``, at least
    0.2. Linear values, because the mean of counts is the intensity and the mean of stabilised counts is not.

    Parameters
    ----------
    found
        (b, h, w) restored total intensity, linear, in units of the noise at the background level.
    counted
        (b, h, w) the other frame, likewise. Its noise must be independent of what `found` was made from.
    curvature
        (b,) of the normalisation, see :class:`n2a.normalization.Normalization`.
    weight
        (b, h, w) weight of each pixel, 0 where `counted` was not measured.

    Notes
    -----
    The variance is taken as known, without a gradient: what is descended vanishes where `found` is the mean of
    `counted`. With a gradient larger values would be rewarded for the noise they allow, and the same holds
    for the loss as a number: compare two networks by something else.

    References
    ----------
    J. Lehtinen et al., Noise2Noise: learning image restoration without clean data, ICML (2018).
    """
    variance = (1 + curvature[:, None, None] * found.detach()).clamp_min(0.2)
    error = (counted - found).square() / variance
    return (weight * error).sum() / weight.sum().clamp_min(1)
