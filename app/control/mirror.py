"""A client's copy of a service: the snapshot, kept true by the events that follow it."""

from __future__ import annotations

from typing import Final

import msgspec

from app.control.messages import (
    Answer,
    Changed,
    EpochFinished,
    Logged,
    Sampled,
    ServerMessage,
    Snapshot,
    StepTaken,
    TrainingView,
)
from app.domain.training import EpochRecord, StepRecord

KEPT_SAMPLES: Final = 600
KEPT_LINES: Final = 500


def apply(snapshot: Snapshot, event: ServerMessage) -> Snapshot:
    """Return `snapshot` after `event`. An answer changes nothing; a snapshot replaces all."""
    match event:
        case Snapshot():
            return event
        case Changed():
            sections = {
                name: section
                for name in event.__struct_fields__
                if (section := getattr(event, name)) is not None
            }
            return msgspec.structs.replace(snapshot, **sections)
        case StepTaken() | EpochFinished() | Sampled() | Logged():
            return msgspec.structs.replace(snapshot, training=extend(snapshot.training, event))
        case Answer():
            return snapshot


def extend(
    training: TrainingView, event: StepTaken | EpochFinished | Sampled | Logged
) -> TrainingView:
    """Return `training` with one event more; the service and its clients both use this."""
    match event:
        case StepTaken(record=record):
            return msgspec.structs.replace(
                training,
                round=record.round,
                epoch=record.epoch,
                step=record.step,
                steps_per_epoch=record.steps_per_epoch,
                seconds_left=event.seconds_left,
                steps=with_step(training.steps, record),
            )
        case EpochFinished(record=record):
            return msgspec.structs.replace(training, epochs=with_epoch(training.epochs, record))
        case Sampled(sample=sample):
            return msgspec.structs.replace(
                training, samples=(*training.samples, sample)[-KEPT_SAMPLES:]
            )
        case Logged(line=line):
            return msgspec.structs.replace(training, log=(*training.log, line)[-KEPT_LINES:])


def with_step(steps: tuple[StepRecord, ...], record: StepRecord) -> tuple[StepRecord, ...]:
    """Return `steps` with `record`, without epochs before the last one.

    A step that is repeated after a restart from a checkpoint takes the place of its first run and
    of what followed it.
    """
    kept = tuple(
        step
        for step in steps
        if step.epoch == record.epoch - 1
        or (step.epoch == record.epoch and step.step < record.step)
    )
    return (*kept, record)


def with_epoch(epochs: tuple[EpochRecord, ...], record: EpochRecord) -> tuple[EpochRecord, ...]:
    """Return `epochs` with `record`; an epoch that was trained again replaces its first run."""
    return (*(epoch for epoch in epochs if epoch.epoch < record.epoch), record)
