"""A slice viewer that says what it is doing while a case is read, and why when it cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QStackedWidget, QVBoxLayout, QWidget

from app.ui.theme import GRID
from app.ui.widgets.labels import label, show_text

if TYPE_CHECKING:
    import numpy.typing as npt

    from app.datasets.images import Volume
    from app.ui.widgets.viewer_volumes import CodedVolume, LabelVolume
    from app.ui.widgets.volume_view import VolumeView

_WAITING = "Choose a case to see it here."


class ReadCase(Protocol):
    """An image and its label maps as a viewer wants them."""

    @property
    def channels(self) -> tuple[Volume, ...]: ...
    @property
    def maps(self) -> tuple[LabelVolume | None, ...]: ...
    @property
    def voxel(self) -> tuple[int, int, int] | None: ...
    @property
    def remark(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def channel_names(self) -> tuple[str, ...]: ...
    @property
    def coded(self) -> tuple[CodedVolume, ...]: ...
    @property
    def step(self) -> int: ...


class CaseViewer(QWidget):
    """Holds the three linked planes, made when the first case is shown."""

    view_made = Signal(object)
    """The `VolumeView`, once."""

    def __init__(self, sentence: str = _WAITING) -> None:
        super().__init__()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GRID // 2)
        self._remark = label("", "muted")
        self._remark.hide()
        layout.addWidget(self._remark)
        self._stack = QStackedWidget()
        layout.addWidget(self._stack, 1)
        self._sentence = label(sentence, "muted")
        self._sentence.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._stack.addWidget(self._sentence)
        self.view: VolumeView | None = None
        self._source = ""

    def show_sentence(self, sentence: str) -> None:
        """Show words in the place of images."""
        self._remark.hide()
        self._sentence.setText(sentence)
        self._stack.setCurrentWidget(self._sentence)

    def show_loaded(self, case: ReadCase, names: Mapping[int, str], *, anew: bool = False) -> None:
        """Show a case that was read for a viewer; `anew`: even the image on screen begins again."""
        self.show_case(
            case.channels,
            *case.maps,
            names=names,
            voxel=case.voxel,
            remark=case.remark,
            source="" if anew else case.source,
            channel_names=case.channel_names,
            coded=case.coded,
            step=case.step,
        )

    def show_case(
        self,
        channels: Sequence[Volume],
        prediction: npt.NDArray[Any] | LabelVolume | None,
        reference: npt.NDArray[Any] | LabelVolume | None,
        *,
        names: Mapping[int, str],
        voxel: tuple[int, int, int] | None,
        remark: str = "",
        source: str = "",
        channel_names: Sequence[str] = (),
        coded: Sequence[CodedVolume] = (),
        step: int = 1,
    ) -> None:
        """Show a case, its crosshair at `voxel` (z, y, x); see `VolumeView` for the last three.

        `source` names the image: when it is the one on screen, zoom, window and place stay, and
        only the labels change.
        """
        if self.view is None:
            # Here for the sake of the first frame: it imports numpy.
            from app.ui.widgets.volume_view import VolumeView

            self.view = VolumeView()
            self._stack.addWidget(self.view)
            self.view_made.emit(self.view)
        if not source or source != self._source:
            self.view.set_volumes(channels, channel_names, coded=coded, step=step)
        self._source = source
        self.view.set_labels(prediction, reference, names)
        if voxel is not None:
            self.view.go_to(voxel)
        show_text(self._remark, remark)
        self._stack.setCurrentWidget(self.view)
