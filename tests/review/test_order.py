"""The worst case comes first."""

from __future__ import annotations

import math
import random

import pytest

from app.domain.segmentation import CaseScore, LabelScore
from app.review.order import OUTLIER_SIGMAS, volume_outliers, worst_first


def label(name: str, dice: float | None, **changes) -> LabelScore:
    return LabelScore(
        **{
            "label": name,
            "dice": dice,
            "hausdorff95_mm": None if dice is None else 10 * (1 - dice),
            "surface_dice": dice,
            "reference_ml": 0.0 if dice is None else 5.0,
            "prediction_ml": 0.0 if dice is None else 5.0,
            "reference_components": 1,
            "prediction_components": 1,
            **changes,
        }
    )


def case(name: str, *labels: LabelScore) -> CaseScore:
    return CaseScore(case=name, labels=labels)


CASES = [
    case("one label missed", label("a", 0.0), label("b", 0.99), label("c", 0.99)),
    case("only predicted", label("a", 0.0, reference_ml=0.0, prediction_ml=2.0), label("b", 0.999)),
    case("far off", label("a", 0.6, hausdorff95_mm=80.0), label("b", 0.8)),
    case("near", label("a", 0.6, hausdorff95_mm=8.0), label("b", 0.8)),
    case("good", label("a", 0.9), label("b", 0.95)),
    case("half defined", label("a", 0.95), label("b", None)),
    case("nothing there", label("a", None), label("b", None)),
]


def test_worst_first_and_undefined_last():
    expected = [
        "only predicted",  # mean 0.4995
        "one label missed",  # mean 0.66
        "far off",
        "near",
        "good",
        "half defined",
        "nothing there",
    ]
    for seed in range(5):
        shuffled = CASES[:]
        random.Random(seed).shuffle(shuffled)
        assert [ranked.case for ranked in worst_first(shuffled)] == expected


def test_a_missed_organ_comes_before_a_mediocre_mean():
    first, _ = worst_first(
        [
            case("mediocre", *(label(str(n), 0.6) for n in range(10))),
            case("one missed", label("0", 0.0), *(label(str(n), 0.98) for n in range(1, 10))),
        ]
    )
    assert first.case == "one missed"
    assert first.score.mean_dice > 0.8


def test_the_worst_label_and_the_badge():
    ranked = {one.case: one for one in worst_first(CASES)}
    assert ranked["far off"].worst == CASES[2].labels[0]
    assert ranked["only predicted"].only_predicted == ("a",)
    assert ranked["one label missed"].only_predicted == ()
    assert ranked["nothing there"].worst is None


def test_of_two_missed_labels_the_larger_is_worst():
    (ranked,) = worst_first([case("x", label("small", 0.0), label("big", 0.0, reference_ml=90.0))])
    assert ranked.worst.label == "big"


def test_an_unusual_volume_is_found_however_wild_it_is():
    volumes = {f"case_{n}": {"liver": 1500.0 + 10 * n} for n in range(12)}
    volumes["tiny"] = {"liver": 3.0}
    volumes["none"] = {"liver": 0.0}
    none, tiny, *rest = volume_outliers(volumes)
    assert (none.case, none.sigmas) == ("none", math.inf)
    assert tiny.case == "tiny"
    assert tiny.sigmas > OUTLIER_SIGMAS
    assert all(one.sigmas < OUTLIER_SIGMAS for one in rest)


def test_a_rare_label_is_unusual_where_it_is_and_not_where_it_is_not():
    volumes = {f"case_{n}": {"cyst": 0.0} for n in range(9)}
    volumes["with"] = {"cyst": 4.0}
    first, *rest = volume_outliers(volumes)
    assert (first.case, first.sigmas) == ("with", math.inf)
    assert {one.sigmas for one in rest} == {0.0}


def test_equal_volumes_are_not_unusual():
    assert all(
        one.sigmas == pytest.approx(0)
        for one in volume_outliers({f"case_{n}": {"a": 7.0} for n in range(4)})
    )
    assert volume_outliers({}) == ()
