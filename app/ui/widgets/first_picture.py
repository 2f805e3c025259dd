"""Curves as they are first seen: lines and axes, painted at once, until somebody looks closer.

Importing pyqtgraph with numpy takes twice as long as an empty window needs (decision 0063). This
picture answers nothing; the plot that takes its place does.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from PySide6.QtCore import QByteArray, QDataStream, QPointF, QRectF, Qt
from PySide6.QtGui import (
    QColor,
    QFont,
    QFontMetricsF,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
    QTransform,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.ui import theme
from app.ui.models.axis import Span, padded, ticks

LEFT_AXIS: Final = 52
"""Pixels for the numbers of the left axis: equal in all plots, so that they stand under each other."""
_TOP, _RIGHT, _GAP = 4, 8, 3
_TICKS_APART: Final = 24
_TEXTS_APART: Final = 56
_BELOW: Final = 14
"""Pixels that pyqtgraph gives a lower axis besides its two lines of text."""
_MARK: Final = 3.0


def axis_font(font: QFont) -> QFont:
    """Return the font for numbers along an axis in a widget of this font."""
    small = QFont(font)
    small.setPointSizeF(max(7.0, font.pointSizeF() * 0.85))
    return small


class Trace(Struct, frozen=True, kw_only=True):
    """One line; `style` NoPen leaves its marks alone."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    colour: str
    style: Qt.PenStyle = Qt.PenStyle.SolidLine
    marked: bool = False


class FirstPicture(QWidget):
    """Draws traces over an axis that counts 1, 2, 3."""

    def __init__(self, bottom: str, *, values: Span | None = None) -> None:
        """Make an empty picture; `values` is what the left axis shows instead of what fits."""
        super().__init__()
        self._bottom = bottom
        self._values = values
        self._traces: tuple[Trace, ...] = ()
        self._shapes: tuple[QPolygonF, ...] = ()
        self._bounds: tuple[float, ...] = ()
        self.setMinimumSize(40, 60)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)

    def draw(self, traces: Sequence[Trace], bounds: Sequence[float] = ()) -> None:
        """Show these, one of them not empty; `bounds` are marked along the lower axis."""
        self._traces, self._bounds = tuple(traces), tuple(bounds)
        self._shapes = tuple(_polygon(trace.x, trace.y) for trace in self._traces)
        self.update()

    def seen(self) -> Span:
        """Return what the lower axis shows."""
        ends = [end for trace in self._traces if trace.x for end in (trace.x[0], trace.x[-1])]
        return padded(min(ends), max(ends), _padding(self.area().width()))

    def values(self) -> Span:
        """Return what the left axis shows."""
        if self._values is not None:
            return self._values
        drawn = [trace.y for trace in self._traces if trace.y]
        low, high = min(map(min, drawn)), max(map(max, drawn))
        return padded(low, high, _padding(self.area().height()))

    def area(self) -> QRectF:
        """Return where the lines are, without the axes."""
        texts = 2 * QFontMetricsF(axis_font(self.font())).height() + _BELOW
        width, height = self.width() - LEFT_AXIS - _RIGHT, self.height() - _TOP - texts
        return QRectF(LEFT_AXIS, _TOP, max(1.0, width), max(1.0, height))

    def _paint_axes(self, painter: QPainter, area: QRectF, seen: Span, values: Span) -> None:
        colours = theme.colours()
        height = QFontMetricsF(painter.font()).height()
        painter.setPen(QColor(colours.muted))
        lines = []
        for tick in ticks(values, int(area.height() / _TICKS_APART)):
            y = round(area.bottom() - values.share(tick.place) * area.height())
            lines.append(QRectF(area.left(), y, area.width(), 1))
            painter.drawText(
                QRectF(0, y - height / 2, LEFT_AXIS - _GAP, height),
                Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter,
                tick.text,
            )
        for tick in ticks(seen, int(area.width() / _TEXTS_APART), whole=True):
            x = area.left() + seen.share(tick.place) * area.width()
            painter.drawText(
                QRectF(x - _TEXTS_APART / 2, area.bottom() + _GAP, _TEXTS_APART, height),
                Qt.AlignmentFlag.AlignCenter,
                tick.text,
            )
        below = QRectF(area.left(), self.height() - height, area.width(), height)
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, self._bottom)
        # Not `fillRect`: choosing among its many forms, PySide6 prepares every gradient of Qt.
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colours.hover))
        for line in lines:
            painter.drawRect(line)
        painter.setBrush(QColor(colours.line))
        for bound in self._bounds:
            x = round(area.left() + seen.share(bound) * area.width())
            painter.drawRect(QRectF(x, area.top(), 1, area.height()))
        painter.drawRect(QRectF(area.left(), area.top(), 1, area.height()))
        painter.drawRect(QRectF(area.left(), area.bottom(), area.width(), 1))
        painter.setBrush(Qt.BrushStyle.NoBrush)

    # Qt overrides

    def paintEvent(self, _event: QPaintEvent) -> None:
        if not any(trace.x for trace in self._traces):
            return
        painter = QPainter(self)
        painter.setFont(axis_font(self.font()))
        area, seen, values = self.area(), self.seen(), self.values()
        self._paint_axes(painter, area, seen, values)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setClipRect(area.adjusted(0, -_TOP, _RIGHT, 1))
        across, up = area.width() / seen.width, area.height() / values.width
        left, low = area.left() - seen.low * across, area.bottom() + values.low * up
        to_screen = QTransform(across, 0, 0, -up, left, low)
        for trace, shape in zip(self._traces, self._shapes, strict=True):
            points = to_screen.map(shape)
            if trace.style is not Qt.PenStyle.NoPen:
                painter.setPen(QPen(QColor(trace.colour), 1, trace.style))
                painter.drawPolyline(points)
            if trace.marked:
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(QColor(trace.colour))
                for point in points.toList():
                    if trace.style is Qt.PenStyle.NoPen:
                        painter.drawPolygon(_DIAMOND.translated(point))
                    else:
                        painter.drawEllipse(point, _MARK, _MARK)


_DIAMOND: Final = QPolygonF([QPointF(0, -3.5), QPointF(3.5, 0), QPointF(0, 3.5), QPointF(-3.5, 0)])


def _polygon(x: tuple[float, ...], y: tuple[float, ...]) -> QPolygonF:
    """Return the points as Qt's own array, read from bytes as Qt would write them.

    Six times quicker than by an object of Python for every point.
    """
    pairs = array("d", bytes(16 * len(x)))
    pairs[0::2], pairs[1::2] = array("d", x), array("d", y)
    if sys.byteorder == "little":
        pairs.byteswap()
    written = len(x).to_bytes(4, "big") + pairs.tobytes()
    polygon = QPolygonF()
    QDataStream(QByteArray(written)) >> polygon
    return polygon


def _padding(pixels: float) -> float:
    """Return the share beside what is shown, as `pyqtgraph.ViewBox.suggestPadding` has it."""
    return min(max(1 / math.sqrt(pixels), 0.02), 0.1)
