"""A coordinator service on its real server and stores, run inside a test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from helpers.loopback import until
from helpers.played_jobs import PlayedRunner

from app.coordinator.service import CoordinatorService
from app.coordinator.spool import Spool
from app.coordinator.store import StudyStore
from app.coordinator.workspace import CoordinatorHome, open_members
from app.federation.study_file import terms_from_json
from app.system.clock import SystemClock


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
