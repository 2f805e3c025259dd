"""When this site trains: hours of the day, weekends, and making way on the graphics card.

The rules are pure; `keep` and `kept_sentence` are for commands where no service runs.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from app.control.messages import ScheduleView, SetSchedule
from app.domain.errors import ErrorCode, SetupProblem
from app.site.home import SiteHome
from app.site.spoken import time_of_day
from app.site.state import Schedule, SiteStore

_DAY_MINUTES: Final = 24 * 60
_SATURDAY: Final = 5
_DAYS_AHEAD: Final = 8
TAKEN_AFTER_S: Final = 3.0
"""A program that asks a card what it is holds it for a moment."""
FREE_AFTER_S: Final = 60.0
"""A program that works in turns must not make training start and stop with it."""


class Rest(enum.Enum):
    """What the schedule asks of training."""

    NONE = "none"
    AT_CHECKPOINT = "at the next checkpoint"
    NOW = "now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the schedule says now; `others` are the programs that training makes way for."""

    rest: Rest
    resumes_at: float | None = None
    others: tuple[str, ...] = ()


def checked(schedule: Schedule) -> Schedule:
    """Return `schedule` when it makes sense.

    Raises:
        SetupProblem: only one end of the hours is given, or they are no times of a day.
    """
    ends = (schedule.from_minute, schedule.to_minute)
    if ends == (None, None):
        return schedule
    first, last = ends
    if first is None or last is None:
        raise SetupProblem("the hours need a beginning and an end", code=ErrorCode.SETTING)
    if not (0 <= first < _DAY_MINUTES and 0 <= last < _DAY_MINUTES) or first == last:
        raise SetupProblem(
            "the hours must be two different times of a day, such as 20:00 and 07:00",
            code=ErrorCode.SETTING,
        )
    return schedule


def verdict(schedule: Schedule, *, now: float, others: tuple[str, ...] = ()) -> Verdict:
    """Return what training should do at `now` (seconds since the epoch).

    Hours end at a checkpoint, where nothing is lost; a card is given away at once, because the
    program that wants it may otherwise fail for want of memory.
    """
    if not _within_hours(schedule, _local(now)):
        return Verdict(rest=Rest.AT_CHECKPOINT, resumes_at=_begins_again(schedule, now))
    if schedule.yield_card and others:
        return Verdict(rest=Rest.NOW, others=others)
    return Verdict(rest=Rest.NONE)


def view(schedule: Schedule, said: Verdict, *, resting: bool, now: float) -> ScheduleView:
    """Return the schedule as windows show it."""
    return ScheduleView(
        from_minute=schedule.from_minute,
        to_minute=schedule.to_minute,
        weekends=schedule.weekends,
        yield_card=schedule.yield_card,
        resting=resting,
        sentence=f"{_terms(schedule)}.{_state(said, resting=resting, now=now)}",
        resumes_at=said.resumes_at,
    )


def keep(home: Path, wish: SetSchedule) -> None:
    """Keep a schedule for the next start of a site whose service does not run.

    Raises:
        SetupProblem: it makes no sense, or the site's database cannot be written.
    """
    schedule = checked(schedule_of(wish))
    store = SiteStore(SiteHome(root=home).database)
    try:
        store.put(schedule)
    finally:
        store.close()


def kept_sentence(home: Path) -> str:
    """Return what the kept schedule of a site says; raises SetupProblem when it cannot be read."""
    store = SiteStore(SiteHome(root=home).database)
    try:
        return _terms(store.get(Schedule) or Schedule()) + "."
    finally:
        store.close()


def schedule_of(wish: SetSchedule) -> Schedule:
    """Return an operator's wish as it is kept."""
    return Schedule(
        from_minute=wish.from_minute,
        to_minute=wish.to_minute,
        weekends=wish.weekends,
        yield_card=wish.yield_card,
    )


class CardSharing:
    """Tells which other programs hold the card, patient at both ends."""

    def __init__(self) -> None:
        self._seen_since: float | None = None
        self._seen_last = 0.0
        self._others: tuple[str, ...] = ()

    def seen(self, others: tuple[str, ...], *, now: float) -> tuple[str, ...]:
        """Take note of a reading at `now`; return the programs that training should make way for."""
        if others:
            self._seen_since = now if self._seen_since is None else self._seen_since
            self._seen_last = now
            if now - self._seen_since >= TAKEN_AFTER_S:
                self._others = others
        elif self._seen_since is not None and now - self._seen_last >= FREE_AFTER_S:
            self._seen_since, self._others = None, ()
        elif not self._others:
            self._seen_since = None
        return self._others


def minute_text(minute: int) -> str:
    """Return minutes after midnight as “20:00”."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _local(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone()


def _within_hours(schedule: Schedule, local: datetime) -> bool:
    first, last = schedule.from_minute, schedule.to_minute
    if first is None or last is None:
        return True
    if schedule.weekends and local.weekday() >= _SATURDAY:
        return True
    minute = local.hour * 60 + local.minute
    if first < last:
        return first <= minute < last
    return minute >= first or minute < last


def _begins_again(schedule: Schedule, now: float) -> float | None:
    """Return the next moment at which the hours allow training, over changes of the clock."""
    if schedule.from_minute is None:
        return None
    midnight = _local(now).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    times = []
    for days in range(_DAYS_AHEAD):
        day = midnight + timedelta(days=days)
        times.append(day.replace(hour=schedule.from_minute // 60, minute=schedule.from_minute % 60))
        if schedule.weekends and day.weekday() == _SATURDAY:
            times.append(day)
    # A local time without a zone is read by this computer's own rules, summer time included.
    return min(moment for time in times if (moment := time.timestamp()) > now)


def _terms(schedule: Schedule) -> str:
    if schedule.from_minute is None or schedule.to_minute is None:
        terms = "Trains at any time"
    else:
        terms = (
            f"Trains from {minute_text(schedule.from_minute)} to {minute_text(schedule.to_minute)}"
        )
        if schedule.weekends:
            terms += " and all day on Saturday and Sunday"
    if schedule.yield_card:
        terms += ", and makes way for other programs on the graphics card"
    return terms


def _state(said: Verdict, *, resting: bool, now: float) -> str:
    if said.rest is Rest.NONE:
        return ""
    if said.others:
        return f" Waits while {' and '.join(said.others)} uses the graphics card."
    until = "" if said.resumes_at is None else f" until {time_of_day(said.resumes_at, now=now)}"
    if resting:
        return f" Waits{until}."
    return f" Stops at the next checkpoint and then waits{until}."
