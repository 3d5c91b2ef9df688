# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing is lost: a training that was cut off at any moment goes on as if it had not been."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

import n2a
from n2a import training
from n2a.checkpoint import load_state, write_whole
from n2a.loop import Loop
from n2a.verdict import Judge

QUICK = {"batch": 1, "size": 32, "show_progressbar": False, "keep": True, "seed": 3}
# All networks and both optimisers have a part in it.
ADVERSARIAL = {"adversarial": 0.5, "noisy_cycle": 0.5}


@lru_cache
def series(seed=1):
    return n2a.acquire(n2a.simulate(shape=(64, 64), frames=6, seed=seed), dose=5, seed=seed)


def train(steps=6, **kwargs):
    return n2a.train(series(), max_steps=steps, **QUICK | kwargs)


@pytest.fixture(scope="module")
def whole():
    """Never cut off."""
    return train(**ADVERSARIAL)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The checkpoint of a training of two steps."""
    path = tmp_path_factory.mktemp("finished") / "run.safetensors"
    train(2, checkpoint=path)
    return path


def interrupt(monkeypatch, name, at):
    """Press Ctrl-C within step `at`, before `name` of the loop is done."""
    method = getattr(Loop, name)

    def pressing(loop, *args):
        if args[-1] == at:
            signal.raise_signal(signal.SIGINT)
        return method(loop, *args)

    monkeypatch.setattr(Loop, name, pressing)


class TestInterrupt:
    @pytest.mark.parametrize(("name", "at"), [("_critics", 2), ("_generators", 3)])
    def test_goes_on_bit_for_bit(self, name, at, whole, tmp_path, monkeypatch, caplog):
        path = tmp_path / "run.safetensors"
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            interrupt(patch, name, at)
            model = train(checkpoint=path, **ADVERSARIAL)
        assert "Interrupted at step" in caplog.text
        assert model.training["steps"] == at + 1
        assert model.verdict
        resumed = train(resume=path, **ADVERSARIAL)
        assert resumed.training["steps"] == 6
        assert resumed.digest == whole.digest
        # The losses are those of the uninterrupted run, too.
        mine, theirs = resumed.history.to_dict(), whole.history.to_dict()
        assert {k: v for k, v in mine.items() if k != "seconds"} == {
            k: v for k, v in theirs.items() if k != "seconds"
        }
        # The time that was spent before counts.
        assert mine["seconds"] == sorted(mine["seconds"])

    def test_between_two_looks(self, tmp_path, monkeypatch):
        """What an uninterrupted run does not look at is not kept as its best."""
        monkeypatch.setattr(training, "LOOKS", 1)
        whole = train(4)
        with monkeypatch.context() as patch:
            interrupt(patch, "_generators", 1)
            model = train(4, checkpoint=tmp_path / "run.safetensors")
        assert model.history["step"].tolist() == [2]
        resumed = train(4, resume=tmp_path / "run.safetensors")
        assert resumed.history["step"].tolist() == [4]
        assert resumed.digest == whole.digest

    def test_without_a_checkpoint(self, monkeypatch):
        interrupt(monkeypatch, "_generators", 1)
        model = train()
        assert model.training["steps"] == 2
        assert np.isfinite(n2a.denoise(series().inav[:2], model).data).all()

    def test_at_once_when_pressed_twice(self, finished, monkeypatch, tmp_path):
        """The step is torn then: an older checkpoint stays as it is."""
        path = tmp_path / "run.safetensors"
        path.write_bytes(finished.read_bytes())
        generators = Loop._generators

        def pressing(loop, one, rng, noise, number):
            told = generators(loop, one, rng, noise, number)
            if number == 3:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
            return told

        monkeypatch.setattr(Loop, "_generators", pressing)
        model = train(resume=path)
        assert model.training["steps"] == 3
        assert path.read_bytes() == finished.read_bytes()

    def test_again_while_the_end_is_judged(self, monkeypatch):
        fidelity = Judge.fidelity

        def pressing(judge, network):
            signal.raise_signal(signal.SIGINT)
            return fidelity(judge, network)

        interrupt(monkeypatch, "_generators", 1)
        monkeypatch.setattr(Judge, "fidelity", pressing)
        model = train()
        assert model.training["steps"] == 2
        assert model.verdict

    def test_ctrl_c_means_again_what_it_meant(self, monkeypatch):
        before = signal.getsignal(signal.SIGINT)
        interrupt(monkeypatch, "_generators", 0)
        train()
        assert signal.getsignal(signal.SIGINT) is before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


RUN = """
import sys, n2a, torch
torch.set_num_threads(int(sys.argv[2]))  # sums depend on it in their last bits
from n2a import training
training.SAVE_EVERY = 0.0
noisy = n2a.acquire(n2a.simulate(shape=(64, 64), frames=6, seed=1), dose=5, seed=1)
n2a.train(noisy, max_steps=40, batch=1, size=32, show_progressbar=False, keep=True, seed=3, checkpoint=sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on this system")
def test_kill_at_any_moment(tmp_path):
    path = tmp_path / "run.safetensors"
    process = subprocess.Popen([sys.executable, "-c", RUN, str(path), str(torch.get_num_threads())])
    try:
        seen, limit = set(), time.monotonic() + 120
        # Several checkpoints in, at a moment that nothing chooses.
        while len(seen) < 4 and process.poll() is None and time.monotonic() < limit:
            if path.exists():
                seen.add(path.stat().st_mtime_ns)
            time.sleep(0.002)
        time.sleep(np.random.default_rng().uniform(0, 0.3))
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    _, facts = load_state(path)
    assert 3 <= facts["step"] < 40
    steps = facts["step"] + 2
    # What was being written is not taken for a checkpoint, nor does it stand in the way.
    (tmp_path / f".run.safetensors.{os.getpid()}.partial").write_bytes(path.read_bytes()[:1000])
    # The schedule is that of 40 steps.
    resumed, whole = (ended(steps, **where) for where in ({"resume": path}, {}))
    assert resumed.training["steps"] == steps
    assert resumed.digest == whole.digest
    assert load_state(path)[1]["step"] == steps


def ended(at, **where):
    """A training of 40 steps that the user ends."""
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, "_generators", at - 1)
        return train(40, **where)


class TestResume:
    def test_of_a_finished_one_changes_nothing(self, finished, tmp_path):
        path = tmp_path / "copy.safetensors"
        path.write_bytes(finished.read_bytes())
        again = train(2, resume=path)
        assert again.digest == train(2).digest
        assert again.training["steps"] == 2

    def test_into_another_file(self, finished, tmp_path):
        before = finished.read_bytes()
        train(3, resume=finished, checkpoint=tmp_path / "next.safetensors")
        assert finished.read_bytes() == before
        assert load_state(tmp_path / "next.safetensors")[1]["step"] == 3

    def test_lazy_goes_on_from_memory(self, finished, tmp_path):
        models = [
            n2a.train(s, max_steps=3, resume=finished, checkpoint=tmp_path / "next", **QUICK)
            for s in (series(), series().as_lazy())
        ]
        assert models[0].digest == models[1].digest

    def test_rmsprop(self, tmp_path):
        other = {"optimiser": "rmsprop", "average": 0.0, "decay": False}
        train(1, checkpoint=tmp_path / "run", **other)
        assert train(2, resume=tmp_path / "run", **other).digest == train(2, **other).digest

    @pytest.mark.parametrize(
        ("kwargs", "what"),
        [
            ({"seed": 4}, "seed"),
            ({"batch": 2}, "settings"),
            ({"learning_rate": 2e-4}, "settings"),
            ({"preset": "paper"}, "preset"),
        ],
    )
    def test_with_other_arguments(self, finished, kwargs, what):
        before = finished.read_bytes()
        with pytest.raises(ValueError, match=f"'resume'.*another training: its {what} is"):
            train(resume=finished, **kwargs)
        assert finished.read_bytes() == before

    def test_with_other_data(self, finished):
        with pytest.raises(ValueError, match="another training: its data is"):
            n2a.train(series(2), max_steps=3, resume=finished, **QUICK)
        with pytest.raises(ValueError, match="another training: its data is"):
            n2a.train(series().inav[:5], max_steps=3, resume=finished, **QUICK)

    @pytest.mark.parametrize(
        ("kwargs", "what"),
        [
            ({"contrast": "dark"}, "plans is .*'bright'.*not .*'dark'"),
            ({"atom_width": 3.0}, "plans is .*'atom_width'.*not .*3.0"),
            ({"time_axis": None}, "time_axis is .*'time'.*not .*None"),
        ],
    )
    def test_with_data_taken_otherwise(self, finished, kwargs, what):
        with pytest.raises(ValueError, match=f"another training: its {what}"):
            train(resume=finished, **kwargs)

    def test_with_other_clear_images(self, tmp_path):
        path = tmp_path / "run.safetensors"
        first, second = (n2a.simulate(shape=(64, 64), frames=2, seed=seed) for seed in (5, 6))
        train(1, checkpoint=path, simulated=first)
        assert train(2, resume=path, simulated=first).training["steps"] == 2
        for other in (second, None):
            with pytest.raises(ValueError, match="another training: its simulated is"):
                train(2, resume=path, simulated=other)

    def test_only_what_differs_is_named(self, finished):
        with pytest.raises(ValueError, match="'resume'") as caught:
            train(resume=finished, batch=2, seed=4)
        told = str(caught.value)
        assert "its settings is {'batch': 1}, not {'batch': 2}; its seed is 3, not 4" in told
        assert "penalty" not in told

    def test_with_another_start(self, finished):
        with pytest.raises(ValueError, match="another training: its start is"):
            train(resume=finished, start=train(1))

    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="'resume'.*gone"):
            train(resume=tmp_path / "gone")

    @pytest.mark.parametrize("part", [0.0, 1e-6, 0.01, 0.5, 0.999])
    def test_truncated(self, finished, tmp_path, part):
        data = finished.read_bytes()
        path = tmp_path / "cut"
        path.write_bytes(data[: int(part * len(data))])
        with pytest.raises(ValueError, match="'resume'.*cut.*damaged"):
            train(resume=path)

    def test_flipped_bit(self, finished, tmp_path):
        data = bytearray(finished.read_bytes())
        data[-1000] ^= 1
        path = tmp_path / "flipped"
        path.write_bytes(data)
        with pytest.raises(ValueError, match="'resume'.*flipped.*damaged"):
            train(resume=path)

    @pytest.mark.parametrize("data", [b"PK\x03\x04" + bytes(500), b"\x80\x04\x95", bytes(4096)])
    def test_something_else(self, tmp_path, data):
        path = tmp_path / "else"
        path.write_bytes(data)
        with pytest.raises(ValueError, match="'resume'.*else.*damaged|not a checkpoint"):
            train(resume=path)

    def test_a_model_is_no_checkpoint(self, finished, tmp_path):
        n2a.get_model().save(tmp_path / "model.n2a")
        with pytest.raises(ValueError, match="'resume'.*not a checkpoint.*saved model"):
            train(resume=tmp_path / "model.n2a")
        with pytest.raises(ValueError, match="not a model"):
            n2a.denoise(series(), str(finished))

    def test_nothing_is_pickled(self, finished):
        data = finished.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        assert header["__metadata__"]["format"] == "n2a-training"
        assert json.loads(header["__metadata__"]["facts"])["step"] == 2

    def test_optimisers_go_on(self, finished):
        """Their memory of the gradients is in the file: without it the next step is another one."""
        tensors, _ = load_state(finished)
        moments = [v for k, v in tensors.items() if k.startswith("optimiser.generators")]
        assert moments
        assert all(torch.isfinite(v).all() for v in moments)


class TestFullDisk:
    @pytest.fixture
    def full(self):
        """Files cannot grow beyond 1 MB: a real failure of the system's write."""
        resource = pytest.importorskip("resource", reason="no limits on the size of files")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        usual = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, hard))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, usual)

    def test_training_goes_on(self, finished, full, monkeypatch, caplog):
        monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
        before = finished.read_bytes()
        with caplog.at_level(logging.WARNING):
            model = train(4, resume=finished)
        assert model.training["steps"] == 4
        assert caplog.text.count("could not be written") == 3
        assert str(finished) in caplog.text
        # The older one is whole, and goes on to the same result.
        assert finished.read_bytes() == before
        assert os.listdir(finished.parent) == [finished.name]
        assert train(4, resume=finished).digest == model.digest

    def test_an_old_file_stays_whole(self, full, tmp_path):
        path = tmp_path / "file"
        write_whole(path, b"old")
        with pytest.raises(OSError, match="too large"):
            write_whole(path, bytes(2 * 10**6))
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]

    def test_a_model_stays_whole(self, full, tmp_path):
        path = tmp_path / "own.n2a"
        path.write_bytes(b"old")
        with pytest.raises(OSError, match="too large"):
            n2a.get_model().save(path)
        assert path.read_bytes() == b"old"


class TestWriteWhole:
    def test_replaces(self, tmp_path):
        path = tmp_path / "file"
        for data in (b"first", b"second, longer", b""):
            write_whole(path, data)
            assert path.read_bytes() == data
        assert os.listdir(tmp_path) == ["file"]

    def test_takes_names(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write_whole("file", b"data")
        assert Path("file").read_bytes() == b"data"

    def test_removes_what_killed_processes_left(self, tmp_path):
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        left = tmp_path / f".file.{process.pid}.partial"
        others = [
            f".other.{process.pid}.partial",
            f".file.{os.getppid()}.partial",
            ".file.old.partial",
        ]
        for name in (left.name, *others):
            (tmp_path / name).write_bytes(b"half")
        write_whole(tmp_path / "file", b"data")
        # What is being written, and what belongs to other files, stays.
        assert set(os.listdir(tmp_path)) == {"file", *others}

    def test_no_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            write_whole(tmp_path / "gone" / "file", b"data")

    def test_a_folder_in_its_place(self, tmp_path):
        (tmp_path / "file").mkdir()
        with pytest.raises(OSError, match="file"):
            write_whole(tmp_path / "file", b"data")
        assert os.listdir(tmp_path) == ["file"]
