"""What all plots share, and histograms.

Cheap on purpose: at most two redraws a second, nothing while hidden. The wheel scrolls the page;
with Ctrl it zooms the plot, so that a page full of plots can still be scrolled.
"""

from __future__ import annotations

from typing import Final, Protocol

from PySide6.QtCore import QEvent, Qt, QTimer
from PySide6.QtGui import QFont, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from app.ui import theme
from app.ui.models.axis import Span
from app.ui.theme import GRID
from app.ui.widgets.curve_canvas import CurveCanvas, Trace
from app.ui.widgets.labels import label

REDRAW_MS: Final = 500
_ABOVE_BARS: Final = 1.08


class Bars(Protocol):
    """One histogram."""

    @property
    def label(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def edges(self) -> tuple[float, ...]: ...
    @property
    def counts(self) -> tuple[float, ...]: ...


class Plot(QWidget):
    """A title, small tools, and an empty sentence around a `CurveCanvas`."""

    def __init__(
        self,
        title: str,
        bottom: str,
        empty: str,
        *,
        hint: str = "",
        whole: bool = False,
        redraw_ms: int = REDRAW_MS,
    ) -> None:
        """Make an empty plot; `whole`: its lower axis counts something."""
        super().__init__()
        self.setAccessibleName(title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GRID // 2)
        self._title = label(title, wraps=False)
        font = self._title.font()
        font.setWeight(QFont.Weight.DemiBold)
        self._title.setFont(font)
        self.tools = QHBoxLayout()
        self.tools.setSpacing(0)
        top = QHBoxLayout()
        top.addWidget(self._title)
        top.addStretch(1)
        top.addLayout(self.tools)
        layout.addLayout(top)
        if hint:
            layout.addWidget(label(hint, "caption"))
        self._head = QVBoxLayout()
        layout.addLayout(self._head)
        self._empty = label(empty, "muted")
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout.addWidget(self._empty, 1)
        self.canvas = CurveCanvas(bottom, whole=whole)
        self.canvas.pointed.connect(self._point_at)
        self._reading = label(" ", "caption", wraps=False)
        for part in (self.canvas, self._reading):
            layout.addWidget(part, 1 if part is self.canvas else 0)
            part.hide()
        self._stale = True
        self._redraws = 0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(redraw_ms)
        self._timer.timeout.connect(self._redraw_if_stale)

    @property
    def redraws(self) -> int:
        """How often the plot was drawn anew."""
        return self._redraws

    def retitle(self, title: str) -> None:
        """Set another title."""
        if self._title.text() != title:
            self._title.setText(title)
            self.setAccessibleName(title)

    # for subclasses

    def _has_content(self) -> bool:
        raise NotImplementedError

    def _redraw(self) -> None:
        raise NotImplementedError

    def _later(self) -> None:
        """Draw now when the last drawing is old enough, else when it will be."""
        self._stale = True
        if self.isVisible() and not self._timer.isActive():
            self._redraw_if_stale()

    def _redraw_if_stale(self) -> None:
        if not self._stale or not self.isVisible():
            return
        self._stale = False
        there = self._has_content()
        self._empty.setVisible(not there)
        self.canvas.setVisible(there)
        self._reading.setVisible(there)
        if there:
            self._redraw()
            self._redraws += 1
            self._timer.start()

    def _point_at(self, x: float) -> None:
        """Say what is drawn at `x`, in the units of the axis."""
        self._reading.setText(self._read(x) or " ")

    def _read(self, x: float) -> str:
        raise NotImplementedError

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._redraw_if_stale()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            self._later()


class HistogramPlot(Plot):
    """Bars of one histogram."""

    def __init__(self, bars: Bars) -> None:
        super().__init__(bars.label, bars.unit, "Nothing to draw.")
        self._bars = bars
        self.setFixedHeight(184)
        self.setMinimumWidth(180)

    def draw(self, bars: Bars) -> None:
        """Show another histogram."""
        if bars != self._bars:
            self._bars = bars
            self.canvas.bottom = bars.unit
            self.retitle(bars.label)
            self._later()

    def _has_content(self) -> bool:
        return bool(self._bars.counts)

    def _redraw(self) -> None:
        bars = self._bars
        highest = max(bars.counts) or 1.0
        self.canvas.fixed_values = Span(low=0.0, high=highest * _ABOVE_BARS)
        colour = theme.colours().curves[0]
        self.canvas.show_traces([Trace(x=bars.edges, y=bars.counts, colour=colour, bars=True)])

    def _read(self, x: float) -> str:
        for left, right, count in zip(
            self._bars.edges[:-1], self._bars.edges[1:], self._bars.counts, strict=False
        ):
            if left <= x < right:
                return f"{left:g} to {right:g} {self._bars.unit}: {count:g}"
        return ""
