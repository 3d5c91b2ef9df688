# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of each data set: the entries of ``data_manifest/``, one YAML file each."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ORIGINS = ("download", "simulation", "package")


def package_path(name: str) -> Path:
    """A file or folder of the repository: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    candidates = (package / name, package.parent / name)
    for path in candidates:
        if path.exists():
            return path
    raise FileNotFoundError(
        f"This installation of n2a has no {name!r}; looked for {' and '.join(map(str, candidates))}. "
        "Install n2a again, from its wheel or from a clone of the repository."
    )


def _axis_text(axis: dict) -> str:
    scale = "" if axis["scale"] is None else f", {axis['scale']:g} {axis['units'] or ''}".rstrip()
    return f"{axis['name']} {axis['size']}{scale}"


@dataclass(frozen=True, repr=False)
class Dataset:
    """What the manifest says of one data set.

    Attributes
    ----------
    id, title, shows : str
        The name of its loader, a short title, and what is seen.
    origin : str
        "download", "package" (it comes with n2a) or "simulation".
    file : str or None
        Name of the file.
    sha256 : str or None
        Hash of the file; None: not known, it is recorded when the file is first downloaded.
    bytes : int or None
        Size of the file.
    url : str or None
        Where it is downloaded from.
    unchecked : list of str
        Fields that could not be checked when the entry was written.
    source, licence, citation : str
        Where it comes from, and its terms, as the source states them.
    shape : list of int or None
        Of the array.
    dtype : str or None
        Of the array.
    axes : list of dict or None
        In the order of the array: name, size, offset, scale, units; None where it is not known.
    acquisition : dict
        mode, instrument, beam_energy_keV, contrast of the atoms, remarks; None where it is not known.
    used_by : list of str
        Files of the repository that show or measure it.
    archive : dict or None
        If `url` leads to an archive: member, sha256 and bytes of the archive.
    parameters : dict or None
        Of a simulation.
    series : dict or None
        If there are several series: title, shape, pixel_size (nm) and contrast by name.

    Examples
    --------
    >>> import n2a
    >>> n2a.datasets.available()["abf_srtio3"].acquisition["contrast"]
    'dark'
    """

    id: str
    title: str
    shows: str
    origin: str
    file: str | None
    sha256: str | None
    bytes: int | None
    url: str | None
    unchecked: list
    source: str
    licence: str
    citation: str
    shape: list | None
    dtype: str | None
    axes: list | None
    acquisition: dict
    used_by: list
    archive: dict | None = None
    parameters: dict | None = None
    series: dict | None = None

    def facts(self) -> list[tuple[str, str]]:
        """Lines of text and what they tell."""
        from n2a.downloads import place

        kind = [self.acquisition["mode"]]
        if self.acquisition["instrument"]:
            kind.append(self.acquisition["instrument"])
        if self.acquisition["beam_energy_keV"]:
            kind.append(f"{self.acquisition['beam_energy_keV']} keV")
        if self.acquisition["contrast"]:
            kind.append(f"{self.acquisition['contrast']} atoms")
        if self.acquisition["remarks"]:
            kind.append(self.acquisition["remarks"])
        facts = [
            ("shows", self.shows),
            ("acquisition", "; ".join(kind)),
            ("array", " ".join(filter(None, (self._shape(), self.dtype)))),
            ("axes", "; ".join(map(_axis_text, self.axes or ()))),
            ("series", ", ".join(self.series or ())),
            ("source", self.source),
            ("address", self.url or ""),
            ("licence", self.licence),
            ("cite", self.citation),
            ("SHA-256", self.sha256 or ("not known" if self.file else "")),
            ("unchecked", ", ".join(self.unchecked)),
            ("is", place(self)),
        ]
        return [(name, text) for name, text in facts if text]

    def _shape(self) -> str:
        return " × ".join(map(str, self.shape)) if self.shape else ""

    def __repr__(self) -> str:
        lines = [f"  {name:12} {text}" for name, text in self.facts()]
        return "\n".join([f"{self.id}: {self.title}", *lines])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align: left'>{html.escape(name)}</th>"
            f"<td style='text-align: left'>{html.escape(text)}</td></tr>"
            for name, text in self.facts()
        )
        title = html.escape(f"n2a.datasets.{self.id}(): {self.title}")
        return f"<p><b>{title}</b></p><table><tbody>{rows}</tbody></table>"


class Catalogue(Mapping):
    """All data sets by name, which shows itself as a table; see :func:`available`."""

    _columns = ("name", "what", "array", "nm/px", "licence", "where")

    def __init__(self, entries: list[Dataset]):
        self._entries = {entry.id: entry for entry in entries}

    def __getitem__(self, name: str) -> Dataset:
        try:
            return self._entries[name]
        except KeyError:
            raise KeyError(
                f"There is no data set {name!r}; there are {', '.join(self._entries)}."
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _rows(self) -> list[tuple[str, ...]]:
        from n2a.downloads import place

        rows = []
        for entry in self.values():
            several = f"{len(entry.series)} series" if entry.series else ""
            scale = entry.axes[-1]["scale"] if entry.axes else None
            pixel = f"{scale:.4g}" if scale else "several" if entry.series else "not known"
            array = entry._shape() or several
            licence = entry.licence.split(" (")[0]
            rows.append((entry.id, entry.title, array, pixel, licence, place(entry)))
        return rows

    def __repr__(self) -> str:
        table = [self._columns, *self._rows()]
        widths = [max(map(len, column)) for column in zip(*table)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in table
        )

    def _repr_html_(self) -> str:
        def line(cells, tag):
            inner = "".join(
                f"<{tag} style='text-align: left'>{html.escape(c)}</{tag}>" for c in cells
            )
            return f"<tr>{inner}</tr>"

        body = "".join(line(row, "td") for row in self._rows())
        return f"<table><thead>{line(self._columns, 'th')}</thead><tbody>{body}</tbody></table>"


def available() -> Catalogue:
    """Data sets that there are: a table, and what the manifest says of each by its name.

    Returns
    -------
    Catalogue
        Mapping of names to :class:`Dataset`. Shown as a table of name, title, array, pixel size,
        licence, and where the file is.

    Examples
    --------
    >>> import n2a
    >>> list(n2a.datasets.available())
    ['abf_srtio3', 'mos2', 'nanoparticle', 'noise2atom_stack', 'simulated', 'benchmark']
    >>> n2a.datasets.available()["mos2"].acquisition["beam_energy_keV"]
    60
    """
    import yaml

    files = package_path("data_manifest").glob("*.yaml")
    entries = [Dataset(**yaml.safe_load(f.read_text(encoding="utf-8"))) for f in files]
    return Catalogue(sorted(entries, key=lambda entry: (ORIGINS.index(entry.origin), entry.id)))
