from __future__ import annotations

from collections import Counter

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeyEvent, QKeySequence

from app.ui.actions import SHORTCUTS
from app.ui.widgets.viewer_keys import BINDINGS, VIEWER_SHORTCUTS, Wish, wish_of

KEYS = [(keys, binding.wish, number) for binding in BINDINGS for keys, number in binding.keys]


@pytest.mark.parametrize(("keys", "wish", "number"), KEYS)
def test_every_key_is_understood(qapp, keys, wish, number):
    combination = QKeySequence(keys)[0]
    event = QKeyEvent(QEvent.Type.KeyPress, combination.key(), combination.keyboardModifiers())
    assert wish_of(event) == (wish, number)


def test_no_key_means_two_things_here_or_in_the_window():
    used = Counter(QKeySequence(keys).toString() for keys, _, _ in KEYS)
    used.update(QKeySequence(shortcut.keys).toString() for shortcut in SHORTCUTS.values())
    scopes = Counter(QKeySequence(shortcut.keys).toString() for shortcut in SHORTCUTS.values())
    assert {keys for keys, count in used.items() if count > max(1, scopes[keys])} == set()


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
