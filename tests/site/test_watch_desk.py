"""Every cause injected: a starved loader, a filled disk, a killed worker, a cut link, a frozen
coordinator. Spans are turned by hand, so that thirty seconds cost none."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
from helpers.clock import HandClock
from helpers.coordinator_process import coordinator_process
from helpers.loopback import make_door, open_door, running_link, until
from helpers.nvml import RecordedNvml
from helpers.scripted_runner import step_record
from helpers.tcp_proxy import tcp_proxy

from app.control.messages import DeviceSample, LinkState, TrainingView
from app.site.pace import Pace
from app.site.rounds import RoundState
from app.site.service import sample_of
from app.site.watch_desk import WatchDesk
from app.system.hardware import MachineProbe, NvmlProbe
from app.wire.messages import SiteSummary, Step, UpdateOffered

WITHIN_S = 30
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


class Place:
    """A watch desk beside a study that the test holds in its hands."""

    def __init__(self, link=None):
        self.clock = HandClock()
        self.steps: tuple = ()
        self.trains = False
        self.study = SimpleNamespace(
            link=link, step=None, task=None, session=SimpleNamespace(stands=True), device="cpu",
            pace=Pace(), sign_at=self.clock.monotonic(), lost_at=None, delivered_at=None,
            directive=None,
        )  # fmt: skip
        board = SimpleNamespace(snapshot=SimpleNamespace(training=TrainingView()))
        self.site = SimpleNamespace(clock=self.clock, board=board, joined=None)
        self.changes = 0
        self.watch = WatchDesk(
            self.site,
            study=self.study,
            trains=lambda: self.trains,
            changed=self._changed,
            ask_every_s=0.02,
            answer_within_s=0.3,
        )

    def _changed(self):
        self.changes += 1

    def pass_seconds(self, seconds, **changes):
        """Let the watch look once a second; return after how many it said something."""
        for second in range(seconds):
            self.clock.advance(1)
            self.watch.sampled(reading(self.clock.now(), **changes))
            if self.watch.alarms:
                return second + 1
        return None

    @property
    def codes(self):
        return [alarm.code for alarm in self.watch.alarms]


def reading(at, **changes):
    figures = {
        "at": at, "cpu_percent": 50.0, "memory_percent": 50.0, "worker_memory_mb": 1.0,
        "worker_cpu_percent": 90.0, "disk_free_gb": 100.0,
    }  # fmt: skip
    return DeviceSample(**(figures | changes))


def test_a_training_that_stands_still_is_told_in_time_and_once():
    place = Place()
    place.trains = True
    for step in (1, 2, 3):
        place.study.step = step_record(1, 1, step)
        place.study.pace.stepped(place.study.step)
    assert place.pass_seconds(WITHIN_S, worker_cpu_percent=0.0) <= WITHIN_S
    assert place.codes == ["no-step"]
    place.pass_seconds(5, worker_cpu_percent=0.0)
    assert place.changes == 1
    # A step comes: the alarm goes.
    place.study.sign_at = place.clock.monotonic()
    place.watch.sampled(reading(place.clock.now()))
    assert (place.codes, place.changes) == ([], 2)


def test_a_cut_link_is_told_in_time():
    place = Place()
    place.watch.link_changed(LinkState.CONNECTED)
    assert place.pass_seconds(60) is None
    # Trying again and again is one absence.
    place.watch.link_changed(LinkState.CONNECTING)
    place.pass_seconds(8)
    place.watch.link_changed(LinkState.OFFLINE)
    assert place.pass_seconds(WITHIN_S) <= WITHIN_S - 8
    assert place.codes == ["coordinator-unreachable"]
    place.watch.link_changed(LinkState.CONNECTED)
    place.watch.sampled(reading(place.clock.now()))
    assert place.codes == []


@pytest.mark.asyncio
async def test_a_cut_link_is_told_through_a_real_link(tmp_path):
    async with open_door(make_door(tmp_path)) as door, tcp_proxy(door.server.port) as network:
        membership, key = await door.join(url=network.url)
        async with running_link(membership, key) as run:
            place = Place(run.link)
            run.listener.link_changed = lambda state, _sentence: place.watch.link_changed(state)
            await until(lambda: run.link.connected)
            assert await run.link.answers(5)
            network.weather.refuse = True
            network.cut()
            await until(lambda: not run.link.connected)
            assert not await run.link.answers(0.1)
            await until(lambda: place.pass_seconds(1) or place.clock.monotonic() > 1500)
            assert place.codes == ["coordinator-unreachable"]


@posix
@pytest.mark.asyncio
async def test_a_frozen_coordinator_is_told_though_its_connection_stands(tmp_path):
    home, port = tmp_path / "coordinator", free_port()
    async with open_door(make_door(home, port=port)) as door:
        membership, key = await door.join()
    async with (
        coordinator_process(home, port) as coordinator,
        running_link(membership, key) as run,
    ):
        place = Place(run.link)
        await until(lambda: run.link.connected)
        place.watch.link_changed(LinkState.CONNECTED)
        listening = asyncio.create_task(place.watch.listen())
        try:
            await asyncio.sleep(0.2)
            assert place.pass_seconds(WITHIN_S) is None
            os.kill(coordinator.process.pid, signal.SIGSTOP)
            await until(lambda: place.watch.facts().silent_s is not None)
            assert place.pass_seconds(WITHIN_S) <= WITHIN_S
            assert place.codes == ["coordinator-silent"]
            os.kill(coordinator.process.pid, signal.SIGCONT)
            place.watch.link_changed(LinkState.CONNECTED)
            await until(lambda: place.watch.facts().silent_s is None)
            place.watch.sampled(reading(place.clock.now()))
            assert place.codes == []
        finally:
            os.kill(coordinator.process.pid, signal.SIGCONT)
            listening.cancel()
            await asyncio.wait({listening})


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small disk")
def test_a_filled_disk_is_told_in_time(tmp_path):
    small = tmp_path / "disk"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=210m", "tmpfs", str(small)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a disk")
    try:
        place = Place()
        probe = MachineProbe(
            home=small, clock=place.clock, card=NvmlProbe(RecordedNvml(present=False))
        )
        place.watch.sampled(sample_of(probe.read(None)))
        # 210 MB are too few for a round, but not none.
        (alarm,) = place.watch.alarms
        assert (alarm.code, alarm.severity) == ("disk-filling", "slow")
        (small / "filler").write_bytes(bytes(60 << 20))
        place.clock.advance(1)
        place.watch.sampled(sample_of(probe.read(None)))
        (alarm,) = place.watch.alarms
        assert (alarm.code, alarm.severity) == ("disk-filling", "stopped")
        assert alarm.sentence == ("The disk that holds this site's home is full: 157 MB are free.")
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.asyncio
async def test_a_killed_worker_is_told_until_training_goes_on(site, expected_log):
    await site.to_prepared()
    site.train(1)
    gate, opening = site.runner.hold("step"), site.runner.hold("open")
    await site.until(lambda: site.snapshot.training.step == 1)
    expected_log("app.site.service", "trying again")
    site.runner.kill("TrainJob")
    await site.until(lambda: site.snapshot.training.alarms)
    (alarm,) = site.snapshot.training.alarms
    assert (alarm.code, alarm.severity) == ("worker-lost", "stopped")
    opening.set()
    gate.set()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    await site.until(lambda: site.snapshot.training.alarms == ())


@pytest.mark.asyncio
async def test_a_loss_that_is_no_number_is_told_with_its_round(site, expected_log):
    from app.domain.errors import ErrorCode
    from app.jobs.events import Failed

    await site.to_prepared()
    site.runner.failures["step"] = [
        Failed(code=ErrorCode.NOT_FINITE.value, sentence="the loss is not a number")
    ]
    expected_log("app.site.study_desk", "gives nothing that counts")
    site.train(1)
    await site.until(lambda: site.snapshot.training.alarms)
    (alarm,) = site.snapshot.training.alarms
    assert (alarm.code, alarm.severity) == ("loss-not-a-number", "stopped")
    assert alarm.sentence.startswith("In round 1 ")


def test_other_sites_that_are_away_are_named_while_this_one_waits():
    place = Place()
    place.site.joined = SimpleNamespace(membership=SimpleNamespace(site="alpha"))
    place.study.task = SimpleNamespace(state=RoundState.DELIVERED, round=1, code="")
    place.study.delivered_at = place.clock.monotonic()

    def other(name, state, *, connected):
        return SiteSummary(
            name=name, state=state, connected=connected, cases=5, round=1, epoch=1, step=1,
            steps=3, silent_s=600,
        )  # fmt: skip

    place.study.directive = SimpleNamespace(
        step=Step.WAIT,
        sites=(
            other("alpha", "delivered", connected=False),
            other("beta", "working", connected=False),
            other("gamma", "working", connected=True),
            other("delta", "delivered", connected=False),
            other("epsilon", "absent", connected=False),
        ),
    )
    assert place.pass_seconds(WITHIN_S) <= WITHIN_S
    (alarm,) = place.watch.alarms
    assert alarm.code == "others-late"
    assert alarm.sentence.endswith(
        "beta (last heard 10 minutes ago) and epsilon (last heard 10 minutes ago)."
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
