"""A running job: a sentence, a bar, Stop."""

from __future__ import annotations

from typing import Protocol

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from app.ui.theme import GRID
from app.ui.widgets.labels import Button, label

_RESOLUTION = 1000


class Running(Protocol):
    """What the strip shows."""

    @property
    def sentence(self) -> str: ...
    @property
    def share(self) -> float | None: ...
    @property
    def stops(self) -> str: ...


class ProgressStrip(QWidget):
    """Hidden while nothing runs."""

    stopped = Signal(str)
    """The operator pressed Stop; carries the kind of the job."""

    def __init__(self) -> None:
        super().__init__()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2 * GRID)
        column = QVBoxLayout()
        column.setSpacing(GRID // 2)
        self._sentence = label()
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        column.addWidget(self._sentence)
        column.addWidget(self._bar)
        layout.addLayout(column, 1)
        self._kind = ""
        self._stop = Button("Stop", "stop", hint="Stop; finished work is kept")
        self._stop.clicked.connect(lambda: self.stopped.emit(self._kind))
        layout.addWidget(self._stop)
        self.hide()

    def show_progress(self, running: Running | None) -> None:
        """Show a running job, or hide."""
        self.setVisible(running is not None)
        if running is None:
            return
        self._kind = running.stops
        self._stop.setVisible(bool(running.stops))
        self._sentence.setText(running.sentence)
        self._bar.setAccessibleName(running.sentence)
        show_share(self._bar, running.share)


def show_share(bar: QProgressBar, share: float | None) -> None:
    """Set a bar to a share of 0..1; None moves without an end."""
    if share is None:
        bar.setRange(0, 0)
        return
    bar.setRange(0, _RESOLUTION)
    bar.setValue(round(share * _RESOLUTION))


def bar(name: str) -> QProgressBar:
    """Return a thin bar without text."""
    made = QProgressBar()
    made.setTextVisible(False)
    made.setAccessibleName(name)
    show_share(made, 0.0)
    return made
