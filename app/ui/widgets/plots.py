"""Curves and histograms by pyqtgraph, imported when the first one is shown.

Cheap on purpose: lines one pixel wide, at most two redraws a second, nothing while hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from PySide6.QtCore import QEvent, QPointF, Qt, QTimer
from PySide6.QtGui import QColor, QFont, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from app.ui import theme
from app.ui.theme import GRID
from app.ui.widgets.labels import label

REDRAW_MS: Final = 500
_AXIS_WIDTH: Final = 52


class Line(Protocol):
    """One curve."""

    @property
    def name(self) -> str: ...
    @property
    def x(self) -> tuple[float, ...]: ...
    @property
    def y(self) -> tuple[float, ...]: ...
    @property
    def dashed(self) -> bool: ...


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
    """A title, a legend and an empty sentence around a pyqtgraph plot."""

    def __init__(
        self, title: str, bottom: str, empty: str, *, hint: str = "", whole_numbers: bool = False
    ) -> None:
        super().__init__()
        self._whole_numbers = whole_numbers
        self.setAccessibleName(title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GRID // 2)
        self._title = label(title, wraps=False)
        font = self._title.font()
        font.setWeight(QFont.Weight.DemiBold)
        self._title.setFont(font)
        layout.addWidget(self._title)
        if hint:
            layout.addWidget(label(hint, "caption"))
        self._legend = QHBoxLayout()
        self._legend.setSpacing(2 * GRID)
        line = QHBoxLayout()
        line.addLayout(self._legend)
        line.addStretch(1)
        layout.addLayout(line)
        self._empty = label(empty, "muted")
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout.addWidget(self._empty, 1)
        self._reading = label(" ", "caption", wraps=False)
        self._layout = layout
        self._bottom = bottom
        self._plot: Any = None
        self._stale = True
        self._redraws = 0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REDRAW_MS)
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
        if there and self._plot is None:
            self._build()
        if self._plot is not None:
            self._plot.setVisible(there)
            self._reading.setVisible(there)
            self._redraw()
            self._redraws += 1
            self._timer.start()

    def _build(self) -> None:
        import pyqtgraph

        pyqtgraph.setConfigOptions(antialias=True)
        self._plot = pyqtgraph.PlotWidget()
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._plot.setMenuEnabled(False)
        self._plot.hideButtons()
        self._plot.setFrameShape(self._plot.Shape.NoFrame)
        self._plot.setAccessibleName(self._title.text())
        # Its own size hint (640 x 480) would decide how wide the window must be.
        self._plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self._plot.setMinimumSize(40, 60)
        self._plot.getPlotItem().layout.setContentsMargins(0, 4, 8, 0)
        self._plot.setLabel("bottom", self._bottom)
        self._plot.getAxis("left").setWidth(_AXIS_WIDTH)
        self._layout.addWidget(self._plot, 1)
        self._layout.addWidget(self._reading)
        if self._whole_numbers:
            _tick_whole_numbers(self._plot.getAxis("bottom"))
        self._plot.scene().sigMouseMoved.connect(self._pointed)
        self._colour()

    def _colour(self) -> None:
        if self._plot is None:
            return
        colours = theme.colours()
        self._plot.setBackground(QColor(colours.surface))
        small = QFont(self.font())
        small.setPointSizeF(max(7.0, self.font().pointSizeF() * 0.85))
        for side in ("left", "bottom"):
            axis = self._plot.getAxis(side)
            axis.setPen(QColor(colours.line))
            axis.setTextPen(QColor(colours.muted))
            axis.setTickFont(small)
        # setLabel renders HTML: its colour has to be set anew with each look.
        self._plot.setLabel("bottom", self._bottom, color=colours.muted)
        self._plot.showGrid(x=False, y=True, alpha=0.15)

    def _pointed(self, position: QPointF) -> None:
        if self._plot.sceneBoundingRect().contains(position):
            view = self._plot.getPlotItem().getViewBox().mapSceneToView(position)
            self._reading.setText(self._read(view.x()) or " ")

    def _read(self, x: float) -> str:
        raise NotImplementedError

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._redraw_if_stale()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange and self._plot is not None:
            self._colour()
            self._later()


def _tick_whole_numbers(axis: Any) -> None:  # noqa: ANN401 - pyqtgraph has no types
    """Let an axis of epochs or steps have no ticks between whole numbers."""
    spacings = axis.tickSpacing

    def whole(least: float, most: float, pixels: float) -> list[tuple[float, float]]:
        return [pair for pair in spacings(least, most, pixels) if pair[0] >= 1] or [(1.0, 0.0)]

    axis.tickSpacing = whole


class CurvePlot(Plot):
    """Lines over epochs or steps."""

    def __init__(
        self,
        title: str,
        *,
        bottom: str = "Epoch",
        empty: str,
        hint: str = "",
        unit_range: bool = False,
    ) -> None:
        super().__init__(title, bottom, empty, hint=hint, whole_numbers=True)
        self._unit_range = unit_range
        self._lines: tuple[Line, ...] = ()
        self._items: list[Any] = []
        self._named: tuple[str, ...] = ()

    def draw(self, lines: Sequence[Line]) -> None:
        """Show these curves; drawn at most twice a second."""
        wanted = tuple(lines)
        if wanted != self._lines:
            self._lines = wanted
            self._later()

    def _has_content(self) -> bool:
        return any(line.x for line in self._lines)

    def _redraw(self) -> None:
        import pyqtgraph

        colours = theme.colours()
        while len(self._items) < len(self._lines):
            self._items.append(self._plot.plot())
        for number, item in enumerate(self._items):
            if number >= len(self._lines):
                item.setData([], [])
                continue
            line = self._lines[number]
            colour = QColor(colours.curves[number % len(colours.curves)])
            style = Qt.PenStyle.DashLine if line.dashed else Qt.PenStyle.SolidLine
            item.setPen(pyqtgraph.mkPen(colour, width=1, style=style))
            # A single point has no line; a symbol shows it.
            few = len(line.x) <= 2
            item.setSymbol("o" if few else None)
            item.setSymbolSize(5)
            item.setSymbolBrush(colour)
            item.setSymbolPen(None)
            item.setData(list(line.x), list(line.y))
        if self._unit_range:
            self._plot.setYRange(0.0, 1.0, padding=0.02)
        names = tuple(line.name for line in self._lines)
        self._name_lines(names)

    def _name_lines(self, names: tuple[str, ...]) -> None:
        key = (*names, theme.colours().curves[0])
        if key == self._named:
            return
        self._named = key
        while (item := self._legend.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.deleteLater()
        if len(names) < 2:
            return
        for number, name in enumerate(names):
            self._legend.addWidget(_Sample(name, number, dashed=self._lines[number].dashed))

    def _read(self, x: float) -> str:
        nearest = round(x)
        parts = [
            f"{line.name} {line.y[line.x.index(nearest)]:.4g}"
            for line in self._lines
            if nearest in line.x
        ]
        return f"{self._bottom} {nearest}: {', '.join(parts)}" if parts else ""


class _Sample(QLabel):
    """A legend entry: a short piece of the line and its name."""

    def __init__(self, name: str, number: int, *, dashed: bool) -> None:
        super().__init__()
        colours = theme.colours()
        sign = "╌" if dashed else "━"
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setText(
            f'<span style="color:{colours.curves[number % len(colours.curves)]}">{sign}{sign}</span>'
            f"&nbsp;{name.replace('&', '&amp;').replace('<', '&lt;')}"
        )
        self.setProperty("role", "caption")


class HistogramPlot(Plot):
    """Bars of one histogram, or of two over each other (here, and all sites together)."""

    def __init__(self, bars: Bars, *, other: Bars | None = None) -> None:
        super().__init__(bars.label, bars.unit, "Nothing to draw.")
        self._bars, self._other = bars, other
        self._items: list[Any] = []
        self.setFixedHeight(184)
        self.setMinimumWidth(180)

    def draw(self, bars: Bars) -> None:
        """Show another histogram."""
        if bars != self._bars:
            self._bars = bars
            self._bottom = bars.unit
            self.retitle(bars.label)
            if self._plot is not None:
                self._colour()
            self._later()

    def _has_content(self) -> bool:
        return bool(self._bars.counts)

    def _redraw(self) -> None:
        import pyqtgraph

        self._plot.clear()
        colour = QColor(theme.colours().curves[0])
        fill = QColor(colour)
        fill.setAlphaF(0.45)
        edges, counts = self._bars.edges, self._bars.counts
        self._plot.addItem(
            pyqtgraph.BarGraphItem(
                x0=list(edges[:-1]),
                x1=list(edges[1:]),
                height=list(counts),
                pen=pyqtgraph.mkPen(colour, width=1),
                brush=fill,
            )
        )
        self._plot.setYRange(0, max(counts) * 1.08 if counts else 1, padding=0)
        self._plot.getPlotItem().getViewBox().setMouseEnabled(x=True, y=False)

    def _read(self, x: float) -> str:
        for left, right, count in zip(
            self._bars.edges[:-1], self._bars.edges[1:], self._bars.counts, strict=False
        ):
            if left <= x < right:
                return f"{left:g} to {right:g} {self._bars.unit}: {count:g}"
        return ""
