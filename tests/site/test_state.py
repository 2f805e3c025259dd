from __future__ import annotations

import sqlite3
import stat
import sys

import pytest
from helpers.scripted_runner import epoch_record

from app.domain.errors import ErrorCode, SetupProblem
from app.site.state import ClosedRounds, Folder, OperatorPause, SiteStore
from app.wire.messages import RoundSummary


@pytest.fixture
def store(tmp_path):
    store = SiteStore(tmp_path / "home" / "site.sqlite")
    yield store
    store.close()


def reopened(store, tmp_path):
    store.close()
    return SiteStore(tmp_path / "home" / "site.sqlite")


def test_records_come_back_after_a_restart(store, tmp_path):
    assert store.get(Folder) is None
    store.put(Folder(path="/a", serial=1), OperatorPause(at=2.0))
    store.put(Folder(path="/b", serial=2))
    again = reopened(store, tmp_path)
    assert again.get(Folder) == Folder(path="/b", serial=2)
    assert again.get(OperatorPause) == OperatorPause(at=2.0)
    again.drop(Folder, OperatorPause)
    assert again.get(Folder) is None
    last = reopened(again, tmp_path)
    assert last.get(OperatorPause) is None
    last.close()


def test_it_is_durable_and_private(store, tmp_path):
    assert store.database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store.database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    if sys.platform != "win32":
        assert stat.S_IMODE((tmp_path / "home" / "site.sqlite").stat().st_mode) == 0o600


def test_an_epoch_that_is_trained_again_replaces_what_followed(store, tmp_path):
    for number in (1, 2, 3):
        store.add_epoch(epoch_record(1, number))
    store.add_epoch(epoch_record(2, 2))
    again = reopened(store, tmp_path)
    assert [(e.round, e.epoch) for e in again.epochs()] == [(1, 1), (2, 2)]
    again.drop_epochs()
    assert again.epochs() == ()
    again.close()


def test_what_cannot_be_written_is_not_announced(store, monkeypatch):
    store.put(Folder(path="/a", serial=1))
    real = store.database

    class Full:
        def __enter__(self):
            return real.__enter__()

        def __exit__(self, *error):
            return real.__exit__(*error)

        def execute(self, *_):
            raise sqlite3.OperationalError("database or disk is full")

    store.database = Full()
    with pytest.raises(SetupProblem) as problem:
        store.put(Folder(path="/b", serial=2))
    assert problem.value.code is ErrorCode.DISK_FULL
    store.database = real
    assert store.get(Folder) == Folder(path="/a", serial=1)


def test_a_newer_or_damaged_database_is_refused_in_words(store, tmp_path):
    store.database.execute("PRAGMA user_version=99")
    with pytest.raises(SetupProblem) as problem:
        reopened(store, tmp_path)
    assert problem.value.code is ErrorCode.VERSION
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"not a database" * 100)
    with pytest.raises(SetupProblem, match="cannot be used"):
        SiteStore(damaged)


def test_closed_rounds_are_merged_by_number():
    def closed(number, loss):
        return RoundSummary(
            number=number, contributors=(), train_loss=loss, validation_loss=None, pseudo_dice=()
        )

    known = ClosedRounds(rounds=(closed(1, 0.1), closed(2, 0.2)))
    after = known.with_newest((closed(3, 0.3), closed(2, 0.9)))
    assert [(r.number, r.train_loss) for r in after.rounds] == [(1, 0.1), (2, 0.9), (3, 0.3)]
