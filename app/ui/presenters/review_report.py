"""What goes into the report of a review: scores, verdicts and pictures of what was flagged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from app.control.messages import RunView
from app.domain.errors import FednnunetError
from app.domain.segmentation import SegmentationResult, Verdict
from app.review.benefit import LabelBenefit
from app.review.report import ReviewReport
from app.review.verdicts import CaseReview
from app.ui.models.pictures import PictureWish
from app.ui.presenters.gallery import read_picture

logger = logging.getLogger(__name__)

_PICTURE_SIDE: Final = 192


def report_of(
    run: RunView,
    reviews: Sequence[CaseReview],
    *,
    study: str,
    made_at: float,
    benefit: tuple[LabelBenefit, ...] = (),
) -> ReviewReport:
    """Return the report without pictures; `made_at` in seconds since the epoch."""
    models = sorted({result.model_digest for result in run.results})
    return ReviewReport(
        title=f"Review of {study}" if study else "Review of segmentations",
        model_digest=models[0] if len(models) == 1 else "several models",
        scores=run.scores,
        reviews=tuple(reviews),
        made_at=made_at,
        benefit=benefit,
    )


def table_beside(page: Path) -> Path:
    """Return where the table goes that belongs to a report's page."""
    return page.with_suffix(".csv")


def with_pictures(report: ReviewReport, results: Sequence[SegmentationResult]) -> ReviewReport:
    """Return the report with a picture of each flagged case that can be read.

    Reads images: not for the Qt thread.
    """
    flagged = {one.case for one in report.reviews if one.verdict is Verdict.FLAGGED}
    pictures = {}
    for result in results:
        if result.case not in flagged or not result.channels:
            continue
        wish = PictureWish(case=result.case, image=result.channels[0], label=result.prediction)
        try:
            picture = read_picture(wish, _PICTURE_SIDE)
        except FednnunetError as exc:
            # The report is worth more than one picture in it.
            logger.info("a flagged case has no picture: %s", exc.code.value)
            continue
        if picture.pixels is not None:
            pictures[result.case] = _png(picture.pixels.tobytes(), _PICTURE_SIDE)
    return replace(report, pictures=pictures)


def _png(pixels: bytes, side: int) -> bytes:
    """Return RGB32 pixels as a PNG file; QImage, unlike QPixmap, works in any thread."""
    from PySide6.QtCore import QBuffer, QByteArray, QIODevice
    from PySide6.QtGui import QImage, QImageWriter

    image = QImage(pixels, side, side, 4 * side, QImage.Format.Format_RGB32)
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    QImageWriter(buffer, QByteArray(b"png")).write(image)
    return bytes(buffer.data().data())
