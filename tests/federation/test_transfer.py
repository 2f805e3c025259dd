"""Rounding what travels: what comes back, what is kept, and that nothing piles up."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from app.domain.errors import OurMistake
from app.domain.rounds import TensorSpec
from app.domain.study import Transfer
from app.federation.transfer import (
    BLOCK,
    ChangedTensors,
    change_bytes,
    change_manifest,
    contents_of,
    decode,
    encode,
    scale_name,
)
from app.wire.tensors import LARGEST_VALUE

ROUNDED = [Transfer.FP16, Transfer.INT8]
NETWORK = (
    TensorSpec(name="conv", shape=(7, 11, 3, 3, 3)),
    TensorSpec(name="bias", shape=(7,)),
)


def spec_of(array):
    return TensorSpec(name="w", shape=array.shape)


FINITE = st.floats(-1e3, 1e3, width=32)


@pytest.mark.parametrize("transfer", ROUNDED)
@given(
    change=arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 1500)), elements=FINITE)
)
def test_the_receiver_makes_what_the_sender_says_it_makes(transfer, change):
    spec = spec_of(change)
    parts, made = encode(spec, change, transfer)
    assert {(s.name, s.shape) for s in change_manifest([spec], transfer)} == {
        (name, part.shape) for name, part in parts.items()
    }
    again = decode(spec, parts.__getitem__, transfer)
    assert again.dtype == made.dtype == np.float32
    assert (again == made).all()
    # Half a step of the block's scale; for halves half a unit in the last of 11 bits.
    if transfer is Transfer.FP16:
        # Halves carry changes up to 8; what is beyond stays in the remainder.
        change = np.clip(change, -8, 8)
    largest = np.abs(change).max()
    step = largest / 127 if transfer is Transfer.INT8 else np.maximum(np.abs(change) / 1024, 6e-8)
    assert (np.abs(change - made) <= 0.51 * step + 1e-38).all()


@pytest.mark.parametrize("transfer", ROUNDED)
def test_no_change_is_no_change_and_an_absurd_one_stays_finite(transfer):
    change = np.zeros(BLOCK + 1, np.float32)
    assert not encode(spec_of(change), change, transfer)[1].any()
    change[3] = 1e30
    change[BLOCK] = 1e-42  # alone in its block, and no normal number
    parts, made = encode(spec_of(change), change, transfer)
    assert np.isfinite(made).all()
    assert all(np.isfinite(part.astype(np.float64)).all() for part in parts.values())


def test_every_half_comes_back_as_what_it_stands_for():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    made = decode(spec_of(halves), {"w": halves}.__getitem__, Transfer.FP16)
    assert (made == halves.astype(np.float64) / 1024).all()
    assert (np.signbit(made) == np.signbit(halves)).all()


def test_changes_of_late_training_keep_all_bits_of_a_half():
    # Converted as they are, such changes would be multiples of 6e-8.
    change = np.random.default_rng(3).normal(scale=1e-6, size=100_000).astype(np.float32)
    parts, made = encode(spec_of(change), change, Transfer.FP16)
    large = np.abs(change) > 1e-7
    assert large.mean() > 0.9
    assert (np.abs(made - change) <= np.abs(change) / 2048)[large].all()
    # None is a subnormal half: those are slow, and some computers take them for zero.
    sent = np.abs(parts["w"].astype(np.float32))
    assert sent[sent > 0].min() >= np.finfo(np.float16).smallest_normal


def test_what_is_too_large_or_too_small_for_a_half_arrives_later():
    wanted = np.float32([-30.0, 3e-8])
    arrived, owed = np.zeros(2, np.float32), np.zeros(2, np.float32)
    for number in range(4):
        change = owed + (wanted if number == 0 else np.float32([0, 3e-8]))
        parts, made = encode(spec_of(change), change, Transfer.FP16)
        assert np.abs(parts["w"]).max() <= LARGEST_VALUE  # or every receiver would refuse it
        arrived, owed = arrived + made, change - made
    assert arrived[0] == -30.0
    assert abs(arrived[1] - 4 * 3e-8) <= 6e-8


def test_sizes_are_a_half_and_a_quarter():
    wide = [TensorSpec(name="w", shape=(320, 320, 3, 3, 3)), TensorSpec(name="b", shape=(320,))]
    whole = change_bytes(wide, Transfer.FP32)
    assert change_bytes(wide, Transfer.FP16) == whole / 2
    assert whole / 4 < change_bytes(wide, Transfer.INT8) < whole / 4 * 1.003


def test_only_single_precision_is_rounded():
    counter = TensorSpec(name="batches", shape=(1,), dtype="I64")
    assert change_manifest([counter], Transfer.FP32) == (counter,)
    with pytest.raises(OurMistake, match="batches is I64"):
        change_manifest([counter], Transfer.INT8)


@pytest.mark.parametrize("transfer", ROUNDED)
def test_a_changed_model_is_base_and_change(transfer):
    random = np.random.default_rng(1)
    base = {s.name: random.normal(size=s.shape).astype(np.float32) for s in NETWORK}
    parts, made = {}, {}
    for spec in NETWORK:
        change = random.normal(scale=1e-3, size=spec.shape).astype(np.float32)
        encoded, made[spec.name] = encode(spec, change, transfer)
        parts |= encoded
    reader = ChangedTensors(Table(base), Table(parts), NETWORK, transfer)
    for spec in NETWORK:
        assert (reader.read(spec.name) == base[spec.name] + made[spec.name]).all()
    with pytest.raises(KeyError):
        reader.read("other")
    del parts["bias"]
    with pytest.raises(KeyError):
        reader.read("bias")


@pytest.mark.parametrize("transfer", ROUNDED)
def test_a_tensor_without_a_value_before_is_sent_as_it_is(transfer):
    random = np.random.default_rng(1)
    late = random.normal(size=NETWORK[0].shape).astype(np.float32)
    base = {"bias": random.normal(size=7).astype(np.float32)}
    parts, made = encode(NETWORK[1], np.full(7, 1e-3, np.float32), transfer)
    manifest = change_manifest(NETWORK, transfer, {"conv"})
    held = parts | {"conv": late}
    assert {(s.name, s.shape) for s in manifest} == {(n, part.shape) for n, part in held.items()}
    assert {s.name: s.dtype for s in manifest}["conv"] == "F32"
    # Four-byte numbers come before smaller ones, so all lie at multiples of their size.
    sizes = [{"F32": 4, "F16": 2, "I8": 1}[s.dtype] for s in manifest]
    assert sizes == sorted(sizes, reverse=True)
    # Its header tells the receiver all of it, in the order of the receiver's own network.
    more = (*NETWORK, TensorSpec(name="local", shape=(3,)))
    assert contents_of(manifest, more) == (NETWORK, {"conv"})
    reader = ChangedTensors(Table(base), Table(held), NETWORK, transfer, {"conv"})
    assert (reader.read("conv") == late).all()
    assert (reader.read("bias") == base["bias"] + made).all()


def test_scales_have_names_of_their_own():
    assert scale_name(NETWORK[0]) not in {spec.name for spec in NETWORK}


class Table:
    def __init__(self, tensors):
        self.read = tensors.__getitem__


def drift(transfer, *, rounds, feedback):
    """Train 3 sites towards a goal; return the largest distance of the sites' common model from
    the one that unrounded sending gives, each after every round, in steps of the first change.

    Both ways are rounded, as coordinator and sites do it. Changes shrink as learning rates do.
    """
    random = np.random.default_rng(7)
    spec = TensorSpec(name="w", shape=(4 * BLOCK,))
    exact = np.zeros(spec.shape)
    master = np.zeros(spec.shape, np.float32)
    model = master.copy()
    owed = [np.zeros(spec.shape, np.float32) for _ in range(3)]
    distances = []
    # Every weight has its own pace: the slow ones are far below one step of their block.
    pace = random.normal(size=spec.shape).astype(np.float32) ** 3
    for number in range(rounds):
        scale = np.float32((1 - number / rounds) ** 0.9)
        moved = []
        for site in range(3):
            change = scale * pace * np.float32(1 + 0.1 * site)
            exact += change.astype(np.float64) / 3
            wanted = change + owed[site] if feedback else change
            made = encode(spec, wanted, transfer)[1]
            owed[site] = wanted - made
            moved.append(master.astype(np.float64) + made)
        master = np.mean(moved, axis=0).astype(np.float32)
        published = encode(spec, master - model, transfer)[1]
        model = model + published
        if not feedback:
            master = model.copy()  # the coordinator forgets what rounding took away
        distances.append(float(np.abs(model - exact).max()))
    return np.array(distances) / (float(np.abs(pace).max()) / 127)


def test_what_rounding_takes_away_does_not_pile_up():
    """The accumulated average stays within two roundings; without feedback it runs away."""
    distances = drift(Transfer.INT8, rounds=200, feedback=True)
    assert distances.max() <= 2.0
    without = drift(Transfer.INT8, rounds=200, feedback=False)
    assert without.max() > 10.0
    assert without[-1] > 5 * without[10]
