"""Run one worker job for a command, with its progress on the terminal."""

from __future__ import annotations

import asyncio
from pathlib import Path

from app.cli.progress import progress_bar
from app.jobs.events import AnyEvent, Progressed, Result
from app.jobs.runner import JobRunner, run_job
from app.jobs.spec import AnyJob


def run_here(job: AnyJob, folder: Path) -> Result:
    """Run `job` in a worker, its spec and log below `folder`; returns its result.

    Raises:
        JobFailed: the job ended without a result; the sentence says why.
    """

    async def run() -> Result:
        return await run_job(JobRunner(folder=folder), job, on_event)

    with progress_bar() as advance:

        def on_event(event: AnyEvent) -> None:
            if isinstance(event, Progressed):
                advance(event.done, event.total, event.what)

        return asyncio.run(run())
