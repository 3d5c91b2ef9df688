# SPDX-License-Identifier: GPL-3.0-or-later
"""A report cannot be cheated: the honest result ranks first, and each cheat is told by name."""

import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import n2a

ATOM = 3.4  # px: standard deviation of an atom of the simulator at 12.5 pm per pixel
SCENES = {
    "2d": dict(structure="2d", vacancies=0.08),
    "crystal": dict(structure="crystal", thickness=4, vacancies=0.06, dopants=0.2),
    "cluster": dict(structure="cluster"),
}
FRAMES, DOSE = 12, 20.0


def blur(frames, width):
    return gaussian_filter(frames.astype(float), (0, width * ATOM, width * ATOM))


def gamma(frames, power):
    top = np.quantile(frames, 0.999)
    return top * (frames / top).clip(0) ** power


class Scene:
    """A simulated series, its honest result, and what cheats make of them."""

    def __init__(self, name):
        clean = n2a.simulate(shape=(128, 128), frames=FRAMES, seed=1, **SCENES[name])
        self.noisy = n2a.acquire(clean, dose=DOSE, seed=1)
        self.honest = n2a.denoise(self.noisy, background=True)
        raw, total = self.noisy.data, self.honest.data.astype(float)
        self.cheats = {
            "blur 1": blur(raw, 1),
            "blur 2": blur(raw, 2),
            "blur 4": blur(raw, 4),
            "constant": np.full(raw.shape, raw.mean()),
            "zero": np.zeros(raw.shape),
            "one frame": np.repeat(total[:1], FRAMES, axis=0),
            "temporal mean": np.repeat(raw.mean(axis=0, keepdims=True), FRAMES, axis=0),
            "gamma": gamma(total, 0.5),
            "steep gamma": gamma(total, 2.0),
            "raw": raw.astype(float),
        }
        if "vacancies" in SCENES[name]:
            scene = SCENES[name] | {"vacancies": 0}
            full = n2a.simulate(shape=(128, 128), frames=FRAMES, seed=1, **scene)
            painted = np.maximum(full.data - clean.data, 0) * (DOSE / clean.data.max())
            assert painted.max() > 0.05 * DOSE
            self.cheats["painted"] = total + painted
        self.reports = {
            cheat: n2a.report(self.noisy, result) for cheat, result in self.cheats.items()
        }
        self.reports["honest"] = n2a.report(self.noisy, self.honest)


@pytest.fixture(scope="module", params=SCENES)
def scene(request):
    return Scene(request.param)


def test_honest_result_ranks_first_and_is_fine(scene):
    ranked = sorted(scene.reports, key=lambda name: scene.reports[name].sort_key)
    assert ranked[0] == "honest"
    assert scene.reports["honest"].verdicts == ["fine"]


def test_nothing_at_all_ranks_below_every_blur(scene):
    rank = {name: scene.reports[name].sort_key for name in scene.reports}
    for name in ("blur 1", "blur 2", "blur 4", "raw", "gamma", "honest"):
        assert rank[name] < min(rank["constant"], rank["zero"]), name
    if "painted" in rank:  # invented atoms are worse than dull ones
        assert rank["blur 1"] < rank["painted"]


def test_all_are_judged_with_the_same_numbers(scene):
    for key in ("css_blur", "css_raw", "noise_gain", "frc_raw"):
        assert len({report[key].value for report in scene.reports.values()}) == 1, key
    for key in ("css", "upsnr"):
        ranges = {re.search("data range [^;]*", r[key].source)[0] for r in scene.reports.values()}
        assert len(ranges) == 1, key


def test_cheats_are_named(scene):
    named = {
        "blur 1": "over-smoothed",
        "blur 2": "over-smoothed",
        "blur 4": "over-smoothed",
        "constant": "structure removed",
        "zero": "structure removed",
        "one frame": "structure removed",
        "temporal mean": "structure removed",
        "gamma": "intensities not linear",
        "steep gamma": "intensities not linear",
        "painted": "atoms without support in the counts",
        "raw": "noise left",
    }
    for cheat in scene.cheats:
        assert named[cheat] in scene.reports[cheat].verdicts, cheat
        assert "fine" not in scene.reports[cheat].verdicts, cheat


def test_consecutive_similarity_alone_would_have_been_cheated(scene):
    css = {name: report["css"].value for name, report in scene.reports.items()}
    assert css["constant"] == pytest.approx(1)
    assert css["one frame"] == pytest.approx(1)
    assert css["blur 4"] > css["honest"]
    for report in scene.reports.values():
        assert report["css_raw"].value < report["css_blur"].value
        assert report["css_raw"].value == pytest.approx(css["raw"], rel=1e-4)


def test_honest_array_without_the_method_is_not_accused(scene):
    # Nothing names the method here, and the background is the raw frames' own slow part.
    atoms = n2a.denoise(scene.noisy).data
    assert n2a.report(scene.noisy.data, atoms).verdicts == ["fine"]


def test_truth_is_fine():
    # The expected counts themselves, of a scene at rest.
    clean = n2a.simulate(structure="2d", shape=(128, 128), frames=8, drift=0, seed=3)
    truth = 5 + 20 * clean.data.astype(float) / clean.data.max()
    raw = np.random.default_rng(0).poisson(truth)
    assert n2a.report(raw, truth).verdicts == ["fine"]
