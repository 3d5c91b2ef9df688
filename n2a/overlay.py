# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures that notebooks show once, images with a scale bar, and markers on their atoms."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito: told apart by all common kinds of colour vision, and on grey.
SUPPORTED_COLOUR, UNSUPPORTED_COLOUR = "#56B4E9", "#E69F00"


def new_figure(size: tuple[float, float]) -> Figure:
    """A new figure of pyplot, in inches, that Jupyter shows once: where it is the result of a cell, or at its end."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=size, layout="constrained")
    figure._ipython_display_ = partial(_shown, figure)
    return figure


def _shown(figure: Figure) -> None:
    """The inline backend shows at the end of a cell what is open then: not what the cell has shown as its result."""
    import matplotlib
    import matplotlib.pyplot as plt

    if "inline" in matplotlib.get_backend():
        plt.close(figure)
    raise NotImplementedError  # Jupyter goes on to show it as it shows all figures


def show_image(
    axes: Axes,
    image: np.ndarray,
    scale: float = 1.0,
    units: str | None = None,
    region: tuple[float, float, float, float] | None = None,
) -> None:
    """Draw an image (y, x) in grey with a scale bar; NaN are drawn as nothing.

    Parameters
    ----------
    axes
        Empty Matplotlib axes.
    image
        Real.
    scale, units
        Pixel size and its units. Default: the bar is in pixels.
    region
        Left, right, top and bottom in px of the part that is shown. Default: all.
    """
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, (0.5, 99.8)) if finite.size else (0, 1)
    axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-12), interpolation="nearest")
    axes.set_axis_off()
    left, right, top, bottom = region or (0, image.shape[1], 0, image.shape[0])
    axes.set(xlim=(left - 0.5, right - 0.5), ylim=(bottom - 0.5, top - 0.5), autoscale_on=False)
    scale_bar(axes, scale, units)


def bar_length(width: float) -> float:
    """The roundest length of 1, 2 or 5 times a power of ten between about a tenth and a quarter of a width.

    Examples
    --------
    >>> from n2a.overlay import bar_length
    >>> bar_length(13.0), bar_length(1.6), bar_length(512)
    (2.0, 0.2, 100.0)
    """
    power = 10.0 ** np.floor(np.log10(width / 4))
    return float(power * max(step for step in (1, 2, 5) if step * power <= width / 4))


def scale_bar(axes: Axes, scale: float = 1.0, units: str | None = None) -> None:
    """Draw a scale bar with its length into the lower left corner of an image, whose limits are final."""
    from matplotlib.offsetbox import AnchoredOffsetbox, AuxTransformBox, TextArea, VPacker
    from matplotlib.patches import Rectangle
    from matplotlib.transforms import Affine2D, blended_transform_factory

    scale = abs(scale) if units else 1.0
    length = bar_length(abs(float(np.diff(axes.get_xlim())[0])) * scale)
    points = Affine2D().scale(axes.figure.dpi / 72)
    bar = AuxTransformBox(blended_transform_factory(axes.transData, points))
    bar.add_artist(Rectangle((0, 0), length / scale, 4, facecolor="white", linewidth=0))
    label = TextArea(f"{length:g} {units or 'px'}", textprops={"color": "white", "size": 10})
    box = AnchoredOffsetbox(
        "lower left",
        child=VPacker(children=[label, bar], align="center", pad=0, sep=3),
        pad=0.35,
        borderpad=0.5,
    )
    # Legible on bright atoms too.
    box.patch.set(facecolor="black", alpha=0.6, linewidth=0)
    box.set_zorder(5)  # above the markers
    axes.add_artist(box)


def mark_atoms(
    axes: Axes, positions: np.ndarray, radius: float, supported: np.ndarray | None = None
) -> None:
    """Mark atoms at positions (n, 2) as x and y in px; circles, diamonds where the counts do not support them.

    Markers have the size of atoms, so that they grow when the axes are zoomed. `supported` is None where it is not
    known.
    """
    from matplotlib.collections import PolyCollection
    from matplotlib.lines import Line2D

    known = supported is not None
    supported = supported if known else np.ones(len(positions), bool)
    groups = [
        (supported, 48, "o", SUPPORTED_COLOUR, "supported by the counts" if known else "atoms"),
        (~supported, 4, "D", UNSUPPORTED_COLOUR, "not supported"),
    ]
    # As broad as the markers leave room for.
    across = axes.get_window_extent().width * 72 / axes.figure.dpi
    line = float(np.clip(0.25 * radius * across / abs(np.diff(axes.get_xlim())[0]), 0.6, 1.6))
    handles = []
    for chosen, corners, marker, colour, label in groups:
        if not known and marker == "D":
            continue
        angle = 2 * np.pi * np.arange(corners) / corners
        size = radius * (1.3 if marker == "D" else 1.0)
        outline = size * np.column_stack([np.cos(angle), np.sin(angle)])
        axes.add_collection(
            PolyCollection(
                positions[chosen][:, None] + outline,
                facecolors="none",
                edgecolors=colour,
                linewidths=line * (1.6 if marker == "D" else 1.0),
            ),
            autolim=False,
        )
        handles.append(
            Line2D(
                [],
                [],
                linestyle="",
                marker=marker,
                markersize=8,
                markeredgewidth=1.8,
                markerfacecolor="none",
                color=colour,
                label=f"{np.count_nonzero(chosen)} {label}",
            )
        )
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2, frameon=False
    )
