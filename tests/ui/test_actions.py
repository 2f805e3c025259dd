from __future__ import annotations

from PySide6.QtGui import QKeySequence

from app.ui.actions import SHORTCUTS, Action, Scope, described


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


def test_review_keys_leave_those_of_the_viewer_alone():
    # Keys that the three planes use themselves; see app/ui/widgets/volume_view.py.
    viewer = set("OGHESXRIMZ0123456789")
    for action, shortcut in SHORTCUTS.items():
        if shortcut.scope is Scope.REVIEW:
            assert shortcut.keys not in viewer, action


def test_tooltips_name_the_key():
    assert described(Action.ACCEPT) == "Accept and go to the next case (A)"
