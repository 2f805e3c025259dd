"""Three linked planes of one image with label overlays, and the controls beside them.

Used by Data (image and label) and Review (prediction over reference). It is given arrays that
somebody else has read; it opens no file. All three planes share one crosshair in voxels (z, y, x).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QPoint, QSize, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QKeyEvent, QPixmap
from PySide6.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from app.datasets.geometry import Convention, Geometry, Plane, Voxel, is_oblique, plane_view
from app.ui.widgets.rendering import (
    CodedVolume,
    LabelVolume,
    OverlayStyle,
    Pixels,
    Window,
    grey_table,
    label_colours,
)
from app.ui.widgets.slice_view import MouseProfile, PlaneScene, SliceView

if TYPE_CHECKING:
    from app.datasets.images import Volume

CT_PRESETS: Final = {
    1: ("Soft tissue", Window(width=400, level=40)),
    2: ("Lung", Window(width=1500, level=-600)),
    3: ("Liver", Window(width=150, level=90)),
    4: ("Bone", Window(width=2500, level=480)),
    5: ("Brain", Window(width=80, level=40)),
    6: ("Mediastinum", Window(width=400, level=80)),
    7: ("Abdomen", Window(width=320, level=50)),
}
_TRANSPOSE_AT_ONCE: Final = 64 << 20
"""Voxels up to which the sagittal copy is made without asking; above it waits for `prepare`."""
_SIDE_WIDTH: Final = 232
_OPACITY_STEP: Final = 0.1
_UNKNOWN: Final = "orientation unknown"


class VolumeView(QWidget):
    """Axial, sagittal and coronal pane with crosshair, window, labels.

    Set the image with `set_volume` (None empties the view), then the labels with `set_labels`.
    `crosshair_moved` carries the voxel (z, y, x); `status_changed` one line about the voxel under
    the pointer.
    """

    crosshair_moved = Signal(int, int, int)
    status_changed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._volume: CodedVolume | None = None
        self._geometry: Geometry | None = None
        self._unit = ""
        self._window = Window(width=1, level=0)
        self._table: Pixels = np.zeros(1, np.uint32)
        self._extremes = (0.0, 1.0)
        self._prediction: LabelVolume | None = None
        self._reference: LabelVolume | None = None
        self._names: dict[int, str] = {}
        self._style = OverlayStyle(colours={})
        self._overlay_shown = True
        self._crosshair: Voxel = (0, 0, 0)
        self._crosshair_shown = True
        self._convention = Convention.RADIOLOGICAL
        self._maximised: Plane | None = None
        self._empty_text = "Choose a case to see it here."
        self._panes = {plane: SliceView(plane, self) for plane in Plane}
        self._lay_out()
        for pane in self._panes.values():
            self._connect(pane)
        self._refresh()

    # What is shown

    def set_volume(self, volume: Volume | None, *, empty_text: str | None = None) -> None:
        """Show an image; labels of the last one are dropped. None shows `empty_text` instead."""
        self._prediction = self._reference = None
        if empty_text is not None:
            self._empty_text = empty_text
        if volume is None:
            self._volume = self._geometry = None
        else:
            self._volume, self._geometry = CodedVolume(volume.array), volume.geometry
            if volume.array.size <= _TRANSPOSE_AT_ONCE:
                self._volume.transpose()
            self._window = self._volume.automatic_window()
            self._extremes = self._volume.extremes()
            shape = self._volume.shape
            self._crosshair = (shape[0] // 2, shape[1] // 2, shape[2] // 2)
            self._maximised = Plane.AXIAL if volume.geometry.planar else None
            for pane in self._panes.values():
                pane.reset_view()
        self._rebuild_table()
        self._arrange()
        self._refresh()

    def set_labels(
        self,
        prediction: npt.NDArray[Any] | None,
        reference: npt.NDArray[Any] | None,
        names: Mapping[int, str] | None = None,
    ) -> None:
        """Lay label maps (z, y, x) over the image; both must have its shape.

        Raises:
            ValueError: a map has another shape than the image.
        """
        volumes: list[LabelVolume | None] = []
        for array in (prediction, reference):
            if array is not None and (self._volume is None or array.shape != self._volume.shape):
                raise ValueError(f"labels of shape {array.shape} over another image")
            volumes.append(None if array is None else LabelVolume(array))
        self._prediction, self._reference = volumes
        for labels in volumes:
            if labels is not None and labels.labels.size <= _TRANSPOSE_AT_ONCE:
                labels.transpose()
        if names is not None:
            self._names = dict(names)
            self._style = replace(self._style, colours=label_colours(sorted(self._names)))
        self._fill_legend()
        self._refresh()

    def prepare(self) -> None:
        """Make the copies that keep sagittal slices quick; for a large image, when there is time."""
        for part in (self._volume, self._prediction, self._reference):
            if part is not None:
                part.transpose()

    def go_to(self, voxel: Voxel) -> None:
        """Move the crosshair to a voxel (z, y, x), clamped into the image."""
        if self._volume is None:
            return
        z, y, x = (
            min(max(position, 0), count - 1)
            for position, count in zip(voxel, self._volume.shape, strict=True)
        )
        if (z, y, x) != self._crosshair:
            self._crosshair = (z, y, x)
            self.crosshair_moved.emit(z, y, x)
            self._refresh()

    @property
    def crosshair(self) -> Voxel:
        """The voxel (z, y, x) under the crosshair."""
        return self._crosshair

    @property
    def window_level(self) -> Window:
        """The grey window in force."""
        return self._window

    def set_window(self, window: Window) -> None:
        """Put a grey window in force."""
        self._window = replace(window, width=max(window.width, 1e-6))
        self._rebuild_table()
        self._refresh()

    def set_convention(self, convention: Convention) -> None:
        """Show the patient's right on the left (radiological) or on the right."""
        self._convention = convention
        self._refresh()

    def set_profile(self, profile: MouseProfile) -> None:
        """Choose what the mouse buttons do."""
        for pane in self._panes.values():
            pane.profile = profile

    def set_style(self, style: OverlayStyle) -> None:
        """Put an overlay style in force."""
        self._style = style
        self._refresh()

    @property
    def style_in_force(self) -> OverlayStyle:
        """How labels are drawn now."""
        return self._style

    @property
    def panes(self) -> Mapping[Plane, SliceView]:
        """The three panes, for tests and screenshots."""
        return self._panes

    # Layout

    def _lay_out(self) -> None:
        self._grid = QGridLayout()
        self._grid.setSpacing(2)
        self._places = {Plane.AXIAL: (0, 0), Plane.SAGITTAL: (0, 1), Plane.CORONAL: (1, 0)}
        for plane, (row, column) in self._places.items():
            self._grid.addWidget(self._panes[plane], row, column)
        self._side = self._make_side()
        self._grid.addWidget(self._side, 1, 1)
        for index in (0, 1):
            self._grid.setRowStretch(index, 1)
            self._grid.setColumnStretch(index, 1)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(4)
        whole.addLayout(self._grid, 1)
        self._status = QLabel("", self)
        self._status.setObjectName("viewerStatus")
        self._status.setProperty("role", "muted")
        self._status.setMinimumWidth(1)
        whole.addWidget(self._status)

    def _make_side(self) -> QWidget:
        side = QWidget(self)
        side.setMinimumWidth(_SIDE_WIDTH)
        column = QVBoxLayout(side)
        column.setContentsMargins(12, 8, 8, 8)
        column.setSpacing(6)
        self._legend = QListWidget(side)
        self._legend.setAccessibleName("Labels")
        self._legend.setToolTip("Tick the labels to show (Alt+1 to Alt+9)")
        self._legend.itemChanged.connect(self._legend_changed)
        self._legend.setMaximumHeight(132)
        column.addWidget(self._legend)
        opacity = QHBoxLayout()
        opacity.addWidget(QLabel("Opacity", side))
        self._opacity = QSlider(Qt.Orientation.Horizontal, side)
        self._opacity.setRange(0, 100)
        self._opacity.setValue(round(self._style.opacity * 100))
        self._opacity.setAccessibleName("Opacity of the labels")
        self._opacity.setToolTip("Opacity of the fill (- and =)")
        self._opacity.valueChanged.connect(self._opacity_changed)
        opacity.addWidget(self._opacity, 1)
        column.addLayout(opacity)
        self._boxes = {
            "prediction": _box(side, "Prediction", "Show the prediction (H)"),
            "reference": _box(side, "Reference", "Dashed outline of the reference (G)"),
            "fill": _box(side, "Fill", "Fill labels, or outlines only (O)"),
            "errors": _box(side, "Errors", "False positives blue, false negatives orange (E)"),
        }
        self._boxes["errors"].setChecked(False)
        grid = QGridLayout()
        for index, box in enumerate(self._boxes.values()):
            box.toggled.connect(self._boxes_changed)
            grid.addWidget(box, index // 2, index % 2)
        column.addLayout(grid)
        self._window_label = QLabel("", side)
        self._window_label.setProperty("role", "muted")
        column.addWidget(self._window_label)
        automatic = QPushButton("Automatic contrast", side)
        automatic.setToolTip("Window over the 0.5th to 99.5th percentile (0)")
        automatic.clicked.connect(self.automatic_window)
        column.addWidget(automatic)
        column.addStretch(1)
        return side

    def _connect(self, pane: SliceView) -> None:
        plane = pane.plane
        pane.pointed.connect(lambda row, col: self._pointed(plane, row, col))
        pane.scrolled.connect(lambda steps: self.step(plane, steps))
        pane.windowed.connect(self._drag_window)
        pane.maximise_wished.connect(lambda: self.maximise(plane))
        pane.menu_wished.connect(self._window_menu)
        pane.hovered.connect(lambda row, col: self._hovered(plane, row, col))

    # Wishes

    def step(self, plane: Plane, steps: int) -> None:
        """Go `steps` slices further in a plane."""
        if self._volume is None or self._geometry is None:
            return
        view = plane_view(self._geometry, plane, self._convention)
        number, row, column = view.pixel_of(self._volume.shape, self._crosshair)
        count = self._volume.shape[view.slice_axis]
        number = min(max(number + steps, 0), count - 1)
        self.go_to(view.voxel_at(self._volume.shape, number, row, column))

    def maximise(self, plane: Plane) -> None:
        """Give the whole view to one plane, or take it back."""
        self._maximised = None if self._maximised is plane else plane
        self._arrange()
        self._refresh()

    def automatic_window(self) -> None:
        """Choose the grey window from the image."""
        if self._volume is not None:
            self.set_window(self._volume.automatic_window())

    def toggle_overlay(self, shown: bool | None = None) -> None:
        """Hide or show every label."""
        self._overlay_shown = not self._overlay_shown if shown is None else shown
        self._refresh()

    def toggle_label(self, value: int) -> None:
        """Hide or show one label."""
        hidden = self._style.hidden ^ {value}
        self.set_style(replace(self._style, hidden=hidden))
        self._fill_legend()

    def _pointed(self, plane: Plane, row: int, column: int) -> None:
        if self._volume is None or self._geometry is None:
            return
        view = plane_view(self._geometry, plane, self._convention)
        number, _, _ = view.pixel_of(self._volume.shape, self._crosshair)
        self.go_to(view.voxel_at(self._volume.shape, number, row, column))

    def _drag_window(self, wider: float, higher: float) -> None:
        gain = 2.0 * self._window.width
        self.set_window(
            replace(
                self._window,
                width=max(self._window.width + gain * wider, (self._extremes[1] - self._extremes[0]) * 1e-3),
                level=self._window.level - gain * higher,
            )
        )  # fmt: skip

    def _window_menu(self, where: QPoint) -> None:
        menu = QMenu(self)
        menu.addAction("Automatic\t0").triggered.connect(self.automatic_window)
        for number, (name, window) in CT_PRESETS.items():
            action = menu.addAction(f"CT: {name}  {window.width:g} / {window.level:g}\t{number}")
            action.triggered.connect(lambda _=False, window=window: self.set_window(window))
        menu.exec(where)

    def _hovered(self, plane: Plane, row: int, column: int) -> None:
        if self._volume is None or self._geometry is None or row < 0:
            self._status.setText(self._summary())
            return
        view = plane_view(self._geometry, plane, self._convention)
        number, _, _ = view.pixel_of(self._volume.shape, self._crosshair)
        voxel = view.voxel_at(self._volume.shape, number, row, column)
        parts = [
            f"voxel {voxel[2]}, {voxel[1]}, {voxel[0]}",
            f"value {self._volume.value_at(voxel):g}",
        ]
        for word, labels in (("prediction", self._prediction), ("reference", self._reference)):
            if labels is not None:
                value = int(labels.labels[voxel])
                parts.append(f"{word} {self._names.get(value, value) if value else '-'}")
        self._status.setText("   ".join(parts))
        self.status_changed.emit("   ".join(parts))

    def _summary(self) -> str:
        if self._volume is None or self._geometry is None:
            return ""
        z, y, x = self._volume.shape
        spacing = " x ".join(f"{value:.3g}" for value in reversed(self._geometry.spacing_mm))
        return f"{x} x {y} x {z} voxels of {spacing} mm   not for diagnosis"

    def _legend_changed(self, item: QListWidgetItem) -> None:
        value = item.data(Qt.ItemDataRole.UserRole)
        shown = item.checkState() is Qt.CheckState.Checked
        hidden = self._style.hidden - {value} if shown else self._style.hidden | {value}
        self.set_style(replace(self._style, hidden=hidden))

    def _opacity_changed(self, percent: int) -> None:
        self.set_style(replace(self._style, opacity=percent / 100))

    def _boxes_changed(self) -> None:
        self.set_style(
            replace(
                self._style,
                fill=self._boxes["fill"].isChecked(),
                errors=self._boxes["errors"].isChecked(),
                reference_contour=self._boxes["reference"].isChecked(),
            )
        )

    # Keys

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if not self._key(event):
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Space and not event.isAutoRepeat():
            self.toggle_overlay(shown=True)
            return
        super().keyReleaseEvent(event)

    def _key(self, event: QKeyEvent) -> bool:
        """Act on a key of the viewer; False when it has none."""
        key, modifiers = Qt.Key(event.key()), event.modifiers()
        alt = bool(modifiers & Qt.KeyboardModifier.AltModifier)
        if modifiers & Qt.KeyboardModifier.ControlModifier:
            return False
        digit = key.value - Qt.Key.Key_0.value
        if 0 <= digit <= 9:
            return self._digit(digit, alt=alt)
        if alt:
            return False
        plane = next((p for p, pane in self._panes.items() if pane.hasFocus()), Plane.AXIAL)
        moves = {
            Qt.Key.Key_Up: 1,
            Qt.Key.Key_Down: -1,
            Qt.Key.Key_PageUp: 5,
            Qt.Key.Key_PageDown: -5,
            Qt.Key.Key_Home: -(1 << 20),
            Qt.Key.Key_End: 1 << 20,
        }
        if key in moves:
            self.step(plane, moves[key])
            return True
        toggles = {
            Qt.Key.Key_O: "fill",
            Qt.Key.Key_G: "reference",
            Qt.Key.Key_H: "prediction",
            Qt.Key.Key_E: "errors",
        }
        if key in toggles:
            self._boxes[toggles[key]].toggle()
            return True
        return self._other_key(key, plane)

    def _digit(self, digit: int, *, alt: bool) -> bool:
        if alt:
            values = sorted(self._names)
            if 1 <= digit <= len(values):
                self.toggle_label(values[digit - 1])
            return True
        if digit == 0:
            self.automatic_window()
        elif digit in CT_PRESETS:
            self.set_window(CT_PRESETS[digit][1])
        return True

    def _other_key(self, key: Qt.Key, plane: Plane) -> bool:
        match key:
            case Qt.Key.Key_Left:
                self.toggle_overlay(shown=False)
            case Qt.Key.Key_Right:
                self.toggle_overlay(shown=True)
            case Qt.Key.Key_S:
                self.toggle_overlay()
            case Qt.Key.Key_Space:
                self.toggle_overlay(shown=False)
            case Qt.Key.Key_Minus:
                self._opacity.setValue(self._opacity.value() - round(_OPACITY_STEP * 100))
            case Qt.Key.Key_Equal | Qt.Key.Key_Plus:
                self._opacity.setValue(self._opacity.value() + round(_OPACITY_STEP * 100))
            case Qt.Key.Key_X:
                self._crosshair_shown = not self._crosshair_shown
                self._refresh()
            case Qt.Key.Key_R:
                for pane in self._panes.values():
                    pane.reset_view()
            case Qt.Key.Key_I:
                self.set_window(replace(self._window, inverted=not self._window.inverted))
            case Qt.Key.Key_M:
                self.maximise(plane)
            case _:
                return False
        return True

    # Drawing

    def _rebuild_table(self) -> None:
        if self._volume is not None:
            self._table = grey_table(self._volume, self._window)
            self._window_label.setText(
                f"Window {self._window.width:.5g}   level {self._window.level:.5g}"
            )

    def _arrange(self) -> None:
        planar = self._geometry is not None and self._geometry.planar
        for plane, pane in self._panes.items():
            pane.setVisible(self._maximised in (None, plane) and not (planar and plane is not Plane.AXIAL))  # fmt: skip
        self._grid.setColumnStretch(1, 0 if self._maximised else 1)
        self._grid.setRowStretch(1, 0 if self._maximised in (Plane.AXIAL, Plane.SAGITTAL) else 1)
        self._grid.setRowStretch(0, 0 if self._maximised is Plane.CORONAL else 1)

    def _refresh(self) -> None:
        for plane, pane in self._panes.items():
            if not pane.isHidden():
                pane.show_scene(self._scene(plane), self._empty_text)
        self._status.setText(self._summary())

    def _scene(self, plane: Plane) -> PlaneScene | None:
        if self._volume is None or self._geometry is None:
            return None
        view = plane_view(self._geometry, plane, self._convention)
        crosshair = view.pixel_of(self._volume.shape, self._crosshair)
        shown = self._overlay_shown and (self._prediction or self._reference) is not None
        point = self._geometry.point_of(self._crosshair)
        axis = {Plane.AXIAL: 2, Plane.CORONAL: 1, Plane.SAGITTAL: 0}[plane]
        return PlaneScene(
            volume=self._volume,
            prediction=self._prediction if self._boxes["prediction"].isChecked() else None,
            reference=self._reference,
            view=view,
            pixel_mm=view.pixel_mm(self._geometry),
            number=crosshair[0],
            slices=self._volume.shape[view.slice_axis],
            position_mm=point[axis],
            crosshair=crosshair,
            crosshair_shown=self._crosshair_shown,
            table=self._table,
            overlay=self._style if shown else None,
            banner=self._banner(),
        )

    def _banner(self) -> str:
        if self._geometry is None or self._geometry.known:
            oblique = self._geometry is not None and is_oblique(self._geometry)
            return "oblique" if oblique else ""
        return _UNKNOWN

    def _fill_legend(self) -> None:
        self._legend.blockSignals(True)
        self._legend.clear()
        for value in sorted(self._names):
            item = QListWidgetItem(_swatch(self._style.colours.get(value, 0)), self._names[value])
            item.setData(Qt.ItemDataRole.UserRole, value)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            hidden = value in self._style.hidden
            item.setCheckState(Qt.CheckState.Unchecked if hidden else Qt.CheckState.Checked)
            self._legend.addItem(item)
        self._legend.blockSignals(False)
        self._boxes["prediction"].setEnabled(self._prediction is not None)
        self._boxes["reference"].setEnabled(self._reference is not None)
        self._boxes["errors"].setEnabled(
            self._prediction is not None and self._reference is not None
        )

    def sizeHint(self) -> QSize:
        return QSize(720, 640)


def _box(parent: QWidget, text: str, tip: str) -> QCheckBox:
    box = QCheckBox(text, parent)
    box.setToolTip(tip)
    box.setChecked(True)
    return box


def _swatch(colour: int) -> QIcon:
    pixmap = QPixmap(14, 14)
    pixmap.fill(QColor(colour >> 16 & 0xFF, colour >> 8 & 0xFF, colour & 0xFF))
    return QIcon(pixmap)
