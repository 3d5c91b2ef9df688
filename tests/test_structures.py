# SPDX-License-Identifier: GPL-3.0-or-later
"""Where atoms sit: clusters, lattices, and how they move, against geometry done by hand."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from n2a import structures

GOLDEN = (1 + np.sqrt(5)) / 2


def rng(seed=0):
    return np.random.default_rng(seed)


def from_centre(positions):
    return np.sort(np.linalg.norm(positions - positions.mean(axis=0), axis=1))


class TestCluster:
    @pytest.mark.parametrize("n_atoms", [1, 2, 3, 12, 13, 14, 54, 55, 56, 200])
    @pytest.mark.parametrize("kind", ["fcc", "icosahedral", "amorphous"])
    def test_number_and_centre(self, kind, n_atoms):
        positions = structures.cluster(n_atoms, 2.5, kind, rng(n_atoms))
        assert positions.shape == (n_atoms, 3)
        np.testing.assert_allclose(positions.mean(axis=0), 0, atol=1e-9)

    @pytest.mark.parametrize("n_atoms", [2, 19, 140])
    def test_fcc_neighbours(self, n_atoms):
        distance = pdist(structures.cluster(n_atoms, 0.277, "fcc", rng(3))) / 0.277
        assert distance.min() == pytest.approx(1, abs=1e-9)
        # Squared distances between sites of an fcc lattice are whole multiples of the shortest one.
        np.testing.assert_allclose(distance**2, np.round(distance**2), atol=1e-6)
        if n_atoms == 140:
            per_atom = 2 * np.count_nonzero(np.isclose(distance, 1)) / n_atoms
            assert 8 < per_atom < 12  # 12 neighbours inside, fewer on the surface

    def test_fcc_is_compact(self):
        # A ball of 140 atoms: at sqrt(2) atoms per cubed neighbour distance, its radius is known.
        ball = (3 * 140 / (4 * np.pi * np.sqrt(2))) ** (1 / 3)
        furthest = from_centre(structures.cluster(140, 1.0, "fcc", rng(1)))[-1]
        assert ball - 0.5 < furthest < ball + 0.7

    def test_icosahedron_of_13(self):
        # Twelve corners at one distance, five neighbours each; edges are 5 % longer than the radius.
        positions = structures.cluster(13, 1.0, "icosahedral", rng(5))
        radius = from_centre(positions)
        assert radius[0] == pytest.approx(0, abs=1e-6)
        np.testing.assert_allclose(radius[1:], radius[1], rtol=1e-5)
        distance = np.sort(pdist(positions))
        edges = distance[12:42]
        np.testing.assert_allclose(edges, edges[0], rtol=1e-5)
        assert distance[42] > 1.2 * edges[0]
        assert radius[1] / edges[0] == pytest.approx(np.sin(2 * np.pi / 5), rel=1e-5)
        assert distance[0] <= 1.0 + 1e-6 <= edges[-1] + 2e-6  # one of the two is what was asked for

    def test_icosahedron_of_55_has_shells_1_12_42(self):
        radius = from_centre(structures.cluster(55, 1.0, "icosahedral", rng(5)))
        inner, corner, middle = radius[1], radius[-1], radius[13]
        np.testing.assert_allclose(radius[1:13], inner, rtol=1e-5)
        np.testing.assert_allclose(radius[13:43], middle, rtol=1e-5)  # 30 edges
        np.testing.assert_allclose(radius[43:], corner, rtol=1e-5)  # 12 corners
        assert corner == pytest.approx(2 * inner, rel=1e-5)
        # The middle of an edge of length 2 lies at the golden ratio from the centre.
        assert middle / corner == pytest.approx(GOLDEN / (2 * np.sin(2 * np.pi / 5)), rel=1e-5)

    def test_incomplete_icosahedron_keeps_its_core(self):
        positions = structures.cluster(30, 1.0, "icosahedral", rng(2))
        # 13 atoms of the inner icosahedron, one of which has all its 12 neighbours.
        near = (np.linalg.norm(positions[:, None] - positions, axis=-1) < 1.2).sum(axis=1) - 1
        assert near.max() == 12
        assert pdist(positions).min() > 0.9

    @pytest.mark.parametrize("n_atoms", [10, 150])
    def test_amorphous_has_no_order_and_no_overlap(self, n_atoms):
        positions = structures.cluster(n_atoms, 2.0, "amorphous", rng(4))
        distance = pdist(positions) / 2.0
        assert distance.min() > 0.89
        near = distance[distance < 1.3]
        assert near.std() > 0.03  # a crystal has one value

    def test_orientation_is_random_and_uniform(self):
        # The direction of a pair of atoms: each component of a uniform unit vector has variance 1/3.
        generator = rng(6)
        pairs = [structures.cluster(2, 1.0, "fcc", generator) for _ in range(600)]
        directions = np.array([p[1] - p[0] for p in pairs])
        np.testing.assert_allclose((directions**2).mean(axis=0), 1 / 3, atol=0.05)

    def test_unknown_kind_names_the_known(self):
        with pytest.raises(ValueError, match="'kind' is 'bcc'.*amorphous.*fcc.*icosahedral"):
            structures.cluster(13, 1.0, "bcc", rng())


class TestLattice:
    @pytest.mark.parametrize(
        ("pattern", "nearest", "density"),
        [
            # in units of the spacing: nearest neighbour, columns per area
            ("square", 1, 1),
            ("hexagonal", 1, 2 / np.sqrt(3)),
            ("graphene", 1, 4 / (3 * np.sqrt(3))),
            ("mos2", 1, 4 / (3 * np.sqrt(3))),
            ("perovskite", 1, 1),
            ("rocksalt", 1, 1),
            ("centred", np.sqrt(3) / 2, np.sqrt(2)),
        ],
    )
    def test_spacing_and_density(self, pattern, nearest, density):
        columns = structures.lattice(pattern, 3.0, (90, 120), rng(1))
        assert pdist(columns.positions).min() / 3 == pytest.approx(nearest, rel=2e-3)
        inside = np.all((columns.positions >= 0) & (columns.positions < (90, 120)), axis=1)
        assert inside.sum() * 9 / (90 * 120) == pytest.approx(density, rel=0.05)
        assert not columns.vacant.any()

    @pytest.mark.parametrize("pattern", sorted(structures.PATTERNS))
    def test_fills_the_field_at_any_angle(self, pattern):
        for turn in (0.0, 0.4, 1.2):
            columns = structures.lattice(pattern, 4.0, (50, 80), rng(2), rotation=turn)
            occupied, *_ = np.histogram2d(
                *columns.positions.T, bins=(3, 5), range=((0, 50), (0, 80))
            )
            assert occupied.min() > 0

    def test_rotation_turns_the_lattice(self):
        def directions(turn):
            p = structures.lattice("square", 5.0, (60, 60), rng(3), rotation=turn).positions
            step = (p[:, None] - p).reshape(-1, 2)
            step = step[np.isclose(np.hypot(*step.T), 5.0)]
            return np.rad2deg(np.arctan2(*step.T)) % 90

        assert np.ptp((directions(np.deg2rad(20)) - directions(0.0)[0]) % 90) < 1e-6
        difference = (directions(np.deg2rad(20))[0] - directions(0.0)[0]) % 90
        assert min(abs(difference - 20), abs(difference - 70)) < 1e-6

    def test_two_sublattices_have_their_z_contrast(self):
        columns = structures.lattice("mos2", 3.0, (60, 60), rng(1))
        bright, dim = columns.intensities.max(), columns.intensities.min()
        assert bright / dim == pytest.approx((42 / 24) ** 1.7, rel=1e-9)
        share = np.isclose(columns.intensities, bright).mean()
        assert share == pytest.approx(0.5, abs=0.05)

    def test_thickness_adds_up(self):
        thin, thick = (
            structures.lattice("rocksalt", 3.0, (60, 60), rng(1), thickness=t) for t in (1, 7)
        )
        np.testing.assert_allclose(thick.intensities, 7 * thin.intensities)

    def test_wedge_falls_to_one_atom_along_a_line(self):
        columns = structures.lattice("square", 3.0, (90, 90), rng(4), thickness=9, wedge=True)
        atoms = columns.intensities / structures.z_contrast(78)
        np.testing.assert_allclose(atoms, np.round(atoms), atol=1e-9)
        assert (atoms.min(), atoms.max()) == (1, 9)
        plane = np.column_stack([columns.positions, np.ones(len(atoms))])
        fit = plane @ np.linalg.lstsq(plane, atoms, rcond=None)[0]
        assert np.abs(fit - atoms).max() < 1

    def test_vacancies_and_dopants_have_their_shares(self):
        columns = structures.lattice(
            "square", 1.0, (80, 80), rng(5), vacancies=0.1, dopants=0.05, dopant_contrast=3.0
        )
        plain = structures.z_contrast(78)
        assert columns.vacant.mean() == pytest.approx(0.1, abs=0.015)
        assert np.all(columns.intensities[columns.vacant] == 0)
        doped = np.isclose(columns.intensities, 3 * plain)
        assert doped.mean() == pytest.approx(0.05, abs=0.012)
        rest = columns.intensities[~columns.vacant & ~doped]
        np.testing.assert_allclose(rest, plain)

    def test_edge_leaves_one_side_empty(self):
        for seed in range(6):
            whole = structures.lattice("square", 2.0, (60, 60), rng(seed))
            cut = structures.lattice("square", 2.0, (60, 60), rng(seed), edge=True)
            remaining = set(map(tuple, cut.positions))
            kept = np.array([tuple(p) in remaining for p in whole.positions])
            assert 0.05 < kept.mean() < 0.95
            # A straight line separates what is kept from what is cut.
            left, right = whole.positions[kept], whole.positions[~kept]
            angles = np.linspace(0, 2 * np.pi, 721)
            across = np.column_stack([np.cos(angles), np.sin(angles)])
            gap = (right @ across.T).min(axis=0) - (left @ across.T).max(axis=0)
            assert gap.max() > -0.3

    def test_unknown_pattern_names_the_known(self):
        with pytest.raises(ValueError, match="'pattern' is 'diamond'.*perovskite"):
            structures.lattice("diamond", 1.0, (10, 10), rng())


def test_z_contrast_is_one_for_platinum():
    assert structures.z_contrast(78) == 1
    assert structures.z_contrast(39) == pytest.approx(0.5**1.7)
    assert structures.z_contrast(39, exponent=2) == pytest.approx(0.25)


def test_scattered_atoms_keep_their_distance():
    points = structures.scattered(40, (50, 120), 5.0, rng(1))
    assert points.shape == (40, 2)
    assert pdist(points).min() > 5
    assert np.all((points >= 0) & (points < (50, 120)))
    assert points[:, 1].max() > 80  # the second coordinate is x
    crowded = structures.scattered(500, (20, 20), 5.0, rng(1))
    assert 5 < len(crowded) < 30
    assert structures.scattered(0, (20, 20), 5.0, rng(1)).shape == (0, 2)


def test_tumble_takes_about_the_step_it_is_told():
    steps = []
    for seed in range(20):
        turns = structures.rotations(12, 0.02, rng(seed))
        steps.append([(turns[i + 1] * turns[i].inv()).magnitude() for i in range(11)])
    assert 0.01 < np.mean(steps) < 0.03
    assert np.max(steps) < 0.08  # smooth: no frame flips
    assert (turns[-1] * turns[0].inv()).magnitude() > 5 * 0.02  # it goes somewhere
    still = structures.rotations(5, 0.0, rng(0))
    assert np.allclose(Rotation.magnitude(still), 0)


def test_drift_is_steady_and_rests_in_the_middle():
    speeds = []
    for seed in range(40):
        path = structures.drift(9, 0.5, rng(seed))
        assert path.shape == (9, 2)
        assert np.all(path[4] == 0)
        steps = np.diff(path, axis=0)
        speeds.append(np.sqrt((steps**2).sum(axis=1).mean()))
    assert np.median(speeds) == pytest.approx(0.5, rel=0.35)
    assert np.all(structures.drift(4, 0.0, rng(0)) == 0)


class TestHops:
    def test_rate_distance_and_staying(self):
        still = np.repeat(rng(0).uniform(0, 50, (1, 400, 2)), 11, axis=0)
        moved, jumps = structures.hops(still, 0.1, 3.0, rng(1))
        assert jumps.shape == (11, 400)
        assert not jumps[0].any()
        assert jumps[1:].mean() == pytest.approx(0.1, abs=0.02)
        np.testing.assert_array_equal(moved[0], still[0])
        steps = np.linalg.norm(np.diff(moved, axis=0), axis=-1)
        np.testing.assert_array_equal(steps > 1e-9, jumps[1:])
        # Normal in both directions: root mean square distance is sqrt(2) times that of one.
        assert np.sqrt((steps[jumps[1:]] ** 2).mean()) == pytest.approx(3 * np.sqrt(2), rel=0.1)

    def test_never(self):
        still = np.ones((4, 7, 2))
        moved, jumps = structures.hops(still, 0.0, 3.0, rng(1))
        assert not jumps.any()
        np.testing.assert_array_equal(moved, still)


def test_seeds_reproduce():
    for make in (
        lambda g: structures.cluster(30, 1.0, "amorphous", g),
        lambda g: structures.lattice("mos2", 3.0, (30, 30), g, vacancies=0.2).intensities,
        lambda g: structures.scattered(9, (30, 30), 2.0, g),
        lambda g: structures.rotations(3, 0.1, g).as_quat(),
        lambda g: structures.drift(3, 0.1, g),
    ):
        np.testing.assert_array_equal(make(rng(8)), make(rng(8)))
        assert not np.array_equal(make(rng(8)), make(rng(9)))
