"""What every trainer here is made and ended by."""

import copy
from types import SimpleNamespace

import pytest
import torch
from helpers import volumes
from helpers.own_environment import own_environment

from app.nnunet.convert import read_plan
from app.nnunet.environment import enter
from app.nnunet.stock_trainer import end_augmenters, make_trainer


@pytest.fixture(autouse=True)
def _own_environment():
    with own_environment():
        yield


@pytest.mark.parametrize(("fold", "taken"), [("0", 0), ("all", "all")])
def test_the_plans_stay_as_they_were_and_the_class_is_nnu_nets_own(tmp_path, fold, taken):
    plan = read_plan(volumes.write_plan(tmp_path / "plan.json"))
    enter(tmp_path / "workspace")
    plans = plan.plans_for()
    before = copy.deepcopy(plans)
    trainer = make_trainer(
        plans,
        configuration="3d_fullres",
        fold=fold,
        dataset=plan.dataset,
        device=torch.device("cpu"),
    )
    # nnU-Net's constructor pops a key of the dict that it is given.
    assert plans == before
    assert type(trainer).__name__ == "nnUNetTrainer"
    assert trainer.fold == taken


def test_only_loaders_with_processes_are_ended():
    ended = []
    with_processes = SimpleNamespace(_finish=lambda: ended.append("train"))
    trainer = SimpleNamespace(dataloader_train=with_processes, dataloader_val=object())
    end_augmenters(trainer)
    assert ended == ["train"]
