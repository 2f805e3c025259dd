"""The coordinator's memory: one SQLite file with the study's terms and its present state.

Effects follow the rule save, then send: `save` returns only when the state is durable (WAL with
full synchronisation), so a coordinator that is killed goes on where it told its sites it was.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from app.domain.errors import ErrorCode, SetupProblem
from app.domain.ids import StudyId, study_id

_SCHEMA = """
CREATE TABLE IF NOT EXISTS study (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    study_id TEXT NOT NULL,
    terms BLOB NOT NULL,
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    created_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS state (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    document BLOB NOT NULL,
    saved_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS artefact (
    name TEXT PRIMARY KEY,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL
);
"""


class StudyStore:
    """Terms, address, state and artefacts of one study. Not shared between threads."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("PRAGMA busy_timeout=10000")
        self._connection.executescript(_SCHEMA)

    @classmethod
    def open(cls, path: Path) -> StudyStore:
        """Open the store of an existing study.

        Raises:
            SetupProblem: there is no study at `path`.
        """
        if not path.is_file():
            raise SetupProblem(
                f"there is no study in {path.parent}; make one with “fednnunet coordinator create”",
                code=ErrorCode.WORKSPACE,
            )
        return cls(path)

    def close(self) -> None:
        self._connection.close()

    # Study

    def create(
        self, *, identity: StudyId, terms: bytes, host: str, port: int, created_at: float
    ) -> None:
        """Write the terms once; raises SetupProblem when the folder already holds a study."""
        try:
            self._connection.execute(
                "INSERT INTO study VALUES (1, ?, ?, ?, ?, ?)",
                (identity, terms, host, port, created_at),
            )
        except sqlite3.IntegrityError as exc:
            raise SetupProblem(
                "this folder already holds a study; choose another --home",
                code=ErrorCode.WORKSPACE,
            ) from exc

    @property
    def identity(self) -> StudyId:
        return study_id(str(self._study()[0]))

    @property
    def terms(self) -> bytes:
        """The study's terms as canonical JSON."""
        return bytes(self._study()[1])

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that sites dial."""
        row = self._study()
        return str(row[2]), int(row[3])

    def _study(self) -> tuple[str, bytes, str, int]:
        with closing(
            self._connection.execute("SELECT study_id, terms, host, port FROM study")
        ) as cursor:
            row = cursor.fetchone()
        if row is None:
            raise SetupProblem("this folder holds no study", code=ErrorCode.WORKSPACE)
        identity, terms, host, port = row
        return identity, terms, host, port

    # State

    def save(self, document: bytes, now: float) -> None:
        """Make the study's state durable."""
        self._connection.execute(
            "INSERT INTO state VALUES (1, ?, ?) ON CONFLICT (only) DO UPDATE "
            "SET document = excluded.document, saved_at = excluded.saved_at",
            (document, now),
        )

    def load(self) -> bytes | None:
        """Return the last saved state, None before the first."""
        with closing(self._connection.execute("SELECT document FROM state")) as cursor:
            row = cursor.fetchone()
        return None if row is None else bytes(row[0])

    # Artefacts: names of blobs that the coordinator made itself

    def keep_artefact(self, name: str, sha256: str, size: int) -> None:
        """Remember which blob is the plan, the merged fingerprint, the model of a round."""
        self._connection.execute(
            "INSERT INTO artefact VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE "
            "SET sha256 = excluded.sha256, size = excluded.size",
            (name, sha256, size),
        )

    def artefact(self, name: str) -> tuple[str, int] | None:
        """Return (sha256, size) of a named blob."""
        with closing(
            self._connection.execute("SELECT sha256, size FROM artefact WHERE name = ?", (name,))
        ) as cursor:
            row = cursor.fetchone()
        return None if row is None else (str(row[0]), int(row[1]))

    def artefacts(self) -> tuple[str, ...]:
        """Return the names of everything the coordinator has made."""
        with closing(self._connection.execute("SELECT name FROM artefact ORDER BY name")) as cursor:
            return tuple(str(row[0]) for row in cursor.fetchall())
