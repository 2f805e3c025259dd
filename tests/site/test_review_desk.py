"""Segmenting and scoring in a running service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.recorder import eventually

from app.control.messages import (
    Accepted,
    ForgetRun,
    InspectModel,
    RunState,
    SegmentCases,
    StopJob,
)
from app.domain.errors import ErrorCode
from app.domain.segmentation import CaseSource, ModelKind
from app.jobs.events import Failed
from app.jobs.spec import ExportJob, ScoreJob, SegmentJob
from app.jobs.workspace import Workspace
from app.wire.messages import UpdateOffered

pytestmark = pytest.mark.asyncio


def last_job(site, kind):
    return [job for job in site.runner.started if isinstance(job, kind)][-1]


def last_update(site):
    """The round of the newest update; one that is asked for again counts once."""
    told = site.coordinator.told(UpdateOffered)
    return told[-1].round if told else 0


async def done(site, number=1):
    await site.until(
        lambda: [r.state for r in site.snapshot.review.runs] == [RunState.DONE] * number, "runs"
    )


async def test_segmenting_and_scoring_held_out_cases(site):
    await site.to_prepared()
    await site.to_finished()
    model = site.snapshot.review.models[-1].path
    gate = site.runner.hold("score")
    assert await site.service.command(SegmentCases(model=model)) == Accepted()
    busy = await site.service.command(SegmentCases(model=model))
    assert busy.code == ErrorCode.STUDY_STATE.value
    await site.until(lambda: len(site.snapshot.review.results) == 2)
    gate.set()
    await site.until(lambda: len(site.snapshot.review.scores) == 2)
    review = site.snapshot.review
    assert [r.case for r in review.results] == ["test_00", "test_01"]
    assert [r.reference for r in review.results] == [
        str(site.folder / "labelsTs" / f"test_0{n}.nii.gz") for n in (0, 1)
    ]
    assert review.job.outcome == "2 cases scored"
    missing = await site.service.command(SegmentCases(model="/nowhere.zip"))
    assert missing.code == ErrorCode.MODEL_FILE.value
    [run] = review.runs
    assert (run.state, run.source, run.model.kind) == (
        RunState.DONE,
        CaseSource.HELD_OUT,
        ModelKind.FINAL,
    )
    assert run.results == review.results
    assert last_job(site, ScoreJob).cache == str(site.home / "scores")


async def test_a_stopped_run_keeps_what_is_done_and_goes_on_in_the_same_folder(site):
    await site.to_prepared()
    await site.to_finished()
    model = site.snapshot.review.models[-1].path
    gate = site.runner.hold("test_01")
    await site.service.command(SegmentCases(model=model, mirroring=True))
    await site.until(lambda: len(site.snapshot.review.results) == 1, "one case")
    [run] = site.snapshot.review.runs
    assert (run.state, run.cases) == (RunState.RUNNING, ("test_00", "test_01"))
    assert await site.service.command(StopJob(kind="segment")) == Accepted()
    [run] = site.snapshot.review.runs
    assert (run.state, len(run.results)) == (RunState.UNFINISHED, 1)
    assert run.outcome == "stopped; what is finished is kept"
    gate.set()
    await site.service.command(SegmentCases(model=model, mirroring=True))
    await done(site)
    [run] = site.snapshot.review.runs
    jobs = [job for job in site.runner.started if isinstance(job, SegmentJob)]
    assert [Path(job.output).name for job in jobs] == ["0001", "0001"]
    assert [r.case for r in run.results] == ["test_00", "test_01"]
    # Other options are another run.
    await site.service.command(SegmentCases(model=model))
    await done(site, 2)
    assert Path(last_job(site, SegmentJob).output).name == "0002"


async def test_a_run_that_a_crash_cut_off_is_unfinished_in_the_next_life(site):
    await site.to_prepared()
    await site.to_finished()
    model = site.snapshot.review.models[-1].path
    site.runner.hold("test_01")
    await site.service.command(SegmentCases(model=model))
    await site.until(lambda: len(site.snapshot.review.results) == 1, "one case")
    task = site.service.review._task
    await site.crash()
    task.cancel()
    await eventually(task.done)
    await site.start()
    [run] = site.snapshot.review.runs
    assert run.state is RunState.UNFINISHED
    assert "kept" in run.outcome


async def test_a_failed_run_says_why_and_is_unfinished(site, expected_log):
    expected_log("app.site.review_desk", "memory-full")
    await site.to_prepared()
    await site.to_finished()
    site.runner.failures["segment"] = [
        Failed(code=ErrorCode.MEMORY_FULL.value, sentence="too little memory for case a")
    ]
    await site.service.command(SegmentCases(model=site.snapshot.review.models[-1].path))
    await site.until(lambda: (job := site.snapshot.review.job) is not None and job.failed, "failed")
    review = site.snapshot.review
    assert review.job.outcome == review.runs[0].outcome == "too little memory for case a"
    assert review.runs[0].state is RunState.UNFINISHED


async def test_the_average_of_the_present_round_is_exported_when_it_is_first_used(site):
    await site.to_prepared()
    assert site.snapshot.review.models == ()
    site.train(1)
    await site.until(lambda: last_update(site) == 1, "first update")
    assert site.snapshot.review.models == ()  # nobody trained what round 1 begins with
    site.train(2)
    await site.until(lambda: last_update(site) == 2, "second update")
    [model] = site.snapshot.review.models
    assert (model.kind, model.round, model.digest) == (ModelKind.ROUND, 1, "")
    assert model.name == "n, average after round 1 of 3"
    for _ in range(2):
        await site.service.command(SegmentCases(model=model.path))
        await done(site)
    exports = [job for job in site.runner.started if isinstance(job, ExportJob)]
    assert len(exports) == 1
    assert Path(exports[0].folds["0"]).read_bytes() == b"global model before round 2"
    [kept] = site.snapshot.review.models
    assert kept.digest


async def test_validation_cases_are_those_of_the_studys_fold(site):
    await site.to_prepared()
    await site.to_finished()
    model = site.snapshot.review.models[-1].path
    wish = SegmentCases(model=model, source=CaseSource.VALIDATION)
    none = await site.service.command(wish)
    assert none.code == ErrorCode.FOLDER_EMPTY.value
    folder = Workspace(root=site.home / "workspace").preprocessed_dataset
    folder.mkdir(parents=True)
    folds = [{"train": ["case_00", "case_02"], "val": ["case_01", "case_03"]}] * 5
    (folder / "splits_final.json").write_text(json.dumps(folds))
    assert site.snapshot.review.validation == 2
    assert await site.service.command(wish) == Accepted()
    await done(site)
    [run] = site.snapshot.review.runs
    assert [r.case for r in run.results] == ["case_01", "case_03"]
    assert run.results[0].reference == str(site.folder / "labelsTr" / "case_01.nii.gz")


async def test_a_folder_and_a_model_from_elsewhere(site, tmp_path):
    await site.to_prepared()
    model, images = tmp_path / "their model.zip", tmp_path / "images"
    model.write_bytes(b"zip")
    images.mkdir()
    (images / "one.nii.gz").write_bytes(b"")
    relative = await site.service.command(SegmentCases(model=str(model), folder="images"))
    assert relative.code == ErrorCode.FOLDER_MISSING.value
    await site.service.command(SegmentCases(model=str(model), folder=str(images), device="cpu"))
    await done(site)
    [run] = site.snapshot.review.runs
    assert (run.model.kind, run.model.name, run.model.digest) == (
        ModelKind.FILE,
        "their model.zip",
        "m",
    )
    assert (run.labels, run.scores) == ({"background": 0, "anterior": 1}, ())
    assert [volumes.case for volumes in run.volumes] == ["one"]
    job = last_job(site, SegmentJob)
    assert (job.device, job.folder, job.confirmed) == ("cpu", str(images), None)


async def test_looking_at_a_model_from_elsewhere(site, tmp_path):
    await site.to_prepared()
    missing = await site.service.command(InspectModel(path="/nowhere.zip"))
    assert missing.code == ErrorCode.MODEL_FILE.value
    model = tmp_path / "their.zip"
    model.write_bytes(b"zip")
    await site.service.command(InspectModel(path=str(model)))
    await site.until(lambda: site.snapshot.review.inspected is not None, "inspected")
    assert site.snapshot.review.inspected.labels == ("anterior", "posterior")
    site.runner.failures["inspect"] = [
        Failed(code=ErrorCode.MODEL_FILE.value, sentence="the model file holds a program")
    ]
    await site.service.command(InspectModel(path=str(model)))
    await site.until(
        lambda: (
            site.snapshot.review.inspected is not None and site.snapshot.review.inspected.problem
        ),
        "refused",
    )
    assert site.snapshot.review.inspected.problem == "the model file holds a program"
    assert site.snapshot.review.inspected.remedy


async def test_a_run_is_forgotten_with_its_files(site):
    await site.to_prepared()
    await site.to_finished()
    gate = site.runner.hold("score")
    await site.service.command(SegmentCases(model=site.snapshot.review.models[-1].path))
    await site.until(lambda: site.snapshot.review.runs[0].results, "segmented")
    under_way = await site.service.command(ForgetRun(serial=1))
    assert under_way.code == ErrorCode.STUDY_STATE.value
    gate.set()
    await done(site)
    output = Path(site.snapshot.review.runs[0].output)
    assert output.is_dir()
    assert await site.service.command(ForgetRun(serial=1)) == Accepted()
    assert site.snapshot.review.runs == ()
    assert not output.exists()
