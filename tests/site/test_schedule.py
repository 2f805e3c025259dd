from __future__ import annotations

import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from app.domain.errors import SetupProblem
from app.site.schedule import CardSharing, Rest, Verdict, checked, minute_text, verdict, view
from app.site.state import Schedule

NIGHT = Schedule(from_minute=20 * 60, to_minute=7 * 60)
BERLIN = ZoneInfo("Europe/Berlin")
DAY = Schedule(from_minute=8 * 60, to_minute=18 * 60)


pytestmark = pytest.mark.skipif(not hasattr(time, "tzset"), reason="its zone cannot be chosen")


@pytest.fixture(autouse=True)
def _in_berlin(monkeypatch):
    """A zone with summer time; the clock goes back on 25 Oct 2026 and forward on 28 Mar 2027."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(hour, minute=0, *, day=24, month=11, year=2026):
    """A Tuesday unless another day is given."""
    return datetime(year, month, day, hour, minute, tzinfo=BERLIN).timestamp()


@pytest.mark.parametrize(
    ("schedule", "now", "allowed"),
    [
        (Schedule(), at(12), True),
        (NIGHT, at(20), True),
        (NIGHT, at(3), True),
        (NIGHT, at(6, 59), True),
        (NIGHT, at(7), False),
        (NIGHT, at(19, 59), False),
        (DAY, at(8), True),
        (DAY, at(18), False),
        (NIGHT, at(12, day=28), False),
        (Schedule(from_minute=1200, to_minute=420, weekends=True), at(12, day=28), True),
        (Schedule(from_minute=1200, to_minute=420, weekends=True), at(12, day=30), False),
    ],
)
def test_hours_of_the_day(schedule, now, allowed):
    said = verdict(schedule, now=now)
    assert said.rest is (Rest.NONE if allowed else Rest.AT_CHECKPOINT)
    assert (said.resumes_at is None) == allowed


@pytest.mark.parametrize(
    ("schedule", "now", "begins"),
    [
        (NIGHT, at(12), at(20)),
        (DAY, at(19), at(8, day=25)),
        (DAY, at(5), at(8)),
        # Over the night in which the clock goes back, and the one in which it goes forward.
        (DAY, at(19, day=24, month=10), at(8, day=25, month=10)),
        (DAY, at(19, day=27, month=3, year=2027), at(8, day=28, month=3, year=2027)),
        # Friday noon: the evening comes first; after the night, Saturday is all free.
        (
            Schedule(from_minute=23 * 60, to_minute=60, weekends=True),
            at(2, day=27),
            at(23, day=27),
        ),
        (
            Schedule(from_minute=2 * 60, to_minute=4 * 60, weekends=True),
            at(12, day=27),
            at(0, day=28),
        ),
    ],
)
def test_when_training_begins_again(schedule, now, begins):
    assert verdict(schedule, now=now).resumes_at == begins


def test_a_night_with_a_changed_clock_is_longer_or_shorter():
    autumn = at(8, day=25, month=10) - at(20, day=24, month=10)
    spring = at(8, day=28, month=3, year=2027) - at(20, day=27, month=3, year=2027)
    assert (autumn, spring) == (13 * 3600, 11 * 3600)


def test_a_taken_card_is_given_away_at_once_if_the_operator_wants_it():
    assert verdict(Schedule(yield_card=True), now=at(12), others=("Planner",)) == Verdict(
        rest=Rest.NOW, others=("Planner",)
    )
    assert verdict(Schedule(), now=at(12), others=("Planner",)).rest is Rest.NONE
    assert verdict(Schedule(yield_card=True), now=at(12)).rest is Rest.NONE


@pytest.mark.parametrize(
    ("schedule", "said", "resting", "sentence"),
    [
        (Schedule(), Verdict(rest=Rest.NONE), False, "Trains at any time."),
        (NIGHT, Verdict(rest=Rest.NONE), False, "Trains from 20:00 to 07:00."),
        (
            NIGHT,
            Verdict(rest=Rest.AT_CHECKPOINT, resumes_at=at(20)),
            False,
            "Trains from 20:00 to 07:00. Stops at the next checkpoint and then waits until 20:00.",
        ),
        (
            NIGHT,
            Verdict(rest=Rest.AT_CHECKPOINT, resumes_at=at(20)),
            True,
            "Trains from 20:00 to 07:00. Waits until 20:00.",
        ),
        (
            Schedule(from_minute=1200, to_minute=420, weekends=True, yield_card=True),
            Verdict(rest=Rest.NONE),
            False,
            (
                "Trains from 20:00 to 07:00 and all day on Saturday and Sunday, and makes way for "
                "other programs on the graphics card."
            ),
        ),
        (
            Schedule(yield_card=True),
            Verdict(rest=Rest.NOW, others=("Planner",)),
            True,
            (
                "Trains at any time, and makes way for other programs on the graphics card. Waits "
                "while Planner uses the graphics card."
            ),
        ),
    ],
)
def test_the_schedule_in_words(schedule, said, resting, sentence):
    shown = view(schedule, said, resting=resting, now=at(12))
    assert shown.sentence == sentence
    assert (shown.resting, shown.resumes_at) == (resting, said.resumes_at)


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(from_minute=60),
        Schedule(to_minute=60),
        Schedule(from_minute=60, to_minute=60),
        Schedule(from_minute=-1, to_minute=60),
        Schedule(from_minute=60, to_minute=24 * 60),
    ],
)
def test_hours_that_make_no_sense_are_refused(schedule):
    with pytest.raises(SetupProblem, match="hours"):
        checked(schedule)
    assert checked(NIGHT) is NIGHT


def test_a_glance_at_the_card_is_not_taking_it_and_a_pause_not_leaving_it():
    sharing = CardSharing()
    assert sharing.seen(("Planner",), now=0) == ()
    assert sharing.seen((), now=1) == ()
    assert sharing.seen(("Planner",), now=2) == ()
    assert sharing.seen(("Planner",), now=5) == ("Planner",)
    assert sharing.seen((), now=30) == ("Planner",)
    assert sharing.seen(("Planner",), now=40) == ("Planner",)
    assert sharing.seen((), now=99) == ("Planner",)
    assert sharing.seen((), now=100) == ()
    assert sharing.seen(("Planner",), now=101) == ()


def test_minutes_are_shown_as_a_clock_shows_them():
    assert minute_text(7 * 60 + 5) == "07:05"
