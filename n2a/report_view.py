# SPDX-License-Identifier: GPL-3.0-or-later
"""How a report looks: as text, in Jupyter, and as one figure."""

from __future__ import annotations

import html
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from n2a.cropping import middle_part
from n2a.overlay import new_figure, scale_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from n2a.judging import Findings
    from n2a.lines import Line
    from n2a.reporting import Report

_LEGEND = (
    "✓ good  ✗ bad  · a reference. Verdicts follow from the error, weakened and missing structure, atoms that the "
    "counts contradict, and column intensities; what is bad among the other lines is a hint."
)
_SIGNS = {"good": "✓", "bad": "✗", "unknown": "·"}
# Okabe and Ito: told apart by all common kinds of colour vision, and in grey.
_RESULT, _REFERENCE, _RAW = "#0072B2", "#E69F00", "0.45"
_SIZE = (10, 5.6)  # inches
_CROP = 256  # px of a frame that a figure shows
_FLAT = 0.25  # of the range of the filtered raw frame: less would leave the raw one black or white

# By `currentColor` alone, so that both themes of a notebook will do.
_STYLE = """
.n2a-report {font-size: 13px; max-width: 60em}
.n2a-report table {border-collapse: collapse; width: 100%}
.n2a-report td, .n2a-report th {text-align: left !important; vertical-align: top; padding: 2px 8px 2px 0;
 border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); background: none !important}
.n2a-report td.value {width: 40%; font-variant-numeric: tabular-nums}
.n2a-report tr.bad td {font-weight: bold}
.n2a-report summary {cursor: pointer}
.n2a-report .legend {opacity: .8; font-weight: normal}
.n2a-report details div {opacity: .8; font-weight: normal; max-width: 45em}
.n2a-report .scroll {overflow-x: auto}
"""


def value_text(line: Line) -> str:
    """Value, error and unit of a line; what is missing is "unknown"."""
    if line.value is None:
        return "unknown"
    return f"{_number(line.value, line.error)} {line.unit}".rstrip()


def _number(value: float, error: float | None) -> str:
    """As many places as the first two digits of the error need."""
    if error is None or not np.isfinite(error):
        return f"{value:.4g}"
    if not error > 0:
        return f"{value:.4g} ± 0"
    power = int(np.floor(np.log10(max(abs(value), error))))
    if not -4 <= power < 5:
        return f"({_number(value / 10.0**power, error / 10.0**power)})e{power:+03d}"
    digits = 1 - int(np.floor(np.log10(error)))
    if digits > 6:
        return f"{value:.6g} ± {error:.2g}"
    places = max(digits, 0)
    return f"{value:.{places}f} ± {round(error, digits):.{places}f}"


def _told(report: Report) -> tuple[list[Line], dict[str, list[str]]]:
    """Lines with a value, and the names of those without, by the reason."""
    open_lines: dict[str, list[str]] = {}
    for line in report.lines:
        if line.value is None:
            open_lines.setdefault(line.remark, []).append(line.name)
    return [line for line in report.lines if line.value is not None], open_lines


def to_text(report: Report) -> str:
    """Report for a terminal."""
    verdicts = ", ".join(report.verdicts) or "not judged"
    parts = [f"Report on {report.frames}: {verdicts}"]
    for message in report.messages:
        parts += textwrap.wrap(message, 110, initial_indent="! ", subsequent_indent="  ")
    lines, open_lines = _told(report)
    width = max((len(line.name) for line in lines), default=0)
    for line in lines:
        parts.append(f"  {_SIGNS[line.judgement]} {line.name:{width}}  {value_text(line)}")
        if line.key == "upsnr" and line.remark:
            parts += textwrap.wrap(
                line.remark, 118, initial_indent="      ", subsequent_indent=" " * 6
            )
    for reason, names in open_lines.items():
        told = f"  · not told ({reason}): {'; '.join(names)}"
        parts += textwrap.wrap(told, 118, subsequent_indent=" " * 6)
    if report.lines:
        parts += textwrap.wrap(
            f"{_LEGEND} report['css'] has source and blind spot.",
            118,
            initial_indent="  ",
            subsequent_indent="  ",
        )
    return "\n".join(parts)


def to_html(report: Report) -> str:
    """Report for Jupyter: a table whose rows open."""
    verdicts = ", ".join(report.verdicts) or "not judged"
    title = f" of {html.escape(report.title)}" if report.title else ""
    parts = [
        f"<style>{_STYLE}</style><div class='n2a-report'>",
        f"<p><b>Report{title}: {html.escape(verdicts)}</b> ({html.escape(report.frames)})</p>",
    ]
    if report.messages:
        items = "".join(f"<li>{html.escape(message)}</li>" for message in report.messages)
        parts.append(f"<ul>{items}</ul>")
    if report.lines:
        lines, open_lines = _told(report)
        rows = "".join(_row(line) for line in lines)
        parts.append(
            "<div class='scroll'><table><thead><tr><th></th><th>measure</th><th>value</th></tr></thead>"
            f"<tbody>{rows}</tbody></table></div>"
        )
        told = (f"not told ({why}): {'; '.join(names)}" for why, names in open_lines.items())
        items = "".join(f"<li>{html.escape(text)}</li>" for text in told)
        parts.append(f"<ul>{items}</ul>" if items else "")
        parts.append(f"<p class='legend'>{_LEGEND}</p>")
    return "".join([*parts, "</div>"])


def _row(line: Line) -> str:
    facts = [("good", line.good), ("cannot see", line.blind), ("from", line.source)]
    if line.remark:
        facts.append(("remark", line.remark))
    told = "".join(f"<div>{name}: {html.escape(text)}</div>" for name, text in facts if text)
    sign, label = _SIGNS[line.judgement], line.judgement
    value = html.escape(value_text(line))
    if line.key == "upsnr" and line.remark:
        value += f"<div class='legend'>{html.escape(line.remark)}</div>"
    return (
        f"<tr class='{label}'><td title='{label}' aria-label='{label}'>{sign}</td>"
        f"<td><details><summary>{html.escape(line.name)}</summary>{told}</details></td>"
        f"<td class='value'>{value}</td></tr>"
    )


def draw(findings: Findings, title: str = "", figure: Figure | None = None) -> Figure:
    """One figure: a frame before and after, what was taken away, and the curves behind the lines."""
    if figure is None:
        figure = new_figure(_SIZE)
    figure.set_size_inches(_SIZE)
    figure.set_layout_engine("constrained")
    verdicts = ", ".join(findings.verdicts)
    figure.suptitle(f"{title}: {verdicts}" if title else verdicts, x=0.01, ha="left", fontsize=11)
    axes = figure.subplots(2, 4)
    pictures = findings.pictures
    _draw_images(axes[0], pictures)
    _draw_frc(axes[1, 0], pictures)
    _draw_css(axes[1, 1], pictures)
    _draw_intensities(axes[1, 2], pictures)
    _draw_lines(axes[1, 3], findings)
    return figure


def _draw_images(axes: list[Axes], pictures: dict) -> None:
    crop = middle_part(pictures["raw"].shape, _CROP)
    (low, high), (dark, bright) = (
        np.percentile(pictures[key][crop], (0.5, 99.8)) for key in ("denoised", "filtered")
    )
    if high - low < _FLAT * (bright - dark):
        low, high = dark, bright
    room = 0.25 * (high - low)
    for place, key, limits, name in (
        (axes[0], "raw", (low - room, high + room), "raw"),
        (axes[1], "denoised", (low - room, high + room), "denoised"),
        (axes[2], "residual", None, "raw − denoised"),
    ):
        image = pictures[key][crop]
        if limits is None:
            most = np.percentile(np.abs(image), 99.5) or 1.0
            limits = -most, most
        place.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest")
        place.set_title(name, loc="left", fontsize=9)
        place.set_axis_off()
    size = pictures["pixel_size"]
    scale_bar(axes[0], size or 1.0, "nm" if size else None)
    power = pictures["spectrum"]
    low, high = np.percentile(power, (5, 99.9))
    axes[3].imshow(
        np.log(np.maximum(power, 1e-300)), cmap="gray", extent=(-0.5, 0.5, 0.5, -0.5),
        vmin=np.log(max(low, 1e-300)), vmax=np.log(max(high, 1e-299)), interpolation="nearest",
    )  # fmt: skip
    axes[3].set_title("spectrum of the residual, log", loc="left", fontsize=9)
    axes[3].set_xticks([-0.5, 0, 0.5])
    axes[3].set_yticks([])
    axes[3].set_xlabel("cycles per px", fontsize=8)
    axes[3].tick_params(labelsize=8)


def _draw_frc(axes: Axes, pictures: dict) -> None:
    _prepare(axes, "Fourier ring correlation")
    size = pictures["pixel_size"]
    for key, colour, style, name in (
        ("frc", _RESULT, "-", "denoised halves"),
        ("frc_half", _REFERENCE, "--", "each, other raw half"),
        ("frc_raw", _RAW, ":", "raw halves"),
    ):
        curve = pictures.get(key)
        if curve is None:
            continue
        x = curve.frequency if size is None else curve.frequency_nm
        axes.plot(x, curve.correlation, color=colour, linestyle=style, linewidth=1.3, label=name)
        last = x, curve.three_sigma
    if not axes.lines:
        _nothing(axes, "needs a series and the method")
        return
    axes.plot(*last, color="0.7", linewidth=0.8, label="3 sigma")
    axes.axhline(1 / 7, color="0.7", linewidth=0.8, linestyle="--", label="1/7")
    axes.set_ylim(-0.1, 1.7)  # room for the legend
    axes.set_yticks([0, 0.5, 1])
    axes.set_xlim(0, last[0][-1])
    axes.set_xlabel("cycles per px" if size is None else "1/nm", fontsize=8)
    axes.legend(fontsize=6, frameon=False, loc="upper right", ncols=2, columnspacing=0.8)


def _draw_css(axes: Axes, pictures: dict) -> None:
    _prepare(axes, "CSS over time")
    for key, colour, style, name in (
        ("css", _RESULT, "-", "denoised"),
        ("css_blur", _REFERENCE, "--", "linear filter"),
        ("css_raw", _RAW, ":", "raw"),
    ):
        start = 0
        for run in pictures.get(key, ()):
            axes.plot(
                np.arange(start, start + len(run)), run, color=colour, linestyle=style, linewidth=1.3,
                marker=".", markersize=4, label=None if start else name,
            )  # fmt: skip
            start += len(run) + 1
    if not axes.lines:
        _nothing(axes, "needs a series")
        return
    axes.set_xlim(-0.5, start - 1.5)
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    axes.set_ylim(top=1.02)
    axes.set_xlabel("pair of frames, by run", fontsize=8)
    axes.legend(fontsize=6, frameon=False)


def _draw_intensities(axes: Axes, pictures: dict) -> None:
    _prepare(axes, "column intensities")
    told = pictures.get("intensities")
    if told is None:
        _nothing(axes, "too few columns stand apart")
        return
    axes.plot(told.denoised, told.raw, ".", color=_RAW, markersize=2, alpha=0.4, rasterized=True)
    low, high = min(0, told.denoised.min()), told.denoised.max()
    axes.plot([low, high], [low, high], color="black", linewidth=0.8, label="equal")
    order = np.argsort(told.denoised)
    groups = [g for g in np.array_split(order, min(12, max(1, len(order) // 15))) if len(g)]
    axes.plot(
        [told.denoised[g].mean() for g in groups], [told.raw[g].mean() for g in groups],
        "o-", color=_RESULT, markersize=3, linewidth=1, label="means",
    )  # fmt: skip
    axes.set_xlabel("denoised", fontsize=8)
    axes.set_ylabel("raw", fontsize=8)
    axes.legend(fontsize=6, frameon=False)


def _draw_lines(axes: Axes, findings: Findings) -> None:
    axes.set_axis_off()
    shown = ("css", "css_blur", "css_raw", "upsnr", "umse_gain", "smoothed", "removed", "supported", "contradicted",
             "linearity", "psnr", "f1")  # fmt: skip
    short = {"umse_gain": "over linear filter", "smoothed": "weakened", "removed": "missing", "css": "CSS",
             "css_blur": "CSS linear filter", "css_raw": "CSS raw", "upsnr": "uPSNR", "linearity": "not linear by",
             "psnr": "PSNR", "f1": "F1"}  # fmt: skip
    lines = [line for line in findings.lines if line.key in shown]
    for i, line in enumerate(lines):
        y = 1 - (i + 0.5) / max(len(lines), 1)
        told = f"{line.value:.3g} {line.unit}".strip() if line.value is not None else "unknown"
        # What fits beside the name.
        told = told.replace("× error of the linear filter", "×").removesuffix(" of the mean")
        axes.text(0, y, f"{_SIGNS[line.judgement]} {short.get(line.key, line.key)}", fontsize=8, va="center",
                  transform=axes.transAxes)  # fmt: skip
        axes.text(1, y, told, fontsize=8, va="center", ha="right", transform=axes.transAxes)


def _prepare(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="0.92", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _nothing(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, fontsize=8, ha="center", color="0.4", transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
