"""The five steps of the work, as buttons in a row that lead to their pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton, QHBoxLayout, QSizePolicy, QWidget

from app.ui import theme

_CIRCLE: Final = 28


class StepItem(Protocol):
    """One step as the row shows it."""

    @property
    def title(self) -> str: ...
    @property
    def mark(self) -> str: ...
    @property
    def detail(self) -> str: ...


class StepRow(QWidget):
    """Marks are “done”, “now”, “needs you” and “to do”; shape and word say it, not only colour."""

    step_chosen = Signal(int)

    def __init__(self, titles: Sequence[str]) -> None:
        super().__init__()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        self.buttons = [
            StepButton(number, title, last=number == len(titles) - 1)
            for number, title in enumerate(titles)
        ]
        for number, button in enumerate(self.buttons):
            layout.addWidget(button, 1)
            button.clicked.connect(lambda _checked=False, n=number: self.step_chosen.emit(n))

    def draw(self, marks: Sequence[tuple[str, str]]) -> None:
        """Show each step's mark and detail."""
        for button, (mark, detail) in zip(self.buttons, marks, strict=True):
            button.draw(mark, detail)


class StepButton(QAbstractButton):
    """One step: a circle with its number or sign, its title, its detail, a line to the next."""

    def __init__(self, number: int, title: str, *, last: bool) -> None:
        super().__init__()
        self._number, self._last = number, last
        self._mark, self._detail = "to do", ""
        self.setText(title)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAttribute(Qt.WidgetAttribute.WA_Hover)  # painted anew on entering and leaving
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.draw(self._mark, "")

    def draw(self, mark: str, detail: str) -> None:
        """Show a mark and a detail."""
        self._mark, self._detail = mark, detail
        self.setAccessibleName(f"Step {self._number + 1}, {self.text()}: {mark}. {detail}")
        self.setToolTip(f"{self.text()}: {detail}" if detail else self.text())
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(130, _CIRCLE + 2 * self.fontMetrics().height() + 24)

    def minimumSizeHint(self) -> QSize:
        return QSize(96, self.sizeHint().height())

    def paintEvent(self, _event: QPaintEvent) -> None:
        colours = theme.colours()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area = QRectF(self.rect()).adjusted(2, 2, -2, -2)
        if self.underMouse():
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(colours.hover))
            painter.drawRoundedRect(area, 8, 8)
        if self.hasFocus():
            painter.setPen(QPen(QColor(colours.accent), 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(area, 8, 8)
        middle = self.width() / 2
        circle = QRectF(middle - _CIRCLE / 2, 8, _CIRCLE, _CIRCLE)
        painter.setPen(QPen(QColor(colours.line), 2))
        line_y = circle.center().y()
        if self._number:
            painter.drawLine(0, round(line_y), round(circle.left() - 8), round(line_y))
        if not self._last:
            painter.drawLine(round(circle.right() + 8), round(line_y), self.width(), round(line_y))
        fill, edge, sign = {
            "done": (colours.good_soft, colours.good, colours.good),
            "now": (colours.accent, colours.accent, colours.on_accent),
            "needs you": (colours.danger_soft, colours.danger, colours.danger),
        }.get(self._mark, (colours.surface, colours.edge, colours.muted))
        painter.setPen(QPen(QColor(edge), 1.5))
        painter.setBrush(QColor(fill))
        painter.drawEllipse(circle)
        icon = {"done": "check", "needs you": "problem"}.get(self._mark)
        if icon is not None:
            drawing = theme.pixmap(icon, sign, 18)
            painter.drawPixmap(round(circle.left() + 5), round(circle.top() + 5), drawing)
        else:
            bold = QFont(self.font())
            bold.setWeight(QFont.Weight.DemiBold)
            painter.setFont(bold)
            painter.setPen(QColor(sign))
            painter.drawText(circle, Qt.AlignmentFlag.AlignCenter, str(self._number + 1))
        self._write(painter, circle.bottom() + 6)

    def _write(self, painter: QPainter, top: float) -> None:
        colours = theme.colours()
        font = QFont(self.font())
        font.setWeight(QFont.Weight.DemiBold if self._mark != "to do" else QFont.Weight.Normal)
        painter.setFont(font)
        painter.setPen(QColor(colours.text if self._mark != "to do" else colours.muted))
        height = self.fontMetrics().height()
        wide = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop
        painter.drawText(QRectF(4, top, self.width() - 8, height), wide, self.text())
        small = QFont(self.font())
        small.setPointSizeF(small.pointSizeF() * 0.9)
        painter.setFont(small)
        painter.setPen(QColor(colours.muted))
        detail = painter.fontMetrics().elidedText(
            self._detail, Qt.TextElideMode.ElideRight, self.width() - 12
        )
        painter.drawText(QRectF(4, top + height, self.width() - 8, height), wide, detail)
