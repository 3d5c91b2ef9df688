# SPDX-License-Identifier: GPL-3.0-or-later
"""The book without building it: its code runs, its pages are whole, and what it lists is what there is."""

import ast
import importlib.util
import inspect
import re
from pathlib import Path

import hyperspy.api as hs
import numpy as np
import pytest
import yaml

import n2a
from n2a.methods import METHODS

REPOSITORY = Path(__file__).resolve().parents[1]
BOOK = REPOSITORY / "book"

if not (BOOK / "_toc.yml").is_file():
    pytest.skip("installed without the book", allow_module_level=True)

MADE = {"reference/api"}  # pages that the book's extension writes
PAGES = sorted(
    path.relative_to(BOOK).with_suffix("").as_posix()
    for folder in (".", "howto", "explanation", "reference")
    for path in (BOOK / folder).glob("*.md")
    if not path.name.startswith("_")
)
# What a page calls a file, and the file that stands for it here: HyperSpy writes no dm4 and no Velox emd.
STANDS_FOR = {"movie.dm4": "movie.hspy", "movie.emd": "movie.hspy"}


def text_of(page: str) -> str:
    return (BOOK / f"{page}.md").read_text(encoding="utf-8")


class Block:
    """A block of Python on a page, and why it is not run, if it is not."""

    def __init__(self, page: str, match: re.Match):
        indent = match["indent"]
        lines = [line.removeprefix(indent) for line in match["code"].splitlines()]
        self.line = text_of(page)[: match.start("code")].count("\n")
        # With its lines where they are on the page, a failure names the right one.
        self.code = "\n" * self.line + "\n".join(lines)
        self.reason = match["reason"]


def blocks(page: str) -> list[Block]:
    pattern = r"(?:^% not run: (?P<reason>.+)\n)?^(?P<indent> *)```python\n(?P<code>(?:.*\n)*?)(?P=indent)```"
    return [Block(page, match) for match in re.finditer(pattern, text_of(page), re.M)]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Go into a folder with the files that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    clear = n2a.simulate(shape=(64, 64), frames=6, seed=1)
    series = n2a.acquire(clear, dose=20, seed=1)
    series.save("movie.hspy")
    np.save("stack.npy", series.data)
    series.save("stack.tif")
    for folder in ("frames", "recordings"):
        Path(folder).mkdir()
    for number in range(4):
        series.inav[number].save(f"frames/frame_{number}.tif")
        series.inav[: 4 - number].save(f"recordings/film_{number}.hspy")
    hs.signals.Signal1D(np.ones((4, 20))).save("recordings/spectra.hspy")
    return tmp_path


class TestCode:
    def test_pages_have_code(self):
        assert sum(len(blocks(page)) for page in PAGES) > 30
        for page in PAGES:
            assert len(blocks(page)) == len(re.findall(r"^ *```python$", text_of(page), re.M))

    @pytest.mark.parametrize("page", [p for p in PAGES if any(not b.reason for b in blocks(p))])
    def test_it_runs(self, page, files):
        names = {}
        for block in blocks(page):
            if block.reason:
                continue
            if "dask.distributed" in block.code:
                pytest.importorskip("distributed", reason="install n2a[cluster]")
            code = block.code
            for name, stands in STANDS_FOR.items():
                code = code.replace(name, stands)
            exec(compile(code, str(BOOK / f"{page}.md"), "exec"), names)

    @pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)])
    def test_calls_name_arguments_that_there_are(self, page):
        """Also those that are not run, and those in the text."""
        sources = [block.code for block in blocks(page)]
        for call in re.findall(r"`((?:n2a|\w+\.n2a)\.\w+\([^`]*\))`", text_of(page)):
            sources.append(call.replace("...", "None"))
        for source in sources:
            for node in ast.walk(ast.parse(source)):
                if not isinstance(node, ast.Call):
                    continue
                function = called(node.func)
                if function is None:
                    continue
                known = inspect.signature(function).parameters
                if any(p.kind is p.VAR_KEYWORD for p in known.values()):
                    continue
                given = {keyword.arg for keyword in node.keywords}
                assert given <= set(known), f"{page}: {ast.unparse(node)}"


def called(function: ast.expr):
    """The function of n2a that an expression names: n2a.x, n2a.datasets.x or anything.n2a.x."""
    path = ast.unparse(function)
    if match := re.fullmatch(r"n2a\.((?:datasets\.)?\w+)", path):
        thing = n2a
        for name in match[1].split("."):
            thing = getattr(thing, name)
        return thing
    if match := re.fullmatch(r".+\.n2a\.(\w+)", path, re.S):
        return getattr(n2a.accessor.Accessor, match[1])
    return None


class TestPages:
    def contents(self) -> list[str]:
        toc = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
        chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
        return [toc["root"], *(chapter["file"] for chapter in chapters)]

    def test_contents_name_every_page_and_notebook_once(self):
        contents = self.contents()
        assert len(contents) == len(set(contents))
        notebooks = {f"notebooks/{p.stem}" for p in (REPOSITORY / "notebooks").glob("*.ipynb")}
        assert set(contents) == set(PAGES) | MADE | notebooks

    def test_tutorials_are_introduced(self):
        for path in (REPOSITORY / "notebooks").glob("*.ipynb"):
            assert f"](notebooks/{path.name})" in text_of("tutorials")

    @pytest.mark.parametrize("page", PAGES)
    def test_links_lead_somewhere(self, page):
        folder = (BOOK / page).parent
        for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
            path = target.split("#")[0]
            if not path or re.match(r"\w+:", path):
                continue
            place = (folder / path).resolve().relative_to(BOOK)
            if place.parts[0] == "notebooks":
                assert (REPOSITORY / place).is_file(), target
            elif place.with_suffix("").as_posix() not in MADE:
                assert (BOOK / place).is_file(), target

    @pytest.mark.parametrize("page", PAGES)
    def test_figures_are_there_and_described(self, page):
        figures = re.findall(r"```{figure} (\S+)\n((?::.+\n)*)", text_of(page))
        drawn = (BOOK / "figures.py").read_text(encoding="utf-8")
        for target, options in figures:
            path = (BOOK / page).parent / target
            assert f'"{path.stem}")' in drawn if "made" in path.parts else path.is_file(), target
            assert re.search(r"^:alt: .{20,}", options, re.M), f"{target} says nothing to the blind"


class TestLists:
    @pytest.fixture
    def extension(self):
        path = BOOK / "_ext" / "n2a_book.py"
        spec = importlib.util.spec_from_file_location("n2a_book", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def test_interface_is_what_the_package_exports(self, extension):
        assert set(extension.exported()) == set(n2a.__all__)
        page = extension.api_page()
        for name in n2a.__all__:
            if inspect.ismodule(getattr(n2a, name)):
                assert f"## Module `n2a.{name}`" in page
            else:
                assert f"\n   {name}\n" in page
        for name in dir(n2a.accessor.Accessor):
            if not name.startswith("_"):
                assert f"| `signal.n2a.{name}()` | " in page

    def test_every_parameter_of_a_notebook_is_described(self, extension):
        papermill = pytest.importorskip("papermill", reason="install n2a[notebooks]")
        tables = extension.parameters_tables().split("\n## ")
        tables = {t.split("\n")[0].removeprefix("## "): t for t in tables}
        for path in (REPOSITORY / "notebooks").glob("*.ipynb"):
            rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \| (.+) \|$", tables[path.stem], re.M)
            known = papermill.inspect_notebook(path)
            defaults = {name: ast.literal_eval(default) for name, default, _ in rows}
            assert defaults == {n: ast.literal_eval(e["default"]) for n, e in known.items()}

    def test_methods_are_those_that_can_be_compared(self):
        (told,) = re.findall(r"^The names: (.+?\.) ", text_of("howto/compare"), re.M | re.S)
        assert set(re.findall(r'"([\w-]+)"', told)) == {*METHODS, "n2a", "n2a-trained", "n2a-paper"}

    def test_data_sets_are_those_of_the_manifest(self, extension):
        table = extension.datasets_table()
        for entry in n2a.datasets.available().values():
            assert f"`n2a.datasets.{entry.id}()`" in table
            assert f"\n## {entry.id}\n" in table
            assert entry.licence in table

    @pytest.mark.filterwarnings("ignore:nothing of the size of atoms")
    def test_every_key_that_is_written_is_described(self):
        page = text_of("reference/metadata")
        sections = dict(re.findall(r"^## (\w+)\n((?:(?!## ).*\n?)*)", page, re.M))
        rows = {k: re.findall(r"^\| (`.+?`) \|", v, re.M) for k, v in sections.items()}
        keys = {k: re.findall(r"\w+", " ".join(v)) for k, v in rows.items()}

        series = n2a.datasets.benchmark().inav[:3].isig[:64, :64]
        denoised = series.n2a.denoise()
        written = {
            **denoised.metadata.n2a.as_dictionary(),
            **series.n2a.uncertainty(draws=2).metadata.n2a.as_dictionary(),
            **denoised.n2a.css().metadata.n2a.as_dictionary(),
            **series.n2a.compare(["gaussian"])["gaussian"].metadata.n2a.as_dictionary(),
            **n2a.acquire(
                n2a.simulate(shape=(32, 32), frames=1), dose=5
            ).metadata.n2a.as_dictionary(),
        }
        assert set(written) == set(keys)
        arguments = set(inspect.signature(n2a.acquire).parameters)
        for node, values in written.items():
            described = set(keys[node]) | (arguments if node == "acquisition" else set())
            assert set(values) <= described, node
            if node != "acquisition":
                assert described == set(values), node


def test_published_book_is_that_of_make():
    workflow = REPOSITORY / ".github" / "workflows" / "book.yml"
    steps = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]["build"]["steps"]
    assert any(step.get("run") == "make book" for step in steps)
    (artefact,) = [s for s in steps if "upload-pages-artifact" in s.get("uses", "")]
    assert artefact["with"]["path"] == "book/_build/html"
