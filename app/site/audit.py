"""What left this site, when and by whose permission, as a chain of hashes.

Every entry's hash covers the one before it: ``SHA256(previous || canonical entry)``. So an edited,
removed or reordered entry is found by `verify`; a cut tail is found by comparing the head with the
one that the coordinator keeps (each report carries it). Entries hold kinds, ids, hashes, sizes
and the operator's name, never a case, path or file name.
"""

from __future__ import annotations

import enum
import hashlib
import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.domain.errors import OurMistake
from app.domain.ids import Digest
from app.system.atomic import append_durable, write_atomic

Fact = str | int | float | bool
BEGINNING: Final = Digest("0" * 64)
_FACTS: Final = frozenset(
    {
        "allowance", "app_version", "attempt", "base", "cases", "code", "coordinator_head",
        "digest", "operator", "plan", "policy", "receipt", "round", "sha256", "site", "size",
        "standing", "study",
    }
)  # fmt: skip
"""The only names an entry may use: what is not listed cannot be logged by mistake."""


class AuditKind(enum.Enum):
    """What an entry says happened."""

    STUDY_JOINED = "study joined"
    STUDY_LEFT = "study left"
    FINGERPRINT_ALLOWED = "fingerprint allowed"
    ALLOWANCE_WITHDRAWN = "allowance withdrawn"
    ALLOWANCE_VOID = "allowance void: the data changed"
    FINGERPRINT_SENT = "fingerprint sent"
    PLAN_ACCEPTED = "plan accepted"
    PLAN_REFUSED = "plan refused"
    ROUND_BEGUN = "round begun"
    UPDATE_SENT = "update sent"
    UPDATE_SPOILT = "update spoilt"
    MODEL_RECEIVED = "model received"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One line of the log; numbers count from 1, `at` is in seconds since the epoch."""

    number: int
    at: float
    kind: str
    facts: dict[str, Fact]
    head: Digest

    def line(self) -> bytes:
        """Return the entry as a line of the JSONL copy."""
        return (
            _canonical(
                {
                    "number": self.number,
                    "at": self.at,
                    "kind": self.kind,
                    "facts": self.facts,
                    "head": self.head,
                }
            )
            + b"\n"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenEntry:
    """The first entry that does not fit the chain, and why."""

    number: int
    reason: str

    def __str__(self) -> str:
        return f"entry {self.number} of the audit log {self.reason}"


class AuditLog:
    """The audit log of one site: a table in its database and a JSONL copy that people can take away."""

    def __init__(self, database: sqlite3.Connection, copy: Path) -> None:
        self._database, self._copy = database, copy
        database.execute(
            "CREATE TABLE IF NOT EXISTS audit (number INTEGER PRIMARY KEY, at REAL NOT NULL,"
            " kind TEXT NOT NULL, facts TEXT NOT NULL, head TEXT NOT NULL)"
        )
        self._mend_copy()

    @property
    def head(self) -> Digest:
        """Hash of the last entry."""
        row = self._database.execute(
            "SELECT head FROM audit ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return BEGINNING if row is None else Digest(row[0])

    def append(self, kind: AuditKind, *, now: float, **facts: Fact) -> AuditEntry:
        """Add an entry, durable before this returns.

        Raises:
            OurMistake: a fact has a name that is not on the list.
            SetupProblem: the copy cannot be written; the entry itself is kept.
        """
        unknown = facts.keys() - _FACTS
        if unknown:
            raise OurMistake(f"the audit log has no place for {', '.join(sorted(unknown))}")
        last = self._database.execute("SELECT max(number) FROM audit").fetchone()[0]
        number = (last or 0) + 1
        entry = AuditEntry(
            number=number,
            at=now,
            kind=kind.value,
            facts=dict(facts),
            head=_head(self.head, number, now, kind.value, facts),
        )
        with self._database:
            self._database.execute(
                "INSERT INTO audit VALUES (?, ?, ?, ?, ?)",
                (number, now, kind.value, _canonical(facts).decode(), entry.head),
            )
        append_durable(self._copy, entry.line())
        return entry

    def entries(self) -> tuple[AuditEntry, ...]:
        """Return every entry, oldest first."""
        rows = self._database.execute(
            "SELECT number, at, kind, facts, head FROM audit ORDER BY number"
        )
        return tuple(
            AuditEntry(number=number, at=at, kind=kind, facts=json.loads(facts), head=Digest(head))
            for number, at, kind, facts, head in rows
        )

    def verify(self) -> BrokenEntry | None:
        """Return the first entry that does not fit the chain, None when all do."""
        return verify(self.entries())

    def _mend_copy(self) -> None:
        """Write the copy anew where a power cut kept it behind the table."""
        expected = b"".join(entry.line() for entry in self.entries())
        try:
            present = self._copy.read_bytes()
        except FileNotFoundError:
            present = b""
        # A copy that says something else is left alone: it is evidence.
        if present != expected and expected.startswith(present):
            write_atomic(self._copy, expected)


def verify(entries: Iterable[AuditEntry]) -> BrokenEntry | None:
    """Return the first of `entries` that does not fit the chain, None when all do."""
    previous = BEGINNING
    for expected, entry in enumerate(entries, start=1):
        if entry.number != expected:
            return BrokenEntry(number=expected, reason="is missing")
        if entry.head != _head(previous, entry.number, entry.at, entry.kind, entry.facts):
            return BrokenEntry(number=entry.number, reason="was changed")
        previous = entry.head
    return None


def read_copy(data: bytes) -> tuple[AuditEntry, ...]:
    """Read the entries of a JSONL copy; raises ValueError when a line is not an entry."""
    found = []
    for line in data.splitlines():
        entry = json.loads(line)
        found.append(
            AuditEntry(
                number=entry["number"],
                at=entry["at"],
                kind=entry["kind"],
                facts=entry["facts"],
                head=Digest(entry["head"]),
            )
        )
    return tuple(found)


def _head(previous: Digest, number: int, at: float, kind: str, facts: dict[str, Fact]) -> Digest:
    said = _canonical({"number": number, "at": at, "kind": kind, "facts": facts})
    return Digest(hashlib.sha256(previous.encode() + said).hexdigest())


def _canonical(value: object) -> bytes:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
