"""Writing a global model as a zip that plain nnU-Net installs and runs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from app.coordinator.auditing import CoordinatorEntry, open_audit
from app.coordinator.store import StudyStore
from app.coordinator.workspace import CoordinatorHome, artefact_file, study_terms
from app.domain.errors import DataProblem, ErrorCode, OurMistake
from app.jobs.events import Exported
from app.jobs.runner import JobRunner, run_job
from app.jobs.spec import ExportJob
from app.system.clock import SystemClock

MODEL_NAME: Final = "FederatedModel"
_MODEL: Final = "model-"


async def export_model(folder: Path, out: Path, *, round_number: int | None = None) -> str:
    """Export the average of a round (default: the newest) of the study in `folder`; its SHA-256.

    The service may run or not: averages are files that never change.

    Raises:
        DataProblem: no round is closed yet, or that round is not.
        JobFailed: the export ended without a result.
    """
    terms = study_terms(folder)
    if round_number is None:
        round_number = _newest(folder)
    weights = artefact_file(folder, f"{_MODEL}{round_number}")
    with tempfile.TemporaryDirectory(prefix="fednnunet-export-") as scratch:
        result = await run_job(
            JobRunner(folder=Path(scratch)),
            ExportJob(
                plan=str(artefact_file(folder, "plan")),
                weights=str(weights),
                configuration=terms.configuration,
                fold=terms.fold,
                model_name=MODEL_NAME,
                output=str(out),
            ),
        )
    if not isinstance(result, Exported):
        raise OurMistake(f"an export job gave {type(result).__name__}")
    with open_audit(folder, SystemClock()) as audit:
        audit.append(CoordinatorEntry.MODEL_EXPORTED, round=round_number, sha256=result.sha256)
    return result.sha256


def _newest(folder: Path) -> int:
    store = StudyStore.open(CoordinatorHome(folder=folder).database)
    try:
        names = store.artefacts()
    finally:
        store.close()
    rounds = [int(name.removeprefix(_MODEL)) for name in names if name.startswith(_MODEL)]
    if not rounds:
        raise DataProblem("no round of the study is closed yet", code=ErrorCode.STUDY_STATE)
    return max(rounds)
