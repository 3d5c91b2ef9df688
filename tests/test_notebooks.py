# SPDX-License-Identifier: GPL-3.0-or-later
"""The notebooks, executed with quick parameters, on simulated and on real input."""

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


def calibration(signal) -> list[tuple]:
    axes = signal.axes_manager._axes
    return [(a.name, a.size, a.scale, a.offset, a.units, a.navigate) for a in axes]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("name", ["00_train_weights", "01_quickstart", "02_training"])
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
