"""The states of one job, from its place in the queue to its end."""

from __future__ import annotations

import enum
from typing import Final

from app.domain.errors import OurMistake


class JobState(enum.Enum):
    """Where a job stands; the last four are ends."""

    QUEUED = "queued"
    STARTING = "starting"  # the process exists but has not spoken yet: it imports for seconds
    RUNNING = "running"
    STOPPING = "stopping"  # asked to stop; may still deliver its result
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # it said why, or ended without its result
    STOPPED = "stopped"
    LOST = "lost"  # it died without a word: killed, crashed, vanished

    @property
    def is_end(self) -> bool:
        """True for a state that is never left."""
        return not TRANSITIONS[self]


class JobEvent(enum.Enum):
    """What can happen to a job."""

    START = "start"
    FIRST_WORD = "first word"
    STOP = "stop"
    ENDED_WELL = "ended well"
    ENDED_BADLY = "ended badly"
    DIED = "died"


class UnexpectedJobEvent(OurMistake):
    """Raised when a job is told something its state has no answer to."""

    def __init__(self, state: JobState, event: JobEvent) -> None:
        super().__init__(f"a job that is {state.value} cannot take {event.value!r}")
        self.state, self.event = state, event


TRANSITIONS: Final[dict[JobState, dict[JobEvent, JobState]]] = {
    JobState.QUEUED: {
        JobEvent.START: JobState.STARTING,
        JobEvent.STOP: JobState.STOPPED,
    },
    JobState.STARTING: {
        JobEvent.FIRST_WORD: JobState.RUNNING,
        JobEvent.STOP: JobState.STOPPING,
        JobEvent.ENDED_BADLY: JobState.FAILED,
        JobEvent.DIED: JobState.LOST,
    },
    JobState.RUNNING: {
        JobEvent.STOP: JobState.STOPPING,
        JobEvent.ENDED_WELL: JobState.SUCCEEDED,
        JobEvent.ENDED_BADLY: JobState.FAILED,
        JobEvent.DIED: JobState.LOST,
    },
    JobState.STOPPING: {
        # A child that speaks for the first time, or is asked again, is still only stopping.
        JobEvent.FIRST_WORD: JobState.STOPPING,
        JobEvent.STOP: JobState.STOPPING,
        JobEvent.ENDED_WELL: JobState.SUCCEEDED,
        JobEvent.ENDED_BADLY: JobState.STOPPED,
        JobEvent.DIED: JobState.STOPPED,
    },
    JobState.SUCCEEDED: {},
    JobState.FAILED: {},
    JobState.STOPPED: {},
    JobState.LOST: {},
}


def advance(state: JobState, event: JobEvent) -> JobState:
    """Return the state after `event`; raises UnexpectedJobEvent where the table has no answer."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise UnexpectedJobEvent(state, event) from None
