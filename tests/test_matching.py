# SPDX-License-Identifier: GPL-3.0-or-later
"""Domain C matched to a series: scan noise, atoms and doses that are known are found again."""

import numpy as np
import pytest
import torch

from n2a import acquisition
from n2a.layout import Layout
from n2a.matching import Features, fit_scan_noise, fit_texture, match_recipe, measure_features
from n2a.model import get_model
from n2a.pairs import Recipe
from n2a.patches import NoisySeries
from n2a.plan import plan_series
from n2a.spot_shape import SpotShape


def atoms(shape, width, seed=0, spacing=8.0, stretch=1.0):
    """Columns of height 1 on a jittered lattice: standard deviation `width` along y, `stretch` times that along x."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    image = np.zeros(shape)
    for a in np.arange(spacing, shape[0] - spacing / 2, spacing):
        for b in np.arange(spacing, shape[1] - spacing / 2, spacing):
            at = np.array([a, b]) + rng.normal(scale=0.8, size=2)
            image += np.exp(-((y - at[0]) ** 2 + ((x - at[1]) / stretch) ** 2) / (2 * width**2))
    return image


def record(rate, frames, line=0.0, reach=10.0, glow=0.0, decay=2.0, seed=0):
    """Counts of a scene at rest, as the acquisition model makes them."""
    generator = torch.Generator().manual_seed(seed)
    rate = torch.tensor(rate, dtype=torch.float32).expand(frames, -1, -1)
    one = torch.ones(1)
    counts = acquisition.count(rate, 0 * one, generator)
    if glow:
        counts = acquisition.afterglow(counts, glow * one, decay * one)
    if line:
        counts = counts + line * acquisition.line_noise(counts.shape, reach * one, generator)
    return counts.numpy()


def measure(frames, **kwargs):
    series = NoisySeries(frames, plan_series(frames, **kwargs))
    return measure_features(series, get_model().generator), series


def autocorrelation(noise, lags=48):
    noise = noise - noise.mean()
    products = [
        (noise[..., : noise.shape[-1] - k] * noise[..., k:]).mean() for k in range(lags + 1)
    ]
    return np.array(products[1:]) / products[0]


class TestScanNoise:
    def noise(self, line=0.0, reach=10.0, glow=0.0, decay=2.0):
        return record(np.full((400, 400), 20.0), 2, line, reach, glow, decay)

    def test_white(self):
        line, _, glow, _ = fit_scan_noise(autocorrelation(self.noise()))
        assert line < 0.02
        assert glow == 0

    @pytest.mark.parametrize(("strength", "reach"), [(0.3, 5.0), (0.5, 20.0), (1.0, 10.0)])
    def test_lines(self, strength, reach):
        noise = self.noise(line=strength * 20**0.5, reach=reach)
        line, found, glow, _ = fit_scan_noise(autocorrelation(noise))
        assert line == pytest.approx(strength**2 / (1 + strength**2), abs=0.05)
        assert reach / 2 < found < 2 * reach
        assert glow <= 0.05

    @pytest.mark.parametrize(
        ("strength", "reach", "share", "decay"),
        [
            (0, 1, 0.4, 3.0), (0, 1, 0.3, 1.5), (0, 1, 0.5, 3.0), (0, 1, 0.5, 0.7),
            (0.5, 24.0, 0.3, 1.5), (1.0, 12.0, 0.15, 0.7),
        ],
    )  # fmt: skip
    def test_what_is_found_explains_the_noise(self, strength, reach, share, decay):
        """Short lines and afterglow correlate noise in the same way; together they must give what was seen."""
        seen = autocorrelation(self.noise(strength * 20**0.5, reach, share, decay))
        line, reach, glow, decay = fit_scan_noise(seen)
        # Afterglow leaves this much of the variance of counts.
        tail = np.exp(-np.arange(1, 60) / decay)
        left = (1 - glow) ** 2 + glow**2 * (tail**2).sum() / tail.sum() ** 2
        made = self.noise((20 * left * line / (1 - line)) ** 0.5, reach, glow, decay)
        np.testing.assert_allclose(autocorrelation(made), seen, atol=0.05)
        assert seen[0] > 0.1

    def test_of_a_short_line(self):
        assert all(np.isfinite(fit_scan_noise(np.zeros(10))))


class TestFeatures:
    @pytest.mark.parametrize(("width", "peak", "level"), [(1.5, 30, 10), (2.5, 12, 6)])
    def test_width_and_height(self, width, peak, level):
        frames = record(level + peak * atoms((96, 112), width, spacing=6 * width), 6)
        found, series = measure(frames)
        assert found.atom_width == pytest.approx(width, rel=0.3)
        # Of a bright column, in units of the noise.
        assert found.height * series.plan.noise == pytest.approx(peak, rel=0.3)
        assert found.atoms > 50
        assert found.line < 0.05
        assert found.afterglow < 0.06

    def test_binned(self):
        frames = record(5 + 10 * atoms((128, 128), 5.0, spacing=30), 5)
        found, series = measure(frames)
        factor = series.plan.factor
        assert factor > 1
        assert found.atom_width == pytest.approx(5.0 / factor, rel=0.35)
        assert found.height * series.plan.noise == pytest.approx(10, rel=0.35)

    def test_lines_and_afterglow_of_a_series(self):
        rate = 10 + 30 * atoms((128, 160), 2.0, spacing=12)
        quiet, _ = measure(record(rate, 6))
        lines, _ = measure(record(rate, 6, line=0.6 * 10**0.5, reach=20.0))
        glowing, _ = measure(record(rate, 6, glow=0.3, decay=2.0))
        assert quiet.line < 0.05
        assert quiet.afterglow < 0.06
        assert 0.15 < lines.line < 0.4
        assert 10 < lines.reach < 40
        # Told as afterglow or as short lines, which are alike in the noise.
        assert 0.2 < glowing.afterglow < 0.42 or (0.2 < glowing.line < 0.5 and glowing.reach < 4)

    @pytest.mark.parametrize("stretch", [0.5, 1.0, 2.0])
    def test_shape_of_the_atoms(self, stretch):
        """Drawn with 3 counts on a background of 3."""
        drawn = 3 + 3 * atoms((112, 112), 2.4 / stretch**0.5, spacing=16, stretch=stretch)
        found, series = measure(record(drawn, 8), atom_width=2.4)
        factor = series.plan.factor
        assert found.spot.along_y * factor == pytest.approx(2.4 / stretch**0.5, rel=0.2)
        assert found.spot.along_x * factor == pytest.approx(2.4 * stretch**0.5, rel=0.2)
        assert abs(found.spot.correlation) < 0.2

    @pytest.mark.parametrize(("stretch", "touching"), [(1.0, True), (1.9, False)])
    def test_pairs_that_touch_are_no_long_atoms(self, stretch, touching):
        """Two columns side by side are found as one long atom. With a bad probe all are long; here every other."""
        places = 18 * np.stack(np.meshgrid(np.arange(1, 7), np.arange(1, 7)), -1).reshape(-1, 2)
        y, x = np.mgrid[:126, :126]
        image = np.zeros((126, 126))
        for number, (a, b) in enumerate(places):
            for side in (-1, 1) if touching and number % 2 else (0,):
                away = (y - a) ** 2 + ((x - b - 3.0 * side) / stretch) ** 2
                image += np.exp(-away / (2 * 2.4**2 / stretch))
        found, series = measure(record(5 + 8 * image, 8), atom_width=2.4)
        recipe = match_recipe(found, series.curvature, dark=False)
        assert found.spot.elongation > 1.4
        assert (recipe.elongation == (1, 1)) == touching

    def test_texture(self):
        """A bright film that is rough at the size of the atoms is told from a smooth one."""
        rate = 4 * atoms((96, 96), 2.0, spacing=24)
        film = acquisition.random_field(
            (1, 96, 96), torch.tensor([2.0]), torch.zeros(1, 1, 2), torch.Generator().manual_seed(1)
        )[0, 0].numpy()
        smooth, rough = (
            measure(record(10 + rate + s * 10 * film.clip(-2, 2), 6), atom_width=2.0)[0]
            for s in (0.0, 0.3)
        )
        assert rough.texture > 2 * smooth.texture

    @pytest.mark.parametrize("grain", [1.5, 2.5, 5.0])
    def test_grain(self, grain):
        """Films that are smooth at the size of the atoms are told from rough ones; the pairs get theirs."""
        rate = 8 * atoms((128, 128), 2.0, spacing=32)
        film = acquisition.random_field(
            (1, 128, 128),
            torch.tensor([grain]),
            torch.zeros(1, 1, 2),
            torch.Generator().manual_seed(1),
        )[0, 0].numpy()
        frames = record(20 + rate + 5 * film.clip(-3, 3), 8)
        found, series = measure(frames, atom_width=2.0)
        factor = series.plan.factor
        assert found.grain * factor == pytest.approx(grain, rel=0.3)
        recipe = match_recipe(found, series.curvature, dark=False)
        assert inside(grain / factor / found.spot.width, recipe.grain)
        assert inside(5 / 20, recipe.texture)

    @pytest.mark.parametrize("frames", [2, 3, 6])
    def test_white_noise_has_no_grain(self, frames):
        """Few pairs of frames agree by chance; a few in a hundred are allowed to."""
        rng = np.random.default_rng(0)
        pairs = frames * (frames - 1) // 2
        found = [fit_texture(rng.normal(scale=0.01, size=(pairs, 2)), 2.0)[1] for _ in range(200)]
        assert sum(grain is not None for grain in found) < 10

    def test_no_grain_without_a_film(self):
        found, series = measure(
            record(20 + 8 * atoms((128, 128), 2.0, spacing=32), 8), atom_width=2.0
        )
        assert found.grain is None
        # Anything from an amorphous film to a smooth one.
        low, high = match_recipe(found, series.curvature, dark=False).grain
        assert low < 1 < 3 < high

    def test_slow_background(self):
        """A background that bends is told from a flat one, whatever stands on it."""
        rate = 4 * atoms((96, 96), 2.0, spacing=16)
        bend = 6 * np.cos(np.linspace(0, np.pi, 96))
        flat, bent = (
            measure(record(20 + rate + one, 6), atom_width=2.0) for one in (0 * bend, bend)
        )
        unit = bent[1].plan.noise
        assert bent[0].slow * unit == pytest.approx(bend.std(), rel=0.3)
        assert flat[0].slow * unit < 1
        level = (bent[1].plan.noise / bent[1].plan.gain) ** 2
        recipe = match_recipe(bent[0], bent[1].curvature, dark=False)
        assert inside(bend.std() / level, recipe.thickness)
        assert recipe.slope[1] > match_recipe(flat[0], flat[1].curvature, dark=False).slope[1]

    def test_held_out_frames_are_not_looked_at(self):
        frames = record(10 + 30 * atoms((64, 64), 2.0, spacing=12), 6)
        plan = plan_series(frames)
        other = frames.copy()
        other[3] = 10 * np.random.default_rng(0).poisson(5, (64, 64))
        a, b = (
            measure_features(NoisySeries(f, plan, held_out=(3,)), get_model().generator)
            for f in (frames, other)
        )
        assert a == b

    def test_a_frame_without_data(self):
        frames = record(10 + 30 * atoms((64, 64), 2.0, spacing=12), 6)
        plan = plan_series(frames)
        frames[2] = np.nan
        found = measure_features(NoisySeries(frames, plan), get_model().generator)
        assert np.isfinite(
            [*found.spot, *(x for x in found[2:-2] if x is not None), *found.layout.spacing]
        ).all()
        assert found.height * plan.noise == pytest.approx(30, rel=0.3)


def inside(value, limits):
    return limits[0] <= value <= limits[1]


class TestRecipe:
    @pytest.mark.parametrize(("peak", "level"), [(20, 10), (6, 3), (40, 80)])
    def test_contains_the_truth(self, peak, level):
        frames = record(level + peak * atoms((112, 112), 2.0, spacing=12), 6)
        found, series = measure(frames)
        recipe = match_recipe(found, series.curvature, dark=False)
        assert inside(peak, recipe.peak)
        assert inside(peak, recipe.usual_peak)
        assert inside(level / peak, recipe.background)
        assert inside(2.0, recipe.atom_width)
        assert recipe.dark == 0
        # Narrower than what the weights in the box were made for: this is what is gained.
        assert recipe.peak[1] / recipe.peak[0] < 4
        assert recipe.elongation == (1, 1)
        assert recipe.line_share == Recipe().line_share

    FEATURES = Features(2.0, SpotShape(2.0, 2.0, 0.0), 6.0, 0.0, None, 0.0, 0.0, 10.0, 0.0, 2.0, 50)

    def test_scan_noise(self):
        found = self.FEATURES._replace(line=0.2, reach=15.0, afterglow=0.3, decay=1.5)
        recipe = match_recipe(found, 0.3, dark=False)
        assert inside(0.5, recipe.line_noise)
        assert inside(15, recipe.line_reach)
        assert inside(0.3, recipe.afterglow)
        assert inside(1.5, recipe.afterglow_decay)
        assert recipe.line_share == recipe.afterglow_share == 0.9

    def test_two_opinions_on_the_width(self):
        """Noise along the lines misleads the plan by a lot, columns that touch mislead the spots by a little."""
        as_measured = match_recipe(self.FEATURES, 0.3, dark=False).atom_width
        assert inside(2.0, as_measured)
        misled = match_recipe(self.FEATURES._replace(atom_width=0.9), 0.3, dark=False)
        assert misled.atom_width == as_measured
        touching = match_recipe(self.FEATURES._replace(atom_width=1.5), 0.3, dark=False)
        assert inside(1.2, touching.atom_width)
        assert inside(2.2, touching.atom_width)

    def test_a_row_of_atoms_is_no_spot(self):
        found = self.FEATURES._replace(spot=SpotShape(1.2, 3.6, 0.0))
        assert match_recipe(found, 0.3, dark=False).elongation == (1, 1)

    def test_dark(self):
        recipe = match_recipe(self.FEATURES, -0.3, dark=True)
        assert recipe.dark == 1
        assert recipe.peak == match_recipe(self.FEATURES, 0.3, dark=False).peak

    @pytest.mark.parametrize("shape", [(1.4, 2.8, 0.0), (2.8, 1.4, 0.0), (2.2, 2.4, 0.6)])
    def test_elongated_atoms(self, shape):
        found = self.FEATURES._replace(spot=SpotShape(*shape))
        recipe = match_recipe(found, 0.3, dark=False)
        assert inside(shape[1] / shape[0], recipe.elongation)
        assert recipe.correlation == shape[2]
        assert inside(found.spot.width, recipe.atom_width)
        # Afterglow makes them longer too, and the pairs have it.
        glowing = match_recipe(found._replace(afterglow=0.3), 0.3, dark=False)
        assert glowing.elongation == (1, 1)
        assert glowing.correlation == 0

    def test_a_small_tilt_is_none(self):
        found = self.FEATURES._replace(spot=SpotShape(1.4, 2.8, 0.2))
        recipe = match_recipe(found, 0.3, dark=False)
        assert recipe.correlation == 0
        assert inside(2.0, recipe.elongation)

    def test_atoms_that_touch_are_no_ellipse(self):
        """Columns that stand close look 1.3 times as long as wide; a round spot explains them."""
        recipe = match_recipe(
            self.FEATURES._replace(spot=SpotShape(2.0, 2.0, -0.25)), 0.3, dark=False
        )
        assert recipe.elongation == (1, 1)
        assert recipe.correlation == 0

    def test_what_is_not_measured_is_kept(self):
        base = Recipe(drift=(0.5, 0.6), structures=(("2d", 1.0),))
        recipe = match_recipe(self.FEATURES, 0.3, dark=False, base=base)
        assert recipe.drift == (0.5, 0.6)
        assert recipe.structures == (("2d", 1.0),)

    @pytest.mark.parametrize("curvature", [0.0, 1.6, -1.6])
    @pytest.mark.parametrize("height", [0.01, 1e4])
    def test_extremes_stay_ranges(self, curvature, height):
        found = self.FEATURES._replace(
            height=height, texture=100.0, slow=50.0, line=0.95, spot=SpotShape(1.0, 5.0, 0.0), grain=0.1,
            layout=Layout((0.1, 5.0, 300.0), (0.0, 1e-4, 1.0), 0.5),
        )  # fmt: skip
        for name, value in match_recipe(found, curvature, dark=False).to_dict().items():
            if isinstance(value, tuple) and len(value) == 2 and name != "structures":
                assert 0 <= value[0] <= value[1] < np.inf, name
