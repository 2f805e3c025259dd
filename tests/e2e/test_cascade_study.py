"""A cascade as one study with real processes, nnU-Net's own planner and a kill between its passes.

nnU-Net plans a coarse first pass only for images that are much larger than a patch; with the smallest
memory target these are 64 voxels wide. Ten networks are trained for one step each, so this is the long
form; `tests/nnunet/test_first_pass.py` compares the same steps with stock nnU-Net in seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.image_folders import ImageFolder
from helpers.sample_runs import MODELS, kill, study_of, watch_to_the_models, zip_of
from safetensors.numpy import load_file

from app.cli import demo
from app.cli.demo import SampleStudy
from app.control.coordinator_client import study_status
from app.coordinator.exporting import export_model
from app.coordinator.service import resting_status
from app.coordinator.workspace import artefact_file
from app.domain.errors import DataProblem
from app.domain.folds import CASCADE, COARSE
from app.domain.segmentation import ModelKind
from app.jobs.workspace import Workspace
from app.site.home import SiteHome

pytestmark = [
    pytest.mark.nnunet,
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL"),
]

CASES = {"north": 3, "valley": 2}
STUDY = """\
name = "Cascade"
purpose = "p"
contact = "c"
method = "{method}"
configuration = "3d_cascade_fullres"
gpu_memory_target_gb = 0.1
fold = "0-4"
rounds = 1
epochs_per_round = 1
iterations_per_epoch = 1
validation_iterations = 1
score_every = 0
minimum_sites = 2
minimum_cases = 2
admission = "invitation"
progress_deadline_minutes = 60
channel_names = ["T1"]
[labels]
background = 0
anterior = 1
posterior = 2
"""


def segmented_folder(study: SampleStudy, name: str) -> Path:
    results = Workspace(root=SiteHome(root=study.site(name)).workspace).results_dataset
    return results / f"nnUNetTrainer__nnUNetPlans__{COARSE}" / "predicted_next_stage" / CASCADE


def segmented(study: SampleStudy, name: str) -> dict[str, int]:
    """Return the cases that are segmented for the second pass, each with its file's inode."""
    folder = segmented_folder(study, name)
    try:
        done = json.loads(folder.with_name(f"{CASCADE}.done.json").read_bytes())
    except FileNotFoundError:
        return {}
    return {case: (folder / f"{case}.b2nd").stat().st_ino for case in done}


async def run_study(study: SampleStudy) -> tuple[dict[str, object], dict[str, int]]:
    await demo.start(study)
    try:
        async with asyncio.timeout(1500):
            while not segmented(study, "north"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        killed_after = segmented(study, "north")
        await kill(study.site("north"), patience_s=60)
        assert len(killed_after) < CASES["north"]
        status = await study_status(study.coordinator)
        assert len(status.closed_rounds) == 5
        await demo.start(study)  # starts what does not run
        async with asyncio.timeout(1500):
            snapshots = await watch_to_the_models(study)
        return snapshots, killed_after
    finally:
        await demo.stop(study)


def assert_holds(weights, averages) -> None:
    assert len(weights) == len(averages)
    for of_fold, average in zip(weights, averages, strict=True):
        for tensor, value in average.items():
            assert np.array_equal(of_fold[tensor].numpy(), value), tensor


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("method", ["ffe", "asymfedavg"])
def test_both_passes_are_trained_into_one_model(tmp_path, monkeypatch, method):
    # Collected where there is no torch, too.
    from app.nnunet.segmentation import open_model

    images = tmp_path / "images"
    for name, cases in CASES.items():
        folder = ImageFolder(images / name, cases=cases, channel_names=("T1",), shape=(64,) * 3)
        assert folder.cases == cases
    (images / "study.toml").write_text(STUDY.format(method=method))
    study = study_of(images, tmp_path / "study", monkeypatch)
    snapshots, killed_after = asyncio.run(run_study(study))

    status = resting_status(study.coordinator)
    assert (status.state, status.rounds, status.folds, status.stages) == ("finished", 10, 5, 2)
    assert [one.contributors for one in status.closed_rounds] == [("north", "valley")] * 10
    for name, cases in CASES.items():
        assert len(segmented(study, name)) == cases
    # What was done before the kill was not done again.
    after = segmented(study, "north")
    assert {case: after[case] for case in killed_after} == killed_after
    averages = [load_file(artefact_file(study.coordinator, f"model-{n}")) for n in range(1, 11)]
    for name in study.names:
        for kind in MODELS:
            zipped = open_model(zip_of(snapshots[name], kind))
            assert zipped.configuration == CASCADE
            assert len(zipped.weights) == len(zipped.first_pass.weights) == 5
            if method == "ffe":
                assert_holds(zipped.first_pass.weights, averages[:5])
            if method == "ffe" and kind is ModelKind.FINAL:
                assert_holds(zipped.weights, averages[5:])
        stem = "encoder.stages.0.0.convs.0.conv.weight"
        assert zipped.first_pass.weights[0][stem].shape[1] == 1
        assert zipped.weights[0][stem].shape[1] == 3
        epochs = snapshots[name].training.epochs
        assert [(one.round, one.epoch) for one in epochs] == [(n, n) for n in range(1, 11)]
        # Every network's schedule begins anew.
        assert [one.learning_rate for one in epochs] == pytest.approx([0.01] * 10)
    out = tmp_path / "exported.zip"
    if method == "ffe":
        asyncio.run(export_model(study.coordinator, out))
        assert_holds(open_model(out).first_pass.weights, averages[:5])
    else:
        with pytest.raises(DataProblem, match="every site has a network of its own"):
            asyncio.run(export_model(study.coordinator, out))
