# SPDX-License-Identifier: GPL-3.0-or-later
"""Panels for notebooks (ipywidgets), registered with HyperSpy as the toolkeys ``n2a.*``.

The functions of this module are what ``hyperspy_extension.yaml`` names: HyperSpy calls them with the signal as `obj`,
and shows the widget or gets a dictionary with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    import ipywidgets  # noqa: F401
except ImportError as error:
    raise ImportError(
        f'The panels need ipywidgets, which is not installed ({error}). Install it with: pip install "n2a[gui]"'
    ) from error

from n2a.widgets.denoise import DenoisePanel
from n2a.widgets.parts import Panel

if TYPE_CHECKING:
    from hyperspy.api.signals import BaseSignal


PANELS = {"denoise": DenoisePanel}


def make_panel(signal: BaseSignal, name: str, **options: Any) -> Panel:
    """The panel of that name for a signal."""
    if name not in PANELS:
        known = ", ".join(map(repr, PANELS))
        raise ValueError(f"'panel' must be one of {known}, not {name!r}.")
    return PANELS[name](signal, **options)


def denoise(obj: BaseSignal, display: bool = True, **options: Any) -> dict | None:
    """Toolkey ``n2a.denoise``."""
    return _shown(make_panel(obj, "denoise", **options), display)


def _shown(panel: Panel, display: bool) -> dict | None:
    """What HyperSpy expects of a toolkey's function."""
    if display:
        panel.show()
        return None
    return {"widget": panel.widget, "wdict": {"panel": panel}}
