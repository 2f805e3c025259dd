from __future__ import annotations

import pytest

from app.ui.text import RESEARCH_USE, Page, Tone
from app.ui.widgets.frame import Banner, Header, Navigation, StatusLine
from app.ui.widgets.labels import label


def test_navigation_tells_page_and_mark(qtbot, look):
    navigation = Navigation({page: page.value for page in Page})
    qtbot.addWidget(navigation)
    navigation.show_marks([(Page.DATA, "done"), (Page.FINGERPRINT, "needs you")])
    assert navigation.buttons[Page.DATA].accessibleName() == "Data, done"
    assert navigation.buttons[Page.FINGERPRINT].accessibleName() == "Fingerprint, needs you"
    with qtbot.waitSignal(navigation.page_chosen) as told:
        navigation.buttons[Page.REVIEW].click()
    assert told.args == [Page.REVIEW]
    navigation.choose(Page.TRAINING)
    assert [page for page, button in navigation.buttons.items() if button.isChecked()] == [
        Page.TRAINING
    ]


@pytest.mark.parametrize(
    ("sentence", "remedy", "text"),
    [
        ("", "", ""),
        ("The disk is full", "Free space.", "The disk is full. Free space."),
        ("Attaching again…", "", "Attaching again…"),
    ],
)
def test_banner_is_there_only_when_needed(qtbot, look, sentence, remedy, text):
    banner = Banner()
    qtbot.addWidget(banner)
    banner.draw(sentence, remedy)
    assert banner.text == text
    assert banner.isHidden() is (not text)


def test_header_names_one_site_or_offers_several(qtbot, look):
    one = Header(["North"], "theme", "keys")
    several = Header(["North", "Valley"], "theme", "keys")
    for header in (one, several):
        qtbot.addWidget(header)
        header.draw("A study", "North")
    assert not one._site.isHidden()
    assert one.sites.isHidden()
    assert several._site.isHidden()
    assert not several.sites.isHidden()


def test_status_line_says_what_this_is_for(qtbot, look):
    line = StatusLine()
    qtbot.addWidget(line)
    line.draw("Coordinator: connected", Tone.GOOD, "Training paused")
    said = {text.text() for text in line.findChildren(type(label()))}
    assert {RESEARCH_USE, "Coordinator: connected", "Training paused"} <= said
