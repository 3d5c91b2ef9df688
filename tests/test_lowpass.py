# SPDX-License-Identifier: GPL-3.0-or-later
"""The low-pass filter against SciPy's, and what its published counterpart is not: centred, of sum 1, Gaussian."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from n2a.lowpass import LowPass


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def low_pass(images, **options):
    with torch.inference_mode():
        return LowPass(**options)(torch.as_tensor(images)).numpy()


@pytest.fixture(scope="module")
def spot():
    """What one bright pixel becomes, and the distances from that pixel."""
    image = np.zeros((1, 1, 81, 91))
    image[0, 0, 37, 49] = 1
    y, x = np.mgrid[:81, :91]
    return low_pass(image)[0, 0], y - 37, x - 49


class TestKernel:
    def test_sum_is_one(self, spot):
        assert spot[0].sum() == pytest.approx(1, abs=1e-6)

    def test_centroid_is_in_the_middle(self, spot):
        values, y, x = spot
        assert (values * y).sum() == pytest.approx(0, abs=1e-6)
        assert (values * x).sum() == pytest.approx(0, abs=1e-6)

    def test_width_is_as_stated(self, spot):
        # Less what is cut off beyond 16 px, 0.7 in a thousand.
        values, y, x = spot
        assert (values * y**2).sum() == pytest.approx(15, rel=2e-3)
        assert (values * x**2).sum() == pytest.approx(15, rel=2e-3)
        assert (values * x * y).sum() == pytest.approx(0, abs=1e-6)

    def test_is_gaussian(self, spot):
        values, y, x = spot
        inside = np.maximum(abs(y), abs(x)) <= 16
        assert not values[~inside].any()
        expected = np.exp(-(y**2 + x**2) / 30) / (2 * np.pi * 15)
        np.testing.assert_allclose(values[inside], expected[inside], rtol=1e-3)

    @pytest.mark.parametrize(("sigma", "size"), [(0.8, 9), (2.5, 21), (6.0, 49)])
    def test_other_widths(self, sigma, size):
        image = np.zeros((1, 1, 101, 101))
        image[0, 0, 50, 50] = 1
        values = low_pass(image, sigma=sigma, size=size)[0, 0]
        square = (np.arange(101) - 50) ** 2
        assert (values.sum(0) * square).sum() == pytest.approx(sigma**2, rel=2e-3)
        assert values.sum() == pytest.approx(1, abs=1e-6)


class TestFilter:
    @pytest.mark.parametrize("shape", [(17, 17), (40, 64), (128, 33)])
    def test_against_scipy(self, shape):
        image = noise(*shape)
        expected = gaussian_filter(image, 15**0.5, radius=16, mode="mirror")
        np.testing.assert_allclose(low_pass(image[None, None])[0, 0], expected, atol=1e-6)

    def test_the_cut_does_not_matter(self):
        image = noise(96, 96)
        expected = gaussian_filter(image, 15**0.5, truncate=8)
        inner = np.s_[32:-32, 32:-32]
        np.testing.assert_allclose(low_pass(image[None, None])[0, 0][inner], expected[inner], atol=1e-4)  # fmt: skip

    def test_each_channel_and_image_by_itself(self):
        images = noise(2, 3, 24, 30)
        together = low_pass(images)
        assert together.shape == images.shape
        for b in range(2):
            for c in range(3):
                alone = low_pass(images[b : b + 1, c : c + 1])[0, 0]
                np.testing.assert_allclose(together[b, c], alone, atol=1e-12)

    def test_a_constant_stays_one(self):
        np.testing.assert_allclose(low_pass(np.full((1, 2, 30, 50), 7.0)), 7, rtol=1e-6)

    def test_takes_the_noise_away(self):
        # The sum of the squared kernel, of a Gaussian 1 / (4 pi sigma^2).
        left = low_pass(noise(1, 1, 512, 512))[..., 16:-16, 16:-16].std()
        assert left == pytest.approx(1 / np.sqrt(4 * np.pi * 15), rel=0.05)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_type_is_kept(self, dtype):
        assert LowPass()(torch.zeros(1, 1, 32, 32, dtype=dtype)).dtype == dtype

    def test_gradient(self):
        x = torch.from_numpy(noise(1, 2, 7, 9)).requires_grad_(True)
        assert torch.autograd.gradcheck(LowPass(sigma=1.5, size=9), x)

    def test_nothing_to_train_and_nothing_to_save(self):
        low_pass = LowPass()
        assert not list(low_pass.parameters())
        assert not low_pass.state_dict()
        assert low_pass.to(torch.float64).kernel.dtype == torch.float64  # it moves with the rest


class TestErrors:
    @pytest.mark.parametrize("sigma", [0, -1.0, float("nan"), float("inf")])
    def test_sigma(self, sigma):
        with pytest.raises(ValueError, match=f"sigma: expected a positive.* got {sigma!r}; "):
            LowPass(sigma=sigma)

    @pytest.mark.parametrize("size", [32, 0, -3, 4.5])
    def test_size(self, size):
        with pytest.raises(ValueError, match=f"size: expected an odd.* got {size!r}; .* 17, four"):
            LowPass(sigma=2, size=size)

    def test_images_too_small_to_be_reflected(self):
        with pytest.raises(
            ValueError, match="images: expected more than 16 px .* got 40 x 16; use"
        ):
            LowPass()(torch.zeros(1, 1, 40, 16))
