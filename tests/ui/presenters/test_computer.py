from __future__ import annotations

import pytest
from helpers import snapshots
from msgspec.structs import replace

from app.control.messages import DevicesView, JobView, TrainingView
from app.ui.presenters.computer import (
    OWN_PACE,
    UNMEASURED,
    batch_of,
    cards_of,
    device_words,
    estimate_of,
    offer_of,
    present_computer,
    span,
)
from app.ui.presenters.training import present_training
from app.ui.text import Tone, moment

NOW = snapshots.NOW


def present(snapshot):
    return present_computer(snapshot, now=NOW)


def test_without_a_study_there_is_nothing_to_tell():
    assert present(None) is None
    assert present(snapshots.checked()) is None


def test_before_anything_is_known_a_measurement_is_offered():
    state = present(snapshots.to_measure())
    assert state.estimate.sentence == UNMEASURED
    assert state.estimate.button == "Measure this computer"
    assert (state.estimate.facts, state.cards, state.batch) == ((), None, None)


def test_a_measurement_that_runs_has_progress_and_no_second_one_is_begun():
    estimate = present(snapshots.measuring()).estimate
    assert estimate.button == ""
    assert estimate.progress.sentence == "Measuring steps: 11 of 30, about 25 s left"
    assert estimate.progress.stops == "calibrate"
    failed = JobView(kind="calibrate", running=False, failed=True, outcome="no memory")
    assert estimate_of(TrainingView(calibration_job=failed), now=NOW).failure == "No memory"


def test_a_measurement_tells_epoch_round_study_and_day_and_how_it_compares():
    snapshot = snapshots.measured()
    estimate = present(snapshot).estimate
    shown = {fact.name: fact.value for fact in estimate.facts}
    assert shown["One epoch"] == "1 min 58 s"
    assert shown["One round"] == "3 min 56 s"
    assert shown["What is left of the study"] == "3 h 17 min"
    finish = snapshot.training.calibration.finish_at
    assert shown["Ends"].startswith(moment(finish, now=NOW))
    assert "waiting for other sites" in shown["Ends"]
    assert "NVIDIA RTX A4000" in estimate.sentence
    assert estimate.button == "Measure again"
    # The comparison is the very sentence that the card about speed would show.
    speed = present_training(snapshot, now=NOW).speed
    assert (estimate.comparison, estimate.badge) == (speed.sentence, speed.badge)


def test_while_training_the_other_card_compares_and_no_step_time_stands_here():
    base = snapshots.training()
    view = replace(base.training, calibration=snapshots.calibration(trained=True))
    estimate = estimate_of(view, now=NOW)
    assert (estimate.comparison, estimate.badge, estimate.button) == ("", None, "")
    assert estimate.sentence == "By the pace at which this study trains here:"
    assert not any("step" in fact.name for fact in estimate.facts)
    assert estimate_of(replace(view, calibration=None), now=NOW).sentence == OWN_PACE
    # Between rounds too: a measurement could tell another figure than training does.
    assert estimate_of(replace(view, phase="waiting"), now=NOW).button == ""


def test_a_rough_estimate_says_about_everywhere():
    view = TrainingView(calibration=snapshots.calibration(rough=True))
    estimate = estimate_of(view, now=NOW)
    assert estimate.sentence.startswith("Roughly")
    assert all(fact.value.startswith("about ") for fact in estimate.facts)


def test_short_times_add_up():
    assert [span(43), span(86), span(120), span(599), span(601)] == [
        "43 s",
        "1 min 26 s",
        "2 min",
        "9 min 59 s",
        "10 min",
    ]


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("cpu", "the processor"),
        ("cuda (NVIDIA A100)", "NVIDIA A100"),
        ("mps", "the Apple graphics unit"),
        ("other", "other"),
    ],
)
def test_devices_are_named_as_people_call_them(device, words):
    assert device_words(device) == words


@pytest.mark.parametrize(
    "view",
    [
        DevicesView(gpus_here=1, plan_batch_size=4),
        DevicesView(gpus_here=0),
        DevicesView(gpus_here=4, device="cuda:1", plan_batch_size=4),
        DevicesView(gpus_here=4, device="cpu", plan_batch_size=4),
    ],
)
def test_where_there_is_nothing_to_choose_there_is_no_slider(view):
    assert cards_of(view) is None


def test_the_slider_says_how_many_train_and_from_when():
    state = cards_of(DevicesView(gpus_here=4, gpus=2, plan_batch_size=12))
    assert (state.used, state.most) == (2, 4)
    assert state.sentences == (
        "1 of 4 graphics cards trains",
        "2 of 4 graphics cards train",
        "3 of 4 graphics cards train",
        "All 4 graphics cards train",
    )
    assert "from the next round on" in state.meaning
    two = cards_of(DevicesView(gpus_here=2, plan_batch_size=12))
    assert two.sentences[-1] == "Both graphics cards train"


def test_no_more_cards_than_patches_in_a_step():
    state = cards_of(DevicesView(gpus_here=4, plan_batch_size=12, batch_size=2))
    assert (state.used, state.most) == (2, 2)
    assert state.meaning.startswith("A step has 2 patches, so at most 2 of the 4 cards")


def test_after_a_round_without_memory_a_smaller_batch_is_offered():
    offer = offer_of(snapshots.no_memory().training.devices)
    assert offer.batch_size == 1
    assert offer.button == "Train with steps of 1"
    assert "is not counted" in offer.sentence
    assert "next round" in offer.remedy
    assert offer.tone is Tone.WARNING
    assert present_training(snapshots.no_memory(), now=NOW).offer == offer
    nothing_smaller = offer_of(DevicesView(sentence="Close other programs."))
    assert (nothing_smaller.batch_size, nothing_smaller.button) == (None, "")
    assert offer_of(DevicesView()) is None


def test_a_batch_of_ones_own_has_a_way_back():
    state = batch_of(DevicesView(batch_size=1, plan_batch_size=4))
    assert state.sentence.startswith("Each step takes 1 patch here; the plan says 4.")
    assert "less evenly" in state.sentence
    assert state.button == "Back to 4"
    assert "less evenly" not in batch_of(DevicesView(batch_size=8, plan_batch_size=4)).sentence
    assert batch_of(DevicesView(batch_size=4, plan_batch_size=4)) is None
    assert batch_of(DevicesView(plan_batch_size=4)) is None
