"""One plane of a volume in a pane: draws it, and turns mouse and wheel into wishes.

The pane keeps zoom and pan; slice number, crosshair, window and labels belong to `VolumeView`, which
hands them in as one frozen `PlaneScene`. However many events arrive before a paint, a pane renders
once, because every change only asks Qt for an update; and a paint renders nothing when only the
crosshair has moved, because the picture under it is kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from PySide6.QtCore import QEvent, QPoint, QPointF, QRect, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import (
    QColor,
    QEnterEvent,
    QFontMetricsF,
    QImage,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QLineEdit,
    QPlainTextEdit,
    QSizePolicy,
    QTextEdit,
    QWidget,
)

from app.datasets.geometry import Plane, PlaneView
from app.ui.widgets.rendering import (
    GreyPaint,
    LabelSlice,
    OverlayPaint,
    Pixels,
    Scratch,
    ScreenAxis,
    label_slice,
    line_parts,
    slice_pixels,
)
from app.ui.widgets.slice_notes import Note, note_of, number_note
from app.ui.widgets.viewer_keys import BUTTONS, MouseProfile, Tool
from app.ui.widgets.viewer_volumes import CodedVolume, LabelVolume

PLANE_COLOURS: Final = {
    Plane.AXIAL: "#ff5a52",
    Plane.SAGITTAL: "#f2d13c",
    Plane.CORONAL: "#5fd35f",
}
"""Slicer's and OHIF's colours of the planes."""
_TEXT: Final = "#e8ecef"
_QUIET: Final = "#d0d7dd"
_WARNING: Final = "#ffcf5c"
_WHEEL_STEP: Final = 120
"""Eighths of a degree per notch; operating systems' lines-per-notch settings are ignored."""
_FAST_SLICES: Final = 5
_ZOOM_STEP: Final = 1.15
_LEAST_ZOOM, _MOST_ZOOM = 0.2, 40.0
_SETTLE_MS: Final = 150
"""Images are smoothed only when nothing has moved for so long."""
_FIT: Final = 0.94
_GAP: Final = 9
"""Logical pixels around the crosshair's centre that its lines leave free."""
_STILL_PIXELS: Final = 4
"""A press that moves less is a click."""
_NARROW: Final = 280
"""Panes narrower than this show only what must be on screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceContent:
    """What a pane shows apart from the crosshair; equal contents look alike.

    `prediction` and `reference` are the label maps to draw (None: not shown), `overlay` their
    tables. `corner` is the text at the top right, `banner` a warning over the image.
    """

    volume: CodedVolume
    prediction: LabelVolume | None
    reference: LabelVolume | None
    view: PlaneView
    pixel_mm: tuple[float, float]
    number: int
    slices: int
    position_mm: float
    grey: GreyPaint
    overlay: OverlayPaint | None
    corner: str = ""
    banner: str = ""

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns of the slice."""
        shape = self.volume.shape
        return shape[self.view.row_axis], shape[self.view.column_axis]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneScene:
    """A slice and the crosshair over it: (row, column), None when it is hidden."""

    content: SliceContent
    crosshair: tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rendered:
    """A slice as pixels, with the labels whose lines are still to be drawn over it."""

    content: SliceContent
    step: tuple[int, int]
    pixels: Pixels
    prediction: LabelSlice | None
    reference: LabelSlice | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Layout:
    """Where a slice lies in its pane, its edges on device pixels, and what the screen leaves out.

    `target` is in logical pixels, `device` (left, top, width, height) in those of the device.
    `step` says which part of the rows and columns has pixels on the screen; a scale is as long
    as `scale_mm` and `scale_pixels` say.
    """

    target: QRectF
    device: tuple[int, int, int, int]
    ratio: float
    rows: ScreenAxis
    columns: ScreenAxis
    step: tuple[int, int]
    scale_mm: float
    scale_pixels: float


class SliceView(QWidget):
    """A pane that shows one plane.

    Signals carry screen facts only: `pointed` (row, column) of the crosshair wish, `scrolled`
    slices, `windowed` (width, level) as shares of the pane, `maximise_wished`, `menu_wished`
    (global position), `hovered` (row, column) or (-1, -1).
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
        """How often a slice was turned into pixels: the tests hold it against the events."""
        self.paints = 0
        self._scene: PlaneScene | None = None
        self._empty_text = ""
        self._zoom = 1.0
        self._pan = QPointF()
        self._last_rendered: _Rendered | None = None
        self._kept = Scratch()
        self._fresh = True
        self._layout_key: tuple[object, ...] = ()
        self._laid_out: _Layout | None = None
        self._notes_key: tuple[object, ...] = ()
        self._notes: list[tuple[QPointF, QImage]] = []
        self._canvas: QImage | None = None
        self._picture: QImage | None = None
        self._banner = QRectF()
        self._smooth = False
        self._tool: Tool | None = None
        self._clicking = False
        self._pressed_at = QPoint()
        self._last = QPoint()
        self._wheel = 0
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(_SETTLE_MS)
        self._settled.timeout.connect(self._settle)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(120, 120)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setAccessibleName(f"{plane.value} plane")
        self._take_font()

    # What is shown

    @property
    def scene(self) -> PlaneScene | None:
        """What the pane shows."""
        return self._scene

    @property
    def zoom(self) -> float:
        """1 when the slice fits the pane."""
        return self._zoom

    @property
    def moving(self) -> bool:
        """True while something changed a moment ago: no time for anything that can wait."""
        return self._settled.isActive()

    def show_scene(self, scene: PlaneScene | None, empty_text: str = "") -> None:
        """Draw `scene` at the next paint; without one, say `empty_text`."""
        last = self._scene
        if scene is not None and last is not None and scene.content == last.content:
            if scene != last:
                self._scene = scene
                self.update(self._band(last.crosshair, scene.crosshair))
            return
        self._scene, self._empty_text = scene, empty_text
        self._redraw()

    def reset_view(self) -> None:
        """Fit the slice into the pane."""
        self._zoom, self._pan = 1.0, QPointF()
        self._redraw()

    def zoom_by(self, factor: float, at: QPointF | None = None) -> None:
        """Zoom about a point of the pane (default: its centre)."""
        centre = QPointF(self.width() / 2, self.height() / 2)
        at = centre if at is None else at
        zoom = min(max(self._zoom * factor, _LEAST_ZOOM), _MOST_ZOOM)
        self._pan = at - centre - (at - centre - self._pan) * (zoom / self._zoom)
        self._zoom = zoom
        self._redraw()

    def pan_by(self, right: float, down: float) -> None:
        """Move the slice in the pane, in logical pixels."""
        self._pan += QPointF(right, down)
        self._redraw()

    def _band(self, before: tuple[int, int] | None, after: tuple[int, int] | None) -> QRect:
        """Return what must be painted again when only the crosshair and its gap have moved."""
        if before is None or after is None:
            return self.rect()
        old, new = self._lines(before), self._lines(after)
        if old[0] == new[0]:
            first, last = sorted((old[1], new[1]))
            return QRect(0, first - _GAP, self.width(), last - first + 2 * _GAP)
        if old[1] == new[1]:
            first, last = sorted((old[0], new[0]))
            return QRect(first - _GAP, 0, last - first + 2 * _GAP, self.height())
        return self.rect()

    def _lines(self, crosshair: tuple[int, int]) -> tuple[int, int]:
        """Return where the crosshair's lines lie: x of one and y of the other."""
        centre = self.position_of(*crosshair)
        return round(centre.x()), round(centre.y())

    def _take_font(self) -> None:
        self._font_key = self.font().toString()
        self._line_height = QFontMetricsF(self.font()).height()

    def _redraw(self) -> None:
        self._picture, self._smooth, self._fresh = None, False, True
        self._settled.start()
        self.update()

    def _settle(self) -> None:
        if self._scene is not None and not self._smooth:
            self._picture, self._smooth = None, True
            self.update()

    # Where things are: screen positions in logical pixels

    def _layout(self, content: SliceContent) -> _Layout:
        ratio, width, height = self.devicePixelRatioF(), self.width(), self.height()
        pan = self._pan.toTuple()
        key = (content.extent, content.pixel_mm, ratio, width, height, self._zoom, pan)
        if self._laid_out is None or key != self._layout_key:
            self._layout_key = key
            self._laid_out = self._lay_out(content, ratio)
        return self._laid_out

    def _lay_out(self, content: SliceContent, ratio: float) -> _Layout:
        rows, columns = content.extent
        height_mm, width_mm = rows * content.pixel_mm[0], columns * content.pixel_mm[1]
        scale = _FIT * min(self.width() / width_mm, self.height() / height_mm) * self._zoom
        width = max(1, round(width_mm * scale * ratio))
        height = max(1, round(height_mm * scale * ratio))
        left = round((self.width() / 2 + self._pan.x()) * ratio - width / 2)
        top = round((self.height() / 2 + self._pan.y()) * ratio - height / 2)
        # A round number of millimetres, about a fifth of the pane.
        pixels_per_mm = width / ratio / width_mm
        wanted_mm = self.width() / 5 / pixels_per_mm
        power = 10.0 ** math.floor(math.log10(wanted_mm))
        scale_mm = power * next((step for step in (5, 2) if step * power <= wanted_mm), 1)
        return _Layout(
            target=QRectF(left / ratio, top / ratio, width / ratio, height / ratio),
            device=(left, top, width, height),
            ratio=ratio,
            rows=ScreenAxis(start=top, scale=height / rows, pixels=round(self.height() * ratio)),
            columns=ScreenAxis(
                start=left, scale=width / columns, pixels=round(self.width() * ratio)
            ),
            step=(_step(rows, height), _step(columns, width)),
            scale_mm=scale_mm,
            scale_pixels=scale_mm * pixels_per_mm,
        )

    def _pixel_at(self, position: QPointF, *, clamp: bool) -> tuple[int, int] | None:
        if self._scene is None:
            return None
        target = self._layout(self._scene.content).target
        rows, columns = self._scene.content.extent
        row = int(np.floor((position.y() - target.y()) / target.height() * rows))
        column = int(np.floor((position.x() - target.x()) / target.width() * columns))
        if clamp:
            return min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)
        return (row, column) if 0 <= row < rows and 0 <= column < columns else None

    def position_of(self, row: int, column: int) -> QPointF:
        """Return where the centre of a pixel of the slice lies in the pane.

        Raises:
            ValueError: nothing is shown.
        """
        if self._scene is None:
            raise ValueError("the pane is empty")
        target = self._layout(self._scene.content).target
        rows, columns = self._scene.content.extent
        return QPointF(
            target.x() + (column + 0.5) * target.width() / columns,
            target.y() + (row + 0.5) * target.height() / rows,
        )

    # Painting

    def paintEvent(self, event: QPaintEvent) -> None:
        self.paints += 1
        painter = QPainter(self)
        scene = self._scene
        if scene is None:
            painter.fillRect(event.rect(), Qt.GlobalColor.black)
            painter.setPen(QColor(_QUIET))
            painter.drawText(
                self.rect().adjusted(16, 16, -16, -16),
                int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap),
                self._empty_text,
            )
            return
        content = scene.content
        layout = self._layout(content)
        if self._fresh and not self._smooth:
            # Most slices are seen once. The picture is kept from the second time on.
            self._fresh = False
            if layout.ratio == 1:
                self._draw(painter, content, layout)
            else:
                painter.save()
                painter.scale(1 / layout.ratio, 1 / layout.ratio)
                self._draw(painter, content, layout)
                painter.restore()
        else:
            if self._picture is None or self._picture.devicePixelRatio() != layout.ratio:
                self._picture = self._make_picture(content, layout)
            painter.drawImage(_CORNER, self._picture)
        if scene.crosshair is not None:
            self._paint_crosshair(painter, scene.crosshair)
        self._paint_notes(painter, content, layout)

    def _make_picture(self, content: SliceContent, layout: _Layout) -> QImage:
        size = QSize(layout.columns.pixels, layout.rows.pixels)
        picture = self._canvas
        if picture is None or picture.size() != size:
            picture = self._canvas = QImage(size, QImage.Format.Format_RGB32)
        picture.setDevicePixelRatio(1.0)
        painter = QPainter(picture)
        self._draw(painter, content, layout)
        painter.end()
        picture.setDevicePixelRatio(layout.ratio)
        return picture

    def _draw(self, painter: QPainter, content: SliceContent, layout: _Layout) -> None:
        """Draw the slice and the lines of its labels; the painter counts in device pixels."""
        left, top, width, height = layout.device
        right, bottom = left + width, top + height
        across, down = layout.columns.pixels, layout.rows.pixels
        for x, y, wide, high in (
            (0, 0, across, top),
            (0, bottom, across, down - bottom),
            (0, top, left, height),
            (right, top, across - right, height),
        ):
            if wide > 0 and high > 0:
                painter.fillRect(x, y, wide, high, _BLACK)
        rows, columns = content.extent
        # A radiograph may have ten times as many pixels as the screen shows, and a long CT twice
        # as many columns as its sagittal plane.
        step = (1, 1) if self._smooth else layout.step
        rendered = self._rendered(content, step)
        pixels = rendered.pixels
        if self._smooth:
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawImage(
            QRectF(
                left,
                top,
                width * step[1] * pixels.shape[1] / columns,
                height * step[0] * pixels.shape[0] / rows,
            ),
            _image(pixels, QImage.Format.Format_RGB32),
        )
        if content.overlay is not None:
            for part in line_parts(
                rendered.prediction,
                rendered.reference,
                layout.rows,
                layout.columns,
                content.overlay,
            ):
                painter.drawImage(
                    QPoint(part.left, part.top),
                    _image(part.pixels, QImage.Format.Format_ARGB32_Premultiplied),
                )

    def _rendered(self, content: SliceContent, step: tuple[int, int]) -> _Rendered:
        """Turn a slice into pixels unless that was done already; `step` leaves rows out."""
        last = self._last_rendered
        if last is not None and last.step == step and last.content == content:
            return last
        self.renders += 1
        prediction, reference = (
            None if labels is None else _cut_labels(labels, content.view, content.number)
            for labels in (content.prediction, content.reference)
        )
        codes = content.volume.cut(content.view, content.number)
        filled, fill = None, _NO_FILL
        if content.overlay is not None:
            hatched = content.overlay.compared and content.overlay.style.errors
            if not hatched:
                filled = reference if content.prediction is None else prediction
                fill = content.overlay.fill
        self._last_rendered = _Rendered(
            content=content,
            step=step,
            pixels=slice_pixels(
                codes, content.grey.table, filled, fill, step=step, scratch=_SCRATCH, out=self._kept
            ),
            prediction=prediction,
            reference=reference,
        )
        return self._last_rendered

    def _paint_crosshair(self, painter: QPainter, crosshair: tuple[int, int]) -> None:
        x, y = self._lines(crosshair)
        # Filled and opaque: for anything else Qt hands 600 spans to other threads and waits for
        # them, which took 2 ms a line on a busy machine and takes 0.02 ms so.
        colour = _CROSSHAIRS[self.plane]
        painter.fillRect(0, y, x - _GAP, 1, colour)
        painter.fillRect(x + _GAP, y, self.width() - x - _GAP, 1, colour)
        painter.fillRect(x, 0, 1, y - _GAP, colour)
        painter.fillRect(x, y + _GAP, 1, self.height() - y - _GAP, colour)

    def _paint_notes(self, painter: QPainter, content: SliceContent, layout: _Layout) -> None:
        """Say what is seen, over image and crosshair: nothing may cover the letters of the sides."""
        key = (
            self._layout_key, self._font_key, content.view, content.grey.window, content.corner,
            content.banner,
        )  # fmt: skip
        if key != self._notes_key:
            self._notes_key, self._notes = key, self._standing_notes(content, layout)
        painter.fillRect(0, 0, self.width(), 2, _COLOURS[self.plane])
        right, bottom = self.width() - 7.0, self.height() - 9.0
        length = layout.scale_pixels
        painter.fillRect(QRectF(right - length - 1, bottom, length + 2, 4), _BLACK)
        painter.fillRect(QRectF(right - length, bottom + 1, length, 2), _BRIGHT)
        if content.banner:
            painter.fillRect(self._banner, _BANNER)
        for at, image in self._notes:
            painter.drawImage(at, image)
        line = 7.0 + self._line_height
        number = f"{content.number + 1} / {content.slices}"
        note = number_note(number, self._font_key, colour=_TEXT, ratio=layout.ratio)
        painter.drawImage(QPointF(7.0, line), note.image)
        if self.width() >= _NARROW:
            place = f"{content.position_mm:.1f} mm"
            note = number_note(place, self._font_key, colour=_QUIET, ratio=layout.ratio)
            painter.drawImage(QPointF(7.0, line + self._line_height), note.image)

    def _standing_notes(
        self, content: SliceContent, layout: _Layout
    ) -> list[tuple[QPointF, QImage]]:
        """Return the notes that are the same in every slice, and where they lie."""
        line, right = self._line_height, self.width() - 7.0
        top, bottom = 7.0, self.height() - 6 - line
        window, view, ratio = content.grey.window, content.view, layout.ratio
        notes = [
            (self.plane.value.capitalize(), PLANE_COLOURS[self.plane], 0, top),
            (f"{layout.scale_mm:g} mm", _TEXT, 1, bottom - 5),
        ]
        if self.width() >= _NARROW:
            inverted = "  inverted" if window.inverted else ""
            notes += [
                (f"W {window.width:.4g}  L {window.level:.4g}{inverted}", _QUIET, 0, bottom),
                (content.corner, _QUIET, 1, top),
                (f"{self._zoom:.0%}", _QUIET, 1, top + (line if content.corner else 0)),
            ]
        placed = []
        for text, colour, side, y in notes:
            if text:
                note = self._note(text, ratio, colour=colour)
                placed.append((QPointF(right - note.width if side else 7.0, y), note.image))
        margin = 7
        for letters, across, down in (
            (view.left, 0.0, 0.5),
            (view.right, 1.0, 0.5),
            (view.top, 0.5, 0.0),
            (view.bottom, 0.5, 1.0),
        ):
            if letters:
                note = self._note(letters, ratio, bold=True)
                x = margin + across * (self.width() - note.width - 2 * margin)
                y = margin + down * (self.height() - note.height - 2 * margin)
                placed.append((QPointF(x, y), note.image))
        if content.banner:
            note = self._note(content.banner, ratio, bold=True, colour=_WARNING)
            x, y = (self.width() - note.width) / 2, bottom - 2 - 2.4 * line
            self._banner = QRectF(x - 8, y - 3, note.width + 16, note.height + 6)
            placed.append((QPointF(x, y), note.image))
        return placed

    def _note(self, text: str, ratio: float, *, bold: bool = False, colour: str = _TEXT) -> Note:
        return note_of(text, self._font_key, bold=bold, colour=colour, ratio=ratio)

    # Mouse and wheel

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._pressed_at = self._last = event.position().toPoint()
        self._clicking = True
        plain, shifted = BUTTONS[self.profile].get(event.button(), (None, None))
        shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        self._tool = shifted if shift else plain
        if self._tool is Tool.CROSSHAIR:
            self._point(event.position())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        position = event.position().toPoint()
        if (position - self._pressed_at).manhattanLength() >= _STILL_PIXELS:
            self._clicking = False
        if self._tool is Tool.CROSSHAIR:
            self._point(event.position())
        elif self._tool is not None and not self._clicking:
            self._drag(self._tool, position - self._last)
        if not self._clicking or self._tool is None:
            self._last = position
        pixel = self._pixel_at(event.position(), clamp=False)
        self.hovered.emit(*((-1, -1) if pixel is None else pixel))

    def _drag(self, tool: Tool, moved: QPoint) -> None:
        if tool is Tool.PAN:
            self.pan_by(moved.x(), moved.y())
        elif tool is Tool.ZOOM:
            self.zoom_by(1.01 ** -moved.y(), QPointF(self._pressed_at))
        elif tool is Tool.WINDOW:
            self.windowed.emit(moved.x() / self.width(), -moved.y() / self.height())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.RightButton and self._clicking:
            self.menu_wished.emit(event.globalPosition().toPoint())
        self._tool, self._clicking = None, False

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
        steps = int(self._wheel / _WHEEL_STEP)
        self._wheel -= steps * _WHEEL_STEP
        if steps:
            shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self.scrolled.emit(steps * (_FAST_SLICES if shift else 1))

    def enterEvent(self, event: QEnterEvent) -> None:
        # Keys go to the pane under the pointer, so that they do not die after a slider was used.
        writing = QLineEdit | QTextEdit | QPlainTextEdit | QAbstractSpinBox
        if not isinstance(QApplication.focusWidget(), writing):
            self.setFocus(Qt.FocusReason.MouseFocusReason)
        super().enterEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        self.hovered.emit(-1, -1)
        super().leaveEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._redraw()
        super().resizeEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.FontChange:
            self._take_font()
            self._redraw()
        super().changeEvent(event)

    def sizeHint(self) -> QSize:
        return QSize(320, 320)

    def _point(self, position: QPointF) -> None:
        pixel = self._pixel_at(position, clamp=True)
        if pixel is not None:
            self.pointed.emit(*pixel)


_CORNER: Final = QPoint(0, 0)
_SCRATCH: Final = Scratch()
"""Panes are drawn one after the other, in one thread."""
_COLOURS: Final = {plane: QColor(colour) for plane, colour in PLANE_COLOURS.items()}
_CROSSHAIRS: Final = {plane: colour.darker(125) for plane, colour in _COLOURS.items()}
_BLACK, _BRIGHT, _BANNER = QColor("#000000"), QColor(_TEXT), QColor(46, 36, 8)
_NO_FILL: Final[Pixels] = np.zeros((1, 256), np.uint32)


def _step(count: int, pixels: int) -> int:
    """Return which part of `count` rows is enough while moving; a twentieth too few is not seen."""
    return max(1, int(1.05 * count / pixels))


def _cut_labels(labels: LabelVolume, view: PlaneView, number: int) -> LabelSlice | None:
    if not labels.ready:
        return label_slice(labels.cut(view, number))
    box = labels.box(view, number)
    return None if box is None else LabelSlice(labels.cut(view, number), box)


def _image(pixels: Pixels, form: QImage.Format) -> QImage:
    """Wrap contiguous pixels; the caller paints the image before the array goes away."""
    height, width = pixels.shape
    return QImage(pixels.data, width, height, 4 * width, form)
