from __future__ import annotations

import pytest

from app.ui.presenters.training import Notice
from app.ui.text import Tone
from app.ui.widgets.labels import IconButton
from app.ui.widgets.notice import NoticeList, NoticeStrip


def notice(key: str = "hot", tone: Tone = Tone.WARNING, remedy: str = "Let air in.") -> Notice:
    return Notice(key=key, sentence=f"It is {key}.", remedy=remedy, tone=tone)


@pytest.fixture
def strip(qtbot, look):
    made = NoticeStrip(closable=True)
    qtbot.addWidget(made)
    return made


def test_hidden_until_there_is_something(strip):
    assert strip.isHidden()
    strip.draw(notice())
    assert not strip.isHidden()
    assert strip.text == "It is hot. Let air in."
    assert strip.accessibleName() == "It is hot. Let air in."
    assert strip.property("tone") == "warning"
    strip.draw(None)
    assert strip.text == ""


def test_closing_tells_which(strip, qtbot):
    strip.draw(notice("lost"))
    with qtbot.waitSignal(strip.closed) as closed:
        strip.findChild(IconButton).click()
    assert closed.args == ["lost"]


def test_list_shows_as_many_as_there_are(qtbot, look):
    made = NoticeList()
    qtbot.addWidget(made)
    made.show()
    made.draw((notice("hot"), notice("full", Tone.DANGER)))
    assert made.texts == ("It is hot. Let air in.", "It is full. Let air in.")
    made.draw((notice("full", Tone.DANGER),))
    assert made.texts == ("It is full. Let air in.",)
    made.draw(())
    assert made.isHidden()
