"""An axis of a picture: the part that is shown, and where its ticks lie."""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

_STEPS: Final = (1.0, 2.0, 5.0, 10.0)
"""A person counts along these, times a power of ten."""
_MOST_DIGITS: Final = 4
"""Numbers with more digits behind the point, or two more before it, are written with an exponent."""


class Span(Struct, frozen=True, kw_only=True):
    """The part of an axis that is shown; `high` lies above `low`."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """How much is shown."""
        return self.high - self.low

    def share(self, place: float) -> float:
        """Return where `place` lies: 0 at the low end, 1 at the high one."""
        return (place - self.low) / self.width


class Tick(Struct, frozen=True, kw_only=True):
    """One tick: where it lies, and what is written beside it."""

    place: float
    text: str


def padded(low: float, high: float, share: float) -> Span:
    """Return a span with `share` of its width more at both ends; never an empty one."""
    room = share * (high - low) if high > low else (abs(low) * 0.1 or 0.5)
    return Span(low=low - room, high=high + room)


def ticks(span: Span, most: int, *, whole: bool = False) -> tuple[Tick, ...]:
    """Return at most about `most` ticks at round numbers; `whole`: at whole numbers only."""
    step = _round_step(span.width / max(1, most))
    if whole:
        step = max(1.0, step)
    first, last = math.ceil(span.low / step - 1e-9), math.floor(span.high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return tuple(
        Tick(place=number * step, text=_written(number * step, digits))
        for number in range(first, last + 1)
    )


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is not below `least` (> 0)."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in _STEPS if step * power >= least * (1 - 1e-9))


def _written(value: float, digits: int) -> str:
    if digits > _MOST_DIGITS or abs(value) >= 10.0 ** (_MOST_DIGITS + 2):
        return f"{value:.3g}" if value else "0"
    return f"{value + 0.0:.{digits}f}"
