"""A site's local baseline: the study's plan and epochs, the site's own cases, no federation."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from app.coordinator.workspace import artefact_file, study_terms
from app.datasets.scan import scan
from app.domain.errors import OurMistake
from app.domain.segmentation import CaseScore
from app.jobs.events import Scored
from app.jobs.runner import JobRunner, run_job
from app.jobs.spec import (
    ExportJob,
    ScoreJob,
    SegmentJob,
    TrainJob,
    TrainRound,
)
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
    model = home / "model.zip"
    await run_job(
        runner,
        ExportJob(
            plan=str(plan),
            weights=str(weights),
            configuration=terms.configuration,
            fold=terms.fold,
            model_name=MODEL_NAME,
            output=str(model),
        ),
    )
    cases = scan(data).held_out
    predictions = home / "predictions"
    await run_job(
        runner,
        SegmentJob(model=str(model), cases=cases, output=str(predictions)),
    )
    scored = await run_job(
        runner,
        ScoreJob(
            pairs=tuple(
                (case.name, case.label, str(predictions / f"{case.name}.nii.gz"))
                for case in cases
                if case.label is not None
            ),
            labels=terms.labels,
            output=str(home / "scores.json"),
        ),
    )
    if not isinstance(scored, Scored):
        raise OurMistake(f"a score job gave {type(scored).__name__}")
    return scored.scores


async def _train(runner: JobRunner, job: TrainJob, whole_study: TrainRound) -> None:
    session = TrainingSession(lambda _event: None)
    await session.start(runner, job, ended=lambda: None)
    try:
        await session.ready()
        await session.train(whole_study)
        await session.finish()
    finally:
        await session.stop()
