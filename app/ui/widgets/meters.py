"""Readings of the computer: a name, a figure, and a small graph of the last minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from app.ui import theme
from app.ui.theme import GRID
from app.ui.widgets.labels import label


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


class MeterColumn(QWidget):
    """All readings below each other."""

    def __init__(self) -> None:
        super().__init__()
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(GRID)
        self._meters: list[_Meter] = []

    def draw(self, readings: Sequence[Reading]) -> None:
        """Show these readings and no others."""
        while len(self._meters) < len(readings):
            meter = _Meter()
            self._meters.append(meter)
            self._layout.addWidget(meter)
        for number, meter in enumerate(self._meters):
            meter.setVisible(number < len(readings))
            if number < len(readings):
                meter.draw(readings[number])


class _Meter(QWidget):
    def __init__(self) -> None:
        super().__init__()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        self._name = label("", "caption")
        self._value = label("")
        self._line = Sparkline()
        layout.addWidget(self._name)
        layout.addWidget(self._value)
        layout.addWidget(self._line)

    def draw(self, reading: Reading) -> None:
        self._name.setText(reading.name)
        self._value.setText(reading.value)
        self.setAccessibleName(f"{reading.name}: {reading.value}")
        self._line.setVisible(reading.share is not None)
        self._line.draw(reading.history)
