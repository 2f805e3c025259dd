"""The review log: every key press stays, also when the process is killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from app.domain.errors import ErrorCode, SetupProblem
from app.domain.segmentation import Verdict
from app.review.verdicts import CaseReview, ReviewEntry, VerdictStore, count_verdicts

ROOT = Path(__file__).parents[2]
ACCEPTED, FLAGGED, UNREVIEWED = Verdict.ACCEPTED, Verdict.FLAGGED, Verdict.UNREVIEWED


@pytest.fixture
def store(tmp_path):
    with VerdictStore(tmp_path / "reviews.sqlite") as opened:
        yield opened


def entry(case: str = "a", verdict: Verdict | None = ACCEPTED, **changes) -> ReviewEntry:
    return ReviewEntry(
        **{
            "case": case,
            "model_digest": "m1",
            "reviewer": "Dr. Ö",
            "at": 1_700_000_000.25,
            "verdict": verdict,
            **changes,
        }
    )


def verdicts(store: VerdictStore, *cases: str) -> list[Verdict]:
    return [review.verdict for review in store.reviews("m1", cases)]


def test_what_was_recorded_is_read_again(store, tmp_path):
    kept = [
        entry("a"),
        entry("b", FLAGGED, reason="missed tumour", comment="here", voxel=(3, 4, 5)),
        entry("a", None, comment="look again"),
    ]
    for one in kept:
        store.record(one)
    assert store.entries("m1") == tuple(kept)
    with VerdictStore(tmp_path / "reviews.sqlite") as again:
        assert again.entries("m1") == tuple(kept)


def test_the_latest_verdict_counts_and_comments_leave_it(store):
    first, second = entry("a", FLAGGED, reason="leak"), entry("a", ACCEPTED, at=1_700_000_009.0)
    comment = entry("a", None, comment="edge is rough", voxel=(1, 2, 3))
    for one in (first, second, comment):
        store.record(one)
    assert store.reviews("m1", ["b", "a"]) == (
        CaseReview(case="b", verdict=UNREVIEWED, decided=None, comments=()),
        CaseReview(case="a", verdict=ACCEPTED, decided=second, comments=(comment,)),
    )


def test_models_are_kept_apart(store):
    store.record(entry("a", FLAGGED))
    store.record(entry("a", ACCEPTED, model_digest="m2"))
    assert verdicts(store, "a") == [FLAGGED]
    assert store.reviews("m2", ["a"])[0].verdict is ACCEPTED


def test_undo_and_redo_walk_the_log(store):
    steps = [entry("a", FLAGGED), entry("a", ACCEPTED), entry("b", FLAGGED)]
    for step in steps:
        store.record(step)
    assert store.undo() == steps[2]
    assert store.undo() == steps[1]
    assert verdicts(store, "a", "b") == [FLAGGED, UNREVIEWED]
    assert store.redo() == steps[1]
    assert verdicts(store, "a", "b") == [ACCEPTED, UNREVIEWED]
    assert store.undo() == steps[1]
    assert store.undo() == steps[0]
    assert store.undo() is None
    assert verdicts(store, "a", "b") == [UNREVIEWED, UNREVIEWED]
    assert [store.redo() for _ in range(4)] == [*steps, None]


def test_something_new_ends_redo(store):
    store.record(entry("a", FLAGGED))
    store.undo()
    store.record(entry("b", ACCEPTED))
    assert store.redo() is None
    assert verdicts(store, "a", "b") == [UNREVIEWED, ACCEPTED]


def test_undo_survives_closing(store, tmp_path):
    store.record(entry("a", FLAGGED))
    store.record(entry("a", ACCEPTED))
    store.close()
    with VerdictStore(tmp_path / "reviews.sqlite") as again:
        again.undo()
    with VerdictStore(tmp_path / "reviews.sqlite") as once_more:
        assert verdicts(once_more, "a") == [FLAGGED]
        assert once_more.redo() == entry("a", ACCEPTED)


def test_nothing_is_ever_deleted(store, tmp_path):
    store.record(entry("a", FLAGGED))
    store.undo()
    store.record(entry("a", ACCEPTED))
    with sqlite3.connect(tmp_path / "reviews.sqlite") as database:
        rows = database.execute("SELECT verdict, undone FROM entries ORDER BY id").fetchall()
    database.close()
    assert rows == [("flagged", 1), ("accepted", 0)]


def test_each_commit_is_synced_to_the_disk(store):
    (mode,) = store._database.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = store._database.execute("PRAGMA synchronous").fetchone()
    assert (mode, synchronous) == ("wal", 2)


CHILD = """
import sys
from pathlib import Path
from app.domain.segmentation import Verdict
from app.review.verdicts import ReviewEntry, VerdictStore

store = VerdictStore(Path(sys.argv[1]))
number = int(sys.argv[2])
while True:
    store.record(ReviewEntry(case=f"case_{number}", model_digest="m1", reviewer="me", at=0.0,
                             verdict=Verdict.ACCEPTED, comment="x" * 500))
    print(number, flush=True)
    number += 1
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_killed_process_loses_no_verdict(tmp_path):
    path, told = tmp_path / "reviews.sqlite", 0
    for wanted in (1, 7, 40, 23):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), str(told)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            for _ in range(wanted):
                told = int(child.stdout.readline()) + 1
            os.kill(child.pid, signal.SIGKILL)
            # What the child still said before it died counts too.
            for line in child.stdout:
                if line.endswith("\n"):
                    told = int(line) + 1
        with VerdictStore(path) as store:
            kept = [one.case for one in store.entries("m1")]
            assert store._database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        # The last one may be kept without having been told.
        assert kept[:told] == [f"case_{number}" for number in range(told)]
        assert len(kept) in {told, told + 1}
        told = len(kept)


def test_two_stores_may_open_one_file(store, tmp_path):
    with VerdictStore(tmp_path / "reviews.sqlite") as other:
        other.record(entry("a", FLAGGED))
        store.record(entry("b", ACCEPTED))
        assert verdicts(other, "a", "b") == [FLAGGED, ACCEPTED]


def test_counting_names_every_verdict(store):
    store.record(entry("a", FLAGGED))
    assert count_verdicts(store.reviews("m1", ["a", "b", "c"])) == {
        UNREVIEWED: 2,
        ACCEPTED: 0,
        FLAGGED: 1,
    }


def refused(path: Path) -> SetupProblem:
    with pytest.raises(SetupProblem) as problem:
        VerdictStore(path)
    return problem.value


def test_a_damaged_file_is_a_sentence(tmp_path):
    path = tmp_path / "reviews.sqlite"
    path.write_bytes(b"this is no database, but it is long enough to look at" * 40)
    problem = refused(path)
    assert problem.code is ErrorCode.WORKSPACE
    assert str(problem) == f"the reviews in {path} cannot be used: file is not a database"


def test_a_place_that_does_not_exist_is_a_sentence(tmp_path):
    assert refused(tmp_path / "gone" / "reviews.sqlite").code is ErrorCode.WORKSPACE


def test_a_file_of_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / "reviews.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    problem = refused(path)
    assert problem.code is ErrorCode.VERSION
    assert str(problem) == f"{path} was written by a newer version of this program"


def test_a_full_disk_is_a_sentence_and_keeps_what_was_there(tmp_path):
    with VerdictStore(tmp_path / "reviews.sqlite") as store:
        store.record(entry("a"))
        (pages,) = store._database.execute("PRAGMA page_count").fetchone()
        store._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(SetupProblem) as problem:
            store.record(entry("b", comment="x" * 100_000))
        assert problem.value.code is ErrorCode.DISK_FULL
        assert verdicts(store, "a", "b") == [ACCEPTED, UNREVIEWED]
