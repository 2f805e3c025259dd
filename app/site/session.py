"""The living training session: one worker that trains round after round."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from app.domain.errors import ErrorCode, FednnunetError, JobFailed, OurMistake
from app.jobs.events import AnyEvent, RoundTrained, SessionReady
from app.jobs.outcome import JobOutcome
from app.jobs.runner import JobRunner, RunningJob
from app.jobs.spec import Finish, TrainJob, TrainRound

logger = logging.getLogger(__name__)

_READY_TIMEOUT_S: Final = 900.0
"""Imports, loaders and a first CUDA context on a slow disk take minutes, never this long."""
_CHECKPOINT_GRACE_S: Final = 60.0
"""A worker that is asked to stop writes a checkpoint first."""


class TrainingSession:
    """A training worker between its first word and its end; `start`, then `ready`, then rounds."""

    def __init__(self, on_event: Callable[[AnyEvent], None]) -> None:
        self._on_event = on_event
        self._running: RunningJob | None = None
        self._watch: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[SessionReady] = loop.create_future()
        self._trained: asyncio.Future[RoundTrained] | None = None
        self._failure: JobFailed | None = None
        self.outcome: JobOutcome | None = None
        """How the worker ended; None while it lives, and when an event of it could not be taken."""

    @property
    def alive(self) -> bool:
        """True from the worker's start to its end."""
        return self._watch is not None and not self._watch.done()

    @property
    def stands(self) -> bool:
        """True while the worker waits for rounds or trains one."""
        return self.alive and self._ready.done()

    @property
    def pid(self) -> int | None:
        """Process id of the worker."""
        return None if self._running is None or not self.alive else self._running.pid

    async def start(self, runner: JobRunner, job: TrainJob, *, ended: Callable[[], None]) -> None:
        """Start the worker; `ended` is called when it is gone. Then wait for `ready`.

        Raises:
            SetupProblem: the worker cannot be started.
        """
        running = await runner.start(job, on_event=self._heard)
        self._running = running
        self._watch = asyncio.create_task(self._until_end(running, ended))

    async def ready(self) -> SessionReady:
        """Wait until the worker stands; cancelling the wait leaves it starting.

        Raises:
            JobFailed: the worker ended before, or takes too long and was stopped.
        """
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                return await asyncio.shield(self._ready)
        except TimeoutError as exc:
            await self.stop()
            raise JobFailed(
                "the training worker did not get ready", code=ErrorCode.JOB_LOST
            ) from exc

    async def train(self, command: TrainRound) -> RoundTrained:
        """Train one round to its end.

        Cancelling the wait leaves the worker training: stop the session then.

        Raises:
            JobFailed: the worker ended; its code says why (JOB_LOST, NOT_FINITE, GPU_MEMORY, ...).
        """
        running = self._living()
        if self._trained is not None and not self._trained.done():
            raise OurMistake("the training session already trains a round")
        self._trained = asyncio.get_running_loop().create_future()
        await running.send(command)
        trained = await asyncio.shield(self._trained)
        if (trained.round, trained.update) != (command.round, command.update):
            raise OurMistake(f"the worker trained round {trained.round}, not {command.round}")
        return trained

    async def finish(self) -> None:
        """End the session in peace; the worker writes its last checkpoint."""
        if self._running is None or not self.alive:
            return
        with contextlib.suppress(JobFailed):
            await self._running.send(Finish())
        await self._ended(self._running)

    async def stop(self) -> None:
        """Stop the worker at its next checkpoint, by force when it does not."""
        if self._running is not None and self._watch is not None:
            if self.alive:
                # How it ended is what the watch says.
                with contextlib.suppress(FednnunetError):
                    await self._running.stop(_CHECKPOINT_GRACE_S)
            await asyncio.wait({self._watch})

    async def _ended(self, running: RunningJob) -> None:
        if self._watch is None:
            return
        done, _ = await asyncio.wait({self._watch}, timeout=_CHECKPOINT_GRACE_S)
        if not done:
            await running.stop()
            await asyncio.wait({self._watch})

    def _living(self) -> RunningJob:
        if self._failure is not None:
            raise self._failure
        if self._running is None or not self.alive:
            raise JobFailed("the training worker has ended", code=ErrorCode.JOB_LOST)
        return self._running

    def _heard(self, event: AnyEvent) -> None:
        match event:
            case SessionReady() if not self._ready.done():
                self._ready.set_result(event)
            case RoundTrained() if self._trained is not None and not self._trained.done():
                self._trained.set_result(event)
            case _:
                pass
        self._on_event(event)

    async def _until_end(self, running: RunningJob, ended: Callable[[], None]) -> None:
        try:
            outcome = await running.wait()
        except FednnunetError as exc:
            # What we do with an event failed (a full disk): the runner has ended the worker.
            self._failure = JobFailed(str(exc), code=exc.code)
        except Exception as exc:
            logger.exception("an event of the training worker could not be taken")
            self._failure = JobFailed(f"training was ended by a mistake of this program: {exc!r}")
        else:
            self.outcome = outcome
            self._failure = JobFailed(outcome.sentence, code=outcome.code or ErrorCode.JOB_LOST)
        for future in (self._ready, self._trained):
            if future is not None and not future.done():
                future.set_exception(self._failure)
                # Whoever waits gets it; without a waiter it is no news.
                future.exception()
        ended()
