from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage

from app.ui.presenters.parts import Curve
from app.ui.theme import Theme
from app.ui.widgets.curve_plot import MOST_LINES, CurvePlot


@pytest.fixture
def plot(qtbot, look):
    made = CurvePlot("Loss", empty="Nothing measured yet.", floor=-1.0)
    qtbot.addWidget(made)
    made.resize(400, 300)
    made.show()
    return made


def curve(*y: float, name: str = "Training", **changes: object) -> Curve:
    x = tuple(float(number + 1) for number in range(len(y)))
    return Curve(name=name, x=x, y=y, **changes)


def test_empty_until_something_is_measured(plot, qtbot):
    assert plot._empty.isVisible()
    assert plot._plot is None  # pyqtgraph is not even made
    plot.draw([curve(1.0, 0.5)])
    qtbot.waitUntil(lambda: plot.redraws == 1)
    assert not plot._empty.isVisible()


def test_lines_are_those_given_and_one_pixel_wide(plot):
    plot.draw([curve(1.0, 0.5, 0.2), curve(1.1, 0.6, 0.3, name="Validation", dashed=True)])
    first, second = plot._items
    assert list(first.getData()[1]) == [1.0, 0.5, 0.2]
    assert list(second.getData()[0]) == [1.0, 2.0, 3.0]
    assert {item.opts["pen"].width() for item in plot._items} == {1}


def test_a_line_that_went_away_is_emptied(plot, qtbot):
    plot.draw([curve(1.0, 0.5), curve(2.0, 3.0, name="Other")])
    plot.draw([curve(1.0, 0.5)])
    qtbot.waitUntil(lambda: plot.redraws == 2, timeout=2000)
    assert plot._items[1].getData()[0] is None or len(plot._items[1].getData()[0]) == 0


def test_equal_lines_are_not_drawn_again(plot, qtbot):
    plot.draw([curve(1.0, 0.5)])
    plot.draw([curve(1.0, 0.5)])
    qtbot.wait(600)
    assert plot.redraws == 1


def test_only_a_line_that_changed_is_handed_over(plot, qtbot, monkeypatch):
    plot.draw([curve(1.0, 0.5, 0.4), curve(1.1, 0.6, 0.5, name="Validation")])
    given = []
    for number, item in enumerate(plot._items):
        original = item.setData
        monkeypatch.setattr(
            item,
            "setData",
            lambda *args, number=number, original=original: (
                given.append(number),
                original(*args),
            ),
        )
    plot.draw([curve(1.0, 0.5, 0.4), curve(1.1, 0.6, 0.5, 0.4, name="Validation")])
    qtbot.waitUntil(lambda: plot.redraws == 2, timeout=2000)
    assert given == [1]


def test_reading_names_epoch_round_and_values(plot):
    plot.draw([curve(1.0, 0.5), curve(2.0, 0.25, name="Validation")], bounds=(1.0, 2.0))
    assert plot._read(2.2) == "Epoch 2 (round 2): Training 0.5, Validation 0.25"
    assert plot._read(9) == ""


def test_keys_read_value_by_value(plot, qtbot):
    plot.draw([curve(1.0, 0.5, 0.25)])
    plot.setFocus()
    for key, text in (
        (Qt.Key.Key_Right, "Epoch 1: Training 1"),
        (Qt.Key.Key_Right, "Epoch 2: Training 0.5"),
        (Qt.Key.Key_Right, "Epoch 3: Training 0.25"),
        (Qt.Key.Key_Right, "Epoch 3: Training 0.25"),
        (Qt.Key.Key_Left, "Epoch 2: Training 0.5"),
    ):
        qtbot.keyClick(plot, key)
        assert plot._reading.text() == text
        assert plot.accessibleDescription() == text
    assert plot._cursor_line.isVisible()
    assert plot._cursor_line.value() == 2.0


def test_zoom_keeps_its_place_when_values_arrive_and_ends_with_home(plot, qtbot):
    plot.draw([curve(*(1 / n for n in range(1, 101)))])
    view = plot._plot.getPlotItem().getViewBox()
    qtbot.keyClick(plot, Qt.Key.Key_Plus)
    low, high = view.viewRange()[0]
    assert high - low < 80
    assert plot._whole.isVisible()
    plot.draw([curve(*(1 / n for n in range(1, 201)))])
    qtbot.waitUntil(lambda: plot.redraws == 2, timeout=2000)
    assert view.viewRange()[0] == pytest.approx([low, high])
    qtbot.keyClick(plot, Qt.Key.Key_Home)
    qtbot.waitUntil(lambda: view.viewRange()[0][1] >= 200)
    assert not plot._whole.isVisible()


def test_the_logarithm_shows_the_distance_from_the_floor(plot, qtbot):
    plot.draw([curve(1.0, 0.0, -0.9)])
    qtbot.keyClick(plot, Qt.Key.Key_L)
    assert plot.log_values
    drawn = plot._items[0].getData()[1]
    assert list(drawn) == pytest.approx([0.30103, 0.0, -1.0], abs=1e-5)
    assert plot._plot.getAxis("left").labelText == "Loss + 1"
    assert plot._read(3) == "Epoch 3: Training -0.9"  # the reading stays the value itself


def test_no_logarithm_of_what_has_none(plot, qtbot):
    plot.draw([curve(1.0, -1.0)])
    qtbot.keyClick(plot, Qt.Key.Key_L)
    assert not plot.log_values
    plot._fill_menu()
    values = next(one for one in plot.menu.actions() if one.text() == "Logarithmic values")
    assert not values.isEnabled()
    assert "no logarithm" in values.toolTip()


def test_a_logarithm_ends_when_a_value_reaches_the_floor(plot, qtbot):
    plot.draw([curve(1.0, 0.5)])
    plot.set_logarithm(values=True)
    plot.draw([curve(1.0, 0.5, -1.0)])
    qtbot.waitUntil(lambda: len(plot._items[0].getData()[0]) == 3, timeout=2000)
    assert not plot.log_values


def test_readings_and_round_ends_lie_right_on_a_logarithmic_axis(plot):
    plot.draw([curve(*(float(n) for n in range(1, 101)))], bounds=(50.0, 100.0))
    plot.set_logarithm(epochs=True)
    plot._point_at(2.0)
    assert plot._reading.text() == "Epoch 100 (round 2): Training 100"
    assert plot._cursor_line.value() == pytest.approx(2.0)
    assert plot._ticks.xvals == pytest.approx([1.703291], abs=1e-5)


def test_many_lines_begin_with_the_first_ones_and_the_menu_switches_them(plot):
    plot.draw([curve(1.0, 0.5, 0.3, name=f"Label {n}") for n in range(20)])
    assert len(plot.shown()) == MOST_LINES
    assert "12&nbsp;more" in plot._legend.text()
    plot._fill_menu()
    curves = next(one.menu() for one in plot.menu.actions() if one.text() == "Curves")
    switches = {one.text(): one for one in curves.actions()}
    switches["Label 19"].setChecked(True)
    switches["Label 0"].setChecked(False)
    assert [line.name for line in plot.shown()][-1] == "Label 19"
    assert "Label 0" not in [line.name for line in plot.shown()]


def test_points_are_marks_without_a_line(plot):
    plot.draw([curve(1.0, 0.5, 0.3), curve(0.9, 0.6, 0.5, name="All sites", points=True)])
    assert plot._items[1].opts["symbol"] == "d"
    assert plot._items[1].opts["pen"].style() is Qt.PenStyle.NoPen
    assert "◆" in plot._legend.text()


def test_a_reference_has_the_colour_of_what_it_refers_to(plot):
    alone = curve(0.9, 0.8, 0.7, name="This site alone", dashed=True, like="Training")
    plot.draw([curve(1.0, 0.5, 0.3), alone, curve(1.0, 0.6, 0.4, name="Validation")])
    first, reference, other = (item.opts["pen"].color().name() for item in plot._items)
    assert reference == first != other


def test_a_name_is_never_markup(plot):
    plot.draw([curve(1.0, name="<b>a&b</b>"), curve(1.0, name="Other")])
    assert "&lt;b>a&amp;b&lt;/b>" in plot._legend.text()


def test_the_picture_shows_the_plot_without_its_buttons(plot):
    plot.draw([curve(1.0, 0.5, 0.3)])
    assert plot._more.isVisible()
    image = QImage.fromData(plot.picture())
    assert (image.width(), image.height()) == (800, 600)
    colours = {image.pixelColor(x, y).name() for x in range(0, 800, 2) for y in range(0, 600, 2)}
    assert len(colours) > 10
    assert plot._more.isVisible()


def test_ticks_are_whole_epochs(plot):
    plot.draw([curve(1.0, 0.5, 0.4)])
    axis = plot._plot.getAxis("bottom")
    spacings = [spacing for spacing, _ in axis.tickSpacing(1, 3, 400)]
    assert spacings
    assert min(spacings) >= 1


def test_ground_and_lines_follow_the_look(plot, look, qtbot):
    plot.draw([curve(1.0, 0.5, 0.25)])
    dark = plot._plot.backgroundBrush().color()
    line = plot._items[0].opts["pen"].color()
    look.choose(Theme.LIGHT)
    qtbot.waitUntil(lambda: plot._plot.backgroundBrush().color() != dark)
    qtbot.waitUntil(lambda: plot._items[0].opts["pen"].color() != line)
