import itertools

import pytest

from app.domain.errors import OurMistake
from app.federation.round_machine import (
    TRANSITIONS,
    RoundEvent,
    RoundState,
    UnexpectedRoundEvent,
    advance,
)

# Spelt out once more, so that a slip in the table is seen: state -> event -> state, by value.
EXPECTED = {
    "collecting": {"complete": "averaging"},
    "averaging": {"short of an update": "collecting", "averaged": "closed"},
}


def test_every_state_has_a_row():
    assert set(TRANSITIONS) == set(RoundState)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(RoundState, RoundEvent)))
def test_every_state_answers_every_event_as_expected(state, event):
    expected = EXPECTED.get(state.value, {}).get(event.value)
    if expected is not None:
        assert advance(state, event) is RoundState(expected)
        return
    with pytest.raises(UnexpectedRoundEvent) as caught:
        advance(state, event)
    assert isinstance(caught.value, OurMistake)
    assert (caught.value.state, caught.value.event) == (state, event)
    assert state.value in str(caught.value)
    assert event.value in str(caught.value)


def test_every_state_can_be_reached_and_every_event_is_used():
    reached, waiting = set(), [RoundState.COLLECTING]
    while waiting:
        state = waiting.pop()
        if state not in reached:
            reached.add(state)
            waiting.extend(TRANSITIONS[state].values())
    assert reached == set(RoundState)
    assert {event for row in TRANSITIONS.values() for event in row} == set(RoundEvent)
