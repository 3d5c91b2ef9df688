# SPDX-License-Identifier: GPL-3.0-or-later
"""Restored frames averaged with their neighbours in time where they agree."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import n2a
from n2a.fusion import AREA, Restored, fuse
from n2a.plan import plan_series
from n2a.predictor import Predictor

WIDTH = 2.0
STILL = (0, 0)


def spot(row, column, shape=(64, 72)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * WIDTH**2))


def restored(scene, seed=None, measured=None):
    """A frame as a network gives it: what is left of the noise is smooth and weak."""
    noise = 0.0
    if seed is not None:
        white = np.random.default_rng(seed).normal(size=scene.shape)
        noise = 0.3 * gaussian_filter(white, WIDTH)
    values = scene + noise
    return Restored(100 * values, values.astype(np.float16), measured)


def test_the_mean_has_less_noise_where_nothing_moves():
    scene = 3 * spot(20, 20)
    frames = [restored(scene, seed) for seed in range(3)]
    mean = fuse(frames[1], [(frames[0], STILL), (frames[2], STILL)], WIDTH)
    # With weights of 1, 1/2 and 1/2 the noise falls to 0.61 of that of one.
    assert np.std(mean - 100 * scene) < 0.68 * np.std(frames[1].intensity - 100 * scene)


@pytest.mark.parametrize("height", [1.5, 4.0, 30.0])
def test_what_moves_is_left_alone(height):
    here, there = height * spot(30, 30), height * spot(30, 36)
    mean = fuse(restored(here), [(restored(there), STILL)] * 2, WIDTH)
    np.testing.assert_allclose(mean, 100 * here, atol=2)


def test_motion_in_one_place_does_not_matter_elsewhere():
    reach = AREA * WIDTH
    first = restored(3 * spot(10, 10), 1)
    second = restored(3 * spot(10, 16), 2)
    still = restored(0 * spot(0, 0), 2)
    moved, same = (fuse(first, [(other, STILL)], WIDTH) for other in (second, still))
    far = (slice(int(10 + 5 * WIDTH + reach), None), slice(None))
    np.testing.assert_allclose(moved[far], same[far], atol=0.1)


def test_a_neighbour_is_put_where_the_frame_is():
    frame, other = 3 * spot(30, 30), 3 * spot(28, 33)
    mean = fuse(restored(frame), [(restored(other), (2, -3))], WIDTH)
    np.testing.assert_allclose(mean, 100 * frame, atol=0.1)
    # From beyond the edge of the neighbour nothing comes.
    bright = restored(np.full((64, 72), 0.0))._replace(intensity=np.full((64, 72), 30.0))
    mean = fuse(restored(np.zeros((64, 72))), [(bright, (2, -3))], WIDTH)
    assert not mean[:2].any()
    assert not mean[:, -3:].any()
    np.testing.assert_allclose(mean[2:, :-3], 10)


def test_what_was_not_measured_counts_for_nothing():
    measured = np.ones((64, 72), bool)
    measured[:20] = False
    frame, other = (restored(3 * spot(15, 30), seed) for seed in (0, 1))
    mean = fuse(frame, [(other._replace(measured=measured), STILL)], WIDTH)
    np.testing.assert_array_equal(mean[:20], frame.intensity[:20].astype(np.float32))
    assert not np.allclose(mean[20:], frame.intensity[20:])


def test_at_rest_the_result_is_nearer_to_the_truth_than_frames_restored_alone():
    clean = n2a.simulate(structure="crystal", shape=(96, 96), frames=8, drift=0, seed=4)
    noisy = n2a.acquire(clean, dose=4, seed=4)
    whole = n2a.denoise(noisy).data
    # Each frame by itself, with the same frames around it, but no neighbours to be averaged with.
    predictor = Predictor(None, plan_series(noisy.data, pixel_size=0.0125))
    prepared, matches = {}, {}
    alone = [predictor._restored(noisy.data, i, prepared, matches).intensity for i in range(8)]
    factor = whole.shape[-1] // alone[0].shape[-1]
    truth = clean.data * noisy.metadata.n2a.acquisition.counts_per_unit
    binned = truth.reshape(8, 96 // factor, factor, 96 // factor, factor).mean((2, 4))
    error = np.mean((np.stack(alone) - binned) ** 2)
    assert np.mean((whole - truth) ** 2) < 0.95 * error
