"""The states of a round and the events that move it."""

from __future__ import annotations

import enum
from typing import Final

from app.domain.errors import OurMistake


class RoundState(enum.Enum):
    """How far a round has come."""

    COLLECTING = "collecting"
    AVERAGING = "averaging"
    CLOSED = "closed"


class RoundEvent(enum.Enum):
    """What moves a round."""

    UPDATES_COMPLETE = "complete"
    UPDATE_WITHDRAWN = "short of an update"
    AVERAGED = "averaged"


class UnexpectedRoundEvent(OurMistake):
    """Raised when a round is told something its state has no answer to."""

    def __init__(self, state: RoundState, event: RoundEvent) -> None:
        super().__init__(f"a round that is {state.value} cannot be {event.value}")
        self.state, self.event = state, event


TRANSITIONS: Final[dict[RoundState, dict[RoundEvent, RoundState]]] = {
    RoundState.COLLECTING: {
        RoundEvent.UPDATES_COMPLETE: RoundState.AVERAGING,
    },
    RoundState.AVERAGING: {
        # An update was refused by the average, or its site left: see what is left.
        RoundEvent.UPDATE_WITHDRAWN: RoundState.COLLECTING,
        RoundEvent.AVERAGED: RoundState.CLOSED,
    },
    RoundState.CLOSED: {},
}


def advance(state: RoundState, event: RoundEvent) -> RoundState:
    """Return the state after `event`; raises UnexpectedRoundEvent when there is none."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise UnexpectedRoundEvent(state, event) from None
