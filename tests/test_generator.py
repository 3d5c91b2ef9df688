# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks: sizes, promises about what depends on what, and the authors' figures."""

import numpy as np
import pytest
import torch

from n2a.generator import PRESETS, Generator, PaperGenerator, make_generator
from n2a.model import get_model


def run(generator, frames, valid=None, curvature=0.2):
    frames = torch.as_tensor(frames, dtype=torch.float32)
    valid = (
        torch.ones_like(frames) if valid is None else torch.as_tensor(valid, dtype=torch.float32)
    )
    with torch.inference_mode():
        return generator(frames, valid, torch.full((len(frames),), float(curvature))).numpy()


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.fixture(scope="module")
def small():
    """An untrained network whose every layer does something."""
    torch.manual_seed(0)
    generator = Generator(window=3, widths=[8, 16, 16], blocks=[1, 1, 1]).eval()
    with torch.no_grad():
        for p in generator.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return generator


class TestGenerator:
    @pytest.mark.parametrize("preset", sorted(PRESETS))
    def test_presets_are_rebuilt_from_their_configuration(self, preset):
        generator = Generator(**PRESETS[preset])
        assert generator.configuration == PRESETS[preset]
        again = Generator(**generator.configuration)
        again.load_state_dict(generator.state_dict())  # the same names and shapes
        assert generator.window % 2 == 1

    @pytest.mark.parametrize(
        "configuration",
        [{"window": 1, "widths": [8], "blocks": [0]}, {"window": 7, "widths": [8, 8, 16, 32], "blocks": [0, 1, 2, 1]}],
    )  # fmt: skip
    def test_other_depths_and_windows(self, configuration):
        generator = Generator(**configuration)
        assert generator.configuration == configuration
        size = 2 * generator.multiple
        assert run(generator, noise(2, generator.window, size, size)).shape == (2, 2, size, size)

    @pytest.mark.parametrize("shape", [(8, 8), (16, 40), (64, 24), (8, 200)])
    def test_any_size(self, small, shape):
        assert small.multiple == 8
        output = run(small, noise(1, 3, *shape))
        assert output.shape == (1, 2, *shape)
        assert np.isfinite(output).all()

    def test_sizes_that_do_not_fit(self, small):
        with pytest.raises(ValueError, match=r"frames.*multiples of 8 px.*16 x 20.*crop"):
            run(small, noise(1, 3, 16, 20))

    def test_unknown_preset(self):
        with pytest.raises(ValueError, match="preset: expected 'fast' or 'paper', got 'x'"):
            make_generator("x")

    def test_fast_is_fast(self):
        # Live speed needs little work per pixel: the authors' network has 1.6 MFLOP.
        from torch.utils.flop_counter import FlopCounterMode

        generator = Generator(**PRESETS["fast"])
        with FlopCounterMode(display=False) as counter:
            run(generator, noise(1, 5, 64, 64))
        assert counter.get_total_flops() / 64**2 < 1.6e6 / 15

    def test_batches_are_independent(self, small):
        frames = noise(3, 3, 16, 16)
        together = run(small, frames)
        for i in range(3):
            np.testing.assert_allclose(run(small, frames[i : i + 1])[0], together[i], atol=1e-5)

    def test_every_weight_and_input_matters(self, small):
        frames = torch.randn(1, 3, 16, 16, requires_grad=True)
        valid = torch.ones(1, 3, 16, 16, requires_grad=True)
        curvature = torch.tensor([0.3], requires_grad=True)
        small.zero_grad()
        small(frames, valid, curvature).square().mean().backward()
        for t in (frames, valid, curvature, *small.parameters()):
            assert t.grad is not None
            assert t.grad.abs().max() > 0
        small.zero_grad()

    def test_moves_with_its_input(self, small):
        # By whole blocks of the deepest level, away from the borders.
        frames = np.zeros((1, 3, 208, 208))
        frames[:, :, 90:120, 80:110] = noise(1, 3, 30, 30)
        first, second = run(small, frames), run(small, np.roll(frames, (8, -16), (2, 3)))
        inner = np.s_[..., 72:-72, 72:-72]
        np.testing.assert_allclose(
            np.roll(first, (8, -16), (2, 3))[inner], second[inner], atol=1e-5
        )

    def test_start_of_training_is_tame(self):
        torch.manual_seed(1)
        output = run(Generator(), noise(1, 5, 32, 32))
        assert np.abs(output).max() < 10


class TestWeightsInTheBox:
    def test_nothing_in_nothing_out(self):
        generator = get_model().generator
        for valid in (np.ones((1, 5, 64, 64)), np.zeros((1, 5, 64, 64))):
            output = run(generator, np.zeros((1, 5, 64, 64)), valid)
            assert np.isfinite(output).all()
            assert np.maximum(output[:, 0], 0).mean() < 0.1

    @pytest.mark.parametrize("curvature", [0.0, 0.3, 1.5])
    def test_noise_about_zero_stays_about_zero(self, curvature):
        output = run(get_model().generator, noise(1, 5, 128, 128), curvature=curvature)
        atoms, background = np.maximum(output[0, 0], 0), output[0, 1]
        assert atoms.mean() < 0.1
        assert abs(background.mean()) < 0.3
        assert background.std() < 0.5  # the noise is gone

    @pytest.mark.parametrize("height", [3.0, 10.0, 40.0])
    def test_an_atom_comes_out_where_it_is_and_as_high(self, height):
        y, x = np.mgrid[:96, :96]
        atom = height * np.exp(-((y - 50) ** 2 + (x - 41) ** 2) / (2 * 2.0**2))
        output = run(get_model().generator, noise(1, 5, 96, 96) + atom, curvature=0)[0, 0]
        assert np.hypot(*np.subtract(np.unravel_index(output.argmax(), output.shape), (50, 41))) < 2
        assert output.max() == pytest.approx(height, rel=0.35)
        far = np.hypot(y - 50, x - 41) > 12
        assert np.maximum(output[far], 0).mean() < 0.1

    def test_frames_that_were_not_measured_are_not_missed(self):
        y, x = np.mgrid[:96, :96]
        atom = 8 * np.exp(-((y - 50) ** 2 + (x - 41) ** 2) / (2 * 2.0**2))
        valid = np.zeros((1, 5, 96, 96))
        valid[:, 2] = 1
        output = run(get_model().generator, (noise(1, 5, 96, 96) + atom) * valid, valid, 0)[0, 0]
        assert output.max() == pytest.approx(8, rel=0.4)


class TestPaper:
    def test_the_authors_figures(self):
        from torch.utils.flop_counter import FlopCounterMode

        generator = PaperGenerator().eval()
        number = sum(p.numel() for p in generator.parameters())
        assert number / 1e6 == pytest.approx(13.8, abs=0.05)
        x = torch.from_numpy(noise(1, 1, 32, 40)).float().clamp(-1, 1)
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            output = generator(x)
        assert output.shape == x.shape
        assert output.abs().max() <= 1
        assert counter.get_total_flops() / (32 * 40) == pytest.approx(1.6e6, rel=0.03)

    def test_with_noise_it_can_give_many_answers(self):
        torch.manual_seed(0)
        generator = PaperGenerator(noise=True).eval()
        plain = sum(p.numel() for p in PaperGenerator().parameters())
        # 3 x 3 weights from the second input channel to 64 features, and nothing else.
        assert sum(p.numel() for p in generator.parameters()) == plain + 9 * 64
        x, *planes = torch.from_numpy(noise(3, 1, 1, 16, 24)).float()
        with torch.inference_mode():
            first, second = (generator(x, plane) for plane in planes)
            assert torch.equal(generator(x, planes[0]), first)
        assert first.shape == x.shape
        assert (first - second).abs().max() > 1e-4

    @pytest.mark.parametrize("shape", [(16, 20), (9, 8)])
    def test_sizes_that_do_not_fit(self, shape):
        x = torch.zeros(1, 1, *shape)
        with pytest.raises(
            ValueError, match=rf"frames.*multiples of 8 px.*{shape[0]} x {shape[1]}.*crop"
        ):
            PaperGenerator()(x)
        with pytest.raises(ValueError, match="frames.*multiples of 8 px"):
            make_generator("paper", low=-1, high=1, height=1)(x, torch.ones_like(x), torch.ones(1))

    @pytest.mark.parametrize("takes_noise", [False, True])
    def test_noise_is_given_where_it_is_taken(self, takes_noise):
        x = torch.zeros(1, 1, 8, 8)
        with pytest.raises(RuntimeError, match="channels"):
            PaperGenerator(noise=takes_noise)(*([x] if takes_noise else [x, x]))
