"""Tables as values: what presenters make and `records.RecordModel` shows."""

from __future__ import annotations

from msgspec import Struct

from app.ui.text import NOTHING, Tone


class Column(Struct, frozen=True, kw_only=True):
    """A column's title; figures are set to the right. The stretching column takes spare width."""

    title: str
    hint: str = ""
    figures: bool = False
    stretches: bool = False


class Cell(Struct, frozen=True, kw_only=True):
    """One cell: its text, and what it sorts by when that is not the text (None sorts last)."""

    text: str
    order: float | str | None = None
    tone: Tone | None = None
    hint: str = ""
    icon: str = ""


class Row(Struct, frozen=True, kw_only=True):
    """One row with the key that selections and signals carry."""

    key: str
    cells: tuple[Cell, ...]
    group: str = ""
    """What a choice filter compares (a severity, a state)."""
    checked: bool | None = None
    """None: no check box."""


class Table(Struct, frozen=True, kw_only=True):
    """A whole table and the sentence that stands in its place while it is empty."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...] = ()
    empty: str = ""


def words(text: str, *, tone: Tone | None = None, hint: str = "", icon: str = "") -> Cell:
    """Return a cell that sorts by its text, ignoring case."""
    return Cell(text=text, order=text.casefold(), tone=tone, hint=hint, icon=icon)


def number(value: float | None, text: str | None = None, *, tone: Tone | None = None) -> Cell:
    """Return a cell that sorts by `value`; “–” and last where it is None."""
    if value is None:
        return Cell(text=NOTHING, order=None, tone=tone)
    return Cell(text=f"{value:g}" if text is None else text, order=value, tone=tone)
