# SPDX-License-Identifier: GPL-3.0-or-later
"""The critics: their sizes by hand, what a score depends on, and that it learns what atoms are."""

import numpy as np
import pytest
import torch

from n2a.critic import PRESETS, Critic, PaperCritic, make_critic
from n2a.losses import critic_wasserstein, gradient_penalty


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def images(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


def convolution(kernel, inputs, outputs):
    return kernel**2 * inputs * outputs + outputs


def numbers(network):
    """Parameters of each layer that has any."""
    layers = [list(m.parameters(recurse=False)) for m in network.modules()]
    return [sum(p.numel() for p in layer) for layer in layers if layer]


class TestBoth:
    @pytest.mark.parametrize("preset", sorted(PRESETS))
    def test_rebuilt_from_the_configuration(self, preset):
        options = {"fast": {"inputs": 3, "widths": [4, 8]}, "paper": {"inputs": 3, "size": 40}}
        critic = make_critic(preset, **options[preset])
        assert critic.configuration == options[preset]
        again = make_critic(preset, **critic.configuration)
        again.load_state_dict(critic.state_dict())  # the same names and shapes
        x = images(2, 3, 40, 40)
        assert torch.equal(again.eval()(x), critic.eval()(x))

    def test_unknown_preset(self):
        with pytest.raises(
            ValueError, match=r"preset: expected one of \['fast', 'paper'\], got 'x'"
        ):
            make_critic("x")

    @pytest.mark.parametrize(("preset", "options"), [("fast", {}), ("paper", {"size": 32})])
    def test_a_score_depends_on_its_own_image_only(self, preset, options):
        critic = make_critic(preset, **options).eval()
        x = images(3, 1, 32, 32).requires_grad_(True)
        scores = critic(x)
        for i in range(3):
            torch.testing.assert_close(critic(x[i : i + 1])[0], scores[i])
            (gradient,) = torch.autograd.grad(scores[i], x, retain_graph=True)
            slope = gradient.abs().amax((1, 2, 3))
            assert slope[i] > 0
            assert not slope[np.arange(3) != i].any()

    @pytest.mark.parametrize(("preset", "options"), [("fast", {}), ("paper", {"size": 32})])
    def test_penalty_trains_the_weights_even_on_empty_images(self, preset, options):
        critic = make_critic(preset, **options)
        x = torch.zeros(2, 1, 32, 32)
        gradient_penalty(critic, x, x, torch.tensor([0.2, 0.7])).backward()
        for p in critic.parameters():
            assert p.grad is None or torch.isfinite(p.grad).all()
            if p.ndim > 1:
                assert p.grad.abs().max() > 0


class TestFast:
    def test_parameters(self):
        down = [convolution(4, 2, 32), convolution(4, 32, 64), convolution(4, 64, 128)]
        assert numbers(Critic(inputs=2)) == [*down, convolution(3, 128, 1)]

    @pytest.mark.parametrize("shape", [(16, 16), (17, 33), (40, 16), (61, 50)])
    def test_any_size_and_every_pixel_counts(self, shape):
        x = images(2, 1, *shape).requires_grad_(True)
        scores = Critic()(x)
        assert scores.shape == (2,)
        scores.sum().backward()
        assert (x.grad != 0).all()

    def test_training_is_not_random(self):
        critic, x = Critic().train(), images(2, 1, 24, 24)
        assert torch.equal(critic(x), critic(x))

    def test_sees_38_pixels(self):
        critic, seen = Critic(), torch.zeros(1, 1, 96, 96, requires_grad=True)
        critic.score(seen)[0, 0, 6, 6].backward()
        lines = seen.grad[0, 0].any(0).nonzero()
        assert lines.max() - lines.min() + 1 == 38

    def test_size_of_the_image_is_not_a_score(self):
        # A pattern of period 8 scores the same on a large image, but for the zeros beyond the border.
        x, critic = images(1, 1, 8, 8), Critic(widths=[4, 4, 4])
        with torch.no_grad():
            small, large, larger = (critic(x.tile(1, 1, n, n)).item() for n in (4, 64, 128))
        assert abs(larger - large) < 0.1 * abs(larger - small)

    def test_learns_to_tell_atoms_from_noise(self):
        critic = Critic(widths=[8, 16, 16])
        optimiser = torch.optim.Adam(critic.parameters(), lr=5e-3, betas=(0.0, 0.9))
        rng = np.random.default_rng(0)
        y, x = np.mgrid[:32, :32]

        def batch():
            at = rng.uniform(4, 28, (8, 4, 2, 1, 1))
            spots = np.exp(-((y - at[:, :, 0]) ** 2 + (x - at[:, :, 1]) ** 2) / 8).sum(1)
            noise = rng.normal(spots.mean(), spots.std(), spots.shape)
            return [torch.from_numpy(a[:, None]).float() for a in (spots, noise)]

        for _ in range(40):
            real, fake = batch()
            mix = torch.from_numpy(rng.uniform(size=8)).float()
            distance = critic_wasserstein(critic(real), critic(fake))
            loss = distance + 10 * gradient_penalty(critic, real, fake, mix)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        real, fake = batch()
        with torch.no_grad():
            assert critic(real).min() > critic(fake).max()


class TestPaper:
    @pytest.mark.parametrize(("size", "last"), [(128, 8), (64, 4), (100, 7)])
    def test_parameters(self, size, last):
        expected = [
            convolution(3, 1, 64),  # the only block without normalisation
            convolution(3, 64, 64), 2,  # a scale and an offset
            convolution(3, 64, 128), 2,
            convolution(3, 128, 128), 2,
            last * last * 128 + 1,
        ]  # fmt: skip
        assert numbers(PaperCritic(size)) == expected
        assert PaperCritic(size)(images(2, 1, size, size)).shape == (2,)

    def test_first_layer_is_not_normalised(self):
        # Ten times the contrast goes through it in proportion: with the biases gone, only the scale differs.
        critic, x = PaperCritic(32).eval(), images(1, 1, 32, 32)
        with torch.no_grad():
            critic.score[0].bias.zero_()
            torch.testing.assert_close(critic.score[:3](10 * x), 10 * critic.score[:3](x))
            # and after the second block the contrast is gone
            torch.testing.assert_close(critic(1e3 * x), critic(1e4 * x), rtol=0, atol=1e-2)

    def test_dropout(self):
        critic = PaperCritic(32)
        rates = [m.p for m in critic.modules() if isinstance(m, torch.nn.Dropout)]
        assert rates == [0.25] * 4
        x = images(1, 1, 32, 32)
        assert critic.train()(x) != critic(x)
        assert critic.eval()(x) == critic(x)

    def test_other_sizes_are_refused(self):
        with pytest.raises(
            ValueError, match=r"images: expected 128 x 128 px, got 128 x 64; .*size="
        ):
            PaperCritic()(images(1, 1, 128, 64))
