# SPDX-License-Identifier: GPL-3.0-or-later
"""atom_map(): the atoms of a denoised series as a table and an overlay, and what the raw counts say of each."""

from __future__ import annotations

import html
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from n2a import signals
from n2a.detection import (
    Detections,
    detect,
    local_background,
    log_likelihood,
    measure,
    noise_of,
    refine,
    usual_width,
)
from n2a.noise import Noise, background_level
from n2a.plan import plan_series, warn
from n2a.sampling import measure_atom_width

if TYPE_CHECKING:
    import pandas as pd
    from hyperspy.api.signals import BaseSignal
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

#: Least height of an atom, as a part of the usual height, where no threshold is given: less than the 0.19 that a single
#: sulphur atom has of molybdenum.
FRACTION = 0.15
#: Least height in standard deviations of what noise makes of an atom's height in one raw frame.
CLAIM = 2.0
USUAL_WIDTH = 2.0  # px, where nothing tells it

_PLACE = [
    ("frame", np.int64),
    ("row", np.float64),
    ("column", np.float64),
    ("y", np.float64),
    ("x", np.float64),
    ("intensity", np.float64),
    ("height", np.float64),
    ("width", np.float64),
]
_SUPPORT = [("log_likelihood", np.float64), ("significance", np.float64), ("supported", bool)]


class Calibration(NamedTuple):
    """One image axis: position = offset + scale * pixel, in `units`; no units where it is not calibrated."""

    offset: float
    scale: float
    units: str | None


class Window(NamedTuple):
    """Raw frames (n, y, x), and which of them is the one that is judged."""

    frames: np.ndarray
    own: int


@dataclass(frozen=True)
class Task:
    """What is to be done to every frame."""

    atom_width: float  # guess, for the detection
    usual: float  # fitted, for what is measured
    threshold: float
    above: bool  # whether frames hold atoms only
    bright: bool
    noise: Noise | None
    false_rate: float
    unseen: bool

    def atoms(self, frame: np.ndarray) -> np.ndarray:
        """Frame of bright atoms on nothing, float64."""
        frame = np.asarray(frame, np.float64)
        if self.above:
            return frame
        frame = frame if self.bright else -frame
        return frame - local_background(frame[None], self.atom_width)[0]


def atom_map(
    denoised: BaseSignal | ArrayLike,
    raw: BaseSignal | ArrayLike | None = None,
    threshold: float | None = None,
    *,
    atom_width: float | None = None,
    contrast: str = "auto",
    background: bool | None = None,
    neighbours: int = 0,
    false_rate: float = 0.05,
    unseen: bool = False,
    time_axis="auto",
    show_progressbar: bool | None = None,
    num_workers: int | None = None,
) -> AtomMap:
    """Find the atoms of denoised images, and what the raw counts say of each.

    Parameters
    ----------
    denoised
        Images or series of any navigation shape, in memory or lazy (then read block by block); a signal or an array
        (..., y, x). With or without background, bright or dark atoms. NaN where nothing was measured.
    raw
        The frames as recorded, of the same kind and shape, in the same units. Default: the support by the counts is
        left out.
    threshold
        Least height of an atom above its background, in the units of `denoised`. Default: 0.15 of the usual height
        (the median over the maxima of four frames, each weighted with its height, so that many faint ripples count
        little); with `raw`, at least twice the error by which noise alone changes the height of an atom in one frame.
    atom_width
        Standard deviation of an atom in px. Default: that of the denoising, from ``metadata.n2a``, or measured.
    contrast
        Atoms that are "bright" or "dark" in `raw` (and in `denoised`, where it has its background). "auto": as recorded
        by the denoising, or told from the images.
    background
        Whether `denoised` has its background. Default: as recorded by the denoising, else True; a background that is
        not there does no harm but where atoms stand too close for a valley of zero.
    neighbours
        Raw frames before and after that may speak for an atom as well, together with its own: for scenes at rest.
    false_rate
        Expected part of noise among the supported atoms of a frame. On an empty frame, about the chance that any is.
    unseen
        True when `raw` holds frames of the same scene that `denoised` was not computed from: less is then asked of an
        atom, because its place was not chosen by the noise of these counts.
    time_axis
        Navigation axis of the `neighbours`: a name, an index, an axis, "auto", or None. Of an array, the last before
        the images.
    show_progressbar
        Default: HyperSpy's preference.
    num_workers
        Number of dask threads. Default: dask's.

    Returns
    -------
    AtomMap
        A table with a row per atom, positions as atomap takes them, and an overlay.

    Raises
    ------
    TypeError
        If `denoised` is an array and `raw` a signal, or the other way round.
    ValueError
        If the images are unsuitable, their shapes differ, an argument is out of range, or `raw` has no noise.

    Warns
    -----
    UserWarning
        If there are no atoms, or intensities in `denoised` are not those of `raw`.

    Notes
    -----
    Atoms are the maxima of the denoised image, the highest within 1.25 atom widths to each side; positions are those of
    the Gaussian spots that explain the image best, all together. What is "supported", and what the likelihood cannot
    see, is told in :func:`n2a.detection.log_likelihood`: the maxima were made from the same counts that judge them, so
    the bar is the one for looking everywhere.

    References
    ----------
    S. Mohan et al., Microsc. Microanal. 28 (2022), "Deep denoising for scientific discovery: a case study in electron
    microscopy".

    Examples
    --------
    >>> import n2a
    >>> noisy = n2a.acquire(n2a.simulate(structure="2d", shape=(64, 64), frames=3, seed=1), dose=20, seed=1)
    >>> denoised = n2a.denoise(noisy, show_progressbar=False)
    >>> atoms = n2a.atom_map(denoised, noisy, show_progressbar=False)
    >>> atoms.table.dtype.names[:5]
    ('frame', 'row', 'column', 'y', 'x')
    >>> bool(atoms.table["supported"].mean() > 0.9), atoms.positions(frame=0).shape[1]
    (True, 2)
    """
    if contrast not in ("auto", "bright", "dark"):
        raise ValueError(f"'contrast' must be 'auto', 'bright' or 'dark', not {contrast!r}.")
    if not isinstance(neighbours, Integral) or neighbours < 0:
        raise ValueError(
            f"'neighbours' must be a whole number of frames, 0 or more, not {neighbours!r}."
        )
    for name, value in (("threshold", threshold), ("atom_width", atom_width)):
        if value is not None:
            signals.check_positive(name, value)
    if not 0 < false_rate < 1:
        raise ValueError(f"'false_rate' must be a fraction between 0 and 1, not {false_rate!r}.")
    source = _Source(denoised, raw, time_axis if neighbours else None)
    told = source.record
    above = not told.get("background", True) if background is None else not background
    if contrast == "auto":
        contrast = told.get("contrast")
    task = _plan(
        source,
        threshold,
        atom_width or told.get("atom_width"),
        contrast,
        above,
        int(neighbours),
        false_rate,
        unseen,
    )
    rows = []
    with tqdm(
        total=source.count, unit="frame", disable=not signals.wants_progress(show_progressbar)
    ) as progress:
        for number, image, window in source.frames(int(neighbours), num_workers):
            rows.append(_map_frame(task, number, image, window, source.axes))
            progress.update()
    table = np.concatenate(rows)
    table = table[np.argsort(table["frame"], kind="stable")]
    result = AtomMap(table, source, task)
    _complain(result)
    return result


class _Source:
    """Frames of the denoised and raw signals or arrays, in blocks."""

    def __init__(self, denoised, raw, time_axis):
        from hyperspy.signal import BaseSignal

        self.signal = denoised if isinstance(denoised, BaseSignal) else None
        if raw is not None and isinstance(raw, BaseSignal) != isinstance(denoised, BaseSignal):
            raise TypeError(
                f"'denoised' is a {type(denoised).__name__} and 'raw' a {type(raw).__name__}; expected two signals or "
                "two arrays. Give the data of both (signal.data), or both signals."
            )
        if self.signal is None:
            arrays = [_array(name, a) for name, a in (("denoised", denoised), ("raw", raw))]
            self.record: dict = {}
            self.axes = (Calibration(0.0, 1.0, None), Calibration(0.0, 1.0, None))
            self.navigation = arrays[0].shape[:-2]
            self.numbers = np.arange(int(np.prod(self.navigation)))
            self.denoised, self.raw = (a if a is None or a.ndim > 2 else a[None] for a in arrays)
        else:
            for each in (denoised, raw):
                if each is not None:
                    signals.check_images(each)
            if raw is not None and not signals.same_layout(denoised, raw):
                raise ValueError(
                    f"'raw' is {raw!r}; expected the shape of 'denoised', {denoised!r}. Select the same frames and the "
                    "same region of both."
                )
            axis = signals.resolve_time_axis(denoised, time_axis)
            self.record = denoised.metadata.get_item("n2a.denoising", None)
            self.record = {} if self.record is None else self.record.as_dictionary()
            self.axes = tuple(Calibration(*each) for each in signals.image_axes(denoised))
            self.navigation = signals.navigation_shape(denoised)
            self.numbers = signals.frame_numbers(denoised, axis)
            self.denoised = signals.stack_frames(denoised, axis)
            self.raw = None
            if raw is not None:
                raw_axis = None if axis is None else raw.axes_manager[axis.index_in_axes_manager]
                self.raw = signals.stack_frames(raw, raw_axis)
        if self.raw is not None and self.raw.shape != self.denoised.shape:
            raise ValueError(
                f"'raw' has shape {self.raw.shape}; expected that of 'denoised', {self.denoised.shape}. Select the "
                "same frames and the same region of both."
            )

    @property
    def count(self) -> int:
        return int(np.prod(self.denoised.shape[:-2]))

    def frames(
        self, halo: int, num_workers: int | None
    ) -> Iterator[tuple[int, np.ndarray, Window | None]]:
        """Number of each frame, the frame, and the raw frames around it."""
        import dask
        from dask.array.core import slices_from_chunks

        length = self.denoised.shape[-3]
        numbers = self.numbers.reshape(self.denoised.shape[:-2])
        workers = {} if num_workers is None else {"num_workers": num_workers}
        for start, stop in signals.frame_spans(self.denoised.shape, length):
            first, last = max(0, start - halo), min(length, stop + halo)
            block = signals.frame_blocks(self.denoised, start, stop)
            around = None if self.raw is None else signals.frame_blocks(self.raw, first, last)
            others = block.chunks[:-3]
            for part in slices_from_chunks(others) if others else [()]:
                both = [block[part], *([] if around is None else [around[part]])]
                images, *raw = dask.compute(*both, **workers)
                for index in np.ndindex(images.shape[:-2]):
                    i = index[-1] + start
                    window = None
                    if raw:
                        low = max(0, i - halo)
                        frames = raw[0][index[:-1]][low - first : i + halo + 1 - first]
                        window = Window(frames, i - low)
                    yield int(numbers[part][index[:-1]][i]), images[index], window

    def title(self, number: int) -> str:
        """What one frame is called in figures."""
        name = "" if self.signal is None else self.signal.metadata.get_item("General.title", "")
        if self.count == 1:
            return name
        return f"{name}, frame {number}" if name else f"frame {number}"

    @property
    def names(self) -> list[str]:
        """Of the navigation axes, in the order of the array."""
        if self.signal is None:
            return [f"axis {i}" for i in range(len(self.navigation))]
        return [signals.axis_name(axis) for axis in signals.frame_axes(self.signal)]

    def image(self, number: int) -> np.ndarray:
        """One frame of the denoised series."""
        place = np.unravel_index(
            int(np.flatnonzero(self.numbers == number)[0]), self.denoised.shape[:-2]
        )
        return np.asarray(self.denoised[place])


def _array(name: str, array):
    if array is None:
        return None
    array = array if hasattr(array, "dask") else np.asarray(array)
    if array.dtype.kind not in "uif" or array.ndim < 2 or 0 in array.shape:
        raise ValueError(
            f"'{name}' has dtype '{array.dtype}' and shape {array.shape}; expected real images (..., y, x), integer or "
            "float, or a HyperSpy signal of images."
        )
    return array


def _plan(
    source: _Source,
    threshold: float | None,
    atom_width: float | None,
    contrast: str | None,
    above: bool,
    neighbours: int,
    false_rate: float,
    unseen: bool,
) -> Task:
    """Measure on a few frames what is to be the same for all."""
    sample = np.asarray(signals.sample_frames(source.denoised, pixels=0), np.float64)
    finite = np.isfinite(sample)
    if not finite.any():
        raise ValueError(
            "'denoised' has no finite pixel in the frames that were sampled; expected measured intensities. Crop it, "
            "or replace NaN and inf."
        )
    filled = np.where(finite, sample, np.median(sample[finite]))
    if not atom_width:
        atom_width = measure_atom_width(filled) or USUAL_WIDTH
    atom_width = float(atom_width)
    counts = None if source.raw is None else signals.sample_frames(source.raw)
    if contrast is None:
        # What has no background shows atoms bright, and does not tell how they were.
        contrast = _contrast(counts if above and counts is not None else filled)
    bright = contrast == "bright"
    task = Task(atom_width, atom_width, 0.0, above, bright, None, false_rate, unseen)
    atoms = np.stack([task.atoms(frame) for frame in np.where(finite, sample, np.nan)])
    found = detect(atoms, atom_width)
    found = found[found.height > 0]
    noise, claim = None, 0.0
    if counts is not None:
        noise = noise_of(counts)
        level = background_level(np.asarray(counts, np.float64), bright)
        variance = noise.variance(level) / (2 * neighbours + 1)
        claim = CLAIM * float(np.sqrt(variance / np.pi)) / atom_width
    if threshold is None:
        threshold = max(FRACTION * _usual_height(found.height), claim)
    strong = found[found.height >= threshold]
    usual = usual_width(atoms, strong, atom_width)
    return Task(atom_width, usual, float(threshold), above, bright, noise, false_rate, unseen)


def _contrast(sample: np.ndarray) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a network would need
            return plan_series(sample).contrast
    except ValueError:  # constant, or tiny
        return "bright"


def _usual_height(heights: np.ndarray) -> float:
    """Median of the heights, each weighted with itself; 0 where there are none."""
    if not len(heights):
        return 0.0
    heights = np.sort(heights)
    return float(heights[np.searchsorted(np.cumsum(heights), heights.sum() / 2)])


def _map_frame(
    task: Task,
    number: int,
    image: np.ndarray,
    window: Window | None,
    axes: tuple[Calibration, Calibration],
) -> np.ndarray:
    """Rows of the table for one frame."""
    atoms = task.atoms(image)[None]
    found = detect(atoms, task.atom_width)
    found = refine(atoms, found[found.height >= max(task.threshold, 1e-300)], task.usual)
    measured = measure(atoms, found, task.usual, fit=False)
    table = _empty(window is not None, len(found))
    table["frame"] = number
    table["row"], table["column"], table["height"] = found.row, found.column, found.height
    for name, place, axis in zip("yx", (found.row, found.column), axes):
        table[name] = axis.offset + axis.scale * place
    table["intensity"], table["width"] = measured.intensity, measured.width
    if window is not None and len(found):
        table["log_likelihood"], table["significance"], table["supported"] = _support(
            task, image, atoms[0], window, found
        )
    # A maximum in the outermost pixels is the flank of an atom outside; its neighbours had to know of it.
    height, width = image.shape
    whole = (found.row > 0.5) & (found.column > 0.5)
    return table[whole & (found.row < height - 1.5) & (found.column < width - 1.5)]


def _support(
    task: Task, image: np.ndarray, atoms: np.ndarray, window: Window, found: Detections
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log likelihood ratio, significance and verdict: by the frame itself, or by all around it where they say more."""
    frames = np.asarray(window.frames, np.float64)
    looks = [(frames[window.own], 1)]
    if len(frames) > 1:
        finite = np.isfinite(frames)
        number = finite.sum(axis=0)
        total = np.where(finite, frames, 0).sum(axis=0)
        looks.append((np.where(number > 0, total / np.maximum(number, 1), np.nan), len(frames)))
    told = []
    for raw, number in looks:
        expected = _total(task, atoms, raw) if task.above else np.asarray(image, np.float64)
        support = log_likelihood(
            raw[None],
            expected[None],
            None,
            found,
            task.usual,
            Noise(task.noise.gain / number, task.noise.offset / number, task.noise.gain_error),
            bright=task.bright,
            false_rate=task.false_rate / len(looks),
            unseen=task.unseen,
        )
        told.append((support.ratio, support.significance, support.supported))
    best = np.argmax([significance for _, significance, _ in told], axis=0)
    ratio, significance, _ = (np.choose(best, each) for each in zip(*told))
    return ratio, significance, np.logical_or.reduce([each[2] for each in told])


def _total(task: Task, atoms: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """Atoms on the background that is left of a raw frame without them."""
    atoms = atoms if task.bright else -atoms
    rest = raw - atoms
    known = np.isfinite(rest)
    spread = 4 * task.atom_width
    weight = gaussian_filter(known.astype(np.float64), spread)
    background = gaussian_filter(np.where(known, rest, 0), spread) / np.maximum(weight, 1e-12)
    return background + atoms


def _empty(with_support: bool, number: int = 0) -> np.ndarray:
    return np.zeros(number, _PLACE + (_SUPPORT if with_support else []))


def _complain(result: AtomMap) -> None:
    table = result.table
    if not len(table):
        warn(
            f"no atoms higher than {result.threshold:.3g} were found in {result!r}. If there are some, pass a lower "
            "'threshold', their standard deviation in px as 'atom_width', or the right 'contrast' and 'background'"
        )
    elif result.judged:
        clear = table["significance"] > 6
        if clear.sum() >= 3 and np.median(table["log_likelihood"][clear]) < 0:
            warn(
                "the raw frames show atoms where 'denoised' has them, but of quite another intensity: 'denoised' does "
                "not seem to be in the units of 'raw'. Undo its normalisation, or pass 'background' and 'contrast' as "
                "they are"
            )


class AtomMap:
    """Atoms of a series, from :func:`atom_map`.

    Attributes
    ----------
    table : numpy.ndarray
        Structured, one row per atom, frame by frame, from the highest down. ``frame``: number of the frame, counting
        through the navigation axes as the array has them (0 for a single image); ``row``, ``column``: position in px;
        ``y``, ``x``: the same on the axes of the signal; ``intensity``: sum over the pixels above the background;
        ``height``: highest pixel above the background; ``width``: standard deviation in px. With raw frames also
        ``log_likelihood``: mean log likelihood ratio of the pixels around the atom; ``significance``: how far the
        counts rise there, in standard deviations of noise; ``supported``: whether the counts support the atom.
        Intensities are positive for dark atoms too, in the units of the series; NaN where too little of an atom was
        measured.
    atom_width : float
        Usual standard deviation of the atoms in px.
    threshold : float
        Least height.
    contrast : str
        "bright" or "dark" atoms in the raw frames.
    false_rate : float
        Expected part of noise among the supported atoms of a frame.

    Examples
    --------
    >>> import n2a
    >>> clean = n2a.simulate(structure="atoms", n_atoms=4, shape=(64, 64), frames=2, hop=0, seed=6)
    >>> atoms = n2a.atom_map(clean, show_progressbar=False)
    >>> atoms
    <AtomMap: 8 atoms in 2 frames of 64 x 64 px>
    >>> len(atoms), atoms.positions(frame=1).shape
    (8, (4, 2))
    """

    def __init__(self, table: np.ndarray, source: _Source, task: Task):
        self.table = table
        self.atom_width, self.threshold = task.usual, task.threshold
        self.contrast = "bright" if task.bright else "dark"
        self.false_rate = task.false_rate
        self._source, self._task = source, task

    def __len__(self) -> int:
        return len(self.table)

    @property
    def judged(self) -> bool:
        """Whether raw frames were there to say which atoms are supported."""
        return "supported" in self.table.dtype.names

    @property
    def detections(self) -> Detections:
        """Atoms as :mod:`n2a.detection` takes them."""
        return Detections(*(self.table[name] for name in ("frame", "row", "column", "height")))

    def _number(self, frame) -> int:
        shape = self._source.navigation
        try:
            if isinstance(frame, Integral):
                place = range(self._source.count)[frame]
            else:
                place = int(np.ravel_multi_index(tuple(frame)[::-1], shape))
        except (IndexError, TypeError, ValueError):
            raise ValueError(
                f"'frame' is {frame!r}; expected a number below {self._source.count}, or one index for each navigation "
                f"axis as for signal.inav (they have {shape[::-1]} frames)."
            ) from None
        return place

    def positions(self, frame: int | tuple[int, ...] = 0, supported: bool = False) -> np.ndarray:
        """Positions in one frame, as atomap and Matplotlib take them.

        Parameters
        ----------
        frame
            Number of the frame, or one index for each navigation axis as for ``signal.inav``.
        supported
            Only those that the counts support.

        Returns
        -------
        numpy.ndarray
            (n, 2): x and y in px, ``atomap.Sublattice(positions, image)``.

        Examples
        --------
        >>> import n2a
        >>> clean = n2a.simulate(structure="atoms", n_atoms=1, shape=(64, 64), frames=0, hop=0, seed=6)
        >>> atoms = n2a.atom_map(clean, show_progressbar=False)
        >>> bool(abs(atoms.positions()[0, 0] * 0.0125 - n2a.atoms_of(clean)["x"][0]) < 1e-3)
        True
        """
        here = self._rows(frame, supported)
        return np.column_stack([here["column"], here["row"]])

    def _rows(self, frame, supported: bool = False) -> np.ndarray:
        rows = self.table[self.table["frame"] == self._number(frame)]
        if supported:
            self._need_support()
            rows = rows[rows["supported"]]
        return rows

    def _need_support(self) -> None:
        if not self.judged:
            raise ValueError(
                "this map was made without raw frames, so that nothing is known of the support of its atoms; call "
                "n2a.atom_map(denoised, raw)."
            )

    def to_dataframe(self) -> pd.DataFrame:
        """The table as a pandas DataFrame; with several navigation axes, one more column for the index on each.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "'to_dataframe' needs pandas: pip install pandas. The same numbers are in 'table', a NumPy array."
            ) from error
        frame = pandas.DataFrame(self.table)
        if len(self._source.navigation) > 1:
            indices = np.unravel_index(self.table["frame"], self._source.navigation)
            for k, (name, index) in enumerate(zip(self._source.names, indices)):
                frame.insert(1 + k, name, index)
        return frame

    def plot(
        self,
        frame: int | tuple[int, ...] = 0,
        region: tuple[float, float, float, float] | None = None,
        axes: Axes | None = None,
    ) -> Axes:
        """Draw the atoms over one frame of the denoised series, with a scale bar.

        Circles are supported by the counts, diamonds are not.

        Parameters
        ----------
        frame
            Number of the frame, or one index for each navigation axis as for ``signal.inav``.
        region
            Left, right, top and bottom in px of a part to look at. Default: the whole frame.
        axes
            Draw into these empty axes. Default: a new figure of pyplot.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If there is no such frame, or the region is empty.

        Examples
        --------
        >>> import n2a
        >>> from matplotlib.figure import Figure
        >>> clean = n2a.simulate(structure="atoms", n_atoms=4, shape=(64, 64), frames=0, seed=6)
        >>> atoms = n2a.atom_map(clean, show_progressbar=False)
        >>> axes = atoms.plot(axes=Figure().add_subplot())
        >>> [text.get_text() for text in axes.get_legend().get_texts()]
        ['4 atoms']
        """
        from n2a.overlay import mark_atoms, show_image

        number = self._number(frame)
        image = self._source.image(number)
        if region is not None and not (region[0] < region[1] and region[2] < region[3]):
            raise ValueError(
                f"'region' is {region!r}; expected (left, right, top, bottom) in px, left below right and top below "
                "bottom."
            )
        if axes is None:
            import matplotlib.pyplot as plt

            # A screen pixel for every pixel, between 5 and 10 inches.
            left, right, top, bottom = region or (0, image.shape[1], 0, image.shape[0])
            width = float(np.clip((right - left) / 100, 5, 10))
            height = float(np.clip(width * (bottom - top) / (right - left), 2, 12))
            _, axes = plt.subplots(figsize=(width, height + 0.7), layout="constrained")
        show_image(axes, image, *self._source.axes[1][1:], region)
        rows = self._rows(frame)
        supported = rows["supported"] if self.judged else None
        mark_atoms(axes, self.positions(frame), 1.6 * self.atom_width, supported)
        axes.set_title(self._source.title(number), loc="left", fontsize=10)
        return axes

    def summary(self) -> str:
        """What was found, in words."""
        count, frames = len(self.table), self._source.count
        height, width = self._source.denoised.shape[-2:]
        where = "an image" if frames == 1 else f"{frames} frames"
        text = (
            f"{count or 'no'} atom{'' if count == 1 else 's'} in {where} of {width} x {height} px"
        )
        if self.judged and count:
            text += f", {np.count_nonzero(self.table['supported'])} supported by the counts"
        return text

    def __repr__(self) -> str:
        return f"<AtomMap: {self.summary()}>"

    def _repr_html_(self) -> str:
        rows = [
            ("least height", f"{self.threshold:.4g}"),
            (
                "usual standard deviation",
                f"{self.atom_width:.3g} px{self._in_units(self.atom_width)}",
            ),
            ("contrast of the raw frames", self.contrast),
        ]
        if self.judged:
            rows.append(
                ("noise among the supported ones", f"at most {self.false_rate:.0%} expected")
            )
        else:
            rows.append(("support by the counts", "not asked: pass the raw frames"))
        facts = "".join(
            f"<tr><th style='text-align: left'>{name}</th><td>{html.escape(value)}</td></tr>"
            for name, value in rows
        )
        names = self.table.dtype.names
        head = "".join(f"<th>{name}</th>" for name in names)
        body = "".join(
            "<tr>"
            + "".join(
                f"<td>{row[name]:.4g}</td>"
                if isinstance(row[name], float)
                else f"<td>{row[name]}</td>"
                for name in names
            )
            + "</tr>"
            for row in self.table[:5]
        )
        more = f"<p>… and {len(self.table) - 5} more</p>" if len(self.table) > 5 else ""
        return (
            f"<p><b>Atom map</b>: {self.summary()}</p><table>{facts}</table>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"
        )

    def _in_units(self, pixels: float) -> str:
        axis = self._source.axes[1]
        return f" ({pixels * abs(axis.scale):.3g} {axis.units})" if axis.units else ""


def true_atoms(signal: BaseSignal) -> Detections:
    """Columns of a simulated signal in px of its images, for :func:`n2a.detection.match_positions`.

    Parameters
    ----------
    signal
        From :func:`n2a.simulate` or :func:`n2a.acquire`; it may be cropped.

    Returns
    -------
    Detections
        In the order of the frames of the signal; `height` is that in the clear images. Columns that overlap are
        listed one by one, whether or not an image resolves them.

    Raises
    ------
    ValueError
        If the signal does not come from the simulator.

    Examples
    --------
    >>> import n2a
    >>> from n2a.atoms import true_atoms
    >>> clean = n2a.simulate(structure="atoms", n_atoms=5, shape=(64, 64), frames=4, hop=0, seed=6)
    >>> len(true_atoms(clean)), len(true_atoms(clean.inav[1:3]))
    (20, 10)
    """
    from n2a.simulator import atoms_of

    atoms = atoms_of(signal)
    signals.check_images(signal)
    # Cropping moves the offset of the time axis, by which frames are counted.
    axes = signal.axes_manager.navigation_axes
    if len(axes) == 1 and axes[0].is_uniform:
        first, length = round(axes[0].offset / axes[0].scale), axes[0].size
        atoms = atoms[(atoms["frame"] >= first) & (atoms["frame"] < first + length)]
        atoms["frame"] -= first
    height, width = signals.stack_frames(signal).shape[-2:]
    row, column = (
        (atoms[name] - offset) / scale
        for name, (offset, scale, _) in zip("yx", signals.image_axes(signal))
    )
    inside = (row >= -0.5) & (column >= -0.5) & (row < height - 0.5) & (column < width - 0.5)
    return Detections(atoms["frame"], row, column, atoms["intensity"])[inside]
