"""Small pictures of cases: what to read for each, and the pixels that the gallery shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.ui.models.pictures import CasePicture, PictureWish

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint32]


_MAP_ABOVE_BYTES: Final = 256 * 1024 * 1024
"""Of a larger image only the slice that is drawn is read from disk."""

_SIDE_OF_THIN_LINES: Final = 100
"""Lines are one pixel wide for each so many pixels of the picture's side."""


def read_picture(wish: PictureWish, side: int) -> CasePicture:
    """Read a case and draw the middle slice of its largest label; never in the Qt thread.

    Raises:
        DataProblem: the image or its label cannot be read.
    """
    from app.datasets.images import read_volume
    from app.datasets.thumbnails import thumbnail

    image = read_volume(Path(wish.image), map_above_bytes=_MAP_ABOVE_BYTES)
    label = read_volume(Path(wish.label)) if wish.label is not None else None
    drawn = thumbnail(image, label, longest_side=side)
    remark = ""
    if label is None:
        remark = "This case has no label."
    elif not drawn.fits:
        remark = "The label has another size than the image and is not drawn."
    elif not drawn.labels.any():
        remark = "The label is empty."
    return CasePicture(wish=wish, pixels=_painted(drawn.grey, drawn.labels, side), remark=remark)


def _painted(grey: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], side: int) -> Pixels:
    """Lay contours over the slice and centre it on a black square."""
    import numpy as np

    from app.ui.widgets.rendering import OPAQUE, label_colour

    pixels = grey.astype(np.uint32) * 0x010101
    edge = _contour(labels, max(1, round(side / _SIDE_OF_THIN_LINES)))
    for value in np.unique(labels[edge]):
        pixels[edge & (labels == value)] = label_colour(int(value))
    square = np.zeros((side, side), np.uint32)
    top, left = (side - grey.shape[0]) // 2, (side - grey.shape[1]) // 2
    square[top : top + grey.shape[0], left : left + grey.shape[1]] = pixels
    return square | np.uint32(OPAQUE)


def _contour(labels: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.bool_]:
    """Return the labelled pixels within `width` of another label, the background or the rim."""
    import numpy as np

    rows, columns = labels.shape
    framed = np.pad(labels, width)
    touches = np.zeros(labels.shape, dtype=bool)
    for step in range(1, width + 1):
        for down, right in ((step, 0), (-step, 0), (0, step), (0, -step)):
            top, left = width + down, width + right
            touches |= framed[top : top + rows, left : left + columns] != labels
    return np.asarray(touches & (labels > 0), dtype=bool)
