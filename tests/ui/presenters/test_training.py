from __future__ import annotations

import pytest
from helpers import snapshots
from msgspec.structs import replace

from app.control.messages import ScheduleView
from app.ui.presenters.training import (
    AT_CHECKPOINT,
    log_entries,
    narrowed,
    pauses_of,
    plain_line,
    present_training,
    training_brief,
)
from app.ui.text import Tone, time_of_day

NOW = snapshots.NOW


def test_before_training_there_is_nothing_to_pause():
    state = present_training(snapshots.joined(), now=NOW)
    assert not state.begun
    assert state.tiles == ()
    assert not state.can_pause
    assert not state.can_resume
    assert present_training(None, now=NOW).attached is False


def test_tiles_tell_round_epoch_and_time():
    tiles = {tile.name: tile for tile in present_training(snapshots.training(), now=NOW).tiles}
    assert tiles["Round"].value == "3 of 6"
    # Epoch 6 is the second of two; 12 of its 20 steps are done.
    assert tiles["Round"].share == pytest.approx((1 + 0.6) / 2)
    assert tiles["Epoch"].value == "6 of 12"
    assert tiles["Epoch"].share == pytest.approx(0.6)
    assert tiles["Left in this round"].value == "38 s"
    assert "estimate" in tiles["Overlap with the labels"].detail


def test_in_a_study_of_folds_the_round_is_that_of_its_fold():
    state = present_training(snapshots.folds(), now=NOW)
    tiles = {tile.name: tile for tile in state.tiles}
    assert tiles["Round"].value == "1 of 2"
    assert tiles["Round"].detail.startswith("Fold 2 of 3. ")
    assert tiles["Epoch"].value == "6 of 12"
    assert training_brief(snapshots.folds().training).startswith(
        "Training: fold 2 of 3, round 1 of 2"
    )


def test_in_a_cascade_the_round_is_that_of_its_pass_and_fold():
    state = present_training(snapshots.cascade(), now=NOW)
    tiles = {tile.name: tile for tile in state.tiles}
    assert tiles["Round"].value == "1 of 1"
    assert tiles["Round"].detail.startswith("First pass, fold 3 of 3. ")
    assert training_brief(snapshots.cascade().training).startswith(
        "Training: first pass, fold 3 of 3, round 1 of 1"
    )


def test_what_switching_off_costs():
    assert "loses 22 seconds" in present_training(snapshots.training(), now=NOW).costs
    assert present_training(snapshots.joined(), now=NOW).costs == ""
    base = snapshots.training()
    awake = replace(base, service=replace(base.service, awake_sentence="It is kept awake."))
    assert present_training(awake, now=NOW).costs.endswith(" It is kept awake.")


def test_pause_and_resume():
    running, paused = (
        present_training(snapshot, now=NOW)
        for snapshot in (snapshots.training(), snapshots.paused())
    )
    assert (running.can_pause, running.can_resume) == (True, False)
    assert (paused.can_pause, paused.can_resume) == (False, True)
    assert {tile.name: tile.value for tile in paused.tiles}["Left in this round"] == "Paused"


def test_time_left_of_epoch_and_of_all_sites():
    tiles = {tile.name: tile for tile in present_training(snapshots.training(), now=NOW).tiles}
    # Eight steps of 1.9 s are left.
    assert tiles["Epoch"].detail == "Step 12 of 20, 15 s left"
    assert tiles["Left in this round"].detail.startswith("All sites expected at ")


def test_each_way_to_pause_says_what_it_costs():
    ways = pauses_of(snapshots.training().training)
    assert [way.key for way in ways] == [AT_CHECKPOINT, "now"]
    assert ways[0].text == "Pause at the next checkpoint (in about 15 s)"
    assert "nothing is lost" in ways[0].cost
    assert "loses 22 seconds" in ways[1].cost


def test_a_pause_that_waits_can_be_taken_back():
    base = snapshots.training()
    waiting = replace(base, training=replace(base.training, pausing=True))
    state = present_training(waiting, now=NOW)
    assert (state.can_pause, state.can_resume, state.resume_text) == (False, True, "Do not pause")


def test_alarms_come_in_order_with_what_to_do():
    alarms = present_training(snapshots.troubled(), now=NOW).alarms
    assert [(alarm.key, alarm.tone) for alarm in alarms] == [
        ("no-step", Tone.DANGER),
        ("throttled", Tone.WARNING),
    ]
    assert all(alarm.sentence[0].isupper() and alarm.remedy for alarm in alarms)


def test_the_newest_loss_of_the_week_is_told():
    lost = present_training(snapshots.troubled(), now=NOW).lost
    assert lost is not None
    assert "41 steps" in lost.sentence
    assert "interrupted once before" in lost.remedy
    assert present_training(snapshots.troubled(), now=NOW + 8 * 86_400).lost is None
    assert present_training(snapshots.training(), now=NOW).lost is None


def test_resting_by_the_schedule_is_said():
    base = snapshots.training()
    schedule = ScheduleView(from_minute=1200, to_minute=420, resting=True)
    resting = replace(base, training=replace(base.training, schedule=schedule))
    tiles = {tile.name: tile for tile in present_training(resting, now=NOW).tiles}
    assert tiles["Left in this round"].value == "Resting"
    assert training_brief(resting.training) == "Training rests by its schedule"


def test_whether_the_speed_is_normal():
    usual = present_training(snapshots.training(), now=NOW).speed
    assert usual.badge is not None
    assert usual.badge.text == "Normal"
    assert [fact.value for fact in usual.facts] == ["1.9 s", "1.8 s", "2.1 s"]
    unknown = present_training(snapshots.empty(), now=NOW).speed
    assert unknown.badge is None
    assert unknown.sentence


def test_log_filter_wants_every_word():
    entries = log_entries(snapshots.LOG)
    assert narrowed(entries, "") == entries
    assert len(narrowed(entries, "UPDATE round")) == 2
    assert narrowed(entries, "none such") == ()
    (trouble,) = narrowed(entries, "", troubles=True)
    assert "Warning: The coordinator did not answer" in trouble.text


def test_brief_for_the_status_bar():
    assert training_brief(snapshots.training().training) == "Training round 3 of 6, 38 s left"
    assert training_brief(snapshots.paused().training) == "Training paused"
    assert training_brief(snapshots.finished().training) == "12 epochs trained"
    assert training_brief(snapshots.empty().training) == "Not training"


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        (snapshots.log_line("check: started"), "Check: started"),
        (
            snapshots.log_line("lost the connection", level="warning"),
            "Warning: Lost the connection",
        ),
    ],
)
def test_log_lines_lose_what_only_programmers_read(line, plain):
    assert plain_line(line) == f"{time_of_day(line.at)}  {plain}"
