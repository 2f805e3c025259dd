import itertools

import pytest

from app.jobs.machine import TRANSITIONS, JobEvent, JobState, UnexpectedJobEvent, advance

S, E = JobState, JobEvent
# The whole table, written a second time by hand: state -> answers in the order of JobEvent.
EXPECTED = {
    #             START       FIRST_WORD  STOP        ENDED_WELL   ENDED_BADLY DIED
    S.QUEUED: (S.STARTING, None, S.STOPPED, None, None, None),
    S.STARTING: (None, S.RUNNING, S.STOPPING, None, S.FAILED, S.LOST),
    S.RUNNING: (None, None, S.STOPPING, S.SUCCEEDED, S.FAILED, S.LOST),
    S.STOPPING: (None, S.STOPPING, S.STOPPING, S.SUCCEEDED, S.STOPPED, S.STOPPED),
    S.SUCCEEDED: (None,) * 6,
    S.FAILED: (None,) * 6,
    S.STOPPED: (None,) * 6,
    S.LOST: (None,) * 6,
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(JobState, JobEvent)))
def test_every_state_times_every_event(state, event):
    expected = EXPECTED[state][list(JobEvent).index(event)]
    if expected is None:
        with pytest.raises(UnexpectedJobEvent) as caught:
            advance(state, event)
        assert str(caught.value) == f"a job that is {state.value} cannot take {event.value!r}"
    else:
        assert advance(state, event) is expected


def test_the_ends_are_the_states_without_a_way_out():
    assert {state for state in JobState if state.is_end} == {
        S.SUCCEEDED,
        S.FAILED,
        S.STOPPED,
        S.LOST,
    }
    assert set(TRANSITIONS) == set(JobState)
