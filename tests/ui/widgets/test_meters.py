from __future__ import annotations

from PySide6.QtGui import QColor

from app.ui import theme
from app.ui.presenters.meters import Meter
from app.ui.widgets.meters import MeterGrid, Sparkline


def test_readings_come_and_go(qtbot, look):
    column = MeterGrid()
    qtbot.addWidget(column)
    column.show()
    cpu = Meter(name="Processor", value="50 %", share=0.5, history=(0.1, 0.5))
    disk = Meter(name="Disk", value="9 GB free", share=None, history=())
    column.draw([cpu, disk])
    assert [meter.accessibleName() for meter in column._meters] == [
        "Processor: 50 %",
        "Disk: 9 GB free",
    ]
    assert column._meters[1]._line.isHidden()
    column.draw([cpu])
    assert [meter.isVisible() for meter in column._meters] == [True, False]


def test_as_many_stand_beside_each_other_as_fit(qtbot, look):
    grid = MeterGrid()
    qtbot.addWidget(grid)
    grid.resize(900, 200)
    grid.show()
    grid.draw([Meter(name=f"{n}", value="1", share=0.1, history=()) for n in range(6)])
    assert grid.columns == 4
    places = [(meter.y(), meter.x()) for meter in grid._meters]
    grid.resize(450, 400)
    qtbot.waitUntil(lambda: grid.columns == 2)
    assert places != [(meter.y(), meter.x()) for meter in grid._meters]


def test_a_remark_is_shown_and_spoken(qtbot, look):
    grid = MeterGrid()
    qtbot.addWidget(grid)
    grid.show()
    hot = Meter(name="Card", value="50 %", share=0.5, history=(), remark="slowed down: too hot")
    grid.draw([hot])
    assert grid._meters[0]._remark.text() == "Slowed down: too hot"
    assert "too hot" in grid._meters[0].accessibleName()


def test_the_line_stands_higher_for_more_load(qtbot, look):
    def height_of_fill(share: float) -> int:
        line = Sparkline()
        qtbot.addWidget(line)
        line.resize(100, 28)
        line.draw((share,) * 10)
        image = line.grab().toImage()
        ground = QColor(theme.colours().hover)
        column = [image.pixelColor(50, y) for y in range(2, 26)]
        return sum(colour != ground for colour in column)

    assert height_of_fill(0.05) < height_of_fill(0.5) < height_of_fill(0.95)
    assert height_of_fill(7.0) == height_of_fill(1.0)  # wild readings stay inside
