"""What people said of segmentations: kept by the key, never lost.

Each key press is one row of an SQLite log, on the disk before `record` returns; nothing is ever
deleted. Taking back marks a row, so who said what and when stays readable. One store serves
one thread; several processes may open the same file.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from app.domain.errors import ErrorCode, SetupProblem
from app.domain.segmentation import Verdict

_SCHEMA_VERSION: Final = 1
_BUSY_TIMEOUT_MS: Final = 5000
_SCHEMA: Final = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    model_digest TEXT NOT NULL,
    case_name TEXT NOT NULL,
    verdict TEXT,
    reason TEXT NOT NULL,
    comment TEXT NOT NULL,
    z INTEGER, y INTEGER, x INTEGER,
    reviewer TEXT NOT NULL,
    at REAL NOT NULL,
    undone INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX by_case ON entries (model_digest, case_name);
"""
_COLUMNS: Final = "model_digest, case_name, verdict, reason, comment, z, y, x, reviewer, at"
_INSERT: Final = f"INSERT INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_SELECT: Final = f"SELECT {_COLUMNS} FROM entries WHERE model_digest = ? AND undone = 0 ORDER BY id"  # noqa: S608

_SELECT_ALL: Final = f"SELECT {_COLUMNS} FROM entries WHERE undone = 0 ORDER BY id"  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewEntry:
    """One thing a reviewer did: gave a verdict, left a comment at a voxel (z, y, x), or both.

    `model_digest` is what was judged: `SegmentationResult.identity`.

    `verdict` None leaves the verdict as it is. `at` is in seconds since the epoch.
    """

    case: str
    model_digest: str
    reviewer: str
    at: float
    verdict: Verdict | None = None
    reason: str = ""
    comment: str = ""
    voxel: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseReview:
    """Where the review of one case stands. `decided` is the entry that gave the verdict."""

    case: str
    verdict: Verdict
    decided: ReviewEntry | None
    comments: tuple[ReviewEntry, ...]


class VerdictStore:
    """The review log in one SQLite file.

    Raises:
        SetupProblem: the file cannot be opened or written (disk full, no permission, damaged, or
            written by a newer version of this program).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._sentences():
            # Autocommit: each statement is durable by itself.
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
            self._database.execute("PRAGMA journal_mode = WAL")
            # FULL syncs the log at each commit: power loss too takes back no key press.
            self._database.execute("PRAGMA synchronous = FULL")
            self._prepare()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. What was recorded is on disk without this."""
        self._database.close()

    # Writing.

    def record(self, entry: ReviewEntry) -> None:
        """Keep an entry; on disk when this returns."""
        z, y, x = entry.voxel or (None, None, None)
        self._execute(
            _INSERT,
            (
                entry.model_digest,
                entry.case,
                entry.verdict.value if entry.verdict is not None else None,
                entry.reason,
                entry.comment,
                z,
                y,
                x,
                entry.reviewer,
                entry.at,
            ),
        )

    def undo(self) -> ReviewEntry | None:
        """Take back the latest entry and return it; None when there is nothing to take back."""
        return self._turn(
            "UPDATE entries SET undone = 1 "
            "WHERE id = (SELECT max(id) FROM entries WHERE undone = 0)"
        )

    def redo(self) -> ReviewEntry | None:
        """Bring back what was taken back last; None after anything new was recorded."""
        return self._turn(
            "UPDATE entries SET undone = 0 WHERE id = (SELECT min(id) FROM entries "
            "WHERE undone = 1 AND id > (SELECT coalesce(max(id), 0) FROM entries WHERE undone = 0))"
        )

    # Reading.

    def entries(self, model_digest: str) -> tuple[ReviewEntry, ...]:
        """Return all entries on a model's segmentations that were not taken back, oldest first."""
        with self._sentences():
            rows = self._database.execute(_SELECT, (model_digest,)).fetchall()
        return tuple(_entry(row) for row in rows)

    def reviews(self, model_digest: str, cases: Iterable[str]) -> tuple[CaseReview, ...]:
        """Return where the review of each case stands, in the order of `cases`."""
        by_case: dict[str, list[ReviewEntry]] = {}
        for entry in self.entries(model_digest):
            by_case.setdefault(entry.case, []).append(entry)
        return tuple(_review(case, by_case.get(case, [])) for case in cases)

    def reviews_of(self, judged: Iterable[tuple[str, str]]) -> tuple[CaseReview, ...]:
        """Return where the review of each (what was judged, case) stands, in this order."""
        with self._sentences():
            rows = self._database.execute(_SELECT_ALL).fetchall()
        kept: dict[tuple[str, str], list[ReviewEntry]] = {}
        for row in rows:
            entry = _entry(row)
            kept.setdefault((entry.model_digest, entry.case), []).append(entry)
        return tuple(_review(key[1], kept.get(key, [])) for key in judged)

    def _prepare(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version > _SCHEMA_VERSION:
            self._database.execute("ROLLBACK")
            raise SetupProblem(
                f"{self._path} was written by a newer version of this program",
                code=ErrorCode.VERSION,
            )
        if version == 0:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                self._database.execute(statement)
            self._database.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        self._database.execute("COMMIT")

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        with self._sentences():
            self._database.execute(statement, values)

    def _turn(self, statement: str) -> ReviewEntry | None:
        with self._sentences():
            row = self._database.execute(f"{statement} RETURNING {_COLUMNS}").fetchone()
        return None if row is None else _entry(row)

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            full = exc.sqlite_errorcode == sqlite3.SQLITE_FULL if _has_code(exc) else False
            raise SetupProblem(
                f"the reviews in {self._path} cannot be used: {exc}",
                code=ErrorCode.DISK_FULL if full else ErrorCode.WORKSPACE,
            ) from exc


def count_verdicts(reviews: Iterable[CaseReview]) -> Mapping[Verdict, int]:
    """Count verdicts; every kind is there, with 0 if need be."""
    counted = Counter(review.verdict for review in reviews)
    return {verdict: counted[verdict] for verdict in Verdict}


def _has_code(error: sqlite3.Error) -> bool:
    return hasattr(error, "sqlite_errorcode")


def _review(case: str, entries: list[ReviewEntry]) -> CaseReview:
    decided = next((entry for entry in reversed(entries) if entry.verdict is not None), None)
    verdict = decided.verdict if decided is not None and decided.verdict is not None else None
    return CaseReview(
        case=case,
        verdict=verdict or Verdict.UNREVIEWED,
        decided=decided,
        comments=tuple(entry for entry in entries if entry.comment),
    )


def _entry(
    row: tuple[str, str, str | None, str, str, int | None, int | None, int | None, str, float],
) -> ReviewEntry:
    model_digest, case, verdict, reason, comment, z, y, x, reviewer, at = row
    voxel = (z, y, x) if z is not None and y is not None and x is not None else None
    return ReviewEntry(
        case=case,
        model_digest=model_digest,
        verdict=None if verdict is None else Verdict(verdict),
        reason=reason,
        comment=comment,
        voxel=voxel,
        reviewer=reviewer,
        at=at,
    )
