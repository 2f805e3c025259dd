"""What a study costs a site, against the figures measured on real networks."""

import dataclasses

import pytest
from helpers.studies import TERMS

from app.domain.rounds import TensorSpec
from app.domain.study import Transfer
from app.federation.network import parameters
from app.federation.traffic import duration, largest_network, traffic

BASE = dataclasses.replace(TERMS, channel_names=("MRI",), rounds=50)


@pytest.mark.parametrize(
    ("configuration", "planner", "millions"),
    # Measured on networks of stock nnU-Net (shared field notes, "Training set-up and cost").
    [
        ("3d_fullres", "ExperimentPlanner", 31.2),
        ("2d", "ExperimentPlanner", 46.3),
        ("3d_fullres", "nnUNetPlannerResEncL", 102.3),
    ],
)
def test_the_largest_network_is_that_of_nnunet(configuration, planner, millions):
    terms = dataclasses.replace(BASE, configuration=configuration, planner=planner)
    assert parameters(largest_network(terms)) / 1e6 == pytest.approx(millions, abs=0.15)


def test_labels_and_regions_have_one_output_each():
    labels = {"background": 0, "whole": (1, 2), "core": 2, "ignore": 3}
    regions = dataclasses.replace(BASE, labels=labels, regions_class_order=(1, 2))
    assert largest_network(regions).outputs == 2
    plain = dataclasses.replace(BASE, labels={"background": 0, "a": 1, "b": 2, "ignore": 3})
    assert largest_network(plain).outputs == 3


@pytest.mark.parametrize(
    ("transfer", "most"), [(Transfer.FP32, 1.0), (Transfer.FP16, 0.5), (Transfer.INT8, 0.2507)]
)
def test_a_round_moves_its_share_of_what_whole_weights_take(transfer, most):
    tensors = (TensorSpec(name="w", shape=(320, 320, 3, 3, 3)), TensorSpec(name="b", shape=(320,)))
    whole = 4 * (320 * 320 * 27 + 320)
    moved = traffic(dataclasses.replace(BASE, transfer=transfer), tensors)
    assert moved.round_up == moved.round_down
    assert 0 < moved.round_up <= most * whole
    assert moved.study_up == 50 * moved.round_up
    # Every model but the first and the last comes as a change.
    assert moved.study_down == 49 * moved.round_down + 2 * whole


def test_time_is_that_of_all_steps():
    terms = dataclasses.replace(
        BASE, rounds=10, epochs_per_round=2, iterations_per_epoch=250, validation_iterations=50
    )
    lasts = duration(terms, step_s=0.2, validation_step_s=0.1)
    assert lasts.round_s == pytest.approx(2 * (50 + 5))
    assert lasts.study_s == pytest.approx(10 * lasts.round_s)
    assert duration(terms, step_s=0.2, validation_step_s=0.1, rounds_left=0).study_s == 0


def test_five_folds_cost_five_times_as_much():
    tensors = (TensorSpec(name="w", shape=(320, 320, 3, 3, 3)),)
    for transfer in Transfer:
        one = dataclasses.replace(BASE, transfer=transfer)
        five = dataclasses.replace(one, fold="0-4")
        single, whole = traffic(one, tensors), traffic(five, tensors)
        assert (whole.round_up, whole.round_down) == (single.round_up, single.round_down)
        assert (whole.study_up, whole.study_down) == (5 * single.study_up, 5 * single.study_down)
        spent = [
            duration(terms, step_s=0.2, validation_step_s=0.1).study_s for terms in (one, five)
        ]
        assert spent[1] == pytest.approx(5 * spent[0])


def test_a_cascade_moves_both_of_its_networks():
    coarse = (TensorSpec(name="w", shape=(100, 10)),)
    fine = (TensorSpec(name="w", shape=(100, 30)),)
    one = dataclasses.replace(BASE, fold="0-4")
    cascade = dataclasses.replace(one, configuration="3d_cascade_fullres")
    moved, first, second = traffic(cascade, coarse, fine), traffic(one, coarse), traffic(one, fine)
    assert moved.study_up == first.study_up + second.study_up
    assert moved.study_down == first.study_down + second.study_down
    assert (moved.round_up, moved.round_down) == (second.round_up, second.round_down)
    # Before there is a plan: the second pass also reads a channel for each label of the first.
    foreground = len(cascade.labels) - 1
    assert largest_network(cascade).inputs == largest_network(one).inputs + foreground
    assert traffic(cascade).study_up > 2 * traffic(one).study_up
