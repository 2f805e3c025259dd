"""The controls beside the slices: labels with their volumes, how they are drawn, grey window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QPoint, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QColorDialog,
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QMenu,
    QPushButton,
    QSizePolicy,
    QSlider,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app.ui.widgets.rendering import LABEL_COLOURS, OverlayStyle
from app.ui.widgets.viewer_keys import Wish, described, keys_of
from app.ui.widgets.viewer_volumes import Window

SIDE_WIDTH: Final = 232
_MOST: Final = 1e9
_TICK_AND_COLOUR: Final = 56
"""Pixels before a label's name in the legend."""
_NAME: Final = 12
"""Characters of a name that are worth more than the volumes."""
_LINES: Final = "Solid lines: prediction. Dashed: reference."
_ERRORS: Final = "Blue: only in the prediction. Orange: missed. Crossed: another label."


@dataclass(frozen=True, slots=True, kw_only=True)
class LegendRow:
    """One label; volumes in millilitres, None where there is no such map or it is not counted yet."""

    value: int
    name: str
    colour: int
    shown: bool
    prediction_ml: float | None = None
    reference_ml: float | None = None


class _Legend(QTreeWidget):
    """Labels, and their volumes while these leave room for the names.

    Beside a second viewer the legend is narrow, and a volume without its label says nothing.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._there = (True, True)

    def offer_volumes(self, *, prediction: bool, reference: bool) -> None:
        """Say which volumes there are."""
        self._there = (prediction, reference)
        self.fit_volumes()

    def fit_volumes(self) -> None:
        """Show the volumes there are, or none of them where names would be cut off."""
        header, metrics = self.header(), self.fontMetrics()
        items = map(self.topLevelItem, range(self.topLevelItemCount()))
        longest = max(
            (metrics.horizontalAdvance(item.text(0)) for item in items if item), default=0
        )
        room = self.viewport().width() - _TICK_AND_COLOUR
        room -= min(longest, _NAME * metrics.averageCharWidth())
        for place, there in enumerate(self._there, start=1):
            self.setColumnHidden(place, not there)  # a hidden column tells no width
            if there:
                room -= max(header.sectionSizeHint(place), self.sizeHintForColumn(place))
        if room < 0:
            self.hideColumn(1)
            self.hideColumn(2)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.fit_volumes()


class ViewerSide(QWidget):
    """Draws what it is told and says what was wished; decides nothing."""

    label_toggled = Signal(int)
    colour_wished = Signal(int, object)
    """A label and the 0xRRGGBB that it shall have, None for that of the palette."""
    only_wished = Signal(int)
    """The one label that is to be shown; 0 for all."""
    style_wished = Signal(OverlayStyle)
    window_wished = Signal(Window)
    automatic_wished = Signal()
    channel_wished = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._style = OverlayStyle()
        self._window = Window(width=1, level=0)
        self.setMinimumWidth(SIDE_WIDTH)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 4, 4, 4)
        column.setSpacing(8)
        column.addLayout(self._make_channels())
        column.addWidget(self._make_legend(), 1)
        column.addLayout(self._make_switches())
        column.addLayout(self._make_window())

    # What is shown

    def show_labels(self, rows: Sequence[LegendRow]) -> None:
        """Fill the legend."""
        with QSignalBlocker(self._legend):
            self._legend.clear()
            for row in rows:
                item = QTreeWidgetItem(
                    [row.name, _millilitres(row.prediction_ml), _millilitres(row.reference_ml)]
                )
                item.setIcon(0, _swatch(row.colour))
                item.setToolTip(0, _whole_row(row))
                for place in (1, 2):
                    item.setTextAlignment(
                        place, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                item.setData(0, Qt.ItemDataRole.UserRole, row.value)
                item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
                item.setCheckState(
                    0, Qt.CheckState.Checked if row.shown else Qt.CheckState.Unchecked
                )
                self._legend.addTopLevelItem(item)
        self._legend.setVisible(bool(rows))
        self._no_labels.setVisible(not rows)
        self._legend.fit_volumes()

    def show_style(self, style: OverlayStyle, *, prediction: bool, reference: bool) -> None:
        """Set the switches; `prediction` and `reference` say which label maps there are."""
        self._style = style
        for name, box in self._boxes.items():
            with QSignalBlocker(box):
                box.setChecked(getattr(style, name))
        self._boxes["prediction"].setEnabled(prediction)
        self._boxes["reference"].setEnabled(reference)
        self._boxes["errors"].setEnabled(prediction and reference)
        self._boxes["fill"].setEnabled(prediction or reference)
        self._opacity.setEnabled((prediction or reference) and style.fill)
        with QSignalBlocker(self._opacity):
            self._opacity.setValue(round(style.opacity * 100))
        both = prediction and reference and style.prediction and style.reference
        self._lines.setText(_ERRORS if both and style.errors else _LINES if both else "")
        self._lines.setVisible(both)
        self._legend.offer_volumes(prediction=prediction, reference=reference)

    def show_window(self, window: Window, step: float) -> None:
        """Show the grey window; `step` is a sensible change of the figures."""
        self._window = window
        for box, value in ((self._width, window.width), (self._level, window.level)):
            decimals = 0 if step >= 1 else 3
            with QSignalBlocker(box):
                if box.decimals() != decimals:  # lays the window out anew, also for the same
                    box.setDecimals(decimals)
                box.setSingleStep(step)
                box.setValue(value)

    def show_channels(self, names: Sequence[str], chosen: int) -> None:
        """Offer channels; nothing is offered when there is one."""
        with QSignalBlocker(self._channel):
            self._channel.clear()
            self._channel.addItems(list(names))
            self._channel.setCurrentIndex(chosen)
        for part in (self._channel, self._channel_label):
            part.setVisible(len(names) > 1)

    # Parts

    def _make_channels(self) -> QHBoxLayout:
        row = QHBoxLayout()
        self._channel_label = QLabel("Channel", self)
        self._channel = QComboBox(self)
        self._channel.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._channel.setAccessibleName("Channel of the image")
        self._channel.setToolTip(described(Wish.CHANNEL))
        self._channel.currentIndexChanged.connect(self.channel_wished)
        row.addWidget(self._channel_label)
        row.addWidget(self._channel, 1)
        return row

    def _make_legend(self) -> QWidget:
        holder = QWidget(self)
        column = QVBoxLayout(holder)
        column.setContentsMargins(0, 0, 0, 0)
        self._legend = _Legend(holder)
        self._legend.setAccessibleName("Labels")
        self._legend.setToolTip(f"{described(Wish.LABEL)}. Right click or menu key: colour")
        self._legend.setRootIsDecorated(False)
        self._legend.setHeaderLabels(["Label", "Pred. ml", "Ref. ml"])
        header = self._legend.headerItem()
        header.setToolTip(1, "Volume in the prediction, millilitres")
        header.setToolTip(2, "Volume in the reference, millilitres")
        self._legend.header().setStretchLastSection(False)
        self._legend.header().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self._legend.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self._legend.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        # Clicks must not take the keys from the planes; with Tab every control is still reached.
        self._legend.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._legend.itemChanged.connect(
            lambda item, _: self.label_toggled.emit(item.data(0, Qt.ItemDataRole.UserRole))
        )
        self._legend.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self._legend.customContextMenuRequested.connect(self._open_menu)
        self._legend.setMinimumHeight(60)
        self._legend.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Ignored)
        column.addWidget(self._legend, 1)
        self._no_labels = QLabel("No labels to show for this image.", holder)
        self._no_labels.setProperty("role", "muted")
        self._no_labels.setWordWrap(True)
        self._no_labels.setAlignment(Qt.AlignmentFlag.AlignTop)
        column.addWidget(self._no_labels)
        return holder

    def _make_switches(self) -> QGridLayout:
        self._boxes = {
            "prediction": QCheckBox("Prediction", self),
            "reference": QCheckBox("Reference", self),
            "fill": QCheckBox("Fill", self),
            "errors": QCheckBox("Errors", self),
        }
        wishes = {
            "prediction": Wish.PREDICTION,
            "reference": Wish.REFERENCE,
            "fill": Wish.FILL,
            "errors": Wish.ERRORS,
        }
        grid = QGridLayout()
        grid.setVerticalSpacing(4)
        for index, (name, box) in enumerate(self._boxes.items()):
            box.setToolTip(described(wishes[name]))
            box.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            box.toggled.connect(self._wish_style)
            grid.addWidget(box, index // 2, index % 2)
        grid.addWidget(QLabel("Opacity", self), 2, 0)
        self._opacity = QSlider(Qt.Orientation.Horizontal, self)
        self._opacity.setRange(0, 100)
        self._opacity.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._opacity.setAccessibleName("Opacity of the labels")
        self._opacity.setToolTip(described(Wish.OPACITY))
        self._opacity.valueChanged.connect(self._wish_style)
        grid.addWidget(self._opacity, 2, 1)
        self._lines = QLabel("", self)
        self._lines.setProperty("role", "muted")
        self._lines.setWordWrap(True)
        grid.addWidget(self._lines, 3, 0, 1, 2)
        grid.setColumnStretch(1, 1)
        return grid

    def _make_window(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setVerticalSpacing(4)
        self._width, self._level = QDoubleSpinBox(self), QDoubleSpinBox(self)
        for row, (box, name, least) in enumerate(
            ((self._width, "Window", 1e-3), (self._level, "Level", -_MOST))
        ):
            box.setRange(least, _MOST)
            box.setKeyboardTracking(False)
            # Arrow keys and the wheel do what the little buttons would do.
            box.setStyleSheet("::up-button, ::down-button { width: 0; border: none; }")
            box.setMinimumWidth(64)
            box.setAccessibleName(f"{name} of the greys")
            box.valueChanged.connect(self._wish_window)
            grid.addWidget(QLabel(name, self), row, 0)
            grid.addWidget(box, row, 1)
        self._width.setToolTip(described(Wish.WIDTH))
        self._level.setToolTip(described(Wish.LEVEL))
        automatic = QPushButton("Auto", self)
        automatic.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        automatic.setToolTip(
            f"Window over the 0.5th to 99.5th percentile ({keys_of(Wish.PRESET, 0)})"
        )
        automatic.clicked.connect(self.automatic_wished)
        grid.addWidget(automatic, 0, 2, 2, 1)
        grid.setColumnStretch(1, 1)
        return grid

    def _open_menu(self, at: QPoint) -> None:
        item = self._legend.itemAt(at) or self._legend.currentItem()
        if item is not None:
            menu = self.label_menu(item.data(0, Qt.ItemDataRole.UserRole), item.text(0))
            menu.popup(self._legend.viewport().mapToGlobal(at))

    def label_menu(self, value: int, name: str) -> QMenu:
        """Return the menu of one label."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for text, wish in (
            (f"Only {name}", lambda: self.only_wished.emit(value)),
            ("All labels", lambda: self.only_wished.emit(0)),
            ("Colour…", lambda: self._ask_colour(value)),
            ("Colour of the palette", lambda: self.colour_wished.emit(value, None)),
        ):
            menu.addAction(text).triggered.connect(lambda _=False, wish=wish: wish())
        return menu

    def _ask_colour(self, value: int) -> None:
        dialog = QColorDialog(QColor(0xFF000000 | self._style.colour(value)), self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for place, colour in enumerate(LABEL_COLOURS):
            dialog.setStandardColor(place, QColor(0xFF000000 | colour))
        dialog.colorSelected.connect(
            lambda colour: self.colour_wished.emit(value, colour.rgb() & 0xFFFFFF)
        )
        dialog.open()

    def _wish_style(self) -> None:
        self.style_wished.emit(
            OverlayStyle(
                colours=self._style.colours,
                hidden=self._style.hidden,
                contour=self._style.contour,
                opacity=self._opacity.value() / 100,
                **{name: box.isChecked() for name, box in self._boxes.items()},
            )
        )

    def _wish_window(self) -> None:
        self.window_wished.emit(
            Window(
                width=self._width.value(),
                level=self._level.value(),
                inverted=self._window.inverted,
            )
        )


def _whole_row(row: LegendRow) -> str:
    volumes = (("prediction", row.prediction_ml), ("reference", row.reference_ml))
    told = [
        f"{_millilitres(volume)} ml in the {map_}" for map_, volume in volumes if volume is not None
    ]
    return ", ".join((f"{row.name} (label {row.value})", *told))


def _millilitres(volume: float | None) -> str:
    if volume is None:
        return ""
    return f"{volume:.0f}" if volume >= 100 else f"{volume:.2f}"


def _swatch(colour: int) -> QIcon:
    """Draw a colour with the black casing that it has over an image."""
    pixmap = QPixmap(28, 28)
    pixmap.setDevicePixelRatio(2.0)
    pixmap.fill(Qt.GlobalColor.black)
    painter = QPainter(pixmap)
    painter.fillRect(1, 1, 12, 12, QColor(0xFF000000 | colour))
    painter.end()
    return QIcon(pixmap)
