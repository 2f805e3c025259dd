"""Running one worker job for a desk, with its progress on the board."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from app.control.messages import JobView
from app.domain.errors import FednnunetError, OurMistake
from app.jobs.events import AnyEvent, Result
from app.jobs.runner import run_job
from app.jobs.spec import AnyJob
from app.site.context import JobProgress, SiteContext

R = TypeVar("R", bound=Result)


async def run_for(
    site: SiteContext,
    job: AnyJob,
    result: type[R],
    *,
    kind: str,
    show: Callable[[JobView], None],
    heard: Callable[[AnyEvent], None] = lambda _: None,
    done: Callable[[R], str] = lambda _: "done",
) -> R:
    """Run `job` to its end and return its result; cancelling stops the worker.

    Raises:
        JobFailed: with the worker's code and sentence.
    """
    progress = JobProgress(kind, show, site.clock)

    def both(event: AnyEvent) -> None:
        progress.heard(event)
        heard(event)

    try:
        ended = await run_job(site.runner, job, both)
        if not isinstance(ended, result):
            raise OurMistake(f"a {kind} job gave {type(ended).__name__}")
    except FednnunetError as exc:
        progress.ended(str(exc), failed=True)
        raise
    except asyncio.CancelledError:
        progress.ended("stopped", failed=False)
        raise
    progress.ended(done(ended), failed=False)
    return ended
