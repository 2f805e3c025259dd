"""What the connection doctor found, as the card shows it."""

from __future__ import annotations

from dataclasses import dataclass

from app.ui.text import Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorLine:
    """What was found at one layer of the connection."""

    step: str
    state: str
    icon: str
    tone: Tone
    sentence: str
    remedy: str

    @property
    def said(self) -> str:
        """The sentence, and the remedy on a line of its own where there is one."""
        return "\n".join(filter(None, (self.sentence, self.remedy)))


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorState:
    """The last examination of the connection."""

    hint: str
    lines: tuple[DoctorLine, ...]
    ticket: str
    can_run: bool
