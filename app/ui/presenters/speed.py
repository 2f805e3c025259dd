"""Whether this speed is normal for this computer."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from app.control.messages import SpeedView
from app.ui.presenters.parts import Badge, Fact
from app.ui.text import Tone, sentence_case

_SPEEDS: Final = {
    "usual": Badge(text="Normal", tone=Tone.GOOD),
    "fast": Badge(text="Faster than usual", tone=Tone.GOOD),
    "slow": Badge(text="Slower than usual", tone=Tone.WARNING),
}


class SpeedState(Struct, frozen=True, kw_only=True):
    """Whether this speed is normal for this computer."""

    sentence: str
    badge: Badge | None
    facts: tuple[Fact, ...]


def speed_of(view: SpeedView) -> SpeedState:
    """Return whether this speed is normal for this computer."""
    times = (
        ("One step takes", view.step_s),
        ("Usual here", view.usual_s),
        ("Expected of such a device", view.table_s),
    )
    return SpeedState(
        sentence=sentence_case(view.sentence)
        or "After some steps this says whether the speed is normal for this computer.",
        badge=_SPEEDS.get(view.verdict),
        facts=tuple(
            Fact(name=name, value=f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s")
            for name, seconds in times
            if seconds is not None
        ),
    )
