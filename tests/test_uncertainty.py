# SPDX-License-Identifier: GPL-3.0-or-later
"""The scatter of a denoised series over other noise: where it is large, and against the real one."""

import hyperspy.api as hs
import numpy as np
import pytest

import n2a
from n2a.spread import Redraw


def uncertainty(signal, **kwargs):
    return n2a.uncertainty(signal, show_progressbar=False, **kwargs)


@pytest.fixture(scope="module")
def clean():
    return n2a.simulate(structure="2d", shape=(64, 72), frames=5, seed=3)


@pytest.fixture(scope="module")
def noisy(clean):
    return n2a.acquire(clean, dose=10, texture=0, slope=0, seed=4)


@pytest.fixture(scope="module")
def spread(noisy):
    return uncertainty(noisy, draws=4, atom_width=3.5)


class TestResult:
    def test_looks_like_the_input(self, noisy, spread):
        assert spread.data.dtype == np.float32
        assert type(spread) is type(noisy)
        assert spread.axes_manager.as_dictionary() == noisy.axes_manager.as_dictionary()
        assert spread.metadata.General.title == "uncertainty of noisy simulated 2d"
        told = spread.metadata.n2a.uncertainty
        assert (told.method, told.draws, told.background) == ("noise", 4, False)
        assert np.isfinite(spread.data).all()
        assert (spread.data >= 0).all()

    def test_the_input_is_not_changed(self, clean):
        before = n2a.acquire(clean.inav[:2], dose=10, seed=4)
        after = before.deepcopy()
        uncertainty(after, draws=2)
        np.testing.assert_array_equal(before.data, after.data)
        assert before.metadata.as_dictionary() == after.metadata.as_dictionary()

    def test_same_seed_same_result_and_lazy_as_in_memory(self, noisy, spread):
        lazy = noisy.as_lazy()
        lazy.data = lazy.data.rechunk((2, 40, 72))
        again = uncertainty(lazy, draws=4, atom_width=3.5)
        assert again._lazy
        np.testing.assert_array_equal(again.data.compute(), spread.data)
        other = uncertainty(noisy, draws=4, atom_width=3.5, seed=1)
        assert not np.array_equal(other.data, spread.data)
        # another estimate of the same
        assert other.data.mean() == pytest.approx(spread.data.mean(), rel=0.1)

    def test_any_navigation_shape(self, noisy):
        data = np.stack([noisy.data[:2, :40, :48]] * 3)
        signal = hs.signals.Signal2D(data)
        signal.axes_manager[0].name = "time"
        eager = uncertainty(signal, draws=2, atom_width=3.5)
        lazy = uncertainty(signal.as_lazy(), draws=2, atom_width=3.5)
        np.testing.assert_array_equal(lazy.data.compute(), eager.data)
        assert eager.data.shape == data.shape
        # the same frames three times, each with noise of its own
        assert not np.array_equal(eager.data[0], eager.data[1])
        means = eager.data.mean(axis=(1, 2, 3))
        np.testing.assert_allclose(means, means.mean(), rtol=0.2)

    def test_single_image(self, noisy):
        image = uncertainty(noisy.inav[0], draws=2, atom_width=3.5)
        assert image.data.shape == (64, 72)
        assert image.data.max() > 0.1

    def test_nan_stay_nan(self, noisy):
        signal = noisy.inav[:2].deepcopy()
        signal.change_dtype("float32")
        signal.data[:, :20] = np.nan
        result = uncertainty(signal, draws=2, atom_width=3.5)
        np.testing.assert_array_equal(np.isnan(result.data), np.isnan(signal.data))

    def test_is_in_the_units_of_the_input(self, noisy, spread):
        scaled = noisy.deepcopy()
        scaled.change_dtype("float64")
        scaled.data = 250 * scaled.data + 4e4
        result = uncertainty(scaled, draws=4, atom_width=3.5)
        assert result.data.mean() == pytest.approx(250 * spread.data.mean(), rel=0.05)


class TestMeaning:
    def test_is_larger_on_atoms_than_between_them(self, clean, spread):
        on, off = clean.data > 0.3, clean.data < 0.02
        assert spread.data[on].mean() > 3 * spread.data[off].mean()

    def test_relative_to_the_atoms_it_grows_where_counts_are_few(self, clean):
        on = clean.data > 0.3
        relative = []
        for dose in (2, 10, 50):
            noisy = n2a.acquire(clean, dose=dose, seed=4)
            result = uncertainty(noisy, draws=4, atom_width=3.5)
            relative.append(result.data[on].mean() / dose)
        assert relative[0] > 1.5 * relative[1] > 2 * relative[2]

    def test_is_the_scatter_over_real_recordings(self, clean, spread):
        # The same scene recorded eight times, which nobody can do in an experiment.
        frames = [
            n2a.denoise(
                n2a.acquire(clean, dose=10, texture=0, slope=0, seed=20 + i),
                atom_width=3.5,
                show_progressbar=False,
            ).data
            for i in range(8)
        ]
        on = clean.data > 0.3
        real = np.sqrt(np.mean(np.std(frames, axis=0, ddof=1)[on] ** 2))
        told = np.sqrt(np.mean(spread.data[on] ** 2))
        assert told == pytest.approx(real, rel=0.25)

    def test_flips_ask_something_else(self, noisy, spread):
        flips = uncertainty(noisy, draws=8, method="flips", atom_width=3.5)
        assert flips.data.shape == spread.data.shape
        assert 0 < flips.data.mean() < spread.data.mean()

    def test_flips_of_a_scene_that_is_the_same_in_every_orientation(self):
        # A blur treats all orientations alike; so does an image without structure.
        flat = hs.signals.Signal2D(np.random.default_rng(0).poisson(8, (2, 48, 48)))
        with pytest.warns(UserWarning, match="nothing of the size"):
            result = uncertainty(flat, draws=8, method="flips")
        assert result.data.mean() < 0.3


class TestRedraw:
    def test_noise_has_the_variance_of_the_series(self):
        y, _ = np.mgrid[:128, :128]
        clear = 2 + y / 8.0
        gain, zero, read = 7.0, 100.0, 1.5
        rng = np.random.default_rng(0)
        raw = np.stack(
            [
                gain * (rng.poisson(clear) + read * rng.standard_normal(clear.shape)) + zero
                for _ in range(6)
            ]
        )
        redraw = Redraw.of(raw, 2.0, True, seed=0)
        total = gain * clear + zero
        drawn = np.stack([redraw(total, 0, draw) for draw in range(60)])
        for rows in (slice(0, 32), slice(96, 128)):
            expected = gain**2 * (clear[rows].mean() + read**2)
            assert drawn[:, rows].var(axis=0, ddof=1).mean() == pytest.approx(expected, rel=0.12)
        np.testing.assert_allclose(drawn.mean(axis=0).mean(), total.mean(), rtol=1e-3)

    def test_noise_is_correlated_along_the_scan_as_in_the_series(self):
        rng = np.random.default_rng(1)
        kernel = np.exp(-np.arange(8) / 2.0)
        white = rng.standard_normal((6, 128, 135))
        raw = 50 + sum(k * white[..., i : i + 128] for i, k in enumerate(kernel))
        redraw = Redraw.of(raw, 2.0, True, seed=0)
        drawn = redraw(np.full((128, 128), 50.0), 0, 0) - 50
        assert drawn.std() == pytest.approx(raw.std(), rel=0.05)
        for lag in (1, 2, 4):
            seen, real = (
                np.mean(a[..., lag:] * a[..., :-lag]) / np.mean(a**2) for a in (drawn, raw - 50)
            )
            assert seen == pytest.approx(real, abs=0.07)
        assert abs(np.mean(drawn[1:] * drawn[:-1]) / np.mean(drawn**2)) < 0.03

    def test_white_noise_stays_white(self):
        raw = np.random.default_rng(2).poisson(6.0, (6, 96, 96))
        redraw = Redraw.of(raw, 2.0, True, seed=0)
        assert redraw.correlation == (1.0,)
        few = redraw(np.full((96, 96), 0.02), 0, 0)
        assert few.min() > -1  # counts, not a bell curve

    def test_draws_differ_by_frame_number_draw_and_seed(self):
        raw = np.random.default_rng(2).poisson(6.0, (4, 96, 96))
        one, two = (Redraw.of(raw, 2.0, True, seed=s) for s in (0, 1))
        frame = np.full((8, 8), 6.0)
        drawn = [one(frame, 0, 0), one(frame, 1, 0), one(frame, 0, 1), two(frame, 0, 0)]
        assert len({d.tobytes() for d in drawn}) == 4
        np.testing.assert_array_equal(one(frame, 0, 0), drawn[0])


class TestBadInput:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"draws": 1}, "'draws'.*2 to 1000"),
            ({"draws": 2.5}, "'draws'"),
            ({"draws": 9, "method": "flips"}, "'draws'.*2 to 8"),
            ({"method": "bootstrap"}, "'method'.*'noise' or 'flips'"),
            ({"seed": -1}, "'seed'"),
            ({"contrast": "grey"}, "'contrast'"),
            ({"atom_width": 0}, "'atom_width'"),
        ],
    )
    def test_arguments(self, noisy, changes, message):
        with pytest.raises(ValueError, match=message):
            uncertainty(noisy, **changes)

    def test_no_signal(self, noisy):
        with pytest.raises(TypeError, match="HyperSpy signal"):
            uncertainty(noisy.data)

    def test_constant_series(self):
        with pytest.raises(ValueError, match="constant"):
            uncertainty(hs.signals.Signal2D(np.ones((2, 32, 32))))
