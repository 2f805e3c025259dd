from __future__ import annotations

import dataclasses

from helpers import snapshots

from app.domain.segmentation import CaseVolumes, LabelVolume, Verdict
from app.review.errors import ErrorComponent, ErrorKind
from app.ui.presenters.review import Opinion, lesion_words, neighbour, present_review

WORST_FIRST = (
    "hippocampus_197",  # predicted where the reference has nothing
    "hippocampus_165",
    "hippocampus_144",
    "hippocampus_376",
    "hippocampus_333",  # nothing defined: last
)


def test_cases_come_worst_first():
    state = present_review(snapshots.finished())
    assert tuple(detail.case for detail in state.details) == WORST_FIRST
    assert [row.cells[1].text for row in state.cases.rows] == ["0.42", "0.56", "0.80", "0.80", "–"]


def test_no_score_is_last():
    base = snapshots.finished()
    scores = base.review.scores[1:]
    state = present_review(snapshots.with_run(base, scores=scores))
    assert state.details[-1].case == "hippocampus_144"
    assert state.details[-1].scores.empty == "The scores are being computed."


def test_badges_name_what_is_odd():
    details = {detail.case: detail for detail in present_review(snapshots.finished()).details}
    assert [badge.text for badge in details["hippocampus_197"].badges] == [
        "Posterior: not in the reference"
    ]
    assert [badge.text for badge in details["hippocampus_165"].badges] == ["Anterior: 3 pieces"]
    assert details["hippocampus_144"].badges == ()


def test_a_missed_structure_has_its_own_badge():
    base = snapshots.finished()
    from dataclasses import replace as changed

    first = base.review.scores[0]
    missed = changed(first.labels[0], prediction_ml=0.0, dice=0.0)
    scores = (changed(first, labels=(missed,)), *base.review.scores[1:])
    state = present_review(snapshots.with_run(base, scores=scores))
    detail = state.detail(first.case)
    assert detail is not None
    assert [badge.text for badge in detail.badges] == ["Anterior: missed"]


def test_opinions_are_counted_and_shown():
    said = {
        "hippocampus_197": Opinion(verdict=Verdict.FLAGGED, comment="Extra piece"),
        "hippocampus_144": Opinion(verdict=Verdict.ACCEPTED),
    }
    state = present_review(snapshots.finished(), said)
    assert state.summary == "2 of 5 cases reviewed, 1 flagged"
    assert [row.group for row in state.cases.rows][:3] == ["Flagged", "To review", "Accepted"]
    assert present_review(snapshots.finished()).summary == "0 of 5 cases reviewed"


def test_any_run_can_be_shown_and_the_newest_is_without_a_choice():
    base = snapshots.finished()
    state = present_review(base)
    assert [(run.serial, run.title) for run in state.runs] == [
        (2, "Final model of the study, 5 held-out cases"),
        (1, "Local baseline, trained here alone, 5 held-out cases"),
    ]
    assert state.shown == 2
    other = present_review(base, serial=1)
    assert other.shown == 1
    assert other.facts != state.facts
    assert present_review(base, serial=77).shown == 2


def test_legend_has_the_foreground_only():
    state = present_review(snapshots.finished())
    assert [(entry.name, entry.value) for entry in state.labels] == [
        ("Anterior", 1),
        ("Posterior", 2),
    ]


def test_means_per_structure():
    facts = {fact.name: fact.value for fact in present_review(snapshots.finished()).facts}
    assert facts == {"Mean Dice, anterior": "0.74", "Mean Dice, posterior": "0.55"}


def test_empty_page_says_what_comes():
    assert present_review(snapshots.empty()).empty == "There is nothing to review yet."
    assert present_review(snapshots.segmenting()).empty.startswith("The model is at work")


def test_neighbours_stop_at_the_ends_and_skip():
    order = ("a", "b", "c")
    assert neighbour(order, "a", 1) == "b"
    assert neighbour(order, "c", 1) is None
    assert neighbour(order, "a", -1) is None
    assert neighbour(order, "a", 1, without=frozenset({"b"})) == "c"
    assert neighbour(order, "gone", 1, without=frozenset({"a"})) == "b"
    assert neighbour((), "", 1) is None


def test_without_references_unusual_volumes_come_first():
    base = snapshots.finished()
    results = tuple(dataclasses.replace(one, reference=None) for one in base.review.results)
    volumes = tuple(
        CaseVolumes(
            case=one.case,
            labels=(LabelVolume(label="anterior", ml=12.0 if number == 3 else 1.5, components=1),),
        )
        for number, one in enumerate(results)
    )
    state = present_review(snapshots.with_run(base, results=results, scores=(), volumes=volumes))
    assert [column.title for column in state.cases.columns] == ["Case", "Volume", "Verdict"]
    assert state.details[0].case == results[3].case
    assert [badge.text for badge in state.details[0].badges] == [
        "Anterior: 12.0 ml, usual here is 1.5 ml"
    ]
    assert [row.cells[1].text for row in state.cases.rows] == ["Unusual"] + ["Usual"] * 4


def test_the_worst_structure_is_named_for_the_viewer():
    details = {one.case: one for one in present_review(snapshots.finished()).details}
    assert details["hippocampus_165"].worst == "anterior"
    assert details["hippocampus_197"].worst == "posterior"
    assert details["hippocampus_333"].worst == ""


def test_where_one_is_among_the_errors():
    lesion = ErrorComponent(
        label="anterior", kind=ErrorKind.MISSED, voxels=120, ml=0.12, voxel=(1, 2, 3)
    )
    assert lesion_words((), -1, compared=True) == ""
    assert lesion_words((lesion, lesion), -1, compared=True) == "2 errors, L for the largest"
    assert (
        lesion_words((lesion, lesion), 0, compared=True)
        == "Error 1 of 2: Anterior, missed, 0.12 ml"
    )
    assert lesion_words((lesion,), 0, compared=False) == "Part 1 of 1: Anterior, 0.12 ml"
