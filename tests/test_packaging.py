# SPDX-License-Identifier: GPL-3.0-or-later
"""The package as it is installed and imported, and its files of names and versions in step."""

import re
import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import n2a

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]

needs_repository = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="installed without the repository's files"
)

CONDA_NAMES = {
    "dask": "dask-core",
    "hyperspy": "hyperspy-base",
    "matplotlib": "matplotlib-base",
    "torch": "pytorch",
}


def project_requirements() -> dict[str, list[Requirement]]:
    """Group name to requirements; the group of the runtime dependencies is ''."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {
        group: [r for r in map(Requirement, lines) if r.name != "n2a"]
        for group, lines in groups.items()
    }


def floor(requirement: Requirement) -> str:
    (specifier,) = [s for s in requirement.specifier if s.operator == ">="]
    return specifier.version


def modules_after(statements: str) -> set[str]:
    """Names in sys.modules once a fresh interpreter has run the statements."""
    code = f"{statements}\nimport sys\nprint('\\n'.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


class TestImport:
    def test_leaves_the_heavy_libraries_for_their_first_use(self):
        loaded = modules_after("import hyperspy.api as hs, n2a")
        heavy = {"torch", "matplotlib.pyplot", "skimage", "ipywidgets", "safetensors", "IPython"}
        assert not loaded & heavy

    def test_adds_little_to_hyperspy(self):
        hyperspy = "import hyperspy.api as hs, hyperspy.signal"
        added = modules_after(f"{hyperspy}\nimport n2a") - modules_after(hyperspy)
        packages = {name.split(".")[0] for name in added} - sys.stdlib_module_names
        assert packages <= {"n2a", "lazy_loader"}

    def test_registers_the_accessor(self):
        modules_after("import n2a\nfrom hyperspy.signal import BaseSignal\nBaseSignal.n2a")


def test_version_is_that_of_the_installed_distribution():
    assert n2a.__version__ == version("n2a")


def test_all_and_tests_are_extras_of_the_distribution():
    extras = {m for line in requires("n2a") for m in re.findall(r"extra == ['\"](\w+)", line)}
    assert {"all", "tests"} <= extras


@needs_repository
class TestRequirements:
    def environment(self) -> dict[str, Requirement]:
        content = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
        return {canonicalize_name((r := Requirement(d)).name): r for d in content["dependencies"]}

    def test_no_runtime_requirement_has_an_upper_cap(self):
        for requirement in project_requirements()[""]:
            assert {s.operator for s in requirement.specifier} == {">="}, str(requirement)

    def test_environment_has_every_runtime_requirement(self):
        names = {
            canonicalize_name(CONDA_NAMES.get(r.name, r.name)) for r in project_requirements()[""]
        }
        assert names <= set(self.environment())

    def test_environment_has_the_floors_of_the_project(self):
        environment = self.environment()
        compared = 0
        for requirements in project_requirements().values():
            for r in requirements:
                name = canonicalize_name(CONDA_NAMES.get(r.name, r.name))
                if name in environment:
                    assert floor(environment[name]) == floor(r), (
                        f"{name}: {environment[name]} | {r}"
                    )
                    compared += 1
        assert compared >= len(project_requirements()[""])

    def test_environment_and_project_want_the_same_python(self):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert str(self.environment()["python"].specifier) == project["requires-python"]

    def test_constraints_hold_a_version_that_each_requirement_accepts(self):
        lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        held = [Requirement(line) for line in lines if line and not line.startswith("#")]
        held = {canonicalize_name(r.name): r for r in held}
        for requirements in project_requirements().values():
            for r in requirements:
                if r.name == "tomli":  # the Python of the constraints needs none
                    continue
                (pin,) = held[canonicalize_name(r.name)].specifier
                assert pin.operator == "=="
                assert r.specifier.contains(pin.version), f"{pin} is not {r}"

    def test_pre_commit_runs_the_versions_of_the_constraints(self):
        config = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
        constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        hooks = yaml.safe_load(config)["repos"][0]["hooks"]
        pins = {pin for hook in hooks for pin in hook["additional_dependencies"]}
        assert pins
        assert pins <= set(constraints)


@needs_repository
class TestCitation:
    @pytest.fixture
    def citation(self):
        return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))

    def test_names_this_version(self, citation):
        assert citation["cff-version"] == "1.2.0"
        assert citation["version"] == n2a.__version__

    def test_prefers_the_paper(self, citation):
        paper = citation["preferred-citation"]
        assert paper["type"] == "article"
        assert paper["doi"] == "10.1186/s42649-020-00041-8"
        assert [a["family-names"] for a in paper["authors"]] == [
            "Wang",
            "Henninen",
            "Keller",
            "Erni",
        ]


@needs_repository
class TestReadme:
    README = ROOT / "README.md"

    def badge(self, name):
        """Texts of a badge, which the README shows with the same words."""
        path = f"book/images/badge_{name}.svg"
        texts = re.findall(r"<text .+?>(.+)</text>", (ROOT / path).read_text(encoding="utf-8"))
        (told,) = re.findall(rf"!\[([^]]+)\]\({path}\)", self.README.read_text(encoding="utf-8"))
        assert told == " ".join(texts)
        return texts[1]

    def test_badges_say_what_the_project_says(self):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        (hyperspy,) = [r for r in project_requirements()[""] if r.name == "hyperspy"]
        citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
        assert f">={self.badge('python').removesuffix(' or newer')}" == project["requires-python"]
        assert self.badge("hyperspy") == f"{floor(hyperspy)} or newer"
        assert self.badge("licence") == project["license"]
        assert self.badge("paper") == citation["preferred-citation"]["doi"]

    def test_pictures_and_links_are_there(self):
        for target in re.findall(r"\]\(([^)\s]+)\)", self.README.read_text(encoding="utf-8")):
            if not re.match(r"\w+:|#", target):
                assert (ROOT / target).exists(), target
