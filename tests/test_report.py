# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: its numbers against the truth, and what it says of data that cannot be judged."""

import html
import json
import re
from dataclasses import replace

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

import n2a
from n2a import reporting
from n2a.detection import psnr
from n2a.lines import TEXTS, VERDICTS
from n2a.report_view import draw, value_text


def expected_counts(structure, dose, frames=48, size=160, seed=1, **scene):
    """What a microscope would count on average: atoms on a film that is a slow wave."""
    clean = n2a.simulate(structure=structure, shape=(size, size), frames=frames, seed=seed, **scene)
    y, x = np.mgrid[:size, :size]
    film = 1 + 0.2 * np.sin(2 * np.pi * x / size) * np.cos(2 * np.pi * y / size)
    return dose * (clean.data.astype(float) / clean.data.max() + 0.2 * film), clean


def recorded(clean, counts):
    """Counts as a signal with the axes of the clear one."""
    signal = clean.deepcopy()
    signal.data = counts.astype(np.float32)
    return signal


@pytest.fixture(scope="module")
def series():
    clean = n2a.simulate(structure="2d", shape=(96, 96), frames=8, vacancies=0.05, seed=2)
    noisy = n2a.acquire(clean, dose=20, seed=2)
    return clean, noisy, n2a.denoise(noisy)


@pytest.fixture(scope="module")
def report(series):
    clean, noisy, denoised = series
    return n2a.report(noisy, denoised, truth=clean)


STILL = dict(structure="cluster", rotation=0, hop=0, drift=0)


class TestErrorWithoutTheTruth:
    @pytest.mark.parametrize("dose", [8, 20, 60])
    @pytest.mark.parametrize(
        "scene", [STILL, dict(structure="cluster"), dict(structure="2d", vacancies=0.05)]
    )
    def test_is_the_true_one(self, dose, scene):
        truth, clean = expected_counts(dose=dose, **scene)
        noisy = recorded(clean, np.random.default_rng(1).poisson(truth))
        denoised = n2a.denoise(noisy, background=True)
        line = n2a.report(noisy, denoised)["upsnr"]
        data_range = float(re.search(r"data range ([\d.e+]+)", line.source)[1])
        error = np.mean((denoised.data - truth) ** 2)
        assert line.value == pytest.approx(10 * np.log10(data_range**2 / error), abs=0.5)
        assert "optimistic" not in line.remark
        assert ("6 to 8 away" in line.source) == (scene is STILL)

    def test_of_any_method_that_is_passed(self):
        truth, _ = expected_counts("cluster", 20, frames=12)
        raw = np.random.default_rng(2).poisson(truth)

        def method(frames):
            return gaussian_filter(frames, (0.6, 1.5, 1.5))

        line = n2a.report(raw, method(raw.astype(np.float32)), model=method)["upsnr"]
        data_range = float(re.search(r"data range ([\d.e+]+)", line.source)[1])
        error = np.mean((method(raw.astype(float)) - truth) ** 2)
        assert line.value == pytest.approx(10 * np.log10(data_range**2 / error), abs=0.5)

    def test_single_image_with_the_method(self):
        truth, _ = expected_counts("2d", 30, frames=1, size=256)
        raw = np.random.default_rng(3).poisson(truth[0])

        def method(frames):
            return gaussian_filter(frames, (0, 1.2, 1.2))

        line = n2a.report(raw, method(raw[None].astype(float))[0], model=method)["upsnr"]
        data_range = float(re.search(r"data range ([\d.e+]+)", line.source)[1])
        error = np.mean((method(raw[None].astype(float)) - truth) ** 2)
        assert line.value == pytest.approx(10 * np.log10(data_range**2 / error), abs=0.5)

    def test_correlated_noise_is_said(self):
        clean = n2a.simulate(structure="2d", shape=(96, 96), frames=8, seed=2)
        noisy = n2a.acquire(clean, dose=20, line_noise=2, line_decay=8, seed=2)
        found = n2a.report(noisy, n2a.denoise(noisy))
        assert "optimistic" in found["upsnr"].remark
        assert found["scan_correlation"].judgement == "bad"
        assert found["scan_correlation"].value > 5 * found["scan_correlation"].error

    def test_moving_scene_without_the_method_is_pessimistic(self):
        truth, _ = expected_counts("cluster", 40, frames=12, drift=0.01)
        raw = np.random.default_rng(1).poisson(truth)
        line = n2a.report(raw, truth)["upsnr"]
        assert "pessimistic" in line.remark
        assert "Pass 'model'" in line.remark

    def test_motion_that_nobody_sees_is_no_noise_left(self):
        clean = n2a.simulate(
            structure="crystal",
            shape=(96, 96),
            frames=8,
            vacancies=0.05,
            dopants=0.1,
            thickness=4,
            seed=3,
        )
        noisy = n2a.acquire(clean, dose=40, seed=3)
        denoised = n2a.denoise(noisy, background=True)
        without = n2a.report(noisy.data, denoised.data)
        assert "motion too small" in without["upsnr"].remark
        assert without.verdicts == n2a.report(noisy, denoised).verdicts == ["fine"]
        assert n2a.report(noisy.data, gaussian_filter(noisy.data, (0, 0.7, 0.7))).verdicts == [
            "noise left"
        ]

    def test_below_zero_is_said(self):
        truth, _ = expected_counts("2d", 20, frames=12, size=96, drift=0)
        raw = np.random.default_rng(1).poisson(truth)
        perfect = n2a.report(raw, truth)
        assert perfect["upsnr"].value is None
        assert perfect["umse"].value < 2 * perfect["umse"].error
        assert re.search("uMSE is .*noise hides the error. Give more", perfect["upsnr"].remark)
        # The mean of all frames has seen those that it is compared with.
        mean = np.repeat(raw.mean(axis=0, keepdims=True), 12, axis=0)
        seen = n2a.report(raw, mean)
        assert seen["umse"].value < 0.95 * np.mean((mean - truth) ** 2)
        assert "optimistic" in seen["umse"].remark
        assert seen["umse"].judgement != "good"


class TestLines:
    def test_every_measure_is_there_with_its_source_and_blind_spot(self, report):
        assert {line.key for line in report} == set(TEXTS)
        for line in report:
            assert all((line.good, line.blind, line.source))
            assert line.judgement in ("good", "bad", "unknown")
            assert line.value is None or np.isfinite(line.value)
            assert line.value is not None or line.remark

    def test_similarity_has_its_references(self, report, series):
        _, noisy, _ = series
        data_range = float(re.search(r"data range ([\d.e+]+)", report["css"].source)[1])
        background = n2a.denoise(noisy, background=True)
        curve = n2a.css(background, data_range=data_range)
        assert report["css"].value == pytest.approx(curve.metadata.n2a.css.mean, abs=2e-3)
        raw = n2a.css(noisy, data_range=data_range)
        assert report["css_raw"].value == pytest.approx(raw.metadata.n2a.css.mean, abs=2e-3)
        assert report["css_raw"].value < report["css_blur"].value < report["css"].value

    def test_noise_is_that_of_the_detector(self):
        clean = n2a.simulate(structure="2d", shape=(128, 128), frames=8, seed=2)
        noisy = n2a.acquire(clean, dose=30, gain=7, read_noise=1.5, dtype="float32", seed=2)
        found = n2a.report(noisy, n2a.denoise(noisy))
        assert found["noise_gain"].value == pytest.approx(7, rel=0.1)
        assert found["read_noise"].value == pytest.approx(7 * 1.5, rel=0.35)

    def test_truth(self, report, series):
        clean, noisy, denoised = series
        scale = noisy.metadata.n2a.acquisition.counts_per_unit
        expected = psnr(denoised.data, scale * clean.data)
        assert report["psnr"].value == pytest.approx(expected, abs=0.1)
        assert report["f1"].value > 0.85
        assert 0 < report["position_error"].value < 10
        assert report["position_error"].unit == "pm"
        assert "simulation" in report["f1"].source

    def test_without_truth_nothing_is_said_of_it(self, series):
        _, noisy, denoised = series
        assert "psnr" not in n2a.report(noisy, denoised)

    def test_halves(self, report):
        assert report["frc_half"].value < report["frc_raw"].value
        assert report["frc"].unit == "nm"
        assert report["frc_cross"].value == pytest.approx(1, abs=0.03)

    def test_shared_hallucination_shows_against_the_other_half(self):
        truth, _ = expected_counts("2d", 10, frames=8, size=96)
        raw = np.random.default_rng(0).poisson(truth)
        y, x = np.mgrid[:96, :96]
        lattice = 3 * (np.cos(2 * np.pi * x / 14) * np.cos(2 * np.pi * y / 14)).clip(0)

        def painter(frames):
            return gaussian_filter(frames, (0, 2, 2)) + lattice

        found = n2a.report(raw, painter(raw.astype(float)), model=painter)
        assert found["frc_cross"].judgement == "bad"
        assert found["frc_cross"].value < 1 - 5 * found["frc_cross"].error
        assert "fine" not in found.verdicts

    @pytest.mark.parametrize("seed", [0, 2])
    def test_dark_atoms(self, series, seed):
        clean, noisy, _ = series
        level = 60.0
        dark = noisy.deepcopy()
        rate = level - 2 * clean.data / clean.data.max() * 20
        dark.data = np.random.default_rng(seed).poisson(rate).astype(np.float32)
        denoised = n2a.denoise(dark, contrast="dark")
        for result in (denoised, n2a.denoise(dark, contrast="dark", background=True)):
            assert n2a.report(dark, result).verdicts == ["fine"]
        # An array says nothing of itself: what is dark is told from the frames.
        assert n2a.report(dark.data, denoised.data).verdicts == ["fine"]


class TestResult:
    def test_verdicts_are_those_of_the_list(self, report):
        assert report.verdicts == ["fine"]
        assert set(report.verdicts) <= set(VERDICTS)

    def test_dictionary_is_json(self, report):
        again = json.loads(json.dumps(report.to_dict()))
        assert again == report.to_dict()
        assert again["verdicts"] == ["fine"]
        assert again["lines"][0]["key"] == "css"

    def test_text(self, report):
        text = repr(report)
        assert text.startswith("Report on all 8 frames: fine")
        assert value_text(report["css"]) in text
        assert all(len(line) < 121 for line in text.splitlines())

    def test_text_of_a_single_image_says_once_what_is_missing(self, series):
        _, noisy, _ = series
        found = n2a.report(noisy.inav[0], n2a.denoise(noisy.inav[0]))
        text = " ".join(repr(found).split())
        assert text.count("two frames or more that follow each other") == 1
        for line in found:
            assert text.count(line.name) >= 1
            assert html.escape(line.name) in found._repr_html_()

    def test_optimistic_error_is_said_beside_it(self):
        clean = n2a.simulate(structure="2d", shape=(96, 96), frames=6, seed=2)
        noisy = n2a.acquire(clean, dose=20, line_noise=2, line_decay=8, seed=2)
        found = n2a.report(noisy, n2a.denoise(noisy))
        assert "optimistic" in repr(found)
        assert re.search(r"dB<div class='legend'>.*optimistic", found._repr_html_())

    @pytest.mark.parametrize(
        ("value", "error", "text"),
        [
            (37.4512, 0.2, "37.45 ± 0.20"),
            (9989.4, 341.0, "9989 ± 340"),
            (4.79e7, 1.4e6, "(4.79 ± 0.14)e+07"),
            (2.5e-7, 1.2e-8, "(2.50 ± 0.12)e-07"),
            (0.0, 1.23, "0.0 ± 1.2"),
            (-0.15, 0.032, "-0.150 ± 0.032"),
            (0.5, None, "0.5"),
        ],
    )
    def test_numbers_have_the_places_that_their_errors_allow(self, report, value, error, text):
        line = report["css"]._replace(value=value, error=error, unit="")
        assert value_text(line) == text

    def test_html_has_no_colours_of_its_own(self, report):
        page = report._repr_html_()
        assert "<b>Report" in page
        assert "fine" in page
        assert not re.search(r"#[0-9a-fA-F]{3,6}\b", page)  # both themes
        assert "overflow-x: auto" in page
        for line in report:
            assert line.name.replace("'", "&#x27;") in page

    def test_summary(self, report):
        summary = report.summary()
        assert set(summary) == {line.key for line in report}
        assert summary["upsnr"].endswith(" dB")
        assert "±" in summary["upsnr"]

    def test_figure(self, report):
        figure = report.plot(Figure())
        titles = [axes.get_title("left") for axes in figure.axes]
        assert "Fourier ring correlation" in titles
        assert "CSS over time" in titles
        assert "column intensities" in titles
        css = figure.axes[titles.index("CSS over time")]
        assert [len(line.get_ydata()) for line in css.lines] == [7, 7, 7]

    def test_figure_of_a_constant_shows_the_raw_frame(self, series):
        _, noisy, _ = series
        figure = n2a.report(noisy.data, np.full(noisy.data.shape, 3.0)).plot(Figure())
        panel = figure.axes[0].images[0]
        low, high = panel.get_clim()
        shown = np.asarray(panel.get_array())
        assert np.mean((shown > low) & (shown < high)) > 0.5

    def test_figure_of_one_pair_has_no_fractions_of_frames(self, series):
        _, noisy, denoised = series
        figure = n2a.report(noisy.inav[:2], denoised.inav[:2]).plot(Figure())
        axes = next(one for one in figure.axes if one.get_title("left") == "CSS over time")
        assert axes.get_xlim() == (-0.5, 0.5)
        inside = [tick for tick in axes.get_xticks() if -0.5 <= tick <= 0.5]
        assert inside == [0]

    def test_names_and_values_in_the_figure_do_not_overlap(self, report):
        findings = report._findings
        long = [
            line._replace(value=0.0054412345 if line.key == "linearity" else line.value)
            for line in findings.lines
        ]
        figure = draw(replace(findings, lines=long), figure=Figure())
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        texts = figure.axes[-1].texts
        for name, value in zip(texts[::2], texts[1::2]):
            assert name.get_window_extent(renderer).x1 < value.get_window_extent(renderer).x0

    def test_figures_are_shown_once_in_a_notebook(self):
        nbformat = pytest.importorskip("nbformat", reason="the extra 'notebooks' is not installed")
        nbclient = pytest.importorskip("nbclient", reason="the extra 'notebooks' is not installed")
        pytest.importorskip("ipykernel", reason="the extra 'notebooks' is not installed")
        cells = [
            "%matplotlib inline\nimport n2a, n2a.history\n"
            "noisy = n2a.acquire(n2a.simulate(shape=(64, 64), frames=4, seed=1), dose=20, seed=1)\n"
            "told = n2a.compare(noisy, lambda f: f, names=['a'], rerun=False, show_progressbar=False)\n"
            "report = told.reports['a']\n"
            "history = n2a.history.History()\nhistory.add(step=1, seconds=1, critic=1.0)",
            "report.plot()",
            "told.plot()",
            "figure = report.plot()",
            "told.plot();",
            "history.plot()",
            "figure = history.plot()",
        ]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        nbclient.NotebookClient(notebook, timeout=120).execute()
        shown = [sum("image/png" in o.get("data", {}) for o in c.outputs) for c in notebook.cells]
        assert shown == [0, 1, 1, 1, 1, 1, 1]

    def test_figure_stays_open_in_a_script(self, report, tmp_path):
        before = plt.get_fignums()
        figure = report.plot()
        assert set(plt.get_fignums()) - set(before) == {figure.number}
        figure.savefig(tmp_path / "report.png")
        plt.close(figure)

    def test_atoms(self, report):
        assert len(report.atoms.table) > 100
        assert report.atoms.table["supported"].mean() > 0.9

    def test_unknown_line(self, report):
        with pytest.raises(KeyError, match="'psnrr': the report has 'css'"):
            report["psnrr"]

    def test_signals_are_not_changed(self, series):
        clean, noisy, denoised = series
        before = [each.deepcopy() for each in series]
        n2a.report(noisy, denoised, truth=clean)
        for old, new in zip(before, series):
            np.testing.assert_array_equal(old.data, new.data)
            assert old.metadata.as_dictionary() == new.metadata.as_dictionary()
            assert str(old.axes_manager) == str(new.axes_manager)

    def test_accessor_lazy_and_arrays_agree(self, series, report):
        clean, noisy, denoised = series
        for one in (
            noisy.n2a.report(denoised, truth=clean),
            noisy.as_lazy().n2a.report(denoised.as_lazy(), truth=clean.as_lazy()),
        ):
            assert one.to_dict()["lines"] == report.to_dict()["lines"]
        arrays = n2a.report(noisy.data, denoised.data, model="fast")
        assert arrays.verdicts == ["fine"]
        assert arrays["umse"].value == pytest.approx(report["umse"].value, rel=0.07)

    def test_same_again(self, series, report):
        clean, noisy, denoised = series
        again = n2a.report(noisy, denoised, truth=clean)
        assert again.to_dict() == report.to_dict()


class TestFactor:
    """A factor on all intensities is told from a blur, with its size."""

    @pytest.mark.parametrize("background", [True, False])
    @pytest.mark.parametrize("factor", [0.8, 1.4])
    def test_is_told(self, series, factor, background):
        _, noisy, _ = series
        result = factor * n2a.denoise(noisy, background=background).data
        (told,) = (m for m in n2a.report(noisy.data, result).messages if "other units" in m)
        assert float(re.search("is ([0-9.]+) times", told)[1]) == pytest.approx(factor, rel=0.05)
        assert float(re.search("Multiply it by ([0-9.]+)", told)[1]) == pytest.approx(
            1 / factor, rel=0.05
        )

    def test_result_that_was_scaled_to_one(self, series):
        _, noisy, _ = series
        total = n2a.denoise(noisy, background=True).data
        (told,) = (
            m
            for m in n2a.report(noisy.data, (total - total.min()) / np.ptp(total)).messages
            if "other units" in m
        )
        assert float(re.search("Multiply it by ([0-9.]+)", told)[1]) == pytest.approx(
            np.ptp(total), rel=0.07
        )

    @pytest.mark.parametrize("sigma", [0, 1, 1.5, 2.5, 4, 10])
    def test_is_no_blur(self, series, sigma):
        _, noisy, denoised = series
        blurred = gaussian_filter(noisy.data.astype(float), (0, sigma, sigma))
        for result in (blurred, denoised.data):
            found = n2a.report(noisy.data, result)
            assert not any("other units" in message for message in found.messages)


class TestSample:
    def test_long_series_are_judged_in_runs(self):
        raw = np.random.default_rng(0).poisson(9, (60, 520, 530)).astype(np.uint8)
        found = n2a.report(raw, np.full(raw.shape, 9.0))
        assert re.match(
            r"\d+ of 60 frames, in \d runs, the middle 512 x 512 px of each", found.frames
        )

    @pytest.mark.parametrize("frames", [32, 40])
    def test_a_run_is_known_again_within_a_series_at_rest(self, frames, monkeypatch):
        """Only frames are compared of which the method sees in the run all that it saw in the series."""
        monkeypatch.setattr(reporting, "_MATCH", 1e-3)
        clean = n2a.simulate(structure="2d", shape=(64, 64), frames=frames, drift=0, seed=3)
        noisy = n2a.acquire(clean, dose=3, drift=0, seed=3)
        found = n2a.report(noisy, n2a.denoise(noisy))
        assert "runs" in found.frames or frames < 36
        assert not any("changed afterwards" in message for message in found.messages)
        assert found["frc"].value is not None

    def test_series_of_series(self, series):
        _, noisy, denoised = series
        stacks = [hs.stack([each, each], new_axis_name="place") for each in (noisy, denoised)]
        found = n2a.report(*stacks, time_axis=noisy.axes_manager.navigation_axes[0].name)
        assert found.frames.startswith("all 16 frames, in 2 runs")
        assert found["css"].value == pytest.approx(
            n2a.report(noisy.data, denoised.data)["css"].value, abs=0.03
        )


@pytest.fixture(scope="module")
def scene():
    """Expected counts, and those counted."""
    truth, _ = expected_counts("2d", 20, frames=12, size=96, drift=0, seed=2)
    return truth, np.random.default_rng(0).poisson(truth).astype(float)


class TestHolesDoNotCount:
    """What was not measured is no error of the result: against the error of what was measured."""

    @staticmethod
    def blur(frames):
        known = np.isfinite(frames)
        return gaussian_filter(np.where(known, frames, np.nanmedian(frames)), (0, 1.5, 1.5))

    @pytest.mark.parametrize("value", [np.nan, 0.0])
    @pytest.mark.parametrize("again", [True, False])
    def test_empty_frames(self, scene, value, again):
        truth, raw = scene
        kept = np.arange(12) != 5
        holed = np.where(kept[:, None, None], raw, value)
        result = np.where(kept[:, None, None], self.blur(raw), value)
        found = n2a.report(holed, result, model=self.blur if again else None, truth=truth)
        expected = n2a.report(
            raw[kept], result[kept], model=self.blur if again else None, truth=truth[kept]
        )
        assert any("1 of 12 frames are empty" in message for message in found.messages)
        assert found["umse"].value == pytest.approx(expected["umse"].value, rel=0.02)
        assert found["psnr"].value == pytest.approx(expected["psnr"].value, abs=0.01)
        assert found.verdicts == expected.verdicts
        assert found["umse"].value == pytest.approx(np.mean((result - truth)[kept] ** 2), rel=0.1)
        assert n2a.umse(result, holed).value == pytest.approx(expected["umse"].value, rel=0.05)

    @pytest.mark.parametrize("where", ["border", "row", "scattered"])
    @pytest.mark.parametrize("again", [True, False])
    def test_missing_pixels(self, scene, where, again):
        truth, raw = scene
        missing = np.zeros(raw.shape, bool)
        if where == "border":
            missing[:, :, :6] = True
        elif where == "row":
            missing[:, 40] = True
        else:
            missing = np.random.default_rng(1).random(raw.shape) < 0.02
        holed = np.where(missing, np.nan, raw)
        result = np.where(missing, np.nan, self.blur(raw))
        found = n2a.report(holed, result, model=self.blur if again else None, truth=truth)
        error = np.mean((result - truth)[~missing] ** 2)
        assert found["umse"].value == pytest.approx(error, rel=0.15)
        expected = 10 * np.log10(np.ptp(truth) ** 2 / error)
        assert found["psnr"].value == pytest.approx(expected, abs=0.02)
        assert n2a.umse(result, holed).value == pytest.approx(error, rel=0.15)
        for line in found:
            assert line.value is None or np.isfinite(line.value), line.key


@pytest.mark.parametrize("seed", [1, 7])
def test_empty_film_is_not_accused(seed):
    clean = n2a.simulate(structure="empty", shape=(128, 128), frames=6, scale=0.016, seed=seed)
    noisy = n2a.acquire(clean, dose=14, support=0.1, seed=seed)
    found = n2a.report(noisy, n2a.denoise(noisy))
    assert found.verdicts == ["fine"]
    assert "hardly stand out of the noise" in found["linearity"].remark


GOOD = np.random.default_rng(0).poisson(9.0, (8, 64, 64)).astype(float)


class TestBadInput:
    """A clear message in the report, never a silent NaN or a traceback."""

    def test_other_shape(self, series):
        _, noisy, denoised = series
        for found in (
            n2a.report(GOOD, GOOD[:, 1:]),
            n2a.report(noisy, denoised.inav[1:]),
            n2a.report(noisy, denoised.data[:, :-1]),
        ):
            assert re.search(r"'denoised' has shape .*; expected that of 'raw'", found.messages[0])
            assert found.verdicts == []
            assert found.lines == ()
            assert "not judged" in repr(found)
            assert "not judged" in found._repr_html_()
            assert found.sort_key > (4, 0)
            json.dumps(found.to_dict())
            with pytest.raises(ValueError, match="nothing to plot.*has shape"):
                found.plot()

    def test_other_calibration(self, series):
        _, noisy, denoised = series
        other = denoised.deepcopy()
        other.axes_manager.signal_axes[0].scale *= 2
        found = n2a.report(noisy, other)
        assert "calibrated differently" in found.messages[0]
        assert found.verdicts == ["fine"]

    def test_other_frames_or_region_of_the_same_shape(self, series):
        _, noisy, denoised = series
        for raw, result, told in (
            (noisy.inav[1:], denoised.inav[:-1], "time from .* s against .* s on"),
            (noisy.isig[4:, :], denoised.isig[:-4, :], "x from .* nm against .* nm on"),
        ):
            assert re.search(
                f"calibrated differently .*{told}", n2a.report(raw, result).messages[0]
            )

    def test_truth_without_a_number(self, series):
        clean, noisy, denoised = series
        found = n2a.report(noisy, denoised, truth=np.full(clean.data.shape, np.nan))
        assert any("'truth' is NaN or infinite in every pixel" in m for m in found.messages)
        assert found.verdicts == ["fine"]
        assert "psnr" not in found

    @pytest.mark.parametrize("carried", [True, False])
    def test_blank_frames_of_the_truth_do_not_count(self, series, carried):
        clean, noisy, denoised = series
        if not carried:  # the positions of the simulation
            noisy, denoised = noisy.data, denoised.data
        truth = clean.data.astype(float)
        whole = n2a.report(noisy, denoised, truth=truth)
        truth[:4] = np.nan
        found = n2a.report(noisy, denoised, truth=truth)
        assert any(re.search("50 % of the pixels .* in 'truth'", m) for m in found.messages)
        assert found["f1"].value == pytest.approx(whole["f1"].value, abs=0.03)
        assert found["psnr"].value == pytest.approx(whole["psnr"].value, abs=1)
        for key in ("umse", "supported"):
            assert found[key].value == whole[key].value

    def test_integer_result(self, series):
        _, noisy, _ = series
        found = n2a.report(noisy, n2a.denoise(noisy, dtype="uint16"))
        assert any("whole numbers" in message for message in found.messages)
        assert found["css"].value is not None

    def test_nan(self, series):
        _, noisy, _ = series
        raw, result = noisy.data.astype(float), n2a.denoise(noisy, background=True).data.copy()
        raw[:, :, :6] = np.nan
        raw[2, 40:43, 40:50] = np.inf
        result[5, 60] = np.nan
        found = n2a.report(raw, result)
        assert any("do not count" in message for message in found.messages)
        assert found.verdicts == ["fine"]
        for line in found:
            assert line.value is None or np.isfinite(line.value), line.key

    def test_nearly_all_nan(self):
        found = n2a.report(np.where(np.arange(64) < 60, np.nan, GOOD), GOOD)
        assert "Fewer than a quarter" in found.messages[0]

    def test_single_frame(self, series):
        _, noisy, _ = series
        image = noisy.inav[0]
        found = n2a.report(image, n2a.denoise(image))
        assert found.frames == "the image"
        assert any("single image" in message for message in found.messages)
        for key in ("css", "css_blur", "css_raw", "frc", "frc_half", "frc_raw", "frc_cross"):
            assert found[key].value is None
            assert "needs a series" in found[key].remark
        assert found["upsnr"].value is not None
        assert found.verdicts == ["fine"]
        found.plot(Figure())

    def test_no_atoms(self):
        flat = np.full(GOOD.shape, 9.0)
        found = n2a.report(GOOD, flat)
        assert found["supported"].remark == "no atoms found in the result"
        assert found["linearity"].remark == "no atoms found in the result"
        assert any("Nothing of the size of atoms" in message for message in found.messages)
        assert any("is constant (9)" in message for message in found.messages)
        found.plot(Figure())

    def test_invented_atoms_on_nothing(self):
        y, x = np.mgrid[:64, :64]
        spots = 12 * (np.cos(2 * np.pi * x / 12) * np.cos(2 * np.pi * y / 12)).clip(0) ** 3
        found = n2a.report(GOOD, 9 + np.repeat(spots[None], 8, 0))
        assert "atoms without support in the counts" in found.verdicts

    def test_constant_raw(self):
        assert "'raw' is constant (3 everywhere)" in n2a.report(0 * GOOD + 3, GOOD).messages[0]

    def test_raw_frames_without_noise(self, series):
        clean, _, _ = series
        found = n2a.report(clean.data, 0.9 * clean.data)
        assert "fine" not in found.verdicts
        for line in found:
            assert line.value is None or np.isfinite(line.value), line.key

    def test_nothing_denoised(self):
        found = n2a.report(GOOD, GOOD)
        assert any("equals 'raw' in every pixel" in message for message in found.messages)
        assert "equals 'raw'" in found["whiteness_y"].remark
        assert "fine" not in found.verdicts

    def test_small_frames(self):
        assert "12 x 12 px" in n2a.report(GOOD[:, :12, :12], GOOD[:, :12, :12]).messages[0]
        found = n2a.report(GOOD[:, :20, :20], 0 * GOOD[:, :20, :20] + 9)
        assert "at least 32 x 32 px" in found["whiteness_y"].remark

    @pytest.mark.parametrize("bad", ["frames", None, GOOD * 1j, GOOD[0, 0]])
    def test_no_images(self, bad):
        with pytest.raises(TypeError, match="'raw' has dtype .* expected a HyperSpy signal"):
            n2a.report(bad, GOOD)

    def test_function_that_fails(self):
        def broken(frames):
            raise RuntimeError("no licence")

        found = n2a.report(GOOD, 0 * GOOD + 9, model=broken)
        assert re.search("'model' is a function that failed.*no licence", found.messages[0])
        found = n2a.report(GOOD, 0 * GOOD + 9, model=lambda frames: frames[0])
        assert re.search(
            r"gave shape \(64, 64\).*of frames of shape \(8, 64, 64\)", found.messages[0]
        )

    def test_result_that_was_changed_afterwards(self, series):
        _, noisy, denoised = series
        changed = denoised.deepcopy()
        changed.data = changed.data**1.5
        found = n2a.report(noisy, changed)
        assert any("do not give this result" in message for message in found.messages)
        assert found["frc"].value is None
        assert "'model'" in found["frc"].remark

    def test_missing_model_file(self, series):
        _, noisy, denoised = series
        with pytest.raises(FileNotFoundError, match="'model'"):
            n2a.report(noisy, denoised, model="nowhere.n2a")


def test_real_files_are_not_accused(real_file):
    series = hs.load(real_file("abf_srtio3")).isig[100:356, 100:356]
    found = n2a.report(series, n2a.denoise(series))
    assert found.verdicts == ["fine"]
    assert "correlated" in found["upsnr"].remark
    image = hs.load(real_file("mos2")).isig[200:456, 200:456]
    assert n2a.report(image, n2a.denoise(image)).verdicts == ["fine"]
