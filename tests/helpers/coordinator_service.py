"""A coordinator service on its real server and stores, and sites on real links, inside a test."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from helpers.loopback import QUICK, until
from helpers.played_jobs import PlayedRunner

from app.control.messages import LinkState
from app.coordinator.service import CoordinatorService
from app.coordinator.spool import Spool
from app.coordinator.store import StudyStore
from app.coordinator.workspace import CoordinatorHome, open_members
from app.domain.errors import FednnunetError
from app.federation.study_file import terms_from_json
from app.site.enrolment import enrol
from app.site.link import Link
from app.system.clock import SystemClock
from app.wire.handshake import SigningKey
from app.wire.invitation import unseal
from app.wire.messages import Blob, Directive, Report, SitePhase, Step


@contextlib.asynccontextmanager
async def serving(
    folder: Path, port: int, runner: PlayedRunner
) -> AsyncIterator[CoordinatorService]:
    """Run a service on `folder` until the block ends, as `serve_study` does."""
    home, clock = CoordinatorHome(folder=folder), SystemClock()
    store = StudyStore.open(home.database)
    members = open_members(home, store.identity, terms_from_json(store.terms), clock)
    spool = Spool(home.spool, study=store.identity, clock=clock, reserve_bytes=0)
    service = CoordinatorService(
        home=home, store=store, members=members, spool=spool, clock=clock, runner=runner
    )
    running = asyncio.create_task(service.run(host="127.0.0.1", port=port))
    try:
        await until(lambda: service.port and (folder / "control.json").exists())
        yield service
    finally:
        service.stop()
        await running
        for opened in (spool, members, store):
            opened.close()


class PlayedSite:
    """A site that does at once whatever a directive wants; a subclass says how, in `do`.

    While `resting` it begins nothing; `busy` while it does something.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.directives: list[Directive] = []
        self.wishes: asyncio.Queue[Directive] = asyncio.Queue()
        self.state = LinkState.NONE
        self.refusals: list[FednnunetError] = []
        self.resting = self.busy = False
        folder.mkdir()

    async def do(self, wish: Directive) -> None:
        raise NotImplementedError

    def link_changed(self, state: LinkState, sentence: str) -> None:
        self.state = state

    def directive_received(self, directive: Directive) -> None:
        self.directives.append(directive)
        self.wishes.put_nowait(directive)

    async def join(self, invitation: Path) -> None:
        key = SigningKey.generate()
        enrolled = await enrol(
            unseal(invitation.read_bytes()), signer=key, clock=SystemClock(), settings=QUICK
        )
        self.link = Link(
            membership=enrolled.membership, signer=key, listener=self, clock=SystemClock(),
            settings=QUICK,
        )  # fmt: skip

    async def live(self) -> None:
        self.link.report(Report(phase=SitePhase.WAITING))
        async with asyncio.TaskGroup() as group:
            group.create_task(self.link.run())
            group.create_task(self._work())

    def file(self, name: str, data: bytes) -> Blob:
        """Write a file of this site's and name it as the wire does."""
        (self.folder / name).write_bytes(data)
        return Blob(sha256=hashlib.sha256(data).hexdigest(), size=len(data))

    async def _work(self) -> None:
        done: set[tuple[object, ...]] = set()
        while True:
            wish = await self.wishes.get()
            key = (wish.step, wish.round, wish.attempt)
            if key in done or self.resting:
                continue
            self.busy = True
            try:
                await self.do(wish)
            except FednnunetError as exc:
                self.refusals.append(exc)
            finally:
                self.busy = False
            if wish.step in (Step.TRAIN, Step.SEND_FINGERPRINT, Step.PREPARE):
                done.add(key)


@contextlib.asynccontextmanager
async def living(*sites: PlayedSite) -> AsyncIterator[None]:
    """Let sites live until the block ends."""
    tasks = [asyncio.create_task(site.live()) for site in sites]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
