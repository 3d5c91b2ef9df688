# SPDX-License-Identifier: GPL-3.0-or-later
"""Models on disk: what comes back, and what is refused."""

import json
import os
import struct
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import n2a
from n2a.generator import Generator
from n2a.model import BOX, FORMAT, VERSION, Noise2Atom, get_model

TRAINING = {"steps": 12, "recipe": {"peak": [0.5, 20.0]}, "command": "papermill ...", "date": None}


@pytest.fixture
def model():
    torch.manual_seed(3)
    generator = Generator(window=3, widths=[8, 16], blocks=[1, 1])
    with torch.no_grad():
        for p in generator.parameters():
            p.normal_()
    return Noise2Atom(generator, "tiny", TRAINING)


@pytest.fixture
def path(model, tmp_path):
    model.save(tmp_path / "tiny.n2a")
    return tmp_path / "tiny.n2a"


def weights(model):
    return {k: v.numpy() for k, v in model.generator.state_dict().items()}


def rewrite(path, *, metadata=None, description=None):
    """Change the header of a model file, as a version from before digests or another hand would."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    del header["__metadata__"]["digest"]
    if description:
        old = json.loads(header["__metadata__"]["description"])
        new = {k: v for k, v in {**old, **description}.items() if v is not None}
        header["__metadata__"]["description"] = json.dumps(new)
    for key, value in (metadata or {}).items():
        header["__metadata__"].pop(key)
        if value is not None:
            header["__metadata__"][key] = value
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


class TestRoundTrip:
    def test_bit_for_bit(self, model, path):
        again = Noise2Atom.load(path)
        before, after = weights(model), weights(again)
        assert before.keys() == after.keys()
        for name in before:
            assert before[name].tobytes() == after[name].tobytes()
        assert (again.name, again.training) == ("tiny", TRAINING)
        assert again.generator.configuration == model.generator.configuration
        assert again.digest == model.digest

    def test_same_result(self, model, path):
        frames, valid = torch.randn(1, 3, 16, 24), torch.ones(1, 3, 16, 24)
        curvature = torch.tensor([0.3])
        with torch.inference_mode():
            first, second = (
                m.generator(frames, valid, curvature) for m in (model, Noise2Atom.load(path))
            )
        np.testing.assert_array_equal(first, second)

    def test_saving_replaces(self, model, path):
        other = Noise2Atom(Generator(**model.generator.configuration), "other")
        other.save(path)
        assert Noise2Atom.load(path).digest == other.digest != model.digest
        assert os.listdir(path.parent) == [path.name]

    def test_half_precision(self, model, path, tmp_path):
        model.save(tmp_path / "half.n2a", half=True)
        assert (tmp_path / "half.n2a").stat().st_size < 0.65 * path.stat().st_size
        again = Noise2Atom.load(tmp_path / "half.n2a")
        for name, value in weights(again).items():
            assert value.dtype == np.float32
            np.testing.assert_allclose(value, weights(model)[name], rtol=1e-3, atol=1e-6)

    def test_strings_and_paths(self, path):
        assert Noise2Atom.load(str(path)).digest == Noise2Atom.load(path).digest

    def test_digest_tells_models_apart(self, model):
        other = Generator(**model.generator.configuration)
        other.load_state_dict(model.generator.state_dict())
        same = Noise2Atom(other, "another name")
        assert same.digest == model.digest
        assert len(same.digest) == 64
        changed = Generator(**model.generator.configuration)
        changed.load_state_dict(model.generator.state_dict())
        with torch.no_grad():
            next(changed.parameters()).view(-1)[0] += 1e-6
        assert Noise2Atom(changed).digest != model.digest

    def test_summary_is_what_provenance_takes(self, model):
        assert model.summary() == {"model": "tiny", "model_digest": model.digest}

    def test_repr(self, model):
        assert repr(model).startswith("Noise2Atom('tiny', window of 3 frames, 0.0")

    def test_ready_to_infer(self, path):
        generator = Noise2Atom.load(path).generator
        assert not generator.training
        assert not any(p.requires_grad for p in generator.parameters())


class TestFailedSave:
    """An old file survives whatever goes wrong, and nothing is left beside it."""

    def check(self, path, old):
        assert path.read_bytes() == old
        assert os.listdir(path.parent) == [path.name]

    def test_values_that_json_does_not_know(self, model, path):
        old = path.read_bytes()
        model.training["network"] = object()
        with pytest.raises(TypeError):
            model.save(path)
        self.check(path, old)

    @pytest.mark.skipif(sys.platform == "win32", reason="no limits on the size of files")
    def test_full_disk(self, model, path):
        import resource

        old = path.read_bytes()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) // 2, limits[1]))
        try:
            with pytest.raises(OSError):  # noqa: PT011
                model.save(path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        self.check(path, old)

    def test_a_folder_in_the_way(self, model, tmp_path):
        (tmp_path / "taken").mkdir()
        with pytest.raises(OSError, match="'path'.*taken.*name of a file"):
            model.save(tmp_path / "taken")
        assert os.listdir(tmp_path) == ["taken"]

    def test_no_such_folder(self, model, tmp_path):
        with pytest.raises(FileNotFoundError, match="'path'.*no folder.*nowhere") as caught:
            model.save(tmp_path / "nowhere" / "tiny.n2a")
        assert "partial" not in str(caught.value)

    @pytest.mark.skipif(
        not os.path.isdir("/proc/self"), reason="a folder that not even root can write to"
    )
    def test_a_folder_that_cannot_be_written_to(self, model):
        with pytest.raises(
            OSError, match="'path'.*nothing can be written.*/proc/self'.*another"
        ) as caught:
            model.save("/proc/self/tiny.n2a")
        assert "partial" not in str(caught.value)

    def test_no_name(self, model, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for empty in ("", "."):
            with pytest.raises(OSError, match="'path'.*name of a file"):
                model.save(empty)
        with pytest.raises(TypeError, match="'path'.*None"):
            model.save(None)
        assert os.listdir(tmp_path) == []


class TestRefused:
    @pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 9000, -1])
    def test_cut_short(self, path, keep):
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(ValueError, match="'model'.*tiny.n2a.*(damaged|cut short).*again"):
            Noise2Atom.load(path)

    @pytest.mark.parametrize("place", [1, 1000, 3000])
    def test_flipped_bit(self, path, place):
        data = bytearray(path.read_bytes())
        data[-place] ^= 4
        path.write_bytes(data)
        with pytest.raises(ValueError, match="'model'.*tiny.n2a.*damaged.*again"):
            Noise2Atom.load(path)

    def test_changed_header(self, path):
        data = path.read_bytes()
        assert data.count(b"tiny") == 1
        path.write_bytes(data.replace(b"tiny", b"tinx"))
        with pytest.raises(ValueError, match="'model'.*tiny.n2a.*damaged.*again"):
            Noise2Atom.load(path)

    def test_without_a_digest(self, model, path):
        """Files from before it was written."""
        rewrite(path)
        assert Noise2Atom.load(path).digest == model.digest

    @pytest.mark.parametrize(
        "content",
        [b"%PDF-1.7 not a model at all", b"\x00" * 64, b"\xff" * 64, b"PK\x03\x04" + b"x" * 99],
    )
    def test_other_files(self, tmp_path, content):
        (tmp_path / "other.n2a").write_bytes(content)
        with pytest.raises(ValueError, match="not a safetensors file"):
            Noise2Atom.load(tmp_path / "other.n2a")

    def test_torch_checkpoint(self, model, tmp_path):
        # Pickles are not opened: they could run anything.
        torch.save(model.generator.state_dict(), tmp_path / "weights.pt")
        with pytest.raises(ValueError, match="not a safetensors file"):
            Noise2Atom.load(tmp_path / "weights.pt")

    @pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
    def test_foreign_safetensors(self, tmp_path, metadata):
        save_file({"conv.weight": torch.zeros(3, 3)}, tmp_path / "foreign.safetensors", metadata)
        with pytest.raises(ValueError, match="not a model written by n2a.*Noise2Atom.save"):
            Noise2Atom.load(tmp_path / "foreign.safetensors")

    def test_future_version(self, path):
        rewrite(path, metadata={"version": str(VERSION + 1)})
        with pytest.raises(ValueError, match=f"version {VERSION + 1}.*update n2a"):
            Noise2Atom.load(path)

    @pytest.mark.parametrize("version", [None, "new", "1.5", ""])
    def test_unreadable_version(self, path, version):
        rewrite(path, metadata={"version": version})
        with pytest.raises(ValueError, match="'model'.*tiny.n2a"):
            Noise2Atom.load(path)

    @pytest.mark.parametrize("key", ["name", "generator", "training"])
    def test_incomplete_description(self, path, key):
        rewrite(path, description={key: None})
        with pytest.raises(ValueError, match="'model'.*tiny.n2a.*(damaged|another version)"):
            Noise2Atom.load(path)

    @pytest.mark.parametrize(
        "generator",
        [{"window": 5}, {"depth": 9}, {"widths": []}, {"widths": "ab"}, {"blocks": [1]}, [], 7],
    )
    def test_description_of_another_network(self, path, generator):
        rewrite(path, description={"generator": generator})
        with pytest.raises(ValueError, match="'model'.*tiny.n2a.*do not fit"):
            Noise2Atom.load(path)

    def test_no_description(self, path):
        rewrite(path, metadata={"description": "{"})
        with pytest.raises(ValueError, match="'model'.*tiny.n2a"):
            Noise2Atom.load(path)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_weights_that_are_not_finite(self, model, tmp_path, value):
        with torch.no_grad():
            next(model.generator.parameters())[0, 0, 0, 0] = value
        model.save(tmp_path / "broken.n2a")
        with pytest.raises(ValueError, match="not finite"):
            Noise2Atom.load(tmp_path / "broken.n2a")

    def test_missing(self, tmp_path):
        for missing in (tmp_path / "no.n2a", tmp_path):
            with pytest.raises(FileNotFoundError, match="'model'.*no file.*Noise2Atom.save"):
                Noise2Atom.load(missing)


class TestGetModel:
    def test_box(self):
        box = get_model()
        assert box.name in BOX
        assert get_model("fast").digest == box.digest
        assert get_model(None) is box  # read once per process
        assert box.generator.window == 5
        assert all(torch.isfinite(p).all() for p in box.generator.parameters())
        assert json.loads(json.dumps(box.training)) == box.training

    def test_paths_and_models(self, model, path):
        assert get_model(model) is model
        assert get_model(path).digest == get_model(str(path)).digest == model.digest

    def test_a_file_that_changes_is_read_again(self, model, path):
        old = get_model(path).digest
        get_model().save(path)
        assert get_model(path).digest == get_model().digest != old

    def test_relative_paths(self, model, path, monkeypatch):
        monkeypatch.chdir(path.parent)
        assert get_model("tiny.n2a").digest == model.digest

    @pytest.mark.parametrize("name", ["paper", "fast.n2a", "nowhere/model.n2a"])
    def test_unknown_name(self, name, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(FileNotFoundError, match=f"'model'.*{name}.*weights in the box"):
            get_model(name)

    @pytest.mark.parametrize("value", [3, 2.5, True, b"fast", ["fast"], torch.nn.Identity()])
    def test_other_types(self, value):
        with pytest.raises(
            ValueError, match=f"'model' is a {type(value).__name__}.*fast.*Noise2Atom"
        ):
            get_model(value)

    def test_public_names(self, path):
        assert n2a.Noise2Atom is Noise2Atom
        assert n2a.get_model(path).name == "tiny"

    def test_file_says_what_it_is(self, path):
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        assert metadata["format"] == FORMAT
        assert int(metadata["version"]) == VERSION
        assert json.loads(metadata["description"])["training"] == TRAINING
