from __future__ import annotations

from PySide6.QtWidgets import QLabel, QWidget

from app.ui.presenters.parts import Fact
from app.ui.widgets.card import Card, FactGrid, clear, page_layout, row_of, scrolling


def test_facts_come_and_go(qtbot):
    grid = FactGrid()
    qtbot.addWidget(grid)
    grid.show()
    grid.show_facts((Fact(name="Site", value="North"), Fact(name="Cases", value="24")))
    assert [value.text() for _, value in grid._lines if value.isVisible()] == ["North", "24"]
    grid.show_facts((Fact(name="Site", value="Valley"),))
    assert [value.text() for _, value in grid._lines if value.isVisible()] == ["Valley"]
    assert grid._lines[0][1].accessibleName() == "Site: Valley"


def test_a_card_is_named_by_its_heading(qtbot):
    card = Card("Sites", "Who takes part")
    qtbot.addWidget(card)
    assert card.accessibleName() == "Sites"
    assert card.hint.text() == "Who takes part"


def test_a_page_has_title_and_purpose(qtbot):
    page = QWidget()
    qtbot.addWidget(page)
    page_layout(page, "Data", "Your images.")
    assert [text.text() for text in page.findChildren(QLabel)] == ["Data", "Your images."]


def test_scrolling_content_never_scrolls_sideways(qtbot):
    content = QWidget()
    content.setMinimumSize(300, 2000)
    area = scrolling(content)
    qtbot.addWidget(area)
    area.resize(400, 300)
    area.show()
    assert area.verticalScrollBar().maximum() > 0
    assert not area.horizontalScrollBar().isVisible()


def test_clear_takes_everything_out(qtbot):
    holder = QWidget()
    qtbot.addWidget(holder)
    layout = row_of(QLabel("a"), None, QLabel("b"))
    holder.setLayout(layout)
    clear(layout)
    assert layout.count() == 0
