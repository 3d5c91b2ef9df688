# SPDX-License-Identifier: GPL-3.0-or-later
"""`signal.n2a`: where it is, where it is not and why, and what it costs to have it."""

import importlib
import inspect
import subprocess
import sys

import hyperspy.api as hs
import numpy as np
import pytest

import n2a


@pytest.fixture
def series():
    frames = np.random.default_rng(0).poisson(5, (4, 20, 24)).astype(np.float32)
    return hs.signals.Signal2D(frames)


def css_of(signal):
    return signal.n2a.css(data_range=10, show_progressbar=False).data


def test_every_way_to_make_a_signal_keeps_it(series, tmp_path):
    series.save(tmp_path / "series.hspy")
    roi = hs.roi.RectangularROI(left=2, right=20, top=1, bottom=18)
    for made in (
        series.deepcopy(),
        series.copy(),
        series.as_lazy(),
        series.inav[1:],
        series.isig[:12, :12],
        series.T.T,
        roi(series),
        hs.load(tmp_path / "series.hspy"),
        hs.load(tmp_path / "series.hspy", lazy=True),
    ):
        assert np.isfinite(css_of(made)).all()


def test_a_copy_has_its_own(series):
    accessor = series.n2a
    other = series.copy()
    other.data = series.data[::-1]
    np.testing.assert_allclose(css_of(other), css_of(series)[::-1])
    assert not np.array_equal(css_of(other), css_of(series))
    np.testing.assert_array_equal(
        accessor.css(data_range=10, show_progressbar=False).data, css_of(series)
    )


def test_a_subclass_has_it(series):
    class OtherSignal(hs.signals.Signal2D):
        _signal_type = "other"

    np.testing.assert_array_equal(css_of(OtherSignal(series.data)), css_of(series))


def rgb():
    s = hs.signals.Signal1D(np.arange(5 * 6 * 3, dtype="u1").reshape(5, 6, 3))
    s.change_dtype("rgb8")
    return s


@pytest.mark.parametrize(
    ("signal", "remedy", "cure"),
    [
        (
            hs.signals.Signal1D(np.ones((3, 5, 6))),
            r"transpose\(signal_axes=2\)",
            lambda s: s.transpose(signal_axes=2),
        ),
        (
            hs.signals.BaseSignal(np.ones((3, 5, 6))),  # as loaded from .npy
            r"transpose\(signal_axes=2\)",
            lambda s: s.transpose(signal_axes=2),
        ),
        (hs.signals.ComplexSignal2D(np.ones((5, 6)) * 1j), r"s\.real", lambda s: s.real),
        (
            hs.signals.Signal2D(np.ones((5, 6), bool)),
            r"change_dtype\('uint8'\)",
            lambda s: s.change_dtype("uint8") or s,
        ),
        (
            rgb(),
            r"mean\(-1\)",
            lambda s: (s.change_dtype("uint8"), s.mean(-1).as_signal2D((0, 1)))[1],
        ),
    ],
    ids=["1D", "undetermined", "complex", "bool", "rgb"],
)
def test_other_data_are_told_the_remedy(signal, remedy, cure):
    assert not hasattr(signal, "n2a")
    with pytest.raises(AttributeError, match=remedy):
        _ = signal.n2a
    assert hasattr(cure(signal), "n2a")


def test_class_access_gives_the_documentation():
    accessor = hs.signals.Signal2D.n2a
    assert inspect.isclass(accessor)
    assert "denoise" in accessor.__doc__
    for name in ("denoise", "css", "simulate_like"):
        assert "Parameters" in getattr(accessor, name).__doc__


def test_completion_and_repr(series):
    assert "n2a" in dir(series)
    assert {"denoise", "css", "simulate_like"} <= set(dir(series.n2a))
    assert "(4|24, 20)" in repr(series.n2a)


@pytest.mark.parametrize("name", ["denoise", "css", "simulate_like"])
def test_methods_take_what_the_functions_take(name):
    def arguments(function):
        given = list(inspect.signature(function).parameters.values())[1:]
        return [(p.name, p.kind, p.default) for p in given]

    method = getattr(hs.signals.Signal2D.n2a, name)
    assert arguments(method) == arguments(getattr(n2a, name))


def test_import_twice_is_harmless(series):
    before = css_of(series)
    importlib.reload(n2a.accessor)
    np.testing.assert_array_equal(css_of(series), before)


def test_module_of_css_does_not_hide_the_function():
    # A submodule called like a function of the package replaces it once it is imported.
    for name in n2a.__all__:
        # `datasets` is a module on purpose.
        assert inspect.ismodule(getattr(n2a, name)) == (name == "datasets"), name


def test_import_loads_nothing_heavy():
    code = (
        "import sys, hyperspy.api, hyperspy.signal; before = set(sys.modules); import n2a; "
        "new = {m.partition('.')[0] for m in set(sys.modules) - before}; "
        "print(sorted(new & {'torch', 'skimage', 'matplotlib', 'scipy', 'dask', 'tqdm'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
