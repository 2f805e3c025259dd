"""The gallery's model: one item per case; pictures come later, the oldest go when there are many."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import QAbstractListModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor, QImage, QPixmap

from app.ui import theme
from app.ui.text import Tone

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint32]

CASE_ROLE: Final = Qt.ItemDataRole.UserRole + 1
MOST_KEPT: Final = 400
"""Pictures in memory, more than any screen holds: 20 MB at 100 %, 80 MB at 200 %."""

Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureWish:
    """What to read for one picture: absolute paths, and the state of the folder they belong to.

    Wishes that are equal have the same picture; `version` changes when the folder's content does.
    """

    case: str
    image: str
    label: str | None
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryItem:
    """One case in the gallery; `tone` and `hint` tell of its worst finding."""

    wish: PictureWish
    tone: Tone | None = None
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CasePicture:
    """A picture of `side` x `side` RGB32 pixels, or none where it cannot be read; `remark` says why."""

    wish: PictureWish
    pixels: Pixels | None
    remark: str = ""


def pixmap_of(picture: CasePicture, side: int) -> QPixmap | None:
    """Return a picture for a place of `side` logical pixels, None where there is none."""
    if picture.pixels is None:
        return None
    rows, columns = picture.pixels.shape
    image = QImage(picture.pixels.tobytes(), columns, rows, 4 * columns, QImage.Format.Format_RGB32)
    pixmap = QPixmap.fromImage(image)
    pixmap.setDevicePixelRatio(columns / side)
    return pixmap


class PictureModel(QAbstractListModel):
    """Shows `GalleryItem`s; `keep` gives an item its picture, `missing` says which has none."""

    def __init__(self, side: int, ratio: float, parent: QObject | None = None) -> None:
        """`side` in logical pixels, `ratio` device pixels for each of them."""
        super().__init__(parent)
        self._side, self._ratio = side, ratio
        self._items: tuple[GalleryItem, ...] = ()
        self._kept: OrderedDict[PictureWish, tuple[QPixmap | None, str]] = OrderedDict()
        self._blank = QPixmap()

    @property
    def items(self) -> tuple[GalleryItem, ...]:
        """What is shown."""
        return self._items

    def show(self, items: tuple[GalleryItem, ...]) -> None:
        """Show other items; pictures of unchanged cases stay."""
        if items == self._items:
            return
        if [one.wish.case for one in items] == [one.wish.case for one in self._items]:
            self._items = items
            self.dataChanged.emit(self.index(0), self.index(len(items) - 1))
            return
        self.beginResetModel()
        self._items = items
        self.endResetModel()

    def missing(self, number: int) -> PictureWish | None:
        """Return what to read for an item, None when it has its picture already."""
        wish = self._items[number].wish
        if wish not in self._kept:
            return wish
        self._kept.move_to_end(wish)
        return None

    def keep(self, picture: CasePicture) -> None:
        """Give an item its picture; one that nobody shows any more is dropped."""
        number = next(
            (place for place, item in enumerate(self._items) if item.wish == picture.wish), None
        )
        if number is None:
            return
        self._kept[picture.wish] = (self._pixmap(picture), picture.remark)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        changed = self.index(number)
        self.dataChanged.emit(changed, changed)

    def _pixmap(self, picture: CasePicture) -> QPixmap | None:
        return pixmap_of(picture, self._side)

    def _empty_square(self) -> QPixmap:
        # Made with the first item: a pixmap needs the application.
        if self._blank.isNull():
            pixels = round(self._side * self._ratio)
            self._blank = QPixmap(pixels, pixels)
            self._blank.setDevicePixelRatio(self._ratio)
            self._blank.fill(QColor(128, 128, 128, 40))
        return self._blank

    # Qt overrides

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(self._items)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        item = self._items[index.row()]
        pixmap, remark = self._kept.get(item.wish, (None, ""))
        result: object = None
        match role:
            case Qt.ItemDataRole.DisplayRole | Qt.ItemDataRole.AccessibleTextRole:
                result = item.wish.case
            case Qt.ItemDataRole.DecorationRole:
                result = pixmap if pixmap is not None else self._empty_square()
            case Qt.ItemDataRole.ToolTipRole:
                result = "\n".join(filter(None, (item.wish.case, remark, item.hint)))
            case Qt.ItemDataRole.ForegroundRole if item.tone is not None:
                result = QColor(theme.colours().tone(item.tone))
            case Qt.ItemDataRole.TextAlignmentRole:
                centre = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop
                result = int(centre)
            case _ if role == CASE_ROLE:
                result = item.wish.case
        return result
