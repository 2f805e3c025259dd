"""The history of a whole service: written per epoch, judged by in the next session."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from app.control.messages import Accepted, Calibrate, PauseTraining, SetDevices
from app.jobs.events import Calibrated
from app.site.state import MeasuredPace, PaceEntry, PaceHistory, Plan
from app.wire.messages import UpdateOffered

pytestmark = pytest.mark.asyncio

MEASURED = Calibrated(
    device="cpu", steps=5, step_s=0.5, validation_step_s=0.25, batch_size=2, patch=(8, 8, 8),
    scaled=False, real_images=True,
)  # fmt: skip


def history(site):
    kept = site._site.store.get(PaceHistory)
    return () if kept is None else kept.items


async def test_steps_enter_the_history_and_judge_the_next_session(site):
    await site.to_prepared()
    site.runner.steps = 6
    # The desk looks once a second and counts epochs from when it first saw the session.
    site.service.speed.sampled()
    gate = site.runner.hold("epoch")
    site.train(1)
    await site.until(lambda: len(history(site)) == 1, "first epoch in the history")
    assert site.snapshot.training.speed.verdict == "unknown"
    gate.set()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    await site.until(lambda: len(history(site)) == 2, "second epoch in the history")
    (entry, _) = history(site)
    assert entry.step_s == 0.5
    assert entry.key.endswith(" cpu 1")
    # More of the same, and another session in which each step takes the usual time.
    items = tuple(replace(entry, at=entry.at - day) for day in range(1, 5))
    await site.stop()
    await site.start()
    site._site.store.put(PaceHistory(items=items))
    site.clock.advance(60)
    site.runner.hold("epoch")
    site.train(2)
    await site.until(lambda: site.snapshot.training.speed.verdict == "usual", "judged")
    assert site.snapshot.training.speed.usual_s == 0.5


async def test_a_measurement_before_training_is_compared_with_this_computers_history(site):
    site.runner.measured = MEASURED
    await site.to_prepared()
    # A pause lets the worker rest: what was measured is all that is known.
    await site.service.command(PauseTraining())
    await site.until(lambda: site.snapshot.training.paused)
    plan = site._site.store.get(Plan)
    at = site.clock.now()
    items = tuple(
        PaceEntry(key=f"{plan.sha256} cpu 1", step_s=0.25, at=at - day) for day in range(1, 5)
    )
    site._site.store.put(PaceHistory(items=items))
    assert await site.service.command(Calibrate()) == Accepted()
    await site.until(lambda: site.snapshot.training.calibration is not None)
    await site.until(lambda: site.snapshot.training.speed.verdict == "slow", "compared")
    training = site.snapshot.training
    assert (training.speed.step_s, training.speed.usual_s) == (0.5, 0.25)
    # One figure, in both sentences in the same words.
    for sentence in (training.speed.sentence, training.calibration.sentence):
        assert sentence.startswith("A step takes 0.5 s")


async def test_what_training_shows_takes_the_place_of_what_was_measured(site):
    site.runner.measured = replace(MEASURED, step_s=0.125)
    await site.to_prepared()
    assert await site.service.command(Calibrate()) == Accepted()
    await site.until(lambda: site.snapshot.training.calibration is not None)
    assert not site.snapshot.training.calibration.trained
    site.runner.steps = 6
    site.service.speed.sampled()
    gate = site.runner.hold("epoch")
    site.train(1)
    await site.until(
        lambda: site.snapshot.training.calibration.trained, "the estimate is that of training"
    )
    training = site.snapshot.training
    assert training.calibration.seconds_per_step == training.speed.step_s == 0.5
    epoch = training.epochs[-1]
    wanted = max(epoch.seconds, site.terms.iterations_per_epoch * 0.5)
    assert training.calibration.seconds_per_epoch == pytest.approx(wanted, rel=0.01)
    finish = site.snapshot.federation.study.traffic.finish_at
    assert finish == pytest.approx(training.calibration.finish_at)
    gate.set()
    await site.until(lambda: site.coordinator.told(UpdateOffered))
    # Another batch is another measure: it is judged by a history of its own.
    await site.service.command(SetDevices(batch_size=1))
    before, gate = site.service.study.session, site.runner.hold("step")
    site.train(2)
    await site.until(lambda: site.service.study.session not in (None, before), "a new session")
    # Once a second in real life: before its first epoch ends.
    site.service.speed.sampled()
    gate.set()
    await site.until(lambda: any("1 patches" in e.key for e in history(site)), "new history")


async def test_the_pace_of_another_study_is_told_roughly(site):
    pace = MeasuredPace(
        at=site.clock.now(), device="cpu", step_s=0.5, validation_step_s=0.25,
        configuration="3d_fullres", planner="ExperimentPlanner", scaled=False, planned=True,
        trained=True, plan="e" * 64,
    )  # fmt: skip
    await site.to_prepared()
    site._site.store.put(pace)
    await site.service.command(PauseTraining())  # the board is drawn anew
    await site.until(lambda: site.snapshot.training.calibration is not None)
    found = site.snapshot.training.calibration
    assert (found.rough, found.trained) == (True, False)
    assert "about" in found.sentence
    assert site.snapshot.training.speed.step_s is None
    plan = site._site.store.get(Plan)
    assert pace.for_plan(replace(plan, sha256="e" * 64)) == pace
    assert not pace.for_plan(None).trained
