from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QWidget

from app.ui.widgets.mouse_picture import SHORT, MouseChoice
from app.ui.widgets.viewer_keys import BUTTONS, MouseProfile, Tool


@pytest.fixture
def pair(qtbot):
    place = QWidget()
    line = QHBoxLayout(place)
    choices = [MouseChoice(profile) for profile in MouseProfile]
    for choice in choices:
        line.addWidget(choice)
    choices[0].setChecked(True)
    qtbot.addWidget(place)
    place.show()
    place.activateWindow()
    choices[0].setFocus()
    yield choices  # the widget around them must live as long
    place.hide()


@pytest.mark.parametrize("profile", MouseProfile)
def test_the_drawing_says_what_the_table_does(qtbot, profile):
    choice = MouseChoice(profile)
    qtbot.addWidget(choice)
    said = dict(choice.lines())
    for part, button in (
        ("Left button, dragged", Qt.MouseButton.LeftButton),
        ("Wheel, dragged", Qt.MouseButton.MiddleButton),
        ("Right button, dragged", Qt.MouseButton.RightButton),
    ):
        plain, shifted = BUTTONS[profile][button]
        assert said[part].startswith(SHORT[plain])
        assert (SHORT[shifted].lower() in said[part]) is (shifted is not plain)
    assert set(SHORT) == set(Tool)


def test_arrows_choose_and_only_one_is_chosen(pair, qtbot):
    with qtbot.waitSignal(pair[1].chosen) as chosen:
        qtbot.keyClick(pair[0], Qt.Key.Key_Right)
    assert chosen.args == [MouseProfile.RESEARCH]
    assert [choice.isChecked() for choice in pair] == [False, True]
    assert pair[1].hasFocus()


def test_a_chosen_one_looks_different(pair):
    chosen, other = (choice.grab().toImage() for choice in pair)
    inside = chosen.width() - 30, chosen.height() - 12
    assert chosen.pixel(*inside) != other.pixel(*inside)


def test_nothing_is_cut_off(pair):
    for choice in pair:
        words = choice.fontMetrics().height() * 9
        assert choice.height() > words
