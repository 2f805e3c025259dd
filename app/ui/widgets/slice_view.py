"""One plane of a volume in a pane: draws it, and turns mouse and wheel into wishes.

The pane keeps zoom and pan; slice number, crosshair, window and labels belong to `VolumeView`, which
hands them in as one frozen `PlaneScene`. However many events arrive before a paint, a pane renders
once, because every change only asks Qt for an update.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

import numpy as np
from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QColor,
    QEnterEvent,
    QFont,
    QImage,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import (
    QApplication,
    QLineEdit,
    QPlainTextEdit,
    QSizePolicy,
    QTextEdit,
    QWidget,
)

from app.datasets.geometry import Plane, PlaneView
from app.ui.widgets.rendering import (
    CodedVolume,
    LabelVolume,
    OverlayStyle,
    Pixels,
    grey_pixels,
    overlay_pixels,
    screen_index,
)

PLANE_COLOURS: Final = {
    Plane.AXIAL: "#ff5a52",
    Plane.SAGITTAL: "#f2d13c",
    Plane.CORONAL: "#5fd35f",
}
"""Slicer's and OHIF's colours of the planes."""
_WHEEL_STEP: Final = 120
"""Eighths of a degree per notch; operating systems' lines-per-notch settings are ignored."""
_ZOOM_STEP: Final = 1.15
_LEAST_ZOOM, _MOST_ZOOM = 0.2, 40.0
_SETTLE_MS: Final = 150
"""Images are smoothed only when nothing has moved for so long."""
_FIT: Final = 0.94


class Tool(enum.Enum):
    """What a drag does."""

    CROSSHAIR = "crosshair"
    WINDOW = "window"
    PAN = "pan"
    ZOOM = "zoom"


class MouseProfile(enum.Enum):
    """Which button does what: reading rooms and research tools disagree."""

    PACS = "PACS"
    RESEARCH = "Research (ITK-SNAP, 3D Slicer)"


_BUTTONS: Final = {
    MouseProfile.PACS: {
        Qt.MouseButton.LeftButton: Tool.CROSSHAIR,
        Qt.MouseButton.RightButton: Tool.WINDOW,
        Qt.MouseButton.MiddleButton: Tool.PAN,
    },
    MouseProfile.RESEARCH: {
        Qt.MouseButton.LeftButton: Tool.CROSSHAIR,
        Qt.MouseButton.RightButton: Tool.ZOOM,
        Qt.MouseButton.MiddleButton: Tool.PAN,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneScene:
    """Everything a pane draws. `crosshair` is (slice number, row, column) on this plane."""

    volume: CodedVolume
    prediction: LabelVolume | None
    reference: LabelVolume | None
    view: PlaneView
    pixel_mm: tuple[float, float]
    number: int
    slices: int
    position_mm: float
    crosshair: tuple[int, int, int]
    crosshair_shown: bool
    table: Pixels
    overlay: OverlayStyle | None
    banner: str = ""


class SliceView(QWidget):
    """A pane that shows one plane.

    Signals carry screen facts only: `pointed` (row, column) of the crosshair wish, `scrolled`
    slices, `windowed` (width, level) as shares of the pane, `maximise_wished`, `hovered`
    (row, column) or (-1, -1).
    """

    pointed = Signal(int, int)
    scrolled = Signal(int)
    windowed = Signal(float, float)
    menu_wished = Signal(QPoint)
    maximise_wished = Signal()
    hovered = Signal(int, int)

    def __init__(self, plane: Plane, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plane = plane
        self.profile = MouseProfile.PACS
        self.renders = 0
        """How many times a slice was rendered: the tests hold it against the paint events."""
        self._scene: PlaneScene | None = None
        self._empty_text = ""
        self._zoom = 1.0
        self._pan = QPointF()
        self._tool: Tool | None = None
        self._pressed_at = QPoint()
        self._last = QPoint()
        self._wheel = 0
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(_SETTLE_MS)
        self._settled.timeout.connect(self.update)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(120, 120)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setAccessibleName(f"{plane.value} plane")

    # What is shown

    def show_scene(self, scene: PlaneScene | None, empty_text: str = "") -> None:
        """Draw `scene` at the next paint; without one, say `empty_text`."""
        self._scene, self._empty_text = scene, empty_text
        if scene is not None:
            self.setAccessibleDescription(f"slice {scene.number + 1} of {scene.slices}")
        self._settled.start()
        self.update()

    def reset_view(self) -> None:
        """Fit the slice into the pane."""
        self._zoom, self._pan = 1.0, QPointF()
        self.update()

    def zoom_by(self, factor: float, at: QPointF | None = None) -> None:
        """Zoom about a point of the pane (default: its centre)."""
        at = QPointF(self.rect().center()) if at is None else at
        zoom = min(max(self._zoom * factor, _LEAST_ZOOM), _MOST_ZOOM)
        centre = QPointF(self.rect().center())
        self._pan = at - centre - (at - centre - self._pan) * (zoom / self._zoom)
        self._zoom = zoom
        self._settled.start()
        self.update()

    # Where things are: screen positions in logical pixels

    def _target(self, scene: PlaneScene) -> QRectF:
        """Where the slice lies in the pane."""
        rows, columns = self._extent(scene)
        height_mm, width_mm = rows * scene.pixel_mm[0], columns * scene.pixel_mm[1]
        scale = _FIT * min(self.width() / width_mm, self.height() / height_mm) * self._zoom
        size = QPointF(width_mm * scale, height_mm * scale)
        corner = QPointF(self.width(), self.height()) / 2 - size / 2 + self._pan
        return QRectF(corner.x(), corner.y(), size.x(), size.y())

    @staticmethod
    def _extent(scene: PlaneScene) -> tuple[int, int]:
        shape = scene.volume.shape
        return shape[scene.view.row_axis], shape[scene.view.column_axis]

    def _pixel_at(self, position: QPointF, *, clamp: bool) -> tuple[int, int] | None:
        if self._scene is None:
            return None
        target = self._target(self._scene)
        rows, columns = self._extent(self._scene)
        row = int(np.floor((position.y() - target.y()) / target.height() * rows))
        column = int(np.floor((position.x() - target.x()) / target.width() * columns))
        if clamp:
            return min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)
        return (row, column) if 0 <= row < rows and 0 <= column < columns else None

    # Painting

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(event.rect(), Qt.GlobalColor.black)
        scene = self._scene
        if scene is None:
            painter.setPen(QColor("#9aa4ae"))
            painter.drawText(
                self.rect().adjusted(16, 16, -16, -16),
                int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap),
                self._empty_text,
            )
            return
        target = self._target(scene)
        self._paint_slice(painter, scene, target)
        if scene.crosshair_shown:
            self._paint_crosshair(painter, scene, target)
        self._paint_notes(painter, scene, target)

    def _paint_slice(self, painter: QPainter, scene: PlaneScene, target: QRectF) -> None:
        self.renders += 1
        grey = grey_pixels(scene.volume.cut(scene.view, scene.number), scene.table)
        smooth = not self._settled.isActive()
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, smooth)
        painter.drawImage(target, _image(grey, QImage.Format.Format_RGB32))
        if scene.overlay is None:
            return
        ratio = self.devicePixelRatioF()
        rows, columns = self._extent(scene)
        pixels = overlay_pixels(
            None if scene.prediction is None else scene.prediction.cut(scene.view, scene.number),
            None if scene.reference is None else scene.reference.cut(scene.view, scene.number),
            screen_index(
                rows, round(self.height() * ratio), target.y() * ratio,
                target.height() * ratio / rows,
            ),
            screen_index(
                columns, round(self.width() * ratio), target.x() * ratio,
                target.width() * ratio / columns,
            ),
            scene.overlay,
        )  # fmt: skip
        if pixels is not None:
            image = _image(pixels, QImage.Format.Format_ARGB32_Premultiplied)
            image.setDevicePixelRatio(ratio)
            painter.drawImage(QPointF(0, 0), image)

    def _paint_crosshair(self, painter: QPainter, scene: PlaneScene, target: QRectF) -> None:
        rows, columns = self._extent(scene)
        _, row, column = scene.crosshair
        x = target.x() + (column + 0.5) * target.width() / columns
        y = target.y() + (row + 0.5) * target.height() / rows
        gap = 9.0
        colour = QColor(PLANE_COLOURS[self.plane])
        colour.setAlpha(190)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.setPen(QPen(colour, 1))
        for start, end in (
            (QPointF(0, y), QPointF(x - gap, y)),
            (QPointF(x + gap, y), QPointF(self.width(), y)),
            (QPointF(x, 0), QPointF(x, y - gap)),
            (QPointF(x, y + gap), QPointF(x, self.height())),
        ):
            painter.drawLine(start, end)

    def _paint_notes(self, painter: QPainter, scene: PlaneScene, target: QRectF) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(PLANE_COLOURS[self.plane]), 2))
        painter.drawLine(0, 1, self.width(), 1)
        area = QRectF(self.rect()).adjusted(8, 6, -8, -6)
        font = QFont(self.font())
        font.setBold(True)
        painter.setFont(font)
        edges = (
            (scene.view.left, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter),
            (scene.view.right, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter),
            (scene.view.top, Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop),
            (scene.view.bottom, Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignBottom),
        )
        for letters, where in edges:
            _text(painter, area, where, letters)
        painter.setFont(self.font())
        _text(
            painter, area, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop,
            self.plane.value,
        )  # fmt: skip
        _text(
            painter, area, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignBottom,
            f"{scene.number + 1}/{scene.slices}  {scene.position_mm:.1f} mm",
        )  # fmt: skip
        self._paint_scale(painter, scene, target, area)
        if scene.banner:
            _text(
                painter, area.adjusted(0, 22, 0, 0),
                Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop, scene.banner,
                QColor("#ffcf5c"),
            )  # fmt: skip

    def _paint_scale(
        self, painter: QPainter, scene: PlaneScene, target: QRectF, area: QRectF
    ) -> None:
        """Draw a bar of a round number of millimetres, about a fifth of the pane wide."""
        columns = self._extent(scene)[1]
        pixels_per_mm = target.width() / (columns * scene.pixel_mm[1])
        wanted = self.width() / 5 / pixels_per_mm
        power = 10.0 ** np.floor(np.log10(max(wanted, 1e-6)))
        length_mm = max(step * power for step in (1, 2, 5) if step * power <= wanted)
        right, y = area.right(), area.bottom() - 4
        left = right - length_mm * pixels_per_mm
        painter.setPen(QPen(QColor("#e8ecef"), 2))
        painter.drawLine(QPointF(left, y), QPointF(right, y))
        _text(
            painter, QRectF(area.left(), area.top(), area.width(), area.height() - 8),
            Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignBottom, f"{length_mm:g} mm",
        )  # fmt: skip

    # Mouse and wheel

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._pressed_at = self._last = event.position().toPoint()
        self._tool = _BUTTONS[self.profile].get(event.button())
        if event.modifiers() & Qt.KeyboardModifier.ShiftModifier and self._tool is Tool.CROSSHAIR:
            self._tool = Tool.PAN
        if self._tool is Tool.CROSSHAIR:
            self._point(event.position())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        position = event.position().toPoint()
        moved = position - self._last
        self._last = position
        if self._tool is Tool.CROSSHAIR:
            self._point(event.position())
        elif self._tool is Tool.PAN:
            self._pan += QPointF(moved)
            self._settled.start()
            self.update()
        elif self._tool is Tool.ZOOM:
            self.zoom_by(1.01 ** -moved.y(), QPointF(self._pressed_at))
        elif self._tool is Tool.WINDOW:
            self.windowed.emit(moved.x() / self.width(), -moved.y() / self.height())
        pixel = self._pixel_at(event.position(), clamp=False)
        self.hovered.emit(*((-1, -1) if pixel is None else pixel))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        still = (event.position().toPoint() - self._pressed_at).manhattanLength() < 4
        if event.button() == Qt.MouseButton.RightButton and still:
            self.menu_wished.emit(event.globalPosition().toPoint())
        self._tool = None

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self.maximise_wished.emit()

    def wheelEvent(self, event: QWheelEvent) -> None:
        turned = event.angleDelta().y() or event.angleDelta().x()
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.zoom_by(_ZOOM_STEP ** (turned / _WHEEL_STEP), event.position())
            return
        # Fine wheels and touch pads send fractions of a notch: collect them.
        self._wheel += turned
        steps, self._wheel = int(self._wheel / _WHEEL_STEP), int(np.fmod(self._wheel, _WHEEL_STEP))
        if steps:
            times = 5 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1
            self.scrolled.emit(steps * times)

    def enterEvent(self, event: QEnterEvent) -> None:
        # Keys go to the pane under the pointer, so that they do not die after a slider was used.
        if not isinstance(QApplication.focusWidget(), QLineEdit | QTextEdit | QPlainTextEdit):
            self.setFocus(Qt.FocusReason.MouseFocusReason)
        super().enterEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        self.hovered.emit(-1, -1)
        super().leaveEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._settled.start()
        super().resizeEvent(event)

    def sizeHint(self) -> QSize:
        return QSize(320, 320)

    def _point(self, position: QPointF) -> None:
        pixel = self._pixel_at(position, clamp=True)
        if pixel is not None:
            self.pointed.emit(*pixel)


def _image(pixels: Pixels, form: QImage.Format) -> QImage:
    """Wrap contiguous pixels; the caller paints the image before the array goes away."""
    height, width = pixels.shape
    return QImage(pixels.data, width, height, 4 * width, form)


def _text(
    painter: QPainter,
    area: QRectF,
    where: Qt.AlignmentFlag,
    text: str,
    colour: QColor | None = None,
) -> None:
    """Write over an image: black casing keeps letters readable on white."""
    painter.setPen(QColor(0, 0, 0, 200))
    for x, y in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        painter.drawText(area.translated(x, y), int(where), text)
    painter.setPen(QColor("#e8ecef") if colour is None else colour)
    painter.drawText(area, int(where), text)
