"""A lane does one piece of work at a time and changes its mind when what is wanted changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from app.domain.errors import ErrorCode, FednnunetError, OurMistake
from app.site.agenda import Work, WorkKind

logger = logging.getLogger(__name__)

_FIRST_DELAY_S: Final = 5.0
_LONGEST_DELAY_S: Final = 300.0
_RETRIED_FOREVER: Final = frozenset({ErrorCode.UNREACHABLE, ErrorCode.DISK_FULL})
_RETRIED_OFTEN: Final = frozenset({ErrorCode.JOB_LOST, ErrorCode.MEMORY_FULL})
_A_PERSON_CAN_HELP: Final = frozenset({ErrorCode.DISK_FULL, ErrorCode.MEMORY_FULL})
_LOSSES: Final = 3
_AGAIN_S: Final = 1.0


def patience(error: FednnunetError, count: int) -> float | None:
    """Return after how many seconds to try again the `count`-th failure, None for never.

    What comes from outside (network, a full disk) is tried for ever; a lost worker a few times;
    what would only fail in the same way again waits for a person.
    """
    delay: float = min(_FIRST_DELAY_S * 2 ** (count - 1), _LONGEST_DELAY_S)
    if error.code in _RETRIED_FOREVER:
        return delay
    if error.code in _RETRIED_OFTEN and count <= _LOSSES:
        return delay
    return None


class Lane:
    """Runs what `decide` wants; `failed` hears of every failure and whether it is tried again.

    `decide` and `failed` are called on the loop and must be quick. Work that is no longer wanted
    is cancelled and awaited before other work begins.
    """

    def __init__(
        self,
        *,
        name: str,
        decide: Callable[[], Work | None],
        perform: Callable[[Work], Awaitable[None]],
        changed: Callable[[], None],
        failed: Callable[[Work, FednnunetError, float | None], None],
        patience: Callable[[FednnunetError, int], float | None] = patience,
    ) -> None:
        self.name = name
        self._decide, self._perform = decide, perform
        self._changed, self._failed = changed, failed
        self._patience = patience
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._failures: dict[Work, int] = {}
        self._parked: set[Work] = set()
        self._stopped: set[WorkKind] = set()
        self._resting: dict[Work, float] = {}
        self.work: Work | None = None
        """What is being done now."""
        self.problem: FednnunetError | None = None
        """Why nothing is done, when a person is needed."""

    def wake(self) -> None:
        """Decide anew soon: something changed."""
        self._wake.set()

    def forgive(self) -> None:
        """Try again what was given up: a person changed something."""
        self._failures.clear()
        self._parked.clear()
        self._stopped.clear()
        self._resting.clear()
        self.problem = None
        self._wake.set()

    def park(self, kind: WorkKind) -> None:
        """Do no work of this kind any more until `forgive`: a person stopped it."""
        self._stopped.add(kind)
        self._wake.set()

    async def settled(self) -> None:
        """Wait until nothing is wanted and what was done is ended; the lane must be running."""
        self._idle.clear()
        self._wake.set()
        await self._idle.wait()

    async def run(self) -> None:
        """Work until cancelled; the work in hand is cancelled and awaited then."""
        task: asyncio.Task[None] | None = None
        try:
            while True:
                self._wake.clear()
                wanted, rest_s = self._wanted()
                if task is not None and wanted != self.work:
                    await _cancelled(task)
                    task, self.work = None, None
                if task is None and wanted is not None:
                    self.work = wanted
                    task = asyncio.create_task(
                        self._attempt(wanted), name=f"{self.name}: {wanted.kind.value}"
                    )
                if task is None and wanted is None:
                    self._idle.set()
                self._changed()
                await self._something(task, rest_s)
                if task is not None and task.done():
                    task, self.work = None, None
                    self._wake.set()
        finally:
            if task is not None:
                await _cancelled(task)

    def _wanted(self) -> tuple[Work | None, float | None]:
        """Return what to do now, or None and how long what is wanted still rests."""
        wanted = self._decide()
        if wanted is None:
            self.problem = None
            return None, None
        if wanted.kind in self._stopped or wanted in self._parked:
            return None, None
        left = self._resting.get(wanted, 0.0) - asyncio.get_running_loop().time()
        if left > 0:
            return None, left
        if wanted != self.work:
            self.problem = None
        return wanted, None

    async def _something(self, task: asyncio.Task[None] | None, rest_s: float | None) -> None:
        """Wait until the work ends, something changed, or a rest is over."""
        woken = asyncio.create_task(self._wake.wait())
        try:
            awaited: set[asyncio.Task[None] | asyncio.Task[bool]] = {woken}
            if task is not None:
                awaited.add(task)
            await asyncio.wait(awaited, timeout=rest_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    async def _attempt(self, work: Work) -> None:
        try:
            await self._perform(work)
        except FednnunetError as exc:
            self._give_up(work, exc)
        except Exception as exc:  # the end of a task
            logger.exception("%s failed", work.kind.value)
            mistake = OurMistake(f"{work.kind.value} failed by a mistake of this program: {exc!r}")
            self._give_up(work, mistake)
        else:
            self._failures.pop(work, None)
            # Work that is wanted again although it went well has changed nothing: never spin.
            self._resting = {work: asyncio.get_running_loop().time() + _AGAIN_S}

    def _give_up(self, work: Work, error: FednnunetError) -> None:
        count = self._failures[work] = self._failures.get(work, 0) + 1
        delay = self._patience(error, count)
        if delay is None or error.code in _A_PERSON_CAN_HELP:
            self.problem = error
        if delay is None:
            self._parked.add(work)
        else:
            self._resting[work] = asyncio.get_running_loop().time() + delay
        self._failed(work, error, delay)


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancel `task` and wait until it has cleaned up, also when we are cancelled meanwhile."""
    task.cancel()
    await asyncio.wait({task})
