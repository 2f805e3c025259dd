"""The picture of a plot: axes, lines, marks, bars, a cursor; moved and zoomed along its lower axis.

Painted by hand because the Training page is to be there at once: a plotting library would take
longer to import than everything else that the window loads (decision 0063). A line becomes a polygon
when it changes, and every painting only stretches it to the widget's size.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFont,
    QFontMetricsF,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
    QTransform,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.ui import theme
from app.ui.models.axis import Span, Tick, decade_ticks, even_ticks

_LEFT: Final = 52
"""Room for the numbers of the left axis: equal in all plots, so that they stand under each other."""
_TOP: Final = 6
_RIGHT: Final = 8
_GAP: Final = 4
_TICK_APART: Final = 21
"""Pixels between two lines of the grid, at least."""
_TEXT_APART: Final = 48
_FULL_PADDING: Final = 0.02
_VALUE_PADDING: Final = 0.06
_LEAST_SEEN: Final = 1.0
"""Nobody needs to see less than one epoch or step."""
_WHEEL_ZOOM: Final = 1.0015
"""Per eighth of a degree; a notch of most wheels has 120."""
_DRAG_ZOOM: Final = 1.01
"""Per pixel with the right button."""
_DOT, _DIAMOND = 2.5, 3.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One thing to draw: a line, marks, or bars between edges (`x` then has one entry more)."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    colour: str
    style: Qt.PenStyle = Qt.PenStyle.SolidLine
    """`NoPen`: marks alone."""
    marked: bool = False
    bars: bool = False


class CurveCanvas(QWidget):
    """Draws traces over a lower axis that a person moves and zooms; the left one fits itself.

    The wheel with Ctrl zooms, dragging moves, dragging with the right button zooms. Without Ctrl the
    wheel belongs to the page around.
    """

    pointed = Signal(float)
    """The mouse is over this place of the lower axis, as drawn."""

    zoomed = Signal()
    """A person changed which part is seen."""

    def __init__(self, bottom: str, *, whole: bool = False) -> None:
        """Make an empty picture; `whole`: the lower axis counts something, 1, 2, 3."""
        super().__init__()
        self.bottom = bottom
        self.left = ""
        self.fixed_values: Span | None = None
        """What the left axis shows instead of what fits."""
        self._whole_numbers = whole
        self.traces: tuple[Trace, ...] = ()
        self.bounds: tuple[float, ...] = ()
        self.shapes: list[QPolygonF] = []
        """The lines of `traces` as drawn: with logarithms, not yet stretched to the widget."""
        self._log_x = self._log_y = False
        self._floor = 0.0
        self._seen: Span | None = None
        self._reading: float | None = None
        self._grasped: QPointF | None = None
        self.setMouseTracking(True)
        self.setMinimumSize(40, 60)
        # Its contents have no size of their own; the plots beside it decide.
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Expanding)

    # --- what is drawn -------------------------------------------------------------------------

    def show_traces(self, traces: Sequence[Trace], bounds: Sequence[float] = ()) -> None:
        """Draw these; only what differs is turned into shapes. `bounds` are ticked at the bottom."""
        before = list(zip(self.traces, self.shapes, strict=True))
        self.traces, self.bounds = tuple(traces), tuple(bounds)
        self.shapes = [
            before[number][1]
            if number < len(before) and before[number][0] == trace
            else self._shape(trace)
            for number, trace in enumerate(self.traces)
        ]
        if self._seen is not None:
            self._seen = self._seen.within(self.whole)
        self.update()

    def set_logarithm(self, *, x: bool, y: bool, floor: float = 0.0) -> None:
        """Draw decimal logarithms along an axis; along the left one of the distance from `floor`."""
        if (x, y, floor) != (self._log_x, self._log_y, self._floor):
            self._log_x, self._log_y, self._floor = x, y, floor
            self.shapes = [self._shape(trace) for trace in self.traces]
            self._seen = None
            self.update()

    def point_at(self, place: float | None) -> None:
        """Draw the cursor at this value of the lower axis, or none."""
        if place != self._reading:
            self._reading = place
            self.update()

    @property
    def reading(self) -> float | None:
        """Where the cursor is, a value of the lower axis."""
        return self._reading

    def place(self, x: float) -> float:
        """Return where a value of the lower axis lies as drawn."""
        return math.log10(x) if self._log_x and x > 0 else x

    def value(self, place: float) -> float:
        """Return the value of the lower axis that is drawn at `place`."""
        return 10.0 ** min(place, 300.0) if self._log_x else place

    # --- what is seen --------------------------------------------------------------------------

    @property
    def whole(self) -> Span:
        """All of the lower axis that has something on it."""
        ends = [
            self.place(end) for trace in self.traces if trace.x for end in (trace.x[0], trace.x[-1])
        ]
        return Span(low=min(ends), high=max(ends)).padded(_FULL_PADDING) if ends else _UNIT

    @property
    def seen(self) -> Span:
        """The part of the lower axis that is shown."""
        return self._seen or self.whole

    @property
    def values(self) -> Span:
        """The part of the left axis that is shown: what fits what is seen."""
        if self.fixed_values is not None:
            return self.fixed_values
        seen = self.seen
        low, high = self.value(seen.low), self.value(seen.high)
        ends: list[float] = []
        for trace in self.traces:
            first, last = bisect_left(trace.x, low), bisect_right(trace.x, high)
            if part := trace.y[first:last]:
                ends += (min(part), max(part))
        if not ends:
            return _UNIT
        return Span(low=self._height(min(ends)), high=self._height(max(ends))).padded(
            _VALUE_PADDING
        )

    def show_whole(self) -> None:
        """Undo zoom and drag; what is added later is seen too."""
        self._seen = None
        self.update()

    def zoom(self, factor: float, *, about: float | None = None) -> None:
        """Zoom in (> 1) or out around a place as drawn, else around the middle."""
        seen = self.seen
        self._see(seen.zoomed(factor, about=seen.at(0.5) if about is None else about))

    def _see(self, span: Span) -> None:
        least = _LEAST_SEEN if self._whole_numbers and not self._log_x else 0.0
        if span.width < max(least, self.whole.width * 1e-6):
            return
        self._seen = span.within(self.whole)
        self.update()
        self.zoomed.emit()

    # --- geometry ------------------------------------------------------------------------------

    def area(self) -> QRectF:
        """Return where the lines are, without the axes."""
        line = QFontMetricsF(self._small()).height()
        left = _LEFT + (line if self.left else 0)
        return QRectF(
            left,
            _TOP,
            max(1.0, self.width() - left - _RIGHT),
            max(1.0, self.height() - _TOP - 2 * line - 2 * _GAP),
        )

    def _small(self) -> QFont:
        small = QFont(self.font())
        small.setPointSizeF(max(7.0, self.font().pointSizeF() * 0.85))
        return small

    def _height(self, y: float) -> float:
        return math.log10(y - self._floor) if self._log_y and y > self._floor else y

    def _shape(self, trace: Trace) -> QPolygonF:
        if trace.bars:
            return QPolygonF()
        across = map(self.place, trace.x) if self._log_x else trace.x
        up = map(self._height, trace.y) if self._log_y else trace.y
        return QPolygonF([QPointF(x, y) for x, y in zip(across, up, strict=True)])

    def _place_at(self, position: QPointF) -> float:
        area = self.area()
        return self.seen.at((position.x() - area.left()) / area.width())

    # --- painting ------------------------------------------------------------------------------

    def _paint_axes(self, painter: QPainter, area: QRectF, seen: Span, values: Span) -> None:
        colours = theme.colours()
        line, grid = QColor(colours.line), QColor(colours.hover)
        height = QFontMetricsF(painter.font()).height()
        painter.setPen(QColor(colours.muted))
        for tick in self._left_ticks(area, values):
            y = round(area.bottom() - values.share(tick.place) * area.height())
            painter.fillRect(QRectF(area.left(), y, area.width(), 1), grid)
            painter.drawText(
                QRectF(area.left() - _LEFT, y - height / 2, _LEFT - _GAP, height),
                Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter,
                tick.text,
            )
        for tick in self._bottom_ticks(area, seen):
            x = area.left() + seen.share(tick.place) * area.width()
            painter.drawText(
                QRectF(x - _TEXT_APART / 2, area.bottom() + _GAP, _TEXT_APART, height),
                Qt.AlignmentFlag.AlignCenter,
                tick.text,
            )
        painter.drawText(
            QRectF(area.left(), area.bottom() + _GAP + height, area.width(), height),
            Qt.AlignmentFlag.AlignCenter,
            self.bottom,
        )
        if self.left:
            painter.save()
            painter.translate(0, area.center().y())
            painter.rotate(-90)
            painter.drawText(
                QRectF(-area.height() / 2, 0, area.height(), height),
                Qt.AlignmentFlag.AlignCenter,
                self.left,
            )
            painter.restore()
        painter.fillRect(QRectF(area.left(), area.top(), 1, area.height()), line)
        painter.fillRect(QRectF(area.left(), area.bottom(), area.width(), 1), line)

    def _left_ticks(self, area: QRectF, values: Span) -> tuple[Tick, ...]:
        most = max(2, int(area.height() / _TICK_APART))
        return decade_ticks(values, most) if self._log_y else even_ticks(values, most)

    def _bottom_ticks(self, area: QRectF, seen: Span) -> tuple[Tick, ...]:
        most = max(2, int(area.width() / _TEXT_APART))
        if self._log_x:
            return decade_ticks(seen, most)
        return even_ticks(seen, most, whole=self._whole_numbers)

    def _paint_traces(self, painter: QPainter, area: QRectF, seen: Span, values: Span) -> None:
        across, up = area.width() / seen.width, area.height() / values.width
        to_screen = QTransform(
            across,
            0,
            0,
            -up,
            area.left() - seen.low * across,
            area.bottom() + values.low * up,
        )
        painter.setClipRect(area.adjusted(0, -_TOP, _RIGHT, 1))
        for trace, shape in zip(self.traces, self.shapes, strict=True):
            colour = QColor(trace.colour)
            if trace.bars:
                self._paint_bars(painter, trace, to_screen, colour)
                continue
            on_screen = to_screen.map(shape)
            if trace.style is not Qt.PenStyle.NoPen:
                painter.setPen(QPen(colour, 1, trace.style))
                painter.drawPolyline(on_screen)
            if trace.marked:
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(colour)
                for at in on_screen.toList():
                    _paint_mark(painter, at, diamond=trace.style is Qt.PenStyle.NoPen)

    def _paint_bars(
        self, painter: QPainter, trace: Trace, to_screen: QTransform, colour: QColor
    ) -> None:
        fill = QColor(colour)
        fill.setAlphaF(0.45)
        painter.setPen(QPen(colour, 1))
        painter.setBrush(fill)
        for left, right, height in zip(trace.x[:-1], trace.x[1:], trace.y, strict=True):
            painter.drawRect(to_screen.mapRect(QRectF(left, 0, right - left, height)))

    # Qt overrides

    def sizeHint(self) -> QSize:
        return QSize(240, 120)

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setFont(self._small())
        area, seen, values = self.area(), self.seen, self.values
        self._paint_axes(painter, area, seen, values)
        colours = theme.colours()
        for end in self.bounds:
            share = seen.share(self.place(end))
            if 0 <= share <= 1:
                x = round(area.left() + share * area.width())
                painter.fillRect(QRectF(x, area.top(), 1, area.height()), QColor(colours.line))
        if self._reading is not None:
            x = round(area.left() + seen.share(self.place(self._reading)) * area.width())
            painter.fillRect(QRectF(x, area.top(), 1, area.height()), QColor(colours.edge))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_traces(painter, area, seen, values)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._grasped = event.position()

    def mouseReleaseEvent(self, _event: QMouseEvent) -> None:
        self._grasped = None

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        at, grasped = event.position(), self._grasped
        if grasped is not None and event.buttons() & Qt.MouseButton.LeftButton:
            move = self._place_at(grasped) - self._place_at(at)
            seen = self.seen
            self._see(Span(low=seen.low + move, high=seen.high + move))
            self._grasped = at
        elif grasped is not None and event.buttons() & Qt.MouseButton.RightButton:
            self.zoom(_DRAG_ZOOM ** (at.x() - grasped.x()), about=self._place_at(grasped))
            self._grasped = at
        self.pointed.emit(self._place_at(at))

    def wheelEvent(self, event: QWheelEvent) -> None:
        if not event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            event.ignore()  # the page scrolls
            return
        event.accept()
        turned = event.angleDelta().y() or event.angleDelta().x()
        self.zoom(_WHEEL_ZOOM**turned, about=self._place_at(event.position()))


_UNIT: Final = Span(low=0.0, high=1.0)


def _paint_mark(painter: QPainter, at: QPointF, *, diamond: bool) -> None:
    if not diamond:
        painter.drawEllipse(at, _DOT, _DOT)
        return
    painter.drawPolygon(
        QPolygonF(
            [
                at + QPointF(0, -_DIAMOND),
                at + QPointF(_DIAMOND, 0),
                at + QPointF(0, _DIAMOND),
                at + QPointF(-_DIAMOND, 0),
            ]
        )
    )
