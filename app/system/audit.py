"""A log whose entries are a chain of hashes, kept by sites and coordinators alike.

Every entry's hash covers the one before it: ``SHA256(previous || canonical entry)``. So an edited,
removed or reordered entry is found by `verify`. A cut tail, or a log written anew from the start,
is found by its heads that the other side keeps in its own log (`missing_head`). Which kinds and
facts there are is each side's own matter.
"""

from __future__ import annotations

import enum
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from app.domain.errors import DataProblem, ErrorCode, OurMistake, SetupProblem
from app.domain.ids import Digest
from app.system.atomic import append_durable, write_atomic

Fact = str | int | float | bool | tuple[str, ...]
BEGINNING: Final = Digest("0" * 64)
_TAIL: Final = 64 * 1024
_CHANGED: Final = "was changed"
_MISSING: Final = "is missing"
_UNREADABLE: Final = "cannot be read"


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
    """One side's log: a table in a database and a JSONL copy that people can take away.

    Several processes may append to one log (the coordinator's service and its command line).
    """

    def __init__(self, database: sqlite3.Connection, copy: Path, *, facts: frozenset[str]) -> None:
        """Open or begin the log; `facts` are the only names that an entry may use."""
        self._database, self._copy, self._facts = database, copy, facts
        database.execute(
            "CREATE TABLE IF NOT EXISTS audit (number INTEGER PRIMARY KEY, at REAL NOT NULL,"
            " kind TEXT NOT NULL, facts TEXT NOT NULL, head TEXT NOT NULL)"
        )
        with self._alone():
            self._mend_copy()

    @property
    def head(self) -> Digest:
        """Hash of the last entry."""
        return self._last()[1]

    def append(self, kind: enum.Enum, *, now: float, **facts: Fact) -> AuditEntry:
        """Add an entry, durable before this returns.

        Raises:
            OurMistake: a fact has a name that is not on the list.
            SetupProblem: the copy cannot be written; the entry itself is kept.
        """
        unknown = facts.keys() - self._facts
        if unknown:
            raise OurMistake(f"the audit log has no place for {', '.join(sorted(unknown))}")
        with self._alone():
            last, previous = self._last()
            entry = AuditEntry(
                number=last + 1,
                at=now,
                kind=kind.value,
                facts=dict(facts),
                head=_head(previous, last + 1, now, kind.value, facts),
            )
            self._database.execute(
                "INSERT INTO audit VALUES (?, ?, ?, ?, ?)",
                (entry.number, now, entry.kind, _canonical(facts).decode(), entry.head),
            )
        with self._alone():
            self._follow(entry)
        return entry

    def entries(self) -> tuple[AuditEntry, ...]:
        """Return every entry, oldest first."""
        return _read_table(self._database)

    def verify(self) -> BrokenEntry | None:
        """Return the first entry that does not fit the chain, None when all do."""
        return verify(self.entries())

    def _last(self) -> tuple[int, Digest]:
        row = self._database.execute(
            "SELECT number, head FROM audit ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return (0, BEGINNING) if row is None else (row[0], Digest(row[1]))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from writing, to the table and to the copy."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.rollback()
            raise
        self._database.commit()

    def _follow(self, entry: AuditEntry) -> None:
        """Append `entry` to the copy, and what another process wrote and has not copied yet."""
        present = self._last_copied()
        if present == entry.number - 1:
            append_durable(self._copy, entry.line())
        elif present is None or present < entry.number:
            self._mend_copy()

    def _last_copied(self) -> int | None:
        """Return the number of the copy's last line, None when it has no whole one."""
        try:
            with self._copy.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL))
                tail = file.read()
        except FileNotFoundError:
            return 0
        if not tail.endswith(b"\n"):
            return None if tail else 0
        try:
            return _entry_of(tail[:-1].rpartition(b"\n")[2]).number
        except ValueError:
            return None

    def _mend_copy(self) -> None:
        """Write the copy anew where a power cut kept it behind the table."""
        try:
            expected = b"".join(entry.line() for entry in self.entries())
        except ValueError:
            return  # a damaged table is for `verify` to tell; the copy may be the sound one
        try:
            present = self._copy.read_bytes()
        except FileNotFoundError:
            present = b""
        # A copy that says something else is left alone: it is evidence.
        if present != expected and expected.startswith(present):
            write_atomic(self._copy, expected)


# --- verifying ---------------------------------------------------------------------------------


def verify(entries: Iterable[AuditEntry]) -> BrokenEntry | None:
    """Return the first of `entries` that does not fit the chain, None when all do."""
    previous = BEGINNING
    for expected, entry in enumerate(entries, start=1):
        if entry.number != expected:
            return BrokenEntry(number=expected, reason=_MISSING)
        if entry.head != _head(previous, entry.number, entry.at, entry.kind, entry.facts):
            return BrokenEntry(number=entry.number, reason=_CHANGED)
        previous = entry.head
    return None


def verify_copy(data: bytes) -> BrokenEntry | None:
    """Return the first line of a JSONL copy that does not fit, whatever was done to its bytes."""
    entries: list[AuditEntry] = []
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        try:
            entry = _entry_of(line)
            same = entry.line() == line
        except ValueError:
            return verify(entries) or BrokenEntry(number=number, reason=_UNREADABLE)
        if entry.number == number and not same:
            return verify(entries) or BrokenEntry(number=number, reason=_CHANGED)
        entries.append(entry)
    return verify(entries)


def verify_log(database: Path, copy: Path) -> tuple[tuple[AuditEntry, ...], BrokenEntry | None]:
    """Check a log where it lies, changing nothing; return its entries and the first bad one.

    The table is checked, then the copy, then that the copy says nothing that the table does not. A
    copy that ends earlier is sound: a power cut may have kept it behind.

    Raises:
        SetupProblem: there is no log.
    """
    if not database.is_file():
        raise SetupProblem(f"there is no audit log in {database.parent}", code=ErrorCode.WORKSPACE)
    rows, broken = _rows_of(database)
    entries: list[AuditEntry] = []
    unreadable = None
    for number, row in enumerate(rows, start=1):
        try:
            entries.append(_entry_of_row(row))
        except ValueError:
            unreadable = BrokenEntry(number=number, reason=_UNREADABLE)
            break
    kept = tuple(entries)
    broken = verify(kept) or unreadable or broken
    if broken is None and copy.exists():
        data = copy.read_bytes()
        broken = verify_copy(data) or _difference(kept, data)
    return kept, broken


def missing_head(entries: tuple[AuditEntry, ...], heads: Iterable[Digest]) -> BrokenEntry | None:
    """Return what a log lacks when the other side keeps a head that it never had, or has no more.

    A head says nothing about how many entries came before it, so the first place after the last
    entry that the other side knows is named.
    """
    places = {entry.head: entry.number for entry in entries}
    places[BEGINNING] = 0
    seen = 0
    for head in heads:
        if head not in places:
            reason = (
                f"{_MISSING} or was written anew: the other side keeps the head {head[:12]}…,"
                " which this log does not have"
            )
            return BrokenEntry(number=seen + 1, reason=reason)
        seen = max(seen, places[head])
    return None


def read_witness(copy: Path) -> tuple[AuditEntry, ...]:
    """Read the copy of the other side's log, to take its word for heads of this one.

    Raises:
        DataProblem: it cannot be read, is no log, or does not hold itself.
    """
    try:
        data = copy.read_bytes()
    except OSError as exc:
        raise DataProblem(f"the witness {copy} cannot be read", code=ErrorCode.WORKSPACE) from exc
    broken = verify_copy(data)
    if broken is not None:
        raise DataProblem(f"the witness {copy} does not hold: {broken}", code=ErrorCode.WORKSPACE)
    return read_copy(data)


def read_copy(data: bytes) -> tuple[AuditEntry, ...]:
    """Read the entries of a JSONL copy; raises ValueError when a line is not an entry."""
    return tuple(_entry_of(line) for line in data.splitlines())


# --- parts -------------------------------------------------------------------------------------


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    number: int
    at: float
    kind: str
    facts: dict[str, str | int | float | bool | tuple[str, ...]]
    head: str


_line_decoder: Final = msgspec.json.Decoder(_Line)
_facts_decoder: Final = msgspec.json.Decoder(dict[str, str | int | float | bool | tuple[str, ...]])
_Row = tuple[object, object, object, object, object]


def _entry_of(line: bytes) -> AuditEntry:
    """Read a line; raises ValueError (msgspec's errors are) when it is not an entry."""
    read = _line_decoder.decode(line)
    return AuditEntry(
        number=read.number, at=read.at, kind=read.kind, facts=read.facts, head=Digest(read.head)
    )


def _entry_of_row(row: _Row) -> AuditEntry:
    number, at, kind, facts, head = row
    if not (
        isinstance(number, int)
        and isinstance(at, float)
        and isinstance(kind, str)
        and isinstance(facts, str)
        and isinstance(head, str)
    ):
        raise ValueError("a row of the audit log has other types")  # noqa: TRY004 - as a bad line
    return AuditEntry(
        number=number, at=at, kind=kind, facts=_facts_decoder.decode(facts), head=Digest(head)
    )


def _read_table(database: sqlite3.Connection) -> tuple[AuditEntry, ...]:
    rows = database.execute("SELECT number, at, kind, facts, head FROM audit ORDER BY number")
    return tuple(_entry_of_row(row) for row in rows)


def _rows_of(database: Path) -> tuple[list[_Row], BrokenEntry | None]:
    """Return what can be read of the table, and where reading ended when it is damaged."""
    rows: list[_Row] = []
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            rows.extend(
                connection.execute(
                    "SELECT number, at, kind, facts, head FROM audit ORDER BY number"
                )
            )
    except sqlite3.DatabaseError:
        return rows, BrokenEntry(number=len(rows) + 1, reason=_UNREADABLE)
    return rows, None


def _difference(entries: tuple[AuditEntry, ...], data: bytes) -> BrokenEntry | None:
    """Return the first line of a sound copy that the table does not have."""
    table = [entry.line() for entry in entries]
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        if number > len(table):
            return BrokenEntry(number=number, reason=f"{_MISSING}, but its copy has it")
        if line != table[number - 1]:
            return BrokenEntry(number=number, reason="is not what its copy says")
    return None


def _head(previous: Digest, number: int, at: float, kind: str, facts: dict[str, Fact]) -> Digest:
    said = _canonical({"number": number, "at": at, "kind": kind, "facts": facts})
    return Digest(hashlib.sha256(previous.encode() + said).hexdigest())


def _canonical(value: object) -> bytes:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
