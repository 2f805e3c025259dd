"""Mouse and wheel events for one pane of the slice viewer, sent as Qt sends them."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QMouseEvent, QWheelEvent
from PySide6.QtWidgets import QApplication, QWidget

LEFT, RIGHT, MIDDLE = (
    Qt.MouseButton.LeftButton,
    Qt.MouseButton.RightButton,
    Qt.MouseButton.MiddleButton,
)
PLAIN = Qt.KeyboardModifier.NoModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
CONTROL = Qt.KeyboardModifier.ControlModifier


def mouse(pane: QWidget, kind: QEvent.Type, button, at: QPointF, modifiers=PLAIN) -> None:
    held = Qt.MouseButton.NoButton if kind is QEvent.Type.MouseButtonRelease else button
    event = QMouseEvent(kind, at, QPointF(pane.mapToGlobal(at.toPoint())), button, held, modifiers)
    QApplication.sendEvent(pane, event)


def drag(pane: QWidget, button, start: QPointF, *moves: QPointF, modifiers=PLAIN) -> None:
    """Press at `start`, move to each place, release at the last."""
    mouse(pane, QEvent.Type.MouseButtonPress, button, start, modifiers)
    for place in moves:
        mouse(pane, QEvent.Type.MouseMove, button, place, modifiers)
    mouse(pane, QEvent.Type.MouseButtonRelease, button, moves[-1] if moves else start, modifiers)


def wheel(pane: QWidget, turn: int, modifiers=PLAIN, at: QPointF | None = None) -> None:
    at = QPointF(pane.width() / 2, pane.height() / 2) if at is None else at
    event = QWheelEvent(
        at, QPointF(pane.mapToGlobal(at.toPoint())), QPoint(), QPoint(0, turn),
        Qt.MouseButton.NoButton, modifiers, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(pane, event)
