"""What stands where nothing is yet: a drawing, one sentence, what to do, perhaps a button."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.ui.theme import GRID
from app.ui.widgets.labels import Button, IconLabel, label


class EmptyState(QWidget):
    """Centred; the page shows it instead of empty tables and plots."""

    def __init__(
        self, icon: str, sentence: str, hint: str = "", button: Button | None = None
    ) -> None:
        super().__init__()
        layout = QVBoxLayout(self)
        layout.setSpacing(2 * GRID)
        layout.addStretch(1)
        layout.addWidget(IconLabel(icon, size=56), 0, Qt.AlignmentFlag.AlignHCenter)
        self.sentence = label(sentence, "sentence")
        self.hint = label(hint, "muted")
        for text in (self.sentence, self.hint):
            text.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            text.setMaximumWidth(560)
            text.setMinimumWidth(420)
            layout.addWidget(text, 0, Qt.AlignmentFlag.AlignHCenter)
        self.hint.setVisible(bool(hint))
        if button is not None:
            layout.addWidget(button, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addStretch(2)
