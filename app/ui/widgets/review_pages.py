"""The report of a review as a PDF file, laid out by Qt. Usable in any thread, as QTextDocument is."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Final

from PySide6.QtCore import QRectF, QUrl
from PySide6.QtGui import QColor, QImage, QPainter, QTextDocument

from app.domain.segmentation import Verdict
from app.review.benefit import LabelBenefit
from app.review.order import worst_first
from app.review.report import ReviewReport
from app.review.scores import mean_foreground_dice
from app.review.summary import DICE_BINS, LabelSummary, summarise
from app.review.verdicts import CaseReview, count_verdicts
from app.ui.text import NOTHING, RESEARCH_USE, count, figure, moment, sentence_case
from app.ui.widgets.receipt_pages import receipt_document, receipt_pdf

_WORDS: Final = {
    Verdict.ACCEPTED: "Accepted",
    Verdict.FLAGGED: "Flagged",
    Verdict.UNREVIEWED: "To review",
}
_BARS: Final = (360, 120)
"""Size of a picture of a distribution, in pixels; it is shown at a third of it."""
_SHOWN_WIDTH: Final = 120
_PICTURE_WIDTH: Final = 96
_BAR_COLOUR: Final = "#2b76b0"


def review_pdf(report: ReviewReport) -> bytes:
    """Return the report as a PDF: summary, distributions, flagged cases with pictures, all cases."""
    return receipt_pdf(review_document(report), report.title)


def review_document(report: ReviewReport) -> QTextDocument:
    """Return the report laid out in black on white."""
    summaries = summarise(report.scores)
    parts = (
        _head(report),
        _verdicts(report),
        _labels(summaries),
        _benefit(report.benefit),
        _flagged(report),
        _cases(report),
        f"<p>{RESEARCH_USE}. These pages hold names of cases: they stay at the site.</p>",
    )
    document = receipt_document("")
    kind = QTextDocument.ResourceType.ImageResource.value
    for number, summary in enumerate(summaries):
        document.addResource(kind, QUrl(f"dice-{number}"), _bars(summary))
    for number, review in enumerate(report.reviews):
        picture = report.pictures.get(review.case)
        if picture is not None:
            document.addResource(kind, QUrl(f"case-{number}"), QImage.fromData(picture))
    document.setHtml(f"<body>{''.join(parts)}</body>")
    return document


def _head(report: ReviewReport) -> str:
    mean = mean_foreground_dice(report.scores)
    return (
        f"<h1>{html.escape(report.title)}</h1>"
        f"<p>Model {html.escape(report.model_digest[:16])}, "
        f"{count(len(report.reviews), 'case')}, {count(len(report.scores), 'scored case')}, "
        f"{moment(report.made_at)}. Mean Dice of all structures: {figure(mean)}.</p>"
    )


def _verdicts(report: ReviewReport) -> str:
    counted = count_verdicts(report.reviews)
    return "<h2>Verdicts</h2>" + _table(
        ("Verdict", "Cases"), [(_WORDS[one], str(counted[one])) for one in _WORDS]
    )


def _labels(summaries: Sequence[LabelSummary]) -> str:
    if not summaries:
        return ""
    rows = [
        (
            sentence_case(one.label),
            figure(one.dice.mean if one.dice else None),
            figure(one.dice.median if one.dice else None),
            figure(one.dice.lowest if one.dice else None),
            figure(one.hausdorff95_mm.median if one.hausdorff95_mm else None, 1),
            figure(one.surface_dice.median if one.surface_dice else None),
            f"{one.missed} / {one.only_predicted}",
            _Raw(f'<img src="dice-{number}" width="{_SHOWN_WIDTH}">'),
        )
        for number, one in enumerate(summaries)
    ]
    head = (
        "Structure",
        "Mean Dice",
        "Median",
        "Lowest",
        "HD95 (mm)",
        "Surface Dice",
        "Missed / added",
        "Cases by Dice, 0 to 1",
    )
    return "<h2>Scores by structure</h2>" + _table(head, rows)


def _benefit(found: Sequence[LabelBenefit]) -> str:
    if not found:
        return ""
    rows = [
        (
            sentence_case(one.label),
            str(one.cases),
            figure(one.baseline),
            figure(one.model),
            f"{one.gain:+.3f}",
            f"{one.better} / {len(one.worse)}",
            "Harmed" if one.harms else "",
        )
        for one in found
    ]
    head = ("Structure", "Cases", "Alone", "Together", "Change", "Better / worse", "")
    return "<h2>What the federation brings to this site</h2>" + _table(head, rows)


def _flagged(report: ReviewReport) -> str:
    rows = []
    for number, review in enumerate(report.reviews):
        if review.verdict is not Verdict.FLAGGED:
            continue
        image = (
            f'<img src="case-{number}" width="{_PICTURE_WIDTH}">'
            if review.case in report.pictures
            else ""
        )
        rows.append((_Raw(image), _Raw(_words_of(review))))
    return "<h2>Flagged cases</h2>" + _table(("", ""), rows) if rows else ""


def _words_of(review: CaseReview) -> str:
    decided = review.decided
    reason = decided.reason if decided is not None and decided.reason else "no reason given"
    by = f" ({html.escape(decided.reviewer)}, {moment(decided.at)})" if decided is not None else ""
    comments = "".join(
        f"<br>{html.escape(entry.comment)}"
        + (f" (voxel z, y, x: {', '.join(map(str, entry.voxel))})" if entry.voxel else "")
        for entry in review.comments
    )
    return f"<b>{html.escape(review.case)}</b>: {html.escape(reason)}{by}{comments}"


def _cases(report: ReviewReport) -> str:
    verdicts = {review.case: review for review in report.reviews}
    scored = [one.case for one in worst_first(report.scores)]
    scores = {one.case: one for one in worst_first(report.scores)}
    rows = []
    for case in (*scored, *(one for one in verdicts if one not in scores)):
        ranked, review = scores.get(case), verdicts.get(case)
        worst = ranked.worst if ranked is not None else None
        remark = ", ".join(
            f"{label} not in the reference"
            for label in (ranked.only_predicted if ranked is not None else ())
        )
        rows.append(
            (
                case,
                figure(ranked.score.mean_dice if ranked is not None else None),
                sentence_case(worst.label) if worst is not None else NOTHING,
                figure(worst.dice if worst is not None else None),
                figure(worst.hausdorff95_mm if worst is not None else None, 1),
                _WORDS[review.verdict if review is not None else Verdict.UNREVIEWED],
                remark,
            )
        )
    head = (
        "Case",
        "Mean Dice",
        "Worst structure",
        "Its Dice",
        "Its HD95 (mm)",
        "Verdict",
        "Remark",
    )
    return "<h2>Cases, worst first</h2>" + _table(head, rows)


class _Raw(str):
    """A cell that is HTML already."""

    __slots__ = ()


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    first = "".join(f'<th align="left">{html.escape(name)}</th>' for name in head)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td>{cell if isinstance(cell, _Raw) else html.escape(cell)}</td>" for cell in row
        )
        + "</tr>"
        for row in rows
    )
    return f'<table cellspacing="0" cellpadding="3" width="100%"><tr>{first}</tr>{body}</table>'


def _bars(summary: LabelSummary) -> QImage:
    """Draw how many cases lie in each tenth of Dice."""
    width, height = _BARS
    image = QImage(width, height, QImage.Format.Format_RGB32)
    image.fill(QColor("white"))
    painter = QPainter(image)
    step = width / DICE_BINS
    highest = max(*summary.dice_counts, 1)
    for place, cases in enumerate(summary.dice_counts):
        tall = (height - 4) * cases / highest
        painter.fillRect(
            QRectF(place * step + 3, height - 2 - tall, step - 6, tall), QColor(_BAR_COLOUR)
        )
    painter.fillRect(QRectF(0, height - 2, width, 2), QColor("black"))
    painter.end()
    return image
