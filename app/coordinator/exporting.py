"""Writing a global model as a zip that plain nnU-Net installs and runs.

Where every site has a network of its own there is no such model at the coordinator: it holds the
layers that sites share, and writes those. A whole model is exported by each site (decision 0011).
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Final

from app.coordinator.auditing import CoordinatorEntry, open_audit
from app.coordinator.store import StudyStore
from app.coordinator.workspace import CoordinatorHome, artefact_file, study_terms
from app.domain.errors import DataProblem, ErrorCode, OurMistake
from app.domain.study import Method
from app.federation.best_round import best_round
from app.federation.study_record import read
from app.jobs.events import Exported
from app.jobs.runner import JobRunner, run_job
from app.jobs.spec import ExportJob
from app.system.atomic import write_atomic
from app.system.clock import SystemClock

MODEL_NAME: Final = "FederatedModel"
SHARED_SUFFIX: Final = ".safetensors"
_MODEL: Final = "model-"


def best_of(folder: Path) -> int:
    """Return the round whose average did best on all sites' held-out cases.

    Raises:
        DataProblem: no round was scored by enough sites yet.
    """
    store = StudyStore.open(CoordinatorHome(folder=folder).database)
    try:
        saved = store.load()
    finally:
        store.close()
    best = None
    if saved is not None:
        terms, record = read(saved)
        best = best_round(record.closed, minimum_sites=terms.minimum_sites)
    if best is None:
        raise DataProblem(
            "no average was scored on held-out cases by enough sites yet; "
            "export the newest one without --best",
            code=ErrorCode.STUDY_STATE,
        )
    return best.model.round


async def export_model(folder: Path, out: Path, *, round_number: int | None = None) -> str:
    """Export the average of a round (default: the newest) of the study in `folder`; its SHA-256.

    The service may run or not: averages are files that never change.

    In an asymmetric study `out` becomes a tensor file of the shared layers, not a model.

    Raises:
        DataProblem: no round is closed yet, or that round is not; or `out` is to be a zip where
            there are only shared layers.
        JobFailed: the export ended without a result.
    """
    terms = study_terms(folder)
    if round_number is None:
        round_number = _newest(folder)
    weights = artefact_file(folder, f"{_MODEL}{round_number}")
    if terms.method is Method.ASYM:
        sha256 = _write_shared(weights, out)
        _note(folder, round_number, sha256)
        return sha256
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
    _note(folder, round_number, result.sha256)
    return result.sha256


def _write_shared(weights: Path, out: Path) -> str:
    if out.suffix != SHARED_SUFFIX:
        raise DataProblem(
            "in this study every site has a network of its own, so there is no one model to export "
            f"here: each site's window exports its model; name a file that ends in {SHARED_SUFFIX} "
            "to write the layers that sites share",
            code=ErrorCode.STUDY_STATE,
        )
    document = weights.read_bytes()
    write_atomic(out, document)
    return hashlib.sha256(document).hexdigest()


def _note(folder: Path, round_number: int, sha256: str) -> None:
    with open_audit(folder, SystemClock()) as audit:
        audit.append(CoordinatorEntry.MODEL_EXPORTED, round=round_number, sha256=sha256)


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
