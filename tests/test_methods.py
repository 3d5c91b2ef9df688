# SPDX-License-Identifier: GPL-3.0-or-later
"""Other methods by name: what they choose, what they must not change, and what they say when they cannot."""

import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter

from n2a import baselines
from n2a.methods import ALIASES, METHODS, denoise_with, find_method, prepare
from n2a.noise import Noise
from n2a.pgure import choose_threshold, pgure_svt, steady_drift
from n2a.risk import Risk, scan_correlation
from n2a.selfsupervised import (
    noise2noise,
    noise2self,
    noise2void,
    structured_noise2void,
    train_noise2self,
)

NETWORKS = ("noise2noise", "noise2void", "structured_noise2void", "noise2self")
CLASSICAL = [name for name in METHODS if name not in NETWORKS]
PACKAGES = {"wavelet": "pywt", "bm3d": "bm3d", **dict.fromkeys(NETWORKS, "autoden")}


def need(name):
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name], reason="an extra for other methods is not installed")


@pytest.fixture(scope="module")
def lattice():
    """A static crystal of Gaussian columns, 1 to 13 counts, and Poisson counts of it."""
    y, x = np.mgrid[:48, :48]
    clean = 1 + 12 * (np.cos(np.pi * x / 16) * np.cos(np.pi * y / 16)) ** 4
    clean = np.repeat(clean[np.newaxis], 6, axis=0)
    return clean, np.random.default_rng(7).poisson(clean)


def error(result, clean):
    return np.mean((result - clean) ** 2)


@pytest.mark.parametrize("name", CLASSICAL)
def test_noise_is_reduced_without_a_parameter(name, lattice):
    need(name)
    frames = 2 if name == "bm3d" else 6
    clean, noisy = (part[:frames] for part in lattice)
    before = noisy.copy()
    result = denoise_with(name, noisy)
    assert result.shape == noisy.shape
    assert result.dtype == np.float32
    assert np.array_equal(noisy, before)
    assert error(result, clean) < 0.5 * error(noisy, clean)


# BM3D takes a second a frame
@pytest.mark.parametrize("name", [name for name in CLASSICAL if name != "bm3d"])
def test_units_of_the_detector_do_not_matter(name, lattice):
    need(name)
    _, noisy = lattice
    scaled = denoise_with(name, 7.0 * noisy + 300.0)
    expected = 7.0 * denoise_with(name, noisy) + 300.0
    # HyperSpy's weights follow counts, and zero counts are where the noise is seen to vanish
    np.testing.assert_allclose(scaled, expected, atol=2.0 if name == "svd" else 0.3)


@pytest.mark.parametrize("name", METHODS)
def test_constant_series_stays(name):
    result = denoise_with(name, np.full((6, 40, 40), 5, np.uint8))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, 5)


@pytest.mark.parametrize("name", [name for name in CLASSICAL if name != "bm3d"])
def test_noise_free_series_hardly_changes(name, lattice):
    need(name)
    clean, _ = lattice
    result = denoise_with(name, clean)
    assert np.sqrt(error(result, clean)) < 0.05 * np.ptp(clean)


def test_what_was_found_on_a_series_serves_its_parts(lattice):
    clean, noisy = lattice
    for name in ("gaussian", "total_variation", "svd_patches", "svd", "pgure_svt"):
        denoise = prepare(name, noisy)
        half = denoise(noisy[::2])
        assert half.shape == clean[::2].shape
        assert error(half, clean[::2]) < 0.7 * error(noisy, clean)
        np.testing.assert_array_equal(denoise(noisy), denoise_with(name, noisy))


@pytest.mark.parametrize("rate", [1.0, 6.0, 60.0])
def test_chosen_blur_is_nearly_the_best_one(rate, lattice):
    clean = rate / 6 * lattice[0]
    noisy = np.random.default_rng(3).poisson(clean)
    sigmas = np.geomspace(0.2, 6, 30)
    best = min(error(baselines.gaussian(noisy, sigma), clean) for sigma in sigmas)
    assert error(denoise_with("gaussian", noisy), clean) < 1.15 * best


def test_temporal_mean_is_the_mean(lattice):
    _, noisy = lattice
    result = denoise_with("temporal_mean", noisy)
    np.testing.assert_allclose(result, np.broadcast_to(noisy.mean(0), noisy.shape), rtol=1e-6)


def test_svd_weighs_counts_and_keeps_what_has_low_rank():
    rows = 20 + 15 * np.sin(np.arange(48) / 3)
    scene = rows[:, None] * np.ones(48)
    clean = (1 + np.arange(8.0))[:, None, None] * scene  # one component, ever brighter
    noisy = np.random.default_rng(0).poisson(clean)
    # of eight frames' noise a single component keeps an eighth, or two a quarter
    assert error(denoise_with("svd", noisy), clean) < 0.3 * error(noisy, clean)


class TestRisk:
    @pytest.mark.parametrize("sigma", [0.7, 1.5, 4.0])
    def test_is_the_error_of_a_blur(self, sigma, lattice):
        clean = np.tile(lattice[0], (2, 2, 2))
        noisy = 3.0 * np.random.default_rng(1).poisson(clean) + 50
        risk = Risk(noisy, Noise(gain=3.0, offset=-150.0, gain_error=0.0))

        def blur(frames):
            return gaussian_filter(frames, (0, sigma, sigma))

        true = error(blur(noisy), 3 * clean + 50)
        # of the residual, which is as noisy as the frames
        scatter = risk.variance.mean() * np.sqrt(2 / noisy.size)
        assert risk(blur) == pytest.approx(true, abs=6 * scatter + 0.05 * true)

    def test_allows_for_noise_along_the_scan(self):
        clean = 40 + 20 * np.sin(np.arange(128) / 8)[:, None] * np.ones((4, 128, 128))
        rng = np.random.default_rng(0)
        noise = lfilter([0.6], [1, -0.8], rng.standard_normal(clean.shape), axis=-1)
        noisy = clean + 5 * noise

        def blur(frames):
            return gaussian_filter(frames, (0, 0, 1.5))

        true = error(blur(noisy), clean)
        assert Risk(noisy)(blur) == pytest.approx(true, rel=0.25)

    def test_scan_correlation_is_that_of_the_noise(self):
        rng = np.random.default_rng(0)
        noise = lfilter([1], [1, -0.6], rng.standard_normal((4, 128, 128)), axis=-1)
        found = scan_correlation(noise)
        assert len(found) % 2 == 1
        middle = len(found) // 2
        np.testing.assert_allclose(found[middle : middle + 4], 0.6 ** np.arange(4), atol=0.05)
        np.testing.assert_allclose(found, found[::-1])


class TestPgureSvt:
    def test_threshold_of_zero_changes_nothing(self, lattice):
        _, noisy = lattice
        np.testing.assert_allclose(pgure_svt(noisy, threshold=0), noisy, atol=1e-3)

    def test_highest_threshold_gives_the_mean_along_the_trajectories(self, lattice):
        _, noisy = lattice
        result = pgure_svt(noisy, threshold=1e6, search=0)
        np.testing.assert_allclose(
            result, np.broadcast_to(noisy.mean(0), noisy.shape), rtol=1e-4, atol=1e-3
        )

    def test_chosen_threshold_is_nearly_the_best_one(self, lattice):
        clean, noisy = lattice
        chosen = choose_threshold(noisy)
        assert chosen["threshold"] > 0
        factors = (0.25, 0.5, 1, 2, 4)
        errors = [
            error(pgure_svt(noisy, threshold=f * chosen["threshold"], patch=chosen["patch"]), clean)
            for f in factors
        ]
        assert errors[2] < 1.25 * min(errors)

    def test_patches_are_followed(self):
        rng = np.random.default_rng(2)
        scene = 30 * gaussian_filter(rng.standard_normal((120, 140)), 2) + 10
        shown = np.stack([scene[2 * t : 2 * t + 64, 3 * t : 3 * t + 64] for t in range(8)])
        noisy = rng.poisson(shown.clip(0))
        assert steady_drift(noisy.astype(np.float32), 2).tolist() == [2, 3]
        followed = error(pgure_svt(noisy), shown.clip(0))
        assert followed < 0.5 * error(noisy, shown.clip(0))
        assert followed < 0.5 * error(pgure_svt(noisy[rng.permutation(8)][:, ::-1]), shown.clip(0))

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"threshold": -1}, "threshold: expected"),
            ({"patch": 49}, "patch: expected 2 to 48"),
            ({"length": 1}, "length: expected"),
            ({"search": -1}, "search: expected"),
            ({"step": 0}, "step: expected"),
        ],
    )
    def test_bad_parameters(self, parameters, message, lattice):
        with pytest.raises(ValueError, match=message):
            pgure_svt(lattice[1], **parameters)


class TestNetworks:
    @pytest.fixture(autouse=True)
    def library(self):
        pytest.importorskip("autoden", reason="the extra 'selfsupervised' is not installed")

    @pytest.mark.parametrize("method", [noise2noise, noise2void, structured_noise2void, noise2self])
    def test_seed_decides_and_the_callers_random_numbers_stay(self, method, lattice):
        import torch

        _, noisy = lattice
        np.random.seed(5)  # noqa: NPY002
        torch.manual_seed(5)
        first = method(noisy, seed=1, steps=3)
        after = np.random.uniform(), float(torch.rand(()))  # noqa: NPY002
        np.random.seed(5)  # noqa: NPY002
        torch.manual_seed(5)
        assert after == (np.random.uniform(), float(torch.rand(())))  # noqa: NPY002
        assert first.shape == noisy.shape
        assert first.dtype == np.float32
        assert np.isfinite(first).all()
        np.testing.assert_array_equal(method(noisy, seed=1, steps=3), first)
        assert not np.allclose(method(noisy, seed=2, steps=3), first)

    @pytest.mark.parametrize("method", [noise2noise, noise2void, noise2self])
    def test_some_steps_reduce_noise(self, method, lattice):
        clean, noisy = lattice
        result = method(7.0 * noisy + 300.0, steps=60)
        assert error((result - 300) / 7, clean) < 0.4 * error(noisy, clean)

    def test_noise2self_does_not_look_at_the_pixel_itself(self, lattice):
        noisy = lattice[1].astype(np.float32)
        denoise = train_noise2self(noisy, steps=2)
        changed = noisy.copy()
        changed[2, 31, 20] += 100
        before, after = denoise(noisy), denoise(changed)
        assert before[2, 31, 20] == pytest.approx(after[2, 31, 20], abs=1e-4)
        assert abs(before[2, 31, 21] - after[2, 31, 21]) > 1e-3

    def test_hidden_lines_keep_less_noise_along_the_scan(self):
        rng = np.random.default_rng(1)
        y, x = np.mgrid[:64, :64]
        clean = 20 + 15 * np.cos(np.pi * x / 8) * np.cos(np.pi * y / 8) * np.ones((4, 1, 1))
        noise = lfilter([1], [1, -0.7], rng.standard_normal(clean.shape), axis=-1)
        noisy = clean + 8 * noise
        plain = error(noise2void(noisy, steps=60), clean)
        structured = error(structured_noise2void(noisy, steps=60, reach=6), clean)
        assert structured < 0.8 * plain

    def test_bad_steps_and_reach(self, lattice):
        with pytest.raises(ValueError, match="steps: expected"):
            noise2void(lattice[1], steps=0)
        with pytest.raises(ValueError, match="reach: expected 1 to 15"):
            structured_noise2void(lattice[1], reach=16)


@pytest.mark.parametrize(
    ("name", "package", "module"),
    [
        ("bm3d", "bm3d", "bm3d"),
        ("wavelet", "PyWavelets", "pywt"),
        *((name, "auto-denoise", "autoden.algorithms") for name in NETWORKS),
    ],
)
def test_missing_package_says_what_to_install(name, package, module, lattice, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"pip install {package}"):
        denoise_with(name, lattice[1])


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("svd", (1, 64, 64), "'svd' decomposes a series.*at least 4, got 1"),
        ("pgure_svt", (2, 64, 64), "at least 3 frames.*\\(2, 64, 64\\)"),
        ("noise2noise", (1, 64, 64), "'noise2noise' needs at least 2 frames.*\\(1, 64, 64\\)"),
        ("noise2void", (3, 16, 16), "'noise2void' needs.*32 x 32"),
    ],
)
def test_too_few_frames_or_pixels(name, shape, message):
    frames = np.random.default_rng(0).poisson(5.0, shape)
    with pytest.raises(ValueError, match=message):
        denoise_with(name, frames)


@pytest.mark.parametrize("name", METHODS)
def test_bad_frames(name):
    with pytest.raises(ValueError, match="shape \\(t, y, x\\)"):
        denoise_with(name, np.ones((64, 64)))
    with pytest.raises(ValueError, match="finite"):
        denoise_with(name, np.full((6, 64, 64), np.nan))


def test_names_as_people_write_them():
    assert find_method("PGURE-SVT") == "pgure_svt"
    assert find_method(" structured Noise2Void ") == "structured_noise2void"
    assert set(map(find_method, ALIASES)) == set(ALIASES.values())
    with pytest.raises(ValueError, match="no method 'sharpen'.*gaussian"):
        find_method("sharpen")
