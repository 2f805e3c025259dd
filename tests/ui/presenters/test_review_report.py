from __future__ import annotations

from dataclasses import replace

import pytest
from helpers import snapshots
from helpers.window_desk import StillClock
from msgspec import structs
from PySide6.QtGui import QImage

from app.domain.segmentation import Verdict
from app.review.report import csv_report, html_report
from app.ui.presenters.review_report import report_of, table_beside, with_pictures
from app.ui.presenters.verdicts import SiteVerdicts

VIEW = snapshots.finished().review
RUN = VIEW.runs[-1]
FIRST, SECOND, THIRD = VIEW.results[:3]


@pytest.fixture
def report(tmp_path):
    book = SiteVerdicts(tmp_path, clock=StillClock(snapshots.NOW))
    book.judge(FIRST, Verdict.ACCEPTED, "", None)
    book.judge(SECOND, Verdict.FLAGGED, "", (1, 2, 3), "Wrong border")
    book.judge(THIRD, Verdict.UNREVIEWED, "Look again", None)
    made = report_of(RUN, book.reviews(VIEW.results), study="Sample", made_at=snapshots.NOW)
    book.close()
    return made


def test_every_segmentation_is_in_it_with_its_verdict(report):
    assert report.title == "Review of Sample"
    assert report.model_digest == "6" * 64
    assert [review.case for review in report.reviews] == [one.case for one in VIEW.results]
    page = html_report(report)
    assert '<td>accepted</td><td class="number">1</td>' in page
    assert '<td>flagged</td><td class="number">1</td>' in page
    assert '<td>unreviewed</td><td class="number">3</td>' in page


def test_the_reason_of_a_flag_stands_once(report):
    flagged = report.reviews[1]
    assert flagged.decided.reason == "Wrong border"
    assert flagged.comments == ()
    assert report.reviews[2].comments[0].comment == "Look again"
    assert html_report(report).count("Wrong border") == 1
    assert csv_report(report).count("Wrong border") == 2  # one row for each label


def test_flagged_cases_have_their_picture(report):
    pictures = with_pictures(report, VIEW.results).pictures
    assert set(pictures) == {SECOND.case}
    assert QImage.fromData(pictures[SECOND.case], "PNG").width() == 192


def test_a_picture_that_cannot_be_read_costs_only_itself(report):
    gone = tuple(replace(one, prediction="/gone.nii.gz") for one in VIEW.results)
    drawn = with_pictures(report, gone)
    assert drawn.pictures == {}
    assert drawn.reviews == report.reviews


def test_several_models_are_said(report):
    mixed = replace(FIRST, model_digest="5" * 64)
    view = structs.replace(RUN, results=(mixed, SECOND))
    assert report_of(view, (), study="", made_at=0).model_digest == "several models"


def test_the_table_lies_beside_the_page(tmp_path):
    assert table_beside(tmp_path / "a.html") == tmp_path / "a.csv"
