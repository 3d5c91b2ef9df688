# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the data sets: found where they are, or downloaded whole."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import time
import warnings
from pathlib import Path

from n2a.manifest import Dataset, available, package_path

ENVIRONMENT = "N2A_DATA_DIR"
PARTIAL = "n2a-partial-"  # folders that hold what is not whole yet
DAY = 86400.0  # seconds


def cache_folder() -> Path:
    """Folder of the user's cache that downloaded data sets are kept in.

    Returns
    -------
    pathlib.Path
        It need not exist.

    Raises
    ------
    ImportError
        If pooch is not installed.

    Examples
    --------
    >>> import n2a
    >>> n2a.datasets.cache_folder().name
    'n2a'
    """
    return Path(_pooch().os_cache("n2a"))


def _pooch():
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            f"Data sets are downloaded and kept with pooch, which is not installed ({error}). "
            'Install it with: pip install "n2a[data]"; or put the files into a folder and name it in '
            f"the environment variable {ENVIRONMENT}."
        ) from error
    return pooch


def _data_dir() -> Path | None:
    named = os.environ.get(ENVIRONMENT, "")
    return Path(named).expanduser() if named else None


def _folders() -> dict[str, Path]:
    """Where files are looked for: the user's own folder, then the cache."""
    own = _data_dir()
    folders = {ENVIRONMENT: own} if own else {}
    try:
        folders["the cache"] = cache_folder()
    except ImportError:  # without pooch there is none
        pass
    return folders


def place(entry: Dataset) -> str:
    """Where a data set is, in words; its file is looked for, not read."""
    if entry.origin != "download":
        return {"package": "in the package", "simulation": "simulated"}[entry.origin]
    for name, folder in _folders().items():
        if (folder / entry.file).is_file():
            return f"in {name}"
    size = (entry.archive or {}).get("bytes") or entry.bytes
    return "to be downloaded" + (f", {size / 1e6:.0f} MB" if size else "")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _record_of(path: Path) -> Path:
    """File beside a file whose hash the manifest does not know, as `sha256sum` writes it."""
    return path.with_name(path.name + ".sha256")


def _expected(entry: Dataset, path: Path) -> str | None:
    """Hash that a file must have: of the manifest, or as recorded at its first download."""
    if entry.sha256 is None and _record_of(path).is_file():
        return _record_of(path).read_text(encoding="utf-8").split()[0]
    return entry.sha256


def find(name: str) -> Path | None:
    """File of a data set, where it is on this machine already; nothing is downloaded.

    Parameters
    ----------
    name
        Of :func:`available`.

    Returns
    -------
    pathlib.Path or None
        In the folder of ``N2A_DATA_DIR``, in the cache or in the package. None where it is in none of them, where
        the file in the cache is damaged, and for what is simulated.

    Raises
    ------
    KeyError
        If there is no such data set.
    ValueError
        If the file in ``N2A_DATA_DIR`` is another one than the manifest describes (by its SHA-256).

    Examples
    --------
    >>> import n2a
    >>> n2a.datasets.find("benchmark").name
    'multislice.npz'
    """
    entry = available()[name]
    if entry.origin == "simulation":
        return None
    if entry.origin == "package":
        return package_path(entry.file)
    for folder in _folders().values():
        path = folder / entry.file
        if not path.is_file():
            continue
        wanted = _expected(entry, path)
        if wanted is None or _sha256(path) == wanted:
            return path
        if folder == _data_dir():
            raise ValueError(
                f"{path} is not the file of the data set {name!r}: its SHA-256 is {_sha256(path)}, expected "
                f"{wanted}. Take it out of the folder that {ENVIRONMENT} names, or replace it; its source is: "
                f"{entry.source}."
            )
    return None


def download(
    name: str, folder: str | os.PathLike | None = None, *, show_progressbar: bool | None = None
) -> Path:
    """Download the file of a data set, unless it is in that folder.

    Parameters
    ----------
    name
        Of :func:`available`.
    folder
        Default: the folder that ``N2A_DATA_DIR`` names, or else the user's cache.
    show_progressbar
        Default: HyperSpy's preference.

    Returns
    -------
    pathlib.Path
        The file, whole and with the SHA-256 that the manifest or its first download says.

    Raises
    ------
    KeyError, ValueError
        If there is no such data set, or none that is downloaded; if the file that came is another one than the
        manifest describes.
    ConnectionError
        If the file cannot be had; nothing of it is left behind.
    ImportError
        If pooch is not installed.

    Notes
    -----
    A file whose SHA-256 the manifest does not know is taken as it comes. Its hash is recorded beside it, in a file of
    the same name with ``.sha256`` added, and compared from then on; a warning says so.

    Examples
    --------
    >>> import n2a
    >>> n2a.datasets.download("abf_srtio3", "my data")  # doctest: +SKIP
    PosixPath('my data/stem_abf_data_imagestack.hspy')
    """
    entry = available()[name]
    if entry.origin != "download":
        raise ValueError(
            f"'name': {name!r} is not downloaded, it is {place(entry)}. "
            f"Load it with n2a.datasets.{name}()."
        )
    folder = Path(folder).expanduser() if folder is not None else _data_dir() or cache_folder()
    path = folder / entry.file
    if path.is_file():
        wanted = _expected(entry, path)
        if wanted is None or _sha256(path) == wanted:
            return path
    _fetch(entry, path, show_progressbar)
    return path


def _fetch(entry: Dataset, path: Path, show_progressbar: bool | None) -> None:
    """Download into a folder of its own, and move the file to its place when it is whole."""
    pooch = _pooch()
    _sweep(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=path.parent) as scratch:
        came = Path(scratch) / ("archive" if entry.archive else entry.file)
        _retrieve(pooch, entry, came, show_progressbar)
        if entry.archive:
            archive, came = came, Path(scratch) / entry.file
            _extract(archive, entry.archive["member"], came)
        digest = _sha256(came)
        wanted = _expected(entry, path)
        if wanted not in (None, digest):
            raise _not_it(entry, digest, wanted)
        if entry.sha256 is None and wanted is None:
            record = _record_of(came)
            record.write_text(f"{digest}  {entry.file}\n", encoding="utf-8")
            os.replace(record, _record_of(path))
            warnings.warn(
                f"The manifest of n2a does not know the SHA-256 of {entry.file!r}. The file that came has {digest} "
                f"({came.stat().st_size} bytes): recorded in {_record_of(path)}, and compared from now on.",
                UserWarning,
                stacklevel=4,
            )
        os.replace(came, path)


def _not_it(entry: Dataset, digest: str, wanted: str) -> ValueError:
    return ValueError(
        f"What came from {entry.url} is not the file of the data set {entry.id!r}: its SHA-256 is {digest}, "
        f"expected {wanted}. Nothing was kept. The file may have changed at its source ({entry.source}); if you have "
        f"the right one, put it into a folder and name that in the environment variable {ENVIRONMENT}."
    )


def _retrieve(pooch, entry: Dataset, path: Path, show_progressbar: bool | None) -> None:
    """Download the address of an entry to a path, with a bar."""
    import logging

    import requests
    from tqdm.auto import tqdm

    from n2a.signals import wants_progress

    size = (entry.archive or {}).get("bytes") or entry.bytes

    def downloader(url, output_file, _pooch):
        # Without a compression on the way the length that the server tells is that of the file.
        headers = {"Accept-Encoding": "identity"}
        with tqdm(
            desc=entry.id,
            total=size or 1,  # until the server tells it; a bar without a total counts as none
            unit="B",
            unit_scale=True,
            disable=not wants_progress(show_progressbar),
        ) as bar:
            pooch.HTTPDownloader(
                progressbar=bar, chunk_size=2**16, headers=headers, timeout=(10, 60)
            )(url, output_file, _pooch)
            came = os.path.getsize(output_file)
            if bar.total and came != bar.total:
                raise requests.ConnectionError(f"{came} of {bar.total} bytes came")

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)  # it tells of temporary files, and asks for hashes
    try:
        pooch.retrieve(
            entry.url, known_hash=None, fname=path.name, path=path.parent, downloader=downloader
        )
    except requests.RequestException as error:
        raise ConnectionError(
            f"The data set {entry.id!r} cannot be had from {entry.url}: {error}. Nothing was kept. "
            f"Without a connection put the file {entry.file!r} into a folder and name that in the environment "
            f"variable {ENVIRONMENT}; its source is: {entry.source}."
        ) from error
    finally:
        logger.setLevel(level)
    if entry.archive and (digest := _sha256(path)) != entry.archive["sha256"]:
        raise _not_it(entry, digest, entry.archive["sha256"])


def _extract(archive: Path, member: str, path: Path) -> None:
    """Copy one member of a tar file; its own path and permissions play no part."""
    with tarfile.open(archive) as tar, open(path, "wb") as file:
        shutil.copyfileobj(tar.extractfile(member), file)


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed left half-written."""
    for left in folder.glob(f"{PARTIAL}*"):
        if time.time() - left.stat().st_mtime > DAY:
            shutil.rmtree(left, ignore_errors=True)
