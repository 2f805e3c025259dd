from __future__ import annotations

import pytest
from PySide6.QtCore import QTime

from app.ui.presenters.training import ScheduleState
from app.ui.widgets.schedule_form import ScheduleForm


def schedule(**changes: object) -> ScheduleState:
    values = {
        "sentence": "Trains at any hour.",
        "from_minute": None,
        "to_minute": None,
        "weekends": False,
        "yield_card": False,
        "resting": False,
    }
    return ScheduleState(**{**values, **changes})


NIGHT = schedule(sentence="At night.", from_minute=1200, to_minute=420, weekends=True)


@pytest.fixture
def form(qtbot, look):
    made = ScheduleForm()
    qtbot.addWidget(made)
    made.show()
    return made


def test_nothing_can_be_used_before_something_differs(form):
    assert not form.use.isEnabled()
    form.draw(schedule())
    assert not form.use.isEnabled()
    form.yields.setChecked(True)
    assert form.use.isEnabled()
    form.yields.setChecked(False)
    assert not form.use.isEnabled()


def test_hours_are_wished_in_minutes(form, qtbot):
    form.draw(schedule())
    form.hours.setChecked(True)
    form.begins.setTime(QTime(22, 30))
    with qtbot.waitSignal(form.wished) as wished:
        form.use.click()
    assert wished.args == [1350, 420, False, False]


def test_at_any_hour_has_no_weekends(form, qtbot):
    form.draw(NIGHT)
    assert form.weekends.isChecked()
    form.hours.setChecked(False)
    assert not form.weekends.isEnabled()
    with qtbot.waitSignal(form.wished) as wished:
        form.use.click()
    assert wished.args == [None, None, False, False]


def test_the_same_hour_twice_is_no_schedule(form):
    form.draw(schedule())
    form.hours.setChecked(True)
    form.ends.setTime(form.begins.time())
    assert not form.use.isEnabled()


def test_what_a_person_changes_stays_while_only_the_sentence_changes(form):
    form.draw(NIGHT)
    form.ends.setTime(QTime(6, 0))
    form.draw(schedule(sentence="Rests.", from_minute=1200, to_minute=420, weekends=True))
    assert form.ends.time() == QTime(6, 0)
    form.draw(schedule(sentence="Rests.", from_minute=1260, to_minute=420, weekends=True))
    assert form.begins.time() == QTime(21, 0)
    assert form.ends.time() == QTime(7, 0)
