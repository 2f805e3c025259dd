import pytest
import torch
from helpers import volumes
from helpers.own_environment import own_environment
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from app.domain.errors import ErrorCode, PeerMistake
from app.nnunet.convert import read_plan
from app.nnunet.environment import enter
from app.nnunet.initial import build_network, draw
from app.nnunet.weights import manifest, unique_tensors


@pytest.fixture(scope="module", autouse=True)
def _own_environment():
    with own_environment():
        yield


def stock_weights(plan_path, workspace, seed):
    """Return the weights with which a stock trainer begins in a process seeded with `seed`."""
    enter(workspace)
    plan = read_plan(plan_path)
    (workspace / "nnUNet_preprocessed/Dataset001_Study/nnUNetPlans_3d_fullres").mkdir()
    (
        workspace / "nnUNet_preprocessed/Dataset001_Study/nnUNetPlans_3d_fullres/case.b2nd"
    ).touch()  # the trainer only looks at the ending
    torch.manual_seed(seed)
    trainer = nnUNetTrainer(
        plans=plan.plans_for() | {"continue_training": False},
        configuration="3d_fullres",
        fold=0,
        dataset_json=plan.dataset,
        device=torch.device("cpu"),
    )
    trainer.initialize()
    return unique_tensors(trainer.network)


def test_the_first_model_is_that_of_a_stock_trainer(tmp_path, monkeypatch):
    from safetensors.torch import load_file

    monkeypatch.setenv("nnUNet_compile", "f")
    plan = volumes.write_plan(tmp_path / "plan.json")
    blob, tensors = draw(plan, configuration="3d_fullres", seed=99, output=tmp_path / "model")
    assert blob.size == (tmp_path / "model").stat().st_size
    drawn = load_file(tmp_path / "model")
    expected = stock_weights(plan, tmp_path / "workspace", 99)
    assert [spec.name for spec in tensors] == list(expected)
    assert all(torch.equal(drawn[name], expected[name]) for name in expected)


def test_the_seed_decides(tmp_path):
    plan = volumes.write_plan(tmp_path / "plan.json")
    first, _ = draw(plan, configuration="3d_fullres", seed=1, output=tmp_path / "a")
    again, _ = draw(plan, configuration="3d_fullres", seed=1, output=tmp_path / "b")
    other, _ = draw(plan, configuration="3d_fullres", seed=2, output=tmp_path / "c")
    assert first == again
    assert first.sha256 != other.sha256


def test_the_manifest_does_not_depend_on_the_draw(tmp_path):
    plan = read_plan(volumes.write_plan(tmp_path / "plan.json"))
    assert manifest(build_network(plan, "3d_fullres")) == manifest(
        build_network(plan, "3d_fullres", deep_supervision=False)
    )


@pytest.mark.parametrize("spoil", ["configuration", "architecture", "class"])
def test_plans_without_a_network_are_refused(tmp_path, spoil):
    content = volumes.plan_content()
    configurations = content["plans"]["configurations"]
    match spoil:
        case "configuration":
            configurations["2d"] = configurations.pop("3d_fullres")
        case "architecture":
            del configurations["3d_fullres"]["architecture"]["arch_kwargs"]["n_stages"]
        case "class":
            configurations["3d_fullres"]["architecture"]["network_class_name"] = "os.system"
    plan = read_plan(volumes.write_plan(tmp_path / "plan.json", content))
    with pytest.raises(PeerMistake, match="do not describe a network for 3d_fullres") as caught:
        build_network(plan, "3d_fullres")
    assert caught.value.code is ErrorCode.PLANS_REFUSED
