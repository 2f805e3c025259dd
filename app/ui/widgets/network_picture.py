"""A site's network as a U: stages by resolution, what is shared filled, what stays hatched."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QBrush, QColor, QHelpEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from app.ui import theme
from app.ui.models.network import NetworkBox, NetworkState
from app.ui.theme import GRID

_MIDDLE: Final = 128
"""Logical pixels between the two sides, where the resolution stands."""
_WIDEST: Final = 300
_NARROWEST: Final = 132
_INSET: Final = 22
"""How much each stage stands further in than the one above: it makes the U."""
_MARGIN: Final = 2
"""Room for the outline of the outermost boxes."""
_LEGEND: Final = (
    (1.0, "averaged with other sites"),
    (0.0, "stays at this site"),
)


class NetworkPicture(QWidget):
    """Draws a `NetworkState`. What is shared differs from the rest by pattern and words, too."""

    def __init__(self) -> None:
        super().__init__()
        self._state = NetworkState()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def draw(self, state: NetworkState) -> None:
        """Show a network; hides itself when there is none."""
        self.setVisible(bool(state.stages))
        if state == self._state:
            return
        self._state = state
        lines = [state.sentence, *(box.hint for _, box in self._boxes())]
        self.setAccessibleName(state.sentence)
        self.setAccessibleDescription(" ".join(lines))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        height = len(self._state.stages) * self._row_height() + self._legend_height()
        return QSize(2 * _WIDEST + _MIDDLE, int(height))

    def minimumSizeHint(self) -> QSize:
        return QSize(2 * _NARROWEST + _MIDDLE, self.sizeHint().height())

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() is QEvent.Type.ToolTip:
            for area, box in self._boxes():
                if area.contains(QPointF(event.pos())):
                    QToolTip.showText(event.globalPos(), box.hint, self)
                    return True
            QToolTip.hideText()
        return super().event(event)

    # --- geometry ------------------------------------------------------------------------------

    def _row_height(self) -> float:
        return float(self.fontMetrics().height() + 3 * GRID)

    def _legend_height(self) -> float:
        return float(self.fontMetrics().height() + 2 * GRID + 2 * _MARGIN)

    def _boxes(self) -> Iterator[tuple[QRectF, NetworkBox]]:
        """Yield every box with its place, from the top down, the way down before the way up."""
        side = min(float(_WIDEST), max(float(_NARROWEST), (self.width() - _MIDDLE) / 2))
        middle = self.width() / 2
        height = self._row_height() - GRID
        steps = max(1, len(self._state.stages) - 1)
        inset = min(float(_INSET), max(0.0, side - _NARROWEST) / steps)
        for number, stage in enumerate(self._state.stages):
            top = number * self._row_height() + _MARGIN
            width = side - inset * number
            if stage.up is None:
                bottom = QRectF(middle - side / 2, top, side, height)
                yield bottom, stage.down
                continue
            outer = side + _MIDDLE / 2 - inset * number
            yield QRectF(middle - outer, top, width, height), stage.down
            yield QRectF(middle + outer - width, top, width, height), stage.up

    # --- painting ------------------------------------------------------------------------------

    def paintEvent(self, _event: QPaintEvent) -> None:
        if not self._state.stages:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colours = theme.colours()
        places = list(self._boxes())
        line = QPen(QColor(colours.faint), 1.2)
        way = [area for area, _ in places]
        downs, ups = way[:-1:2], way[1::2]
        painter.setPen(line)
        for column in ([*downs, way[-1]], [*ups, way[-1]]):
            for above, below in itertools.pairwise(column):
                x = above.center().x() if below is not way[-1] else self._meeting(above, below)
                painter.drawLine(QPointF(x, above.bottom()), QPointF(x, below.top()))
        skip = QPen(QColor(colours.faint), 1.2, Qt.PenStyle.DashLine)
        for stage, left, right in zip(self._state.stages, downs, ups, strict=False):
            painter.setPen(skip)
            painter.drawLine(
                QPointF(left.right(), left.center().y()), QPointF(right.left(), left.center().y())
            )
            self._write_resolution(painter, stage.resolution, left, right)
        for area, box in places[:-1]:
            self._draw_box(painter, area, box.share, box.words)
        # Beside the lowest stage there is no room for its resolution.
        area, box = places[-1]
        lowest = f"{self._state.stages[-1].resolution}: {box.words}"
        self._draw_box(painter, area, box.share, lowest)
        self._draw_legend(painter)

    def _meeting(self, above: QRectF, below: QRectF) -> float:
        """Return where a line from the last stage of a side meets the lowest one."""
        return min(max(above.center().x(), below.left() + GRID), below.right() - GRID)

    def _write_resolution(self, painter: QPainter, words: str, left: QRectF, right: QRectF) -> None:
        colours = theme.colours()
        gap = QRectF(left.right(), left.top(), right.left() - left.right(), left.height())
        width = min(gap.width(), self.fontMetrics().horizontalAdvance(words) + 2.0 * GRID)
        behind = QRectF(gap.center().x() - width / 2, gap.top(), width, gap.height())
        painter.fillRect(behind, QColor(colours.surface))
        painter.setPen(QColor(colours.muted))
        shown = self.fontMetrics().elidedText(words, Qt.TextElideMode.ElideRight, int(gap.width()))
        painter.drawText(gap, Qt.AlignmentFlag.AlignCenter, shown)

    def _draw_box(self, painter: QPainter, area: QRectF, share: float, words: str) -> None:
        colours = theme.colours()
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colours.field))
        painter.drawRoundedRect(area, 5, 5)
        hatch = QColor(colours.muted)
        hatch.setAlphaF(0.45)
        painter.setBrush(QBrush(hatch, Qt.BrushStyle.BDiagPattern))
        painter.drawRoundedRect(area, 5, 5)
        if share > 0:
            painter.save()
            painter.setClipRect(
                QRectF(area.left(), area.top(), max(6.0, area.width() * share), area.height())
            )
            painter.setBrush(QColor(colours.selected))
            painter.drawRoundedRect(area, 5, 5)
            painter.restore()
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(QColor(colours.accent if share > 0 else colours.edge), 1.4))
        painter.drawRoundedRect(area, 5, 5)
        if not words:
            return
        metrics = self.fontMetrics()
        shown = metrics.elidedText(words, Qt.TextElideMode.ElideRight, int(area.width()) - GRID)
        width = metrics.horizontalAdvance(shown) + 1.5 * GRID
        plate = QRectF(area.center().x() - width / 2, area.top() + 4, width, area.height() - 8)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colours.selected if share >= 1 else colours.surface))
        painter.drawRoundedRect(plate, 4, 4)
        painter.setPen(QColor(colours.text))
        painter.drawText(area, Qt.AlignmentFlag.AlignCenter, shown)

    def _draw_legend(self, painter: QPainter) -> None:
        colours, metrics = theme.colours(), self.fontMetrics()
        top = len(self._state.stages) * self._row_height() + GRID + _MARGIN
        patch, height = 28.0, float(metrics.height())
        widths = [patch + GRID + metrics.horizontalAdvance(words) for _, words in _LEGEND]
        left = (self.width() - sum(widths) - 3 * GRID) / 2
        for (share, words), width in zip(_LEGEND, widths, strict=True):
            self._draw_box(painter, QRectF(left, top + 1, patch, height - 2), share, "")
            painter.setPen(QColor(colours.muted))
            beside = QRectF(left + patch + GRID, top, width, height)
            painter.drawText(beside, Qt.AlignmentFlag.AlignVCenter, words)
            left += width + 3 * GRID
