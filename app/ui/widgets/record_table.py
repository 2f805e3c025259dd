"""The one table view: sorts, filters, speaks its rows' keys, and says something while empty."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QItemSelectionModel, Qt, Signal
from PySide6.QtGui import QGuiApplication, QKeySequence, QResizeEvent, QShortcut
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from app.ui.models.records import KEY_ROLE, RecordModel, RecordProxy
from app.ui.models.rows import Table
from app.ui.theme import GRID
from app.ui.widgets.labels import label

_ROW_HEIGHT = 32


class RecordTable(QTableView):
    """Shows a `Table`; keyboard and mouse choose rows."""

    row_chosen = Signal(str)
    """Another row is current; carries its key (empty: none)."""

    row_opened = Signal(str)
    """Return or a double click on a row."""

    checked_changed = Signal(str, bool)

    def __init__(self, table: Table, name: str, *, sortable: bool = True) -> None:
        super().__init__()
        self.records = RecordModel(table, self)
        self.proxy = RecordProxy(self)
        self.proxy.setSourceModel(self.records)
        self._columns: tuple[object, ...] = ()
        self._empty = label(table.empty, "muted")
        self._empty.setParent(self.viewport())
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._empty.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setModel(self.proxy)
        self.setAccessibleName(name)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setAlternatingRowColors(True)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.verticalHeader().setVisible(False)
        self.verticalHeader().setDefaultSectionSize(_ROW_HEIGHT)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setMinimumSectionSize(6 * GRID)
        if sortable:
            # Unsorted at first: presenters give the order that matters most.
            header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
            self.setSortingEnabled(True)
        self.activated.connect(lambda index: self.row_opened.emit(index.data(KEY_ROLE)))
        self.selectionModel().currentRowChanged.connect(
            lambda current, _previous: self.row_chosen.emit(current.data(KEY_ROLE) or "")
        )
        self.records.checked_changed.connect(self.checked_changed)
        copy = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), self)
        copy.setContext(Qt.ShortcutContext.WidgetShortcut)
        copy.activated.connect(self.copy_row)
        self._size_columns()
        self._place_empty()

    def show_table(self, table: Table) -> None:
        """Show another table; the current row stays current while its key is there."""
        key = self.current_key()
        self.records.show(table)
        self._empty.setText(table.empty)
        self._size_columns()
        if key and self.current_key() != key:
            self.choose(key)
        self._place_empty()

    def narrow(self, words: str, group: str = "") -> None:
        """Show only rows that hold every word and belong to `group` (empty: to any)."""
        self.proxy.narrow(words, group)
        self._place_empty()

    def current_key(self) -> str:
        """Return the key of the current row, empty when none is."""
        key = self.currentIndex().data(KEY_ROLE)
        return str(key) if key is not None else ""

    def keys(self) -> tuple[str, ...]:
        """Return the keys of the rows on screen, in their order there."""
        return tuple(
            str(self.proxy.index(number, 0).data(KEY_ROLE))
            for number in range(self.proxy.rowCount())
        )

    def choose(self, key: str) -> bool:
        """Make the row with this key current and visible; False when it is not on screen."""
        number = self.records.number_of(key)
        if number is None:
            return False
        index = self.proxy.mapFromSource(self.records.index(number, 0))
        if not index.isValid():
            return False
        self.selectionModel().setCurrentIndex(
            index,
            QItemSelectionModel.SelectionFlag.ClearAndSelect
            | QItemSelectionModel.SelectionFlag.Rows,
        )
        self.scrollTo(index)
        return True

    def copy_row(self) -> None:
        """Put the current row on the clipboard, cells separated by tabs."""
        row = self.currentIndex().row()
        if row < 0:
            return
        cells = (self.proxy.index(row, column) for column in range(self.proxy.columnCount()))
        QGuiApplication.clipboard().setText("\t".join(str(cell.data()) for cell in cells))

    # private

    def _size_columns(self) -> None:
        columns = self.records.table.columns
        if columns == self._columns:
            return
        self._columns = columns
        header = self.horizontalHeader()
        character = self.fontMetrics().averageCharWidth()
        for number, column in enumerate(columns):
            if column.stretches:
                header.setSectionResizeMode(number, QHeaderView.ResizeMode.Stretch)
                continue
            header.setSectionResizeMode(number, QHeaderView.ResizeMode.Interactive)
            least = self.fontMetrics().horizontalAdvance(column.title) + 5 * GRID
            self.setColumnWidth(number, max(least, column.width * character + 2 * GRID))

    def _place_empty(self) -> None:
        self._empty.setVisible(self.proxy.rowCount() == 0)
        if self.proxy.rowCount() == 0 and self.records.table.rows:
            self._empty.setText("No row fits the filter.")
        self._empty.setGeometry(self.viewport().rect().adjusted(2 * GRID, 0, -2 * GRID, 0))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._place_empty()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.FontChange:
            self._columns = ()
            self._size_columns()
