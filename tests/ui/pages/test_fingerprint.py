from __future__ import annotations

import hashlib
import json

import pytest
from helpers import snapshots
from msgspec.structs import replace
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from app.ui.pages.fingerprint import FingerprintPage
from app.ui.presenters.fingerprint import present_fingerprint
from app.ui.text import Page, Tone


@pytest.fixture
def page(qtbot):
    made = FingerprintPage()
    qtbot.addWidget(made)
    made.resize(1000, 700)
    made.show()
    return made


def test_bytes_on_screen_have_the_digest_on_screen(page):
    page.draw(present_fingerprint(snapshots.to_allow()))
    shown = page._bytes.toPlainText()
    assert shown == snapshots.to_allow().fingerprint.outgoing
    assert hashlib.sha256(shown.encode()).hexdigest() in page._digest.text()
    assert page._bytes.isReadOnly()


def test_allow_wants_a_name_and_carries_the_digest(page, qtbot):
    state = present_fingerprint(snapshots.to_allow())
    page.draw(state)
    assert not page._allow.isEnabled()
    with qtbot.assertNotEmitted(page.allow_wished):
        QTest.keyClick(page._name, Qt.Key.Key_Return)
    page._name.setText("   ")
    assert not page._allow.isEnabled()
    page._name.setText(" Dr. A. Example ")
    with qtbot.waitSignal(page.allow_wished) as told:
        QTest.keyClick(page._name, Qt.Key.Key_Return)
    assert told.args == ["Dr. A. Example", state.digest]


def test_once_allowed_the_receipt_takes_the_place_of_the_question(page):
    page.draw(present_fingerprint(snapshots.training()))
    assert page._allowed.isVisible()
    assert not page._asking.isVisible()


def test_ticks_tell_which_case_to_leave_out(page, qtbot):
    page.draw(present_fingerprint(snapshots.to_allow()))
    model = page.cases.records
    with qtbot.waitSignal(page.case_switched) as told:
        model.setData(
            model.index(0, 0), Qt.CheckState.Unchecked.value, Qt.ItemDataRole.CheckStateRole
        )
    assert told.args == ["hippocampus_007", False]


def test_empty_page_computes_only_when_the_data_are_ready(page, qtbot):
    page.draw(present_fingerprint(snapshots.empty()))
    assert not page._compute_first.isEnabled()
    page.draw(present_fingerprint(snapshots.joined()))
    with qtbot.waitSignal(page.compute_wished):
        page._compute_first.click()


def test_pictures_are_those_of_the_bytes(page, qtbot):
    page.draw(present_fingerprint(snapshots.to_allow()))
    plots = [plot for _, plot in page._pictures._cards]
    assert [plot._bars.counts for plot in plots] == [
        picture.counts for picture in snapshots.to_allow().fingerprint.pictures
    ]
    assert plots[0].redraws == 0  # on a tab that nobody looks at
    page._tabs.setCurrentIndex(1)
    qtbot.waitUntil(lambda: plots[0].redraws > 0)


def test_the_receipt_is_saved_where_the_operator_says(open_window, tmp_path):
    shown = open_window(snapshots.training())
    page = shown.page(Page.FINGERPRINT)
    pdf, as_json = page._export_menu.actions()
    shown.answers.save = str(tmp_path / "receipt")
    pdf.trigger()
    as_json.trigger()
    assert (tmp_path / "receipt.pdf").read_bytes().startswith(b"%PDF")
    said = json.loads((tmp_path / "receipt.json").read_bytes())
    assert said["digest"] == snapshots.training().fingerprint.allowance.digest
    shown.answers.save = ""
    pdf.trigger()
    assert len(list(tmp_path.glob("receipt*"))) == 2


def test_a_receipt_that_cannot_be_written_is_told(open_window, tmp_path):
    shown = open_window(snapshots.training())
    heard = []
    shown.desk.message_told.connect(heard.append)
    shown.answers.save = str(tmp_path / "gone" / "receipt.pdf")
    shown.page(Page.FINGERPRINT)._export_menu.actions()[0].trigger()
    assert heard[0].tone is Tone.DANGER


def test_only_a_receipt_of_these_bytes_can_be_saved(page):
    page.draw(present_fingerprint(snapshots.training()))
    assert page._export.isEnabled()
    snapshot = snapshots.training()
    stale = replace(snapshot.fingerprint, outgoing_digest="0" * 64)
    page.draw(present_fingerprint(replace(snapshot, fingerprint=stale)))
    assert not page._export.isEnabled()
