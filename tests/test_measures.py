# SPDX-License-Identifier: GPL-3.0-or-later
"""The measures of a report one by one: signals as arrays, lazy as in memory, and against the truth."""

import hyperspy.api as hs
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import n2a
from n2a import ring_correlation, whiteness
from n2a.noise import Noise

SUPPORT = 0.3


def scene(frames=12, shape=(96, 112), pitch=13, seed=0):
    """Columns of several heights around 1 on a flat support, at rest."""
    rng = np.random.default_rng(seed)
    y, x = (np.arange(n)[:, None] for n in shape)
    rows, cols = (np.arange(8.0, n - 7, pitch) for n in shape)
    row = np.exp(-((y - rows) ** 2) / (2 * 2.2**2))
    column = np.exp(-((x - cols) ** 2) / (2 * 2.2**2))
    heights = rng.uniform(0.3, 1, (len(rows), len(cols)))
    return np.broadcast_to(SUPPORT + row @ heights @ column.T, (frames, *shape))


def counts(truth, seed=0):
    return np.random.default_rng(seed).poisson(truth).astype(np.float32)


def blur(frames, sigma=1.5):
    return gaussian_filter(np.asarray(frames, float), (0, sigma, sigma)).astype(np.float32)


def as_signal(frames, lazy=False, scale=0.02, units="nm"):
    signal = hs.signals.Signal2D(np.array(frames))
    for axis in signal.axes_manager.signal_axes:
        axis.scale, axis.units = scale, units
    if signal.axes_manager.navigation_dimension:
        axis = signal.axes_manager.navigation_axes[0]
        axis.name, axis.units, axis.scale = "time", "s", 0.1
    return signal.as_lazy() if lazy else signal


TRUTH = 20 * scene()
RAW = counts(TRUTH)
RESULT = blur(RAW)

MEASURES = {
    "umse": lambda denoised, raw: n2a.umse(denoised, raw),
    "upsnr": lambda denoised, raw: n2a.upsnr(denoised, raw),
    "residual_whiteness": lambda denoised, raw: n2a.residual_whiteness(raw, denoised),
    "frc": lambda denoised, raw: n2a.frc(raw, denoised).correlation,
    "frc of halves": lambda denoised, raw: n2a.frc(raw).correlation,
    "linearity": lambda denoised, raw: np.hstack(n2a.linearity(denoised, raw)),
}


@pytest.mark.parametrize("name", MEASURES)
class TestDoors:
    def test_arrays_signals_and_lazy_signals_agree(self, name):
        call = MEASURES[name]
        expected = call(RESULT, RAW)
        for denoised, raw in (
            (as_signal(RESULT), as_signal(RAW)),
            (as_signal(RESULT, lazy=True), as_signal(RAW, lazy=True)),
            (as_signal(RESULT), as_signal(RAW, lazy=True)),
            (RESULT, as_signal(RAW)),
        ):
            np.testing.assert_allclose(call(denoised, raw), expected, rtol=1e-6)

    def test_the_time_axis_may_be_any(self, name):
        # Two series side by side are judged as two series, not as one; time is the outer axis here.
        both = [np.stack([each, each[::-1]], 1) for each in (RESULT, RAW)]
        signals = [hs.signals.Signal2D(each) for each in both]
        for signal in signals:
            signal.axes_manager[1].name = "time"
            signal.axes_manager[0].name = "run"
        told = MEASURES[name](*signals)
        expected = MEASURES[name](RESULT, RAW)
        if name == "linearity":
            told, expected = told[:2], expected[:2]
        elif name == "residual_whiteness":
            told, expected = told[0::2][:2], expected[0::2][:2]
        np.testing.assert_allclose(told, expected, rtol=0.25, atol=0.02)

    def test_nothing_is_changed(self, name):
        denoised, raw = as_signal(RESULT), as_signal(RAW)
        MEASURES[name](denoised, raw)
        np.testing.assert_array_equal(denoised.data, RESULT)
        np.testing.assert_array_equal(raw.data, RAW)
        assert raw.metadata.as_dictionary() == as_signal(RAW).metadata.as_dictionary()

    def test_whole_numbers(self, name):
        raw, denoised = RAW.astype(np.uint8), np.round(RESULT).astype(np.uint8)
        expected = MEASURES[name](denoised.astype(float), raw.astype(float))
        told = MEASURES[name](as_signal(denoised), as_signal(raw))
        np.testing.assert_allclose(told, expected, rtol=1e-5)

    def test_what_holds_no_real_images_is_refused(self, name):
        for bad in (RAW * 1j, "raw", RAW[0, 0], RAW[None]):
            with pytest.raises(TypeError, match="expected a HyperSpy signal of images, or a real"):
                MEASURES[name](RESULT, bad)
        with pytest.raises((AttributeError, TypeError, ValueError), match="[Ss]ignal2D|2D|images"):
            MEASURES[name](as_signal(RESULT), hs.signals.Signal1D(RAW))

    def test_few_pixels_without_a_value_hardly_matter(self, name):
        expected = MEASURES[name](RESULT, RAW)
        raw = RAW.copy()
        raw[2, 10:13, 20:24] = np.nan
        raw[7, 50, 60] = np.inf
        told = MEASURES[name](RESULT, raw)
        assert np.isfinite(told).all()
        if name == "linearity":
            told, expected = told[:2], expected[:2]
        elif name == "residual_whiteness":
            told, expected = told[:4], expected[:4]
        np.testing.assert_allclose(told, expected, rtol=0.05, atol=0.02)

    def test_no_pixel_with_a_value(self, name):
        with pytest.raises(ValueError, match="finite|constant") as caught:
            MEASURES[name](RESULT, np.full(RAW.shape, np.nan))
        assert "12 frames" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in MEASURES if name != "frc of halves"])
class TestPairs:
    def test_other_shapes_are_refused(self, name):
        for denoised, raw in (
            (RESULT[:, 1:], RAW),
            (as_signal(RESULT[1:]), as_signal(RAW)),
            (as_signal(RESULT), as_signal(RAW[..., :-2], lazy=True)),
        ):
            with pytest.raises(ValueError, match="frames of shape .*; expected that of .*Select"):
                MEASURES[name](denoised, raw)

    def test_other_calibrations_are_told(self, name, recwarn):
        MEASURES[name](as_signal(RESULT), as_signal(RAW))
        MEASURES[name](RESULT, as_signal(RAW))
        assert not [w for w in recwarn if "calibrated" in str(w.message)]
        with pytest.warns(UserWarning, match="calibrated differently .*0.0[24] nm against 0.0[24]"):
            MEASURES[name](as_signal(RESULT, scale=0.04), as_signal(RAW))


class TestUpsnr:
    """Against the error that only the truth tells."""

    @pytest.mark.parametrize("dose", [2, 10, 50])
    @pytest.mark.parametrize(
        "method",
        [
            lambda raw, truth: blur(raw, 1),
            lambda raw, truth: blur(raw, 3),
            lambda raw, truth: 0.85 * truth,
            lambda raw, truth: np.full(raw.shape, raw.mean()),
            lambda raw, truth: raw,
        ],
        ids=["blur 1", "blur 3", "darker", "constant", "raw"],
    )
    def test_is_the_psnr_within_half_a_decibel(self, dose, method):
        truth = dose * scene()
        away = []
        for seed in range(3):
            raw = counts(truth, seed)
            result = method(raw, truth)
            expected = 10 * np.log10(dose**2 / np.mean((result - truth) ** 2))
            away.append(n2a.upsnr(result, raw, data_range=dose) - expected)
        assert abs(np.mean(away)) < 0.5
        assert np.ptp(away) < 1.5

    @pytest.mark.parametrize("dose", [2, 10, 50])
    def test_of_the_weights_in_the_box(self, dose):
        clean = n2a.simulate(
            structure="2d", shape=(160, 160), frames=12, drift=0, rotation=0, hop=0, seed=3
        )
        noisy = n2a.acquire(clean, dose=dose, seed=1, texture=0, slope=0, dtype="float32")
        truth = noisy.metadata.n2a.acquisition.counts_per_unit * clean.data + 0.2 * dose
        denoised = n2a.denoise(noisy, background=True)
        error = np.mean((denoised.data - truth) ** 2)
        told = n2a.upsnr(denoised, noisy, data_range=dose)
        assert told == pytest.approx(10 * np.log10(dose**2 / error), abs=0.5)

    def test_ranks_results(self):
        results = [TRUTH * 0.98, blur(TRUTH, 1.2), blur(RAW, 1.2), RAW]
        told = [n2a.upsnr(as_signal(r), as_signal(RAW), data_range=20) for r in results]
        assert told == sorted(told, reverse=True)
        assert min(np.diff(told[::-1])) > 1

    def test_range_is_that_of_the_result(self):
        low, high = np.percentile(RESULT, (0.1, 99.9))
        assert n2a.upsnr(RESULT, RAW) == n2a.upsnr(RESULT, RAW, data_range=high - low)
        holed = RESULT.copy()
        holed[0, 0, 0], holed[3, 5, 5] = np.nan, np.inf
        assert n2a.upsnr(holed, RAW) == pytest.approx(n2a.upsnr(RESULT, RAW), abs=0.05)

    def test_a_constant_has_no_range(self):
        flat = np.full(RAW.shape, 9.0)
        with pytest.raises(ValueError, match="'denoised' is 9 nearly everywhere.*'data_range'"):
            n2a.upsnr(flat, RAW)
        assert np.isfinite(n2a.upsnr(flat, RAW, data_range=20))
        for bad in (0, -1, np.nan, "wide"):
            with pytest.raises(ValueError, match="'data_range' is"):
                n2a.upsnr(RESULT, RAW, data_range=bad)

    def test_an_error_below_zero(self):
        # The truth itself: the estimate scatters around nothing.
        for seed in range(20):
            raw = counts(TRUTH, seed)
            estimate = n2a.umse(TRUTH, raw)
            assert abs(estimate.value) < 4 * estimate.error
            if estimate.value < 0:
                break
        with pytest.raises(ValueError, match="uPSNR does not exist.*standard error of .*umse()"):
            n2a.upsnr(TRUTH, raw, data_range=20)


class TestUmse:
    def test_error_is_that_of_the_estimate(self):
        deviations = []
        result = 0.9 * TRUTH
        for seed in range(16):
            estimate = n2a.umse(result, counts(TRUTH, seed))
            deviations.append((estimate.value - np.mean((result - TRUTH) ** 2)) / estimate.error)
        assert abs(np.mean(deviations)) < 4 / 4
        assert 0.4 < np.std(deviations) < 1.6

    @pytest.mark.parametrize("number", [12, 20])
    def test_all_frames_count_alike(self, number):
        """Results are worse near the ends, where a method has fewer frames to go by."""
        truth = 20 * scene(number)
        part = 0.1 * np.abs(np.linspace(-1, 1, number))[:, None, None]
        estimate = n2a.umse((1 + part) * truth, counts(50 * truth) / 50)
        assert estimate.value == pytest.approx(np.mean((part * truth) ** 2), rel=0.06)

    def test_a_drifting_scene(self):
        wide = 20 * scene(1, (130, 130), pitch=14, seed=2)[0]
        truth = np.stack([wide[i : i + 96, 2 * i : 2 * i + 90] for i in range(12)])
        raw = counts(truth)
        estimate = n2a.umse(0.85 * truth, raw)
        assert estimate.value == pytest.approx(np.mean((0.15 * truth) ** 2), rel=0.15)

    @pytest.mark.parametrize("lazy", [False, True])
    def test_three_views(self, lazy):
        views = [counts(TRUTH, seed) for seed in (1, 2, 3)]
        expected = n2a.umse(RESULT, *views)
        assert expected.value == pytest.approx(np.mean((RESULT - TRUTH) ** 2), rel=0.05)
        signals = [as_signal(each, lazy) for each in (RESULT, *views)]
        np.testing.assert_allclose(n2a.umse(*signals), expected, rtol=1e-6)
        # One of them may be a signal.
        np.testing.assert_allclose(n2a.umse(RESULT, *views[:2], signals[3]), expected, rtol=1e-6)
        told = n2a.upsnr(*signals, data_range=20)
        assert told == pytest.approx(10 * np.log10(400 / expected.value))

    def test_the_mask_goes_with_arrays(self):
        views = [counts(TRUTH, seed) for seed in (1, 2, 3)]
        mask = np.zeros(TRUTH.shape, bool)
        mask[:, 20:70, 30:80] = True
        cut = np.s_[:, 20:70, 30:80]
        expected = n2a.umse(RESULT[cut], *(view[cut] for view in views)).value
        assert n2a.umse(RESULT, *views, mask=mask).value == pytest.approx(expected)
        # It must not be passed over in silence.
        for given in ((RESULT, RAW), [as_signal(each) for each in (RESULT, *views)]):
            with pytest.raises(ValueError, match="'mask' goes with arrays"):
                n2a.umse(*given, mask=mask)

    def test_a_blank_frame_does_not_count(self):
        result = 0.9 * TRUTH
        raw = RAW.copy()
        raw[5] = np.nan
        estimate = n2a.umse(result, raw)
        assert estimate.value == pytest.approx(n2a.umse(result, RAW).value, rel=0.1)
        raw[3:10] = np.nan
        with pytest.raises(ValueError, match="'a' has 5 frames; expected a series of eight"):
            n2a.umse(result, raw)

    def test_scattered_dead_pixels_count_little(self):
        result = 0.9 * TRUTH
        raw = np.where(np.random.default_rng(0).random(RAW.shape) < 0.02, np.nan, RAW)
        assert n2a.umse(result, raw).value == pytest.approx(n2a.umse(result, RAW).value, rel=0.1)

    @pytest.mark.parametrize("frames", [1, 5])
    def test_a_short_series(self, frames):
        for denoised, raw in (
            (RESULT[:frames], RAW[:frames]),
            (as_signal(RESULT[:frames]), as_signal(RAW[:frames])),
        ):
            with pytest.raises(
                ValueError, match=f"'a' has {frames} frames.*eight or more.*n2a.repo"
            ):
                n2a.umse(denoised, raw)
        with pytest.raises(ValueError, match="'a' has 1 frames; expected a series"):
            n2a.upsnr(RESULT[0], RAW[0])
        assert np.isfinite(n2a.umse(RESULT[:8], RAW[:8])).all()

    def test_a_missing_view(self):
        with pytest.raises(ValueError, match="'c' is missing; expected three views"):
            n2a.umse(RESULT, RAW, RAW)
        with pytest.raises(ValueError, match="'b' is missing; expected three views"):
            n2a.upsnr(as_signal(RESULT), as_signal(RAW), c=as_signal(RAW))

    def test_names_in_messages_are_those_of_the_call(self):
        with pytest.raises(ValueError, match=r"^'a' has frames of shape .* that of 'denoised'"):
            n2a.umse(RESULT[1:], RAW)
        with pytest.raises(TypeError, match="^'a' has dtype 'complex"):
            n2a.upsnr(RESULT, RAW * 1j)


class TestWhiteness:
    def test_is_that_of_the_arrays_with_the_same_arguments(self):
        told = n2a.residual_whiteness(as_signal(RAW), as_signal(RESULT), 2.2, Noise(1, 0, 0))
        expected = whiteness.residual_whiteness(RAW, RESULT, 2.2, Noise(1, 0, 0))
        np.testing.assert_allclose(told, expected, rtol=1e-6)

    def test_truth_and_what_was_lost(self):
        good = n2a.residual_whiteness(as_signal(RAW), as_signal(TRUTH))
        lost = n2a.residual_whiteness(as_signal(RAW), as_signal(blur(TRUTH, 3)))
        assert good.y < 3 * good.y_error
        assert good.chance > 0.01
        assert lost.y > 10 * lost.y_error
        assert lost.chance < 1e-6

    def test_a_single_image(self):
        told = n2a.residual_whiteness(as_signal(RAW[0]), as_signal(TRUTH[0]))
        assert told.power == pytest.approx(1, abs=0.15)

    def test_raw_itself(self):
        with pytest.raises(ValueError, match="'denoised' equals 'raw'"):
            n2a.residual_whiteness(as_signal(RAW), as_signal(RAW))


class TestFrc:
    @pytest.mark.parametrize(
        ("scale", "units", "nm"),
        [
            (0.02, "nm", 0.02),
            (0.2, "Å", 0.02),
            (20, "pm", 0.02),
            (1, "px", None),
            (2, "1/nm", None),
        ],
    )
    def test_frequencies_are_calibrated(self, scale, units, nm):
        curve = n2a.frc(as_signal(RAW, scale=scale, units=units))
        if nm is None:
            assert curve.frequency_nm is None
            assert "nm" not in repr(curve)
            return
        assert curve.pixel_size == pytest.approx(nm)
        np.testing.assert_allclose(curve.frequency_nm, curve.frequency / nm)
        # The lattice of 13 px is 0.26 nm; its ring correlates, the empty one below does not.
        ring = np.argmin(np.abs(curve.frequency_nm - 1 / (13 * nm)))
        assert curve.correlation[ring] > 0.9
        assert f"{nm * curve.resolution():.3g} nm" in repr(curve)

    def test_pixel_size_and_rings_are_passed_on(self):
        curve = n2a.frc(as_signal(RAW), as_signal(RESULT), pixel_size=0.5, rings=10)
        assert curve.pixel_size == 0.5
        assert len(curve.frequency) == 10
        assert n2a.frc(RAW, RESULT).frequency_nm is None
        assert n2a.frc(as_signal(RAW), rings=7).frequency.shape == (7,)

    def test_halves_are_even_and_odd_frames(self):
        expected = ring_correlation.frc(RAW[::2], RAW[1::2])
        np.testing.assert_allclose(n2a.frc(as_signal(RAW)).correlation, expected.correlation)
        # An odd number of frames leaves the last one without a partner.
        expected = ring_correlation.frc(RAW[:10:2], RAW[1:10:2]).correlation
        np.testing.assert_allclose(n2a.frc(RAW[:11]).correlation, expected, atol=1e-9)

    def test_a_drifting_series_is_registered(self):
        wide = 40 * scene(1, (140, 140), pitch=14, seed=2)[0]
        offsets = [(3 * i, 20 - 2 * i) for i in range(8)]
        still = counts(np.stack([wide[10:106, 10:106]] * 8))
        moving = counts(np.stack([wide[y : y + 96, x : x + 96] for y, x in offsets]))
        resolutions = [n2a.frc(each).resolution() for each in (still, moving)]
        assert resolutions[1] == pytest.approx(resolutions[0], rel=0.2)
        unregistered = ring_correlation.frc(moving[::2], moving[1::2])
        assert n2a.frc(moving).correlation[:16].mean() > unregistered.correlation[:16].mean() + 0.2

    def test_a_single_image_needs_a_second(self):
        for image in (RAW[0], as_signal(RAW[0]), RAW[:1]):
            with pytest.raises(ValueError, match="'second' is missing.*no series"):
                n2a.frc(image)
        curve = n2a.frc(as_signal(RAW[0]), as_signal(RAW[1]))
        expected = ring_correlation.frc(RAW[0], RAW[1]).correlation
        np.testing.assert_allclose(curve.correlation, expected)


@pytest.fixture(scope="module")
def noisy():
    clean = n2a.simulate(structure="2d", shape=(96, 96), frames=8, seed=2)
    return n2a.acquire(clean, dose=20, seed=2)


class TestResultsThatSayWhatTheyAre:
    """The metadata of n2a.denoise are heeded."""

    @pytest.mark.parametrize("name", ["umse", "upsnr", "residual_whiteness"])
    def test_atoms_without_background(self, name, noisy, recwarn):
        MEASURES[name](n2a.denoise(noisy, background=True), noisy)
        assert not [w for w in recwarn if "background" in str(w.message)]
        with pytest.warns(
            UserWarning, match="'denoised' is without its background.*background=True"
        ):
            MEASURES[name](n2a.denoise(noisy), noisy)

    @pytest.mark.parametrize("background", [True, False])
    def test_columns_that_are_dark(self, noisy, background):
        dark = noisy._deepcopy_with_new_data(100 - noisy.data.astype(np.float32))
        result = n2a.denoise(dark, contrast="dark", background=background)
        told, expected = n2a.linearity(result, dark), n2a.linearity(n2a.denoise(noisy), noisy)
        assert told.linear
        assert told.number == pytest.approx(expected.number, rel=0.05)
        assert told.slope == pytest.approx(expected.slope, abs=0.03)

    def test_the_wrong_sign(self):
        with pytest.raises(
            ValueError, match="dark where .* bright.*Turn one of the two over"
        ) as caught:
            n2a.linearity(TRUTH, 100 - RAW)
        assert "counts" not in str(caught.value)


class TestLinearity:
    @pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
    @pytest.mark.parametrize("background", [True, False])
    def test_finds_a_known_scale(self, scale, background):
        result = scale * (TRUTH if background else TRUTH - 20 * SUPPORT)
        told = n2a.linearity(as_signal(result), as_signal(RAW))
        assert told.linear
        assert told.slope == pytest.approx(1 / scale, rel=0.05)
        assert told.number > 40 * 12

    @pytest.mark.parametrize("gamma", [0.5, 2.0])
    def test_sees_a_gamma(self, gamma):
        clean = TRUTH - 20 * SUPPORT
        told = n2a.linearity(as_signal(20 * (clean / 20) ** gamma), as_signal(RAW))
        assert not told.linear
        assert told.departure > 0.05

    def test_ripples_of_a_bright_background_are_no_columns(self):
        ripples = gaussian_filter(np.random.default_rng(0).normal(size=TRUTH.shape), (0, 2, 2))
        told = n2a.linearity(TRUTH + 100 + ripples, RAW + 100)
        assert told.number == pytest.approx(n2a.linearity(TRUTH, RAW).number, rel=0.02)
        assert told.slope == pytest.approx(1, abs=0.03)

    def test_a_width_that_was_given(self):
        told = n2a.linearity(TRUTH, RAW, atom_width=2.2)
        np.testing.assert_allclose(told.slope, n2a.linearity(TRUTH, RAW).slope, rtol=0.02)
        with pytest.raises(ValueError, match="^'atom_width' is -1"):
            n2a.linearity(TRUTH, RAW, atom_width=-1)

    def test_a_single_image(self):
        told = n2a.linearity(as_signal(TRUTH[0]), as_signal(RAW[0]))
        assert told.slope == pytest.approx(1, abs=0.1)

    def test_nothing_to_measure(self):
        flat = np.full(RAW.shape, 8.0)
        with pytest.raises(ValueError, match="0 columns stand apart .* expected 12 or more"):
            n2a.linearity(as_signal(flat), as_signal(counts(flat)))
