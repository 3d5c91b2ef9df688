# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to HyperSpy: axes, metadata and (lazy) data of signals to plain arrays, and back."""

from __future__ import annotations

import itertools
import math
import warnings
from contextlib import nullcontext
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
from hyperspy.signal import BaseSignal

from n2a.cropping import middle_part

if TYPE_CHECKING:
    import dask.array as da

TIME_NAMES = ("time", "t", "frame", "frames")

# Pixels in one block: 32 MiB as float32, 16 frames of 512 x 512 twice over.
BLOCK_PIXELS = 2**23
# Shorter blocks would mostly read their neighbours in time, five on each side.
MIN_FRAMES = 8


# Checks


def unsuitable(signal: BaseSignal) -> str | None:
    """Why a signal holds no images to work on, with the remedy; None when it does."""
    dtype, dimension = signal.data.dtype, signal.axes_manager.signal_dimension
    if dtype.kind == "c":
        remedy = "Take s.real, s.imag, s.amplitude or s.phase"
    elif dtype.names:
        remedy = (
            "Turn an RGB image into grey values: s.change_dtype('uint8'), "
            "then s = s.mean(-1).as_signal2D((0, 1))"
        )
    elif dtype.kind == "b":
        remedy = "Convert with s.change_dtype('uint8')"
    elif dtype.kind not in "uif":
        remedy = "Give numbers"
    elif dimension != 2:
        remedy = "Name the image axes: s.as_signal2D(('x', 'y')) or s.transpose(signal_axes=2)"
    else:
        return None
    return (
        f"n2a needs real images (two signal axes, integer or float), not {signal!r} "
        f"with dtype '{dtype}'. {remedy}."
    )


def check_images(signal: BaseSignal, name: str = "signal") -> None:
    """Raise TypeError or ValueError unless the signal, given as the argument `name`, holds real, non-empty images."""
    if not isinstance(signal, BaseSignal):
        raise TypeError(
            f"'{name}' must be a HyperSpy signal, not {type(signal).__name__}. "
            "Wrap an array (..., y, x) with hyperspy.api.signals.Signal2D(array)."
        )
    if problem := unsuitable(signal):
        raise ValueError(f"'{name}': {problem}")
    if 0 in signal.data.shape:
        raise ValueError(f"'{name}': {signal!r} is empty: there are no frames or no pixels in it.")


def check_positive(name: str, value: float) -> float:
    """Return `value` as a float; raise ValueError unless it is a positive, finite number."""
    if isinstance(value, Real) and math.isfinite(value) and value > 0:
        return float(value)
    raise ValueError(f"'{name}' must be a positive number or None, not {value!r}.")


# Axes


def _scale_in(axis, units: str) -> float | None:
    """Step of a uniform axis in the given units; None where the axis does not say."""
    given = str(axis.units).strip()
    # To pint "px" is 1/96 inch and "A" is ampere.
    if not axis.is_uniform or given.lower() in ("px", "pixel", "pixels"):
        return None
    if given == "A" or given.lower() in ("angstrom", "angstroms"):
        axis = axis.copy()
        axis.units = "angstrom"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # HyperSpy warns of units that it does not know
        try:
            converted = axis.convert_to_units(units, inplace=False)
        except (AttributeError, TypeError, ValueError):  # no length or time, for example 1/nm
            return None
    return None if converted is None else abs(converted[0])


def pixel_size(signal: BaseSignal) -> float | None:
    """Pixel size of the frames in nm; None when uncalibrated, reciprocal or not square."""
    x, y = (_scale_in(axis, "nm") for axis in signal.axes_manager.signal_axes)
    if not x or not y or not math.isclose(x, y, rel_tol=0.05):
        return None
    return math.sqrt(x * y)


def resolve_time_axis(signal: BaseSignal, time_axis="auto"):
    """Navigation axis along which frames follow each other, or None.

    "auto" takes the only navigation axis (longer than 1), else the one called time, t or frame,
    else the one with units of time. A name, an index (in HyperSpy's order) or an axis chooses;
    None says that there is none.
    """
    axes = signal.axes_manager.navigation_axes
    if time_axis is None:
        return None
    if isinstance(time_axis, str) and time_axis == "auto":
        long = [axis for axis in axes if axis.size > 1]
        for candidates in (
            axes,
            long,
            [axis for axis in long if str(axis.name).lower() in TIME_NAMES],
            [axis for axis in long if _scale_in(axis, "s") is not None],
        ):
            if len(candidates) == 1:
                return candidates[0]
        return None
    try:
        chosen = None if isinstance(time_axis, bool) else signal.axes_manager[time_axis]
    except (AttributeError, IndexError, TypeError, ValueError):
        chosen = None
    if chosen is None or not any(chosen is axis for axis in axes):
        names = ", ".join(repr(axis_name(axis)) for axis in axes) or "none"
        raise ValueError(
            "'time_axis' must be 'auto', None or a navigation axis of the signal "
            f"({names}), not {time_axis!r}."
        )
    return chosen


def quantity(signal: BaseSignal) -> str:
    """What the intensities are, with their unit where the metadata know it; may be empty."""
    return str(signal.metadata.get_item("Signal.quantity", "") or "")


def axis_name(axis) -> str:
    """Name of an axis for messages and provenance; its place where it has none."""
    return axis.name if isinstance(axis.name, str) else f"axis {axis.index_in_axes_manager}"


def image_axes(signal: BaseSignal) -> tuple[tuple[float, float, str | None], ...]:
    """Offset, scale and units (None where it has none) of the y and the x axis of the images."""
    found = []
    for axis in sorted(signal.axes_manager.signal_axes, key=lambda axis: axis.index_in_array):
        units = axis.units if isinstance(axis.units, str) and axis.units.strip() else None
        if axis.is_uniform:
            found.append((float(axis.offset), float(axis.scale), units))
        else:  # positions on a bent axis would need a table: its ends are right
            first, last = float(axis.axis[0]), float(axis.axis[-1])
            found.append((first, (last - first) / max(axis.size - 1, 1), units))
    return tuple(found)


# Data to arrays and back


def _array_order(signal: BaseSignal, time_axis) -> tuple[int, ...]:
    """Array axes of the signal in the order (other navigation axes, time, y, x)."""
    manager = signal.axes_manager
    navigation = sorted(manager.navigation_indices_in_array)
    if time_axis is not None:
        navigation.remove(time_axis.index_in_array)
        navigation.append(time_axis.index_in_array)
    return (*navigation, *sorted(manager.signal_indices_in_array))


def frame_axes(signal: BaseSignal, time_axis=None) -> list:
    """Navigation axes in the order in which :func:`stack_frames` has them."""
    axes = {axis.index_in_array: axis for axis in signal.axes_manager.navigation_axes}
    return [axes[number] for number in _array_order(signal, time_axis)[:-2]]


def stack_frames(
    signal: BaseSignal, time_axis=None, data: np.ndarray | None = None
) -> np.ndarray | da.Array:
    """Data viewed as (..., n, y, x); n is the time axis, else the last other axis, else 1.

    Another array of the same shape can take the place of the signal's data.
    """
    data = signal.data if data is None else data
    if isinstance(data, np.ma.MaskedArray):
        data = np.where(data.mask, np.nan, data.data)  # as HyperSpy does for lazy signals
    data = data.transpose(_array_order(signal, time_axis))
    return data if data.ndim > 2 else data[None]


def navigation_shape(signal: BaseSignal) -> tuple[int, ...]:
    """Lengths of the navigation axes in the order of the array."""
    return tuple(
        signal.data.shape[i] for i in sorted(signal.axes_manager.navigation_indices_in_array)
    )


def frame_numbers(signal: BaseSignal, time_axis=None) -> np.ndarray:
    """Numbers of the frames of :func:`stack_frames`, one after another, counted in the order of the array."""
    shape = navigation_shape(signal)
    numbers = np.arange(math.prod(shape)).reshape(shape)
    if time_axis is not None:
        place = sorted(signal.axes_manager.navigation_indices_in_array).index(
            time_axis.index_in_array
        )
        numbers = np.moveaxis(numbers, place, -1)
    return numbers.ravel()


def unstack_frames(frames: da.Array, signal: BaseSignal, time_axis=None) -> da.Array:
    """Undo `stack_frames` on an array of the same shape."""
    order = _array_order(signal, time_axis)
    if len(order) == 2:
        frames = frames[0]
    return frames.transpose(tuple(np.argsort(order).tolist()))


def sample_frames(
    frames: np.ndarray | da.Array, pixels: int = 2**20, size: int = 512
) -> np.ndarray:
    """Some frames (n, y, x), spread evenly over (..., n, y, x): about `pixels` pixels, 4 to 16 frames.

    Of frames larger than `size` pixels on a side the middle is taken.
    """
    import dask

    number = math.prod(frames.shape[:-2])
    area = math.prod(min(n, size) for n in frames.shape[-2:])
    count = min(number, max(4, min(16, pixels // area)))
    picks = np.unique(np.linspace(0, number - 1, count).round().astype(int))
    window = middle_part(frames.shape[-2:], size)
    sample = [frames[(*np.unravel_index(pick, frames.shape[:-2]), *window)] for pick in picks]
    return np.stack(sample if isinstance(frames, np.ndarray) else dask.compute(*sample))


def frame_spans(shape: tuple[int, ...], length: int) -> list[tuple[int, int]]:
    """Cut 0..length along the frame axis of (..., n, y, x) into even spans of about one block."""
    wanted = min(length, max(MIN_FRAMES, BLOCK_PIXELS // math.prod(shape[-2:])))
    edges = np.linspace(0, length, math.ceil(length / wanted) + 1).round().astype(int).tolist()
    return list(itertools.pairwise(edges))


def frame_blocks(frames: np.ndarray | da.Array, start: int, stop: int) -> da.Array:
    """Frames start..stop of (..., n, y, x), as dask blocks that hold all of them, whole.

    The blocks depend on the shape only, so that the same series gives the same result in memory
    and lazy.
    """
    import dask
    import dask.array as da

    part = frames[..., start:stop, :, :]
    room = BLOCK_PIXELS // math.prod(frames.shape[-3:])
    chunks = list(part.shape)
    for axis in reversed(range(part.ndim - 3)):
        chunks[axis] = min(part.shape[axis], max(1, room))
        room //= chunks[axis]
    if not isinstance(part, da.Array):
        # The array itself: da.from_array would copy it, and read a memory-mapped file whole.
        part = da.from_delayed(dask.delayed(part, traverse=False), part.shape, part.dtype)
    return part.rechunk(tuple(chunks))


def wants_progress(show_progressbar: bool | None) -> bool:
    """Whether to show a progress bar: HyperSpy's preference where the user did not say."""
    import hyperspy.api as hs

    if show_progressbar is None:
        return bool(hs.preferences.General.show_progressbar)
    return show_progressbar


def compute(
    array: da.Array, show_progressbar: bool | None = None, num_workers: int | None = None
) -> np.ndarray:
    """Compute a dask array, with a progress bar."""
    progress = nullcontext()
    if wants_progress(show_progressbar):
        from tqdm.dask import TqdmCallback

        progress = TqdmCallback()
    with progress:
        return array.compute(**({} if num_workers is None else {"num_workers": num_workers}))


# Results


def with_data(signal: BaseSignal, data: np.ndarray | da.Array) -> BaseSignal:
    """New signal of the same kind, axes and metadata around data of the same shape.

    The noise variance and learning results belong to the old data and are left behind. A lazy
    result gets the navigator of the old data, or their sum: its own would compute the whole series
    for a plot.
    """
    import dask.array as da

    lazy = isinstance(data, da.Array)
    shell = signal.copy()  # shares all with the signal, but not this:
    shell.data = data if lazy else da.zeros(data.shape, dtype=data.dtype, chunks=-1)
    new = shell.as_lazy(copy_variance=False, copy_navigator=lazy, copy_learning_results=False)
    new.tmp_parameters.add_dictionary(signal.tmp_parameters.as_dictionary())
    if not lazy:
        replace_data(new, data)
    elif new.navigator is None and signal.axes_manager.navigation_dimension:
        new.navigator = signal.nansum(signal.axes_manager.signal_axes).T
    return new


def replace_data(signal: BaseSignal, data: np.ndarray | da.Array) -> None:
    """Put data of the same shape into a signal; with a numpy array it is lazy no more."""
    signal.data = data
    if signal._lazy and isinstance(data, np.ndarray):
        signal.compute(show_progressbar=False)  # computes nothing: HyperSpy changes the class


def is_lazy(signal: BaseSignal) -> bool:
    """Whether the data of the signal are still to be read or computed."""
    return signal._lazy


def same_layout(a: BaseSignal, b: BaseSignal) -> bool:
    """Whether two signals have one array shape, and the same signal axes in it."""
    return a.data.shape == b.data.shape and (
        a.axes_manager.signal_indices_in_array == b.axes_manager.signal_indices_in_array
    )


def other_calibration(a: BaseSignal, b: BaseSignal) -> str | None:
    """How the axes of two signals of one layout differ; None where they agree.

    Image axes differ by scale, units or offset, those of navigation by offset: by more than half a step.
    """
    image, other = (
        list(zip(getattr(a.axes_manager, kind), getattr(b.axes_manager, kind)))
        for kind in ("signal_axes", "navigation_axes")
    )
    found = []
    for axes in (*image, *other):
        if not all(axis.is_uniform for axis in axes):
            continue
        name, factors = axis_name(axes[0]), _to_one_unit(*axes)
        if factors is None:
            if axes in image:
                found.append(f"{name} in steps of {_both(axes, 'scale')}")
            continue
        scales, starts = (
            [factor * getattr(axis, which) for factor, axis in zip(factors, axes)]
            for which in ("scale", "offset")
        )
        if axes in image and not math.isclose(*scales, rel_tol=1e-3):
            found.append(f"{name} in steps of {_both(axes, 'scale')}")
        elif abs(starts[0] - starts[1]) > 0.5 * max(map(abs, scales)):
            found.append(f"{name} from {_both(axes, 'offset')} on")
    return "; ".join(found) or None


def _to_one_unit(a, b) -> tuple[float, float] | None:
    """Factors that bring the values of two uniform axes to one unit; None where there is none."""
    if str(a.units).strip() == str(b.units).strip():
        return 1.0, 1.0
    for units in ("nm", "1/nm", "s"):
        steps = _scale_in(a, units), _scale_in(b, units)
        if all(steps) and all(axis.scale for axis in (a, b)):
            return steps[0] / abs(a.scale), steps[1] / abs(b.scale)
    return None


def _both(axes, which: str) -> str:
    return " against ".join(
        f"{getattr(axis, which):g} {axis.units if isinstance(axis.units, str) else ''}".strip()
        for axis in axes
    )


def overwrite(target: BaseSignal, new: BaseSignal) -> None:
    """Give `target` the data and the provenance of `new`, and tell its plots and listeners."""
    replace_data(target, new.data)
    if target._lazy and target.navigator is None:
        target.navigator = new.navigator
    if target.metadata.has_item("Signal.Noise_properties"):
        del target.metadata.Signal.Noise_properties  # of the old data
    target.metadata.add_dictionary({"n2a": new.metadata.n2a.as_dictionary()})
    target.events.data_changed.trigger(obj=target)


def record(signal: BaseSignal, node: str, values: dict) -> None:
    """Write small values (numbers, strings, None) to ``metadata.n2a.<node>``."""
    signal.metadata.set_item(f"n2a.{node}", dict(values))


def attach_atoms(signal: BaseSignal, table: np.ndarray, path: np.ndarray) -> None:
    """Keep with a signal a table (n, 4) of frame, y, x, intensity, and the drift (t, 2) of the scene.

    Lengths are in units of the axes.
    """
    # Not in metadata, which HyperSpy copies at every operation.
    signal.original_metadata.set_item("n2a.atoms", np.asarray(table, np.float64))
    signal.original_metadata.set_item("n2a.drift", np.asarray(path, np.float64))


def attached_atoms(signal: BaseSignal) -> tuple[np.ndarray | None, np.ndarray]:
    """The table of :func:`attach_atoms`, or None, and the drift, of length 0 when there is none."""
    table = signal.original_metadata.get_item("n2a.atoms", None)
    path = signal.original_metadata.get_item("n2a.drift", ())
    path = np.asarray(path, float).reshape(-1, 2)
    return None if table is None else np.asarray(table).reshape(-1, 4), path


def curve_over_time(
    values: np.ndarray, signal: BaseSignal, time_axis, first: int, name: str
) -> BaseSignal:
    """Signal1D of values (..., n - first) over the time axis of a series from frame `first` on.

    The other navigation axes of the series are those of the result.
    """
    from hyperspy.api import signals as hs_signals

    manager = signal.axes_manager
    others = sorted(
        (axis for axis in manager.navigation_axes if axis is not time_axis),
        key=lambda axis: axis.index_in_array,
    )
    dictionary = time_axis.get_axis_dictionary()
    if time_axis.is_uniform:
        dictionary |= {"offset": time_axis.axis[first], "size": values.shape[-1]}
    else:
        dictionary = {key: dictionary[key] for key in ("name", "units")}
        dictionary |= {"_type": "DataAxis", "axis": time_axis.axis[first:]}
    dictionary |= {"navigate": False, "is_binned": False}
    curve = hs_signals.Signal1D(
        values, axes=[*(axis.get_axis_dictionary() for axis in others), dictionary]
    )
    title = signal.metadata.get_item("General.title", "")
    curve.metadata.General.title = f"{name} of {title}" if title else name
    curve.metadata.Signal.quantity = name
    return curve
