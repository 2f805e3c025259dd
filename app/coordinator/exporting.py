"""Writing a global model as a zip that plain nnU-Net installs and runs.

Where every site has a network of its own there is no such model at the coordinator: it holds the
layers that sites share, and writes those. A whole model is exported by each site (decision 0011).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from app.coordinator.auditing import CoordinatorEntry, open_audit
from app.coordinator.store import StudyStore
from app.coordinator.workspace import CoordinatorHome, artefact_file, study_terms
from app.domain.errors import DataProblem, ErrorCode, OurMistake, safe_text
from app.domain.study import Method, StudyTerms
from app.federation.study_record import read
from app.federation.study_views import best_of_folds
from app.jobs.events import Exported
from app.jobs.runner import JobRunner, run_job
from app.jobs.spec import ExportJob
from app.system.atomic import write_atomic
from app.system.clock import SystemClock

MODEL_NAME: Final = "FederatedModel"
SHARED_SUFFIX: Final = ".safetensors"
_MODEL: Final = "model-"


async def export_model(
    folder: Path,
    out: Path,
    *,
    best: bool = False,
    round_number: int | None = None,
    fold: str | None = None,
) -> str:
    """Export an average of each fold of the study in `folder` as one zip; return its SHA-256.

    That is the newest one of every fold that has any, the `best` one, or that of a round, counted
    within its fold. `fold` leaves the others out. Of a cascade it is the second pass, once that has
    such an average, with what the folds of the first one ended with. The service may run or not:
    averages are files that never change.

    In an asymmetric study `out` becomes a tensor file of the shared layers, not a model.

    Raises:
        DataProblem: there is no such average yet, or no such fold; or `out` is to be a zip where
            there are only shared layers.
        JobFailed: the export ended without a result.
    """
    terms = study_terms(folder)
    rounds = _best_rounds(folder) if best else _rounds(folder, terms, round_number)
    if fold is not None:
        if fold not in terms.folds:
            raise DataProblem(
                f"the study has no fold {safe_text(fold, 20)}; it has {', '.join(terms.folds)}",
                code=ErrorCode.SETTING,
            )
        rounds = {
            index: number for index, number in rounds.items() if terms.trainings[index].fold == fold
        }
    if not rounds:
        raise DataProblem(_nothing_of(best, round_number), code=ErrorCode.STUDY_STATE)
    stage = max(terms.trainings[index].stage for index in rounds)
    rounds = {
        index: number for index, number in rounds.items() if terms.trainings[index].stage == stage
    }
    # The second pass learned from what the last averages of the first one made.
    first = (
        {index: (index + 1) * terms.rounds for index in range(len(terms.folds))} if stage else {}
    )
    weights = _files(folder, terms, rounds)
    if terms.method is Method.ASYM:
        if len(weights) > 1 and out.suffix == SHARED_SUFFIX:
            raise DataProblem(
                "each fold has shared layers of its own, and a file holds those of one; add --fold "
                "and the number of the fold",
                code=ErrorCode.SETTING,
            )
        sha256 = _write_shared(next(iter(weights.values())), out)
        _note(folder, rounds, sha256)
        return sha256
    with tempfile.TemporaryDirectory(prefix="fednnunet-export-") as scratch:
        result = await run_job(
            JobRunner(folder=Path(scratch)),
            ExportJob(
                plan=str(artefact_file(folder, "plan")),
                folds={name: str(path) for name, path in weights.items()},
                first_pass={name: str(path) for name, path in _files(folder, terms, first).items()},
                configuration=terms.passes[stage],
                model_name=MODEL_NAME,
                output=str(out),
            ),
        )
    if not isinstance(result, Exported):
        raise OurMistake(f"an export job gave {type(result).__name__}")
    _note(folder, rounds, result.sha256)
    return result.sha256


def _files(folder: Path, terms: StudyTerms, rounds: Mapping[int, int]) -> dict[str, Path]:
    """Return the files of closed rounds' averages by their fold, of one pass."""
    return {
        terms.trainings[index].fold: artefact_file(folder, f"{_MODEL}{number}")
        for index, number in sorted(rounds.items())
    }


def _nothing_of(best: bool, round_number: int | None) -> str:
    if best:
        return (
            "no average was scored on held-out cases by enough sites yet; "
            "export the newest one without --best"
        )
    if round_number is not None:
        return f"round {round_number} of the study is not closed yet"
    return "no round of the study is closed yet"


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


def _note(folder: Path, rounds: Mapping[int, int], sha256: str) -> None:
    with open_audit(folder, SystemClock()) as audit:
        for number in rounds.values():
            audit.append(CoordinatorEntry.MODEL_EXPORTED, round=number, sha256=sha256)


def _best_rounds(folder: Path) -> dict[int, int]:
    """Return of each training, by its position, the round whose average did best on all sites' held-out cases."""
    store = StudyStore.open(CoordinatorHome(folder=folder).database)
    try:
        saved = store.load()
    finally:
        store.close()
    if saved is None:
        return {}
    terms, record = read(saved)
    found = enumerate(best_of_folds(terms, record))
    return {index: one.model.round for index, one in found if one is not None}


def _rounds(folder: Path, terms: StudyTerms, round_number: int | None) -> dict[int, int]:
    """Return of each training the round whose average is wanted, None for the newest, if there is."""
    store = StudyStore.open(CoordinatorHome(folder=folder).database)
    try:
        names = store.artefacts()
    finally:
        store.close()
    closed = {int(name.removeprefix(_MODEL)) for name in names if name.startswith(_MODEL)}
    found: dict[int, int] = {}
    for number in sorted(closed):
        place = terms.place_of(number)
        if round_number in (None, place.round):
            found[place.index] = number
    return found
