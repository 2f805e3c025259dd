"""The local baseline in a running service: when it may train, and that it goes on."""

from __future__ import annotations

import json

import pytest

from app.control.messages import (
    Accepted,
    PauseTraining,
    ResumeTraining,
    SegmentCases,
    StopJob,
    TrainBaseline,
)
from app.domain.errors import ErrorCode
from app.domain.segmentation import ModelKind
from app.jobs.events import Failed
from app.jobs.spec import InitialModelJob, TrainJob
from app.site.schedule import Rest

pytestmark = pytest.mark.asyncio

EPOCHS = 6  # three rounds of two


def baseline_sessions(site):
    return [
        job
        for job in site.runner.started
        if isinstance(job, TrainJob) and "baseline" in job.checkpoint
    ]


async def trained(site):
    await site.until(
        lambda: site.snapshot.review.baseline.done and not site.service.baseline.busy, "baseline"
    )


async def test_it_is_refused_while_the_study_needs_the_computer(site):
    site.join()
    await site.start()
    early = await site.service.command(TrainBaseline())
    assert early.code == ErrorCode.STUDY_STATE.value
    assert "plan has not arrived" in early.sentence
    await site.stop()
    await site.to_prepared()
    refused = await site.service.command(TrainBaseline())
    assert "the study needs this computer" in refused.sentence
    assert not site.snapshot.review.baseline.offered


async def test_after_the_study_it_trains_all_epochs_and_becomes_a_model(site):
    await site.to_prepared()
    await site.to_finished()
    assert site.snapshot.review.baseline.offered
    uploads = len(site.coordinator.uploads)
    assert await site.service.command(TrainBaseline()) == Accepted()
    await trained(site)
    baseline = site.snapshot.review.baseline
    assert (baseline.epoch, baseline.total_epochs, len(baseline.epochs)) == (EPOCHS, EPOCHS, EPOCHS)
    assert (baseline.offered, baseline.why_not) == (False, "this site's baseline is trained")
    assert baseline.job.outcome == "the local baseline is trained"
    models = site.snapshot.review.models
    assert [m.kind for m in models] == [ModelKind.BASELINE, ModelKind.PERSONAL, ModelKind.FINAL]
    assert await site.service.command(SegmentCases(model=models[0].path)) == Accepted()
    await site.until(lambda: site.snapshot.review.scores, "scores of the baseline")
    # The same plan, seed, first model and length as the study; and nothing left the site.
    [session] = baseline_sessions(site)
    study = next(j for j in site.runner.started if isinstance(j, TrainJob) and j != session)
    assert session.plan == study.plan
    assert (session.seed, session.total_epochs) == (study.seed, study.total_epochs)
    [first] = [j for j in site.runner.started if isinstance(j, InitialModelJob)]
    assert first.seed == study.seed
    assert site.runner.asked[-1].base == first.output
    assert (site.runner.asked[-1].epochs, site.runner.asked[-1].start_epoch) == (EPOCHS, 0)
    assert len(site.coordinator.uploads) == uploads
    assert not (site.home / "baseline").exists()


async def test_in_a_pause_it_trains_and_makes_way_when_the_study_goes_on(site):
    await site.to_prepared()
    await site.service.command(PauseTraining())
    await site.until(lambda: site.snapshot.review.baseline.offered, "offered")
    gate = site.runner.hold("epoch")
    await site.service.command(TrainBaseline())
    await site.until(lambda: site.snapshot.review.baseline.epoch == 1, "first epoch")
    await site.service.command(ResumeTraining())
    assert not site.service.baseline.busy
    assert site.snapshot.review.baseline.job.outcome == "stopped at its last checkpoint"
    kept = json.loads((site.home / "baseline" / "checkpoint.pth").read_text())
    assert kept["epoch"] == 1
    gate.set()
    await site.to_finished()
    # By itself, from its checkpoint, once the study is over.
    await trained(site)
    assert len(baseline_sessions(site)) == 2
    assert site.runner.trained[1, 1] == 2  # once by the study, once by the baseline
    assert [e.epoch for e in site.snapshot.review.baseline.epochs] == list(range(1, EPOCHS + 1))


async def test_it_goes_on_after_the_service_was_killed(site):
    await site.to_prepared()
    await site.to_finished()
    gate = site.runner.hold("epoch")
    await site.service.command(TrainBaseline())
    await site.until(lambda: site.snapshot.review.baseline.epoch == 1, "first epoch")
    await site.stop()
    gate.set()
    await site.start()
    await trained(site)


async def test_stopped_by_a_person_it_waits_for_a_person(site):
    await site.to_prepared()
    await site.to_finished()
    gate = site.runner.hold("epoch")
    await site.service.command(TrainBaseline())
    await site.until(lambda: site.snapshot.review.baseline.epoch == 1, "first epoch")
    assert await site.service.command(StopJob(kind="baseline")) == Accepted()
    gate.set()
    await site.stop()
    await site.start()
    baseline = site.snapshot.review.baseline
    assert not site.service.baseline.busy
    assert (baseline.offered, baseline.epoch) == (True, 1)
    await site.service.command(TrainBaseline())
    await trained(site)


async def test_a_failure_is_told_and_not_tried_for_ever(site, expected_log):
    expected_log("app.site.baseline_desk", "not-finite")
    await site.to_prepared()
    await site.to_finished()
    site.runner.failures["open"] = [
        Failed(code=ErrorCode.NOT_FINITE.value, sentence="the loss is no number any more")
    ]
    await site.service.command(TrainBaseline())
    await site.until(
        lambda: (job := site.snapshot.review.baseline.job) is not None and job.failed, "failed"
    )
    baseline = site.snapshot.review.baseline
    assert baseline.job.outcome == "the loss is no number any more"
    assert baseline.offered
    assert len(baseline_sessions(site)) == 1


async def test_it_keeps_to_the_schedule(site):
    await site.to_prepared()
    await site.to_finished()
    gate = site.runner.hold("epoch")
    await site.service.command(TrainBaseline())
    await site.until(lambda: site.snapshot.review.baseline.epoch == 1, "first epoch")
    site.service.schedule._follow = lambda: None  # this test plays the schedule
    site.service.study.rest = Rest.NOW
    site.service.baseline.consider()
    await site.until(lambda: not site.service.baseline.busy, "made way")
    refused = await site.service.command(TrainBaseline())
    assert "the schedule" in refused.sentence
    gate.set()
    site.service.study.rest = Rest.NONE
    site.service.baseline.consider()
    await trained(site)
