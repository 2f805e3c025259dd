"""What people say of segmentations, kept in the review store of the site that is shown."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from app.domain.segmentation import SegmentationResult, Verdict
from app.system.clock import Clock

if TYPE_CHECKING:
    # Most windows open on a site where nothing was reviewed yet.
    from app.review.verdicts import CaseReview, VerdictStore
    from app.ui.presenters.review import Opinion

STORE_FILE: Final = "verdicts.sqlite"
_RUNS_REMEMBERED: Final = 4
"""Of several runs one is reviewed and others are counted, at every drawing."""


class VerdictBook(Protocol):
    """Opinions by case; what `judge` was told is on disk when it returns."""

    def opinions(self, results: Sequence[SegmentationResult]) -> Mapping[str, Opinion]:
        """Return what was said of these segmentations, by case."""
        ...

    def reviews(self, results: Sequence[SegmentationResult]) -> tuple[CaseReview, ...]:
        """Return where the review of these segmentations stands, in their order."""
        ...

    def judge(
        self,
        result: SegmentationResult,
        verdict: Verdict,
        comment: str,
        voxel: tuple[int, int, int] | None,
        reason: str = "",
    ) -> None:
        """Write down a verdict; raises SetupProblem when it cannot be kept."""
        ...

    def take_back(self) -> str | None:
        """Undo the last judgement and return its case; None when there is nothing to undo."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class SiteVerdicts:
    """The verdicts of one home; the file is made with the first of them. For one thread."""

    def __init__(self, home: Path, *, clock: Clock) -> None:
        self._path, self._clock = home / STORE_FILE, clock
        self._store: VerdictStore | None = None
        self._read: dict[tuple[str, ...], dict[str, Opinion]] = {}

    def opinions(self, results: Sequence[SegmentationResult]) -> Mapping[str, Opinion]:
        """Return what was said of these segmentations; from memory while nothing changed."""
        if not results or (self._store is None and not self._path.exists()):
            return {}
        key = tuple(f"{one.identity} {one.case}" for one in results)
        if key not in self._read:
            while len(self._read) >= _RUNS_REMEMBERED:
                self._read.pop(next(iter(self._read)))
            self._read[key] = self._opinions(results)
        return self._read[key]

    def reviews(self, results: Sequence[SegmentationResult]) -> tuple[CaseReview, ...]:
        """Return what was said of these segmentations, with reviewer and time; makes no file."""
        from app.review.verdicts import CaseReview

        if self._store is None and not self._path.exists():
            return tuple(
                CaseReview(case=one.case, verdict=Verdict.UNREVIEWED, decided=None, comments=())
                for one in results
            )
        return self._opened().reviews_of((one.identity, one.case) for one in results)

    def judge(
        self,
        result: SegmentationResult,
        verdict: Verdict,
        comment: str,
        voxel: tuple[int, int, int] | None,
        reason: str = "",
    ) -> None:
        """Write down a verdict, and a comment where it differs from the last one."""
        from app.review.verdicts import ReviewEntry
        from app.ui.presenters.review import Opinion

        before = self.opinions((result,)).get(result.case, Opinion())
        new_comment = comment if comment != before.comment else ""
        self._read.clear()
        self._opened().record(
            ReviewEntry(
                case=result.case,
                model_digest=result.identity,
                reviewer=getpass.getuser(),
                at=self._clock.now(),
                verdict=verdict if verdict is not before.verdict or reason else None,
                reason=reason,
                comment=new_comment,
                voxel=voxel if new_comment else None,
            )
        )

    def take_back(self) -> str | None:
        """Undo the last entry; it stays readable in the file."""
        if self._store is None and not self._path.exists():
            return None
        self._read.clear()
        entry = self._opened().undo()
        return entry.case if entry is not None else None

    def close(self) -> None:
        """Close the file."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _opened(self) -> VerdictStore:
        if self._store is None:
            from app.review.verdicts import VerdictStore

            self._store = VerdictStore(self._path)
        return self._store

    def _opinions(self, results: Sequence[SegmentationResult]) -> dict[str, Opinion]:
        from app.ui.presenters.review import Opinion

        said: dict[str, Opinion] = {}
        for review in self._opened().reviews_of((one.identity, one.case) for one in results):
            comment = review.comments[-1].comment if review.comments else ""
            said[review.case] = Opinion(
                verdict=review.verdict,
                comment=comment,
                reason=review.decided.reason if review.decided is not None else "",
            )
        return said
