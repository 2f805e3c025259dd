"""The two clocks of the house: one for people, one for durations."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where code that decides by time takes it from, so that tests can turn the hands."""

    def now(self) -> float:
        """Seconds since the epoch (UTC): for dates that people read and certificates."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump: for durations and deadlines."""
        ...


class SystemClock:
    """The computer's own clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
