# SPDX-License-Identifier: GPL-3.0-or-later
"""The multislice benchmark set, its noise, and the measures taken on it."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).resolve().parent / "benchmarks"))

import adaptation
import benchmark_data
import metrics
import quality
import shifted_data
import speed
from benchmark_data import load_benchmark, observe
from shifted_data import load_shifted, observe_shifted

from n2a.pairs import Recipe

ALL = {series.name: series for series in load_benchmark()}
WITH_ATOMS = [name for name, series in ALL.items() if len(series.sites)]


def test_the_set_is_small_enough_to_ship():
    assert benchmark_data.DATA.stat().st_size < 3e6
    needed = {"cluster", "hopping", "hopping_coarse", "mos2", "gold_edge", "empty"}
    assert needed <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_series_are_sane(name):
    series = ALL[name]
    assert series.atoms.shape == series.support.shape
    assert 5 <= len(series.atoms) <= 8
    assert series.atoms.shape[1:] == (128, 128)
    assert series.atoms.min() >= 0
    assert series.support.min() >= 0
    assert (series.atoms + series.support).max() < 1  # fractions of the beam
    assert 0.008 <= series.pixel_size <= 0.03
    assert 1.3 < series.atom_width < 5
    assert set(np.unique(series.sites["frame"])) <= set(range(len(series.atoms)))


@pytest.mark.parametrize("name", WITH_ATOMS)
def test_columns_are_local_maxima_of_the_truth(name):
    series = ALL[name]
    found = metrics.detect(series.atoms, series.atom_width, min_distance=0.75)
    verdict, distance, total = metrics.match(found, series)
    assert (verdict == 1).sum() == total
    # neighbours pull overlapping columns a little towards each other
    assert np.nanmedian(distance) * series.pixel_size < 0.007
    assert np.nanmax(distance) * series.pixel_size <= metrics.TOLERANCE


def test_atom_width_is_that_of_a_single_atom():
    series = ALL["hopping"]
    sites = series.sites[series.sites["count"] == 1]
    widths = []
    for one in sites:
        others = series.sites[series.sites["frame"] == one["frame"]]
        offsets = np.hypot(others["row"] - one["row"], others["column"] - one["column"])
        if np.sort(offsets)[1] < 6 * series.atom_width:
            continue
        row, column = round(float(one["row"])), round(float(one["column"]))
        y, x = np.mgrid[row - 2 : row + 3, column - 2 : column + 3]
        if min(y.min(), x.min()) < 0 or max(y.max(), x.max()) > 127:
            continue
        # log of a Gaussian: a parabola
        design = np.column_stack([np.ones(25), y.ravel(), x.ravel(), (y**2 + x**2).ravel()])
        values = np.log(series.atoms[one["frame"], y, x].ravel())
        widths.append(np.sqrt(-0.5 / np.linalg.lstsq(design, values, rcond=None)[0][3]))
    assert len(widths) > 5
    assert np.median(widths) == pytest.approx(series.atom_width, rel=0.1)


def test_vacancies_are_empty_and_dopants_bright():
    series = ALL["mos2"]
    empty = series.vacancies[series.vacancies["count"] == 2]
    assert len(empty) >= 3 * len(series.atoms)
    row, column = (np.rint(empty[axis]).astype(int) for axis in ("row", "column"))
    at_vacancy = series.atoms[empty["frame"], row, column]
    sulphur = metrics.heights(series, (series.sites["z"] == 16) & (series.sites["count"] == 2))
    molybdenum = metrics.heights(series, series.sites["z"] == 42)
    dopants = metrics.heights(series, series.sites["z"] > 42)
    assert at_vacancy.max() < 0.5 * np.median(sulphur)
    assert np.median(sulphur) < np.median(molybdenum) < dopants.min()


def test_the_same_columns_stand_in_consecutive_frames_unless_they_move():
    def moved(name):
        sites = ALL[name].sites
        first, second = (sites[sites["frame"] == k] for k in (0, 1))
        offsets = np.hypot(
            first["row"][:, None] - second["row"], first["column"][:, None] - second["column"]
        )
        nearest = offsets.min(1)
        return np.mean(np.abs(nearest - np.median(nearest)) > 3)

    assert moved("mos2") < 0.1  # but for the columns that drift out of the frame
    assert moved("hopping_coarse") > 0.05


@pytest.mark.parametrize("dose", ["low", "high"])
@pytest.mark.parametrize("name", ["mos2", "sto_abf", "empty"])
def test_counts_have_poisson_statistics(name, dose):
    seen = observe(ALL[name], dose, seed=5)
    assert seen.frames.dtype == np.uint16
    counts = (seen.frames - seen.total.astype(float)) / seen.gain
    rate = (seen.total - seen.offset) / seen.gain
    variance = rate + (seen.read_noise / seen.gain) ** 2 + 1 / (12 * seen.gain**2)
    error = np.sqrt(variance.mean() / counts.size)
    assert abs(counts.mean()) < 5 * error
    assert np.mean(counts**2 / variance) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", WITH_ATOMS)
def test_dose_is_that_at_the_brightest_typical_column(name):
    series = ALL[name]
    seen = observe(series, 10.0)
    brightest = (seen.total.max() if series.contrast == "dark" else seen.atoms.max()) - (
        seen.offset if series.contrast == "dark" else 0
    )
    expected = 80 if series.contrast == "dark" else 10
    assert 1 <= brightest / seen.gain / expected < 2.5  # dopants are brighter than typical


def test_noise_is_reproducible():
    first, again, other = (observe(ALL["mos2"], "mid", seed).frames for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.mean(first == other) < 0.5


def test_scan_noise_is_correlated_along_rows_only():
    seen = observe(ALL["empty"], "scan", seed=3)
    noise = seen.frames - seen.total.astype(float)
    noise -= gaussian_filter(noise.mean(0), 8)
    power = np.mean(noise**2)
    along_x = [np.mean(noise[..., k:] * noise[..., :-k]) / power for k in (1, 2, 3, 4)]
    along_y = [np.mean(noise[:, k:] * noise[:, :-k]) / power for k in (1, 2, 3, 4)]
    np.testing.assert_allclose(along_x, (0.17, 0.13, 0.13, 0.12), atol=0.025)
    np.testing.assert_allclose(along_y, 0, atol=0.02)


def test_unknown_series():
    with pytest.raises(ValueError, match="graphene.*cluster"):
        load_benchmark(["graphene"])


# --- the measures ---------------------------------------------------------------------------


def spots(positions, sigma=3.0, shape=(2, 64, 64)):
    image = np.zeros(shape)
    y, x = np.mgrid[: shape[1], : shape[2]]
    for frame, row, column, height in positions:
        frame = int(frame)
        square = (y - row) ** 2 + (x - column) ** 2
        image[frame] += height * np.exp(-square / (2 * sigma**2))
    return image


def test_detection_finds_positions_to_a_fraction_of_a_pixel():
    positions = np.array([(0, 20.3, 30.7, 1.0), (0, 45.5, 15.1, 0.5), (1, 33.8, 40.2, 0.8)])
    found = metrics.detect(spots(positions), 3.0)
    assert found.height[2] > 0.4
    order = np.lexsort([-found.height[:3], found.frame[:3]])
    measured = np.column_stack([found.row, found.column])[:3][order]
    np.testing.assert_allclose(measured, positions[:, 1:3], atol=0.06)


def test_false_atoms_are_counted_per_frame():
    height = 2.0
    three = [(0, 20, 30, 2.0), (0, 40, 12, 1.0), (1, 30, 30, 1.5)]
    assert metrics.false_atoms(spots(three), 3.0, height) == 1.5
    assert metrics.false_atoms(spots([(0, 20, 30, 0.6)]), 3.0, height) == 0
    needle = np.zeros((1, 64, 64))
    needle[0, 30, 30] = height  # a hot pixel is not an atom
    assert metrics.false_atoms(needle, 3.0, height) == 0


def test_psnr_of_known_error():
    truth = np.zeros((1, 10, 10))
    truth[0, 0, 0] = 10
    assert metrics.psnr(truth + 1, truth) == pytest.approx(20)


class Oracle:
    """A method that knows the truth, and may be made to lie."""

    def __init__(self, name, dose, lie=lambda atoms, seen: atoms):
        self.seen = observe(ALL[name], dose, quality.SEED)
        self.lie = lie

    def __call__(self, frames, pixel_size, background):
        assert np.array_equal(frames, self.seen.frames)
        assert pixel_size == self.seen.series.pixel_size
        atoms = self.lie(self.seen.atoms, self.seen)
        sign = -1 if self.seen.series.contrast == "dark" else 1
        return self.seen.total + sign * (atoms - self.seen.atoms) if background else atoms


@pytest.mark.parametrize("name", ALL)
def test_the_truth_scores_best(name):
    (row,) = quality.score(Oracle(name, "mid"), [name], ["mid"])
    assert row["psnr"] > 100
    assert row["ssim"] == pytest.approx(1)
    if name == "empty":
        assert row["false_atoms"] == 0
    else:
        assert row["f1"] > 0.99
        assert row["f1_total"] > 0.99
        assert row["f1_fixed"] > 0.99
        assert row["rms_pm"] < 25
        assert row["filled"] in (0, pytest.approx(np.nan, nan_ok=True))


def test_means_over_the_series():
    names = ("mos2", "cluster")
    rows = {
        method: {(s, d): {"f1": f1[i], "rms_px": 2.0} for i, s in enumerate(names) for d in quality.DOSES}
        for method, f1 in (("gaussian", (0.9, 0.5)), ("n2a", (0.8, 0.7)))
    }  # fmt: skip
    lines = quality.curves_table(rows).splitlines()
    error = 2000 * np.mean([ALL[name].pixel_size for name in names])
    assert lines[-2].startswith(f"| mean of 2 | gaussian | 0.700 / {error:.1f} |")
    assert lines[-1].startswith(f"| mean of 2 | n2a | **0.750** / {error:.1f} |")
    assert sum("**0.900**" in line for line in lines) == 1


def test_a_lattice_painted_on_is_found_out():
    series = ALL["mos2"]
    empty = series.vacancies[series.vacancies["count"] == 2]

    def paint(atoms, seen):
        height = np.median(metrics.heights(series, series.sites["z"] == 16)) * seen.unit
        marks = [(v["frame"], v["row"], v["column"], height) for v in empty]
        return atoms + spots(marks, series.atom_width, atoms.shape)

    (row,) = quality.score(Oracle("mos2", "mid", paint), ["mos2"], ["mid"])
    assert row["filled"] == 1
    assert row["f1"] < 1


def test_shifted_and_missing_atoms_cost_f1():
    def shift(atoms, seen):
        return np.roll(atoms, round(0.07 / seen.series.pixel_size), axis=1)

    (row,) = quality.score(Oracle("hopping", "mid", shift), ["hopping"], ["mid"])
    assert row["f1"] < 0.3

    def halve(atoms, seen):
        return atoms * (np.arange(128) < 64)

    (row,) = quality.score(Oracle("mos2", "mid", halve), ["mos2"], ["mid"])
    assert 0.5 < row["f1"] < 0.8


def test_equal_heights_share_one_threshold():
    series = ALL["gold_edge"]
    flat = np.minimum(
        series.atoms, 0.1 * series.reference
    )  # every column but the weakest: a plateau
    assert metrics.tuned_detection(flat, series)["f1"] < 0.9
    nothing = metrics.tuned_detection(np.ones_like(series.atoms), series)
    assert nothing["f1"] == 0
    assert len(nothing["found"].height) == 0


# --- the benchmarks -------------------------------------------------------------------------


def test_tuning_finds_the_best_parameter_of_the_grid():
    seen = observe(ALL["mos2"], "low", quality.SEED)
    best = quality.tune(("mos2", "low", "gaussian"))
    errors = {
        sigma: np.mean(
            (gaussian_filter(seen.frames.astype(float), (0, sigma, sigma)) - seen.total) ** 2
        )
        for sigma in quality.METHODS["gaussian"].grid["sigma"]
    }
    assert best["psnr_parameters"]["sigma"] == min(errors, key=errors.get)
    span = np.ptp(seen.total)
    assert best["psnr"] == pytest.approx(10 * np.log10(span**2 / min(errors.values())), abs=1e-3)
    raw = quality.tune(("mos2", "low", "raw"))
    assert best["f1"] > raw["f1"]


def test_speed_is_measured_on_a_series_of_the_requested_size():
    frames = speed.series(3, 200)
    assert frames.shape == (3, 200, 200)
    assert frames.dtype == np.float32
    assert np.array_equal(frames[:, 128:, 128:], frames[:, :72, :72])
    assert 0 < speed.time_gaussian(frames, 1) < speed.time_paper(frames[:, :64, :64].copy(), 1)


# --- series outside the range of the weights in the box -----------------------------------------


SHIFTED = {series.name: series for series in load_shifted()}


def autocorrelation(noise, dy, dx):
    height, width = noise.shape[1:]
    first, second = noise[:, dy:, dx:], noise[:, : height - dy, : width - dx]
    return np.mean(first * second) / np.mean(noise**2)


@pytest.mark.parametrize("name", SHIFTED)
def test_positions_of_shifted_series_stay_right(name):
    seen = observe_shifted(SHIFTED[name], "low")
    series = seen.series
    found = metrics.detect(seen.atoms, series.atom_width, min_distance=0.75)
    verdict, distance, total = metrics.match(found, series)
    assert total > 0.5 * len(ALL[shifted_data.SHIFTED[name]].sites) * series.atoms[0].size / 128**2
    assert (verdict == 1).mean() > 0.99 or (verdict == 1).sum() == total
    assert np.nanmedian(distance) * series.pixel_size < 0.007
    # neighbours pull at overlapping columns in all directions alike
    judged = series.sites[series.sites["resolved"]]
    offsets = []
    for frame, row, column in zip(
        *(a[verdict == 1] for a in (found.frame, found.row, found.column))
    ):
        here = judged[judged["frame"] == frame]
        dy, dx = row - here["row"], column - here["column"]
        nearest = np.argmin(np.hypot(dy, dx))
        offsets.append((dy[nearest], dx[nearest]))
    np.testing.assert_allclose(np.median(offsets, axis=0), 0, atol=0.25)


def test_the_probe_is_elongated_has_a_ring_and_moves_nothing():
    kernel = shifted_data.probe_kernel()
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1)
    u = np.arange(len(kernel)) - len(kernel) // 2
    np.testing.assert_allclose((u @ kernel.sum(1), u @ kernel.sum(0)), 0, atol=1e-6)
    edge = np.concatenate([kernel[[0, -1]], kernel[:, [0, -1]].T])
    assert edge.max() < 0.02 * kernel.max()
    # the ring: on the way out from the middle the intensity falls and rises again
    for ray in (kernel[len(u) // 2 :, len(u) // 2], kernel[: len(u) // 2 + 1, len(u) // 2][::-1]):
        valley = np.argmin(ray[:8])
        assert ray[valley:].max() > 3 * ray[valley]
    # the spot of an atom at half its height, along and across
    spot = gaussian_filter(np.pad(kernel, 10), ALL["gold_edge"].atom_width)
    along, across = (np.sum(line > spot.max() / 2) for line in (spot[24], spot[:, 24]))
    assert 1.5 < along / across < 2.1
    skewness = (u**3 @ kernel.sum(0)) / (u**2 @ kernel.sum(0)) ** 1.5
    assert 0.02 < abs(skewness) < 0.5


def test_the_probe_is_laid_over_the_atoms():
    before, after = ALL["gold_edge"].atoms.astype(float), SHIFTED["shape"].atoms
    turned = shifted_data.probe_kernel()[::-1, ::-1]
    size = len(turned)
    assert after.shape[1:] == tuple(n - size + 1 for n in before.shape[1:])  # no padding
    for frame, row, column in ((0, 60, 20), (5, 99, 99), (3, 0, 0)):
        window = before[frame, row : row + size, column : column + size]
        assert after[frame, row, column] == pytest.approx((window * turned).sum(), abs=1e-6)


def test_line_noise_is_strong_and_slow_along_rows_only():
    noise = []
    for seed in range(3):
        seen = observe_shifted(SHIFTED["lines"], "low", seed)
        noise.append(seen.frames - seen.total.astype(float))
    noise = np.concatenate(noise)
    slow = {k: autocorrelation(noise, 0, k) for k in (2, 10, 20, 40)}
    # 60 % of the variance, falling by 3 % from pixel to pixel; half a pixel's signal comes late
    for lag, value in slow.items():
        assert value == pytest.approx(0.6 * 0.97**lag, abs=0.05)
    assert autocorrelation(noise, 0, 1) == pytest.approx(0.6 * 0.97 + 0.4 * 0.5, abs=0.04)
    for lag in (1, 2, 5):
        assert autocorrelation(noise, lag, 0) == pytest.approx(0, abs=0.02)
    # as strong in the first column as elsewhere
    assert noise[..., 0].std() == pytest.approx(noise[..., 20:].std(), rel=0.25)


def test_afterglow_moves_the_truth_with_the_signal():
    before, after = (
        one.atoms.astype(float)
        for one in (SHIFTED["lines"], observe_shifted(SHIFTED["lines"]).series)
    )
    expected = (before[..., 1:] + before[..., :-1]) / 2
    np.testing.assert_allclose(after[..., 1:], expected, atol=1e-6)


def test_what_is_outside_is_outside():
    """Of what the weights in the box were trained on; only "texture" is not."""
    recipe = Recipe()
    contrast = {
        name: (SHIFTED[name].support.std() / SHIFTED[name].support.mean())
        for name in ("rough", "texture")
    }
    assert contrast["texture"] < recipe.texture[1] < 0.6 * contrast["rough"]
    part = shifted_data.LINE_FRACTION
    assert np.sqrt(part / (1 - part)) > 1.5 * recipe.line_noise[1]
    axes = np.hypot(ALL["gold_edge"].atom_width, shifted_data.PROBE)
    assert axes[0] / axes[1] > 1.4 * recipe.elongation[1] * np.exp(2 * recipe.astigmatism)
    assert {*shifted_data.OUTSIDE, "texture"} == set(SHIFTED)


@pytest.mark.parametrize("name", ["texture", "rough"])
def test_the_textured_support_is_bright_fine_and_drifts_with_the_atoms(name):
    series = SHIFTED[name]
    assert series.support.mean() > 2.5 * metrics.heights(series, series.sites["resolved"]).mean()
    texture = series.support - series.support.mean()
    single = np.median(metrics.heights(series, series.sites["count"] == 1))
    # bumps of two standard deviations are common
    low, high = {"texture": (0.5, 2), "rough": (2, 6)}[name]
    assert low < 2 * texture.std() / single < high
    # half-widths of the autocorrelation, for a Gaussian of width s: 1.67 s
    curve = [autocorrelation(texture, 0, k) for k in range(20)]
    assert 0.6 < np.argmax(np.array(curve) < 0.5) / (1.67 * series.atom_width) < 1.7
    # the lone atom keeps its place on the film
    spectrum = np.conj(np.fft.fft2(texture[0])) * np.fft.fft2(texture[3])
    peak = np.fft.ifft2(spectrum).real
    moved = np.array(np.unravel_index(np.argmax(peak), peak.shape))
    moved = (moved + 64) % 128 - 64
    lone = [
        s[np.argmin(s["row"] + s["column"])]
        for s in (series.sites[series.sites["frame"] == k] for k in (0, 3))
    ]
    atoms = [lone[1][axis] - lone[0][axis] for axis in ("row", "column")]
    np.testing.assert_allclose(moved, atoms, atol=1)


@pytest.mark.parametrize("name", SHIFTED)
def test_shifted_frames_are_truth_and_noise(name):
    series = SHIFTED[name]
    draws = [observe_shifted(series, 5.0, seed) for seed in range(24)]
    truth = draws[0].total.astype(float)
    noise = np.stack([one.frames for one in draws]) - truth
    error = np.sqrt(noise.var(0, ddof=1).mean() / len(draws))
    mean = noise.mean(0)
    assert abs(mean.mean()) < 0.05 * error
    assert mean.std() == pytest.approx(error, rel=0.05)
    # where the atoms are as well as between them
    order = np.argsort(draws[0].atoms.ravel())
    for part in (order[:2000], order[-2000:]):
        assert abs(mean.ravel()[part].mean()) < 0.3 * error
    total = draws[0].atoms + draws[0].unit * draws[0].series.support + draws[0].offset
    np.testing.assert_allclose(truth, total, rtol=1e-3)
    assert (draws[0].frames > 0).mean() > 0.999  # nothing is cut off
    again = observe_shifted(series, 5.0, 0)
    assert np.array_equal(again.frames, draws[0].frames)
    assert np.mean(draws[1].frames == draws[0].frames) < 0.5


def test_unknown_shifted_series():
    with pytest.raises(ValueError, match="mos2.*shape"):
        load_shifted(["mos2"])


# --- the benchmark of training on the user's own series -------------------------------------


def cell(method, psnr, f1=0.9, series="lines", budget=600.0, **more):
    row = {"series": series, "dose": "low", "noise": 1, "method": method, "psnr": psnr, "f1": f1}
    row["said"] = ""
    row.update(dict.fromkeys(("f1_fixed", "rms_pm", "filled_tuned", "false_atoms"), np.nan))
    return {**row, "filled": 0.0, "seconds": 1.0, "budget": budget, **more}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([cell("trained", 31.0), cell("box", 30.0), cell("n2n", 31.05)], "pass"),
        ([cell("trained", 30.0, 0.96), cell("box", 30.0), cell("n2n", 29.0)], "pass"),
        ([cell("trained", 30.9, 0.94), cell("box", 30.0)], "gain over the box .0.9 dB, .0.040"),
        ([cell("trained", 31.2, 0.8), cell("box", 30.0), cell("n2n", 31.4, 0.9)], "PSNR.*F1 below"),
        ([cell("trained", 31.2), cell("n2n", 33.0, budget=900.0)], "pass"),
        ([cell("trained", 31.0, filled=0.06)], "filled"),
        ([cell("trained", 29.95, series="mos2"), cell("box", 30.0, series="mos2")], "pass"),
        ([cell("trained", 29.8, series="mos2"), cell("box", 30.0, series="mos2")], "PSNR below"),
        ([cell("trained", 30, 0.89, "mos2"), cell("box", 30, 0.9, "mos2")], "F1 below the box"),
        ([cell("trained", 30, np.nan, "empty", filled=np.nan, false_atoms=2.0)], "false atoms"),
        ([cell("trained", 30.0), cell("box", 30.0, dose="high")], "pass"),
        ([cell("trained", 30.0), cell("n2n", 33.0, noise=2)], "pass"),
    ],
)
def test_a_row_says_what_it_falls_short_of(rows, expected):
    said = adaptation.verdict(rows[0], rows)
    assert re.search(expected, said)
    assert (said == "pass") == (expected == "pass")
    lines = adaptation.markdown(rows).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 2 + len(rows)
    assert said in lines[2]


def test_means_over_the_noise():
    rows = [
        cell("box", 30.0, 0.9),
        cell("box", 31.0, 0.94, noise=2),
        cell("n2n", 29.0),
        cell("n2n", 29.0),
    ]
    box, other = adaptation.means(rows).strip().splitlines()
    assert "30.50 dB, F1 0.9200 +- 0.0200" in box  # sqrt(2) * 0.02 / sqrt(2)
    assert "29.00 dB, F1 0.9000 +- 0.0000" in other


def test_noise2noise_learns_from_neighbouring_frames():
    seen = adaptation.observed("gold_edge", "low", 1, frames=3)
    assert len(seen.frames) == 3
    assert set(seen.series.sites["frame"]) == {0, 1, 2}
    result = adaptation.noise2noise(seen.frames, seen.series.atom_width, seconds=1, size=48)
    assert result.shape == seen.frames.shape
    assert result.mean() == pytest.approx(seen.total.mean(), rel=0.02)
    assert metrics.psnr(result, seen.total) > metrics.psnr(seen.frames, seen.total) + 3


def test_results_are_kept_as_long_as_what_made_them(tmp_path, monkeypatch):
    calls = []
    row = {"psnr": 30.0, "seconds": 1.0}
    monkeypatch.setattr(adaptation, "CACHE", tmp_path / "new")
    monkeypatch.setattr(adaptation, "run", lambda *cell: calls.append(cell) or row)
    cells = [("mos2", "low", method, 600.0, 0, None, 1, {}) for method in ("box", "trained", "n2n")]
    first = adaptation.cached(cells)
    assert [one["method"] for one in first] == ["box", "trained", "n2n"]
    assert adaptation.cached(cells)[0]["psnr"] == 30.0
    assert len(calls) == 3
    # other code of n2a: the opponent's results stay
    package = tmp_path / "n2a"
    package.mkdir()
    (package / "training.py").write_text("better = True")
    monkeypatch.setattr(adaptation.n2a, "__file__", str(package / "__init__.py"))
    adaptation.cached(cells)
    assert [one[2] for one in calls[3:]] == ["box", "trained"]
    adaptation.cached([("mos2", "low", "n2n", 240.0, 0, None, 1, {})])
    assert len(calls) == 6


def test_the_box_is_measured_on_shifted_series():
    row = adaptation.run("shape", "mid", "box", 0.0, 0, 2, 1)
    assert row["psnr"] > 20
    assert 0.5 < row["f1"] <= 1
    assert np.isnan(row["filled"])


def test_results_are_forgotten_when_any_code_changes_that_they_come_from(tmp_path, monkeypatch):
    # A module, what it imports inside a function, and what that imports; and one that has no part in it.
    (tmp_path / "first.py").write_text("import json\ndef f():\n    from n2a.second import g\n")
    (tmp_path / "second.py").write_text("from n2a import third\n")
    (tmp_path / "third.py").write_text("GRID = (1, 2)\n")
    (tmp_path / "other.py").write_text("")
    monkeypatch.setattr(quality, "PACKAGE", tmp_path)
    names = [path.name for path in quality.files_of("first")]
    assert names == ["first.py", "second.py", "third.py"]
    before = quality.digest(quality.files_of("first"))
    (tmp_path / "other.py").write_text("1")
    assert quality.digest(quality.files_of("first")) == before
    (tmp_path / "third.py").write_text("GRID = (1, 2, 3)\n")
    assert quality.digest(quality.files_of("first")) != before


def test_results_depend_on_the_detector_the_data_and_the_weights():
    names = {one.name for one in quality.sources_of(quality.score_box) if isinstance(one, Path)}
    assert {"multislice.npz", "fast.safetensors", "detection.py", "spots.py"} <= names
    assert {"denoising.py", "predictor.py", "model.py", "sampling.py"} <= names
