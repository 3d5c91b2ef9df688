# SPDX-License-Identifier: GPL-3.0-or-later
"""Baselines: values against independent calculation, invariances, bad input."""

import inspect
import sys

import numpy as np
import pytest

from n2a import baselines
from n2a.baselines import BASELINES


def apply(name, frames, gain=1.0, offset=0.0, **parameters):
    """A baseline; BM3D is told the detector."""
    module = {"bm3d": "bm3d", "wavelet": "pywt"}.get(name, "skimage")
    pytest.importorskip(module, reason="the extra 'baselines' is not installed")
    if name == "bm3d":
        parameters.update(gain=gain, offset=offset)
    return BASELINES[name].function(frames, **parameters)


@pytest.fixture(scope="module")
def lattice():
    """A static crystal of Gaussian columns, 0.5 to 10 counts, and Poisson counts of it."""
    y, x = np.mgrid[:48, :48]
    clean = 0.5 + 9.5 * (np.cos(np.pi * x / 16) * np.cos(np.pi * y / 16)) ** 4
    clean = np.repeat(clean[np.newaxis], 4, axis=0)
    return clean, np.random.default_rng(7).poisson(clean)


@pytest.mark.parametrize("name", BASELINES)
def test_noise_is_reduced(name, lattice):
    clean, noisy = lattice
    before = noisy.copy()
    result = apply(name, noisy)
    assert result.shape == noisy.shape
    assert result.dtype == np.float32
    assert np.array_equal(noisy, before)
    assert np.mean((result - clean) ** 2) < 0.6 * np.mean((noisy - clean) ** 2)


@pytest.mark.parametrize("name", BASELINES)
def test_gain_and_offset_of_the_detector_do_not_matter(name, lattice):
    _, noisy = lattice
    scaled = apply(name, 7.0 * noisy + 300.0, gain=7.0, offset=300.0)
    expected = 7.0 * apply(name, noisy) + 300.0
    np.testing.assert_allclose(scaled, expected, atol=0.02)


@pytest.mark.parametrize("name", [n for n in BASELINES if n != "bm3d"])
def test_constant_series_stays(name):
    result = apply(name, np.full((3, 20, 20), 5, np.uint8))
    np.testing.assert_allclose(result, 5, rtol=1e-5)


@pytest.mark.parametrize("name", BASELINES)
def test_grid_names_parameters(name):
    function, grid = BASELINES[name]
    assert grid
    assert set(grid) <= set(inspect.signature(function).parameters)


def test_gaussian_is_a_gaussian():
    image = np.zeros((1, 41, 41))
    image[0, 20, 20] = 100
    y, x = np.mgrid[-20:21, -20:21]
    expected = 100 / (2 * np.pi * 9) * np.exp(-(x**2 + y**2) / 18)
    np.testing.assert_allclose(baselines.gaussian(image, sigma=3)[0], expected, atol=2e-4)


def test_gaussian_spacetime_spreads_over_time():
    series = np.zeros((9, 33, 33))
    series[4, 16, 16] = 1
    result = baselines.gaussian_spacetime(series, sigma=2, sigma_t=1.2)
    ratio = result[5].sum() / result[4].sum()
    assert ratio == pytest.approx(np.exp(-1 / (2 * 1.2**2)), rel=1e-4)
    still = baselines.gaussian_spacetime(series, sigma=2, sigma_t=0)
    np.testing.assert_allclose(still, baselines.gaussian(series, sigma=2), atol=1e-7)


def test_total_variation_falls_with_the_weight(lattice):
    _, noisy = lattice

    def variation(frames):
        return np.abs(np.diff(frames, axis=1)).sum() + np.abs(np.diff(frames, axis=2)).sum()

    values = [variation(baselines.total_variation(noisy, weight)) for weight in (0.1, 1, 10)]
    assert variation(noisy) > values[0] > values[1] > values[2]


def test_wavelet_of_no_noise_changes_nothing(lattice):
    pytest.importorskip("pywt", reason="the extra 'baselines' is not installed")
    clean, _ = lattice
    np.testing.assert_allclose(baselines.wavelet(clean, sigma=0), clean, atol=1e-4)


@pytest.mark.parametrize("patch", [6, None])
def test_svd_keeps_what_has_low_rank(patch, lattice):
    _, noisy = lattice
    rows = np.linspace(0, 1, 24)
    ramp = (1 + np.arange(5.0))[:, None, None] * (rows[:, None] + rows)  # two components per patch
    np.testing.assert_allclose(baselines.svd(ramp, rank=2, patch=patch), ramp, atol=1e-4)
    full = baselines.svd(noisy, rank=36, patch=patch)
    np.testing.assert_allclose(full, noisy, atol=1e-3)


def test_svd_of_frames_agrees_with_the_mean_for_rank_0(lattice):
    _, noisy = lattice
    result = baselines.svd(noisy, rank=0, patch=None)
    np.testing.assert_allclose(result, np.broadcast_to(noisy.mean(0), noisy.shape), atol=1e-5)


@pytest.mark.parametrize("rate", [1.0, 4.0, 30.0])
def test_variance_stabilisation(rate):
    rng = np.random.default_rng(3)
    counts = rng.poisson(rate, 400_000) + 0.5 * rng.standard_normal(400_000)
    stable = baselines.stabilise(counts, 0.25)
    # the inverse of the mean is the mean: that is what "unbiased" says
    assert baselines.unstabilise(stable.mean(), 0.25) == pytest.approx(rate, abs=0.05)
    if rate >= 4:
        assert stable.std() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.ones((8, 8)), "shape \\(t, y, x\\).*image\\[np.newaxis\\]"),
        (np.ones((0, 8, 8)), "at least one pixel"),
        (np.ones((2, 8, 8), complex), "real numbers.*complex128"),
        (np.full((2, 8, 8), np.nan), "finite"),
    ],
)
@pytest.mark.parametrize("name", BASELINES)
def test_bad_frames(name, frames, message):
    with pytest.raises(ValueError, match=message):
        apply(name, frames)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("gaussian", {"sigma": -1}),
        ("gaussian_spacetime", {"sigma_t": -1}),
        ("total_variation", {"weight": 0}),
        ("nonlocal_means", {"h": 0}),
        ("wavelet", {"sigma": -0.1}),
        ("svd", {"rank": -1}),
        ("svd", {"patch": 9}),
        ("bm3d", {"strength": 0}),
        ("bm3d", {"read_noise": -1}),
        ("bm3d", {"gain": -1}),
    ],
)
def test_bad_parameters(name, parameters):
    (argument,) = parameters
    with pytest.raises(ValueError, match=f"^{argument}: expected"):
        apply(name, np.ones((2, 8, 8)), **parameters)


def test_bm3d_of_noise_that_is_the_same_everywhere():
    pytest.importorskip("bm3d", reason="the extra 'baselines' is not installed")
    y, x = np.mgrid[:32, :32]
    clean = (40 * np.cos(y / 4) * np.cos(x / 4))[np.newaxis]
    noisy = clean + 10 * np.random.default_rng(0).standard_normal(clean.shape)
    result = baselines.bm3d(noisy, gain=0, read_noise=10, offset=3)
    assert np.mean((result - clean) ** 2) < 0.4 * 100


def test_missing_bm3d_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm3d", None)
    with pytest.raises(ImportError, match="pip install bm3d"):
        baselines.bm3d(np.ones((1, 8, 8)))
