"""Work that a checkpoint does not hold yet, and the account of what an unplanned end has cost.

After every step a few bytes say where training is. They are written without waiting for the disk:
the loss of a process leaves them true to the step, the loss of power to some seconds. What they
say is told, never trained from: training goes on from the checkpoint.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import psutil

from app.control.messages import Interruption
from app.domain.errors import SetupProblem
from app.domain.training import StepRecord
from app.site.spoken import span, time_of_day
from app.site.state import Interruptions, SiteStore
from app.system.clock import Clock

logger = logging.getLogger(__name__)

KEPT: Final = 20
WORKER_LOST: Final = "worker lost"
SERVICE_LOST: Final = "service lost"
COMPUTER_LOST: Final = "computer lost"

_WHAT: Final = {
    WORKER_LOST: "The training worker ended unexpectedly at {when}",
    SERVICE_LOST: "This site's service ended unexpectedly at {when}",
    COMPUTER_LOST: "The computer went off at about {when}",
}


class AtWork(msgspec.Struct, frozen=True, kw_only=True):
    """Where training was: `step` steps of `epoch` since the last checkpoint took `seconds`."""

    at: float
    epoch: int
    step: int = 0
    seconds: float = 0.0


class WorkAtRisk:
    """Knows what would be lost now, and keeps the account of what was lost.

    `boot_time` returns when this computer was started, in seconds since the epoch.
    """

    def __init__(
        self,
        store: SiteStore,
        file: Path,
        *,
        clock: Clock,
        boot_time: Callable[[], float] = psutil.boot_time,
    ) -> None:
        self._store, self._file, self._clock = store, file, clock
        self._boot_time = boot_time
        self._now: AtWork | None = None
        self._doubted = False
        """The newest interruption came from the file: the checkpoint may know better."""

    @property
    def lost_s(self) -> float:
        """Seconds of training that no checkpoint holds."""
        return 0.0 if self._now is None else self._now.seconds

    @property
    def account(self) -> tuple[Interruption, ...]:
        """What was lost and when, the newest first."""
        kept = self._store.get(Interruptions)
        return () if kept is None else kept.items

    # --- what happens --------------------------------------------------------------------------

    def stepped(self, record: StepRecord) -> None:
        """Take note of a step."""
        before = self._now
        seconds = before.seconds if before is not None and before.epoch == record.epoch else 0.0
        self._note(
            AtWork(
                at=self._clock.now(),
                epoch=record.epoch,
                step=record.step,
                seconds=seconds + record.seconds,
            )
        )

    def checkpointed(self, epoch: int) -> None:
        """Take note that everything up to the end of `epoch` is safe."""
        self._note(AtWork(at=self._clock.now(), epoch=epoch))

    def ended(self) -> None:
        """Take note that nothing is at risk any more: a round was trained, or a person stopped it."""
        self._now = None
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)

    def worker_lost(self) -> None:
        """Enter the loss of the worker into the account."""
        work = self._now or AtWork(at=self._clock.now(), epoch=0)
        self._enter(WORKER_LOST, msgspec.structs.replace(work, at=self._clock.now()))
        self.ended()

    def service_starts(self, *, unclean: bool, delivering: bool) -> None:
        """Enter what the service's last end has cost; `unclean` says that it was no planned one.

        `delivering` says that an update is trained and not yet delivered.
        """
        try:
            data = self._file.read_bytes()
        except OSError:
            if unclean:
                self._enter_harmless(delivering=delivering)
            return
        try:
            work = msgspec.json.decode(data, type=AtWork)
        except msgspec.DecodeError:
            logger.info("where training was is not readable; it goes on from the checkpoint")
            work = AtWork(at=self._clock.now(), epoch=0)
        what = COMPUTER_LOST if self._boot_time() > work.at else SERVICE_LOST
        self._enter(what, work)
        self._doubted = True
        self.ended()

    def session_ready(self, epoch: int) -> None:
        """Take note that training goes on after `epoch` epochs: a checkpoint may hold more.

        A worker whose service was lost may have ended its epoch before it noticed.
        """
        newest = self.account[0] if self.account else None
        if self._doubted and newest is not None and newest.lost_steps and newest.epoch <= epoch:
            self._put(
                msgspec.structs.replace(
                    newest,
                    lost_steps=0,
                    lost_s=0.0,
                    sentence=f"{_when(newest.what, newest.at, self._clock.now())}. Nothing is lost: "
                    f"epoch {newest.epoch} had just been saved.",
                ),
                *self.account[1:],
            )
        self._doubted = False

    # --- the account ---------------------------------------------------------------------------

    def _note(self, work: AtWork) -> None:
        self._now = work
        # Bookkeeping must never stop training, not even on a full disk.
        with contextlib.suppress(OSError):
            self._file.write_bytes(msgspec.json.encode(work))

    def _enter(self, what: str, work: AtWork) -> None:
        sentence = _when(what, work.at, self._clock.now())
        if work.step:
            steps = "1 step" if work.step == 1 else f"{work.step} steps"
            again = "is" if work.step == 1 else "are"
            sentence += (
                f". {steps} ({span(work.seconds)}) of epoch {work.epoch} {again} trained again; "
                "finished epochs are kept and count once."
            )
        elif work.epoch:
            sentence += f". Nothing is lost: epoch {work.epoch} had just been saved."
        else:
            sentence += ". At most the unfinished epoch is trained again; finished ones are kept."
        self._put(
            Interruption(
                at=work.at,
                what=what,
                sentence=sentence,
                epoch=work.epoch,
                lost_steps=work.step,
                lost_s=work.seconds,
            ),
            *self.account,
        )

    def _enter_harmless(self, *, delivering: bool) -> None:
        what = "its update is trained and is sent on now" if delivering else "no training ran"
        self._put(
            Interruption(
                at=self._clock.now(),
                what=SERVICE_LOST,
                sentence=f"This site's service had ended unexpectedly. Nothing is lost: {what}.",
                epoch=0,
                lost_steps=0,
                lost_s=0.0,
            ),
            *self.account,
        )

    def _put(self, *items: Interruption) -> None:
        logger.info("%s", items[0].sentence)
        try:
            self._store.put(Interruptions(items=items[:KEPT]))
        except SetupProblem as exc:
            # A full disk may be why it ended; the account must not keep the service from starting.
            logger.warning("the interruption is not kept: %s", exc)


def _when(what: str, at: float, now: float) -> str:
    return _WHAT[what].format(when=time_of_day(at, now=now))
