"""Training: one sentence, progress with time left, curves, load of the computer, log."""

from __future__ import annotations

from statistics import median
from typing import Final

from msgspec import Struct

from app.control.messages import (
    Alarm,
    FederationView,
    Interruption,
    LogLine,
    ScheduleView,
    Snapshot,
    TrainingView,
)
from app.domain.folds import place_in
from app.domain.training import EpochRecord
from app.ui.models.rows import Table
from app.ui.presenters.computer import ComputerState, OfferState, offer_of, present_computer
from app.ui.presenters.curves import (
    dice_curves,
    loss_curves,
    rate_curves,
    round_ends,
    step_curves,
)
from app.ui.presenters.memory import kept
from app.ui.presenters.meters import Meter, meters_of
from app.ui.presenters.parts import Curve, Progress, failure_of, progress_of
from app.ui.presenters.speed import SpeedState, speed_of
from app.ui.presenters.study_tables import rounds_table, sites_table
from app.ui.text import (
    NOTHING,
    Tone,
    count,
    duration,
    figure,
    moment,
    sentence_case,
    time_of_day,
)

NOW: Final = "now"
AT_CHECKPOINT: Final = "checkpoint"
_REMEMBERED_S: Final = 7 * 86_400.0
_RECENT_STEPS: Final = 50
_TRAINING: Final = "training"
"""The phase in which work is done that a checkpoint does not hold yet."""
_SEVERITIES: Final = {"stopped": Tone.DANGER, "slow": Tone.WARNING, "notice": Tone.INFO}
_LEVELS: Final = {"info": Tone.NEUTRAL, "warning": Tone.WARNING, "error": Tone.DANGER}
_DAY_MINUTES: Final = 24 * 60


class Tile(Struct, frozen=True, kw_only=True):
    """One figure with its name below a big number."""

    name: str
    value: str
    detail: str = ""
    share: float | None = None


class Notice(Struct, frozen=True, kw_only=True):
    """Something the operator should know, and what to do about it. `key` tells it from others."""

    key: str
    sentence: str
    remedy: str
    tone: Tone


class Option(Struct, frozen=True, kw_only=True):
    """One way to do something, with what it costs."""

    key: str
    text: str
    cost: str


class ScheduleState(Struct, frozen=True, kw_only=True):
    """When this site trains. Minutes after midnight; None: at any hour."""

    sentence: str
    from_minute: int | None
    to_minute: int | None
    weekends: bool
    yield_card: bool
    resting: bool


class LogEntry(Struct, frozen=True, kw_only=True):
    """One line of the log as a person reads it."""

    text: str
    tone: Tone


class TrainingState(Struct, frozen=True, kw_only=True):
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
    log: tuple[LogLine, ...]
    """As the service has them; `log_entries` turns them into what is read, when somebody looks."""
    paused: bool
    can_pause: bool
    can_resume: bool
    resume_text: str
    """What the button says that ends a pause, or takes back one that is only wished for."""
    pauses: tuple[Option, ...]
    costs: str
    """Answers “may I switch this computer off?”."""
    alarms: tuple[Notice, ...]
    lost: Notice | None
    """What the newest interruption cost."""
    schedule: ScheduleState
    speed: SpeedState
    computer: ComputerState | None
    offer: OfferState | None
    """A smaller batch, after a round that did not fit into memory."""


def present_training(snapshot: Snapshot | None, *, now: float) -> TrainingState:
    """Return what the Training page draws; `now` dates the last checkpoint."""
    view = snapshot.training if snapshot is not None else TrainingView()
    federation = snapshot.federation if snapshot is not None else FederationView()
    labels = federation.study.labels if federation.study is not None else ()
    baseline = snapshot.review.baseline.epochs if snapshot is not None else ()
    begun = bool(view.round or view.epochs or view.steps)
    running = view.job is not None and view.job.running
    return TrainingState(
        attached=snapshot is not None,
        begun=begun,
        sentence=sentence_case(view.sentence),
        failure=failure_of(view.job),
        progress=progress_of(view.job) if not begun else None,
        tiles=_tiles(view, now) if begun else (),
        loss=loss_curves(view.epochs, federation.rounds, baseline),
        dice=dice_curves(view.epochs, federation.rounds, baseline, labels),
        learning_rate=rate_curves(view.epochs),
        round_ends=round_ends(view.epochs),
        step_loss=step_curves(view.steps),
        step_title=f"Loss of each step, epoch {view.steps[-1].epoch}"
        if view.steps
        else "Loss of each step",
        meters=meters_of(view.samples),
        sites=sites_table(federation, now=now),
        rounds=rounds_table(federation),
        log=view.log,
        paused=view.paused,
        can_pause=running and not view.paused and not view.pausing,
        can_resume=view.paused or view.pausing,
        resume_text="Do not pause" if view.pausing and not view.paused else "Resume",
        pauses=pauses_of(view),
        costs=_costs(view, snapshot) if begun else "",
        alarms=alarms_of(view.alarms),
        lost=lost_of(view.interruptions, now=now),
        schedule=schedule_of(view.schedule),
        speed=speed_of(view.speed),
        computer=present_computer(snapshot, now=now),
        offer=offer_of(view.devices),
    )


def _costs(view: TrainingView, snapshot: Snapshot | None) -> str:
    """Return what switching off costs, and whether the computer is kept from sleeping."""
    awake = snapshot.service.awake_sentence if snapshot is not None else ""
    return " ".join(part for part in (view.costs.switch_off_asked, awake) if part)


def pauses_of(view: TrainingView) -> tuple[Option, ...]:
    """Return the ways to pause, the one that loses nothing first."""
    left = view.costs.next_checkpoint_s
    wait = "" if left is None else f" (in about {duration(left)})"
    return (
        Option(
            key=AT_CHECKPOINT,
            text=f"Pause at the next checkpoint{wait}",
            cost=view.costs.pause_at_checkpoint or "Nothing is lost.",
        ),
        Option(
            key=NOW,
            text="Pause now",
            cost=view.costs.pause or "What was trained since the last checkpoint is trained again.",
        ),
    )


def alarms_of(alarms: tuple[Alarm, ...]) -> tuple[Notice, ...]:
    """Return what keeps training from going well, the worst first."""
    return tuple(
        Notice(
            key=alarm.code,
            sentence=sentence_case(alarm.sentence),
            remedy=alarm.remedy,
            tone=_SEVERITIES.get(alarm.severity, Tone.WARNING),
        )
        for alarm in alarms
    )


def lost_of(interruptions: tuple[Interruption, ...], *, now: float) -> Notice | None:
    """Return the newest interruption of the last week, and how many there were before."""
    recent = tuple(one for one in interruptions if now - one.at < _REMEMBERED_S)
    if not recent:
        return None
    earlier = len(recent) - 1
    remedy = "" if not earlier else f"In the last week, training was interrupted {_times(earlier)}"
    return Notice(
        key=f"{recent[0].at:.3f}",
        sentence=sentence_case(recent[0].sentence),
        remedy=f"{remedy} before that." if remedy else "",
        tone=Tone.INFO,
    )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def schedule_of(view: ScheduleView) -> ScheduleState:
    """Return when this site trains."""
    return ScheduleState(
        sentence=view.sentence or "Trains at any hour.",
        from_minute=view.from_minute,
        to_minute=view.to_minute,
        weekends=view.weekends,
        yield_card=view.yield_card,
        resting=view.resting,
    )


def clock_of(minute: int) -> str:
    """Return minutes after midnight as “20:00”."""
    hours, minutes = divmod(minute % _DAY_MINUTES, 60)
    return f"{hours:02}:{minutes:02}"


def _tiles(view: TrainingView, now: float) -> tuple[Tile, ...]:
    epochs_per_round = view.total_epochs // view.rounds if view.rounds and view.total_epochs else 0
    within = 0.0
    if epochs_per_round and view.epoch:
        begun = (view.epoch - 1) % epochs_per_round
        step = view.step / view.steps_per_epoch if view.steps_per_epoch else 0.0
        within = min(1.0, (begun + step) / epochs_per_round)
    place = place_in(view, view.round)
    done = f"{round(within * 100)} % of this round trained here"
    if place.fold_words:
        done = f"{sentence_case(place.fold_words)}. {round(within * 100)} % trained here"
    last = view.epochs[-1] if view.epochs else None
    best = [value for value in (last.pseudo_dice if last else ()) if value is not None]
    return (
        Tile(
            name="Round",
            value=f"{place.round} of {place.rounds}" if view.rounds else str(view.round),
            detail=done,
            share=within,
        ),
        Tile(
            name="Epoch",
            value=f"{view.epoch} of {view.total_epochs}" if view.total_epochs else str(view.epoch),
            detail=_step_detail(view),
            share=view.step / view.steps_per_epoch if view.steps_per_epoch else None,
        ),
        Tile(
            name="Left in this round",
            value=_left(view),
            detail=_expected(view, last, now),
        ),
        Tile(
            name="Overlap with the labels",
            value=figure(sum(best) / len(best), 2) if best else NOTHING,
            detail="Pseudo-Dice, estimate on patches",
        ),
    )


def _step_detail(view: TrainingView) -> str:
    if not view.steps_per_epoch:
        return ""
    detail = f"Step {view.step} of {view.steps_per_epoch}"
    left = view.steps_per_epoch - view.step
    if view.phase == _TRAINING and view.steps and left > 0:
        seconds = median(step.seconds for step in view.steps[-_RECENT_STEPS:])
        detail += f", {duration(left * seconds)} left"
    return detail


def _left(view: TrainingView) -> str:
    if view.paused:
        return "Paused"
    if view.schedule.resting:
        return "Resting"
    return duration(view.seconds_left)


def _expected(view: TrainingView, last: EpochRecord | None, now: float) -> str:
    if view.round_expected_at is not None:
        return f"All sites expected at {moment(view.round_expected_at, now=now)}"
    return f"Last epoch took {duration(last.seconds)}" if last else ""


@kept
def log_entries(lines: tuple[LogLine, ...]) -> tuple[LogEntry, ...]:
    """Return the log's lines as a person reads them."""
    return tuple(
        LogEntry(text=plain_line(line), tone=_LEVELS.get(line.level, Tone.NEUTRAL))
        for line in lines
    )


def plain_line(line: LogLine) -> str:
    """Return a log line as a person reads it: the time and what happened, warnings marked."""
    marked = "" if line.level == "info" else f"{line.level.capitalize()}: "
    return f"{time_of_day(line.at)}  {marked}{sentence_case(line.text)}"


def narrowed(
    entries: tuple[LogEntry, ...], words: str, *, troubles: bool = False
) -> tuple[LogEntry, ...]:
    """Return the lines that hold every word of `words`, ignoring case; warnings and errors only."""
    wanted = words.casefold().split()
    return tuple(
        entry
        for entry in entries
        if all(word in entry.text.casefold() for word in wanted)
        and (not troubles or entry.tone is not Tone.NEUTRAL)
    )


def training_brief(view: TrainingView) -> str:
    """Return the training's state for the status bar, in a few words."""
    if view.paused:
        return "Training paused"
    if view.schedule.resting:
        return "Training rests by its schedule"
    if view.job is not None and view.job.running and view.round:
        left = f", {duration(view.seconds_left)} left" if view.seconds_left is not None else ""
        place = place_in(view, view.round)
        # “Training round 3 of 6”, but “Training: first pass, fold 3 of 3, round 1 of 1”.
        return f"Training{':' if place.fold_words else ''} {place}{left}"
    if view.epochs:
        return f"{sentence_case(count(len(view.epochs), 'epoch'))} trained"
    return "Not training"
