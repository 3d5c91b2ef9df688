# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx extension of the book: pages that are made from the code, and what a build without a network needs.

- Before anything is read it writes ``reference/api.md`` (the names that the package exports) and the tables that pages
  include (data sets, parameters of the notebooks), so that none of them can go stale.
- Links into the documentation of HyperSpy, NumPy and Python need their inventories from the network; without one there
  is an empty inventory in their place, so that there are fewer links and no warning.
- With files in ``_vendor/``, which `make book` fetches where npm is at hand, the pages show mathematics and widgets
  without a network.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

INVENTORIES = {
    "python": "https://docs.python.org/3",
    "numpy": "https://numpy.org/doc/stable",
    "hyperspy": "https://hyperspy.org/hyperspy-doc/current",
}

EMPTY_INVENTORY = (
    b"# Sphinx inventory version 2\n# Project: none\n# Version: \n"
    b"# The remainder of this file is compressed using zlib.\n" + zlib.compress(b"")
)

#: What functions return that is no signal.
RESULTS = (
    "reporting.Report",
    "atoms.AtomMap",
    "comparison.Comparison",
    "manifest.Catalogue",
    "manifest.Dataset",
)

#: Modules on arrays, for those who build on them: all that is public in them is listed.
MODULES = (
    "evaluation",
    "whiteness",
    "ring_correlation",
    "intensity",
    "similarity",
    "detection",
    "baselines",
    "methods",
    "selfsupervised",
    "risk",
    "noise",
    "sampling",
    "normalization",
    "generator",
    "critic",
    "lowpass",
    "losses",
    "loop",
    "pairs",
    "predictor",
    "history",
)


def setup(app):
    """Called by Sphinx."""
    source = Path(app.srcdir)
    for name, text in generated().items():
        write(source / name, text)
    app.connect("config-inited", configure, priority=100)
    app.connect("html-page-context", without_thebe)
    app.connect("build-finished", tidy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write(path: Path, text: str) -> None:
    """Write a page unless it is there already: an untouched page is not read again."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def configure(app, config) -> None:
    """Set what a _config.yml cannot say."""
    source = Path(app.srcdir)
    empty = Path(app.outdir).parent / "empty.inv"
    empty.parent.mkdir(parents=True, exist_ok=True)
    empty.write_bytes(EMPTY_INVENTORY)
    config.intersphinx_mapping = {
        name: (url, (None, str(empty))) for name, url in INVENTORIES.items()
    }
    # With a folder of its own: the theme puts everything from _static on every page.
    if (source / "_vendor").is_dir():
        config.html_static_path = [*config.html_static_path, "_vendor/static"]
        config.html_extra_path = [*config.html_extra_path, "_vendor/root"]
        config.mathjax_path = "vendor/mathjax/tex-mml-chtml.js"
        config.nb_ipywidgets_js = {"vendor/require.js": {}, "vendor/embed-amd.js": {}}


def without_thebe(app, pagename, templatename, context, doctree) -> None:
    """Leave out the scripts of Thebe, which no page uses: they are loaded twice, and complain of that on every page."""
    context["script_files"] = [
        script for script in context["script_files"] if "thebe" not in str(script).lower()
    ]


def tidy(app, exception) -> None:
    """Leave out what only those need who debug the theme."""
    for path in Path(app.outdir).glob("_static/**/*.map"):
        path.unlink()


def generated() -> dict[str, str]:
    """Pages that are made from the code, by their place in the book."""
    return {
        "reference/api.md": api_page(),
        "reference/_datasets.md": datasets_table(),
        "reference/_parameters.md": parameters_tables(),
    }


# The interface


def exported() -> list[str]:
    """Names that ``n2a/__init__.pyi`` exports, in its order."""
    tree = ast.parse((ROOT / "n2a" / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return [alias.asname or alias.name for node in imports for alias in node.names]


def public(module) -> list[str]:
    """Functions and classes that a module defines and does not hide, in the order of its source."""
    found = [
        (inspect.getsourcelines(thing)[1], name)
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(thing) or inspect.isclass(thing))
        and thing.__module__ == module.__name__
        and thing.__doc__
    ]
    return [name for _, name in sorted(found)]


def summary(module: str, names: Sequence[str]) -> str:
    """An autosummary table with a page for each name."""
    lines = "\n".join(f"   {name}" for name in names)
    return (
        f"```{{eval-rst}}\n.. currentmodule:: {module}\n\n"
        f".. autosummary::\n   :toctree: api\n   :nosignatures:\n\n{lines}\n```\n"
    )


def first_line(thing) -> str:
    """First sentence of a docstring, as Markdown."""
    return inspect.getdoc(thing).splitlines()[0].replace("``", "`")


def api_page() -> str:
    """Everything public, from the package itself."""
    n2a = importlib.import_module("n2a")
    things = {name: getattr(n2a, name) for name in exported()}
    modules = [name for name, thing in things.items() if inspect.ismodule(thing)]
    functions = [name for name, thing in things.items() if inspect.isfunction(thing)]
    classes = [name for name in things if name not in modules and name not in functions]
    accessor = n2a.accessor.Accessor
    methods = "\n".join(
        f"| `signal.n2a.{name}()` | {first_line(method)} |"
        for name, method in vars(accessor).items()
        if not name.startswith("_") and inspect.isfunction(method)
    )
    parts = [
        "# API\n",
        "Made from the docstrings; `help(n2a.denoise)` shows the same. `import n2a` loads none of the heavy\n"
        "libraries: they come with the first call that needs them.\n",
        "## Methods of every signal of images\n",
        "After `import n2a` each HyperSpy signal with two real signal axes has them. The function of the same name\n"
        "below takes the signal as its first argument and has all details.\n",
        f"| method | |\n|---|---|\n{methods}\n",
        "## Functions\n",
        summary("n2a", functions),
        "## Classes\n",
        summary("n2a", classes),
        "What reports, atom maps, comparisons and the list of data sets are:\n",
        summary("n2a", RESULTS),
    ]
    for name in modules:
        module = things[name]
        parts += [
            f"## Module `n2a.{name}`\n",
            first_line(module) + "\n",
            summary(f"n2a.{name}", module.__all__),
        ]
    parts += [
        "## Building blocks\n",
        "Functions on plain arrays and networks on tensors, which know nothing of signals. They may change between\n"
        "versions.\n",
    ]
    for name in MODULES:
        module = importlib.import_module(f"n2a.{name}")
        parts += [
            f"### `n2a.{name}`\n",
            first_line(module) + "\n",
            summary(f"n2a.{name}", public(module)),
        ]
    return "\n".join(parts)


# Tables


def cell(text) -> str:
    """Text for a cell of a Markdown table."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def datasets_table() -> str:
    """What the data manifest says, as a table and a section for each data set."""
    manifest = importlib.import_module("n2a.manifest")
    entries = manifest.available().values()
    lines = ["| loader | what | array | licence |", "|---|---|---|---|"]
    for entry in entries:
        shape = " × ".join(map(str, entry.shape)) if entry.shape else f"{len(entry.series)} series"
        lines.append(
            f"| `n2a.datasets.{entry.id}()` | {cell(entry.title)} | {shape} | {cell(entry.licence)} |"
        )
    for entry in entries:
        lines += ["", f"## {entry.id}", "", cell(entry.shows), "", "| | |", "|---|---|"]
        for name, text in entry.facts():
            if name != "shows":
                shown = f"<{text}>" if name == "address" else cell(text)
                lines.append(f"| {name} | {shown} |")
    return "\n".join(lines) + "\n"


def parameters_tables() -> str:
    """Parameters of the notebooks, with their defaults and what each page says of them."""
    lines = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
        (code,) = [
            "".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", [])
        ]
        told = dict(re.findall(r"^- `(\w+)`: ((?:.+\n?)(?:  .+\n?)*)", "\n\n".join(texts), re.M))
        # Several of a kind share a line: "- `frames`, `size`: ...".
        for names, text in re.findall(
            r"^- ((?:`\w+`, )+`\w+`): (.+(?:\n  .+)*)", "\n\n".join(texts), re.M
        ):
            told |= {name: text for name in re.findall(r"\w+", names)}
        title = texts[0].splitlines()[0].removeprefix("# ")
        lines += [f"## {path.stem}", "", title, "", "| parameter | default | |", "|---|---|---|"]
        for node in ast.parse(code).body:
            name, default = node.targets[0].id, ast.unparse(node.value)
            comment = code.splitlines()[node.end_lineno - 1][node.end_col_offset :].strip(" #")
            text = " ".join((told.get(name) or comment).split())
            lines.append(f"| `{name}` | `{default}` | {cell(text)} |")
        lines.append("")
    return "\n".join(lines)
