from __future__ import annotations

import asyncio

import pytest
from helpers.recorder import Recorder, eventually

from app.domain.errors import ErrorCode, JobFailed, OurMistake
from app.jobs.events import EpochEnded, Failed, RoundTrained, SessionReady
from app.jobs.spec import TrainJob, TrainRound
from app.site.session import TrainingSession


def job(folder):
    return TrainJob(
        plan="p", workspace="w", configuration="3d_fullres", fold="0", total_epochs=6,
        iterations_per_epoch=3, validation_iterations=1, seed=1,
        checkpoint=str(folder / "checkpoint"),
    )  # fmt: skip


def command(folder, number=1):
    base = folder / "base"
    base.write_bytes(b"base")
    return TrainRound(
        round=number, attempt=1, epochs=2, start_epoch=(number - 1) * 2, base=str(base),
        update=str(folder / f"update-{number}"),
    )  # fmt: skip


@pytest.mark.asyncio
async def test_one_session_trains_round_after_round_and_finishes(site, tmp_path):
    heard, ended = Recorder(), []
    session = TrainingSession(heard)
    assert (session.alive, session.pid) == (False, None)
    await session.start(site.runner, job(tmp_path), ended=lambda: ended.append(1))
    ready = await session.ready()
    assert isinstance(ready, SessionReady)
    assert session.stands
    for number in (1, 2):
        trained = await session.train(command(tmp_path, number))
        assert (trained.round, trained.size) == (number, len(b"update of round 1 from base"))
    assert sum(isinstance(e, EpochEnded) for e in heard.items) == 4
    await session.finish()
    assert ended == [1]
    assert not session.alive
    with pytest.raises(JobFailed):
        await session.train(command(tmp_path, 3))


@pytest.mark.asyncio
async def test_a_worker_that_fails_to_start_says_why(site, tmp_path):
    site.runner.failures["open"] = [Failed(code="gpu-memory", sentence="no memory on the card")]
    session = TrainingSession(lambda _: None)
    await session.start(site.runner, job(tmp_path), ended=lambda: None)
    with pytest.raises(JobFailed, match="no memory") as failed:
        await session.ready()
    assert failed.value.code is ErrorCode.GPU_MEMORY


@pytest.mark.asyncio
async def test_a_lost_worker_ends_the_round(site, tmp_path):
    session = TrainingSession(lambda _: None)
    await session.start(site.runner, job(tmp_path), ended=lambda: None)
    await session.ready()
    site.runner.hold("step")
    training = asyncio.create_task(session.train(command(tmp_path)))
    await eventually(lambda: site.runner.asked)
    with pytest.raises(OurMistake, match="already trains"):
        await session.train(command(tmp_path))
    site.runner.kill("TrainJob")
    with pytest.raises(JobFailed) as failed:
        await training
    assert failed.value.code is ErrorCode.JOB_LOST


@pytest.mark.asyncio
async def test_cancelling_the_wait_leaves_the_worker_starting(site, tmp_path):
    gate = site.runner.hold("open")
    session = TrainingSession(lambda _: None)
    await session.start(site.runner, job(tmp_path), ended=lambda: None)
    waiting = asyncio.create_task(session.ready())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (session.alive, session.stands) == (True, False)
    gate.set()
    await session.ready()
    await session.stop()
    assert not session.alive
    assert site.runner.kinds() == ["TrainJob"]


@pytest.mark.asyncio
async def test_a_round_that_was_not_asked_for_is_not_taken(site, tmp_path, monkeypatch):
    session = TrainingSession(lambda _: None)
    await session.start(site.runner, job(tmp_path), ended=lambda: None)
    await session.ready()
    (running,) = site.runner.running
    site.runner.hold("step")
    training = asyncio.create_task(session.train(command(tmp_path)))
    await eventually(lambda: site.runner.asked)
    running.tell(
        RoundTrained(round=9, attempt=1, update="other", sha256="", size=0, cases=1, epochs=())
    )
    with pytest.raises(OurMistake, match="round 9"):
        await training
    await session.stop()
