from __future__ import annotations

import dataclasses

from helpers.scripted_runner import epoch_record, step_record

from app.site.pace import Pace


def slow(record, seconds):
    return dataclasses.replace(record, seconds=seconds)


def test_nothing_is_promised_before_the_first_step():
    assert Pace().seconds_left(step_record(1, 1, 1), last_epoch=2) is None


def test_one_slow_step_does_not_change_the_estimate():
    pace = Pace()
    for seconds in (0.5, 0.5, 30.0, 0.5, 0.5):
        pace.stepped(slow(step_record(1, 1, 1), seconds))
    # Two steps left in this epoch and three in the next.
    assert pace.seconds_left(step_record(1, 1, 1), last_epoch=2) == 2.5


def test_validation_counts_once_it_was_seen():
    pace = Pace()
    for step in (1, 2, 3):
        pace.stepped(step_record(1, 1, step))
    pace.epoch_ended(epoch_record(1, 1), steps=3)
    # 2 s an epoch, of which 1.5 s are steps.
    assert pace.seconds_left(step_record(1, 2, 3), last_epoch=2) == 0.5
    assert pace.seconds_left(step_record(1, 2, 1), last_epoch=3) == 1.0 + 0.5 + 2.0


def test_an_epoch_shorter_than_its_steps_takes_nothing_away():
    pace = Pace()
    pace.stepped(step_record(1, 1, 1))
    pace.epoch_ended(dataclasses.replace(epoch_record(1, 1), seconds=0.1), steps=3)
    assert pace.seconds_left(step_record(1, 2, 3), last_epoch=2) == 0.0
