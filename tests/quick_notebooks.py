# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of notebooks with their quick parameters, for nbval, which sets none.

``python tests/quick_notebooks.py FOLDER NAME ...``. Where cells are tagged ``nbval-check-output`` the copy is executed,
so that nbval, which runs it again, compares these outputs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import papermill

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def main(folder: str, *names: str) -> None:
    """Write the copies into a folder, which may be absent."""
    sets = tomllib.loads((NOTEBOOKS / "params.toml").read_text(encoding="utf-8"))
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
        checked = any("nbval-check-output" in cell.metadata.get("tags", ()) for cell in cells)
        papermill.execute_notebook(
            NOTEBOOKS / f"{name}.ipynb",
            Path(folder) / f"{name}.ipynb",
            parameters=sets[name]["quick"],
            kernel_name="python3",
            cwd=folder,
            prepare_only=not checked,
            progress_bar=False,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
