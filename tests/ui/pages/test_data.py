from __future__ import annotations

import pytest
from helpers import snapshots
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from app.ui.pages.data import DataPage
from app.ui.presenters.data import present_data


@pytest.fixture
def page(qtbot):
    made = DataPage()
    qtbot.addWidget(made)
    made.show()
    return made


def test_empty_until_a_folder_is_chosen(page, qtbot):
    page.draw(present_data(snapshots.empty()))
    assert page._empty.isVisible()
    with qtbot.waitSignal(page.choose_wished):
        page._first_choice.click()
    page.draw(present_data(None))
    assert not page._first_choice.isEnabled()


def test_severity_and_words_filter(page):
    page.draw(present_data(snapshots.blocked()))
    assert page.findings.keys() == ("0", "1", "2")
    page._severity.setCurrentText("May harm")
    assert page.findings.keys() == ("1",)
    page._severity.setCurrentIndex(0)
    page._words.setText("description field")
    assert page.findings.keys() == ("2",)
    page._words.setText("no such words")
    assert page.findings._empty.isVisible()
    assert page.findings._empty.text() == "No row fits the filter."


def test_a_chosen_finding_is_told_in_full_and_shown(page, qtbot):
    page.draw(present_data(snapshots.blocked()))
    assert not page._show.isEnabled()
    page.findings.choose("0")
    assert "value 4 in 17 voxels" in page._chosen_sentence.text()
    assert page._show.isEnabled()
    with qtbot.waitSignal(page.finding_opened) as told:
        page._show.click()
    assert told.args == ["0"]


def test_return_opens_the_row(page, qtbot):
    page.draw(present_data(snapshots.blocked()))
    page.findings.choose("1")
    with qtbot.waitSignal(page.finding_opened) as told:
        QTest.keyClick(page.findings, Qt.Key.Key_Return)
    assert told.args == ["1"]


def test_case_list_opens_the_viewer(page, qtbot):
    page.draw(present_data(snapshots.checked()))
    page.show_cases()
    page.cases.choose("hippocampus_007")
    with qtbot.waitSignal(page.case_opened) as told:
        QTest.keyClick(page.cases, Qt.Key.Key_Return)
    assert told.args == ["hippocampus_007"]


def test_recent_folders_can_be_chosen_again(page, qtbot):
    page.draw(present_data(snapshots.checked()))
    page.show_recent(("/a", "/b"))
    with qtbot.waitSignal(page.folder_wished) as told:
        page._recent_menu.actions()[1].trigger()
    assert told.args == ["/b"]
    page.show_recent(())
    assert page._recent_full.isHidden()


def test_the_row_stays_chosen_while_states_follow(page):
    page.draw(present_data(snapshots.blocked()))
    page.findings.choose("2")
    page.draw(present_data(snapshots.checking()))
    page.draw(present_data(snapshots.blocked()))
    assert page.findings.keys() == ("0", "1", "2")
