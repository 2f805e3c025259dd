"""The jobs of a local baseline: the study's plan and epochs, the site's own cases, no federation.

The site service and `fednnunet demo --baselines` make them alike, so that both mean the same
thing by the word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from app.domain.study import StudyTerms
from app.jobs.spec import InitialModelJob, PreprocessJob, TrainJob, TrainRound

ROUND: Final = 1
"""A baseline is one round as long as the whole study, or as its first fold where it has several."""


def preparation(
    terms: StudyTerms,
    *,
    plan: Path,
    folder: str,
    workspace: Path,
    leave_out: tuple[str, ...] = (),
    threads: int = 1,
) -> PreprocessJob:
    """Return the job that prepares the images by the study's plan; what is prepared stays."""
    return PreprocessJob(
        plan=str(plan),
        folder=folder,
        workspace=str(workspace),
        configuration=terms.configuration,
        fold=terms.folds[0],
        leave_out=leave_out,
        seed=terms.seed,
        threads=threads,
        processes=threads,
    )


def first_model(
    terms: StudyTerms, *, plan: Path, output: Path, threads: int = 1
) -> InitialModelJob:
    """Return the job that draws the model from which the study began as well."""
    return InitialModelJob(
        plan=str(plan),
        configuration=terms.configuration,
        seed=terms.seed,
        output=str(output),
        threads=threads,
    )


def session(
    terms: StudyTerms,
    *,
    plan: Path,
    workspace: Path,
    checkpoint: Path,
    device: str = "auto",
    loader_processes: int = 0,
    threads: int = 1,
) -> TrainJob:
    """Return the job of a session as the study's own, with a checkpoint of its own."""
    return TrainJob(
        plan=str(plan),
        workspace=str(workspace),
        configuration=terms.configuration,
        fold=terms.folds[0],
        total_epochs=terms.fold_epochs,
        iterations_per_epoch=terms.iterations_per_epoch,
        validation_iterations=terms.validation_iterations,
        seed=terms.seed,
        checkpoint=str(checkpoint),
        device=device,
        loader_processes=loader_processes,
        threads=threads,
    )


def whole_study(terms: StudyTerms, *, base: Path, update: Path) -> TrainRound:
    """Return the command that trains every epoch of a fold without a pause in between."""
    return TrainRound(
        round=ROUND,
        attempt=1,
        epochs=terms.fold_epochs,
        start_epoch=0,
        base=str(base),
        update=str(update),
    )
