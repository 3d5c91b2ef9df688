# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that a panel writes: whole or not at all, and nothing is replaced unasked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hyperspy.api.signals import BaseSignal


# What holds a whole signal in one file or folder, the default first.
SIGNALS = (".hspy", ".zspy", ".tif", ".tiff")
MODELS = (".n2a", ".safetensors")


def stem_of(signal: BaseSignal) -> str:
    """Name for files about a signal: that of its own file, or its title."""
    name = signal.tmp_parameters.get_item("filename", "") or signal.metadata.get_item(
        "General.title", ""
    )
    return "".join(c if c.isalnum() or c in " ._-" else "_" for c in str(name)) or "series"


def target(name: str, suffixes: tuple[str, ...], replace: bool) -> Path:
    """Path that a user means by a name; OSError or ValueError where nothing may be written there."""
    if not name.strip():
        raise ValueError("Give the file a name.")
    path = Path(name.strip()).expanduser().absolute()
    if not path.suffix:
        path = path.with_name(path.name + suffixes[0])
    if path.suffix not in suffixes:
        raise ValueError(f"{path.name!r} does not end in {', '.join(suffixes)}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(path.parent)!r}. Make it first, or give another name."
        )
    if path.exists() and not replace:
        raise FileExistsError(
            f"{str(path)!r} exists already. Give another name, or tick 'replace'."
        )
    return path


def save_signal(signal: BaseSignal, path: Path, source: BaseSignal | None = None) -> None:
    """Write a signal in the format of the file's suffix; what is there is replaced when all of the new one is written.

    Parameters
    ----------
    signal
        What to write.
    path
        Where to.
    source
        Signal whose own file is not replaced.

    Raises
    ------
    ValueError
        If `path` is the file of `source`.
    """
    if source is not None and path == _file_of(source):
        raise ValueError(f"{str(path)!r} is the file of the raw images. Give another name.")
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    old = partial.with_suffix(f".old{path.suffix}")
    try:
        signal.save(partial, overwrite=True)
        if path.is_dir():  # .zspy: a folder cannot be replaced in one go
            os.replace(path, old)
        os.replace(partial, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        raise
    finally:
        _remove(partial)
        _remove(old)
    signal.tmp_parameters.set_item("folder", path.parent)
    signal.tmp_parameters.set_item("filename", path.stem)
    signal.tmp_parameters.set_item("extension", path.suffix)


def _file_of(signal: BaseSignal) -> Path | None:
    known = signal.tmp_parameters
    if not known.get_item("filename", "") or not known.has_item("folder"):
        return None
    return Path(known.folder, f"{known.filename}{known.get_item('extension', '')}").absolute()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
