from __future__ import annotations

import re

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QApplication

from app.system.resources import resource
from app.ui import theme
from app.ui.text import Page, Tone
from app.ui.theme import DARK, LIGHT, Look, Theme

SETS = pytest.mark.parametrize("colours", [DARK, LIGHT], ids=["dark", "light"])


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_knows_black_on_white():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@SETS
def test_text_can_be_read_on_every_ground(colours):
    for ground in (
        colours.window,
        colours.side,
        colours.surface,
        colours.raised,
        colours.field,
        colours.stripe,
    ):
        assert contrast(colours.text, ground) >= 7
        assert contrast(colours.muted, ground) >= 4.5
    for ground in (colours.hover, colours.selected):
        assert contrast(colours.text, ground) >= 7


@SETS
def test_tones_can_be_read_on_cards_and_badges(colours):
    for tone, soft in (
        (Tone.GOOD, colours.good_soft),
        (Tone.WARNING, colours.warning_soft),
        (Tone.DANGER, colours.danger_soft),
        (Tone.INFO, colours.info_soft),
    ):
        assert contrast(colours.tone(tone), colours.surface) >= 4.5
        assert contrast(colours.tone(tone), soft) >= 4.5
        assert contrast(colours.text, soft) >= 4.5
    assert contrast(colours.on_accent, colours.accent) >= 4.5
    assert contrast(colours.on_accent, colours.accent_strong) >= 4.5


@SETS
def test_focus_rings_and_curves_stand_out(colours):
    for ground in (colours.window, colours.surface, colours.side):
        assert contrast(colours.accent, ground) >= 3
    for curve in colours.curves:
        assert contrast(curve, colours.surface) >= 3
    assert len(set(colours.curves)) == len(colours.curves)


@SETS
def test_style_sheet_has_no_token_left(colours):
    sheet = theme.style_sheet(colours, 10)
    assert "$" not in sheet
    assert colours.accent in sheet
    # Every :focus rule of a control draws a ring.
    assert sheet.count(":focus") >= 6
    for path in re.findall(r'url\("([^"]+)"\)', sheet):
        assert resource("icons", path.rsplit("/", 1)[-1]).is_file()


def test_every_drawing_draws_something(qapp):
    for path in resource("icons").glob("*.svg"):
        pixmap = theme.pixmap(path.stem, "#ff0000", 24)
        image = pixmap.toImage()
        solid = [
            image.pixelColor(x, y).alpha() > 128
            for x in range(image.width())
            for y in range(image.height())
        ]
        assert 8 < sum(solid) < len(solid), path.name
    for page in Page:
        assert resource("icons", f"{page.value.lower()}.svg").is_file()


def test_look_changes_palette_and_sheet(qapp: QApplication, qtbot):
    look = Look(qapp, Theme.LIGHT)
    assert theme.colours() is LIGHT
    assert qapp.palette().window().color() == QColor(LIGHT.window)
    with qtbot.waitSignal(look.changed):
        look.choose(Theme.DARK)
    assert theme.colours() is DARK
    assert qapp.palette().window().color() == QColor(DARK.window)
    assert DARK.surface in qapp.styleSheet()


def test_system_look_follows_the_desktop(qapp: QApplication, monkeypatch):
    look = Look(qapp, Theme.SYSTEM)
    # No desktop speaks here; what its word leads to is what counts.
    for scheme, colours in (
        (Qt.ColorScheme.Light, LIGHT),
        (Qt.ColorScheme.Dark, DARK),
        (Qt.ColorScheme.Unknown, DARK),
    ):

        class Hints:
            def colorScheme(self, said=scheme):  # noqa: N802 - Qt says it so
                return said

        monkeypatch.setattr(look, "_application", Spoken(qapp, Hints()))
        look._follow()
        assert look.colours is colours


class Spoken:
    """The application with style hints that a test chose."""

    def __init__(self, application, hints):
        self._application, self._hints = application, hints

    def styleHints(self):  # noqa: N802 - Qt says it so
        return self._hints

    def __getattr__(self, name):
        return getattr(self._application, name)
