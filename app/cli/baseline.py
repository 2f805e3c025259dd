"""A site's local baseline: the study's plan and epochs, the site's own cases, no federation."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from app.cli.scoring import score_model
from app.coordinator.workspace import artefact_file, study_terms
from app.datasets.scan import scan
from app.domain.segmentation import CaseScore
from app.jobs.runner import JobRunner, run_job
from app.jobs.spec import TrainJob, TrainRound
from app.site import baseline_jobs
from app.site.session import TrainingSession

MODEL_NAME: Final = "LocalBaseline"


async def train_baseline(*, coordinator: Path, data: Path, home: Path) -> tuple[CaseScore, ...]:
    """Train on `data` alone for the study's total epochs, from its first model; score held-out cases.

    The plan and the first model are read from the coordinator's home on this computer; everything
    derived goes below `home`.

    Raises:
        JobFailed: one of the jobs ended without a result.
    """
    terms = study_terms(coordinator)
    plan, first = artefact_file(coordinator, "plan"), artefact_file(coordinator, "initial")
    home.mkdir(parents=True, exist_ok=True)
    runner = JobRunner(folder=home / "jobs")
    await run_job(
        runner,
        baseline_jobs.preparation(terms, plan=plan, folder=str(data), workspace=home),
    )
    weights = home / "weights.safetensors"
    await _train(
        runner,
        baseline_jobs.session(terms, plan=plan, workspace=home, checkpoint=home / "checkpoint.pth"),
        baseline_jobs.whole_study(terms, base=first, update=weights),
    )
    return await score_model(
        runner,
        terms,
        plan=plan,
        weights=weights,
        name=MODEL_NAME,
        cases=scan(data).held_out,
        folder=home,
    )


async def _train(runner: JobRunner, job: TrainJob, whole_study: TrainRound) -> None:
    session = TrainingSession(lambda _event: None)
    await session.start(runner, job, ended=lambda: None)
    try:
        await session.ready()
        await session.train(whole_study)
        await session.finish()
    finally:
        await session.stop()
