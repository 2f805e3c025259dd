import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st

from app.domain.errors import ErrorCode, OurMistake, PeerMistake
from app.domain.rounds import TensorSpec
from app.domain.study import Aggregation
from app.federation.averaging import LARGEST_WEIGHT, TensorsRefused, average

MANIFEST = (
    TensorSpec(name="conv.weight", shape=(3, 2, 3, 3, 3)),
    TensorSpec(name="conv.bias", shape=(3,)),
    TensorSpec(name="scale", shape=()),
)


class Memory(dict):
    """The tensors of one update in memory."""

    def read(self, name):
        return self[name]


def made(seed: int) -> Memory:
    rng = np.random.default_rng(seed)
    return Memory(
        {spec.name: np.asarray(rng.normal(size=spec.shape), dtype=np.float32) for spec in MANIFEST}
    )


def averaged(readers, weights, sites, rule=Aggregation.CASES):
    written = {}
    average(readers, weights, MANIFEST, written.__setitem__, sites=sites, rule=rule)
    assert list(written) == [spec.name for spec in MANIFEST]
    return written


def same(one, other) -> bool:
    return all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_the_average_is_weighted_by_cases():
    readers, weights = [made(1), made(2), made(3)], [24, 16, 10]
    found = averaged(readers, weights, ["north", "harbour", "valley"])
    for spec in MANIFEST:
        expected = np.average(
            [reader[spec.name].astype(np.float64) for reader in readers], axis=0, weights=weights
        )
        assert found[spec.name].dtype == np.float32
        assert found[spec.name].shape == spec.shape
        np.testing.assert_array_max_ulp(found[spec.name], expected.astype(np.float32), maxulp=1)


def test_by_the_papers_rule_every_site_weighs_the_same():
    readers = [made(1), made(2)]
    found = averaged(readers, [1, 1000], ["a", "b"], rule=Aggregation.PAPER)
    assert same(found, averaged(readers, [7, 7], ["a", "b"]))
    assert not same(found, averaged(readers, [1, 1000], ["a", "b"]))


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 10_000), min_size=2, max_size=4))
def test_order_of_arrival_and_reruns_do_not_show_in_a_single_bit(seed, weights):
    sites = [f"site-{number}" for number in range(len(weights))]
    readers = [made(seed + number) for number in range(len(weights))]
    first = averaged(readers, weights, sites)
    for order in itertools.permutations(range(len(weights))):
        again = averaged(
            [readers[k] for k in order], [weights[k] for k in order], [sites[k] for k in order]
        )
        assert same(first, again)


@given(st.integers(0, 2**32 - 1), st.integers(1, 1_000_000))
def test_the_average_of_one_site_is_its_own_update(seed, cases):
    update = made(seed)
    assert same(averaged([update], [cases], ["only"]), update)


def test_the_average_of_equal_updates_is_that_update():
    update = made(5)
    assert same(averaged([update] * 3, [24, 16, 10], ["a", "b", "c"]), update)


def test_half_precision_updates_are_averaged_in_single_precision():
    manifest = (TensorSpec(name="w", shape=(2,), dtype="F16"),)
    readers = [
        Memory(w=np.array([1.0, 2.0], np.float16)),
        Memory(w=np.array([2.0, 4.0], np.float16)),
    ]
    written = {}
    average(readers, [1, 2], manifest, written.__setitem__, sites=["a", "b"])
    assert written["w"].tolist() == np.array([5 / 3, 10 / 3], np.float32).tolist()


def spoilt(name: str, value: np.ndarray | None) -> Memory:
    update = made(9)
    if value is None:
        del update[name]
    else:
        update[name] = value
    return update


@pytest.mark.parametrize(
    ("tensor", "value", "reason"),
    [
        ("conv.bias", None, "is missing"),
        ("conv.bias", np.zeros(4, np.float32), "has the shape (4,), not (3,)"),
        ("conv.bias", np.zeros((3, 1), np.float32), "has the shape (3, 1)"),
        ("conv.bias", np.zeros(3, np.float64), "is float64, not F32"),
        ("conv.bias", np.zeros(3, np.float16), "is float16, not F32"),
        ("conv.bias", np.array([0, np.nan, 0], np.float32), "not finite"),
        ("conv.bias", np.array([0, np.inf, 0], np.float32), "not finite"),
        ("conv.bias", np.array([0, -np.inf, 0], np.float32), "not finite"),
        ("conv.bias", np.array([0, -2e4, 0], np.float32), "beyond ±10000"),
        ("scale", np.array(1e30, np.float32), "beyond ±10000"),
    ],
)
def test_a_tensor_that_may_not_count_names_site_and_tensor(tensor, value, reason):
    with pytest.raises(TensorsRefused) as caught:
        averaged([made(1), spoilt(tensor, value)], [1, 1], ["good", "bad"])
    assert isinstance(caught.value, PeerMistake)
    assert caught.value.code is ErrorCode.TENSORS_REFUSED
    assert (caught.value.site, caught.value.tensor) == ("bad", tensor)
    assert reason in str(caught.value)
    assert "site bad" in str(caught.value)


def test_the_largest_weight_itself_is_allowed_and_found_beyond_the_first_block():
    manifest = (TensorSpec(name="w", shape=(3_000_000,)),)
    weights = np.zeros(3_000_000, np.float32)
    weights[-1] = LARGEST_WEIGHT
    written = {}
    average([Memory(w=weights)], [3], manifest, written.__setitem__, sites=["a"])
    assert written["w"][-1] == LARGEST_WEIGHT
    weights[-1] = np.nan
    with pytest.raises(TensorsRefused):
        average([Memory(w=weights)], [3], manifest, written.__setitem__, sites=["a"])


@pytest.mark.parametrize(
    ("readers", "weights", "sites"),
    [
        ([], [], []),
        ([made(1)], [1, 2], ["a"]),
        ([made(1), made(2)], [1, 2], ["a", "a"]),
        ([made(1)], [0], ["a"]),
        ([made(1)], [-1], ["a"]),
        ([made(1)], [float("nan")], ["a"]),
        ([made(1)], [float("inf")], ["a"]),
    ],
)
def test_a_senseless_average_is_a_bug_of_ours(readers, weights, sites):
    with pytest.raises(OurMistake):
        averaged(readers, weights, sites)
