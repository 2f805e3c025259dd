"""The form by which a person confirms what a folder holds."""

from __future__ import annotations

from msgspec.structs import replace
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from app.domain.layout_proposal import ChannelAnswer, StructureAnswer
from app.ui.models.layout import (
    CASE_COLUMNS,
    CHANNEL_NAMES,
    LayoutAnswers,
    LayoutChannel,
    LayoutState,
    LayoutStructure,
    normalisation_words,
    problem_of,
)
from app.ui.models.rows import Table
from app.ui.theme import GRID
from app.ui.widgets.card import Card, clear, scrolling
from app.ui.widgets.labels import Button, label, show_text
from app.ui.widgets.record_table import RecordTable

_LARGEST_VALUE = 255
_NAME_WIDTH = 24 * GRID


class LayoutForm(QWidget):
    """Draws a `LayoutState`; what a person typed stays until another layout is proposed."""

    confirmed = Signal(object)
    """Carries `LayoutAnswers`."""

    def __init__(self) -> None:
        super().__init__()
        self._state: LayoutState | None = None
        self._left_out: set[str] = set()
        self._channels: list[tuple[str, QComboBox]] = []
        self._structures: list[tuple[str, QLineEdit, QSpinBox]] = []
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, GRID, 0, 0)
        outer.setSpacing(GRID)
        content = QWidget()
        content.setObjectName("page")
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, GRID, 0)
        column.setSpacing(GRID)
        self._sentence = label("", "sentence")
        column.addWidget(self._sentence)
        self._channel_card = Card("Images", "The name says how nnU-Net scales the grey values.")
        self._channel_grid = _grid(self._channel_card, stretches=2)
        column.addWidget(self._channel_card)
        self._structure_card = Card("Structures")
        self._structure_hint = label("", "caption")
        self._structure_card.body.addWidget(self._structure_hint)
        self._structure_grid = _grid(self._structure_card, stretches=3)
        column.addWidget(self._structure_card)
        case_card = Card("Cases", "A case without its tick is not used. Point at a row for paths.")
        self.cases = RecordTable(Table(columns=CASE_COLUMNS), "Proposed cases", of_cases=True)
        self.cases.fit_height(8)
        self.cases.checked_changed.connect(self._switch_case)
        case_card.body.addWidget(self.cases)
        self._unused = label("", "muted")
        case_card.body.addWidget(self._unused)
        column.addWidget(case_card)
        column.addStretch(1)
        outer.addWidget(scrolling(content), 1)
        self._pseudonyms = QCheckBox("Call the cases case-0001, case-0002 and so on")
        self._problem = label("", "muted")
        self._use = Button("Use this layout", "check", primary=True, clicked=self._confirm)
        bottom = QHBoxLayout()
        bottom.setSpacing(2 * GRID)
        bottom.addWidget(self._pseudonyms)
        bottom.addWidget(self._problem, 1)
        bottom.addStretch(0)
        bottom.addWidget(self._use)
        outer.addLayout(bottom)

    def draw(self, state: LayoutState | None) -> None:
        """Show a proposal; None empties the form."""
        before = self._state
        if state == before:
            return
        self._state = state
        if state is None:
            return
        if before is None or before.digest != state.digest:
            self._begin(state)
        self._sentence.setText(state.sentence)
        show_text(self._unused, state.unused)
        self._draw_cases()
        self._look_again()

    def answers(self) -> LayoutAnswers:
        """Return what the form says now."""
        state = self._state
        return LayoutAnswers(
            digest=state.digest if state is not None else "",
            channels=tuple(
                ChannelAnswer(found=found, name=name.currentText().strip())
                for found, name in self._channels
            ),
            structures=tuple(
                StructureAnswer(found=found, name=name.text().strip(), value=value.value())
                for found, name, value in self._structures
            ),
            leave_out=tuple(sorted(self._left_out)),
            pseudonyms=self._pseudonyms.isChecked(),
        )

    # --- building ------------------------------------------------------------------------------

    def _begin(self, state: LayoutState) -> None:
        self._left_out.clear()
        clear(self._channel_grid)
        clear(self._structure_grid)
        self._channels = [self._channel_row(n, one) for n, one in enumerate(state.channels)]
        self._structures = [
            self._structure_row(n, one, fixed=state.values_fixed)
            for n, one in enumerate(state.structures)
        ]
        self._structure_hint.setText(
            "The values are those in the label files; only the names can be chosen."
            if state.values_fixed
            else "The value that the structure gets. With 0 it is left out; structures with the "
            "same name and value become one."
        )
        self._pseudonyms.setChecked(state.always_pseudonyms)
        self._pseudonyms.setEnabled(not state.always_pseudonyms)

    def _channel_row(self, row: int, channel: LayoutChannel) -> tuple[str, QComboBox]:
        name = QComboBox()
        name.setEditable(True)
        name.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        name.addItems(list(CHANNEL_NAMES))
        name.setCurrentText(channel.name)
        name.setAccessibleName(f"Name of {channel.found}")
        name.setFixedWidth(_NAME_WIDTH)
        explained = label(normalisation_words(channel.name), "muted")
        name.editTextChanged.connect(lambda text: explained.setText(normalisation_words(text)))
        name.editTextChanged.connect(self._look_again)
        grid = self._channel_grid
        grid.addWidget(label(f"{channel.found} ({channel.cases})", wraps=False), row, 0)
        grid.addWidget(name, row, 1)
        grid.addWidget(explained, row, 2)
        return channel.found, name

    def _structure_row(
        self, row: int, structure: LayoutStructure, *, fixed: bool
    ) -> tuple[str, QLineEdit, QSpinBox]:
        name = QLineEdit(structure.name)
        name.setAccessibleName(f"Name of {structure.found}")
        name.setMaxLength(80)
        name.setFixedWidth(_NAME_WIDTH)
        name.textChanged.connect(self._look_again)
        value = QSpinBox()
        value.setRange(0, _LARGEST_VALUE)
        value.setSpecialValueText("Leave out")
        value.setValue(structure.value)
        value.setAccessibleName(f"Value of {structure.found}")
        value.setFixedWidth(14 * GRID)
        value.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        value.setEnabled(not fixed)
        value.valueChanged.connect(self._look_again)
        grid = self._structure_grid
        grid.addWidget(label(f"{structure.found} ({structure.cases})", wraps=False), row, 0)
        grid.addWidget(name, row, 1)
        grid.addWidget(value, row, 2)
        grid.addWidget(label(""), row, 3)
        return structure.found, name, value

    # --- answering -----------------------------------------------------------------------------

    def _switch_case(self, case: str, used: bool) -> None:
        if used:
            self._left_out.discard(case)
        else:
            self._left_out.add(case)
        self._draw_cases()
        self._look_again()

    def _draw_cases(self) -> None:
        if self._state is not None:
            table = self._state.cases
            self.cases.show_table(
                Table(
                    columns=table.columns,
                    rows=tuple(
                        replace(row, checked=row.key not in self._left_out) for row in table.rows
                    ),
                    empty=table.empty,
                )
            )

    def _look_again(self) -> None:
        if self._state is None:
            return
        problem = problem_of(self.answers(), cases=len(self._state.cases.rows))
        show_text(self._problem, problem)
        self._use.setEnabled(not problem and self._state.can_confirm)

    def _confirm(self) -> None:
        if self._use.isEnabled():
            self.confirmed.emit(self.answers())


def _grid(card: Card, *, stretches: int) -> QGridLayout:
    grid = QGridLayout()
    grid.setHorizontalSpacing(2 * GRID)
    grid.setVerticalSpacing(GRID)
    grid.setColumnStretch(stretches, 1)
    grid.setAlignment(Qt.AlignmentFlag.AlignTop)
    card.body.addLayout(grid)
    return grid
