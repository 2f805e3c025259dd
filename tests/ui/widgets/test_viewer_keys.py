from __future__ import annotations

from collections import Counter

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeyEvent, QKeySequence

from app.ui.actions import SHORTCUTS, Scope
from app.ui.widgets.viewer_keys import (
    BINDINGS,
    BUTTONS,
    VIEWER_SHORTCUTS,
    MouseProfile,
    Wish,
    described,
    keys_of,
    mouse_lines,
    wish_of,
)

KEYS = [(keys, binding.wish, number) for binding in BINDINGS for keys, number in binding.keys]


@pytest.mark.parametrize(("keys", "wish", "number"), KEYS)
def test_every_key_is_understood(qapp, keys, wish, number):
    combination = QKeySequence(keys)[0]
    event = QKeyEvent(QEvent.Type.KeyPress, combination.key(), combination.keyboardModifiers())
    assert wish_of(event) == (wish, number)


def test_no_key_means_two_things_here_or_where_a_viewer_is():
    mine = [QKeySequence(keys).toString() for keys, _, _ in KEYS]
    assert {keys for keys, count in Counter(mine).items() if count > 1} == set()
    # The viewer stands on Review and in a window of its own that Data opens.
    with_viewer = (Scope.WINDOW, Scope.DATA, Scope.REVIEW)
    others = {
        QKeySequence(keys).toString()
        for shortcut in SHORTCUTS.values()
        if shortcut.scope in with_viewer
        for keys in shortcut.every
    }
    assert others & set(mine) == set()


def test_every_wish_has_a_key():
    assert {wish for _, wish, _ in KEYS} == set(Wish)


def test_the_keyboard_sheet_has_words_for_every_row():
    assert all(keys and text for keys, text in VIEWER_SHORTCUTS)
    assert len({keys for keys, _ in VIEWER_SHORTCUTS}) == len(VIEWER_SHORTCUTS)


def test_signs_are_found_with_shift_and_on_the_number_pad(qapp):
    for modifiers in (Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.KeypadModifier):
        event = QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Plus, modifiers)
        assert wish_of(event) == (Wish.OPACITY, 10)


def test_keys_of_others_are_left_alone(qapp):
    event = QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_S, Qt.KeyboardModifier.ControlModifier)
    assert wish_of(event) is None


def test_menus_and_tooltips_take_their_keys_from_the_table(qapp):
    assert keys_of(Wish.PRESET, 3) == "3"
    assert keys_of(Wish.RESET) == "R"
    assert described(Wish.FILL) == "Filled labels or outlines only (O)"


@pytest.mark.parametrize("profile", list(MouseProfile))
def test_the_sheet_says_what_each_button_does(profile):
    lines = dict(mouse_lines(profile))
    for button, name in (
        ("LeftButton", "Left"),
        ("RightButton", "Right"),
        ("MiddleButton", "Middle"),
    ):
        plain, shifted = BUTTONS[profile][getattr(Qt.MouseButton, button)]
        text = lines[f"{name} button"]
        assert text.casefold().startswith(plain.value)
        assert (f"with Shift {shifted.value}" in text) == (plain is not shifted)
