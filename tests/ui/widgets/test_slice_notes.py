from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtGui import QFont, QFontMetricsF, QImage

from app.ui.widgets import slice_notes
from app.ui.widgets.slice_notes import note_of, number_note

COLOUR = "#e8ecef"


def levels(image: QImage) -> np.ndarray:
    size = image.height(), image.bytesPerLine()
    return np.frombuffer(image.constBits(), np.uint8).reshape(size).astype(int)


def key_of(points: int) -> str:
    font = QFont()
    font.setPointSize(points)
    return font.toString()


@pytest.mark.parametrize("ratio", [1.0, 1.25, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("points", [8, 9, 13])
def test_a_number_in_parts_looks_like_one_drawn_at_once(qapp, points, ratio):
    key = key_of(points)
    texts = [f"{number} / 613" for number in (*range(1, 12), 99, 100, 101, 347, 613)]
    texts += [f"{place / 10:.1f} mm" for place in range(-1234, 1234, 87)]
    for text in texts:
        whole = note_of(text, key, bold=False, colour=COLOUR, ratio=ratio)
        parted = number_note(text, key, colour=COLOUR, ratio=ratio)
        assert (parted.width, parted.height) == (whole.width, whole.height), text
        assert parted.image.devicePixelRatio() == ratio
        # A level of 255 is what rounding twice instead of once makes.
        assert np.abs(levels(parted.image) - levels(whole.image)).max() <= 1, text
    assert levels(whole.image).any()


def test_new_numbers_shape_no_text(qapp, monkeypatch):
    key = key_of(10)
    for number in range(100):
        number_note(f"{number} / 600", key, colour=COLOUR, ratio=1.0)
    for rest in range(10):
        for tens in range(10):
            number_note(f"1{tens}{rest} / 600", key, colour=COLOUR, ratio=1.0)
    before = slice_notes._part.cache_info().misses
    number_note.cache_clear()
    for number in range(100, 200):
        number_note(f"{number} / 600", key, colour=COLOUR, ratio=1.0)
    assert slice_notes._part.cache_info().misses == before


def test_a_font_that_moves_neighbours_together_is_drawn_at_once(qapp, monkeypatch):
    monkeypatch.setattr(slice_notes, "_evenly_set", lambda key: False)
    key = key_of(11)
    text = "12 / 34"
    assert number_note(text, key, colour=COLOUR, ratio=1.0) is note_of(
        text, key, bold=False, colour=COLOUR, ratio=1.0
    )


def test_text_without_a_number_is_drawn_at_once(qapp):
    key = key_of(11)
    assert number_note("no number", key, colour=COLOUR, ratio=1.0) is note_of(
        "no number", key, bold=False, colour=COLOUR, ratio=1.0
    )


def test_letters_are_light_on_a_dark_casing(qapp):
    key = key_of(12)
    note = note_of("H", key, bold=True, colour="#ffffff", ratio=1.0)
    assert note.width >= QFontMetricsF(QFont()).horizontalAdvance("H")
    pixels = levels(note.image).reshape(note.image.height(), -1, 4)
    light = pixels[..., :3].min(axis=2) > 200
    dark = (pixels[..., 3] > 200) & (pixels[..., :3].max(axis=2) < 50)
    assert light.any()
    assert dark.any()
    assert pixels[0, 0].tolist() == [0, 0, 0, 0]
