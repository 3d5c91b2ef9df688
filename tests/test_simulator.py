# SPDX-License-Identifier: GPL-3.0-or-later
"""Domain C: images and the table of atoms beside them, against each other and against method.md."""

import hyperspy.api as hs
import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist
from scipy.special import erf

import n2a
from n2a import simulator

FWHM = 2 * np.sqrt(2 * np.log(2))
SIGMA = np.hypot(0.08, 0.06) / FWHM / 0.0125  # of the default probe and source, in px


def pixels(signal, frame=0):
    """Positions (n, 2) in px and intensities (n,) of the columns in one frame."""
    atoms = n2a.atoms_of(signal)
    atoms = atoms[atoms["frame"] == frame]
    y, x = signal.axes_manager["y"], signal.axes_manager["x"]
    return np.column_stack(
        [(atoms["y"] - y.offset) / y.scale, (atoms["x"] - x.offset) / x.scale]
    ), atoms["intensity"]


def spots(positions, intensities, sigma, shape):
    """Sum of Gaussian spots."""
    along_y, along_x = (
        np.exp(-((np.arange(n)[:, None] - p) ** 2) / (2 * sigma**2))
        for n, p in zip(shape, positions.T)
    )
    return along_y * intensities @ along_x.T


def peak(image, y, x):
    """Sub-pixel maximum next to (y, x): a Gaussian is a parabola in its logarithm."""
    iy, ix = round(y), round(x)
    patch = np.log(image[iy - 1 : iy + 2, ix - 1 : ix + 2])

    def vertex(a, b, c):
        return (a - c) / (2 * (a - 2 * b + c))

    return iy + vertex(*patch[:, 1]), ix + vertex(*patch[1])


def nearest_median(signal):
    """Median distance of the columns in the first frame to their nearest neighbour, nm."""
    positions, _ = pixels(signal)
    distances = cdist(positions, positions)
    np.fill_diagonal(distances, np.inf)
    return np.median(distances.min(axis=1)) * signal.axes_manager["x"].scale


def nearest_steps(before, after):
    return cdist(before, after).min(axis=1)


@pytest.fixture(scope="module")
def atoms():
    return n2a.simulate(structure="atoms", n_atoms=12, shape=(120, 160), frames=3, seed=4)


@pytest.fixture(scope="module")
def cluster():
    return n2a.simulate(shape=(96, 112), frames=4, n_atoms=55, seed=2)


class TestImages:
    @pytest.mark.parametrize("structure", simulator.STRUCTURES)
    def test_calibration(self, structure):
        s = n2a.simulate(structure=structure, shape=(40, 56), frames=3, scale=0.02, frame_time=0.4)
        assert s.data.shape == (3, 40, 56)
        assert s.data.dtype == np.float32
        assert np.isfinite(s.data).all()
        time, x, y = (s.axes_manager[name] for name in ("time", "x", "y"))
        assert (time.size, time.scale, time.units) == (3, 0.4, "s")
        for axis, size in ((x, 56), (y, 40)):
            assert (axis.size, axis.scale, axis.units, axis.offset) == (size, 0.02, "nm", 0)
        assert s.axes_manager.navigation_axes == (time,)
        assert (s.data.max() == 0) == (structure == "empty")

    def test_single_image(self):
        s = n2a.simulate(frames=0, shape=(32, 48), seed=1)
        assert s.axes_manager.navigation_dimension == 0
        assert s.data.shape == (32, 48)
        np.testing.assert_array_equal(
            s.data, n2a.simulate(frames=1, shape=(32, 48), seed=1).data[0]
        )  # fmt: skip
        assert len(n2a.atoms_of(s)) > 0

    @pytest.mark.parametrize("mode", ["physical", "paper"])
    def test_seeds(self, mode):
        first, again, other = (
            n2a.simulate(mode, shape=(48, 48), frames=2, seed=seed) for seed in (3, 3, 4)
        )
        np.testing.assert_array_equal(first.data, again.data)
        np.testing.assert_array_equal(n2a.atoms_of(first), n2a.atoms_of(again))
        assert not np.array_equal(first.data, other.data)

    def test_image_is_the_sum_of_its_table(self, cluster):
        assert cluster.data.max() > 1.5  # columns of several atoms
        for frame in range(4):
            positions, intensities = pixels(cluster, frame)
            expected = spots(positions, intensities, SIGMA, (96, 112))
            # Single atoms beyond the border still shine in: compare the inner part.
            np.testing.assert_allclose(
                cluster.data[frame, 15:-15, 15:-15], expected[15:-15, 15:-15], atol=2e-3
            )

    def test_maxima_are_where_the_table_says(self, atoms):
        found = 0
        for frame in range(3):
            positions, intensities = pixels(atoms, frame)
            distance = cdist(positions, positions) + 1e3 * np.eye(len(positions))
            for (y, x), height, alone in zip(positions, intensities, distance.min(axis=1)):
                if alone > 7 * SIGMA and 2 < y < 117 and 2 < x < 157:
                    assert peak(atoms.data[frame], y, x) == pytest.approx((y, x), abs=2e-3)
                    assert height == 1  # platinum
                    found += 1
        assert found > 10

    def test_total_intensity(self, atoms):
        # Each spot holds 2 pi sigma^2 I; an error function counts what falls beyond the border.
        positions, intensities = pixels(atoms)
        inside = np.ones(len(positions))
        for axis, length in enumerate((120, 160)):
            edges = (np.array([[-0.5], [length - 0.5]]) - positions[:, axis]) / (np.sqrt(2) * SIGMA)
            inside *= np.diff(erf(edges), axis=0)[0] / 2
        expected = 2 * np.pi * SIGMA**2 * (intensities * inside).sum()
        assert atoms.data[0].sum() == pytest.approx(expected, rel=2e-3)

    def test_width_is_probe_and_source_in_quadrature(self):
        s = n2a.simulate(
            structure="atoms", n_atoms=1, frames=0, drift=0, shape=(256, 256), scale=0.005,
            probe=0.12, source=0.05, seed=2,
        )  # fmt: skip
        above_half = np.count_nonzero(s.data >= 0.5) * 0.005**2  # a disc
        assert 2 * np.sqrt(above_half / np.pi) == pytest.approx(0.13, rel=0.02)

    def test_z_contrast(self):
        heights = [
            n2a.simulate(structure="atoms", n_atoms=3, frames=0, atomic_number=z).data.max()
            for z in (78, 26)
        ]
        assert heights[0] / heights[1] == pytest.approx(3**1.7, rel=1e-3)

    def test_columns_of_a_crystal_add_up(self):
        options = {"structure": "crystal", "pattern": "square", "shape": (64, 64), "frames": 2}
        one, five = (n2a.simulate(**options, thickness=t, seed=5) for t in (1, 5))
        np.testing.assert_allclose(five.data, 5 * one.data, rtol=1e-4)
        assert pixels(five)[1].max() == pytest.approx(5)


class TestStructures:
    def test_nearest_columns_of_a_monolayer(self):
        s = n2a.simulate(structure="2d", pattern="mos2", shape=(128, 128), frames=1, seed=1)
        positions, intensities = pixels(s)
        # Projected distance of Mo and S2, and two sublattices of different brightness.
        assert pdist(positions).min() * 0.0125 == pytest.approx(0.183, rel=2e-3)
        assert intensities.max() / intensities.min() == pytest.approx((42 / 24) ** 1.7, rel=1e-6)

    def test_number_of_clusters_and_atoms(self):
        # Eight single atoms at most lie beside a cluster of 64 atoms.
        for number in (1, 3):
            s = n2a.simulate(
                n_atoms=64, number=number, shape=(600, 600), frames=1, scale=0.02, drift=0
            )
            assert number * 64 <= len(n2a.atoms_of(s)) <= number * 64 + 8

    @pytest.mark.parametrize("kind", ["fcc", "icosahedral", "amorphous"])
    @pytest.mark.parametrize("n_atoms", [1, 13, 200])
    def test_clusters_of_any_kind(self, kind, n_atoms):
        s = n2a.simulate(kind=kind, n_atoms=n_atoms, shape=(200, 200), frames=1, scale=0.02)
        positions, _ = pixels(s)
        assert len(positions) >= n_atoms
        centre = np.hypot(*(positions - 100).T) * 0.02
        # A ball of this number of close-packed atoms, with a neighbour distance to spare; glass is looser.
        radius = 0.277 * ((3 * n_atoms / (4 * np.pi * np.sqrt(2))) ** (1 / 3) + 1)
        radius *= 1.3 if kind == "amorphous" else 1
        assert np.count_nonzero(centre < radius) >= 0.95 * n_atoms

    def test_vacancies_leave_holes(self):
        options = {"structure": "2d", "shape": (96, 96), "frames": 2, "seed": 6}
        whole, holed = n2a.simulate(**options), n2a.simulate(**options, vacancies=0.3)
        sites, heights = pixels(whole)
        left, _ = pixels(holed)
        gone = nearest_steps(sites, left) > 1
        assert gone.mean() == pytest.approx(0.3, abs=0.12)
        assert len(left) == np.count_nonzero(~gone)
        inner = gone & np.all((sites > 1) & (sites < 94), axis=1)
        assert inner.sum() > 5
        y, x = np.rint(sites[inner]).astype(int).T
        missing = (whole.data - holed.data)[0, y, x]
        np.testing.assert_allclose(missing, heights[inner], rtol=0.3)
        # Columns beyond the border, which the tables do not have, shine in 15 px deep.
        view = np.s_[15:-15, 15:-15]
        expected = spots(sites[gone], heights[gone], SIGMA, (96, 96))
        change = (whole.data - holed.data)[0]
        np.testing.assert_allclose(change[view], expected[view], atol=2e-3)

    def test_dopants_are_brighter(self):
        options = {"structure": "2d", "pattern": "graphene", "shape": (128, 128), "frames": 1}
        plain = pixels(n2a.simulate(**options, seed=6))[1]
        doped = pixels(n2a.simulate(**options, seed=6, dopants=0.1))[1]
        assert len(plain) == len(doped)
        brighter = doped > 1.5 * plain
        assert brighter.mean() == pytest.approx(0.1, abs=0.06)
        np.testing.assert_allclose(doped[~brighter], plain[~brighter])

    def test_edge_leaves_support_free(self):
        options = {"structure": "crystal", "pattern": "square", "shape": (96, 96), "frames": 1}
        for seed in range(12):
            whole = n2a.simulate(**options, seed=seed)
            cut = n2a.simulate(**options, seed=seed, edge=True)
            # Both crystal and support are in view.
            assert 0.05 < len(n2a.atoms_of(cut)) / len(n2a.atoms_of(whole)) < 0.95, seed
            assert (cut.data[0] < 0.01).mean() > 0.02

    def test_crystals_get_thinner_towards_their_edge(self):
        options = {"structure": "crystal", "pattern": "square", "shape": (256, 256), "frames": 1}
        positions, atoms = pixels(n2a.simulate(**options, edge=True, thickness=10, seed=3))
        np.testing.assert_allclose(atoms, np.rint(atoms), atol=1e-6)
        assert atoms.max() >= atoms.min() + 3
        plane = np.column_stack([positions, np.ones(len(atoms))])
        fit = plane @ np.linalg.lstsq(plane, atoms, rcond=None)[0]
        assert np.abs(fit - atoms).max() < 1

    def test_single_atoms_are_as_many_as_asked_for(self):
        s = n2a.simulate(structure="atoms", n_atoms=9, frames=1, drift=0, hop=0)
        positions, _ = pixels(s)
        assert len(positions) == 9
        assert pdist(positions).min() > 0.277 / 0.0125


class TestMotion:
    def test_still(self):
        for structure in ("cluster", "2d", "atoms"):
            s = n2a.simulate(
                structure=structure, shape=(48, 48), frames=3, drift=0, rotation=0, hop=0
            )
            np.testing.assert_array_equal(s.data[1:], s.data[:-1])

    def test_drift_moves_everything_alike(self):
        speeds = []
        for seed in range(8):
            s = n2a.simulate(
                structure="2d", shape=(64, 64), frames=4, drift=0.02, seed=seed, scale=0.02
            )
            first, second = pixels(s, 0)[0], pixels(s, 1)[0]
            inner = first[np.all((first > 4) & (first < 59), axis=1)]
            step = second[cdist(inner, second).argmin(axis=1)] - inner
            assert np.ptp(step, axis=0).max() < 1e-6
            speeds.append(np.hypot(*step[0]) * 0.02)
        assert np.median(speeds) == pytest.approx(0.02, rel=0.6)

    def test_clusters_rotate(self):
        options = {"shape": (96, 96), "frames": 6, "drift": 0, "hop": 0, "n_atoms": 55, "seed": 1}
        turning = n2a.simulate(rotation=3.0, **options)
        far = 6 * 0.277 / 0.0125 * np.deg2rad(3.0)  # the reach of 55 atoms, five times over
        steps = [nearest_steps(pixels(turning, i)[0], pixels(turning, i + 1)[0]) for i in range(5)]
        assert 0.2 < np.mean([step.max() for step in steps]) < far
        # A rigid body: the centre of the cluster stays.
        centres = np.array([pixels(turning, i)[0][:55].mean(axis=0) for i in range(6)])
        np.testing.assert_allclose(centres, 48, atol=0.01)

    def test_atoms_hop(self):
        options = {"structure": "atoms", "n_atoms": 20, "frames": 12, "drift": 0, "seed": 5}
        moved = [
            n2a.simulate(shape=(200, 200), hop=hop, **options).data for hop in (0.0, 0.05, 0.5)
        ]
        changes = [np.abs(np.diff(data, axis=0)).max(axis=(1, 2)) > 0.3 for data in moved]
        assert not changes[0].any()
        assert changes[1].any()
        counts = [np.abs(np.diff(data, axis=0)).sum() for data in moved]
        assert counts[2] > 3 * counts[1] > 0


class TestPaper:
    """The authors' simulator, as method.md describes it."""

    @pytest.fixture(scope="class")
    @staticmethod
    def drawn():
        return simulator.paper_images(40, (128, 128), np.random.default_rng(1))

    def test_scaled_to_0_and_1(self, drawn):
        images, _ = drawn
        np.testing.assert_allclose(images.min(axis=(1, 2)), 0, atol=1e-9)
        np.testing.assert_allclose(images.max(axis=(1, 2)), 1, atol=1e-9)
        s = n2a.simulate("paper", shape=(64, 96), frames=5)
        assert s.data.shape == (5, 64, 96)
        assert s.data.min() == 0
        assert s.data.max() == 1

    def test_75_to_150_atoms(self, drawn):
        numbers = (drawn[1].intensities > 0).sum(axis=1)
        assert numbers.min() >= 75
        assert numbers.max() <= 150
        assert numbers.max() - numbers.min() > 40

    def test_integer_intensities(self, drawn):
        seen = set()
        for heights in drawn[1].intensities:
            ratio = heights[heights > 0] / heights.max() * 4
            np.testing.assert_allclose(ratio, np.rint(ratio), atol=1e-6)
            seen |= set(np.rint(ratio).astype(int))
        assert seen == {1, 2, 3, 4}

    def test_integer_widths(self, drawn):
        images, atoms = drawn
        variances = set()
        for image, positions, heights in list(zip(images, atoms.positions, atoms.intensities))[:25]:
            lit = heights > 0
            errors = []
            for variance in range(1, 11):
                expected = spots(positions[lit], heights[lit], np.sqrt(variance), (128, 128))
                errors.append(np.abs((expected - expected.min()) - image).max())
            assert min(errors) < 1e-6
            variances.add(1 + int(np.argmin(errors)))
        assert len(variances) > 5

    def test_jittered_grid_on_a_canvas_of_256(self, drawn):
        positions = drawn[1].positions[drawn[1].intensities > 0]
        jitter = (positions - 4 + 4) % 8 - 4
        assert np.abs(jitter).max() <= 1  # an eighth of a cell
        assert jitter.std() == pytest.approx(1 / np.sqrt(3), rel=0.05)
        # The image is the middle half of the canvas: a quarter of the atoms.
        assert positions.min() > -64 - 1e-9
        assert positions.max() < 192
        inside = np.all((positions >= 0) & (positions < 128), axis=1)
        assert inside.mean() == pytest.approx(0.25, abs=0.04)

    def test_no_cell_twice(self, drawn):
        for positions, heights in zip(drawn[1].positions, drawn[1].intensities):
            cells = np.floor((positions[heights > 0] + 64) / 8)
            assert len(np.unique(cells, axis=0)) == len(cells)

    @pytest.mark.parametrize("shape", [(8, 8), (40, 200), (99, 33)])
    def test_any_size(self, shape):
        s = n2a.simulate("paper", shape=shape, frames=3, seed=2)
        assert s.data.shape == (3, *shape)
        assert np.isfinite(s.data).all()


class TestTable:
    def test_fields_and_units(self, cluster):
        table = n2a.atoms_of(cluster)
        assert table.dtype.names == ("frame", "y", "x", "intensity")
        assert set(table["frame"]) == {0, 1, 2, 3}
        assert table["y"].max() < 96 * 0.0125
        assert 96 * 0.0125 / 4 < table["x"].max() < 112 * 0.0125
        assert np.all(table["intensity"] > 0)

    def test_cropping_leaves_positions_right(self, atoms):
        # `time` is named: by index, HyperSpy would count it among the images' axes.
        part = atoms.isig[0.4:1.6, 20:110].inav[1:]
        positions, _ = pixels(part, frame=2)
        assert part.axes_manager["x"].offset == pytest.approx(0.4)
        inside = [
            (y, x) for y, x in positions if 3 < y < part.data.shape[1] - 4 and 3 < x < 92
        ]  # fmt: skip
        assert len(inside) > 2
        for y, x in inside:
            iy, ix = round(y), round(x)
            patch = part.data[1, iy - 2 : iy + 3, ix - 2 : ix + 3]
            assert np.unravel_index(patch.argmax(), (5, 5)) == pytest.approx((2, 2), abs=1)
            assert patch.max() > 0.9

    @pytest.mark.parametrize("suffix", [".hspy", ".zspy"])
    def test_saving(self, cluster, tmp_path, suffix):
        if suffix == ".zspy":
            zarr = pytest.importorskip("zarr", reason="the extra 'zspy' is not installed")
            if not zarr.__version__.startswith("2."):
                pytest.skip("RosettaSciIO writes .zspy with zarr 2 only")
        noisy = n2a.acquire(cluster, dose=20)
        for number, signal in enumerate((cluster, noisy)):
            path = tmp_path / f"series{number}{suffix}"
            signal.save(path)
            for lazy in (False, True):
                loaded = hs.load(path, lazy=lazy)
                np.testing.assert_array_equal(n2a.atoms_of(loaded), n2a.atoms_of(signal))
                loaded.close_file() if lazy else None

    def test_copies_and_denoised_series_keep_it(self, cluster):
        table = n2a.atoms_of(cluster)
        for other in (cluster.deepcopy(), cluster.as_lazy(), n2a.denoise(cluster)):
            np.testing.assert_array_equal(n2a.atoms_of(other), table)

    def test_empty_series_has_an_empty_table(self, tmp_path):
        s = n2a.simulate(structure="empty", frames=2, shape=(16, 16))
        assert n2a.atoms_of(s).shape == (0,)
        s.save(tmp_path / "empty.hspy")
        assert n2a.atoms_of(hs.load(tmp_path / "empty.hspy")).shape == (0,)

    def test_other_signals_have_none(self):
        with pytest.raises(ValueError, match="n2a.simulate or n2a.acquire"):
            n2a.atoms_of(hs.signals.Signal2D(np.zeros((2, 8, 8))))


class TestLike:
    @pytest.fixture(scope="class")
    @staticmethod
    def series():
        clean = n2a.simulate(
            shape=(96, 128), frames=5, scale=0.02, probe=0.12, source=0, number=2, seed=3
        )
        return n2a.acquire(clean, dose=200, gain=30, offset=500, seed=1)

    def test_size_scale_and_width(self, series):
        like = n2a.simulate_like(series, structure="atoms", n_atoms=8, hop=0, drift=0)
        assert like.data.shape == series.data.shape
        for name in "xy":
            axis = like.axes_manager[name]
            assert (axis.scale, axis.units) == (0.02, "nm")
        # The width of the spots, from their sum and their height.
        positions, _ = pixels(like)
        y, x = positions[np.argmin(np.abs(positions - (48, 64)).sum(axis=1))].round().astype(int)
        patch = like.data[0, y - 6 : y + 7, x - 6 : x + 7]
        sigma = np.sqrt(patch.sum() / patch.max() / (2 * np.pi))
        assert sigma * 0.02 * FWHM == pytest.approx(0.12, rel=0.35)

    @pytest.mark.parametrize("spacing", [0.16, 0.24])
    def test_spacing(self, spacing):
        crystal = n2a.simulate(
            structure="2d",
            shape=(128, 128),
            frames=4,
            spacing=spacing,
            scale=0.0125,
            vacancies=0.03,
        )
        noisy = n2a.acquire(crystal, dose=20, seed=1)
        like = n2a.simulate_like(noisy, structure="2d", frames=1)
        assert nearest_median(like) == pytest.approx(nearest_median(crystal), rel=0.15)

    @pytest.mark.parametrize("n_atoms", [12, 30])
    def test_density(self, n_atoms):
        atoms = n2a.simulate(structure="atoms", shape=(160, 160), frames=4, n_atoms=n_atoms, seed=2)
        noisy = n2a.acquire(atoms, dose=20, seed=1)
        like = n2a.simulate_like(noisy, structure="atoms", frames=1, shape=(160, 160))
        assert len(n2a.atoms_of(like)) == pytest.approx(n_atoms, rel=0.25)

    def test_cluster(self):
        """As many atoms fill as much room, in the mean of several that are turned at random."""
        options = {"n_atoms": 80, "hop": 0}
        sizes = []
        for seed in range(6):
            clean = n2a.simulate(nearest=0.35, frames=4, seed=seed, **options)
            noisy = n2a.acquire(clean, dose=20, seed=1)
            like = n2a.simulate_like(noisy, seed=20 + seed, frames=1, **options)
            sizes.append([pixels(one)[0][:80].std(axis=0).mean() for one in (clean, like)])
        theirs, ours = np.mean(sizes, axis=0)
        assert ours == pytest.approx(theirs, rel=0.2)

    def test_a_blank_series_gives_no_spacing(self):
        empty = n2a.acquire(
            n2a.simulate(structure="empty", frames=3, shape=(64, 64)), dose=10, seed=1
        )
        with pytest.warns(UserWarning, match="nothing of the size of atoms"):
            like = n2a.simulate_like(empty, structure="2d", seed=1, scale=0.0125)
        assert nearest_median(like) == pytest.approx(0.183, rel=0.01)

    def test_what_is_passed_goes_before_what_is_measured(self, series):
        like = n2a.simulate_like(series, "paper", shape=(32, 32), frames=2, seed=3)
        assert like.data.shape == (2, 32, 32)
        np.testing.assert_array_equal(
            like.data, n2a.simulate("paper", shape=(32, 32), frames=2, seed=3).data
        )

    def test_single_image_and_lazy(self, series):
        assert n2a.simulate_like(series.inav[0]).data.shape == (96, 128)
        assert n2a.simulate_like(series.as_lazy()).data.shape == (5, 96, 128)

    def test_without_calibration_atoms_keep_their_width_in_pixels(self, series):
        bare = hs.signals.Signal2D(series.data)
        like = n2a.simulate_like(bare, structure="atoms", n_atoms=8, hop=0, drift=0)
        scale = like.axes_manager["x"].scale
        assert 0.12 / FWHM / 0.02 * scale * FWHM == pytest.approx(0.1, rel=0.4)

    def test_unknown_arguments(self, series):
        with pytest.raises(TypeError, match="colour.*simulate takes"):
            n2a.simulate_like(series, colour="red")

    def test_no_images(self):
        with pytest.raises(ValueError, match="real images"):
            n2a.simulate_like(hs.signals.Signal1D(np.ones((4, 32))))


@pytest.mark.parametrize(
    ("bad", "word"),
    [({"mode": "physics"}, "mode"), ({"structure": "nanotube"}, "structure"), ({"shape": (4, 64)}, "shape"),
     ({"shape": 64}, "shape"), ({"shape": (1, 2, 3)}, "shape"), ({"frames": -1}, "frames"), ({"scale": 0}, "scale"),
     ({"scale": np.nan}, "scale"), ({"scale": np.inf}, "scale"), ({"probe": 0}, "probe"),
     ({"frame_time": -1}, "frame_time"), ({"nearest": 0}, "nearest"), ({"n_atoms": 0}, "n_atoms"),
     ({"number": 0}, "number"), ({"kind": "bcc"}, "kind"), ({"structure": "2d", "pattern": "diamond"}, "pattern"),
     ({"structure": "2d", "vacancies": 1.5}, "vacancies"), ({"dopants": -0.1}, "dopants"), ({"hop": 2}, "hop"),
     ({"thickness": 0}, "thickness"), ({"structure": "2d", "spacing": 0}, "spacing"),
     ({"structure": "2d", "spacing": -0.2}, "spacing"), ({"source": -0.1}, "source"),
     ({"source": np.nan}, "source"), ({"drift": np.nan}, "drift"), ({"rotation": np.inf}, "rotation"),
     ({"atomic_number": -3}, "atomic_number"), ({"n_atoms": 2.5}, "n_atoms"), ({"frames": 2.5}, "frames")],
)  # fmt: skip
def test_bad_arguments_are_named(bad, word):
    with pytest.raises((ValueError, TypeError), match=f"'{word}'"):
        n2a.simulate(**{"shape": (16, 16), "frames": 1, **bad})
