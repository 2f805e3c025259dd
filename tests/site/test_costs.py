from __future__ import annotations

from dataclasses import replace

import pytest

from app.control.messages import StopCosts
from app.site.costs import CostFacts, stop_costs

TRAINING = CostFacts(
    now=1000.0,
    joined=True,
    training=True,
    checkpoint_at=820.0,
    lost_s=120.0,
    next_checkpoint_s=240.0,
)
IDLE = replace(TRAINING, training=False, lost_s=0.0, next_checkpoint_s=None)


def test_stopping_now_names_the_last_checkpoint_and_what_is_lost():
    assert stop_costs(TRAINING) == StopCosts(
        checkpoint_at=820.0,
        lost_s=120.0,
        next_checkpoint_s=240.0,
        pause="Last checkpoint 3 minutes ago; stopping now loses 2 minutes of training, which is "
        "done again.",
        pause_at_checkpoint="Stops at the next checkpoint, in about 4 minutes; nothing is lost.",
        leave="Leaving is for good: the study goes on without this site. 2 minutes of training and "
        "what this round has learned here are thrown away. Updates that were delivered stay in the "
        "study; models that were exported stay on this computer.",
        switch_off="Better not yet: switching off now loses 2 minutes of training, which is done "
        "again. Stop at the next checkpoint first; it goes on by itself when this site's service "
        "runs again.",
    )


@pytest.mark.parametrize(
    ("facts", "part", "sentence"),
    [
        (
            replace(TRAINING, checkpoint_at=None, lost_s=40.0),
            "pause",
            (
                "There is no checkpoint yet; stopping now loses 40 seconds of training, which is done "
                "again."
            ),
        ),
        (
            replace(TRAINING, lost_s=0.2),
            "pause",
            "Last checkpoint 3 minutes ago; stopping now loses nothing.",
        ),
        (IDLE, "pause", "Stopping now loses nothing: no training runs."),
        (IDLE, "pause_at_checkpoint", ""),
        (
            replace(TRAINING, next_checkpoint_s=None),
            "pause_at_checkpoint",
            "Stops at the next checkpoint; nothing is lost.",
        ),
        (
            replace(TRAINING, last_epoch=True),
            "pause_at_checkpoint",
            (
                "Stops at the next checkpoint, in about 4 minutes, with this site's part of the round "
                "done; nothing is lost."
            ),
        ),
        (replace(IDLE, paused=True), "pause", ""),
        (
            replace(IDLE, paused=True),
            "resume",
            "Training goes on from the last checkpoint; finished epochs are kept.",
        ),
        (
            replace(TRAINING, pausing=True),
            "resume",
            "The pause is taken back; training simply goes on.",
        ),
        (TRAINING, "resume", ""),
        (replace(IDLE, joined=False), "leave", ""),
        (replace(IDLE, joined=False), "switch_off", "You may: nothing runs for a study."),
        (
            IDLE,
            "switch_off",
            "You may: nothing is lost; it goes on by itself when this site's service runs again.",
        ),
        (
            replace(IDLE, sending=True),
            "switch_off",
            (
                "You may, but this site's update is not delivered yet; it goes on by itself when this "
                "site's service runs again."
            ),
        ),
    ],
)
def test_each_way_to_stop_has_its_sentence(facts, part, sentence):
    assert getattr(stop_costs(facts), part) == sentence


def test_leaving_says_when_an_update_is_thrown_away():
    assert "not yet delivered is thrown away" in stop_costs(replace(IDLE, sending=True)).leave
    assert "thrown away" not in stop_costs(IDLE).leave
