# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the pages, from simulated and benchmark series: ``python book/figures.py [NAME ...]``.

They are written to book/images/made/. Every number that a page says of one of them is printed here. The film of the
README, book/images/film.gif, is in the repository and made when it is named: ``python book/figures.py film``.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio

import n2a

FOLDER = Path(__file__).resolve().parent / "images" / "made"
WIDTH = 10.0  # inches
STYLE = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 110,
}


def frame(signal, number: int | None = None) -> np.ndarray:
    """One frame as an array (y, x): the middle one."""
    return np.asarray(signal.data)[signal.data.shape[0] // 2 if number is None else number]


def limits(*images: np.ndarray, low: float = 0.5, high: float = 99.7) -> tuple[float, float]:
    """Grey scale that leaves out single extreme pixels."""
    return tuple(np.percentile(np.concatenate([i.ravel() for i in images]), (low, high)))


def show(ax, signal, image: np.ndarray, grey=None, title: str = "", bar: bool = False) -> None:
    """Draw an image on the axes of its signal, with a scale bar where wanted."""
    x = signal.axes_manager["x"]
    width = x.size * x.scale
    low, high = grey or limits(image)
    ax.imshow(image, cmap="gray", extent=(0, width, width, 0), vmin=low, vmax=high)
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(False)
    if bar:
        length = max(n for n in (0.1, 0.2, 0.5, 1, 2, 5) if n <= width / 3)
        artist = AnchoredSizeBar(
            ax.transData, length, f"{length:g} nm", "lower left", color="white", label_top=True,
            borderpad=0.5, pad=0.3, sep=3, size_vertical=width / 90,
        )  # fmt: skip
        artist.patch.set(facecolor="black", edgecolor="none", alpha=0.65)
        ax.add_artist(artist)


def save(fig, name: str) -> None:
    """Write a figure with few enough colours to be small."""
    from PIL import Image

    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.png"
    fig.savefig(path, bbox_inches="tight")
    plt.close(fig)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(128)
    small.save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB", flush=True)


def decibels(values: np.ndarray, truth: np.ndarray, fit: bool = True) -> float:
    """PSNR to the truth; with the best factor and offset if wanted."""
    if fit:
        centred = values - values.mean(dtype=np.float64)  # the offset of a detector dwarfs the rest
        values = np.polyval(np.polyfit(centred.ravel(), truth.ravel(), 1), centred)
    return peak_signal_noise_ratio(
        truth, values.astype(np.float32), data_range=float(truth.max() - truth.min())
    )


def dark_atoms() -> None:
    """SrTiO3 in ABF: dark atoms come out bright, as the depth of the dip."""
    series = n2a.datasets.benchmark("sto_abf", "mid")
    truth = n2a.datasets.benchmark("sto_abf", "mid", "atoms")
    atoms = series.n2a.denoise()
    whole = series.n2a.denoise(background=True)
    print("contrast of sto_abf:", atoms.metadata.n2a.denoising.contrast)
    fig, axes = plt.subplots(1, 4, figsize=(WIDTH, 2.9), layout="constrained")
    top = (0, limits(frame(truth))[1])
    for ax, (title, signal, grey) in zip(
        axes,
        (
            ("raw", series, None),
            ("denoise(background=True)", whole, limits(frame(whole))),
            ("denoise(): depth of the atoms", atoms, top),
            ("truth", truth, top),
        ),
    ):
        show(ax, series, frame(signal), grey, title, bar=signal is series)
    save(fig, "abf")


def structures() -> None:
    """Both domains: what the simulator draws, and what the microscope makes of it."""
    kinds = {
        "cluster": {"n_atoms": 55},
        "atoms": {"n_atoms": 14},
        "crystal": {"pattern": "perovskite"},
        "2d": {"pattern": "mos2", "vacancies": 0.05, "dopants": 0.03},
    }
    fig, axes = plt.subplots(2, 4, figsize=(WIDTH, 5.2), layout="constrained")
    for column, (structure, settings) in zip(axes.T, kinds.items()):
        clear = n2a.simulate(
            structure=structure, shape=(128, 128), frames=3, scale=0.016, seed=4, **settings
        )
        noisy = n2a.acquire(clear, dose=6, support=0.25, line_noise=0.5, afterglow=0.2, seed=4)
        show(
            column[0],
            clear,
            frame(clear),
            title=f'structure="{structure}"',
            bar=column is axes.T[0],
        )
        show(column[1], clear, frame(noisy))
    axes[0, 0].set_ylabel("domain C: clear")
    axes[1, 0].set_ylabel("domain S: as recorded")
    save(fig, "domains")


def similarity() -> None:
    """What CSS rewards: blurs against the truth."""
    series = n2a.datasets.benchmark("cluster", "low")
    truth = n2a.datasets.benchmark("cluster", "low", "total")
    restored = series.n2a.denoise(background=True)
    raw = series.data.astype(np.float32)
    low, high = np.percentile(truth.data, (0.1, 99.9))
    one_range = float(high - low)

    def css(data) -> float:
        return hs.signals.Signal2D(data).n2a.css(data_range=one_range).metadata.n2a.css.mean

    widths = np.array([0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 9, 13, 20])
    blurs = [gaussian_filter(raw, (0, w, w)) for w in widths]
    rows = [(f"blur, {w:g} px", css(b), decibels(b, truth.data)) for w, b in zip(widths, blurs)]
    points = {
        "raw": (css(raw), decibels(raw, truth.data)),
        "n2a": (css(restored.data), decibels(restored.data, truth.data, fit=False)),
    }
    flat = np.full_like(raw, raw.mean())
    flat_css = css(flat)
    truth_css = css(truth.data)
    for name, value, near in [*rows, *((k, *v) for k, v in points.items())]:
        print(f"CSS {value:.3f}  PSNR {near:5.1f} dB  {name}")
    print(f"CSS {flat_css:.3f}  an image with nothing on it;  CSS {truth_css:.3f}  the truth")
    fig, (left, *right) = plt.subplots(
        1, 4, figsize=(WIDTH, 3.1), layout="constrained", width_ratios=(1.9, 1, 1, 1)
    )
    left.plot(
        [r[1] for r in rows], [r[2] for r in rows], "o-", color="#0072B2", ms=4,
        label="Gaussian blurs, 0.5 to 20 px",
    )  # fmt: skip
    left.plot(*points["raw"], "s", color="0.4", label="raw")
    left.plot(*points["n2a"], "*", color="#D55E00", ms=13, label="n2a")
    left.axvline(truth_css, color="0.4", ls="--", lw=1)
    left.annotate("CSS of\nthe truth", (truth_css, 30), (-5, 0), textcoords="offset points",
                  ha="right", va="center", fontsize=9, color="0.3")  # fmt: skip
    left.set(xlabel="CSS (higher is more alike)", ylabel="PSNR to the truth (dB)")
    left.legend(frameon=False, fontsize=9, loc="upper left")
    widest = int(np.argmax([r[1] for r in rows]))
    for ax, (title, image) in zip(
        right,
        {
            f"blur, {widths[widest]:g} px\nCSS {rows[widest][1]:.3f}": blurs[widest][3],
            f"n2a\nCSS {points['n2a'][0]:.3f}": restored.data[3],
            f"truth\nCSS {truth_css:.3f}": truth.data[3],
        }.items(),
    ):
        grey = None if "blur" in title else (low, high)  # or else there is nothing to be seen
        show(ax, series, image, grey, title, bar="truth" in title)
    save(fig, "css")


def doses() -> None:
    """A monolayer with vacancies and dopants from many to next to no counts."""
    counts = (40.0, 5.0, 1.25, 0.3)
    fig, axes = plt.subplots(2, 5, figsize=(WIDTH, 4.4), layout="constrained")
    for column, dose in zip(axes.T, counts):
        series = n2a.datasets.benchmark("mos2", dose)
        truth = n2a.datasets.benchmark("mos2", dose, "atoms")
        atoms = series.n2a.denoise()
        show(column[0], series, frame(series), title=f"{dose:g} counts", bar=dose == counts[0])
        show(column[1], series, frame(atoms), (0, limits(frame(truth))[1]))
        near = decibels(atoms.data, truth.data, fit=False)
        print(f"mos2 at {dose:g} counts: {near:.1f} dB to the truth of the atoms")
    show(axes[1, 4], series, frame(truth), (0, limits(frame(truth))[1]), "truth")
    axes[0, 4].set_visible(False)
    axes[0, 0].set_ylabel("raw")
    axes[1, 0].set_ylabel("denoised")
    save(fig, "doses")


def film() -> None:
    """The simulated series as a film: raw, denoised, truth."""
    from PIL import Image

    series = n2a.datasets.simulated()
    truth = n2a.datasets.simulated("atoms")
    atoms = series.n2a.denoise()
    print(f"film: {decibels(atoms.data, truth.data, fit=False):.1f} dB to the truth of the atoms")
    top = (0, limits(truth.data)[1])
    pictures = {
        "raw": (series, limits(series.data)),
        "denoised": (atoms, top),
        "truth": (truth, top),
    }
    pages = []
    for number in range(len(series.data)):
        fig, axes = plt.subplots(1, 3, figsize=(8.4, 3.05), layout="constrained", facecolor="white")
        for ax, (title, (signal, grey)) in zip(axes, pictures.items()):
            show(ax, series, frame(signal, number), grey, title, bar=signal is series)
        file = io.BytesIO()
        fig.savefig(file, dpi=100)
        plt.close(fig)
        pages.append(Image.open(file).convert("L").quantize(32))
    path = FOLDER.parent / "film.gif"
    pages[0].save(path, save_all=True, append_images=pages[1:], duration=250, loop=0, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB", flush=True)


FIGURES = {figure.__name__: figure for figure in (dark_atoms, structures, similarity, doses, film)}


def main() -> None:
    """Make the figures that are named, or all that are not in the repository."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *FIGURES], help="default: all but film")
    names = parser.parse_args().names or [name for name in FIGURES if name != "film"]
    hs.set_log_level("ERROR")
    hs.preferences.General.show_progressbar = False
    with plt.rc_context(STYLE):
        for name in names:
            FIGURES[name]()


if __name__ == "__main__":
    main()
