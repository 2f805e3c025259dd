"""Scores of many cases in a few figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

from app.domain.segmentation import CaseScore, LabelScore

DICE_BINS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A score over those cases in which it is defined."""

    cases: int
    mean: float
    median: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSummary:
    """One label over all cases; a spread is None where no case defines the score.

    `dice_counts` are the cases per tenth of Dice, from 0 upwards; 1.0 belongs to the last.
    `only_predicted` and `missed` count cases with the label on one side only.
    """

    label: str
    dice: Spread | None
    hausdorff95_mm: Spread | None
    surface_dice: Spread | None
    dice_counts: tuple[int, ...]
    only_predicted: int
    missed: int


def summarise(scores: Sequence[CaseScore]) -> tuple[LabelSummary, ...]:
    """Summarise each label, in the order in which the labels first appear."""
    by_label: dict[str, list[LabelScore]] = {}
    for case in scores:
        for label in case.labels:
            by_label.setdefault(label.label, []).append(label)
    return tuple(_summary(name, found) for name, found in by_label.items())


def _summary(name: str, found: Sequence[LabelScore]) -> LabelSummary:
    counts = [0] * DICE_BINS
    for label in found:
        if label.dice is not None:
            counts[min(int(label.dice * DICE_BINS), DICE_BINS - 1)] += 1
    return LabelSummary(
        label=name,
        dice=_spread(found, lambda label: label.dice),
        hausdorff95_mm=_spread(found, lambda label: label.hausdorff95_mm),
        surface_dice=_spread(found, lambda label: label.surface_dice),
        dice_counts=tuple(counts),
        only_predicted=sum(label.only_predicted for label in found),
        missed=sum(label.reference_ml > 0 and label.prediction_ml == 0 for label in found),
    )


def _spread(
    found: Sequence[LabelScore], score: Callable[[LabelScore], float | None]
) -> Spread | None:
    values = [value for label in found if (value := score(label)) is not None]
    if not values:
        return None
    return Spread(
        cases=len(values),
        mean=fmean(values),
        median=median(values),
        lowest=min(values),
        highest=max(values),
    )
