"""Lines over epochs or steps: hover and keyboard readings, zoom, logarithm, picture and table.

A redraw touches only lines that changed, hands them to pyqtgraph as arrays, and draws them one pixel
wide: six lines of a thousand epochs stay far below one frame of the screen. What is seen until
somebody looks closer is a first picture of the same lines.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final, Protocol

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtGui import QAction, QColor, QFocusEvent, QKeyEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QMenu, QToolButton

from app.ui import theme
from app.ui.models.axis import Span
from app.ui.widgets.first_picture import FirstPicture, Trace
from app.ui.widgets.labels import IconButton, label
from app.ui.widgets.plots import REDRAW_MS, Plot

MOST_LINES: Final = 8
"""Lines shown at first; the menu switches the others on."""
_STYLES: Final = (
    Qt.PenStyle.SolidLine,
    Qt.PenStyle.DashDotLine,
    Qt.PenStyle.DotLine,
    Qt.PenStyle.DashDotDotLine,
)
_PICTURE_RATIO: Final = 2.0
_ZOOM: Final = 1.5
_SHARES: Final = Span(low=-0.02, high=1.02)
_MOST_BOUNDS: Final = 60
"""Ends of rounds that are drawn; of more, every second, third, ...."""
NO_LOGARITHM: Final = "Zero and values below it have no logarithm."


class Line(Protocol):
    """One curve; `points` marks single values, `like` names the line whose colour it shares."""

    @property
    def name(self) -> str: ...
    @property
    def x(self) -> tuple[float, ...]: ...
    @property
    def y(self) -> tuple[float, ...]: ...
    @property
    def dashed(self) -> bool: ...
    @property
    def points(self) -> bool: ...
    @property
    def like(self) -> str: ...


class CurvePlot(Plot):
    """Lines over epochs or steps.

    `floor` is a value that no line goes below; the logarithmic axis then shows the distance from
    it (nnU-Net's loss ends near -1). Keys: Left and Right read epoch by epoch, + and - zoom,
    Home shows everything, L switches the logarithm, Shift+F10 opens the menu.
    """

    save_wished = Signal(str)
    """The operator wants a file of this plot: "png" or "csv"."""

    def __init__(
        self,
        title: str,
        *,
        bottom: str = "Epoch",
        empty: str,
        hint: str = "",
        unit_range: bool = False,
        floor: float = 0.0,
        redraw_ms: int = REDRAW_MS,
    ) -> None:
        super().__init__(title, bottom, empty, hint=hint, redraw_ms=redraw_ms)
        self._unit_range = unit_range
        self._floor = floor
        self._lines: tuple[Line, ...] = ()
        self._bounds: tuple[float, ...] = ()
        self._switched: dict[str, bool] = {}
        self._items: list[Any] = []
        self._drawn: list[tuple[object, ...]] = []
        self._ticks: Any = None
        self._cursor_line: Any = None
        self._cursor: float | None = None
        self._named = ""
        self._zoomed = False
        self.log_values = False
        self.log_epochs = False
        self._legend = label("", "caption")
        self._legend.setTextFormat(Qt.TextFormat.RichText)
        self._legend.hide()
        self._head.addWidget(self._legend)
        self._whole = IconButton("whole", "Show the whole curve (Home)", clicked=self.show_whole)
        self._whole.hide()
        self.tools.addWidget(self._whole)
        self.menu = QMenu(self)
        self.menu.aboutToShow.connect(self._fill_menu)
        self._more = IconButton("more", f"{title}: scale, curves, save")
        self._more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._more.setMenu(self.menu)
        self.tools.addWidget(self._more)
        for button in (self._whole, self._more):
            button.setIconSize(QSize(16, 16))
            button.setMinimumSize(24, 24)
            button.setMaximumHeight(24)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    # --- what is drawn -------------------------------------------------------------------------

    def draw(self, lines: Sequence[Line], bounds: Sequence[float] = ()) -> None:
        """Show these lines; `bounds` are the last epochs of rounds. At most two redraws a second."""
        wanted, ends = tuple(lines), tuple(bounds)
        if wanted != self._lines or ends != self._bounds:
            self._lines, self._bounds = wanted, ends
            self._later()

    @property
    def bottom(self) -> str:
        """What the lower axis counts."""
        return self._bottom

    def shown(self) -> tuple[Line, ...]:
        """Return the lines that are switched on; at first no more than `MOST_LINES`."""
        return tuple(
            line
            for number, line in enumerate(self._lines)
            if self._switched.get(line.name, number < MOST_LINES)
        )

    def switch(self, name: str, *, on: bool) -> None:
        """Show or hide the line of this name."""
        self._switched[name] = on
        self._draw_now()

    def can_log_values(self) -> bool:
        """Whether every value shown lies above the floor."""
        values = [min(line.y) for line in self.shown() if line.y]
        return bool(values) and min(values) > self._floor

    def set_logarithm(self, *, values: bool | None = None, epochs: bool | None = None) -> None:
        """Switch the logarithm of an axis; None leaves it."""
        if values is not None:
            self.log_values = values and self.can_log_values()
        if epochs is not None:
            self.log_epochs = epochs
        self._draw_now()

    def show_whole(self) -> None:
        """Undo zoom and drag."""
        self._zoomed = False
        if self._plot is not None:
            self._plot.getPlotItem().getViewBox().enableAutoRange(x=True)
            self._fit_values()
        self._whole.hide()

    def zoom(self, factor: float) -> None:
        """Zoom in (> 1) or out around the reading, else around the middle."""
        self._need_plot()
        if self._plot is None:
            return
        view = self._plot.getPlotItem().getViewBox()
        low, high = view.viewRange()[0]
        centre = (low + high) / 2 if self._cursor is None else self._place(self._cursor)
        view.setXRange(
            centre - (centre - low) / factor, centre + (high - centre) / factor, padding=0
        )
        self._note_zoom()

    def read_next(self, step: int) -> None:
        """Move the reading to the next (1) or previous (-1) epoch that has a value."""
        self._need_plot()
        places = sorted({x for line in self.shown() for x in line.x})
        if not places:
            return
        if self._cursor is None:
            self._point_at_value(places[-1] if step < 0 else places[0])
            return
        number = bisect_left(places, self._cursor) + step
        self._point_at_value(places[max(0, min(len(places) - 1, number))])

    def picture(self) -> bytes:
        """Return the plot with its title and legend as a PNG file, twice as fine as the screen."""
        from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QPoint
        from PySide6.QtGui import QImage, QImageWriter

        self._need_plot()
        buttons = (self._whole.isVisible(), self._more.isVisible())
        self._whole.hide()
        self._more.hide()
        image = QImage(self.size() * _PICTURE_RATIO, QImage.Format.Format_RGB32)
        image.setDevicePixelRatio(_PICTURE_RATIO)
        image.fill(QColor(theme.colours().surface))
        painter = QPainter(image)
        self.render(painter, QPoint())
        painter.end()
        self._whole.setVisible(buttons[0])
        self._more.setVisible(buttons[1])
        kept = QBuffer()
        kept.open(QIODevice.OpenModeFlag.WriteOnly)
        QImageWriter(kept, QByteArray(b"png")).write(image)
        return bytes(kept.data().data())

    # --- for Plot ------------------------------------------------------------------------------

    def _has_content(self) -> bool:
        return any(line.x for line in self._lines)

    def _build(self) -> None:
        import pyqtgraph

        super()._build()
        _tick_whole_numbers(self._plot.getAxis("bottom"))
        item = self._plot.getPlotItem()
        view = item.getViewBox()
        view.setAutoVisible(y=True)
        view.sigRangeChangedManually.connect(self._note_zoom)
        self._ticks = pyqtgraph.VTickGroup([], yrange=[0.0, 1.0])
        self._cursor_line = pyqtgraph.InfiniteLine(angle=90)
        self._cursor_line.hide()
        for part in (self._ticks, self._cursor_line):
            part.setZValue(-1)
            item.addItem(part, ignoreBounds=True)
        self._colour()

    def _draw_first(self) -> FirstPicture:
        if not isinstance(self._first, FirstPicture):
            picture = FirstPicture(self._bottom, values=_SHARES if self._unit_range else None)
        else:
            picture = self._first
        shown, numbers = self.shown(), _hues(self._lines)
        picture.draw([_trace(line, numbers[line.name]) for line in shown], self._marked_bounds())
        self._name_lines(shown, numbers)
        return picture

    def _marked_bounds(self) -> list[float]:
        """Return between which epochs rounds end; of very many, some."""
        ends = self._bounds[:-1]
        apart = max(1, -(-len(ends) // _MOST_BOUNDS))
        return [end + 0.5 for end in ends[apart - 1 :: apart]]

    def _redraw(self) -> None:
        if self.log_values and not self.can_log_values():
            self.log_values = False
        item = self._plot.getPlotItem()
        if (self.log_epochs, self.log_values) != _logarithms(item):
            self._drawn = [()] * len(self._items)
            item.setLogMode(self.log_epochs, self.log_values)
            label_left = f"{self._title.text()} + {-self._floor:g}" if self._floor else ""
            item.setLabel(
                "left", label_left if self.log_values else "", color=theme.colours().muted
            )
        shown = self.shown()
        numbers = _hues(self._lines)
        while len(self._items) < len(shown):
            self._items.append(self._plot.plot())
            self._drawn.append(())
        for place, line in enumerate(shown):
            self._draw_line(place, line, numbers[line.name])
        for place in range(len(shown), len(self._items)):
            if self._drawn[place]:
                self._items[place].setData([], [])
                self._drawn[place] = ()
        self._ticks.setXVals([self._place(bound) for bound in self._marked_bounds()])
        self._fit_values()
        self._name_lines(shown, numbers)

    def _draw_line(self, place: int, line: Line, number: int) -> None:
        """Give one line to pyqtgraph, only what differs from its last drawing."""
        import numpy
        import pyqtgraph

        item, before = self._items[place], self._drawn[place]
        trace = _trace(line, number)
        look = (trace.colour, trace.style, trace.marked)
        if before[2:] != look:
            colour = QColor(trace.colour)
            item.setPen(
                None if line.points else pyqtgraph.mkPen(colour, width=1, style=trace.style)
            )
            item.setSymbol(("d" if line.points else "o") if trace.marked else None)
            item.setSymbolSize(7 if line.points else 5)
            item.setSymbolBrush(colour)
            item.setSymbolPen(None)
        if before[:2] != (line.x, line.y):
            values = numpy.asarray(line.y, dtype=numpy.float64)
            if self.log_values:
                values = values - self._floor
            item.setData(numpy.asarray(line.x, dtype=numpy.float64), values)
        self._drawn[place] = (line.x, line.y, *look)

    def _fit_values(self) -> None:
        """Let the values fill the height; shares keep 0 to 1 until somebody looks closer."""
        if self._plot is None:
            return
        view = self._plot.getPlotItem().getViewBox()
        if self._unit_range and not self.log_values and not self._zoomed:
            view.setYRange(_SHARES.low, _SHARES.high, padding=0)
        else:
            view.enableAutoRange(y=True)

    def _colour(self) -> None:
        super()._colour()
        if self._ticks is None:
            return
        import pyqtgraph

        colours = theme.colours()
        self._ticks.setPen(pyqtgraph.mkPen(QColor(colours.line), width=1))
        self._cursor_line.setPen(pyqtgraph.mkPen(QColor(colours.edge), width=1))
        self._named = ""

    def _name_lines(self, shown: tuple[Line, ...], numbers: dict[str, int]) -> None:
        parts = []
        for line in shown if len(self._lines) > 1 else ():
            colour, style = _pen_of(numbers[line.name], dashed=line.dashed)
            sign = "◆" if line.points else "━━" if style is Qt.PenStyle.SolidLine else "╌╌"
            parts.append(
                f'<span style="color:{colour}; font-family:monospace">{sign}</span>'
                f"&nbsp;{_plain(line.name)}"
            )
        left_out = len(self._lines) - len(shown)
        if left_out:
            parts.append(f"and&nbsp;{left_out}&nbsp;more in the menu")
        text = " &nbsp; ".join(parts)
        if text != self._named:
            self._named = text
            self._legend.setText(text)
            self._legend.setVisible(bool(text))

    # --- reading -------------------------------------------------------------------------------

    def _place(self, x: float) -> float:
        """Return where `x` lies on the drawn axis."""
        import math

        return math.log10(x) if self.log_epochs and x > 0 else x

    def _point_at(self, x: float) -> None:
        self._point_at_value(10.0**x if self.log_epochs and x < 300 else x)

    def _point_at_value(self, x: float) -> None:
        nearest = self._nearest(x)
        self._cursor = nearest
        text = self._read(x)
        self._reading.setText(text or " ")
        self.setAccessibleDescription(text)
        if self._cursor_line is not None:
            self._cursor_line.setVisible(nearest is not None)
            if nearest is not None:
                self._cursor_line.setValue(self._place(nearest))

    def _nearest(self, x: float) -> float | None:
        """Return the place nearest to `x` where a shown line has a value, within one step."""
        best: float | None = None
        for line in self.shown():
            at = bisect_left(line.x, x)
            for place in line.x[max(0, at - 1) : at + 1]:
                if best is None or abs(place - x) < abs(best - x):
                    best = place
        return best if best is not None and abs(best - x) <= 1.0 else None

    def _read(self, x: float) -> str:
        nearest = self._nearest(x)
        if nearest is None:
            return ""
        parts = []
        for line in self.shown():
            at = bisect_left(line.x, nearest)
            if at < len(line.x) and line.x[at] == nearest:
                parts.append(f"{line.name} {line.y[at]:.4g}")
        within = ""
        if self._bounds and nearest <= self._bounds[-1]:
            within = f" (round {bisect_left(self._bounds, nearest) + 1})"
        return f"{self._bottom} {nearest:g}{within}: {', '.join(parts)}"

    # --- private -------------------------------------------------------------------------------

    def _draw_now(self) -> None:
        """Redraw at once: a person asked for it."""
        self._need_plot()
        self._stale = True
        self._timer.stop()
        self._redraw_if_stale()

    def _note_zoom(self, *_what: object) -> None:
        self._zoomed = True
        self._fit_values()
        self._whole.setVisible(True)

    def _fill_menu(self) -> None:
        self.menu.clear()
        self.menu.setToolTipsVisible(True)
        values = self._checkable("Logarithmic values", self.log_values)
        values.setEnabled(self.can_log_values())
        values.setToolTip(
            f"Shown as the distance from {self._floor:g}" if self._floor else ""
        ) if values.isEnabled() else values.setToolTip(NO_LOGARITHM)
        values.toggled.connect(lambda on: self.set_logarithm(values=on))
        epochs = self._checkable(f"Logarithmic {self._bottom.lower()}s", self.log_epochs)
        epochs.toggled.connect(lambda on: self.set_logarithm(epochs=on))
        self.menu.addAction("Show the whole curve").triggered.connect(
            lambda _checked=False: self.show_whole()
        )
        if len(self._lines) > 1:
            curves = self.menu.addMenu("Curves")
            on = {line.name for line in self.shown()}
            for line in self._lines:
                one = QAction(line.name, curves)
                one.setCheckable(True)
                one.setChecked(line.name in on)
                one.toggled.connect(lambda on, name=line.name: self.switch(name, on=on))
                curves.addAction(one)
        self.menu.addSeparator()
        for kind, text in (("png", "Save as picture…"), ("csv", "Save as table…")):
            self.menu.addAction(text).triggered.connect(
                lambda _checked=False, kind=kind: self.save_wished.emit(kind)
            )

    def _checkable(self, text: str, checked: bool) -> QAction:
        action = self.menu.addAction(text)
        action.setCheckable(True)
        action.setChecked(checked)
        return action

    # Qt overrides

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self.hasFocus():
            painter = QPainter(self)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(QPen(QColor(theme.colours().accent), 2))
            painter.drawRoundedRect(self.rect().adjusted(1, 1, -1, -1), 6, 6)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        match event.key():
            case Qt.Key.Key_Left:
                self.read_next(-1)
            case Qt.Key.Key_Right:
                self.read_next(1)
            case Qt.Key.Key_Plus | Qt.Key.Key_Equal:
                self.zoom(_ZOOM)
            case Qt.Key.Key_Minus:
                self.zoom(1 / _ZOOM)
            case Qt.Key.Key_Home:
                self.show_whole()
            case Qt.Key.Key_L:
                self.set_logarithm(values=not self.log_values)
            case _:
                super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.update()

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        if self._cursor_line is not None and not self.hasFocus():
            self._cursor = None
            self._cursor_line.hide()
            self._reading.setText(" ")


def _pen_of(number: int, *, dashed: bool) -> tuple[str, Qt.PenStyle]:
    """Return the colour and style of the line `number`; styles tell equal colours apart."""
    curves = theme.colours().curves
    style = (
        Qt.PenStyle.DashLine if dashed else _STYLES[min(number // len(curves), len(_STYLES) - 1)]
    )
    return curves[number % len(curves)], style


def _trace(line: Line, number: int) -> Trace:
    colour, style = _pen_of(number, dashed=line.dashed)
    return Trace(
        x=line.x,
        y=line.y,
        colour=colour,
        style=Qt.PenStyle.NoPen if line.points else style,
        # A single value has no line: a mark shows it.
        marked=line.points or len(line.x) <= 2,
    )


def _hues(lines: tuple[Line, ...]) -> dict[str, int]:
    """Return the number of each line's colour; a line that is like another one has the same."""
    numbers: dict[str, int] = {}
    for line in lines:
        if not line.like:
            numbers[line.name] = len(numbers)
    own = len(numbers)
    for line in lines:
        if line.like:
            numbers[line.name] = numbers.get(line.like, own)
    return numbers


def _logarithms(item: Any) -> tuple[bool, bool]:  # noqa: ANN401 - pyqtgraph has no types
    return bool(item.getAxis("bottom").logMode), bool(item.getAxis("left").logMode)


def _plain(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return text.replace(" ", "&nbsp;")


def _tick_whole_numbers(axis: Any) -> None:  # noqa: ANN401 - pyqtgraph has no types
    """Let an axis of epochs or steps have no ticks between whole numbers."""
    spacings = axis.tickSpacing

    def whole(least: float, most: float, pixels: float) -> list[tuple[float, float]]:
        if axis.logMode:
            return list(spacings(least, most, pixels))
        return [pair for pair in spacings(least, most, pixels) if pair[0] >= 1] or [(1.0, 0.0)]

    axis.tickSpacing = whole
