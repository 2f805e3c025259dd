from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest
import SimpleITK
from helpers import snapshots
from msgspec import structs
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from app.domain.segmentation import Verdict
from app.ui.pages.review import REASONS, ReviewPage
from app.ui.presenters import editors
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

    def judged(case, verdict, comment, voxel, reason):
        made.heard.append((case, verdict, comment, *((reason,) if reason else ())))
        made.said[case] = Opinion(verdict=verdict, comment=comment, reason=reason)
        made.draw(present_review(snapshots.finished(), dict(made.said)))

    made.judged.connect(judged)
    made.resize(1100, 760)
    made.show()
    made.activateWindow()
    qtbot.waitUntil(made.isActiveWindow)
    return made


def test_opens_at_the_worst_case(page, qtbot):
    wished = []
    page.case_wished.connect(lambda wish: wished.append(wish.detail.case))
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
    assert [heard[0] for heard in page.heard] == list(ORDER)
    assert page._summary.text() == "5 of 5 cases reviewed"


def test_flag_asks_for_a_reason(page):
    page.draw(present_review(snapshots.finished()))
    QTest.keyClick(page, Qt.Key.Key_F)
    assert page._reasons.isVisible()
    QTest.keyClick(page._reasons, Qt.Key.Key_2)
    assert page.heard == [(ORDER[0], Verdict.FLAGGED, "", REASONS[1])]
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
    shown.book.judge(results[1], Verdict.FLAGGED, "", None, "Extra piece")
    heard = []
    shown.desk.message_told.connect(heard.append)
    page = shown.page(Page.REVIEW)
    page._report.click()
    assert heard == []  # the dialog was cancelled
    shown.answers.save = str(tmp_path / "report")
    page._report.click()
    assert "report.pdf and report.csv" in heard[-1].sentence
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    (tmp_path / "report.csv").unlink()
    heard.clear()
    shown.answers.save = str(tmp_path / "report.html")
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


@pytest.fixture
def wrong(tmp_path):
    """A finished study whose final model errs by a moved label; the baseline by less."""
    base = snapshots.finished()
    runs = []
    for run, shift in zip(base.review.runs, (1, 4), strict=True):
        results = []
        for one in run.results:
            image = SimpleITK.ReadImage(one.reference)
            moved = np.roll(SimpleITK.GetArrayFromImage(image), shift, axis=2)
            made = SimpleITK.GetImageFromArray(moved)
            made.CopyInformation(image)
            path = tmp_path / f"{run.serial}-{one.case}.nii.gz"
            SimpleITK.WriteImage(made, str(path))
            results.append(dataclasses.replace(one, prediction=str(path)))
        runs.append(structs.replace(run, results=tuple(results)))
    return structs.replace(base, review=structs.replace(base.review, runs=tuple(runs)))


@pytest.fixture
def reviewing(open_window, wrong, qtbot):
    """The whole window on a study with wrong segmentations, ready for keys."""
    shown = open_window(wrong)
    shown.page(Page.REVIEW)
    shown.window.activateWindow()
    qtbot.waitUntil(shown.window.isActiveWindow)
    return shown


def test_it_opens_where_it_is_worst_and_steps_through_the_errors(reviewing):
    shown = reviewing
    page = shown.page(Page.REVIEW)
    loaded = page._loaded
    assert page._lesions
    assert [one.voxels for one in page._lesions] == sorted(
        (one.voxels for one in page._lesions), reverse=True
    )
    opened = page.viewer.view.crosshair
    assert loaded.prediction[opened] != loaded.reference[opened]
    QTest.keyClick(page, Qt.Key.Key_L)
    assert page.viewer.view.crosshair == page._lesions[0].voxel
    assert page._lesion_words.text().startswith(f"Error 1 of {len(page._lesions)}: ")
    QTest.keyClick(page, Qt.Key.Key_L)
    assert page.viewer.view.crosshair == page._lesions[1].voxel
    QTest.keyClick(page, Qt.Key.Key_L, Qt.KeyboardModifier.ShiftModifier)
    assert page.viewer.view.crosshair == page._lesions[0].voxel
    QTest.keyClick(page, Qt.Key.Key_W)
    assert page.viewer.view.crosshair == opened


def test_models_take_turns_at_the_same_place(reviewing):
    shown = reviewing
    page = shown.page(Page.REVIEW)
    first, case = page._loaded, page._shown.case
    view = page.viewer.view
    view.go_to((10, 20, 15))
    channel = view._channels[0]
    QTest.keyClick(page, Qt.Key.Key_T)
    shown.window._draw()
    assert shown.desk.run.serial == 1
    assert page._shown.case == case
    assert view.crosshair == (10, 20, 15)
    assert not (page._loaded.prediction == first.prediction).all()
    assert view._channels[0] is channel  # the image was not set up again: zoom and window stay
    # A verdict now is about the other model.
    QTest.keyClick(page, Qt.Key.Key_T)
    shown.window._draw()
    assert shown.desk.run.serial == 2
    assert (page._loaded.prediction == first.prediction).all()


def test_two_models_side_by_side_are_linked(reviewing):
    shown = reviewing
    page = shown.page(Page.REVIEW)
    assert not page.second.isVisible()
    QTest.keyClick(page, Qt.Key.Key_T, Qt.KeyboardModifier.ShiftModifier)
    assert page.second.isVisible()
    left, right = page.viewer.view, page.second.view
    assert right.crosshair == left.crosshair
    left.go_to((11, 21, 16))
    assert right.crosshair == (11, 21, 16)
    right.go_to((12, 22, 17))
    assert left.crosshair == (12, 22, 17)
    QTest.keyClick(page, Qt.Key.Key_N)
    shown.window._draw()
    assert right.crosshair == left.crosshair
    QTest.keyClick(page, Qt.Key.Key_T, Qt.KeyboardModifier.ShiftModifier)
    assert not page.second.isVisible()


def test_every_case_has_its_picture(open_window, wrong):
    page = open_window(wrong).page(Page.REVIEW)
    assert set(page.cases.records._pictures) == set(page.cases.keys())
    index = page.cases.proxy.index(0, 0)
    assert index.data(Qt.ItemDataRole.DecorationRole).height() > 0


def test_the_benefit_warns_of_harm(page):
    page.draw(present_review(snapshots.finished()))
    QTest.keyClick(page, Qt.Key.Key_B)
    assert page._benefit_table.isVisible()
    assert page._benefit_verdict.text() == (
        "The federation harms posterior at this site. The other structure gains or stays as good."
    )
    assert page._benefit_warnings.text().startswith("•  Posterior: the federation is worse in 4")
    QTest.keyClick(page, Qt.Key.Key_A)
    assert page.heard == []  # no verdict is given on what is not on the screen
    QTest.keyClick(page, Qt.Key.Key_B)
    assert page.cases.isVisible()


def test_a_verdict_goes_on_only_when_it_is_wished(page):
    page.draw(present_review(snapshots.finished()))
    page._advance.setChecked(False)
    QTest.keyClick(page, Qt.Key.Key_A)
    assert page._title.text() == ORDER[0]


def test_a_program_for_drawing_is_chosen_once(open_window, wrong, tmp_path, monkeypatch):
    shown = open_window(wrong)
    heard = []
    monkeypatch.setattr(editors, "find_editors", lambda chosen: ())
    monkeypatch.setattr(editors, "open_in", lambda *words, log: heard.append(words))
    page = shown.page(Page.REVIEW)
    page._edit.click()
    assert heard == []  # the dialog was cancelled
    shown.answers.file = str(tmp_path / "ITK-SNAP")
    page._edit.click()
    editor, image, segmentation = heard[0]
    assert (editor.name, editor.program) == ("ITK-SNAP", shown.answers.file)
    assert (str(image), str(segmentation)) == (
        page._shown.channels[0],
        page._shown.prediction,
    )
    assert shown.settings.value("editor") == shown.answers.file
