from __future__ import annotations

import gc
import time
from dataclasses import replace

import pytest
from helpers import snapshots
from helpers.window_desk import StillClock
from msgspec import structs
from PySide6.QtCore import QObject, QSettings, Qt, QTimer
from PySide6.QtTest import QTest

from app.control.messages import ConfirmLayout, ProposeLayout, Snapshot
from app.ui.bridge import ServiceBridge
from app.ui.pages.data import DataPage
from app.ui.presenters.data import present_data
from app.ui.presenters.desk import Desk
from app.ui.text import Page
from app.ui.window import Window


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


def many_cases(number: int) -> Snapshot:
    """The sample's files under the names of `number` cases, with a finding for each fifth."""
    base = snapshots.checked()
    real = snapshots.dataset()
    cases = tuple(
        replace(real.training[n % len(real.training)], name=f"case-{n:04}") for n in range(number)
    )
    findings = tuple(replace(snapshots.REMARK, case=case.name) for case in cases[::5])
    data = structs.replace(
        base.data,
        dataset=replace(real, training=cases, held_out=()),
        report=replace(base.data.report, cases=number, findings=findings),
    )
    return structs.replace(base, data=data)


class Watchdog:
    """Ticks in the Qt thread and notes how long the thread computed between two ticks.

    Its own processor time, not the clock: a busy test machine is no stall of ours.
    """

    def __init__(self, parent: QObject) -> None:
        self.longest_s = 0.0
        self.ticks = 0
        self._last = time.thread_time()
        self._timer = QTimer(parent)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _tick(self) -> None:
        now = time.thread_time()
        self.longest_s = max(self.longest_s, now - self._last)
        self._last = now
        self.ticks += 1


def test_five_hundred_cases_stay_smooth(look, qtbot, tmp_path):
    bridge = ServiceBridge(tmp_path, start_service=lambda home: None)
    bridge.snapshot = many_cases(500)
    settings = QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
    window = Window(look, settings, sites=("North",))
    qtbot.addWidget(window)
    desk = Desk(bridge, clock=StillClock(snapshots.NOW))
    desk.setParent(window)
    read = []
    desk.picture_read.connect(read.append)
    window.show()
    window.page_widget(Page.DATA)  # importing and building the page happen once
    QTest.qWait(50)
    # What thousands of tests before this one have left on the heap is not the window's: a full
    # collection of it alone can take longer than a stall.
    gc.collect()
    gc.freeze()
    dog = Watchdog(window)
    try:
        window.attach(desk)
        page = window.page_widget(Page.DATA)
        window.go_to(Page.DATA)
        QTest.qWait(50)
        page.show_cases()
        QTest.qWait(50)
        page._case_words.setText("case-04")
        QTest.qWait(50)
        page.cases.sortByColumn(4, Qt.SortOrder.DescendingOrder)
        QTest.qWait(50)
        page.show_gallery()
        gallery = page.gallery
        qtbot.waitUntil(lambda: len(read) >= len(gallery.on_screen()) > 0, timeout=20_000)
        first = len(read)
        bar = gallery.verticalScrollBar()
        for step in range(1, 21):
            bar.setValue(bar.maximum() * step // 20)
            QTest.qWait(10)
        last = gallery.pictures.items[-1].wish
        qtbot.waitUntil(lambda: any(one.wish == last for one in read), timeout=20_000)
        # Another snapshot, as the service tells it during a check.
        bridge.snapshot = many_cases(499)
        window._draw()
        QTest.qWait(50)
    finally:
        bridge.close()
        gc.unfreeze()
    assert dog.ticks > 100
    assert dog.longest_s < 0.1, dog.longest_s
    assert first < 60
    assert len(read) < 400
    assert all(one.pixels is not None for one in read)


def test_a_picture_opens_its_case_and_is_wished_when_it_is_seen(page, qtbot):
    page.draw(present_data(snapshots.checked()))
    with qtbot.waitSignal(page.picture_wished) as wished:
        page.show_gallery()
    assert wished.args[0].case == "hippocampus_007"
    with qtbot.waitSignal(page.case_opened) as told:
        page.gallery.setCurrentIndex(page.gallery.pictures.index(0))
        QTest.keyClick(page.gallery, Qt.Key.Key_Return)
    assert told.args == ["hippocampus_007"]


def test_a_proposed_layout_comes_to_the_front_and_is_confirmed(open_window):
    shown = open_window(snapshots.proposed())
    page = shown.page(Page.DATA)
    assert page.layout_form.isVisible()
    page.layout_form._use.click()
    proposal = snapshots.layout_proposal()
    (command,) = shown.service.commands
    assert isinstance(command, ConfirmLayout)
    assert command.digest == proposal.digest
    assert [one.found for one in command.structures] == [one.found for one in proposal.structures]
    # Once: a person who looks elsewhere is not called back by the next snapshot.
    page._tabs.setCurrentIndex(0)
    shown.window._draw()
    assert page._tabs.currentIndex() == 0
    snapshot = snapshots.checked()
    shown.show(structs.replace(snapshot, data=structs.replace(snapshot.data, confirmed=True)))
    assert not page._tabs.isTabVisible(page._tabs.indexOf(page.layout_form))
    page._anew.click()
    assert shown.service.commands[1:] == [ProposeLayout()]
