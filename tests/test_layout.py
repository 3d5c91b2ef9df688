# SPDX-License-Identifier: GPL-3.0-or-later
"""How atoms lie, told from their positions, and scenes that lie alike."""

import numpy as np
import pytest

from n2a import structures
from n2a.layout import match_layout, measure_layout
from n2a.pairs import PairSampler, Recipe
from n2a.spot_shape import find_tops

SHAPE, WIDTH = (128, 128), 2.0


def lattice(pattern, spacing, seed, **changes):
    rng = np.random.default_rng(seed)
    columns = structures.lattice(pattern, spacing, SHAPE, rng, **changes)
    inside = ((columns.positions >= 0) & (columns.positions < 128)).all(1)
    return columns.positions[inside & ~columns.vacant]


def lone(number, seed):
    return structures.scattered(number, SHAPE, 3 * WIDTH, np.random.default_rng(seed))


class TestMeasureLayout:
    @pytest.mark.parametrize("pattern", ["square", "hexagonal", "graphene"])
    @pytest.mark.parametrize("spacing", [8.0, 13.0])
    def test_lattices_fill_the_frame(self, pattern, spacing):
        frames = [lattice(pattern, spacing, seed, vacancies=0.05) for seed in range(3)]
        found = measure_layout(frames, SHAPE)
        assert found.spacing == pytest.approx((spacing,) * 3, rel=1e-3)
        low, _, high = found.density
        assert low <= np.mean([len(f) for f in frames]) / 128**2 <= high
        assert found.filled > 0.8

    def test_atoms_here_and_there_do_not(self):
        found = measure_layout([lone(20, seed) for seed in range(4)], SHAPE)
        assert found.filled < 0.4
        assert found.spacing[0] > 3 * WIDTH
        # A small crystal in a wide frame: the distance of a lattice, and most of it empty.
        corner = lattice("square", 8.0, 0)
        corner = corner[(corner < 50).all(1)]
        small = measure_layout([corner], SHAPE)
        assert small.spacing == pytest.approx((8, 8, 8))
        assert small.filled == 0

    def test_too_few_say_nothing(self):
        assert measure_layout([], SHAPE) is None
        assert measure_layout([np.zeros((0, 2)), np.array([[3.0, 4.0]])], SHAPE) is None
        assert measure_layout([lone(3, 0), lone(3, 1)], SHAPE) is None
        # The same two atoms in many frames are two atoms.
        assert measure_layout([lone(2, 0)] * 20, SHAPE) is None

    def test_frames_without_atoms_count(self):
        none, some = np.zeros((0, 2)), lone(30, 0)
        found = measure_layout([some, none, none, none, none], SHAPE)
        assert found.density[1] == 0
        assert found.filled < 0.1


class TestMatchLayout:
    def changes(self, frames):
        found = measure_layout(frames, SHAPE)
        return match_layout(found, WIDTH, 96, Recipe().structures)

    def test_shares(self):
        usual = dict(Recipe().structures)
        full = dict(self.changes([lattice("hexagonal", 9.0, 1)])["structures"])
        loose = dict(self.changes([lone(15, s) for s in range(4)])["structures"])
        for shares in (full, loose):
            assert sum(shares.values()) == pytest.approx(1)
            # Nothing is ruled out, and empty support is as frequent as ever.
            assert min(shares[kind] / usual[kind] for kind in usual) >= 0.3
            assert shares["empty"] == usual["empty"]
        assert full["crystal"] > 1.4 * usual["crystal"] > usual["crystal"] > loose["crystal"]
        assert loose["cluster"] > usual["cluster"] > full["cluster"]

    @pytest.mark.parametrize("spacing", [6.0, 9.0, 15.0])
    def test_scenes_lie_as_the_series_does(self, spacing):
        """The pairs that are drawn have the distances and the number of atoms of the series among theirs."""
        series = [lattice("square", spacing, seed) for seed in range(3)]
        changes = self.changes(series)
        only = (("crystal", 0.5), ("2d", 0.5))
        recipe = Recipe(**(changes | {"atom_width": (WIDTH, WIDTH + 1e-6), "structures": only}))
        pairs = PairSampler(recipe, size=96, window=1, seed=0)(48)
        seen = [find_tops(image.numpy(), WIDTH, 0.0) for image in pairs["atoms"]]
        layouts = [measure_layout([tops[:, :2]], (96, 96)) for tops in seen if len(tops) > 9]
        distances = [one.spacing[0] for one in layouts]
        assert np.quantile(distances, 0.1) < spacing < np.quantile(distances, 0.9)
        # Not just any distance, either.
        assert 0.5 * spacing < np.median(distances) < 1.7 * spacing

    @pytest.mark.parametrize("size", [48, 96, 128])
    def test_patches_hold_as_many_atoms(self, size):
        """Of the single atoms that are drawn, whatever the size of a patch."""
        layout = measure_layout([lone(40, seed) for seed in range(4)], SHAPE)
        changes = match_layout(layout, WIDTH, size, Recipe().structures)
        changes |= {"atom_width": (WIDTH, WIDTH + 1e-6), "structures": (("atoms", 1.0),)}
        pairs = PairSampler(Recipe(**changes), size=size, window=1, seed=0)(64)
        seen = [len(find_tops(image.numpy(), WIDTH, 0.1)) for image in pairs["atoms"]]
        assert np.mean(seen) == pytest.approx(0.75 * layout.density[1] * size**2, rel=0.35)

    def test_columns_that_touch(self):
        """Lattices stay apart enough to be seen as columns."""
        close = [lattice("square", 2.2 * WIDTH, seed) for seed in range(2)]
        spacing = match_layout(measure_layout(close, SHAPE), WIDTH, 96, Recipe().structures)[
            "spacing"
        ]
        assert 2.4 <= spacing[0] < spacing[1]

    def test_nothing_but_emptiness(self):
        changes = match_layout(measure_layout([lone(20, 0)], SHAPE), WIDTH, 96, (("empty", 1.0),))
        assert changes["structures"] == (("empty", 1.0),)

    def test_few_atoms_in_a_large_frame(self):
        """Distances without a meaning for a lattice stay within what pairs can be made with."""
        far = [np.array([[5.0, 5.0], [5.0, 900.0], [900.0, 5.0], [900.0, 900.0]])] * 4
        changes = match_layout(measure_layout(far, (1000, 1000)), WIDTH, 96, Recipe().structures)
        for name in ("spacing", "nearest", "lone", "crowd"):
            low, high = changes[name]
            assert 0 < low < high
        assert changes["spacing"][1] <= 12
        PairSampler(Recipe(**changes), size=48, window=3, seed=0)(4)
