from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest

from app.ui.models.rows import Column, Row, Table, number, words
from app.ui.widgets.record_table import RecordTable

COLUMNS = (
    Column(title="Case"),
    Column(title="Dice", figures=True),
    Column(title="", stretches=True),
)


def table(*names: str, dice: float = 0.5) -> Table:
    return Table(
        columns=COLUMNS,
        rows=tuple(
            Row(key=name, cells=(words(name), number(dice), words("remark"))) for name in names
        ),
        empty="Nothing yet.",
    )


@pytest.fixture
def view(qtbot, look):
    made = RecordTable(table("a", "b", "c"), "Cases")
    qtbot.addWidget(made)
    made.resize(500, 300)
    made.show()
    return made


def test_rows_keep_the_given_order_until_somebody_sorts(view):
    view.show_table(table("c", "a", "b"))
    assert view.keys() == ("c", "a", "b")
    view.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    assert view.keys() == ("a", "b", "c")


def test_the_current_row_survives_new_tables(view):
    assert view.choose("b")
    view.show_table(table("a", "b", "c", dice=0.7))
    assert view.current_key() == "b"
    view.show_table(table("b", "d"))
    assert view.current_key() == "b"
    view.show_table(table("d"))
    assert view.current_key() == ""


def test_choosing_what_is_not_there_is_refused(view):
    assert not view.choose("zzz")
    view.narrow("no such row")
    assert not view.choose("b")


def test_empty_says_so(view):
    view.show_table(table())
    assert view._empty.isVisible()
    assert view._empty.text() == "Nothing yet."
    view.show_table(table("a"))
    assert not view._empty.isVisible()


def test_keyboard_opens_and_copies(view, qtbot):
    view.choose("b")
    with qtbot.waitSignal(view.row_opened) as told:
        QTest.keyClick(view, Qt.Key.Key_Return)
    assert told.args == ["b"]
    view.copy_row()
    assert QGuiApplication.clipboard().text() == "b\t0.5\tremark"


def test_columns_are_wide_enough_for_what_they_hold(view):
    long = "hippocampus_with_a_long_name"
    view.show_table(table("a", long))
    assert view.columnWidth(0) >= view.fontMetrics().horizontalAdvance(long) + 16


def test_names_of_cases_keep_the_end_that_tells_them_apart(qtbot, look):
    for of_cases, mode in (
        (True, Qt.TextElideMode.ElideMiddle),
        (False, Qt.TextElideMode.ElideRight),
    ):
        made = RecordTable(table("case_001", "case_002"), "Cases", of_cases=of_cases)
        qtbot.addWidget(made)
        assert made.textElideMode() is mode


def test_height_follows_the_rows(view):
    view.fit_height(5)
    three = view.height()
    view.show_table(table(*"abcde"))
    five = view.height()
    view.show_table(table(*"abcdefgh"))
    assert three < five == view.height()
