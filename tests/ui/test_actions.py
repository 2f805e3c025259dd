from __future__ import annotations

from PySide6.QtGui import QKeySequence

from app.ui.actions import SHORTCUTS, Action, Scope, described
from app.ui.widgets.viewer_keys import BINDINGS


def test_every_action_has_a_key_that_qt_knows():
    assert set(SHORTCUTS) == set(Action)
    for shortcut in SHORTCUTS.values():
        for keys in shortcut.every:
            sequence = QKeySequence(keys)
            assert sequence.count() == 1, shortcut
            assert sequence.toString(), shortcut


def test_no_key_does_two_things_in_one_place():
    for scope in Scope:
        seen: dict[str, Action] = {}
        for action, shortcut in SHORTCUTS.items():
            if shortcut.scope not in (scope, Scope.WINDOW):
                continue
            for keys in shortcut.every:
                key = QKeySequence(keys).toString()
                assert key not in seen, f"{action} and {seen[key]} in {scope}"
                seen[key] = action


def test_keys_around_a_viewer_leave_its_own_alone():
    viewer = {QKeySequence(keys).toString() for binding in BINDINGS for keys, _ in binding.keys}
    for action, shortcut in SHORTCUTS.items():
        if shortcut.scope in (Scope.REVIEW, Scope.CASE):
            assert QKeySequence(shortcut.keys).toString() not in viewer, action


def test_a_case_of_the_folder_has_the_keys_of_review():
    for here, there in (
        (Action.NEXT_PART, Action.NEXT_LESION),
        (Action.PREVIOUS_PART, Action.PREVIOUS_LESION),
        (Action.LARGEST_SLICE, Action.WORST_SLICE),
        (Action.NEXT_OF_FOLDER, Action.NEXT_CASE),
        (Action.PREVIOUS_OF_FOLDER, Action.PREVIOUS_CASE),
    ):
        assert SHORTCUTS[here].keys == SHORTCUTS[there].keys


def test_tooltips_name_the_key():
    assert described(Action.ACCEPT) == "Accept and go to the next case (A)"
