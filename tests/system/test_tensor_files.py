import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from app.domain.errors import ErrorCode, OurMistake, PeerMistake
from app.domain.rounds import TensorSpec
from app.domain.study import Transfer
from app.federation.transfer import change_manifest, encode, scale_name
from app.system.tensor_files import (
    TensorFile,
    TensorFileWriter,
    apply_change,
    check_file,
    read_manifest,
)

MANIFEST = (
    TensorSpec(name="b", shape=(5, 3)),
    TensorSpec(name="a", shape=(4,)),
)


def tensors(seed, scale=1.0):
    random = np.random.default_rng(seed)
    return {s.name: (scale * random.normal(size=s.shape)).astype(np.float32) for s in MANIFEST}


def write(path, manifest, content):
    with TensorFileWriter(path, manifest) as writer:
        for name in reversed(content):
            writer.write(name, content[name])
    return path


def change_file(path, change, transfer):
    parts = {}
    for spec in MANIFEST:
        parts |= encode(spec, change[spec.name], transfer)[0]
    return write(path, change_manifest(MANIFEST, transfer), parts)


def test_what_is_written_in_any_order_is_read_by_safetensors_and_by_us(tmp_path):
    content = tensors(0)
    path = write(tmp_path / "t.safetensors", MANIFEST, content)
    loaded = load_file(path)
    file = TensorFile(path, MANIFEST)
    assert read_manifest(path) == MANIFEST
    for name, values in content.items():
        assert (loaded[name] == values).all()
        assert (file.read(name) == values).all()
    with pytest.raises(KeyError):
        file.read("c")


def test_a_writer_refuses_what_the_manifest_does_not_say(tmp_path):
    content = tensors(0)
    with pytest.raises(OurMistake, match="b is float32"):
        write(tmp_path / "t", MANIFEST, content | {"b": np.zeros((5, 4), np.float32)})
    with pytest.raises(OurMistake, match="b is float64"):
        write(tmp_path / "t", MANIFEST, content | {"b": np.zeros((5, 3))})
    with pytest.raises(OurMistake, match="a was not written"):
        write(tmp_path / "t", MANIFEST, {"b": content["b"]})
    with pytest.raises(KeyError):
        write(tmp_path / "t", MANIFEST, {"c": content["b"]})


@pytest.mark.parametrize("transfer", [Transfer.FP16, Transfer.INT8])
def test_a_change_makes_the_same_bytes_each_time(tmp_path, transfer):
    # The base may have been written by another program, in another order.
    base = tmp_path / "base"
    save_file(tensors(1), base)
    change = change_file(tmp_path / "change", tensors(2, 1e-2), transfer)
    apply_change(base, change, transfer, tmp_path / "one")
    apply_change(base, change, transfer, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    made = load_file(tmp_path / "one")
    for name in made:
        wanted = tensors(1)[name] + tensors(2, 1e-2)[name]
        assert np.abs(made[name] - wanted).max() < 3e-4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "change", "one", "two"]


def nan_scale(parts):
    parts[scale_name(MANIFEST[0])][0] = np.nan


def huge_scale(parts):
    parts[scale_name(MANIFEST[0])][0] = 1e30


def more_scales(parts):
    name = scale_name(MANIFEST[0])
    parts[name] = np.zeros(2, np.float32)


def whole_numbers(parts):
    parts["a"] = parts["a"].astype(np.float32)


def no_scale(parts):
    del parts[scale_name(MANIFEST[1])]


def another(parts):
    parts["c"] = np.zeros(1, np.int8)


@pytest.mark.parametrize(
    "damage", [nan_scale, huge_scale, more_scales, whole_numbers, no_scale, another]
)
def test_a_change_that_does_not_fit_is_refused_before_it_is_used(tmp_path, damage):
    write(tmp_path / "base", MANIFEST, tensors(1))
    parts = {}
    for spec in MANIFEST:
        parts |= encode(spec, tensors(2)[spec.name], Transfer.INT8)[0]
    damage(parts)
    save_file(parts, tmp_path / "change")
    with pytest.raises(PeerMistake) as caught:
        apply_change(tmp_path / "base", tmp_path / "change", Transfer.INT8, tmp_path / "made")
    assert caught.value.code is ErrorCode.TENSORS_REFUSED
    assert not (tmp_path / "made").exists()
    with pytest.raises(PeerMistake):
        check_file(tmp_path / "change", change_manifest(MANIFEST, Transfer.INT8))


@pytest.mark.parametrize("transfer", [Transfer.FP16, Transfer.INT8])
def test_a_change_to_a_part_of_a_network_brings_what_is_new_whole(tmp_path, transfer):
    first, second = MANIFEST[:2]
    unshared = TensorSpec(name="unshared", shape=(2,))
    network = (first, unshared, second)
    old = {first.name: tensors(1)[first.name], "gone": np.ones(3, np.float32)}
    write(tmp_path / "base", (first, TensorSpec(name="gone", shape=(3,))), old)
    parts, made = encode(first, tensors(2)[first.name], transfer)
    parts |= {second.name: tensors(2)[second.name]}
    write(tmp_path / "change", change_manifest((second, first), transfer, {second.name}), parts)
    arguments = (tmp_path / "base", tmp_path / "change", transfer, tmp_path / "made")
    apply_change(*arguments, network=network)
    # In the order of the site's network, whatever the order of the change.
    assert read_manifest(tmp_path / "made") == (first, second)
    found = load_file(tmp_path / "made")
    assert (found[first.name] == old[first.name] + made).all()
    assert (found[second.name] == tensors(2)[second.name]).all()
    # A change to what the site does not hold, and one of a tensor that its network lacks.
    write(tmp_path / "base", (second,), {second.name: tensors(1)[second.name]})
    with pytest.raises(PeerMistake, match="is not in the model before"):
        apply_change(*arguments, network=network)
    with pytest.raises(PeerMistake, match="is not a tensor of this network"):
        apply_change(*arguments, network=(second,))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_weights_are_for_this_user_only(tmp_path):
    path = write(tmp_path / "t.safetensors", MANIFEST, tensors(0))
    assert path.stat().st_mode & 0o777 == 0o600
