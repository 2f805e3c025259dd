from __future__ import annotations

from itertools import pairwise

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication

from app.ui.models.axis import Span
from app.ui.theme import Theme, colours
from app.ui.widgets.curve_canvas import CurveCanvas, Trace

RED, BLUE = "#ff0000", "#0000ff"


@pytest.fixture
def canvas(qtbot, look):
    made = CurveCanvas("Epoch", whole=True)
    qtbot.addWidget(made)
    made.resize(400, 240)
    made.show()
    return made


def trace(*y: float, colour: str = RED, **changes: object) -> Trace:
    x = tuple(float(number + 1) for number in range(len(y)))
    return Trace(x=x, y=y, colour=colour, **changes)


def painted(canvas: CurveCanvas, colour: str) -> list[tuple[int, int]]:
    """Return the pixels that are clearly more of this colour (red or blue) than of any other."""
    image, own = canvas.grab().toImage(), 0 if colour == RED else 2
    found = []
    for x in range(image.width()):
        for y in range(image.height()):
            parts = list(image.pixelColor(x, y).getRgb()[:3])
            mine = parts.pop(own)
            if mine - max(parts) > 40:
                found.append((x, y))
    return found


def on_screen(canvas: CurveCanvas, x: float, y: float) -> tuple[float, float]:
    area = canvas.area()
    return (
        area.left() + canvas.seen.share(x) * area.width(),
        area.bottom() - canvas.values.share(y) * area.height(),
    )


def turn(canvas: CurveCanvas, at: QPointF, *, up: bool = True, ctrl: bool = True) -> bool:
    event = QWheelEvent(
        at, canvas.mapToGlobal(at), QPoint(), QPoint(0, 120 if up else -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.ControlModifier if ctrl else Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    event.ignore()
    QApplication.sendEvent(canvas, event)
    return event.isAccepted()


def test_a_line_goes_through_its_values(canvas):
    values = (1.0, 3.0, 2.0, 0.5, 2.5)
    canvas.show_traces([trace(*values)])
    pixels = set(painted(canvas, RED))
    for number, value in enumerate(values[1:-1], start=2):
        x, y = on_screen(canvas, number, value)
        assert any(
            (round(x) + dx, round(y) + dy) in pixels
            for dx in (-1, 0, 1)
            for dy in (-2, -1, 0, 1, 2)
        ), (number, value)
    area = canvas.area()
    assert all(area.left() <= x <= area.right() + 8 for x, _ in pixels)
    # Every column between the first and the last value is crossed: no part is left out.
    first, last = on_screen(canvas, 1, 0)[0], on_screen(canvas, 5, 0)[0]
    assert {x for x, _ in pixels} >= set(range(round(first) + 2, round(last) - 1))


def test_marks_alone_have_no_line_between_them(canvas):
    canvas.show_traces([trace(1.0, 2.0, 1.5, style=Qt.PenStyle.NoPen, marked=True)])
    columns = sorted({x for x, _ in painted(canvas, RED)})
    assert sum(b - a > 5 for a, b in pairwise(columns)) == 2


def test_bars_stand_on_zero_and_between_their_edges(canvas):
    canvas.fixed_values = Span(low=0.0, high=6.0)
    canvas.show_traces([Trace(x=(0.0, 1.0, 2.0), y=(3.0, 5.0), colour=BLUE, bars=True)])
    pixels = painted(canvas, BLUE)  # the outlines
    top = min(y for x, y in pixels)
    assert top == pytest.approx(on_screen(canvas, 1.5, 5.0)[1], abs=2)
    assert max(x for x, _ in pixels) == pytest.approx(on_screen(canvas, 2.0, 0)[0], abs=2)


def test_values_fit_what_is_seen(canvas):
    canvas.show_traces([trace(*(float(n) for n in range(1, 101)))])
    assert canvas.values.low < 1
    assert canvas.values.high > 100
    canvas.zoom(4, about=canvas.seen.low)
    assert canvas.values.high < 40
    canvas.fixed_values = Span(low=0.0, high=1.0)
    assert canvas.values == Span(low=0.0, high=1.0)


def test_only_traces_that_differ_are_prepared_anew(canvas, monkeypatch):
    canvas.show_traces([trace(1.0, 2.0), trace(3.0, 4.0, colour=BLUE)])
    prepared = []
    shape = canvas._shape
    monkeypatch.setattr(canvas, "_shape", lambda one: (prepared.append(one.colour), shape(one))[1])
    canvas.show_traces([trace(1.0, 2.0), trace(3.0, 4.0, 5.0, colour=BLUE)])
    assert prepared == [BLUE]


def test_the_wheel_zooms_with_ctrl_about_the_mouse_and_else_is_the_pages(canvas, qtbot):
    canvas.show_traces([trace(*(float(n) for n in range(100)))])
    before, at = canvas.seen, QPointF(canvas.area().center())
    assert not turn(canvas, at, ctrl=False)
    assert canvas.seen == before
    with qtbot.waitSignal(canvas.zoomed):
        assert turn(canvas, at)
    assert canvas.seen.width < before.width
    assert canvas.seen.at(0.5) == pytest.approx(before.at(0.5), abs=0.5)
    for _ in range(40):
        turn(canvas, at, up=False)
    assert canvas.seen == canvas.whole
    for _ in range(60):
        turn(canvas, at)
    assert canvas.seen.width >= 1


def test_dragging_moves_and_the_right_button_zooms(canvas, qtbot):
    canvas.show_traces([trace(*(float(n) for n in range(100)))])
    canvas.zoom(4)
    before, middle = canvas.seen, canvas.area().center().toPoint()
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=middle)
    qtbot.mouseMove(canvas, middle + QPoint(60, 0))
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=middle + QPoint(60, 0))
    moved = canvas.seen
    assert moved.low < before.low
    assert moved.width == pytest.approx(before.width)
    qtbot.mousePress(canvas, Qt.MouseButton.RightButton, pos=middle)
    qtbot.mouseMove(canvas, middle + QPoint(40, 0))
    qtbot.mouseRelease(canvas, Qt.MouseButton.RightButton, pos=middle + QPoint(40, 0))
    assert canvas.seen.width < moved.width


def test_the_mouse_tells_where_it_is(canvas, qtbot):
    canvas.show_traces([trace(*(float(n) for n in range(100)))])
    area = canvas.area()
    told = []
    canvas.pointed.connect(told.append)
    qtbot.mouseMove(canvas, QPoint(round(area.left() + area.width() / 4), 60))
    qtbot.waitUntil(lambda: bool(told))
    assert told[-1] == pytest.approx(canvas.seen.at(0.25), abs=0.5)


def test_the_whole_follows_what_is_added_until_somebody_zooms(canvas):
    canvas.show_traces([trace(1.0, 2.0, 3.0)])
    canvas.show_traces([trace(*(float(n) for n in range(50)))])
    assert canvas.seen.high > 50
    canvas.zoom(2)
    seen = canvas.seen
    canvas.show_traces([trace(*(float(n) for n in range(80)))])
    assert canvas.seen == seen
    canvas.show_whole()
    assert canvas.seen.high > 80


def test_logarithms_are_drawn_where_their_values_belong(canvas):
    canvas.show_traces([trace(10.0, 100.0, 1000.0)])
    canvas.set_logarithm(x=False, y=True)
    low, high = canvas.values.low, canvas.values.high
    assert low < 1 < 3 < high < 3.5
    assert [tick.text for tick in canvas._left_ticks(canvas.area(), canvas.values)][:1] == ["10"]
    canvas.set_logarithm(x=True, y=True)
    assert canvas.place(3.0) == pytest.approx(0.4771, abs=1e-4)
    assert canvas.value(canvas.place(3.0)) == pytest.approx(3.0)
    # An exponential is a straight line: its middle lies half way.
    canvas.set_logarithm(x=False, y=True)
    x, y = on_screen(canvas, 2, 2.0)
    assert any(abs(px - x) <= 1 and abs(py - y) <= 2 for px, py in painted(canvas, RED))


def test_the_reading_is_a_line_at_its_value(canvas):
    canvas.show_traces([trace(1.0, 2.0, 3.0)])
    canvas.point_at(2.0)
    x = round(on_screen(canvas, 2.0, 0)[0])
    column = canvas.grab().toImage().pixelColor(x, round(canvas.area().top()) + 3)
    assert column.name() == colours().edge
    canvas.point_at(None)
    column = canvas.grab().toImage().pixelColor(x, round(canvas.area().top()) + 3)
    assert column.name() != colours().edge


def test_axes_follow_the_look(canvas, look):
    canvas.show_traces([trace(1.0, 2.0, 3.0)])
    at = QPoint(round(canvas.area().left()), round(canvas.area().center().y()))
    assert canvas.grab().toImage().pixelColor(at).name() == colours().line
    dark = colours().line
    look.choose(Theme.LIGHT)
    assert canvas.grab().toImage().pixelColor(at).name() == colours().line != dark
