from __future__ import annotations

import pytest
from helpers import snapshots
from msgspec.structs import replace

from app.ui.presenters.training import log_lines, plain_line, present_training, training_brief
from app.ui.text import time_of_day

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


def test_what_switching_off_costs():
    assert "about 2 min of work" in present_training(snapshots.training(), now=NOW).pause_costs
    base = snapshots.training()
    none = replace(base, training=replace(base.training, last_checkpoint_at=None))
    assert present_training(none, now=NOW).pause_costs.startswith("No checkpoint yet")


def test_pause_and_resume():
    running, paused = (
        present_training(snapshot, now=NOW)
        for snapshot in (snapshots.training(), snapshots.paused())
    )
    assert (running.can_pause, running.can_resume) == (True, False)
    assert (paused.can_pause, paused.can_resume) == (False, True)
    assert {tile.name: tile.value for tile in paused.tiles}["Left in this round"] == "Paused"


def test_meters_with_and_without_a_card():
    plain = present_training(snapshots.training(), now=NOW).meters
    assert [meter.name for meter in plain] == ["Processor", "Memory", "Disk"]
    card = present_training(snapshots.training(card=True), now=NOW).meters
    assert [meter.name for meter in card] == [
        "Processor",
        "Memory",
        "NVIDIA RTX A4000",
        "Graphics memory",
        "Disk",
    ]
    assert card[2].value.endswith("67 °C, 118 W")
    assert all(0 <= share <= 1 for meter in card for share in meter.history)


def test_log_filter_wants_every_word():
    lines = ("Epoch 5 done", "Round 1: update delivered", "update refused in round 2")
    assert log_lines(lines, "") == lines
    assert log_lines(lines, "UPDATE round") == lines[1:]
    assert log_lines(lines, "none such") == ()


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


@pytest.mark.parametrize("phase", ["waiting", "uploading", "paused", "preparing"])
def test_switching_off_costs_nothing_unless_steps_are_taken(phase):
    snapshot = snapshots.training()
    resting = replace(snapshot, training=replace(snapshot.training, phase=phase))
    assert "loses about" in present_training(snapshot, now=snapshots.NOW).pause_costs
    assert "loses nothing" in present_training(resting, now=snapshots.NOW).pause_costs
    assert "loses about" not in present_training(resting, now=snapshots.NOW).pause_costs
