"""What the window tells in passing: a sentence and, when something went wrong, a remedy."""

from __future__ import annotations

from msgspec import Struct

from app.domain.errors import FednnunetError
from app.ui.text import Tone, sentence_case


class Message(Struct, frozen=True, kw_only=True):
    """One message. `remedy` is empty when there is nothing to do."""

    sentence: str
    remedy: str = ""
    tone: Tone = Tone.INFO


def told(sentence: str) -> Message:
    """Say that something was done."""
    return Message(sentence=sentence, tone=Tone.GOOD)


def refusal(sentence: str, remedy: str) -> Message:
    """Say why a wish was not granted."""
    return Message(sentence=sentence_case(sentence), remedy=remedy, tone=Tone.WARNING)


def of_error(error: FednnunetError) -> Message:
    """Say what went wrong."""
    return Message(sentence=sentence_case(str(error)), remedy=error.remedy, tone=Tone.DANGER)
