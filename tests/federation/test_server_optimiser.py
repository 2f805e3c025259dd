from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from app.domain.errors import DataProblem, ErrorCode
from app.domain.study import ServerOptimiser
from app.federation.server_optimiser import (
    ADAPTIVITY,
    SECOND_MOMENTUM,
    ServerRule,
    first_state,
    rule_of,
    step,
)
from app.federation.study_file import EXAMPLE, parse_study

MOMENTUM = ServerRule(optimiser=ServerOptimiser.FEDAVGM, learning_rate=0.5, momentum=0.9)
ADAM = ServerRule(optimiser=ServerOptimiser.FEDADAM, learning_rate=0.01, momentum=0.9)
SMALL = arrays(np.float32, (3, 2), elements=st.floats(-2, 2, width=32))


def run(rule, changes, start=0.0):
    """Take steps of known changes; return the weight after each."""
    weight, state = np.full((1,), start, np.float32), first_state(rule, (1,))
    found = []
    for change in changes:
        weight, state = step(rule, weight, weight + np.float32(change), state)
        found.append(float(weight[0]))
    return found


def test_momentum_adds_up_as_in_the_paper():
    """Hsu et al. 2019: with equal changes the momentum is a geometric sum."""
    change, rounds = 0.25, 6
    expected, momentum, weight = [], 0.0, 0.0
    for number in range(1, rounds + 1):
        momentum = change * (1 - 0.9**number) / (1 - 0.9)
        weight += 0.5 * momentum
        expected.append(weight)
    assert run(MOMENTUM, [change] * rounds) == pytest.approx(expected, rel=1e-6)


def test_adam_moves_by_the_ratio_of_moments():
    """Reddi et al. 2021, algorithm 2: no bias correction, v begins at tau squared."""
    change, rounds = 0.25, 6
    expected, weight = [], 0.0
    for number in range(1, rounds + 1):
        first = change * (1 - 0.9**number)
        kept = SECOND_MOMENTUM**number
        second = kept * ADAPTIVITY**2 + (1 - kept) * change**2
        weight += 0.01 * first / (second**0.5 + ADAPTIVITY)
        expected.append(weight)
    assert run(ADAM, [change] * rounds) == pytest.approx(expected, rel=1e-5)


@given(before=SMALL, mean=SMALL)
def test_momentum_without_memory_and_a_full_step_is_the_plain_average(before, mean):
    rule = replace(MOMENTUM, learning_rate=1.0, momentum=0.0)
    made, _ = step(rule, before, mean, first_state(rule, (3, 2)))
    # What is far below the last bit of a weight is lost in the difference to it.
    np.testing.assert_allclose(made, mean, rtol=2**-23, atol=1e-12)


@given(before=SMALL, changes=st.lists(SMALL, min_size=1, max_size=4))
@pytest.mark.parametrize("rule", [MOMENTUM, ADAM], ids=["fedavgm", "fedadam"])
def test_a_step_is_the_same_bits_from_kept_state_and_takes_each_weight_alone(rule, before, changes):
    whole, state = before, first_state(rule, (3, 2))
    single, alone = before[1:2], first_state(rule, (1, 2))
    for change in changes:
        whole, state = step(rule, whole, whole + change, state)
        single, alone = step(rule, single, single + change[1:2], alone)
    assert whole.dtype == np.float32
    assert all(value.dtype == np.float32 for value in state.values())
    np.testing.assert_array_equal(whole[1:2], single)
    for name in rule.moments:
        np.testing.assert_array_equal(state[name][1:2], alone[name])


def test_a_step_out_of_the_range_of_numbers_is_said():
    rule = replace(MOMENTUM, learning_rate=1e38)
    with pytest.raises(DataProblem) as caught:
        run(rule, [100.0])
    assert caught.value.code is ErrorCode.NOT_FINITE
    assert "learning rate is too large" in str(caught.value)


def test_the_rule_is_the_studys():
    terms = parse_study(EXAMPLE)
    assert rule_of(terms) is None
    adam = replace(terms, server_optimiser=ServerOptimiser.FEDADAM, server_learning_rate=0.001)
    assert rule_of(adam) == ServerRule(
        optimiser=ServerOptimiser.FEDADAM, learning_rate=0.001, momentum=0.9
    )
    assert rule_of(adam).moments == ("m", "v")
