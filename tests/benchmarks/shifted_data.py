# SPDX-License-Identifier: GPL-3.0-or-later
"""Series outside the range that the weights in the box were trained on, and one within it, from the multislice set.

Nothing is stored: the noise-free images of the set get another spot, other noise, or another
support. Positions and units are those of ``benchmark_data``.

- ``shape``: the gold wedge through a bad probe: twice as wide along one axis as along the other,
  with a ring around the spot and a little coma. Its frames are smaller by the reach of the probe.
- ``lines``: MoS2 by a detector whose slow row-wise fluctuation is stronger than the counting noise
  and which leaves half of each pixel's signal to the next one.
- ``rough``: the drifting cluster on a film several times as bright as its columns, whose texture
  is as fine as the atoms and has a standard deviation of 0.9 of the brightest columns. Its
  contrast is twice the largest of the training.
- ``texture``: the same with a sixth of that texture, and a contrast that the training does have:
  hard, but not new.
"""

from dataclasses import replace

import numpy as np
from benchmark_data import DOSES, Observation, Series, load_benchmark, observe
from scipy.ndimage import map_coordinates
from scipy.signal import fftconvolve, lfilter
from scipy.spatial import cKDTree
from skimage.morphology import h_maxima

#: The series and the scenes that they are made from.
SHIFTED = {"shape": "gold_edge", "lines": "mos2", "rough": "cluster", "texture": "cluster"}

#: Those that the training of the weights in the box has nothing like.
OUTSIDE = ("shape", "lines", "rough")

#: Probe of "shape": Gaussian sigma along x and y (px) of what the atoms are convolved with; share
#: and radii of the ring; share and place of the lobe that makes the coma.
PROBE, REACH = (4.2, 0.8), 14
RING, RING_RADII = 0.3, (11.0, 8.0)
COMA, COMA_PLACE = 0.12, (3.0, 1.5)

#: Noise of "lines": share of the slow fluctuation in the variance, its decay per pixel, and the
#: part of a pixel's signal that the detector leaves to the next one.
LINE_FRACTION, LINE_DECAY, AFTERGLOW = 0.6, 0.97, 0.5

#: Mean of the bright supports and standard deviation of their textures, in units of the brightest
#: typical column.
SUPPORT, TEXTURE = 3.0, {"rough": 0.9, "texture": 0.15}

#: Columns are resolved as in ``make_multislice.resolved``.
RISE, DIP, NEAR_NM = 0.02, 0.05, 0.025


def load_shifted(names=None):
    """Make the series.

    Parameters
    ----------
    names : sequence of str, optional
        Keys of `SHIFTED`; all of them by default.

    Returns
    -------
    list of Series

    Raises
    ------
    ValueError
        For a name that is none of them.
    """
    names = list(SHIFTED if names is None else names)
    unknown = set(names) - set(SHIFTED)
    if unknown:
        raise ValueError(f"names: {sorted(unknown)} not among the shifted series {list(SHIFTED)}")
    makers = {"shape": _shape, "lines": _lines, "rough": _texture, "texture": _texture}
    scenes = (load_benchmark([SHIFTED[name]])[0] for name in names)
    return [makers[name](replace(scene, name=name)) for name, scene in zip(names, scenes)]


def probe_kernel():
    """What the atoms of "shape" are convolved with: (y, x), sum 1, centroid in the middle."""
    y, x = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1].astype(float)

    def gauss(y, x):
        spot = np.exp(-((x / PROBE[0]) ** 2 + (y / PROBE[1]) ** 2) / 2)
        return spot / spot.sum()

    def at(dy, dx):
        u, v = x + dx, y + dy
        mean = np.sqrt(np.prod(RING_RADII))
        ring = np.exp(-((mean * np.hypot(u / RING_RADII[0], v / RING_RADII[1]) - mean) ** 2) / 2)
        core = (1 - RING - COMA) * gauss(v, u)
        kernel = core + COMA * gauss(v - COMA_PLACE[1], u - COMA_PLACE[0])
        kernel = kernel + RING * ring / ring.sum()
        return kernel, (kernel * y).sum(), (kernel * x).sum()

    shift = np.zeros(2)
    for _ in range(5):  # cut off at the edges and sampled coarsely, it does not just move along
        kernel, *centroid = at(*shift)
        shift += centroid
    return kernel


def observe_shifted(series, dose="low", seed=0):
    """Draw a noisy series of raw integers, as `observe` does; "lines" with its own noise.

    The truth of "lines" is what its detector writes on average, afterglow included, and so are the
    positions in the series of the observation.

    Parameters
    ----------
    series : Series
        From `load_shifted` or, for plain `observe`, from `load_benchmark`.
    dose : str or float, optional
        A key of `DOSES`, or counts per pixel at the brightest typical column.
    seed : int, optional
        Seed of the random generator.

    Returns
    -------
    Observation
    """
    if series.name != "lines":
        return observe(series, dose, seed)
    peak = DOSES[dose] if isinstance(dose, str) else float(dose)
    rng = np.random.default_rng([seed, sum(series.name.encode()), int(1000 * peak)])
    gain, offset, read_noise = (series.detector[k] for k in ("gain", "offset", "read_noise"))
    unit = peak / series.reference
    rate = unit * (series.support + series.atoms).astype(np.float64)
    counts = rng.poisson(rate) + read_noise * rng.standard_normal(rate.shape)
    # of the counting noise, afterglow leaves this part
    white = (rate.mean() + read_noise**2) * (AFTERGLOW**2 + (1 - AFTERGLOW) ** 2)
    slow = np.sqrt(white * LINE_FRACTION / (1 - LINE_FRACTION))
    counts = _afterglow(counts) + slow * _slow_rows(rng, rate.shape)
    written = replace(
        series,
        atoms=_afterglow(series.atoms),
        support=_afterglow(series.support),
        sites=_moved(series.sites, 0, AFTERGLOW),
        vacancies=_moved(series.vacancies, 0, AFTERGLOW),
    )
    frames = np.clip(np.rint(gain * counts + offset), 0, np.iinfo(np.uint16).max)
    return Observation(
        frames=frames.astype(np.uint16),
        total=(gain * _afterglow(rate) + offset).astype(np.float32),
        atoms=(gain * unit * written.atoms).astype(np.float32),
        gain=gain,
        offset=offset,
        read_noise=gain * read_noise,
        unit=gain * unit,
        series=written,
    )


def _shape(scene: Series) -> Series:
    kernel = probe_kernel()
    images = {
        key: np.clip(fftconvolve(getattr(scene, key), kernel[None], "valid", axes=(1, 2)), 0, None)
        for key in ("atoms", "support")
    }
    one = replace(
        scene,
        title=f"{scene.title}, bad probe",
        **{key: image.astype(np.float32) for key, image in images.items()},
        sites=_inside(_moved(scene.sites, -REACH, -REACH), images["atoms"].shape),
        vacancies=_inside(_moved(scene.vacancies, -REACH, -REACH), images["atoms"].shape),
        # the spot is as large as a round one of this width
        atom_width=float(np.prod([np.hypot(scene.atom_width, s) for s in PROBE]) ** 0.5),
    )
    one.sites["resolved"] &= _resolved(one)
    return replace(one, reference=_brightest(one))


def _lines(scene: Series) -> Series:
    # analogue: the fluctuation must not be cut off at zero
    detector = {**scene.detector, "gain": 20.0, "offset": 200.0}
    return replace(scene, title=f"{scene.title}, line noise and afterglow", detector=detector)


def _texture(scene: Series) -> Series:
    # the film of the scene drifts with the specimen
    pattern = (scene.support - scene.support.mean()) / scene.support.std()
    support = scene.reference * np.clip(SUPPORT + TEXTURE[scene.name] * pattern, 0, None)
    return replace(
        scene, title=f"{scene.title}, bright support", support=support.astype(np.float32)
    )


def _moved(table, rows, columns):
    table = table.copy()
    table["row"] += rows
    table["column"] += columns
    return table


def _inside(table, shape):
    row, column = table["row"], table["column"]
    keep = (row >= -0.5) & (row < shape[1] - 0.5) & (column >= -0.5) & (column < shape[2] - 0.5)
    return table[keep]


def _resolved(series):
    """Which columns can be told apart in the noise-free image."""
    sites, atoms = series.sites, series.atoms
    flags = np.zeros(len(sites), bool)
    angles = np.arange(24) * np.pi / 12
    ring = 2 * series.atom_width * np.stack([np.sin(angles), np.cos(angles)])
    for frame, image in enumerate(atoms):
        peaks = np.argwhere(h_maxima(np.log(image + 1e-3 * atoms.max()), DIP))
        points = peaks.T[:, :, None] + ring[:, None, :]
        around = np.median(map_coordinates(image, points, order=1, mode="nearest"), axis=1)
        peaks = peaks[image[tuple(peaks.T)] - around > RISE * atoms.max()]
        here = np.flatnonzero(sites["frame"] == frame)
        tree = cKDTree(np.column_stack([sites["row"][here], sites["column"][here]]))
        distance, owner = tree.query(peaks, distance_upper_bound=NEAR_NM / series.pixel_size)
        flags[here[owner[np.isfinite(distance)]]] = True
    return flags


def _brightest(series):
    """The atoms' value at the 95th percentile of the resolved columns."""
    sites = series.sites[series.sites["resolved"]]
    last = np.array(series.atoms.shape[1:])[:, None] - 1
    row, column = np.clip(np.rint([sites["row"], sites["column"]]).astype(int), 0, last)
    return float(np.percentile(series.atoms[sites["frame"], row, column], 95))


def _afterglow(frames):
    """Each pixel keeps a part and leaves the rest to the next one; the first has no other before."""
    frames = frames.copy()
    frames[..., 1:] += AFTERGLOW * (frames[..., :-1] - frames[..., 1:])
    return frames


def _slow_rows(rng, shape):
    """Noise of unit variance, correlated along x and white along y, stationary from the first pixel."""
    white = rng.standard_normal(shape)
    start = rng.standard_normal((*shape[:-1], 1)) * LINE_DECAY
    return lfilter([np.sqrt(1 - LINE_DECAY**2)], [1, -LINE_DECAY], white, zi=start)[0]
