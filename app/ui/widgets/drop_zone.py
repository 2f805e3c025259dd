"""A place to drop one folder or file on; the button beside it does the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QMimeData, Signal
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtWidgets import QFrame

from app.ui.widgets.labels import restyle


def dropped_path(data: QMimeData, accepts: Callable[[Path], bool]) -> Path | None:
    """Return the one local path of a drag that `accepts` likes, else None."""
    urls = data.urls()
    if len(urls) != 1 or not urls[0].isLocalFile():
        return None
    path = Path(urls[0].toLocalFile())
    return path if accepts(path) else None


class DropZone(QFrame):
    """A frame that takes one folder or file."""

    path_dropped = Signal(str)

    def __init__(self, accepts: Callable[[Path], bool], *, framed: bool = True) -> None:
        super().__init__()
        self._accepts = accepts
        self.setAcceptDrops(True)
        self.setProperty("drop", "true" if framed else "false")
        self.setProperty("over", "false")

    def _mark(self, *, over: bool) -> None:
        self.setProperty("over", "true" if over else "false")
        restyle(self)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if dropped_path(event.mimeData(), self._accepts) is not None:
            self._mark(over=True)
            event.acceptProposedAction()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self._mark(over=False)
        event.accept()

    def dropEvent(self, event: QDropEvent) -> None:
        self._mark(over=False)
        path = dropped_path(event.mimeData(), self._accepts)
        if path is not None:
            event.acceptProposedAction()
            self.path_dropped.emit(str(path))
