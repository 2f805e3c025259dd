"""What a model is worth on cases that nobody trained on: written as a zip, run, compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.domain.dataset import Case
from app.domain.errors import OurMistake
from app.domain.segmentation import CaseScore
from app.domain.study import StudyTerms
from app.jobs.events import Scored
from app.jobs.runner import JobRunner, run_job
from app.jobs.spec import ExportJob, ScoreJob, SegmentJob


async def score_model(
    runner: JobRunner,
    terms: StudyTerms,
    *,
    plan: Path,
    weights: Path,
    name: str,
    cases: Sequence[Case],
    folder: Path,
    device: str = "auto",
    threads: int = 1,
) -> tuple[CaseScore, ...]:
    """Export `weights`, segment `cases` with them and score what has a label; all below `folder`.

    Raises:
        JobFailed: one of the jobs ended without a result.
    """
    model, predictions = folder / "model.zip", folder / "predictions"
    await run_job(
        runner,
        ExportJob(
            plan=str(plan),
            folds={terms.folds[0]: str(weights)},
            configuration=terms.configuration,
            model_name=name,
            output=str(model),
        ),
    )
    await run_job(
        runner,
        SegmentJob(
            model=str(model),
            cases=tuple(cases),
            output=str(predictions),
            device=device,
            threads=threads,
        ),
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
            output=str(folder / "scores.json"),
        ),
    )
    if not isinstance(scored, Scored):
        raise OurMistake(f"a score job gave {type(scored).__name__}")
    return scored.scores
