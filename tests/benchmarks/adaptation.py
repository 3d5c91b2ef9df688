# SPDX-License-Identifier: GPL-3.0-or-later
"""What training on a user's own series is worth: against the weights in the box and Noise2Noise.

Usage: ``python tests/benchmarks/adaptation.py [--seconds 600] [--series NAME ...] [--doses low]
[--methods box trained n2n] [--n2n-seconds 600 240] [--set adversarial=0.01] [--markdown FILE] [--frames N]
[--threads N] [--noise 1 2 3]``.

- ``box``: ``sig.n2a.denoise()``.
- ``trained``: ``model = n2a.train(sig, max_time=seconds)``, then ``sig.n2a.denoise(model)``; with
  ``--set`` other losses take part, for example ``adversarial=0.01``.
- ``n2n``: the opponent, Noise2Noise between neighbouring frames of the same series from a random
  start, in the same time. It is a plain U-Net, written here, and is told the width of the atoms.

The series are those of ``shifted_data.py``, three of which the box was not trained for, and the
multislice set, where training must not do harm. Detection is that of ``metrics.py``: n2a's in domain C, that
of Noise2Noise in the total image, on zero at the level between the atoms where a fixed threshold
needs one. Results are kept in ``.cache`` in the root of the repository: those of n2a as long as its
code and weights stay, those of the opponent as long as the opponent does.
"""

import argparse
import copy
import hashlib
import inspect
import json
import math
import os
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmark_data import DATA, DOSES, Observation, load_benchmark
from metrics import false_atoms, filled_vacancies, fixed_detection, psnr, tuned_detection
from quality import CACHE, F1_TIE, HERE, SEED, bright, run_n2a, single_atom_height
from shifted_data import OUTSIDE, SHIFTED, load_shifted, observe_shifted

import n2a
from n2a.devices import has_bfloat16
from n2a.noise import background_level, estimate_noise
from n2a.sampling import band_spectrum, find_shift, move

BLOCK = 12  # px

METHODS = ("box", "trained", "n2n")

#: Out of its range, training has to gain one of these over the box, dB and F1.
GAIN_PSNR, GAIN_F1 = 1.0, 0.05
#: A lower PSNR counts as equal down to this, dB; a lower F1 down to `F1_TIE`.
PSNR_TIE = 0.1
#: Part of the empty columns, and atoms per frame of empty support, that may be invented.
FILLED, FALSE_ATOMS = 0.05, 1.0


# --- the opponent ---------------------------------------------------------------------------


class UNet(nn.Module):
    """A plain U-Net of three scales, 0.42 M parameters, from one frame (b, 1, h, w) to another.

    Frames enter folded 2 x 2, as in n2a's generator: three times as many steps in the same time.
    """

    def __init__(self, widths: tuple[int, ...] = (48, 64, 96)):
        super().__init__()
        inner = widths[:-1]
        self.encoder = nn.ModuleList(map(_convolutions, (4, *inner), widths))
        self.decoder = nn.ModuleList(
            _convolutions(a + b, a) for a, b in zip(inner[::-1], widths[:0:-1])
        )
        self.head = nn.Conv2d(widths[0], 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Restore frames; h and w are multiples of 8."""
        x = F.pixel_unshuffle(x, 2)
        skips = []
        for level, encoder in enumerate(self.encoder):
            x = encoder(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for decoder in self.decoder:
            x = decoder(torch.cat([F.interpolate(x, scale_factor=2.0), skips.pop()], 1))
        return F.pixel_shuffle(self.head(x), 2)


def _convolutions(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.LeakyReLU(0.1),
        nn.Dropout(0.2),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.LeakyReLU(0.1),
    )


def noise2noise(
    frames: np.ndarray,
    atom_width: float,
    seconds: float,
    seed: int = 0,
    batch: int = 4,
    size: int = 96,
    learning_rate: float = 1e-3,
) -> np.ndarray:
    """Noise2Noise (Lehtinen et al. 2018) between neighbouring frames, trained on `frames` itself.

    Parameters
    ----------
    frames : numpy.ndarray
        Raw series (t, y, x) of at least two frames.
    atom_width : float
        For the registration of the neighbours, px.
    seconds : float
        Time to train.
    seed : int, optional
        Seeds the network and the patches.
    batch, size : int, optional
        Patches per step, and their edge (px).
    learning_rate : float, optional
        Of Adam; falls to nothing as a half cosine.

    Returns
    -------
    numpy.ndarray
        Total intensity, shape and units of `frames`.
    """
    began = time.perf_counter()
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    torch.set_flush_denormal(True)
    raw = frames.astype(np.float32)
    noise = estimate_noise(raw)
    if noise.gain > 0:  # generalised Anscombe transform
        unit = 2 * np.sqrt(np.maximum((raw + noise.offset / noise.gain) / noise.gain + 0.375, 0))
    else:
        unit = raw / np.sqrt(noise.offset)
    unit -= unit.mean()
    spectra = [band_spectrum(frame, atom_width) for frame in unit]
    last = len(raw) - 1
    pairs = [(i, j) for i in range(len(raw)) for j in (i - 1, i + 1) if 0 <= j <= last]
    shape = raw.shape[1:]
    found = [find_shift(spectra[i], spectra[i + 1], shape).shift for i in range(last)]
    # Drift is slow: what single pairs say beyond that is noise.
    drift = np.rint(np.median(found, axis=0)).astype(int)
    shifts = [tuple(drift * (j - i)) for i, j in pairs]
    # A tenth of the blocks, the same in all frames, is kept from training: on so little data the
    # network soon learns the noise by heart, and its best state there is the one to return.
    blocks = rng.uniform(size=[-(-length // BLOCK) for length in shape]) < 0.1
    held = np.kron(blocks, np.ones((BLOCK, BLOCK), bool))[: shape[0], : shape[1]]
    targets = np.stack([move(unit[j], shift) for (_, j), shift in zip(pairs, shifts)])
    seen = np.stack([move(np.ones(shape, np.float32), shift) for shift in shifts])
    weights = seen * ~held
    images = torch.from_numpy(np.stack([unit[[i for i, _ in pairs]], targets, weights], 1))
    edges = [min(size, length) // 8 * 8 for length in shape]
    padded = np.pad(unit, [(0, 0), *((0, -length % 8) for length in shape)], mode="reflect")

    network = UNet().to(memory_format=torch.channels_last)
    average = copy.deepcopy(network).eval()
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
    fast = has_bfloat16("cpu")

    def restore():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
            output = [average(frame[None, None])[0, 0] for frame in torch.from_numpy(padded)]
        return torch.stack(output).float().numpy()[:, : shape[0], : shape[1]]

    best, result, step = np.inf, None, 0
    while (done := (time.perf_counter() - began) / seconds) < 1 or result is None:
        patches = []
        for pair in rng.integers(len(pairs), size=batch):
            y, x = (rng.integers(n - edge + 1) for n, edge in zip(shape, edges))
            patch = images[pair, :, y : y + edges[0], x : x + edges[1]]
            patches.append(patch.flip([-1 - k for k in range(2) if rng.uniform() < 0.5]))
        noisy, target, weight = torch.stack(patches).unsqueeze(2).unbind(1)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1)))
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            output = network(noisy.contiguous(memory_format=torch.channels_last))
        loss = (weight * (output.float() - target) ** 2).sum() / weight.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            keep = min(0.99, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - keep)
        step += 1
        if step % 25 == 0:
            now = restore()
            error = (now[[i for i, _ in pairs]] - targets) ** 2
            error = error[(seen > 0) & held].mean()
            if error < best:
                best, result = error, now

    # A mean of square roots is not the root of the mean: back to intensities by what the
    # neighbours have on average where the network says this.
    said = result[[i for i, _ in pairs]]
    had = np.stack([move(raw[j], shift) for (_, j), shift in zip(pairs, shifts)])
    said, had = said[seen > 0], had[seen > 0]
    return np.polynomial.Polynomial.fit(said, had, 3)(result)


# --- measuring ------------------------------------------------------------------------------


def observed(name: str, dose: str, draw: int, frames: int | None = None) -> Observation:
    """A series by its name, or its first `frames` frames, at a dose; `draw` is the seed of the noise."""
    (series,) = load_shifted([name]) if name in SHIFTED else load_benchmark([name])
    if frames is not None:
        tables = {
            key: table[table["frame"] < frames]
            for key, table in (("sites", series.sites), ("vacancies", series.vacancies))
        }
        images = {key: getattr(series, key)[:frames] for key in ("atoms", "support")}
        series = replace(series, **images, **tables)
    return observe_shifted(series, dose, draw)


def measure(total: np.ndarray, atoms: np.ndarray, seen: Observation, in_total: bool) -> dict:
    """Scores of a result: its total intensity and its atoms on zero, tuned detection in either.

    ``psnr`` (dB) of the total; ``f1``, ``rms_pm`` and ``filled_tuned`` (part of the empty columns
    at which an atom is reported) with a tuned threshold, ``f1_fixed`` and ``filled`` with nothing
    tuned; ``false_atoms`` per frame on empty support. NaN where a quantity does not apply.
    """
    series = seen.series
    names = ("f1", "f1_fixed", "rms_pm", "filled", "filled_tuned", "false_atoms")
    row = {"psnr": psnr(total, seen.total), **dict.fromkeys(names, np.nan)}
    if len(series.sites):
        tuned = tuned_detection(bright(total, series) if in_total else atoms, series)
        fixed = fixed_detection(atoms, seen)
        row.update(
            f1=tuned["f1"],
            f1_fixed=fixed["f1"],
            rms_pm=1000 * series.pixel_size * tuned["rms_px"],
            filled=filled_vacancies(fixed["found"], series),
            filled_tuned=filled_vacancies(tuned["found"], series),
        )
    else:
        height = single_atom_height() * seen.unit
        row["false_atoms"] = float(false_atoms(atoms, series.atom_width, height))
    return row


def run(
    name: str,
    dose: str,
    method: str,
    seconds: float,
    seed: int,
    frames: int | None,
    draw: int,
    settings: dict[str, float] | None = None,
) -> dict:
    """One cell: denoise, and measure. ``seconds`` of the result are those of all computing."""
    seen = observed(name, dose, draw, frames)
    series = seen.series
    start = time.perf_counter()
    if method == "n2n":
        total = noise2noise(seen.frames, series.atom_width, seconds, seed)
        elapsed = time.perf_counter() - start
        turned = bright(total, series)
        row = measure(total, turned - background_level(turned, True), seen, True)
        return {**row, "seconds": elapsed, "said": ""}
    model, said = None, ""
    if method == "trained":
        model = n2a.train(
            signal(seen), max_time=seconds, seed=seed, show_progressbar=False, **(settings or {})
        )
        said = str(model.verdict)
    total = run_n2a(seen.frames, series.pixel_size, True, model)
    elapsed = time.perf_counter() - start
    atoms = run_n2a(seen.frames, series.pixel_size, False, model)
    return {**measure(total, atoms, seen, False), "seconds": elapsed, "said": said}


def signal(seen: Observation):
    """The frames as a calibrated HyperSpy signal."""
    import hyperspy.api as hs

    result = hs.signals.Signal2D(seen.frames)
    for axis in result.axes_manager.signal_axes:
        axis.scale, axis.units = seen.series.pixel_size, "nm"
    return result


def digest(method: str) -> str:
    """Of what the scores of a method depend on: data, measures, and the code of the method."""
    names = ("benchmark_data.py", "shifted_data.py", "metrics.py")
    parts = [path.read_bytes() for path in (DATA, *(HERE / name for name in names))]
    parts += [inspect.getsource(one).encode() for one in (observed, measure)]
    if method == "n2n":
        parts += [inspect.getsource(one).encode() for one in (UNet, _convolutions, noise2noise)]
    else:
        package = Path(n2a.__file__).parent
        paths = [*package.glob("*.py"), *package.glob("weights/*.safetensors")]
        parts += [path.read_bytes() for path in sorted(paths)]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def _stored(path: Path) -> dict:
    return json.loads(path.read_text()) if path.exists() else {}


def cached(cells: list[tuple]) -> list[dict]:
    """`run` of every cell, remembered as long as what it depends on stays."""
    CACHE.mkdir(parents=True, exist_ok=True)
    rows = []
    paths = {m: CACHE / f"adaptation-{m}-{digest(m)}.json" for m in {cell[2] for cell in cells}}
    for count, cell in enumerate(cells, 1):
        name, dose, method, seconds, _, _, draw, _ = cell
        path = paths[method]
        key = json.dumps([*cell, torch.get_num_threads()])
        if key not in _stored(path):
            text = f"{count} of {len(cells)}: {name} {dose} noise {draw} {method} {seconds:.0f} s"
            print(text, file=sys.stderr, flush=True)
            one = run(*cell)
            # read again: another process may have added to it meanwhile
            partial = path.with_suffix(f".{os.getpid()}.partial")
            partial.write_text(json.dumps({**_stored(path), key: one}))
            os.replace(partial, path)
        one = _stored(path)[key]
        told = {"series": name, "dose": dose, "noise": draw, "method": method, "budget": seconds}
        rows.append(told | one)
    return rows


# --- table ----------------------------------------------------------------------------------


def verdict(row: dict, rows: list[dict]) -> str:
    """What a "trained" row falls short of, with the other rows of its series and dose; or "pass"."""
    if row["method"] != "trained":
        return ""
    beside = [r for r in rows if all(r[k] == row[k] for k in ("series", "dose", "noise"))]
    short = []

    def gains(other):
        return row["psnr"] - other["psnr"], row["f1"] - other["f1"]  # NaN without atoms

    for box in (r for r in beside if r["method"] == "box"):
        decibels, f1 = gains(box)
        if row["series"] in OUTSIDE and not (decibels >= GAIN_PSNR or f1 >= GAIN_F1):
            short.append(f"gain over the box {decibels:+.1f} dB, {f1:+.3f}")
        if row["series"] not in OUTSIDE:
            short += [f"PSNR below the box {decibels:+.1f} dB"] * (decibels < -PSNR_TIE)
            short += [f"F1 below the box {f1:+.3f}"] * (f1 < -F1_TIE)
    for other in (r for r in beside if r["method"] == "n2n" and r["budget"] <= row["budget"]):
        decibels, f1 = gains(other)
        name = f"Noise2Noise {other['budget']:.0f} s"
        short += [f"PSNR below {name} {decibels:+.1f} dB"] * (decibels < -PSNR_TIE)
        short += [f"F1 below {name} {f1:+.3f}"] * (f1 < -F1_TIE)
    short += ["filled"] * (row["filled"] > FILLED)
    short += ["false atoms"] * (row["false_atoms"] > FALSE_ATOMS)
    return "short: " + ", ".join(short) if short else "pass"


HEADER = ("series", "dose", "noise", "method", "PSNR, dB", "F1 (fixed threshold)", "position, pm")
HEADER += ("empty columns filled (tuned)", "false atoms", "seconds", "verdict")


def markdown(rows: list[dict]) -> str:
    """The table in Markdown, columns aligned."""
    table = [HEADER]
    for row in rows:

        def show(text, value):
            return "" if np.isnan(value) else text

        budget = f" {row['budget']:.0f} s" if row["budget"] else ""
        said = f" ({row['said']})" if row["said"] else ""
        table.append(
            (
                row["series"],
                row["dose"],
                str(row["noise"]),
                row["method"] + budget + said,
                f"{row['psnr']:.2f}",
                show(f"{row['f1']:.3f} ({row['f1_fixed']:.3f})", row["f1"]),
                show(f"{row['rms_pm']:.0f}", row["rms_pm"]),
                show(f"{row['filled']:.0%} ({row['filled_tuned']:.0%})", row["filled"]),
                show(f"{row['false_atoms']:.1f}", row["false_atoms"]),
                f"{row['seconds']:.0f}",
                verdict(row, rows),
            )
        )
    widths = [max(map(len, column)) for column in zip(*table)]
    lines = [" | ".join(c.ljust(w) for c, w in zip(line, widths)) for line in table]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def means(rows: list[dict]) -> str:
    """Over the draws of the noise: PSNR and F1 of each method, with the standard error of F1."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        key = row["series"], row["dose"], row["method"], row["budget"]
        groups.setdefault(key, []).append(row)
    lines = []
    for (name, dose, method, budget), group in groups.items():
        psnr, f1 = (np.array([row[key] for row in group]) for key in ("psnr", "f1"))
        error = f1.std(ddof=1) / math.sqrt(len(f1))
        lines.append(
            f"{name} {dose} {method} {budget:.0f} s, mean of {len(group)}: {psnr.mean():.2f} dB, "
            f"F1 {f1.mean():.4f} +- {error:.4f}"
        )
    return "\n" + "\n".join(lines)


def main() -> None:
    """Command line."""
    everything = [*SHIFTED, *(series.name for series in load_benchmark())]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--seconds", type=float, default=600.0, help="to train on each series")
    add("--series", nargs="+", choices=everything, default=everything, metavar="NAME")
    add("--doses", nargs="+", choices=list(DOSES), default=["low"], metavar="DOSE")
    add("--methods", nargs="+", choices=METHODS, default=METHODS, metavar="METHOD")
    add("--n2n-seconds", type=float, nargs="+", help="for Noise2Noise; default: as --seconds")
    add("--seed", type=int, default=0, help="of the training")
    add("--noise", type=int, nargs="+", default=[SEED], metavar="SEED", help="of the noise")
    add("--frames", type=int, help="only the first frames of each series")
    add("--threads", type=int, help="of PyTorch")
    add("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of n2a.train")
    add("--markdown", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    if arguments.frames is not None and arguments.frames < 2:
        parser.error("--frames: expected at least 2, as Noise2Noise needs a neighbour")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore", UserWarning)
    start = time.perf_counter()
    budgets = {
        "box": [0.0],
        "trained": [arguments.seconds],
        "n2n": arguments.n2n_seconds or [arguments.seconds],
    }
    settings = {name: float(value) for name, value in (one.split("=") for one in arguments.set)}
    cells = [
        (
            name,
            dose,
            method,
            seconds,
            0 if method == "box" else arguments.seed,
            arguments.frames,
            draw,
            settings if method == "trained" else {},
        )
        for name in arguments.series
        for dose in arguments.doses
        for draw in arguments.noise
        for method in arguments.methods
        for seconds in budgets[method]
    ]
    rows = cached(cells)
    table = markdown(rows)
    print(table)
    if len(arguments.noise) > 1:
        print(means(rows))
    judged = [v for v in (verdict(row, rows) for row in rows) if v]
    if judged:
        print(f"\n{judged.count('pass')} of {len(judged)} trained cells pass", end="; ")
    print(f"{time.perf_counter() - start:.0f} s")
    if arguments.markdown:
        arguments.markdown.write_text(table + "\n")


if __name__ == "__main__":
    main()
