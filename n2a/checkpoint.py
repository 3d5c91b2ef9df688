# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are whole or not there, and the state of a training in one of them; nothing is pickled."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

if TYPE_CHECKING:
    from n2a.loop import Loop

FORMAT = "n2a-training"
VERSION = 1


def check_target(name: str, path: str | os.PathLike) -> None:
    """Raise unless `path`, given as the argument `name`, can be the name of a file that is written."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"'{name}' must be the name of a file, not {path!r}.")
    if Path(path).is_dir():  # the empty name is the current folder, too
        raise IsADirectoryError(
            f"'{name}' is {os.fspath(path)!r}, a folder; expected the name of a file: add one."
        )
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(
            f"'{name}': there is no folder {str(Path(path).parent)!r} for {Path(path).name!r}; make it first."
        )
    try:
        partial = _partial(Path(path))
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise type(error)(
            f"'{name}': nothing can be written to the folder {str(Path(path).parent)!r} ({error.strerror}); "
            "name another one."
        ) from error


def write_whole(path: str | os.PathLike, data: bytes) -> None:
    """Write a file; one that is there is replaced only when all of the new one is on the disk."""
    path = Path(path)
    _clear_leftovers(path)
    partial = _partial(path)
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def _clear_leftovers(path: Path) -> None:
    """Remove what processes that were killed had written of this file."""
    for other in path.parent.iterdir():
        found = re.fullmatch(rf"\.{re.escape(path.name)}\.(\d+)\.partial", other.name)
        if found and not _alive(int(found[1])):
            # On Windows a file that is being written cannot be removed.
            with suppress(OSError):
                other.unlink()


def _alive(process: int) -> bool:
    if os.name == "nt":  # there, asking would end it
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def _digest(tensors: dict[str, torch.Tensor], header: dict[str, str]) -> str:
    """SHA-256 of names, types, shapes and values, and of what else the header says."""
    told = sorted((name, text) for name, text in header.items() if name != "digest")
    total = hashlib.sha256(repr(told).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        total.update(tensor.numpy().tobytes())
    return total.hexdigest()


def write_tensors(
    path: str | os.PathLike, tensors: dict[str, torch.Tensor], header: dict[str, str]
) -> None:
    """Write tensors of the CPU and a header to a safetensors file, with a digest that reading compares."""
    write_whole(path, save_tensors(tensors, header | {"digest": _digest(tensors, header)}))


def read_tensors(data: bytes) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and header of a safetensors file; ValueError when it is none, is damaged or is cut short."""
    try:
        tensors = load_tensors(data)
        length = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        # Files of other programs, and older ones of this, have no digest.
        if "digest" in header and header["digest"] != _digest(tensors, header):
            raise ValueError("it does not hold what was written")
    except (safetensors.SafetensorError, struct.error, ValueError) as error:
        raise ValueError(f"damaged, cut short or not a safetensors file ({error})") from error
    return tensors, header


def save_state(
    path: str | os.PathLike, loop: Loop, best: dict[str, torch.Tensor] | None, facts: dict
) -> None:
    """Write networks and optimisers of a loop, the weights that were `best`, and JSON-compatible `facts`."""
    tensors = {f"network.{k}": v for k, v in loop.networks.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in loop.average.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in (best or {}).items()}
    for name, optimiser in loop.optimisers.items():
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {
                f"optimiser.{name}.{index}.{k}": torch.as_tensor(v) for k, v in state.items()
            }
    tensors = {
        k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()
    }
    header = {"format": FORMAT, "version": str(VERSION), "facts": json.dumps(facts)}
    write_tensors(path, tensors, header)


def load_state(path: str | os.PathLike) -> tuple[dict[str, torch.Tensor], dict]:
    """Tensors and facts of a file from :func:`save_state`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged or something else.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"'resume' must be the name of a file, not {path!r}.")
    path, name = Path(path), os.fspath(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"'resume': there is no file {name!r}; pass the 'checkpoint' of a training"
        )
    try:
        tensors, header = read_tensors(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"'resume': {str(path)!r} is {error}; start the training anew") from error
    if header.get("format") != FORMAT or header.get("version") != str(VERSION):
        raise ValueError(
            f"'resume': {str(path)!r} is not a checkpoint of this version of n2a; pass the file that was given as "
            "'checkpoint', not a saved model"
        )
    return tensors, json.loads(header["facts"])


def restore_state(loop: Loop, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
    """Bring a loop to the state of `tensors`, on whatever device it is; what was best so far."""

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    loop.networks.load_state_dict(part("network."))
    loop.average.load_state_dict(part("average."))
    for name, optimiser in loop.optimisers.items():
        state: dict[int, dict] = {}
        for key, value in part(f"optimiser.{name}.").items():
            index, _, entry = key.partition(".")
            state.setdefault(int(index), {})[entry] = value
        optimiser.load_state_dict(optimiser.state_dict() | {"state": state})
    return part("best.") or None
