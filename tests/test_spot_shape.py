# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of an atom: ellipses that were drawn are found again, also where they touch and in noise."""

import numpy as np
import pytest

from n2a.spot_shape import Sighting, SpotShape, faint_and_alone, find_tops, measure_spot


def draw(atoms, shape, spot):
    """Sum of elliptical Gaussians, pixel by pixel."""
    along_y, along_x, correlation = spot
    both = correlation * along_y * along_x
    inverse = np.linalg.inv([[along_y**2, both], [both, along_x**2]])
    image = np.zeros(shape)
    grid = np.moveaxis(np.mgrid[: shape[0], : shape[1]], 0, -1)
    for row, column, height in atoms:
        away = grid - (row, column)
        image += height * np.exp(-np.einsum("yxi,ij,yxj->yx", away, inverse, away) / 2)
    return image


def lattice(shape, spacing, seed=0):
    """Atoms on a jittered lattice whose rows are not those of the image, of different heights."""
    rng = np.random.default_rng(seed)
    n = np.arange(-2 * max(shape) / spacing, 2 * max(shape) / spacing)
    points = np.stack(np.meshgrid(n, n), -1).reshape(-1, 2) @ [[0.94, 0.34], [-0.34, 0.94]]
    points = points * spacing + rng.normal(scale=0.05 * spacing, size=points.shape)
    points = points[((points > -spacing) & (points < np.array(shape) + spacing)).all(1)]
    return np.column_stack([points, rng.uniform(0.5, 1.5, len(points))])


SPOTS = [(2.0, 2.0, 0.0), (1.5, 3.0, 0.0), (3.0, 1.6, 0.0), (2.2, 2.2, 0.5), (2.5, 1.8, -0.4)]


class TestMeasureSpot:
    @pytest.mark.parametrize("spot", SPOTS)
    def test_known_ellipses(self, spot):
        atoms = lattice((96, 96), 11.0)
        frame = 5 + 20 * draw(atoms, (96, 96), spot)
        found = measure_spot([Sighting(frame, atoms)], 2.2)
        assert found[:2] == pytest.approx(spot[:2], rel=0.06)
        assert found.correlation == pytest.approx(spot[2], abs=0.06)

    def test_atoms_that_overlap(self):
        """A row of atoms as close as 2.5 widths is no elongated spot."""
        atoms = np.array([[20.0 * r + 16, 5.0 * c + 3, 1.0] for r in range(5) for c in range(19)])
        found = measure_spot([Sighting(10 * draw(atoms, (110, 96), (2, 2, 0)), atoms)], 2.4)
        assert found[:2] == pytest.approx((2, 2), rel=0.06)

    def test_noise_and_several_frames(self):
        rng = np.random.default_rng(1)
        sightings = []
        for seed in range(8):
            atoms = lattice((96, 96), 14.0, seed)
            frame = 1.5 * draw(atoms, (96, 96), (1.6, 2.8, 0.2)) + rng.normal(size=(96, 96))
            sightings.append(Sighting(frame, atoms))
        found = measure_spot(sightings, 2.0)
        assert found[:2] == pytest.approx((1.6, 2.8), rel=0.12)
        assert found.correlation == pytest.approx(0.2, abs=0.12)

    def test_a_slow_background_does_not_matter(self):
        atoms = lattice((96, 96), 12.0)
        slope = np.linspace(0, 30, 96)[:, None] + np.linspace(-10, 10, 96)
        frame = slope + 10 * draw(atoms, (96, 96), (1.7, 2.6, 0.0))
        found = measure_spot([Sighting(frame, atoms)], 2.0)
        assert found[:2] == pytest.approx((1.7, 2.6), rel=0.08)

    def test_where_nothing_tells_it_is_as_expected(self):
        assert measure_spot([], 2.3) == pytest.approx((2.3, 2.3, 0.0))
        noise = np.random.default_rng(0).normal(size=(64, 64))
        few = np.array([[20.0, 30.0, 0.1]])
        found = measure_spot([Sighting(noise, few)], 2.3)
        assert found.elongation < 1.4
        assert 1.4 < found.width < 3.5

    def test_a_few_atoms_tell_a_little(self):
        """Nine faint ones, twice as wide as high: what is found lies between the round spot and them."""
        atoms = np.array([[20.0 * r + 12, 20.0 * c + 12, 0.7] for r in range(3) for c in range(3)])
        frame = draw(atoms, (64, 64), (1.6, 3.2, 0.0))
        found = measure_spot([Sighting(frame, atoms)], 2.2)
        assert 1.6 < found.along_y < 2.1
        assert 2.3 < found.along_x < 3.2

    def test_extremes_stay_ellipses(self):
        """A scratch across the image is the most tilted ellipse that there is."""
        y, x = np.mgrid[:64, :64]
        frame = 50 * np.exp(-((y - x) ** 2) / 2.0)
        found = measure_spot([Sighting(frame, np.array([[32.0, 32.0, 50.0]]))], 2.0)
        assert 0.5 < found.correlation <= 0.8
        assert found.elongation < 12

    def test_units_of_the_heights_do_not_matter(self):
        atoms = lattice((64, 64), 12.0)
        frame = 10 * draw(atoms, (64, 64), (1.6, 2.4, 0.0))
        doubled = atoms * (1, 1, 7)
        first, second = (measure_spot([Sighting(frame, a)], 2.0) for a in (atoms, doubled))
        np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-3)


class TestFaintAndAlone:
    def test_bright_and_near_ones_are_left_out(self):
        frame = np.zeros((80, 80))
        first = np.array(
            [[10, 10, 1], [10, 40, 2], [40, 10, 8], [40, 40, 9], [70, 70, 1], [70, 75, 1]]
        )
        second = np.array([[20, 20, 3], [60, 60, 7]])
        sightings = [Sighting(frame, a.astype(float)) for a in (first, second)]
        kept = faint_and_alone(sightings, 2.0)
        # The faintest of 1, 2, 3, 7, 8 and 9; the two that are 5 px apart are not among them.
        assert [one.atoms[:, 2].tolist() for one in kept] == [[1, 2], []]
        assert all(one.frame is frame for one in kept)

    def test_where_there_are_none(self):
        frame, touching = np.zeros((32, 32)), np.array([[10.0, 10, 1], [10, 14, 1]])
        assert faint_and_alone([], 2.0) == []
        assert faint_and_alone([Sighting(frame, touching)], 2.0) == []
        # One atom has no neighbour.
        (one,) = faint_and_alone([Sighting(frame, touching[:1])], 2.0)
        assert len(one.atoms) == 1


class TestSpotShape:
    @pytest.mark.parametrize("angle", [0, 30, 45, 100])
    def test_axes_do_not_depend_on_the_direction(self, angle):
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        turn = np.array([[c, -s], [s, c]])
        covariance = turn @ np.diag([1.5**2, 3.0**2]) @ turn.T
        along_y, along_x = np.sqrt(np.diag(covariance))
        spot = SpotShape(along_y, along_x, covariance[0, 1] / (along_y * along_x))
        assert spot.axes == pytest.approx((1.5, 3.0))
        assert spot.elongation == pytest.approx(2)
        assert spot.width == pytest.approx(4.5**0.5)

    def test_scaled(self):
        spot = SpotShape(1.5, 3.0, 0.3)
        double = spot.scaled(2 * spot.width)
        assert double == pytest.approx((3.0, 6.0, 0.3))
        assert double.elongation == pytest.approx(spot.elongation)


class TestTops:
    def test_places_and_heights(self):
        atoms = np.array([[10.3, 12.8, 4.0], [30.6, 25.1, 9.0], [22.0, 44.4, 6.0]])
        found = find_tops(draw(atoms, (48, 60), (1.8, 2.6, 0.0)), 2.0, 1.0)
        np.testing.assert_allclose(
            found[np.argsort(found[:, 2])][:, :2], atoms[[0, 2, 1], :2], atol=0.02
        )
        np.testing.assert_allclose(np.sort(found[:, 2]), [4, 6, 9], rtol=0.08)

    def test_low_ones_and_those_beside_a_higher_one_do_not_count(self):
        atoms = np.array([[20.0, 20.0, 5.0], [20.0, 23.0, 3.0], [40.0, 40.0, 0.5]])
        found = find_tops(draw(atoms, (60, 60), (1.0, 1.0, 0.0)), 2.0, 1.0)
        assert found[:, :2] == pytest.approx(np.array([[20.0, 20.0]]), abs=0.1)

    def test_none(self):
        assert find_tops(np.zeros((20, 30)), 2.0, 0.5).shape == (0, 3)

    def test_at_the_edge(self):
        found = find_tops(draw([[0.0, 15.3, 4.0]], (20, 30), (2, 2, 0)), 2.0, 1.0)
        assert found[0, :2] == pytest.approx((0, 15.3), abs=0.05)
