"""The states of a study and the events that move it.

Being paused is not a state of this table: it lies over every state, because work that arrives
during a pause is kept and may move the study on (see `Study`).
"""

from __future__ import annotations

import enum
from typing import Final

from app.domain.errors import OurMistake


class StudyState(enum.Enum):
    """How far a study has come."""

    ENROLLING = "enrolling"
    FINGERPRINTING = "fingerprinting"
    PLANNING = "planning"
    PREPARING = "preparing"
    TRAINING = "training"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


class StudyEvent(enum.Enum):
    """What moves a study."""

    BEGUN = "begun"
    FINGERPRINTS_COMPLETE = "fingerprints complete"
    FINGERPRINT_MISSING = "fingerprint missing"
    PLANNED = "planned"
    PLANNING_FAILED = "planning failed"
    RETRIED = "retried"
    ROUND_OPENED = "round opened"
    ROUNDS_DONE = "rounds done"
    STOPPED = "stopped"


class UnexpectedStudyChange(OurMistake):
    """Raised when a study is moved by an event that its state has no answer to."""

    def __init__(self, state: StudyState, event: StudyEvent) -> None:
        super().__init__(f"a study that is {state.value} cannot be {event.value}")
        self.state, self.event = state, event


TRANSITIONS: Final[dict[StudyState, dict[StudyEvent, StudyState]]] = {
    StudyState.ENROLLING: {
        StudyEvent.BEGUN: StudyState.FINGERPRINTING,
        StudyEvent.STOPPED: StudyState.STOPPED,
    },
    StudyState.FINGERPRINTING: {
        StudyEvent.FINGERPRINTS_COMPLETE: StudyState.PLANNING,
        StudyEvent.STOPPED: StudyState.STOPPED,
    },
    StudyState.PLANNING: {
        # A site was revoked, or its fingerprint did not fit: what is left is planned anew.
        StudyEvent.FINGERPRINT_MISSING: StudyState.FINGERPRINTING,
        StudyEvent.PLANNED: StudyState.PREPARING,
        StudyEvent.PLANNING_FAILED: StudyState.FAILED,
        StudyEvent.STOPPED: StudyState.STOPPED,
    },
    StudyState.PREPARING: {
        StudyEvent.ROUND_OPENED: StudyState.TRAINING,
        StudyEvent.STOPPED: StudyState.STOPPED,
    },
    StudyState.TRAINING: {
        StudyEvent.ROUND_OPENED: StudyState.TRAINING,
        StudyEvent.ROUNDS_DONE: StudyState.FINISHED,
        StudyEvent.STOPPED: StudyState.STOPPED,
    },
    StudyState.FAILED: {
        StudyEvent.RETRIED: StudyState.FINGERPRINTING,
        StudyEvent.STOPPED: StudyState.STOPPED,
    },
    StudyState.FINISHED: {},
    StudyState.STOPPED: {},
}


def advance(state: StudyState, event: StudyEvent) -> StudyState:
    """Return the state after `event`; raises UnexpectedStudyChange when there is none."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise UnexpectedStudyChange(state, event) from None
