from __future__ import annotations

import math

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QColor, QEnterEvent, QImage, QMouseEvent
from PySide6.QtWidgets import QApplication

from app.ui.models.axis import Span
from app.ui.presenters.parts import Curve
from app.ui.theme import Theme, colours
from app.ui.widgets import plotting
from app.ui.widgets.curve_plot import CurvePlot
from app.ui.widgets.first_picture import FirstPicture, Trace

RED = "#ff0000"
VALUES = (1.0, 3.0, 2.0, 0.5, 2.5)
EPOCHS = (1.0, 2.0, 3.0, 4.0, 5.0)


@pytest.fixture
def picture(qtbot, look):
    made = FirstPicture("Epoch")
    qtbot.addWidget(made)
    made.resize(400, 240)
    made.show()
    return made


def pixels_of(widget) -> np.ndarray:
    """Return the blue, green and red of each pixel, shape (height, width, 3)."""
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    flat = np.frombuffer(image.constBits(), np.uint8)
    return flat.reshape(image.height(), image.width(), 4)[..., :3].astype(int)


def painted(widget) -> set[tuple[int, int]]:
    """Return the places of the pixels that are clearly red."""
    blue, green, red = np.moveaxis(pixels_of(widget), -1, 0)
    rows, columns = np.nonzero(red - np.maximum(blue, green) > 40)
    return set(zip(columns.tolist(), rows.tolist(), strict=True))


def on_screen(picture: FirstPicture, x: float, y: float) -> tuple[int, int]:
    area = picture.area()
    return (
        round(area.left() + picture.seen().share(x) * area.width()),
        round(area.bottom() - picture.values().share(y) * area.height()),
    )


def test_a_line_goes_through_its_values(picture):
    picture.draw([Trace(x=EPOCHS, y=VALUES, colour=RED)])
    pixels = painted(picture)
    for epoch, value in zip(EPOCHS, VALUES, strict=True):
        x, y = on_screen(picture, epoch, value)
        assert any((x + dx, y + dy) in pixels for dx in (-1, 0, 1) for dy in (-2, -1, 0, 1, 2))
    first, last = on_screen(picture, 1, 0)[0], on_screen(picture, 5, 0)[0]
    assert {x for x, _ in pixels} >= set(range(first + 2, last - 1))


def test_marks_stand_alone_where_there_is_no_line(picture):
    picture.draw([Trace(x=EPOCHS, y=VALUES, colour=RED, style=Qt.PenStyle.NoPen, marked=True)])
    pixels = painted(picture)
    for epoch, value in zip(EPOCHS, VALUES, strict=True):
        assert on_screen(picture, epoch, value) in pixels
    between = on_screen(picture, 1.5, 2.0)[0]
    assert not {y for x, y in pixels if x == between}


def test_one_value_and_equal_values_have_room(picture):
    picture.draw([Trace(x=(1.0,), y=(0.5,), colour=RED, marked=True)])
    assert on_screen(picture, 1.0, 0.5) in painted(picture)


def test_nothing_is_painted_before_there_is_something(picture):
    picture.draw([Trace(x=(), y=(), colour=RED)])
    assert not painted(picture)


def test_given_values_are_shown_whatever_the_lines_are(qtbot, look):
    made = FirstPicture("Epoch", values=Span(low=0.0, high=1.0))
    qtbot.addWidget(made)
    made.draw([Trace(x=EPOCHS, y=VALUES, colour=RED)])
    assert made.values() == Span(low=0.0, high=1.0)


# --- and the plot that takes its place -------------------------------------------------------------


def curve(*y: float, name: str = "Training", **changes: object) -> Curve:
    return Curve(name=name, x=tuple(float(n + 1) for n in range(len(y))), y=y, **changes)


@pytest.fixture
def loading(monkeypatch):
    """pyqtgraph as if it were not imported yet: what is asked for, and whether it has come."""

    class Loading:
        come = False
        asked = 0

    state = Loading()

    def beside() -> None:
        state.asked += 1

    def now() -> None:
        state.come = True

    monkeypatch.setattr(plotting, "is_loaded", lambda: state.come)
    monkeypatch.setattr(plotting, "load_beside", beside)
    monkeypatch.setattr(plotting, "load", now)
    return state


@pytest.fixture
def plot(qtbot, look, loading):
    made = CurvePlot("Loss", empty="Nothing measured yet.", redraw_ms=20)
    qtbot.addWidget(made)
    made.resize(400, 300)
    made.show()
    return made


def move_over(widget) -> None:
    at, none = QPointF(50, 50), Qt.MouseButton.NoButton
    kind, keys = QEvent.Type.MouseMove, Qt.KeyboardModifier.NoModifier
    QApplication.sendEvent(widget, QMouseEvent(kind, at, widget.mapToGlobal(at), none, none, keys))


def test_lines_are_seen_before_pyqtgraph_is_asked_for(plot, loading, qtbot):
    plot.draw([curve(*VALUES), curve(*VALUES[::-1], name="Validation")])
    assert isinstance(plot._first, FirstPicture)
    assert plot._first.isVisible()
    assert plot._plot is None
    assert not loading.asked
    assert "Validation" in plot._legend.text()
    qtbot.waitUntil(lambda: loading.asked > 0)
    assert plot._plot is None


def test_the_picture_stays_and_follows_until_somebody_asks_for_more(plot, loading, qtbot):
    plot.draw([curve(*VALUES)])
    loading.come = True
    first = plot._first
    plot.draw([curve(*VALUES, 1.0)])
    qtbot.waitUntil(lambda: plot.redraws == 2)
    assert plot._first is first
    assert plot._plot is None
    assert first._traces[0].y == (*VALUES, 1.0)
    qtbot.wait(100)
    assert plot.redraws == 2  # nothing is drawn that did not change


def test_the_plot_takes_the_place_of_the_picture(plot, loading, qtbot):
    plot.draw([curve(*VALUES)])
    move_over(plot._first)
    assert plot._first is None
    assert plot._plot.isVisible()
    assert list(plot._items[0].getData()[1]) == list(VALUES)
    redraws = plot.redraws
    qtbot.wait(100)
    assert plot.redraws == redraws


@pytest.mark.parametrize(
    "ask",
    [
        lambda plot: move_over(plot._first),
        lambda plot: plot.zoom(1.5),
        lambda plot: plot.read_next(1),
        lambda plot: plot.picture(),
        lambda plot: plot.set_logarithm(values=True),
        lambda plot: plot.switch("Training", on=True),
    ],
    ids=["point", "zoom", "read", "save", "logarithm", "switch"],
)
def test_whoever_asks_more_has_the_plot_at_once(plot, loading, ask):
    plot.draw([curve(*VALUES)])
    ask(plot)
    assert plot._plot is not None
    assert plot._plot.isVisible()


def test_lines_that_go_away_take_their_picture_along(plot, qtbot):
    plot.draw([curve(*VALUES)])
    plot.draw([])
    qtbot.waitUntil(plot._empty.isVisible)
    assert not plot._first.isVisible()


@pytest.mark.parametrize("theme", list(Theme))
@pytest.mark.parametrize("unit_range", [False, True])
def test_picture_and_plot_show_the_same(qtbot, look, loading, theme, unit_range):
    look.choose(theme)
    made = CurvePlot("Overlap", empty="Nothing yet.", unit_range=unit_range, redraw_ms=20)
    qtbot.addWidget(made)
    made.resize(600, 320)
    made.show()
    shares = tuple(0.5 + 0.4 * math.sin(n / 40) for n in range(300))
    made.draw([curve(*shares)], [100.0, 200.0, 300.0])
    QApplication.processEvents()
    hue = colours().curves[0]
    first, picture = lines_in(made, hue), made._first
    area = picture.area().translated(picture.pos())
    move_over(picture)
    qtbot.waitUntil(lambda: made._plot is not None)
    QApplication.processEvents()
    view = made._plot.getPlotItem().getViewBox()
    corner = made._plot.mapTo(made, made._plot.mapFromScene(view.sceneBoundingRect().topLeft()))
    size = view.sceneBoundingRect().size()
    # The same place for the lines, within a few pixels, so that nothing jumps when they change over.
    assert abs(corner.x() - area.left()) <= 4
    assert abs(corner.y() - area.top()) <= 6
    assert abs(corner.y() + size.height() - area.bottom()) <= 8
    second = lines_in(made, hue)
    assert min(len(first), len(second)) > 100
    columns = range(max(min(first), min(second)), min(max(first), max(second)))
    one, other = (np.interp(columns, list(line), list(line.values())) for line in (first, second))
    assert np.abs(one - other).max() <= 12


def lines_in(plot: CurvePlot, hue: str) -> dict[int, float]:
    """Return for each column of the picture how high the line of this colour lies in the middle."""
    wanted = QColor(hue)
    apart = np.abs(pixels_of(plot) - [wanted.blue(), wanted.green(), wanted.red()]).max(axis=-1)
    rows, columns = np.nonzero(apart[60:-40, 70:] < 60)
    return {int(column): float(rows[columns == column].mean()) for column in np.unique(columns)}


def test_a_window_that_opens_under_the_mouse_still_opens_at_once(plot):
    plot.draw([curve(*VALUES)])
    QApplication.sendEvent(plot, QEnterEvent(QPointF(), QPointF(), QPointF()))
    QApplication.sendEvent(plot, QEvent(QEvent.Type.Leave))
    assert plot._plot is None
