"""What a check found, line by line: a sign, what was looked at, the sentence and the remedy."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from app.ui.models.doctor import DoctorLine
from app.ui.theme import GRID
from app.ui.widgets.labels import IconLabel, label


class CheckLines(QWidget):
    """Draws `DoctorLine`s: the connection's layers, or the parts of this computer."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(2 * GRID)
        self._grid.setVerticalSpacing(GRID)
        self._grid.setColumnStretch(2, 1)
        self.parts: list[tuple[IconLabel, QLabel, QLabel]] = []
        """Sign, name and words of each line, for tests."""

    def draw(self, lines: Sequence[DoctorLine]) -> None:
        """Show these lines and no others."""
        while len(self.parts) < len(lines):
            row = len(self.parts)
            icon, step, said = IconLabel(size=16), label("", wraps=False), label(selectable=True)
            top = Qt.AlignmentFlag.AlignTop
            self._grid.addWidget(icon, row, 0, top)
            self._grid.addWidget(step, row, 1, top)
            self._grid.addWidget(said, row, 2, top)
            self.parts.append((icon, step, said))
        for number, parts in enumerate(self.parts):
            there = number < len(lines)
            for part in parts:
                part.setVisible(there)
            if there:
                _fill(parts, lines[number])


def _fill(parts: tuple[IconLabel, QLabel, QLabel], line: DoctorLine) -> None:
    icon, step, said = parts
    icon.show_icon(line.icon, line.tone)
    step.setText(line.step)
    said.setText(line.said)
    said.setAccessibleName(f"{line.step}, {line.state}: {line.sentence}")
