"""A drawn mouse: which button does what, as a profile's table says."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton, QSizePolicy

from app.ui import theme
from app.ui.theme import GRID
from app.ui.widgets.viewer_keys import BUTTONS, MouseProfile, Tool

SHORT: Final = {
    Tool.CROSSHAIR: "Crosshair",
    Tool.WINDOW: "Brightness and contrast",
    Tool.PAN: "Move the image",
    Tool.ZOOM: "Zoom",
}
"""What a drag does, in words that fit beside the drawing."""
_WHEEL: Final = "Next slice; with Shift five, with Ctrl zoom"
_MOUSE: Final = QSize(64, 98)
_BUTTONS_HEIGHT: Final = 0.46
"""Share of the mouse that its buttons take."""


def _use(plain: Tool, shifted: Tool) -> str:
    """Say what dragging a button does, plain and with Shift."""
    if shifted is plain:
        return SHORT[plain]
    return f"{SHORT[plain]}; with Shift {SHORT[shifted].lower()}"


class MouseChoice(QAbstractButton):
    """One profile as a drawing to choose; the numbers on the mouse are explained beside it."""

    chosen = Signal(object)
    """Carries the `MouseProfile`."""

    def __init__(self, profile: MouseProfile) -> None:
        super().__init__()
        self.profile = profile
        self.setCheckable(True)
        self.setAutoExclusive(True)
        self.setText(profile.value)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)  # painted anew on entering and leaving
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleDescription("; ".join(f"{name}: {what}" for name, what in self.lines()))
        self.toggled.connect(lambda on: self.chosen.emit(profile) if on else None)

    def lines(self) -> tuple[tuple[str, str], ...]:
        """Return (which part of the mouse, what it does), in the order of the numbers."""
        uses = {button: _use(*pair) for button, pair in BUTTONS[self.profile].items()}
        return (
            ("Left button, dragged", uses[Qt.MouseButton.LeftButton]),
            ("Wheel, turned", _WHEEL),
            ("Wheel, dragged", uses[Qt.MouseButton.MiddleButton]),
            ("Right button, dragged", uses[Qt.MouseButton.RightButton]),
        )

    def sizeHint(self) -> QSize:
        height = self.fontMetrics().height()
        words = 4 * (2 * height + GRID // 2)
        return QSize(300, height + max(_MOUSE.height(), words) + 4 * GRID)

    def minimumSizeHint(self) -> QSize:
        return QSize(250, self.sizeHint().height())

    def paintEvent(self, _event: QPaintEvent) -> None:
        colours = theme.colours()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        frame = QRectF(self.rect()).adjusted(1.5, 1.5, -1.5, -1.5)
        edge = colours.accent if self.isChecked() or self.hasFocus() else colours.line
        painter.setPen(QPen(QColor(edge), 3 if self.hasFocus() else 2 if self.isChecked() else 1))
        lit = colours.selected if self.isChecked() else colours.surface
        painter.setBrush(
            QColor(colours.hover if self.underMouse() and not self.isChecked() else lit)
        )
        painter.drawRoundedRect(frame, 10, 10)
        bold = QFont(self.font())
        bold.setWeight(QFont.Weight.DemiBold)
        painter.setFont(bold)
        painter.setPen(QColor(colours.text))
        left, top = 2.0 * GRID, 1.5 * GRID
        height = self.fontMetrics().height()
        painter.drawText(QPointF(left, top + self.fontMetrics().ascent()), self.text())
        if self.isChecked():
            tick = theme.pixmap("check", colours.accent, 18)
            painter.drawPixmap(round(self.width() - left - 18), round(top), tick)
        body = QRectF(left, top + height + GRID, _MOUSE.width(), _MOUSE.height())
        self._draw_mouse(painter, body)
        self._write(painter, QRectF(body.right() + 2 * GRID, body.top(), 0, 0))

    def _draw_mouse(self, painter: QPainter, body: QRectF) -> None:
        colours = theme.colours()
        outline = QPainterPath()
        outline.addRoundedRect(body, body.width() / 2, body.width() / 2)
        split = body.top() + body.height() * _BUTTONS_HEIGHT
        painter.setPen(QPen(QColor(colours.edge), 1.5))
        painter.setBrush(QColor(colours.field))
        painter.drawPath(outline)
        painter.drawLine(QPointF(body.left(), split), QPointF(body.right(), split))
        middle = body.center().x()
        painter.drawLine(QPointF(middle, body.top()), QPointF(middle, split))
        wheel = QRectF(middle - 6, body.top() + 12, 12, 24)
        painter.setBrush(QColor(colours.accent))
        painter.drawRoundedRect(wheel, 6, 6)
        small = QFont(self.font())
        small.setPixelSize(13)
        small.setWeight(QFont.Weight.DemiBold)
        painter.setFont(small)
        painter.setPen(QColor(colours.text))
        centre = Qt.AlignmentFlag.AlignCenter
        side = body.width() / 2 - 6
        painter.drawText(
            QRectF(body.left() + 1, body.top() + 6, side, split - body.top()), centre, "1"
        )
        painter.drawText(QRectF(middle + 5, body.top() + 6, side, split - body.top()), centre, "4")
        painter.setPen(QColor(colours.on_accent))
        painter.drawText(wheel, centre, "2")
        painter.setPen(QColor(colours.muted))
        # The wheel has two uses; the second number stands below it.
        painter.drawText(QRectF(middle - 12, wheel.bottom() + 10, 24, 16), centre, "3")

    def _write(self, painter: QPainter, at: QRectF) -> None:
        colours = theme.colours()
        width = self.width() - at.left() - GRID
        height = self.fontMetrics().height()
        top = at.top()
        caption = QFont(self.font())
        caption.setPointSizeF(caption.pointSizeF() * 0.9)
        start = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        for number, (part, what) in enumerate(self.lines(), start=1):
            painter.setFont(caption)
            painter.setPen(QColor(colours.muted))
            name = QRectF(at.left(), top, width, height)
            painter.drawText(name, start, f"{number}  {part}")
            painter.setFont(self.font())
            painter.setPen(QColor(colours.text))
            painter.drawText(name.translated(0, height), start, what)
            top += 2 * height + GRID // 2
