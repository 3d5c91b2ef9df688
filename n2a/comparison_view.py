# SPDX-License-Identifier: GPL-3.0-or-later
"""The figure of a comparison: one frame of each result in one grey scale, and a part of it enlarged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import uniform_filter

from n2a.overlay import UNSUPPORTED_COLOUR as ORANGE
from n2a.overlay import new_figure, show_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS, _INCHES = 4, 2.6
Region = tuple[int, int, int, int]


def draw(
    pictures: Sequence[tuple[str, np.ndarray]],
    best: np.ndarray,
    region: Region | None,
    scale: float,
    units: str | None,
    figure: Figure | None = None,
) -> Figure:
    """Draw named pictures (y, x) in the grey scale of the best one.

    Parameters
    ----------
    pictures
        All of one shape and in the same units.
    best
        One of them.
    region
        Left, right, top and bottom in px of what is enlarged below each; None for nothing.
    scale, units
        Pixel size, for the scale bars.
    figure
        Empty. Default: a new figure of pyplot.
    """
    from matplotlib.patches import Rectangle

    shown = [best, *(picture for _, picture in pictures)]
    seen = [picture[np.isfinite(picture)] for picture in shown]
    low, high = np.percentile(next((one for one in seen if one.size), (0.0, 1.0)), (0.5, 99.9))
    columns = min(_COLUMNS, len(pictures))
    deep = 1 if region is None else 2
    rows = deep * -(-len(pictures) // columns)
    if figure is None:
        height = _INCHES * best.shape[0] / best.shape[1] + 0.2
        figure = new_figure((_INCHES * columns, rows * height + 0.3))
    axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.set_axis_off()
    for number, (name, picture) in enumerate(pictures):
        row, column = divmod(number, columns)
        whole = axes[deep * row, column]
        panels = [(whole, None)]
        if region is not None:
            panels.append((axes[deep * row + 1, column], region))
        for panel, part in panels:
            show_image(panel, picture, scale, units, part)
            panel.images[0].set_clim(low, max(high, low + 1e-12))
        whole.set_title(name, fontsize=9)
        if region is not None:
            left, right, top, bottom = region
            frame = Rectangle((left - 0.5, top - 0.5), right - left, bottom - top)
            frame.set(fill=False, edgecolor=ORANGE, linewidth=1)
            whole.add_patch(frame)
    return figure


def enlarged(zoom, picture: np.ndarray, axes: Sequence[tuple[float, float, str | None]]) -> Region:
    """Left, right, top and bottom in px of the part of a picture (y, x) that `zoom` asks for.

    Parameters
    ----------
    zoom
        Fraction of the frame's edge, around what is brightest; or left, top, right and bottom in units of the axes.
    picture
        Where to look for what is brightest.
    axes
        Offset, scale and units of y and of x.

    Examples
    --------
    >>> import numpy as np
    >>> from n2a.comparison_view import enlarged
    >>> picture = np.zeros((40, 80))
    >>> picture[20, 60] = 1
    >>> enlarged((1.0, 0.5, 3.0, 2.0), picture, [(0.0, 0.1, "nm"), (0.0, 0.1, "nm")])
    (10, 30, 5, 20)
    >>> left, right, top, bottom = enlarged(0.5, picture, [(0.0, 0.1, "nm"), (0.0, 0.1, "nm")])
    >>> left <= 60 < right, top <= 20 < bottom, right - left, bottom - top
    (True, True, 20, 20)
    """
    height, width = picture.shape
    if hasattr(zoom, "left"):  # a region of interest of HyperSpy
        zoom = (zoom.left, zoom.top, zoom.right, zoom.bottom)
    if np.ndim(zoom) == 0:
        if not 0 < zoom <= 1:
            raise ValueError(
                f"'zoom' is {zoom!r}; expected a fraction of the frame's edge, above 0 and up to 1; left, top, right "
                "and bottom in units of the axes; or None."
            )
        edge = min(max(8, round(zoom * min(height, width))), height, width)
        bright = uniform_filter(np.nan_to_num(picture), edge, mode="nearest")
        half = edge // 2
        inner = bright[half : half + height - edge + 1, half : half + width - edge + 1]
        top, left = (int(i) for i in np.unravel_index(np.argmax(inner), inner.shape))
        return left, left + edge, top, top + edge
    if len(zoom) != 4:
        raise ValueError(f"'zoom' is {zoom!r}; expected left, top, right and bottom.")
    (y0, dy, _), (x0, dx, _) = axes
    left, right = sorted(round((value - x0) / dx) for value in (zoom[0], zoom[2]))
    top, bottom = sorted(round((value - y0) / dy) for value in (zoom[1], zoom[3]))
    left, right, top, bottom = max(left, 0), min(right, width), max(top, 0), min(bottom, height)
    if bottom - top < 2 or right - left < 2:
        raise ValueError(
            f"'zoom' is {zoom!r}, which leaves nothing of the frame; expected left, top, right and bottom in units of "
            "the axes."
        )
    return left, right, top, bottom


def fitted(picture: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """A picture with the factor and the offset that fit a raw frame: atoms on nothing have another grey scale."""
    seen = np.isfinite(picture) & np.isfinite(raw)
    if not seen.any():
        return picture
    clear, noisy = picture[seen], raw[seen]
    variance = np.var(clear)
    slope = np.mean((clear - clear.mean()) * (noisy - noisy.mean())) / variance if variance else 0.0
    return slope * (picture - clear.mean()) + noisy.mean()
