# SPDX-License-Identifier: GPL-3.0-or-later
"""Domain C, clear images of atoms whose positions are known, and the microscope that makes domain S of them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import shift

from n2a import acquisition, structures
from n2a.rendering import render

if TYPE_CHECKING:
    from hyperspy.api.signals import Signal2D

STRUCTURES = ("cluster", "crystal", "2d", "atoms", "empty")
ATOM_FIELDS = ("frame", "y", "x", "intensity")
FWHM = 2 * np.sqrt(2 * np.log(2))


@dataclass
class Atoms:
    """Columns of a series in pixels: (t, n, 2) positions as (y, x), (t, n) intensities, (t, 2) drift of the scene."""

    positions: np.ndarray
    intensities: np.ndarray
    path: np.ndarray

    def table(self, shape: tuple[int, int]) -> np.ndarray:
        """Rows (frame, y, x, intensity) of the columns that lie inside the images, in pixels."""
        frame = np.broadcast_to(np.arange(len(self.positions))[:, None], self.intensities.shape)
        rows = np.column_stack(
            [frame.ravel(), self.positions.reshape(-1, 2), self.intensities.ravel()]
        )
        inside = (rows[:, 1:3] >= -0.5) & (rows[:, 1:3] < np.array(shape) - 0.5)
        return rows[inside.all(axis=1) & (rows[:, 3] > 0)]


def simulate(
    mode: str = "physical",
    structure: str = "cluster",
    *,
    shape: tuple[int, int] = (128, 128),
    frames: int = 8,
    scale: float = 0.0125,
    frame_time: float = 0.1,
    n_atoms: int = 55,
    number: int = 1,
    kind: str = "fcc",
    nearest: float = 0.277,
    atomic_number: float = 78,
    pattern: str = "mos2",
    spacing: float | None = None,
    thickness: int = 1,
    edge: bool = False,
    vacancies: float = 0.0,
    dopants: float = 0.0,
    probe: float = 0.08,
    source: float = 0.06,
    drift: float = 0.005,
    rotation: float = 1.0,
    hop: float = 0.02,
    seed: int = 0,
) -> Signal2D:
    """Simulate a series of clear atomic images (domain C).

    Parameters
    ----------
    mode
        ``"physical"``: columns of atoms in projection that add up, brightness by Z contrast, seen by a
        Gaussian probe. ``"paper"``: the recipe of Noise2Atom; every frame is another random image, the
        middle of a canvas with 75 to 150 spots per 256 x 256 pixels, scaled to 0..1; of the parameters
        only `shape`, `frames`, `scale`, `frame_time` and `seed` count.
    structure
        ``"cluster"`` (`number` clusters of `n_atoms` atoms and a few single atoms beside them), ``"crystal"``
        (columns in a zone axis), ``"2d"`` (a monolayer), ``"atoms"`` (`n_atoms` single atoms), ``"empty"``.
    shape
        Height and width of the frames in pixels.
    frames
        Number of frames; 0 gives a single image without navigation axis.
    scale
        Pixel size in nm.
    frame_time
        Time between frames in s.
    n_atoms, number
        Atoms per cluster (1 to a few hundred), clusters; or number of single atoms.
    kind
        Of clusters: ``"fcc"``, ``"icosahedral"`` or ``"amorphous"``.
    nearest
        Nearest-neighbour distance in clusters in nm.
    atomic_number
        Of clusters and single atoms. Patterns bring their own.
    pattern
        Key of :data:`n2a.structures.PATTERNS`, for crystals and 2D materials.
    spacing
        Length that the pattern's cell is measured in, nm; by default 0.2 for crystals and 0.183 for 2D materials.
    thickness
        Atoms per column of a crystal.
    edge
        Cut a crystal or monolayer along a random line.
    vacancies, dopants
        Fractions of empty and of brighter columns.
    probe, source
        Full widths at half maximum of the probe and of the effective source in nm; they add in quadrature.
    drift
        Typical drift of the whole scene in nm per frame.
    rotation
        Typical tumbling of clusters in degrees per frame.
    hop
        Probability per frame that a single atom hops to another place.
    seed
        The same seed gives the same series.

    Returns
    -------
    Signal2D
        float32, calibrated. One platinum atom has the height 1 in mode ``"physical"``. :func:`atoms_of` gives
        the positions and intensities of the columns.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    F. Wang et al., Applied Microscopy 50:23 (2020), doi:10.1186/s42649-020-00041-8 (mode ``"paper"``).
    S. J. Pennycook, D. E. Jesson, Acta Metall. Mater. 40, S149 (1992) (Z contrast).

    Examples
    --------
    >>> import n2a
    >>> clean = n2a.simulate(structure="2d", shape=(64, 96), frames=3, vacancies=0.05)
    >>> clean
    <Signal2D, title: simulated 2d, dimensions: (3|96, 64)>
    """
    _check_choice("mode", mode, ("physical", "paper"))
    _check_choice("structure", structure, STRUCTURES)
    height, width = _check_shape(shape)
    if spacing is None:
        spacing = 0.183 if structure == "2d" else 0.2
    positive = dict(scale=scale, frame_time=frame_time, nearest=nearest, probe=probe, spacing=spacing,
                    atomic_number=atomic_number)  # fmt: skip
    for name, value in positive.items():
        if not 0 < value < np.inf:
            raise ValueError(f"'{name}' is {value!r}; expected a positive number")
    for name, value in (("source", source), ("drift", drift), ("rotation", rotation)):
        if not 0 <= value < np.inf:
            raise ValueError(f"'{name}' is {value!r}; expected a number of at least 0")
    for name, value in (("vacancies", vacancies), ("dopants", dopants), ("hop", hop)):
        if not 0 <= value <= 1:
            raise ValueError(f"'{name}' is {value!r}; expected a fraction between 0 and 1")
    counts = dict(frames=frames, n_atoms=n_atoms, number=number, thickness=thickness)
    for name, value in counts.items():
        least = 0 if name == "frames" else 1
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"'{name}' is {value!r}; expected a whole number of at least {least}")
    rng = np.random.default_rng(seed)
    count = max(1, frames)
    if mode == "paper":
        images, atoms = paper_images(count, (height, width), rng)
        title = "simulated after Noise2Atom"
    else:
        sigma = np.hypot(probe, source) / FWHM / scale
        atoms = _physical(
            structure, count, (height, width), rng, n_atoms=n_atoms, number=number, kind=kind,
            nearest=nearest / scale, brightness=float(structures.z_contrast(atomic_number)), pattern=pattern,
            spacing=spacing / scale, thickness=thickness, edge=edge, vacancies=vacancies, dopants=dopants,
            drift=drift / scale, rotation=np.deg2rad(rotation), hop=hop,
        )  # fmt: skip
        images = render(
            torch.from_numpy(atoms.positions),
            torch.from_numpy(atoms.intensities),
            torch.full((count,), sigma, dtype=torch.float64),
            (height, width),
        ).numpy()
        title = f"simulated {structure}"
    return _signal(images, atoms, frames, scale, frame_time, title)


def simulate_like(
    signal, mode: str = "physical", structure: str = "cluster", **parameters
) -> Signal2D:
    """Simulate a series with the size, scale, atom width, spacing and density of another.

    Parameters
    ----------
    signal
        Series whose frame size, number of frames, calibration and atom width are taken over; and, where the weights
        in the box find atoms in it, the distance between neighbours (`nearest` or `spacing`) and, for the structure
        ``"atoms"``, their number. Without a calibration in nm, the pixel size is chosen so that its atoms are 0.1 nm
        wide (full width at half maximum).
    mode, structure, **parameters
        As in :func:`simulate`; they go before what is measured.

    Returns
    -------
    Signal2D
        As from :func:`simulate`.

    Raises
    ------
    ValueError
        If `signal` holds no real images, or an argument is out of range.

    Examples
    --------
    >>> import n2a
    >>> series = n2a.acquire(n2a.simulate(shape=(64, 64), frames=3), dose=50)
    >>> n2a.simulate_like(series, structure="atoms", n_atoms=9)
    <Signal2D, title: simulated atoms, dimensions: (3|64, 64)>
    """
    from n2a.layout import NEAREST
    from n2a.matching import measure_features
    from n2a.model import get_model
    from n2a.patches import NoisySeries
    from n2a.plan import plan_series
    from n2a.signals import check_images, pixel_size, sample_frames, stack_frames

    known = set(inspect.signature(simulate).parameters)
    if unknown := set(parameters) - known:
        raise TypeError(f"unknown arguments {sorted(unknown)}; simulate takes {sorted(known)}")
    check_images(signal)
    size = pixel_size(signal)
    frames = stack_frames(signal)
    sample = sample_frames(frames)
    plan = plan_series(sample, pixel_size=size)
    scale = size or 0.1 / FWHM / plan.atom_width
    measured = {
        "shape": frames.shape[-2:],
        "frames": int(np.prod(frames.shape[:-2]))
        if signal.axes_manager.navigation_dimension
        else 0,
        "scale": scale,
        "probe": plan.atom_width * scale * FWHM,
        "source": 0.0,
    }
    if mode == "physical" and structure != "empty":
        generator = get_model().generator
        layout = measure_features(
            NoisySeries(sample, plan, generator.window, use_time=False), generator, samples=4
        ).layout
        if layout is not None:
            distance = layout.spacing[1] * plan.factor * scale
            if structure == "atoms":
                area = np.prod(parameters.get("shape", frames.shape[-2:]))
                number = layout.density[1] / plan.factor**2 * area
                measured["n_atoms"] = max(1, round(float(number)))
            elif structure == "cluster":
                measured["nearest"] = NEAREST * distance
            else:
                measured["spacing"] = distance
    return simulate(mode, structure, **{**measured, **parameters})


def acquire(
    clean,
    dose: float,
    *,
    support: float = 0.2,
    texture: float = 0.1,
    texture_length: float = 0.1,
    slope: float = 0.1,
    gain: float = 1.0,
    offset: float = 0.0,
    read_noise: float = 0.0,
    row_jitter: float = 0.0,
    afterglow: float = 0.0,
    afterglow_decay: float = 2.0,
    line_noise: float = 0.0,
    line_decay: float = 20.0,
    drift: float = 0.0,
    defects: float = 0.0,
    dtype: str | np.dtype = "uint16",
    seed: int = 0,
) -> Signal2D:
    """Record clear images with a microscope: a noisy series (domain S).

    Parameters
    ----------
    clean
        Series from :func:`simulate`, or any signal of non-negative images.
    dose
        Counts per pixel at the highest intensity of `clean`, or at intensity 1 when it is empty.
    support
        Mean intensity of the support film, as a fraction of the highest intensity.
    texture, texture_length
        Relative standard deviation of the film's thickness, and the length in nm (in pixels without calibration)
        over which it varies.
    slope
        Relative change of the film's intensity across the frame.
    gain, offset
        Intensity units per count, and intensity units at zero counts.
    read_noise
        Standard deviation of the read-out noise in counts.
    row_jitter
        Standard deviation of the displacement of each scan line along x, in pixels.
    afterglow, afterglow_decay
        Fraction (0 to 1) of each pixel's signal that arrives in the next ones of its line, and its decay in pixels.
    line_noise, line_decay
        Standard deviation in counts of noise that is correlated along the fast axis, and its decay length in pixels.
    drift
        Drift of the scene in pixels per frame, in a random direction; new regions repeat the edge.
    defects
        Fraction of the pixels, per frame, that are dead (0) or hot (ten times the dose).
    dtype
        Data type; integers are rounded and clipped, as an instrument does.
    seed
        The same seed gives the same noise.

    Returns
    -------
    Signal2D
        With the axes of `clean`; ``metadata.n2a.acquisition`` has the parameters, and :func:`atoms_of` still
        gives the atoms, at their displaced positions.

    Raises
    ------
    ValueError
        If `clean` is negative or not finite, or an argument is out of range.

    Examples
    --------
    >>> import n2a
    >>> noisy = n2a.acquire(n2a.simulate(shape=(64, 64), frames=3), dose=20, read_noise=0.5)
    >>> noisy.data.dtype
    dtype('uint16')
    """
    from n2a.signals import (
        attach_atoms,
        attached_atoms,
        check_images,
        pixel_size,
        record,
        stack_frames,
        unstack_frames,
        with_data,
    )

    numbers = dict(
        dose=dose, support=support, texture=texture, texture_length=texture_length, gain=gain, read_noise=read_noise,
        row_jitter=row_jitter, afterglow=afterglow, afterglow_decay=afterglow_decay, line_noise=line_noise,
        line_decay=line_decay, drift=drift, defects=defects,
    )  # fmt: skip
    check_images(clean)
    for name, value in numbers.items():
        least = name in ("dose", "gain", "texture_length", "afterglow_decay", "line_decay")
        if not (np.isfinite(value) and (value > 0 if least else value >= 0)):
            raise ValueError(f"'{name}' is {value!r}; expected a {'positive ' if least else ''}number"
                             + ("" if least else " of at least 0"))  # fmt: skip
    if afterglow > 1 or defects > 1:
        raise ValueError(
            f"'afterglow' and 'defects' are fractions of 1; got {afterglow!r} and {defects!r}"
        )
    for name, value in (("slope", slope), ("offset", offset)):
        if not np.isfinite(value):
            raise ValueError(f"'{name}' is {value!r}; expected a finite number")
    dtype = np.dtype(dtype)
    if dtype.kind not in "uif":
        raise ValueError(f"'dtype' is {dtype.name!r}; expected an integer or float type")
    stack = np.asarray(stack_frames(clean), dtype=np.float64)
    if not np.isfinite(stack).all() or stack.min() < 0:
        raise ValueError("'clean' must hold finite, non-negative intensities; it spans "
                         f"{stack.min():g} to {stack.max():g}: subtract its background or replace NaN")  # fmt: skip
    # Of an empty scene the dose is that of one platinum atom.
    top = stack.max() or 1.0
    rate = stack.reshape(-1, *stack.shape[-2:]) * (dose / top)
    atoms, path = attached_atoms(clean)
    # The film moves with the scene: as simulated, and by the drift that is added here.
    step = [axis.scale for axis in reversed(clean.axes_manager.signal_axes)]
    path = np.zeros((len(rate), 2)) if len(path) != len(rate) else path / step
    added = np.zeros_like(path)
    if drift:
        added = structures.drift(len(rate), drift, np.random.default_rng(seed))
        rate = np.stack(
            [shift(f, p, order=3, mode="nearest") for f, p in zip(rate, added, strict=True)]
        )
        path = path + added
    size = pixel_size(clean)
    counts = acquisition.acquire_counts(
        torch.from_numpy(rate.astype(np.float32)),
        torch.Generator().manual_seed(seed),
        support=support * dose, texture=texture, texture_length=texture_length / (size or 1), slope=slope,
        path=torch.from_numpy(path.astype(np.float32)), read_noise=read_noise, row_jitter=row_jitter,
        afterglow_fraction=afterglow, afterglow_decay=afterglow_decay, line=line_noise, line_decay=line_decay,
        defective=defects, hot=10 * dose,
    )  # fmt: skip
    values = counts.numpy().astype(np.float64).reshape(stack.shape) * gain + offset
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        values = np.clip(np.rint(values), info.min, info.max)
    noisy = with_data(clean, np.ascontiguousarray(unstack_frames(values.astype(dtype), clean)))
    noisy.metadata.General.title = f"noisy {clean.metadata.General.title}".strip()
    record(noisy, "acquisition", {**numbers, "slope": slope, "offset": offset, "seed": seed,
                                  "counts_per_unit": float(dose / top)})  # fmt: skip
    if atoms is not None and drift:
        frame = atoms[:, 0].astype(int)
        if len(frame) and frame.max() >= len(rate):
            raise ValueError(
                "'drift' needs the series as it was simulated; crop frames after acquire"
            )
        moved = atoms.copy()
        moved[:, 1:3] += added[frame] * step
        attach_atoms(noisy, moved, path * step)
    return noisy


def atoms_of(signal) -> np.ndarray:
    """Columns of a simulated series.

    Parameters
    ----------
    signal
        From :func:`simulate` or :func:`acquire`, or what HyperSpy made of it (cropped, saved and loaded).

    Returns
    -------
    numpy.ndarray
        Structured array with the fields ``frame`` (number in the series as it was simulated), ``y`` and ``x`` (on the
        axes, in their units, so that cropping leaves them right) and ``intensity`` (height of the spot in the
        simulated images).

    Raises
    ------
    ValueError
        If the signal does not come from the simulator.

    Examples
    --------
    >>> import n2a
    >>> atoms = n2a.atoms_of(n2a.simulate(structure="atoms", n_atoms=5, frames=2, hop=0))
    >>> atoms.dtype.names
    ('frame', 'y', 'x', 'intensity')
    """
    from n2a.signals import attached_atoms

    table, _ = attached_atoms(signal)
    if table is None:
        raise ValueError(
            f"{signal!r} knows no atoms; expected a signal from n2a.simulate or n2a.acquire"
        )
    kinds = [(name, np.int64 if name == "frame" else np.float64) for name in ATOM_FIELDS]
    return np.array([tuple(row) for row in table], dtype=kinds)


def paper_images(
    number: int, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, Atoms]:
    """Domain C of the paper: spots on a jittered 8-pixel grid, of a canvas twice as large the middle.

    Returns
    -------
    images : numpy.ndarray
        (number, height, width) in 0..1.
    atoms : Atoms
        Padded with spots of intensity 0.
    """
    height, width = shape
    cells = (2 * height // 8, 2 * width // 8)
    area = height * width / 128**2
    most = min(cells[0] * cells[1], max(1, round(150 * area)))
    positions = np.zeros((number, most, 2))
    intensities = np.zeros((number, most))
    sigma = np.zeros(number)
    for i in range(number):
        spots = int(rng.integers(min(max(1, round(75 * area)), most), most + 1))
        chosen = rng.choice(cells[0] * cells[1], spots, replace=False)
        grid = np.column_stack(np.divmod(chosen, cells[1])) * 8 + 4
        positions[i, :spots] = grid + rng.uniform(-1, 1, (spots, 2)) - np.array(shape) / 2
        intensities[i, :spots] = rng.integers(1, 5, spots)
        sigma[i] = np.sqrt(rng.integers(1, 11))
    images = render(*(torch.from_numpy(a) for a in (positions, intensities, sigma)), shape).numpy()
    low = images.min(axis=(1, 2), keepdims=True)
    span = np.maximum(images.max(axis=(1, 2), keepdims=True) - low, 1e-12)
    return (images - low) / span, Atoms(
        positions, intensities / span[:, :, 0], np.zeros((number, 2))
    )


def _physical(structure, frames, shape, rng, *, n_atoms, number, kind, nearest, brightness, pattern, spacing,
              thickness, edge, vacancies, dopants, drift, rotation, hop) -> Atoms:  # fmt: skip
    """Columns of a series, lengths in pixels."""
    path = structures.drift(frames, drift, rng)
    extent = np.array(shape, float)
    if structure == "empty":
        return Atoms(np.zeros((frames, 0, 2)), np.zeros((frames, 0)), path)
    if structure in ("crystal", "2d"):
        margin = 4 * spacing + 2 * np.abs(path).max()
        columns = structures.lattice(
            pattern, spacing, extent + 2 * margin, rng, thickness=thickness, wedge=edge and thickness > 1,
            edge=extent.min() if edge else None, vacancies=vacancies, dopants=dopants,
        )  # fmt: skip
        still = np.repeat(columns.positions[None] - margin, frames, 0)
        return Atoms(still + path[:, None], np.repeat(columns.intensities[None], frames, 0), path)
    bodies = []
    singles = n_atoms if structure == "atoms" else max(2, n_atoms // 8)
    if structure == "cluster":
        for _ in range(number):
            body = structures.cluster(n_atoms, nearest, kind, rng)
            turns = structures.rotations(frames, rotation, rng)
            centre = extent * (0.5 if number == 1 else rng.uniform(0.2, 0.8, 2))
            bodies.append(np.stack([turn.apply(body)[:, :2] for turn in turns]) + centre)
    loose = structures.scattered(singles, shape, nearest, rng)
    moved, _ = structures.hops(np.repeat(loose[None], frames, 0), hop, nearest, rng)
    positions = np.concatenate([*bodies, moved], axis=1) + path[:, None]
    return Atoms(positions, np.full(positions.shape[:2], brightness), path)


def _signal(
    images: np.ndarray, atoms: Atoms, frames: int, scale: float, frame_time: float, title: str
) -> Signal2D:
    from hyperspy.api import signals

    from n2a.signals import attach_atoms

    axes = [
        {"name": name, "size": size, "scale": scale, "units": "nm", "navigate": False}
        for name, size in zip("yx", images.shape[-2:], strict=True)
    ]
    if frames:
        axes.insert(
            0, {"name": "time", "size": frames, "scale": frame_time, "units": "s", "navigate": True}
        )
    signal = signals.Signal2D(
        images.astype(np.float32) if frames else images[0].astype(np.float32), axes=axes
    )
    signal.metadata.General.title = title
    table = atoms.table(images.shape[1:]) * np.array([1, scale, scale, 1])
    attach_atoms(signal, table, atoms.path * scale)
    return signal


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"'{name}' is {value!r}; expected one of {list(choices)}")


def _check_shape(shape) -> tuple[int, int]:
    try:
        height, width = (int(n) for n in shape)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 8:
        raise ValueError(
            f"'shape' is {shape!r}; expected (height, width) of at least 8 pixels each"
        )
    return height, width
