from __future__ import annotations

from dataclasses import replace

import pytest
from helpers import snapshots
from msgspec import structs

from app.control.messages import JobView
from app.domain.layout_proposal import ChannelAnswer, StructureAnswer
from app.ui.presenters.layout import (
    LayoutAnswers,
    normalisation_words,
    present_layout,
    problem_of,
)
from app.ui.text import Tone

DATA = snapshots.proposed().data


def answers(**changes: object) -> LayoutAnswers:
    good = LayoutAnswers(
        digest="d",
        channels=(ChannelAnswer(found="CT", name="CT"), ChannelAnswer(found="PT", name="PET")),
        structures=(
            StructureAnswer(found="Liver", name="liver", value=1),
            StructureAnswer(found="LIVER_2", name="liver", value=1),
            StructureAnswer(found="GTV", name="tumour", value=2),
            StructureAnswer(found="External", name="external", value=0),
        ),
        leave_out=(),
        pseudonyms=True,
    )
    return replace(good, **changes)


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


def test_the_name_tells_how_grey_values_are_scaled():
    assert normalisation_words("ct").startswith("Hounsfield units")
    assert normalisation_words(" PET ").startswith("Any other name")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, ""),
        ({"channels": (ChannelAnswer(found="CT", name=""),)}, "a name of its own"),
        (
            {
                "channels": (
                    ChannelAnswer(found="CT", name="a"),
                    ChannelAnswer(found="PT", name="A"),
                )
            },
            "a name of its own",
        ),
        ({"structures": (StructureAnswer(found="GTV", name="", value=1),)}, "needs a name"),
        ({"structures": (StructureAnswer(found="GTV", name="x", value=0),)}, "At least one"),
        ({"structures": (StructureAnswer(found="GTV", name="x", value=2),)}, "without a gap"),
        (
            {
                "structures": (
                    StructureAnswer(found="GTV", name="x", value=1),
                    StructureAnswer(found="Liver", name="y", value=1),
                )
            },
            "the same value",
        ),
        (
            {
                "structures": (
                    StructureAnswer(found="GTV", name="x", value=1),
                    StructureAnswer(found="Liver", name="x", value=2),
                )
            },
            "two values",
        ),
        ({"leave_out": tuple(map(str, range(12)))}, "At least one case"),
    ],
)
def test_answers_that_cannot_be_used_are_told_before_they_are_sent(changed, said):
    problem = problem_of(answers(**changed), cases=12)
    assert (said in problem) if said else (problem == "")
