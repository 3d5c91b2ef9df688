# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests share: no windows, no progress bars, and where the real files are."""

import os
import sys
from pathlib import Path

import hyperspy.api as hs
import matplotlib
import pytest

# For this process only: MPLBACKEND would also take the figures from the notebooks' kernels.
matplotlib.use("Agg")

REAL_FILES = ("example_Se_implanted_MoS2.dm3", "stem_abf_data_imagestack.hspy")


@pytest.fixture(scope="session", autouse=True)
def no_progress_bars():
    hs.preferences.General.show_progressbar = False


@pytest.fixture(autouse=True)
def close_figures():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Give the folder of the real microscope files, or skip the test where they are not."""
    folder = os.environ.get("N2A_DATA_DIR", "")
    missing = [name for name in REAL_FILES if not folder or not (Path(folder) / name).is_file()]
    if missing:
        pytest.skip(
            f"real files are absent: set N2A_DATA_DIR (now '{folder}') to the folder that holds "
            f"{' and '.join(missing)}; data_manifest/ says where they come from"
        )
    return Path(folder)
