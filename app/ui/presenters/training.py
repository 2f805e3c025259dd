"""Training: one sentence, progress with time left, curves, load of the computer, log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.control.messages import CardSample, DeviceSample, LogLine, Snapshot, TrainingView
from app.ui.models.rows import Table
from app.ui.presenters.curves import (
    dice_curves,
    loss_curves,
    rate_curves,
    round_ends,
    step_curves,
)
from app.ui.presenters.federation import rounds_table, sites_table
from app.ui.presenters.parts import Curve, Progress, failure_of, progress_of
from app.ui.text import NOTHING, count, duration, figure, moment, sentence_case, time_of_day

_HISTORY: Final = 120
_TRAINING: Final = "training"
"""The phase in which work is done that a checkpoint does not hold yet."""
"""Readings of the computer that a small graph shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """One reading of the computer: its text, its share of the whole, and how it went lately."""

    name: str
    value: str
    share: float | None
    history: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One figure with its name below a big number."""

    name: str
    value: str
    detail: str = ""
    share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingState:
    """What the Training page draws."""

    attached: bool
    begun: bool
    sentence: str
    failure: str
    progress: Progress | None
    tiles: tuple[Tile, ...]
    loss: tuple[Curve, ...]
    dice: tuple[Curve, ...]
    learning_rate: tuple[Curve, ...]
    round_ends: tuple[float, ...]
    """The last epoch of each round."""
    step_loss: tuple[Curve, ...]
    step_title: str
    meters: tuple[Meter, ...]
    sites: Table
    rounds: Table
    log: tuple[str, ...]
    paused: bool
    can_pause: bool
    can_resume: bool
    pause_costs: str


def present_training(snapshot: Snapshot | None, *, now: float) -> TrainingState:
    """Return what the Training page draws; `now` dates the last checkpoint."""
    from app.control.messages import FederationView

    view = snapshot.training if snapshot is not None else TrainingView()
    federation = snapshot.federation if snapshot is not None else FederationView()
    labels = federation.study.labels if federation.study is not None else ()
    begun = bool(view.round or view.epochs or view.steps)
    running = view.job is not None and view.job.running
    return TrainingState(
        attached=snapshot is not None,
        begun=begun,
        sentence=sentence_case(view.sentence),
        failure=failure_of(view.job),
        progress=progress_of(view.job) if not begun else None,
        tiles=_tiles(view) if begun else (),
        loss=loss_curves(view.epochs, federation.rounds, view.baseline),
        dice=dice_curves(view.epochs, federation.rounds, view.baseline, labels),
        learning_rate=rate_curves(view.epochs),
        round_ends=round_ends(view.epochs),
        step_loss=step_curves(view.steps),
        step_title=f"Loss of each step, epoch {view.steps[-1].epoch}"
        if view.steps
        else "Loss of each step",
        meters=_meters(view.samples),
        sites=sites_table(federation),
        rounds=rounds_table(federation),
        log=tuple(map(plain_line, view.log)),
        paused=view.paused,
        can_pause=running and not view.paused,
        can_resume=view.paused,
        pause_costs=_pause_costs(view, now) if begun else "",
    )


def _tiles(view: TrainingView) -> tuple[Tile, ...]:
    epochs_per_round = view.total_epochs // view.rounds if view.rounds and view.total_epochs else 0
    within = 0.0
    if epochs_per_round and view.epoch:
        begun = (view.epoch - 1) % epochs_per_round
        step = view.step / view.steps_per_epoch if view.steps_per_epoch else 0.0
        within = min(1.0, (begun + step) / epochs_per_round)
    last = view.epochs[-1] if view.epochs else None
    best = [value for value in (last.pseudo_dice if last else ()) if value is not None]
    return (
        Tile(
            name="Round",
            value=f"{view.round} of {view.rounds}" if view.rounds else str(view.round),
            detail=f"{round(within * 100)} % of this round trained here",
            share=within,
        ),
        Tile(
            name="Epoch",
            value=f"{view.epoch} of {view.total_epochs}" if view.total_epochs else str(view.epoch),
            detail=f"Step {view.step} of {view.steps_per_epoch}" if view.steps_per_epoch else "",
            share=view.step / view.steps_per_epoch if view.steps_per_epoch else None,
        ),
        Tile(
            name="Left in this round",
            value="Paused" if view.paused else duration(view.seconds_left),
            detail=f"Last epoch took {duration(last.seconds)}" if last else "",
        ),
        Tile(
            name="Overlap with the labels",
            value=figure(sum(best) / len(best), 2) if best else NOTHING,
            detail="Pseudo-Dice, estimate on patches",
        ),
    )


def _pause_costs(view: TrainingView, now: float) -> str:
    if view.phase != _TRAINING:
        return "Nothing is being trained now: switching this computer off loses nothing."
    if view.last_checkpoint_at is None:
        return "No checkpoint yet: stopping this computer now loses the running round."
    age = max(0.0, now - view.last_checkpoint_at)
    return (
        f"Last checkpoint at {moment(view.last_checkpoint_at, now=now)}. Switching this computer "
        f"off now loses about {duration(age)} of work; pausing loses nothing."
    )


def _meters(samples: tuple[DeviceSample, ...]) -> tuple[Meter, ...]:
    if not samples:
        return ()
    last, lately = samples[-1], samples[-_HISTORY:]
    meters = [
        Meter(
            name="Processor",
            value=f"{last.cpu_percent:.0f} %",
            share=last.cpu_percent / 100,
            history=tuple(sample.cpu_percent / 100 for sample in lately),
        ),
        Meter(
            name="Memory",
            value=f"{last.memory_percent:.0f} %, training {last.worker_memory_mb / 1000:.1f} GB",
            share=last.memory_percent / 100,
            history=tuple(sample.memory_percent / 100 for sample in lately),
        ),
    ]
    for number, card in enumerate(last.cards):
        before = [sample.cards[number] for sample in lately if number < len(sample.cards)]
        if card.percent is not None:
            meters.append(
                Meter(
                    name=card.name,
                    value=f"{card.percent:.0f} %{_warmth(card)}",
                    share=card.percent / 100,
                    history=tuple((one.percent or 0.0) / 100 for one in before),
                )
            )
        if card.memory_percent is not None:
            meters.append(
                Meter(
                    name="Graphics memory",
                    value=f"{card.memory_percent:.0f} %",
                    share=card.memory_percent / 100,
                    history=tuple((one.memory_percent or 0.0) / 100 for one in before),
                )
            )
    meters.append(
        Meter(name="Disk", value=f"{last.disk_free_gb:.0f} GB free", share=None, history=())
    )
    return tuple(meters)


def _warmth(card: CardSample) -> str:
    parts = []
    if card.temperature_c is not None:
        parts.append(f"{card.temperature_c:.0f} °C")
    if card.power_w is not None:
        parts.append(f"{card.power_w:.0f} W")
    return "".join(f", {part}" for part in parts)


def plain_line(line: LogLine) -> str:
    """Return a log line as a person reads it: the time and what happened, warnings marked."""
    marked = "" if line.level == "info" else f"{line.level.capitalize()}: "
    return f"{time_of_day(line.at)}  {marked}{sentence_case(line.text)}"


def log_lines(lines: tuple[str, ...], words: str) -> tuple[str, ...]:
    """Return the lines that hold every word of `words`, ignoring case."""
    wanted = words.casefold().split()
    return tuple(line for line in lines if all(word in line.casefold() for word in wanted))


def training_brief(view: TrainingView) -> str:
    """Return the training's state for the status bar, in a few words."""
    if view.paused:
        return "Training paused"
    if view.job is not None and view.job.running and view.round:
        left = f", {duration(view.seconds_left)} left" if view.seconds_left is not None else ""
        return f"Training round {view.round} of {view.rounds}{left}"
    if view.epochs:
        return f"{sentence_case(count(len(view.epochs), 'epoch'))} trained"
    return "Not training"
