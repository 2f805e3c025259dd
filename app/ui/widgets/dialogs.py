"""Small windows beside the main one: a case in three planes, and the sheet of keys."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QGridLayout, QVBoxLayout, QWidget

from app.ui.actions import SHORTCUTS, Action, described
from app.ui.theme import GRID
from app.ui.widgets.card import Card, row_of, scrolling
from app.ui.widgets.case_viewer import CaseViewer
from app.ui.widgets.labels import Button, IconButton, label

Voxel = tuple[int, int, int]


class CaseWindow(QDialog):
    """One case of the folder, with keys to step through it; stays open beside the main window."""

    step_wished = Signal(int)
    """The next (1) or previous (-1) case of the folder."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Window)
        self.resize(960, 720)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(GRID, GRID, GRID, GRID)
        self.viewer = CaseViewer()
        layout.addWidget(self.viewer, 1)
        self._parts: tuple[tuple[Voxel, str], ...] = ()
        self._part = -1
        self._opened_at: Voxel | None = None
        self.words = label("", "caption", wraps=False)
        self._tools: list[IconButton] = []
        line = row_of(self.words, None)
        for icon, action, wish in (
            ("previous", Action.PREVIOUS_PART, lambda: self._go_part(-1)),
            ("next", Action.NEXT_PART, lambda: self._go_part(1)),
            ("whole", Action.LARGEST_SLICE, self._go_back),
        ):
            button = IconButton(icon, described(action), clicked=wish)
            line.addWidget(button)
            self._tools.append(button)
        for text, action, way in (
            ("Previous case", Action.PREVIOUS_OF_FOLDER, -1),
            ("Next case", Action.NEXT_OF_FOLDER, 1),
        ):
            line.addWidget(
                Button(text, hint=described(action), clicked=partial(self.step_wished.emit, way))
            )
        layout.addLayout(line)
        for action, wish in (
            (Action.NEXT_PART, lambda: self._go_part(1)),
            (Action.PREVIOUS_PART, lambda: self._go_part(-1)),
            (Action.LARGEST_SLICE, self._go_back),
            (Action.NEXT_OF_FOLDER, lambda: self.step_wished.emit(1)),
            (Action.PREVIOUS_OF_FOLDER, lambda: self.step_wished.emit(-1)),
        ):
            QShortcut(QKeySequence(SHORTCUTS[action].keys), self).activated.connect(wish)

    def begin(self, case: str) -> None:
        """Come to the front, waiting for a case."""
        self.setWindowTitle(case)
        self.viewer.show_sentence(f"Reading {case}…")
        self._opened_at = None
        self.show_parts(())
        self.show()
        self.raise_()
        self.activateWindow()

    def show_opened(self, voxel: Voxel | None) -> None:
        """Note where the case is best looked at (z, y, x), None when it has no label."""
        self._opened_at = voxel
        self._say()
        if self.viewer.view is not None:
            # Keys work at once, without a click into a pane.
            next(iter(self.viewer.view.panes.values())).setFocus()

    def show_parts(self, parts: Sequence[tuple[Voxel, str]]) -> None:
        """Step through these places (z, y, x) with what is to be said of each."""
        self._parts, self._part = tuple(parts), -1
        self._say()

    def _go_part(self, step: int) -> None:
        if self._parts and self.viewer.view is not None:
            self._part = min(max(self._part + step, 0), len(self._parts) - 1)
            self.viewer.view.go_to(self._parts[self._part][0])
            self._say()

    def _go_back(self) -> None:
        if self._opened_at is not None and self.viewer.view is not None:
            self.viewer.view.go_to(self._opened_at)

    def _say(self) -> None:
        number = len(self._parts)
        if not number:
            self.words.clear()
        elif self._part < 0:
            parts = "1 part" if number == 1 else f"{number} parts"
            self.words.setText(f"{parts} of labels, L for the largest")
        else:
            self.words.setText(self._parts[self._part][1])
        for button in self._tools[:2]:
            button.setVisible(bool(number))
        self._tools[2].setVisible(self._opened_at is not None)


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
