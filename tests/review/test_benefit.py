"""Benefit and harm: per label, per case, never hidden by a mean."""

from __future__ import annotations

import pytest

from app.domain.segmentation import CaseScore, LabelScore
from app.review.benefit import PairedCase, compare


def case(name: str, **dice: float | None) -> CaseScore:
    return CaseScore(
        case=name,
        labels=tuple(
            LabelScore(
                label=label, dice=value, hausdorff95_mm=None, surface_dice=None, reference_ml=1.0,
                prediction_ml=1.0, reference_components=1, prediction_components=1,
            )
            for label, value in dice.items()
        ),
    )  # fmt: skip


def test_a_mean_that_rises_hides_no_label_that_falls():
    baseline = [case("a", liver=0.60, spleen=0.90), case("b", liver=0.62, spleen=0.92)]
    federated = [case("a", liver=0.90, spleen=0.84), case("b", liver=0.88, spleen=0.86)]
    liver, spleen = compare(baseline, federated)
    assert (liver.harms, spleen.harms) == (False, True)
    assert liver.gain == pytest.approx(0.28)
    assert spleen.gain == pytest.approx(-0.06)
    assert (liver.better, liver.worse) == (2, ())


def test_a_label_that_gains_on_the_mean_still_names_who_lost():
    baseline = [case(name, liver=0.7) for name in "abcd"]
    federated = [
        case("a", liver=0.95),
        case("b", liver=0.95),
        case("c", liver=0.95),
        case("d", liver=0.4),
    ]
    [liver] = compare(baseline, federated)
    assert not liver.harms
    assert liver.worse == (PairedCase(case="d", baseline=0.7, model=0.4),)


def test_one_great_gain_does_not_outweigh_many_losses():
    baseline = [case("a", liver=0.2), case("b", liver=0.8), case("c", liver=0.8)]
    federated = [case("a", liver=0.9), case("b", liver=0.7), case("c", liver=0.6)]
    [liver] = compare(baseline, federated)
    assert liver.gain > 0
    assert liver.harms
    assert [one.case for one in liver.worse] == ["c", "b"]  # greatest loss first


def test_a_small_difference_is_neither_better_nor_worse():
    [liver] = compare([case("a", liver=0.80)], [case("a", liver=0.799)])
    assert (liver.better, liver.worse, liver.harms) == (0, (), False)


def test_only_what_both_scored_and_defined_counts():
    baseline = [case("a", liver=0.8, cyst=None), case("b", liver=0.5), case("only here", liver=0.1)]
    federated = [
        case("b", liver=0.6),
        case("a", liver=None, cyst=0.0),
        case("only there", liver=1.0),
    ]
    [liver] = compare(baseline, federated)
    assert (liver.cases, liver.baseline, liver.model) == (1, 0.5, 0.6)
    assert compare(baseline, []) == ()
