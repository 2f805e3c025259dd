"""The schedule followed by a whole service: hours end at a checkpoint, a card is given away."""

from __future__ import annotations

from datetime import datetime

import pytest

from app.control.messages import Accepted, Refused, SetSchedule
from app.system.hardware import CardReading, CardUser, MachineReading
from app.wire.messages import SitePhase, UpdateOffered

pytestmark = pytest.mark.asyncio

OTHER, WORKER = 77, 4_000_000


class Machine:
    """A machine with one card; `users` are the programs on it."""

    def __init__(self):
        self.users = ()

    def read(self, worker_pid):
        card = CardReading(
            name="card", percent=50.0, memory_percent=50.0, temperature_c=None, power_w=None,
            users=self.users,
        )  # fmt: skip
        return MachineReading(
            at=1.0, cpu_percent=1.0, memory_percent=2.0, worker_memory_mb=3.0, disk_free_gb=4.0,
            worker_pids=frozenset({WORKER}), cards=(card,),
        )  # fmt: skip


def hours_from_now(clock, *, begin, end):
    """Hours of the day that begin and end so many hours from now."""
    local = datetime.fromtimestamp(clock.now()).astimezone()
    minute = local.hour * 60 + local.minute
    return SetSchedule(
        from_minute=(minute + begin * 60) % 1440, to_minute=(minute + end * 60) % 1440
    )


async def test_hours_that_end_let_the_epoch_end_and_go_on_when_they_begin(site):
    await site.to_prepared()
    gate = site.runner.hold("step")
    await site.service.command(hours_from_now(site.clock, begin=-1, end=1))
    assert not site.snapshot.training.schedule.resting
    site.train(1)
    await site.until(lambda: site.snapshot.training.step == 1)
    site.clock.advance(2 * 3600)
    await site.until(lambda: "Stops at the next" in site.snapshot.training.schedule.sentence)
    assert site.runner.running
    gate.set()
    await site.until(lambda: site.snapshot.training.schedule.resting)
    await site.until(lambda: not site.runner.running)
    assert site.runner.trained[1, 1] == 1
    assert site.snapshot.training.phase == SitePhase.PAUSED.value
    assert "Waits until" in site.snapshot.training.sentence
    assert not site.snapshot.training.paused, "that is the operator's word"
    # It outlives the service, and training goes on by itself when its time comes.
    await site.stop()
    await site.start()
    await site.until(lambda: site.snapshot.training.schedule.resting)
    assert not site.runner.running
    site.clock.advance(21 * 3600 + 60)
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1}


async def test_training_makes_way_for_another_program_on_the_card(site):
    await site.to_prepared()
    machine = Machine()
    site.service._probe = machine
    gate = site.runner.hold("epoch")
    assert await site.service.command(SetSchedule(yield_card=True)) == Accepted()
    machine.users = (CardUser(pid=WORKER, name="python"),)
    site.train(1)
    await site.until(lambda: site.runner.trained[1, 1] == 1)
    machine.users = (CardUser(pid=WORKER, name="python"), CardUser(pid=OTHER, name="Planner"))
    await site.until(lambda: _passed(site, 1) and site.snapshot.training.schedule.resting)
    await site.until(lambda: not site.runner.running)
    assert site.snapshot.training.schedule.sentence.endswith(
        "Waits while Planner uses the graphics card."
    )
    machine.users = ()
    gate.set()
    await site.until(lambda: _passed(site, 1) and site.coordinator.told(UpdateOffered))
    assert dict(site.runner.trained) == {(1, 1): 1, (1, 2): 1}


async def test_hours_without_sense_are_refused_in_words(site):
    await site.start()
    answer = await site.service.command(SetSchedule(from_minute=60))
    assert isinstance(answer, Refused)
    assert answer.sentence == "the hours need a beginning and an end"
    assert site.snapshot.training.schedule.sentence == "Trains at any time."


def _passed(site, seconds):
    site.clock.advance(seconds)
    return True
