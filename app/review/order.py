"""Which case to look at first: the worst one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from app.domain.segmentation import CaseScore, LabelScore

# 1.4826 times the median absolute deviation is the standard deviation of a normal distribution.
_MAD_TO_SIGMA: Final = 1.4826
OUTLIER_SIGMAS: Final = 3.0
# Spread below which volumes count as equal: a rounding's worth, in logarithms.
_LEAST_SPREAD: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A case in the review list.

    `worst` is the label with the lowest Dice, None when no label has one (nothing in reference and
    prediction). `only_predicted` names labels that were predicted though the reference has none.
    """

    score: CaseScore
    worst: LabelScore | None
    only_predicted: tuple[str, ...]

    @property
    def case(self) -> str:
        """The case's name."""
        return self.score.case


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeOutlier:
    """How unusual a predicted volume is: `sigmas` robust standard deviations from the median.

    Infinite when the label is missing in this case though it is usual, or the other way round.
    """

    case: str
    label: str
    prediction_ml: float
    sigmas: float


def worst_first(scores: Sequence[CaseScore]) -> tuple[Ranked, ...]:
    """Order cases by their worst label's Dice, then mean Dice, then HD95; undefined ones last.

    By the worst label and not the mean: one organ missed among ten good ones must come up.
    """
    return tuple(sorted((_rank(score) for score in scores), key=_place))


def volume_outliers(
    volumes_ml: Mapping[str, Mapping[str, float]],
) -> tuple[VolumeOutlier, ...]:
    """Order (case, label) by how unusual its predicted volume is, most unusual first.

    For cases without a reference. Volumes are compared by ratio, with median and median absolute
    deviation over the cases: one wild case must not hide itself.
    """
    found: list[VolumeOutlier] = []
    labels = list(dict.fromkeys(label for case in volumes_ml.values() for label in case))
    for label in labels:
        volumes = {case: own.get(label, 0.0) for case, own in volumes_ml.items()}
        present = [math.log(volume) for volume in volumes.values() if volume > 0]
        usual = len(present) * 2 > len(volumes)
        middle = median(present) if present else 0.0
        spread = median(abs(value - middle) for value in present) if present else 0.0
        sigma = max(spread, _LEAST_SPREAD) * _MAD_TO_SIGMA
        for case, volume in volumes.items():
            if (volume > 0) is not usual:
                sigmas = math.inf
            elif volume > 0:
                sigmas = abs(math.log(volume) - middle) / sigma
            else:
                sigmas = 0.0
            found.append(VolumeOutlier(case=case, label=label, prediction_ml=volume, sigmas=sigmas))
    return tuple(sorted(found, key=lambda one: (-one.sigmas, one.case, one.label)))


def _rank(score: CaseScore) -> Ranked:
    defined = [label for label in score.labels if label.dice is not None]
    return Ranked(
        score=score,
        worst=min(defined, key=_badness, default=None),
        only_predicted=tuple(label.label for label in score.labels if label.only_predicted),
    )


def _badness(label: LabelScore) -> tuple[float, float]:
    return (
        1.0 if label.dice is None else label.dice,
        # Of two labels that are missed entirely the larger one is worse.
        -max(label.reference_ml, label.prediction_ml),
    )


def _place(ranked: Ranked) -> tuple[bool, float, float, float, str]:
    distances = [
        label.hausdorff95_mm for label in ranked.score.labels if label.hausdorff95_mm is not None
    ]
    worst, mean = ranked.worst, ranked.score.mean_dice
    return (
        worst is None,
        worst.dice if worst is not None and worst.dice is not None else 1.0,
        1.0 if mean is None else mean,
        -max(distances, default=0.0),
        ranked.case,
    )
