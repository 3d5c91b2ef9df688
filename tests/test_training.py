# SPDX-License-Identifier: GPL-3.0-or-later
"""train(): the same seed gives the same model, its verdict is kept, and what cannot be trained on is refused."""

import json
import logging
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import hyperspy.api as hs
import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

import n2a
from n2a.model import Noise2Atom, get_model
from n2a.spot_shape import SpotShape

QUICK = {"batch": 2, "size": 48, "show_progressbar": False}
Signal2D = hs.signals.Signal2D


@lru_cache
def clean(edge=64):
    return n2a.simulate(shape=(edge, edge), frames=6, seed=1)


@lru_cache
def series(edge=64):
    return n2a.acquire(clean(edge), dose=5, seed=1)


def frames():
    return series().data.astype(np.float32)


def train(signals=None, steps=2, **kwargs):
    return n2a.train(series() if signals is None else signals, max_steps=steps, **QUICK | kwargs)


def perturbed(scale=0.02, seed=0):
    """The box with noise on its weights: there is a lot to be learnt again."""
    generator = get_model().generator
    generator = type(generator)(**generator.configuration)
    generator.load_state_dict(get_model().generator.state_dict())
    noise = torch.Generator().manual_seed(seed)
    for p in generator.parameters():
        p.requires_grad_(False).add_(scale * torch.randn(p.shape, generator=noise))
    return Noise2Atom(generator, "perturbed")


@pytest.fixture(scope="module")
def trained():
    return train(steps=4, seed=3, keep=True)


@pytest.fixture(scope="module")
def better():
    """From weights that are easily bettered."""
    return train(series(96), steps=16, start=perturbed(), learning_rate=5e-3)


class TestSame:
    def test_seed_and_steps_decide_alone(self, trained):
        assert train(steps=4, seed=3, keep=True).digest == trained.digest
        other = train(steps=4, seed=4, keep=True)
        assert other.digest != trained.digest
        # With seed 3 the best look may be that after the first step, which is one and the same.
        assert train(steps=3, seed=4, keep=True).digest != other.digest

    def test_lazy_as_in_memory(self, trained):
        lazy = series().as_lazy()
        lazy.data = lazy.data.rechunk((4, 40, 50))
        assert train(lazy, steps=4, seed=3, keep=True).digest == trained.digest

    def test_torch_s_own_random_numbers_neither_matter_nor_move(self, trained):
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        assert train(steps=4, seed=3, keep=True).digest == trained.digest
        assert torch.equal(torch.rand(3), expected)

    def test_signal_and_start_are_left_alone(self):
        signal, start = series().deepcopy(), perturbed()
        data, metadata = signal.data.copy(), signal.metadata.as_dictionary()
        before = {k: v.clone() for k, v in start.generator.state_dict().items()}
        train(signal, start=start, keep=True)
        np.testing.assert_array_equal(signal.data, data)
        assert signal.metadata.as_dictionary() == metadata
        after = start.generator.state_dict()
        assert all(torch.equal(after[k], v) for k, v in before.items())


class TestVerdict:
    def test_better(self, better):
        assert better.verdict == "better"
        assert better.training["gain"] > 2 * better.training["gain_error"] > 0
        assert better.training["after"]["upsnr"] > better.training["before"]["upsnr"]
        # It is true: nearer to the clear images than what it started from.
        truth = clean(96).data / clean(96).data.max()
        errors = []
        for model in (better, perturbed()):
            found = n2a.denoise(series(96), model).data
            errors.append(np.mean((found / 5 - truth)[:, 8:-8, 8:-8] ** 2))
        assert errors[0] < errors[1]

    def test_no_better_gives_the_start_back(self, caplog):
        spoilt = {"learning_rate": 0.01, "average": 0.0, "decay": False}
        with caplog.at_level(logging.WARNING):
            model = train(**spoilt)
        assert model.verdict in ("no better", "collapsed")
        assert model.digest == get_model().digest
        assert "started from are returned" in caplog.text
        assert model.training["words"] in caplog.text
        kept = train(keep=True, **spoilt)
        assert kept.verdict == model.verdict
        assert kept.digest != model.digest

    def test_what_is_kept_of_a_worse_training_is_its_best_look(self):
        spoilt = {"learning_rate": 0.01, "average": 0.0, "decay": False}
        kept = train(keep=True, steps=6, **spoilt)
        _, gains = kept.history.known("gain")
        assert max(gains) < 0
        assert gains[-1] < max(gains)
        assert kept.training["gain"] == pytest.approx(max(gains))

    def test_nan_is_called_collapsed_and_never_returned(self):
        model = train(steps=6, learning_rate=1e6, keep=True)
        assert model.verdict == "collapsed"
        assert "not finite" in model.training["problem"]
        assert model.training["steps"] < 6
        assert model.digest == get_model().digest
        json.dumps(model.training, allow_nan=False)

    def test_the_best_is_returned_not_the_last(self, better, monkeypatch):
        """Spoilt near its end, the training still gives what it had found before."""
        step = n2a.loop.Loop.step

        def spoiling(loop, number, done):
            told = step(loop, number, done)
            if number >= 14:
                for p in loop.average.parameters():
                    p.mul_(0)
            return told

        monkeypatch.setattr(n2a.loop.Loop, "step", spoiling)
        model = train(series(96), steps=16, start=perturbed(), learning_rate=5e-3)
        assert model.verdict == "better"
        assert model.training["gain"] > 0.5 * better.training["gain"]

    def test_record(self, trained):
        record = json.loads(json.dumps(trained.training, allow_nan=False))
        assert record == trained.training
        assert record["steps"] == 4
        assert record["seed"] == 3
        assert record["preset"] == "fast"
        assert record["settings"]["batch"] == 2
        assert record["start"] == get_model().summary()
        assert record["n2a"] == n2a.__version__
        assert len(record["data"]) == 1
        assert record["plans"][0]["contrast"] == "bright"
        assert trained.history["step"].tolist() == [1, 2, 3, 4]
        # The neighbour that is hidden may be one that the window lacks.
        assert np.isfinite(trained.history["neighbour"]).any()
        for name in ("pairs", "css", "gain"):
            assert np.isfinite(trained.history[name]).all()

    def test_saved_and_loaded(self, trained, tmp_path):
        trained.save(tmp_path / "own.n2a")
        loaded = Noise2Atom.load(tmp_path / "own.n2a")
        assert loaded.digest == trained.digest
        assert loaded.verdict == trained.verdict
        assert loaded.training == trained.training
        assert loaded.history.to_dict() == trained.history.to_dict()

    def test_numpy_numbers_are_taken(self, tmp_path):
        model = train(steps=1, seed=np.int64(3), batch=np.int32(2), learning_rate=np.float32(1e-4))
        model.save(tmp_path / "own.n2a")
        assert model.training["seed"] == 3

    def test_denoises(self, better):
        d = series(96).n2a.denoise(better)
        truth = clean(96).data
        assert d.data.shape == truth.shape
        for found, wanted in zip(d.data, truth, strict=True):
            assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.8
        assert d.metadata.n2a.denoising.model_digest == better.digest


class TestSeries:
    def test_several(self):
        several = [series(), series().inav[:4].isig[:56, :48]]
        model = train(several, steps=4)
        assert model.verdict in ("better", "no better")
        assert len(model.training["data"]) == len(model.training["features"]) == 2
        assert model.training["before"]["whiteness"] is not None

    def test_time_among_other_axes(self):
        s = Signal2D(np.stack([frames(), frames()[::-1]]))
        s.axes_manager[0].name = "time"
        model = train(s)
        assert model.verdict in ("better", "no better")
        # Without time there is no neighbour that a held-out frame could judge.
        assert train(s, time_axis=None).verdict == "not judged"

    @pytest.mark.parametrize("shape", [(), (2,)])
    def test_too_few_frames_to_judge(self, shape, tmp_path):
        model = train(Signal2D(frames()[: int(np.prod(shape))].reshape(*shape, 64, 64)))
        assert model.verdict == "not judged"
        assert model.digest != get_model().digest
        json.dumps(model.training, allow_nan=False)
        model.save(tmp_path / "own.n2a")
        assert Noise2Atom.load(tmp_path / "own.n2a").verdict == "not judged"

    def test_dark_atoms(self):
        model = train(Signal2D(60 - frames()))
        assert model.verdict in ("better", "no better")
        assert model.training["plans"][0]["contrast"] == "dark"
        bright = train()
        # The same atoms, upside down: they are as high, and as many.
        dark, bright = model.training["features"][0], bright.training["features"][0]
        assert dark["height"] == pytest.approx(bright["height"], rel=0.25)

    @pytest.mark.parametrize("where", [np.s_[:, :, :7], np.s_[2]])
    def test_nan(self, where):
        data = frames()
        data[where] = np.nan
        model = train(Signal2D(data), keep=True)
        assert model.verdict in ("better", "no better")
        assert np.isfinite(model.history["neighbour"]).all()
        assert all(torch.isfinite(p).all() for p in model.generator.parameters())

    @pytest.mark.parametrize("shape", [(16, 16), (20, 64)])
    def test_small_frames(self, shape):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # so few pixels tell little of the atoms
            model = train(Signal2D(frames()[:, 8 : 8 + shape[0], : shape[1]]))
        assert model.training["settings"]["size"] == 16

    def test_frames_smaller_than_a_patch(self):
        model = train(series().isig[8:56, 8:48], atom_width=4.0)
        assert model.training["settings"]["size"] == 16
        assert model.verdict in ("better", "no better")

    def test_a_width_that_is_given_is_that_of_the_pairs(self):
        model = train(series(), atom_width=3.0)
        factor = model.training["plans"][0]["factor"]
        spot = SpotShape(**model.training["features"][0]["spot"])
        assert spot.width == pytest.approx(3.0 / factor)
        assert spot.width != pytest.approx(
            SpotShape(**train(series()).training["features"][0]["spot"]).width, rel=0.02
        )

    @pytest.mark.parametrize("dtype", [">i2", "float64"])
    def test_dtypes(self, dtype, trained):
        signal = series().deepcopy()
        signal.change_dtype(dtype)
        # Only the fingerprint is of the data as they are stored.
        assert train(signal, steps=4, seed=3, keep=True).digest == trained.digest


class TestBudget:
    def test_time(self):
        began = time.perf_counter()
        model = n2a.train(series(), max_time=1.0, **QUICK)
        assert time.perf_counter() - began < 20
        assert 1 <= model.training["seconds"] < 10
        assert model.training["steps"] > 0
        seconds = model.history["seconds"]
        assert (np.diff(seconds) > 0).all()

    def test_whichever_comes_first(self):
        assert n2a.train(series(), max_time=600, max_steps=2, **QUICK).training["steps"] == 2
        assert n2a.train(series(), max_time=0.2, max_steps=10**6, **QUICK).training["steps"] < 1000


class TestWatch:
    def test_sees_every_step_and_what_was_found(self):
        seen, patches = {}, []

        def watch(progress):
            seen[progress.at[0]] = progress.done
            patches.append(progress.images)

        model = train(steps=4, keep=True, watch=watch)
        assert seen == {1: 0.25, 2: 0.5, 3: 0.75, 4: 1.0}
        before, after = patches[-1]
        assert before.shape == after.shape
        assert before.std() > after.std() > 0  # noisy, and denoised
        # It looks on only.
        assert model.digest == train(steps=4, keep=True).digest

    def test_ends_the_training_with_a_verdict_from_any_thread(self):
        asked = threading.Event()

        def watch(progress):
            if progress.at[0] == 3:
                asked.set()
            return asked.is_set()

        with ThreadPoolExecutor(1) as pool:
            model = pool.submit(train, steps=10**6, keep=True, watch=watch).result(timeout=120)
        assert model.training["steps"] == 3
        assert model.verdict in ("better", "no better")
        assert len(model.history)

    def test_what_fails_in_it_does_not_cost_the_training(self):
        def watch(progress):
            raise OSError("the browser is gone")

        with pytest.warns(RuntimeWarning, match="training goes on: OSError: the browser is gone"):
            assert train(steps=2, watch=watch).training["steps"] == 2

    @pytest.mark.parametrize("answer", [True, np.True_])
    def test_any_kind_of_true_ends_it(self, answer):
        assert train(steps=5, watch=lambda progress: answer).training["steps"] == 1

    def test_ctrl_c_within_it_costs_nothing(self):
        def watch(progress):
            if progress.at[0] == 2:
                raise KeyboardInterrupt

        model = train(steps=5, keep=True, watch=watch)
        assert model.training["steps"] == 2
        assert model.verdict


class TestLosses:
    @pytest.mark.parametrize("changes", [{}, {"divergence": True, "support": False}])
    def test_all_at_once(self, changes):
        names = ("noisy_cycle", "clean_cycle", "identity", "adversarial", "adversarial_noise")
        model = train(steps=3, keep=True, critic_steps=2, **dict.fromkeys(names, 0.5), **changes)
        for name in (*names, "pairs", "neighbour", "critic", "noise_critic"):
            assert np.isfinite(model.history[name]).all(), name
        assert model.digest != get_model().digest

    def test_left_out(self):
        assert "pairs" not in train(pairs=0.0).history.to_dict()
        assert "neighbour" not in train(neighbour=0.0).history.to_dict()

    def test_each_one_matters(self):
        names = "neighbour", "noisy_cycle", "clean_cycle", "identity", "adversarial"
        others = [train(steps=3, keep=True, **{name: 0.5}).digest for name in names]
        assert len({train(steps=3, keep=True).digest, *others}) == 6

    def test_paper_with_a_critic_of_noise(self):
        model = train(
            preset="paper", batch=1, size=24, critic_steps=1, adversarial_noise=0.01, steps=1
        )
        assert np.isfinite(model.history["noise_critic"]).all()

    def test_paper(self, tmp_path):
        model = train(preset="paper", batch=1, critic_steps=1, keep=True)
        assert model.generator.window == 1
        for name in ("critic", "noisy_cycle", "clean_cycle", "adversarial"):
            assert np.isfinite(model.history[name]).all(), name
        model.save(tmp_path / "paper.n2a")
        loaded = Noise2Atom.load(tmp_path / "paper.n2a")
        assert loaded.digest == model.digest
        image = series().inav[2]
        d = image.n2a.denoise(loaded)
        assert d.data.shape == image.data.shape
        assert np.isfinite(d.data).all()
        # Two steps make no denoiser: without keep the weights in the box come back.
        assert model.verdict in ("no better", "collapsed")


class TestOwnImages:
    def test_are_used(self):
        own = train(simulated=clean(), keep=True)
        assert np.isfinite(own.history["pairs"]).all()
        assert own.digest != train(keep=True).digest
        scaled = clean().deepcopy()
        scaled.data = 1000 * scaled.data
        # Their intensity is arbitrary.
        np.testing.assert_allclose(
            train(simulated=scaled, keep=True).history["pairs"], own.history["pairs"], atol=0.01
        )

    def test_lazy_and_of_any_number(self):
        digest = train(simulated=clean(), keep=True).digest
        assert train(simulated=clean().as_lazy(), keep=True).digest == digest
        assert train(simulated=clean().inav[0]).verdict

    def test_too_small(self):
        with pytest.raises(ValueError, match="'simulated'.*40 x 64 px.*at least"):
            train(simulated=clean().isig[:40, :])

    def test_of_another_scale(self):
        fine = n2a.simulate(shape=(256, 256), frames=1, scale=0.003, seed=1)
        with pytest.raises(ValueError, match="'simulated' shows atoms of .* px.*same scale"):
            train(simulated=fine)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_not_finite(self, value):
        bad = clean().deepcopy()
        bad.data[0, 3, 3] = value
        with pytest.raises(ValueError, match="'simulated' must be finite"):
            train(simulated=bad)

    def test_empty_of_atoms(self):
        with pytest.raises(ValueError, match="'simulated'.*atoms"):
            train(simulated=Signal2D(np.zeros((2, 64, 64))))

    def test_no_signal(self):
        with pytest.raises(TypeError, match="'simulated'.*HyperSpy"):
            train(simulated=clean().data)
        with pytest.raises(ValueError, match="'simulated'.*two signal axes"):
            train(simulated=hs.signals.Signal1D(np.ones((3, 96))))

    def test_are_recorded(self):
        assert train(steps=1).training["simulated"] is None
        assert train(steps=1, simulated=clean()).training["simulated"]

    def test_noise(self):
        noise = Signal2D(np.random.default_rng(0).normal(size=(6, 64, 64)))
        with pytest.raises(ValueError, match="'simulated' shows no atoms.*simulate_like"):
            train(simulated=noise)

    @pytest.mark.parametrize("dose", [5, 50])
    def test_noisy(self, dose):
        with pytest.raises(ValueError, match="'simulated' is noisy.*expected clear"):
            train(simulated=n2a.acquire(clean(), dose=dose, seed=1))

    def test_dark(self):
        with pytest.raises(ValueError, match="'simulated' shows dark atoms.*invert"):
            train(simulated=Signal2D(clean().data.max() - clean().data))

    def test_magnified(self):
        large = zoom(clean().data, (1, 2.5, 2.5), order=3)
        with pytest.raises(ValueError, match="'simulated' shows atoms of .* px.*same scale"):
            train(simulated=Signal2D(large))
        with pytest.raises(ValueError, match="'simulated' shows atoms of .* px.*same scale"):
            train(simulated=Signal2D(large[:, 48:112, 48:112]))

    def test_of_another_pixel_size(self):
        other = clean().deepcopy()
        for axis in other.axes_manager.signal_axes:
            axis.scale *= 2
        with pytest.raises(
            ValueError, match="'simulated' has pixels of .* nm, the series of .* nm"
        ):
            train(simulated=other)

    def test_a_hot_pixel_decides_nothing(self):
        hot = clean().deepcopy()
        hot.data[0, 5, 5] = 100 * hot.data.max()
        found, expected = (train(simulated=one, keep=True).history for one in (hot, clean()))
        # The noise that is drawn is not quite the same.
        np.testing.assert_allclose(found["pairs"], expected["pairs"], atol=0.05)

    @pytest.mark.parametrize("structure", ["2d", "atoms"])
    @pytest.mark.parametrize("scale", [0.02, 0.05])
    def test_narrow_atoms_are_no_noise(self, structure, scale):
        atoms = n2a.simulate(shape=(96, 96), frames=4, scale=scale, structure=structure, seed=3)
        assert train(n2a.acquire(atoms, dose=8, seed=1), steps=1, simulated=atoms).verdict


class TestRefused:
    @pytest.mark.parametrize(
        ("kwargs", "error", "message"),
        [
            ({"low_pass": -1}, ValueError, "'low_pass'.*0 or more.*-1"),
            ({"preset": "slow"}, ValueError, "'preset'.*'fast', 'paper'.*'slow'"),
            ({"learning_speed": 1}, TypeError, "'learning_speed'.*learning_rate"),
            ({"batch": 0}, ValueError, "'batch'.*0"),
            ({"size": 10}, ValueError, "'size'.*10"),
            ({"batch": 1.5}, ValueError, "'batch'.*1.5"),
            ({"learning_rate": -1}, ValueError, "'learning_rate'.*-1"),
            ({"adversarial": np.nan}, ValueError, "'adversarial'.*nan"),
            ({"average": 1.0}, ValueError, "'average'.*1.0"),
            ({"optimiser": "sgd"}, ValueError, "'optimiser'.*'adam'.*'sgd'"),
            ({"pairs": 0, "neighbour": 0}, ValueError, "no loss"),
            ({"seed": -1}, ValueError, "'seed'.*-1"),
            ({"seed": 0.5}, ValueError, "'seed'.*0.5"),
            ({"seed": 2**70}, ValueError, "'seed'.*2..64 - 1"),
            ({"atom_width": "3"}, ValueError, "'atom_width'.*'3'"),
            ({"preset": ["fast"]}, ValueError, r"'preset'.*\['fast'\]"),
            ({"fabric": "x"}, TypeError, "'fabric'.*Fabric.*'x'"),
            ({"divergence": "no"}, TypeError, "'divergence'.*True or False.*'no'"),
            ({"support": "no"}, TypeError, "'support'.*True or False.*'no'"),
            ({"decay": 1}, TypeError, "'decay'.*True or False.*1"),
            ({"keep": "no"}, TypeError, "'keep'.*True or False.*'no'"),
            (
                {"low_pass": 30, "noisy_cycle": 0.1},
                ValueError,
                "px.*larger than 60 px.*'low_pass' of less than 16 px",
            ),
            (
                {"size": 16, "noisy_cycle": 0.1},
                ValueError,
                "16 px.*larger than 16 px.*noisy_cycle=0",
            ),
            ({"size": 16, "adversarial_noise": 0.1}, ValueError, "16 px.*adversarial_noise=0"),
            ({"size": 16, "atom_width": 30.0}, ValueError, "16 px.*'atom_width'"),
            (
                {
                    "preset": "paper",
                    "neighbour": 1,
                    "noisy_cycle": 0,
                    "clean_cycle": 0,
                    "identity": 0,
                    "adversarial": 0,
                },
                ValueError,
                "'neighbour' is the only loss.*one frame.*another loss",
            ),
            ({"max_time": -1}, ValueError, "'max_time'.*-1"),
            ({"contrast": "darkish"}, ValueError, "'contrast'.*'darkish'"),
            ({"atom_width": 0}, ValueError, "'atom_width'"),
            ({"time_axis": "scan"}, ValueError, "'time_axis'"),
            ({"device": "abacus"}, ValueError, "'device'"),
            ({"start": 7}, ValueError, "'model'"),
            ({"start": "gone.n2a"}, FileNotFoundError, "gone.n2a"),
            ({"checkpoint": "gone/run.safetensors"}, FileNotFoundError, "'checkpoint'.*'gone'"),
            ({"checkpoint": ""}, IsADirectoryError, "'checkpoint' is ''.*name of a file"),
            ({"checkpoint": "."}, IsADirectoryError, "'checkpoint' is '.'.*name of a file"),
            ({"checkpoint": 3}, TypeError, "'checkpoint'.*3"),
            ({"resume": ""}, FileNotFoundError, "'resume'.*''"),
            ({"resume": "."}, FileNotFoundError, "'resume'.*'.'"),
            ({"resume": 3}, TypeError, "'resume'.*3"),
        ],
    )
    def test_wrong_values(self, kwargs, error, message):
        with pytest.raises(error, match=message):
            train(**kwargs)

    @pytest.mark.parametrize("steps", [0, -3, "4", 2.5, True])
    def test_no_steps(self, steps):
        with pytest.raises(ValueError, match="'max_steps'"):
            train(steps=steps)

    def test_nothing(self):
        with pytest.raises(ValueError, match="'signals' is empty"):
            train([])

    @pytest.mark.parametrize("data", [np.ones((3, 96, 96)), [np.ones((3, 96, 96))], "series.hspy"])
    def test_no_signal(self, data):
        with pytest.raises(TypeError, match="HyperSpy signal"):
            train(data)

    def test_no_images(self):
        with pytest.raises(ValueError, match="two signal axes"):
            train(hs.signals.Signal1D(np.ones((3, 96))))
        with pytest.raises(ValueError, match="constant"):
            train(Signal2D(np.ones((3, 96, 96))))

    @pytest.mark.filterwarnings("ignore:nothing of the size of atoms", "ignore:the signals are of")
    def test_no_atoms(self):
        empty = Signal2D(np.random.default_rng(0).poisson(5.0, (6, 96, 96)))
        with pytest.raises(ValueError, match="no atoms.*signal 0"):
            train(empty)
        with pytest.raises(ValueError, match="no atoms.*signal 1"):
            train([series(), empty], contrast="bright", atom_width=4.0)

    def test_mixed_contrast(self):
        with pytest.raises(ValueError, match="mix bright and dark.*signal 1"):
            train([series(), Signal2D(60 - frames())])

    def test_mixed_noise_is_warned_of(self):
        with pytest.warns(
            UserWarning, match="different acquisitions: noise of signal 1 is 10 times"
        ):
            train([series(), Signal2D(10 * frames())], steps=1)


class TestNeighboursAlone:
    def test_patches_without_one(self):
        """Where nothing of the neighbours was measured there is nothing to learn, and nothing breaks."""
        holed = frames().copy()
        holed[[0, 2, 4]] = np.nan
        model = train(Signal2D(holed), steps=6, pairs=0, batch=1)
        assert model.training["steps"] == 6

    def test_no_neighbours_at_all(self):
        with pytest.raises(ValueError, match=r"only loss.*expected a series.*pairs=1"):
            train(Signal2D(frames()[0]), pairs=0)
        with pytest.raises(ValueError, match="only loss"):
            train(pairs=0, time_axis=None)


def test_blanked_frames():
    """Those beside the frame that is usually held out hold nothing: another one is."""
    blanked = frames().copy()
    blanked[[2, 4]] = 5
    assert train(Signal2D(blanked)).verdict in ("better", "no better")
    # Nowhere two in a row: that is said, and no training is lost over it.
    blanked[0] = 5
    assert train(Signal2D(blanked[:5])).verdict == "not judged"


class TestLostFrames:
    """A frame that was not recorded costs neither the training nor the verdict."""

    @pytest.mark.parametrize("value", [0, np.nan])
    def test_the_one_that_would_be_held_out(self, value):
        data = frames()
        data[3] = value
        assert train(Signal2D(data)).verdict in ("better", "no better")

    @pytest.mark.parametrize("count", [1, 3])
    def test_the_middle_one_where_none_is_held_out(self, count):
        data = frames()[:count].copy()
        data[count // 2, :40] = np.nan
        if count > 1:
            data[count // 2] = 0
        assert train(Signal2D(data)).verdict in ("not judged", "no better")

    def test_other_axes_of_which_the_first_line_is_empty(self):
        data = np.stack([np.full((6, 64, 64), np.nan), frames()])
        model = train(Signal2D(data), time_axis=0)
        assert model.training["features"][0]["atoms"] > 10


def test_hot_pixels_do_not_decide():
    """Four pixels at 1000 counts in every frame; the brightest columns have 5."""
    data = series(96).data.astype(np.float32)
    data[:, [10, 31, 55, 80], [70, 22, 41, 8]] = 1000
    model = train(Signal2D(data), steps=6, keep=True)
    assert model.history["neighbour"].max() < 2
    assert abs(model.training["gain"]) < 0.1


def test_a_start_that_sees_one_frame_is_judged():
    start = train(preset="paper", steps=1, size=32, batch=1, keep=True)
    model = train(preset="paper", start=start, steps=1, size=32, batch=1)
    assert model.verdict in ("better", "no better", "collapsed")
    # With nothing held out it is at least seen that random weights show no atoms.
    assert (
        train(Signal2D(frames()[:2]), preset="paper", steps=1, size=32, batch=1).verdict
        == "collapsed"
    )


def test_acquisitions_mixed_within_a_signal_are_warned_of():
    with pytest.warns(UserWarning, match=r"noise within signal 0 changes by a factor of 1\d"):
        train(Signal2D(np.concatenate([frames()[:3], 10 * series(64).data[3:]])))


def test_an_unknown_time_axis_is_told():
    with pytest.warns(UserWarning, match="which axis of signal 0 is time.*'time_axis'"):
        model = train(Signal2D(np.stack([frames(), frames()[::-1]])))
    assert "'time_axis'" in model.training["words"]


def test_the_processor_s_handling_of_tiny_numbers_is_left_alone():
    train(steps=1)
    assert np.float64(5e-324) * 1.0 > 0
