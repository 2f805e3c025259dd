"""A site's local baseline: the study's plan and epochs, the site's own cases, no federation."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from app.coordinator.workspace import artefact_file, study_terms
from app.datasets.scan import scan
from app.domain.errors import JobFailed, OurMistake
from app.domain.segmentation import CaseScore
from app.jobs.events import AnyEvent, RoundTrained, Scored, SessionReady
from app.jobs.runner import JobRunner, run_job
from app.jobs.spec import (
    ExportJob,
    Finish,
    PreprocessJob,
    ScoreJob,
    SegmentJob,
    TrainJob,
    TrainRound,
)

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
        PreprocessJob(
            plan=str(plan),
            folder=str(data),
            workspace=str(home),
            configuration=terms.configuration,
            fold=terms.fold,
            seed=terms.seed,
        ),
    )
    weights = home / "weights.safetensors"
    await _train(
        runner,
        TrainJob(
            plan=str(plan),
            workspace=str(home),
            configuration=terms.configuration,
            fold=terms.fold,
            total_epochs=terms.total_epochs,
            iterations_per_epoch=terms.iterations_per_epoch,
            validation_iterations=terms.validation_iterations,
            seed=terms.seed,
            checkpoint=str(home / "checkpoint.pth"),
        ),
        TrainRound(
            round=1,
            attempt=1,
            epochs=terms.total_epochs,
            start_epoch=0,
            base=str(first),
            update=str(weights),
        ),
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
    ready, trained = asyncio.Event(), asyncio.Event()

    def on_event(event: AnyEvent) -> None:
        if isinstance(event, SessionReady):
            ready.set()
        elif isinstance(event, RoundTrained):
            trained.set()

    session = await runner.start(job, on_event=on_event)
    ended = asyncio.create_task(session.wait())
    try:
        for event, command in ((ready, whole_study), (trained, Finish())):
            waiting = asyncio.create_task(event.wait())
            await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if ended.done():
                break
            await session.send(command)
        outcome = await ended
        if outcome.result is None:
            raise JobFailed(outcome.sentence, code=outcome.code)
    finally:
        if not ended.done():
            await session.stop()
            await ended
