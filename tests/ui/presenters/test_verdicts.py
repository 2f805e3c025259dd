from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers import snapshots
from helpers.window_desk import StillClock

from app.domain.errors import SetupProblem
from app.domain.segmentation import Verdict
from app.review.verdicts import VerdictStore
from app.ui.presenters.review import Opinion
from app.ui.presenters.verdicts import STORE_FILE, SiteVerdicts

RESULTS = snapshots.finished().review.results
FIRST, SECOND = RESULTS[:2]


@pytest.fixture
def book(tmp_path):
    made = SiteVerdicts(tmp_path, clock=StillClock(snapshots.NOW))
    yield made
    made.close()


def test_looking_makes_no_file(book, tmp_path: Path):
    assert book.opinions(RESULTS) == {}
    assert book.take_back() is None
    assert list(tmp_path.iterdir()) == []


def test_verdicts_outlive_the_window(book, tmp_path):
    book.judge(FIRST, Verdict.ACCEPTED, "", None)
    book.judge(SECOND, Verdict.FLAGGED, "Wrong border", (1, 2, 3))
    book.close()
    again = SiteVerdicts(tmp_path, clock=StillClock(0))
    said = again.opinions(RESULTS)
    again.close()
    assert said[FIRST.case] == Opinion(verdict=Verdict.ACCEPTED)
    assert said[SECOND.case] == Opinion(verdict=Verdict.FLAGGED, comment="Wrong border")
    assert said[RESULTS[2].case] == Opinion()


def test_the_comment_keeps_its_voxel_and_is_written_once(book, tmp_path):
    book.judge(FIRST, Verdict.UNREVIEWED, "Look here", (4, 5, 6))
    book.judge(FIRST, Verdict.ACCEPTED, "Look here", (7, 8, 9))
    book.close()
    with VerdictStore(tmp_path / STORE_FILE) as store:
        entries = store.entries(FIRST.model_digest)
    assert [(entry.verdict, entry.comment, entry.voxel) for entry in entries] == [
        (None, "Look here", (4, 5, 6)),
        (Verdict.ACCEPTED, "", None),
    ]
    assert all(entry.reviewer and entry.at == snapshots.NOW for entry in entries)


def test_taking_back_names_the_case(book):
    book.judge(FIRST, Verdict.ACCEPTED, "", None)
    assert book.opinions(RESULTS)[FIRST.case].verdict is Verdict.ACCEPTED
    assert book.take_back() == FIRST.case
    assert book.opinions(RESULTS)[FIRST.case].verdict is Verdict.UNREVIEWED
    assert book.take_back() is None


def test_another_models_segmentation_is_not_judged_yet(book):
    book.judge(FIRST, Verdict.ACCEPTED, "", None)
    other = replace(FIRST, model_digest="7" * 64)
    assert book.opinions((other,)) == {FIRST.case: Opinion()}


def test_a_damaged_file_is_a_problem_in_words(tmp_path):
    (tmp_path / STORE_FILE).write_bytes(b"this is no database" * 100)
    book = SiteVerdicts(tmp_path, clock=StillClock(0))
    with pytest.raises(SetupProblem):
        book.opinions(RESULTS)


def test_reviews_tell_who_said_what_and_make_no_file(book, tmp_path):
    assert [one.verdict for one in book.reviews(RESULTS)] == [Verdict.UNREVIEWED] * len(RESULTS)
    assert list(tmp_path.iterdir()) == []
    book.judge(SECOND, Verdict.FLAGGED, "Wrong border", (1, 2, 3))
    reviews = book.reviews(RESULTS)
    assert [one.case for one in reviews] == [one.case for one in RESULTS]
    assert reviews[1].decided.verdict is Verdict.FLAGGED
    assert reviews[1].decided.at == snapshots.NOW
    assert reviews[1].comments[0].voxel == (1, 2, 3)


def test_a_verdict_is_about_these_very_voxels(tmp_path):
    """The same name and model in another folder, or other options, is another segmentation."""
    book = SiteVerdicts(tmp_path, clock=StillClock(snapshots.NOW))
    ward, clinic = (replace(RESULTS[0], sha256=digest * 64) for digest in "ab")
    book.judge(ward, Verdict.FLAGGED, "", None, "Wrong border")
    assert book.opinions((clinic,))[clinic.case].verdict is Verdict.UNREVIEWED
    book.judge(clinic, Verdict.ACCEPTED, "", None)
    assert book.opinions((ward,))[ward.case].reason == "Wrong border"
    assert book.opinions((clinic,))[clinic.case].verdict is Verdict.ACCEPTED
    # Made again with the same voxels, it has its verdict again, wherever the file lies now.
    again = replace(ward, prediction="/elsewhere.nii.gz")
    assert book.reviews((again,))[0].verdict is Verdict.FLAGGED
    book.close()
