from __future__ import annotations

import pytest
from helpers import snapshots
from msgspec.structs import replace

from app.control.messages import Alarm
from app.control.notices import NoticeKind, notices
from app.federation.study_machine import StudyState
from app.site.stall import StallCode
from app.wire.messages import SitePhase

BEFORE = snapshots.training()


def changed(*, service=None, training=None, federation=None):
    return replace(
        BEFORE,
        service=replace(BEFORE.service, **(service or {})),
        training=replace(BEFORE.training, **(training or {})),
        federation=replace(BEFORE.federation, **(federation or {})),
    )


def alarm(code, severity):
    return Alarm(code=code, severity=severity, sentence="Of Smith.", remedy="R.", since=1.0)


CONSENT = changed(training={"phase": SitePhase.AWAITING_CONSENT.value})
PROBLEM = changed(service={"problem": "/data/Smith is gone", "remedy": "Look."})
ROUND = changed(federation={"rounds": snapshots.rounds(3)})
FINISHED = changed(
    federation={"rounds": snapshots.rounds(6), "study_state": StudyState.FINISHED.value}
)
STILL = changed(training={"alarms": (alarm(StallCode.NO_STEP.value, "stopped"),)})
FULL = changed(training={"alarms": (alarm(StallCode.DISK_FILLING.value, "stopped"),)})


@pytest.mark.parametrize(
    ("after", "kind", "title"),
    [
        (CONSENT, NoticeKind.NEEDS_YOU, "Your permission"),
        (STILL, NoticeKind.NEEDS_YOU, "Training stands still"),
        (FULL, NoticeKind.NEEDS_YOU, "Training stands still"),
        (PROBLEM, NoticeKind.FAILED, "Training cannot go on"),
        (ROUND, NoticeKind.ROUND_DONE, "Round 3 is done"),
        (FINISHED, NoticeKind.FINISHED, "The study is finished"),
    ],
)
def test_each_event_is_told_once_and_names_nobody(after, kind, title):
    (notice,) = notices(BEFORE, after)
    assert (notice.kind, notice.title) == (kind, title)
    assert notice.sentence.endswith(".")
    assert "Smith" not in notice.sentence
    assert notices(after, after) == ()
    assert notices(None, after) == (), "a window that attaches tells no old news"


def test_the_round_is_told_with_how_many_there_are():
    (notice,) = notices(BEFORE, ROUND)
    assert notice.sentence == "Round 3 of 6 is closed; the sites go on by themselves."


@pytest.mark.parametrize(
    "after",
    [
        changed(training={"step": 13}),
        changed(training={"alarms": (alarm(StallCode.WORKER_LOST.value, "stopped"),)}),
        changed(training={"alarms": (alarm(StallCode.DISK_FILLING.value, "slow"),)}),
        changed(training={"alarms": (alarm(StallCode.UNREACHABLE.value, "stopped"),)}),
        snapshots.empty(),
    ],
)
def test_what_passes_by_itself_is_no_news(after):
    assert notices(BEFORE, after) == ()


def test_the_history_of_another_study_is_no_news():
    study = replace(BEFORE.federation.study, words="six other words")
    other = changed(federation={"study": study, "rounds": snapshots.rounds(5)})
    assert notices(BEFORE, other) == ()


def test_two_events_at_once_are_both_told():
    both = replace(ROUND, training=CONSENT.training)
    assert [notice.kind for notice in notices(BEFORE, both)] == [
        NoticeKind.NEEDS_YOU,
        NoticeKind.ROUND_DONE,
    ]


def test_in_a_study_of_folds_the_round_is_told_with_its_fold():
    study = replace(BEFORE.federation.study, folds=3)
    before, after = (
        replace(one, federation=replace(one.federation, study=study)) for one in (BEFORE, ROUND)
    )
    (notice,) = notices(before, after)
    assert notice.title == "Round 1 is done"
    assert notice.sentence.startswith("Fold 2 of 3, round 1 of 2 is closed")


def test_in_a_cascade_the_round_is_told_with_its_pass():
    study = replace(BEFORE.federation.study, folds=3, stages=2)
    before, after = (
        replace(one, federation=replace(one.federation, study=study)) for one in (BEFORE, ROUND)
    )
    (notice,) = notices(before, after)
    assert notice.sentence.startswith("First pass, fold 3 of 3, round 1 of 1 is closed")
