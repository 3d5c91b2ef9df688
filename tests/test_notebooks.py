# SPDX-License-Identifier: GPL-3.0-or-later
"""The notebooks, executed with quick parameters, on simulated and on real input."""

import ast
import csv
import json
import re
import sys
from pathlib import Path

import hyperspy.api as hs
import matplotlib.image
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio

import n2a
from n2a.atoms import true_atoms

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

papermill = pytest.importorskip("papermill", reason="install n2a[notebooks] to run the notebooks")

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"

pytestmark = pytest.mark.skipif(
    not (NOTEBOOKS / "params.toml").is_file(), reason="installed without the notebooks"
)


def parameter_sets() -> dict[str, dict[str, dict]]:
    return tomllib.loads((NOTEBOOKS / "params.toml").read_text(encoding="utf-8"))


def parameters(name: str) -> dict:
    """What a notebook runs with in these tests: its defaults, and the quick ones in their place."""
    known = papermill.inspect_notebook(NOTEBOOKS / f"{name}.ipynb").values()
    return {p["name"]: ast.literal_eval(p["default"]) for p in known} | parameter_sets()[name][
        "quick"
    ]


class Executed:
    """A notebook after its execution: what stands on its page, and what it left in a folder."""

    def __init__(self, name: str, folder: Path, **parameters):
        parameters = {**parameter_sets()[name]["quick"], **parameters}
        # Papermill passes an unknown name and goes on with the default.
        assert set(parameters) <= set(papermill.inspect_notebook(NOTEBOOKS / f"{name}.ipynb"))
        self.output = folder / "output"
        notebook = papermill.execute_notebook(
            NOTEBOOKS / f"{name}.ipynb",
            folder / f"{name}.ipynb",
            parameters={**parameters, "output_dir": str(self.output)},
            kernel_name="python3",
            cwd=folder,
            progress_bar=False,
        )
        outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
        streams = [o for o in outputs if o.output_type == "stream"]
        self.text = "".join(o.text for o in streams if o.name == "stdout")
        told = "".join(o.text for o in streams if o.name == "stderr")
        # Without ipywidgets a progress bar goes to stderr; it is no complaint.
        lines = re.split(r"[\r\n]+", told)
        self.complaints = "\n".join(one for one in lines if one.strip() and "%|" not in one)
        self.figures = sum("image/png" in o.get("data", {}) for o in outputs)

    def assert_saved_figure_shows_something(self, stem: str):
        picture = matplotlib.image.imread(self.output / f"{stem}.png")[..., :3]
        assert min(picture.shape[:2]) > 600
        assert picture.std() > 0.1
        assert (self.output / f"{stem}.pdf").read_bytes().startswith(b"%PDF")

    def saved_figures(self, *suffixes: str) -> set[str]:
        """Stems of the figures that are there with all of these suffixes, and with something on them."""
        stems = [{path.stem for path in self.output.glob(f"*{suffix}")} for suffix in suffixes]
        assert all(one == stems[0] for one in stems)
        for path in self.output.glob("*.png"):
            assert matplotlib.image.imread(path)[..., :3].std() > 0.05, path
        return stems[0]


def calibration(signal) -> list[tuple]:
    axes = signal.axes_manager._axes
    return [(a.name, a.size, a.scale, a.offset, a.units, a.navigate) for a in axes]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("name", sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")))
def test_parameter_sets_name_parameters_of_their_notebook(name):
    known = set(papermill.inspect_notebook(NOTEBOOKS / f"{name}.ipynb"))
    sets = parameter_sets()[name]
    assert set(sets) == {"quick", "book"}
    assert "output_dir" in known
    for values in sets.values():
        assert set(values) <= known


def test_every_notebook_has_parameter_sets():
    assert {p.stem for p in NOTEBOOKS.glob("*.ipynb")} == set(parameter_sets())


def test_training_leaves_weights_that_denoise(tmp_path):
    page = Executed("00_train_weights", tmp_path)
    weights = page.output / "toy.safetensors"
    card = json.loads((page.output / "toy.json").read_text(encoding="utf-8"))
    model = n2a.Noise2Atom.load(weights)
    assert (model.name, model.digest) == ("toy", card["digest"])
    assert card["steps"] > 0
    assert not list(page.output.glob("*.partial*"))
    assert page.figures >= 2

    noisy = n2a.acquire(n2a.simulate(shape=(48, 48), frames=3, seed=1), dose=10, seed=1)
    denoised = noisy.n2a.denoise(weights)
    assert denoised.metadata.n2a.denoising.model_digest == model.digest
    assert np.isfinite(denoised.data).all()


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Execute the quickstart on its default input."""
    return Executed("01_quickstart", tmp_path_factory.mktemp("simulated"))


class TestQuickstartOnASimulatedSeries:
    @pytest.fixture
    def saved(self, simulated):
        names = ("noisy", "truth", "denoised")
        return {name: hs.load(simulated.output / f"simulated_{name}.hspy") for name in names}

    def test_result_has_the_axes_of_the_series(self, saved):
        assert calibration(saved["denoised"]) == calibration(saved["noisy"])
        assert saved["denoised"].data.dtype == np.float32

    def test_result_is_nearer_to_the_truth_than_a_blur(self, saved):
        truth, noisy = saved["truth"].data, saved["noisy"].data.astype(np.float32)

        def decibels(values):
            return peak_signal_noise_ratio(truth, values, data_range=float(truth.max()))

        # A blur cannot tell the support from the atoms, so it is told here: the best factor and offset.
        blurs = [gaussian_filter(noisy, (0, s, s)) for s in (1, 1.5, 2, 3, 4)]
        fits = [np.polyfit(b.ravel(), truth.ravel(), 1) for b in blurs]
        best = max(decibels(a * b + c) for (a, c), b in zip(fits, blurs))
        assert decibels(saved["denoised"].data) > best

    def test_result_says_what_was_done(self, saved):
        done = saved["denoised"].metadata.n2a.denoising
        assert done.model_digest == n2a.get_model().digest
        assert (done.contrast, done.time_axis, done.background) == ("bright", "time", False)

    def test_figure_is_saved(self, simulated):
        simulated.assert_saved_figure_shows_something("simulated_denoised")

    def test_page_is_complete_and_without_warnings(self, simulated):
        assert simulated.figures == 6
        assert "model_digest" in simulated.text
        assert simulated.complaints == ""


class TestQuickstartOnRealFiles:
    def test_single_image_of_mos2(self, real_file, tmp_path):
        path = real_file("mos2")
        page = Executed("01_quickstart", tmp_path, path=str(path))
        raw, denoised = hs.load(path), hs.load(page.output / f"{path.stem}_denoised.hspy")
        assert calibration(denoised) == calibration(raw)
        assert denoised.data.min() >= 0
        # In units of the file but above its background: the offset of three million is gone.
        assert 0 < np.percentile(denoised.data, 99) < np.ptp(raw.data)
        blurred = gaussian_filter(raw.data.astype(float), 3)
        assert correlation(denoised.data, blurred - gaussian_filter(blurred, 20)) > 0.8
        assert denoised.metadata.n2a.denoising.contrast == "bright"
        page.assert_saved_figure_shows_something(f"{path.stem}_denoised")
        assert "single image" in page.text
        assert page.complaints == ""

    @pytest.mark.filterwarnings("ignore:Loading old file version")
    def test_series_of_dark_atoms(self, real_file, tmp_path):
        path = real_file("abf_srtio3")
        page = Executed("01_quickstart", tmp_path, path=str(path))
        raw, denoised = hs.load(path), hs.load(page.output / f"{path.stem}_denoised.hspy")
        assert calibration(denoised) == calibration(raw)
        assert denoised.data.min() >= 0
        blurred = gaussian_filter(raw.data.astype(float), (0, 3, 3))
        assert correlation(denoised.data, blurred) < -0.8
        assert denoised.metadata.n2a.denoising.contrast == "dark"
        both = [s.n2a.css(data_range=20000).metadata.n2a.css.mean for s in (raw, denoised)]
        assert both[0] < both[1]
        page.assert_saved_figure_shows_something(f"{path.stem}_denoised")
        assert page.figures == 5
        assert page.complaints == ""


class TestQuickstartOnOtherFiles:
    def test_four_dimensions_and_one_setting_of_each_kind(self, tmp_path):
        noisy = n2a.acquire(n2a.simulate(shape=(48, 64), frames=3, seed=2), dose=10, seed=2)
        noisy = hs.stack([noisy, noisy])
        noisy.save(tmp_path / "positions.hspy")
        page = Executed(
            "01_quickstart",
            tmp_path,
            path="positions.hspy",
            background=True,
            lazy=True,
            frame=0,
            zoom=[0.4, 0.3, 0.3],
        )
        denoised = hs.load(page.output / "positions_denoised.hspy")
        assert calibration(denoised) == calibration(noisy)
        # With its background the result has the mean of the raw frames.
        assert denoised.data.mean() == pytest.approx(noisy.data.mean(), rel=0.05)
        assert page.figures == 5

    def test_a_file_without_images_is_refused_with_the_remedy(self, tmp_path):
        hs.signals.Signal1D(np.ones((4, 20))).save(tmp_path / "spectra.hspy")
        with pytest.raises(
            papermill.PapermillExecutionError, match=r"no real images.*spectra.*transpose"
        ):
            Executed("01_quickstart", tmp_path, path="spectra.hspy")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Execute the training on its default input, for three steps."""
    return Executed("02_training", tmp_path_factory.mktemp("trained"))


class TestTraining:
    """Three steps change next to nothing: the page must be whole and say what is true."""

    def test_model_is_saved_with_its_history_and_verdict(self, trained):
        model = n2a.Noise2Atom.load(trained.output / "simulated.n2a")
        assert model.training["steps"] == parameter_sets()["02_training"]["quick"]["max_steps"]
        assert model.verdict in ("better", "no better")
        assert f"Verdict: {model.verdict}" in trained.text
        assert f"gain = {model.training['gain']:+.4f}" in trained.text
        assert model.history["step"][-1] == model.training["steps"]

    def test_series_is_denoised_with_that_model(self, trained):
        model = n2a.Noise2Atom.load(trained.output / "simulated.n2a")
        denoised = hs.load(trained.output / "simulated_trained.hspy")
        assert denoised.metadata.n2a.denoising.model_digest == model.digest
        assert [a.name for a in denoised.axes_manager._axes] == ["time", "y", "x"]
        assert np.isfinite(denoised.data).all()

    def test_page_compares_with_blurs_and_the_truth(self, trained):
        rows = re.findall(r"^(raw.*|box|trained.*|truth) +(0\.\d{3})(.*)$", trained.text, re.M)
        similarity = {name.strip(): float(css) for name, css, _ in rows}
        names = list(similarity)
        assert (names[0], names[-1], len(names)) == ("raw", "truth", 6)
        # A blur of four atoms wins in CSS, and the box in PSNR: which is why neither stands alone.
        blur, box = (next(row for row in rows if key in row[0]) for key in ("by four", "box"))
        assert float(blur[1]) > float(box[1])
        assert float(blur[2]) < float(box[2])

    def test_page_is_complete_and_without_warnings(self, trained):
        assert trained.figures == 7
        assert trained.complaints == ""
        trained.assert_saved_figure_shows_something("simulated_trained")

    def test_critic_can_be_asked_for(self, tmp_path):
        page = Executed("02_training", tmp_path, adversarial=0.01, max_steps=1)
        assert "critic in training" in page.text
        assert page.complaints == ""

    def test_single_image_of_mos2(self, real_file, tmp_path):
        path = real_file("mos2")
        page = Executed("02_training", tmp_path, path=str(path))
        model = n2a.Noise2Atom.load(page.output / f"{path.stem}.n2a")
        assert model.verdict == "not judged"
        assert "single image" in page.text
        raw, denoised = hs.load(path), hs.load(page.output / f"{path.stem}_trained.hspy")
        assert calibration(denoised) == calibration(raw)
        blurred = gaussian_filter(raw.data.astype(float), 3)
        assert correlation(denoised.data, blurred - gaussian_filter(blurred, 20)) > 0.8
        assert page.figures == 6
        assert page.complaints == ""

    def test_single_image_that_is_lost(self, tmp_path):
        """The authors' network after one step: no gain can be measured, and that is said in words."""
        page = Executed("02_training", tmp_path, frames=1, size=48, preset="paper", max_steps=1)
        model = n2a.Noise2Atom.load(page.output / "simulated.n2a")
        assert model.verdict == "collapsed"
        assert "Verdict: collapsed" in page.text
        assert "no frame was held out" in page.text
        assert page.complaints == ""

    @pytest.mark.filterwarnings("ignore:Loading old file version")
    def test_series_of_dark_atoms(self, real_file, tmp_path):
        path = real_file("abf_srtio3")
        page = Executed("02_training", tmp_path, path=str(path))
        model = n2a.Noise2Atom.load(page.output / f"{path.stem}.n2a")
        assert model.verdict in ("better", "no better")
        assert model.training["plans"][0]["contrast"] == "dark"
        raw, denoised = hs.load(path), hs.load(page.output / f"{path.stem}_trained.hspy")
        assert calibration(denoised) == calibration(raw)
        blurred = gaussian_filter(raw.data.astype(float), (0, 3, 3))
        assert correlation(denoised.data, blurred) < -0.8
        assert page.figures == 7
        assert page.complaints == ""


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return Executed("03_evaluation", tmp_path_factory.mktemp("evaluation"))


class TestEvaluation:
    def test_error_without_the_truth_is_that_with_it(self, evaluation):
        rows = re.findall(r"^(\S.*?) +([\d.]+) dB +([\d.]+) dB \(", evaluation.text, re.M)
        assert len(rows) == 7
        for name, true, told in rows:
            assert float(told) == pytest.approx(float(true), abs=2), name
        # In the same order: what is better by the raw frames is better by the truth.
        assert [r[0] for r in sorted(rows, key=lambda r: float(r[1]))] == [
            r[0] for r in sorted(rows, key=lambda r: float(r[2]))
        ]

    def test_honest_result_comes_first_and_each_cheat_is_named(self, evaluation):
        table = evaluation.text.split("the best first")[1]
        rows = re.findall(r"^(\w.*?) +(\d\.\d{3})  (.+)$", table, re.M)[:7]
        verdicts = {name: verdict for name, _, verdict in rows}
        assert next(iter(verdicts.items())) == ("denoised by n2a", "fine")
        assert [name for name, verdict in verdicts.items() if verdict == "fine"] == [
            "denoised by n2a"
        ]
        assert "over-smoothed" in verdicts["strong blur"]
        assert "without support" in verdicts["holes filled with atoms"]
        assert "not linear" in verdicts["contrast bent (gamma 0.5)"]
        similarity = {name: float(css) for name, css, _ in rows}
        assert similarity["a constant"] == 1

    def test_page_names_the_best_as_the_saved_comparison_does(self, evaluation):
        told = json.loads((evaluation.output / "comparison.json").read_text(encoding="utf-8"))
        assert set(told) == set(parameters("03_evaluation")["methods"])
        lines = {
            name: {line["key"]: line["value"] for line in one["report"]["lines"]}
            for name, one in told.items()
        }
        best = max(lines, key=lambda name: lines[name]["psnr"])
        assert f"First by PSNR against the truth: {best}." in evaluation.text
        first = next(iter(told))
        assert f"First by the report: {first}" in evaluation.text

    def test_report_is_saved_with_its_verdict(self, evaluation):
        saved = json.loads((evaluation.output / "report.json").read_text(encoding="utf-8"))
        assert saved["verdicts"] == ["fine"]

    def test_page_is_complete_and_without_warnings(self, evaluation):
        measured = [name for name in ("mos2", "abf_srtio3") if n2a.datasets.find(name)]
        assert evaluation.saved_figures(".png", ".pdf") == {
            "simulated", "report", "upsnr", "residual", "frc", "intensities", "comparison", "error_and_time",
            *(f"comparison_{name}" for name in measured),
        }  # fmt: skip
        assert evaluation.figures == 8 + len(measured)
        assert evaluation.complaints == ""

    def test_unknown_method_is_refused_with_those_there_are(self, tmp_path):
        with pytest.raises(papermill.PapermillExecutionError, match=r"no method 'blurr'.*gaussian"):
            Executed("03_evaluation", tmp_path, methods=["blurr"], size=64)


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    return Executed("04_paper_figures", tmp_path_factory.mktemp("paper"))


class TestPaperFigures:
    FIGURES = ("domains", "losses", "networks", "css_over_time", "css_and_psnr", "css_of_a_blur")

    @pytest.fixture
    def table(self, paper):
        with open(paper.output / "css_table.csv", newline="") as file:
            return {row["method"]: row for row in csv.DictReader(file)}

    def test_figures_are_saved_as_vectors_with_text_as_text(self, paper):
        edges = [edge for edge, *_ in parameters("04_paper_figures")["configurations"]]
        stems = paper.saved_figures(".png", ".pdf", ".svg")
        assert stems == {*self.FIGURES, *(f"consecutive_{edge}" for edge in edges)}
        for stem in stems:
            drawn = (paper.output / f"{stem}.svg").read_text(encoding="utf-8")
            assert "<text" in drawn or "<tspan" in drawn, stem

    def test_counts_follow_from_current_and_dwell_time(self, paper):
        given = parameters("04_paper_figures")
        told = re.findall(r"([\d.]+) ns/px +([\d.]+) counts", paper.text)
        expected = []
        for edge, rate, _ in given["configurations"]:
            dwell = 1e9 / (rate * edge**2)  # ns
            electrons = given["current"] * dwell / 160.2176634  # 1 pA ns is 1e-21 C
            expected.append((f"{dwell:.0f}", f"{electrons * given['scattered']:.2f}"))
        assert told[: len(expected)] == expected

    def test_blur_has_the_highest_css_and_is_found_out(self, paper, table):
        measured = {name: float(row["CSS"]) for name, row in table.items() if name != "truth"}
        highest = max(measured, key=measured.get)
        assert highest == "blur, 6 atom widths"
        assert f"The highest CSS: {highest}." in paper.text
        assert "over-smoothed" in table[highest]["verdict"]
        assert table["n2a"]["verdict"] == "fine"
        assert float(table["n2a"]["PSNR"]) > float(table[highest]["PSNR"]) + 5
        assert measured["raw"] == min(measured.values())

    def test_every_method_stands_beside_its_fidelity(self, table):
        given = parameters("04_paper_figures")["methods"]
        assert set(table) == {*given, "blur, 6 atom widths", "raw", "truth"}
        assert all(table[name]["PSNR"] and table[name]["verdict"] for name in given)

    def test_page_is_complete_and_without_warnings(self, paper):
        assert paper.figures == len(self.FIGURES) + 3
        if not n2a.datasets.find("noise2atom_stack"):
            assert "N2A_DATA_DIR" in paper.text  # how to get it
        assert paper.complaints == ""

    def test_stack_of_the_authors_is_shown_where_it_is(self, tmp_path, monkeypatch):
        clear = n2a.simulate(shape=(128, 128), frames=6, scale=0.0088, seed=1)
        entry = n2a.datasets.available()["noise2atom_stack"]
        n2a.acquire(clear, dose=8, seed=1).save(tmp_path / entry.file)
        monkeypatch.setenv("N2A_DATA_DIR", str(tmp_path))
        page = Executed("04_paper_figures", tmp_path, methods=["n2a"], blurs=[1, 4])
        assert "consecutive_authors" in page.saved_figures(".png", ".pdf", ".svg")
        raw, clean = (float(v) for v in re.findall(r"CSS of (?:raw|n2a): ([\d.]+)", page.text))
        assert raw < clean


@pytest.fixture(scope="module")
def trust(tmp_path_factory):
    return Executed("05_trust", tmp_path_factory.mktemp("trust"))


class TestTrust:
    @pytest.fixture
    def scene(self):
        """The simulated series of the notebook: its truth, and the sites that are empty."""
        given = parameters("05_trust")
        options = {
            "structure": "2d", "shape": (given["size"], given["size"]), "frames": given["frames"], "scale": 0.016,
            "drift": 0.002, "seed": given["seed"],
        }  # fmt: skip
        truth = n2a.simulate(**options, vacancies=given["vacancies"])
        atoms, sites = (true_atoms(s) for s in (truth, n2a.simulate(**options)))
        holes = [
            (f, r, c)
            for f, r, c in zip(sites.frame, sites.row, sites.column)
            if not np.any((atoms.frame == f) & (np.hypot(atoms.row - r, atoms.column - c) < 1))
        ]
        return truth, np.array(
            [h for h in holes if min(h[1:]) > 6 and max(h[1:]) < given["size"] - 7]
        )

    def near_holes(self, trust, name, holes):
        table = np.genfromtxt(trust.output / f"atoms_{name}.csv", delimiter=",", names=True)
        hits = [
            table[(table["frame"] == f) & (np.hypot(table["row"] - r, table["column"] - c) < 2)]
            for f, r, c in holes
        ]
        return len(table), [len(h) for h in hits], [h["supported"].sum() for h in hits]

    def test_painted_atoms_are_in_the_map_and_not_supported(self, trust, scene):
        _, holes = scene
        assert len(holes)
        total, hits, supported = self.near_holes(trust, "forged", holes)
        assert set(hits) == {1}
        assert sum(supported) == 0
        assert re.search(rf"^forged +{total} .* 100% +0%$", trust.text, re.M)

    def test_network_leaves_the_holes_empty(self, trust, scene):
        total, hits, _ = self.near_holes(trust, "denoised", scene[1])
        assert sum(hits) == 0
        assert re.search(rf"^denoised +{total} .* 0% +0%$", trust.text, re.M)

    def test_raw_frames_contradict_the_forgery_only(self, trust):
        assert re.search(r"^denoised: agrees with", trust.text, re.M)
        assert re.search(r"^forged: CONTRADICTS", trust.text, re.M)

    def test_verdict_is_that_of_the_report(self, trust, scene):
        given = parameters("05_trust")
        series = n2a.acquire(scene[0], dose=given["dose"], support=0.3, seed=given["seed"])
        verdicts = series.n2a.report(n2a.denoise(series, background=True)).verdicts
        assert re.search(rf"^denoised +verdict: {', '.join(verdicts)}$", trust.text, re.M)
        forged = re.search(r"^forged +verdict: (.*)$", trust.text, re.M)[1]
        assert "atoms without support in the counts" in forged

    def test_support_grows_with_the_dose(self, trust):
        doses = parameters("05_trust")["doses"]
        rows = re.findall(r"^ *([\d.]+) +(\d+)% +(\d+)% +[\d.]+ +[\d.]+ +\d+% ", trust.text, re.M)
        assert [float(row[0]) for row in rows] == doses
        found, supported = ([int(row[k]) for row in rows] for k in (1, 2))
        assert found == sorted(found)
        assert supported == sorted(supported)
        assert supported[0] < supported[-1]

    def test_page_is_complete_and_without_warnings(self, trust):
        measured = ["measured", "least_supported"] if n2a.datasets.find("mos2") else []
        assert trust.saved_figures(".png", ".pdf") == {
            "vacancies", "sites", "atom_maps", "significance", "report_forged", "empty_support", "dose_series",
            "dose_curves", "uncertainty", "uncertainty_calibration", *measured,
        }  # fmt: skip
        assert trust.figures == 10 + len(measured)
        assert trust.complaints == ""

    @pytest.mark.filterwarnings("ignore:Loading old file version")
    def test_series_of_dark_atoms(self, real_file, tmp_path):
        path = real_file("abf_srtio3")
        page = Executed("05_trust", tmp_path, path=str(path), doses=[8])
        table = np.genfromtxt(page.output / "atoms_measured.csv", delimiter=",", names=True)
        raw = hs.load(path)
        assert set(table["frame"]) == set(range(len(raw.data)))
        # Atoms of the table are dark in the raw frames.
        edge = parameters("05_trust")["crop"]
        start = [(n - edge) // 2 for n in raw.data.shape[1:]]
        blurred = gaussian_filter(raw.data.astype(float), (0, 3, 3))
        place = [table[k].astype(int) + s for k, s in zip(("row", "column"), start)]
        at_atoms = blurred[table["frame"].astype(int), place[0], place[1]]
        assert at_atoms.mean() < blurred.mean()
        assert page.complaints == ""

    def test_without_empty_sites_it_says_what_to_change(self, tmp_path):
        with pytest.raises(papermill.PapermillExecutionError, match=r"'vacancies' is 0.*give more"):
            Executed("05_trust", tmp_path, vacancies=0)
