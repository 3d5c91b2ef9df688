# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the benchmark set by abTEM multislice, independently of the training simulator.

Run it as ``python tests/benchmarks/make_multislice.py`` (extra ``physical``; about 20 minutes of
processor time on the first run; the multislice images are kept in ``--cache``, so that a second
run takes seconds). It writes ``tests/data/multislice.npz``.

How it is made, and what was simplified:

- PRISM with a plane-wave interpolation of 2 to 4, scanned over the whole periodic cell at the
  Nyquist sampling of the image, wavelength / (4 * convergence angle). An image on such a grid is
  evaluated exactly, at any pixel size and any drift, by its Fourier series. The effective source
  is a Gaussian, applied in the same step.
- Images are fractions of the incident beam. Noise is not stored: see ``benchmark_data.observe``.
- The carbon film is a multislice image of its own (random atoms, 2 g/cm3, 3 nm, six times: 18 nm)
  and is added to the atoms incoherently, which is a good approximation at high angles.
- The clusters of ``cluster`` are recomputed for every frame, as they rotate and rearrange. Hopping
  single atoms and the small clusters among them are well separated: there the multislice image of
  each object is computed once and placed by Fourier shifts.
- Drift of a static object moves the grid on which one larger image is evaluated.
"""

import argparse
import json
from pathlib import Path

import abtem
import numpy as np
from ase import Atoms
from ase.build import bulk, mx2
from ase.cluster import Octahedron
from ase.neighborlist import neighbor_list
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.fft import next_fast_len
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.optimize import curve_fit
from scipy.spatial import cKDTree
from skimage.morphology import h_maxima

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / "data" / "multislice.npz"

# kV, mrad, mrad; the source is a full width at half maximum in angstrom
OPTICS_200 = {"energy": 200e3, "alpha": 25.0, "source": 0.8, "haadf": (60, 150), "abf": (12, 25)}
OPTICS_80 = {"energy": 80e3, "alpha": 30.0, "source": 0.75, "haadf": (60, 150), "abf": (15, 30)}

FRAME = 128
LEVELS = 4095  # twelve bits: a step of 1/100 count at the highest dose, and it compresses


# --- multislice -----------------------------------------------------------------------------


def wavelength(energy):
    """Relativistic electron wavelength in angstrom."""
    return abtem.core.energy.energy2wavelength(energy)


def multislice(
    atoms,
    optics,
    cache,
    name,
    detect=("haadf",),
    phonons=1,
    slice_thickness=2.0,
    interpolation=3,
    seed=0,
):
    """Images of the detectors over the whole cell, and the columns that they show.

    The images have the shape (detector, rows = y, columns = x). With so few phonon configurations
    thermal displacement moves a column: its mean position over the configurations is the truth.
    """
    frozen = abtem.FrozenPhonons(atoms, num_configs=phonons, sigmas=0.08, seed=seed)
    shaken = frozen.to_atoms_ensemble().trajectory
    mean = atoms.copy()
    mean.positions = np.mean([one.positions for one in shaken], axis=0)
    columns = project(mean)
    path = cache / f"{name}.npy"
    if path.exists():
        return np.load(path), columns
    sampling = wavelength(optics["energy"]) / (2 * 1.5 * 1.15 * optics["haadf"][1] * 1e-3)
    x, y = atoms.cell.lengths()[:2]
    gpts = [int(np.ceil(length / sampling / interpolation)) for length in (x, y)]
    grid = [interpolation * next_fast_len(n) for n in gpts]
    potential = abtem.Potential(frozen, gpts=grid, slice_thickness=slice_thickness)
    matrix = abtem.SMatrix(
        potential=potential,
        energy=optics["energy"],
        semiangle_cutoff=optics["alpha"],
        interpolation=interpolation,
    )
    nyquist = wavelength(optics["energy"]) / (4 * optics["alpha"] * 1e-3)
    gpts = tuple(int(np.ceil(length / nyquist)) + 2 for length in (x, y))
    scan = abtem.GridScan((0, 0), (x, y), gpts=gpts, endpoint=False)
    detectors = [abtem.AnnularDetector(*optics[key]) for key in detect]
    images = matrix.scan(scan=scan, detectors=detectors).compute()
    images = images if len(detect) > 1 else [images]
    images = np.stack([np.asarray(image.array, float).T for image in images])
    cache.mkdir(parents=True, exist_ok=True)
    np.save(path, images)
    print(f"{name}: {len(atoms)} atoms, {potential.gpts}, {len(matrix)} waves, {gpts} positions")
    return images, columns


def evaluate(image, cell, pixel, origin, optics, shape=(FRAME, FRAME)):
    """Fourier series of a periodic `image` on another grid, blurred by the source.

    `cell` (x, y) in angstrom, `pixel` in angstrom, `origin` (row, column) in angstrom.
    """
    spectrum = np.fft.fft2(image) / image.size
    frequencies = [np.fft.fftfreq(n, length / n) for n, length in zip(image.shape, cell[::-1])]
    sigma = optics["source"] / 2.3548
    waves = []
    for k, start, count in zip(frequencies, origin, shape):
        position = start + pixel * np.arange(count)
        blur = np.exp(-2 * (np.pi * sigma * k) ** 2)
        waves.append(np.exp(2j * np.pi * position[:, None] * k) * blur)
    return (waves[0] @ spectrum @ waves[1].T).real


def fit_sigma(image, row, column, radius):
    """Gaussian sigma (px) of the spot at a position, from a least-squares fit with an offset."""
    r, c = (round(v) for v in (row, column))
    window = image[r - radius : r + radius + 1, c - radius : c + radius + 1]
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]

    def spot(_, height, dy, dx, sigma, floor):
        square = (y - dy) ** 2 + (x - dx) ** 2
        return (floor + height * np.exp(-square / (2 * sigma**2))).ravel()

    start = (np.ptp(window), row - r, column - c, radius / 2, window.min())
    parameters, _ = curve_fit(spot, None, window.ravel(), start)
    return abs(float(parameters[3]))


# --- structures -----------------------------------------------------------------------------


def in_cell(atoms, x, y, padding=2.0):
    """Give `atoms` a cell of x by y angstrom; the middle of the cell is the origin of `atoms`."""
    atoms = atoms.copy()
    atoms.positions[:, :2] += (x / 2, y / 2)
    atoms.positions[:, 2] -= atoms.positions[:, 2].min() - padding
    atoms.set_cell((x, y, atoms.positions[:, 2].max() + padding))
    atoms.pbc = True
    return atoms


def hollow_sites(atoms, spacing=3.92):
    """Empty fcc sites that touch at least three atoms of an fcc fragment."""
    grid = np.arange(-4, 5) * spacing / 2
    sites = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), -1).reshape(-1, 3)
    best = None
    for shift in atoms.positions[0] - sites[np.argsort(np.linalg.norm(sites, axis=1))[:8]]:
        moved = sites + shift
        distance, _ = cKDTree(moved).query(atoms.positions)
        keep = np.zeros(len(moved), bool)
        keep[np.unique(cKDTree(moved).query(atoms.positions)[1])] = True
        if best is None or distance.sum() < best[0]:
            parity = np.rint((moved - atoms.positions[0]) / (spacing / 2)).astype(int).sum(1) % 2
            best = distance.sum(), moved[(parity == 0) & ~keep]
    sites = best[1]
    tree = cKDTree(atoms.positions)
    touching = np.array([len(tree.query_ball_point(s, 2.9)) for s in sites])
    nearest, _ = tree.query(sites)
    return sites[(touching >= 3) & (nearest > 2.5)]


def cluster_frames(rng, frames=6):
    """An fcc Pt fragment of 38 atoms with adatoms, tilting away from [110]; one adatom moves."""
    core = Octahedron("Pt", 4, 1)
    core.positions -= core.positions.mean(0)
    sites = hollow_sites(core)
    sites = sites[rng.permutation(len(sites))]
    chosen = [sites[0]]
    for site in sites[1:]:
        if min(np.linalg.norm(site - other) for other in chosen) > 2.5:
            chosen.append(site)
    relaxed = rng.normal(0, 0.06, core.positions.shape)
    result = []
    for frame in range(frames):
        adatoms = chosen[:6] if frame < frames // 2 else chosen[1:7]
        atoms = Atoms(
            f"Pt{len(core) + len(adatoms)}",
            positions=np.vstack([core.positions + relaxed, adatoms]),
        )
        atoms.rotate(45, "x")  # [110] along the beam
        atoms.rotate(20, "z")
        atoms.rotate(2.0 + 2.5 * frame, (0.8, 0.6, 0))
        lone = Atoms("Pt2", positions=[(-7.0, -7.6, 0), (7.4, 6.8, 0)])
        if frame >= 4:
            lone.positions[1] += (-1.3, 1.1, 0)
        result.append(atoms + lone)
    return result


def small_cluster(rng, count):
    """A compact random piece of fcc Pt with `count` atoms in a random orientation."""
    crystal = bulk("Pt", cubic=True).repeat(5)
    crystal.positions -= crystal.positions.mean(0) + rng.uniform(-1.5, 1.5, 3)
    atoms = crystal[np.argsort(np.linalg.norm(crystal.positions, axis=1))[:count]]
    atoms.positions += rng.normal(0, 0.06, atoms.positions.shape)
    atoms.euler_rotate(*rng.uniform(0, 360, 3))
    atoms.positions -= atoms.positions.mean(0)
    return atoms


def carbon_film(rng, side=32.0, thickness=30.0, density=2.0, distance=1.4):
    """Random carbon atoms at `density` g/cm3 that keep a least `distance`."""
    count = int(side * side * thickness * density * 0.60221 / 12.011)
    positions = np.empty((0, 3))
    box = np.array([side, side, thickness])
    while len(positions) < count:
        trial = rng.uniform(0, 1, (count, 3)) * box
        if len(positions):
            far = cKDTree(positions, boxsize=box).query(trial)[0] > distance
            trial = trial[far]
        pairs = cKDTree(trial, boxsize=box).query_pairs(distance, output_type="ndarray")
        trial = np.delete(trial, np.unique(pairs[:, 1]), axis=0)
        positions = np.vstack([positions, trial])[:count]
    return Atoms(f"C{count}", positions=positions, cell=box, pbc=True)


def mos2(rng):
    """MoS2 with single and double S vacancies and W, Nb on Mo sites; the list of vacancies."""
    layer = mx2("MoS2", a=3.18, thickness=3.19, vacuum=3)
    layer = bulk_to_rectangle(layer).repeat((9, 5, 1))
    layer.pbc = True
    middle = layer.cell.lengths()[:2] / 2
    radius = np.abs(layer.positions[:, :2] - middle).max(1)
    metal = [i for i in rng.permutation(np.flatnonzero(layer.numbers == 42)) if radius[i] < 9.0]
    taken = []

    def pick(candidates, number):
        found = []
        for i in candidates:
            xy = layer.positions[i, :2]
            if all(np.linalg.norm(xy - other) > 3.0 for other in taken):
                taken.append(xy)
                found.append(i)
            if len(found) == number:
                return found
        raise RuntimeError("not enough sites")

    upper = [
        i
        for i in rng.permutation(np.flatnonzero(layer.numbers == 16))
        if radius[i] < 8.5 and layer.positions[i, 2] > layer.positions[:, 2].mean()
    ]
    layer.numbers[pick(metal, 3)] = 74
    layer.numbers[pick(metal, 1)] = 78
    double = pick(upper, 4)
    single = pick(upper, 4)
    vacancies = [(*layer.positions[i, :2], 2) for i in double]
    vacancies += [(*layer.positions[i, :2], 1) for i in single]
    below = [
        j
        for i in double
        for j in np.flatnonzero(layer.numbers == 16)
        if j != i and np.linalg.norm(layer.positions[j, :2] - layer.positions[i, :2]) < 0.1
    ]
    del layer[double + single + below]
    return layer, np.array(vacancies)


def bulk_to_rectangle(layer):
    """The rectangular cell (a, sqrt(3) a) of a hexagonal layer."""
    a = layer.cell.lengths()[0]
    doubled = layer.repeat((2, 2, 1))
    doubled.set_cell((a, np.sqrt(3) * a, layer.cell[2, 2]))
    doubled.wrap()
    close = neighbor_list("ij", doubled, 0.1)
    del doubled[np.unique(np.maximum(*close)[close[0] != close[1]])]
    return doubled


def gold_wedge(rng):
    """Au along [110], thinner towards an edge with kinks, 1 to 12 atoms per column."""
    a, b = 4.078, 4.078 / np.sqrt(2)
    nx, ny, nz = 7, 9, 12
    positions = []
    for i in range(2 * nx):
        profile = 3 + 2 * int(i % 14 > 5) + (1 if i % 14 == 9 else 0)  # kinks of the edge
        for j in range(2 * ny):
            if (i + j) % 2:
                continue
            depth = j - profile
            count = 0 if depth < 0 else min(nz, 1 + depth + int(rng.integers(0, 2)))
            for k in range(count):
                positions.append((i * a / 2, j * b / 2, (k + 0.5 * (i % 2)) * b))
    return Atoms(f"Au{len(positions)}", positions, cell=(nx * a, ny * b, (nz + 1) * b), pbc=True)


def strontium_titanate(rng, cells=6, thickness=16):
    """SrTiO3 along [001], 6 nm thick; some O columns are thinned, one is gone."""
    a = 3.905
    unit = Atoms(
        "SrTiO3",
        scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)],
        cell=(a, a, a),
        pbc=True,
    )
    crystal = unit.repeat((cells, cells, thickness))
    fraction = np.mod(crystal.positions / a, 1)
    pure = np.flatnonzero((crystal.numbers == 8) & (np.abs(fraction[:, 2] - 0.5) < 0.1))
    columns = {}
    for i in pure:
        columns.setdefault(tuple(np.rint(crystal.positions[i, :2] * 2 / a).astype(int)), []).append(
            i
        )
    inside = [key for key in columns if all(4 < v < 2 * cells - 4 for v in key)]
    chosen = [inside[i] for i in rng.permutation(len(inside))[:3]]
    gone = list(columns[chosen[0]])
    for key in chosen[1:]:
        gone += list(rng.permutation(columns[key])[: thickness // 2])
    vacancies = np.array([(*(np.array(chosen[0]) * a / 2), 2)])
    del crystal[gone]
    return crystal, vacancies


def project(atoms, merge=0.5):
    """Columns of `atoms`: rows (x, y, largest Z, number of atoms, sum of Z**1.7), in angstrom."""
    xy = atoms.positions[:, :2]
    labels = (
        np.ones(1, int) if len(xy) == 1 else fcluster(linkage(xy, "average"), merge, "distance")
    )
    strength = atoms.numbers.astype(float) ** 1.7
    rows = []
    for label in np.unique(labels):
        member = labels == label
        x, y = np.average(xy[member], axis=0, weights=strength[member])
        rows.append((x, y, atoms.numbers[member].max(), member.sum(), strength[member].sum()))
    return np.array(rows)


# --- series ---------------------------------------------------------------------------------


def drift_path(rng, frames, step):
    """A slow walk in angstrom, `step` (least, most) per frame, in one main direction."""
    angle = rng.uniform(0, 2 * np.pi)
    angles = angle + rng.normal(0, 0.5, frames)
    lengths = rng.uniform(*step, frames)
    moves = np.stack([np.sin(angles), np.cos(angles)], 1) * lengths[:, None]
    moves[0] = 0
    path = np.cumsum(moves, 0)
    return path - path.mean(0)


def site_table(columns, pixel, origins):
    """Sites in every frame: rows (frame, row, column, Z, atoms, strength), in px."""
    rows = []
    for frame, (table, origin) in enumerate(zip(columns, origins)):
        for x, y, z, count, strength in table:
            row, column = (y - origin[0]) / pixel, (x - origin[1]) / pixel
            if -0.5 <= row < FRAME - 0.5 and -0.5 <= column < FRAME - 0.5:
                rows.append((frame, row, column, z, count, strength))
    return np.array(rows, np.float32).reshape(-1, 6)


def resolved(sites, atoms, pixel, sigma, least=0.02, dip=0.05):
    """Which sites can be told apart: a local maximum of the noise-free atoms within 0.25 angstrom.

    It has to rise above the median of the ring two atom widths around it by `least` of the
    brightest value of the series, and the way to a higher one has to dip by `dip` of its height:
    on a flatter ridge, noise alone decides whether there are one or two maxima.
    """
    flags = np.zeros(len(sites), bool)
    angles = np.arange(24) * np.pi / 12
    ring = 2 * sigma * np.stack([np.sin(angles), np.cos(angles)])
    for frame in np.unique(sites[:, 0]).astype(int):
        image = atoms[frame]
        peaks = np.argwhere(h_maxima(np.log(image + 1e-3 * atoms.max()), dip))
        points = peaks.T[:, :, None] + ring[:, None, :]
        around = np.median(map_coordinates(image, points, order=1, mode="nearest"), axis=1)
        peaks = peaks[image[tuple(peaks.T)] - around > least * atoms.max()]
        index = np.flatnonzero(sites[:, 0] == frame)
        if len(peaks):
            distance, owner = cKDTree(sites[index, 1:3]).query(peaks)
            for site in np.unique(owner):
                flags[index[site]] = distance[owner == site].min() * pixel <= 0.25
    return flags


def film_frames(film, side, pixel, path, corner, layers=6):
    """The carbon film on the grid of a drifting series: `layers` times 3 nm, incoherently.

    The layers are different parts and mirror images of the one that was computed.
    """
    total = 0
    for layer in range(layers):
        image = film[0].T if layer % 2 else film[0]
        image = np.roll(image[:: 1 - 2 * (layer // 2 % 2)], 37 * layer, axis=(0, 1))
        origins = np.asarray(corner) + path
        total += np.stack(
            [evaluate(image, (side, side), pixel, origin, OPTICS_200) for origin in origins]
        )
    return total


def random(index):
    """A generator for each part, so that a change of one leaves the others as they are."""
    return np.random.default_rng([2020, 1123, index] if index else 20201123)


def make(cache):
    """All series: dict name -> dict of arrays and facts."""
    series = {}
    rng = random(0)

    single = in_cell(Atoms("Pt", positions=[(0, 0, 0)]), 12.0, 12.0)
    pt, lone = multislice(single, OPTICS_200, cache, "pt_single", interpolation=1)
    grid = 0.1
    fine = evaluate(pt[0], (12.0, 12.0), grid, (0, 0), OPTICS_200, (120, 120))
    sigma_200 = grid * fit_sigma(fine, 60, 60, 7)
    print(f"atom sigma at 200 kV: {sigma_200:.3f} angstrom")

    side = 32.0
    film_atoms = carbon_film(rng, side)
    film, _ = multislice(
        film_atoms, OPTICS_200, cache, "film", interpolation=4, slice_thickness=3.0
    )

    # (a) a cluster that rotates and drifts: multislice of every frame
    pixel, cell = 0.13, 20.8
    path = drift_path(rng, 6, (0.04, 0.10))
    frames, columns, origins = [], [], []
    for i, atoms in enumerate(cluster_frames(rng)):
        atoms = in_cell(atoms, cell, cell)
        (image,), shown = multislice(atoms, OPTICS_200, cache, f"cluster_{i}", seed=i)
        origin = np.full(2, (cell - FRAME * pixel) / 2) + path[i]
        frames.append(evaluate(image, (cell, cell), pixel, origin, OPTICS_200))
        columns.append(shown)
        origins.append(origin)
    series["cluster"] = {
        "atoms": np.stack(frames),
        "support": film_frames(film, side, pixel, path, (3.0, 4.0)),
        "sites": site_table(columns, pixel, origins),
        "pixel": pixel,
        "sigma": sigma_200 / pixel,
        "detector": {"gain": 20.0, "offset": 100.0, "read_noise": 0.2},
        "title": "Pt cluster on carbon, rotating and drifting",
    }

    # (b) small clusters and hopping single atoms; (b2) the same kind with coarse pixels
    pieces = []
    for i, count in enumerate((5, 8, 13, 19)):
        atoms = in_cell(small_cluster(rng, count), 16.0, 16.0)
        (image,), shown = multislice(atoms, OPTICS_200, cache, f"piece_{i}", seed=i)
        pieces.append((image, 16.0, shown))
    pieces.append((pt[0], 12.0, lone))
    for index, name, pixel, clusters, singles, gain in (
        (1, "hopping", 0.11, (1, 2), 9, 1.0),
        (2, "hopping_coarse", 0.26, (0, 1, 2, 3), 26, 12.0),
    ):
        rng = random(index)
        series[name] = hopping(rng, pieces, film, side, pixel, clusters, singles, sigma_200, gain)

    # (c) MoS2
    rng = random(3)
    atoms, vacancies = mos2(rng)
    cell = atoms.cell.lengths()[:2]
    (image,), shown = multislice(
        atoms, OPTICS_80, cache, "mos2", phonons=2, slice_thickness=1.6, interpolation=2
    )
    pixel = 0.16
    path = drift_path(rng, 7, (0.03, 0.09))
    origins = (cell[::-1] - FRAME * pixel) / 2 + path
    truth = np.stack([evaluate(image, cell, pixel, origin, OPTICS_80) for origin in origins])
    tungsten = in_cell(Atoms("W", positions=[(0, 0, 0)]), 12.0, 12.0)
    (image_w,), _ = multislice(tungsten, OPTICS_80, cache, "w_single", interpolation=1)
    fine = evaluate(image_w, (12.0, 12.0), grid, (0, 0), OPTICS_80, (120, 120))
    sigma_80 = grid * fit_sigma(fine, 60, 60, 8)
    # thin patches of contamination: the film's texture under a smooth mask, a quarter of a metal
    # column at most
    texture = film_frames(film, side, pixel, path, (7.0, 1.0))
    patch = gaussian_filter(rng.standard_normal((FRAME, FRAME)), 30, mode="wrap")
    patch = np.clip((patch - patch.min()) / np.ptp(patch) - 0.35, 0, None)
    level = 0.25 * np.percentile(truth, 98) / (patch.max() * texture.mean())
    series["mos2"] = {
        "atoms": truth,
        "support": level * patch * texture,
        "sites": site_table([shown] * 7, pixel, origins),
        "vacancies": site_table([with_counts(vacancies)] * 7, pixel, origins),
        "pixel": pixel,
        "sigma": sigma_80 / pixel,
        "detector": {"gain": 20.0, "offset": 40.0, "read_noise": 0.2},
        "title": "MoS2 with S vacancies, W and Pt dopants",
    }

    # (d) gold edge
    rng = random(4)
    atoms = gold_wedge(rng)
    cell = atoms.cell.lengths()[:2]
    (image,), shown = multislice(
        atoms, OPTICS_200, cache, "gold", phonons=2, slice_thickness=4.078 / 8**0.5
    )
    pixel = 0.15
    path = drift_path(rng, 6, (0.04, 0.10))
    origins = np.array([0.3, (cell[0] - FRAME * pixel) / 2]) + path
    origins -= np.minimum(origins.min(0), 0)
    series["gold_edge"] = {
        "atoms": np.stack([evaluate(image, cell, pixel, o, OPTICS_200) for o in origins]),
        "support": np.zeros((6, FRAME, FRAME)),
        "sites": site_table([shown] * 6, pixel, origins),
        "pixel": pixel,
        "sigma": sigma_200 / pixel,
        "detector": {"gain": 8.0, "offset": 16.0, "read_noise": 0.2},
        "title": "Au [110] wedge and its edge",
    }

    # (e) empty support
    rng = random(5)
    pixel = 0.13
    path = drift_path(rng, 8, (0.04, 0.10))
    empty = film_frames(film, side, pixel, path, (12.0, 17.0))
    series["empty"] = {
        "atoms": np.zeros_like(empty),
        "support": empty,
        "sites": np.zeros((0, 6), np.float32),
        "pixel": pixel,
        "sigma": sigma_200 / pixel,
        "detector": {"gain": 20.0, "offset": 100.0, "read_noise": 0.2},
        "title": "Carbon film without atoms",
    }

    # (f) SrTiO3, ABF and HAADF of one calculation
    rng = random(6)
    atoms, vacancies = strontium_titanate(rng)
    cell = atoms.cell.lengths()[:2]
    both, shown = multislice(
        atoms,
        OPTICS_200,
        cache,
        "sto",
        detect=("haadf", "abf"),
        phonons=2,
        slice_thickness=1.9525,
    )
    pixel = 0.12
    path = drift_path(rng, 5, (0.04, 0.09))
    origins = (cell[::-1] - FRAME * pixel) / 2 + path
    for name, image, gain in (("sto_haadf", both[0], 20.0), ("sto_abf", both[1], 4.0)):
        truth = np.stack([evaluate(image, cell, pixel, o, OPTICS_200) for o in origins])
        support = np.zeros_like(truth)
        if name == "sto_abf":
            support += truth.max()
            truth = support - truth
        series[name] = {
            "atoms": truth,
            "support": support,
            "sites": site_table([shown] * 5, pixel, origins),
            "pixel": pixel,
            "sigma": sigma_200 / pixel,
            "detector": {"gain": gain, "offset": 10.0, "read_noise": 0.2},
            "title": f"SrTiO3 [001], {name[4:].upper()}",
            "contrast": "dark" if name == "sto_abf" else "bright",
        }
    # an empty O column shows in ABF only
    series["sto_abf"]["vacancies"] = site_table([with_counts(vacancies)] * 5, pixel, origins)
    return series


def with_counts(vacancies):
    """(x, y, missing atoms) as rows of `site_table`: Z and strength are 0."""
    zero = np.zeros(len(vacancies))
    return np.column_stack([vacancies[:, :2], zero, vacancies[:, 2], zero])


def hopping(rng, pieces, film, side, pixel, clusters, singles, sigma, gain, frames=8):
    """Small clusters that wobble and single atoms of which a third hops in every frame."""
    field = FRAME * pixel
    path = drift_path(rng, frames, (0.03, 0.10))
    reaches = [1.2 + np.abs(pieces[i][2][:, :2] - pieces[i][1] / 2).max() for i in clusters]
    reaches += [1.3] * singles
    fixed = len(clusters)

    def free(xy, radius):
        return all(np.hypot(*(xy - p)) > radius + r for p, r in zip(placed, radii))

    placed = []
    while len(placed) < len(reaches):  # start again when there is no room left
        placed, radii = [], []
        for reach in reaches:
            margin = min(reach, 0.3 * field)
            for _ in range(200):
                xy = rng.uniform(margin, field - margin, 2)
                if free(xy, reach):
                    placed.append(xy)
                    radii.append(reach)
                    break
            else:
                break
    images, columns = [], []
    for frame in range(frames):
        if frame:
            for i in range(fixed):
                placed[i] = placed[i] + rng.normal(0, 0.08, 2)
            for i in range(fixed, len(placed)):
                if rng.random() > 1 / 3:
                    continue
                old = placed.pop(i)
                radius = radii.pop(i)
                for _ in range(50):
                    angle, step = rng.uniform(0, 2 * np.pi), rng.uniform(1.2, 3.0)
                    xy = old + step * np.array([np.cos(angle), np.sin(angle)])
                    if np.all((xy > 1.0) & (xy < field - 1.0)) and free(xy, radius):
                        break
                else:
                    xy = old
                placed.insert(i, xy)
                radii.insert(i, radius)
        image = np.zeros((FRAME, FRAME))
        table = []
        for i, xy in enumerate(placed):
            picture, cell, sites = pieces[clusters[i]] if i < fixed else pieces[-1]
            corner = xy - cell / 2 - path[frame][::-1]  # of the piece's cell, (x, y)
            image += paste(picture, cell, corner, pixel)
            shifted = sites.copy()
            shifted[:, :2] += corner
            table.append(shifted)
        images.append(image)
        columns.append(np.vstack(table))
    return {
        "atoms": np.stack(images),
        "support": film_frames(film, side, pixel, path, rng.uniform(1.0, 20.0, 2)),
        "sites": site_table(columns, pixel, np.zeros((frames, 2))),
        "pixel": pixel,
        "sigma": sigma / pixel,
        "detector": {"gain": gain, "offset": 0.0 if gain == 1 else 50.0, "read_noise": 0.15},
        "title": f"Small Pt clusters and hopping atoms on carbon, {pixel} A/px",
    }


def paste(picture, cell, corner, pixel):
    """One object's image in the frame; outside its own cell it is zero."""
    image = np.zeros((FRAME, FRAME))
    x0, y0 = corner
    columns = np.flatnonzero(np.abs(np.arange(FRAME) * pixel - x0 - cell / 2) < cell / 2)
    rows = np.flatnonzero(np.abs(np.arange(FRAME) * pixel - y0 - cell / 2) < cell / 2)
    if len(rows) and len(columns):
        origin = (rows[0] * pixel - y0, columns[0] * pixel - x0)
        block = evaluate(
            picture, (cell, cell), pixel, origin, OPTICS_200, (len(rows), len(columns))
        )
        image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = block
    return image


def store(series, path):
    """Write the series: 12-bit steps in uint16, facts as JSON."""
    arrays, facts = {}, {}
    for name, one in series.items():
        atoms, support = (np.clip(one[key], 0, None) for key in ("atoms", "support"))
        sites = one["sites"]
        flags = resolved(sites, atoms, one["pixel"], one["sigma"])
        scales = {}
        for key, value in (("atoms", atoms), ("support", support)):
            scales[key] = float(value.max() / LEVELS)
            steps = np.rint(value / (scales[key] or 1)).astype(np.uint16)
            # differences of neighbours compress better, and wrap around without loss
            arrays[f"{name}/{key}"] = np.diff(steps, axis=-1, prepend=np.uint16(0))
        arrays[f"{name}/sites"] = np.column_stack([sites, flags]).astype(np.float32)
        if "vacancies" in one:
            arrays[f"{name}/vacancies"] = one["vacancies"][:, [0, 1, 2, 4]]
        facts[name] = {
            "title": one["title"],
            "pixel_size": one["pixel"] / 10,
            "atom_width": one["sigma"],
            "contrast": one.get("contrast", "bright"),
            "detector": one["detector"],
            "scales": scales,
        }
        print(
            f"{name}: {atoms.shape}, sigma {one['sigma']:.2f} px, {len(sites)} sites, "
            f"{flags.sum()} resolved, atoms to {atoms.max():.4f}, support {support.mean():.4f}"
        )
    # the atoms' value that gets the nominal dose: the 95th percentile over resolved columns
    for name, one in series.items():
        sites = arrays[f"{name}/sites"]
        sites = sites[sites[:, 6] > 0]
        index = tuple(np.clip(np.rint(sites[:, :3]).astype(int), 0, FRAME - 1).T)
        if one.get("contrast") == "dark":
            facts[name]["reference"] = float(one["support"].max() / 8)
        elif len(sites):
            facts[name]["reference"] = float(np.percentile(one["atoms"][index], 95))
    facts["empty"]["reference"] = facts["cluster"]["reference"]
    np.savez_compressed(path, facts=json.dumps(facts), **arrays)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--cache", type=Path, default=HERE.parents[1] / ".cache" / "multislice")
    arguments = parser.parse_args()
    abtem.config.set(
        {
            "diagnostics.progress_bar": False,
            "num_workers": 2,
            "fftw.planning_effort": "FFTW_ESTIMATE",
        }
    )
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    store(make(arguments.cache), arguments.output)


if __name__ == "__main__":
    main()
