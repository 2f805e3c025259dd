from __future__ import annotations

import asyncio
import contextlib

import pytest
from helpers.recorder import eventually

from app.domain.errors import ErrorCode, FednnunetError, JobFailed, LinkProblem
from app.site.agenda import Work, WorkKind
from app.site.lane import Lane, patience

ONE, TWO = Work(kind=WorkKind.CHECK), Work(kind=WorkKind.FINGERPRINT)


class Bench:
    """A lane with everything in hand: what is wanted, how work goes, what was done."""

    def __init__(self, wait_s=0.01):
        self.wanted: Work | None = None
        self.log: list[str] = []
        self.gate = asyncio.Event()
        self.errors: list[Exception] = []
        self.failures: list[tuple[Work, str, float | None]] = []
        self.lane = Lane(
            name="bench",
            decide=lambda: self.wanted,
            perform=self.perform,
            changed=lambda: None,
            failed=lambda work, error, delay: self.failures.append((work, str(error), delay)),
            patience=lambda error, count: wait_s if count < 3 else None,
        )

    async def perform(self, work):
        self.log.append(f"begin {work.kind.value}")
        try:
            if self.errors:
                raise self.errors.pop(0)
            await self.gate.wait()
        except asyncio.CancelledError:
            self.log.append(f"cancel {work.kind.value}")
            raise
        self.log.append(f"end {work.kind.value}")
        self.wanted = None

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.lane.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def want(self, work):
        self.wanted = work
        self.lane.wake()


@pytest.mark.asyncio
async def test_the_same_wish_is_not_begun_twice():
    bench = Bench()
    async with bench.running():
        bench.want(ONE)
        await eventually(lambda: bench.lane.work == ONE)
        bench.want(ONE)
        bench.lane.wake()
        await asyncio.sleep(0.01)
        bench.gate.set()
        await eventually(lambda: bench.lane.work is None)
    assert bench.log == ["begin check", "end check"]


@pytest.mark.asyncio
async def test_a_changed_mind_ends_one_work_before_the_next_begins():
    bench = Bench()
    async with bench.running():
        bench.want(ONE)
        await eventually(lambda: bench.log == ["begin check"])
        bench.want(TWO)
        await eventually(lambda: bench.lane.work == TWO)
        assert bench.log == ["begin check", "cancel check", "begin fingerprint"]
        bench.want(None)
        await bench.lane.settled()
    assert bench.log[-1] == "cancel fingerprint"


@pytest.mark.asyncio
async def test_ending_the_lane_ends_its_work():
    bench = Bench()
    async with bench.running():
        bench.want(ONE)
        await eventually(lambda: bench.log == ["begin check"])
    assert bench.log == ["begin check", "cancel check"]


@pytest.mark.asyncio
async def test_failures_are_tried_again_then_left_to_a_person():
    bench = Bench()
    bench.errors = [JobFailed("no") for _ in range(3)]
    async with bench.running():
        bench.want(ONE)
        await eventually(lambda: len(bench.failures) == 3)
        assert [delay for _, _, delay in bench.failures] == [0.01, 0.01, None]
        await eventually(lambda: bench.lane.problem is not None)
        bench.lane.wake()
        await asyncio.sleep(0.02)
        assert bench.log == ["begin check"] * 3
        bench.lane.forgive()
        assert bench.lane.problem is None
        bench.gate.set()
        await eventually(lambda: bench.log[-1] == "end check")


@pytest.mark.asyncio
async def test_a_problem_goes_when_something_else_is_wanted():
    bench = Bench()
    bench.errors = [JobFailed("no") for _ in range(3)]
    async with bench.running():
        bench.want(ONE)
        await eventually(lambda: bench.lane.problem is not None)
        bench.want(TWO)
        await eventually(lambda: bench.lane.work == TWO)
        assert bench.lane.problem is None


@pytest.mark.asyncio
async def test_a_mistake_of_ours_is_a_problem_not_the_end(expected_log):
    expected_log("app.site.lane", "check failed")
    bench = Bench()
    bench.errors = [ZeroDivisionError("oh")] * 3
    async with bench.running():
        bench.want(ONE)
        await eventually(lambda: bench.lane.problem is not None)
    assert bench.lane.problem.code is ErrorCode.INTERNAL


@pytest.mark.asyncio
async def test_work_that_changes_nothing_does_not_spin():
    bench = Bench()

    async def idle(work):
        bench.log.append("done")

    bench.lane._perform = idle
    async with bench.running():
        bench.want(ONE)
        await asyncio.sleep(0.05)
    assert bench.log == ["done"]


@pytest.mark.asyncio
async def test_a_kind_that_a_person_stopped_rests_until_forgiven():
    bench = Bench()
    async with bench.running():
        bench.want(ONE)
        await eventually(lambda: bench.log == ["begin check"])
        bench.lane.park(WorkKind.CHECK)
        await eventually(lambda: bench.log == ["begin check", "cancel check"])
        bench.want(TWO)
        await eventually(lambda: bench.log[-1] == "begin fingerprint")
        bench.want(ONE)
        await eventually(lambda: bench.lane.work is None)
        bench.lane.forgive()
        await eventually(lambda: bench.log[-1] == "begin check")


@pytest.mark.parametrize(
    ("error", "delays"),
    [
        (LinkProblem("cut"), [5, 10, 20, 40, 80, 160, 300, 300]),
        (JobFailed("lost", code=ErrorCode.JOB_LOST), [5, 10, 20, None]),
        (JobFailed("bad"), [None]),
        (FednnunetError("full", code=ErrorCode.DISK_FULL), [5, 10, 20, 40, 80, 160, 300, 300]),
    ],
)
def test_patience(error, delays):
    assert [patience(error, count) for count in range(1, len(delays) + 1)] == delays


@pytest.mark.asyncio
async def test_a_full_disk_is_shown_while_it_is_tried_again():
    bench = Bench(wait_s=0.05)
    bench.errors = [FednnunetError("full", code=ErrorCode.DISK_FULL)]
    async with bench.running():
        bench.want(ONE)
        await eventually(lambda: bench.lane.problem is not None)
        bench.lane.wake()
        await asyncio.sleep(0.01)
        assert bench.lane.problem is not None
        bench.gate.set()
        await eventually(lambda: bench.log[-1] == "end check")
        assert bench.lane.problem is None
