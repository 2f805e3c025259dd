"""The window's frame: navigation, header, banner, status bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QSizePolicy,
    QStatusBar,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.ui import theme
from app.ui.text import NAME, RESEARCH_USE, Page, Tone
from app.ui.theme import GRID
from app.ui.widgets.labels import BadgeLabel, IconButton, IconLabel, label, show_text

NAVIGATION_WIDTH: Final = 176
_MARKS: Final = {
    "needs you": ("problem", Tone.DANGER),
    "done": ("check", Tone.GOOD),
}


class NavigationButton(QToolButton):
    """One page: its drawing and name, and a sign when it is done or needs somebody."""

    def __init__(self, page: Page, hint: str) -> None:
        super().__init__()
        self._page = page
        self.setText(f"  {page.value}")
        self.setToolTip(hint)
        self.setProperty("navigation", "true")
        self.setCheckable(True)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.setIconSize(QSize(20, 20))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMinimumHeight(5 * GRID)
        self._sign = IconLabel(size=16)
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, GRID + 4, 0)
        line.addStretch(1)
        line.addWidget(self._sign)
        self.toggled.connect(lambda _checked: self._draw())
        self.show_mark("")

    def show_mark(self, mark: str) -> None:
        """Show the mark of the page's step."""
        icon, tone = _MARKS.get(mark, ("", Tone.NEUTRAL))
        self._sign.show_icon(icon, tone)
        self.setAccessibleName(f"{self._page.value}, {mark}" if mark else self._page.value)
        self._draw()

    def _draw(self) -> None:
        colours = theme.colours()
        colour = colours.accent if self.isChecked() else colours.muted
        self.setIcon(theme.icon(self._page.value.lower(), colour, 20, disables=False))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange):
            self._draw()


class Navigation(QWidget):
    """The pages, one below the other."""

    page_chosen = Signal(object)
    """Carries a `Page`."""

    def __init__(self, hints: dict[Page, str]) -> None:
        super().__init__()
        self.setObjectName("navigation")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedWidth(NAVIGATION_WIDTH)
        self.setAccessibleName("Pages")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(GRID, 2 * GRID, GRID, 2 * GRID)
        layout.setSpacing(GRID // 2)
        group = QButtonGroup(self)
        self.buttons: dict[Page, NavigationButton] = {}
        for page in Page:
            button = NavigationButton(page, hints[page])
            group.addButton(button)
            layout.addWidget(button)
            button.clicked.connect(lambda _checked=False, p=page: self.page_chosen.emit(p))
            self.buttons[page] = button
        layout.addStretch(1)

    def choose(self, page: Page) -> None:
        """Mark a page as the one on screen."""
        self.buttons[page].setChecked(True)

    def show_marks(self, marks: Sequence[tuple[Page, str]]) -> None:
        """Show the marks of the steps."""
        for page, mark in marks:
            self.buttons[page].show_mark(mark)


class Header(QWidget):
    """Name of the program, study and site; which site is shown; look and keys."""

    site_chosen = Signal(int)
    theme_wished = Signal()
    keys_wished = Signal()

    def __init__(self, sites: Sequence[str], theme_hint: str, keys_hint: str) -> None:
        super().__init__()
        self.setObjectName("header")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedHeight(7 * GRID)
        line = QHBoxLayout(self)
        line.setContentsMargins(2 * GRID, 0, 2 * GRID, 0)
        line.setSpacing(GRID + 4)
        self._sign = QLabel()
        self._sign.setPixmap(theme.pixmap("application", "#000000", 28))
        line.addWidget(self._sign)
        wordmark = label(NAME, wraps=False)
        wordmark.setObjectName("wordmark")
        line.addWidget(wordmark)
        line.addSpacing(2 * GRID)
        self._study = label("", "muted")
        self._study.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        line.addWidget(self._study, 1)
        self._site = label("", wraps=False)
        line.addWidget(self._site)
        self.sites = QComboBox()
        self.sites.setAccessibleName("Which site is shown")
        self.sites.addItems(list(sites))
        self.sites.currentIndexChanged.connect(self.site_chosen)
        self._showing = label("Showing:", "muted", wraps=False)
        several = len(sites) > 1
        self._several = several
        for widget in (self._showing, self.sites):
            widget.setVisible(several)
            line.addWidget(widget)
        line.addWidget(IconButton("keyboard", keys_hint, clicked=self.keys_wished.emit))
        line.addWidget(IconButton("theme", theme_hint, clicked=self.theme_wished.emit))
        self.menu = QMenu(self)
        more = IconButton("more", "Report a problem, start at login, versions and licences")
        more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        more.setMenu(self.menu)
        line.addWidget(more)

    def draw(self, study: str, site: str) -> None:
        """Show study and site."""
        self._study.setText(study)
        show_text(self._site, "" if self._several else site)


class Banner(QFrame):
    """A quiet line below the header while something is not as it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("banner")
        line = QHBoxLayout(self)
        line.setContentsMargins(2 * GRID, GRID // 2, 2 * GRID, GRID // 2)
        line.setSpacing(GRID)
        line.addWidget(IconLabel("warning", Tone.WARNING, 18), 0, Qt.AlignmentFlag.AlignTop)
        self._text = label("", selectable=True)
        line.addWidget(self._text, 1)
        self.hide()

    @property
    def text(self) -> str:
        """What it says, empty while hidden."""
        return "" if self.isHidden() else self._text.text()

    def draw(self, sentence: str, remedy: str) -> None:
        """Show a sentence with its remedy, or nothing."""
        self.setVisible(bool(sentence))
        parts = [sentence if sentence[-1:] in ".…!" else f"{sentence}.", remedy]
        self._text.setText(" ".join(part for part in parts if part) if sentence else "")


class StatusLine(QStatusBar):
    """State of the link, state of the training, and for what this program may be used."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizeGripEnabled(False)
        self._link = BadgeLabel()
        self._training = label("", wraps=False)
        self._filled = False
        self.addPermanentWidget(label(RESEARCH_USE, wraps=False))

    def draw(self, link: str, tone: Tone, training: str) -> None:
        """Show link and training."""
        self._link.set_tone(tone)
        if not self._filled:
            # Now, not before: a status bar measures, and so styles, what it is given.
            self._filled = True
            self.addWidget(self._link)
            self.addWidget(self._training, 1)
        self._link.show_badge(link, tone)
        self._training.setText(training)
