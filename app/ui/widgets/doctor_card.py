"""The connection doctor's findings, layer by layer, and the ticket for hospital IT."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication

from app.ui.models.doctor import DoctorState
from app.ui.widgets.card import Card
from app.ui.widgets.check_lines import CheckLines
from app.ui.widgets.labels import Button, label, show_text


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
        self.lines = CheckLines()
        self.body.addWidget(self.lines)

    def draw(self, state: DoctorState) -> None:
        """Show what was found."""
        self._ticket = state.ticket
        show_text(self._hint, state.hint)
        self._copy.setVisible(bool(state.ticket))
        self._run.setEnabled(state.can_run)
        self.lines.draw(state.lines)

    def _copy_ticket(self) -> None:
        QGuiApplication.clipboard().setText(self._ticket)
        self.ticket_copied.emit()
