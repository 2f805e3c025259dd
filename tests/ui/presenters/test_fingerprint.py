from __future__ import annotations

import pytest
from helpers import snapshots
from helpers.plans import document_of, stock_plan
from msgspec.structs import replace

from app.federation.shared_network import encode, statement_of
from app.site.fingerprinting import show_network
from app.ui.presenters.fingerprint import field_words, plan_facts, present_fingerprint
from app.ui.text import Tone


def test_before_the_data_are_checked_nothing_can_be_computed():
    state = present_fingerprint(snapshots.empty())
    assert not state.can_compute
    assert not state.computed
    assert state.headline == "First choose a folder on the Data page and let it be checked."


def test_ready_to_compute():
    state = present_fingerprint(snapshots.checked())
    assert state.can_compute
    assert not state.can_allow


def test_the_bytes_shown_are_the_bytes_told():
    snapshot = snapshots.to_allow()
    state = present_fingerprint(snapshot)
    assert state.outgoing == snapshot.fingerprint.outgoing
    assert state.digest == snapshot.fingerprint.outgoing_digest
    assert state.outgoing_size == "1.2 kB"
    assert state.can_allow
    assert state.badge is not None
    assert state.badge.text == "Waits for you"


def test_blocked_cannot_be_allowed():
    base = snapshots.to_allow()
    blocked = replace(base.fingerprint, blocked="the study asks for at least 30 cases")
    state = present_fingerprint(replace(base, fingerprint=blocked))
    assert not state.can_allow
    assert state.blocked == "The study asks for at least 30 cases"
    assert state.badge is not None
    assert state.badge.tone is Tone.DANGER


def test_allowed_shows_the_receipt_and_what_came_back():
    state = present_fingerprint(snapshots.training())
    receipt = {fact.name: fact.value for fact in state.receipt}
    assert receipt["Allowed by"] == "Dr. A. Example"
    assert receipt["SHA-256"] == state.digest
    assert receipt["State"] == "Shared"
    assert not state.can_allow
    assert state.can_withdraw
    assert state.returned_pictures
    assert state.plan


def test_a_running_computation_hides_the_headline():
    state = present_fingerprint(snapshots.fingerprinting())
    assert state.headline == ""
    assert state.progress is not None
    assert not state.can_compute


def test_a_choice_not_computed_yet_shows_in_the_ticks():
    state = present_fingerprint(snapshots.to_allow(), left_out=frozenset({"hippocampus_143"}))
    ticks = {row.key: row.checked for row in state.cases.rows}
    assert ticks["hippocampus_143"] is False
    assert sum(value is True for value in ticks.values()) == 23
    assert state.left_out == ("hippocampus_143",)


def test_the_paper_policy_warns():
    base = snapshots.to_allow()
    state = present_fingerprint(
        replace(base, fingerprint=replace(base.fingerprint, policy="paper"))
    )
    assert state.policy_warns
    assert "every single case" in state.policy_sentence


def test_risks_are_told_in_words_and_sorted():
    base = snapshots.to_allow()
    first = replace(base.fingerprint.fields[0], risk="single voxel")
    alone = replace(base.fingerprint.fields[0], risk="count of one")
    fields = (first, *base.fingerprint.fields[1:-1], alone)
    state = present_fingerprint(replace(base, fingerprint=replace(base.fingerprint, fields=fields)))
    assert state.fields.rows[0].cells[3].text == "Value of a single voxel"
    assert state.fields.rows[0].cells[3].tone is Tone.DANGER
    assert state.fields.rows[1].cells[3].text == "All cases together"
    assert state.fields.rows[-1].cells[3].text == "Some values are of one case"
    assert state.fields.rows[-1].cells[3].tone is Tone.WARNING


def test_plan_in_plain_words():
    facts = {fact.name: fact.value for fact in plan_facts(snapshots.plan(), "ab" * 32)}
    assert facts == {
        "Kind": "3D, full resolution",
        "Voxel size": "1.00 × 1.00 × 1.00 mm",
        "Patch": "40 × 56 × 40 voxels, 2 at a time",
        "Intensities": "Each image brought to mean 0 and deviation 1",
        "Network": "Plain U-Net, 4 stages, 5.6 million weights",
        "Plan’s SHA-256": "abababababababab…",
    }
    assert plan_facts(None, None) == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cases", "Number of cases"),
        ("spacing.z", "Voxel size, slices"),
        ("Spacing z", "Voxel size, slices"),
        ("extent.x", "Image size in mm, columns"),
        ("MRI.foreground_cases", "MRI: cases with a labelled structure"),
        ("T1 weighted.histogram", "T1 weighted: intensities, counted in fixed bins"),
        ("MRI intensity", "MRI: intensities"),
        ("Voxel size, slices", "Voxel size, slices"),
        ("Number of cases", "Number of cases"),
        ("something new", "Something new"),
    ],
)
def test_fields_are_named_in_plain_words(name, words):
    assert field_words(name) == words


def test_without_a_study_nothing_is_wrong_yet():
    base = snapshots.to_allow()
    view = replace(base.fingerprint, blocked="join a study first")
    alone = replace(base, fingerprint=view, federation=snapshots.empty().federation)
    badge = present_fingerprint(alone).badge
    assert badge is not None
    assert badge.tone is Tone.NEUTRAL


def test_what_blocks_is_to_be_mended_first():
    state = present_fingerprint(snapshots.blocked())
    assert not state.can_compute
    assert state.headline.startswith("First mend what blocks training")


def test_the_form_of_a_network_is_told_in_words():
    document = encode(
        statement_of(document_of(stock_plan("ExperimentPlanner", "hippocampus")), "3d_fullres")
    )
    view = replace(snapshots.fingerprint(), policy="network", fields=show_network(document).fields)
    shown = present_fingerprint(replace(snapshots.to_allow(), fingerprint=view))
    assert shown.policy_sentence.startswith("Your site plans for itself")
    assert not shown.policy_warns
    names = [row.cells[0].text for row in shown.fields.rows]
    assert "Layers on the way down" in names
    assert not [name for name in names if "_" in name]
