"""Three linked planes of one image with label overlays, and the controls beside them.

Used by Data (image and label) and Review (prediction over reference). It is given arrays that
somebody else has read; it opens no file. All three planes share one crosshair in voxels (z, y, x).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QElapsedTimer, QEvent, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QAction, QActionGroup, QKeyEvent
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMenu,
    QMessageBox,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from app.datasets.geometry import (
    Convention,
    Geometry,
    Plane,
    PlaneView,
    Voxel,
    is_oblique,
    plane_view,
)
from app.ui.widgets.rendering import GreyPaint, OverlayPaint, OverlayStyle
from app.ui.widgets.slice_view import PlaneScene, SliceContent, SliceView
from app.ui.widgets.viewer_keys import (
    CT_PRESETS,
    VIEWER_SHORTCUTS,
    MouseProfile,
    Wish,
    keys_of,
    wish_of,
)
from app.ui.widgets.viewer_side import SIDE_WIDTH, LegendRow, ViewerSide
from app.ui.widgets.viewer_volumes import (
    CodedVolume,
    LabelVolume,
    Window,
    label_volumes,
)

if TYPE_CHECKING:
    from app.datasets.images import Volume

__all__ = ["VIEWER_SHORTCUTS", "VolumeView"]

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 4 << 20
"""Voxels up to which the sagittal copy is made without waiting for an idle moment."""
_PREPARE_MS: Final = 6
"""How long the viewer may work on that copy before it looks for events again."""
_BUSY_MS: Final = 60
_PAN_STEP, _ZOOM_STEP = 24, 1.25
_NOT_FOR_DIAGNOSIS: Final = "Research use only, not for diagnosis"
_CHOOSE: Final = "Choose a case to see it here."
_ACROSS: Final = {Plane.SAGITTAL: 0, Plane.CORONAL: 1, Plane.AXIAL: 2}
"""The patient's axis that a plane is moved along."""
_SWITCH_CONVENTION: Final = {
    Convention.RADIOLOGICAL: "Show the patient's right on the left of the screen?",
    Convention.NEUROLOGICAL: "Show the patient's right on the right of the screen?",
}


@dataclass(slots=True, kw_only=True)
class _Channel:
    """One channel of the image; it is coded when it is first looked at."""

    name: str
    volume: Volume
    coded: CodedVolume | None = None
    grey: GreyPaint | None = None


class VolumeView(QWidget):
    """Axial, sagittal and coronal pane with crosshair, window, labels.

    Set the image with `set_volume` (None empties the view) or its channels with `set_volumes`,
    then the labels with `set_labels`. `crosshair_moved` carries the voxel (z, y, x);
    `status_changed` one line about the voxel under the pointer.
    """

    crosshair_moved = Signal(int, int, int)
    status_changed = Signal(str)
    style_changed = Signal(OverlayStyle)
    convention_changed = Signal(Convention)
    profile_changed = Signal(MouseProfile)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._channels: list[_Channel] = []
        self._chosen = 0
        self._geometry: Geometry | None = None
        self._shape: Voxel | None = None
        self._views: dict[Plane, PlaneView] = {}
        self._banner = ""
        self._corners: dict[Plane, str] = {}
        self._prediction: LabelVolume | None = None
        self._reference: LabelVolume | None = None
        self._names: dict[int, str] = {}
        self._style = OverlayStyle()
        self._overlay: OverlayPaint | None = None
        self._overlay_shown = True
        self._peeking = False
        self._crosshair: Voxel = (0, 0, 0)
        self._step = 1
        self._crosshair_shown = True
        self._convention = Convention.RADIOLOGICAL
        self._profile = MouseProfile.PACS
        self._maximised: Plane | None = None
        self._active = Plane.AXIAL
        self._empty_text = _CHOOSE
        self._panes = {plane: SliceView(plane, self) for plane in Plane}
        self._preparing = QTimer(self)
        self._preparing.timeout.connect(self._prepare_some)
        self._lay_out()
        for pane in self._panes.values():
            self._connect(pane)
        self._show_channel()

    # What is shown

    def set_volume(self, volume: Volume | None, *, empty_text: str | None = None) -> None:
        """Show an image; labels of the last one are dropped. None shows `empty_text` instead."""
        self.set_volumes([] if volume is None else [volume], empty_text=empty_text)

    def set_volumes(
        self,
        volumes: Sequence[Volume],
        names: Sequence[str] = (),
        *,
        coded: Sequence[CodedVolume] = (),
        step: int = 1,
        empty_text: str | None = None,
    ) -> None:
        """Show an image of several channels, the first one first.

        `coded` are the channels as the renderer wants them: made by the reader in its own
        thread they spare this one a second for a large image of fractions. Of a file that is too
        large only every `step`-th voxel along each axis was read: the view says so, and counts
        in voxels of the file.

        Raises:
            ValueError: the channels have different shapes.
        """
        if any(volume.array.shape != volumes[0].array.shape for volume in volumes):
            raise ValueError("the channels of an image must have one shape")
        self._prediction = self._reference = None
        self._step = step
        self._channels = [
            _Channel(
                name=names[index] if index < len(names) else f"Channel {index}",
                volume=volume,
                coded=coded[index] if index < len(coded) else None,
            )
            for index, volume in enumerate(volumes)
        ]
        self._chosen = 0
        if empty_text is not None:
            self._empty_text = empty_text
        self._geometry, self._shape, self._maximised = None, None, None
        if volumes:
            z, y, x = volumes[0].array.shape
            self._geometry, self._shape = volumes[0].geometry, (z, y, x)
        self._set_views()
        if self._shape is not None:
            z, y, x = self._shape
            self._crosshair = (z // 2, y // 2, x // 2)
            self._maximised = self._flat_plane()
            self._active = self._maximised or Plane.AXIAL
            for pane in self._panes.values():
                pane.reset_view()
        self._set_overlay()
        self._side.show_channels([channel.name for channel in self._channels], 0)
        self._show_channel()

    def choose_channel(self, index: int) -> None:
        """Show another channel of the image with its own grey window."""
        if 0 <= index < len(self._channels) and index != self._chosen:
            last = self._channels[self._chosen].coded
            if last is not None and last.codes.size > _AT_ONCE:
                last.release()
            self._chosen = index
            self._side.show_channels([channel.name for channel in self._channels], index)
            self._show_channel()

    def set_labels(
        self,
        prediction: npt.NDArray[Any] | LabelVolume | None,
        reference: npt.NDArray[Any] | LabelVolume | None,
        names: Mapping[int, str] | None = None,
    ) -> None:
        """Lay label maps (z, y, x) over the image; each must have its shape.

        They are arrays, or `label_volumes` of them, made in another thread. Labels without a name
        are shown as well.

        Raises:
            ValueError: a map has another shape than the image.
        """
        for labels in (prediction, reference):
            if labels is not None and labels.shape != self._shape:
                raise ValueError(f"labels of shape {labels.shape} over another image")
        maps = [m for m in (prediction, reference) if isinstance(m, np.ndarray)]
        coded = iter(label_volumes(maps))
        self._prediction, self._reference = (
            next(coded) if isinstance(labels, np.ndarray) else labels
            for labels in (prediction, reference)
        )
        if names is not None:
            self._names = {value: name for value, name in names.items() if value != 0}
        self._prepare_later()
        self._set_overlay()
        self._refresh()

    def prepare(self) -> None:
        """Make at once the copies that keep sagittal slices quick; else they come when idle."""
        for source in self._sources():
            source.prepare()
        self._prepare_some()

    def go_to(self, voxel: Voxel) -> None:
        """Move the crosshair to a voxel (z, y, x) of the file, clamped into the image."""
        z, y, x = voxel
        self._move_to((z // self._step, y // self._step, x // self._step))

    def _move_to(self, voxel: Voxel) -> None:
        shape = self._shape
        if shape is None:
            return
        z, y, x = (
            min(max(position, 0), count - 1) for position, count in zip(voxel, shape, strict=True)
        )
        if (z, y, x) != self._crosshair:
            self._crosshair = (z, y, x)
            self.crosshair_moved.emit(*self.crosshair)
            self._refresh()

    @property
    def crosshair(self) -> Voxel:
        """The voxel (z, y, x) of the file under the crosshair."""
        z, y, x = self._crosshair
        return z * self._step, y * self._step, x * self._step

    @property
    def window_level(self) -> Window:
        """The grey window in force."""
        grey = self._channels[self._chosen].grey if self._channels else None
        return Window(width=1, level=0) if grey is None else grey.window

    def set_window(self, window: Window) -> None:
        """Put a grey window in force for the channel that is shown."""
        if not self._channels:
            return
        channel = self._channels[self._chosen]
        coded = self._coded(channel)
        least = abs(coded.scale) / 100
        channel.grey = GreyPaint(coded, replace(window, width=max(window.width, least)))
        self._show_window()
        self._refresh()

    @property
    def convention(self) -> Convention:
        """Which side of the screen shows the patient's right."""
        return self._convention

    def set_convention(self, convention: Convention) -> None:
        """Show the patient's right on the left (radiological) or on the right; it is logged."""
        if convention is not self._convention:
            logger.info("the viewer's convention is now %s", convention.value)
            self._convention = convention
            self._set_views()
            self._refresh()
            self.convention_changed.emit(convention)

    @property
    def profile(self) -> MouseProfile:
        """What the mouse buttons do."""
        return self._profile

    def set_profile(self, profile: MouseProfile) -> None:
        """Choose what the mouse buttons do."""
        if profile is self._profile:
            return
        self._profile = profile
        for pane in self._panes.values():
            pane.profile = profile
        self.profile_changed.emit(profile)

    def set_style(self, style: OverlayStyle) -> None:
        """Put an overlay style in force; it stays for the next cases."""
        self._style = style
        self._set_overlay()
        self._refresh()
        self.style_changed.emit(style)

    @property
    def style_in_force(self) -> OverlayStyle:
        """How labels are drawn now."""
        return self._style

    @property
    def panes(self) -> Mapping[Plane, SliceView]:
        """The three panes, for tests and screenshots."""
        return self._panes

    @property
    def bytes_held(self) -> int:
        """Memory of image, label maps and their copies."""
        return sum(source.bytes_held for source in self._sources())

    # Wishes

    def step(self, plane: Plane, steps: int) -> None:
        """Go `steps` slices further in a plane, towards superior, anterior or the right."""
        if self._shape is not None:
            view = self._views[plane]
            number, row, column = view.pixel_of(self._shape, self._crosshair)
            last = self._shape[view.slice_axis] - 1
            self._move_to(
                view.voxel_at(self._shape, min(max(number + steps, 0), last), row, column)
            )

    def maximise(self, plane: Plane) -> None:
        """Give the whole view to one plane, or take it back."""
        if self._flat_plane() is None:
            self._maximised = plane if self._maximised is None else None
            self._arrange()
            self._refresh()

    def automatic_window(self) -> None:
        """Choose the grey window from the image."""
        if self._channels:
            inverted = self.window_level.inverted
            window = self._coded(self._channels[self._chosen]).automatic_window()
            self.set_window(replace(window, inverted=inverted))

    def toggle_overlay(self, shown: bool | None = None) -> None:
        """Hide or show every label."""
        self._overlay_shown = not self._overlay_shown if shown is None else shown
        self._refresh()

    def toggle_label(self, value: int) -> None:
        """Hide or show one label."""
        self.set_style(replace(self._style, hidden=self._style.hidden ^ {value}))

    def show_only(self, value: int) -> None:
        """Hide every label but one; 0 shows all."""
        others = frozenset(self._label_values()) - {value} if value else frozenset()
        self.set_style(replace(self._style, hidden=others))

    def set_label_colour(self, value: int, colour: int | None) -> None:
        """Draw a label in 0xRRGGBB; None gives it its colour of the palette again."""
        colours = {key: one for key, one in self._style.colours.items() if key != value}
        if colour is not None:
            colours[value] = colour
        self.set_style(replace(self._style, colours=colours))

    # Layout

    def _lay_out(self) -> None:
        self._grid = QGridLayout()
        self._grid.setSpacing(2)
        self._side = ViewerSide()
        self._side.label_toggled.connect(self.toggle_label)
        self._side.colour_wished.connect(self.set_label_colour)
        self._side.only_wished.connect(self.show_only)
        self._side.style_wished.connect(self.set_style)
        self._side.window_wished.connect(self.set_window)
        self._side.automatic_wished.connect(self.automatic_window)
        self._side.channel_wished.connect(self.choose_channel)
        self._side_area = QScrollArea(self)
        self._side_area.setWidget(self._side)
        self._side_area.setWidgetResizable(True)
        self._side_area.setFrameShape(QFrame.Shape.NoFrame)
        self._side_area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._side_area.setMinimumWidth(SIDE_WIDTH)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(4)
        whole.addLayout(self._grid, 1)
        foot = QHBoxLayout()
        foot.setContentsMargins(6, 0, 6, 2)
        self._status = QLabel("", self)
        self._status.setObjectName("viewerStatus")
        # Ignored: a new text must not lay out the window anew while the mouse moves.
        self._status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._caution = QLabel(_NOT_FOR_DIAGNOSIS, self)
        for part in (self._status, self._caution):
            part.setProperty("role", "muted")
        foot.addWidget(self._status, 1)
        foot.addWidget(self._caution)
        whole.addLayout(foot)

    def _connect(self, pane: SliceView) -> None:
        plane = pane.plane
        pane.pointed.connect(lambda row, column: self._pointed(plane, row, column))
        pane.scrolled.connect(lambda steps: self.step(plane, steps))
        pane.windowed.connect(self._drag_window)
        pane.maximise_wished.connect(lambda: self.maximise(plane))
        pane.menu_wished.connect(lambda where: self.make_menu().exec(where))
        pane.hovered.connect(lambda row, column: self._hovered(plane, row, column))

    def _arrange(self) -> None:
        """Put the panes that are shown where they belong."""
        for part in (*self._panes.values(), self._side_area):
            self._grid.removeWidget(part)
        filled = self._geometry is not None
        alone = self._maximised if filled else Plane.AXIAL
        if alone is None:
            for plane, place in (
                (Plane.AXIAL, (0, 0)),
                (Plane.SAGITTAL, (0, 1)),
                (Plane.CORONAL, (1, 0)),
            ):
                self._grid.addWidget(self._panes[plane], *place)
            self._grid.addWidget(self._side_area, 1, 1)
        else:
            self._grid.addWidget(self._panes[alone], 0, 0, 2, 1)
            self._grid.addWidget(self._side_area, 0, 1, 2, 1)
        for plane, pane in self._panes.items():
            pane.setVisible(alone in (None, plane))
        self._side_area.setVisible(filled)
        self._caution.setVisible(filled)
        self._grid.setColumnStretch(0, 1)
        self._grid.setColumnStretch(1, 1 if alone is None else 0)
        self._grid.setRowStretch(0, 1)
        self._grid.setRowStretch(1, 1 if alone is None else 0)

    def _flat_plane(self) -> Plane | None:
        """Return the one plane of an image that is a single slice."""
        shape = self._shape
        if shape is None or self._geometry is None or shape.count(1) != 1:
            return None
        return next(plane for plane, view in self._views.items() if shape[view.slice_axis] == 1)

    # Mouse

    def _pointed(self, plane: Plane, row: int, column: int) -> None:
        if self._shape is not None:
            self._active = plane
            view = self._views[plane]
            number, _, _ = view.pixel_of(self._shape, self._crosshair)
            self._move_to(view.voxel_at(self._shape, number, row, column))

    def _drag_window(self, wider: float, higher: float) -> None:
        window = self.window_level
        gain = 2.0 * window.width
        # Dragging up brightens, so the level goes down.
        self.set_window(
            replace(window, width=window.width + gain * wider, level=window.level - gain * higher)
        )

    def make_menu(self) -> QMenu:
        """Return the menu of grey windows, convention and mouse."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction(f"Automatic window\t{keys_of(Wish.PRESET, 0)}").triggered.connect(
            self.automatic_window
        )
        for number, (name, window) in CT_PRESETS.items():
            action = menu.addAction(
                f"CT {name.lower()}  {window.width:g} / {window.level:g}"
                f"\t{keys_of(Wish.PRESET, number)}"
            )
            action.triggered.connect(lambda _=False, window=window: self.set_window(window))
        menu.addSeparator()
        menu.addAction(f"Fit images\t{keys_of(Wish.RESET)}").triggered.connect(self._fit)
        self._add_choice(menu.addMenu("Sides"), list(Convention), self._convention, self._ask_convention)  # fmt: skip
        self._add_choice(menu.addMenu("Mouse"), list(MouseProfile), self._profile, self.set_profile)
        return menu

    @staticmethod
    def _add_choice(
        menu: QMenu, values: Sequence[Any], chosen: object, choose: Callable[[Any], None]
    ) -> None:
        group = QActionGroup(menu)
        for value in values:
            text = value.value
            action = QAction(text[0].upper() + text[1:], menu, checkable=True)
            action.setChecked(value is chosen)
            action.triggered.connect(lambda _=False, value=value: choose(value))
            group.addAction(action)
            menu.addAction(action)

    def _ask_convention(self, convention: Convention) -> None:
        if convention is not self._convention and (
            QMessageBox.question(self, "Change sides", _SWITCH_CONVENTION[convention])
            is QMessageBox.StandardButton.Yes
        ):
            self.set_convention(convention)

    def _hovered(self, plane: Plane, row: int, column: int) -> None:
        shape = self._shape
        if shape is None or row < 0:
            self._status.setText(self._summary())
            return
        self._active = plane
        view = self._views[plane]
        number, _, _ = view.pixel_of(shape, self._crosshair)
        text = self.describe(view.voxel_at(shape, number, row, column))
        self._status.setText(text)
        self.status_changed.emit(text)

    def describe(self, voxel: Voxel) -> str:
        """Return one line about a voxel (z, y, x): where, its value and its labels."""
        channel = self._channels[self._chosen]
        value = self._coded(channel).value_at(voxel)
        parts = [
            "voxel " + ", ".join(str(place * self._step) for place in reversed(voxel)),
            "no value" if np.isnan(value) else f"value {value:.6g}",
        ]
        for word, labels in (("prediction", self._prediction), ("reference", self._reference)):
            if labels is not None:
                label = labels.label_at(voxel)
                parts.append(f"{word} {self._name(label) if label else '–'}")
        return "   ".join(parts)

    def _name(self, label: int) -> str:
        return self._names.get(label, f"label {label}")

    def _summary(self) -> str:
        if self._shape is None or self._geometry is None:
            return ""
        size = " x ".join(str(count) for count in reversed(self._shape))
        spacing = " x ".join(f"{value:.3g}" for value in reversed(self._geometry.spacing_mm))
        return f"{size} voxels of {spacing} mm"

    # Keys

    def keyPressEvent(self, event: QKeyEvent) -> None:
        wish = wish_of(event)
        if wish is None or not self._channels:
            super().keyPressEvent(event)
        elif not (event.isAutoRepeat() and wish[0] is Wish.PEEK):
            self._obey(*wish)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        wish = wish_of(event)
        if wish is None or wish[0] is not Wish.PEEK:
            super().keyReleaseEvent(event)
        elif not event.isAutoRepeat():
            self._peek(peeking=False)

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.ActivationChange and not self.isActiveWindow():
            self._peek(peeking=False)  # the release of the key will go to another window
        super().changeEvent(event)

    def _peek(self, *, peeking: bool) -> None:
        if peeking is not self._peeking:
            self._peeking = peeking
            self._refresh()

    @property
    def _plane_of_keys(self) -> Plane:
        if self._maximised is not None:
            return self._maximised
        focused = (plane for plane, pane in self._panes.items() if pane.hasFocus())
        return next(focused, self._active)

    def _obey(self, wish: Wish, number: int) -> None:
        style, window = self._style, self.window_level
        plane = self._plane_of_keys
        pane = self._panes[plane]
        match wish:
            case Wish.STEP:
                self.step(plane, number)
            case Wish.ACROSS:
                self._nudge(plane, 0, number)
            case Wish.DOWN:
                self._nudge(plane, number, 0)
            case Wish.OVERLAY:
                self.toggle_overlay(bool(number))
            case Wish.TOGGLE_OVERLAY:
                self.toggle_overlay()
            case Wish.PEEK:
                self._peek(peeking=True)
            case Wish.OPACITY:
                opacity = min(max(round(style.opacity * 100) + number, 0), 100) / 100
                self.set_style(replace(style, opacity=opacity))
            case Wish.FILL:
                self.set_style(replace(style, fill=not style.fill))
            case Wish.PREDICTION:
                self.set_style(replace(style, prediction=not style.prediction))
            case Wish.REFERENCE:
                self.set_style(replace(style, reference=not style.reference))
            case Wish.ERRORS:
                self.set_style(replace(style, errors=not style.errors))
            case Wish.LABEL:
                values = self._label_values()
                if number <= len(values):
                    self.toggle_label(values[number - 1])
            case Wish.PRESET if number == 0:
                self.automatic_window()
            case Wish.PRESET:
                self.set_window(replace(CT_PRESETS[number][1], inverted=window.inverted))
            case Wish.INVERT:
                self.set_window(replace(window, inverted=not window.inverted))
            case Wish.WIDTH:
                self.set_window(replace(window, width=window.width * 1.1**number))
            case Wish.LEVEL:
                level = window.level + 0.05 * number * window.width
                self.set_window(replace(window, level=level))
            case Wish.ZOOM:
                pane.zoom_by(_ZOOM_STEP**number)
            case Wish.PAN_ACROSS:
                pane.pan_by(_PAN_STEP * number, 0)
            case Wish.PAN_DOWN:
                pane.pan_by(0, _PAN_STEP * number)
            case Wish.CROSSHAIR:
                self._crosshair_shown = not self._crosshair_shown
                self._refresh()
            case Wish.RESET:
                self._fit()
            case Wish.MAXIMISE:
                self.maximise(plane)
            case Wish.CHANNEL:
                self.choose_channel((self._chosen + number) % len(self._channels))

    def _nudge(self, plane: Plane, down: int, right: int) -> None:
        if self._shape is not None:
            view = self._views[plane]
            number, row, column = view.pixel_of(self._shape, self._crosshair)
            self._move_to(view.voxel_at(self._shape, number, row + down, column + right))

    def _fit(self) -> None:
        for pane in self._panes.values():
            pane.reset_view()

    # Drawing

    def _coded(self, channel: _Channel) -> CodedVolume:
        if channel.coded is None:
            channel.coded = CodedVolume(channel.volume.array)
        return channel.coded

    def _sources(self) -> list[CodedVolume | LabelVolume]:
        """Return what slices are cut from now."""
        coded = self._channels[self._chosen].coded if self._channels else None
        sources = (coded, self._prediction, self._reference)
        return [source for source in sources if source is not None]

    def _show_channel(self) -> None:
        if self._channels:
            channel = self._channels[self._chosen]
            coded = self._coded(channel)
            if channel.grey is None:
                channel.grey = GreyPaint(coded, coded.automatic_window())
            self._show_window()
        self._prepare_later()
        self._arrange()
        self._refresh()

    def _show_window(self) -> None:
        coded = self._coded(self._channels[self._chosen])
        step = 1.0 if coded.scale == 1 else self.window_level.width / 100
        self._side.show_window(self.window_level, step)

    def _set_views(self) -> None:
        self._views, self._banner = {}, ""
        if self._geometry is not None:
            self._views = {
                plane: plane_view(self._geometry, plane, self._convention) for plane in Plane
            }
            known = self._geometry.known
            oblique = known and is_oblique(self._geometry)
            self._corners = {
                plane: ", ".join(
                    word
                    for word, holds in (
                        (self._convention.value, known and plane is not Plane.SAGITTAL),
                        ("oblique", oblique),
                        (f"1/{self._step} resolution", self._step > 1),
                    )
                    if holds
                )
                for plane in Plane
            }
            if not known:
                self._banner = "Orientation unknown: sides are not named"

    def _set_overlay(self) -> None:
        labels = self._prediction or self._reference
        compared = self._prediction is not None and self._reference is not None
        compared = compared and self._style.prediction and self._style.reference
        self._overlay = (
            None if labels is None else OverlayPaint(self._style, labels.values, compared=compared)
        )
        self._side.show_style(
            self._style,
            prediction=self._prediction is not None,
            reference=self._reference is not None,
        )
        self._show_legend()

    def _label_values(self) -> list[int]:
        """Return the labels of the legend: those with a name, and those found without one."""
        found = set(self._names) if self._overlay is not None else set()
        for labels in (self._prediction, self._reference):
            if labels is not None:
                found.update(int(value) for value in labels.values[labels.counts > 0])
        return sorted(found - {0})

    def _show_legend(self) -> None:
        def millilitres(labels: LabelVolume | None, value: int) -> float | None:
            if labels is None or not labels.ready or self._geometry is None:
                return None
            return float(labels.counts[labels.values == value].sum()) * self._geometry.voxel_ml

        self._side.show_labels(
            [
                LegendRow(
                    value=value,
                    name=self._name(value),
                    colour=self._style.colour(value),
                    shown=value not in self._style.hidden,
                    prediction_ml=millilitres(self._prediction, value),
                    reference_ml=millilitres(self._reference, value),
                )
                for value in self._label_values()
            ]
        )

    def _prepare_later(self) -> None:
        for source in self._sources():
            if source.codes.size <= _AT_ONCE:
                source.prepare()
        self._preparing.setInterval(0)
        self._preparing.start()

    def _prepare_some(self) -> None:
        """Work on the sagittal copies for a few milliseconds, unless somebody is at work."""
        if any(pane.moving for pane in self._panes.values()):
            self._preparing.setInterval(_BUSY_MS)
            return
        self._preparing.setInterval(0)
        watch = QElapsedTimer()
        watch.start()
        for source in self._sources():
            while not source.ready and not self._mapped:
                source.prepare(1)
                if watch.elapsed() >= _PREPARE_MS:
                    return
        self._preparing.stop()
        self._show_legend()

    @property
    def _mapped(self) -> bool:
        """True for an image that was too large to be read: then nothing is copied of it."""
        return bool(self._channels) and self._channels[self._chosen].volume.mapped

    def _refresh(self) -> None:
        for plane, pane in self._panes.items():
            if not pane.isHidden():
                pane.show_scene(self._scene(plane), self._empty_text)
                pane.setAccessibleDescription(self._spoken(plane))
        self._status.setText(self._summary())

    def _spoken(self, plane: Plane) -> str:
        if self._shape is None:
            return self._empty_text
        view = self._views[plane]
        number = view.pixel_of(self._shape, self._crosshair)[0]
        return f"slice {number + 1} of {self._shape[view.slice_axis]}"

    def _scene(self, plane: Plane) -> PlaneScene | None:
        if self._shape is None or self._geometry is None:
            return None
        channel = self._channels[self._chosen]
        if channel.grey is None:
            return None
        view = self._views[plane]
        number, row, column = view.pixel_of(self._shape, self._crosshair)
        middle = [count // 2 for count in self._shape]
        middle[view.slice_axis] = self._crosshair[view.slice_axis]
        shown = self._overlay_shown and not self._peeking
        content = SliceContent(
            volume=self._coded(channel),
            prediction=self._prediction if shown and self._style.prediction else None,
            reference=self._reference if shown and self._style.reference else None,
            view=view,
            pixel_mm=view.pixel_mm(self._geometry),
            number=number,
            slices=self._shape[view.slice_axis],
            position_mm=self._geometry.point_of((middle[0], middle[1], middle[2]))[_ACROSS[plane]],
            grey=channel.grey,
            overlay=self._overlay if shown else None,
            corner=self._corners[plane],
            banner=self._banner,
        )
        return PlaneScene(
            content=content, crosshair=(row, column) if self._crosshair_shown else None
        )

    def sizeHint(self) -> QSize:
        return QSize(720, 640)
