from __future__ import annotations

from helpers import snapshots
from msgspec.structs import replace

from app.domain.segmentation import CaseSource
from app.ui.presenters.benefit import compared_labels, present_benefit
from app.ui.text import Tone

VIEW = snapshots.finished().review


def test_a_structure_that_is_harmed_stands_out():
    state = present_benefit(VIEW)
    assert state.title == "What the federation brings here, on held-out cases"
    assert state.tone is Tone.WARNING
    anterior, posterior = state.table.rows
    assert [cell.text for cell in anterior.cells][:6] == [
        "Anterior", "4", "0.680", "0.740", "+0.060", "4 / 0",
    ]  # fmt: skip
    assert posterior.group == "harm"
    assert posterior.cells[0].icon == "warning"
    assert state.warnings[0].startswith("Posterior: the federation is worse in 4 of 4 cases (")
    assert state.missing.startswith("Segment the same cases with the personalised model")


def test_the_personalised_model_stands_beside_and_may_save_a_structure():
    own = snapshots.run(3, snapshots.MODELS[1], scores=snapshots.worse(snapshots.scores(), by=0.06))
    state = present_benefit(replace(VIEW, runs=(*VIEW.runs, own)))
    assert state.missing == ""
    assert [cell.text for cell in state.table.rows[1].cells][6:] == ["0.608", "+0.000"]
    assert state.warnings[-1] == (
        "The personalised model does not lose at posterior; consider it here."
    )


def test_what_is_missing_is_said():
    only_final = replace(VIEW, runs=VIEW.runs[1:])
    assert present_benefit(only_final).missing.startswith("Segment the same held-out cases")
    no_baseline = replace(only_final, models=VIEW.models[1:])
    assert "Train the local baseline" in present_benefit(no_baseline).missing
    assert present_benefit(snapshots.empty().review) is None
    assert compared_labels(only_final) == ()


def test_runs_over_other_cases_are_not_mixed():
    baseline, final = VIEW.runs
    other = replace(final, source=CaseSource.VALIDATION)
    assert present_benefit(replace(VIEW, runs=(baseline, other))).table.rows == ()
    both = replace(VIEW, runs=(replace(baseline, source=CaseSource.VALIDATION), other))
    assert present_benefit(both).title.endswith("on validation cases")


def test_no_difference_is_said_too():
    baseline, final = VIEW.runs
    state = present_benefit(replace(VIEW, runs=(replace(baseline, scores=final.scores), final)))
    assert state.verdict.startswith("The federation makes no difference")
    assert state.tone is Tone.GOOD
