# SPDX-License-Identifier: GPL-3.0-or-later
"""Series to try things on: ``n2a.datasets.mos2()`` loads one, ``n2a.datasets.available()`` lists them.

What is known of each stands in ``data_manifest/``, one YAML file per data set. Files are looked for in the folder that
the environment variable ``N2A_DATA_DIR`` names, then in the user's cache; where they are in neither they are downloaded
into the cache (pooch, extra ``data``). Every file is compared with its SHA-256 before it is used.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from n2a.downloads import cache_folder, download, find
from n2a.manifest import Dataset, available, package_path

if TYPE_CHECKING:
    from hyperspy.api.signals import Signal2D

__all__ = [
    "abf_srtio3",
    "available",
    "benchmark",
    "cache_folder",
    "download",
    "find",
    "mos2",
    "nanoparticle",
    "noise2atom_stack",
    "simulated",
]


def _calibrate(signal: Signal2D, entry: Dataset) -> Signal2D:
    """Give a signal the axes of its entry, in place."""
    manager = signal.axes_manager
    axes = sorted((*manager.navigation_axes, *manager.signal_axes), key=lambda a: a.index_in_array)
    shape = list(signal.data.shape)
    if len(shape) != len(entry.shape):
        raise ValueError(
            f"The file {entry.file!r} of the data set {entry.id!r} holds an array of shape {shape}, the manifest "
            f"expects {entry.shape}. Load it with hyperspy.api.load, and please report it."
        )
    if shape != entry.shape:
        warnings.warn(
            f"The file {entry.file!r} of the data set {entry.id!r} has the shape {shape}, where the manifest, which "
            f"nobody could check, says {entry.shape}. The scales of its axes may be wrong too.",
            UserWarning,
            stacklevel=4,
        )
    for axis, known in zip(axes, entry.axes):
        for key in ("name", "offset", "scale", "units"):
            if known[key] is not None:
                setattr(axis, key, known[key])
    return _labelled(signal, entry)


def _labelled(signal: Signal2D, entry: Dataset, title: str | None = None) -> Signal2D:
    """Write down in the metadata what the signal is, in place."""
    from n2a.signals import record

    signal.metadata.General.title = title or entry.title
    told = {key: getattr(entry, key) for key in ("id", "source", "licence", "citation")}
    record(signal, "dataset", told)
    return signal


def _load(name: str, lazy: bool, show_progressbar: bool | None) -> Signal2D:
    """Load the file of a data set, from where it is or from the cache after a download."""
    import hyperspy.api as hs
    from hyperspy.exceptions import VisibleDeprecationWarning

    entry = available()[name]
    path = find(name) or download(name, cache_folder(), show_progressbar=show_progressbar)
    with warnings.catch_warnings():
        # Nothing that a user could do: an older HyperSpy wrote the file.
        warnings.filterwarnings("ignore", "Loading old file", VisibleDeprecationWarning)
        signal = hs.load(path, lazy=lazy)
    return _calibrate(signal, entry)


def mos2(lazy: bool = False, *, show_progressbar: bool | None = None) -> Signal2D:
    """Load an ADF-STEM image of monolayer MoS2 with implanted Se.

    Defects and bright dopants, 60 kV, 12.7 pm per pixel, noise along the scan lines. From the package temul-toolkit
    0.1.9, GPL-3.0; 13 MB are downloaded at the first call.

    Parameters
    ----------
    lazy
        Whether the signal is lazy.
    show_progressbar
        Of a download. Default: HyperSpy's preference.

    Returns
    -------
    hyperspy.api.signals.Signal2D
        1024 × 1024, uint32, calibrated in nm. ``metadata.n2a.dataset`` has source, licence and citation.

    Raises
    ------
    ConnectionError, ImportError, ValueError
        As :func:`download` and :func:`find`.

    Examples
    --------
    >>> import n2a
    >>> n2a.datasets.mos2().n2a.denoise().plot()  # doctest: +SKIP
    """
    return _load("mos2", lazy, show_progressbar)


def abf_srtio3(lazy: bool = False, *, show_progressbar: bool | None = None) -> Signal2D:
    """Load an ABF-STEM series of SrTiO3.

    Dark atoms, 9.2 pm per pixel, drift of 3 to 9 pixels between frames, noise along the scan lines. From the repository
    hyperspy/hyperspy-demos, which states no licence; 2.6 MB are downloaded at the first call.

    Parameters
    ----------
    lazy
        Whether the signal is lazy.
    show_progressbar
        Of a download. Default: HyperSpy's preference.

    Returns
    -------
    hyperspy.api.signals.Signal2D
        5 frames of 512 × 512, uint16, calibrated in nm. ``metadata.n2a.dataset`` has source, licence and citation.

    Raises
    ------
    ConnectionError, ImportError, ValueError
        As :func:`download` and :func:`find`.

    Examples
    --------
    >>> import n2a
    >>> n2a.datasets.abf_srtio3().n2a.denoise().plot()  # doctest: +SKIP
    """
    return _load("abf_srtio3", lazy, show_progressbar)


def noise2atom_stack(lazy: bool = True, *, show_progressbar: bool | None = None) -> Signal2D:
    """Load the stack that the authors of Noise2Atom publish: 100 frames of 2048 × 2048 pixels.

    8.8 pm per pixel, as the name of the file says. From a release of fengwang/Noise2Atom (AGPL-3.0). The address, the
    hash and the size of the file are not known to be right.

    Parameters
    ----------
    lazy
        Whether the signal is lazy. Default: yes, for its size.
    show_progressbar
        Of a download. Default: HyperSpy's preference.

    Returns
    -------
    hyperspy.api.signals.Signal2D
        Calibrated in nm. ``metadata.n2a.dataset`` has source, licence and citation.

    Raises
    ------
    ConnectionError, ImportError, ValueError
        As :func:`download` and :func:`find`.

    Examples
    --------
    >>> import n2a
    >>> series = n2a.datasets.noise2atom_stack().inav[:8].isig[:512, :512]  # doctest: +SKIP
    """
    return _load("noise2atom_stack", lazy, show_progressbar)


def nanoparticle(lazy: bool = False, *, show_progressbar: bool | None = None) -> Signal2D:
    """Load an ADF-STEM series of a nanoparticle: 50 frames of 256 × 256 pixels, 4 per second.

    The experimental example of PGURE-SVT (tjof2/pgure-svt, GPL-3.0). The size of a pixel is not known, and the address,
    the hash and the size of the file are not known to be right.

    Parameters
    ----------
    lazy
        Whether the signal is lazy.
    show_progressbar
        Of a download. Default: HyperSpy's preference.

    Returns
    -------
    hyperspy.api.signals.Signal2D
        The time axis in s. ``metadata.n2a.dataset`` has source, licence and citation.

    Raises
    ------
    ConnectionError, ImportError, ValueError
        As :func:`download` and :func:`find`.

    Examples
    --------
    >>> import n2a
    >>> n2a.datasets.nanoparticle().n2a.denoise().plot()  # doctest: +SKIP
    """
    return _load("nanoparticle", lazy, show_progressbar)


def simulated(part: str = "frames", *, lazy: bool = False) -> Signal2D:
    """Simulate the series of the manifest: a platinum cluster that turns and drifts, at a low dose.

    Parameters
    ----------
    part
        "frames" for the noisy series, "atoms" for the truth: the atoms alone, in the same units.
    lazy
        Whether the signal is lazy.

    Returns
    -------
    hyperspy.api.signals.Signal2D
        16 frames of 192 × 192, in counts, calibrated in nm and s. :func:`n2a.atoms_of` gives the places of the atoms.

    Raises
    ------
    ValueError
        If there is no such part.

    Examples
    --------
    >>> import n2a
    >>> n2a.datasets.simulated()
    <Signal2D, title: Pt clusters, simulated, dimensions: (16|192, 192)>
    """
    from n2a.simulator import acquire, simulate

    _check_part(part, ("frames", "atoms"))
    entry = available()["simulated"]
    truth = simulate(**entry.parameters["simulate"])
    signal = acquire(truth, **entry.parameters["acquire"])
    if part == "atoms":
        truth *= signal.metadata.n2a.acquisition.counts_per_unit
        signal = truth
    signal.metadata.Signal.quantity = "Counts"
    _labelled(signal, entry)
    return signal.as_lazy() if lazy else signal


def benchmark(
    series: str = "cluster",
    dose: str | float = "mid",
    part: str = "frames",
    *,
    seed: int = 0,
    lazy: bool = False,
) -> Signal2D:
    """Load a series of the benchmark set, whose truth is known: multislice images with noise drawn on them.

    Parameters
    ----------
    series
        "cluster", "hopping", "hopping_coarse", "mos2", "gold_edge", "empty", "sto_haadf" or "sto_abf".
    dose
        "low" (1.25 counts per pixel on a typical bright column), "mid" (5), "high" (40), "scan" (5, with noise along
        the lines), or the number of counts.
    part
        "frames" for the noisy series, "atoms" for the truth of the atoms alone (of dark ones their depth), "total" for
        that of atoms and background.
    seed
        The same seed gives the same noise.
    lazy
        Whether the signal is lazy.

    Returns
    -------
    hyperspy.api.signals.Signal2D
        Series of 128 × 128 pixels in the units of its detector, calibrated in nm; uint16, the truth float32.
        :func:`n2a.atoms_of` gives the columns that the noise-free image shows apart from their neighbours, with its
        value there as their intensity.

    Raises
    ------
    ValueError
        If there is no such series, dose or part.

    Examples
    --------
    >>> import n2a
    >>> noisy = n2a.datasets.benchmark("mos2", "low")
    >>> noisy
    <Signal2D, title: MoS2 with S vacancies, W and Pt dopants, dimensions: (7|128, 128)>
    >>> truth = n2a.datasets.benchmark("mos2", "low", "atoms")
    """
    import runpy

    import numpy as np
    from hyperspy.api import signals

    from n2a.signals import attach_atoms, check_positive

    # The set belongs to the tests, which every installation has, and is read by their module alone.
    tools = runpy.run_path(str(package_path("tests/benchmarks/benchmark_data.py")))
    _check_part(part, ("frames", "atoms", "total"))
    entry = available()["benchmark"]
    if series not in entry.series:
        raise ValueError(f"'series' is {series!r}; expected one of {list(entry.series)}")
    if isinstance(dose, str) and dose not in tools["DOSES"]:
        raise ValueError(f"'dose' is {dose!r}; expected one of {list(tools['DOSES'])} or a number")
    dose = dose if isinstance(dose, str) else check_positive("dose", dose)
    (known,) = tools["load_benchmark"]([series])
    seen = tools["observe"](known, dose, seed)
    images = getattr(seen, part)
    scale = known.pixel_size
    axes = [{"name": "frame", "size": len(images), "navigate": True}] + [
        {"name": name, "size": size, "scale": scale, "units": "nm", "navigate": False}
        for name, size in zip("yx", images.shape[1:])
    ]
    signal = signals.Signal2D(images, axes=axes)
    sites = known.sites[known.sites["resolved"]]
    pixels = np.rint([sites["frame"], sites["row"], sites["column"]]).astype(int)
    limits = np.array(images.shape)[:, None] - 1
    heights = seen.atoms[tuple(np.clip(pixels, 0, limits))]
    table = [sites["frame"], sites["row"] * scale, sites["column"] * scale, heights]
    attach_atoms(signal, np.stack(table, axis=1), np.empty((0, 2)))
    _labelled(signal, entry, known.title)
    return signal.as_lazy() if lazy else signal


def _check_part(part: str, parts: tuple[str, ...]) -> None:
    if part not in parts:
        raise ValueError(f"'part' is {part!r}; expected one of {list(parts)}")
