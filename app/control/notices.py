"""The four events worth a notification, told apart from two states of a site. Pure.

A notification may stand on a screen that others see: its words are fixed, and none of them comes
from a case, a folder or a person.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.control.messages import Snapshot
from app.domain.folds import place_in, place_of


class NoticeKind(enum.Enum):
    """What happened."""

    NEEDS_YOU = "needs you"
    FAILED = "failed"
    ROUND_DONE = "round done"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One notification: a title of two or three words and one sentence."""

    kind: NoticeKind
    title: str
    sentence: str


_AWAITING_CONSENT: Final = "awaiting consent"
_FINISHED: Final = "finished"
_A_PERSON_IS_NEEDED: Final = frozenset({"no-step", "disk-filling"})
"""Codes of `app.site.stall` that do not pass by themselves once they have stopped training."""


def notices(before: Snapshot | None, after: Snapshot) -> tuple[Notice, ...]:
    """Return what a person should be told now that `before` became `after`.

    A window that has just attached has no `before`: what happened while it was closed is on its
    pages, and is not told as news.
    """
    return () if before is None else tuple(_told(before, after))


def _told(before: Snapshot, after: Snapshot) -> Iterator[Notice]:
    if after.service.problem and not before.service.problem:
        yield Notice(
            kind=NoticeKind.FAILED,
            title="Training cannot go on",
            sentence="Something keeps this site from going on; the window says what, and what to "
            "do.",
        )
    if _asks_for_consent(after) and not _asks_for_consent(before):
        yield Notice(
            kind=NoticeKind.NEEDS_YOU,
            title="Your permission",
            sentence="The study waits for you: look at the fingerprint and allow it to be shared.",
        )
    if _stands_still(after) - _stands_still(before):
        yield Notice(
            kind=NoticeKind.NEEDS_YOU,
            title="Training stands still",
            sentence="Training does not go on by itself; the Training page says why, and what to "
            "do.",
        )
    if _is_finished(after) and not _is_finished(before):
        yield Notice(
            kind=NoticeKind.FINISHED,
            title="The study is finished",
            sentence="Its model is ready for review.",
        )
        return
    newest = _newest_round(after)
    if newest > _newest_round(before) and _same_study(before, after):
        study = after.federation.study
        place = (
            place_of(newest, rounds=newest, folds=1) if study is None else place_in(study, newest)
        )
        yield Notice(
            kind=NoticeKind.ROUND_DONE,
            title=f"Round {place.round} is done",
            sentence=f"{place.title} is closed; the sites go on by themselves.",
        )


def _asks_for_consent(snapshot: Snapshot) -> bool:
    return snapshot.training.phase == _AWAITING_CONSENT


def _stands_still(snapshot: Snapshot) -> set[str]:
    return {
        alarm.code
        for alarm in snapshot.training.alarms
        if alarm.severity == "stopped" and alarm.code in _A_PERSON_IS_NEEDED
    }


def _is_finished(snapshot: Snapshot) -> bool:
    return snapshot.federation.study_state == _FINISHED


def _newest_round(snapshot: Snapshot) -> int:
    return max((row.number for row in snapshot.federation.rounds), default=0)


def _same_study(before: Snapshot, after: Snapshot) -> bool:
    one, other = before.federation.study, after.federation.study
    return one is not None and other is not None and one.words == other.words
