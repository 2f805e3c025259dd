"""An axis of a plot: the part that is shown, and where its ticks lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_STEPS: Final = (1.0, 2.0, 5.0, 10.0)
"""A person counts along these, times a power of ten."""
_DECADE_PARTS: Final = (1, 2, 5)
_EXPONENT_FROM: Final = 4
"""Powers of ten with more digits than this are written with an exponent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The part of an axis that is shown, as drawn: of a logarithmic one, decimal logarithms."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """How much is shown."""
        return self.high - self.low

    def share(self, place: float) -> float:
        """Return where `place` lies: 0 at the low end, 1 at the high one."""
        return (place - self.low) / self.width

    def at(self, share: float) -> float:
        """Return the place at a share of the axis."""
        return self.low + share * self.width

    def padded(self, share: float) -> Span:
        """Return a span with `share` of its width more at both ends; never an empty one."""
        room = share * self.width if self.width > 0 else (abs(self.low) * 0.1 or 0.5)
        return Span(low=self.low - room, high=self.high + room)

    def zoomed(self, factor: float, *, about: float) -> Span:
        """Return a span `factor` times narrower that keeps `about` where it lies."""
        return Span(
            low=about - (about - self.low) / factor, high=about + (self.high - about) / factor
        )

    def within(self, whole: Span) -> Span:
        """Return this span moved, or else cut, so that it does not leave `whole`."""
        if self.width >= whole.width:
            return whole
        move = max(0.0, whole.low - self.low) - max(0.0, self.high - whole.high)
        return Span(low=self.low + move, high=self.high + move)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One tick: where it lies as drawn, and what is written beside it."""

    place: float
    text: str


def even_ticks(span: Span, most: int, *, whole: bool = False) -> tuple[Tick, ...]:
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


def decade_ticks(span: Span, most: int) -> tuple[Tick, ...]:
    """Return ticks of a logarithmic axis: powers of ten, parts of them where there is room.

    An axis that shows less than a decade is ticked like an even one, at the values' logarithms.
    """
    if span.width < 1:
        low, high = 10.0**span.low, 10.0**span.high
        even = even_ticks(Span(low=low, high=high), most)
        return tuple(
            Tick(place=math.log10(tick.place), text=tick.text) for tick in even if tick.place > 0
        )
    decades = range(math.floor(span.low), math.ceil(span.high) + 1)
    parts = _DECADE_PARTS if len(decades) * len(_DECADE_PARTS) <= 2 * most else (1,)
    apart = max(1, -(-len(decades) // max(1, most)))
    return tuple(
        Tick(place=place, text=f"{part * 10.0**decade:g}")
        for decade in decades[::apart]
        for part in parts
        if span.low - 1e-9 <= (place := decade + math.log10(part)) <= span.high + 1e-9
    )


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is not below `least`."""
    if not least > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in _STEPS if step * power >= least * (1 - 1e-9))


def _written(value: float, digits: int) -> str:
    if digits > _EXPONENT_FROM or abs(value) >= 10.0 ** (_EXPONENT_FROM + 2):
        return f"{value:.3g}" if value else "0"
    return f"{value + 0.0:.{digits}f}"
