# SPDX-License-Identifier: GPL-3.0-or-later
"""Other denoisers as a user would run them: by name, with parameters found in the frames alone.

Every method takes frames (n, y, x) and gives their total intensity, float32, in their units. Strengths are those that
the unbiased risk of :mod:`n2a.risk` finds best on a sample of the frames, in ranges that follow from the noise and the
width of the atoms. The functions of :mod:`n2a.baselines` are the same methods with parameters of your own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from n2a import baselines, selfsupervised
from n2a.baselines import as_series
from n2a.noise import Noise, estimate_noise
from n2a.pgure import pgure_svt
from n2a.risk import Risk
from n2a.sampling import measure_atom_width

_FRAMES = 16  # that noise and width are measured in
# Chambolle's weight for which flat noise of standard deviation 1 is nearly gone.
_TOTAL_VARIATION = 1.3


def measure(frames: np.ndarray) -> tuple[Noise, float]:
    """Noise of frames (n, y, x), and the standard deviation of their atoms in pixels (2 where none are seen)."""
    some = frames[:: -(-len(frames) // _FRAMES)]
    return estimate_noise(some), measure_atom_width(some) or 2.0


def _sample(frames: np.ndarray, count: int, size: int) -> np.ndarray:
    """The middle of the series: `count` frames that follow each other, `size` px at most on a side."""
    start = max(0, (len(frames) - count) // 2)
    part = frames[start : start + count]
    for axis in (1, 2):
        length = part.shape[axis]
        first = max(0, (length - size) // 2)
        part = part.take(range(first, min(length, first + size)), axis)
    return part


def _tuned(
    function: Callable[..., np.ndarray],
    sample: np.ndarray,
    noise: Noise,
    seed: int,
    **grid: Sequence,
) -> dict:
    """The parameters of the grid with the least estimated risk on the sample."""
    risk = Risk(sample, noise, seed)
    choices = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    return min(choices, key=lambda one: risk(lambda frames: function(frames, **one)))


def temporal_mean(frames: ArrayLike, seed: int = 0) -> np.ndarray:
    """The mean of all frames, in the place of each."""
    frames = as_series(frames)
    return np.broadcast_to(frames.mean(0, dtype=np.float64), frames.shape).astype(np.float32)


def gaussian(frames: ArrayLike, seed: int = 0) -> np.ndarray:
    """Gaussian blur, its width by the least risk."""
    frames = as_series(frames)
    noise, width = measure(frames)
    sigmas = width * np.geomspace(0.2, 3, 12)
    return baselines.gaussian(
        frames, **_tuned(baselines.gaussian, _sample(frames, 3, 192), noise, seed, sigma=sigmas)
    )


def gaussian_spacetime(frames: ArrayLike, seed: int = 0) -> np.ndarray:
    """Gaussian blur in space and time, both widths by the least risk."""
    frames = as_series(frames)
    noise, width = measure(frames)
    function = baselines.gaussian_spacetime
    chosen = _tuned(
        function, _sample(frames, 7, 192), noise, seed,
        sigma=width * np.geomspace(0.2, 2, 9), sigma_t=(0, 0.5, 0.7, 1, 1.5, 2, 4),
    )  # fmt: skip
    return function(frames, **chosen)


def total_variation(frames: ArrayLike, seed: int = 0) -> np.ndarray:
    """Total variation of every frame, its weight in proportion to the noise."""
    frames = as_series(frames)
    noise, _ = measure(frames)
    spread, mean = float(frames.std()), float(frames.mean(dtype=np.float64))
    weight = _TOTAL_VARIATION * np.sqrt(noise.variance(mean)) / max(spread, 1e-30)
    return baselines.total_variation(frames, weight) if weight > 0 else frames


def nonlocal_means(frames: ArrayLike, seed: int = 0) -> np.ndarray:
    """Non-local means of every frame, patches as large as atoms, the cut-off by the least risk."""
    frames = as_series(frames)
    noise, width = measure(frames)
    edge = 2 * int(np.clip(round(1.5 * width), 1, 6)) + 1
    function = partial(baselines.nonlocal_means, patch_size=edge)
    sample = _sample(frames, 2, 128)
    chosen = _tuned(function, sample, noise, seed, h=(0.2, 0.35, 0.5, 0.7, 1.0, 1.4))
    return function(frames, h=chosen["h"] * _relative(sample, frames))


def wavelet(frames: ArrayLike, seed: int = 0) -> np.ndarray:
    """Wavelet shrinkage of every frame, its strength by the least risk."""
    _needs("wavelet", "pywt", "PyWavelets")
    frames = as_series(frames)
    noise, _ = measure(frames)
    sample = _sample(frames, 2, 128)
    strengths = (0.1, 0.2, 0.35, 0.55, 0.8, 1.1, 1.6, 2.4)
    chosen = _tuned(baselines.wavelet, sample, noise, seed, sigma=strengths)
    return baselines.wavelet(frames, sigma=chosen["sigma"] * _relative(sample, frames))


def bm3d(frames: ArrayLike, seed: int = 0) -> np.ndarray:
    """BM3D of every frame after variance stabilisation, its strength by the least risk."""
    _needs("bm3d", "bm3d", "bm3d")
    frames = as_series(frames)
    noise, _ = measure(frames)
    if noise.gain > 0:
        known = {"gain": noise.gain, "offset": -noise.offset / noise.gain}
    else:
        known = {"gain": 0.0, "read_noise": np.sqrt(max(noise.offset, 0))}
    if not noise.gain > 0 and not known["read_noise"] > 0:
        return frames
    function = partial(baselines.bm3d, **known)
    # A second per evaluation: few, of a small part.
    sample = _sample(frames, 1, 96)
    return function(frames, **_tuned(function, sample, noise, seed, strength=(0.7, 1, 1.5)))


def svd(frames: ArrayLike, seed: int = 0) -> np.ndarray:
    """HyperSpy's decomposition of the series, with as many components as its elbow says.

    Where the noise shows a gain the data are counts, and are weighted as such.
    """
    import hyperspy.api as hs

    frames = as_series(frames)
    if len(frames) < 4:
        raise ValueError(
            f"'svd' decomposes a series of frames; expected at least 4, got {len(frames)}."
        )
    noise, _ = measure(frames)
    if noise.variance(float(frames.mean(dtype=np.float64))) == 0:
        return frames
    scale = noise.gain if noise.gain > 0 else 1.0
    zero = -noise.offset / noise.gain if noise.gain > 0 else float(frames.mean(dtype=np.float64))
    values = (frames.astype(np.float64) - zero) / scale
    if noise.gain > 0:
        values = np.maximum(values, 0)
    signal = hs.signals.Signal2D(values)
    signal.decomposition(normalize_poissonian_noise=noise.gain > 0, print_info=False)
    number = signal.learning_results.number_significant_components
    model = signal.get_decomposition_model(number)
    return (np.asarray(model.data) * scale + zero).astype(np.float32)


def svd_patches(frames: ArrayLike, seed: int = 0) -> np.ndarray:
    """Low rank of all patches of all frames, their size and the rank by the least risk."""
    frames = as_series(frames)
    noise, width = measure(frames)
    sample = _sample(frames, 5, 128)
    largest = min(frames.shape[1:])
    patches = sorted({min(largest, int(np.clip(round(k * width), 4, 24))) for k in (4, 8)})
    ranks = (1, 2, 4, 8, 12, 20, 32)
    chosen = _tuned(baselines.svd, sample, noise, seed, patch=patches, rank=ranks)
    return baselines.svd(frames, **chosen)


def _relative(sample: np.ndarray, frames: np.ndarray) -> float:
    """Strengths are in standard deviations of what is denoised: of the sample, in those of the series."""
    return float(sample.std()) / max(float(frames.std()), 1e-30)


def _needs(method: str, module: str, package: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise ImportError(
            f"the method {method!r} needs the package {package}: pip install {package}"
        )


#: Name of a method -> ``function(frames, seed=0)``, frames (n, y, x) to their total intensity, float32.
METHODS: dict[str, Callable[..., np.ndarray]] = {
    "temporal_mean": temporal_mean,
    "gaussian": gaussian,
    "gaussian_spacetime": gaussian_spacetime,
    "total_variation": total_variation,
    "nonlocal_means": nonlocal_means,
    "wavelet": wavelet,
    "bm3d": bm3d,
    "svd": svd,
    "svd_patches": svd_patches,
    "pgure_svt": pgure_svt,
    "noise2noise": selfsupervised.noise2noise,
    "noise2void": selfsupervised.noise2void,
    "structured_noise2void": selfsupervised.structured_noise2void,
    "noise2self": selfsupervised.noise2self,
}

#: Short names in use.
ALIASES = {
    "mean": "temporal_mean",
    "blur": "gaussian",
    "tv": "total_variation",
    "nlm": "nonlocal_means",
    "non_local_means": "nonlocal_means",
    "wavelets": "wavelet",
    "pca": "svd",
    "pguresvt": "pgure_svt",
    "pgure": "pgure_svt",
    "n2n": "noise2noise",
    "n2v": "noise2void",
    "structn2v": "structured_noise2void",
    "struct_n2v": "structured_noise2void",
    "n2s": "noise2self",
}


def find_method(name: str) -> str:
    """The name of a method in `METHODS` for a name as people write it: "nlm", "PGURE-SVT", "structured Noise2Void".

    Raises
    ------
    ValueError
        If there is no such method; the message lists those there are.

    Examples
    --------
    >>> from n2a.methods import find_method
    >>> find_method("PGURE-SVT"), find_method("nlm")
    ('pgure_svt', 'nonlocal_means')
    """
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    plain = ALIASES.get(plain, plain)
    if plain not in METHODS:
        raise ValueError(f"there is no method {name!r}; expected one of {', '.join(METHODS)}.")
    return plain
