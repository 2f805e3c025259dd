"""Cards and what stands in them: a frame with a heading, and lines of name and value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from app.ui.theme import GRID
from app.ui.widgets.labels import label


class NamedValue(Protocol):
    """A line of a `FactGrid`."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def hint(self) -> str: ...


class Card(QFrame):
    """A frame with a heading; put widgets into `body`, small buttons into `tools`."""

    def __init__(self, heading: str = "", hint: str = "") -> None:
        super().__init__()
        self.setProperty("card", "true")
        outer = QVBoxLayout(self)
        outer.setContentsMargins(2 * GRID, 2 * GRID, 2 * GRID, 2 * GRID)
        outer.setSpacing(GRID)
        self.heading = label(heading, "heading", wraps=False)
        self.hint = label(hint, "caption")
        self.tools = QHBoxLayout()
        self.tools.setSpacing(GRID)
        if heading:
            top = QHBoxLayout()
            top.setSpacing(GRID)
            top.addWidget(self.heading)
            top.addStretch(1)
            top.addLayout(self.tools)
            outer.addLayout(top)
            self.setAccessibleName(heading)
        if hint:
            outer.addWidget(self.hint)
        self.body = QVBoxLayout()
        self.body.setSpacing(GRID)
        outer.addLayout(self.body, 1)

    def keep_low(self) -> None:
        """Take no more height than needed; for cards above something that stretches."""
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)


class FactGrid(QWidget):
    """Names on the left, values on the right; values can be selected and copied."""

    def __init__(self, facts: Iterable[NamedValue] = ()) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(2 * GRID)
        self._grid.setVerticalSpacing(GRID // 2)
        self._grid.setColumnStretch(1, 1)
        self._shown: tuple[NamedValue, ...] = ()
        self._lines: list[tuple[QLabel, QLabel]] = []
        self.show_facts(facts)

    def show_facts(self, facts: Iterable[NamedValue]) -> None:
        """Show these lines and no others."""
        wanted = tuple(facts)
        if wanted == self._shown:
            return
        self._shown = wanted
        while len(self._lines) < len(wanted):
            name = label("", "muted", wraps=False)
            name.setAlignment(Qt.AlignmentFlag.AlignTop)
            value = label("", selectable=True)
            value.setAlignment(Qt.AlignmentFlag.AlignTop)
            value.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
            row = len(self._lines)
            self._grid.addWidget(name, row, 0)
            self._grid.addWidget(value, row, 1)
            self._lines.append((name, value))
        for number, (name, value) in enumerate(self._lines):
            there = number < len(wanted)
            name.setVisible(there)
            value.setVisible(there)
            if there:
                name.setText(wanted[number].name)
                value.setText(wanted[number].value)
                value.setToolTip(wanted[number].hint)
                value.setAccessibleName(f"{wanted[number].name}: {wanted[number].value}")


def page_layout(page: QWidget, title: str, purpose: str) -> QVBoxLayout:
    """Give `page` its margins, title and purpose and return the layout of its content."""
    page.setObjectName("page")
    page.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
    layout = QVBoxLayout(page)
    layout.setContentsMargins(3 * GRID, 2 * GRID, 3 * GRID, 2 * GRID)
    layout.setSpacing(2 * GRID)
    head = QVBoxLayout()
    head.setSpacing(2)
    head.addWidget(label(title, "title", wraps=False))
    head.addWidget(label(purpose, "muted"))
    layout.addLayout(head)
    return layout


def scrolling(content: QWidget) -> QScrollArea:
    """Return `content` in an area that scrolls down when the window is too low for it.

    Cheapest before `content` is filled: an area measures what it is given, and so styles all of it,
    which is then done again whenever a parent of it gets a parent.
    """
    area = QScrollArea()
    area.setWidget(content)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return area


def row_of(*widgets: QWidget | None, spacing: int = GRID) -> QHBoxLayout:
    """Return a row; None is the stretch."""
    layout = QHBoxLayout()
    layout.setSpacing(spacing)
    for widget in widgets:
        if widget is None:
            layout.addStretch(1)
        else:
            layout.addWidget(widget)
    return layout


def clear(layout: QLayout) -> None:
    """Remove and delete every widget of a layout."""
    while (item := layout.takeAt(0)) is not None:
        widget = item.widget()
        if widget is not None:
            widget.hide()
            widget.deleteLater()
