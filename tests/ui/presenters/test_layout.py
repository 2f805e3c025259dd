from __future__ import annotations

from helpers import snapshots
from msgspec import structs

from app.control.messages import JobView
from app.ui.presenters.layout import present_layout
from app.ui.text import Tone

DATA = snapshots.proposed().data


def test_the_form_says_what_was_found():
    state = present_layout(DATA)
    assert state.digest == DATA.proposal_digest
    assert "12 cases, 11 of them with labels (DICOM series)" in state.sentence
    assert [one.cases for one in state.channels] == ["12 cases", "11 cases"]
    assert state.always_pseudonyms
    third = state.cases.rows[2]
    assert third.cells[2].text == "00001.dcm (CT, 512 x 512, 108 slices), missing"
    assert third.cells[2].tone is Tone.WARNING
    assert state.cases.rows[11].cells[3].text == "–"
    assert "left.dcm: its image is not in this folder" in state.unused


def test_nothing_to_confirm_or_not_now():
    assert present_layout(snapshots.checked().data) is None
    running = structs.replace(DATA, job=JobView(kind="convert", running=True))
    assert not present_layout(running).can_confirm
