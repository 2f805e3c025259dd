import asyncio
import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from helpers import fake_worker

from app.domain.errors import ErrorCode, JobFailed, SetupProblem
from app.domain.study import StudyTerms
from app.jobs.events import Fingerprinted, Noted, Progressed
from app.jobs.machine import JobState
from app.jobs.runner import JobRunner, child_environment, run_job
from app.jobs.spec import FingerprintJob, Finish, PlanJob, PreprocessJob, TrainJob

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(sys.platform == "win32", reason="the fake child plays with signals"),
]
FAKE = Path(fake_worker.__file__)
DONE = Fingerprinted(output="there", cases=3)


def job(behaviour: str, **more) -> FingerprintJob:
    return FingerprintJob(folder=behaviour, content_digest="", output="there", **more)


@pytest.fixture
def runner(tmp_path):
    return JobRunner(folder=tmp_path / "jobs", python=(sys.executable, str(FAKE)))


async def ending(runner: JobRunner, behaviour: str):
    events = []
    running = await runner.start(job(behaviour), on_event=events.append)
    outcome = await asyncio.wait_for(running.wait(), 20)
    return running, events, outcome


async def first_word(runner: JobRunner, behaviour: str):
    spoken = asyncio.Event()
    events = []

    def hear(event):
        events.append(event)
        spoken.set()

    running = await runner.start(job(behaviour), on_event=hear)
    await asyncio.wait_for(spoken.wait(), 20)
    return running, events


def wait_gone(pid: int) -> None:
    until = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, f"process {pid} survived"
        time.sleep(0.01)


async def test_a_job_that_succeeds(runner):
    running, events, outcome = await ending(runner, "succeed")
    assert events == [Progressed(done=1, total=3, what="looking"), DONE]
    assert outcome.state is running.state is JobState.SUCCEEDED
    assert outcome.result == DONE
    record = json.loads((running.folder / "outcome.json").read_text())
    assert record["sentence"] == "computing the fingerprint is done"
    assert record["ended"] >= record["started"]


@pytest.mark.parametrize(
    ("behaviour", "state", "code", "sentence"),
    [
        ("fail", JobState.FAILED, ErrorCode.NO_FOREGROUND, "no case has a label"),
        ("fail strangely", JobState.FAILED, ErrorCode.JOB_FAILED, "a �sentence"),
        (
            "exit 3",
            JobState.FAILED,
            ErrorCode.JOB_FAILED,
            "computing the fingerprint ended with exit code 3 and did not say why",
        ),
        (
            "nothing",
            JobState.FAILED,
            ErrorCode.JOB_FAILED,
            "computing the fingerprint ended without its result and did not say why",
        ),
        (
            "result then 1",
            JobState.FAILED,
            ErrorCode.JOB_FAILED,
            "computing the fingerprint ended with exit code 1 and did not say why",
        ),
        (
            "killed",
            JobState.LOST,
            ErrorCode.JOB_LOST,
            (
                "computing the fingerprint was ended by the operating system, "
                "probably because memory ran out"
            ),
        ),
        (
            "crash",
            JobState.LOST,
            ErrorCode.JOB_LOST,
            "computing the fingerprint crashed inside a library (segmentation fault)",
        ),
    ],
)
async def test_every_bad_end_has_its_sentence(runner, behaviour, state, code, sentence):
    running, _, outcome = await ending(runner, behaviour)
    assert (outcome.state, outcome.code, str(outcome)) == (state, code, sentence)
    assert running.state is state


async def test_print_on_the_event_stream_does_not_hide_the_result(runner, expected_log):
    expected_log("app.jobs.runner", r"a line of \d+ bytes is not an event")
    _, events, outcome = await ending(runner, "spew")
    assert events == [DONE]
    assert outcome.state is JobState.SUCCEEDED


async def test_an_event_may_be_a_megabyte(runner):
    _, events, outcome = await ending(runner, "long line")
    assert events[0] == Noted(text="y" * 1_000_000)
    assert outcome.state is JobState.SUCCEEDED


async def test_commands_arrive_and_closing_the_input_stops(runner):
    running, events = await first_word(runner, "obey")
    assert running.state is JobState.RUNNING
    await running.send(Finish())
    outcome = await running.stop()
    assert events[1] == Noted(text="got Finish")
    assert outcome.state is JobState.STOPPED
    assert outcome.code is ErrorCode.JOB_STOPPED
    assert await running.stop() == outcome


async def test_a_child_that_finishes_while_stopping_succeeded(runner):
    running, _ = await first_word(runner, "finish though stopped")
    outcome = await running.stop()
    assert outcome.state is JobState.SUCCEEDED
    assert outcome.result == DONE


@pytest.mark.parametrize("behaviour", ["ignore stop", "hang"])
async def test_a_child_that_ignores_the_request_is_ended(runner, behaviour):
    running, _ = await first_word(runner, behaviour)
    outcome = await running.stop(grace_s=0.2)
    assert outcome.state is JobState.STOPPED
    wait_gone(running.pid)


@pytest.mark.parametrize(
    ("behaviour", "state"),
    [("grandchild", JobState.SUCCEEDED), ("grandchild and killed", JobState.LOST)],
)
async def test_no_grandchild_survives(runner, behaviour, state):
    running, _, outcome = await ending(runner, behaviour)
    assert outcome.state is state
    wait_gone(int((running.folder / "grandchild").read_text()))


async def test_a_cancelled_stop_kills_at_once(runner):
    running, _ = await first_word(runner, "hang")
    stopping = asyncio.create_task(running.stop(grace_s=60))
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    outcome = await asyncio.wait_for(running.wait(), 5)
    assert outcome.state is JobState.STOPPED


async def test_sending_to_the_dead_says_so(runner):
    running, _, _ = await ending(runner, "succeed")

    async def send_until_refused():
        for _ in range(100):  # the first may still fit into the pipe's buffer
            await running.send(Finish())

    with pytest.raises(JobFailed, match="no longer takes commands") as caught:
        await send_until_refused()
    assert caught.value.code is ErrorCode.JOB_LOST


async def test_a_listener_that_raises_ends_the_child(runner):
    def refuse(event):
        raise ZeroDivisionError

    running = await runner.start(job("ignore stop"), on_event=refuse)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(running.wait(), 10)
    wait_gone(running.pid)


async def test_run_job_returns_the_result_or_raises_the_reason(runner):
    assert await run_job(runner, job("succeed"), lambda _: None) == DONE
    with pytest.raises(JobFailed, match="no case has a label") as caught:
        await run_job(runner, job("fail"), lambda _: None)
    assert caught.value.code is ErrorCode.NO_FOREGROUND


async def test_cancelling_run_job_stops_the_child(runner, tmp_path):
    spoken = asyncio.Event()
    task = asyncio.create_task(run_job(runner, job("obey"), lambda _: spoken.set()))
    await asyncio.wait_for(spoken.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (record,) = (tmp_path / "jobs").glob("*/outcome.json")
    assert json.loads(record.read_text())["state"] == "stopped"


async def test_each_job_gets_its_own_folder_and_only_the_newest_stay(runner, tmp_path):
    (tmp_path / "jobs").mkdir()
    for number in range(1, 61):
        (tmp_path / "jobs" / f"{number:04d}-train").mkdir()
    (tmp_path / "jobs" / "notes").mkdir()
    running, _, _ = await ending(runner, "succeed")
    assert running.folder.name == "0061-fingerprint"
    left = sorted(entry.name for entry in (tmp_path / "jobs").iterdir())
    assert left == [
        *(f"{number:04d}-train" for number in range(11, 61)),
        "0061-fingerprint",
        "notes",
    ]


async def test_a_python_that_is_not_there(tmp_path):
    runner = JobRunner(folder=tmp_path, python=(str(tmp_path / "no-python"),))
    with pytest.raises(SetupProblem, match=r"no-python cannot be started: No such file") as caught:
        await runner.start(job("succeed"), on_event=lambda _: None)
    assert caught.value.code is ErrorCode.MISSING_LIBRARY


async def test_the_child_sees_its_limits_and_yields(runner, monkeypatch):
    monkeypatch.setenv("nnUNet_wandb_enabled", "1")
    _, events, _ = await ending(runner, "environment")
    environment = json.loads(events[0].text)
    facts = json.loads(events[1].text)
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["PYTHONUNBUFFERED"] == "1"
    assert "nnUNet_wandb_enabled" not in environment
    assert environment["nnUNet_raw"].startswith(facts["cwd"])
    assert facts["nice"] >= 10


TRAIN = TrainJob(
    plan="p", workspace="/w", configuration="2d", fold="0", total_epochs=1,
    iterations_per_epoch=1, validation_iterations=1, seed=1, checkpoint="c", threads=4,
)  # fmt: skip


async def test_threads_folders_and_pools_by_kind_of_job(tmp_path):
    train = child_environment(TRAIN, tmp_path)
    assert train["OMP_NUM_THREADS"] == train["MKL_NUM_THREADS"] == "4"
    assert train["nnUNet_n_proc_DA"] == "0"
    assert train["nnUNet_preprocessed"] == "/w/nnUNet_preprocessed"
    terms = StudyTerms(
        name="n", purpose="p", contact="c", channel_names=("MR",), labels={"background": 0}
    )
    plan = child_environment(
        PlanJob(terms=terms, merged="m", workspace="/p", output="o", threads=0), tmp_path
    )
    # nnU-Net's planner fails on 0 augmenters, torch on 0 threads.
    assert plan["nnUNet_n_proc_DA"] == plan["OMP_NUM_THREADS"] == "1"
    prepare = PreprocessJob(
        plan="p", folder="f", workspace="/w", configuration="2d", fold="0", processes=3
    )
    assert child_environment(prepare, tmp_path)["nnUNet_def_n_proc"] == "3"


PARENT = """
    import asyncio, sys
    from pathlib import Path
    from app.jobs.runner import JobRunner
    from app.jobs.spec import FingerprintJob

    async def main():
        runner = JobRunner(folder=Path(sys.argv[1]), python=(sys.executable, sys.argv[2]))
        job = FingerprintJob(folder="obey", content_digest="", output="")
        running = await runner.start(job, on_event=lambda _: print(running.pid, flush=True))
        await running.wait()

    asyncio.run(main())
"""


@pytest.fixture
def orphan(tmp_path, project_root):
    """Return the child of a parent that was killed."""
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT), str(tmp_path), str(FAKE)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=project_root,
    )
    child = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait(5)
    parent.stdout.close()
    return child


async def test_a_child_ends_when_its_parent_is_killed(orphan):
    wait_gone(orphan.pid)
