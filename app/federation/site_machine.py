"""The states of a site as its coordinator sees it, and the events that move it.

Whether a site is connected is not a state: a site trains on while its line is cut. A site is
absent when it was waited for and showed no progress within the study's deadline.
"""

from __future__ import annotations

import enum
from typing import Final

from app.domain.errors import OurMistake


class SiteState(enum.Enum):
    """What the coordinator may expect of a site."""

    JOINED = "joined"
    READY = "ready"
    WORKING = "working"
    DELIVERED = "delivered"
    ABSENT = "absent"
    WITHDRAWN = "withdrawn"


class SiteEvent(enum.Enum):
    """What moves a site."""

    PREPARED = "prepared"
    ASKED = "asked to train"
    UPDATE_KEPT = "credited with an update"
    UPDATE_LOST = "without an update that counts"
    ROUND_CLOSED = "released from a round"
    MISSED = "missed"
    RETURNED_JOINED = "returned without a prepared plan"
    RETURNED_READY = "returned with a prepared plan"
    LEFT = "withdrawn"
    READMITTED = "admitted again"


class UnexpectedSiteEvent(OurMistake):
    """Raised when a site is told something its state has no answer to."""

    def __init__(self, state: SiteState, event: SiteEvent) -> None:
        super().__init__(f"a site that is {state.value} cannot be {event.value}")
        self.state, self.event = state, event


TRANSITIONS: Final[dict[SiteState, dict[SiteEvent, SiteState]]] = {
    SiteState.JOINED: {
        SiteEvent.PREPARED: SiteState.READY,
        SiteEvent.MISSED: SiteState.ABSENT,
        SiteEvent.LEFT: SiteState.WITHDRAWN,
    },
    SiteState.READY: {
        SiteEvent.ASKED: SiteState.WORKING,
        SiteEvent.LEFT: SiteState.WITHDRAWN,
    },
    SiteState.WORKING: {
        SiteEvent.UPDATE_KEPT: SiteState.DELIVERED,
        SiteEvent.UPDATE_LOST: SiteState.READY,
        SiteEvent.MISSED: SiteState.ABSENT,
        SiteEvent.ROUND_CLOSED: SiteState.READY,
        SiteEvent.LEFT: SiteState.WITHDRAWN,
    },
    SiteState.DELIVERED: {
        SiteEvent.UPDATE_LOST: SiteState.READY,
        SiteEvent.ROUND_CLOSED: SiteState.READY,
        SiteEvent.LEFT: SiteState.WITHDRAWN,
    },
    SiteState.ABSENT: {
        SiteEvent.RETURNED_JOINED: SiteState.JOINED,
        SiteEvent.RETURNED_READY: SiteState.READY,
        SiteEvent.LEFT: SiteState.WITHDRAWN,
    },
    SiteState.WITHDRAWN: {
        SiteEvent.READMITTED: SiteState.JOINED,
    },
}


def advance(state: SiteState, event: SiteEvent) -> SiteState:
    """Return the state after `event`; raises UnexpectedSiteEvent when there is none."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise UnexpectedSiteEvent(state, event) from None
