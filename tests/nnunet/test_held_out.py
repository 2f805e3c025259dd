"""The held-out score against nnU-Net's own validation of the same network."""

import json
import multiprocessing
import os
import shutil
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import volumes
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from app.domain.errors import ErrorCode, JobFailed
from app.nnunet.convert import read_plan
from app.nnunet.environment import enter
from app.nnunet.held_out import _dice_of_case, _mean_over_cases, score_held_out
from app.nnunet.preprocessing import preprocess
from app.nnunet.session import random_states, seed_everything

CONFIGURATION = "3d_fullres"


@pytest.fixture(scope="module", autouse=True)
def _own_environment():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("compile", "f"), ("n_proc_DA", "0"), ("def_n_proc", "1")):
            patch.setenv(f"nnUNet_{name}", value)
        before = dict(os.environ)
        yield
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def trainer(tmp_path_factory, _own_environment):
    root = tmp_path_factory.mktemp("held-out")
    plan = volumes.write_plan(root / "plan.json")
    data = volumes.dataset_folder(volumes.write_dataset(root / "data"))
    document = read_plan(plan)
    preprocess(document, data, workspace=root / "workspace", configuration=CONFIGURATION, fold="0")
    folders = enter(root / "workspace")
    # Where nnU-Net's own validation looks for references; its preprocessing copies them there.
    shutil.copytree(
        Path(data.training[0].label).parent, folders.preprocessed_dataset / "gt_segmentations"
    )
    seed_everything(5)
    trainer = nnUNetTrainer(
        plans=document.plans_for() | {"continue_training": False},
        configuration=CONFIGURATION,
        fold=0,
        dataset_json=json.loads((folders.preprocessed_dataset / "dataset.json").read_text()),
        device=torch.device("cpu"),
    )
    trainer.num_iterations_per_epoch = 6
    trainer.disable_checkpointing = True
    trainer.initialize()
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    for _ in range(6):  # so that labels are predicted at all
        trainer.train_step(next(trainer.dataloader_train))
    return trainer


def test_it_equals_nnu_nets_own_validation(trainer, monkeypatch):
    """The images of this plan are neither resampled nor cropped, so grids are the same.

    nnU-Net exports and compares in pools of new processes; threads do the same here without the
    half minute in which those import torch.
    """
    ours = score_held_out(trainer, mirroring=True)
    threads = SimpleNamespace(Pool=ThreadPool)
    monkeypatch.setattr(multiprocessing, "get_context", lambda *_: threads)
    trainer.perform_actual_validation()
    summary = Path(trainer.output_folder) / "validation" / "summary.json"
    stock = json.loads(summary.read_text(encoding="utf-8"))["mean"]
    assert len(stock) == len(ours.dice) > 0
    for dice, figures in zip(ours.dice, stock.values(), strict=True):
        if dice is None:
            assert np.isnan(figures["Dice"])
        else:
            assert dice == pytest.approx(figures["Dice"], abs=1e-6)
    assert any(dice for dice in ours.dice), "a network that predicts nothing proves nothing"


def test_it_draws_no_random_number_and_leaves_the_network_training(trainer):
    before = random_states()
    weights = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    score_held_out(trainer)
    after = random_states()
    assert before["python"] == after["python"]
    assert torch.equal(before["torch"], after["torch"])
    assert torch.equal(before["numpy"][1], after["numpy"][1])
    assert trainer.network.training
    assert trainer.network.decoder.deep_supervision
    assert all(torch.equal(weights[n], v) for n, v in trainer.network.state_dict().items())


def test_it_stops_between_two_cases(trainer):
    with pytest.raises(JobFailed) as caught:
        score_held_out(trainer, stopped=lambda: True)
    assert caught.value.code is ErrorCode.JOB_STOPPED
    assert trainer.network.training


class Labels:
    """nnU-Net's label manager as far as it is used, with regions or with an ignore label."""

    def __init__(self, *, regions=(), ignore=None):
        self.has_regions, self.foreground_regions = bool(regions), list(regions)
        self.foreground_labels = [1, 2]
        self.has_ignore_label, self.ignore_label = ignore is not None, ignore

    def apply_inference_nonlin(self, logits):
        return logits

    def convert_probabilities_to_segmentation(self, segmentation):
        return segmentation


def test_ignored_voxels_do_not_count_and_outside_is_background():
    predicted = torch.tensor([[[1, 1, 2, 0]]])
    truth = np.array([[[[1, 3, 2, -1]]]])
    assert _dice_of_case(Labels(ignore=3), predicted, truth) == [1.0, 1.0]
    assert _dice_of_case(Labels(), predicted, truth) == [2 / 3, 1.0]


def test_regions_are_compared_as_unions_of_labels():
    predicted = torch.tensor([[[1, 2, 0, 0]]])
    truth = np.array([[[[2, 2, 2, 0]]]])
    regions = Labels(regions=[(1, 2), (2,)])
    assert _dice_of_case(regions, predicted, truth) == [4 / 5, 2 / 4]


def test_a_label_that_a_case_lacks_does_not_count_for_it():
    nan = float("nan")
    assert _mean_over_cases([[0.5, nan, nan], [0.7, 0.2, nan]]) == (0.6, 0.2, None)
