from __future__ import annotations

from helpers import snapshots
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel

from app.ui.pages.home import HomePage
from app.ui.presenters.home import present_home
from app.ui.text import Page


def test_nothing_is_styled_before_it_is_to_be_seen(qtbot, look):
    page = HomePage()
    qtbot.addWidget(page)
    texts = page.findChildren(QLabel)
    assert len(texts) > 10
    assert not [one for one in texts if one.testAttribute(Qt.WidgetAttribute.WA_WState_Polished)]


def test_the_button_carries_the_step(qtbot):
    page = HomePage()
    qtbot.addWidget(page)
    state = present_home(snapshots.empty())
    page.draw(state)
    assert page.button.text() == "Choose folder"
    with qtbot.waitSignal(page.step_wished) as told:
        page.button.click()
    assert told.args == [state.step]


def test_without_a_service_there_is_no_button(qtbot):
    page = HomePage()
    qtbot.addWidget(page)
    page.draw(present_home(None))
    assert page.button.isHidden()


def test_steps_lead_to_their_pages(qtbot):
    page = HomePage()
    qtbot.addWidget(page)
    page.draw(present_home(snapshots.training()))
    with qtbot.waitSignal(page.page_wished) as told:
        page.steps.buttons[4].click()
    assert told.args == [Page.REVIEW]
    assert page.steps.buttons[3].accessibleName() == "Step 4, Training: now. Round 3 of 6"
