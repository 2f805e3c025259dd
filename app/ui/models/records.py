"""One item model for every table: rows of cells with sort keys, tones and a filter."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
    Signal,
)
from PySide6.QtGui import QColor, QPainter, QPixmap

from app.ui import theme
from app.ui.models.rows import Cell, Row, Table

KEY_ROLE: Final = Qt.ItemDataRole.UserRole + 1
ORDER_ROLE: Final = Qt.ItemDataRole.UserRole + 2
GROUP_ROLE: Final = Qt.ItemDataRole.UserRole + 3

_MARK: Final = 16
"""Side of the sign in the corner of a picture, in logical pixels."""

Index = QModelIndex | QPersistentModelIndex


class RecordModel(QAbstractTableModel):
    """Shows a `Table`. Rows whose keys stay the same keep selection and scroll position."""

    checked_changed = Signal(str, bool)

    def __init__(self, table: Table, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._table = table
        self._pictures: dict[str, QPixmap] = {}

    def show_picture(self, key: str, picture: QPixmap) -> None:
        """Show a small picture before the first cell of a row; it stays with the key."""
        self._pictures[key] = picture
        number = self.number_of(key)
        if number is not None:
            changed = self.index(number, 0)
            self.dataChanged.emit(changed, changed, [Qt.ItemDataRole.DecorationRole])

    @property
    def table(self) -> Table:
        """What is shown."""
        return self._table

    def show(self, table: Table) -> None:
        """Show another table; says which cells changed, or resets when rows came or went."""
        before = self._table
        if table == before:
            return
        same_shape = table.columns == before.columns and [row.key for row in table.rows] == [
            row.key for row in before.rows
        ]
        if not same_shape:
            self.beginResetModel()
            self._table = table
            self.endResetModel()
            return
        self._table = table
        last = len(table.columns) - 1
        for number, (old, new) in enumerate(zip(before.rows, table.rows, strict=True)):
            if old != new:
                self.dataChanged.emit(self.index(number, 0), self.index(number, last))

    def row(self, number: int) -> Row:
        """Return the row at a number of this (unsorted) model."""
        return self._table.rows[number]

    def number_of(self, key: str) -> int | None:
        """Return the number of the row with this key, None when there is none."""
        for number, row in enumerate(self._table.rows):
            if row.key == key:
                return number
        return None

    # Qt overrides

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(self._table.rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(self._table.columns)

    def headerData(
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> object:
        if orientation is not Qt.Orientation.Horizontal or section >= len(self._table.columns):
            return None
        column = self._table.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.title
        if role == Qt.ItemDataRole.ToolTipRole:
            return column.hint or None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(_alignment(figures=column.figures))
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        row = self._table.rows[index.row()]
        cell = row.cells[index.column()]
        result: object = None
        match role:
            case Qt.ItemDataRole.DisplayRole | Qt.ItemDataRole.AccessibleTextRole:
                result = cell.text
            case Qt.ItemDataRole.ToolTipRole:
                result = cell.hint or (cell.text if len(cell.text) > 40 else None)
            case Qt.ItemDataRole.TextAlignmentRole:
                result = int(_alignment(figures=self._table.columns[index.column()].figures))
            case Qt.ItemDataRole.ForegroundRole if cell.tone is not None:
                result = QColor(theme.colours().tone(cell.tone))
            case Qt.ItemDataRole.DecorationRole if (
                index.column() == 0 and row.key in self._pictures
            ):
                result = _marked(self._pictures[row.key], cell)
            case Qt.ItemDataRole.DecorationRole if cell.icon:
                colour = theme.colours()
                result = theme.pixmap(
                    cell.icon, colour.tone(cell.tone) if cell.tone else colour.muted, 16
                )
            case Qt.ItemDataRole.CheckStateRole if index.column() == 0 and row.checked is not None:
                result = (Qt.CheckState.Checked if row.checked else Qt.CheckState.Unchecked).value
            case _:
                result = _own_roles(row, index.column(), role)
        return result

    def setData(self, index: Index, value: object, role: int = Qt.ItemDataRole.EditRole) -> bool:
        if role != Qt.ItemDataRole.CheckStateRole or not index.isValid():
            return False
        row = self._table.rows[index.row()]
        if row.checked is None or index.column() != 0:
            return False
        # The truth is elsewhere: tell the wish; the next table shows what became of it.
        self.checked_changed.emit(row.key, Qt.CheckState(value) is Qt.CheckState.Checked)
        return True

    def flags(self, index: Index) -> Qt.ItemFlag:
        if not index.isValid():
            return Qt.ItemFlag.NoItemFlags
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        if index.column() == 0 and self._table.rows[index.row()].checked is not None:
            flags |= Qt.ItemFlag.ItemIsUserCheckable
        return flags


def _marked(picture: QPixmap, cell: Cell) -> QPixmap:
    """Return a picture with the cell's icon in its corner: colour alone says nothing."""
    if not cell.icon:
        return picture
    colour = theme.colours()
    tone = colour.tone(cell.tone) if cell.tone else colour.muted
    made = QPixmap(picture)
    painter = QPainter(made)
    icon = theme.pixmap(cell.icon, tone, _MARK)
    side = round(made.height() / made.devicePixelRatio())
    painter.fillRect(0, side - _MARK, _MARK, _MARK, QColor(colour.surface))
    painter.drawPixmap(0, side - _MARK, icon)
    painter.end()
    return made


def _alignment(*, figures: bool) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if figures else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter


def _own_roles(row: Row, column: int, role: int) -> object:
    if role == KEY_ROLE:
        return row.key
    if role == ORDER_ROLE:
        return row.cells[column].order
    if role == GROUP_ROLE:
        return row.group
    return None


class RecordProxy(QSortFilterProxyModel):
    """Sorts by the cells' order and filters by words and by group. No value sorts last, always."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._words: tuple[str, ...] = ()
        self._group = ""
        self.setDynamicSortFilter(True)

    def narrow(self, words: str, group: str = "") -> None:
        """Show only rows that hold every word (in any column) and are of `group` (any if empty)."""
        self._words = tuple(words.casefold().split())
        self._group = group
        self.invalidate()

    # Qt overrides

    def filterAcceptsRow(self, source_row: int, source_parent: Index) -> bool:
        model = self.sourceModel()
        if not isinstance(model, RecordModel) or source_parent.isValid():
            return True
        row = model.row(source_row)
        if self._group and row.group != self._group:
            return False
        text = " ".join(cell.text for cell in row.cells).casefold()
        return all(word in text for word in self._words)

    def lessThan(self, source_left: Index, source_right: Index) -> bool:
        left, right = source_left.data(ORDER_ROLE), source_right.data(ORDER_ROLE)
        if left is None or right is None:
            # The view turns the answer round for descending order.
            descending = self.sortOrder() is Qt.SortOrder.DescendingOrder
            return (left is None) if descending else (right is None and left is not None)
        if isinstance(left, str) != isinstance(right, str):
            return str(left) < str(right)
        return bool(left < right)
