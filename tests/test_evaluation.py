# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures without the truth, on simulated counts whose truth is known here."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from n2a.evaluation import blur_reference, css_mean, neighbour_error, umse, upsnr
from n2a.means import block_mean
from n2a.noise import Noise
from n2a.whiteness import residual_whiteness


def spots(dose, shape=(96, 96), width=1.8, regular=True):
    """Expected counts of Gaussian atoms of `dose` counts at the top, on 0.3 times that."""
    y, x = (np.arange(n)[:, None] for n in shape)
    sites = np.random.default_rng(7).uniform(0, shape, (shape[0] * shape[1] // 100, 2))
    if regular:
        rows = np.arange(-5, shape[0] // 8 + 5)
        a, b = np.meshgrid(rows, np.arange(-5, shape[1] // 8 + 5), indexing="ij")
        sites = np.stack([8.6 * a + 1.7 * b, 8.6 * b - 1.7 * a], -1).reshape(-1, 2)
    column = np.exp(-((y - sites[:, 0]) ** 2) / (2 * width**2))
    row = np.exp(-((x - sites[:, 1]) ** 2) / (2 * width**2))
    return dose * (0.3 + column @ row.T)


def along_lines(rng, shape, decay=8):
    """Unit noise that is correlated along x over `decay` px and white along y: a first-order process."""
    noise = rng.normal(size=shape)
    keep = np.exp(-1 / decay)
    for i in range(1, shape[-1]):
        noise[..., i] = keep * noise[..., i - 1] + np.sqrt(1 - keep**2) * noise[..., i]
    return noise


def blur(frames, sigma):
    return gaussian_filter(frames.astype(float), (0, sigma, sigma))


class TestBlockMean:
    def test_weighted_mean(self):
        rng = np.random.default_rng(0)
        values, weight = rng.normal(size=(3, 37, 50)), rng.uniform(size=(3, 37, 50))
        assert block_mean(values, weight).value == pytest.approx(np.average(values, weights=weight))
        values[0, :4] = np.nan
        values[1, 5, 6] = np.inf
        finite = np.isfinite(values)
        assert block_mean(values).value == pytest.approx(values[finite].mean())

    def test_error_of_white_noise(self):
        rng = np.random.default_rng(1)
        errors = [block_mean(rng.normal(size=(2, 256, 256))).error for _ in range(5)]
        assert np.mean(errors) == pytest.approx(1 / np.sqrt(2 * 256**2), rel=0.15)

    def test_error_of_correlated_noise(self):
        rng = np.random.default_rng(2)
        maps = along_lines(rng, (20, 256, 256), decay=4)
        blocks = [block_mean(m) for m in maps]
        scatter = np.std([b.value for b in blocks])
        assert np.mean([b.error for b in blocks]) == pytest.approx(scatter, rel=0.35)
        assert scatter > 2 / 256  # what independent pixels would have, twice

    def test_few_pixels(self):
        assert block_mean(np.full((1, 1), 3.0)) == (3.0, np.inf)
        assert 0 < block_mean(np.random.default_rng(0).normal(size=(32, 32))).error < 0.1


class TestUnbiasedError:
    @pytest.mark.parametrize("dose", [1, 50])
    @pytest.mark.parametrize("lines", [0.0, 1.0])
    def test_is_the_true_error_within_its_own(self, dose, lines):
        truth = spots(dose)
        deviations = []
        for seed in range(30):
            rng = np.random.default_rng(seed)
            views = rng.poisson(truth, (4, *truth.shape)) + lines * np.sqrt(dose) * along_lines(
                rng, (4, *truth.shape), decay=3
            )
            result = gaussian_filter(views[0], 1.0)
            estimate = umse(result, *views[1:])
            deviations.append((estimate.value - np.mean((result - truth) ** 2)) / estimate.error)
        assert abs(np.mean(deviations)) < 3 / np.sqrt(30)
        assert 0.7 < np.std(deviations) < 1.35

    def test_upsnr_is_the_psnr(self):
        truth = np.broadcast_to(spots(20, shape=(128, 128)), (4, 128, 128))
        a, b, c = np.random.default_rng(0).poisson(truth, (3, *truth.shape))
        result = truth * 1.3
        expected = 10 * np.log10(30**2 / np.mean((result - truth) ** 2))
        assert upsnr(result, a, b, c, data_range=30) == pytest.approx(expected, abs=0.3)

    def test_mask_and_nan(self):
        truth = spots(20)
        a, b, c = np.random.default_rng(0).poisson(truth, (3, *truth.shape)).astype(float)
        result = gaussian_filter(a + 0.5 * b, 1)
        inner = np.zeros(truth.shape, bool)
        inner[10:70, 20:80] = True
        cut = np.s_[10:70, 20:80]
        expected = umse(result[cut], a[cut], b[cut], c[cut]).value
        assert umse(result, a, b, c, mask=inner).value == pytest.approx(expected)
        masked = np.where(inner, a, np.nan)
        assert umse(result, masked, b, c).value == pytest.approx(expected)
        assert upsnr(result, a, b, c, 30, inner) == pytest.approx(
            10 * np.log10(30**2 / expected), abs=1e-9
        )

    def test_refuses_what_noise_hides(self):
        truth = spots(20)
        for seed in range(10):
            views = np.random.default_rng(seed).poisson(truth, (3, *truth.shape))
            if umse(truth, *views).value <= 0:
                break
        with pytest.raises(ValueError, match="standard error of .* more frames"):
            upsnr(truth, *views, data_range=30)
        with pytest.raises(ValueError, match="has seen 'a'"):
            upsnr(views[0], *views, data_range=30)

    def test_unsigned_counts_do_not_wrap(self):
        a, b, c = np.random.default_rng(0).poisson(9, (3, 64, 64)).astype(np.uint8)
        estimate = umse(np.full((64, 64), 12, np.uint8), a, b, c)
        assert estimate.value == pytest.approx(9, abs=3 * estimate.error)


class TestNeighbourError:
    @pytest.mark.parametrize("dose", [1, 30])
    def test_perfect_result_has_one(self, dose):
        truth, gain, read = spots(dose), 2.5, 0.4
        level = gain * 0.3 * dose
        noise = gain * np.sqrt(0.3 * dose + read**2)
        deviations = []
        for seed in range(20):
            rng = np.random.default_rng(seed)
            target = gain * (rng.poisson(truth) + read * rng.normal(size=truth.shape))
            estimate = neighbour_error(gain * truth, target, level, noise, gain)
            deviations.append((estimate.value - 1) / estimate.error)
        assert abs(np.mean(deviations)) < 3 / np.sqrt(20)
        assert 0.6 < np.std(deviations) < 1.4
        blurred = gain * gaussian_filter(truth, 2.0)
        lost = neighbour_error(blurred, target, level, noise, gain).value - estimate.value
        assert lost > 0.01 * dose

    def test_closed_form_of_an_offset(self):
        target = 7 + 2 * np.random.default_rng(0).normal(size=(4, 128, 128))
        estimate = neighbour_error(np.full(target.shape, 8.0), target, level=0, noise=2, gain=0)
        assert estimate.value == pytest.approx(1 + 1 / 4, abs=4 * estimate.error)
        half = np.zeros((128, 128))
        half[:, :64] = 1
        result = np.where(half, 8.0, 1e3) * np.ones(target.shape)
        assert neighbour_error(result, target, 0, 2, 0, weight=half).value < 1.3

    def test_common_intensity_is_fair_to_the_dark(self):
        # With one's own variance, sqrt(m (m + 1)) does better than the truth m.
        m = 0.1
        target = np.random.default_rng(0).poisson(m, (8, 128, 128))
        truth, bright = np.full(target.shape, m), np.full(target.shape, np.sqrt(m * (m + 1)))
        own = [neighbour_error(f, target, m, np.sqrt(m), 1).value for f in (truth, bright)]
        np.testing.assert_allclose(own, [1, 2 * (bright.flat[0] - m)], rtol=0.03)
        fair = [
            neighbour_error(f, target, m, np.sqrt(m), 1, intensity=truth).value
            for f in (truth, bright)
        ]
        assert fair[0] < fair[1]


class TestWhiteness:
    @pytest.mark.parametrize("regular", [True, False])
    @pytest.mark.parametrize("dose", [0.3, 3, 300])
    @pytest.mark.parametrize("lines", [0.0, 0.7])
    def test_truth_leaves_noise_only(self, dose, lines, regular):
        truth = np.broadcast_to(spots(dose, regular=regular), (8, 96, 96))
        rng = np.random.default_rng(3)
        raw = rng.poisson(truth) + lines * np.sqrt(0.3 * dose) * along_lines(rng, truth.shape)
        w = residual_whiteness(raw, truth, width=1.8)
        assert w.y < 2 * w.y_error < 0.01
        assert w.x < 3 * w.x_error < 0.01
        assert w.chance > 0.01
        assert w.power == pytest.approx(1, abs=0.12)
        lost = residual_whiteness(raw, np.full(raw.shape, raw.mean()), width=1.8)
        assert lost.chance < 1e-6 if regular else lost.y > 3 * lost.y_error

    @pytest.mark.parametrize("regular", [True, False])
    @pytest.mark.parametrize("dose", [20, 200])
    def test_ranks_what_was_lost(self, dose, regular):
        truth = np.broadcast_to(spots(dose, regular=regular), (3, 96, 96))
        rng = np.random.default_rng(4)
        raw = rng.poisson(truth) + 0.5 * np.sqrt(0.3 * dose) * along_lines(rng, truth.shape)
        results = truth, blur(truth, 1), blur(truth, 2.5), np.full(truth.shape, truth.mean())
        ranked = [residual_whiteness(raw, result, width=1.8) for result in results]
        for field in ("y", "x", "power"):
            values = [getattr(w, field) for w in ranked]
            assert values == sorted(values)
            assert values[1] > values[0] + 0.002
        # A blur of the noisy frames themselves leaves noise in them as well.
        slight, strong = (residual_whiteness(raw, blur(raw, s), width=1.8) for s in (1, 2.5))
        assert ranked[0].y + 0.003 < slight.y < strong.y < ranked[-1].y
        assert ranked[0].chance > 0.01 > max(slight.chance, strong.chance)

    def test_smeared_noise_shows_although_nothing_is_lost(self):
        raw = np.random.default_rng(5).poisson(50, (2, 128, 128))
        w = residual_whiteness(raw, blur(raw, 0.8), width=1.5)
        # Of the residual delta - g of white noise, along y, smoothed along x.
        taps = gaussian_filter(np.eye(1, 41, 20)[0], 0.8)
        kernel = -np.outer(taps, taps)
        kernel[20, 20] += 1
        assert w.power == pytest.approx((kernel**2).sum(), rel=0.1)
        kernel = gaussian_filter(kernel, (0, 1.5))
        expected = [(kernel[lag:] * kernel[: 41 - lag]).sum() for lag in range(1, 6)]
        assert w.y == pytest.approx(np.sqrt(np.mean(np.square(expected))), rel=0.15)
        assert w.y < 0.02

    def test_structure_of_known_strength(self):
        # A wave along y of variance 1.125 in unit noise, lost entirely.
        y = np.arange(240)[:, None]
        wave = 1.5 * np.sin(2 * np.pi * y / 12) * np.ones((2, 240, 120))
        raw = wave + np.random.default_rng(6).normal(size=wave.shape)
        w = residual_whiteness(raw, np.zeros(raw.shape), width=2, noise=Noise(0, 1, 0))
        expected = 1.125 * np.cos(2 * np.pi * np.arange(1, 7) / 12)
        assert w.y == pytest.approx(np.sqrt(np.mean(expected**2)), rel=0.03)
        smoothed = np.exp(-((2 * np.pi * 2 / 12) ** 2))  # of the wave's variance, by 2 px along y
        assert w.x == pytest.approx(1.125 * smoothed, rel=0.03)
        assert w.power == pytest.approx(2.125, rel=0.03)
        assert w.peaks > 1000

    def test_units_background_and_defects_do_not_matter(self):
        truth = np.broadcast_to(spots(5), (3, 96, 96))
        raw = np.random.default_rng(8).poisson(truth).astype(float)
        result = blur(truth, 2)
        base = residual_whiteness(raw, result, width=1.8)
        scaled = residual_whiteness(40 * raw - 1e5, 40 * result - 1e5, width=1.8)
        np.testing.assert_allclose(scaled, base, rtol=1e-4)
        offset = residual_whiteness(raw, result - 17, width=1.8)
        np.testing.assert_allclose(offset, base, rtol=0.05, atol=1e-12)
        hot = raw.copy()
        hot[0, 10, 10] = hot[2, 60, 33] = 1e6
        hot[1, 20:24, 50:60] = np.nan
        hot[2, :, :3] = np.inf
        with np.errstate(all="raise"):
            assert residual_whiteness(hot, result, width=1.8).y == pytest.approx(base.y, rel=0.15)

    @pytest.mark.parametrize("shape", [(32, 200), (200, 32), (41, 40)])
    @pytest.mark.parametrize("width", [0.5, 3, 30, None])
    def test_any_shape_and_width(self, shape, width):
        raw = np.random.default_rng(9).poisson(20, shape)
        w = residual_whiteness(raw, np.full(shape, 20), width=width)
        assert np.isfinite(w).all()
        assert w.y < 2 * w.y_error
        assert w.x < 3 * w.x_error
        assert w.peaks > 1
        assert w.chance > 0.01

    def test_false_alarms_are_as_rare_as_said(self):
        truth = np.broadcast_to(spots(10, shape=(64, 64)), (2, 64, 64))
        chances, ys = [], []
        for seed in range(40):
            raw = np.random.default_rng(seed).poisson(truth)
            w = residual_whiteness(raw, truth, width=1.8, noise=Noise(1, 0, 0))
            chances.append(w.chance)
            ys.append(w.y / w.y_error)
        assert np.mean(np.array(chances) < 0.1) <= 0.15
        assert np.mean(np.array(ys) > 2) <= 0.05


class TestCss:
    def test_mean_of_ssim(self):
        frames = np.random.default_rng(0).poisson(spots(10), (3, 96, 96))

        def ssim(a, b):
            return structural_similarity(
                a.astype(float),
                b.astype(float),
                data_range=20,
                gaussian_weights=True,
                use_sample_covariance=False,
            )

        expected = np.mean([ssim(frames[0], frames[1]), ssim(frames[1], frames[2])])
        assert css_mean(frames, 20) == pytest.approx(expected, abs=1e-5)
        soft = blur(frames, 1.5)
        expected = np.mean([ssim(soft[0], soft[1]), ssim(soft[1], soft[2])])
        assert blur_reference(frames, 20, sigma=1.5) == pytest.approx(expected, abs=1e-5)

    def test_nan_do_not_spread(self):
        frames = np.random.default_rng(0).poisson(spots(10), (3, 96, 96)).astype(float)
        expected = blur_reference(frames, 20, sigma=2)
        frames[1, :, 90:] = np.nan
        assert blur_reference(frames, 20, sigma=2) == pytest.approx(expected, abs=0.02)


GOOD = np.random.default_rng(0).poisson(9.0, (2, 48, 48))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: umse(GOOD, GOOD, GOOD[:1], GOOD), r"'b' has shape \(1, 48, 48\).*\(2, 48, 48\)"),
        (lambda: umse(GOOD * 1j, GOOD, GOOD, GOOD), "'denoised' has dtype 'complex128'"),
        (lambda: umse(GOOD, GOOD, GOOD, [1, 2]), r"'c' has .* shape \(2,\)"),
        (lambda: umse(GOOD, GOOD, GOOD, GOOD, mask=np.ones(7)), r"'mask' has shape \(7,\)"),
        (lambda: umse(GOOD, GOOD, GOOD, GOOD, mask=np.zeros(48)), "No pixel is left.*'mask'"),
        (lambda: umse(GOOD, GOOD, GOOD, GOOD, block=0), "'block' is 0"),
        (lambda: upsnr(GOOD, GOOD, GOOD, GOOD, data_range=0), "'data_range' is 0; expected a pos"),
        (lambda: upsnr(GOOD, GOOD, GOOD, GOOD, data_range=np.nan), "'data_range' is nan"),
        (lambda: upsnr(GOOD, GOOD, GOOD, GOOD, data_range="wide"), "'data_range' is 'wide'"),
        (lambda: neighbour_error(GOOD, GOOD[0], 0, 1, 1), "'target' has shape"),
        (lambda: neighbour_error(GOOD, GOOD, 0, 0, 1), "'noise' is 0"),
        (lambda: neighbour_error(GOOD, GOOD, 0, 1, -1), "'gain' is -1.*0 or more"),
        (lambda: neighbour_error(GOOD, GOOD, np.inf, 1, 1), "'level' is inf"),
        (lambda: neighbour_error(GOOD, GOOD, 0, 1, 1, weight=-1), "'weight' has values"),
        (lambda: neighbour_error(GOOD, GOOD, 0, 1, 1, intensity=GOOD[0]), "'intensity' has shape"),
        (lambda: residual_whiteness(GOOD, GOOD[:, 1:]), "'denoised' has shape.*'raw'"),
        (lambda: residual_whiteness(GOOD, GOOD), "'denoised' equals 'raw'"),
        (lambda: residual_whiteness(GOOD * np.nan, GOOD), "a quarter of its pixels finite"),
        (lambda: residual_whiteness(GOOD[:, :20], GOOD[:, :20] + 1), "at least 32 x 32 px"),
        (lambda: residual_whiteness(0 * GOOD + 3, GOOD), "'raw' has no noise.*Pass 'noise'"),
        (lambda: residual_whiteness(GOOD, 0 * GOOD, width=-2), "'width' is -2"),
        (
            lambda: residual_whiteness(np.where(np.arange(48) % 8, GOOD, np.nan), 0 * GOOD),
            "'raw' has no block of 8 x 8 .* pass 'noise'",
        ),
        (lambda: css_mean(GOOD[:1], 10), r"'frames' has shape \(1, 48, 48\).*n of 2 or more"),
        (lambda: css_mean(GOOD * np.nan, 10), "'frames' have no pair with a window"),
        (lambda: css_mean(GOOD, -1), "'data_range' is -1"),
        (lambda: blur_reference(GOOD, 10, sigma=0), "'sigma' is 0"),
    ],
)
def test_bad_input_says_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()
