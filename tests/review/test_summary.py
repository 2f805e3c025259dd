"""Figures over many cases."""

from __future__ import annotations

import pytest

from app.domain.segmentation import CaseScore, LabelScore
from app.review.summary import Spread, summarise


def case(name: str, **labels: tuple[float | None, float, float]) -> CaseScore:
    return CaseScore(
        case=name,
        labels=tuple(
            LabelScore(
                label=label,
                dice=dice,
                hausdorff95_mm=None if dice in (None, 0.0) else 4 * (1 - dice),
                surface_dice=dice,
                reference_ml=reference,
                prediction_ml=prediction,
                reference_components=1,
                prediction_components=1,
            )
            for label, (dice, reference, prediction) in labels.items()
        ),
    )


def test_a_label_over_its_cases():
    (liver, cyst) = summarise(
        [
            case("a", liver=(0.95, 9, 9), cyst=(None, 0, 0)),
            case("b", liver=(1.0, 9, 9), cyst=(None, 0, 0)),
            case("c", liver=(0.0, 9, 0), cyst=(None, 0, 0)),
            case("d", liver=(0.0, 0, 2)),
            case("e", liver=(0.3, 9, 2)),
        ]
    )
    assert liver.label == "liver"
    assert liver.dice == Spread(
        cases=5, mean=pytest.approx(0.45), median=0.3, lowest=0.0, highest=1.0
    )
    assert liver.hausdorff95_mm == Spread(
        cases=3, mean=pytest.approx(1.0), median=pytest.approx(0.2), lowest=0.0, highest=2.8
    )
    assert liver.dice_counts == (2, 0, 0, 1, 0, 0, 0, 0, 0, 2)
    assert (liver.missed, liver.only_predicted) == (1, 1)
    assert (cyst.dice, cyst.hausdorff95_mm, cyst.dice_counts) == (None, None, (0,) * 10)
    assert (cyst.missed, cyst.only_predicted) == (0, 0)


def test_no_cases_have_no_summary():
    assert summarise([]) == ()
