from __future__ import annotations

import pytest
from helpers import snapshots
from msgspec.structs import replace

from app.control.messages import TrafficView
from app.ui.presenters.federation import (
    present_federation,
    present_invitation,
    traffic_facts,
)
from app.ui.text import moment


def test_before_joining_there_is_no_study():
    state = present_federation(snapshots.checked())
    assert state.study_title == ""
    assert state.sites.rows == ()
    assert state.sites.empty


def test_in_a_study_of_folds_rounds_are_told_with_their_fold():
    state = present_federation(snapshots.folds())
    facts = {fact.name: fact.value for fact in state.facts}
    assert facts["Length"].startswith("3 folds of 2 rounds, ")


def test_in_a_cascade_its_length_is_told_with_its_passes():
    facts = {fact.name: fact.value for fact in present_federation(snapshots.cascade()).facts}
    assert facts["Length"].startswith("2 passes of 3 folds of 1 round, ")


def test_traffic_and_words():
    state = present_federation(snapshots.training())
    assert state.traffic == "Sent 67.4 MB, received 90.2 MB"
    assert len(state.words.split()) == 6


def test_invitation_before_joining():
    state = present_invitation("/x.fedjoin", snapshots.invitation(), now=snapshots.NOW)
    facts = {fact.name: fact.value for fact in state.facts}
    assert state.can_join
    assert facts["Who runs it"] == "Study office, Harbour University Hospital"
    assert facts["Valid until"].endswith("(6 days from now)")
    assert facts["How it trains"] == "One common plan, all layers averaged"
    assert state.sharing


def test_invitation_with_a_problem_cannot_be_joined():
    view = snapshots.invitation("the invitation expired", "Ask for a new one.")
    state = present_invitation("/x.fedjoin", view, now=view.expires_at + 1)
    assert not state.can_join
    assert state.problem == "The invitation expired"
    assert "from now" not in {fact.name: fact.value for fact in state.facts}["Valid until"]


def test_what_a_study_costs_is_said_before_joining():
    view = TrafficView(
        transfer="int8", round_up=31_300_000, round_down=31_300_000, study_up=1_565_000_000,
        study_down=1_783_000_000, estimated=True, sentence="", finish_at=None,
    )  # fmt: skip
    shown = {fact.name: fact.value for fact in traffic_facts(view)}
    assert shown == {
        "Each round": "Sends up to 31.3 MB, receives up to 31.3 MB (changes of weights, 1 byte each)",
        "Whole study": "Sends up to 1.6 GB, receives up to 1.8 GB",
        "Ends": "Not known yet: this computer's pace has not been measured",
    }
    known = replace(view, estimated=False, transfer="fp32", finish_at=0.0)
    shown = {fact.name: fact.value for fact in traffic_facts(known)}
    assert shown["Each round"] == "Sends 31.3 MB, receives 31.3 MB (all weights, 4 bytes each)"
    assert shown["Ends"].startswith(moment(0.0))
    assert traffic_facts(None) == ()


def test_an_invitation_shows_its_costs():
    shown = present_invitation("/f", snapshots.invitation(), now=snapshots.NOW)
    names = [fact.name for fact in shown.facts]
    assert names[-4:] == ["Each round", "Whole study", "Ends", "Valid until"]
    joined = present_federation(snapshots.joined())
    assert [fact.name for fact in joined.facts][-3:] == ["Each round", "Whole study", "Ends"]


@pytest.mark.parametrize(
    ("transfer", "words"),
    [
        ("fp32", "all weights, 4 bytes each"),
        ("fp16", "changes of weights, 2 bytes each"),
        ("int8", "changes of weights, 1 byte each"),
    ],
)
def test_how_weights_travel_is_said_with_every_precision(transfer, words):
    shown = traffic_facts(replace(snapshots.traffic(), transfer=transfer))
    assert words in shown[0].value


def test_a_measurement_is_offered_where_the_end_is_not_known():
    open_end = present_invitation("/f", snapshots.invitation(), now=snapshots.NOW)
    assert open_end.can_measure
    known = replace(snapshots.invitation(), traffic=snapshots.traffic(finish_at=snapshots.NOW + 1))
    assert not present_invitation("/f", known, now=snapshots.NOW).can_measure
    late = snapshots.invitation("the invitation expired", "Ask for a new one.")
    assert not present_invitation("/f", late, now=snapshots.NOW).can_measure
