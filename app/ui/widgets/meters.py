"""Readings of the computer: a name, a figure, and a small graph of the last minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF, QResizeEvent
from PySide6.QtWidgets import QGridLayout, QSizePolicy, QVBoxLayout, QWidget

from app.ui import theme
from app.ui.text import sentence_case
from app.ui.theme import GRID
from app.ui.widgets.labels import label, show_text

LEAST_WIDTH: Final = 210
"""Logical pixels that one reading needs."""


class Reading(Protocol):
    """What one meter shows."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def share(self) -> float | None: ...
    @property
    def history(self) -> tuple[float, ...]: ...
    @property
    def remark(self) -> str: ...


class Sparkline(QWidget):
    """A line of shares (0..1), newest right, filled below."""

    def __init__(self) -> None:
        super().__init__()
        self._history: tuple[float, ...] = ()
        self.setFixedHeight(28)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def draw(self, history: tuple[float, ...]) -> None:
        """Show these shares."""
        if history != self._history:
            self._history = history
            self.update()

    def sizeHint(self) -> QSize:
        return QSize(160, 28)

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colours = theme.colours()
        area = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colours.hover))
        painter.drawRoundedRect(area, 4, 4)
        if len(self._history) < 2:
            return
        step = area.width() / (len(self._history) - 1)
        points = [
            QPointF(
                area.left() + number * step,
                area.bottom() - min(1.0, max(0.0, value)) * (area.height() - 2),
            )
            for number, value in enumerate(self._history)
        ]
        fill = QColor(colours.accent)
        fill.setAlphaF(0.22)
        painter.setBrush(fill)
        painter.drawPolygon(QPolygonF([area.bottomLeft(), *points, area.bottomRight()]))
        painter.setPen(QPen(QColor(colours.accent), 1.2))
        painter.drawPolyline(QPolygonF(points))


class MeterGrid(QWidget):
    """All readings, as many beside each other as fit."""

    def __init__(self) -> None:
        super().__init__()
        self._layout = QGridLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setHorizontalSpacing(3 * GRID)
        self._layout.setVerticalSpacing(GRID + GRID // 2)
        self._meters: list[_Meter] = []
        self._columns = 0

    @property
    def columns(self) -> int:
        """How many readings stand beside each other."""
        return self._columns

    def draw(self, readings: Sequence[Reading]) -> None:
        """Show these readings and no others."""
        while len(self._meters) < len(readings):
            self._meters.append(_Meter(self))
            self._columns = 0
        for number, meter in enumerate(self._meters):
            meter.setVisible(number < len(readings))
            if number < len(readings):
                meter.draw(readings[number])
        self._arrange()

    def _arrange(self) -> None:
        columns = max(1, self.width() // LEAST_WIDTH)
        if columns == self._columns:
            return
        for column in range(self._columns):
            self._layout.setColumnStretch(column, 0)
        self._columns = columns
        for number, meter in enumerate(self._meters):
            self._layout.addWidget(meter, number // columns, number % columns)
        for column in range(columns):
            self._layout.setColumnStretch(column, 1)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._arrange()


class _Meter(QWidget):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        self._name = label("", "caption")
        self._value = label("")
        self._line = Sparkline()
        self._remark = label("", "caption")
        for widget in (self._name, self._value, self._line, self._remark):
            layout.addWidget(widget)
        layout.addStretch(1)
        self._shown: Reading | None = None

    def draw(self, reading: Reading) -> None:
        if reading == self._shown:
            return
        self._shown = reading
        self._name.setText(reading.name)
        self._value.setText(reading.value)
        show_text(self._remark, sentence_case(reading.remark))
        self.setAccessibleName(f"{reading.name}: {reading.value}. {reading.remark}".strip(" ."))
        self._line.setVisible(reading.share is not None)
        self._line.draw(reading.history)
