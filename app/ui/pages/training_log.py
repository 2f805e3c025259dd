"""The log of the training: line by line, narrowed by words or to what went wrong."""

from __future__ import annotations

from PySide6.QtGui import QFontDatabase
from PySide6.QtWidgets import QCheckBox, QPlainTextEdit, QVBoxLayout, QWidget

from app.control.messages import LogLine
from app.ui.presenters.training import log_entries, narrowed
from app.ui.theme import GRID
from app.ui.widgets.card import row_of
from app.ui.widgets.filter_field import filter_field


class TrainingLog(QWidget):
    """Shows lines as the service has them."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, GRID, 0, 0)
        layout.setSpacing(GRID)
        self.words = filter_field("Filter the log by words", "Filter the log by words")
        self.words.textChanged.connect(self._draw)
        self.troubles = QCheckBox("Warnings and errors only")
        self.troubles.toggled.connect(self._draw)
        layout.addLayout(row_of(self.words, self.troubles, spacing=2 * GRID))
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setAccessibleName("Log of the training")
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.text.setPlaceholderText("What the training reports is listed here, line by line.")
        layout.addWidget(self.text, 1)
        self._lines: tuple[LogLine, ...] = ()

    def draw(self, lines: tuple[LogLine, ...]) -> None:
        """Show these lines; whoever reads further up keeps their place."""
        if lines != self._lines:
            self._lines = lines
            self._draw()

    def _draw(self, *_what: object) -> None:
        entries = narrowed(
            log_entries(self._lines), self.words.text(), troubles=self.troubles.isChecked()
        )
        shown = "\n".join(entry.text for entry in entries)
        before = self.text.toPlainText()
        if shown == before:
            return
        scroll = self.text.verticalScrollBar()
        at_end = scroll.value() >= scroll.maximum() - 4
        place = scroll.value()
        if before and shown.startswith(f"{before}\n"):
            self.text.appendPlainText(shown[len(before) + 1 :])
        else:
            self.text.setPlainText(shown)
        scroll.setValue(scroll.maximum() if at_end else place)
