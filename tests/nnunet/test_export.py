"""The model zip: its layout, its bytes, and a checkpoint of plain types only."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from helpers import volumes

from app.domain.errors import ErrorCode, PeerMistake, SetupProblem
from app.domain.ids import digest_of
from app.nnunet.convert import read_plan
from app.nnunet.export import dataset_name, export_model, mirroring_axes
from app.nnunet.initial import build_network, draw

CONFIGURATION = "3d_fullres"
ROOT = "Dataset512_Balls/nnUNetTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    plan = volumes.write_plan(folder / "plan.json")
    weights = folder / "model.safetensors"
    draw(plan, configuration=CONFIGURATION, seed=3, output=weights)
    return SimpleNamespace(folder=folder, plan=plan, weights=weights)


def _export(made, output, **changes):
    options = {
        "plan": made.plan,
        "folds": {"0": made.weights},
        "configuration": CONFIGURATION,
        "model_name": "Dataset512_Balls",
        "output": output,
    }
    return export_model(**(options | changes))


def test_the_zip_has_the_layout_that_nnunet_installs(made, tmp_path):
    blob = _export(made, tmp_path / "model.zip")
    data = (tmp_path / "model.zip").read_bytes()
    assert (blob.sha256, blob.size) == (hashlib.sha256(data).hexdigest(), len(data))
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            f"{ROOT}/README.txt",
            f"{ROOT}/dataset.json",
            f"{ROOT}/dataset_fingerprint.json",
            f"{ROOT}/fold_0/checkpoint_final.pth",
            f"{ROOT}/plans.json",
            f"{ROOT}/study_plan.json",
        ]
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        content = {name: archive.read(name) for name in archive.namelist()}
    document = read_plan(made.plan)
    assert json.loads(content[f"{ROOT}/plans.json"]) == document.plans_for("Dataset512_Balls")
    assert json.loads(content[f"{ROOT}/dataset.json"]) == document.dataset
    assert json.loads(content[f"{ROOT}/study_plan.json"])["sha256"] == digest_of(
        made.plan.read_bytes()
    )
    readme = content[f"{ROOT}/README.txt"].decode()
    assert "For research use only" in readme
    assert "-d Dataset512_Balls -p nnUNetPlans -c 3d_fullres -f 0" in readme
    assert [path.name for path in tmp_path.iterdir()] == ["model.zip"]


def test_equal_models_give_equal_bytes(made, tmp_path):
    assert _export(made, tmp_path / "one.zip") == _export(made, tmp_path / "deep" / "two.zip")


def _checkpoint(path, fold="0"):
    with zipfile.ZipFile(path) as archive:
        data = archive.read(f"{ROOT}/fold_{fold}/checkpoint_final.pth")
    return torch.load(io.BytesIO(data), weights_only=True), len(data)


def test_the_checkpoint_is_slim_plain_and_tied(made, tmp_path):
    _export(made, tmp_path / "model.zip")
    checkpoint, size = _checkpoint(tmp_path / "model.zip")
    network = build_network(read_plan(made.plan), CONFIGURATION)
    assert list(checkpoint["network_weights"]) == list(network.state_dict())
    stored = safetensors.torch.load_file(made.weights)
    for name, tensor in stored.items():
        assert torch.equal(checkpoint["network_weights"][name], tensor)
    network.load_state_dict(checkpoint["network_weights"])
    for name, tensor in network.named_parameters():
        assert torch.equal(tensor, stored[name])
    # Aliases share their storage: the file is hardly larger than the unique tensors.
    unique = sum(tensor.numel() * 4 for tensor in stored.values())
    assert unique <= size < unique * 1.2 + 60_000
    assert checkpoint["trainer_name"] == "nnUNetTrainer"
    assert checkpoint["init_args"]["configuration"] == CONFIGURATION
    assert checkpoint["init_args"]["fold"] == 0
    assert checkpoint["inference_allowed_mirroring_axes"] == (0, 1, 2)


def test_fold_all_goes_into_its_own_folder(made, tmp_path):
    _export(made, tmp_path / "model.zip", folds={"all": made.weights})
    assert _checkpoint(tmp_path / "model.zip", "all")[0]["init_args"]["fold"] == "all"


def test_several_folds_are_one_model(made, tmp_path):
    folds = {"0": made.weights, "3": tmp_path / "other.safetensors"}
    draw(made.plan, configuration=CONFIGURATION, seed=4, output=folds["3"])
    _export(made, tmp_path / "model.zip", folds=folds)
    for fold, weights in folds.items():
        checkpoint, _ = _checkpoint(tmp_path / "model.zip", fold)
        assert checkpoint["init_args"]["fold"] == int(fold)
        for name, tensor in safetensors.torch.load_file(weights).items():
            assert torch.equal(checkpoint["network_weights"][name], tensor)
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert "-f 0 3" in archive.read(f"{ROOT}/README.txt").decode()


@pytest.mark.parametrize("patch", [(64, 40), (16, 32, 32), (8, 64, 64)])
def test_mirroring_is_the_stock_trainers(patch):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = volumes.plan_content(patch=patch)["plans"]
    trainer = SimpleNamespace(
        configuration_manager=PlansManager(plans).get_configuration(CONFIGURATION),
        print_to_log_file=lambda *_: None,
    )
    nnUNetTrainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size(trainer)
    assert mirroring_axes(plans, CONFIGURATION) == trainer.inference_allowed_mirroring_axes


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Dataset512_Balls", "Dataset512_Balls"),
        ("FederatedModel", "Dataset755_FederatedModel"),
        ("../../Leber: Säue & Co.", "Dataset755_Leber_S_ue_Co"),
        ("???", "Dataset755_Model"),
        ("Dataset12_x/../y", "Dataset755_Dataset12_x_y"),
    ],
)
def test_the_dataset_name_is_safe(given, expected):
    assert dataset_name(given, f"{255:064x}") == expected


def test_weights_that_do_not_fit_leave_nothing_behind(made, tmp_path):
    tensors = safetensors.torch.load_file(made.weights)
    tensors[next(iter(tensors))] = torch.zeros(5)
    safetensors.torch.save_file(tensors, tmp_path / "wrong.safetensors")
    with pytest.raises(PeerMistake) as caught:
        _export(made, tmp_path / "out" / "model.zip", folds={"0": tmp_path / "wrong.safetensors"})
    assert caught.value.code is ErrorCode.TENSORS_REFUSED
    with pytest.raises(SetupProblem):
        _export(made, tmp_path / "out" / "model.zip", folds={"0": tmp_path / "absent.safetensors"})
    with pytest.raises(PeerMistake) as caught:
        _export(made, tmp_path / "out" / "model.zip", configuration="2d")
    assert caught.value.code is ErrorCode.PLANS_REFUSED
    assert not (tmp_path / "out").exists()


def test_a_failed_write_keeps_the_older_zip(made, tmp_path, monkeypatch):
    output = tmp_path / "model.zip"
    output.write_bytes(b"older")

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(SetupProblem) as caught:
        _export(made, output)
    assert caught.value.code is ErrorCode.DISK_FULL
    assert output.read_bytes() == b"older"
    assert [path.name for path in tmp_path.iterdir()] == ["model.zip"]
