# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks that learn from the noisy frames alone, by the library auto-denoise (extra ``selfsupervised``).

Noise2Noise and (structured) Noise2Void are those of the library; Noise2Self, which it lacks, is here, with the same
network. Each is trained on the frames that it is to denoise, from a random start: patches that are drawn anew in every
round, in units of the standard deviation of the series.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from n2a.baselines import as_series
from n2a.pgure import steady_drift
from n2a.risk import scan_correlation
from n2a.sampling import measure_atom_width

if TYPE_CHECKING:
    import torch

Denoiser = Callable[[np.ndarray], np.ndarray]

_STEPS = 400
_ROUND = 25  # steps with the same patches
_PATCHES, _EDGE = 10, 64  # of a round; px
_HELD = 2  # patches of a round, and share of the pixels of a pair, that tell the best step
_FEATURES = 16
_RATE = 2e-3
_GRID = 3  # px: distance of the pixels that Noise2Self hides at once
_AT_ONCE = 2**20  # pixels that go through the network together


def noise2noise(frames: ArrayLike, seed: int = 0, steps: int = _STEPS) -> np.ndarray:
    """Noise2Noise between neighbouring frames.

    Neighbours are shifted by the steady drift of the scene; what moves otherwise is averaged.

    Parameters
    ----------
    frames : array_like
        Real series of shape (n, y, x), of at least 2 frames and 32 x 32 px.
    seed : int, optional
        Of the network, the patches and the order.
    steps : int, optional
        Of the optimiser.

    Returns
    -------
    numpy.ndarray
        Total intensity, shape (n, y, x), float32, units of `frames`.

    Raises
    ------
    ImportError
        If the package auto-denoise is missing.
    ValueError
        If `frames` is not a real, finite series of that size, or `steps` is not positive.

    References
    ----------
    .. [1] J. Lehtinen et al., ICML 2018, PMLR 80, 2965-2974.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.selfsupervised import noise2noise
    >>> noisy = np.random.default_rng(0).poisson(5.0, (4, 64, 64))
    >>> noise2noise(noisy, steps=2).shape  # doctest: +SKIP
    (4, 64, 64)
    """
    return train_noise2noise(frames, seed, steps)(frames)


def train_noise2noise(frames: ArrayLike, seed: int = 0, steps: int = _STEPS) -> Denoiser:
    """The network of :func:`noise2noise`, as a function from frames to their total intensity."""
    frames = _check("noise2noise", frames, steps, 2)
    width = measure_atom_width(frames[:: -(-len(frames) // 16)]) or 2.0
    shape = frames.shape[1:]
    drift = steady_drift(frames, width)
    edges = _edges(np.subtract(shape, np.abs(drift)))
    if min(edges) < 16:
        drift, edges = np.zeros(2, int), _edges(shape)
    rng = np.random.default_rng(seed)
    with _library(seed, frames) as (library, network, scale, device):
        denoiser = library.N2N(
            network, scale, device=device, verbose=False, batch_size=_PATCHES,
            augmentation=library.flip(rng),
        )  # fmt: skip
        for rate, number in _rounds(steps):
            inputs, targets = [], []
            for _ in range(_PATCHES):
                first = int(rng.integers(len(frames) - 1))
                # The scene of the first frame at p is that of the second at p - drift.
                corner = [
                    int(rng.integers(max(0, d), n - e + min(0, d) + 1))
                    for d, n, e in zip(drift, shape, edges)
                ]
                pair = [
                    _cut(frames[first], corner, edges),
                    _cut(frames[first + 1], np.subtract(corner, drift), edges),
                ]
                one, other = pair if rng.uniform() < 0.5 else pair[::-1]
                inputs.append(one)
                targets.append(other)
            held = rng.uniform(size=(_PATCHES, *edges)) < 0.1
            denoiser.train(
                np.stack(inputs), np.stack(targets), held, epochs=number, learning_rate=rate
            )
    return partial(_restore, network.eval(), scale, device)


def noise2void(frames: ArrayLike, seed: int = 0, steps: int = _STEPS) -> np.ndarray:
    """Noise2Void: each pixel from those around it.

    Parameters
    ----------
    frames : array_like
        Real series of shape (n, y, x) of at least 32 x 32 px.
    seed : int, optional
        Of the network, the patches and the pixels that are hidden.
    steps : int, optional
        Of the optimiser.

    Returns
    -------
    numpy.ndarray
        Total intensity, shape (n, y, x), float32, units of `frames`.

    Raises
    ------
    ImportError
        If the package auto-denoise is missing.
    ValueError
        If `frames` is not a real, finite series of that size, or `steps` is not positive.

    Notes
    -----
    Noise that is correlated between neighbouring pixels is kept, as if it were structure.

    References
    ----------
    .. [1] A. Krull, T.-O. Buchholz, F. Jug, CVPR 2019, 2124-2132.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.selfsupervised import noise2void
    >>> noisy = np.random.default_rng(0).poisson(5.0, (1, 64, 64))
    >>> noise2void(noisy, steps=2).shape  # doctest: +SKIP
    (1, 64, 64)
    """
    return train_noise2void(frames, seed, steps)(frames)


def train_noise2void(frames: ArrayLike, seed: int = 0, steps: int = _STEPS) -> Denoiser:
    """The network of :func:`noise2void`, as a function from frames to their total intensity."""
    return _train_noise2void(_check("noise2void", frames, steps, 1), seed, steps, 0)


def structured_noise2void(
    frames: ArrayLike, seed: int = 0, steps: int = _STEPS, reach: int | None = None
) -> np.ndarray:
    """Noise2Void that hides a piece of the scan line with each pixel, for noise that is correlated along it.

    Parameters
    ----------
    frames, seed, steps
        As for :func:`noise2void`.
    reach : int, optional
        Pixels hidden to the left and to the right of each. Default: as far as the noise is seen to be correlated,
        2 to 8.

    Returns
    -------
    numpy.ndarray
        Total intensity, shape (n, y, x), float32, units of `frames`.

    Raises
    ------
    ImportError
        If the package auto-denoise is missing.
    ValueError
        If `frames` is not a real, finite series of that size, or `steps` or `reach` is out of range.

    References
    ----------
    .. [1] C. Broaddus et al., ISBI 2020, 159-163.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.selfsupervised import structured_noise2void
    >>> noisy = np.random.default_rng(0).poisson(5.0, (1, 64, 64))
    >>> structured_noise2void(noisy, steps=2, reach=3).shape  # doctest: +SKIP
    (1, 64, 64)
    """
    return train_structured_noise2void(frames, seed, steps, reach)(frames)


def train_structured_noise2void(
    frames: ArrayLike, seed: int = 0, steps: int = _STEPS, reach: int | None = None
) -> Denoiser:
    """The network of :func:`structured_noise2void`, as a function from frames to their total intensity."""
    frames = _check("structured_noise2void", frames, steps, 1)
    if reach is None:
        reach = int(np.clip(len(scan_correlation(frames)) // 2, 2, 8))
    elif not 1 <= reach <= 15:
        raise ValueError(f"reach: expected 1 to 15 px or None, got {reach!r}.")
    return _train_noise2void(frames, seed, steps, int(reach))


def _train_noise2void(frames: np.ndarray, seed: int, steps: int, reach: int) -> Denoiser:
    edges = _edges(frames.shape[1:])
    rng = np.random.default_rng(seed)
    with _library(seed, frames) as (library, network, scale, device):
        denoiser = library.N2V(network, scale, device=device, verbose=False)
        for rate, number in _rounds(steps):
            patches = np.stack([_patch(frames, edges, rng) for _ in range(_PATCHES)])
            denoiser.train(
                patches, range(_HELD), epochs=number, learning_rate=rate,
                mask_shape=[1, 2 * reach + 1], ratio_blind_spot=0.03,
            )  # fmt: skip
    return partial(_restore, network.eval(), scale, device)


def noise2self(frames: ArrayLike, seed: int = 0, steps: int = _STEPS) -> np.ndarray:
    """Noise2Self: every pixel from the others, in the training and in the result.

    A pixel in nine is replaced by the mean of its eight neighbours and predicted; nine such predictions make an image.

    Parameters
    ----------
    frames : array_like
        Real series of shape (n, y, x) of at least 32 x 32 px.
    seed : int, optional
        Of the network and the patches.
    steps : int, optional
        Of the optimiser.

    Returns
    -------
    numpy.ndarray
        Total intensity, shape (n, y, x), float32, units of `frames`.

    Raises
    ------
    ImportError
        If the package auto-denoise is missing, whose network is used.
    ValueError
        If `frames` is not a real, finite series of that size, or `steps` is not positive.

    Notes
    -----
    Noise that is correlated between neighbouring pixels is kept, as if it were structure.

    References
    ----------
    .. [1] J. Batson, L. Royer, ICML 2019, PMLR 97, 524-533.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.selfsupervised import noise2self
    >>> noisy = np.random.default_rng(0).poisson(5.0, (1, 64, 64))
    >>> noise2self(noisy, steps=2).shape  # doctest: +SKIP
    (1, 64, 64)
    """
    return train_noise2self(frames, seed, steps)(frames)


def train_noise2self(frames: ArrayLike, seed: int = 0, steps: int = _STEPS) -> Denoiser:
    """The network of :func:`noise2self`, as a function from frames to their total intensity."""
    frames = _check("noise2self", frames, steps, 1)
    edges = _edges(frames.shape[1:])
    rng = np.random.default_rng(seed)
    with _library(seed, frames) as (_, network, scale, device):
        import torch

        optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE)
        network.train()
        place = 0
        for rate, number in _rounds(steps):
            for group in optimiser.param_groups:
                group["lr"] = rate
            for _ in range(number):
                patches = np.stack([_patch(frames, edges, rng) for _ in range(_PATCHES - _HELD)])
                noisy = _to_network(patches, scale, device)
                hidden = _every_ninth(noisy, place)
                place += 1
                loss = ((network(_without(noisy, hidden)) - noisy)[..., hidden] ** 2).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()

    def blind(noisy: torch.Tensor) -> torch.Tensor:
        result = torch.zeros_like(noisy)
        for place in range(_GRID**2):
            hidden = _every_ninth(noisy, place)
            result[..., hidden] = network(_without(noisy, hidden))[..., hidden]
        return result

    network.eval()
    return partial(_restore, blind, scale, device)


def _every_ninth(images: torch.Tensor, place: int) -> torch.Tensor:
    """Mask (y, x) of one pixel of each square of 3 x 3."""
    import torch

    mask = torch.zeros(images.shape[-2:], dtype=torch.bool, device=images.device)
    mask[place // _GRID % _GRID :: _GRID, place % _GRID :: _GRID] = True
    return mask


def _without(images: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Images with the mean of the eight neighbours in the place of hidden pixels."""
    import torch

    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
    around = (9 * torch.nn.functional.avg_pool2d(padded, 3, 1) - images) / 8
    return torch.where(hidden, around, images)


# --- what they have in common -----------------------------------------------------------------


def _check(name: str, frames: ArrayLike, steps: int, least: int) -> np.ndarray:
    frames = as_series(frames)
    if len(frames) < least or min(frames.shape[1:]) < 32:
        raise ValueError(
            f"frames: {name!r} needs at least {least} frame{'s' * (least > 1)} of 32 x 32 px, got the shape "
            f"{frames.shape}."
        )
    if not steps >= 1:
        raise ValueError(f"steps: expected a whole number of 1 or more, got {steps!r}.")
    return frames


def _edges(shape) -> list[int]:
    return [min(_EDGE, int(size)) // 8 * 8 for size in shape]


def _cut(frame: np.ndarray, corner, edges) -> np.ndarray:
    return frame[tuple(slice(c, c + e) for c, e in zip(corner, edges))]


def _patch(frames: np.ndarray, edges: list[int], rng: np.random.Generator) -> np.ndarray:
    """A patch of a frame, by chance, flipped by chance."""
    corner = [int(rng.integers(n - e + 1)) for n, e in zip(frames.shape[1:], edges)]
    patch = _cut(frames[int(rng.integers(len(frames)))], corner, edges)
    return patch[:: int(rng.choice((-1, 1))), :: int(rng.choice((-1, 1)))]


def _rounds(steps: int) -> Iterator[tuple[float, int]]:
    """Learning rate, falling as half a cosine, and number of steps of each round."""
    number = -(-int(steps) // _ROUND)
    for index in range(number):
        yield (
            _RATE * 0.5 * (1 + np.cos(np.pi * index / number)),
            min(_ROUND, int(steps) - index * _ROUND),
        )


class _Library:
    """What is used of auto-denoise."""

    def __init__(self):
        try:
            from autoden.algorithms import N2N, N2V
            from autoden.algorithms.datasets import AugmentationFlip
            from autoden.algorithms.denoiser import DataScaleBias
            from autoden.models.unet import UNet
        except ImportError as error:
            raise ImportError(
                "Noise2Noise, Noise2Void and Noise2Self need the package auto-denoise: pip install auto-denoise"
            ) from error
        self.N2N, self.N2V, self.UNet, self.DataScaleBias = N2N, N2V, UNet, DataScaleBias
        self.AugmentationFlip = AugmentationFlip

    def flip(self, rng: np.random.Generator):
        """Flips of an image, and of its target with it."""
        return self.AugmentationFlip(n_dims=2, rng=rng)


@contextlib.contextmanager
def _library(seed: int, frames: np.ndarray):
    """The library, a network at its random start, and the scale of the frames; random numbers as before at the end."""
    import torch

    from n2a.devices import pick_device

    library = _Library()
    device = pick_device("auto")
    spread = max(float(frames.std(dtype=np.float64)), 1e-30)
    bias = float(frames.mean(dtype=np.float64)) / spread
    # A standard deviation of 1: the library puts normally distributed numbers in the place of hidden pixels.
    scale = library.DataScaleBias(1 / spread, 1 / spread, 1 / spread, bias, bias, bias)
    state = np.random.get_state()  # noqa: NPY002, the library draws from the global generator
    silence = io.StringIO()
    try:
        with (
            torch.random.fork_rng(),
            contextlib.redirect_stdout(silence),
            contextlib.redirect_stderr(silence),
        ):
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            network = library.UNet(1, 1, n_features=_FEATURES, n_levels=3, device=device)
            yield library, network, scale, device
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _to_network(frames: np.ndarray, scale, device: str) -> torch.Tensor:
    import torch

    scaled = np.asarray(frames * scale.scale_inp - scale.bias_inp, np.float32)
    return torch.from_numpy(scaled)[:, None].to(device)


def _restore(network, scale, device: str, frames: ArrayLike) -> np.ndarray:
    """Frames through a network, a few at a time, in their own units."""
    import torch

    frames = as_series(frames)
    count = max(1, _AT_ONCE // frames[0].size)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(frames), count):
            result = network(_to_network(frames[start : start + count], scale, device))
            parts.append((result[:, 0].cpu().numpy() + scale.bias_out) / scale.scale_out)
    return np.concatenate(parts).astype(np.float32)
