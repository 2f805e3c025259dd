from __future__ import annotations

import pytest
from PySide6.QtCore import QModelIndex, Qt

from app.ui.models.records import KEY_ROLE, RecordModel, RecordProxy
from app.ui.models.rows import Cell, Column, Row, Table, number, words
from app.ui.text import Tone

COLUMNS = (Column(title="Case"), Column(title="Dice", figures=True, hint="Overlap"))


def row(name: str, dice: float | None, *, group: str = "", checked: bool | None = None) -> Row:
    return Row(key=name, group=group, checked=checked, cells=(words(name), number(dice)))


TABLE = Table(
    columns=COLUMNS,
    rows=(
        row("case b", 0.5, group="Flagged"),
        row("case a", None, group="Accepted"),
        row("case c", 0.1, group="Flagged"),
    ),
)


@pytest.fixture
def proxy(qapp):
    model = RecordModel(TABLE)
    proxy = RecordProxy()
    proxy.setSourceModel(model)
    proxy.model = model  # keeps it alive
    return proxy


def keys(proxy: RecordProxy) -> list[str]:
    return [proxy.index(number, 0).data(KEY_ROLE) for number in range(proxy.rowCount())]


def test_model_keeps_qts_contract(qtmodeltester, qapp):
    model = RecordModel(TABLE)
    qtmodeltester.check(model)


def test_proxy_keeps_qts_contract(qtmodeltester, proxy):
    qtmodeltester.check(proxy)


def test_cells_show_text_alignment_and_tone(qapp):
    model = RecordModel(
        Table(
            columns=COLUMNS, rows=(Row(key="x", cells=(words("x", tone=Tone.DANGER), number(1.0))),)
        )
    )
    first, second = model.index(0, 0), model.index(0, 1)
    assert first.data() == "x"
    assert first.data(Qt.ItemDataRole.ForegroundRole) is not None
    assert second.data(Qt.ItemDataRole.ForegroundRole) is None
    alignment = Qt.AlignmentFlag(second.data(Qt.ItemDataRole.TextAlignmentRole))
    assert alignment & Qt.AlignmentFlag.AlignRight
    assert model.headerData(1, Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole) == "Overlap"
    assert model.index(0, 0).data(Qt.ItemDataRole.CheckStateRole) is None


def test_no_value_sorts_last_up_and_down(proxy):
    proxy.sort(1, Qt.SortOrder.AscendingOrder)
    assert keys(proxy) == ["case c", "case b", "case a"]
    proxy.sort(1, Qt.SortOrder.DescendingOrder)
    assert keys(proxy) == ["case b", "case c", "case a"]


def test_words_and_group_narrow(proxy):
    proxy.narrow("CASE b")
    assert keys(proxy) == ["case b"]
    proxy.narrow("", "Flagged")
    assert set(keys(proxy)) == {"case b", "case c"}
    proxy.narrow("nothing")
    assert keys(proxy) == []
    proxy.narrow("")
    assert len(keys(proxy)) == 3


def test_same_keys_change_cells_without_a_reset(qapp, qtbot):
    model = RecordModel(TABLE)
    changed = Table(columns=COLUMNS, rows=(TABLE.rows[0], TABLE.rows[1], row("case c", 0.9)))
    told = []
    model.dataChanged.connect(lambda first, last: told.append((first.row(), last.column())))
    with qtbot.assertNotEmitted(model.modelReset):
        model.show(changed)
    assert told == [(2, 1)]
    assert model.index(2, 1).data() == "0.9"


def test_other_keys_reset(qapp, qtbot):
    model = RecordModel(TABLE)
    with qtbot.waitSignal(model.modelReset):
        model.show(Table(columns=COLUMNS, rows=TABLE.rows[:1]))
    assert model.rowCount() == 1
    assert model.rowCount(QModelIndex()) == 1


def test_equal_table_tells_nothing(qapp, qtbot):
    model = RecordModel(TABLE)
    with qtbot.assertNotEmitted(model.modelReset), qtbot.assertNotEmitted(model.dataChanged):
        model.show(Table(columns=COLUMNS, rows=TABLE.rows))


def test_ticking_is_a_wish(qapp, qtbot):
    model = RecordModel(Table(columns=COLUMNS, rows=(row("case a", 1.0, checked=True),)))
    index = model.index(0, 0)
    assert model.flags(index) & Qt.ItemFlag.ItemIsUserCheckable
    with qtbot.waitSignal(model.checked_changed) as told:
        assert model.setData(index, Qt.CheckState.Unchecked.value, Qt.ItemDataRole.CheckStateRole)
    assert told.args == ["case a", False]
    # The truth did not change yet.
    assert index.data(Qt.ItemDataRole.CheckStateRole) == Qt.CheckState.Checked.value
    assert not model.setData(index, "other", Qt.ItemDataRole.EditRole)


def test_words_before_numbers_do_not_crash_the_sort(qapp):
    model = RecordModel(
        Table(
            columns=(Column(title="Mixed"),),
            rows=tuple(
                Row(key=str(n), cells=(Cell(text=str(order), order=order),))
                for n, order in enumerate([3.0, "b", None, 1.0, "a"])
            ),
        )
    )
    proxy = RecordProxy()
    proxy.setSourceModel(model)
    proxy.sort(0)
    assert keys(proxy)[-1] == "2"
