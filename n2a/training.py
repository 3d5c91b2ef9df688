# SPDX-License-Identifier: GPL-3.0-or-later
"""train(): from noisy signals to a model of their own, with a verdict on whether it was worth it."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import reprlib
import signal as interrupts
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import maximum_filter

from n2a import __version__
from n2a import signals as doors
from n2a.checkpoint import check_target, load_state, restore_state, save_state
from n2a.critic import make_critic
from n2a.devices import pick_device
from n2a.evaluation import Estimate
from n2a.generator import Generator, NoiseMaker, PaperClear, PaperNoisy
from n2a.history import History
from n2a.loop import SETTINGS, Loop, Settings
from n2a.matching import Features, match_recipe, measure_features
from n2a.model import Noise2Atom, get_model
from n2a.noise import estimate_noise
from n2a.normalization import stabilise
from n2a.patches import NoisySeries
from n2a.plan import Plan, plan_series, warn
from n2a.progress import Progress
from n2a.sampling import bin_frames, measure_atom_width
from n2a.verdict import CLEAR, CLEAR_OF_MANY, LOOKED_AT, Judge

if TYPE_CHECKING:
    import dask.array as da
    from hyperspy.api.signals import BaseSignal
    from lightning_fabric import Fabric

_logger = logging.getLogger(__name__)

# One frame of so many is held out for the verdict; series of fewer than `FEWEST` frames give none away.
HELD_OUT, FEWEST = 6, 4
# Ratio of the noise of some frames to that of others from which on it was not one acquisition.
STEADY = 1.5
# Share of the time between two looks at the held-out frames, and the longest time between two checkpoints, s.
LOOKS, SAVE_EVERY = 20, 60.0
# What the networks of the authors can show at most, in heights of a bright column.
BRIGHTEST = 1.5
# What a training is known by when it is gone on with.
SAME = ("preset", "start", "settings", "seed", "data", "plans", "time_axis", "simulated")
# Weights of the generator's losses among the settings.
LOSSES = (
    "pairs", "neighbour", "noisy_cycle", "clean_cycle", "identity", "adversarial", "adversarial_noise",
)  # fmt: skip


def train(
    signals: BaseSignal | Sequence[BaseSignal],
    simulated: BaseSignal | None = None,
    *,
    preset: str = "fast",
    start: Noise2Atom | str | Path | None = None,
    max_time: float | None = None,
    max_steps: int | None = None,
    contrast: str = "auto",
    atom_width: float | None = None,
    time_axis="auto",
    seed: int = 0,
    device: str = "auto",
    checkpoint: str | Path | None = None,
    resume: str | Path | None = None,
    show_progressbar: bool | None = None,
    tensorboard: str | Path | None = None,
    keep: bool = False,
    watch: Callable[[Progress], bool | None] | None = None,
    fabric: Fabric | None = None,
    **settings,
) -> Noise2Atom:
    """Train Noise2Atom on a noisy series: unpaired, with simulated atoms as the other domain.

    The training starts from the weights in the box and goes on with patches of the series (domain S) and
    simulated images of atoms (domain C) whose width, height, background and noise are matched to it. At the end the
    result is compared with what it started from on frames that were held out, and the better one is returned.

    Parameters
    ----------
    signals
        A series or several of one kind of acquisition: images of any navigation shape, in memory or lazy. Frames are
        read when they are needed.
    simulated
        Clear images of your own for domain C, atoms on a background of 0, with the pixel size of the series.
        Default: made on the fly.
    preset
        "fast", or "paper": the networks, losses and optimisers of the authors, from a random start.
    start
        Model to start from: a `Noise2Atom`, a path or a name of weights in the box. Default: the weights in the box.
    max_time
        Budget in seconds. Default: 600, if `max_steps` is not given.
    max_steps
        Budget in steps; with it the result depends on the data, the seed and the version only (on the CPU,
        with one number of threads).
    contrast, atom_width, time_axis
        As for :func:`n2a.denoise`.
    seed
        Of everything random.
    device
        "auto", "cpu", "cuda", "cuda:1", "mps".
    checkpoint
        File that keeps the state of the training, written every minute and at the end.
    resume
        A checkpoint of a training of the same signals to go on with. It goes on being written, unless `checkpoint`
        names another file.
    show_progressbar
        Default: HyperSpy's preference.
    tensorboard
        Folder for TensorBoard (extra ``tensorboard``).
    keep
        Return the trained network whatever the verdict, unless its weights are not finite.
    watch
        Function that is called with the :class:`n2a.progress.Progress` after every step, in the thread of the
        training. If it returns True the training ends as by an interrupt: the best so far is judged and returned.
    fabric
        Launched `lightning_fabric.Fabric` (extra ``fabric``), for several devices: every process calls `train` with
        the same arguments and gets the same model. `device` is then its own.
    **settings
        Fields of :class:`n2a.loop.Settings` in place of those of the preset.

    Returns
    -------
    Noise2Atom
        For :func:`n2a.denoise`. Its ``verdict`` is "better"; or "no better" or "collapsed", and then its weights are
        those of `start`; or "not judged" where nothing could be held out and nothing speaks against it. ``training``
        says what was done and found.

    Raises
    ------
    TypeError
        If `signals` or `simulated` are no HyperSpy signals, or another argument is of a type that says nothing.
    ValueError
        If signals hold no images or no atoms that can be told from noise, are of different kinds, `simulated` shows
        other things than clear atoms of the width of these, or an argument is none of those named above.
    FileNotFoundError, IsADirectoryError, PermissionError
        If there is no folder for `checkpoint`, it is one, nothing can be written there, or no file to `resume`.

    Notes
    -----
    An interrupt (Ctrl-C, the stop button of a notebook) ends the training early, after the step that it is at: the best
    so far is judged and returned.

    References
    ----------
    F. Wang et al., Applied Microscopy 50 (2020) 23, doi:10.1186/s42649-020-00041-8.

    Examples
    --------
    >>> import n2a
    >>> noisy = n2a.acquire(n2a.simulate(shape=(64, 64), frames=6, seed=1), dose=5, seed=1)
    >>> model = n2a.train(noisy, max_steps=2, batch=2, size=48, show_progressbar=False)
    >>> denoised = noisy.n2a.denoise(model, show_progressbar=False)
    """
    noisy = [signals] if not isinstance(signals, (list, tuple)) else list(signals)
    if not noisy:
        raise ValueError("'signals' is empty; expected a signal or a list of them.")
    for signal in noisy:
        doors.check_images(signal)
    if simulated is not None:
        doors.check_images(simulated, "simulated")
    if max_time is None and max_steps is None:
        max_time = 600.0
    _check_numbers(max_time, max_steps, atom_width, seed)
    seed, keep = int(seed), _yes_or_no("keep", keep)
    if fabric is not None and not hasattr(fabric, "is_global_zero"):
        raise TypeError(
            f"'fabric' must be a launched lightning_fabric.Fabric or None, not {fabric!r}."
        )
    if checkpoint is not None:
        check_target("checkpoint", checkpoint)
    state = None if resume is None else load_state(resume)
    if resume is not None and checkpoint is None:
        check_target("resume", resume)
    chosen = _settings(preset, settings)
    device = pick_device(device if fabric is None else str(fabric.device))
    box = get_model(start)
    if _only_neighbour(chosen) and (preset == "paper" or box.generator.window == 1):
        raise ValueError(
            "'neighbour' is the only loss, and the network sees one frame at a time; expected another loss, for "
            "example noisy_cycle=1, or preset 'fast'."
        )
    axes = [doors.resolve_time_axis(signal, time_axis) for signal in noisy]
    samples = [
        doors.sample_frames(doors.stack_frames(signal, axis))
        for signal, axis in zip(noisy, axes, strict=True)
    ]
    plans = [
        plan_series(sample, contrast, atom_width, doors.pixel_size(signal))
        for signal, sample in zip(noisy, samples, strict=True)
    ]
    _check_alike(plans)
    for number, (signal, axis, sample) in enumerate(zip(noisy, axes, samples, strict=True)):
        if axis is None and time_axis is not None and signal.axes_manager.navigation_size > 1:
            warn(
                f"which axis of signal {number} is time is not known, so that no frame has neighbours to learn from or "
                "to be judged by; name it with 'time_axis' (None if its images are no series)"
            )
        _check_steady(number, sample)
    series = [
        _series(doors.stack_frames(signal, axis), plan, box.generator.window, axis is not None)
        for signal, axis, plan in zip(noisy, axes, plans, strict=True)
    ]
    if _only_neighbour(chosen) and all(
        one.length < 2 or axis is None for one, axis in zip(series, axes, strict=True)
    ):
        raise ValueError(
            "'neighbour' is the only loss, and no frame has a neighbour in time; expected a series, or another loss, "
            "for example pairs=1."
        )
    # Patches are as large as the smallest frames allow.
    edges = [edge // 8 * 8 for one in series for edge in one.shape]
    chosen = replace(chosen, size=min(chosen.size, *edges))
    _check_patches(chosen, preset, plans)
    features = [measure_features(one, box.generator) for one in series]
    _check_atoms(features)
    if atom_width is not None:
        features = [one._replace(spot=one.spot.scaled(one.atom_width)) for one in features]
    pixel = doors.pixel_size(noisy[0])
    images = None if simulated is None else _clear_images(simulated, plans[0], pixel, chosen.size)
    judged = series
    if box.generator.window < 2:  # a frame that was held out has to stand in some window
        judged = [
            NoisySeries(one.frames, one.plan, 3, one.windows.use_time, one.held_out)
            for one in series
        ]
    judge = Judge(judged, box.generator)
    loop = make_loop(series, features, box.generator, preset, chosen, images, seed, device, fabric)
    facts = {
        "preset": preset,
        "start": box.summary(),
        "settings": asdict(chosen),
        "seed": seed,
        "data": [_fingerprint(one.frames) for one in series],
        "time_axis": [None if axis is None else doors.axis_name(axis) for axis in axes],
        "simulated": None if images is None else _fingerprint(doors.stack_frames(simulated)),
        "plans": [asdict(plan) for plan in plans],
        "features": [_told(one) for one in features],
    }
    # Of several processes one shows and writes.
    first = fabric is None or fabric.is_global_zero
    progress = Progress(
        max_time,
        max_steps,
        show=first and doors.wants_progress(show_progressbar),
        tensorboard=tensorboard if first else None,
        watch=watch if first else None,
    )
    _logger.info("Training on %s: %s", device, facts)
    run = _Run(loop, judge, facts, progress.history)
    if state is not None:
        run.resume(resume, *state)
    with _noting_ctrl_c() as ctrl_c:
        with progress:
            target = resume if checkpoint is None else checkpoint
            run(max_time, max_steps, target if first else None, progress, ctrl_c)
        return run.model(box, device, keep)


class _Run:
    """One training: what it has found so far, and where it keeps it."""

    def __init__(self, loop: Loop, judge: Judge, facts: dict, history: History):
        self.loop, self.judge, self.facts, self.history = loop, judge, facts, history
        self.step, self.seconds, self.best_gain = 0, 0.0, -math.inf
        self.best: dict[str, torch.Tensor] | None = None
        self.sums: dict[str, list[float]] = {}
        self.diverged = self.torn = False

    def __call__(self, max_time, max_steps, checkpoint, progress, ctrl_c: _CtrlC) -> None:
        """Step until the budget is spent or the user interrupts."""
        before, began = self.seconds, time.perf_counter()
        saved = began

        def part() -> float:
            self.seconds = before + time.perf_counter() - began
            parts = [self.seconds / max_time] if max_time else []
            done = max([*parts, self.step / max_steps] if max_steps else parts)
            # All processes stop, and look, at the same step.
            return done if self.loop.fabric is None else self.loop.fabric.broadcast(done)

        def stopped() -> bool:
            # Of several processes the first one is asked.
            fabric = self.loop.fabric
            return progress.stopped if fabric is None else fabric.broadcast(progress.stopped)

        try:
            ctrl_c.stepping = True
            while (
                (done := part()) < 1 and not self.diverged and not ctrl_c.pressed and not stopped()
            ):
                self.torn = True
                # With a number of steps the schedule follows them, whatever the clock says.
                told = self.loop.step(self.step, self.step / max_steps if max_steps else done)
                self.step += 1
                self.torn = False
                self.diverged = not all(np.isfinite(value) for value in told.values())
                for name, value in told.items():
                    self.sums.setdefault(name, []).append(value)
                progress.tick(self.step, self.seconds)
                if int(part() * LOOKS) > int(done * LOOKS):
                    self.look(progress)
                if checkpoint is not None and time.perf_counter() - saved > SAVE_EVERY:
                    self.save(checkpoint)
                    saved = time.perf_counter()
        except KeyboardInterrupt:
            progress.stopped = True
        ctrl_c.stepping = False
        if ctrl_c.pressed or progress.stopped:
            progress.stopped = True
            _logger.warning("Interrupted at step %d; the best so far is returned.", self.step)
        # Before the last look, which a training that goes on from here would not have taken; and no half steps.
        if checkpoint is not None and not self.torn:
            self.save(checkpoint)
        if self.sums or not len(self.history):
            self.look(progress)

    def look(self, progress: Progress) -> None:
        """Judge the network as it is now, keep it if it is the best so far, and show how it does."""
        gain, css = self.judge.look(self.loop.average)
        values = {name: float(np.mean(told)) for name, told in self.sums.items()}
        values |= {"css": css, "gain": gain.value}
        self.sums.clear()
        patches = self.judge.example(self.loop.average) if progress.due else ()
        progress.update({"step": self.step, "seconds": self.seconds, **values}, *patches)
        if gain.value > self.best_gain:
            self.best_gain = gain.value
            self.best = {k: v.clone() for k, v in self.loop.average.state_dict().items()}

    def save(self, path: str | Path) -> None:
        """Write a checkpoint; a failure costs the file, not the training."""
        facts = self.facts | {
            "step": self.step,
            "seconds": self.seconds,
            "best_gain": self.best_gain,
            "sums": self.sums,
            "history": self.history.to_dict(),
        }
        try:
            save_state(path, self.loop, self.best, facts)
        except OSError as error:
            _logger.warning(
                "The checkpoint %r could not be written (%s); training goes on.", str(path), error
            )

    def resume(self, path: str | Path, tensors: dict[str, torch.Tensor], facts: dict) -> None:
        """Go on from the checkpoint of the same training that was read from `path`."""
        told = []
        # Older files do not know all of them.
        for name in (name for name in SAME if name in facts):
            then, now = facts[name], json.loads(json.dumps(self.facts[name]))
            if not _alike(then, now):
                then, now = _without_common(then, now)
                told.append(f"its {name} is {reprlib.repr(then)}, not {reprlib.repr(now)}")
        if told:
            raise ValueError(
                f"'resume': {str(path)!r} belongs to another training: {'; '.join(told)}; pass the same signals and "
                "arguments as then, or start anew"
            )
        self.best = restore_state(self.loop, tensors)
        self.step, self.seconds, self.sums = facts["step"], facts["seconds"], facts["sums"]
        self.best_gain = facts["best_gain"]
        for row in History.from_dict(facts["history"]):
            self.history.add(**row)

    def model(self, box: Noise2Atom, device: str, keep: bool) -> Noise2Atom:
        """The better one of the trained network and the one that it started from, with the verdict."""
        network = copy.deepcopy(self.loop.average)
        problem = "losses that are not finite" if self.diverged else self.judge.collapsed(network)
        if not problem and not _finite(network):
            problem = "weights that are not finite"
        gain, bar = self.judge.gain(network), CLEAR
        if self.best is not None:
            best = copy.deepcopy(network)
            best.load_state_dict(self.best)
            chosen = self.judge.gain(best)
            # The last network was not chosen by its gain, and has a lower bar. One that collapsed after it had been
            # worse all the time has collapsed.
            if chosen.value > (0 if problem else CLEAR_OF_MANY * chosen.error) or not (
                problem or gain.value > bar * gain.error
            ):
                network, gain, bar, problem = best, chosen, CLEAR_OF_MANY, ""
        if problem:
            verdict = "collapsed"
        elif not self.judge.views:
            more = self.judge.takes_more(network, box.generator)
            verdict = "no better" if more else "not judged"
            problem = "more structure goes with the noise" if more else ""
        else:
            verdict = "better" if gain.value > bar * gain.error else "no better"
        found = {
            "verdict": verdict,
            "problem": problem,
            "gain": gain.value if math.isfinite(gain.value) else None,
            "gain_error": gain.error if math.isfinite(gain.error) else None,
            "before": self.judge.fidelity(box.generator),
            "after": None if verdict == "collapsed" else self.judge.fidelity(network),
        }
        training = (
            self.facts
            | found
            | {
                "n2a": __version__,
                "torch": torch.__version__,
                "device": device,
                "steps": self.step,
                "seconds": self.seconds,
                "history": self.history.to_dict(),
            }
        )
        trained = verdict in ("better", "not judged") or (keep and _finite(network))
        training["words"] = _sentence(verdict, problem, gain, trained)
        _logger.warning(
            "Trained on %s, %d steps in %.0f s. %s",
            device,
            self.step,
            self.seconds,
            training["words"],
        )
        name = f"{self.facts['preset']}, trained" if trained else box.name
        return Noise2Atom(network if trained else copy.deepcopy(box.generator), name, training)


class _CtrlC:
    """Notes Ctrl-C: half a step could not be gone on from. The second one ends a step at once, but not the judging."""

    def __init__(self):
        self.pressed = self.stepping = False

    def __call__(self, number, frame) -> None:
        if self.pressed and self.stepping:
            raise KeyboardInterrupt
        self.pressed = True


@contextmanager
def _noting_ctrl_c() -> Iterator[_CtrlC]:
    ctrl_c = _CtrlC()
    try:
        usual = interrupts.signal(interrupts.SIGINT, ctrl_c)
    except ValueError:  # not the main thread: interrupts do not arrive here
        yield ctrl_c
        return
    try:
        yield ctrl_c
    finally:
        # None: it was not set from Python, and cannot be set back from there.
        interrupts.signal(
            interrupts.SIGINT, interrupts.default_int_handler if usual is None else usual
        )


def _finite(network: torch.nn.Module) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in network.parameters())


def _sentence(verdict: str, problem: str, gain: Estimate, trained: bool) -> str:
    if verdict == "no better" and problem:
        return f"No better ({problem}); the {'trained' if trained else 'starting'} weights are returned."
    told = f"{gain.value:+.4f} +- {gain.error:.4f} of the noise variance on held-out frames"
    kept = "the trained network is" if trained else "the weights that it started from are"
    return {
        "better": f"Better: the squared error fell by {told}.",
        "no better": f"No better: the squared error changed by {told}; {kept} returned.",
        "collapsed": f"Collapsed ({problem}); {kept} returned.",
        "not judged": "Not judged: no frame could be held out, which takes four in a row and a time axis that is known "
        "('time_axis'). Compare the result with the raw frames.",
    }[verdict]


def _alike(then, now) -> bool:
    """Whether values of JSON are the same; another computer may round numbers differently."""
    if isinstance(then, dict) and isinstance(now, dict):
        return then.keys() == now.keys() and all(_alike(then[key], now[key]) for key in then)
    if isinstance(then, list) and isinstance(now, list):
        return len(then) == len(now) and all(map(_alike, then, now))
    if isinstance(then, float) and isinstance(now, float):
        return math.isclose(then, now, rel_tol=1e-6)
    return then == now


def _without_common(then, now) -> tuple:
    """What differs in two values of JSON."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = [key for key in then | now if not _alike(then.get(key), now.get(key))]
        return {key: then.get(key) for key in keys}, {key: now.get(key) for key in keys}
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        differing = [pair for pair in zip(then, now, strict=True) if not _alike(*pair)]
        return tuple(map(list, zip(*(_without_common(*pair) for pair in differing), strict=True)))
    return then, now


def _check_numbers(max_time, max_steps, atom_width, seed) -> None:
    for name, value in (("max_time", max_time), ("atom_width", atom_width)):
        if value is not None:
            doors.check_positive(name, value)
    whole = isinstance(max_steps, Integral) and not isinstance(max_steps, bool)
    if max_steps is not None and not (whole and max_steps > 0):
        raise ValueError(
            f"'max_steps' must be a whole number of 1 or more, or None, not {max_steps!r}."
        )
    if not isinstance(seed, Integral) or not 0 <= seed < 2**64:
        raise ValueError(f"'seed' must be a whole number from 0 to 2**64 - 1, not {seed!r}.")


def _yes_or_no(name: str, value) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"'{name}' must be True or False, not {value!r}.")
    return bool(value)


def _only_neighbour(chosen: Settings) -> bool:
    return not any(getattr(chosen, name) for name in LOSSES if name != "neighbour")


def _settings(preset: str, changes: dict) -> Settings:
    if not isinstance(preset, str) or preset not in SETTINGS:
        raise ValueError(f"'preset' must be one of {sorted(SETTINGS)}, not {preset!r}.")
    names = [field.name for field in fields(Settings)]
    for name in changes:
        if name not in names:
            raise TypeError(
                f"train() has no argument {name!r}; settings of a preset are {', '.join(names)}."
            )
    chosen = replace(SETTINGS[preset], **changes)
    for name, least in (("batch", 1), ("size", 16), ("critic_steps", 1), ("reuse", 1)):
        value = getattr(chosen, name)
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"'{name}' must be a whole number of {least} or more, not {value!r}.")
        chosen = replace(chosen, **{name: int(value)})
    for name in ("learning_rate", "critic_rate", "penalty", "average", "low_pass", *LOSSES):
        value = getattr(chosen, name)
        if not isinstance(value, Real) or not 0 <= value < math.inf:
            raise ValueError(f"'{name}' must be a finite number of 0 or more, not {value!r}.")
        chosen = replace(chosen, **{name: float(value)})
    for name in ("divergence", "support", "decay"):
        chosen = replace(chosen, **{name: _yes_or_no(name, getattr(chosen, name))})
    if chosen.average >= 1:
        raise ValueError(f"'average' must be less than 1, not {chosen.average!r}.")
    if chosen.optimiser not in ("adam", "rmsprop"):
        raise ValueError(f"'optimiser' must be 'adam' or 'rmsprop', not {chosen.optimiser!r}.")
    if not any(getattr(chosen, name) for name in LOSSES):
        raise ValueError(
            f"no loss is left to train with; expected one of {', '.join(LOSSES)} above 0."
        )
    return replace(chosen, size=chosen.size // 8 * 8)


def _check_patches(chosen: Settings, preset: str, plans: list[Plan]) -> None:
    """Filters continue patches by reflection, at most by what there is of them."""
    widest = max(plan.atom_width / plan.factor for plan in plans)
    least = {"an 'atom_width' of at most a third of them": math.ceil(3 * widest)}
    if preset != "paper":
        made = ("noisy_cycle", "clean_cycle", "adversarial_noise")
        least |= {f"{name}=0": NoiseMaker().reach // 2 for name in made if getattr(chosen, name)}
    if chosen.noisy_cycle:
        finest = min(plan.factor for plan in plans)
        less = f"'low_pass' of less than {chosen.size * finest / 4:g} px"
        least[less] = math.ceil(4 * chosen.low_pass / finest)
    for remedy, reach in least.items():
        if chosen.size <= reach:
            raise ValueError(
                f"'size' is {chosen.size} px, or the frames have no more as the network sees them, and with these "
                f"settings patches must be larger than {reach} px (multiples of 8); expected larger ones, "
                f"or {remedy}."
            )


def _series(frames, plan: Plan, window: int, use_time: bool) -> NoisySeries:
    series = NoisySeries(frames, plan, window, use_time)
    if use_time and series.length >= FEWEST:
        series.held_out = frozenset(_held_out(series))
    return series


def _held_out(series: NoisySeries) -> Iterator[int]:
    """One frame in six; of those that are looked at, one that was measured and that has a neighbour which was, too."""
    for number, usual in enumerate(range(HELD_OUT // 2, series.length, HELD_OUT)):
        line = series.line(number)
        near = sorted(range(usual - 2, usual + 3), key=lambda i: abs(i - usual))
        yield next(
            (
                i
                for i in (near if number < LOOKED_AT else ())
                if series.measured(line, i)
                and (series.measured(line, i - 1) or series.measured(line, i + 1))
            ),
            usual,
        )


def _check_alike(plans: list[Plan]) -> None:
    """One training is one configuration of the microscope."""
    first = plans[0]
    for number, plan in enumerate(plans[1:], 1):
        if plan.contrast != first.contrast:
            raise ValueError(
                f"'signals' mix {first.contrast} and {plan.contrast} atoms (signal {number}); expected one kind: "
                "train a model for each, or pass 'contrast'."
            )
        for name in ("noise", "atom_width"):
            ratio = getattr(plan, name) / getattr(first, name)
            if not 1 / 1.5 < ratio < 1.5:
                warn(
                    f"the signals are of different acquisitions: {name} of signal {number} is {ratio:.2g} times that "
                    "of signal 0; a model for each kind may do better"
                )


def _check_steady(number: int, sample: np.ndarray) -> None:
    """One training is one configuration of the microscope, within a signal, too."""
    levels = []
    for frame in sample:
        known = frame[np.isfinite(frame)]
        if known.size > 0.5 * frame.size and np.ptp(known) > 0:
            noise = estimate_noise(frame[None])
            levels.append(math.sqrt(max(noise.variance(float(np.median(known))), 0)))
    if len(levels) > 3 and min(levels) > 0:
        low, high = np.quantile(levels, (0.15, 0.85))
        if high > STEADY * low:
            warn(
                f"the noise within signal {number} changes by a factor of {high / low:.2g}: it seems to hold several "
                "acquisitions. Train on each kind by itself: they are one configuration of the microscope each"
            )


def _check_atoms(features: list[Features]) -> None:
    for number, one in enumerate(features):
        if not one.atoms:
            raise ValueError(
                f"'signals': no atoms stand out of the noise in signal {number}, so that simulated ones cannot be "
                "matched to it; expected a series with atoms: leave out empty ones, or pass 'atom_width' if they "
                "are of an unusual size."
            )


def _clear_images(
    simulated: BaseSignal, plan: Plan, pixel_size: float | None, size: int
) -> np.ndarray:
    """Domain C of the user's own: (n, y, x) as the network sees it, a typical bright column at 1."""
    frames = np.asarray(doors.stack_frames(simulated, None), np.float32)
    frames = frames.reshape(-1, *frames.shape[-2:])
    if not np.isfinite(frames).all() or not np.ptp(frames) > 0:
        raise ValueError(
            "'simulated' must be finite and show atoms; replace NaN, and leave out empty images."
        )
    if min(frames.shape[-2:]) < size * plan.factor:
        raise ValueError(
            f"'simulated' has images of {frames.shape[-1]} x {frames.shape[-2]} px; expected at least "
            f"{size * plan.factor} px on a side ('size' times the binning of {plan.factor})."
        )
    frames = _without_hot_pixels(frames - np.quantile(frames, 0.05))
    sample = doors.sample_frames(frames)
    width = measure_atom_width(sample)
    if width is None:
        raise ValueError(
            "'simulated' shows no atoms, only noise or nothing; expected clear images of atoms, for example "
            "signal.n2a.simulate_like()."
        )
    # Noise makes the atoms of the series look wider, by up to a third, and never narrower.
    if not 0.5 < width / plan.atom_width < 1.5:
        raise ValueError(
            f"'simulated' shows atoms of {width:.2g} px (standard deviation), the series of {plan.atom_width:.2g} px; "
            "expected the same scale: resample it, or use signal.n2a.simulate_like()."
        )
    own = doors.pixel_size(simulated)
    if own and pixel_size and not 0.9 < own / pixel_size < 1.1:
        raise ValueError(
            f"'simulated' has pixels of {own:.3g} nm, the series of {pixel_size:.3g} nm; expected the same: resample, "
            "use signal.n2a.simulate_like(), or correct the calibration."
        )
    bottom, middle, top = float(frames.min()), float(np.median(frames)), float(frames.max())
    if middle - bottom > top - middle and frames.mean() < middle:
        raise ValueError(
            "'simulated' shows dark atoms on a bright background; expected bright ones on a background of 0, whatever "
            "the series has: invert it."
        )
    height = _bright_column(frames)
    noise = estimate_noise(sample / height)
    least, most = (max(0.0, float(level)) for level in np.quantile(sample / height, (0.05, 0.995)))
    relative = math.sqrt(max(noise.variance(least), noise.variance(most)))
    # Atoms of hardly a pixel are rough themselves.
    if relative > max(0.1, 0.35 / width**2):
        raise ValueError(
            f"'simulated' is noisy: {relative:.0%} of a bright atom (standard deviation); expected clear images, for "
            "example signal.n2a.simulate_like(). A noisy series is for 'signals'."
        )
    frames = bin_frames(frames, plan.factor).astype(np.float32)
    return frames.clip(0) / _bright_column(frames)


def _without_hot_pixels(frames: np.ndarray) -> np.ndarray:
    """Frames (n, y, x) on a background of 0; pixels three times as bright as all that touch them become like these.

    The top of an atom is not, even of one that is narrower than a pixel.
    """
    around = np.ones((1, 3, 3), bool)
    around[0, 1, 1] = False
    brightest = maximum_filter(frames, footprint=around).clip(0)
    return np.where(frames > 3 * brightest, brightest, frames)


def _bright_column(frames: np.ndarray) -> float:
    """Height of a typical one, on a background of 0."""
    return max(float(np.quantile(frames[frames > 0.2 * frames.max()], 0.8)), 1e-6)


def make_loop(
    series: list[NoisySeries],
    features: list[Features],
    start: Generator,
    preset: str,
    chosen: Settings,
    images: np.ndarray | None = None,
    seed: int = 0,
    device: str = "cpu",
    fabric: Fabric | None = None,
) -> Loop:
    """Networks and data of one training: copies of `start`, or those of the authors for the preset "paper"."""
    recipes = [
        match_recipe(one, domain.curvature, domain.plan.contrast == "dark", size=chosen.size)
        for one, domain in zip(features, series, strict=True)
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if preset == "paper":
            scales = paper_scales(series, features)
            networks = {"to_clear": PaperClear(*scales), "to_noisy": PaperNoisy(*scales)}
            networks["critic"] = make_critic("paper", size=chosen.size)
            if chosen.adversarial_noise:
                networks["noise_critic"] = make_critic("paper", size=chosen.size)
            series = [NoisySeries(one.frames, one.plan, 1, False, one.held_out) for one in series]
            chosen = replace(
                chosen,
                noisy_cycle=2 * chosen.noisy_cycle / (scales[1] - scales[0]),
                clean_cycle=2 * chosen.clean_cycle / BRIGHTEST,
                identity=2 * chosen.identity / BRIGHTEST,
            )
        else:
            networks = {"to_clear": copy.deepcopy(start)}
            if chosen.noisy_cycle or chosen.clean_cycle or chosen.adversarial_noise:
                networks["to_noisy"] = NoiseMaker()
            if chosen.adversarial:
                networks["critic"] = make_critic("fast")
            if chosen.adversarial_noise:
                networks["noise_critic"] = make_critic("fast")
    heights = [
        _stabilised_height(one, domain) for one, domain in zip(features, series, strict=True)
    ]
    return Loop(networks, series, recipes, heights, chosen, images, seed, device, fabric)


def paper_scales(series: list[NoisySeries], features: list[Features]) -> tuple[float, float, float]:
    """Stabilised values that the authors' networks see as -1 and 1, and the height that they show as 1."""
    values = []
    for one in series:
        trained = [i for i in range(one.length) if i not in one.held_out] or [0]
        for look, i in enumerate(
            np.linspace(0, len(trained) - 1, min(4, len(trained))).astype(int)
        ):
            line = one.line(look)
            if one.measured(line, trained[i]):
                frames, valid, _ = one.window(trained[i], line)
                middle = len(frames) // 2
                values.append(frames[middle][valid[middle]])
    low, high = np.quantile(np.concatenate(values), (0.001, 0.999))
    height = max(
        _stabilised_height(one, domain) for one, domain in zip(features, series, strict=True)
    )
    return float(low), float(high), BRIGHTEST * height


def _told(features: Features) -> dict:
    """In what JSON knows, for the metadata of a model."""
    told = features._asdict() | {"spot": features.spot._asdict()}
    if features.single is not None:
        told["single"] = features.single._asdict()
    if features.layout is not None:
        layout = features.layout._asdict()
        told["layout"] = {name: np.asarray(value).tolist() for name, value in layout.items()}
    return told


def _stabilised_height(features: Features, series: NoisySeries) -> float:
    """Of a bright column on the usual background."""
    return float(stabilise(torch.tensor(features.height), series.curvature))


def _fingerprint(frames: np.ndarray | da.Array) -> str:
    """SHA-256 of the shape and of three of the frames (..., n, y, x): enough to know the data again."""
    total = hashlib.sha256(repr((frames.shape, str(frames.dtype))).encode())
    number = math.prod(frames.shape[:-2])
    for i in sorted({0, number // 2, number - 1}):
        frame = np.asarray(frames[np.unravel_index(i, frames.shape[:-2])])
        total.update(np.ascontiguousarray(frame).tobytes())
    return total.hexdigest()
