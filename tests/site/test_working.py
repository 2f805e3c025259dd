from __future__ import annotations

import asyncio

import pytest
from helpers.recorder import eventually

from app.domain.errors import ErrorCode, JobFailed, OurMistake
from app.jobs.events import Checked, Failed, Scored
from app.jobs.spec import CheckJob
from app.site.service import open_site
from app.site.working import run_for


@pytest.fixture
def context(site):
    context = open_site(site.home, clock=site.clock, runner=site.runner)
    yield context
    context.store.close()


@pytest.mark.asyncio
async def test_a_job_gives_its_result_and_says_how_it_ended(site, context):
    views = []
    result = await run_for(
        context, CheckJob(folder=str(site.folder)), Checked, kind="check", show=views.append,
        done=lambda checked: f"{checked.report.cases} cases",
    )  # fmt: skip
    assert result.report.cases == 6
    assert [(v.running, v.what, v.outcome) for v in views] == [
        (True, "", ""),
        (True, "checking cases", ""),
        (False, "checking cases", "6 cases"),
    ]


@pytest.mark.asyncio
async def test_a_failed_job_shows_its_sentence(site, context):
    site.runner.failures["check"] = [Failed(code="disk-full", sentence="the disk is full")]
    views = []
    with pytest.raises(JobFailed) as failed:
        await run_for(
            context, CheckJob(folder=str(site.folder)), Checked, kind="check", show=views.append
        )
    assert failed.value.code is ErrorCode.DISK_FULL
    assert (views[-1].failed, views[-1].outcome) == (True, "the disk is full")


@pytest.mark.asyncio
async def test_cancelling_stops_the_worker(site, context):
    site.runner.hold("check")
    views = []
    job = run_for(
        context, CheckJob(folder=str(site.folder)), Checked, kind="check", show=views.append
    )
    task = asyncio.create_task(job)
    await eventually(lambda: site.runner.running)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not site.runner.running
    assert (views[-1].failed, views[-1].outcome) == (False, "stopped")


@pytest.mark.asyncio
async def test_another_result_than_asked_for_is_a_mistake(site, context):
    views = []
    with pytest.raises(OurMistake, match="Checked"):
        await run_for(
            context, CheckJob(folder=str(site.folder)), Scored, kind="check", show=views.append
        )
    assert views[-1].failed
