# SPDX-License-Identifier: GPL-3.0-or-later
"""Where atoms sit: clusters, crystals in projection, two-dimensional materials, single atoms.

Lengths have no unit here: whatever unit the caller passes (nm in the simulator, pixels in training) comes
back. The beam runs along the last axis of three-dimensional positions; the first two are (y, x).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

# Column patterns: cell as (length along y, length along x, angle in degrees) in units of the spacing, and the
# basis as (fractional y, fractional x, atomic number). Atomic numbers set the relative brightness.
PATTERNS: dict[str, tuple[tuple[float, float, float], tuple[tuple[float, float, float], ...]]] = {
    "square": ((1, 1, 90), ((0, 0, 78),)),
    "centred": ((1.414, 1, 90), ((0, 0, 78), (0.5, 0.5, 78))),
    "hexagonal": ((1, 1, 60), ((0, 0, 79),)),
    "graphene": ((1.732, 1.732, 60), ((0, 0, 6), (1 / 3, 1 / 3, 6))),
    "mos2": ((1.732, 1.732, 60), ((0, 0, 42), (1 / 3, 1 / 3, 24))),
    "wse2": ((1.732, 1.732, 60), ((0, 0, 74), (1 / 3, 1 / 3, 51))),
    "perovskite": (
        (2, 2, 90),
        ((0, 0, 38), (0.5, 0.5, 26), (0.5, 0, 8), (0, 0.5, 8)),
    ),
    "rocksalt": ((1.414, 1.414, 90), ((0, 0, 56), (0.5, 0.5, 30))),
    "dumbbell": ((2.6, 1.84, 90), ((0, 0, 31), (0.27, 0, 33), (0.5, 0.5, 31), (0.77, 0.5, 33))),
}


@dataclass
class Columns:
    """Projected columns: positions (n, 2) as (y, x), brightness (n,), and whether a site is empty (n,)."""

    positions: np.ndarray
    intensities: np.ndarray
    vacant: np.ndarray


def z_contrast(number: np.ndarray | float, exponent: float = 1.7) -> np.ndarray:
    """Relative HAADF brightness of one atom of atomic number `number`, 1 for platinum (Z = 78)."""
    return (np.asarray(number, float) / 78.0) ** exponent


def cluster(n_atoms: int, nearest: float, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Positions (n, 3) of a cluster centred on the origin, in a random orientation.

    `kind` is ``"fcc"``, ``"icosahedral"`` or ``"amorphous"``; `nearest` is the nearest-neighbour distance.
    """
    builders = {"fcc": _fcc, "icosahedral": _icosahedral, "amorphous": _amorphous}
    if kind not in builders:
        raise ValueError(f"'kind' is {kind!r}; expected one of {sorted(builders)}")
    positions = builders[kind](n_atoms, rng) * nearest
    positions = positions - positions.mean(axis=0)
    return Rotation.random(random_state=rng).apply(positions)


def _nearest_to(points: np.ndarray, centre: np.ndarray, n_atoms: int) -> np.ndarray:
    return points[np.argsort(np.linalg.norm(points - centre, axis=1), kind="stable")[:n_atoms]]


def _fcc(n_atoms: int, rng: np.random.Generator) -> np.ndarray:
    half = int(np.ceil((n_atoms / 4) ** (1 / 3) / 2 * 1.6)) + 1
    cells = np.stack(np.meshgrid(*[np.arange(-half, half + 1)] * 3, indexing="ij"), -1)
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    points = (cells.reshape(-1, 1, 3) + basis).reshape(-1, 3) * np.sqrt(2)
    return _nearest_to(points, rng.uniform(0, np.sqrt(2), 3), n_atoms)


def _icosahedral(n_atoms: int, rng: np.random.Generator) -> np.ndarray:
    golden = (1 + np.sqrt(5)) / 2
    corners = np.array([p for a in (-1, 1) for b in (-golden, golden)
                        for p in ((0, a, b), (a, b, 0), (b, 0, a))]) / 2  # fmt: skip
    length = np.linalg.norm(corners[:, None] - corners[None], axis=-1)
    joined = np.isclose(length, 1.0)
    faces = [(i, j, k) for i in range(12) for j in range(i) for k in range(j)
             if joined[i, j] and joined[j, k] and joined[i, k]]  # fmt: skip
    shells = [np.zeros((1, 3))]
    shell = 1
    while sum(len(s) for s in shells) < n_atoms:
        weights = [(a, b, shell - a - b) for a in range(shell + 1) for b in range(shell + 1 - a)]
        points = np.concatenate([np.array(weights) @ corners[list(face)] for face in faces])
        shells.append(np.unique(points.round(6), axis=0))
        shell += 1
    inner = np.concatenate(shells[:-1]) if len(shells) > 1 else shells[0][:0]
    outer = shells[-1]
    # An incomplete outer shell grows from one side, as on a real particle.
    order = np.argsort(outer @ rng.normal(size=3), kind="stable")
    return np.concatenate([inner, outer[order]])[:n_atoms]


def _amorphous(n_atoms: int, rng: np.random.Generator) -> np.ndarray:
    radius = 0.62 * n_atoms ** (1 / 3) + 0.2
    points = np.zeros((0, 3))
    while len(points) < n_atoms:
        trial = rng.normal(size=3)
        trial *= radius * rng.uniform() ** (1 / 3) / np.linalg.norm(trial)
        if len(points) == 0 or np.linalg.norm(points - trial, axis=1).min() > 0.9:
            points = np.vstack([points, trial])
        else:
            radius *= 1.002
    return points


def lattice(
    pattern: str,
    spacing: float,
    extent: tuple[float, float],
    rng: np.random.Generator,
    *,
    rotation: float | None = None,
    thickness: int = 1,
    wedge: bool = False,
    edge: float | None = None,
    vacancies: float = 0.0,
    dopants: float = 0.0,
    dopant_contrast: float = 2.5,
) -> Columns:
    """Columns of a crystal in a zone axis, or of a two-dimensional material, over `extent` (y, x).

    Parameters
    ----------
    pattern
        A key of :data:`PATTERNS`.
    spacing
        Length that the pattern's cell is measured in.
    rotation
        In-plane angle in radians; random by default.
    thickness
        Atoms per column; with `wedge` it falls linearly to one atom across the field.
    edge
        Cut the crystal along a random straight line, at most 0.3 times this length from the centre.
    vacancies, dopants
        Fractions of the columns that are empty, and that are brighter by `dopant_contrast`.
    """
    if pattern not in PATTERNS:
        raise ValueError(f"'pattern' is {pattern!r}; expected one of {sorted(PATTERNS)}")
    (along_y, along_x, angle), basis = PATTERNS[pattern]
    angle = np.deg2rad(angle)
    vectors = spacing * np.array([[along_y * np.sin(angle), along_y * np.cos(angle)], [0, along_x]])
    turn = rng.uniform(0, 2 * np.pi) if rotation is None else rotation
    vectors = vectors @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    extent = np.asarray(extent, float)
    reach = int(np.ceil(np.hypot(*extent) / (spacing * min(along_y * np.sin(angle), along_x)))) + 2
    cells = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), -1).reshape(
        -1, 2
    )
    fractional = np.array([b[:2] for b in basis])
    numbers = np.tile([b[2] for b in basis], len(cells))
    positions = ((cells[:, None] + fractional).reshape(-1, 2) + rng.uniform(size=2)) @ vectors
    positions += extent / 2
    keep = np.all((positions > -spacing) & (positions < extent + spacing), axis=1)
    direction = rng.normal(size=2)
    direction /= np.linalg.norm(direction)
    along = (positions - extent / 2) @ direction
    if edge:
        keep &= along < rng.uniform(-0.3, 0.3) * edge
    positions, numbers, along = positions[keep], numbers[keep], along[keep]
    atoms = np.full(len(positions), float(thickness))
    if wedge and len(atoms):
        depth = (along.max() - along) / max(np.ptp(along), 1e-9)
        atoms = np.maximum(1, np.round(thickness * depth))
    intensities = z_contrast(numbers) * atoms
    chance = rng.uniform(size=len(positions))
    vacant = chance < vacancies
    intensities = np.where(chance > 1 - dopants, intensities * dopant_contrast, intensities)
    return Columns(positions, np.where(vacant, 0.0, intensities), vacant)


def scattered(
    n_atoms: int, extent: tuple[float, float], nearest: float, rng: np.random.Generator
) -> np.ndarray:
    """At most `n_atoms` random positions (n, 2) in `extent`, no two closer than `nearest`."""
    trials = rng.uniform(size=(4 * n_atoms, 2)) * np.asarray(extent, float)
    chosen = np.zeros((0, 2))
    for trial in trials:
        if len(chosen) == n_atoms:
            break
        if len(chosen) == 0 or np.hypot(*(chosen - trial).T).min() > nearest:
            chosen = np.vstack([chosen, trial])
    return chosen


def rotations(n_frames: int, step: float, rng: np.random.Generator) -> Rotation:
    """A smooth random tumble: one rotation per frame, about `step` radians from frame to frame."""
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    wobble = rng.normal(scale=0.3 * step, size=(n_frames, 3))
    angles = np.arange(n_frames)[:, None] * step * axis + wobble
    return Rotation.from_rotvec(angles)


def drift(n_frames: int, step: float, rng: np.random.Generator) -> np.ndarray:
    """Stage drift (n_frames, 2): a steady velocity of about `step` per frame and a smaller random walk."""
    velocity = rng.normal(size=2) * step / np.sqrt(2)
    walk = np.cumsum(rng.normal(scale=0.3 * step, size=(n_frames, 2)), axis=0)
    path = np.arange(n_frames)[:, None] * velocity + walk
    return path - path[n_frames // 2]


def hops(
    positions: np.ndarray, probability: float, distance: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Let atoms hop: positions (t, n, 2) in, the moved positions and a mask (t, n) of arrivals out.

    Each atom jumps between two frames with `probability`, by about `distance`, and stays there.
    """
    jumps = rng.uniform(size=positions.shape[:2]) < probability
    jumps[0] = False
    steps = rng.normal(size=positions.shape) * distance * jumps[..., None]
    return positions + np.cumsum(steps, axis=0), jumps
