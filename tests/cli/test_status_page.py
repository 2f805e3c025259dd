from __future__ import annotations

import io
import json

import pytest
from helpers import snapshots
from msgspec.structs import replace
from rich.console import Console

from app.cli.status_page import lines, page, summary
from app.control.messages import Alarm, Interruption, ScheduleView, StopCosts

ALARM = Alarm(
    code="no-step", severity="stopped", sentence="There has been no training step since 14:02.",
    remedy="Pause and resume training.", since=snapshots.NOW,
)  # fmt: skip
INTERRUPTION = Interruption(
    at=snapshots.NOW, what="worker lost", sentence="41 steps of epoch 7 are trained again.",
    epoch=7, lost_steps=41, lost_s=80.0,
)  # fmt: skip


def busy():
    snapshot = snapshots.training(card=True)
    return replace(
        snapshot,
        service=replace(snapshot.service, awake_sentence="This computer is kept from sleeping."),
        training=replace(
            snapshot.training,
            alarms=(ALARM,),
            interruptions=(INTERRUPTION,),
            costs=StopCosts(switch_off="Better not yet."),
            schedule=ScheduleView(sentence="Trains from 20:00 to 07:00."),
        ),
    )


def drawn(snapshot, *, width=120):
    console = Console(width=width, file=io.StringIO())
    console.print(page(snapshot, now=snapshots.NOW))
    return console.file.getvalue()


@pytest.mark.parametrize(
    "words",
    [
        "Round 3 of 6: this site trains",
        "There has been no training step since 14:02.",
        "Pause and resume training.",
        "round 3 of 6",
        "epoch 6 of 12, step 12 of 20",
        "38 s left",
        "Dice is an estimate on patches",
        "north (here)",
        "harbour",
        "NVIDIA RTX A4000",
        "67 °C",
        "May I switch this computer off? Better not yet.",
        "Trains from 20:00 to 07:00.",
        "41 steps of epoch 7 are trained again.",
        "This computer is kept from sleeping.",
    ],
)
def test_the_page_says_what_the_window_says(words):
    assert words in " ".join(drawn(busy()).split())


def test_a_narrow_terminal_gets_every_word_too():
    text = " ".join(drawn(busy(), width=60).split())
    assert "There has been no training step since 14:02." in text
    assert "May I switch this computer off?" in text


def test_a_site_without_a_study_says_so():
    assert "not joined a study" in drawn(snapshots.empty())
    assert lines(snapshots.empty()) == ["this site has not joined a study"]


def test_plain_lines_hold_sentence_alarm_and_cost():
    told = lines(busy())
    assert "  There has been no training step since 14:02." in told
    assert "    what you can do: Pause and resume training." in told
    assert "  May I switch this computer off? Better not yet." in told
    assert "  41 steps of epoch 7 are trained again." in told


def test_steps_alone_are_no_news_for_plain_lines():
    before = busy()
    after = replace(before, training=replace(before.training, step=13, seconds_left=30.0))
    assert lines(after) == lines(before)


def test_the_summary_is_json_with_everything():
    told = json.loads(json.dumps(summary(busy())))
    assert told["alarms"][0]["code"] == "no-step"
    assert told["interruptions"][0]["lost_steps"] == 41
    assert [site["name"] for site in told["sites"]] == ["harbour", "north", "valley"]
    assert (told["round"], told["epoch"], told["step"]) == (3, 6, 12)
    assert json.loads(json.dumps(summary(snapshots.empty())))["study"] is None


def test_in_a_study_of_folds_the_round_is_told_with_its_fold():
    console = Console(width=120, file=io.StringIO())
    console.print(page(snapshots.folds(), now=snapshots.NOW))
    assert "fold 2 of 3, round 1 of 2" in console.file.getvalue()
    assert summary(snapshots.folds())["folds"] == 3
