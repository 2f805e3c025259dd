"""Studies of two folds with real processes and real nnU-Net; a site is killed where the folds meet.

The images are made up and tiny: one or two rounds of one step in each fold.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.image_folders import ImageFolder
from helpers.sample_runs import kill, study_of, watch_to_the_models, zip_of
from safetensors.numpy import load_file

from app.cli import demo
from app.cli.demo import SampleStudy
from app.control.coordinator_client import study_status
from app.coordinator.exporting import export_model
from app.coordinator.service import resting_status
from app.coordinator.workspace import artefact_file
from app.domain.segmentation import ModelKind

pytestmark = [
    pytest.mark.nnunet,
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL"),
]

CASES = {"north": 6, "valley": 5}
STUDY = """\
name = "Two folds"
purpose = "p"
contact = "c"
method = "{method}"
transfer = "{transfer}"
fold = "0-1"
rounds = {rounds}
epochs_per_round = 1
iterations_per_epoch = 1
validation_iterations = 1
minimum_sites = 2
minimum_cases = 5
admission = "invitation"
progress_deadline_minutes = 30
channel_names = ["T1"]
[labels]
background = 0
anterior = 1
posterior = 2
"""
HELD_OUT = [3, 2]
"""Of north's six cases the first fold holds out two and the second one; of valley's five one each."""


async def closed(study: SampleStudy, holds) -> None:
    """Wait until something holds of the closed rounds."""
    while not holds((await study_status(study.coordinator)).closed_rounds):  # noqa: ASYNC110
        await asyncio.sleep(0.1)


async def run_study(study: SampleStudy, *, rounds: int = 1) -> dict[str, object]:
    """Run a study of so many rounds in each fold; kill a site after the first fold's last one."""
    held_out = [cases for cases in HELD_OUT for _ in range(rounds)]
    await demo.start(study)
    try:
        async with asyncio.timeout(400):
            await closed(study, lambda found: len(found) >= rounds)
        await kill(study.site("north"))
        await demo.start(study)  # starts what does not run
        async with asyncio.timeout(400):
            snapshots = await watch_to_the_models(study)
            # Every site scores each fold's last average on the cases that the fold held out.
            await closed(study, lambda found: [one.held_out_cases for one in found] == held_out)
        return snapshots
    finally:
        await demo.stop(study)


def study_in(
    tmp_path: Path, monkeypatch, *, method: str = "ffe", transfer: str = "fp32", rounds: int = 1
) -> SampleStudy:
    images = tmp_path / "images"
    for name, cases in CASES.items():
        ImageFolder(images / name, cases=cases, channel_names=("T1",), shape=(24, 24, 24))
    (images / "study.toml").write_text(
        STUDY.format(method=method, transfer=transfer, rounds=rounds)
    )
    study = study_of(images, tmp_path / "study", monkeypatch)
    assert set(study.names) == set(CASES)
    return study


@pytest.mark.timeout(900)
def test_two_folds_are_trained_one_after_the_other_into_one_model(tmp_path, monkeypatch):
    # Collected where there is no torch, too.
    from app.nnunet.segmentation import open_model

    study = study_in(tmp_path, monkeypatch)
    snapshots = asyncio.run(run_study(study))

    status = resting_status(study.coordinator)
    assert (status.state, status.rounds, status.folds) == ("finished", 2, 2)
    assert [closed.contributors for closed in status.closed_rounds] == [("north", "valley")] * 2
    firsts = [load_file(artefact_file(study.coordinator, n)) for n in ("initial", "initial-1")]
    assert any(not np.array_equal(firsts[0][name], firsts[1][name]) for name in firsts[0])
    averages = [load_file(artefact_file(study.coordinator, f"model-{n}")) for n in (1, 2)]
    for name in study.names:
        zipped = open_model(zip_of(snapshots[name], ModelKind.FINAL))
        assert len(zipped.weights) == 2
        for weights, average in zip(zipped.weights, averages, strict=True):
            for tensor, value in average.items():
                assert np.array_equal(weights[tensor].numpy(), value), tensor
        assert len(open_model(zip_of(snapshots[name], ModelKind.PERSONAL)).weights) == 2
        epochs = snapshots[name].training.epochs
        assert [(record.round, record.epoch) for record in epochs] == [(1, 1), (2, 2)]
        # Each fold's schedule begins anew.
        assert epochs[0].learning_rate == epochs[1].learning_rate == pytest.approx(0.01)
    out = tmp_path / "exported.zip"
    asyncio.run(export_model(study.coordinator, out, best=True))
    assert len(open_model(out).weights) == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_folds_of_sites_that_plan_for_themselves_send_rounded_changes(tmp_path, monkeypatch):
    """The second round of each fold begins from a change; a kill between folds costs neither."""
    from app.nnunet.segmentation import open_model

    study = study_in(tmp_path, monkeypatch, method="asymfedavg", transfer="int8", rounds=2)
    snapshots = asyncio.run(run_study(study, rounds=2))

    status = resting_status(study.coordinator)
    assert (status.state, status.rounds, status.folds) == ("finished", 4, 2)
    assert [closed.contributors for closed in status.closed_rounds] == [("north", "valley")] * 4
    models = {
        name: open_model(zip_of(snapshots[name], ModelKind.FINAL)).weights for name in study.names
    }
    for name in study.names:
        epochs = snapshots[name].training.epochs
        assert [(record.round, record.epoch) for record in epochs] == [(n, n) for n in range(1, 5)]
        # Each fold's schedule begins anew.
        rates = [record.learning_rate for record in epochs]
        assert rates[:2] == rates[2:]
        assert rates[0] > rates[1]
        # What a round sends is changes, of one byte for each weight.
        whole = sum(4 * tensor.numel() for tensor in distinct(models[name][0]))
        (update,) = (study.site(name) / "training").glob("update-4-*.safetensors")
        assert update.stat().st_size < 0.27 * whole + 20_000  # names and scales in its header
    # The images are alike, so both sites planned the same network and share all of it.
    for north, valley in zip(models["north"], models["valley"], strict=True):
        assert north.keys() == valley.keys()
        assert all(north[tensor].equal(valley[tensor]) for tensor in north)
    first, second = models["north"]
    assert any(not first[tensor].equal(second[tensor]) for tensor in first)


def distinct(weights):
    """Return every stored tensor once: nnU-Net names most of them several times."""
    return {tensor.data_ptr(): tensor for tensor in weights.values()}.values()
