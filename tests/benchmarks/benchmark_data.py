# SPDX-License-Identifier: GPL-3.0-or-later
"""The multislice benchmark set: loading it, and observing it at a dose.

See ``make_multislice.py`` for how it was made. Positions and images are in px, with the centre of
the first pixel at (0, 0); intensities are fractions of the incident beam until they are observed.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

DATA = Path(__file__).resolve().parent.parent / "data" / "multislice.npz"

#: Counts per pixel at the brightest typical column (95th percentile of the resolved columns).
#: For ABF the bright background between the columns gets eight times as much.
DOSES = {"low": 1.25, "mid": 5.0, "high": 40.0, "scan": 5.0}

#: Part of the noise variance that is a slow row-wise fluctuation in "scan", its decay per pixel,
#: and the part of a pixel's signal that the detector leaves to the next one.
SCAN_FRACTION, SCAN_DECAY, AFTERGLOW = 0.14, 0.97, 0.04


@dataclass(frozen=True)
class Series:
    """One series of the benchmark set.

    Attributes
    ----------
    name, title : str
        A key and a description.
    atoms : numpy.ndarray
        Truth, the atoms alone (domain C), shape (t, y, x), float32, fractions of the beam. For
        dark contrast the depth of the atoms, positive.
    support : numpy.ndarray
        The support or background alone, same shape and unit.
    sites : numpy.ndarray
        Projected columns in every frame, structured: ``frame``, ``row``, ``column`` (px),
        ``z`` (the largest atomic number), ``count`` (atoms), ``strength`` (sum of Z**1.7) and
        ``resolved`` (can be told from its neighbours in the noise-free image: a maximum within
        0.25 angstrom, with a dip of 5 % towards any higher one).
    vacancies : numpy.ndarray
        Structured: ``frame``, ``row``, ``column`` and ``count``, the number of missing atoms:
        2 stands for an empty column, 1 for a column that has lost one of two atoms.
    pixel_size : float
        In nm.
    atom_width : float
        Gaussian sigma of a single atom, px.
    contrast : str
        "bright" or "dark".
    reference : float
        The fraction of the beam that receives the nominal dose.
    detector : dict
        ``gain`` (intensity units per count), ``offset`` (intensity units), ``read_noise``
        (standard deviation in counts).
    """

    name: str
    title: str
    atoms: np.ndarray
    support: np.ndarray
    sites: np.ndarray
    vacancies: np.ndarray
    pixel_size: float
    atom_width: float
    contrast: str
    reference: float
    detector: dict


@dataclass(frozen=True)
class Observation:
    """A series as an instrument writes it, with the truth in the same units.

    Attributes
    ----------
    frames : numpy.ndarray
        Raw integers, shape (t, y, x), uint16.
    total : numpy.ndarray
        Truth of the raw intensity (atoms, support and offset), float32, intensity units.
    atoms : numpy.ndarray
        Truth of the atoms alone (domain C), float32, intensity units.
    gain, offset, read_noise : float
        Intensity units per count, intensity units, and the standard deviation of the read-out
        noise in intensity units.
    unit : float
        Intensity units per fraction of the beam.
    series : Series
        What was observed.
    """

    frames: np.ndarray
    total: np.ndarray
    atoms: np.ndarray
    gain: float
    offset: float
    read_noise: float
    unit: float
    series: Series = field(repr=False)


SITE = np.dtype(
    [("frame", "i4"), ("row", "f4"), ("column", "f4"), ("z", "i4"), ("count", "i4")]
    + [("strength", "f4"), ("resolved", "?")]
)
VACANCY = np.dtype([("frame", "i4"), ("row", "f4"), ("column", "f4"), ("count", "i4")])


def _table(rows, dtype):
    table = np.empty(len(rows), dtype)
    for index, name in enumerate(dtype.names):
        table[name] = rows[:, index]
    return table


def load_benchmark(names=None, path=DATA):
    """Load the benchmark set.

    Parameters
    ----------
    names : sequence of str, optional
        Series to load; all of them by default.
    path : str or Path, optional
        The file.

    Returns
    -------
    list of Series

    Raises
    ------
    ValueError
        For a name that the set does not contain.
    """
    with np.load(path) as file:
        facts = json.loads(str(file["facts"]))
        unknown = set(names or ()) - set(facts)
        if unknown:
            raise ValueError(f"names: {sorted(unknown)} not in the set; it has {sorted(facts)}")
        result = []
        for name in facts if names is None else names:
            fact = facts[name]
            images = {}
            for key in ("atoms", "support"):
                steps = np.cumsum(file[f"{name}/{key}"], axis=-1, dtype=np.uint16)
                images[key] = steps * np.float32(fact["scales"][key])
            empty = np.zeros((0, 4), np.float32)
            vacancies = file[f"{name}/vacancies"] if f"{name}/vacancies" in file else empty
            result.append(
                Series(
                    name=name,
                    sites=_table(file[f"{name}/sites"], SITE),
                    vacancies=_table(vacancies, VACANCY),
                    **images,
                    **{k: v for k, v in fact.items() if k != "scales"},
                )
            )
    return result


def observe(series, dose="mid", seed=0):
    """Draw a noisy series of raw integers.

    Poisson counts, Gaussian read-out noise, gain and offset, rounded to integers. The dose "scan"
    adds noise that is correlated along the fast axis: a slow row-wise fluctuation and a little
    afterglow of the detector (autocorrelation about 0.17, 0.13, 0.13, 0.12 at lags 1 to 4 along x
    and 0 along y).

    Parameters
    ----------
    series : Series
        From `load_benchmark`.
    dose : {"low", "mid", "high", "scan"} or float, optional
        A key of `DOSES`, or counts per pixel at the brightest typical column.
    seed : int, optional
        Seed of the random generator.

    Returns
    -------
    Observation
    """
    scan = dose == "scan"
    peak = DOSES[dose] if isinstance(dose, str) else float(dose)
    rng = np.random.default_rng([seed, sum(series.name.encode()), int(1000 * peak), int(scan)])
    detector = dict(series.detector)
    if scan:  # an analogue detector: afterglow cannot be seen in single counts
        detector.update(gain=max(detector["gain"], 12.0), offset=max(detector["offset"], 50.0))
    unit = peak / series.reference
    sign = -1 if series.contrast == "dark" else 1
    atoms = unit * series.atoms.astype(np.float64)
    rate = np.clip(unit * series.support + sign * atoms, 0, None)
    counts = rng.poisson(rate).astype(np.float64)
    if scan:
        white = rng.standard_normal(rate.shape)
        rows = lfilter([np.sqrt(1 - SCAN_DECAY**2)], [1, -SCAN_DECAY], white, axis=-1)
        counts += np.sqrt(rate.mean() * SCAN_FRACTION / (1 - SCAN_FRACTION)) * rows
        counts[..., 1:] += AFTERGLOW * (counts[..., :-1] - counts[..., 1:])
    counts += detector["read_noise"] * rng.standard_normal(counts.shape)
    gain, offset = detector["gain"], detector["offset"]
    frames = np.clip(np.rint(gain * counts + offset), 0, np.iinfo(np.uint16).max)
    return Observation(
        frames=frames.astype(np.uint16),
        total=(gain * rate + offset).astype(np.float32),
        atoms=(gain * atoms).astype(np.float32),
        gain=gain,
        offset=offset,
        read_noise=gain * detector["read_noise"],
        unit=gain * unit,
        series=series,
    )
