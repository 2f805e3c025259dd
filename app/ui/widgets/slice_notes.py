"""Words and numbers over a slice: light letters with a black casing, to be read on any image.

Notes are images and are kept, because drawing letters five times costs more than drawing a slice. A
new slice has a new number and position all the same, so that those are put together of parts that
come again and again: the shaping of text, a third of the time of a wheel event, is left out.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QImage, QPainter

_CASING: Final = (0, 0, 0, 220)
_AROUND: Final = ((-1, 0), (1, 0), (0, -1), (0, 1))
_NUMBER: Final = re.compile(r"(-?\d*)(\d)(\D.*)")
"""What stays for ten slices, what changes with every one and what stays for all or comes again."""
_EVERY_SIGN: Final = "0123456789 / 10 -1.2 mm"
_OVERHANG: Final = 2
"""Pixels by which a letter may reach beyond the place that it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A text as an image that is laid over the slice, and its size in logical pixels."""

    image: QImage
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A part of a number in device pixels; `advance` is how far the next one lies, in logical ones."""

    casing: QImage
    letters: QImage
    advance: float


@lru_cache(maxsize=2048)
def note_of(text: str, font_key: str, *, bold: bool, colour: str, ratio: float) -> Note:
    """Return `text` in the font of `font_key` (`QFont.toString`) for a screen of `ratio`."""
    font, metrics = _face(font_key, bold=bold)
    width = _width(metrics.horizontalAdvance(text))
    image = _clear(width, metrics, ratio)
    painter = QPainter(image)
    painter.setFont(font)
    base = QPointF(1, metrics.ascent())
    _draw_casing(painter, base, text)
    painter.setPen(QColor(colour))
    painter.drawText(base, text)
    painter.end()
    return Note(image=image, width=width, height=_height(metrics))


@lru_cache(maxsize=2048)
def number_note(text: str, font_key: str, *, colour: str, ratio: float) -> Note:
    """Return the same note as `note_of` of a text that starts with a number, in half of the time.

    Between whole ratios a letter's place in its pixel is rounded otherwise in a part than in a line.
    """
    found = _NUMBER.fullmatch(text)
    if found is None or ratio not in (1, 2) or not _evenly_set(font_key):
        return note_of(text, font_key, bold=False, colour=colour, ratio=ratio)
    metrics = _face(font_key, bold=False)[1]
    along = 1.0
    parts: list[tuple[QPoint, _Part]] = []
    for word in found.groups():
        if word:
            pixel = math.floor(along * ratio)
            part = _part(word, font_key, colour, ratio, along - pixel / ratio)
            parts.append((QPoint(pixel - _margin(ratio), 0), part))
            along += part.advance
    width = _width(along - 1)
    image = _clear(width, metrics, ratio)
    image.setDevicePixelRatio(1)
    painter = QPainter(image)
    for at, part in parts:
        painter.drawImage(at, part.casing)
    for at, part in parts:  # no casing may lie over a letter
        painter.drawImage(at, part.letters)
    painter.end()
    image.setDevicePixelRatio(ratio)
    return Note(image=image, width=width, height=_height(metrics))


@lru_cache(maxsize=2048)
def _part(word: str, font_key: str, colour: str, ratio: float, offset: float) -> _Part:
    """Draw `word` where it begins `offset` after a whole device pixel, as letters may."""
    font, metrics = _face(font_key, bold=False)
    advance = metrics.horizontalAdvance(word)
    margin = _margin(ratio) / ratio
    base = QPointF(margin + offset, metrics.ascent())
    layers = []
    for casing in (True, False):
        image = _clear(advance + 2 * margin + 1, metrics, ratio)
        painter = QPainter(image)
        painter.setFont(font)
        if casing:
            _draw_casing(painter, base, word)
        else:
            painter.setPen(QColor(colour))
            painter.drawText(base, word)
        painter.end()
        image.setDevicePixelRatio(1)
        layers.append(image)
    return _Part(casing=layers[0], letters=layers[1], advance=advance)


def _margin(ratio: float) -> int:
    return math.ceil((_OVERHANG + 1) * ratio)


@lru_cache(maxsize=8)
def _face(font_key: str, *, bold: bool) -> tuple[QFont, QFontMetricsF]:
    font = QFont()
    font.fromString(font_key)
    font.setBold(bold)
    return font, QFontMetricsF(font)


@lru_cache(maxsize=8)
def _evenly_set(font_key: str) -> bool:
    """Tell whether a sign is as far from one neighbour as from any other."""
    metrics = _face(font_key, bold=False)[1]
    apart = sum(metrics.horizontalAdvance(sign) for sign in _EVERY_SIGN)
    return abs(metrics.horizontalAdvance(_EVERY_SIGN) - apart) < 1 / 64


def _width(advance: float) -> float:
    return float(math.ceil(advance + 2))


def _height(metrics: QFontMetricsF) -> float:
    return float(math.ceil(metrics.height()))


def _clear(width: float, metrics: QFontMetricsF, ratio: float) -> QImage:
    image = QImage(
        math.ceil(width * ratio),
        math.ceil(_height(metrics) * ratio),
        QImage.Format.Format_ARGB32_Premultiplied,
    )
    image.setDevicePixelRatio(ratio)
    image.fill(Qt.GlobalColor.transparent)
    return image


def _draw_casing(painter: QPainter, base: QPointF, text: str) -> None:
    painter.setPen(QColor(*_CASING))
    for x, y in _AROUND:
        painter.drawText(base + QPointF(x, y), text)
