# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop of Noise2Atom: noisy series and clear atoms in, a generator that maps one to the other out."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from n2a import losses
from n2a.devices import has_bfloat16, without_denormals
from n2a.lowpass import LowPass
from n2a.normalization import atoms_above, linearise, stabilise
from n2a.pairs import PairSampler, Recipe
from n2a.patches import NoisySeries

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Batch = dict[str, torch.Tensor]

# Batches of simulated pairs that are kept and drawn from: making one costs about as much as a step.
KEPT_PAIRS = 8
# Without a loss on pairs: how many times as many are made as a batch takes, of how many of the nearest each is drawn,
# and the edges in pixels of the blocks whose means tell how much is in a patch, about two and four widths of an atom.
CHOICE, NEAREST, BLOCKS = 8, 4, (4, 8)


@dataclass(frozen=True)
class Settings:
    """How a training runs. The weights are those of the generator's losses; 0 leaves one out.

    In the preset "paper" those of cycles and identity are for images in -1..1, as the authors have them.

    Attributes
    ----------
    batch, size
        Patches per step of each domain, and their edge in pixels of the network, which are those of the series after
        binning; a multiple of 8, at most what the frames have.
    learning_rate, critic_rate
        Peak of the schedules.
    optimiser
        "adam" or "rmsprop".
    critic_steps
        Of the critics, for each step of the generators.
    penalty
        Weight of the gradient penalty.
    divergence
        Wasserstein divergence in place of the gradient penalty.
    pairs
        Simulated windows with the noise of the acquisition model, and their truth.
    neighbour
        Prediction of a frame that the window lacks, where nothing has moved.
    noisy_cycle
        Low-passed difference between the frames and what the noise maker makes of the restored ones.
    low_pass
        Standard deviation of the filter in that difference, in pixels of the series (before any binning); 0 compares
        pixel by pixel, as a CycleGAN does.
    clean_cycle
        Clear images, made noisy by the noise maker, and restored.
    identity
        Clear images, restored as they are: they have to come out unchanged.
    adversarial
        Critic of clear atoms.
    adversarial_noise
        Critic of noisy frames, which teaches the noise maker.
    support
        Whether the noise maker is given the background with the atoms; otherwise it must make it up.
    average
        Memory of the moving average of the weights.
    decay
        Whether the learning rates warm up and fall to nothing, along a cosine.
    reuse
        How often a batch of pairs is used on average.
    """

    batch: int = 8
    size: int = 96
    learning_rate: float = 1e-4
    critic_rate: float = 2e-4
    optimiser: str = "adam"
    critic_steps: int = 1
    penalty: float = 10.0
    divergence: bool = False
    pairs: float = 1.0
    neighbour: float = 1.0
    noisy_cycle: float = 0.0
    low_pass: float = 15**0.5
    clean_cycle: float = 0.0
    identity: float = 0.0
    adversarial: float = 0.0
    adversarial_noise: float = 0.0
    support: bool = True
    average: float = 0.995
    decay: bool = True
    reuse: int = 2


SETTINGS = {
    "fast": Settings(),
    # The authors' configuration; weights of the cycles as they are on images in -1..1. Weighed like them the critic
    # outweighs them: of slope 1, it pulls at n pixels sqrt(n) times as hard as a mean absolute difference. Without the
    # identity, which is not theirs, either, the generators may settle on a negative, which the cycles do not mind.
    # Nor is the average, which does nothing to the training: from step to step results go up and down.
    "paper": Settings(
        batch=3, size=128, learning_rate=5e-5, critic_rate=5e-5, optimiser="rmsprop", critic_steps=5, pairs=0.0,
        neighbour=0.0, noisy_cycle=1.0, clean_cycle=1.0, identity=0.5, adversarial=1 / 128, support=False, average=0.98,
        decay=False,
    ),
}  # fmt: skip


class Loop:
    """Networks, optimisers and data of one training; :meth:`step` is all that happens.

    Everything random is drawn from the seed and the number of the step, so that a training that was cut off goes on
    as if it had not been.

    Parameters
    ----------
    networks
        "to_clear" (N to C) and, where a loss needs them, "to_noisy" (C to N), "critic" of clear images and
        "noise_critic" of noisy ones.
    series
        Domain S.
    recipes
        Domain C: ranges of the simulated pairs of each series.
    heights
        Of each series: a bright column, as a stabilised value; critics and the clean cycle see atoms relative to it.
    images
        Clear images (n, y, x) of the user's own in the place of simulated ones, a bright column at 1.
    fabric
        Launched Lightning Fabric: the gradients of its processes are averaged, so that their networks stay the same.
    """

    def __init__(
        self,
        networks: dict[str, nn.Module],
        series: list[NoisySeries],
        recipes: list[Recipe],
        heights: list[float],
        settings: Settings,
        images: np.ndarray | None = None,
        seed: int = 0,
        device: str = "cpu",
        fabric: Fabric | None = None,
    ):
        self.settings, self.device, self.fabric = settings, device, fabric
        # Each process draws its own batches.
        alone = fabric is None or fabric.world_size == 1
        self.seed = [seed] if alone else [seed, fabric.global_rank]
        self.series, self.recipes, self.heights, self.images = series, recipes, heights, images
        self.networks = nn.ModuleDict(networks).to(device).train().requires_grad_(True)
        self.networks["to_clear"].to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.networks["to_clear"]).eval().requires_grad_(False)
        self.low_pass = [
            _low_pass(settings.low_pass / one.plan.factor).to(device) for one in series
        ]
        critics = [k for k in self.networks if "critic" in k]
        makers = [k for k in self.networks if k not in critics]
        self.optimisers = {
            name: _optimiser(settings, [self.networks[k] for k in keys], rate)
            for name, keys, rate in (
                ("generators", makers, settings.learning_rate),
                ("critics", critics, settings.critic_rate),
            )
            if keys
        }
        self._pairs: OrderedDict[tuple[int, int], Batch] = OrderedDict()

    def step(self, number: int, done: float) -> dict[str, float]:
        """Step `number` of a training of which a part `done` in 0..1 is over; the values of its losses."""
        with without_denormals():
            return self._step(number, done)

    def _step(self, number: int, done: float) -> dict[str, float]:
        rng = np.random.default_rng([*self.seed, number])
        one = int(rng.integers(len(self.series)))
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        part = min(1, (number + 1) / 50) * 0.5 * (1 + math.cos(math.pi * done))
        for optimiser, rate in zip(
            self.optimisers.values(),
            (self.settings.learning_rate, self.settings.critic_rate),
            strict=False,
        ):
            for group in optimiser.param_groups:
                group["lr"] = rate * part if self.settings.decay else rate
        told = {}
        with torch.random.fork_rng():  # dropout takes torch's own generator
            torch.manual_seed(int(rng.integers(2**62)))
            if "critics" in self.optimisers:
                for _ in range(self.settings.critic_steps):
                    told |= self._critics(one, rng, noise, number)
            told |= self._generators(one, rng, noise, number)
        with torch.no_grad():
            keep = min(self.settings.average, (1 + number) / (10 + number))
            now = self.networks["to_clear"].parameters()
            torch._foreach_lerp_(list(self.average.parameters()), list(now), 1 - keep)
        return told

    def _generators(self, one: int, rng, noise, number: int) -> dict[str, float]:
        weights, height = self.settings, self.heights[one]
        real = self._real(one, rng, number)
        cycles = weights.clean_cycle or weights.adversarial_noise
        if weights.pairs or weights.identity or cycles:
            pairs = self._simulated(one, rng, number, real)
        told: dict[str, torch.Tensor] = {}
        hidden, target, weight = self._hide(one, real, rng)
        output = self._clear(hidden)
        if weights.neighbour and weight.any():
            total = _total(output, real["curvature"])
            told["neighbour"] = losses.neighbour_likelihood(
                total, target, real["curvature"], weight
            )
        if weights.noisy_cycle:
            made = output.sum(1, keepdim=True) if weights.support else output[:, :1]
            made = self._run("to_noisy", made, self._white(made, noise))
            middle = real["frames"].shape[1] // 2
            seen = real["frames"][:, middle : middle + 1], real["valid"][:, middle : middle + 1]
            told["noisy_cycle"] = losses.noisy_cycle(self.low_pass[one], seen[0], made, seen[1])
        if weights.adversarial:
            told["adversarial"] = losses.generator_wasserstein(
                self.networks["critic"](output[:, :1] / height)
            )
        if weights.pairs:
            truth = {k: pairs[k] for k in ("curvature", "atoms", "background", "weight")}
            told["pairs"] = losses.paired_decibels(self._clear(pairs), **truth)
        if weights.identity:
            told["identity"] = self._difference(pairs, one, self._clean(pairs, one))
        if cycles:
            made = self._noisy(pairs, one, noise)
            if weights.clean_cycle:
                told["clean_cycle"] = self._difference(pairs, one, made)
            if weights.adversarial_noise:
                told["adversarial_noise"] = losses.generator_wasserstein(
                    self.networks["noise_critic"](made[:, :1])
                )
        # Patches may have no neighbour, and that be the only loss.
        nothing = 0 * output.sum()
        loss = sum((getattr(weights, name) * value for name, value in told.items()), nothing)
        self._descend(loss, self.optimisers["generators"])
        return {name: float(value.detach()) for name, value in told.items()}

    def _critics(self, one: int, rng, noise, number: int) -> dict[str, float]:
        real = self._real(one, rng, number)
        pairs = self._simulated(one, rng, number, real)
        sides, middle = {}, real["frames"].shape[1] // 2
        with torch.no_grad():
            if "critic" in self.networks:
                found = self._clear(real)[:, 0]
                clear = stabilise(pairs["atoms"], self.series[one].curvature)
                sides["critic"] = clear / self.heights[one], found / self.heights[one]
            if "noise_critic" in self.networks:
                sides["noise_critic"] = (
                    real["frames"][:, middle],
                    self._noisy(pairs, one, noise)[:, middle],
                )
        told, total = {}, 0
        for name, (wanted, made) in sides.items():
            wanted, made = wanted[:, None], made[:, None]
            critic = self.networks[name]
            told[name] = losses.critic_wasserstein(critic(wanted), critic(made))
            mix = torch.rand(len(made), generator=noise).to(self.device)
            if self.settings.divergence:
                penalty = losses.wasserstein_divergence(critic, wanted, made, mix)
            else:
                penalty = self.settings.penalty * losses.gradient_penalty(critic, wanted, made, mix)
            total = total + told[name] + penalty
        self._descend(total, self.optimisers["critics"])
        return {name: float(value.detach()) for name, value in told.items()}

    def _real(self, one: int, rng, number: int) -> Batch:
        patches = self.series[one].patches(
            rng, self.settings.batch, self.settings.size, number, not self.recipes[one].correlation
        )
        return {k: v.to(self.device) for k, v in patches.items()}

    def _simulated(self, one: int, rng, number: int, real: Batch) -> Batch:
        """A batch of pairs for a step, whatever they are for."""
        newest = number // self.settings.reuse
        oldest = max(0, newest - KEPT_PAIRS)
        if not self.settings.pairs:
            return _nearest([self._made(one, i) for i in range(oldest, newest + 1)], real, rng)
        # The newest, or one of those before it.
        return self._made(
            one, newest if rng.uniform() < 0.5 else int(rng.integers(oldest, newest + 1))
        )

    def _made(self, one: int, index: int) -> Batch:
        """Simulated pairs, made from their own number."""
        key = one, index
        if key not in self._pairs:
            seed = int(np.random.SeedSequence([*self.seed, one, index]).generate_state(1)[0])
            window = self.series[one].windows.window
            make = PairSampler(
                self.recipes[one], self.settings.size, window, seed, self.device, self.images
            )
            self._pairs[key] = make(self.settings.batch * (1 if self.settings.pairs else CHOICE))
            while len(self._pairs) > (KEPT_PAIRS + 1) * len(self.series):
                self._pairs.popitem(last=False)
        return self._pairs[key]

    def _hide(self, one: int, real: Batch, rng) -> tuple[Batch, torch.Tensor, torch.Tensor]:
        """The batch without one neighbour each, that neighbour (linear), and the weight of its pixels."""
        frames, valid = real["frames"].clone(), real["valid"].clone()
        batch, window = frames.shape[:2]
        every, middle = torch.arange(batch), window // 2
        # One of the neighbours that there are; a window keeps at least one frame.
        there = valid.flatten(2).any(2)
        chances = there & (there.sum(1, keepdim=True) > 1)
        chances[:, middle] = False
        drawn = torch.from_numpy(rng.random((batch, window))).to(chances.device)
        slot = (drawn * chances).argmax(1)
        counted, seen = frames[every, slot], valid[every, slot]
        hide = chances.any(1)
        seen = seen * hide[:, None, None]
        frames[every[hide], slot[hide]], valid[every[hide], slot[hide]] = 0, 0
        still = self._still(one, real["frames"][:, middle], counted)
        hidden = real | {"frames": frames, "valid": valid}
        return hidden, linearise(counted, real["curvature"][:, None, None]), seen * still

    def _still(self, one: int, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Weight (b, h, w): 1 where two frames agree within their noise, falling to 0 where the scene has moved."""
        plan = self.series[one].plan
        width = plan.atom_width / plan.factor
        smooth = LowPass(width, 2 * math.ceil(3 * width) + 1).to(first.device)
        score = smooth((second - first)[:, None])[:, 0] * math.sqrt(2 * math.pi) * width
        # Line noise makes all scores larger.
        score = (
            score / (score.abs().flatten(1).median(1).values / 0.674).clamp_min(1)[:, None, None]
        )
        return torch.exp(-(score.square() - 4).clamp_min(0) / 8)

    def _descend(self, loss: torch.Tensor, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        loss.backward()
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        if self.fabric is not None and self.fabric.world_size > 1:
            own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
            flat = torch.cat([gradient.reshape(-1) for gradient in own])
            mean = self.fabric.all_reduce(flat, reduce_op="mean").split(
                [p.numel() for p in parameters]
            )
            for parameter, gradient in zip(parameters, mean, strict=True):
                parameter.grad = gradient.view(parameter.shape)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()

    def _run(self, name: str, *inputs: torch.Tensor) -> torch.Tensor:
        """The output of a generator, in float32 whatever it was computed in."""
        fast = has_bfloat16(self.device)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=fast):
            return self.networks[name](*inputs).float()

    def _clear(self, batch: Batch) -> torch.Tensor:
        frames, valid = (
            batch[name].contiguous(memory_format=torch.channels_last)
            for name in ("frames", "valid")
        )
        return self._run("to_clear", frames, valid, batch["curvature"])

    def _difference(self, pairs: Batch, one: int, frames: torch.Tensor) -> torch.Tensor:
        """How far what becomes of `frames` (b, t, h, w), each recorded once, is from the atoms of simulated pairs."""
        seen = (pairs["valid"] > 0).float()
        restored = self._clear(pairs | {"frames": frames * seen, "valid": seen})
        height = self.heights[one]
        return losses.clean_cycle(self._clear_atoms(pairs, one) / height, restored[:, 0] / height)

    def _clean(self, pairs: Batch, one: int) -> torch.Tensor:
        """All frames of the simulated windows (b, t, h, w) without noise, as the noise maker sees them."""
        if self.settings.support:
            return pairs["clean"]
        return self._clear_atoms(pairs, one)[:, None].expand_as(pairs["clean"])

    def _noisy(self, pairs: Batch, one: int, noise: torch.Generator) -> torch.Tensor:
        """The same, made noisy by the noise maker."""
        clean = self._clean(pairs, one)
        frames = clean.flatten(0, 1)[:, None]
        return self._run("to_noisy", frames, self._white(frames, noise))[:, 0].view_as(clean)

    def _clear_atoms(self, pairs: Batch, one: int) -> torch.Tensor:
        """Atoms (b, h, w) of simulated pairs as a perfect generator gives them, stabilised."""
        if not self.settings.support:
            # Without a background there is nothing but the series that tells how noise grows with the signal.
            return stabilise(pairs["atoms"], self.series[one].curvature)
        middle = pairs["clean"].shape[1] // 2
        bend = pairs["curvature"][:, None, None]
        return pairs["clean"][:, middle] - stabilise(pairs["background"], bend)

    def _white(self, like: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        return torch.randn(like.shape, generator=noise).to(like.device)


def _nearest(made: list[Batch], real: Batch, rng) -> Batch:
    """For each real patch a simulated one that has about as much in it, told from its noisy frame.

    Unpaired, whatever the domains differ by the critic asks the generator to mend: that one of them has more atoms in
    a patch, or brighter ones, is not to be among it.
    """
    have, want = torch.cat([_contents(batch) for batch in made]), _contents(real)
    far = ((want[:, None] - have) / have.std(0).clamp_min(1e-6)).square().sum(2)
    chosen: list[int] = []
    for row in far:
        row[chosen] = math.inf
        near = row.topk(NEAREST, largest=False).indices
        chosen.append(int(near[int(rng.integers(NEAREST))]))
    size = len(have) // len(made)
    return {
        name: torch.stack([made[i // size][name][i % size] for i in chosen]) for name in made[0]
    }


def _contents(batch: Batch) -> torch.Tensor:
    """Mean of the middle frame, and contrast of its blocks (b, 1 + blocks)."""
    frame = batch["frames"][:, batch["frames"].shape[1] // 2, None]
    blocks = [F.avg_pool2d(frame, edge).flatten(1).std(1) for edge in BLOCKS]
    return torch.stack([frame.flatten(1).mean(1), *blocks], 1)


def _low_pass(width: float) -> nn.Module:
    return LowPass(width, 2 * math.ceil(4 * width) + 1) if width else nn.Identity()


def _total(output: torch.Tensor, curvature: torch.Tensor) -> torch.Tensor:
    """Atoms and background together (b, h, w), linear, from a generator's output."""
    bend = curvature[:, None, None]
    return atoms_above(output[:, 0], output[:, 1], bend) + linearise(output[:, 1], bend)


def _optimiser(settings: Settings, networks: list[nn.Module], rate: float) -> torch.optim.Optimizer:
    parameters = [p for network in networks for p in network.parameters()]
    if settings.optimiser == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=rate)
    return torch.optim.Adam(parameters, lr=rate, betas=(0.5 if len(networks) > 1 else 0.9, 0.99))
