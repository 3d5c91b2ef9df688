# SPDX-License-Identifier: GPL-3.0-or-later
"""One step of the training: what it hides, where it looks away, and that nothing but its number decides it."""

import copy

import numpy as np
import pytest
import torch

from n2a import acquisition, losses
from n2a.checkpoint import load_state, restore_state, save_state
from n2a.critic import Critic, PaperCritic
from n2a.generator import Generator, NoiseMaker
from n2a.loop import SETTINGS, Loop, Settings
from n2a.normalization import atoms_above, linearise, stabilise
from n2a.pairs import Recipe
from n2a.patches import NoisySeries
from n2a.plan import Plan

QUICK = Settings(batch=4, size=32)
ALL = Settings(
    batch=2, size=32, noisy_cycle=0.5, clean_cycle=0.5, identity=0.5, adversarial=0.5, adversarial_noise=0.5
)  # fmt: skip


def plan(level=8.0, width=2.0, factor=1):
    return Plan(level, (level + 0.375) ** 0.5, 1.0, "bright", width * factor, factor)


def record(rate, line=0.0, reach=20.0, seed=0):
    """Counts of mean `rate` (n, y, x) with line noise, in units of the noise at the support of 8."""
    generator, rate = torch.Generator().manual_seed(seed), torch.as_tensor(rate).float()
    counts = acquisition.count(rate, torch.zeros(1), generator)
    if line:
        lines = acquisition.line_noise(counts.shape, torch.tensor([reach]), generator)
        counts = counts + line * 8**0.5 * lines
    return counts.numpy()


def spot(y, x, shape=(64, 64), height=100.0, width=2.0):
    grid = np.mgrid[: shape[0], : shape[1]]
    return height * np.exp(-((grid[0] - y) ** 2 + (grid[1] - x) ** 2) / (2 * width**2))


def small(window=5, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Generator(window=window, widths=[8, 16], blocks=[1, 1])


def make_loop(
    settings=QUICK, frames=None, window=5, to_clear=None, seed=0, number=1, factor=1, **critics
):
    if frames is None:
        frames = record(np.stack([8 + spot(30 + i, 34 - i, height=40.0) for i in range(8)]))
    networks = {"to_clear": small(window) if to_clear is None else to_clear}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        if settings.noisy_cycle or settings.clean_cycle or settings.adversarial_noise:
            networks["to_noisy"] = NoiseMaker()
        if settings.adversarial:
            networks["critic"] = critics.get("critic") or Critic(widths=[8, 16])
        if settings.adversarial_noise:
            networks["noise_critic"] = Critic(widths=[8, 16])
    series = [NoisySeries(frames, plan(factor=factor), window) for _ in range(number)]
    return Loop(networks, series, [Recipe()] * number, [5.0] * number, settings, seed=seed)


class Copies(torch.nn.Module):
    """Gives the network's own slots back: it has won where one of them is the target."""

    def __init__(self, window=5):
        super().__init__()
        self.window, self.weight = window, torch.nn.Parameter(torch.ones(window))
        self.seen = []

    def forward(self, frames, valid, curvature):
        self.seen.append((frames.detach().clone(), valid.detach().clone()))
        found = torch.einsum("btyx,t->byx", frames, self.weight) / self.window
        return torch.stack([found, found], 1)


class TestHiding:
    def hidden(self, frames=None, window=5, settings=QUICK, numbers=range(8)):
        loop = make_loop(settings, frames, window)
        for number in numbers:
            real = loop.series[0].patches(np.random.default_rng(number), 4, 32, number)
            before = {k: v.clone() for k, v in real.items()}
            yield real, *loop._hide(0, real, np.random.default_rng(number + 100))
            # The patches themselves stay: other losses need them whole.
            assert all(torch.equal(real[k], v) for k, v in before.items())

    def test_the_target_is_not_in_the_input(self):
        slots = set()
        for real, hidden, target, _ in self.hidden():
            for i in range(4):
                gone = [
                    t
                    for t in range(5)
                    if real["valid"][i, t].any() and not hidden["valid"][i, t].any()
                ]
                (slot,) = gone  # one of those that have a frame
                slots.add(slot)
                assert (hidden["frames"][i, slot] == 0).all()
                others = [t for t in range(5) if t != slot]
                assert torch.equal(hidden["frames"][i, others], real["frames"][i, others])
                # Linear: what the frame counted over the level, in units of the noise.
                u, bend = real["frames"][i, slot], real["curvature"][i]
                torch.testing.assert_close(target[i], u + bend / 4 * u * u)
        # All neighbours have their turn, and the frame itself never.
        assert slots == {0, 1, 3, 4}

    def test_within_a_step(self):
        """Nowhere in a step does the network get to see what it is compared with."""
        network = Copies()
        settings = Settings(batch=4, size=32, pairs=0.0)
        loop = make_loop(settings, to_clear=network)
        hide, targets = loop._hide, []
        loop._hide = lambda *args: targets.append(hide(*args)) or targets[-1]
        for number in range(6):
            loop.step(number, 0.0)
        seen = loop.networks["to_clear"].seen
        assert len(seen) == len(targets) == 6
        for (frames, valid), (hidden, target, weight) in zip(seen, targets, strict=True):
            assert (frames[valid == 0] == 0).all()
            for i in range(4):
                if weight[i].any():
                    assert (valid[i].flatten(1).any(1)).sum() <= 4
                    lists = frames[i] + hidden["curvature"][i] / 4 * frames[i] ** 2
                    assert not any(torch.allclose(one, target[i]) for one in lists)

    def test_clean_cycle_tells_the_network_of_single_frames(self):
        """The noise maker makes the noise of one frame, also where the pairs have means of several."""
        network = Copies()
        settings = Settings(batch=4, size=32, neighbour=0.0, pairs=0.0, clean_cycle=1.0)
        loop = make_loop(settings, to_clear=network)
        for number in range(6):
            loop.step(number, 0.0)
        assert max(float(pairs["valid"].max()) for pairs in loop._pairs.values()) > 1
        for _, valid in loop.networks["to_clear"].seen:
            assert set(valid.unique().tolist()) <= {0.0, 1.0}

    @pytest.mark.parametrize("curvature", [0.0, 0.2, 0.5])
    def test_the_critic_sees_brightness_alike(self, curvature):
        """An atom as high as those of the series is 1, whatever gain the pairs were drawn with."""
        seen = []
        loop = make_loop(Settings(batch=2, size=32, adversarial=1.0))
        loop.networks["critic"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        bend = loop.series[0].curvature
        column = linearise(loop.heights[0], bend)
        pairs = loop._made(0, 0)
        atoms = torch.from_numpy(spot(16, 16, (32, 32), column, 2.0)).float().expand(2, -1, -1)
        pairs |= {"atoms": atoms, "curvature": torch.full((2,), curvature)}
        loop._simulated = lambda *_: pairs
        loop._critics(0, np.random.default_rng(0), torch.Generator(), 0)
        assert seen[0].max().item() == pytest.approx(1, rel=1e-3)
        # What a result of the same height looks like to it.
        found = stabilise(torch.tensor(column), bend) / loop.heights[0]
        assert found.item() == pytest.approx(1, rel=1e-5)

    def test_the_clean_cycle_wants_what_was_drawn(self):
        """Its target is atoms on their background, as the network gives them: no other loss says otherwise."""
        loop = make_loop(Settings(batch=4, size=32, clean_cycle=1.0))
        pairs = loop._made(0, 0)
        bend = pairs["curvature"][:, None, None]
        under = stabilise(pairs["background"], bend)
        atoms = atoms_above(loop._clear_atoms(pairs, 0), under, bend)
        torch.testing.assert_close(atoms, pairs["atoms"], rtol=1e-3, atol=1e-2)

    @pytest.mark.parametrize(("left", "expected"), [(1.0, 0.0), (0.25, 0.75), (-1.0, 2.0)])
    def test_identity_wants_clear_images_as_they_are(self, left, expected):
        """A network that copies has none; one that gives a part, or a negative, has what is missing."""
        settings = Settings(batch=4, size=32, pairs=0.0, neighbour=0.0, identity=1.0, support=False)
        network = Copies(1)
        network.weight.data.fill_(left)
        loop = make_loop(settings, window=1, to_clear=network)
        pairs = loop._made(0, 0)
        pairs |= {"valid": torch.ones_like(pairs["valid"])}
        loop._simulated = lambda *_: pairs
        atoms = stabilise(pairs["atoms"], loop.series[0].curvature)
        told = loop.step(0, 0.0)["identity"]
        assert told == pytest.approx(expected * float(atoms.abs().mean()) / 5, abs=1e-6)

    def test_weight_is_zero_where_nothing_was_measured(self):
        frames = record(np.full((8, 64, 64), 8.0))
        frames[:, :, :30] = np.nan
        for real, _, _, weight in self.hidden(frames):
            assert (weight[~real["valid"].any(1)] == 0).all()
            assert weight.max() <= 1

    def test_single_images_have_no_target(self):
        loop = make_loop(window=1)
        real = loop.series[0].patches(np.random.default_rng(0), 4, 32)
        hidden, _, weight = loop._hide(0, real, np.random.default_rng(0))
        assert torch.equal(hidden["frames"], real["frames"])
        assert not weight.any()
        assert "neighbour" not in loop.step(0, 0.0)

    def test_a_window_of_one_frame_is_not_emptied(self):
        frames = record(np.full((1, 64, 64), 8.0))
        for real, hidden, _, weight in self.hidden(frames, numbers=range(3)):
            assert torch.equal(hidden["frames"], real["frames"])
            assert not weight.any()


class TestStill:
    def still(self, rates, line=0.0, seed=0):
        """Weights (64, 64) of a pair of frames."""
        loop = make_loop()
        prepare = loop.series[0].windows.prepare
        first, second = (
            torch.from_numpy(prepare(frame).values)[None]
            for frame in record(np.stack(rates), line, seed=seed)
        )
        return loop._still(0, first, second)[0].numpy()

    @pytest.mark.parametrize("line", [0.0, 0.5, 1.5])
    def test_static(self, line):
        at_rest = 8 + spot(32, 32)
        weights = np.stack([self.still((at_rest, at_rest), line, seed) for seed in range(4)])
        assert weights.mean() > 0.9
        assert (weights > 0.9).mean() > 0.85
        assert weights.max() <= 1

    def test_a_perfect_copy(self):
        loop = make_loop()
        frame = torch.randn(1, 64, 64)
        assert (loop._still(0, frame, frame) == 1).all()

    @pytest.mark.parametrize("line", [0.0, 0.5, 1.0])
    def test_a_moved_atom(self, line):
        """From one site to another at a high dose; both count little, the rest as before."""
        for seed in range(3):
            weights = self.still((8 + spot(20, 20), 8 + spot(44, 44)), line, seed)
            assert weights[20, 20] < 0.05
            assert weights[44, 44] < 0.05
            assert weights[18:23, 18:23].mean() < 0.3
            far = np.ones((64, 64), bool)
            far[8:32, 8:32] = far[32:56, 32:56] = False
            assert weights[far].mean() > 0.85

    def test_an_atom_that_appears(self):
        weights = self.still((np.full((64, 64), 8.0), 8 + spot(30, 30)))
        assert weights[30, 30] < 0.05

    def test_a_faint_one_is_below_the_noise(self):
        weights = self.still((np.full((64, 64), 8.0), 8 + spot(30, 30, height=2.0)))
        assert weights.mean() > 0.9


class TestStep:
    def run(self, loop, numbers, total=6):
        return [loop.step(number, number / total) for number in numbers]

    def weights(self, loop):
        return torch.cat([p.detach().flatten() for p in loop.networks.parameters()])

    @pytest.mark.parametrize("settings", [QUICK, ALL])
    def test_seed_and_number_decide(self, settings):
        first, again, other = (make_loop(settings, seed=seed) for seed in (1, 1, 2))
        told = self.run(first, range(3))
        torch.manual_seed(99)
        assert self.run(again, range(3)) == told
        assert torch.equal(self.weights(first), self.weights(again))
        self.run(other, range(3))
        assert not torch.equal(self.weights(first), self.weights(other))

    @pytest.mark.parametrize("optimiser", ["adam", "rmsprop"])
    def test_goes_on_from_a_file(self, optimiser, tmp_path):
        """With dropout, two critics and several series: a loop of another process is brought to the same state."""
        settings = Settings(**{**vars(ALL), "optimiser": optimiser, "critic_steps": 2})

        def fresh(seed):
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                return make_loop(settings, number=2, critic=PaperCritic(size=32))

        whole, first, second = fresh(1), fresh(1), fresh(2)
        told = self.run(whole, range(5))
        self.run(first, range(3))
        best = {k: v + 1 for k, v in first.average.state_dict().items()}
        save_state(tmp_path / "state", first, best, {"step": 3})
        tensors, facts = load_state(tmp_path / "state")
        assert facts == {"step": 3}
        found = restore_state(second, tensors)
        assert all(torch.equal(found[k], v) for k, v in best.items())
        assert self.run(second, range(3, 5)) == told[3:]
        assert torch.equal(self.weights(second), self.weights(whole))
        for mine, theirs in zip(
            second.average.parameters(), whole.average.parameters(), strict=True
        ):
            assert torch.equal(mine, theirs)

    def test_all_networks_learn(self):
        loop = make_loop(ALL)
        before = copy.deepcopy(loop.networks.state_dict())
        self.run(loop, range(3))
        for name in loop.networks:
            after = loop.networks[name].state_dict()
            assert any(not torch.equal(v, before[f"{name}.{k}"]) for k, v in after.items()), name

    def test_only_wanted_losses_are_told(self):
        assert set(self.run(make_loop(), range(8))[-1]) <= {"neighbour", "pairs"}
        told = set().union(*self.run(make_loop(ALL), range(4)))
        assert told == {
            "neighbour", "pairs", "noisy_cycle", "clean_cycle", "identity", "adversarial",
            "adversarial_noise", "critic", "noise_critic",
        }  # fmt: skip

    @pytest.mark.parametrize("window", [1, 3])
    def test_other_windows(self, window):
        told = self.run(make_loop(ALL, window=window), range(2))
        assert all(np.isfinite(list(one.values())).all() for one in told)

    def test_without_the_low_pass(self):
        """Pixel by pixel the noise of a frame counts, which nothing can make again; low-passed it does not."""
        exact, passed = (
            make_loop(Settings(**{**vars(ALL), "low_pass": width})).step(0, 0.0)["noisy_cycle"]
            for width in (0.0, 15**0.5)
        )
        assert exact > 0.7  # white noise of variance 1 has a mean modulus of 0.8
        assert passed < 0.5 * exact

    def test_the_low_pass_is_as_wide_in_pixels_of_the_series_however_they_are_binned(self):
        frames = record(np.stack([8 + spot(30 + i, 34 - i, height=40.0) for i in range(8)]))
        finer = frames.repeat(2, axis=1).repeat(2, axis=2)
        told = [
            make_loop(
                Settings(**{**vars(ALL), "low_pass": width}), frames=given, factor=factor
            ).step(0, 0.0)["noisy_cycle"]
            for given, width, factor in ((frames, 2.0, 1), (finer, 4.0, 2), (finer, 2.0, 2))
        ]
        assert told[1] == pytest.approx(told[0], rel=1e-5)
        assert told[2] > 1.2 * told[0]

    def test_learns(self):
        settings = Settings(batch=4, size=32, learning_rate=5e-3, neighbour=0.0, average=0.0)
        told = self.run(make_loop(settings), range(40), total=1000)
        losses = [one["pairs"] for one in told]
        assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.3

    def test_average_follows(self):
        loop = make_loop(Settings(batch=2, size=32, learning_rate=1e-2))
        start = torch.cat([p.flatten() for p in loop.average.parameters()])
        self.run(loop, range(6))
        now = torch.cat([p.detach().flatten() for p in loop.networks["to_clear"].parameters()])
        average = torch.cat([p.flatten() for p in loop.average.parameters()])
        assert 0 < (average - start).norm() < (now - start).norm()
        without = make_loop(Settings(batch=2, size=32, average=0.0))
        self.run(without, range(2))
        for p, q in zip(without.average.parameters(), without.networks["to_clear"].parameters()):
            assert torch.equal(p, q)

    @pytest.mark.parametrize("decay", [True, False])
    def test_schedule(self, decay):
        loop = make_loop(Settings(**{**vars(ALL), "decay": decay}))
        rates = []
        for number, done in ((0, 0.0), (49, 0.0), (60, 0.5), (100, 1.0)):
            loop.step(number, done)
            rates.append(
                [loop.optimisers[k].param_groups[0]["lr"] for k in ("generators", "critics")]
            )
        shape = [0.02, 1, 0.5, 0] if decay else [1, 1, 1, 1]
        expected = np.outer(shape, [ALL.learning_rate, ALL.critic_rate])
        np.testing.assert_allclose(rates, expected, atol=1e-12)

    def test_presets(self):
        # The authors' configuration: shared/method.md.
        paper = SETTINGS["paper"]
        assert (paper.optimiser, paper.learning_rate, paper.critic_steps) == ("rmsprop", 5e-5, 5)
        assert (paper.batch, paper.size, paper.penalty) == (3, 128, 10)
        assert paper.pairs == paper.neighbour == 0
        assert not paper.decay
        # A critic of slope 1 pulls at the whole image as hard as the clean cycle does.
        images = torch.rand(2, 1, 1, paper.size, paper.size).unbind()
        cycled = images[1].clone().requires_grad_()
        losses.clean_cycle(images[0], cycled).backward()
        assert paper.adversarial == pytest.approx(float(cycled.grad.norm()))

    @pytest.mark.parametrize("pairs", [1.0, 0.0])
    def test_pairs_are_made_from_their_number(self, pairs):
        """A batch that was thrown away is made again the same."""
        settings = Settings(batch=2, size=16, pairs=pairs)
        loop, other = make_loop(settings, number=2), make_loop(settings, number=2)

        def drawn(one, number):
            rng = np.random.default_rng(number)
            return one._simulated(number % 2, rng, number, one._real(number % 2, rng, number))

        for number in range(30):
            drawn(loop, number)
        assert len(loop._pairs) <= 18
        for number in (28, 29):
            assert torch.equal(drawn(loop, number)["frames"], drawn(other, number)["frames"])

    def test_unpaired_domains_hold_about_as_much(self):
        """Real patches with and without an atom get simulated ones with and without; pairs are drawn as they come."""
        frames = record(np.stack([8 + spot(16, 16, height=40.0)] * 8))
        differences = []
        for pairs in (0.0, 1.0):
            loop = make_loop(Settings(batch=8, size=32, pairs=pairs), frames)
            for number in range(6):
                rng = np.random.default_rng(number)
                real = loop._real(0, rng, number)
                made = loop._simulated(0, rng, number, real)
                assert len(made["frames"]) == 8
                a, b = (one["frames"][:, 2].mean((1, 2)) for one in (real, made))
                differences.append((pairs, float((a - b).abs().mean())))
        unpaired, paired = (
            np.mean([d for p, d in differences if p == pairs]) for pairs in (0.0, 1.0)
        )
        assert unpaired < 0.3 * paired
