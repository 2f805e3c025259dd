"""What the federation brings to this site: the same cases by several models, label by label.

A mean over sites or labels hides who is harmed: in the paper two of eighteen columns get worse under
federation while the mean rises (Skorupko et al. 2025, tables 2 to 4). So every label stands alone,
cases are compared pairwise, and a case that got clearly worse is named though the mean is better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from app.domain.segmentation import CaseScore

NOTICEABLE: Final = 0.02
"""Difference in Dice below which two segmentations of a case count as equally good."""
HARMFUL_MEAN: Final = 0.005
"""Mean loss in Dice from which a label counts as harmed, however few cases carry it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedCase:
    """One case by the baseline and by the model: Dice of a label."""

    case: str
    baseline: float
    model: float

    @property
    def gain(self) -> float:
        """How much better the model is."""
        return self.model - self.baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelBenefit:
    """One label by the local baseline and by one other model, over the cases that both define.

    `worse` are the cases that lost more than `NOTICEABLE`, the greatest loss first.
    """

    label: str
    cases: int
    baseline: float
    model: float
    better: int
    worse: tuple[PairedCase, ...]

    @property
    def gain(self) -> float:
        """Mean gain in Dice."""
        return self.model - self.baseline

    @property
    def harms(self) -> bool:
        """True when the model is worse here: on the mean, or in more cases than it is better in."""
        return self.gain < -HARMFUL_MEAN or len(self.worse) > self.better


def compare(baseline: Sequence[CaseScore], model: Sequence[CaseScore]) -> tuple[LabelBenefit, ...]:
    """Compare a model with the local baseline, in the order in which labels appear.

    Only cases that both scored count, and only labels that have a Dice in both: a label that is in
    neither reference nor prediction says nothing. Labels without any such case are left out.
    """
    first, second = _by_case(baseline), _by_case(model)
    labels = dict.fromkeys(label for scores in first.values() for label in scores)
    found = []
    for label in labels:
        pairs = [
            PairedCase(case=case, baseline=before, model=after)
            for case, scores in first.items()
            if (before := scores.get(label)) is not None
            and (after := second.get(case, {}).get(label)) is not None
        ]
        if not pairs:
            continue
        worse = sorted((one for one in pairs if one.gain < -NOTICEABLE), key=lambda one: one.gain)
        found.append(
            LabelBenefit(
                label=label,
                cases=len(pairs),
                baseline=fmean(one.baseline for one in pairs),
                model=fmean(one.model for one in pairs),
                better=sum(one.gain > NOTICEABLE for one in pairs),
                worse=tuple(worse),
            )
        )
    return tuple(found)


def _by_case(scores: Sequence[CaseScore]) -> Mapping[str, Mapping[str, float | None]]:
    return {score.case: {label.label: label.dice for label in score.labels} for score in scores}
