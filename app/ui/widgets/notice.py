"""A coloured strip that says what is wrong, or was, and what to do about it."""

from __future__ import annotations

from typing import Final, Protocol

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from app.ui.text import Tone
from app.ui.theme import GRID
from app.ui.widgets.labels import IconButton, IconLabel, label, restyle, show_text

_ICONS: Final = {
    Tone.NEUTRAL: "info",
    Tone.INFO: "info",
    Tone.GOOD: "check",
    Tone.WARNING: "warning",
    Tone.DANGER: "problem",
}


class Told(Protocol):
    """What a strip shows."""

    @property
    def key(self) -> str: ...
    @property
    def sentence(self) -> str: ...
    @property
    def remedy(self) -> str: ...
    @property
    def tone(self) -> Tone: ...


class NoticeStrip(QFrame):
    """One notice; hidden while there is none. `closable` ones can be put away."""

    closed = Signal(str)
    """The operator has read it; carries its key."""

    def __init__(self, *, closable: bool = False) -> None:
        super().__init__()
        self.setProperty("notice", "true")
        self._notice: Told | None = None
        line = QHBoxLayout(self)
        line.setContentsMargins(2 * GRID, GRID, GRID, GRID)
        line.setSpacing(GRID + GRID // 2)
        self._icon = IconLabel()
        line.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout()
        column.setSpacing(2)
        self._sentence = label("", selectable=True)
        self._remedy = label("", "caption", selectable=True)
        column.addWidget(self._sentence)
        column.addWidget(self._remedy)
        line.addLayout(column, 1)
        if closable:
            close = IconButton("close", "Put this message away", clicked=self._close)
            line.addWidget(close, 0, Qt.AlignmentFlag.AlignTop)
        self.hide()

    @property
    def text(self) -> str:
        """What it says, empty while hidden."""
        return "" if self.isHidden() else f"{self._sentence.text()} {self._remedy.text()}".strip()

    def draw(self, notice: Told | None) -> None:
        """Show a notice, or nothing."""
        if notice == self._notice:
            return
        self._notice = notice
        if notice is None:
            self.hide()
            return
        self._icon.show_icon(_ICONS[notice.tone], notice.tone)
        self._sentence.setText(notice.sentence)
        show_text(self._remedy, notice.remedy)
        self.setAccessibleName(f"{notice.sentence} {notice.remedy}".strip())
        if self.property("tone") != notice.tone.value:
            self.setProperty("tone", notice.tone.value)
            restyle(self)
        self.show()  # last: what is shown has been styled

    def _close(self) -> None:
        if self._notice is not None:
            self.closed.emit(self._notice.key)


class NoticeList(QWidget):
    """Several notices below each other."""

    def __init__(self) -> None:
        super().__init__()
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(GRID)
        self.strips: list[NoticeStrip] = []
        self.hide()

    @property
    def texts(self) -> tuple[str, ...]:
        """What is said, in order."""
        return tuple(strip.text for strip in self.strips if strip.text)

    def draw(self, notices: tuple[Told, ...]) -> None:
        """Show these notices and no others."""
        self.setVisible(bool(notices))
        while len(self.strips) < len(notices):
            strip = NoticeStrip()
            self.strips.append(strip)
            self._layout.addWidget(strip)
        for number, strip in enumerate(self.strips):
            strip.draw(notices[number] if number < len(notices) else None)
