from __future__ import annotations

import csv

import pytest
from helpers import snapshots
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from app.domain.segmentation import Verdict
from app.ui.pages.review import REASONS, ReviewPage
from app.ui.presenters.review import Opinion, present_review
from app.ui.text import Page, Tone

ORDER = tuple(detail.case for detail in present_review(snapshots.finished()).details)


@pytest.fixture
def page(qtbot):
    """A page that says back what was judged, as the desk would."""
    made = ReviewPage()
    qtbot.addWidget(made)
    made.said = {}
    made.heard = []

    def judged(case, verdict, comment, voxel):
        made.heard.append((case, verdict, comment))
        made.said[case] = Opinion(verdict=verdict, comment=comment)
        made.draw(present_review(snapshots.finished(), dict(made.said)))

    made.judged.connect(judged)
    made.resize(1100, 760)
    made.show()
    made.activateWindow()
    qtbot.waitUntil(made.isActiveWindow)
    return made


def test_opens_at_the_worst_case(page, qtbot):
    wished = []
    page.case_wished.connect(lambda detail: wished.append(detail.case))
    page.draw(present_review(snapshots.finished()))
    assert wished == [ORDER[0]]
    assert page._title.text() == ORDER[0]
    page.draw(present_review(snapshots.finished(), {ORDER[0]: Opinion(verdict=Verdict.ACCEPTED)}))
    assert wished == [ORDER[0]]  # a verdict does not read the images again


def test_all_cases_by_keys_alone(page):
    page.draw(present_review(snapshots.finished()))
    page.cases.setFocus()
    for _ in ORDER:
        QTest.keyClick(page, Qt.Key.Key_A)
    assert [case for case, _, _ in page.heard] == list(ORDER)
    assert page._summary.text() == "5 of 5 cases reviewed"


def test_flag_asks_for_a_reason(page):
    page.draw(present_review(snapshots.finished()))
    QTest.keyClick(page, Qt.Key.Key_F)
    assert page._reasons.isVisible()
    QTest.keyClick(page._reasons, Qt.Key.Key_2)
    assert page.heard == [(ORDER[0], Verdict.FLAGGED, REASONS[1])]
    assert page._title.text() == ORDER[1]


def test_comment_is_written_with_the_verdict_it_has(page, qtbot):
    page.draw(present_review(snapshots.finished()))
    QTest.keyClick(page, Qt.Key.Key_C)
    qtbot.waitUntil(page.comment.hasFocus)
    # Letters are letters here, not verdicts.
    QTest.keyClicks(page.comment, "a fan of a case")
    QTest.keyClick(page.comment, Qt.Key.Key_Return)
    assert page.heard == [(ORDER[0], Verdict.UNREVIEWED, "a fan of a case")]
    assert page._title.text() == ORDER[0]


def test_next_previous_and_next_unreviewed(page):
    page.draw(present_review(snapshots.finished(), {ORDER[1]: Opinion(verdict=Verdict.ACCEPTED)}))
    QTest.keyClick(page, Qt.Key.Key_N)
    assert page._title.text() == ORDER[1]
    QTest.keyClick(page, Qt.Key.Key_P)
    assert page._title.text() == ORDER[0]
    QTest.keyClick(page, Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    assert page._title.text() == ORDER[2]


def test_undo_is_wished(page, qtbot):
    page.draw(present_review(snapshots.finished()))
    with qtbot.waitSignal(page.undo_wished):
        QTest.keyClick(page, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)


def test_another_run_is_wished_by_its_serial(page, qtbot):
    page.draw(present_review(snapshots.finished()))
    assert page._runs.currentData() == 2
    with qtbot.waitSignal(page.run_wished) as told:
        page._runs.setCurrentIndex(1)
        page._runs.activated.emit(1)
    assert told.args == [1]


def test_without_results_the_page_says_what_comes(page):
    page.draw(present_review(snapshots.segmenting()))
    assert page._empty.isVisible()
    assert page._empty.sentence.text().startswith("The model is at work")


def test_the_report_is_saved_as_page_and_table(open_window, tmp_path):
    shown = open_window(snapshots.finished())
    results = snapshots.finished().review.results
    shown.book.judge(results[0], Verdict.ACCEPTED, "", None)
    shown.book.judge(results[1], Verdict.FLAGGED, "Extra piece", None)
    heard = []
    shown.desk.message_told.connect(heard.append)
    page = shown.page(Page.REVIEW)
    page._report.click()
    assert heard == []  # the dialog was cancelled
    shown.answers.save = str(tmp_path / "report")
    page._report.click()
    assert "report.html and report.csv" in heard[0].sentence
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<td>flagged</td><td class="number">1</td>' in html
    assert html.count("data:image/png") == 1
    with (tmp_path / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["case"]: row["verdict"] for row in rows} == {
        one.case: {0: "accepted", 1: "flagged"}.get(number, "unreviewed")
        for number, one in enumerate(results)
    }
    # A table that lies there already is not replaced unasked.
    shown.answers.sure = False
    (tmp_path / "report.csv").write_text("mine")
    page._report.click()
    assert (tmp_path / "report.csv").read_text() == "mine"


def test_a_report_that_cannot_be_written_is_told(open_window, tmp_path):
    shown = open_window(snapshots.finished())
    heard = []
    shown.desk.message_told.connect(heard.append)
    shown.answers.save = str(tmp_path / "gone" / "report.html")
    shown.page(Page.REVIEW)._report.click()
    assert heard[0].tone is Tone.DANGER


def test_no_report_of_nothing(page):
    page.draw(present_review(snapshots.segmenting()))
    assert not page._report.isEnabled()
