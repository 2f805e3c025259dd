"""The connection doctor of a running service: one examination at a time, shown as it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from app.control.messages import DoctorRow, FederationView
from app.domain.errors import ErrorCode, SetupProblem
from app.site import joining
from app.site.context import SiteContext
from app.site.doctor import DoctorLine, DoctorTarget, examine, ticket_text

logger = logging.getLogger(__name__)


class DoctorDesk:
    """Owns the examination and what the last one found."""

    def __init__(self, site: SiteContext, *, changed: Callable[[], None]) -> None:
        self._site, self._changed = site, changed
        self._task: asyncio.Task[None] | None = None
        self._lines: tuple[DoctorLine, ...] = ()
        self._ticket = ""

    async def begin(self, path: Path | None) -> None:
        """Examine the way to the coordinator of an invitation file, else of the joined study.

        Raises:
            DataProblem, PeerMistake: the file cannot be used.
            SetupProblem: no file is given and no study is joined.
        """
        if path is not None:
            invitation = await asyncio.to_thread(joining.read_invitation, path)
            target = DoctorTarget.of_invitation(invitation)
        elif self._site.joined is not None:
            target = DoctorTarget.of_membership(self._site.joined.membership)
        else:
            raise SetupProblem(
                "there is nothing to test: no study is joined and no invitation was given",
                code=ErrorCode.STUDY_STATE,
            )
        await self.stop()
        self._lines, self._ticket = (), ""
        self._task = asyncio.create_task(self._examine(target), name="connection doctor")
        self._changed()

    async def stop(self) -> None:
        """End a running examination."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def show(self, view: FederationView) -> FederationView:
        """Return the section with what was found."""
        return msgspec.structs.replace(
            view,
            doctor=tuple(row_of(line) for line in self._lines),
            doctor_ticket=self._ticket,
            doctor_running=self._task is not None and not self._task.done(),
            proxy=joining.shown_proxy(self._site.settings.proxy),
        )

    async def _examine(self, target: DoctorTarget) -> None:
        clock = self._site.clock
        try:
            proxy = joining.proxy_for(target.urls, setting=self._site.settings.proxy)
            lines = await examine(target, proxy=proxy, clock=clock)
            self._ticket = ticket_text(lines, target, proxy=proxy, now=clock.now())
            self._lines = lines
            logger.info("the connection was examined")
        except Exception:
            logger.exception("the connection could not be examined")
        # Called when this task is over, so that it shows as ended.
        asyncio.get_running_loop().call_soon(self._changed)


def row_of(line: DoctorLine) -> DoctorRow:
    """Return a line as windows show it."""
    return DoctorRow(
        step=line.step.value,
        state=line.state.value,
        sentence=line.sentence,
        remedy=line.remedy,
    )
