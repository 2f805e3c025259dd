"""What all plots share, and histograms: pyqtgraph, imported when the first one is needed.

Cheap on purpose: at most two redraws a second, nothing while hidden. The wheel scrolls the page;
with Ctrl it zooms the plot, so that a page full of plots can still be scrolled.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from PySide6.QtCore import QCoreApplication, QEvent, QObject, QPointF, QRectF, Qt, QTimer
from PySide6.QtGui import QColor, QFont, QMouseEvent, QShowEvent, QWheelEvent
from PySide6.QtWidgets import QHBoxLayout, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from app.ui import theme
from app.ui.theme import GRID
from app.ui.widgets import plotting
from app.ui.widgets.first_picture import LEFT_AXIS, axis_font
from app.ui.widgets.labels import label

REDRAW_MS: Final = 500
_PLOTTING_MS: Final = 1500


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
    """A title, small tools, and an empty sentence around a pyqtgraph plot.

    A subclass may have a light first picture, which is seen until somebody asks more of the plot than
    to be seen.
    """

    def __init__(
        self, title: str, bottom: str, empty: str, *, hint: str = "", redraw_ms: int = REDRAW_MS
    ) -> None:
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
        self._reading = label(" ", "caption", wraps=False)
        self._layout = layout
        self._bottom = bottom
        self._plot: Any = None
        self._first: QWidget | None = None
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

    def _draw_first(self) -> QWidget | None:
        """Return the first picture, drawn; None: it waits for pyqtgraph."""
        return None

    def _later(self) -> None:
        """Draw now when the last drawing is old enough, else when it will be."""
        self._stale = True
        if self.isVisible() and not self._timer.isActive():
            self._redraw_if_stale()

    def _redraw_if_stale(self) -> None:
        if not self._stale or not self.isVisible():
            return
        there = self._has_content()
        self._empty.setVisible(not there)
        if self._first is not None:
            self._first.setVisible(there)
        if there and self._plot is None and not self._show_first():
            self._build_now()
        self._stale = False
        if there and self._plot is None:
            self._redraws += 1
            self._timer.start()
        elif self._plot is not None:
            self._plot.setVisible(there)
            self._reading.setVisible(there)
            self._redraw()
            self._redraws += 1
            self._timer.start()

    def _show_first(self) -> bool:
        """Show the first picture until somebody asks for more; whether that is all for now.

        It costs half of what the plot does at every redraw, all day long beside training.
        """
        if self._first is None and plotting.is_loaded():
            return False
        picture = self._draw_first()
        if picture is not None and self._first is None:
            self._first = picture
            self._layout.addWidget(picture, 1)
            self._layout.addWidget(self._reading)
            for part in (self, picture):
                part.setMouseTracking(True)
            picture.show()
            self._reading.show()
            # When the window has been seen, so that whoever points at a plot then has it at once.
            QTimer.singleShot(_PLOTTING_MS, self, plotting.load_beside)
        return picture is not None

    def _need_plot(self) -> None:
        """Make the plot itself, for somebody wants to read, zoom or save it."""
        if self._plot is None and self.isVisible() and self._has_content():
            self._build_now()
            self._stale = True
            self._redraw_if_stale()

    def _build_now(self) -> None:
        plotting.load()
        self._build()
        if self._first is not None:
            self._first.hide()
            self._first.deleteLater()
            self._first = None

    def _build(self) -> None:
        import pyqtgraph

        pyqtgraph.setConfigOptions(antialias=True)
        axis = type("DirectAxis", (pyqtgraph.AxisItem,), {"paint": _paint_axis})
        self._plot = pyqtgraph.PlotWidget(
            axisItems={side: axis(orientation=side) for side in ("left", "bottom")}
        )
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._plot.setMenuEnabled(False)
        self._plot.hideButtons()
        self._plot.setFrameShape(self._plot.Shape.NoFrame)
        self._plot.setAccessibleName(self._title.text())
        # Its own size hint (640 x 480) would decide how wide the window must be.
        self._plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self._plot.setMinimumSize(40, 60)
        self._plot.getPlotItem().layout.setContentsMargins(0, 4, 8, 0)
        # Values are fitted to what is seen: zooming and dragging go along the lower axis.
        view = self._plot.getPlotItem().getViewBox()
        view.setMouseEnabled(x=True, y=False)
        self._plot.setLabel("bottom", self._bottom)
        self._plot.getAxis("left").setWidth(LEFT_AXIS)
        self._layout.addWidget(self._plot, 1)
        self._layout.addWidget(self._reading)
        self._plot.scene().sigMouseMoved.connect(self._pointed)
        self._plot.viewport().installEventFilter(self)
        self._colour()

    def _colour(self) -> None:
        if self._plot is None:
            return
        colours = theme.colours()
        self._plot.setBackground(QColor(colours.surface))
        small = axis_font(self.font())
        for side in ("left", "bottom"):
            axis = self._plot.getAxis(side)
            axis.setPen(QColor(colours.line))
            axis.setTextPen(QColor(colours.muted))
            axis.setTickFont(small)
            # Ticks between the written ones cost more than all curves together.
            axis.setStyle(maxTickLevel=0)
            axis.setZValue(-10)  # its grid lies behind the curves
        # setLabel renders HTML: its colour has to be set anew with each look.
        self._plot.setLabel("bottom", self._bottom, color=colours.muted)
        self._plot.showGrid(x=False, y=True, alpha=0.15)

    def _pointed(self, position: QPointF) -> None:
        if self._plot.sceneBoundingRect().contains(position):
            self._point_at(self._plot.getPlotItem().getViewBox().mapSceneToView(position).x())

    def _point_at(self, x: float) -> None:
        """Say what is drawn at `x`, in the units of the axis."""
        self._reading.setText(self._read(x) or " ")

    def _read(self, x: float) -> str:
        raise NotImplementedError

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Not on entering: a window that opens under the mouse is entered, too."""
        super().mouseMoveEvent(event)
        self._need_plot()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._redraw_if_stale()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange and self._plot is not None:
            self._colour()
            self._later()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QWheelEvent) and not (
            event.modifiers() & Qt.KeyboardModifier.ControlModifier
        ):
            # pyqtgraph's scene takes every wheel event; the page gets this one by hand.
            page = self.parentWidget()
            while page is not None and not isinstance(page, QScrollArea):
                page = page.parentWidget()
            if page is not None:
                QCoreApplication.sendEvent(page.viewport(), event)
            return True
        return super().eventFilter(watched, event)


def _paint_axis(axis: Any, painter: Any, *_what: object) -> None:  # noqa: ANN401 - pyqtgraph
    """Paint an axis from what was laid out, until pyqtgraph forgets its picture.

    pyqtgraph records a QPicture with strokes and plays it at every redraw: looking up its fonts
    and stroking the long lines of the grid costs more than all curves together.
    """
    if axis.picture is None:
        axis.laid_out = axis.generateDrawSpecs(painter)
        axis.picture = axis.laid_out
    if axis.laid_out is None:
        return
    (_pen, begin, end), ticks, texts = axis.laid_out
    line, grid = QColor(theme.colours().line), QColor(theme.colours().hover)
    strokes = [(begin, end, line), *((one, other, grid) for _pen, one, other in ticks)]
    for one, other, colour in strokes:
        left, top = min(one.x(), other.x()), min(one.y(), other.y())
        width, height = abs(one.x() - other.x()), abs(one.y() - other.y())
        painter.fillRect(QRectF(left, top, max(1.0, width), max(1.0, height)), colour)
    painter.setFont(axis.style["tickFont"] or painter.font())
    painter.setPen(axis.textPen())
    for rect, flags, text in texts:
        painter.drawText(rect, int(flags), text)


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

    def _read(self, x: float) -> str:
        for left, right, count in zip(
            self._bars.edges[:-1], self._bars.edges[1:], self._bars.counts, strict=False
        ):
            if left <= x < right:
                return f"{left:g} to {right:g} {self._bars.unit}: {count:g}"
        return ""
