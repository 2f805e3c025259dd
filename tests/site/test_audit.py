"""The audit log: any change of any entry is found, and the first bad entry is named."""

from __future__ import annotations

import dataclasses
import json
import sqlite3

import pytest

from app.domain.errors import OurMistake
from app.site.audit import BEGINNING, AuditKind, AuditLog, read_copy, verify


@pytest.fixture
def database(tmp_path):
    connection = sqlite3.connect(tmp_path / "site.sqlite")
    yield connection
    connection.close()


@pytest.fixture
def log(database, tmp_path):
    log = AuditLog(database, tmp_path / "audit.jsonl")
    for number in range(6):
        log.append(AuditKind.UPDATE_SENT, now=100.0 + number, round=number, size=10 * number)
    return log


def test_an_untouched_log_holds_and_its_copy_says_the_same(log, tmp_path):
    assert log.verify() is None
    entries = log.entries()
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert read_copy((tmp_path / "audit.jsonl").read_bytes()) == entries
    assert log.head == entries[-1].head != BEGINNING


def test_every_changed_byte_of_the_copy_is_found(log, tmp_path):
    data = (tmp_path / "audit.jsonl").read_bytes()
    head = log.head
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x01
        try:
            entries = read_copy(bytes(changed))
            broken = verify(entries)
        except (ValueError, KeyError, TypeError):
            continue
        # A changed last head breaks no later entry: the coordinator, who keeps heads, sees it.
        assert broken is not None or entries[-1].head != head, place


@pytest.mark.parametrize("number", range(1, 7))
def test_an_edited_entry_is_named(log, number):
    entries = list(log.entries())
    entries[number - 1] = dataclasses.replace(entries[number - 1], facts={"size": 1})
    broken = verify(entries)
    assert (broken.number, broken.reason) == (number, "was changed")
    assert str(number) in str(broken)


def test_a_removed_or_moved_entry_is_named(log):
    entries = log.entries()
    assert verify((*entries[:2], *entries[3:])).number == 3
    assert verify((entries[1], entries[0], *entries[2:])).number == 1


def test_a_cut_tail_shows_in_the_head(log, database):
    head = log.head
    with database:
        database.execute("DELETE FROM audit WHERE number = 6")
    assert log.verify() is None
    assert log.head != head


def test_only_listed_facts_have_a_place(log):
    with pytest.raises(OurMistake, match="path"):
        log.append(AuditKind.UPDATE_SENT, now=1.0, path="/data/smith")
    assert len(log.entries()) == 6


def test_a_copy_behind_the_table_is_mended_and_a_forged_one_left_alone(log, database, tmp_path):
    copy = tmp_path / "audit.jsonl"
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-40])
    AuditLog(database, copy)
    assert copy.read_bytes() == whole
    forged = whole.replace(b'"round":2', b'"round":9')
    copy.write_bytes(forged)
    AuditLog(database, copy)
    assert copy.read_bytes() == forged


def test_lines_are_json(log, tmp_path):
    for line in (tmp_path / "audit.jsonl").read_text().splitlines():
        assert set(json.loads(line)) == {"number", "at", "kind", "facts", "head"}
