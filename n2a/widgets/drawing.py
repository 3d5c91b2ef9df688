# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays to pictures for panels: grey values, the part that is zoomed to, a scale bar from the axes."""

from __future__ import annotations

import html
import io
import math
from typing import NamedTuple

import numpy as np

# Width in pixels of one of two pictures, and of one of many; the browser fits it to the page.
LARGE, SMALL = 720, 480
EMPTY = "#3d4654"  # pixels that are NaN


class Ruler(NamedTuple):
    """Pixels to lengths along one axis of the image."""

    scale: float
    offset: float
    unit: str
    size: int

    @classmethod
    def of(cls, axis) -> Ruler:
        """Of an axis of a signal; in pixels where it is not calibrated, or not uniform."""
        unit = axis.units if isinstance(axis.units, str) else ""
        if not axis.is_uniform or not unit:
            return cls(1.0, 0.0, "px", axis.size)
        return cls(abs(axis.scale), min(axis.axis[0], axis.axis[-1]), unit, axis.size)

    def bar(self, pixels: int) -> tuple[float, str]:
        """Length in pixels, and text, of a scale bar for a picture of so many pixels: 1, 2 or 5, about a quarter."""
        longest = 0.35 * pixels * self.scale
        power = 10.0 ** math.floor(math.log10(longest))
        length = max(n * power for n in (1, 2, 5) if n * power <= longest)
        return length / self.scale, f"{length:.10g} {self.unit}"


class Region(NamedTuple):
    """The part of an image that is looked at."""

    rows: slice
    columns: slice

    @classmethod
    def around(cls, shape: tuple[int, int], zoom: float, y: float, x: float) -> Region:
        """Part of an image of `shape`, `zoom` times enlarged, around the pixel (y, x) as far as the edges allow."""
        spans = []
        for n, middle in zip(shape, (y, x)):
            length = max(1, min(n, round(n / zoom)))
            start = int(np.clip(math.floor(middle - (length - 1) / 2), 0, n - length))
            spans.append(slice(start, start + length))
        return cls(*spans)


def grey_limits(values: np.ndarray, percent: tuple[float, float]) -> tuple[float, float]:
    """Intensities at two percentiles; NaN is left out."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(limit) for limit in np.percentile(finite, percent))
    return (low, high) if high > low else (low, low + (abs(low) or 1.0) * 1e-6)


def to_grey(image: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Intensities from the lower to the upper limit as 0 to 1."""
    low, high = limits
    return ((np.asarray(image, np.float64) - low) / (high - low)).clip(0, 1)


def picture(
    grey: np.ndarray,
    ruler: Ruler,
    aspect: float = 1.0,
    cut: float | None = None,
    pixels: int = LARGE,
) -> bytes:
    """PNG of grey values (y, x) from 0 to 1, with a scale bar.

    Parameters
    ----------
    grey
        What to draw; NaN is drawn in a colour of its own.
    ruler
        Of the axis x.
    aspect
        Height of a pixel over its width.
    cut
        Column at which a line parts what is left from what is right of it.
    pixels
        Width of the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

    height, width = grey.shape
    size = pixels, max(1, round(min(4.0, height * aspect / width) * pixels))
    figure = Figure(figsize=(size[0] / 100, size[1] / 100), dpi=100, facecolor=EMPTY)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(grey, cmap="gray", vmin=0, vmax=1, aspect="auto")
    if cut is not None:
        axes.axvline(cut - 0.5, color="#e69f00", linewidth=2)
    length, text = ruler.bar(width)
    bar = AnchoredSizeBar(
        axes.transData, length, text, "lower left", color="white", label_top=True,
        borderpad=0.6, pad=0.4, sep=4, size_vertical=height / 110,
        fontproperties=FontProperties(size=15),
    )  # fmt: skip
    bar.patch.set(facecolor="black", edgecolor="none", alpha=0.6)
    axes.add_artist(bar)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    file = io.BytesIO()
    # Noise hardly compresses: no time is spent on that.
    FigureCanvasAgg(figure).print_figure(
        file, format="png", dpi=100, facecolor=EMPTY, pil_kwargs={"compress_level": 1}
    )
    return file.getvalue()


def intensity(value: float) -> str:
    """An intensity for people to read: four digits, or a whole number with its thousands apart."""
    text = f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"
    return text.replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", "\N{MINUS SIGN}")


def caption(title: str, limits: tuple[float, float] | None, quantity: str) -> str:
    """HTML: what a picture shows, and the intensities of black and white."""
    scale = ""
    if limits is not None:
        low, high = map(intensity, limits)
        scale = (
            f"<span style='white-space: nowrap'>{low} <span style='display: inline-block; width: 4em; height: .7em; "
            "background: linear-gradient(to right, #000, #fff); border: 1px solid #888; vertical-align: -1px'></span> "
            f"{high}</span> {html.escape(quantity)}"
        )
    return (
        "<div style='display: flex; flex-wrap: wrap; justify-content: space-between; column-gap: 1em; "
        f"line-height: 1.5'><b>{html.escape(title)}</b><span>{scale}</span></div>"
    )
