"""The audit log: any change of any entry is found, and the first bad entry is named."""

from __future__ import annotations

import dataclasses
import enum
import json
import random
import sqlite3

import pytest

from app.domain.errors import OurMistake, SetupProblem
from app.system.audit import (
    BEGINNING,
    AuditLog,
    missing_head,
    read_copy,
    verify,
    verify_copy,
    verify_log,
)

FACTS = frozenset({"round", "size", "sites", "operator", "done"})


CLASSES = (
    b"0123456789", b"abcdefghijklmnopqrstuvwxyz", b'{}[]:,"', b". -", b"\n", bytes(range(128, 256)),
)  # fmt: skip
"""Of bytes: digits, letters, structure, other characters, the end of a line, beyond ASCII."""


class Kind(enum.Enum):
    SENT = "update sent"
    CLOSED = "round closed"


@pytest.fixture
def database(tmp_path):
    connection = sqlite3.connect(tmp_path / "log.sqlite")
    yield connection
    connection.close()


@pytest.fixture
def log(database, tmp_path):
    log = AuditLog(database, tmp_path / "audit.jsonl", facts=FACTS)
    for number in range(6):
        log.append(Kind.SENT, now=100.0 + number, round=number, size=10 * number)
    return log


@pytest.fixture(scope="module")
def long_log(tmp_path_factory):
    """The copy of a log of 200 entries with facts of every type."""
    folder = tmp_path_factory.mktemp("log")
    connection = sqlite3.connect(folder / "log.sqlite")
    connection.execute("PRAGMA synchronous=OFF")
    with pytest.MonkeyPatch.context() as patch:
        # 400 forced writes would take ten seconds and change no byte.
        patch.setattr("app.system.atomic.os.fsync", lambda _: None)
        log = AuditLog(connection, folder / "audit.jsonl", facts=FACTS)
        for number in range(200):
            if number % 2:
                log.append(Kind.SENT, now=1e9 + number / 8, round=number, size=7.5, done=True)
            else:
                sites = ("north", "valley")
                log.append(Kind.CLOSED, now=1e9 + number, sites=sites, operator="A. Müller")
    connection.close()
    return (folder / "audit.jsonl").read_bytes()


def test_an_untouched_log_holds_and_its_copy_says_the_same(log, tmp_path):
    assert log.verify() is None
    entries = log.entries()
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5, 6]
    data = (tmp_path / "audit.jsonl").read_bytes()
    assert read_copy(data) == entries
    assert verify_copy(data) is None
    assert verify_log(tmp_path / "log.sqlite", tmp_path / "audit.jsonl") == (entries, None)
    assert log.head == entries[-1].head != BEGINNING


def test_any_changed_byte_of_200_entries_is_found_where_it_is(long_log):
    """One byte of every class in every entry, two bits each: 100 % must be named, each by its own."""
    assert verify_copy(long_log) is None
    draw = random.Random(28)
    tried, start = 0, 0
    for number, line in enumerate(long_log.splitlines(keepends=True), start=1):
        for members in CLASSES:
            places = [place for place, byte in enumerate(line) if byte in members]
            for place in draw.sample(places, min(1, len(places))):
                for bit in (0x01, 0x40):
                    changed = bytearray(long_log)
                    changed[start + place] ^= bit
                    broken = verify_copy(bytes(changed))
                    assert broken is not None, (number, place, bit)
                    assert broken.number == number, (number, place, bit)
                    tried += 1
        start += len(line)
    assert tried == 2 * (200 * 5 + 100)


@pytest.mark.parametrize("number", range(1, 7))
def test_an_edited_entry_is_named(log, number):
    entries = list(log.entries())
    entries[number - 1] = dataclasses.replace(entries[number - 1], facts={"size": 1})
    broken = verify(entries)
    assert (broken.number, broken.reason) == (number, "was changed")
    assert str(broken) == f"entry {number} of the audit log was changed"


@pytest.mark.parametrize("number", [1, 2, 77, 199, 200])
def test_a_removed_doubled_or_moved_entry_of_200_is_named(long_log, number):
    lines = long_log.splitlines(keepends=True)
    if number < 200:
        assert verify_copy(b"".join(lines[: number - 1] + lines[number:])).number == number
        moved = [*lines]
        moved[number - 1], moved[number] = moved[number], moved[number - 1]
        assert verify_copy(b"".join(moved)).number == number
    doubled = b"".join([*lines[:number], *lines[number - 1 :]])
    assert verify_copy(doubled).number == number + 1


@pytest.mark.parametrize("kept", [0, 1, 100, 199])
def test_a_cut_tail_is_named_by_the_head_that_the_other_side_keeps(long_log, kept):
    lines = long_log.splitlines(keepends=True)
    entries = read_copy(b"".join(lines))
    cut = entries[:kept]
    assert verify(cut) is None
    heads = [BEGINNING, *(entry.head for entry in entries[::7]), entries[-1].head]
    assert missing_head(entries, heads) is None
    known = [head for head in heads if head in {entry.head for entry in cut}]
    expected = max((entry.number for entry in cut if entry.head in known), default=0) + 1
    broken = missing_head(cut, heads)
    assert broken.number == expected
    assert "the other side keeps the head" in str(broken)


def test_a_log_written_anew_is_found_by_the_witness(log, tmp_path):
    with sqlite3.connect(tmp_path / "forged.sqlite") as connection:
        forged = AuditLog(connection, tmp_path / "forged.jsonl", facts=FACTS)
        for entry in log.entries():
            forged.append(Kind.SENT, now=entry.at, round=entry.facts["round"], size=1)
        assert forged.verify() is None
        heads = [entry.head for entry in log.entries()]
        assert missing_head(forged.entries(), heads).number == 1
    connection.close()


@pytest.mark.parametrize(
    ("order", "number", "reason"),
    [
        ("UPDATE audit SET facts = '{\"size\":1}' WHERE number = 3", 3, "was changed"),
        ("UPDATE audit SET at = at + 1 WHERE number = 2", 2, "was changed"),
        ("UPDATE audit SET kind = 'round closed' WHERE number = 6", 6, "was changed"),
        ("UPDATE audit SET facts = 'x' WHERE number = 4", 4, "cannot be read"),
        ("UPDATE audit SET head = x'00' WHERE number = 5", 5, "cannot be read"),
        ("DELETE FROM audit WHERE number = 3", 3, "is missing"),
        ("UPDATE audit SET number = 9 WHERE number = 6", 6, "is missing"),
        ("DELETE FROM audit WHERE number > 4", 5, "is missing, but its copy has it"),
        ("DELETE FROM audit", 1, "is missing, but its copy has it"),
        ("DROP TABLE audit", 1, "cannot be read"),
    ],
)
def test_a_changed_table_is_named(log, database, tmp_path, order, number, reason):
    with database:
        database.execute(order)
    paths = tmp_path / "log.sqlite", tmp_path / "audit.jsonl"
    copy = paths[1].read_bytes()
    _, broken = verify_log(*paths)
    assert (broken.number, broken.reason) == (number, reason)
    if "DROP" not in order:
        # Not even the log itself, opened again, may mend the copy by a damaged table.
        AuditLog(database, paths[1], facts=FACTS)
    assert paths[1].read_bytes() == copy


def test_a_copy_that_ends_early_is_sound_and_one_that_lies_is_not(log, tmp_path):
    paths = tmp_path / "log.sqlite", tmp_path / "audit.jsonl"
    whole = paths[1].read_bytes()
    lines = whole.splitlines(keepends=True)
    paths[1].write_bytes(b"".join(lines[:4]))
    assert verify_log(*paths)[1] is None
    paths[1].write_bytes(whole.replace(b'"round":2', b'"round":9'))
    assert verify_log(*paths)[1].number == 3
    paths[1].unlink()
    assert verify_log(*paths)[1] is None


def test_there_must_be_a_log(tmp_path):
    with pytest.raises(SetupProblem, match="no audit log"):
        verify_log(tmp_path / "log.sqlite", tmp_path / "audit.jsonl")


def test_only_listed_facts_have_a_place(log):
    with pytest.raises(OurMistake, match="path"):
        log.append(Kind.SENT, now=1.0, path="/data/smith")
    assert len(log.entries()) == 6


def test_a_copy_behind_the_table_is_mended_and_a_forged_one_left_alone(log, database, tmp_path):
    copy = tmp_path / "audit.jsonl"
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-40])
    AuditLog(database, copy, facts=FACTS)
    assert copy.read_bytes() == whole
    forged = whole.replace(b'"round":2', b'"round":9')
    copy.write_bytes(forged)
    AuditLog(database, copy, facts=FACTS)
    assert copy.read_bytes() == forged


def test_a_torn_last_line_is_mended_by_the_next_entry(log, tmp_path):
    copy = tmp_path / "audit.jsonl"
    copy.write_bytes(copy.read_bytes()[:-9])
    log.append(Kind.CLOSED, now=9.0, sites=("north",))
    assert read_copy(copy.read_bytes()) == log.entries()
    assert len(log.entries()) == 7


def test_two_processes_write_one_chain(log, tmp_path):
    other_connection = sqlite3.connect(tmp_path / "log.sqlite")
    other = AuditLog(other_connection, tmp_path / "audit.jsonl", facts=FACTS)
    for number in range(5):
        other.append(Kind.CLOSED, now=float(number), round=number)
        log.append(Kind.SENT, now=float(number), round=number)
    assert log.verify() is None
    assert len(log.entries()) == 16
    assert read_copy((tmp_path / "audit.jsonl").read_bytes()) == log.entries() == other.entries()
    other_connection.close()


def test_lines_are_json(log, tmp_path):
    for line in (tmp_path / "audit.jsonl").read_text().splitlines():
        assert set(json.loads(line)) == {"number", "at", "kind", "facts", "head"}
