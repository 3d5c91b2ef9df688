# SPDX-License-Identifier: GPL-3.0-or-later
"""How good: weights in the box against baselines tuned with the truth, on multislice series.

Usage: ``python tests/benchmarks/quality.py [--quick] [--markdown FILE] [--model PATH]
[--curves FOLDER] [--automatic NAME ...] [--draws]``.

Every baseline gets its best parameters on every very series, dose by dose, once for PSNR and once
for F1, and its detector's threshold, minimal distance and background are tuned for it as well.
n2a has no parameters; its threshold is tuned in the column "F1" and the same for all series, a
third of the height of the weakest columns, in the column "F1 fixed". Results are kept in ``.cache``
in the root of the repository, as long as the code that they come from stays.

``--curves`` writes F1 and position error against dose for every method, as a table and as curves,
and how often atoms are reported at vacancies, beside the mean of the raw frames. ``--automatic``
adds methods of ``n2a.methods``, which find their parameters in the noisy frames alone; those that
train a network take a minute or two for each series and dose.

``--draws`` draws the noise again, four times, and measures with parameters, detector and threshold
that were chosen with the truth on the first draw: what is chosen on the very noise that it is
measured on looks better than it is, the more so the more there is to choose.

From a Python session, ``score(method)`` measures any callable.
"""

import argparse
import ast
import dataclasses
import hashlib
import inspect
import itertools
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import distributions
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmark_data import DATA, DOSES, load_benchmark, observe
from metrics import (
    false_atoms,
    filled_vacancies,
    fixed_detection,
    heights,
    known_detection,
    psnr,
    ssim,
    tuned_detection,
)

from n2a import baselines
from n2a.methods import METHODS as AUTOMATIC
from n2a.methods import denoise_with
from n2a.noise import background_level
from n2a.sampling import move
from n2a.views import register

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache" / "benchmarks"  # outside of what the wheel ships
SEED = 1
#: Other draws of the noise, for what was chosen on the first.
DRAWS = (2, 3, 4, 5)
#: So many baselines, those that were best there, are drawn again.
BEST = 3
#: Ends the names of methods that find their parameters in the frames alone.
AUTOMATICALLY = " (automatic)"
QUICK = (("cluster", "mos2", "empty"), ("low",))

PACKAGE = Path(baselines.__file__).parent
#: Libraries whose versions the scores depend on.
LIBRARIES = ("numpy", "scipy", "scikit-image", "torch", "bm3d", "PyWavelets")
WEIGHTS = PACKAGE / "weights" / "fast.safetensors"

#: What the weights in the box have to reach: PSNR above the best baseline, dB.
MARGIN = {"low": 1.5, "mid": 1.5, "scan": 1.5, "high": 0.0}
#: F1 counts as equal within one atom in two hundred.
F1_TIE = 0.005


def run_n2a(
    frames: np.ndarray, pixel_size: float, background: bool, model: str | Path | None = None
) -> np.ndarray:
    """`frames` through the public API, ``sig.n2a.denoise``.

    Parameters
    ----------
    frames : numpy.ndarray
        Raw series (t, y, x).
    pixel_size : float
        In nm; becomes the calibration of the signal's axes.
    background : bool
        Whether to add the support back.
    model : str or Path, optional
        A weights file; the weights in the box by default.

    Returns
    -------
    numpy.ndarray
        Shape (t, y, x), intensity units of `frames`.
    """
    import hyperspy.api as hs

    import n2a  # noqa: F401, registers the accessor

    signal = hs.signals.Signal2D(frames)
    for axis in signal.axes_manager.signal_axes:
        axis.scale = pixel_size
        axis.units = "nm"
    result = signal.n2a.denoise(model, background=background, show_progressbar=False)
    return np.asarray(result.data)


def score(
    method: Callable[[np.ndarray, float, bool], np.ndarray],
    names: Sequence[str] | None = None,
    doses: Sequence[str] = tuple(DOSES),
    seed: int = SEED,
) -> list[dict]:
    """Measure a denoiser on the benchmark set.

    Parameters
    ----------
    method : callable
        ``method(frames, pixel_size_nm, background)`` with raw frames (t, y, x) of integers returns
        frames of that shape and in those units: the total intensity for ``background=True``, the
        atoms alone on zero (domain C; for dark contrast their depth, positive) for ``False``.
    names : sequence of str, optional
        Series; all by default.
    doses : sequence of str, optional
        Keys of `benchmark_data.DOSES`.
    seed : int, optional
        Seed of the noise.

    Returns
    -------
    list of dict
        A row per series and dose: ``series``, ``dose``, ``psnr`` (dB) and ``ssim`` of the total,
        ``psnr_atoms`` (dB) of domain C, ``f1`` (domain C, tuned threshold), ``f1_total`` (total,
        tuned), ``f1_fixed`` (domain C, nothing tuned), ``rms_px`` and ``rms_pm`` of the matched
        atoms, ``filled`` (part of the empty columns at which the untuned detector reports an
        atom), ``false_atoms`` (per frame, empty support only) and ``seconds``. NaN where a
        quantity does not apply.

    Examples
    --------
    >>> from scipy.ndimage import gaussian_filter
    >>> def blur(frames, pixel_size, background):
    ...     result = gaussian_filter(frames.astype(float), (1, 3, 3))
    ...     return result if background else result - np.median(result)
    >>> rows = score(blur, names=["cluster"], doses=["low"])
    >>> rows[0]["psnr"] > 20
    True
    """
    rows = []
    single = single_atom_height()
    for series in load_benchmark(names):
        for dose in doses:
            seen = observe(series, dose, seed)
            start = time.perf_counter()
            atoms = np.asarray(method(seen.frames, series.pixel_size, False), np.float64)
            seconds = time.perf_counter() - start
            total = np.asarray(method(seen.frames, series.pixel_size, True), np.float64)
            row = {
                "series": series.name,
                "dose": dose,
                "psnr": psnr(total, seen.total),
                "ssim": ssim(total, seen.total),
                "seconds": seconds,
                **dict.fromkeys(("psnr_atoms", "f1", "f1_total", "f1_fixed"), np.nan),
                **dict.fromkeys(("rms_px", "rms_pm", "filled", "false_atoms"), np.nan),
            }
            if len(series.sites):
                tuned = tuned_detection(atoms, series)
                fixed = fixed_detection(atoms, seen)
                row.update(
                    psnr_atoms=psnr(atoms, seen.atoms),
                    f1=tuned["f1"],
                    f1_total=tuned_detection(bright(total, series), series)["f1"],
                    f1_fixed=fixed["f1"],
                    rms_px=tuned["rms_px"],
                    rms_pm=tuned["rms_px"] * series.pixel_size * 1000,
                    filled=filled_vacancies(fixed["found"], series),
                )
            else:
                row["false_atoms"] = false_atoms(atoms, series.atom_width, single * seen.unit)
            rows.append(row)
    return rows


def bright(frames: np.ndarray, series) -> np.ndarray:
    """`frames` with bright atoms."""
    return -frames if series.contrast == "dark" else frames


def single_atom_height() -> float:
    """Peak of a single Pt atom, fraction of the beam, in the series "cluster"."""
    (series,) = load_benchmark(["cluster"])
    return float(np.median(heights(series, series.sites["count"] == 1)))


# --- baselines ------------------------------------------------------------------------------

METHODS = {"raw": baselines.Baseline(lambda frames: frames, {}), **baselines.BASELINES}


def apply_baseline(name: str, parameters: dict, seen) -> np.ndarray:
    """A baseline on an observed series; BM3D is told the detector."""
    known = {}
    if name == "bm3d":
        known = {"gain": seen.gain, "offset": seen.offset, "read_noise": seen.read_noise}
    return METHODS[name].function(seen.frames.astype(np.float32), **parameters, **known)


def tune(task: tuple[str, str, str]) -> dict:
    """Best parameters of a baseline for (series, dose, baseline): for PSNR and for F1."""
    series_name, dose, name = task
    (series,) = load_benchmark([series_name])
    seen = observe(series, dose, SEED)
    grid = METHODS[name].grid
    if name == "bm3d":  # a second per frame: its strength is chosen on the first two frames
        start = dataclasses.replace(seen, frames=seen.frames[:2])
        fidelity = [
            psnr(apply_baseline(name, {"strength": value}, start), seen.total[:2])
            for value in grid["strength"]
        ]
        grid = {"strength": [grid["strength"][int(np.argmax(fidelity))]]}
    best = {"psnr": -np.inf, "f1": -np.inf}
    for values in itertools.product(*grid.values()):
        parameters = dict(zip(grid, values))
        image = apply_baseline(name, parameters, seen)
        fidelity = psnr(image, seen.total)
        if fidelity > best["psnr"]:
            best.update(psnr=fidelity, psnr_parameters=parameters, ssim=ssim(image, seen.total))
        if not len(series.sites):
            continue
        tuned = tuned_detection(bright(image, series), series)
        if tuned["f1"] > best["f1"]:
            best.update(
                f1=tuned["f1"],
                f1_parameters=parameters,
                rms_px=tuned["rms_px"],
                filled=filled_vacancies(tuned["found"], series),
            )
    return best


def baseline_false_atoms(task: tuple[str, str, dict]) -> float:
    """False atoms on empty support of a baseline with parameters tuned on "cluster"."""
    dose, name, parameters = task
    (series,) = load_benchmark(["empty"])
    seen = observe(series, dose, SEED)
    image = apply_baseline(name, parameters, seen)
    height = single_atom_height() * seen.unit
    return false_atoms(image - np.median(image), series.atom_width, height)


def files_of(*modules: str) -> list[Path]:
    """Files of modules of the package and of the benchmarks, with those of all that they import."""
    found, waiting = {}, list(modules)
    while waiting:
        name = waiting.pop()
        path = next((p for p in (PACKAGE / f"{name}.py", HERE / f"{name}.py") if p.exists()), None)
        if name in found or path is None:
            continue
        found[name] = path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                waiting += [alias.name.split(".")[-1] for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                waiting.append((node.module or "").removeprefix("n2a."))
                waiting += [alias.name for alias in node.names if node.module == "n2a"]
    return [found[name] for name in sorted(found)]


def digest(sources: Sequence) -> str:
    """Of files, and of the code of functions; with the versions of the libraries."""
    parts = [
        one.read_bytes() if isinstance(one, Path) else inspect.getsource(one).encode()
        for one in sources
    ]
    installed = [each for each in distributions() if each.name in LIBRARIES]
    parts += [
        f"{each.name} {each.version}".encode() for each in sorted(installed, key=lambda d: d.name)
    ]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def sources_of(function: Callable) -> list:
    """All that changes what `function` returns: data, code, weights."""
    helpers = (apply_baseline, bright, single_atom_height, score, run_n2a, scores_of_total)
    helpers += (on_draws,) if function in (held_out, held_out_box) else ()
    modules = {
        tune: ("baselines",),
        baseline_false_atoms: ("baselines",),
        score_automatic: ("methods",),
        score_box: ("denoising",),
        held_out: ("baselines", "methods"),
        held_out_box: ("denoising",),
        raw_means: ("views", "sampling", "noise"),
    }
    return [
        DATA,
        *([WEIGHTS] if function in (score_box, held_out_box) else []),
        *files_of("benchmark_data", "metrics", *modules[function]),
        *(function, *helpers),
    ]


def cached(function: Callable, tasks: list[tuple]) -> list:
    """`function` of every task on two processes, remembered as long as its inputs stay."""
    path = CACHE / f"{function.__name__}-{digest(sources_of(function))}.json"
    store = json.loads(path.read_text()) if path.exists() else {}
    names = [json.dumps([function.__name__, SEED, *task]) for task in tasks]
    missing = [i for i, name in enumerate(names) if name not in store]
    if missing:
        CACHE.mkdir(parents=True, exist_ok=True)
        # one thread each: the pool uses the cores
        os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            results = pool.imap(function, [tasks[i] for i in missing])
            for count, (i, result) in enumerate(zip(missing, results), 1):
                store[names[i]] = result
                print(f"\r{function.__name__}: {count} of {len(missing)}", end="", file=sys.stderr)
                path.write_text(json.dumps(store))
        print(file=sys.stderr)
    return [store[name] for name in names]


def score_box(task: tuple[str, str]) -> dict:
    """The row of `score` of the weights in the box for (series, dose)."""
    warnings.simplefilter("ignore", UserWarning)
    (row,) = score(run_n2a, [task[0]], [task[1]])
    return row


def score_automatic(task: tuple[str, str, str]) -> dict:
    """A method with parameters from the frames alone, for (series, dose, name); detection as for the baselines."""
    series_name, dose, name = task
    (series,) = load_benchmark([series_name])
    seen = observe(series, dose, SEED)
    start = time.perf_counter()
    total = denoise_with(name, seen.frames.astype(np.float32))
    row = {"seconds": time.perf_counter() - start, "psnr": psnr(total, seen.total)}
    if len(series.sites):
        row |= scores_of_total(total, seen)
    return row


def held_out(task: tuple[str, str, str, dict]) -> list[dict]:
    """F1 and position error on `DRAWS`, for (series, dose, method, parameters), all chosen on the first draw."""
    series_name, dose, name, parameters = task
    (series,) = load_benchmark([series_name])

    def image(seen) -> np.ndarray:
        if name in METHODS:
            return bright(apply_baseline(name, parameters, seen), series)
        alone = name.removesuffix(AUTOMATICALLY)
        return bright(denoise_with(alone, seen.frames.astype(np.float32)), series)

    return on_draws(image, series, dose)


def held_out_box(task: tuple[str, str]) -> list[dict]:
    """`held_out` of the weights in the box for (series, dose)."""
    warnings.simplefilter("ignore", UserWarning)
    (series,) = load_benchmark([task[0]])
    return on_draws(lambda seen: run_n2a(seen.frames, series.pixel_size, False), series, task[1])


def on_draws(image: Callable, series, dose: str) -> list[dict]:
    """F1 and position error on `DRAWS` with the detector that is the best on the first; `image` of an observation."""
    detector = tuned_detection(image(observe(series, dose, SEED)), series)["detector"]
    found = [
        known_detection(image(observe(series, dose, draw)), series, detector) for draw in DRAWS
    ]
    return [{key: one[key] for key in ("f1", "rms_px")} for one in found]


def scores_of_total(total: np.ndarray, seen) -> dict:
    """F1, position error and filled vacancies of total intensities, with a tuned detector and with a fixed one."""
    series = seen.series
    image = bright(total, series)
    tuned = tuned_detection(image, series)
    fixed = fixed_detection(image - background_level(image, True), seen)
    return {
        "f1": tuned["f1"],
        "rms_px": tuned["rms_px"],
        "filled": filled_vacancies(tuned["found"], series),
        "f1_fixed": fixed["f1"],
        "filled_fixed": filled_vacancies(fixed["found"], series),
    }


def pixel_pm(name: str) -> float:
    """Pixel size of a series in pm."""
    return 1000 * load_benchmark([name])[0].pixel_size


# --- table ----------------------------------------------------------------------------------


def compare(rows: list[dict]) -> list[dict]:
    """The rows of `score` with the best baselines beside them and a verdict."""
    cells = [(row["series"], row["dose"]) for row in rows]
    tasks = [(*cell, name) for cell in cells for name in METHODS]
    wanted = tasks + [("cluster", d, n) for d in {d for _, d in cells} for n in METHODS]
    wanted = list(dict.fromkeys(wanted))
    tuned = dict(zip(wanted, cached(tune, wanted)))
    doses = sorted({dose for name, dose in cells if name == "empty"})
    best_on_cluster = {
        dose: max(METHODS, key=lambda name: tuned["cluster", dose, name]["f1"]) for dose in doses
    }
    empties = [
        (dose, name, tuned["cluster", dose, name]["f1_parameters"])
        for dose, name in best_on_cluster.items()
    ]
    invented = dict(zip(doses, cached(baseline_false_atoms, empties)))
    result = []
    for row, (series, dose) in zip(rows, cells):
        scores = {name: tuned[series, dose, name] for name in METHODS}
        fidelity = max(METHODS, key=lambda name: scores[name]["psnr"])
        one = {
            **row,
            "raw_psnr": scores["raw"]["psnr"],
            "raw_f1": scores["raw"]["f1"],
            "all": scores,
            "best": fidelity,
            "best_parameters": scores[fidelity]["psnr_parameters"],
            "best_psnr": scores[fidelity]["psnr"],
            "best_ssim": scores[fidelity]["ssim"],
        }
        short = ["PSNR"] * (row["psnr"] - one["best_psnr"] < MARGIN[dose])
        if series == "empty":
            one.update(best_f1_name=best_on_cluster[dose], best_false_atoms=invented[dose])
            short += ["false atoms"] * (row["false_atoms"] > 1)
        else:
            detector = max(METHODS, key=lambda name: scores[name]["f1"])
            one.update(
                best_f1_name=detector,
                best_f1_parameters=scores[detector]["f1_parameters"],
                best_f1=scores[detector]["f1"],
                best_rms_pm=pixel_pm(series) * scores[detector]["rms_px"],
                best_filled=scores[detector]["filled"],
            )
            # nobody can beat 1: there, and at high dose, not losing is enough
            gain = row["f1"] - one["best_f1"]
            equal = dose == "high" or one["best_f1"] > 1 - F1_TIE
            short += ["F1"] * (gain < -F1_TIE if equal else gain <= 0)
        one["verdict"] = "short: " + ", ".join(short) if short else "pass"
        result.append(one)
    return result


def markdown(rows: list[dict]) -> str:
    """The table of `compare` in Markdown."""
    lines = [
        "| series | dose | raw PSNR | best baseline PSNR / SSIM | n2a PSNR / SSIM | gain, dB "
        "| best baseline F1 | n2a F1 (fixed threshold) | position, pm: baseline / n2a "
        "| empty columns filled: baseline / n2a | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        parameters = ", ".join(f"{k} {v}" for k, v in row["best_parameters"].items())
        cells = [
            row["series"],
            row["dose"],
            f"{row['raw_psnr']:.1f}",
            f"{row['best_psnr']:.1f} / {row['best_ssim']:.2f} {row['best']} ({parameters})",
            f"{row['psnr']:.1f} / {row['ssim']:.2f}",
            f"{row['psnr'] - row['best_psnr']:+.1f}",
        ]
        if row["series"] == "empty":
            cells += [
                f"{row['best_false_atoms']:.1f} false atoms ({row['best_f1_name']})",
                f"{row['false_atoms']:.1f} false atoms",
                "",
                "",
            ]
        else:
            filled = ""
            if not np.isnan(row["filled"]):
                filled = f"{100 * row['best_filled']:.0f} % / {100 * row['filled']:.0f} %"
            cells += [
                f"{row['best_f1']:.3f} {row['best_f1_name']}",
                f"{row['f1']:.3f} ({row['f1_fixed']:.3f})",
                f"{row['best_rms_pm']:.0f} / {row['rms_pm']:.0f}",
                filled,
            ]
        lines.append("| " + " | ".join([*cells, row["verdict"]]) + " |")
    return "\n".join(lines)


# --- curves ---------------------------------------------------------------------------------

LABELS = {"svd": "svd of patches", "n2a": "n2a"}


def against_dose(automatic: Sequence[str]) -> dict[str, dict[tuple[str, str], dict]]:
    """Rows of every method on every series with atoms and every dose, by method and (series, dose)."""
    cells = [(s.name, dose) for s in load_benchmark() if len(s.sites) for dose in DOSES]
    tasks = [(*cell, name) for cell in cells for name in METHODS]
    rows = {name: {} for name in METHODS}
    for (*cell, name), row in zip(tasks, cached(tune, tasks)):
        rows[name][tuple(cell)] = row
    tasks = [(*cell, name) for name in automatic for cell in cells]
    for (*cell, name), row in zip(tasks, cached(score_automatic, tasks)):
        rows.setdefault(name + AUTOMATICALLY, {})[tuple(cell)] = row
    rows["n2a"] = dict(zip(cells, cached(score_box, cells)))
    return rows


def curves_table(rows: dict) -> str:
    """F1 / position error in pm of every method, series by series, and their means over the series."""
    lines = ["| series | method | " + " | ".join(f"{d}: F1 / pm" for d in DOSES) + " |"]
    lines.append("| --- " * (2 + len(DOSES)) + "|")
    names = list(dict.fromkeys(cell[0] for cell in rows["n2a"]))
    groups = {name: [name] for name in names} | {f"mean of {len(names)}": names}
    for title, members in groups.items():
        cells = [(method, dose) for method in rows for dose in DOSES]
        f1 = {(m, d): np.mean([rows[m][s, d]["f1"] for s in members]) for m, d in cells}
        error = {
            (m, d): np.mean([pixel_pm(s) * rows[m][s, d]["rms_px"] for s in members])
            for m, d in cells
        }
        for method in rows:
            texts = []
            for dose in DOSES:
                text = f"{f1[method, dose]:.3f}"
                best = f1[method, dose] == max(f1[m, dose] for m in rows)
                text = f"**{text}**" if best else text
                texts.append(f"{text} / {error[method, dose]:.1f}")
            lines.append("| " + " | ".join([title, LABELS.get(method, method), *texts]) + " |")
    return "\n".join(lines)


def curves_summary(rows: dict) -> str:
    """How often n2a is first in F1, dose by dose, with an atom in two hundred as a tie."""
    lines = []
    for dose in DOSES:
        behind = []
        names = [cell[0] for cell in rows["n2a"] if cell[1] == dose]
        for series in names:
            others = {m: found[series, dose]["f1"] for m, found in rows.items() if m != "n2a"}
            first = max(others, key=others.get)
            own = rows["n2a"][series, dose]["f1"]
            if own < others[first] - F1_TIE:
                behind.append(f"{series} ({own:.3f}, {first} {others[first]:.3f})")
        text = f"{dose}: first in F1, or within {F1_TIE:g} of the first, on {len(names) - len(behind)} of {len(names)}"
        lines.append(text + (f"; behind on {', '.join(behind)}" if behind else ""))
    return "\n".join(lines)


def draws_table(automatic: Sequence[str]) -> str:
    """Mean F1 over `DRAWS` of n2a and of the best of the others, and their difference with its standard error."""
    cells = [(s.name, dose) for s in load_benchmark() if len(s.sites) for dose in DOSES]
    tasks = [(*cell, name) for cell in cells for name in METHODS]
    tuned: dict = {cell: {} for cell in cells}
    for (*cell, name), row in zip(tasks, cached(tune, tasks)):
        tuned[tuple(cell)][name] = row
    tasks = []
    for cell, rows in tuned.items():
        best = sorted(rows, key=lambda name: rows[name]["f1"], reverse=True)[:BEST]
        tasks += [(*cell, name, rows[name]["f1_parameters"]) for name in best]
    tasks += [(*cell, name + AUTOMATICALLY, {}) for name in automatic for cell in cells]
    found: dict = {cell: {} for cell in cells}
    for (*cell, name, _), rows in zip(tasks, cached(held_out, tasks)):
        found[tuple(cell)][name] = rows
    for cell, rows in zip(cells, cached(held_out_box, cells)):
        found[cell]["n2a"] = rows
    lines = [
        "| series | dose | best of the others: F1 / pm | n2a: F1 / pm | difference | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for cell, methods in found.items():
        f1 = {name: np.array([row["f1"] for row in rows]) for name, rows in methods.items()}
        own = f1.pop("n2a")
        first = max(f1, key=lambda name: f1[name].mean())
        # The draws are the same for both.
        difference = own - f1[first]
        error = difference.std(ddof=1) / len(DRAWS) ** 0.5
        verdict = "first" if difference.mean() > 0 else "behind"
        if abs(difference.mean()) <= F1_TIE:
            verdict = "equal"
        texts = []
        for name, values in ((first, f1[first]), ("n2a", own)):
            rms = pixel_pm(cell[0]) * np.mean([row["rms_px"] for row in methods[name]])
            label = "" if name == "n2a" else f" {LABELS.get(name, name)}"
            texts.append(f"{values.mean():.3f} / {rms:.1f}{label}")
        texts += [f"{difference.mean():+.3f} ± {error:.3f}", verdict]
        lines.append("| " + " | ".join([*cell, *texts]) + " |")
    return "\n".join(lines)


def curves_figure(rows: dict, path: Path) -> None:
    """F1 and position error over the dose, a column for each series."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator

    doses = sorted((value, name) for name, value in DOSES.items() if name != "scan")
    names = list(dict.fromkeys(cell[0] for cell in rows["n2a"]))
    # Okabe and Ito, then the same dashed.
    colours = (
        "#E69F00",
        "#56B4E9",
        "#009E73",
        "#F0E442",
        "#0072B2",
        "#D55E00",
        "#CC79A7",
        "#999999",
    )
    figure = Figure(figsize=(2.3 * len(names), 5.6), layout="constrained")
    axes = figure.subplots(2, len(names), sharex=True, squeeze=False)
    for column, series in enumerate(names):
        for number, (method, found) in enumerate(rows.items()):
            style = {"color": colours[number % 8], "linestyle": "-" if number < 8 else "--"}
            if method == "n2a":
                style = {"color": "black", "linestyle": "-", "linewidth": 2.2}
            x = [value for value, _ in doses]
            for axis, values in (
                (axes[0, column], [found[series, d]["f1"] for _, d in doses]),
                (
                    axes[1, column],
                    [pixel_pm(series) * found[series, d]["rms_px"] for _, d in doses],
                ),
            ):
                axis.plot(x, values, marker=".", label=LABELS.get(method, method), **style)
        axes[0, column].set(title=series, xscale="log")
        # What is missing from 1 on a logarithmic scale, which ends at an atom in three hundred.
        axes[0, column].set_yscale(
            "function",
            functions=(lambda f1: -np.log(1.003 - np.minimum(f1, 1)), lambda y: 1.003 - np.exp(-y)),
        )
        lowest = min(
            row["f1"] for found in rows.values() for c, row in found.items() if c[0] == series
        )
        axes[0, column].set_ylim(lowest - 0.05, 1.0005)
        axes[0, column].yaxis.set_major_locator(
            FixedLocator((0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1))
        )
        axes[1, column].set(xscale="log", yscale="log", xlabel="counts at bright columns")
        axes[1, column].xaxis.set_major_locator(FixedLocator(x))
        axes[1, column].yaxis.set_major_locator(FixedLocator((4, 6, 8, 10, 15, 20, 30)))
        for axis in (axes[1, column].xaxis, axes[1, column].yaxis):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_locator(NullLocator())
    axes[0, 0].set_ylabel("F1")
    axes[1, 0].set_ylabel("position error, pm")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(8, len(labels)), frameon=False
    )
    for suffix in (".svg", ".png"):
        figure.savefig(path.with_suffix(suffix), dpi=150)


def raw_means(task: tuple[str, str]) -> dict:
    """Vacancies that the mean of the raw frames fills, as recorded and with the drift taken out, for (series, dose)."""
    (series,) = load_benchmark([task[0]])
    seen = observe(series, task[1], SEED)
    frames = seen.frames.astype(np.float32)
    found = register(frames, series.atom_width)
    seen_by = np.stack([move(np.ones_like(f), tuple(s)) for f, s in zip(frames, found.shifts)])
    moved = np.stack([move(f, tuple(s)) for f, s in zip(frames, found.shifts)])
    mean = moved.sum(0) / np.maximum(seen_by.sum(0), 1)
    mean[seen_by.sum(0) == 0] = np.median(frames)
    back = []
    for shift in found.shifts:
        one, there = (move(a, tuple(-shift)) for a in (mean, np.ones_like(mean)))
        back.append(np.where(there > 0, one, np.median(frames)))
    result = {}
    for name, image in (
        ("as recorded", np.broadcast_to(frames.mean(0), frames.shape)),
        ("drift taken out", np.stack(back)),
    ):
        result[name] = scores_of_total(image, seen)
    return result


def vacancies_table(rows: dict) -> str:
    """Part of the empty columns at which an atom is reported: n2a beside the mean of the raw frames."""
    names = [s.name for s in load_benchmark() if (s.vacancies["count"] == 2).any()]
    cells = [(name, dose) for name in names for dose in DOSES]
    lines = [
        "| series | dose | n2a | mean of the raw frames | with the drift taken out | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for cell, means in zip(cells, cached(raw_means, cells)):
        own = rows["n2a"][cell]
        limit = min(mean["filled_fixed"] for mean in means.values())
        texts = [f"{own['filled']:.1%} (F1 {own['f1_fixed']:.3f})"]
        texts += [f"{m['filled_fixed']:.1%} (F1 {m['f1_fixed']:.3f})" for m in means.values()]
        verdict = "pass" if own["filled"] <= limit else "more than a mean"
        lines.append("| " + " | ".join([*cell, *texts, verdict]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three series at low dose")
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    parser.add_argument("--model", help="a weights file instead of the weights in the box")
    parser.add_argument("--curves", type=Path, metavar="FOLDER", help="F1 and position over dose")
    parser.add_argument(
        "--automatic", nargs="*", choices=list(AUTOMATIC), default=["svd", "pgure_svt"],
        metavar="NAME", help="methods without tuning in the curves and draws",
    )  # fmt: skip
    parser.add_argument(
        "--draws",
        action="store_true",
        help="F1 on other draws of the noise than those it was tuned on",
    )
    arguments = parser.parse_args()
    start = time.perf_counter()
    if arguments.draws:
        print(draws_table(arguments.automatic))
        print(f"\n{time.perf_counter() - start:.0f} s")
        return
    if arguments.curves:
        warnings.simplefilter("ignore", UserWarning)
        arguments.curves.mkdir(parents=True, exist_ok=True)
        rows = against_dose(arguments.automatic)
        parts = (curves_table(rows), curves_summary(rows), vacancies_table(rows))
        text = "\n\n".join(parts)
        print(text)
        (arguments.curves / "quality.md").write_text(text + "\n")
        curves_figure(rows, arguments.curves / "quality")
        print(f"\n{time.perf_counter() - start:.0f} s")
        return
    names, doses = QUICK if arguments.quick else (None, tuple(DOSES))

    def method(frames, pixel_size, background):
        return run_n2a(frames, pixel_size, background, arguments.model)

    warnings.simplefilter("ignore", UserWarning)
    rows = compare(score(method, names, doses))
    table = markdown(rows)
    print(table)
    passed = sum(row["verdict"] == "pass" for row in rows)
    print(f"\n{passed} of {len(rows)} cells pass; {time.perf_counter() - start:.0f} s")
    if arguments.markdown:
        arguments.markdown.write_text(table + "\n")


if __name__ == "__main__":
    main()
