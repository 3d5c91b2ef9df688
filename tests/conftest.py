# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests share: no windows, no progress bars, and where the real files are."""

import os
import signal
import sys
from pathlib import Path

import hyperspy.api as hs
import matplotlib
import pytest

import n2a

# For this process only: MPLBACKEND would also take the figures from the notebooks' kernels.
matplotlib.use("Agg")


@pytest.fixture(scope="session", autouse=True)
def no_progress_bars():
    hs.preferences.General.show_progressbar = False


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_interrupts():
    # What a shell starts in the background ignores it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def real_file():
    """Give a function: the file of a data set, or a skip of the test where it is absent. Nothing is downloaded."""

    def path_of(name: str) -> Path:
        path = n2a.datasets.find(name)
        if path is None:
            named = os.environ.get("N2A_DATA_DIR", "")
            pytest.skip(
                f"the file of the data set {name!r} is absent: run n2a.datasets.{name}(), or put it into a folder "
                f"and name that in N2A_DATA_DIR (now '{named}')"
            )
        return path

    return path_of
