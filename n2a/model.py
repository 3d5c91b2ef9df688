# SPDX-License-Identifier: GPL-3.0-or-later
"""A trained model: a generator and how it came to be, in one safetensors file."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from n2a.checkpoint import check_target, read_tensors, write_tensors
from n2a.generator import Generator, PaperClear, make_generator

if TYPE_CHECKING:
    from n2a.history import History

FORMAT = "n2a-model"
VERSION = 1
BOX = ("fast",)


class Noise2Atom:
    """A generator with its name and its history.

    Parameters
    ----------
    generator
        The network.
    name
        Short name, recorded in the metadata of everything that it denoises.
    training
        How it was trained: JSON-compatible values only.

    Examples
    --------
    >>> from n2a.model import get_model
    >>> get_model()
    Noise2Atom('fast', window of 5 frames, 1.16 M parameters)
    """

    def __init__(
        self, generator: Generator | PaperClear, name: str = "unnamed", training: dict | None = None
    ):
        # One layout from the start: sums over another one differ in their last bits.
        self.generator = generator.float().cpu().to(memory_format=torch.channels_last)
        self.generator.eval().requires_grad_(False)
        self.name = name
        self.training = dict(training or {})

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.generator.parameters()) / 1e6
        window = self.generator.window
        return f"Noise2Atom({self.name!r}, window of {window} frames, {count:.2f} M parameters)"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the network's configuration and weights."""
        total = hashlib.sha256(json.dumps(self.generator.configuration, sort_keys=True).encode())
        for name, tensor in sorted(self.generator.state_dict().items()):
            total.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return total.hexdigest()

    @property
    def verdict(self) -> str:
        """What the training found: "better", "no better", "collapsed" or "not judged"; "" where it was not asked."""
        return self.training.get("verdict", "")

    @property
    def history(self) -> History:
        """What was recorded while it was trained."""
        from n2a.history import History

        recorded = self.training.get("history")
        return History.from_dict(recorded) if recorded else History()

    def summary(self) -> dict[str, str]:
        """What provenance records of a model."""
        return {"model": self.name, "model_digest": self.digest}

    def save(self, path: str | os.PathLike, *, half: bool = False) -> None:
        """Write the model to one file; an existing file is replaced only by a whole one.

        Parameters
        ----------
        path
            File name; ``.n2a`` or ``.safetensors`` are customary.
        half
            Round the weights to half precision: half the size.

        Raises
        ------
        FileNotFoundError, IsADirectoryError, PermissionError
            If there is no such folder, `path` is one, or nothing can be written there.
        """
        check_target("path", path)
        description = {
            "name": self.name,
            "generator": self.generator.configuration,
            "training": self.training,
        }
        dtype = torch.float16 if half else torch.float32
        write_tensors(
            path,
            {k: v.cpu().to(dtype).contiguous() for k, v in self.generator.state_dict().items()},
            {"format": FORMAT, "version": str(VERSION), "description": json.dumps(description)},
        )

    @classmethod
    def load(cls, path: str | os.PathLike) -> Noise2Atom:
        """Read a model that :meth:`save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged, cut short, or not a model of this package.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"'model': there is no file {str(path)!r}; pass the path of a file "
                                    "written by Noise2Atom.save, or None for the weights in the box")  # fmt: skip
        return cls._parse(path.read_bytes(), str(path))

    @classmethod
    def _parse(cls, data: bytes, source: str) -> Noise2Atom:
        try:
            tensors, header = read_tensors(data)
        except ValueError as error:
            raise ValueError(
                f"'model': {source!r} is {error}; copy or download it again, or train a new one"
            ) from error
        if header.get("format") != FORMAT:
            raise ValueError(f"'model': {source!r} holds tensors, but is not a model written by n2a; "
                             "expected a file from Noise2Atom.save")  # fmt: skip
        version = header.get("version", "")
        if version.isdecimal() and int(version) > VERSION:
            raise ValueError(f"'model': {source!r} has format version {version}, this n2a reads up to "
                             f"{VERSION}; update n2a")  # fmt: skip
        try:
            description = json.loads(header["description"])
            generator = make_generator(**description["generator"])
            generator.load_state_dict(tensors)
            model = cls(generator, description["name"], description["training"])
            if not version.isdecimal():
                raise ValueError(f"version {version!r}")
        except (IndexError, KeyError, TypeError, RuntimeError, ValueError) as error:
            raise ValueError(f"'model': the weights in {source!r} do not fit its description ({error}); "
                             "the file is damaged or was written by another version of n2a") from error  # fmt: skip
        if not all(torch.isfinite(p).all() for p in generator.parameters()):
            raise ValueError(
                f"'model': {source!r} contains weights that are not finite; use another file"
            )
        return model


@lru_cache(maxsize=4)
def _from_box(name: str) -> Noise2Atom:
    data = (resources.files("n2a") / "weights" / f"{name}.safetensors").read_bytes()
    return Noise2Atom._parse(data, f"{name} (weights in the box)")


@lru_cache(maxsize=4)
def _from_file(path: str, _changed: int, _size: int) -> Noise2Atom:
    """Read once per process, and again when the file has changed."""
    return Noise2Atom.load(path)


def get_model(model: Noise2Atom | str | os.PathLike | None = None) -> Noise2Atom:
    """The model that is meant; files are read once per process.

    Parameters
    ----------
    model
        None or ``"fast"`` for the weights in the box, the path of a saved model, or a model itself.

    Returns
    -------
    Noise2Atom
        Ready to be passed to :func:`n2a.denoise`.

    Raises
    ------
    FileNotFoundError, ValueError
        If `model` is none of these, or its file cannot be read.

    Examples
    --------
    >>> import n2a
    >>> n2a.get_model("fast").generator.window
    5
    """
    if isinstance(model, Noise2Atom):
        return model
    if model is None:
        return _from_box(BOX[0])
    if isinstance(model, str) and model in BOX:
        return _from_box(model)
    if isinstance(model, (str, os.PathLike)):
        if not os.path.isfile(model):
            return Noise2Atom.load(model)
        state = os.stat(model)
        return _from_file(os.path.abspath(model), state.st_mtime_ns, state.st_size)
    raise ValueError(
        f"'model' is a {type(model).__name__}; expected None or one of {list(BOX)} for the weights in the box, the "
        "path of a saved model, or an n2a.Noise2Atom"
    )
