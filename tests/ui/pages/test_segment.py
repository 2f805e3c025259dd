from __future__ import annotations

import pytest
from helpers import snapshots
from msgspec.structs import replace

from app.control.messages import ModelInspection, RunState, SegmentCases
from app.domain.segmentation import CaseSource
from app.ui.pages.segment import SegmentPage
from app.ui.presenters.segment import SegmentWish, present_segment
from app.ui.text import Page


@pytest.fixture
def page(qtbot):
    made = SegmentPage()
    qtbot.addWidget(made)
    made.resize(1100, 900)
    made.show()
    return made


def inspected(**changes):
    fields = {"path": "/their/liver.zip", "labels": ("liver",), "channels": ("CT",), "folds": 5}
    base = snapshots.finished()
    found = ModelInspection(**{**fields, "configuration": "3d_fullres", **changes})
    return replace(base, review=replace(base.review, inspected=found))


def test_a_wish_names_model_cases_and_how(page, qtbot):
    page.draw(present_segment(snapshots.finished()))
    page._model.setCurrentIndex(page._model.findData("/m/personal.zip"))
    page.choose_source(CaseSource.VALIDATION)
    page._device.setCurrentIndex(page._device.findData("cpu"))
    page._mirroring.setChecked(True)
    with qtbot.waitSignal(page.segment_wished) as told:
        page._begin.click()
    assert told.args == [
        SegmentWish(
            model="/m/personal.zip",
            source=CaseSource.VALIDATION,
            folder="",
            mirroring=True,
            device="cpu",
        )
    ]
    # The choice stays when the service tells again.
    changed = snapshots.with_run(snapshots.finished(), outcome="again")
    page.draw(present_segment(changed))
    assert page._model.currentData() == "/m/personal.zip"
    assert page._sources[CaseSource.VALIDATION].isChecked()


def test_the_final_model_and_the_held_out_cases_are_offered_first(page):
    page.draw(present_segment(snapshots.finished()))
    assert page._model.currentData() == "/m/global.zip"
    assert page._sources[CaseSource.HELD_OUT].isChecked()
    assert page._begin.isEnabled()


def test_it_says_what_is_missing(page, qtbot):
    page.draw(present_segment(None))
    assert not page._begin.isEnabled()
    assert page._why_not.text() == "The service of this site is not there yet."
    page.draw(present_segment(snapshots.empty()))
    assert page._why_not.text() == "Choose a model first."
    assert page._model_detail.text().startswith("The study has no model yet.")
    page.draw(present_segment(snapshots.finished()))
    with qtbot.waitSignal(page.folder_wished):
        page._sources[CaseSource.FOLDER].click()
    assert page._why_not.text() == "Choose a folder first."
    page.choose_folder("/images/ward")
    assert page._begin.isEnabled()
    assert page._source_hint.text() == "/images/ward  (only read)"
    with qtbot.waitSignal(page.segment_wished) as told:
        page._begin.click()
    assert (told.args[0].source, told.args[0].folder) == (CaseSource.FOLDER, "/images/ward")


def test_a_model_file_is_chosen_once_it_was_found_good(page):
    page.draw(present_segment(snapshots.finished()))
    page.draw(present_segment(inspected()))
    assert page._model.currentData() == "/their/liver.zip"
    assert page._model_detail.text() == (
        "liver.zip: finds liver in CT images (3d_fullres, 5 trained folds). "
        "Nothing in the file was run."
    )


def test_a_refused_model_file_is_not_chosen_and_the_reason_stands_there(page):
    page.draw(present_segment(snapshots.finished()))
    page.draw(
        present_segment(
            inspected(problem="the model file holds a program", remedy="Ask for another.")
        )
    )
    assert page._model.currentData() == "/m/global.zip"
    assert page._model_detail.text() == (
        "liver.zip is not used: the model file holds a program. Ask for another."
    )


def test_runs_and_their_cases(page, qtbot):
    page.draw(present_segment(snapshots.finished()))
    assert page.runs.keys() == ("2", "1")
    assert len(page.cases.keys()) == 5
    page.runs.choose("1")
    with qtbot.waitSignal(page.review_wished) as told:
        page._review.click()
    assert told.args == [1]
    with qtbot.waitSignal(page.forget_wished) as told:
        page._forget.click()
    assert told.args == [1]
    assert not page._go_on.isVisible()


def test_an_unfinished_run_goes_on_with_the_same_wish(page, qtbot):
    base = snapshots.finished()
    unfinished = snapshots.with_run(
        base,
        state=RunState.UNFINISHED,
        source=CaseSource.FOLDER,
        folder="/images",
        results=base.review.results[:2],
        scores=(),
        outcome="stopped; what is finished is kept",
    )
    page.draw(present_segment(unfinished))
    assert page._run_outcome.text() == "Stopped; what is finished is kept"
    with qtbot.waitSignal(page.segment_wished) as told:
        page._go_on.click()
    assert told.args == [
        SegmentWish(
            model="/m/global.zip",
            source=CaseSource.FOLDER,
            folder="/images",
            mirroring=False,
            device="auto",
        )
    ]


def test_while_it_runs_there_is_progress_and_no_second_run(page, qtbot):
    page.draw(present_segment(snapshots.segmenting()))
    assert not page._begin.isEnabled()
    assert not page._forget.isEnabled()
    with qtbot.waitSignal(page.stop_wished) as told:
        page._progress._stop.click()
    assert told.args == ["segment"]
    assert [row.cells[1].text for row in page.cases.records.table.rows][:2] == [
        "In work",
        "Waiting",
    ]


def test_the_window_hands_wishes_on(open_window):
    shown = open_window(snapshots.finished())
    page = shown.page(Page.SEGMENT)
    page._begin.click()
    assert shown.service.commands[-1] == SegmentCases(model="/m/global.zip")
    shown.answers.folder = "/images"
    page._sources[CaseSource.FOLDER].click()
    page._begin.click()
    assert shown.service.commands[-1] == SegmentCases(
        model="/m/global.zip", folder="/images", source=CaseSource.FOLDER
    )
    page.runs.choose("1")
    page._review.click()
    assert shown.window.page is Page.REVIEW
    assert shown.desk.run.serial == 1
