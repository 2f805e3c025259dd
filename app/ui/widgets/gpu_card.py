"""The graphics card: what it is used for, and its package, installed from a file or removed."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLineEdit

from app.ui.models.gpu import GpuState
from app.ui.text import Tone
from app.ui.widgets.card import Card, row_of
from app.ui.widgets.labels import Button, IconLabel, label, show_text
from app.ui.widgets.progress_strip import ProgressStrip

_SIGNS = {
    Tone.GOOD: "check",
    Tone.WARNING: "warning",
    Tone.DANGER: "problem",
    Tone.INFO: "info",
    Tone.NEUTRAL: "info",
}


class GpuCard(Card):
    """Draws a `GpuState`."""

    file_wished = Signal(str)
    """A package file shall be chosen; carries the sum that was typed, or nothing."""
    stop_wished = Signal()
    remove_wished = Signal()

    def __init__(self) -> None:
        super().__init__("GPU package")
        self._sentence = label("")
        self._detail = label("", "muted", selectable=True)
        self.body.addWidget(self._sentence)
        self.body.addWidget(self._detail)
        self.sum = QLineEdit()
        self.sum.setPlaceholderText("Sum of the file (SHA-256), if IT gave you one")
        self.sum.setAccessibleName("SHA-256 sum of the package file, may stay empty")
        self.sum.setMaxLength(80)
        self.install = Button(
            "Install from a file…",
            "folder_open",
            hint="From a USB stick or a share of the hospital; nothing is downloaded",
            clicked=lambda: self.file_wished.emit(self.sum.text().strip()),
        )
        self.remove = Button(
            "Remove the package",
            hint="Go back to computing on the processor",
            clicked=self.remove_wished.emit,
        )
        self.body.addLayout(row_of(self.install, self.sum))
        self.body.addLayout(row_of(self.remove, None))
        self.progress = ProgressStrip()
        self.progress.stopped.connect(lambda _kind: self.stop_wished.emit())
        self.body.addWidget(self.progress)
        self._sign = IconLabel(size=16)
        self._result = label("", selectable=True)
        line = row_of(self._sign)
        line.addWidget(self._result, 1)
        self.body.addLayout(line)
        self.draw(GpuState(sentence=""))

    def draw(self, state: GpuState) -> None:
        """Show a state."""
        show_text(self._sentence, state.sentence)
        show_text(self._detail, state.detail)
        idle = state.running is None
        self.install.setVisible(state.can_install and idle)
        self.sum.setVisible(state.can_install and idle)
        self.remove.setVisible(state.can_remove and idle)
        self.progress.show_progress(state.running)
        show_text(self._result, state.result if idle else "")
        self._sign.setVisible(bool(state.result) and idle)
        self._sign.show_icon(_SIGNS[state.result_tone], state.result_tone)
