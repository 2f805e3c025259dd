from __future__ import annotations

from helpers import snapshots
from PySide6.QtCore import QUrl
from PySide6.QtGui import QTextDocument

from app.domain.segmentation import Verdict
from app.review.benefit import compare
from app.review.report import ReviewReport
from app.review.verdicts import CaseReview, ReviewEntry
from app.ui.presenters.review_report import with_pictures
from app.ui.widgets.review_pages import review_document, review_pdf

IMAGE = QTextDocument.ResourceType.ImageResource.value


def report() -> ReviewReport:
    runs = snapshots.finished().review.runs
    entry = ReviewEntry(
        case="hippocampus_165",
        model_digest="6" * 64,
        reviewer="ada",
        at=snapshots.NOW,
        verdict=Verdict.FLAGGED,
        reason="Wrong border",
        comment="look <here> & there",
        voxel=(1, 2, 3),
    )
    reviews = tuple(
        CaseReview(
            case=one.case,
            verdict=Verdict.FLAGGED if one.case == entry.case else Verdict.UNREVIEWED,
            decided=entry if one.case == entry.case else None,
            comments=(entry,) if one.case == entry.case else (),
        )
        for one in runs[1].results
    )
    draft = ReviewReport(
        title="Review of Sample",
        model_digest="6" * 64,
        scores=runs[1].scores,
        reviews=reviews,
        made_at=snapshots.NOW,
        benefit=compare(runs[0].scores, runs[1].scores),
    )
    return with_pictures(draft, runs[1].results)


def test_everything_is_on_the_pages(qapp):
    document = review_document(report())
    text = document.toPlainText()
    for wanted in (
        "Review of Sample",
        "Flagged",
        "Wrong border (ada, ",
        "look <here> & there (voxel z, y, x: 1, 2, 3)",
        "Posterior",
        "posterior not in the reference",
        "Harmed",
        "Cases, worst first",
        "they stay at the site",
        *(case.case for case in report().scores),
    ):
        assert wanted in text, wanted
    # Distributions of both structures, and the picture of the one flagged case.
    for name in ("dice-0", "dice-1"):
        assert not document.resource(IMAGE, QUrl(name)).isNull()
    flagged = [one.case for one in report().reviews].index("hippocampus_165")
    assert document.resource(IMAGE, QUrl(f"case-{flagged}")).width() == 192


def test_bars_are_as_high_as_there_are_cases(qapp):
    image = review_document(report()).resource(IMAGE, QUrl("dice-0"))
    # Anterior: one case at 0.5 to 0.6, one at 0.7 to 0.8, two above: bins 5, 7 and 8.
    filled = [image.pixelColor(36 * place + 18, 112).name() != "#ffffff" for place in range(10)]
    assert filled == [False] * 5 + [True, False, True, True, False]


def test_it_is_a_pdf(qapp):
    data = review_pdf(report())
    assert data.startswith(b"%PDF")
    assert data.rstrip().endswith(b"%%EOF")
