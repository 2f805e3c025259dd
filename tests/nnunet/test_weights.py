import math
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from helpers import volumes
from torch import nn

from app.domain.errors import ErrorCode, PeerMistake, SetupProblem
from app.domain.rounds import TensorSpec
from app.domain.study import Transfer
from app.federation.transfer import change_manifest, decode
from app.nnunet.convert import read_plan
from app.nnunet.initial import build_network
from app.nnunet.weights import (
    all_finite,
    manifest,
    plain,
    read_checkpoint,
    read_into,
    slim_checkpoint,
    unique_tensors,
    write_changes,
    write_checkpoint,
    write_tensors,
)


class Tied(nn.Module):
    """Two names for one layer, a stored and an unstored buffer: what nnU-Net's networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.again = self.first
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("scratch", torch.zeros(1), persistent=False)


@pytest.fixture
def network():
    torch.manual_seed(1)
    return Tied()


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    plan = volumes.write_plan(tmp_path_factory.mktemp("plan") / "plan.json")
    torch.manual_seed(2)
    return build_network(read_plan(plan), "3d_fullres")


def refusal(network: nn.Module, path) -> str:
    before = {name: tensor.clone() for name, tensor in unique_tensors(network).items()}
    with pytest.raises(PeerMistake) as caught:
        read_into(network, path)
    assert caught.value.code is ErrorCode.TENSORS_REFUSED
    after = unique_tensors(network)
    assert all(torch.equal(before[name], after[name]) for name in before)
    return str(caught.value)


def test_each_tensor_stands_once(network):
    assert manifest(network) == (
        TensorSpec(name="first.weight", shape=(3, 2)),
        TensorSpec(name="first.bias", shape=(3,)),
        TensorSpec(name="norm.weight", shape=(3,)),
        TensorSpec(name="norm.bias", shape=(3,)),
        TensorSpec(name="norm.running_mean", shape=(3,)),
        TensorSpec(name="norm.running_var", shape=(3,)),
        TensorSpec(name="norm.num_batches_tracked", shape=(), dtype="I64"),
    )


def test_nnunets_aliases_are_sent_once(unet):
    state = unet.state_dict()
    unique = unique_tensors(unet)
    assert {tensor.data_ptr() for tensor in state.values()} == {
        tensor.data_ptr() for tensor in unique.values()
    }
    assert len(unique) == len({tensor.data_ptr() for tensor in unique.values()})
    assert len(state) > 2.5 * len(unique)


def test_wrappers_leave_no_trace_in_names(network):
    class Wrapper(nn.Module):
        def __init__(self, attribute: str, inner: nn.Module) -> None:
            super().__init__()
            setattr(self, attribute, inner)

    wrapped = Wrapper("module", Wrapper("_orig_mod", network))
    assert plain(wrapped) is network
    assert manifest(wrapped) == manifest(network)


def test_weights_survive_the_file_in_every_alias(unet, tmp_path):
    path = tmp_path / "weights.safetensors"
    blob = write_tensors(unet, path)
    assert blob.size == path.stat().st_size
    expected = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    pointers = [parameter.data_ptr() for parameter in unet.parameters()]
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.zero_()
    read_into(unet, path)
    assert [parameter.data_ptr() for parameter in unet.parameters()] == pointers
    state = unet.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_equal_weights_are_equal_bytes(unet, tmp_path):
    one = write_tensors(unet, tmp_path / "one")
    two = write_tensors(unet, tmp_path / "two")
    assert one == two
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def tensors_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in unique_tensors(network).items()}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("norm.bias"), "tensor norm.bias is missing"),
        (
            lambda t: t.update({"extra": torch.zeros(1)}),
            "tensor 'extra' does not belong to this network",
        ),
        (
            lambda t: t.update({"first.bias": torch.zeros(4)}),
            "tensor first.bias is F32[4], not F32[3]",
        ),
        (
            lambda t: t.update({"first.bias": torch.zeros(3, dtype=torch.float64)}),
            "tensor first.bias is F64[3], not F32[3]",
        ),
        (
            lambda t: t["first.bias"].fill_(math.nan),
            "tensor first.bias holds values that are not finite",
        ),
        (
            lambda t: t["norm.running_var"].fill_(math.inf),
            "tensor norm.running_var holds values that are not finite",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_whole(network, tmp_path, change, sentence):
    tensors = tensors_of(network)
    change(tensors)
    path = tmp_path / "hostile"
    safetensors.torch.save_file(tensors, path)
    assert refusal(network, path) == sentence


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_a_damaged_file_is_refused(network, tmp_path, cut):
    path = tmp_path / "damaged"
    write_tensors(network, path)
    path.write_bytes(path.read_bytes()[:cut])
    assert refusal(network, path) == "the file is damaged or not a safetensors file"


def test_a_pickle_is_no_safetensors_file(network, tmp_path):
    path = tmp_path / "model.pth"
    torch.save(network.state_dict(), path)
    assert refusal(network, path) == "the file is damaged or not a safetensors file"


def test_a_file_that_is_not_there(network, tmp_path):
    with pytest.raises(SetupProblem, match="the file of the shared model is not there"):
        read_into(network, tmp_path / "nothing")


def test_a_weight_that_is_not_finite_is_noticed(network):
    assert all_finite(network)
    with torch.no_grad():
        network.first.bias[1] = math.inf
    assert not all_finite(network)


def test_a_full_disk_keeps_the_old_file(network, tmp_path, monkeypatch):
    path = tmp_path / "weights"
    write_tensors(network, path)
    before = path.read_bytes()

    def refuse(_tensors, target):
        target.write_bytes(b"half")
        raise safetensors.SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    monkeypatch.setattr(safetensors.torch, "save_file", refuse)
    with pytest.raises(SetupProblem, match=r"the disk that holds .* is full") as caught:
        write_tensors(network, path)
    assert caught.value.code is ErrorCode.DISK_FULL
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("buffering", [0, -1])
def test_a_disk_that_fills_while_a_checkpoint_is_written(network, tmp_path, monkeypatch, buffering):
    path = tmp_path / "checkpoint"
    write_checkpoint({"epoch": 1}, path)
    real = os.fdopen

    def full(handle, mode):
        real(handle, mode).close()
        return Path("/dev/full").open(mode, buffering=buffering)

    monkeypatch.setattr(os, "fdopen", full)
    # torch.save hides the system's error behind a RuntimeError when a write fails at once.
    with pytest.raises(SetupProblem) as caught:
        write_checkpoint({"weights": torch.zeros(100_000)}, path)
    monkeypatch.undo()
    assert caught.value.code is ErrorCode.DISK_FULL
    assert read_checkpoint(path) == {"epoch": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]


def test_a_slim_checkpoint_is_plain_and_complete(unet, tmp_path):
    content = slim_checkpoint(
        unet,
        plans={"plans_name": "p"},
        dataset={"labels": {"background": 0}},
        configuration="3d_fullres",
        fold="all",
        mirroring_axes=(0, 1, 2),
    )
    path = tmp_path / "checkpoint_final.pth"
    write_checkpoint(content, path)
    back = torch.load(path, weights_only=True)
    assert back["trainer_name"] == "nnUNetTrainer"
    assert back["init_args"]["configuration"] == "3d_fullres"
    assert back["inference_allowed_mirroring_axes"] == (0, 1, 2)
    assert back["network_weights"].keys() == unet.state_dict().keys()
    # torch.save stores shared memory once: aliases cost no bytes.
    size = sum(tensor.nbytes for tensor in unique_tensors(unet).values())
    assert path.stat().st_size < 1.3 * size + 100_000


class Malice:
    def __reduce__(self):
        return print, ("executed",)


def test_a_checkpoint_never_runs_code(tmp_path, capsys):
    path = tmp_path / "checkpoint"
    torch.save({"weights": Malice()}, path)
    with pytest.raises(SetupProblem, match="the checkpoint is damaged"):
        read_checkpoint(path)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"rubbish", [1, 2]])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "checkpoint"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(SetupProblem, match="the checkpoint is damaged"):
        read_checkpoint(path)
    with pytest.raises(SetupProblem, match="the checkpoint is not there"):
        read_checkpoint(tmp_path / "nothing")


@pytest.mark.parametrize("transfer", [Transfer.FP16, Transfer.INT8])
def test_a_part_of_a_network_leaves_as_changes_and_what_nobody_knows_whole(
    unet, tmp_path, transfer
):
    """The sum of what was sent is what was meant, tensor by tensor, whatever is shared when."""
    names = [spec.name for spec in manifest(unet)]
    shared, late = names[:6], names[5]
    base, meant = tmp_path / "base", {}
    write_tensors(unet, base)
    sums = {name: torch.zeros_like(unique_tensors(unet)[name]) for name in shared}
    before = None
    for number, whole in enumerate(([late], [], ["none of this network"])):
        begin = {name: tensor.clone() for name, tensor in unique_tensors(unet).items()}
        with torch.no_grad():
            for tensor in unique_tensors(unet).values():
                tensor.add_(1e-3 * torch.randn_like(tensor))
        update, rest = tmp_path / f"update-{number}", tmp_path / f"rest-{number}"
        told = write_changes(
            unet, update, base=base, transfer=transfer, remainder_before=before, remainder=rest,
            sent=shared, whole=whole,
        )  # fmt: skip
        assert told.size == update.stat().st_size
        found = safetensors.torch.load_file(update)
        specs = [spec for spec in manifest(unet) if spec.name in shared]
        assert set(found) == {s.name for s in change_manifest(specs, transfer, whole)}
        left = safetensors.torch.load_file(rest)
        assert set(left) == set(shared) - set(whole)
        for spec in specs:
            change = unique_tensors(unet)[spec.name] - begin[spec.name]
            if spec.name in whole:
                assert torch.equal(found[spec.name], unique_tensors(unet)[spec.name])
                continue
            made = decode(spec, lambda name, f=found: f[name].numpy(), transfer)
            sums[spec.name] += torch.from_numpy(made)
            meant[spec.name] = meant.get(spec.name, 0) + change
            owed = left[spec.name]
            assert torch.allclose(sums[spec.name] + owed, meant[spec.name], atol=1e-7)
        before = rest
        write_tensors(unet, base)
    assert set(meant) == set(shared)
