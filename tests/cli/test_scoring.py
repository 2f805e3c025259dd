"""Scoring a model with played jobs: what is exported, segmented and compared, and in which order."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.played_jobs import PlayedRunner
from helpers.studies import TERMS

from app.cli.scoring import score_model
from app.domain.dataset import Case
from app.domain.errors import ErrorCode, JobFailed, OurMistake
from app.domain.segmentation import CaseScore
from app.jobs.events import Exported, Scored, Segmented
from app.jobs.spec import ExportJob, ScoreJob, SegmentJob

LABELLED = Case(name="a", channels=("/a_0000.nii.gz",), label="/labels/a.nii.gz")
UNLABELLED = Case(name="b", channels=("/b_0000.nii.gz",), label=None)
RESULTS = {
    ExportJob: Exported(output="m", sha256="0" * 64),
    SegmentJob: Segmented(results=()),
    ScoreJob: Scored(scores=(CaseScore(case="a", labels=()),)),
}


def scored(runner, folder: Path):
    return asyncio.run(
        score_model(
            runner,
            replace(TERMS, fold="3"),
            plan=Path("/plan"),
            weights=Path("/weights"),
            name="Model",
            cases=[LABELLED, UNLABELLED],
            folder=folder,
            device="cuda",
            threads=2,
        )
    )


def test_the_zip_of_the_weights_segments_every_case_and_those_with_a_label_are_scored(tmp_path):
    runner = PlayedRunner(lambda job: RESULTS[type(job)])
    assert scored(runner, tmp_path) == (CaseScore(case="a", labels=()),)
    export, segment, score = runner.jobs
    assert (export.plan, export.folds) == ("/plan", {"3": "/weights"})
    assert segment.model == export.output == str(tmp_path / "model.zip")
    assert segment.cases == (LABELLED, UNLABELLED)
    assert (segment.device, segment.threads) == ("cuda", 2)
    assert score.pairs == (("a", "/labels/a.nii.gz", str(tmp_path / "predictions" / "a.nii.gz")),)
    assert score.labels == TERMS.labels


def test_a_job_that_fails_ends_it_with_its_reason(tmp_path):
    def play(job):
        if isinstance(job, SegmentJob):
            raise JobFailed("no memory", code=ErrorCode.MEMORY_FULL)
        return RESULTS[type(job)]

    runner = PlayedRunner(play)
    with pytest.raises(JobFailed, match="no memory") as caught:
        scored(runner, tmp_path)
    assert caught.value.code is ErrorCode.MEMORY_FULL
    assert not any(isinstance(job, ScoreJob) for job in runner.jobs)


def test_a_score_job_without_scores_is_our_mistake(tmp_path):
    runner = PlayedRunner(lambda job: RESULTS.get(type(job)) if not isinstance(job, ScoreJob)
                          else RESULTS[ExportJob])  # fmt: skip
    with pytest.raises(OurMistake, match="Exported"):
        scored(runner, tmp_path)
