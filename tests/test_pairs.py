# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated pairs: reproducible, finite, and the truth is what the frames scatter about."""

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter

from n2a.normalization import linearise
from n2a.pairs import PairSampler, Recipe

KINDS = ("empty", "atoms", "cluster", "crystal", "2d", "random")


def only(kind, **ranges):
    return Recipe(structures=((kind, 1.0),), **ranges)


def linear_frames(batch):
    """Frames in units of the noise, as counted."""
    return linearise(batch["frames"], batch["curvature"][:, None, None, None]).numpy()


@pytest.fixture(scope="module")
def batch():
    return PairSampler(Recipe(), size=64, window=5, seed=1)(24)


@pytest.fixture(scope="module")
def clear():
    """Pairs at so high a dose, and without what blurs along the scan, that the frames are nearly the truth."""
    recipe = Recipe(
        peak=(400.0, 1500.0), drift=(1e-3, 2e-3), tumble=(0, 0), afterglow=(0, 0), line_noise=(0, 0),
        row_jitter=(0, 0), dark=0.0, structures=(("crystal", 0.5), ("2d", 0.5)),
    )  # fmt: skip
    return PairSampler(recipe, size=64, window=5, seed=2)(32)


class TestBatch:
    def test_shapes(self, batch):
        shapes = {name: tuple(t.shape) for name, t in batch.items()}
        images = (24, 64, 64)
        assert shapes == {
            "frames": (24, 5, 64, 64), "valid": (24, 5, 64, 64), "curvature": (24,),
            "atoms": images, "background": images, "weight": images, "clean": (24, 5, 64, 64),
        }  # fmt: skip
        assert all(t.dtype == torch.float32 for t in batch.values())

    @pytest.mark.parametrize(("size", "window"), [(32, 1), (48, 3), (40, 7)])
    def test_other_sizes(self, size, window):
        batch = PairSampler(Recipe(), size=size, window=window, seed=0)(3)
        assert batch["frames"].shape == (3, window, size, size)
        assert batch["atoms"].shape == (3, size, size)

    @pytest.mark.parametrize(("stretch", "tilt"), [(1.0, 0.0), (2.0, 0.0), (0.6, 0.0), (1.2, 0.6)])
    def test_shape_of_the_atoms(self, stretch, tilt):
        """Widths and tilt by the moments of atoms that stand alone, whose area stays the same."""
        recipe = only(
            "atoms", atom_width=(2.4, 2.4), elongation=(stretch, stretch), correlation=tilt, astigmatism=0.0,
            peak=(100, 100), usual_peak=(100, 100), dark=0.0, row_jitter=(0, 0),
        )  # fmt: skip
        batch = PairSampler(recipe, size=96, window=1, seed=4)(24)
        y, x = np.mgrid[-11:12, -11:12]
        found = []
        for image in batch["atoms"].numpy():
            alone = np.argwhere(image[11:-11, 11:-11] == maximum_filter(image, 35)[11:-11, 11:-11])
            for row, column in alone:
                part = image[row : row + 23, column : column + 23]
                rim = max(part[[0, -1]].max(), part[:, [0, -1]].max())
                if not 0 <= rim < 0.01 * part.max():
                    continue
                p = part / part.sum()
                u, v = y - (p * y).sum(), x - (p * x).sum()
                found.append([(p * u * u).sum(), (p * v * v).sum(), (p * u * v).sum()])
        assert len(found) > 5
        yy, xx, yx = np.median(found, axis=0)
        assert (yy * xx - yx**2) ** 0.25 == pytest.approx(2.4, rel=0.05)
        assert (xx / yy) ** 0.5 == pytest.approx(stretch, rel=0.06)
        assert yx / (yy * xx) ** 0.5 == pytest.approx(tilt, abs=0.06)

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_structure_is_finite(self, kind):
        for seed in range(3):
            batch = PairSampler(only(kind), size=48, window=5, seed=seed)(12)
            for name, tensor in batch.items():
                assert torch.isfinite(tensor).all(), name

    def test_seeds(self, batch):
        again = PairSampler(Recipe(), size=64, window=5, seed=1)
        first = again(24)
        for name in batch:
            np.testing.assert_array_equal(batch[name], first[name])
        assert not torch.equal(again(24)["frames"], first["frames"])  # the next is another
        other = PairSampler(Recipe(), size=64, window=5, seed=3)(24)
        assert not torch.equal(other["frames"], first["frames"])

    def test_masks(self, batch):
        valid = batch["valid"]
        assert set(valid[:, 1:4].unique().tolist()) <= {0.0, 1.0}
        assert (valid[:, 2] == 1).all()  # the frame to be restored was measured, once
        assert not batch["frames"][valid == 0].any()
        # Some windows lack neighbours, as at the ends of a series; most do not.
        whole = valid.flatten(1).all(1).float().mean()
        assert 0.2 < whole < 0.9

    def test_noise_is_one(self):
        # After stabilisation, on support without atoms, whatever the dose.
        recipe = only("empty", afterglow=(0, 0), line_noise=(0, 0), peak=(20.0, 1500.0))
        batch = PairSampler(recipe, size=64, window=5, seed=5)(32)
        frames = batch["frames"][:, 2].numpy()
        # Differences along y: the film is smooth.
        spread = np.median(np.abs(np.diff(frames, n=2, axis=1)), axis=(1, 2)) * 1.4826 / np.sqrt(6)
        assert np.median(spread) == pytest.approx(1, abs=0.2)

    def test_outer_frames_are_means_of_several(self):
        recipe = only(
            "empty", afterglow=(0, 0), line_noise=(0, 0), peak=(20.0, 1500.0), drift=(0.02, 0.03)
        )
        sampler = PairSampler(recipe, size=64, window=5, seed=5)
        told = []
        for _ in range(8):
            batch = sampler(16)
            noise = np.diff(batch["frames"].numpy(), n=2, axis=2)  # the film is smooth
            noise = np.median(np.abs(noise), axis=(2, 3)) * 1.4826 / np.sqrt(6)
            number = batch["valid"].numpy()
            for slot in (0, 4):
                here = number[:, slot].min(axis=(1, 2)) >= 1
                told += list(
                    zip(number[here, slot].mean(axis=(1, 2)), noise[here, slot] / noise[here, 2])
                )
        number, ratio = np.array(told).T
        assert number.max() == pytest.approx(4)
        assert np.median(ratio * np.sqrt(number)) == pytest.approx(1, abs=0.05)

    def test_what_has_moved_is_not_averaged(self):
        recipe = only("cluster", tumble=(0.4, 0.5), peak=(300.0, 1000.0))
        sampler = PairSampler(recipe, size=96, window=5, seed=6)
        moved, still = [], []
        for _ in range(8):
            batch = sampler(8)
            number, clean = batch["valid"][:, 0], batch["clean"]
            change = (clean[:, 0] - clean[:, 2]).abs()
            moved.append(number[(number > 0) & (change > 5)])
            still.append(number.amax((1, 2)))
        assert torch.cat(moved).max() == 1
        assert torch.cat(still).max() > 2


class TestTruth:
    def test_atoms_have_one_sign(self, batch):
        # Dark atoms are turned over before the network sees them.
        atoms = batch["atoms"]
        assert atoms.min() >= -1e-4 * atoms.max()

    def test_empty_support_has_no_atoms(self):
        batch = PairSampler(only("empty"), size=48, window=5, seed=0)(8)
        assert not batch["atoms"].any()
        assert (batch["weight"] == 1).all()

    def test_frames_scatter_about_the_truth(self, clear):
        truth = (clear["atoms"] + clear["background"]).numpy()
        residual = linear_frames(clear)[:, 2] - truth
        # The mean of an image, in units of its noise per pixel; a few have dead and hot pixels.
        means = np.abs(np.median(residual, axis=(1, 2)))
        assert np.median(means) < 0.1
        assert np.quantile(means, 0.8) < 0.5

    def test_truth_is_linear_in_the_counts(self, clear):
        # Over each image: counts rise one to one with the truth.
        slopes = []
        for frames, atoms, background in zip(
            linear_frames(clear)[:, 2], clear["atoms"].numpy(), clear["background"].numpy()
        ):
            truth = (atoms + background).ravel()
            if truth.std() > 3:
                kept = np.abs(frames.ravel() - truth) < 0.5 * np.ptp(truth)  # no hot pixels
                slopes.append(np.polyfit(truth[kept], frames.ravel()[kept], 1)[0])
        assert len(slopes) > 10
        assert np.median(slopes) == pytest.approx(1, abs=0.03)

    def test_mean_of_still_frames_is_nearer_to_the_truth(self, clear):
        whole = clear["valid"].flatten(1).all(1).numpy()
        frames = linear_frames(clear)[whole]
        truth = (clear["atoms"] + clear["background"]).numpy()[whole]
        one = np.abs(frames[:, 2] - truth).mean(axis=(1, 2))
        mean = np.abs(frames.mean(axis=1) - truth).mean(axis=(1, 2))
        assert np.median(mean / one) < 0.75

    def test_dark_atoms(self):
        recipe = only("2d", dark=1.0, peak=(50.0, 500.0), afterglow=(0, 0), line_noise=(0, 0))
        batch = PairSampler(recipe, size=64, window=5, seed=4)(12)
        assert (batch["curvature"] <= 0).all()
        frames, atoms = linear_frames(batch)[:, 2], batch["atoms"].numpy()
        related = [
            np.corrcoef(f.ravel(), a.ravel())[0, 1] for f, a in zip(frames, atoms) if a.any()
        ]
        assert np.median(related) > 0.2  # upside up

    def test_curvature_is_that_of_counting(self, batch):
        bend = batch["curvature"].numpy()
        assert (bend == 0).any()  # where it cannot be told
        assert np.abs(bend).max() < 2 * (3 / 8) ** -0.5
        assert (bend > 0).mean() > 0.4

    def test_empty_sites_weigh_more(self):
        batch = PairSampler(only("2d"), size=64, window=5, seed=6)(16)
        weight = batch["weight"]
        assert weight.min() == 1
        assert 4 < weight.max() <= 5.01
        heavy = weight > 3
        assert heavy.any()
        # On an empty site there is little of an atom.
        assert batch["atoms"][heavy].median() < 0.3 * batch["atoms"].amax(dim=(1, 2)).mean()


class TestRecipe:
    def test_is_plain_values_for_the_model_card(self):
        described = Recipe().to_dict()
        again = json.loads(json.dumps(described))
        assert tuple(again["atom_width"]) == Recipe().atom_width
        assert {name for name, _ in again["structures"]} == set(KINDS)

    def test_shares_add_up(self):
        assert sum(share for _, share in Recipe().structures) == pytest.approx(1)

    def test_ranges_are_kept(self):
        # One dim dose, one bright: truth in units of the noise follows.
        dim, bright = (
            PairSampler(only("random", peak=(p, 1.01 * p), dark=0.0), size=48, seed=1)(16)["atoms"]
            for p in (0.5, 500.0)
        )
        ratio = bright.amax(dim=(1, 2)).median() / dim.amax(dim=(1, 2)).median()
        # Signal over noise rises with the root of the dose, or faster where nothing is counted.
        assert 15 < ratio < 500
