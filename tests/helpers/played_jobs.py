"""A job runner whose jobs are functions: for services whose jobs are somebody else's test."""

from __future__ import annotations

from collections.abc import Callable

from app.domain.errors import ErrorCode, FednnunetError
from app.jobs.events import AnyEvent, Result
from app.jobs.machine import JobState
from app.jobs.outcome import JobOutcome
from app.jobs.spec import AnyJob


class PlayedJob:
    def __init__(self, play: Callable[[AnyJob], Result], job: AnyJob) -> None:
        self.job, self._play = job, play

    async def wait(self) -> JobOutcome:
        try:
            result = self._play(self.job)
        except FednnunetError as exc:
            return JobOutcome(state=JobState.FAILED, sentence=str(exc), code=exc.code, result=None)
        return JobOutcome(state=JobState.SUCCEEDED, sentence="done", code=None, result=result)

    async def stop(self, grace_s: float = 0.0) -> JobOutcome:
        return JobOutcome(
            state=JobState.STOPPED, sentence="stopped", code=ErrorCode.JOB_STOPPED, result=None
        )


class PlayedRunner:
    """Gives every job to `play`, which returns its result or raises its FednnunetError."""

    def __init__(self, play: Callable[[AnyJob], Result]) -> None:
        self.jobs: list[AnyJob] = []
        self._play = play

    async def start(self, job: AnyJob, *, on_event: Callable[[AnyEvent], None]) -> PlayedJob:
        self.jobs.append(job)
        return PlayedJob(self._play, job)
