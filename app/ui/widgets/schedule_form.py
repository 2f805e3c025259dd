"""When this site may train: hours, weekends, and whether it gives way to other programs."""

from __future__ import annotations

from typing import Protocol

from PySide6.QtCore import QTime, Signal
from PySide6.QtWidgets import QCheckBox, QTimeEdit, QVBoxLayout, QWidget

from app.ui.theme import GRID
from app.ui.widgets.card import row_of
from app.ui.widgets.labels import Button, label

EVENING, MORNING = 20 * 60, 7 * 60


class Schedule(Protocol):
    """What the form shows. Minutes after midnight, both None: at any hour."""

    @property
    def sentence(self) -> str: ...
    @property
    def from_minute(self) -> int | None: ...
    @property
    def to_minute(self) -> int | None: ...
    @property
    def weekends(self) -> bool: ...
    @property
    def yield_card(self) -> bool: ...


class ScheduleForm(QWidget):
    """Shows a schedule and lets a person change it; nothing is in force before “Use these times”."""

    wished = Signal(object, object, bool, bool)
    """From and to (minutes, or None both), whole weekends, give way to other programs."""

    def __init__(self) -> None:
        super().__init__()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GRID)
        self._sentence = label()
        layout.addWidget(self._sentence)
        self.hours = QCheckBox("Only between")
        self.begins, self.ends = QTimeEdit(), QTimeEdit()
        for edit, name, minute in (
            (self.begins, "Begin of the hours in which this site trains", EVENING),
            (self.ends, "End of the hours in which this site trains", MORNING),
        ):
            edit.setDisplayFormat("HH:mm")
            edit.setAccessibleName(name)
            edit.setTime(_time(minute))
            edit.timeChanged.connect(self._compare)
        layout.addLayout(row_of(self.hours, self.begins, label("and"), self.ends, None))
        self.weekends = QCheckBox("and all of Saturday and Sunday")
        self.yields = QCheckBox("Rest while another program uses the graphics card")
        for box in (self.hours, self.weekends, self.yields):
            box.toggled.connect(self._compare)
        layout.addWidget(self.weekends)
        layout.addWidget(self.yields)
        self.use = Button("Use these times", "check", clicked=self._wish)
        layout.addLayout(row_of(self.use, None))
        layout.addStretch(1)
        self._shown: Schedule | None = None
        self._compare()

    def draw(self, schedule: Schedule) -> None:
        """Show a schedule; what a person is changing stays until the schedule itself changes."""
        if schedule == self._shown:
            return
        before, self._shown = self._shown, schedule
        self._sentence.setText(schedule.sentence)
        if before is not None and _values(before) == _values(schedule):
            return
        self.hours.setChecked(schedule.from_minute is not None)
        if schedule.from_minute is not None and schedule.to_minute is not None:
            self.begins.setTime(_time(schedule.from_minute))
            self.ends.setTime(_time(schedule.to_minute))
        self.weekends.setChecked(schedule.weekends)
        self.yields.setChecked(schedule.yield_card)
        self._compare()

    def wish(self) -> tuple[int | None, int | None, bool, bool]:
        """Return what the form says now."""
        if not self.hours.isChecked():
            return None, None, False, self.yields.isChecked()
        return (
            _minute(self.begins.time()),
            _minute(self.ends.time()),
            self.weekends.isChecked(),
            self.yields.isChecked(),
        )

    def _compare(self, *_what: object) -> None:
        limited = self.hours.isChecked()
        for widget in (self.begins, self.ends, self.weekends):
            widget.setEnabled(limited)
        same_hours = limited and self.begins.time() == self.ends.time()
        shown = self._shown
        self.use.setEnabled(shown is not None and not same_hours and self.wish() != _values(shown))

    def _wish(self) -> None:
        self.wished.emit(*self.wish())


def _values(schedule: Schedule) -> tuple[int | None, int | None, bool, bool]:
    return schedule.from_minute, schedule.to_minute, schedule.weekends, schedule.yield_card


def _time(minute: int) -> QTime:
    return QTime(minute // 60 % 24, minute % 60)


def _minute(time: QTime) -> int:
    return time.hour() * 60 + time.minute()
