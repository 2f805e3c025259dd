from __future__ import annotations

from dataclasses import replace

import pytest

from app.domain.layout_proposal import ChannelAnswer, StructureAnswer
from app.ui.models.layout import LayoutAnswers, normalisation_words, problem_of


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
