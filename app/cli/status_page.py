"""A site's status for a terminal: what the Training page shows, in text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from app.domain.folds import place_in

if TYPE_CHECKING:
    from app.control.messages import DeviceSample, Snapshot, TrainingView

_LATEST_EPOCHS: Final = 5
_STYLES: Final = {"stopped": "bold red", "slow": "yellow", "notice": "cyan"}
_NOTHING: Final = "–"


def summary(snapshot: Snapshot) -> dict[str, object]:
    """Return the status as plain values, for JSON and for telling whether anything changed."""
    training, federation = snapshot.training, snapshot.federation
    study = federation.study
    return {
        "study": None if study is None else study.name,
        "site": None if study is None else study.site,
        "link": federation.link.value,
        "study_state": federation.study_state,
        "sentence": training.sentence or federation.sentence,
        "phase": training.phase,
        "round": training.round,
        "rounds": training.rounds,
        "folds": training.folds,
        "stages": training.stages,
        "epoch": training.epoch,
        "total_epochs": training.total_epochs,
        "step": training.step,
        "steps_per_epoch": training.steps_per_epoch,
        "seconds_left": training.seconds_left,
        "round_expected_at": training.round_expected_at,
        "paused": training.paused,
        "pausing": training.pausing,
        "costs": msgspec.to_builtins(training.costs),
        "schedule": msgspec.to_builtins(training.schedule),
        "alarms": msgspec.to_builtins(training.alarms),
        "interruptions": msgspec.to_builtins(training.interruptions),
        "speed": msgspec.to_builtins(training.speed),
        "sites": msgspec.to_builtins(federation.sites),
        "problem": snapshot.service.problem,
        "remedy": snapshot.service.remedy,
        "awake": snapshot.service.awake_sentence,
        "models": [model.path for model in snapshot.review.models],
    }


def lines(snapshot: Snapshot) -> list[str]:
    """Return the status in a few plain lines, for a log or a mail."""
    training, federation = snapshot.training, snapshot.federation
    study = federation.study
    if study is None:
        return ["this site has not joined a study"]
    told = [
        f"{study.name} ({study.site}): {federation.link.value}",
        f"  {training.sentence or federation.sentence or federation.study_state}",
    ]
    for alarm in training.alarms:
        told += [f"  {alarm.sentence}", f"    what you can do: {alarm.remedy}"]
    if training.costs.switch_off_asked:
        told.append(f"  {training.costs.switch_off_asked}")
    if training.interruptions:
        told.append(f"  {training.interruptions[0].sentence}")
    if snapshot.service.problem:
        told += [
            f"  problem: {snapshot.service.problem}",
            f"  what you can do: {snapshot.service.remedy}",
        ]
    return told


def page(snapshot: Snapshot, *, now: float) -> RenderableType:
    """Return the whole page for a terminal."""
    training, federation = snapshot.training, snapshot.federation
    study = federation.study
    if study is None:
        return Text("This site has not joined a study.")
    parts: list[RenderableType] = [
        Text.assemble((study.name, "bold"), f"  {study.site}  ", (federation.link.value, "dim")),
        Text(training.sentence or federation.sentence or federation.study_state, style="bold"),
    ]
    if snapshot.service.problem:
        parts.append(Text(f"{snapshot.service.problem}. {snapshot.service.remedy}", "bold red"))
    for alarm in training.alarms:
        parts.append(Text(alarm.sentence, style=_STYLES.get(alarm.severity, "")))
        parts.append(Padding(Text(alarm.remedy, style="dim"), (0, 0, 0, 2)))
    if training.round:
        parts.append(_progress(training))
    if training.epochs:
        parts.append(_epochs(training, study.labels))
    if federation.sites:
        parts.append(_sites(snapshot))
    if training.samples:
        parts.append(_machine(training.samples[-1]))
    notes = [
        training.costs.switch_off_asked,
        training.schedule.sentence,
        training.speed.sentence,
        snapshot.service.awake_sentence,
        training.interruptions[0].sentence if training.interruptions else "",
    ]
    parts += [Text(note, style="dim") for note in notes if note]
    parts.append(Text(f"{_clock(now)}  Ctrl+C ends this view; the site goes on.", style="dim"))
    return Group(*parts)


def _progress(training: TrainingView) -> RenderableType:
    progress = Progress(
        TextColumn("{task.description:<8}"),
        BarColumn(bar_width=40),
        TaskProgressColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    per_round = training.total_epochs // training.rounds if training.rounds else 0
    within = (training.epoch - 1) % per_round if per_round and training.epoch else 0
    steps = max(1, training.steps_per_epoch)
    left = _span(training.seconds_left)
    progress.add_task(
        "Study",
        total=max(1, training.total_epochs * steps),
        completed=max(0, training.epoch - 1) * steps + training.step,
        detail=str(place_in(training, training.round)),
    )
    progress.add_task(
        "Round",
        total=max(1, per_round * steps),
        completed=within * steps + training.step,
        detail=f"{left} left" if left else "",
    )
    progress.add_task(
        "Epoch",
        total=steps,
        completed=training.step,
        detail=f"epoch {training.epoch} of {training.total_epochs}, "
        f"step {training.step} of {training.steps_per_epoch}",
    )
    return progress


def _epochs(training: TrainingView, labels: tuple[str, ...]) -> RenderableType:
    table = Table(title="Latest epochs (Dice is an estimate on patches)", title_justify="left")
    for heading in ("Round", "Epoch", "Loss", "Validation", *labels, "Dice, smoothed", "Seconds"):
        table.add_column(heading, justify="right")
    for epoch in training.epochs[-_LATEST_EPOCHS:]:
        table.add_row(
            str(epoch.round),
            str(epoch.epoch),
            _figure(epoch.train_loss),
            _figure(epoch.validation_loss),
            *(_figure(dice) for dice in epoch.pseudo_dice),
            _figure(epoch.pseudo_dice_average),
            f"{epoch.seconds:.1f}",
        )
    return table


def _sites(snapshot: Snapshot) -> RenderableType:
    table = Table(title="Sites", title_justify="left")
    for heading in ("Site", "Doing", "Cases", "Round", "Epoch", "Step", "Absent since"):
        table.add_column(heading)
    for site in snapshot.federation.sites:
        table.add_row(
            f"{site.name} (here)" if site.here else site.name,
            site.doing or site.state,
            str(site.cases),
            str(site.round or _NOTHING),
            str(site.epoch or _NOTHING),
            f"{site.step} of {site.steps}" if site.steps else _NOTHING,
            _NOTHING if site.absent_since is None else _clock(site.absent_since),
        )
    return table


def _machine(sample: DeviceSample) -> RenderableType:
    told = [
        f"Processor {sample.cpu_percent:.0f} %",
        f"memory {sample.memory_percent:.0f} % (training {sample.worker_memory_mb / 1000:.1f} GB)",
        f"disk {sample.disk_free_gb:.0f} GB free",
        f"network {sample.network_in_mb_s:.1f} MB/s in, {sample.network_out_mb_s:.1f} MB/s out",
    ]
    for card in sample.cards:
        figures = [
            f"{value:.0f} {unit}"
            for value, unit in (
                (card.percent, "%"),
                (card.memory_percent, "% memory"),
                (card.temperature_c, "°C"),
                (card.power_w, "W"),
            )
            if value is not None
        ]
        told.append(f"{card.name}: {', '.join([*figures, *card.throttled])}")
    return Text(" · ".join(told))


def _figure(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.4f}"


def _span(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{rest} s"


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%H:%M:%S")
