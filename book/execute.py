# SPDX-License-Identifier: GPL-3.0-or-later
"""Execute the notebooks with their `book` parameters into book/notebooks/: ``python book/execute.py [NAME ...]``.

A page that is there is kept if it was made from the same notebook, parameters, package and libraries; ``--force`` makes
it anew.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import nbformat
import papermill
from PIL import Image, ImageChops, ImageStat

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "book" / "notebooks"
FOLDED = 15  # lines of code
LEAST_LEVELS = 1.0  # of 255 that a colour may change
LIBRARIES = ("hyperspy", "matplotlib", "numpy", "scikit-image", "torch")


def inputs(notebook: Path, parameters: dict) -> str:
    """Digest of everything that a page depends on."""
    total = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    package = ROOT / "n2a"
    files = [p for p in package.rglob("*") if p.suffix in (".py", ".pyi", ".safetensors")]
    for path in [
        Path(__file__),
        notebook,
        *sorted(files),
        *sorted((ROOT / "data_manifest").glob("*.yaml")),
    ]:
        total.update(path.read_bytes())
    for name in LIBRARIES:
        total.update(f"{name} {version(name)}".encode())
    return total.hexdigest()


def smaller(picture: str) -> str:
    """A PNG in base64 as the smallest one: with 256 colours where none is changed to speak of, on white."""
    data = base64.b64decode(picture)
    best = data
    with Image.open(io.BytesIO(data)) as image:
        drawn = image.convert("RGBA")
    full = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB")
    few = full.quantize(256)
    changed = ImageStat.Stat(ImageChops.difference(full, few.convert("RGB"))).rms
    for candidate in [full, few] if max(changed) < LEAST_LEVELS else [full]:
        stream = io.BytesIO()
        candidate.save(stream, "PNG", optimize=True)
        best = min(best, stream.getvalue(), key=len)
    return base64.b64encode(best).decode()


def told(cell) -> bool:
    """Whether a cell has text to show and no picture."""
    return bool(cell.outputs) and not any("image/png" in o.get("data", {}) for o in cell.outputs)


def execute(name: str, parameters: dict, force: bool) -> None:
    """Make one page, unless it is up to date."""
    notebook, page = ROOT / "notebooks" / f"{name}.ipynb", PAGES / f"{name}.ipynb"
    if unknown := set(parameters) - set(papermill.inspect_notebook(notebook)):
        raise SystemExit(f"params.toml: {name} has no parameters {sorted(unknown)}")
    digest = inputs(notebook, parameters)
    if page.is_file() and not force:
        if nbformat.read(page, as_version=4).metadata.get("n2a_inputs") == digest:
            print(f"{name}: up to date")
            return
    # The page shows its parameters: so no paths of this machine among them, but a folder to run in.
    folder = ROOT / "build" / "book" / name
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    made = papermill.execute_notebook(
        notebook,
        folder / page.name,
        parameters=parameters,
        kernel_name="python3",
        cwd=folder,
        progress_bar=False,
    )
    made.metadata["n2a_inputs"] = digest
    # Of papermill's own notes there are paths of this machine among them.
    made.metadata.pop("papermill", None)
    for cell in made.cells:
        cell.metadata.pop("papermill", None)
        # Long code that draws or only defines is folded away: on a page the figures are what counts.
        tags = cell.metadata.setdefault("tags", [])
        if cell.cell_type == "code" and cell.source.count("\n") >= FOLDED and not told(cell):
            if not {"hide-input", "parameters"} & set(tags):
                tags.append("hide-input")
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
    page.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(made, page)
    print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)


def main() -> None:
    """Command line."""
    sets = tomllib.loads((ROOT / "notebooks" / "params.toml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *sets], help="default: all")
    parser.add_argument("--force", action="store_true")
    arguments = parser.parse_args()
    for name in arguments.names or sets:
        execute(name, sets[name]["book"], arguments.force)


if __name__ == "__main__":
    main()
