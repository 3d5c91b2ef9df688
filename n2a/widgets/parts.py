# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panels have in common: status line, progress, choice of a model, file to write."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets as widgets

from n2a.history import duration
from n2a.model import BOX, Noise2Atom
from n2a.widgets import saving
from n2a.widgets.work import in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

LABEL = {"description_width": "6.5em"}
LABELLED = "2px 2px 2px calc(6.5em + 10px)"  # margin of what stands below controls with labels
IN_THE_BOX, FILE = "weights in the box", "a file \N{HORIZONTAL ELLIPSIS}"


def heading(text: str) -> widgets.HTML:
    """Title of a group of controls."""
    return widgets.HTML(f"<b>{html.escape(text)}</b>")


def group(*children: widgets.Widget, title: str, width: str = "290px") -> widgets.VBox:
    """Controls under a title; groups stand beside each other where there is room."""
    for child in children:
        child.layout.max_width = "100%"
    return widgets.VBox(
        [heading(title), *children],
        layout=widgets.Layout(flex=f"1 1 {width}", min_width="0", max_width="440px"),
    )


def row(*children: widgets.Widget) -> widgets.HBox:
    """Widgets beside each other, in several lines where there is no room."""
    layout = widgets.Layout(flex_flow="row wrap", align_items="flex-start", grid_gap="4px 28px")
    return widgets.HBox(children, layout=layout)


class Panel:
    """What is shown in a notebook as its `widget`."""

    widget: widgets.Widget
    title: str
    _shown_by: int | None = None

    def show(self) -> None:
        """Show it below the cell that runs."""
        from IPython.display import display

        self._shown_by = _cell()
        display(self.widget)

    def _ipython_display_(self) -> None:
        # The value of a cell that ends with `signal.n2a.gui()` is on the page already.
        if self._shown_by is None or self._shown_by != _cell():
            self.show()


def _cell() -> int | None:
    """Number of the cell that runs; None outside of a notebook."""
    from IPython import get_ipython

    shell = get_ipython()
    return None if shell is None else shell.execution_count


class Status:
    """One line in words: what is going on, or what went wrong."""

    def __init__(self):
        self.widget = widgets.HTML(layout=widgets.Layout(min_height="2em", width="100%"))
        self.text = ""

    def tell(self, text: str) -> None:
        """Say what is going on, or has been done."""
        self._show(text, "inherit", "")

    def warn(self, text: str) -> None:
        """Say what the user should know of, although it goes on."""
        self._show(text, "inherit", "\N{WARNING SIGN} ")

    def fail(self, error: Exception) -> None:
        """Say what went wrong."""
        self._show(in_words(error), "var(--jp-error-color1, #d32f2f)", "\N{WARNING SIGN} ")

    def _show(self, text: str, colour: str, sign: str) -> None:
        self.text = text
        self.widget.value = (
            f"<div role='status' style='color: {colour}; line-height: 1.5; overflow-wrap: anywhere'>"
            f"{sign}{html.escape(text)}</div>"
        )


class Bar:
    """Progress bar with the time that is left; it is moved at most five times in a second."""

    def __init__(self):
        self._bar = widgets.FloatProgress(min=0, max=1, layout=widgets.Layout(flex="1 1 120px"))
        self._text = widgets.Label()
        self.widget = widgets.HBox(
            [self._bar, self._text], layout=widgets.Layout(visibility="hidden", width="100%")
        )
        self._began = self._due = 0.0

    def start(self, text: str = "") -> None:
        """Show it, empty."""
        self._began, self._due = time.monotonic(), 0.0
        self._bar.value, self._text.value = 0.0, text
        self._bar.bar_style = ""
        self.widget.layout.visibility = "visible"

    def move(self, done: float, text: str) -> None:
        """Show a share from 0 to 1, and what it is the share of."""
        now = time.monotonic()
        if now < self._due and done < 1:
            return
        self._due = now + 0.2
        left = (now - self._began) * (1 - done) / done if done > 0 else 0
        self._bar.value = done
        self._text.value = f"{text}, {duration(left)} left" if 0 < done < 1 else text

    def hide(self) -> None:
        """Take it away; its place stays."""
        self.widget.layout.visibility = "hidden"


class ModelChoice:
    """Weights in the box, models that the notebook has, or a file.

    Parameters
    ----------
    label
        What it says before the choice.
    model
        One to begin with: anything that :func:`n2a.get_model` takes.
    """

    def __init__(self, label: str, model: Noise2Atom | str | Path | None = None):
        self.changed: Callable[[], None] = lambda: None
        self._models: dict[str, Noise2Atom | str | Path] = {
            f"{IN_THE_BOX}: {name}" if len(BOX) > 1 else IN_THE_BOX: name for name in BOX
        }
        self._menu = widgets.Dropdown(
            options=[*self._models, FILE], description=label, style=LABEL,
            layout=widgets.Layout(width="auto"),
        )  # fmt: skip
        self._file = widgets.Combobox(
            placeholder="path of a .n2a file",
            description="File",
            options=sorted(str(path) for path in Path().glob("*.n2a")),
            continuous_update=False,
            style=LABEL,
            layout=widgets.Layout(width="auto", display="none"),
        )
        self.widget = widgets.VBox([self._menu, self._file])
        self._menu.observe(self._chosen, "value")
        if model is not None and model not in BOX:
            self.add(model.name if isinstance(model, Noise2Atom) else str(model), model)
            self._menu.value = self._menu.options[-2]
        self._file.observe(lambda change: self.changed(), "value")

    @property
    def value(self) -> Noise2Atom | str | Path:
        """What is chosen, for :func:`n2a.get_model`."""
        if self._menu.value != FILE:
            return self._models[self._menu.value]
        if not self._file.value.strip():
            raise ValueError("Give the path of a .n2a file.")
        return str(Path(self._file.value.strip()).expanduser())

    def add(self, name: str, model: Noise2Atom | str | Path) -> str:
        """Add a model, and return its name: with a number where the name is taken."""
        number = 1
        while (unique := name if number == 1 else f"{name} ({number})") in (*self._models, FILE):
            number += 1
        self._models[unique] = model
        chosen = self._menu.value
        # New options choose the first of them: nobody has chosen that.
        self._menu.unobserve(self._chosen, "value")
        self._menu.options = [*self._models, FILE]
        self._menu.value = chosen
        self._menu.observe(self._chosen, "value")
        return unique

    def enable(self, enabled: bool) -> None:
        """Whether it can be changed."""
        self._menu.disabled = self._file.disabled = not enabled

    def _chosen(self, change) -> None:
        self._file.layout.display = None if change["new"] == FILE else "none"
        self.changed()


class SaveBox:
    """Name of a file, whether to replace it, and the button that writes it.

    Parameters
    ----------
    name
        To begin with.
    suffixes
        That are allowed, the default first.
    save
        Called with the path, when it may be written.
    failed
        Called with what is wrong with the path.
    """

    def __init__(
        self,
        name: str,
        suffixes: Sequence[str],
        save: Callable[[Path], None],
        failed: Callable[[Exception], None],
    ):
        self.name = widgets.Text(
            name, description="File", style=LABEL, layout=widgets.Layout(width="auto")
        )
        self.replace = checkbox("replace an existing file")
        self.button = widgets.Button(description="Save", icon="save", disabled=True)
        self.button.layout.width = "auto"
        self.widget = group(
            self.name, widgets.HBox([self.button, self.replace], layout={"grid_gap": "12px"}),
            title="Keep",
        )  # fmt: skip

        def clicked(_):
            try:
                path = saving.target(self.name.value, tuple(suffixes), self.replace.value)
            except (OSError, ValueError) as error:
                failed(error)
            else:
                save(path)

        self.button.on_click(clicked)


def checkbox(text: str, margin: str = "2px") -> widgets.Checkbox:
    """A box to tick, as wide as its text."""
    layout = widgets.Layout(width="auto", margin=margin)
    return widgets.Checkbox(False, description=text, indent=False, layout=layout)


def button(text: str, icon: str, action: Callable[[], None], style: str = "") -> widgets.Button:
    """A button as wide as its text."""
    made = widgets.Button(
        description=text, icon=icon, button_style=style, layout=widgets.Layout(width="auto")
    )
    made.on_click(lambda _: action())
    return made
