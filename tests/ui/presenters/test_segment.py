from __future__ import annotations

import dataclasses

from helpers import snapshots
from msgspec.structs import replace

from app.control.messages import BaselineView, CardSample, JobView, RunState
from app.domain.segmentation import CaseSource
from app.ui.presenters.segment import present_segment


def baseline(**changes):
    base = snapshots.finished()
    return present_segment(
        replace(base, review=replace(base.review, baseline=BaselineView(**changes)))
    ).baseline


def test_models_are_named_by_what_they_are_to_this_site():
    state = present_segment(snapshots.finished())
    assert [model.title for model in state.models] == [
        "Final model of the study",
        "Personalised for this site",
        "Local baseline, trained here alone",
    ]


def test_only_cases_that_are_there_can_be_chosen():
    sources = {one.source: one for one in present_segment(snapshots.finished()).sources}
    assert sources[CaseSource.HELD_OUT].title == "Held-out cases (5)"
    none = {one.source: one for one in present_segment(snapshots.empty()).sources}
    assert [one.usable for one in none.values()] == [False, False, True]
    assert none[CaseSource.VALIDATION].hint.startswith("The study's fold keeps no case")


def test_every_card_can_be_computed_on():
    base = snapshots.training()
    assert [one.device for one in present_segment(snapshots.empty()).devices] == ["", "cpu"]
    sample = replace(
        base.training.samples[-1], cards=(CardSample(name="One"), CardSample(name="Two"))
    )
    with_cards = replace(base, training=replace(base.training, samples=(sample,)))
    devices = present_segment(with_cards).devices
    assert [(one.title, one.device) for one in devices][1:3] == [
        ("Graphics card: One", "cuda:0"),
        ("Graphics card: Two", "cuda:1"),
    ]


def test_a_case_says_what_was_not_as_usual():
    base = snapshots.finished()
    odd = dataclasses.replace(
        base.review.results[0],
        warnings=("the graphics card has too little memory for this case: computed on the CPU",),
        dicom_seg="/o/a.seg.dcm",
    )
    shown = present_segment(
        snapshots.with_run(
            base, results=(odd, *base.review.results[1:]), origins={odd.case: "ward/ct"}
        )
    )
    row = shown.details[0].cases.rows[0]
    assert row.cells[0].text == f"{odd.case}  (ward/ct)"
    assert row.cells[1].text.startswith("The graphics card has too little memory")
    assert row.cells[3].text == "NIfTI, DICOM SEG"


def test_an_unfinished_run_counts_its_cases():
    base = snapshots.finished()
    state = present_segment(
        snapshots.with_run(
            base, state=RunState.UNFINISHED, results=base.review.results[:2], scores=()
        )
    )
    assert state.runs.rows[0].cells[3].text == "Unfinished: 2 of 5"
    assert [row.cells[1].text for row in state.details[0].cases.rows][2:] == ["Waiting"] * 3


def test_the_baseline_says_when_and_why_not():
    assert baseline(offered=True, total_epochs=12).enabled
    waiting = baseline(why_not="the study needs this computer; pause it", total_epochs=12)
    assert not waiting.enabled
    assert waiting.sentence.endswith("Not now: the study needs this computer; pause it.")
    begun = baseline(offered=True, epoch=3, total_epochs=12)
    assert (begun.sentence, begun.button) == (
        "3 of 12 epochs are trained, 9 are left.",
        "Go on with the local baseline",
    )
    running = baseline(
        offered=True,
        epoch=3,
        total_epochs=12,
        epochs=snapshots.epochs(3),
        job=JobView(kind="baseline", running=True, done=3, total=12, what="training"),
    )
    assert running.progress is not None
    assert running.progress.stops == "baseline"
    assert running.sentence.startswith("3 of 12 epochs trained. About ")
    assert not running.enabled
    assert baseline(done=True, epoch=12, total_epochs=12).button == ""
    failed = baseline(
        offered=True, job=JobView(kind="baseline", running=False, outcome="no disk", failed=True)
    )
    assert failed.failure == "No disk"
