"""What keeps training from going well, and what to do: decided from readings, steps and the link.

Pure: every age is a number of seconds at the moment of asking. Whoever asks does so once a second
(`app.site.watch_desk`), so that a cause is told within half a minute of its beginning.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from app.control.messages import Alarm, DeviceSample, LinkState
from app.domain.errors import ErrorCode
from app.domain.training import StepRecord
from app.site.spoken import span, time_of_day

_TIMES_MEDIAN: Final = 3.0
_SHORTEST_STALL_S: Final = 10.0
"""A step of a tenth of a second may well take two: nobody wants to read of that."""
_UNKNOWN_STALL_S: Final = 300.0
"""Before the first step nobody knows how long one takes: libraries tune themselves, an average may
be scored. Then only a worker that does nothing at all is told."""
_STARVED_SHARE: Final = 0.5
_FEWEST_STEPS: Final = 5
_IDLE_PERCENT: Final = 2.0
_IDLE_READINGS: Final = 20
_HOT_READINGS: Final = 10
_FULL_MEMORY_PERCENT: Final = 95.0
_FULL_MEMORY_READINGS: Final = 5
_LEAST_DISK_GB: Final = 2.0
_NO_DISK_GB: Final = 0.2
_FILLS_WITHIN_S: Final = 3600.0
_FILLS_BELOW_GB: Final = 20.0
_TREND_S: Final = 60.0
_BUSY_PERCENT: Final = 10.0
_AWAY_S: Final = 15.0
_SILENT_S: Final = 20.0
_LATE_S: Final = 20.0
_NAMED: Final = 3


class StallCode(enum.Enum):
    """Stable names of the causes, for windows and scripts."""

    NO_STEP = "no-step"
    LOADER_STARVED = "loader-starved"
    CARD_IDLE = "card-idle"
    CARD_HOT = "card-hot"
    CARD_TAKEN = "card-taken"
    DISK_FILLING = "disk-filling"
    MEMORY_FULL = "memory-full"
    NOT_FINITE = "loss-not-a-number"
    ROUND_SPOILT = "round-spoilt"
    WORKER_LOST = "worker-lost"
    UNREACHABLE = "coordinator-unreachable"
    SILENT = "coordinator-silent"
    OTHERS_LATE = "others-late"


STOPPED: Final = "stopped"
SLOW: Final = "slow"
NOTICE: Final = "notice"
_WORST_FIRST: Final = (STOPPED, SLOW, NOTICE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LateSite:
    """Another site whose update is waited for; `silent_s` None while it is connected."""

    name: str
    silent_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StallFacts:
    """What the watch looks at. `now` is in seconds since the epoch; `…_s` are spans until now.

    `sign_s` is how long ago the worker last told anything of its training, `overhead_s` how long an
    epoch's end takes (validation and checkpoint), `epoch_ends` that the last step ended an epoch.
    `lost_s` is set from the loss of a worker until the next step. `spoilt` is the code of a round
    that gives nothing. `away_s` and `silent_s` are set while the link is down, and while it stands
    but the coordinator answers nothing. `waiting_s` is set while this site's part is done and
    `late` are those it waits for.
    """

    now: float
    training: bool = False
    device: str = "cpu"
    sign_s: float = 0.0
    step_s: float = 0.0
    overhead_s: float = 0.0
    epoch_ends: bool = False
    steps: Sequence[StepRecord] = ()
    readings: Sequence[DeviceSample] = ()
    lost_s: float | None = None
    round: int = 0
    spoilt: str = ""
    link: LinkState = LinkState.NONE
    away_s: float | None = None
    silent_s: float | None = None
    waiting_s: float | None = None
    late: Sequence[LateSite] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    code: StallCode
    severity: str
    sentence: str
    remedy: str


def alarms(facts: StallFacts, before: Sequence[Alarm] = ()) -> tuple[Alarm, ...]:
    """Return what is wrong at `facts.now`, the worst first.

    A cause that was there `before` keeps the time since which it is there, and its sentence: its
    figures would else change every second.
    """
    known = {alarm.code: alarm for alarm in before}
    found = [finding for look in _LOOKS for finding in look(facts)]
    found.sort(key=lambda finding: _WORST_FIRST.index(finding.severity))
    told = []
    for finding in found:
        old = known.get(finding.code.value)
        if old is not None and old.severity == finding.severity:
            told.append(old)
            continue
        told.append(
            Alarm(
                code=finding.code.value,
                severity=finding.severity,
                sentence=finding.sentence,
                remedy=finding.remedy,
                since=facts.now if old is None else old.since,
            )
        )
    return tuple(told)


# --- training ----------------------------------------------------------------------------------


def _no_step(facts: StallFacts) -> Iterable[_Finding]:
    if not facts.training or facts.lost_s is not None:
        return
    allowed_s = _UNKNOWN_STALL_S
    if facts.step_s:
        allowed_s = max(_SHORTEST_STALL_S, _TIMES_MEDIAN * facts.step_s)
        if facts.epoch_ends:
            allowed_s += _TIMES_MEDIAN * facts.overhead_s
    if facts.sign_s <= allowed_s or (not facts.step_s and not _at_rest(facts.readings)):
        return
    usual = f"; a step usually takes {_short(facts.step_s)}" if facts.step_s else ""
    since = time_of_day(facts.now - facts.sign_s, now=facts.now)
    if _at_rest(facts.readings):
        yield _Finding(
            code=StallCode.NO_STEP,
            severity=STOPPED,
            sentence=f"There has been no training step since {since}{usual}. "
            "Neither processor nor graphics card works for the training: it stands still.",
            remedy="If the site's home lies on a network drive, check that drive. Then pause and "
            "resume training; it goes on from its last checkpoint.",
        )
    else:
        yield _Finding(
            code=StallCode.NO_STEP,
            severity=STOPPED,
            sentence=f"There has been no training step since {since}{usual}. "
            "The training still computes, far slower than usual.",
            remedy="Close other programs that need this computer. If it lasts for some minutes, "
            "pause and resume training; it goes on from its last checkpoint.",
        )


def _at_rest(readings: Sequence[DeviceSample]) -> bool:
    lately = readings[-_FULL_MEMORY_READINGS:]
    return bool(lately) and all(
        reading.worker_cpu_percent < _BUSY_PERCENT and _busiest_card(reading) <= _IDLE_PERCENT
        for reading in lately
    )


def _busiest_card(reading: DeviceSample) -> float:
    return max((card.percent or 0.0 for card in reading.cards), default=0.0)


def _loader_starved(facts: StallFacts) -> Iterable[_Finding]:
    steps = facts.steps
    if not facts.training or len(steps) < _FEWEST_STEPS:
        return
    total_s, waited_s = sum(s.seconds for s in steps), sum(s.wait_s for s in steps)
    if total_s <= 0 or waited_s / total_s <= _STARVED_SHARE:
        return
    yield _Finding(
        code=StallCode.LOADER_STARVED,
        severity=SLOW,
        sentence=f"Training waits for its images: {100 * waited_s / total_s:.0f} % of each step "
        "goes into reading and varying them, not into learning.",
        remedy="Close other programs that need the processor or the disk, and keep this site's "
        "home on a fast local disk. Hospital IT can give the site more loader processes in its "
        "settings.json.",
    )


def _card(facts: StallFacts) -> Iterable[_Finding]:
    readings = [reading for reading in facts.readings if reading.cards]
    if not facts.training or not readings:
        return
    lately = readings[-_IDLE_READINGS:]
    if (
        facts.device.startswith("cuda")
        and len(lately) == _IDLE_READINGS
        and facts.steps
        and all(_busiest_card(reading) <= _IDLE_PERCENT for reading in lately)
    ):
        yield _Finding(
            code=StallCode.CARD_IDLE,
            severity=SLOW,
            sentence="The graphics card is at 0 % although training should use it.",
            remedy="The images may come too slowly: close other programs that need processor or "
            "disk. If it stays so, pause and resume training.",
        )
    hot = [
        card
        for reading in readings[-_HOT_READINGS:]
        for card in reading.cards
        if "too hot" in card.throttled
    ]
    if len(hot) >= _HOT_READINGS:
        degrees = hot[-1].temperature_c
        at = "" if degrees is None else f" ({degrees:.0f} °C)"
        yield _Finding(
            code=StallCode.CARD_HOT,
            severity=SLOW,
            sentence=f"The graphics card is too hot{at} and slows itself down.",
            remedy="Give it air: free its openings from dust and from things beside it, and check "
            "that its fans turn. Nothing is lost by pausing until it has cooled.",
        )
    others = sorted({name for card in readings[-1].cards for name in card.others})
    if others and facts.device.startswith("cuda"):
        yield _Finding(
            code=StallCode.CARD_TAKEN,
            severity=NOTICE,
            sentence=f"Another program uses the graphics card too: {_listed(others)}.",
            remedy="Training is slower meanwhile. Close that program, or choose in the schedule of "
            "the Training page that training makes way for other programs.",
        )


def _memory(facts: StallFacts) -> Iterable[_Finding]:
    lately = facts.readings[-_FULL_MEMORY_READINGS:]
    if len(lately) == _FULL_MEMORY_READINGS and all(
        reading.memory_percent >= _FULL_MEMORY_PERCENT for reading in lately
    ):
        last = lately[-1]
        yield _Finding(
            code=StallCode.MEMORY_FULL,
            severity=SLOW,
            sentence=f"This computer's memory is nearly full ({last.memory_percent:.0f} %; "
            f"{last.memory_free_gb:.1f} GB are free).",
            remedy="Close other programs. When nothing is left, the system ends the training; it "
            "then goes on from its last checkpoint.",
        )


def _disk(facts: StallFacts) -> Iterable[_Finding]:
    if not facts.readings:
        return
    free = facts.readings[-1].disk_free_gb
    left_s = _fills_in(facts.readings)
    if free < _NO_DISK_GB:
        severity, how = STOPPED, f"is full: {1000 * free:.0f} MB are free"
    elif free < _LEAST_DISK_GB:
        severity, how = SLOW, f"is nearly full: {free:.1f} GB are free"
    elif left_s is not None and left_s < _FILLS_WITHIN_S and free < _FILLS_BELOW_GB:
        severity, how = NOTICE, f"fills up: {free:.1f} GB are free, for about {span(left_s)}"
    else:
        return
    yield _Finding(
        code=StallCode.DISK_FILLING,
        severity=severity,
        sentence=f"The disk that holds this site's home {how}.",
        remedy="Delete or move files on that disk that you no longer need. Nothing is lost: "
        "what needs room waits and is tried again by itself.",
    )


def _fills_in(readings: Sequence[DeviceSample]) -> float | None:
    """Return in how many seconds the disk is full if it goes on like this; None when it does not."""
    first, last = readings[0], readings[-1]
    passed_s, used = last.at - first.at, first.disk_free_gb - last.disk_free_gb
    if passed_s < _TREND_S or used <= 0:
        return None
    return last.disk_free_gb / (used / passed_s)


def _spoilt(facts: StallFacts) -> Iterable[_Finding]:
    if facts.spoilt == ErrorCode.NOT_FINITE.value:
        yield _Finding(
            code=StallCode.NOT_FINITE,
            severity=STOPPED,
            sentence=f"In round {facts.round} the loss was not a number any more: this site gives "
            "nothing for this round and goes on with the next.",
            remedy="Once is harmless. If it comes again, look through the findings of the Data page "
            "for broken images and tell the coordinator.",
        )
    elif facts.spoilt:
        yield _Finding(
            code=StallCode.ROUND_SPOILT,
            severity=STOPPED,
            sentence=f"Round {facts.round} gave nothing that counts at this site "
            f"({facts.spoilt.replace('-', ' ').replace('_', ' ')}); it goes on with the next.",
            remedy="If it comes again, open the log for the reason and tell the coordinator.",
        )


def _worker_lost(facts: StallFacts) -> Iterable[_Finding]:
    if facts.lost_s is not None:
        yield _Finding(
            code=StallCode.WORKER_LOST,
            severity=STOPPED,
            sentence="The training worker ended unexpectedly; it is started again by itself and "
            "goes on from its last checkpoint.",
            remedy="Nothing needs to be done. If it comes again, close other programs: the system "
            "ends the largest one when memory runs out.",
        )


# --- the others --------------------------------------------------------------------------------


def _coordinator(facts: StallFacts) -> Iterable[_Finding]:
    meanwhile = (
        "Training goes on; what it gives is kept and sent later."
        if facts.training
        else "Nothing is lost; this site connects again by itself."
    )
    severity = NOTICE if facts.training else STOPPED
    remedy = (
        "Test the connection on the Federation page; it says which layer fails and writes a ticket "
        f"for hospital IT. {meanwhile}"
    )
    if facts.away_s is not None and facts.away_s >= _AWAY_S:
        since = time_of_day(facts.now - facts.away_s, now=facts.now)
        yield _Finding(
            code=StallCode.UNREACHABLE,
            severity=severity,
            sentence=f"The coordinator cannot be reached since {since}.",
            remedy=remedy,
        )
    elif facts.silent_s is not None and facts.silent_s >= _SILENT_S:
        since = time_of_day(facts.now - facts.silent_s, now=facts.now)
        yield _Finding(
            code=StallCode.SILENT,
            severity=severity,
            sentence=f"The coordinator is connected but has not answered since {since}.",
            remedy=f"Its computer may be overloaded or asleep: tell the coordinator. {meanwhile}",
        )


def _others_late(facts: StallFacts) -> Iterable[_Finding]:
    if facts.waiting_s is None or facts.waiting_s < _LATE_S:
        return
    silent = [site for site in facts.late if site.silent_s is not None]
    if not silent:
        return
    named = [f"{site.name} ({_heard(site.silent_s)})" for site in silent[:_NAMED]]
    if len(silent) > _NAMED:
        named.append(f"{len(silent) - _NAMED} more")
    yield _Finding(
        code=StallCode.OTHERS_LATE,
        severity=NOTICE,
        sentence=f"Your part is done; the round waits for sites that are not connected: "
        f"{_listed(named)}.",
        remedy="Nothing needs to be done here. The coordinator closes the round without them when "
        "their time is over.",
    )


def _heard(silent_s: float | None) -> str:
    return "never heard" if not silent_s else f"last heard {span(silent_s)} ago"


def _listed(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _short(seconds: float) -> str:
    return f"{seconds:.1f} seconds" if seconds < 10 else span(seconds)


_LOOKS: Final[tuple[Callable[[StallFacts], Iterable[_Finding]], ...]] = (
    _worker_lost,
    _spoilt,
    _disk,
    _memory,
    _no_step,
    _loader_starved,
    _card,
    _coordinator,
    _others_late,
)
