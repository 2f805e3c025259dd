"""A receipt as a PDF file, laid out by Qt."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QBuffer, QIODevice, QMarginsF
from PySide6.QtGui import QFont, QPageLayout, QPageSize, QPdfWriter, QTextDocument

from app.ui.text import NAME

_DOTS_PER_INCH: Final = 300
_MARGIN_MM: Final = 18.0
_POINTS: Final = 9.0


def receipt_document(page: str) -> QTextDocument:
    """Return `page` (HTML) laid out in black on white, whatever the window's look is."""
    document = QTextDocument()
    font = QFont("sans-serif")
    font.setPointSizeF(_POINTS)
    document.setDefaultFont(font)
    document.setDefaultStyleSheet("* { color: black; } td, th { vertical-align: top; }")
    document.setHtml(f"<body>{page}</body>")
    return document


def receipt_pdf(document: QTextDocument, title: str) -> bytes:
    """Return `document` as a PDF on A4; long tables go on over the pages, which are numbered."""
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    writer = QPdfWriter(buffer)
    writer.setResolution(_DOTS_PER_INCH)
    writer.setPageSize(QPageSize(QPageSize.PageSizeId.A4))
    margins = QMarginsF(_MARGIN_MM, _MARGIN_MM, _MARGIN_MM, _MARGIN_MM)
    writer.setPageMargins(margins, QPageLayout.Unit.Millimeter)
    writer.setTitle(title)
    writer.setCreator(NAME)
    document.print_(writer)
    # The file's end is written when the writer goes.
    del writer
    return bytes(buffer.data().data())
