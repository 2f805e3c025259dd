"""Everything that can be killed is killed while a real study trains: window, worker, service, all.

Real processes, real images, real certificates. `--slow` also trains the same study undisturbed
and holds the final model of the disturbed one to it, bit for bit.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import psutil
import pytest

from app.cli import demo
from app.cli.demo import SampleStudy
from app.control.client import ControlClient
from app.control.coordinator_client import study_status
from app.control.messages import Snapshot
from app.control.server import find_service
from app.coordinator.service import resting_status

pytestmark = [
    pytest.mark.nnunet,
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL"),
]

ROUNDS, EPOCHS, STEPS = 2, 2, 4
ROOT = Path(__file__).parents[2]


class TwoSites(SampleStudy):
    """The two smaller sites of the sample study."""

    @property
    def names(self) -> tuple[str, ...]:
        return super().names[1:]


async def start(study: SampleStudy) -> None:
    await demo.start(
        study,
        rounds=ROUNDS,
        epochs_per_round=EPOCHS,
        iterations_per_epoch=STEPS,
        validation_iterations=1,
    )


def service_of(home: Path) -> psutil.Process:
    address = find_service(home)
    assert address is not None
    return psutil.Process(address.holder.pid)


def kill(*processes: psutil.Process) -> None:
    """SIGKILL all of them, with no time in between to notice, and wait until they are gone."""
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=10)


def family(home: Path) -> list[psutil.Process]:
    service = service_of(home)
    return [service, *service.children(recursive=True)]


class Watcher:
    """The snapshot of a site, true until its service is killed."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.snapshot: Snapshot | None = None

    async def follow(self) -> None:
        async with await ControlClient.connect(self._home) as client:
            self.snapshot = client.snapshot
            async for _ in client.events():
                self.snapshot = client.snapshot

    async def until(self, holds, what: str, *, within_s: float = 240) -> Snapshot:
        following = asyncio.create_task(self.follow())
        try:
            async with asyncio.timeout(within_s):
                while self.snapshot is None or not holds(self.snapshot.training):
                    assert not following.done(), f"the service went away before: {what}"
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"never: {what}; {self.snapshot.training.sentence}") from None
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        return self.snapshot


async def until(home: Path, holds, what: str, **options: float) -> Snapshot:
    return await Watcher(home).until(holds, what, **options)


def mid_epoch(round_number: int):
    """True while an epoch of the round is half trained, with a checkpoint before it."""
    first = (round_number - 1) * EPOCHS + 1

    def holds(training):
        past = training.epochs and training.epochs[-1].epoch >= first
        return training.phase == "training" and past and 1 <= training.step < STEPS

    return holds


async def kill_a_worker(home: Path) -> None:
    await until(home, mid_epoch(1), "a half trained epoch")
    (worker,) = [p for p in family(home)[1:] if "app.worker" in p.cmdline()]
    kill(worker)
    shown = await until(home, lambda t: t.interruptions, "the page says what was lost")
    (lost,) = shown.training.interruptions
    assert (lost.what, lost.epoch) == ("worker lost", 2)
    assert 1 <= lost.lost_steps <= STEPS
    assert "of epoch 2" in lost.sentence
    assert "trained again" in lost.sentence


async def kill_a_window(home: Path, folder: Path) -> None:
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "XDG_CONFIG_HOME": str(folder)}
    port, service = find_service(home).port, service_of(home)
    window = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "--home", str(home), cwd=ROOT, env=environment
    )
    try:
        async with asyncio.timeout(60):
            process = psutil.Process(window.pid)
            while not any(
                one.raddr and one.raddr.port == port for one in process.net_connections("tcp")
            ):
                assert window.returncode is None
                await asyncio.sleep(0.05)
    finally:
        window.kill()
        await window.wait()
    assert service_of(home) == service, "training outlives the window"


async def kill_a_service_in_its_upload(study: SampleStudy, home: Path) -> None:
    await until(home, mid_epoch(1), "nearly done")
    # A frozen coordinator keeps the upload where it is.
    coordinator = service_of(study.coordinator)
    coordinator.suspend()
    try:
        await until(home, lambda t: t.phase == "uploading", "the update is on its way")
        kill(*family(home))
    finally:
        coordinator.resume()
    await start(study)
    shown = await until(home, lambda t: t.interruptions, "the page says what was lost")
    (lost,) = shown.training.interruptions
    assert (lost.what, lost.lost_steps, lost.lost_s) == ("service lost", 0, 0.0)
    assert "its update is trained and is sent on now" in lost.sentence


async def kill_everything(study: SampleStudy) -> dict[str, int]:
    seen = {}
    for name in study.names:
        shown = await until(study.site(name), mid_epoch(2), "a half trained epoch of round 2")
        seen[name] = shown.training.epoch
    homes = [study.coordinator, *(study.site(name) for name in study.names)]
    kill(*(process for home in homes for process in family(home)))
    assert [find_service(home) for home in homes] == [None] * len(homes)
    await start(study)
    return seen


async def disturbed(study: SampleStudy, folder: Path) -> dict[str, Snapshot]:
    large, small = (study.site(name) for name in study.names)
    await start(study)
    try:
        await asyncio.gather(
            kill_a_window(large, folder),
            kill_a_worker(large),
            kill_a_service_in_its_upload(study, small),
        )
        assert (await study_status(study.coordinator)).state != "failed"
        await kill_everything(study)
        await until_all_rounds_are_closed(study)
        snapshots = {}
        for name in study.names:
            async with await ControlClient.connect(study.site(name)) as client:
                snapshots[name] = client.snapshot
    finally:
        await demo.stop(study)
    return snapshots


@pytest.mark.timeout(900)
def test_nothing_that_is_killed_costs_more_than_the_unfinished_epoch(
    tmp_path, monkeypatch, request
):
    monkeypatch.setenv("FEDNNUNET_HOME", str(tmp_path / "unused"))
    study = TwoSites(home=tmp_path / "study")
    snapshots = asyncio.run(disturbed(study, tmp_path))

    status = resting_status(study.coordinator)
    assert status.state == "finished"
    assert [closed.contributors for closed in status.closed_rounds] == [
        tuple(sorted(study.names))
    ] * ROUNDS
    for name, snapshot in snapshots.items():
        training = snapshot.training
        # Every epoch once, in order: none lost, none counted twice.
        assert [epoch.epoch for epoch in training.epochs] == list(range(1, ROUNDS * EPOCHS + 1))
        assert [epoch.round for epoch in training.epochs] == [1, 1, 2, 2]
        newest, first = training.interruptions
        assert first.what == ("worker lost" if name == study.names[0] else "service lost")
        # What was lost is at most the epoch that no checkpoint held, and it is said.
        assert newest.what == "service lost"
        assert 0 <= newest.lost_steps <= STEPS, newest
        assert "finished epochs are kept" in newest.sentence or "Nothing is lost" in newest.sentence
    if request.config.getoption("--slow"):
        calm = TwoSites(home=tmp_path / "calm")
        asyncio.run(undisturbed(calm))
        assert resting_status(calm.coordinator).model_digest == status.model_digest


async def until_all_rounds_are_closed(study: SampleStudy) -> None:
    """Wait for what is counted; the models that follow are written elsewhere."""
    async with asyncio.timeout(240):
        while (await study_status(study.coordinator)).state != "finished":  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def undisturbed(study: SampleStudy) -> None:
    await start(study)
    try:
        await until_all_rounds_are_closed(study)
    finally:
        await demo.stop(study)
