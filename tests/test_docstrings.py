# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example in the documentation runs and says what it prints."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import n2a

MODULES = sorted(m.name for m in pkgutil.iter_modules(n2a.__path__, "n2a.") if not m.ispkg)


def examples(module):
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [test for test in finder.find(module) if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    report = []
    for test in examples(module):
        runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)


@pytest.mark.parametrize("name", [n for n in n2a.__all__ if n != "datasets"])  # a module
def test_public_names_have_a_documented_example(name):
    thing = getattr(n2a, name)
    text = inspect.getdoc(thing)
    assert text
    assert "Examples\n--------" in text
    assert ">>> " in text


@pytest.mark.parametrize("name", [n for n in n2a.__all__ if inspect.isfunction(getattr(n2a, n))])
def test_every_parameter_is_described(name):
    function = getattr(n2a, name)
    text = inspect.getdoc(function)
    described = text.split("Parameters\n----------")[-1].split("\n---")[0]
    entries = {
        part.strip("* ") for line in described.splitlines() if not line.startswith(" ")
        for part in line.split(",")
    }  # fmt: skip
    assert set(inspect.signature(function).parameters) <= entries
