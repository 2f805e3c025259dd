from __future__ import annotations

from PySide6.QtCore import Qt

from app.ui.text import Tone
from app.ui.theme import Theme
from app.ui.widgets.labels import BadgeLabel, Button, IconButton, IconLabel, label, show_text


def test_markup_in_a_name_stays_text(qtbot):
    made = label("<b>study</b>")
    qtbot.addWidget(made)
    assert made.textFormat() is Qt.TextFormat.PlainText


def test_empty_text_hides(qtbot):
    made = label("x")
    qtbot.addWidget(made)
    show_text(made, "")
    assert made.isHidden()
    show_text(made, "y")
    assert not made.isHidden()


def test_badge_takes_its_tone_and_hides_without_a_word(qtbot, look):
    badge = BadgeLabel()
    qtbot.addWidget(badge)
    badge.show_badge("Ready", Tone.GOOD)
    assert (badge.property("tone"), badge.isHidden()) == ("good", False)
    badge.show_badge("", Tone.GOOD)
    assert badge.isHidden()


def test_buttons_press_without_arguments(qtbot, look):
    pressed = []
    button = Button("Go", "play", clicked=lambda: pressed.append(1))
    icon = IconButton("close", "Close", clicked=lambda: pressed.append(2))
    qtbot.addWidget(button)
    qtbot.addWidget(icon)
    button.click()
    icon.click()
    assert pressed == [1, 2]
    assert icon.accessibleName() == "Close"


def test_drawings_follow_the_look(qtbot, look):
    icon = IconLabel("check", Tone.GOOD)
    qtbot.addWidget(icon)
    icon.show()
    dark = icon.pixmap().toImage()
    look.choose(Theme.LIGHT)
    qtbot.waitUntil(lambda: icon.pixmap().toImage() != dark)
