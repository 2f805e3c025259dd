import itertools

import pytest

from app.domain.errors import OurMistake
from app.federation.site_machine import (
    TRANSITIONS,
    SiteEvent,
    SiteState,
    UnexpectedSiteEvent,
    advance,
)

# Spelt out once more, so that a slip in the table is seen: state -> event -> state, by value.
EXPECTED = {
    "joined": {"prepared": "ready", "missed": "absent", "withdrawn": "withdrawn"},
    "ready": {"asked to train": "working", "withdrawn": "withdrawn"},
    "working": {
        "credited with an update": "delivered",
        "without an update that counts": "ready",
        "missed": "absent",
        "released from a round": "ready",
        "withdrawn": "withdrawn",
    },
    "delivered": {
        "without an update that counts": "ready",
        "released from a round": "ready",
        "withdrawn": "withdrawn",
    },
    "absent": {
        "returned without a prepared plan": "joined",
        "returned with a prepared plan": "ready",
        "withdrawn": "withdrawn",
    },
    "withdrawn": {"admitted again": "joined"},
}


def test_every_state_has_a_row():
    assert set(TRANSITIONS) == set(SiteState)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(SiteState, SiteEvent)))
def test_every_state_answers_every_event_as_expected(state, event):
    expected = EXPECTED.get(state.value, {}).get(event.value)
    if expected is not None:
        assert advance(state, event) is SiteState(expected)
        return
    with pytest.raises(UnexpectedSiteEvent) as caught:
        advance(state, event)
    assert isinstance(caught.value, OurMistake)
    assert (caught.value.state, caught.value.event) == (state, event)
    assert state.value in str(caught.value)
    assert event.value in str(caught.value)


def test_every_state_can_be_reached_and_every_event_is_used():
    reached, waiting = set(), [SiteState.JOINED]
    while waiting:
        state = waiting.pop()
        if state not in reached:
            reached.add(state)
            waiting.extend(TRANSITIONS[state].values())
    assert reached == set(SiteState)
    assert {event for row in TRANSITIONS.values() for event in row} == set(SiteEvent)
