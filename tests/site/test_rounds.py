"""The round of a site, on every state and every event."""

from __future__ import annotations

import itertools

import pytest
from helpers.scripted_runner import epoch_record

from app.domain.errors import OurMistake
from app.jobs.events import RoundTrained
from app.site.rounds import (
    TRANSITIONS,
    RoundEvent,
    RoundState,
    RoundTask,
    TrainedUpdate,
    UnexpectedRoundEvent,
    advance,
)

S, E = RoundState, RoundEvent

EXPECTED = {
    (S.WANTED, E.BEGUN): S.TRAINING,
    (S.WANTED, E.SPOILT): S.SPOILT,
    (S.WANTED, E.ASKED_ANEW): S.WANTED,
    (S.TRAINING, E.TRAINED): S.TRAINED,
    (S.TRAINING, E.LOST): S.WANTED,
    (S.TRAINING, E.SPOILT): S.SPOILT,
    (S.TRAINING, E.ASKED_ANEW): S.TRAINING,
    (S.TRAINED, E.DELIVERED): S.DELIVERED,
    (S.TRAINED, E.LOST): S.WANTED,
    (S.TRAINED, E.SPOILT): S.SPOILT,
    (S.TRAINED, E.ASKED_ANEW): S.TRAINED,
    (S.DELIVERED, E.ASKED_ANEW): S.TRAINED,
    (S.DELIVERED, E.UNHEARD): S.TRAINED,
    (S.SPOILT, E.TOLD): S.TOLD,
    (S.SPOILT, E.ASKED_ANEW): S.WANTED,
    (S.TOLD, E.ASKED_ANEW): S.WANTED,
    (S.TOLD, E.UNHEARD): S.SPOILT,
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(S, E)))
def test_every_state_and_event(state, event):
    if (state, event) in EXPECTED:
        assert advance(state, event) is EXPECTED[state, event]
    else:
        with pytest.raises(UnexpectedRoundEvent) as unexpected:
            advance(state, event)
        assert (unexpected.value.state, unexpected.value.event) == (state, event)
        assert state.value in str(unexpected.value)


def test_every_state_has_a_row_and_is_reached():
    assert set(TRANSITIONS) == set(S)
    reached = {S.WANTED} | {target for row in TRANSITIONS.values() for target in row.values()}
    assert reached == set(S)


def task(**changes):
    return RoundTask(
        **({"round": 1, "attempt": 1, "base": "b", "base_size": 5, "start_epoch": 0} | changes)
    )


def update():
    return TrainedUpdate.of(
        RoundTrained(
            round=1, attempt=1, update="u", sha256="s", size=3, cases=4,
            epochs=(epoch_record(1, 1), epoch_record(1, 2)),
        )
    )  # fmt: skip


def test_an_update_has_the_figures_of_its_last_epoch():
    made = update()
    assert (made.train_loss, made.epoch_seconds, made.pseudo_dice) == (0.5, 2.0, (0.5, None))
    with pytest.raises(OurMistake, match="without an epoch"):
        TrainedUpdate.of(
            RoundTrained(round=1, attempt=1, update="u", sha256="s", size=3, cases=4, epochs=())
        )


def test_a_new_attempt_of_the_same_work_keeps_the_update():
    delivered = task().begun_as().trained(update()).after(E.DELIVERED)
    again = delivered.asked(task(attempt=2))
    assert (again.state, again.attempt, again.update) == (S.TRAINED, 2, update())
    assert delivered.asked(task()) is delivered


def test_the_worker_goes_on_under_the_attempt_it_began_with():
    running = task().begun_as().asked(task(attempt=2))
    assert (running.state, running.attempt, running.begun) == (S.TRAINING, 2, 1)
    lost = running.after(E.LOST)
    assert (lost.losses, lost.begun_as().begun) == (1, 1)


def test_spoilt_work_is_begun_anew_under_its_new_attempt():
    spoilt = task().begun_as().after(E.LOST).begun_as().spoilt("not-finite")
    assert (spoilt.code, spoilt.losses, spoilt.update) == ("not-finite", 1, None)
    again = spoilt.after(E.TOLD).asked(task(attempt=2))
    assert (again.state, again.losses, again.code) == (S.WANTED, 0, "")
    assert again.begun_as().begun == 2


def test_other_work_takes_the_place_of_the_old():
    old = task().begun_as().trained(update())
    for other in (task(round=2), task(base="c"), task(start_epoch=4)):
        assert old.asked(other) is other
