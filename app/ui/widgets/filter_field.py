"""The field with which a list is narrowed by words."""

from __future__ import annotations

from PySide6.QtWidgets import QLineEdit


def filter_field(hint: str, name: str) -> QLineEdit:
    """Return an empty field that says `hint` while it is empty; `name` is read to whoever cannot see."""
    made = QLineEdit()
    made.setPlaceholderText(hint)
    made.setAccessibleName(name)
    made.setClearButtonEnabled(True)
    return made
