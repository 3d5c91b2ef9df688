# SPDX-License-Identifier: GPL-3.0-or-later
"""Atom maps: tables, positions on the axes, support by the counts, overlays."""

import sys
import warnings

import dask.array as da
import hyperspy.api as hs
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import n2a
from n2a.atoms import true_atoms
from n2a.detection import match_positions
from n2a.overlay import bar_length

WIDTH = 2.2


def atom_map(*args, **kwargs):
    return n2a.atom_map(*args, show_progressbar=False, **kwargs)


def frame_of(sites, shape=(72, 80), height=6.0):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return sum(height * np.exp(-((y - r) ** 2 + (x - c) ** 2) / (2 * WIDTH**2)) for r, c in sites)


def sites(number):
    """Atoms of one frame: a grid that moves on by half a pixel from frame to frame."""
    grid = np.mgrid[12:66:13, 12:72:14].reshape(2, -1).T
    return grid + 0.5 * (number % 5) + (0.3, 0.1)


def series(shape=(3,), film=5.0, seed=0):
    """Raw counts and clear atoms, calibrated, all axes of different length."""
    count = int(np.prod(shape))
    clear = np.stack([frame_of(sites(i)) for i in range(count)]).astype(np.float32)
    raw = np.random.default_rng(seed).poisson(film + clear).astype(np.uint16)
    made = []
    for data in (raw, clear):
        s = hs.signals.Signal2D(data.reshape(*shape, *data.shape[1:]))
        y, x = s.axes_manager.signal_axes[::-1]
        y.scale, y.offset, y.units, y.name = 0.02, 3.0, "nm", "y"
        x.scale, x.offset, x.units, x.name = 0.02, -1.0, "nm", "x"
        s.metadata.General.title = "grid"
        made.append(s)
    return made


def denoised_record(clear, **changes):
    told = {"background": False, "contrast": "bright", "atom_width": WIDTH}
    clear.metadata.set_item("n2a.denoising", {**told, **changes})
    return clear


@pytest.fixture
def pair():
    raw, clear = series()
    return raw, denoised_record(clear)


class TestTable:
    def test_finds_every_atom_where_it_is(self, pair):
        raw, clear = pair
        atoms = atom_map(clear, raw)
        assert len(atoms) == 3 * len(sites(0))
        for frame in range(3):
            rows = atoms.table[atoms.table["frame"] == frame]
            order = np.lexsort([rows["column"].round(), rows["row"].round()])
            measured = np.column_stack([rows["row"], rows["column"]])[order]
            np.testing.assert_allclose(measured, sites(frame), atol=0.02)
        np.testing.assert_allclose(atoms.table["width"], WIDTH, rtol=0.02)
        np.testing.assert_allclose(atoms.table["intensity"], 12 * np.pi * WIDTH**2, rtol=0.02)
        assert atoms.table["supported"].all()

    def test_positions_follow_the_axes(self, pair):
        table = atom_map(pair[1]).table
        np.testing.assert_allclose(table["y"], 3 + 0.02 * table["row"])
        np.testing.assert_allclose(table["x"], -1 + 0.02 * table["column"])

    def test_cropping_by_units_leaves_calibrated_positions_alone(self, pair):
        _, clear = pair
        part = clear.isig[20:, 10:]
        whole, cut = atom_map(clear).table, atom_map(part).table
        for atom in cut:
            near = np.hypot(whole["y"] - atom["y"], whole["x"] - atom["x"])
            assert near[whole["frame"] == atom["frame"]].min() < 2e-3

    def test_atomap_takes_x_and_y_in_pixels(self, pair):
        _, clear = pair
        atoms = atom_map(clear)
        positions = atoms.positions(frame=2)
        rows = atoms.table[atoms.table["frame"] == 2]
        np.testing.assert_array_equal(positions, np.column_stack([rows["column"], rows["row"]]))
        values = clear.inav[2].data[tuple(positions[:, ::-1].round().astype(int).T)]
        assert (values > 5).all()

    def test_the_signals_are_not_changed(self, pair):
        raw, clear = pair
        before = [s.deepcopy() for s in pair]
        atom_map(clear, raw)
        for old, new in zip(before, pair):
            np.testing.assert_array_equal(old.data, new.data)
            assert old.metadata.as_dictionary() == new.metadata.as_dictionary()

    def test_scale_of_the_intensities_does_not_matter(self, pair):
        raw, clear = pair
        table = atom_map(clear, raw).table
        big_raw, big = raw * 350.0, clear * 350.0
        denoised_record(big)
        scaled = atom_map(big, big_raw).table
        assert len(scaled) == len(table)
        np.testing.assert_allclose(scaled["intensity"], 350 * table["intensity"], rtol=1e-4)
        np.testing.assert_allclose(scaled["significance"], table["significance"], rtol=1e-3)
        np.testing.assert_array_equal(scaled["supported"], table["supported"])


class TestInputs:
    @pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3)])
    def test_any_navigation_shape_lazy_as_in_memory(self, shape):
        raw, clear = series(shape)
        denoised_record(clear)
        eager = atom_map(clear, raw)
        lazy = atom_map(clear.as_lazy(), raw.as_lazy())
        np.testing.assert_array_equal(eager.table, lazy.table)
        count = int(np.prod(shape))
        np.testing.assert_array_equal(np.unique(eager.table["frame"]), np.arange(count))
        for frame in range(count):
            assert len(eager.positions(frame)) == len(sites(0))

    def test_frames_of_several_axes_by_their_indices(self):
        _, clear = series((2, 3))
        atoms = atom_map(denoised_record(clear))
        # inav counts the last axis of the array first
        np.testing.assert_array_equal(atoms.positions((2, 1)), atoms.positions(5))
        alone = atom_map(clear.inav[2, 1]).positions()
        np.testing.assert_allclose(
            sorted(atoms.positions((2, 1))[:, 0]), sorted(alone[:, 0]), atol=1e-3
        )

    def test_lazy_in_blocks_that_split_frames(self, pair):
        raw, clear = pair
        split = clear.as_lazy()
        split.data = split.data.rechunk((2, 17, 50))
        np.testing.assert_array_equal(atom_map(split, raw).table, atom_map(clear, raw).table)

    def test_arrays(self, pair):
        raw, clear = pair
        of_signals = atom_map(clear, raw).table
        told = {"atom_width": WIDTH, "background": False, "contrast": "bright"}
        for kind in (np.asarray, da.from_array):
            table = atom_map(kind(clear.data), kind(raw.data), **told).table
            for name in ("row", "column", "intensity", "significance"):
                np.testing.assert_allclose(table[name], of_signals[name])
            np.testing.assert_array_equal(table["x"], table["column"])
        assert len(atom_map(clear.data[0], **told)) == len(sites(0))

    def test_time_axis_that_is_not_the_last(self):
        raw, clear = series((4, 2))
        denoised_record(clear)
        for s in (raw, clear):
            s.axes_manager._axes[0].name = "time"
        atoms = atom_map(clear, raw, neighbours=1)
        plain = atom_map(clear, raw)
        for frame in range(8):
            # every frame has its own places
            a, b = (np.sort(each.positions(frame), axis=0) for each in (atoms, plain))
            np.testing.assert_allclose(a, b, atol=1e-3)

    def test_with_background_and_without(self, pair):
        raw, clear = pair
        _, total = series()
        ramp = 5 + 0.02 * np.arange(80)
        total.data = total.data + ramp
        denoised_record(total, background=True)
        a, b = atom_map(clear, raw), atom_map(total, raw)
        assert len(a) == len(b)
        for frame in range(3):
            of_a, of_b = (np.sort(each.positions(frame), axis=0) for each in (a, b))
            np.testing.assert_allclose(of_a, of_b, atol=0.03)
        np.testing.assert_allclose(b.table["intensity"], 12 * np.pi * WIDTH**2, rtol=0.03)
        assert b.table["supported"].all()

    @pytest.mark.parametrize("background", [True, False])
    def test_dark_atoms(self, background):
        _, clear = series()
        film = 20.0
        raw = hs.signals.Signal2D(np.random.default_rng(0).poisson(film - clear.data))
        if background:
            clear.data = film - clear.data
        denoised_record(clear, contrast="dark", background=background)
        atoms = atom_map(clear, raw)
        assert len(atoms) == 3 * len(sites(0))
        assert atoms.contrast == "dark"
        assert (atoms.table["intensity"] > 0).all()
        assert atoms.table["supported"].mean() > 0.85

    @pytest.mark.parametrize("dark", [False, True])
    def test_what_no_record_tells_is_measured(self, dark):
        raw, clear = series()
        if dark:
            raw.data = np.random.default_rng(0).poisson(20 - clear.data)
            clear.data = 20 - clear.data
        else:
            clear.data = 5 + clear.data
        atoms = atom_map(clear, raw)
        assert atoms.contrast == ("dark" if dark else "bright")
        assert atoms.atom_width == pytest.approx(WIDTH, rel=0.05)
        assert len(atoms) == 3 * len(sites(0))
        assert atoms.table["supported"].mean() > 0.85

    def test_no_atoms_where_nothing_was_measured(self, pair):
        raw, clear = pair
        clear.data = clear.data.copy()
        raw.change_dtype("float32")
        for s in pair:
            s.data[:, :, :30] = np.nan
        table = atom_map(clear, raw).table
        assert table["column"].min() > 30
        assert len(table) > 3 * 10
        for name in table.dtype.names:
            assert np.isfinite(table[name]).all()
        assert table["supported"].mean() > 0.95

    def test_a_denoised_series_end_to_end(self):
        clean = n2a.simulate(structure="2d", shape=(96, 96), frames=3, seed=3)
        noisy = n2a.acquire(clean, dose=20, seed=4)
        denoised = n2a.denoise(noisy, show_progressbar=False)
        atoms = denoised.n2a.atom_map(noisy, show_progressbar=False)
        assert atoms.atom_width == pytest.approx(0.1 / 2.355 / 0.0125, rel=0.2)
        pairs = match_positions(atoms.detections, atom_map(clean).detections, 3)
        assert pairs.f1 > 0.95
        assert pairs.rms < 0.5
        assert atoms.table["supported"].mean() > 0.97
        measured = atoms.table["intensity"][pairs.found]
        real = atom_map(clean).table["intensity"][pairs.truth]
        assert np.corrcoef(measured, real)[0, 1] > 0.9


class TestSupport:
    def test_an_atom_painted_at_a_vacancy_is_not_supported(self, pair):
        raw, clear = pair
        lie = clear.deepcopy()
        lie.data[1] += frame_of([(18.5, 19.0)])
        atoms = atom_map(lie, raw)
        painted = atoms.table["frame"] == 1
        painted &= np.hypot(atoms.table["row"] - 18.5, atoms.table["column"] - 19) < 1.5
        assert painted.sum() == 1
        assert not atoms.table["supported"][painted].any()
        assert atoms.table["supported"][~painted].all()
        assert (atoms.table["log_likelihood"][painted] < 0).all()

    def test_empty_support_has_no_supported_atoms_in_a_blur(self):
        empty = n2a.simulate(structure="empty", shape=(96, 96), frames=20)
        noisy = n2a.acquire(empty, dose=10, support=0.3, texture=0, slope=0, seed=1)
        blurred = noisy.deepcopy()
        blurred.data = gaussian_filter(noisy.data.astype(float), (0, 2, 2))
        atoms = atom_map(blurred, noisy, threshold=0.01, atom_width=2.0)
        assert len(atoms) > 20 * 50
        assert len(np.unique(atoms.table["frame"][atoms.table["supported"]])) < 5

    def test_neighbours_speak_for_faint_atoms_at_rest(self):
        clear = np.repeat(frame_of(sites(0), height=1.1)[None], 7, 0)
        raw = np.random.default_rng(2).poisson(3 + clear)
        told = {"atom_width": WIDTH, "background": False, "contrast": "bright", "threshold": 0.5}
        alone = atom_map(clear, raw, **told).table["supported"].mean()
        together = atom_map(clear, raw, neighbours=3, **told).table["supported"].mean()
        assert alone < 0.5
        assert together > 0.7

    def test_neighbours_do_not_support_what_was_painted(self):
        still = np.repeat(frame_of(sites(0))[None], 5, 0)
        counts = np.random.default_rng(3).poisson(5 + still)
        lie = still + frame_of([(18.5, 19.0)])
        told = {"atom_width": WIDTH, "background": False, "contrast": "bright"}
        atoms = atom_map(lie, counts, neighbours=2, **told)
        painted = np.hypot(atoms.table["row"] - 18.5, atoms.table["column"] - 19) < 1.5
        assert painted.sum() == 5
        assert not atoms.table["supported"][painted].any()
        assert atoms.table["supported"][~painted].all()

    def test_unseen_frames_support_more(self):
        clear = np.repeat(frame_of(sites(0), height=1.6)[None], 5, 0)
        raw = np.random.default_rng(2).poisson(3 + clear)
        told = {"atom_width": WIDTH, "background": False, "contrast": "bright", "threshold": 0.5}
        seen, unseen = (atom_map(clear, raw, unseen=u, **told).table for u in (False, True))
        assert unseen["supported"].sum() > seen["supported"].sum()


class TestNothing:
    @pytest.mark.parametrize("value", [0.0, 7.0])
    def test_an_image_of_nothing_gives_an_empty_map_and_says_what_to_do(self, value):
        with pytest.warns(UserWarning, match="no atoms.*'threshold'.*'atom_width'"):
            atoms = atom_map(np.full((2, 32, 40), value))
        assert repr(atoms) == "<AtomMap: no atoms in 2 frames of 40 x 32 px>"
        assert atoms.positions().shape == (0, 2)
        assert "no atoms" in atoms._repr_html_()
        assert atoms.plot().get_legend() is not None

    def test_a_threshold_above_everything(self, pair):
        raw, clear = pair
        with pytest.warns(UserWarning, match="higher than 100"):
            atoms = atom_map(clear, raw, threshold=100)
        assert len(atoms) == 0
        assert atoms.table.dtype.names[-1] == "supported"

    def test_a_threshold_keeps_what_is_higher(self, pair):
        _, clear = pair
        clear.data[0] *= 0.5
        everything, high = atom_map(clear), atom_map(clear, threshold=4)
        assert set(high.table["frame"]) == {1, 2}
        assert len(everything) == 1.5 * len(high)
        assert (high.table["height"] >= 4).all()

    def test_intensities_of_other_units_are_reported(self, pair):
        raw, clear = pair
        clear.data = clear.data * 20
        with pytest.warns(UserWarning, match="units of 'raw'"):
            atom_map(clear, raw)

    def test_a_good_map_does_not_warn(self, pair):
        raw, clear = pair
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            atom_map(clear, raw)


class TestBadInput:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"contrast": "grey"}, "'contrast'.*'grey'"),
            ({"threshold": 0}, "'threshold'"),
            ({"threshold": "high"}, "'threshold'"),
            ({"atom_width": -1}, "'atom_width'"),
            ({"neighbours": 1.5}, "'neighbours'"),
            ({"neighbours": -1}, "'neighbours'"),
            ({"false_rate": 0}, "'false_rate'"),
            ({"false_rate": 5}, "'false_rate'"),
            ({"time_axis": "z", "neighbours": 1}, "'time_axis'"),
        ],
    )
    def test_arguments(self, pair, changes, message):
        raw, clear = pair
        with pytest.raises(ValueError, match=message):
            atom_map(clear, raw, **changes)

    def test_shapes_must_agree(self, pair):
        raw, clear = pair
        with pytest.raises(ValueError, match="'raw'.*same region"):
            atom_map(clear, raw.isig[:-1])
        with pytest.raises(ValueError, match="'raw'.*same"):
            atom_map(clear.data, raw.data[1:])

    def test_kinds_must_agree(self, pair):
        raw, clear = pair
        with pytest.raises(TypeError, match="'denoised'.*'raw'"):
            atom_map(clear, raw.data)

    def test_unsuitable_data(self):
        with pytest.raises(ValueError, match="'denoised'"):
            atom_map(np.zeros(5))
        with pytest.raises(ValueError, match="complex|real"):
            atom_map(hs.signals.ComplexSignal2D(np.zeros((4, 5), complex)))
        with pytest.raises(ValueError, match="no finite pixel"):
            atom_map(np.full((2, 20, 20), np.nan))

    def test_raw_without_noise(self, pair):
        _, clear = pair
        with pytest.raises(ValueError, match="no noise"):
            atom_map(clear, clear * 0 + 3.0)

    @pytest.mark.parametrize("frame", [3, (1, 1), "first", None])
    def test_frames_that_are_not_there(self, pair, frame):
        atoms = atom_map(pair[1])
        with pytest.raises(ValueError, match="'frame'"):
            atoms.positions(frame)

    def test_support_without_raw_frames(self, pair):
        atoms = atom_map(pair[1])
        with pytest.raises(ValueError, match="without raw frames"):
            atoms.positions(supported=True)


class TestResult:
    def test_repr(self, pair):
        raw, clear = pair
        assert repr(atom_map(clear)) == "<AtomMap: 75 atoms in 3 frames of 80 x 72 px>"
        told = "<AtomMap: 75 atoms in 3 frames of 80 x 72 px, 75 supported by the counts>"
        assert repr(atom_map(clear, raw)) == told

    def test_html_escapes_and_names_the_columns(self, pair):
        raw, clear = pair
        text = atom_map(clear, raw)._repr_html_()
        assert "75 supported" in text
        for name in ("log_likelihood", "intensity"):
            assert f"<th>{name}</th>" in text

    def test_dataframe(self):
        pandas = pytest.importorskip("pandas", reason="install n2a[tests] for tables of pandas")
        _, clear = series((2, 3))
        frame = atom_map(denoised_record(clear)).to_dataframe()
        assert isinstance(frame, pandas.DataFrame)
        inner, outer = frame.columns[1:3][::-1]
        np.testing.assert_array_equal(frame["frame"], 3 * frame[outer] + frame[inner])
        assert frame[inner].max() == 2

    def test_dataframe_without_pandas_says_what_to_do(self, pair, monkeypatch):
        atoms = atom_map(pair[1])
        monkeypatch.setitem(sys.modules, "pandas", None)
        with pytest.raises(ImportError, match="pip install pandas"):
            atoms.to_dataframe()

    def test_supported_positions(self, pair):
        raw, clear = pair
        lie = clear.deepcopy()
        lie.data[0] += frame_of([(18.5, 19.0)])
        atoms = atom_map(lie, raw)
        assert len(atoms.positions()) == len(atoms.positions(supported=True)) + 1


class TestPlot:
    def test_markers_tell_by_shape_and_colour(self, pair):
        raw, clear = pair
        clear.data[0] += frame_of([(18.5, 19.0)])
        axes = atom_map(clear, raw).plot()
        circles, diamonds = axes.collections
        assert len(circles.get_paths()) == len(sites(0))
        assert len(diamonds.get_paths()) == 1
        assert len(circles.get_paths()[0].vertices) > len(diamonds.get_paths()[0].vertices)
        assert tuple(circles.get_edgecolor()[0]) != tuple(diamonds.get_edgecolor()[0])
        centre = diamonds.get_paths()[0].vertices[:-1].mean(axis=0)
        np.testing.assert_allclose(centre, [19, 18.5], atol=0.5)
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert labels == ["25 supported by the counts", "1 not supported"]

    def test_scale_bar_has_the_units_of_the_axes(self, pair):
        raw, clear = pair
        axes = atom_map(clear, raw).plot()
        axes.figure.canvas.draw()
        texts = [t.get_text() for t in axes.findobj(lambda a: hasattr(a, "get_text"))]
        assert "0.2 nm" in texts  # of 1.6 nm
        uncalibrated = atom_map(clear.data, atom_width=WIDTH).plot()
        texts = [t.get_text() for t in uncalibrated.findobj(lambda a: hasattr(a, "get_text"))]
        assert "20 px" in texts

    def test_a_region_is_shown_with_a_bar_that_fits(self, pair):
        axes = atom_map(pair[1]).plot(frame=1, region=(10, 40, 20, 50))
        assert axes.get_xlim() == (9.5, 39.5)
        assert axes.get_ylim() == (49.5, 19.5)
        texts = [t.get_text() for t in axes.findobj(lambda a: hasattr(a, "get_text"))]
        assert "0.1 nm" in texts  # of 0.6 nm
        assert "grid, frame 1" in texts
        with pytest.raises(ValueError, match="'region'"):
            atom_map(pair[1]).plot(region=(40, 10, 0, 20))

    def test_a_frame_of_a_lazy_series(self, pair):
        _, clear = pair
        axes = atom_map(clear.as_lazy()).plot(2)
        np.testing.assert_array_equal(axes.images[0].get_array(), clear.data[2])

    @pytest.mark.parametrize("width", [0.013, 1.0, 7.9, 512, 4096.0])
    def test_bars_are_round_and_fit(self, width):
        length = bar_length(width)
        assert 0.1 * width <= length <= 0.25 * width
        assert f"{length:e}"[0] in "125"


class TestTruth:
    def test_true_atoms_of_a_cropped_series(self):
        clean = n2a.simulate(structure="atoms", n_atoms=6, shape=(64, 72), frames=5, seed=6)
        whole, part = true_atoms(clean), true_atoms(clean.inav[2:4].isig[10:, 5:])
        here = (whole.frame >= 2) & (whole.frame < 4) & (whole.row >= 4.5) & (whole.column >= 9.5)
        np.testing.assert_array_equal(part.frame, whole.frame[here] - 2)
        np.testing.assert_allclose(part.row, whole.row[here] - 5, atol=1e-9)
        np.testing.assert_allclose(part.column, whole.column[here] - 10, atol=1e-9)

    def test_no_truth(self):
        with pytest.raises(ValueError, match=r"n2a\.simulate"):
            true_atoms(hs.signals.Signal2D(np.ones((8, 8))))


class TestReading:
    def test_every_frame_of_a_lazy_series_is_read_once(self):
        reads = []
        frame = frame_of(sites(0), (256, 256)).astype(np.float32)

        def read(block_info=None):
            reads.append(block_info[None]["chunk-shape"][0])
            return np.repeat(frame[None], reads[-1], 0)

        frames = da.map_blocks(read, chunks=((8,) * 40, 256, 256), dtype=np.float32)
        reads.clear()
        atoms = atom_map(frames, atom_width=WIDTH, background=False, contrast="bright")
        assert len(np.unique(atoms.table["frame"])) == 320
        # and a few for the sample of four, and where blocks do not end with chunks
        assert sum(reads) <= 320 + 8 * 8
