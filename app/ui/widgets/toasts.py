"""Messages in passing, stacked in the lower right corner of the window."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QEvent, QObject, Qt, QTimer
from PySide6.QtGui import QAccessible, QAccessibleEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from app.ui.messages import Message
from app.ui.text import Tone
from app.ui.theme import GRID
from app.ui.widgets.labels import IconButton, IconLabel, label

_SHOWN_MS: Final = 7000
_MOST: Final = 4
_ICONS: Final = {
    Tone.NEUTRAL: "info",
    Tone.INFO: "info",
    Tone.GOOD: "check",
    Tone.WARNING: "warning",
    Tone.DANGER: "problem",
}


class Toast(QFrame):
    """One message; those that need somebody stay until they are closed."""

    def __init__(self, message: Message, parent: QWidget) -> None:
        super().__init__(parent)
        self.message = message
        self.setProperty("toast", "true")
        self.setProperty("tone", message.tone.value)
        self.setAccessibleName(f"{message.sentence} {message.remedy}".strip())
        layout = QHBoxLayout(self)
        layout.setContentsMargins(2 * GRID, GRID, GRID, GRID)
        layout.setSpacing(GRID)
        layout.addWidget(
            IconLabel(_ICONS[message.tone], message.tone), 0, Qt.AlignmentFlag.AlignTop
        )
        column = QVBoxLayout()
        column.setSpacing(2)
        column.addWidget(label(message.sentence, selectable=True))
        if message.remedy:
            column.addWidget(label(message.remedy, "caption", selectable=True))
        layout.addLayout(column, 1)
        layout.addWidget(
            IconButton("close", "Close this message", clicked=self.dismiss),
            0,
            Qt.AlignmentFlag.AlignTop,
        )
        if message.tone in (Tone.GOOD, Tone.INFO, Tone.NEUTRAL):
            QTimer.singleShot(_SHOWN_MS, self, self.dismiss)

    def dismiss(self) -> None:
        """Take the message away."""
        self.hide()
        self.setParent(None)
        self.deleteLater()


class ToastStack(QWidget):
    """Lies over a window and moves with its size; clicks beside the messages pass through."""

    WIDTH: Final = 420

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(GRID)
        window.installEventFilter(self)
        self.hide()

    def tell(self, message: Message) -> None:
        """Show a message; one that is on screen already is not shown twice."""
        if any(toast.message == message for toast in self.toasts()):
            return
        toasts = self.toasts()
        for toast in toasts[: max(0, len(toasts) - _MOST + 1)]:
            toast.dismiss()
        toast = Toast(message, self)
        toast.destroyed.connect(self._place)
        self._layout.addWidget(toast)
        toast.show()
        self._place()
        QAccessible.updateAccessibility(QAccessibleEvent(toast, QAccessible.Event.Alert))

    def toasts(self) -> list[Toast]:
        """Return the messages on screen, oldest first."""
        found = (self._layout.itemAt(number) for number in range(self._layout.count()))
        return [w for item in found if item is not None and isinstance(w := item.widget(), Toast)]

    def _place(self) -> None:
        if not self.toasts():
            self.hide()
            return
        height = self._layout.heightForWidth(self.WIDTH)
        height = height if height > 0 else self._layout.sizeHint().height()
        area = self._window.rect()
        self.setGeometry(
            area.right() - self.WIDTH - 2 * GRID,
            area.bottom() - height - 6 * GRID,
            self.WIDTH,
            height,
        )
        self.show()
        self.raise_()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() is QEvent.Type.Resize:
            self._place()
        return super().eventFilter(watched, event)
