"""The curves of the Training page, and the table that they are saved as."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

from msgspec.structs import replace

from app.control.messages import RoundRow
from app.domain.training import EpochRecord, StepRecord
from app.ui.presenters.memory import kept
from app.ui.presenters.parts import Curve
from app.ui.text import ESTIMATE, sentence_case

AVERAGE: Final = "Moving average"
ALL_SITES: Final = "All sites"
HERE_ALONE: Final = "This site alone"

Measure = Callable[[EpochRecord], float | None]
RoundMeasure = Callable[[RoundRow], float | None]


@kept
def loss_curves(
    epochs: tuple[EpochRecord, ...],
    rounds: tuple[RoundRow, ...],
    baseline: tuple[EpochRecord, ...],
) -> tuple[Curve, ...]:
    """Return training and validation loss, with all sites' average of each closed round.

    `baseline` is this site's own training without the federation, drawn dashed beside it.
    """
    if not epochs:
        return ()
    ends = _ends(epochs)
    closed = tuple(row for row in rounds if row.number in ends)
    return tuple(
        curve
        for curve in (
            _of(epochs, "Training", attrgetter("train_loss")),
            _of(epochs, "Validation", attrgetter("validation_loss")),
            _alone(baseline, "Training", attrgetter("train_loss")),
            _alone(baseline, "Validation", attrgetter("validation_loss")),
            _at_ends(closed, ends, "Training", lambda row: row.train_loss),
            _at_ends(closed, ends, "Validation", lambda row: row.validation_loss),
        )
        if curve.x
    )


@kept
def dice_curves(
    epochs: tuple[EpochRecord, ...],
    rounds: tuple[RoundRow, ...],
    baseline: tuple[EpochRecord, ...],
    labels: tuple[str, ...],
) -> tuple[Curve, ...]:
    """Return pseudo-Dice: nnU-Net's moving average first, references, then label by label."""
    if not epochs:
        return ()
    ends = _ends(epochs)
    closed = tuple(row for row in rounds if row.number in ends)
    curves = [
        _of(epochs, AVERAGE, attrgetter("pseudo_dice_average")),
        _alone(baseline, AVERAGE, attrgetter("pseudo_dice_average")),
        _at_ends(closed, ends, AVERAGE, lambda row: _mean(row.pseudo_dice)),
    ]
    for number, label in enumerate(labels):

        def value(record: EpochRecord, number: int = number) -> float | None:
            return record.pseudo_dice[number] if number < len(record.pseudo_dice) else None

        curves.append(_of(epochs, sentence_case(label), value))
    return tuple(curve for curve in curves if curve.x)


@kept
def rate_curves(epochs: tuple[EpochRecord, ...]) -> tuple[Curve, ...]:
    """Return the learning rate."""
    if not epochs:
        return ()
    return (_of(epochs, "Learning rate", attrgetter("learning_rate")),)


@kept
def step_curves(steps: tuple[StepRecord, ...]) -> tuple[Curve, ...]:
    """Return the loss of each step of this epoch, with the one before it dashed."""
    if not steps:
        return ()
    newest = steps[-1].epoch
    before = tuple(step for step in steps if step.epoch < newest)
    curves = []
    for epoch, part in (
        (newest, tuple(step for step in steps if step.epoch == newest)),
        (before[-1].epoch if before else 0, before),
    ):
        if part:
            curves.append(
                Curve(
                    name=f"Epoch {epoch}",
                    x=tuple(float(step.step) for step in part),
                    y=tuple(step.loss for step in part),
                    dashed=epoch != newest,
                )
            )
    return tuple(curves)


@kept
def round_ends(epochs: tuple[EpochRecord, ...]) -> tuple[float, ...]:
    """Return the last epoch of each round so far, ascending."""
    return tuple(float(epoch) for epoch in _ends(epochs).values())


def curves_table(curves: Sequence[Curve], bottom: str, *, estimate: bool = False) -> bytes:
    """Return the curves as CSV: a column for `bottom`, one per curve; empty where not measured.

    Numbers have a decimal point and all their digits, whatever the language of this computer.
    `estimate` adds to each column that its values are no clinical result.
    """
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    remark = f" ({ESTIMATE.lower()})" if estimate else ""
    writer.writerow([bottom, *(_cell(curve.name) + remark for curve in curves)])
    columns = [dict(zip(curve.x, curve.y, strict=True)) for curve in curves]
    for place in sorted({x for curve in curves for x in curve.x}):
        values = (column.get(place) for column in columns)
        writer.writerow([f"{place:g}", *("" if one is None else repr(one) for one in values)])
    return written.getvalue().encode("utf-8-sig")


def _cell(text: str) -> str:
    # A label's name comes from the study; a spreadsheet would run one that begins like a formula.
    return f"'{text}" if text[:1] in "=+-@\t\r" else text


def _ends(epochs: tuple[EpochRecord, ...]) -> dict[int, int]:
    """Return the last epoch of each round."""
    return {record.round: record.epoch for record in epochs}


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _of(epochs: tuple[EpochRecord, ...], name: str, value: Measure) -> Curve:
    values, places = list(map(value, epochs)), _places(epochs)
    if None not in values:
        return Curve(name=name, x=places, y=tuple(one for one in values if one is not None))
    points = [(x, y) for x, y in zip(places, values, strict=True) if y is not None]
    return Curve(name=name, x=tuple(x for x, _ in points), y=tuple(y for _, y in points))


@kept
def _places(epochs: tuple[EpochRecord, ...]) -> tuple[float, ...]:
    """Return where the epochs lie on the lower axis; curves of the same epochs share it."""
    return tuple(float(record.epoch) for record in epochs)


def _alone(epochs: tuple[EpochRecord, ...], like: str, value: Measure) -> Curve:
    name = f"{HERE_ALONE}, {like.lower()}"
    return replace(_of(epochs, name, value), dashed=True, like=like)


def _at_ends(
    rows: tuple[RoundRow, ...], ends: dict[int, int], like: str, value: RoundMeasure
) -> Curve:
    points = sorted(
        (float(ends[row.number]), measured) for row in rows if (measured := value(row)) is not None
    )
    return Curve(
        name=f"{ALL_SITES}, {like.lower()}" if like != AVERAGE else f"{ALL_SITES}, mean",
        x=tuple(epoch for epoch, _ in points),
        y=tuple(measured for _, measured in points),
        points=True,
        like=like,
    )
