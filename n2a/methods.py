# SPDX-License-Identifier: GPL-3.0-or-later
"""Other denoisers as a user would run them: by name, with parameters found in the frames alone.

`prepare` finds the parameters of a method, or trains its network, on frames (n, y, x), and gives the method itself: a
function from frames to their total intensity, float32, in their units. Strengths are those that the unbiased risk of
:mod:`n2a.risk` finds best on a sample of the frames, in ranges that follow from the noise and the width of the atoms.
The functions of :mod:`n2a.baselines` are the same methods with parameters of your own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec

import numpy as np
from numpy.typing import ArrayLike

from n2a import baselines, selfsupervised
from n2a.baselines import as_series
from n2a.noise import Noise, estimate_noise
from n2a.pgure import choose_threshold, pgure_svt
from n2a.risk import Risk
from n2a.sampling import measure_atom_width

Denoiser = Callable[[np.ndarray], np.ndarray]

_FRAMES = 16  # that noise and width are measured in
# Chambolle's weight for which flat noise of standard deviation 1 is nearly gone.
_TOTAL_VARIATION = 1.3


def denoise_with(name: str, frames: ArrayLike, seed: int = 0) -> np.ndarray:
    """Denoise frames by the method of that name, with parameters found in the frames.

    Parameters
    ----------
    name : str
        A key of `METHODS`, or a usual short form: "nlm", "n2v", "PGURE-SVT".
    frames : array_like
        Real series of shape (n, y, x).
    seed : int, optional
        Of everything random.

    Returns
    -------
    numpy.ndarray
        Total intensity, shape (n, y, x), float32, units of `frames`.

    Raises
    ------
    ImportError
        If a package is missing that the method needs; the message says how to install it.
    ValueError
        If there is no such method, or `frames` is not a real, finite series as it needs it.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.methods import denoise_with
    >>> noisy = np.random.default_rng(0).poisson(5.0, (4, 64, 64))
    >>> bool(denoise_with("gaussian", noisy).std() < 0.2 * noisy.std())
    True
    """
    return prepare(name, frames, seed)(frames)


def prepare(name: str, frames: ArrayLike, seed: int = 0) -> Denoiser:
    """The method of that name with parameters found, or a network trained, on these frames.

    Parameters
    ----------
    name, frames, seed
        As for :func:`denoise_with`.

    Returns
    -------
    callable
        ``function(frames)``, for the same frames or for others of the same acquisition; of real, finite frames
        (n, y, x) it gives the total intensity, float32.

    Raises
    ------
    ImportError, ValueError
        As for :func:`denoise_with`.

    Examples
    --------
    The halves of a series, by one blur:

    >>> import numpy as np
    >>> from n2a.methods import prepare
    >>> noisy = np.random.default_rng(0).poisson(5.0, (4, 64, 64))
    >>> blur = prepare("gaussian", noisy)
    >>> blur(noisy[::2]).shape, blur(noisy[1::2]).shape
    ((2, 64, 64), (2, 64, 64))
    """
    frames = as_series(frames)
    method = METHODS[find_method(name)]
    if np.ptp(frames) == 0:  # nothing to find out
        return as_series
    return method(frames, seed)


def _measure(frames: np.ndarray) -> tuple[Noise, float]:
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
) -> Denoiser:
    """`function` with the parameters of the grid that have the least estimated risk on the sample."""
    risk = Risk(sample, noise, seed)
    choices = [partial(function, **dict(zip(grid, v))) for v in itertools.product(*grid.values())]
    return min(choices, key=risk)


def _temporal_mean(frames: np.ndarray, seed: int) -> Denoiser:
    """The mean of all frames, in the place of each."""

    def mean(frames: np.ndarray) -> np.ndarray:
        frames = as_series(frames)
        return np.broadcast_to(frames.mean(0, dtype=np.float64), frames.shape).astype(np.float32)

    return mean


def _gaussian(frames: np.ndarray, seed: int) -> Denoiser:
    noise, width = _measure(frames)
    sigmas = width * np.geomspace(0.2, 3, 12)
    return _tuned(baselines.gaussian, _sample(frames, 3, 192), noise, seed, sigma=sigmas)


def _gaussian_spacetime(frames: np.ndarray, seed: int) -> Denoiser:
    noise, width = _measure(frames)
    grid = {"sigma": width * np.geomspace(0.2, 2, 9), "sigma_t": (0, 0.5, 0.7, 1, 1.5, 2, 4)}
    return _tuned(baselines.gaussian_spacetime, _sample(frames, 7, 192), noise, seed, **grid)


def _total_variation(frames: np.ndarray, seed: int) -> Denoiser:
    """The weight in proportion to the noise: small disturbances do not tell the risk of what is flat by pieces."""
    noise, _ = _measure(frames)
    strength = _TOTAL_VARIATION * np.sqrt(noise.variance(float(frames.mean(dtype=np.float64))))
    return partial(_with_strength, baselines.total_variation, "weight", strength=strength)


def _nonlocal_means(frames: np.ndarray, seed: int) -> Denoiser:
    """Patches as large as atoms."""
    noise, width = _measure(frames)
    edge = 2 * int(np.clip(round(1.5 * width), 1, 6)) + 1
    function = partial(baselines.nonlocal_means, patch_size=edge)
    return _strongest(function, "h", (0.2, 0.35, 0.5, 0.7, 1.0, 1.4), frames, noise, seed)


def _wavelet(frames: np.ndarray, seed: int) -> Denoiser:
    _needs("wavelet", "pywt", "PyWavelets")
    strengths = (0.1, 0.2, 0.35, 0.55, 0.8, 1.1, 1.6, 2.4)
    noise, _ = _measure(frames)
    return _strongest(baselines.wavelet, "sigma", strengths, frames, noise, seed)


def _strongest(function, name: str, values: Sequence[float], frames, noise, seed) -> Denoiser:
    sample = _sample(frames, 2, 128)
    scale = float(sample.std())
    grid = {"strength": [scale * value for value in values]}
    return _tuned(partial(_with_strength, function, name), sample, noise, seed, **grid)


def _with_strength(function, name: str, frames: ArrayLike, strength: float) -> np.ndarray:
    """`function` with a strength in units of the frames, which it wants in standard deviations of them."""
    frames = as_series(frames)
    relative = strength / max(float(frames.std()), 1e-30)
    return function(frames, **{name: relative}) if relative > 0 else frames


def _bm3d(frames: np.ndarray, seed: int) -> Denoiser:
    _needs("bm3d", "bm3d", "bm3d")
    noise, _ = _measure(frames)
    if noise.gain > 0:
        known = {"gain": noise.gain, "offset": -noise.offset / noise.gain}
    elif noise.offset > 0:
        known = {"gain": 0.0, "read_noise": float(np.sqrt(noise.offset))}
    else:
        return as_series  # there is no noise
    # A second for every strength: few, on a small part.
    function = partial(baselines.bm3d, **known)
    return _tuned(function, _sample(frames, 1, 96), noise, seed, strength=(0.7, 1.0, 1.5))


def _svd(frames: np.ndarray, seed: int) -> Denoiser:
    """HyperSpy's decomposition, with as many components as its elbow says."""
    if len(frames) < 4:
        raise ValueError(
            f"'svd' decomposes a series of frames; expected at least 4, got {len(frames)}."
        )
    noise, _ = _measure(frames)
    if noise.gain > 0:
        scale, zero = noise.gain, -noise.offset / noise.gain
    else:
        scale, zero = 1.0, float(frames.mean(dtype=np.float64))
    signal = _decomposed(frames, noise.gain > 0, scale, zero)
    number = signal.learning_results.number_significant_components

    def keep(frames: ArrayLike) -> np.ndarray:
        frames = as_series(frames)
        if len(frames) < 2:
            raise ValueError("'svd' decomposes a series of frames; expected at least 2, got 1.")
        signal = _decomposed(frames, noise.gain > 0, scale, zero)
        model = signal.get_decomposition_model(min(number, len(frames)))
        return (np.asarray(model.data) * scale + zero).astype(np.float32)

    return keep


def _decomposed(frames: np.ndarray, counts: bool, scale: float, zero: float):
    """A signal of the frames with its decomposition; counts are weighted as such."""
    import hyperspy.api as hs

    values = (frames.astype(np.float64) - zero) / scale
    signal = hs.signals.Signal2D(np.maximum(values, 0) if counts else values)
    signal.decomposition(normalize_poissonian_noise=counts, print_info=False)
    return signal


def _svd_patches(frames: np.ndarray, seed: int) -> Denoiser:
    """Low rank of all patches of all frames."""
    noise, width = _measure(frames)
    largest = min(frames.shape[1:])
    grid = {
        "patch": sorted({min(largest, int(np.clip(round(k * width), 4, 24))) for k in (4, 8)}),
        "rank": (1, 2, 4, 8, 12, 20, 32),
    }
    return _tuned(baselines.svd, _sample(frames, 5, 128), noise, seed, **grid)


def _pgure_svt(frames: np.ndarray, seed: int) -> Denoiser:
    return partial(pgure_svt, **choose_threshold(frames, seed))


def _needs(method: str, module: str, package: str) -> None:
    if find_spec(module) is None:
        raise ImportError(
            f"the method {method!r} needs the package {package}: pip install {package}"
        )


#: Name of a method -> ``function(frames, seed)``, which gives the method prepared for these frames (n, y, x), float32.
METHODS: dict[str, Callable[[np.ndarray, int], Denoiser]] = {
    "temporal_mean": _temporal_mean,
    "gaussian": _gaussian,
    "gaussian_spacetime": _gaussian_spacetime,
    "total_variation": _total_variation,
    "nonlocal_means": _nonlocal_means,
    "wavelet": _wavelet,
    "bm3d": _bm3d,
    "svd": _svd,
    "svd_patches": _svd_patches,
    "pgure_svt": _pgure_svt,
    "noise2noise": selfsupervised.train_noise2noise,
    "noise2void": selfsupervised.train_noise2void,
    "structured_noise2void": selfsupervised.train_structured_noise2void,
    "noise2self": selfsupervised.train_noise2self,
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
