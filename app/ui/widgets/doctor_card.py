"""The connection doctor's findings, layer by layer, and the ticket for hospital IT."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QGridLayout, QLabel

from app.ui.models.doctor import DoctorLine, DoctorState
from app.ui.theme import GRID
from app.ui.widgets.card import Card
from app.ui.widgets.labels import Button, IconLabel, label, show_text


class DoctorCard(Card):
    """Draws a `DoctorState`."""

    run_wished = Signal()
    ticket_copied = Signal()

    def __init__(self) -> None:
        super().__init__("Connection test")
        self._ticket = ""
        self._copy = Button(
            "Copy the ticket for IT",
            "copy",
            hint="What was found, as a text for the IT department; it holds no secrets",
            clicked=self._copy_ticket,
        )
        self._run = Button("Check the connection", "refresh", clicked=self.run_wished.emit)
        self.tools.addWidget(self._copy)
        self.tools.addWidget(self._run)
        self._hint = label("", "muted")
        self.body.addWidget(self._hint)
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(2 * GRID)
        self._grid.setVerticalSpacing(GRID)
        self._grid.setColumnStretch(2, 1)
        self.body.addLayout(self._grid)
        self._lines: list[tuple[IconLabel, QLabel, QLabel]] = []

    def draw(self, state: DoctorState) -> None:
        """Show what was found."""
        self._ticket = state.ticket
        show_text(self._hint, state.hint)
        self._copy.setVisible(bool(state.ticket))
        self._run.setEnabled(state.can_run)
        while len(self._lines) < len(state.lines):
            row = len(self._lines)
            icon, step, said = IconLabel(size=16), label("", wraps=False), label(selectable=True)
            top = Qt.AlignmentFlag.AlignTop
            self._grid.addWidget(icon, row, 0, top)
            self._grid.addWidget(step, row, 1, top)
            self._grid.addWidget(said, row, 2, top)
            self._lines.append((icon, step, said))
        for number, parts in enumerate(self._lines):
            there = number < len(state.lines)
            for part in parts:
                part.setVisible(there)
            if there:
                _fill(parts, state.lines[number])

    def _copy_ticket(self) -> None:
        QGuiApplication.clipboard().setText(self._ticket)
        self.ticket_copied.emit()


def _fill(parts: tuple[IconLabel, QLabel, QLabel], line: DoctorLine) -> None:
    icon, step, said = parts
    icon.show_icon(line.icon, line.tone)
    step.setText(line.step)
    said.setText(line.said)
    said.setAccessibleName(f"{line.step}, {line.state}: {line.sentence}")
