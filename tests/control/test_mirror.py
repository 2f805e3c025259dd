"""The pure copy of a service's state that every client keeps."""

from __future__ import annotations

import msgspec
from helpers.snapshots import empty, log_line

from app.control.messages import (
    Accepted,
    Answer,
    Changed,
    DataView,
    DeviceSample,
    EpochFinished,
    Logged,
    Sampled,
    StepTaken,
    TrainingView,
)
from app.control.mirror import KEPT_LINES, KEPT_SAMPLES, apply
from app.domain.training import EpochRecord, StepRecord


def step(epoch, number):
    return StepRecord(round=1, epoch=epoch, step=number, steps_per_epoch=3, loss=0.5, seconds=1.0)


def epoch(number, loss=0.1):
    return EpochRecord(
        round=1,
        epoch=number,
        train_loss=loss,
        validation_loss=None,
        pseudo_dice=(None,),
        pseudo_dice_average=None,
        learning_rate=0.01,
        seconds=2.0,
    )


def sample(at):
    return DeviceSample(at=at, cpu_percent=1, memory_percent=2, worker_memory_mb=3, disk_free_gb=4)


def run(*events):
    snapshot = empty()
    for event in events:
        snapshot = apply(snapshot, event)
    return snapshot


def test_a_change_replaces_whole_sections_and_leaves_the_others():
    before = msgspec.structs.replace(empty(), training=TrainingView(sentence="old"))
    after = apply(before, Changed(data=DataView(folder="/d")))
    assert after.data.folder == "/d"
    assert after.training == before.training
    assert apply(after, Changed(training=TrainingView())).training == TrainingView()


def test_a_snapshot_replaces_all_and_an_answer_nothing():
    other = msgspec.structs.replace(empty(), data=DataView(folder="/x"))
    assert apply(empty(), other) is other
    assert apply(other, Answer(number=1, answer=Accepted())) is other


def test_steps_of_the_current_and_the_last_epoch_are_kept():
    view = run(*(StepTaken(record=step(e, s)) for e in (1, 2, 3) for s in (1, 2, 3))).training
    assert [(s.epoch, s.step) for s in view.steps] == [(e, s) for e in (2, 3) for s in (1, 2, 3)]
    assert (view.round, view.epoch, view.step, view.steps_per_epoch) == (1, 3, 3, 3)


def test_a_repeated_step_takes_the_place_of_its_first_run():
    events = [StepTaken(record=step(2, s)) for s in (1, 2, 3, 1)]
    assert [s.step for s in run(*events).training.steps] == [1]


def test_a_repeated_epoch_is_not_counted_twice():
    view = run(
        EpochFinished(record=epoch(1)),
        EpochFinished(record=epoch(2)),
        EpochFinished(record=epoch(3)),
        EpochFinished(record=epoch(2, loss=0.7)),
    ).training
    assert [(e.epoch, e.train_loss) for e in view.epochs] == [(1, 0.1), (2, 0.7)]


def test_samples_and_lines_are_bounded():
    view = run(*(Sampled(sample=sample(at)) for at in range(KEPT_SAMPLES + 5))).training
    assert [s.at for s in view.samples] == list(range(5, KEPT_SAMPLES + 5))
    view = run(*(Logged(line=log_line(str(n))) for n in range(KEPT_LINES + 5))).training
    assert view.log == tuple(log_line(str(n)) for n in range(5, KEPT_LINES + 5))


def test_time_left_comes_with_each_step():
    assert run(StepTaken(record=step(1, 1), seconds_left=9.0)).training.seconds_left == 9.0
