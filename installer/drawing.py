"""Draw an SVG as PNG, or as a Windows icon of several sizes. Runs in a build environment, with Qt.

python -m installer.drawing PICTURE.svg TARGET.png SIZE
python -m installer.drawing PICTURE.svg TARGET.ico 16 24 32 48 64 256
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path


def draw(svg: Path, size: int) -> bytes:
    """Return the picture as PNG, `size` pixels square, its background transparent."""
    from PySide6.QtCore import QBuffer, QByteArray, QIODevice
    from PySide6.QtGui import QGuiApplication, QImage, QImageWriter, QPainter
    from PySide6.QtSvg import QSvgRenderer

    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    if QGuiApplication.instance() is None:
        # Kept by Qt itself; fonts and pictures need one.
        draw.__dict__["application"] = QGuiApplication([])
    image = QImage(size, size, QImage.Format.Format_ARGB32)
    image.fill(0)
    painter = QPainter(image)
    QSvgRenderer(str(svg)).render(painter)
    painter.end()
    data = QByteArray()
    buffer = QBuffer(data)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    QImageWriter(buffer, QByteArray(b"png")).write(image)
    return bytes(data.data())


def icon(pictures: Sequence[tuple[int, bytes]]) -> bytes:
    """Return a Windows icon that holds the PNG `pictures`, each with its size in pixels.

    The header is 6 bytes, each entry 16 (ICONDIR and ICONDIRENTRY of the Windows headers); a size
    of 256 is written as 0.
    """
    offset = 6 + 16 * len(pictures)
    entries, data = b"", b""
    for size, picture in pictures:
        side = size % 256
        entries += struct.pack("<BBBBHHII", side, side, 0, 0, 1, 32, len(picture), offset)
        data += picture
        offset += len(picture)
    return struct.pack("<HHH", 0, 1, len(pictures)) + entries + data


def main(arguments: Sequence[str]) -> int:
    svg, target, *sizes = arguments
    pictures = [(int(size), draw(Path(svg), int(size))) for size in sizes]
    whole = icon(pictures) if target.endswith(".ico") else pictures[0][1]
    Path(target).write_bytes(whole)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
