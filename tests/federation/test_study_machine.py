import itertools

import pytest

from app.domain.errors import OurMistake
from app.federation.study_machine import (
    TRANSITIONS,
    StudyEvent,
    StudyState,
    UnexpectedStudyChange,
    advance,
)

# Spelt out once more, so that a slip in the table is seen: state -> event -> state, by value.
EXPECTED = {
    "enrolling": {"begun": "fingerprinting", "stopped": "stopped"},
    "fingerprinting": {"fingerprints complete": "planning", "stopped": "stopped"},
    "planning": {
        "fingerprint missing": "fingerprinting",
        "planned": "preparing",
        "planning failed": "failed",
        "stopped": "stopped",
    },
    "preparing": {"round opened": "training", "stopped": "stopped"},
    "training": {"round opened": "training", "rounds done": "finished", "stopped": "stopped"},
    "failed": {"retried": "fingerprinting", "stopped": "stopped"},
}


def test_every_state_has_a_row():
    assert set(TRANSITIONS) == set(StudyState)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(StudyState, StudyEvent)))
def test_every_state_answers_every_event_as_expected(state, event):
    expected = EXPECTED.get(state.value, {}).get(event.value)
    if expected is not None:
        assert advance(state, event) is StudyState(expected)
        return
    with pytest.raises(UnexpectedStudyChange) as caught:
        advance(state, event)
    assert isinstance(caught.value, OurMistake)
    assert (caught.value.state, caught.value.event) == (state, event)
    assert state.value in str(caught.value)
    assert event.value in str(caught.value)


def test_every_state_can_be_reached_and_every_event_is_used():
    reached, waiting = set(), [StudyState.ENROLLING]
    while waiting:
        state = waiting.pop()
        if state not in reached:
            reached.add(state)
            waiting.extend(TRANSITIONS[state].values())
    assert reached == set(StudyState)
    assert {event for row in TRANSITIONS.values() for event in row} == set(StudyEvent)
