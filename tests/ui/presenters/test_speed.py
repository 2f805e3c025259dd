from __future__ import annotations

from helpers import snapshots

from app.control.messages import SpeedView
from app.ui.presenters.speed import speed_of
from app.ui.text import Tone


def test_a_verdict_with_the_times_it_rests_on():
    state = speed_of(snapshots.SPEED)
    assert state.badge.text == "Normal"
    assert state.sentence.startswith("This speed is normal")
    shown = {fact.name: fact.value for fact in state.facts}
    assert shown == {
        "One step takes": "1.9 s",
        "Usual here": "1.8 s",
        "Expected of such a device": "2.1 s",
    }


def test_times_are_those_of_the_sentence_however_short_or_long():
    shown = speed_of(SpeedView(step_s=0.0123, usual_s=31.7, verdict="slow"))
    assert [fact.value for fact in shown.facts] == ["0.012 s", "32 s"]
    assert shown.badge.tone is Tone.WARNING


def test_nothing_is_judged_before_there_are_steps():
    state = speed_of(SpeedView())
    assert (state.badge, state.facts) == (None, ())
    assert "After some steps" in state.sentence
