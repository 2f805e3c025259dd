from __future__ import annotations

import pytest

from app.ui.presenters.parts import Curve, Histogram
from app.ui.theme import Theme
from app.ui.widgets.plots import CurvePlot, HistogramPlot


@pytest.fixture
def plot(qtbot, look):
    made = CurvePlot("Loss", empty="Nothing measured yet.")
    qtbot.addWidget(made)
    made.resize(400, 300)
    made.show()
    return made


def curve(*y: float, name: str = "Training", dashed: bool = False) -> Curve:
    return Curve(name=name, x=tuple(float(n + 1) for n in range(len(y))), y=y, dashed=dashed)


def test_empty_until_something_is_measured(plot, qtbot):
    assert plot._empty.isVisible()
    assert plot._plot is None  # pyqtgraph is not even made
    plot.draw([curve(1.0, 0.5)])
    qtbot.waitUntil(lambda: plot.redraws == 1)
    assert not plot._empty.isVisible()


def test_lines_are_those_given_and_one_pixel_wide(plot, qtbot):
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


def test_reading_names_the_values(plot):
    plot.draw([curve(1.0, 0.5), curve(2.0, 0.25, name="Validation")])
    assert plot._read(2.2) == "Epoch 2: Training 0.5, Validation 0.25"
    assert plot._read(9) == ""


def test_ticks_are_whole_epochs(plot):
    plot.draw([curve(1.0, 0.5, 0.4)])
    axis = plot._plot.getAxis("bottom")
    spacings = [spacing for spacing, _ in axis.tickSpacing(1, 3, 400)]
    assert spacings
    assert min(spacings) >= 1


def test_ground_follows_the_look(plot, look, qtbot):
    plot.draw([curve(1.0, 0.5)])
    dark = plot._plot.backgroundBrush().color()
    look.choose(Theme.LIGHT)
    qtbot.waitUntil(lambda: plot._plot.backgroundBrush().color() != dark)


def test_histogram_draws_its_bars_and_reads_them(qtbot, look):
    bars = Histogram(label="Voxel size", unit="mm", edges=(0.0, 1.0, 2.0), counts=(3.0, 5.0))
    made = HistogramPlot(bars)
    qtbot.addWidget(made)
    made.show()
    qtbot.waitUntil(lambda: made.redraws == 1)
    assert made._read(1.5) == "1 to 2 mm: 5"
    assert made._read(7) == ""
    made.draw(Histogram(label="Size", unit="voxels", edges=(0.0, 9.0), counts=(2.0,)))
    qtbot.waitUntil(lambda: made.redraws == 2, timeout=2000)
    assert made._title.text() == "Size"
