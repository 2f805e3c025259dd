"""Small windows beside the main one: a case in three planes, and the sheet of keys."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QGridLayout, QVBoxLayout, QWidget

from app.ui.theme import GRID
from app.ui.widgets.card import Card, scrolling
from app.ui.widgets.case_viewer import CaseViewer
from app.ui.widgets.labels import Button, label


class CaseWindow(QDialog):
    """One case of the folder; stays open beside the main window."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Window)
        self.resize(960, 720)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(GRID, GRID, GRID, GRID)
        self.viewer = CaseViewer()
        layout.addWidget(self.viewer)

    def begin(self, case: str) -> None:
        """Come to the front, waiting for a case."""
        self.setWindowTitle(case)
        self.viewer.show_sentence(f"Reading {case}…")
        self.show()
        self.raise_()


class ChoiceDialog(QDialog):
    """Several ways to do something, each with what it costs; the first is the safe one."""

    def __init__(
        self,
        parent: QWidget,
        title: str,
        options: Sequence[tuple[str, str, str]],
        *,
        hint: str = "",
        decline: str = "Cancel",
    ) -> None:
        """Make the dialog; `options` are keys, what the buttons say, and the costs."""
        super().__init__(parent)
        self.setWindowTitle(title)
        self.chosen = ""
        self.setMinimumWidth(460)
        layout = QVBoxLayout(self)
        layout.setSpacing(2 * GRID)
        layout.setContentsMargins(3 * GRID, 3 * GRID, 3 * GRID, 2 * GRID)
        layout.addWidget(label(title, "heading"))
        self.buttons: dict[str, Button] = {}
        for number, (key, text, cost) in enumerate(options):
            button = Button(text, primary=number == 0, clicked=partial(self._choose, key))
            button.setAccessibleDescription(cost)
            self.buttons[key] = button
            part = QVBoxLayout()
            part.setSpacing(GRID // 2)
            part.addWidget(button)
            part.addWidget(label(cost, "caption"))
            layout.addLayout(part)
        if hint:
            layout.addWidget(label(hint, "muted"))
        leave = QDialogButtonBox()
        leave.addButton(decline, QDialogButtonBox.ButtonRole.RejectRole)
        leave.rejected.connect(self.reject)
        layout.addWidget(leave)

    def _choose(self, key: str) -> None:
        self.chosen = key
        self.accept()


class KeySheet(QDialog):
    """Every key, by page."""

    def __init__(
        self, parent: QWidget, groups: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys")
        layout = QVBoxLayout(self)
        layout.setSpacing(2 * GRID)
        content = QWidget()
        content.setObjectName("page")
        column = QVBoxLayout(content)
        for title, keys in groups:
            card = Card(title)
            grid = QGridLayout()
            grid.setColumnStretch(1, 1)
            grid.setHorizontalSpacing(3 * GRID)
            for row, (key, text) in enumerate(keys):
                grid.addWidget(label(_native(key), "words", wraps=False), row, 0)
                grid.addWidget(label(text), row, 1)
            card.body.addLayout(grid)
            column.addWidget(card)
        layout.addWidget(scrolling(content))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)
        self.resize(560, 640)


def _native(keys: str) -> str:
    """Write keys as this platform does; what is no key, such as "Left button", stays as it is."""
    written = (
        QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText) or key
        for key in keys.split(" / ")
    )
    return " / ".join(written)
