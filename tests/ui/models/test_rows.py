from __future__ import annotations

from app.ui.models.rows import Cell, number, words
from app.ui.text import Tone


def test_words_sort_without_case():
    assert words("Zebra", tone=Tone.GOOD) == Cell(text="Zebra", order="zebra", tone=Tone.GOOD)


def test_numbers_that_are_not_defined_are_a_dash_without_order():
    assert number(None) == Cell(text="–", order=None)
    assert number(2.5) == Cell(text="2.5", order=2.5)
    assert number(2.5, "2.50") == Cell(text="2.50", order=2.5)
