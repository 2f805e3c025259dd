import sqlite3

import pytest

from app.coordinator.store import StudyStore
from app.domain.errors import ErrorCode, SetupProblem
from app.domain.ids import study_id

IDENTITY = study_id("0123456789abcdef" * 2)


def make(path) -> StudyStore:
    store = StudyStore(path)
    store.create(identity=IDENTITY, terms=b"{}", host="localhost", port=8443, created_at=1.0)
    return store


def test_a_study_is_read_back_as_written(tmp_path):
    make(tmp_path / "study.sqlite").close()
    store = StudyStore.open(tmp_path / "study.sqlite")
    assert (store.identity, store.terms, store.address) == (IDENTITY, b"{}", ("localhost", 8443))
    store.close()


def test_a_folder_holds_one_study_only(tmp_path):
    store = make(tmp_path / "study.sqlite")
    with pytest.raises(SetupProblem, match="already holds a study"):
        store.create(identity=IDENTITY, terms=b"[]", host="h", port=1, created_at=2.0)
    assert store.terms == b"{}"
    store.close()


def test_opening_a_folder_without_a_study_says_how_to_make_one(tmp_path):
    with pytest.raises(SetupProblem, match="coordinator create") as caught:
        StudyStore.open(tmp_path / "study.sqlite")
    assert caught.value.code is ErrorCode.WORKSPACE
    assert not (tmp_path / "study.sqlite").exists()


def test_the_state_is_durable_before_save_returns(tmp_path):
    store = make(tmp_path / "study.sqlite")
    assert store.load() is None
    store.save(b"one", 1.0)
    store.save(b"two", 2.0)
    # A second connection sees it while the first is still open: it is committed, not buffered.
    other = sqlite3.connect(tmp_path / "study.sqlite")
    assert other.execute("SELECT document FROM state").fetchone() == (b"two",)
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    other.close()
    store.close()


def test_artefacts_keep_the_newest_blob_of_a_name(tmp_path):
    store = make(tmp_path / "study.sqlite")
    assert store.artefact("plan") is None
    store.keep_artefact("plan", "a" * 64, 10)
    store.keep_artefact("plan", "b" * 64, 11)
    assert store.artefact("plan") == ("b" * 64, 11)
    store.close()
