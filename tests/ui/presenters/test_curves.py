from __future__ import annotations

import csv
import io

import pytest
from helpers import snapshots

from app.ui.presenters.curves import (
    curves_table,
    dice_curves,
    loss_curves,
    rate_curves,
    round_ends,
    step_curves,
)
from app.ui.presenters.parts import Curve

EPOCHS = snapshots.epochs(5)
ROUNDS = snapshots.rounds(2)


def shapes(curves):
    return [(curve.name, len(curve.x), curve.dashed, curve.points) for curve in curves]


def test_loss_of_this_site_and_of_all_sites_at_the_end_of_each_round():
    curves = loss_curves(EPOCHS, ROUNDS, ())
    assert shapes(curves) == [
        ("Training", 5, False, False),
        ("Validation", 5, False, False),
        ("All sites, training", 2, False, True),
        ("All sites, validation", 2, False, True),
    ]
    assert curves[2].x == (2.0, 4.0)
    assert curves[2].y == tuple(row.train_loss for row in ROUNDS)


def test_this_site_alone_is_a_dashed_reference():
    alone = snapshots.epochs(3)
    assert shapes(loss_curves(EPOCHS, (), alone))[2:] == [
        ("This site alone, training", 3, True, False),
        ("This site alone, validation", 3, True, False),
    ]
    assert loss_curves(EPOCHS, (), alone)[2].like == "Training"
    assert shapes(dice_curves(EPOCHS, (), alone, ()))[1] == (
        "This site alone, moving average",
        3,
        True,
        False,
    )


def test_overlap_begins_with_the_moving_average_and_skips_what_is_undefined():
    curves = dice_curves(EPOCHS, ROUNDS, (), snapshots.LABELS)
    assert shapes(curves) == [
        ("Moving average", 5, False, False),
        ("All sites, mean", 2, False, True),
        ("Anterior", 5, False, False),
        ("Posterior", 4, False, False),
    ]
    assert curves[3].x[0] == 2.0
    first = [value for value in ROUNDS[0].pseudo_dice if value is not None]
    assert curves[1].y[0] == pytest.approx(sum(first) / len(first))


def test_nothing_before_the_first_epoch():
    assert loss_curves((), ROUNDS, ()) == ()
    assert dice_curves((), ROUNDS, (), snapshots.LABELS) == ()
    assert rate_curves(()) == ()
    assert round_ends(()) == ()
    assert step_curves(()) == ()


def test_a_round_that_this_site_missed_has_no_place():
    later = tuple(record for record in EPOCHS if record.round != 1)
    curves = {curve.name: curve for curve in loss_curves(later, ROUNDS, ())}
    assert curves["All sites, training"].x == (4.0,)


def test_round_ends_and_steps():
    assert round_ends(EPOCHS) == (2.0, 4.0, 5.0)
    curves = step_curves(snapshots.steps(6, 12))
    assert shapes(curves) == [("Epoch 6", 12, False, False), ("Epoch 5", 20, True, False)]


def test_table_has_every_digit_and_blanks_where_nothing_was_measured():
    curves = (
        Curve(name="Training", x=(1.0, 2.0), y=(0.1, 1 / 3)),
        Curve(name="All sites", x=(2.0,), y=(-0.25,), points=True),
    )
    text = curves_table(curves, "Epoch").decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text)))
    assert rows == [
        ["Epoch", "Training", "All sites"],
        ["1", "0.1", ""],
        ["2", repr(1 / 3), "-0.25"],
    ]
    assert float(rows[2][1]) == 1 / 3


def test_table_says_estimate_and_never_holds_a_formula():
    text = curves_table((Curve(name="=1+1", x=(1.0,), y=(0.5,)),), "Epoch", estimate=True)
    header = next(csv.reader(io.StringIO(text.decode("utf-8-sig"))))
    assert header[1] == "'=1+1 (estimate on patches, not a clinical result)"
