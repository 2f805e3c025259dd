from __future__ import annotations

from app.domain.errors import DataProblem, ErrorCode
from app.ui.messages import Message, of_error, refusal, told
from app.ui.text import Tone


def test_errors_keep_sentence_and_remedy():
    error = DataProblem("the folder is empty", code=ErrorCode.FOLDER_EMPTY)
    assert of_error(error) == Message(
        sentence="The folder is empty",
        remedy="Copy images and labels into the folder, or choose another one.",
        tone=Tone.DANGER,
    )


def test_refusals_warn_and_deeds_are_good():
    assert refusal("no study", "Join one.") == Message(
        sentence="No study", remedy="Join one.", tone=Tone.WARNING
    )
    assert told("Done.") == Message(sentence="Done.", tone=Tone.GOOD)
