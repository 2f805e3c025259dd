"""Colours, type sizes, icons: the window's look, light and dark.

Fusion draws the widgets; one restrained style sheet (`resources/themes/window.qss`) adds cards,
badges and focus rings. Text on its background keeps at least 4.5:1, secondary text as well.
"""

from __future__ import annotations

import enum
import string
from functools import lru_cache
from typing import Final

from msgspec import Struct
from msgspec.structs import asdict
from PySide6.QtCore import QByteArray, QObject, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QGuiApplication, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtWidgets import QApplication

from app.system.resources import resource
from app.ui.text import Tone

GRID: Final = 8
"""All distances are multiples of half of this many logical pixels."""


class Theme(enum.Enum):
    """What the operator chose."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


class Colours(Struct, frozen=True, kw_only=True):
    """One set of colours, as ``#rrggbb``."""

    window: str
    side: str
    surface: str
    raised: str
    field: str
    stripe: str
    hover: str
    selected: str
    line: str
    edge: str
    text: str
    muted: str
    faint: str
    accent: str
    accent_strong: str
    on_accent: str
    good: str
    good_soft: str
    warning: str
    warning_soft: str
    danger: str
    danger_soft: str
    info: str
    info_soft: str
    curves: tuple[str, ...]

    def tone(self, tone: Tone) -> str:
        """Text colour of a tone."""
        return {
            Tone.NEUTRAL: self.muted,
            Tone.INFO: self.info,
            Tone.GOOD: self.good,
            Tone.WARNING: self.warning,
            Tone.DANGER: self.danger,
        }[tone]


DARK: Final = Colours(
    window="#15181c",
    side="#1a1e23",
    surface="#1e2329",
    raised="#282e36",
    field="#15181c",
    stripe="#222830",
    hover="#2b323b",
    selected="#20444e",
    line="#323a44",
    edge="#55606d",
    text="#e6e9ec",
    muted="#a4aeb9",
    faint="#77818d",
    accent="#3fb3bd",
    accent_strong="#5cc7d0",
    on_accent="#06222a",
    good="#6fcf97",
    good_soft="#1c3a2c",
    warning="#f0b94d",
    warning_soft="#3d3119",
    danger="#ff8a80",
    danger_soft="#46211f",
    info="#7db8ff",
    info_soft="#1d3250",
    # Okabe and Ito's colours, lightened where needed, to be told apart by colour-blind people.
    curves=("#56b4e9", "#e69f00", "#2fc49a", "#cc79a7", "#f0e442", "#d5713c", "#9aa7ff"),
)

LIGHT: Final = Colours(
    window="#f3f5f7",
    side="#fbfcfd",
    surface="#ffffff",
    raised="#ffffff",
    field="#ffffff",
    stripe="#f6f8fa",
    hover="#e9eef2",
    selected="#d3eaee",
    line="#d8dee5",
    edge="#8d99a6",
    text="#17212b",
    muted="#52606d",
    faint="#7b8794",
    accent="#0b6f7a",
    accent_strong="#095c65",
    on_accent="#ffffff",
    good="#156c3c",
    good_soft="#dcf3e5",
    warning="#7f5200",
    warning_soft="#fdf0d2",
    danger="#b3261e",
    danger_soft="#fce4e2",
    info="#1557a8",
    info_soft="#e0ecfb",
    curves=("#0072b2", "#c26a00", "#007f5f", "#a8487f", "#8a7a00", "#b5461a", "#4b52b8"),
)


def style_sheet(colours: Colours, base_points: float) -> str:
    """Return the style sheet for `colours`, type sizes derived from the system's font size."""
    template = string.Template(resource("themes", "window.qss").read_text(encoding="utf-8"))
    sizes = {
        "small": base_points * 0.9,
        "body": base_points,
        "large": base_points * 1.2,
        "title": base_points * 1.6,
        "figure": base_points * 1.8,
    }
    return template.substitute(
        {name: value for name, value in asdict(colours).items() if isinstance(value, str)},
        **{name: f"{points:.1f}" for name, points in sizes.items()},
        icons=resource("icons").as_posix(),
        scheme="dark" if colours is DARK else "light",
    )


def qt_palette(colours: Colours) -> QPalette:
    """Return `colours` for what Fusion draws itself (combo boxes, check boxes, menus)."""
    palette = QPalette()
    roles = {
        QPalette.ColorRole.Window: colours.window,
        QPalette.ColorRole.WindowText: colours.text,
        QPalette.ColorRole.Base: colours.field,
        QPalette.ColorRole.AlternateBase: colours.stripe,
        QPalette.ColorRole.ToolTipBase: colours.raised,
        QPalette.ColorRole.ToolTipText: colours.text,
        QPalette.ColorRole.PlaceholderText: colours.muted,
        QPalette.ColorRole.Text: colours.text,
        QPalette.ColorRole.Button: colours.raised,
        QPalette.ColorRole.ButtonText: colours.text,
        QPalette.ColorRole.BrightText: colours.danger,
        QPalette.ColorRole.Link: colours.accent,
        QPalette.ColorRole.Highlight: colours.accent,
        QPalette.ColorRole.HighlightedText: colours.on_accent,
        QPalette.ColorRole.Accent: colours.accent,
    }
    for role, colour in roles.items():
        palette.setColor(role, QColor(colour))
    for role in (
        QPalette.ColorRole.WindowText,
        QPalette.ColorRole.Text,
        QPalette.ColorRole.ButtonText,
    ):
        palette.setColor(QPalette.ColorGroup.Disabled, role, QColor(colours.faint))
    return palette


class Look(QObject):
    """The look in force; follows the system while the operator chose nothing else."""

    changed = Signal()

    def __init__(self, application: QApplication, theme: Theme = Theme.SYSTEM) -> None:
        super().__init__(application)
        self._application = application
        self._base_points = max(9.0, application.font().pointSizeF())
        self.theme = theme
        self.colours = DARK
        application.styleHints().colorSchemeChanged.connect(self._follow)
        self.choose(theme)

    def choose(self, theme: Theme) -> None:
        """Put `theme` in force."""
        self.theme = theme
        scheme = {
            Theme.SYSTEM: Qt.ColorScheme.Unknown,
            Theme.LIGHT: Qt.ColorScheme.Light,
            Theme.DARK: Qt.ColorScheme.Dark,
        }[theme]
        self._application.styleHints().setColorScheme(scheme)
        self._follow()

    def _follow(self) -> None:
        # Unknown (no desktop that tells) counts as dark: reading rooms are dim.
        follows_dark = self._application.styleHints().colorScheme() is not Qt.ColorScheme.Light
        dark = follows_dark if self.theme is Theme.SYSTEM else self.theme is Theme.DARK
        self.colours = DARK if dark else LIGHT
        _Current.colours = self.colours
        sheet = style_sheet(self.colours, self._base_points)
        # Setting it lays out every widget anew; the system tells of changes that are none.
        if self._application.styleSheet() != sheet:
            self._application.setPalette(qt_palette(self.colours))
            self._application.setStyleSheet(sheet)
            self.changed.emit()


class _Current:
    """The colours in force, for what paints itself."""

    colours: Colours = DARK


def colours() -> Colours:
    """Return the colours in force; painting widgets ask on each paint."""
    return _Current.colours


@lru_cache(maxsize=512)
def _rendered(name: str, colour: str, size: int, ratio: float) -> QPixmap:
    from PySide6.QtSvg import QSvgRenderer

    drawing = resource("icons", f"{name}.svg").read_bytes()
    renderer = QSvgRenderer(QByteArray(drawing.replace(b"currentColor", colour.encode())))
    pixmap = QPixmap(round(size * ratio), round(size * ratio))
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    renderer.render(painter, QRectF(0, 0, pixmap.width(), pixmap.height()))
    painter.end()
    pixmap.setDevicePixelRatio(ratio)
    return pixmap


def pixmap(name: str, colour: str, size: int = 20) -> QPixmap:
    """Draw the icon `name` (a file of resources/icons) in `colour`, sharp on this screen."""
    return _rendered(name, colour, size, _ratio())


def icon(name: str, colour: str | None = None, size: int = 20, *, disables: bool = True) -> QIcon:
    """Draw the icon `name` for a button; in the text colour unless told otherwise.

    `disables` draws it a second time, for a button that is switched off now and then.
    """
    faint = colours().faint if disables else ""
    return _icon(name, colour or colours().text, faint, size, _ratio())


@lru_cache(maxsize=512)
def _icon(name: str, colour: str, faint: str, size: int, ratio: float) -> QIcon:
    drawn = QIcon(_rendered(name, colour, size, ratio))
    if faint:
        drawn.addPixmap(_rendered(name, faint, size, ratio), QIcon.Mode.Disabled)
    return drawn


def _ratio() -> float:
    return max(1.0, QGuiApplication.primaryScreen().devicePixelRatio())
