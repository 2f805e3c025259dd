"""What stands where nothing is yet: a drawing, one sentence, what to do, perhaps a button."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.ui.theme import GRID
from app.ui.widgets.labels import Button, IconLabel, label

_WIDTH: Final = 560


class EmptyState(QWidget):
    """Centred; the page shows it instead of empty tables and plots."""

    def __init__(
        self, icon: str, sentence: str, hint: str = "", button: Button | None = None
    ) -> None:
        super().__init__()
        middle = QWidget()
        # Wrapped text knows its height only in a column of known width.
        middle.setFixedWidth(_WIDTH)
        column = QVBoxLayout(middle)
        column.setSpacing(2 * GRID)
        column.addWidget(IconLabel(icon, size=56), 0, Qt.AlignmentFlag.AlignHCenter)
        self.sentence = label(sentence, "sentence")
        self.hint = label(hint, "muted")
        for text in (self.sentence, self.hint):
            text.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            column.addWidget(text)
        self.hint.setVisible(bool(hint))
        if button is not None:
            column.addWidget(button, 0, Qt.AlignmentFlag.AlignHCenter)
        layout = QVBoxLayout(self)
        layout.addStretch(1)
        layout.addWidget(middle, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addStretch(2)
