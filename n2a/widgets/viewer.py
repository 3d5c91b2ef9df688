# SPDX-License-Identifier: GPL-3.0-or-later
"""One frame in several versions: linked zoom, contrast limits, side by side or behind a wipe."""

from __future__ import annotations

import html
import math
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np

from n2a import signals
from n2a.widgets.drawing import LARGE, SMALL, Region, Ruler, caption, grey_limits, picture, to_grey
from n2a.widgets.parts import LABEL, group

if TYPE_CHECKING:
    from hyperspy.api.signals import BaseSignal

SIDE, WIPE = "side by side", "wipe"
ZOOMS = (1, 1.5, 2, 3, 4, 6, 8, 12, 16)


class Viewer:
    """Pictures of a frame; every one has grey values of its own, at the same percentiles.

    Parameters
    ----------
    signal
        The raw images: their axes make the sliders and the scale bar.
    time_axis
        Axis of the time, or None.
    names
        Of the pictures, in their order.
    wipe
        Whether two pictures can also be looked at through each other.

    Attributes
    ----------
    moved : callable
        Called when another frame is wanted.
    """

    def __init__(self, signal: BaseSignal, time_axis, names: Sequence[str], wipe: bool = False):
        self.moved: Callable[[], None] = lambda: None
        self._lock = threading.RLock()
        self._images: dict[str, np.ndarray | None] = {}
        self._levels: dict[str, np.ndarray] = {}
        self._quantity: dict[str, str] = {}
        manager = signal.axes_manager
        y, x = sorted(manager.signal_axes, key=lambda axis: axis.index_in_array)
        self._rulers = Ruler.of(x), Ruler.of(y)
        self._aspect = abs(y.scale / x.scale) if x.units == y.units and manager.all_uniform else 1.0
        self._shape = y.size, x.size

        self._axes = signals.frame_axes(signal, time_axis)
        self.sliders = [_frame_slider(axis) for axis in self._axes]
        self._places = [widgets.Label() for _ in self._axes]
        for slider in self.sliders:
            slider.observe(self._frame_changed, "value")
        self.mode = widgets.ToggleButtons(options=[SIDE, WIPE], style={"button_width": "auto"})
        self.mode.layout.display = None if wipe else "none"
        self.wipe = widgets.FloatSlider(
            value=50, min=0, max=100, step=0.5, readout=False,
            layout=widgets.Layout(width="auto", margin="0"),
        )  # fmt: skip
        self.wipe.tooltip = f"What is left of it is {names[0]}, what is right of it {names[-1]}"

        self.zoom = widgets.SelectionSlider(
            options=[(f"{zoom:g}\N{MULTIPLICATION SIGN}", zoom) for zoom in ZOOMS],
            description="Zoom", style=LABEL, layout=widgets.Layout(width="auto"),
        )  # fmt: skip
        self.x, self.y = (
            _slider(
                ruler.offset,
                ruler.offset + ruler.scale * (ruler.size - 1),
                ruler.offset + ruler.scale * (ruler.size - 1) / 2,
                ruler.scale,
                f"{name} ({ruler.unit})",
                f".{max(0, math.ceil(3 - math.log10(ruler.scale * ruler.size)))}f",
            )
            for name, ruler in zip("xy", self._rulers)
        )
        self.contrast = widgets.FloatRangeSlider(
            value=(0.5, 99.9), min=0, max=100, step=0.1, readout_format=".1f",
            description="Contrast, %", style=LABEL, layout=widgets.Layout(width="auto"),
        )  # fmt: skip
        self.contrast.tooltip = (
            "Percentiles of the intensities that are black and white, in every picture"
        )
        self.controls = group(self.zoom, self.x, self.y, self.contrast, title="Look")

        self._pictures = widgets.GridBox(
            layout=widgets.Layout(
                grid_template_columns="repeat(auto-fit, minmax(min(100%, 250px), 1fr))",
                grid_gap="8px",
                width="100%",
            )
        )
        head = widgets.HBox(
            [self.mode, *(_beside(*pair) for pair in zip(self.sliders, self._places))],
            layout=widgets.Layout(flex_flow="row wrap", grid_gap="4px 28px", align_items="center"),
        )
        self.widget = widgets.VBox([head, self._pictures])
        self.names: tuple[str, ...] = ()
        self.images: dict[str, widgets.Image] = {}
        self.captions: dict[str, widgets.HTML] = {}
        for name in names:
            self.add(name)
        self.draw()
        for control in (self.zoom, self.x, self.y, self.contrast, self.wipe):
            control.observe(lambda change: self.draw(), "value")
        self.mode.observe(self._mode_changed, "value")
        self._tell_places()
        self._allow_moves()

    @property
    def index(self) -> tuple[int, ...]:
        """Which frame is looked at, as the index of (..., n, y, x)."""
        return tuple(slider.value for slider in self.sliders) or (0,)

    def add(self, name: str, like: str | None = None) -> None:
        """Add an empty picture, with the grey values of another one where that is named."""
        with self._lock:
            self.names = (*self.names, name)
            self._images[name] = None
            self.images[name], self.captions[name] = _image(), widgets.HTML()
            if like is not None:
                self._levels[name] = self._levels[like]
            self._arrange()

    def clear(self, names: Sequence[str]) -> None:
        """Keep these pictures and take the others away."""
        with self._lock:
            for name in set(self.names) - set(names):
                for kept in (
                    self._images,
                    self._levels,
                    self._quantity,
                    self.images,
                    self.captions,
                ):
                    kept.pop(name, None)
            self.names = tuple(names)
            self._arrange()

    def set(self, name: str, image: np.ndarray | None, quantity: str = "") -> None:
        """Give a picture its frame (y, x), and say what its intensities are; None empties it."""
        with self._lock:
            if image is None and self._images[name] is None:
                return
            self._images[name] = image
            if image is not None:
                self._quantity[name] = quantity
                # The first frame decides for all: brightness is to be compared.
                self._levels.setdefault(name, _some(image))
            self.draw()

    def forget(self, name: str) -> None:
        """Empty a picture; the next frame decides on its grey values."""
        with self._lock:
            self._levels.pop(name, None)
            self.set(name, None)

    def set_levels(self, name: str, values: np.ndarray) -> None:
        """Take the percentiles of a picture from these intensities."""
        with self._lock:
            self._levels[name] = _some(values)

    def limits(self, name: str) -> tuple[float, float] | None:
        """Intensities that are black and white in a picture; None while it is empty."""
        if self._images[name] is None:
            return None
        return grey_limits(self._levels[name], self.contrast.value)

    def region(self) -> Region:
        """The part of the frame that is looked at, in all pictures."""
        x, y = (
            (slider.value - ruler.offset) / ruler.scale
            for slider, ruler in zip((self.x, self.y), self._rulers)
        )
        return Region.around(self._shape, self.zoom.value, y, x)

    def draw(self) -> None:
        """Draw all pictures anew."""
        with self._lock:
            region = self.region()
            empty = np.full([part.stop - part.start for part in region], np.nan)
            limits = {name: self.limits(name) for name in self.names}
            greys = {
                name: empty if image is None else to_grey(image[region], limits[name])
                for name, image in self._images.items()
            }
            shown, cut = self.names, None
            if self.mode.value == WIPE:
                shown, cut = self.names[:1], self._wipe(greys, *self.names)
            pixels = LARGE if len(shown) < 3 else SMALL
            for name in shown:
                self.images[name].value = picture(
                    greys[name], self._rulers[0], self._aspect, cut, pixels
                )
            for name in self.names:
                self.captions[name].value = caption(
                    name, limits[name], self._quantity.get(name, "")
                )

    def _wipe(self, greys: dict[str, np.ndarray], first: str, second: str) -> int:
        """Put the right part of the second picture into the first one; the column where it begins."""
        cut = round(self.wipe.value / 100 * greys[first].shape[1])
        greys[first] = np.concatenate([greys[first][:, :cut], greys[second][:, cut:]], axis=1)
        return cut

    def _arrange(self) -> None:
        """Put the pictures beside each other, or the one of the wipe under both captions."""
        if self.mode.value == WIPE:
            captions = widgets.HBox(
                [self.captions[name] for name in self.names],
                layout=widgets.Layout(justify_content="space-between", width="100%"),
            )
            shown = [(captions, self.images[self.names[0]], self.wipe)]
        else:
            shown = [(self.captions[name], self.images[name]) for name in self.names]
        layout = {"min_width": "0", "max_width": "640px"}
        self._pictures.children = [widgets.VBox(parts, layout=layout) for parts in shown]

    def _mode_changed(self, change) -> None:
        with self._lock:
            self._arrange()
            self.draw()

    def _frame_changed(self, change) -> None:
        self._tell_places()
        self.moved()

    def _tell_places(self) -> None:
        for axis, slider, place in zip(self._axes, self.sliders, self._places):
            unit = axis.units if isinstance(axis.units, str) else ""
            value = f" = {axis.index2value(slider.value):.4g} {unit}" if unit else ""
            place.value = f"{slider.value + 1} of {axis.size}{value}"

    def _allow_moves(self) -> None:
        def zoomed(change):
            self.x.disabled = self.y.disabled = self.zoom.value == 1

        self.zoom.observe(zoomed, "value")
        zoomed(None)


def _some(values: np.ndarray, count: int = 2**17) -> np.ndarray:
    """Some of many values, for percentiles."""
    values = values.ravel()
    return values[:: max(1, values.size // count) | 1]


def _frame_slider(axis) -> widgets.IntSlider:
    slider = widgets.IntSlider(
        min=0, max=axis.size - 1, value=axis.index, readout=False,
        description=html.escape(signals.axis_name(axis)), style={"description_width": "initial"},
        layout=widgets.Layout(width="320px", max_width="100%"),
    )  # fmt: skip
    slider.layout.display = None if axis.size > 1 else "none"
    return slider


def _beside(slider: widgets.IntSlider, place: widgets.Label) -> widgets.HBox:
    shown = slider.layout.display
    return widgets.HBox([slider, place], layout=widgets.Layout(display=shown, max_width="100%"))


def _slider(
    low: float, high: float, value: float, step: float, text: str, readout: str = ".1f"
) -> widgets.FloatSlider:
    return widgets.FloatSlider(
        min=low, max=max(high, low + step), value=value, step=step, description=text,
        readout_format=readout, style=LABEL, layout=widgets.Layout(width="auto"),
    )  # fmt: skip


def _image() -> widgets.Image:
    return widgets.Image(format="png", layout=widgets.Layout(width="100%", height="auto"))
