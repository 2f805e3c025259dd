"""The one table view: sorts, filters, speaks its rows' keys, and says something while empty."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QItemSelectionModel, QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics, QGuiApplication, QKeySequence, QResizeEvent, QShortcut
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from app.ui.models.records import KEY_ROLE, RecordModel, RecordProxy
from app.ui.models.rows import Table
from app.ui.theme import GRID
from app.ui.widgets.labels import label

_ROW_HEIGHT = 32
_MEASURED_ROWS = 60
_WIDEST = 42
"""Characters of the widest column that holds words."""


class RecordTable(QTableView):
    """Shows a `Table`; keyboard and mouse choose rows."""

    row_chosen = Signal(str)
    """Another row is current; carries its key (empty: none)."""

    row_opened = Signal(str)
    """Return or a double click on a row."""

    checked_changed = Signal(str, bool)

    def __init__(
        self,
        table: Table,
        name: str,
        *,
        sortable: bool = True,
        picture_side: int = 0,
        of_cases: bool = False,
    ) -> None:
        """`picture_side`: logical pixels of the pictures before the rows (0: there are none).

        `of_cases`: words that do not fit are cut in their middle; names of cases begin alike.
        """
        super().__init__()
        if of_cases:
            self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self._row_height = max(_ROW_HEIGHT, picture_side + GRID)
        if picture_side:
            self.setIconSize(QSize(picture_side, picture_side))
        self.records = RecordModel(table, self)
        self.proxy = RecordProxy(self)
        self.proxy.setSourceModel(self.records)
        self._columns: tuple[object, ...] = ()
        self._widths: list[int] = []
        self._most_rows = 0
        self._empty = label(table.empty, "muted")
        # Not of the viewport: asking for it lets PySide6 prepare every kind of widget there is.
        self._empty.setParent(self)
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
        self.verticalHeader().setDefaultSectionSize(self._row_height)
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
        self._fit()
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
        """Make columns as wide as what they hold; never narrower than a person made them."""
        table, header = self.records.table, self.horizontalHeader()
        if table.columns != self._columns:
            self._columns = table.columns
            self._widths = [0] * len(table.columns)
            for number, column in enumerate(table.columns):
                mode = QHeaderView.ResizeMode
                header.setSectionResizeMode(
                    number, mode.Stretch if column.stretches else mode.Interactive
                )
        metrics, bold = self.fontMetrics(), QFontMetrics(header.font())
        most = _WIDEST * metrics.averageCharWidth()
        for number, column in enumerate(table.columns):
            if column.stretches:
                continue
            wanted = bold.horizontalAdvance(column.title) + 4 * GRID
            for row in table.rows[:_MEASURED_ROWS]:
                cell = row.cells[number]
                extra = (22 if cell.icon else 0) + (26 if row.checked is not None else 0)
                width = metrics.horizontalAdvance(cell.text) + extra + 3 * GRID + 2
                wanted = max(wanted, width if column.figures else min(width, most))
            if wanted > self._widths[number]:
                self._widths[number] = wanted
                self.setColumnWidth(number, wanted)

    def fit_height(self, most_rows: int) -> None:
        """Be just as high as the rows, at most as `most_rows` of them (and at least two)."""
        self._most_rows = most_rows
        self._fit()

    def _fit(self) -> None:
        if self._most_rows:
            rows = min(self._most_rows, max(2, len(self.records.table.rows)))
            frame = 2 * self.frameWidth() + GRID
            self.setFixedHeight(
                self.horizontalHeader().sizeHint().height() + rows * self._row_height + frame
            )

    def _place_empty(self) -> None:
        self._empty.setVisible(self.proxy.rowCount() == 0)
        if self.proxy.rowCount() == 0 and self.records.table.rows:
            self._empty.setText("No row fits the filter.")
        top = self.horizontalHeader().height()
        self._empty.setGeometry(self.rect().adjusted(2 * GRID, top, -2 * GRID, 0))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._place_empty()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.FontChange:
            self._columns = ()
            self._size_columns()
