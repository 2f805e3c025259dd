"""Real worker processes, started by the real runner."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import volumes

from app.domain.errors import ErrorCode, JobFailed
from app.jobs.events import (
    Checked,
    Checkpointed,
    Fingerprinted,
    ModelDrawn,
    Noted,
    Preprocessed,
    Progressed,
    RoundTrained,
    SessionEnded,
    SessionReady,
    Stepped,
)
from app.jobs.machine import JobState
from app.jobs.runner import JobRunner, run_job
from app.jobs.spec import (
    CheckJob,
    FingerprintJob,
    Finish,
    InitialModelJob,
    PreprocessJob,
    TrainJob,
    TrainRound,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.e2e]
PATIENCE_S = 60


class Desk:
    """What the site service would keep: a runner, a study's files, and what a job told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runner = JobRunner(folder=root / "jobs")
        self.plan = volumes.write_plan(root / "plan.json")
        self.data = root / "data"
        if not self.data.exists():
            volumes.write_dataset(self.data)
        self.events: list = []
        self._news = asyncio.Event()

    def hear(self, event) -> None:
        self.events.append(event)
        self._news.set()

    async def run(self, job):
        self.events.clear()
        return await asyncio.wait_for(run_job(self.runner, job, self.hear), PATIENCE_S)

    async def until(self, kind: type):
        """Wait for the next event of a kind."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while self.events:
                    event = self.events.pop(0)
                    if isinstance(event, kind):
                        return event
                self._news.clear()
                await self._news.wait()

    def training(self, name: str) -> TrainJob:
        return TrainJob(
            plan=str(self.plan),
            workspace=str(self.root / "workspace"),
            configuration="3d_fullres",
            fold="0",
            total_epochs=3,
            iterations_per_epoch=2,
            validation_iterations=1,
            seed=3,
            checkpoint=str(self.root / f"{name}.pth"),
            device="cpu",
        )

    def round(self, name: str, **changes) -> TrainRound:
        facts = {
            "round": 1,
            "attempt": 1,
            "epochs": 3,
            "start_epoch": 0,
            "base": str(self.root / "base.safetensors"),
            "update": str(self.root / f"{name}.safetensors"),
        }
        return TrainRound(**(facts | changes))

    async def prepare(self) -> None:
        drawn = await self.run(
            InitialModelJob(
                plan=str(self.plan),
                configuration="3d_fullres",
                seed=3,
                output=str(self.root / "base.safetensors"),
            )
        )
        assert isinstance(drawn, ModelDrawn)
        prepared = await self.run(
            PreprocessJob(
                plan=str(self.plan),
                folder=str(self.data),
                workspace=str(self.root / "workspace"),
                configuration="3d_fullres",
                fold="0",
            )
        )
        assert prepared == Preprocessed(training_cases=4, validation_cases=2)


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A desk whose first model is drawn and whose images are prepared, by real workers."""
    root = tmp_path_factory.mktemp("desk")
    asyncio.run(Desk(root).prepare())
    return root


@pytest.fixture
def trainable(prepared):
    return Desk(prepared)


async def test_from_a_folder_to_a_fingerprint(desk):
    checked = await desk.run(CheckJob(folder=str(desk.data)))
    assert isinstance(checked, Checked)
    assert checked.report.cases == 6
    assert not checked.report.blocks
    assert desk.events[0] == Noted(text="started")
    done = await desk.run(
        FingerprintJob(
            folder=str(desk.data),
            content_digest=checked.report.content_digest,
            output=str(desk.root / "fingerprint.json"),
            leave_out=("case_002",),
        )
    )
    assert done == Fingerprinted(output=str(desk.root / "fingerprint.json"), cases=5)
    assert [event for event in desk.events if isinstance(event, Progressed)][-1].done == 5


async def test_a_killed_session_goes_on_to_the_same_weights(trainable):
    # Undisturbed.
    running = await trainable.runner.start(trainable.training("calm"), on_event=trainable.hear)
    ready = await trainable.until(SessionReady)
    assert (ready.training_cases, ready.epoch) == (4, 0)
    await running.send(trainable.round("calm"))
    expected = await trainable.until(RoundTrained)
    await running.send(Finish())
    outcome = await asyncio.wait_for(running.wait(), PATIENCE_S)
    assert outcome.result == SessionEnded(epoch=3)
    # nnU-Net's prints went to the log, not into the events.
    assert "Current learning rate" in running.log.read_text()
    # Killed in the middle of the second epoch.
    running = await trainable.runner.start(trainable.training("killed"), on_event=trainable.hear)
    await trainable.until(SessionReady)
    await running.send(trainable.round("killed"))
    await trainable.until(Checkpointed)
    await trainable.until(Stepped)
    os.kill(running.pid, signal.SIGKILL)
    outcome = await asyncio.wait_for(running.wait(), PATIENCE_S)
    assert (outcome.state, outcome.code) == (JobState.LOST, ErrorCode.JOB_LOST)
    # Started again, given the same command, it trains only what is missing.
    trainable.events.clear()
    running = await trainable.runner.start(trainable.training("killed"), on_event=trainable.hear)
    assert (await trainable.until(SessionReady)).epoch == 1
    await running.send(trainable.round("killed"))
    trained = await trainable.until(RoundTrained)
    assert trained.sha256 == expected.sha256
    assert [epoch.train_loss for epoch in trained.epochs] == [
        epoch.train_loss for epoch in expected.epochs
    ]
    outcome = await running.stop()
    assert outcome.state is JobState.STOPPED


async def test_a_stop_between_steps_ends_the_session(trainable):
    running = await trainable.runner.start(trainable.training("stopped"), on_event=trainable.hear)
    await trainable.until(SessionReady)
    await running.send(trainable.round("stopped"))
    await trainable.until(Stepped)
    outcome = await asyncio.wait_for(running.stop(), PATIENCE_S)
    assert outcome.state is JobState.STOPPED
    assert str(outcome) == "training was stopped as asked"
    assert not Path(trainable.round("stopped").update).exists()


async def test_a_failure_reaches_the_caller_as_a_sentence(desk):
    with pytest.raises(JobFailed) as caught:
        await desk.run(
            FingerprintJob(folder=str(desk.root / "nowhere"), content_digest="", output="o")
        )
    assert caught.value.code is ErrorCode.FOLDER_MISSING
    assert str(caught.value) == f"there is no folder {desk.root / 'nowhere'}"
    (log,) = (desk.root / "jobs").glob("*/log.txt")
    assert "Traceback" in log.read_text()


async def test_a_base_that_does_not_fit_fails_with_its_code(trainable):
    bad = trainable.root / "bad.safetensors"
    bad.write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    running = await trainable.runner.start(trainable.training("bad"), on_event=trainable.hear)
    await trainable.until(SessionReady)
    await running.send(trainable.round("bad", base=str(bad)))
    outcome = await asyncio.wait_for(running.wait(), PATIENCE_S)
    assert outcome.code is ErrorCode.TENSORS_REFUSED
    assert "tensor decoder.seg_layers.0.bias is missing" in str(outcome)


async def test_a_spec_that_is_none_is_said(tmp_path, project_root):
    (tmp_path / "spec.json").write_text(json.dumps({"job": "MakeCoffee"}))
    child = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-P", "-m", "app.worker", str(tmp_path / "spec.json")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(project_root)},
        check=False,
    )
    assert child.returncode == 1
    (line,) = child.stdout.splitlines()
    assert json.loads(line)["code"] == "job-failed"


async def test_misuse_is_exit_2(project_root):
    child = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-P", "-m", "app.worker"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(project_root)},
        check=False,
    )
    assert (child.returncode, child.stdout) == (2, "")
    assert child.stderr == "usage: python -m app.worker SPEC\n"
