from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication

from app.ui.presenters.parts import Histogram
from app.ui.widgets.card import scrolling
from app.ui.widgets.plots import HistogramPlot


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


@pytest.mark.parametrize(
    ("modifiers", "zooms"),
    [(Qt.KeyboardModifier.NoModifier, False), (Qt.KeyboardModifier.ControlModifier, True)],
)
def test_the_wheel_scrolls_the_page_and_zooms_with_ctrl(qtbot, look, modifiers, zooms):
    made = HistogramPlot(Histogram(label="Size", unit="mm", edges=(0.0, 1.0, 2.0), counts=(3, 5)))
    made.setFixedHeight(1200)
    area = scrolling(made)
    qtbot.addWidget(area)
    area.resize(400, 300)
    area.show()
    qtbot.waitUntil(lambda: made.redraws == 1)
    view = made._plot.getPlotItem().getViewBox()
    before = view.viewRange()[0]
    target = made._plot.viewport()
    at = QPointF(target.rect().center())
    event = QWheelEvent(
        at, target.mapToGlobal(at), QPoint(), QPoint(0, -120),
        Qt.MouseButton.NoButton, modifiers, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(target, event)
    assert (view.viewRange()[0] != before) is zooms
    assert (area.verticalScrollBar().value() > 0) is not zooms
