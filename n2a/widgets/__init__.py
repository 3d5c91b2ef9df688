# SPDX-License-Identifier: GPL-3.0-or-later
"""Panels for notebooks (ipywidgets), registered with HyperSpy as the toolkeys ``n2a.*``.

The functions of this module are what ``hyperspy_extension.yaml`` names: HyperSpy calls them with the signal as `obj`,
and shows the widget or gets a dictionary with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    import ipywidgets
except ImportError as error:
    raise ImportError(
        f'The panels need ipywidgets, which is not installed ({error}). Install it with: pip install "n2a[gui]"'
    ) from error

from n2a.model import Noise2Atom
from n2a.widgets.compare import ComparePanel
from n2a.widgets.denoise import OPTIONS, DenoisePanel, no_option
from n2a.widgets.parts import Panel
from n2a.widgets.train import TrainPanel

if TYPE_CHECKING:
    from hyperspy.api.signals import BaseSignal

    from n2a.comparison import Comparison


PANELS = {"denoise": DenoisePanel, "train": TrainPanel, "compare": ComparePanel}


class Panels(Panel):
    """All panels of one signal, in tabs; a trained model is offered wherever one is chosen.

    Attributes
    ----------
    denoise, train, compare : Panel
        The single ones.
    """

    def __init__(self, signal: BaseSignal, **options: Any):
        if unknown := set(options) - {"model", *OPTIONS}:
            raise no_option(unknown)
        self.denoise = DenoisePanel(signal, **options)
        self.train = TrainPanel(signal, **options)
        self.train.trained = self._offer
        time = {name: value for name, value in options.items() if name == "time_axis"}
        self.compare = ComparePanel(signal, **time)
        if isinstance(options.get("model"), Noise2Atom):
            self.compare.offer(options["model"].name, options["model"])
        panels = (self.denoise, self.train, self.compare)
        self.widget = ipywidgets.Tab(
            [panel.widget for panel in panels], titles=[panel.title for panel in panels]
        )

    @property
    def result(self) -> BaseSignal | None:
        """The denoised signal, once there is one."""
        return self.denoise.result

    @property
    def model(self) -> Noise2Atom | None:
        """The trained model, once there is one."""
        return self.train.model

    @property
    def comparison(self) -> Comparison | None:
        """What was compared, once something was."""
        return self.compare.comparison

    def _offer(self, model: Noise2Atom) -> str:
        if model.verdict not in ("better", "not judged"):
            return ""
        name = self.denoise.offer("trained here", model)
        self.compare.offer(name, model)
        return f"The other panels offer it as {name!r}."


def make_panel(signal: BaseSignal, name: str | None = None, **options: Any) -> Panel:
    """The panel of that name for a signal, or all of them in tabs."""
    if name is None:
        return Panels(signal, **options)
    if name not in PANELS:
        known = ", ".join(map(repr, PANELS))
        raise ValueError(f"'panel' must be None or one of {known}, not {name!r}.")
    return PANELS[name](signal, **options)


# What HyperSpy calls


def gui(obj: BaseSignal, display: bool = True, **options: Any) -> dict | None:
    """Toolkey ``n2a.gui``: all panels in tabs."""
    return _shown(make_panel(obj, **options), display)


def denoise(obj: BaseSignal, display: bool = True, **options: Any) -> dict | None:
    """Toolkey ``n2a.denoise``."""
    return _shown(make_panel(obj, "denoise", **options), display)


def train(obj: BaseSignal, display: bool = True, **options: Any) -> dict | None:
    """Toolkey ``n2a.train``."""
    return _shown(make_panel(obj, "train", **options), display)


def compare(obj: BaseSignal, display: bool = True, **options: Any) -> dict | None:
    """Toolkey ``n2a.compare``."""
    return _shown(make_panel(obj, "compare", **options), display)


def _shown(panel: Panel, display: bool) -> dict | None:
    """What HyperSpy expects of a toolkey's function."""
    if display:
        panel.show()
        return None
    return {"widget": panel.widget, "wdict": {"panel": panel}}
