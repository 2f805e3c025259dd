"""Pictures of all cases in a grid; only those on screen are read, one after the other."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import QEvent, QModelIndex, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QAbstractItemView, QListView

from app.ui.models.pictures import (
    CASE_ROLE,
    CasePicture,
    GalleryItem,
    PictureModel,
    PictureWish,
)
from app.ui.text import EMPTY_CASES
from app.ui.theme import GRID
from app.ui.widgets.labels import label

SIDE: Final = 14 * GRID
"""Of a picture, in logical pixels."""
_CELL: Final = QSize(18 * GRID, 18 * GRID)


class Gallery(QListView):
    """Asks for pictures by `picture_wished`; each wish is answered by `show_picture`.

    There is one wish at a time, so that scrolling past a case costs nothing and a case that is
    opened waits for one picture at most.
    """

    picture_wished = Signal(object, int)
    """A `PictureWish` and the side of the picture in device pixels."""

    case_opened = Signal(str)

    def __init__(self, name: str) -> None:
        super().__init__()
        ratio = self.devicePixelRatioF()
        self._pixels = round(SIDE * ratio)
        self.pictures = PictureModel(SIDE, ratio, self)
        self._waiting: PictureWish | None = None
        self.setModel(self.pictures)
        self.setAccessibleName(name)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setMovement(QListView.Movement.Static)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setUniformItemSizes(True)
        self.setIconSize(QSize(SIDE, SIDE))
        self.setGridSize(_CELL)
        self.setViewportMargins(GRID, GRID, 0, 0)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setWordWrap(False)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._empty = label(EMPTY_CASES, "muted")
        self._empty.setParent(self.viewport())
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._empty.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        # After this turn of the loop: the view has laid out its items then.
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.timeout.connect(self._wish_next)
        self.verticalScrollBar().valueChanged.connect(lambda _value: self._later.start())
        self.clicked.connect(self._open)

    def show_items(self, items: tuple[GalleryItem, ...]) -> None:
        """Show these cases; pictures of unchanged ones stay."""
        self.pictures.show(items)
        self._empty.setVisible(not items)
        if self._waiting is not None and all(item.wish != self._waiting for item in items):
            self._waiting = None
        self._later.start()

    def show_picture(self, picture: CasePicture) -> None:
        """Show a picture that was wished, and go on with the next one on screen."""
        self.pictures.keep(picture)
        if picture.wish == self._waiting:
            self._waiting = None
            self._later.start()

    def on_screen(self) -> range:
        """Return the numbers of the items that are on screen, in part or whole."""
        if not self.isVisible() or not self.pictures.items:
            return range(0)
        columns = max(1, self.viewport().width() // _CELL.width())
        top = self.verticalScrollBar().value()
        first_row = top // _CELL.height()
        last_row = (top + self.viewport().height()) // _CELL.height()
        return range(
            min(first_row * columns, len(self.pictures.items)),
            min((last_row + 1) * columns, len(self.pictures.items)),
        )

    def _wish_next(self) -> None:
        if self._waiting is not None:
            return
        for number in self.on_screen():
            wish = self.pictures.missing(number)
            if wish is not None:
                self._waiting = wish
                self.picture_wished.emit(wish, self._pixels)
                return

    def _open(self, index: QModelIndex) -> None:
        if index.isValid():
            self.case_opened.emit(str(index.data(CASE_ROLE)))

    # Qt overrides

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._open(self.currentIndex())
            return
        super().keyPressEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._empty.setGeometry(self.viewport().rect())
        self._later.start()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._later.start()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange):
            self.viewport().update()
