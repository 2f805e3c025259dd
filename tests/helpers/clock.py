"""A clock whose hands the test turns."""

from __future__ import annotations


class HandClock:
    """Stands still until `advance`; both hands go together."""

    def __init__(self, *, now: float = 1_800_000_000.0) -> None:
        self._now, self._monotonic = now, 1000.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._monotonic += seconds
