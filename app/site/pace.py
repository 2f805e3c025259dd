"""How fast training goes and how long this site's part of a round will still take."""

from __future__ import annotations

import statistics
from collections import deque
from typing import Final

from app.domain.training import EpochRecord, StepRecord

_REMEMBERED_STEPS: Final = 200


class Pace:
    """Learns from steps and epochs; knows nothing before the first step."""

    def __init__(self) -> None:
        self._steps: deque[float] = deque(maxlen=_REMEMBERED_STEPS)
        self.overhead_s = 0.0
        """Seconds of an epoch that are not training steps: validation and the checkpoint."""

    def stepped(self, record: StepRecord) -> None:
        """Take note of a step."""
        self._steps.append(record.seconds)

    def epoch_ended(self, record: EpochRecord, *, steps: int) -> None:
        """Take note of an epoch of `steps` steps."""
        if self._steps:
            self.overhead_s = max(0.0, record.seconds - steps * self.step_s)

    @property
    def steps(self) -> int:
        """How many steps it remembers."""
        return len(self._steps)

    @property
    def step_s(self) -> float:
        """Median seconds of a step; the mean would jump with one slow step."""
        return statistics.median(self._steps) if self._steps else 0.0

    def seconds_left(self, record: StepRecord, *, last_epoch: int) -> float | None:
        """Return the seconds until epoch `last_epoch`, the round's last, is done."""
        if not self._steps:
            return None
        whole = max(0, last_epoch - record.epoch)
        steps = record.steps_per_epoch - record.step + whole * record.steps_per_epoch
        return steps * self.step_s + (whole + 1) * self.overhead_s
