"""The graphics card and its package, as the card shows them."""

from __future__ import annotations

from dataclasses import dataclass

from app.ui.text import Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacking:
    """An installation that runs: a sentence, its share done (None: not known)."""

    sentence: str
    share: float | None
    stops: str = "gpu"
    """What its Stop button hands over; empty: it cannot be stopped now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuState:
    """What is computed with, what could be, and how the last wish ended (empty: none did)."""

    sentence: str
    detail: str = ""
    can_install: bool = False
    can_remove: bool = False
    running: Unpacking | None = None
    result: str = ""
    result_tone: Tone = Tone.NEUTRAL
