"""Scores that were computed once are not computed again, whatever happened in between.

A score belongs to what it was made of: the bytes of reference and prediction, the labels, the
tolerance, and the version of the definitions in `app.review.scores`. Names of files and cases are
not part of that, so a copy or a renamed folder is found too.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from app.domain.errors import ErrorCode, FednnunetError, JobFailed
from app.domain.segmentation import CaseScore, CaseVolumes
from app.review.label_maps import LabelMap
from app.review.scores import DEFAULT_TOLERANCE_MM, Labels, measure_case, score_case
from app.system.atomic import make_folder, write_atomic

logger = logging.getLogger(__name__)

DEFINITIONS: Final = 1
"""Grows when a score of `app.review.scores` means something else than before."""

R = TypeVar("R", CaseScore, CaseVolumes)
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Scores and volumes in the order asked for; `computed` of them were not known before."""

    scores: tuple[CaseScore, ...]
    volumes: tuple[CaseVolumes, ...]
    computed: int


class ScoreCache:
    """A folder with one small file for each scored pair; without a folder nothing is kept.

    A damaged file counts as none; several processes may use one folder.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.computed = 0
        """How many scores were computed because the folder did not have them."""

    def score(
        self,
        case: str,
        files: Sequence[Path],
        settings: object,
        kind: type[R],
        compute: Callable[[], R],
    ) -> R:
        """Return what is kept for these files and settings, else what `compute` makes of them."""
        if self._folder is None:
            self.computed += 1
            return compute()
        path = self._folder / f"{_key(files, settings, kind)}.json"
        with suppress(OSError, msgspec.MsgspecError):
            return replace(msgspec.json.decode(path.read_bytes(), type=kind), case=case)
        made = compute()
        self.computed += 1
        # The case's name is not what the score belongs to, and stays out of the file.
        try:
            make_folder(self._folder)
            write_atomic(path, msgspec.json.encode(replace(made, case="")))
        except FednnunetError as exc:
            logger.info("a score could not be kept: %s", exc.code.value)
        return made


def score_all(
    pairs: Sequence[tuple[str, str, str]],
    alone: Sequence[tuple[str, str]],
    labels: Labels,
    *,
    cache: ScoreCache,
    read: Callable[[Path], LabelMap],
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    progress: Progress = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Measured:
    """Score (case, reference, prediction) and measure (case, prediction) that has no reference.

    `read` is `app.datasets.images.read_volume`; this room does not know files of images.

    Raises:
        GridsDiffer: a pair does not lie on one grid.
        JobFailed: with JOB_STOPPED, when `stopped` said so between two cases.
    """
    before = cache.computed
    total = len(pairs) + len(alone)
    scores: list[CaseScore] = []
    volumes: list[CaseVolumes] = []

    def step() -> None:
        progress(len(scores) + len(volumes), total, "scoring")
        if stopped():
            raise JobFailed("scoring was stopped", code=ErrorCode.JOB_STOPPED)

    settings = (sorted(labels.items()), tolerance_mm)
    for case, first, second in pairs:
        step()
        reference, prediction = Path(first), Path(second)

        def compared(
            case: str = case, reference: Path = reference, prediction: Path = prediction
        ) -> CaseScore:
            return score_case(case, read(reference), read(prediction), labels, tolerance_mm)

        scores.append(cache.score(case, (reference, prediction), settings, CaseScore, compared))
    for case, only in alone:
        step()
        prediction = Path(only)

        def measured(case: str = case, prediction: Path = prediction) -> CaseVolumes:
            return measure_case(case, read(prediction), labels)

        volumes.append(cache.score(case, (prediction,), settings, CaseVolumes, measured))
    progress(total, total, "scoring")
    return Measured(scores=tuple(scores), volumes=tuple(volumes), computed=cache.computed - before)


def _key(files: Sequence[Path], settings: object, kind: type) -> str:
    digest = hashlib.sha256()
    digest.update(msgspec.json.encode((DEFINITIONS, kind.__name__, settings)))
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
