# SPDX-License-Identifier: GPL-3.0-or-later
"""The microscope: statistics of acquire() against what counting, read-out and detector theory say."""

import hyperspy.api as hs
import numpy as np
import pytest
import torch
from scipy import stats
from scipy.ndimage import center_of_mass

import n2a
from n2a import acquisition


def flat(shape=(8, 128, 128), value=1.0):
    """Clean series of one intensity: whatever varies afterwards is noise."""
    return hs.signals.Signal2D(np.full(shape, value, np.float32))


def record(clean=None, dose=10.0, **kwargs):
    """Data of a recording without support film, in floats: nothing is rounded or clipped."""
    kwargs = {"support": 0.0, "dtype": "float64", "seed": 1, **kwargs}
    return n2a.acquire(flat() if clean is None else clean, dose, **kwargs).data


def autocorrelation(frames, axis, lags):
    """Normalised autocorrelation of the deviations from the mean, along one axis."""
    x = np.moveaxis(frames - frames.mean(), axis, -1)
    n = x.shape[-1]
    return np.array([(x[..., : n - lag] * x[..., lag:]).mean() for lag in lags]) / (x**2).mean()


def lorentzian(decay, lags):
    """Autocorrelation of noise with the spectrum 1 / (1 + (2 pi k decay)^2) up to Nyquist."""
    k = np.linspace(0, 0.5, 20001)
    power = 1 / (1 + (2 * np.pi * k * decay) ** 2)
    return (np.cos(2 * np.pi * k * np.asarray(lags)[:, None]) * power).sum(axis=1) / power.sum()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class TestMeanAndVariance:
    @pytest.mark.parametrize(
        ("dose", "gain", "offset", "read_noise"),
        [(0.3, 1, 0, 0), (10, 1, 0, 0), (500, 1, 0, 0), (10, 25, 0, 0), (10, 2, -3000, 0),
         (0.5, 1, 0, 3), (40, 0.01, 7, 5)],
    )  # fmt: skip
    def test_of_a_flat_field(self, dose, gain, offset, read_noise):
        data = record(dose=dose, gain=gain, offset=offset, read_noise=read_noise)
        mean = gain * dose + offset
        variance = gain**2 * (dose + read_noise**2)
        assert data.mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / data.size))
        # The variance of a variance: Poisson counts have the excess kurtosis 1 / dose.
        spread = variance * np.sqrt((2 + 1 / dose) / data.size)
        assert data.var() == pytest.approx(variance, abs=5 * spread)

    def test_counts_are_poisson(self):
        counts = record(dose=1.7).ravel()
        assert np.array_equal(counts, np.rint(counts))
        observed = np.bincount(counts.astype(int), minlength=9)[:9]
        expected = stats.poisson.pmf(np.arange(9), 1.7) * counts.size
        assert np.sum((observed - expected) ** 2 / expected) < stats.chi2.ppf(0.9999, 8)

    def test_dose_is_counts_at_the_highest_intensity(self):
        clean = flat((4, 128, 96))
        clean.data[:] = np.linspace(0.02, 0.5, 96)
        data = record(clean, dose=80.0, gain=3.0)
        expected = 80 * np.linspace(0.04, 1, 96)
        columns = data.transpose(2, 0, 1).reshape(96, -1)
        assert np.polyfit(expected, columns.mean(axis=1), 1)[0] == pytest.approx(3, rel=0.02)
        # Variance against mean is a line through the origin; its slope is the gain.
        slope, level = np.polyfit(columns.mean(axis=1), columns.var(axis=1), 1)
        assert slope == pytest.approx(3, rel=0.05)
        assert abs(level) < 0.03 * columns.var(axis=1).max()

    def test_pixels_frames_and_lines_are_independent(self):
        data = record(dose=10.0)
        for axis in range(3):
            assert np.abs(autocorrelation(data, axis, [1, 2, 5])).max() < 0.015


class TestSupport:
    def test_mean(self):
        data = record(dose=50.0, support=0.4)
        assert data.mean() == pytest.approx(50 * 1.4, rel=0.01)

    def test_texture_and_slope(self):
        clean = flat((6, 96, 96), 1e-6)
        clean.data[0, 0, 0] = 1
        high = {"dose": 1e6, "support": 1.0}
        film = record(clean, slope=0.0, texture=0.15, texture_length=4.0, **high)[:, 1:]
        assert film.std() / film.mean() == pytest.approx(0.15, rel=0.02)
        np.testing.assert_allclose(film[0], film[5], rtol=0.01)  # the film does not flicker
        ramp = record(clean, slope=0.3, texture=0.0, **high)[:, 1:].mean(axis=(0, 1))
        rise = np.polyfit(np.linspace(-0.5, 0.5, 96), ramp, 1)[0] / ramp.mean()
        assert abs(rise) == pytest.approx(0.3, rel=0.02)

    def test_texture_length_is_in_nm(self):
        clean = flat((1, 256, 256), 1e-9)
        clean.data[0, 0, 0] = 1
        for axis in clean.axes_manager.signal_axes:
            axis.scale, axis.units = 20.0, "pm"
        film = record(clean, dose=1e7, support=1.0, slope=0.0, texture=0.2, texture_length=0.1)
        # 0.1 nm = 5 px; white noise smoothed by a Gaussian of width L correlates as exp(-r^2 / 4 L^2).
        for axis in (1, 2):
            found = autocorrelation(film[:, 1:], axis, [5, 10])
            np.testing.assert_allclose(found, np.exp([-0.25, -1.0]), atol=0.12)

    def test_film_under_nothing(self):
        # Empty support is what a denoiser must be tested on: there is nothing brighter than 0.
        empty = n2a.simulate(structure="empty", shape=(96, 96), frames=4)
        noisy = n2a.acquire(empty, dose=20, support=0.5, texture=0, slope=0, seed=2)
        assert noisy.data.mean() == pytest.approx(10, rel=0.02)
        assert noisy.data.var() == pytest.approx(10, rel=0.05)
        assert len(n2a.atoms_of(noisy)) == 0


class TestAlongTheScan:
    LAGS = np.arange(1, 7)

    @pytest.mark.parametrize(("fraction", "decay"), [(0.2, 2.0), (0.6, 1.0), (0.3, 8.0)])
    def test_afterglow(self, fraction, decay):
        data = record(dose=20.0, afterglow=fraction, afterglow_decay=decay)
        kernel = fraction * np.exp(-np.arange(128) / decay)
        kernel[1:] *= fraction / kernel[1:].sum()
        kernel[0] = 1 - fraction
        power = (kernel**2).sum()
        expected = [(kernel[:-lag] * kernel[lag:]).sum() / power for lag in self.LAGS]
        # The first pixels of a line see a constant before it, and are less noisy.
        inner = data[..., 40:]
        np.testing.assert_allclose(autocorrelation(inner, 2, self.LAGS), expected, atol=0.02)
        assert np.abs(autocorrelation(inner, 1, self.LAGS)).max() < 0.02
        assert data.mean() == pytest.approx(20, rel=0.01)
        assert inner.var() == pytest.approx(20 * power, rel=0.03)

    @pytest.mark.parametrize("decay", [3.0, 20.0])
    def test_line_noise(self, decay):
        data = record(dose=4.0, line_noise=6.0, line_decay=decay)
        assert data.var() == pytest.approx(4 + 36, rel=0.06)
        expected = 36 / 40 * lorentzian(decay, self.LAGS)
        np.testing.assert_allclose(expected, 36 / 40 * np.exp(-self.LAGS / decay), atol=0.06)
        np.testing.assert_allclose(autocorrelation(data, 2, self.LAGS), expected, atol=0.05)
        assert np.abs(autocorrelation(data, 1, self.LAGS)).max() < 0.04
        assert np.abs(autocorrelation(data, 0, self.LAGS)).max() < 0.04
        assert data.mean() == pytest.approx(4, abs=0.3)

    def test_both_together_with_read_noise(self):
        data = record(dose=9.0, read_noise=2.0, afterglow=0.3, line_noise=3.0, line_decay=15.0)
        kernel = 0.3 * np.exp(-np.arange(128) / 2.0)
        kernel[1:] *= 0.3 / kernel[1:].sum()
        kernel[0] = 0.7
        variance = (9 + 4) * (kernel**2).sum() + 9
        expected = [
            ((9 + 4) * (kernel[:-n] * kernel[n:]).sum() + 9 * line) / variance
            for n, line in zip(self.LAGS, lorentzian(15.0, self.LAGS))
        ]
        found = autocorrelation(data[..., 20:], 2, self.LAGS)
        np.testing.assert_allclose(found, expected, atol=0.04)

    def test_row_jitter_moves_whole_lines(self):
        clean = flat((2, 128, 128))
        clean.data[:] = np.linspace(0.2, 1, 128)
        data = record(clean, dose=1e9, row_jitter=0.7)
        step = 1e9 * 0.8 / 127
        moved = (np.linspace(0.2, 1, 128) * 1e9 - data)[..., 5:-5] / step  # px to the right
        lines = moved.mean(axis=-1)
        assert np.abs(moved - lines[..., None]).max() < 0.2  # what is left is counting noise
        assert lines.std() == pytest.approx(0.7, rel=0.2)
        assert abs(lines.mean()) < 0.2
        assert abs(np.corrcoef(lines[:, 1:].ravel(), lines[:, :-1].ravel())[0, 1]) < 0.3


class TestInstrument:
    @pytest.mark.parametrize(
        ("dtype", "low", "high"),
        [("uint8", 0, 255), ("int8", -128, 127), ("uint16", 0, 65535), ("int32", None, None)],
    )
    def test_integers_are_rounded_and_clipped(self, dtype, low, high):
        options = {"clean": flat((1, 64, 64)), "dose": 100.0, "read_noise": 1.0, "gain": 900.0}
        options |= {"offset": -90000.0, "support": 0.0, "seed": 3}
        exact = n2a.acquire(dtype="float64", **options).data
        data = n2a.acquire(dtype=dtype, **options).data
        assert data.dtype == dtype
        np.testing.assert_array_equal(data, np.clip(np.rint(exact), low, high))
        if low is not None:
            assert (data == low).any()
            assert (data == high).any() or dtype == "uint16"

    def test_default_is_what_instruments_write(self):
        assert n2a.acquire(flat((1, 16, 16)), dose=3).data.dtype == np.uint16

    def test_dead_and_hot_pixels(self):
        data = record(dose=50.0, gain=2.0, offset=10.0, defects=0.02)
        dead, hot = data == 10.0, data == 10 + 2 * 500
        assert dead.mean() == pytest.approx(0.01, rel=0.15)
        assert hot.mean() == pytest.approx(0.01, rel=0.15)
        assert 40 < data[~dead & ~hot].min()
        assert data[~dead & ~hot].max() < 300
        assert not np.array_equal(dead[0], dead[1])  # per frame

    def test_drift_moves_atoms_and_their_table(self):
        clean = n2a.simulate(
            structure="atoms", n_atoms=6, shape=(96, 128), frames=5, hop=0, drift=0, seed=3
        )
        noisy = n2a.acquire(clean, dose=1e6, support=0, drift=1.5, dtype="float32", seed=4)
        before, after = n2a.atoms_of(clean), n2a.atoms_of(noisy)
        scale = 0.0125
        path = np.array([(after[name] - before[name]) / scale for name in "yx"]).T
        assert np.abs(path[after["frame"] == 2]).max() == 0  # the middle frame rests
        assert np.hypot(*path[after["frame"] == 4].T).max() > 1
        inner = 0
        for frame, y, x, intensity in after:
            py, px = y / scale, x / scale
            if not (12 < py < 83 and 12 < px < 115):
                continue
            iy, ix = round(py) - 8, round(px) - 8
            patch = noisy.data[frame, iy : iy + 17, ix : ix + 17] / 1e6 * clean.data.max()
            cy, cx = center_of_mass(patch)
            assert (iy + cy, ix + cx) == pytest.approx((py, px), abs=0.05)
            assert patch.max() == pytest.approx(intensity, rel=0.05)
            inner += 1
        assert inner > 10
        assert np.array_equal(before, n2a.atoms_of(clean))

    def test_drift_is_as_fast_as_it_is_told(self):
        clean = n2a.simulate(structure="atoms", n_atoms=1, shape=(32, 32), frames=5, hop=0, drift=0)
        speeds = []
        for seed in range(15):
            table = n2a.atoms_of(n2a.acquire(clean, dose=1, drift=2.0, seed=seed))
            steps = np.diff([table["y"], table["x"]], axis=1) / 0.0125
            speeds.append(np.hypot(*steps).mean())
        assert np.mean(speeds) == pytest.approx(2, rel=0.4)

    def test_film_drifts_with_the_scene(self):
        clean = n2a.simulate(structure="empty", shape=(64, 64), frames=3, drift=0.1, seed=3)
        clean.data[:, 0, 0] = 1  # something that the dose refers to
        film = n2a.acquire(
            clean, dose=1e6, support=1.0, texture=0.3, texture_length=0.05, slope=0, dtype="float64", seed=1
        ).data[:, 1:, 1:]  # fmt: skip
        assert np.corrcoef(film[0].ravel(), film[2].ravel())[0, 1] < 0.5
        still = n2a.simulate(structure="empty", shape=(64, 64), frames=3, drift=0, seed=3)
        still.data[:, 0, 0] = 1
        film = n2a.acquire(
            still, dose=1e6, support=1.0, texture=0.3, texture_length=0.05, slope=0, dtype="float64", seed=1
        ).data[:, 1:, 1:]  # fmt: skip
        assert np.corrcoef(film[0].ravel(), film[2].ravel())[0, 1] > 0.99

    def test_film_moves_along_its_path(self):
        path = torch.tensor([[0.0, 0.0], [3.0, -7.0]])
        film = acquisition.acquire_counts(
            torch.zeros(2, 64, 48), generator(1), support=1e6, texture=0.2, texture_length=3.0, slope=0.0,
            path=path, read_noise=0.0, row_jitter=0.0, afterglow_fraction=0.0, afterglow_decay=1.0,
            line=0.0, line_decay=1.0, defective=0.0, hot=0.0,
        ).numpy()  # fmt: skip
        np.testing.assert_allclose(np.roll(film[0], (3, -7), (0, 1)), film[1], rtol=0.02)

    def test_part_of_a_series_can_be_recorded(self):
        clean = n2a.simulate(shape=(48, 48), frames=6, seed=1)
        for part in (clean.inav[2:5], clean.inav[5]):
            noisy = n2a.acquire(part, dose=20, seed=2)
            assert noisy.data.shape == part.data.shape
            with pytest.raises(ValueError, match="'drift'.*crop frames after"):
                n2a.acquire(part, dose=20, drift=1.0, seed=2)


class TestSignal:
    def test_seeds(self):
        options = {"clean": flat((2, 32, 32)), "dose": 5.0, "read_noise": 1.0, "line_noise": 1.0}
        options |= {"row_jitter": 0.5, "afterglow": 0.1, "drift": 0.3, "defects": 0.01}
        first, again, other = (n2a.acquire(seed=s, **options).data for s in (7, 7, 8))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_clean_is_not_changed_and_axes_stay(self):
        clean = n2a.simulate(shape=(48, 64), frames=3, seed=1)
        data, table = clean.data.copy(), n2a.atoms_of(clean)
        noisy = n2a.acquire(clean, dose=30, seed=2)
        np.testing.assert_array_equal(clean.data, data)
        assert noisy.data.shape == data.shape
        for new, old in zip(noisy.axes_manager._axes, clean.axes_manager._axes):
            assert new.get_axis_dictionary() == old.get_axis_dictionary()
        np.testing.assert_array_equal(n2a.atoms_of(noisy), table)
        noted = noisy.metadata.n2a.acquisition
        assert (noted.dose, noted.seed, noted.support) == (30, 2, 0.2)
        assert noted.counts_per_unit == pytest.approx(30 / data.max(), rel=1e-6)
        assert not clean.metadata.has_item("n2a.acquisition")

    @pytest.mark.parametrize("shape", [(32, 40), (3, 32, 40), (2, 3, 32, 40)])
    def test_navigation_shapes(self, shape):
        assert n2a.acquire(flat(shape), dose=5).data.shape == shape

    def test_lazy_and_turned_axes(self):
        clean = n2a.simulate(shape=(32, 40), frames=3, seed=1)
        expected = n2a.acquire(clean, dose=30, seed=2).data
        lazy = n2a.acquire(clean.as_lazy(), dose=30, seed=2)
        np.testing.assert_array_equal(np.asarray(lazy.data), expected)
        turned = clean.transpose(signal_axes=("x", "y"), optimize=True)
        turned = hs.signals.Signal2D(np.moveaxis(clean.data, 0, -1)).transpose(signal_axes=(2, 1))
        noisy = n2a.acquire(turned, dose=30, seed=2)
        assert noisy.data.shape == turned.data.shape

    @pytest.mark.parametrize(
        ("bad", "word"),
        [({"dose": 0}, "dose"), ({"dose": -1}, "dose"), ({"dose": np.nan}, "dose"), ({"dose": np.inf}, "dose"),
         ({"support": -0.1}, "support"), ({"gain": 0}, "gain"), ({"read_noise": -1}, "read_noise"),
         ({"afterglow": 1.5}, "afterglow"), ({"afterglow_decay": 0}, "afterglow_decay"),
         ({"line_decay": -2}, "line_decay"), ({"defects": 2}, "defects"), ({"texture_length": 0}, "texture_length"),
         ({"row_jitter": -1}, "row_jitter"), ({"drift": np.inf}, "drift"),
         ({"offset": np.nan}, "offset"), ({"slope": np.nan}, "slope"), ({"dtype": "complex64"}, "dtype")],
    )  # fmt: skip
    def test_bad_arguments_are_named(self, bad, word):
        with pytest.raises(ValueError, match=f"'{word}'"):
            n2a.acquire(flat((1, 16, 16)), **{"dose": 5, **bad})

    @pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
    def test_impossible_intensities(self, value):
        clean = flat((1, 16, 16))
        clean.data[0, 3, 3] = value
        with pytest.raises(ValueError, match="'clean'.*background"):
            n2a.acquire(clean, dose=5)

    def test_no_images(self):
        with pytest.raises(TypeError, match="Signal2D"):
            n2a.acquire(np.ones((4, 4)), dose=5)
        with pytest.raises(ValueError, match="real"):
            n2a.acquire(hs.signals.ComplexSignal2D(np.ones((9, 9), complex)), dose=5)


class TestParts:
    def test_random_field_statistics_and_motion(self):
        shifts = torch.tensor([[[0.0, 0.0], [4.0, -9.0]]])
        field = acquisition.random_field((1, 128, 160), torch.tensor([3.0]), shifts, generator(2))
        field = field.numpy()
        assert field.shape == (1, 2, 128, 160)
        assert field.mean() == pytest.approx(0, abs=1e-4)
        assert field.std() == pytest.approx(1, rel=1e-3)
        np.testing.assert_allclose(
            np.roll(field[0, 0], (4, -9), (0, 1)), field[0, 1], atol=1e-3
        )  # fmt: skip
        for axis in (0, 1):
            found = autocorrelation(field[0, 0], axis, [3, 6])
            np.testing.assert_allclose(found, np.exp([-0.25, -1.0]), atol=0.1)

    def test_shift_rows(self):
        image = torch.arange(12.0).reshape(2, 6) ** 2
        moved = acquisition.shift_rows(image, torch.tensor([2.0, -1.0]))
        np.testing.assert_array_equal(moved[0], [0, 0, 0, 1, 4, 9])
        np.testing.assert_array_equal(moved[1], [49, 64, 81, 100, 121, 121])
        half = acquisition.shift_rows(image, torch.tensor([0.5, 0.0]))
        np.testing.assert_allclose(half[0], [0, 0.5, 2.5, 6.5, 12.5, 20.5])
        np.testing.assert_array_equal(half[1], image[1])

    def test_afterglow_of_one_bright_pixel(self):
        counts = torch.zeros(3, 32)
        counts[1, 10] = 100.0
        seen = acquisition.afterglow(counts, torch.tensor(0.4), torch.tensor(3.0)).numpy()
        assert seen[1, 10] == pytest.approx(60, rel=1e-4)
        assert seen[1, 12] / seen[1, 11] == pytest.approx(np.exp(-1 / 3), rel=1e-3)
        assert seen.sum() == pytest.approx(100, rel=2e-3)
        assert np.abs(seen[[0, 2]]).max() < 1e-4
        assert np.abs(seen[1, :10]).max() < 1e-4  # nothing arrives before

    def test_line_noise_by_frame(self):
        # Each frame with its own decay.
        noise = acquisition.line_noise((2, 400, 101), torch.tensor([0.5, 12.0]), generator(3))
        noise = noise.numpy()
        np.testing.assert_allclose(noise.std(axis=(1, 2)), 1, atol=0.06)
        short, long = (autocorrelation(f, 1, [5])[0] for f in noise)
        assert short < 0.05
        assert long == pytest.approx(np.exp(-5 / 12), abs=0.1)
