from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.scripted_runner import step_record

from app.control.messages import CardSample, DeviceSample, LinkState
from app.site.spoken import time_of_day
from app.site.stall import LateSite, StallCode, StallFacts, alarms

NOW = 1_800_000_000.0


def reading(second=0, *, card=None, **changes):
    figures = {
        "at": NOW - 120 + second,
        "cpu_percent": 60.0,
        "memory_percent": 50.0,
        "memory_free_gb": 8.0,
        "worker_memory_mb": 900.0,
        "worker_cpu_percent": 95.0,
        "disk_free_gb": 200.0,
        "cards": () if card is None else (CardSample(name="card", **card),),
    }
    return DeviceSample(**(figures | changes))


def readings(number=30, **changes):
    return tuple(reading(second, **changes) for second in range(number))


def steps(number=20, *, seconds=2.0, wait_s=0.1):
    return tuple(
        replace(step_record(1, 1, 1 + n), seconds=seconds, wait_s=wait_s) for n in range(number)
    )


WELL = StallFacts(
    now=NOW,
    training=True,
    sign_s=1.0,
    step_s=2.0,
    overhead_s=20.0,
    steps=steps(),
    readings=readings(),
    link=LinkState.CONNECTED,
    round=4,
)
CUDA = replace(WELL, device="cuda (NVIDIA A4000)", readings=readings(card={"percent": 90.0}))


def codes(facts):
    return [alarm.code for alarm in alarms(facts)]


def only(facts):
    (alarm,) = alarms(facts)
    return alarm


def clock(seconds_ago):
    return time_of_day(NOW - seconds_ago, now=NOW)


@pytest.mark.parametrize("facts", [WELL, CUDA, StallFacts(now=NOW)])
def test_nothing_is_said_while_all_goes_well(facts):
    assert alarms(facts) == ()


# --- no step -----------------------------------------------------------------------------------


def test_no_step_in_three_times_the_median_is_told_with_what_the_computer_does():
    slow = only(replace(WELL, sign_s=12.0))
    assert (slow.code, slow.severity, slow.since) == ("no-step", "stopped", NOW)
    assert slow.sentence == (
        f"There has been no training step since {clock(12)}; a step usually takes 2.0 seconds. "
        "The training still computes, far slower than usual."
    )
    still = only(replace(WELL, sign_s=12.0, readings=readings(worker_cpu_percent=0.5)))
    assert "it stands still" in still.sentence
    assert "network drive" in still.remedy


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sign_s": 9.0}, False),
        ({"sign_s": 9.0, "step_s": 0.1}, False),
        ({"sign_s": 11.0, "step_s": 0.1}, True),
        ({"sign_s": 29.0, "step_s": 10.0}, False),
        ({"sign_s": 31.0, "step_s": 10.0}, True),
        # Validation and checkpoint at an epoch's end take their time.
        ({"sign_s": 60.0, "epoch_ends": True}, False),
        ({"sign_s": 75.0, "epoch_ends": True}, True),
        # Nobody knows how long the first step takes; only one that does nothing is told.
        ({"sign_s": 200.0, "step_s": 0.0}, False),
        ({"sign_s": 3000.0, "step_s": 0.0}, False),
        ({"sign_s": 200.0, "step_s": 0.0, "readings": readings(worker_cpu_percent=0.0)}, False),
        ({"sign_s": 301.0, "step_s": 0.0, "readings": readings(worker_cpu_percent=0.0)}, True),
        ({"sign_s": 500.0, "training": False}, False),
    ],
)
def test_how_long_a_step_may_take(changes, told):
    assert codes(replace(WELL, **changes)) == (["no-step"] if told else [])


# --- the computer ------------------------------------------------------------------------------


def test_a_starved_loader_is_told_with_its_share():
    alarm = only(replace(WELL, steps=steps(wait_s=1.4)))
    assert (alarm.code, alarm.severity) == ("loader-starved", "slow")
    assert "70 % of each step" in alarm.sentence
    assert codes(replace(WELL, steps=steps(4, wait_s=1.9))) == []
    assert codes(replace(WELL, steps=steps(wait_s=0.9))) == []


def test_a_card_at_rest_is_told_only_where_training_should_use_it():
    idle = replace(CUDA, readings=readings(card={"percent": 0.0}))
    assert only(idle).code == "card-idle"
    assert codes(replace(idle, device="cpu")) == []
    assert codes(replace(idle, readings=idle.readings[:19])) == []
    assert codes(replace(idle, readings=(*idle.readings, reading(card={"percent": 50.0})))) == []
    assert codes(replace(idle, steps=())) == []
    assert codes(replace(idle, training=False)) == []


def test_a_hot_card_is_told_and_a_busy_one_is_not():
    hot = {"percent": 90.0, "throttled": ("too hot",), "temperature_c": 93.0}
    alarm = only(replace(CUDA, readings=readings(card=hot)))
    assert (alarm.code, alarm.sentence) == (
        "card-hot",
        "The graphics card is too hot (93 °C) and slows itself down.",
    )
    limited = {"percent": 90.0, "throttled": ("at its power limit",)}
    assert codes(replace(CUDA, readings=readings(card=limited))) == []
    assert codes(replace(CUDA, readings=(*CUDA.readings, reading(card=hot)))) == []


def test_another_program_on_the_card_is_named():
    alarm = only(replace(CUDA, readings=readings(card={"percent": 90.0, "others": ("Planner",)})))
    assert (alarm.code, alarm.severity) == ("card-taken", "notice")
    assert alarm.sentence.endswith(": Planner.")


def test_full_memory_is_told_after_five_readings():
    full = readings(memory_percent=97.0, memory_free_gb=0.4)
    alarm = only(replace(WELL, readings=full))
    assert (alarm.code, alarm.sentence) == (
        "memory-full",
        "This computer's memory is nearly full (97 %; 0.4 GB are free).",
    )
    assert codes(replace(WELL, readings=(*WELL.readings, *full[:4]))) == []


@pytest.mark.parametrize(
    ("free", "severity", "words"),
    [
        (0.1, "stopped", "is full: 100 MB are free."),
        (1.5, "slow", "is nearly full: 1.5 GB are free."),
    ],
)
def test_a_full_disk_is_told_with_what_is_left(free, severity, words):
    alarm = only(replace(WELL, readings=readings(disk_free_gb=free)))
    assert (alarm.code, alarm.severity) == ("disk-filling", severity)
    assert alarm.sentence.endswith(words)


def test_a_disk_that_will_be_full_within_the_hour_is_told_before_it_is():
    filling = tuple(reading(second, disk_free_gb=10.0 - second / 60) for second in range(90))
    alarm = only(replace(WELL, readings=filling))
    assert (alarm.code, alarm.severity) == ("disk-filling", "notice")
    assert alarm.sentence.endswith("fills up: 8.5 GB are free, for about 9 minutes.")
    assert codes(replace(WELL, readings=filling[:50])) == []
    large = tuple(reading(second, disk_free_gb=900.0 - second) for second in range(90))
    assert codes(replace(WELL, readings=large)) == []


# --- the round ---------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_is_told_with_its_round():
    alarm = only(replace(WELL, training=False, spoilt="not-finite"))
    assert alarm.code == "loss-not-a-number"
    assert alarm.sentence.startswith("In round 4 the loss was not a number any more")


def test_any_other_spoilt_round_is_told_too():
    alarm = only(replace(WELL, training=False, spoilt="gpu-memory"))
    assert alarm.code == "round-spoilt"
    assert "(gpu memory)" in alarm.sentence


def test_a_lost_worker_is_told_instead_of_missing_steps():
    assert codes(replace(WELL, lost_s=3.0, sign_s=500.0)) == ["worker-lost"]


# --- the others --------------------------------------------------------------------------------


def test_an_unreachable_coordinator_is_told_and_whether_training_goes_on():
    away = replace(WELL, away_s=20.0, link=LinkState.OFFLINE)
    alarm = only(away)
    assert (alarm.code, alarm.severity) == ("coordinator-unreachable", "notice")
    assert alarm.sentence == f"The coordinator cannot be reached since {clock(20)}."
    assert "Training goes on" in alarm.remedy
    assert only(replace(away, training=False)).severity == "stopped"
    assert codes(replace(away, away_s=10.0)) == []


def test_a_frozen_coordinator_is_told_apart():
    alarm = only(replace(WELL, silent_s=25.0, training=False))
    assert (alarm.code, alarm.severity) == ("coordinator-silent", "stopped")
    assert alarm.sentence.startswith("The coordinator is connected but has not answered since")
    assert codes(replace(WELL, silent_s=10.0)) == []


def test_sites_that_are_waited_for_are_named_when_they_are_away():
    late = (
        LateSite(name="valley", silent_s=7200.0),
        LateSite(name="harbour", silent_s=None),
        LateSite(name="coast", silent_s=0.0),
    )
    waiting = replace(WELL, training=False, waiting_s=30.0, late=late)
    alarm = only(waiting)
    assert (alarm.code, alarm.severity) == ("others-late", "notice")
    assert alarm.sentence.endswith(
        "not connected: valley (last heard 2 hours ago) and coast (never heard)."
    )
    assert codes(replace(waiting, waiting_s=5.0)) == []
    assert codes(replace(waiting, waiting_s=None)) == []
    assert codes(replace(waiting, late=late[1:2])) == []
    many = tuple(LateSite(name=f"s{n}", silent_s=60.0) for n in range(5))
    assert "and 2 more." in only(replace(waiting, late=many)).sentence


# --- together ----------------------------------------------------------------------------------


def test_the_worst_comes_first():
    facts = replace(
        WELL, sign_s=40.0, away_s=60.0, readings=readings(memory_percent=99.0, disk_free_gb=1.0)
    )
    assert codes(facts) == ["no-step", "disk-filling", "memory-full", "coordinator-unreachable"]


def test_a_cause_keeps_its_beginning_and_its_sentence_until_it_grows_worse():
    first = alarms(replace(WELL, readings=readings(disk_free_gb=1.5)))
    later = alarms(
        replace(WELL, now=NOW + 60, readings=readings(disk_free_gb=1.2)),
        first,
    )
    assert later == first
    worse = alarms(replace(WELL, now=NOW + 90, readings=readings(disk_free_gb=0.1)), later)
    assert (worse[0].severity, worse[0].since) == ("stopped", NOW)
    assert alarms(replace(WELL, now=NOW + 99), worse) == ()


def test_every_cause_has_a_sentence_and_a_remedy_for_a_person():
    card = {"percent": 0.0, "throttled": ("too hot",), "others": ("x",)}
    everything = replace(
        CUDA, sign_s=400.0, steps=steps(wait_s=1.9), spoilt="not-finite", away_s=99.0,
        waiting_s=99.0, late=(LateSite(name="a", silent_s=9.0),),
        readings=readings(card=card, memory_percent=99.0, disk_free_gb=0.0),
    )  # fmt: skip
    told = (
        *alarms(everything),
        *alarms(replace(WELL, lost_s=1.0, silent_s=99.0, spoilt="gpu-memory")),
    )
    assert {alarm.code for alarm in told} == {code.value for code in StallCode}
    for alarm in told:
        assert alarm.sentence[0].isupper(), alarm
        assert alarm.sentence.endswith("."), alarm
        assert alarm.remedy.endswith("."), alarm
