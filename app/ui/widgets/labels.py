"""Texts, badges, icons and buttons, in the few roles the style sheet knows."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtWidgets import QLabel, QPushButton, QSizePolicy, QToolButton, QWidget

from app.ui import theme
from app.ui.text import Tone

_LOOK_EVENTS = (QEvent.Type.PaletteChange, QEvent.Type.StyleChange)


def label(
    text: str = "", role: str = "", *, wraps: bool = True, selectable: bool = False
) -> QLabel:
    """Return a plain-text label; `role` is one of the style sheet's (title, caption, …)."""
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setWordWrap(wraps)
    if role:
        made.setProperty("role", role)
    if selectable:
        made.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
    return made


def show_text(target: QLabel, text: str) -> None:
    """Set a label's text and hide the label while it has none."""
    if target.text() != text:
        target.setText(text)
    target.setVisible(bool(text))


def restyle(widget: QWidget) -> None:
    """Let the style sheet look again at a widget whose properties changed."""
    if not widget.testAttribute(Qt.WidgetAttribute.WA_WState_Polished):
        return  # nothing has looked at it yet
    widget.style().unpolish(widget)
    widget.style().polish(widget)
    widget.update()


class IconLabel(QLabel):
    """A small drawing in the colour of a tone; redrawn when the look changes."""

    def __init__(self, name: str = "", tone: Tone = Tone.NEUTRAL, size: int = 20) -> None:
        super().__init__()
        self._name, self._tone, self._size = name, tone, size
        self.setFixedSize(size, size)
        self._draw()

    def show_icon(self, name: str, tone: Tone = Tone.NEUTRAL) -> None:
        """Show another drawing or tone."""
        self._name, self._tone = name, tone
        self._draw()

    def _draw(self) -> None:
        if self._name:
            colour = theme.colours().tone(self._tone)
            self.setPixmap(theme.pixmap(self._name, colour, self._size))
        else:
            self.clear()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in _LOOK_EVENTS:
            self._draw()


class BadgeLabel(QLabel):
    """One word in a coloured pill."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("badge", "true")
        self.setProperty("tone", Tone.NEUTRAL.value)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.hide()

    def show_badge(self, text: str, tone: Tone) -> None:
        """Show a word; nothing at all when `text` is empty."""
        if self.text() != text:
            self.setText(text)
        self.set_tone(tone)
        self.setVisible(bool(text))  # last: what is shown has been styled

    def set_tone(self, tone: Tone) -> None:
        """Change the colour; cheap as long as nothing has measured or shown the badge."""
        if self.property("tone") != tone.value:
            self.setProperty("tone", tone.value)
            restyle(self)


class Button(QPushButton):
    """A push button with a drawing of ours; at least 32 px high."""

    def __init__(
        self,
        text: str,
        icon: str = "",
        *,
        primary: bool = False,
        large: bool = False,
        hint: str = "",
        clicked: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(text)
        self._icon = icon
        self._primary = primary
        self.setProperty("primary", "true" if primary else "false")
        self.setProperty("large", "true" if large else "false")
        self.setAutoDefault(False)
        self.setIconSize(QSize(18, 18))
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        if hint:
            self.setToolTip(hint)
        if clicked is not None:
            self.clicked.connect(lambda _checked=False: clicked())
        self._draw()

    def show_icon(self, name: str) -> None:
        """Show another drawing."""
        self._icon = name
        self._draw()

    def _draw(self) -> None:
        if self._icon:
            colours = theme.colours()
            self.setIcon(
                theme.icon(self._icon, colours.on_accent if self._primary else colours.text, 18)
            )

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in _LOOK_EVENTS:
            self._draw()


class IconButton(QToolButton):
    """A button that is only a drawing; its name is spoken and shown as its tooltip."""

    def __init__(
        self, icon: str, name: str, *, clicked: Callable[[], object] | None = None
    ) -> None:
        super().__init__()
        self._icon = icon
        self.setIconSize(QSize(18, 18))
        self.setMinimumSize(30, 30)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.rename(name)
        if clicked is not None:
            self.clicked.connect(lambda _checked=False: clicked())
        self._draw()

    def rename(self, name: str) -> None:
        """Set what the button is called."""
        self.setAccessibleName(name)
        self.setToolTip(name)

    def _draw(self) -> None:
        self.setIcon(theme.icon(self._icon, theme.colours().muted, 18, disables=False))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in _LOOK_EVENTS:
            self._draw()
