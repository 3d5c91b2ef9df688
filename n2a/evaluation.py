# SPDX-License-Identifier: GPL-3.0-or-later
"""How good a denoised series is, told without the truth: functions on arrays.

No number here is enough by itself. :func:`umse`, :func:`upsnr` and :func:`neighbour_error` need frames of the same
scene that the result has not seen (see :mod:`n2a.views`); :func:`n2a.whiteness.residual_whiteness` tells what was
taken away with the noise; :func:`css_mean` is highest for an image of nothing, so it belongs beside
:func:`blur_reference` and one of the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter

from n2a.means import BLOCK, Estimate, alike, block_mean, check_positive, check_weight, real_frames
from n2a.similarity import css_pairs


def umse(
    denoised: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    c: ArrayLike,
    mask: ArrayLike | None = None,
    block: int = BLOCK,
) -> Estimate:
    """Mean squared error of a result, unbiased, from three noisy views of the same scene.

    The mean of ``(a - denoised)**2 - (b - c)**2 / 2``: what noise adds to the first is what the second measures.

    Parameters
    ----------
    denoised
        Result f(y), (..., y, x), real, in the units of the views and with their background.
    a, b, c
        Noisy views of the same scene with independent noise, of the same shape: neighbouring frames where nothing
        moves. `denoised` must have been computed from none of them, nor trained on them.
    mask
        True where pixels count; broadcast to `denoised`. Pixels that are not finite in any of the four do not count.
    block
        Edge in pixels of the blocks for the standard error, see :func:`block_mean`.

    Returns
    -------
    Estimate
        In squared units of the frames. It scatters around the true error, and below zero when that is small.

    Notes
    -----
    Any noise of zero mean will do, Poisson noise and noise that is correlated along the scan too, if only it is
    independent between the views. What moved between the views counts as an error of the result; where it moved
    between `b` and `c` as well, less. A result that has seen `a` comes out too good.

    References
    ----------
    A. Marcos-Morales et al., ICML 2023, PMLR 202, 23919 ("Evaluating Unsupervised Denoising Requires Unsupervised
    Metrics").

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.evaluation import umse
    >>> truth = np.full((64, 64), 10.0)
    >>> a, b, c = np.random.default_rng(0).poisson(truth, (3, 64, 64))
    >>> error = umse(truth + 3, a, b, c)  # the true one is 9
    >>> bool(abs(error.value - 9) < 3 * error.error)
    True
    """
    denoised, a, b, c = alike(denoised=denoised, a=a, b=b, c=c)
    if mask is not None:
        mask = check_weight("mask", mask, denoised.shape)
    return block_mean((a - denoised) ** 2 - (b - c) ** 2 / 2, mask, block)


def upsnr(
    denoised: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    c: ArrayLike,
    data_range: float,
    mask: ArrayLike | None = None,
) -> float:
    """Peak signal-to-noise ratio of a result without the truth: ``10 log10(data_range**2 / umse)`` in dB.

    Parameters
    ----------
    denoised, a, b, c, mask
        As for :func:`umse`.
    data_range
        Range of intensities of the scene in the units of the frames; the same for all that you compare.

    Returns
    -------
    float
        In dB.

    Raises
    ------
    ValueError
        If the estimated error is not positive, because noise hides it: :func:`umse` tells how well it is known.

    References
    ----------
    A. Marcos-Morales et al., ICML 2023, PMLR 202, 23919.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.evaluation import upsnr
    >>> truth = np.full((64, 64), 10.0)
    >>> a, b, c = np.random.default_rng(0).poisson(truth, (3, 64, 64))
    >>> abs(upsnr(truth + 3, a, b, c, data_range=30) - 20) < 1
    True
    """
    check_positive("data_range", data_range)
    return decibels(data_range, umse(denoised, a, b, c, mask))


def decibels(data_range: float, error: Estimate) -> float:
    """Peak signal-to-noise ratio in dB of an estimated mean squared error, or a ValueError where there is none."""
    data_range = check_positive("data_range", data_range)
    if error.value <= 0:
        raise ValueError(
            f"uPSNR does not exist: the estimated error uMSE is {error.value:.3g} with a standard error of "
            f"{error.error:.2g}, expected a positive value. Either the noise of so few pixels hides the error: give "
            "more frames or pixels, or show umse() with its standard error. Or 'denoised' has seen 'a', or 'b' and 'c' "
            "differ by more than noise: give views that it was not computed from, of a scene at rest."
        )
    return float(10 * np.log10(data_range**2 / error.value))


def neighbour_error(
    denoised: ArrayLike,
    target: ArrayLike,
    level: float,
    noise: float,
    gain: float,
    weight: ArrayLike | None = None,
    intensity: ArrayLike | None = None,
    block: int = BLOCK,
) -> Estimate:
    """Squared distance of a result from a frame that it has not seen, in units of that frame's noise variance.

    The mean of ``(target - denoised)**2 / variance``, with ``variance = noise**2 + gain * (denoised - level)``.

    Parameters
    ----------
    denoised
        Result, (..., y, x), real, in the units of the frames and with their background.
    target
        Noisy frames of the same scene and shape that `denoised` was computed from without.
    level
        Background intensity, in the units of the frames.
    noise
        Standard deviation of the noise at `level`, in the same units. `Plan.noise` and `Normalization.noise` contain
        Anscombe's constant: take ``sqrt(plan.noise**2 - 3/8 * plan.gain**2)``, and bin the frames by `plan.factor`.
    gain
        Slope of the noise variance over the intensity, in the same units; 0 for noise that is the same everywhere.
    weight
        Weights of the pixels, or a mask; broadcast to `denoised`.
    intensity
        Where to take the variance, in place of `denoised`. Give the same to all results that you compare: by its own
        variance a result does best when it is too bright, by half a count and at less than one count by several times.
    block
        Edge in pixels of the blocks for the standard error, see :func:`block_mean`.

    Returns
    -------
    Estimate
        1 for a perfect result, if the noise is known that well; what moved or was missed adds to it. The variance is
        taken to be a hundredth of ``noise**2`` at least.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.evaluation import neighbour_error
    >>> truth = np.linspace(4, 40, 128) * np.ones((2, 128, 128))
    >>> target = 3.0 * np.random.default_rng(0).poisson(truth)
    >>> error = neighbour_error(3 * truth, target, level=12, noise=6, gain=3)
    >>> bool(abs(error.value - 1) < 3 * error.error)
    True
    """
    denoised, target = alike(denoised=denoised, target=target)
    noise = check_positive("noise", noise)
    for name, value, least in (("level", level, -np.inf), ("gain", gain, 0)):
        if not (np.isfinite(value) and value >= least):
            raise ValueError(
                f"'{name}' is {value!r}; expected a finite number{', 0 or more,' if least == 0 else ''} in the units "
                "of the frames. n2a.noise.estimate_noise(frames) and background_level(frames, bright) measure both."
            )
    if intensity is None:
        intensity = denoised
    else:
        _, intensity = alike(denoised=denoised, intensity=intensity)
    variance = np.maximum(noise**2 + gain * (intensity - level), 0.01 * noise**2)
    if weight is not None:
        weight = check_weight("weight", weight, denoised.shape)
    return block_mean((target - denoised) ** 2 / variance, weight, block)


def css_mean(frames: ArrayLike, data_range: float) -> float:
    """Consecutive structural similarity of a series: mean SSIM of neighbouring frames.

    Parameters
    ----------
    frames
        Real, (n, y, x), two frames or more of at least 11 x 11 px. Pixels that are not finite do not count.
    data_range
        Intensity range of SSIM's constants, in the units of `frames`; the same for all that you compare.

    Returns
    -------
    float
        At most 1. Highest for images of nothing: show it beside :func:`blur_reference` and a measure of fidelity.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.evaluation import css_mean
    >>> css_mean(np.random.default_rng(0).poisson(5, (3, 32, 32)), data_range=10) < 0.2
    True
    >>> css_mean(np.ones((3, 32, 32)), data_range=10)
    1.0
    """
    frames = real_frames("frames", frames)
    if frames.ndim != 3 or len(frames) < 2:
        raise ValueError(
            f"'frames' has shape {frames.shape}; expected (n, y, x) with n of 2 or more: CSS compares each frame with "
            "the next. Give a series of frames."
        )
    pairs = css_pairs(frames, check_positive("data_range", data_range))
    if not np.isfinite(pairs).any():
        raise ValueError(
            "'frames' have no pair with a window of 11 x 11 px without NaN or infinite pixels in both; expected fewer "
            "of them. Cut off the borders without data, or replace single pixels."
        )
    return float(np.nanmean(pairs))


def blur_reference(frames: ArrayLike, data_range: float, sigma: float) -> float:
    """CSS of the raw series after a plain Gaussian blur: what a CSS must be compared with.

    Parameters
    ----------
    frames
        Raw series, as for :func:`css_mean`.
    data_range
        As for :func:`css_mean`, and the same.
    sigma
        Standard deviation of the blur in pixels; state it. About the width of an atom is fair.

    Returns
    -------
    float
        At most 1.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.evaluation import blur_reference
    >>> frames = np.random.default_rng(0).poisson(5, (3, 32, 32))
    >>> blur_reference(frames, data_range=10, sigma=8) > 0.9
    True
    """
    frames, sigma = real_frames("frames", frames), check_positive("sigma", sigma)
    measured = np.isfinite(frames)
    spread = (0,) * (frames.ndim - 2) + (sigma, sigma)
    weight = gaussian_filter(measured.astype(np.float64), spread)
    blurred = gaussian_filter(np.where(measured, frames, 0.0), spread)
    return css_mean(np.where(measured, blurred / np.maximum(weight, 1e-12), np.nan), data_range)
