"""Asymmetric averaging with real processes and real nnU-Net: two sites, two depths, two spacings.

The images are made up and tiny. The coordinator is killed (SIGKILL) after the first round.
"""

from __future__ import annotations

import asyncio
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.image_folders import write_image
from helpers.sample_runs import MODELS, kill, study_of, watch_to_the_models
from safetensors.numpy import load_file

from app.cli import demo
from app.cli.demo import SampleStudy
from app.control.coordinator_client import study_status
from app.control.messages import Snapshot, TrafficView
from app.coordinator.service import resting_status
from app.domain.ids import SiteName
from app.domain.study import Transfer
from app.federation import shared_network
from app.federation.alignment import align
from app.federation.network import Role, manifest
from app.federation.transfer import change_bytes

pytestmark = [
    pytest.mark.nnunet,
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL"),
]

SITES = {"north": ((1.0, 1.0, 1.0), (24, 24, 24)), "valley": ((1.5, 1.0, 1.0), (24, 40, 40))}
CASES = 6
ROUNDS = 3
"""The first base is fetched, the second made of it by a change, the last average fetched whole."""
STUDY = """\
name = "Two depths"
purpose = "p"
contact = "c"
method = "asymfedavg"
transfer = "{transfer}"
rounds = {rounds}
epochs_per_round = 1
iterations_per_epoch = 1
validation_iterations = 1
minimum_sites = 2
minimum_cases = 5
admission = "invitation"
progress_deadline_minutes = 30
channel_names = ["MRI"]
[labels]
background = 0
anterior = 1
posterior = 2
"""


def make_images(folder: Path, transfer: Transfer) -> None:
    random = np.random.default_rng(7)
    for name, (spacing, shape) in SITES.items():
        z, y, x = (size // 3 for size in shape)
        label = np.zeros(shape, np.uint8)
        label[z : 2 * z, y : 2 * y, x : 2 * x] = 1
        label[z : 2 * z, y : 2 * y, 2 * x : 2 * x + x // 2] = 2
        for number in range(CASES):
            image = (100 + 50 * label + random.normal(0, 10, shape)).astype(np.float32)
            for kind, array, ending in (("images", image, "_0000"), ("labels", label, "")):
                path = folder / name / f"{kind}Tr" / f"case_{number:02d}{ending}.nii.gz"
                write_image(path, array, spacing_mm=spacing)
        described = {
            "channel_names": {"0": "MRI"},
            "labels": {"background": 0, "anterior": 1, "posterior": 2},
            "numTraining": CASES,
            "file_ending": ".nii.gz",
        }
        (folder / name / "dataset.json").write_text(json.dumps(described))
    (folder / "study.toml").write_text(STUDY.format(transfer=transfer.value, rounds=ROUNDS))


def study_traffic(snapshot: Snapshot) -> TrafficView:
    assert snapshot.federation.study is not None
    assert snapshot.federation.study.traffic is not None
    return snapshot.federation.study.traffic


async def run_study(study: SampleStudy) -> dict[str, object]:
    await demo.start(study)
    try:
        async with asyncio.timeout(900):
            while not (await study_status(study.coordinator)).closed_rounds:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        await kill(study.coordinator, patience_s=10)
        await demo.start_coordinator(study)
        async with asyncio.timeout(900):
            return await watch_to_the_models(study)
    finally:
        await demo.stop(study)


@pytest.mark.timeout(2400)
@pytest.mark.parametrize(
    "transfer", [Transfer.INT8, pytest.param(Transfer.FP32, marks=pytest.mark.slow)]
)
def test_two_sites_of_unlike_depth_and_spacing_share_what_they_have_in_common(
    tmp_path, monkeypatch, transfer
):
    images = tmp_path / "images"
    make_images(images, transfer)
    study = study_of(images, tmp_path / "study", monkeypatch)
    snapshots = asyncio.run(run_study(study))

    status = resting_status(study.coordinator)
    assert status.state == "finished"
    assert [closed.contributors for closed in status.closed_rounds] == [
        ("north", "valley")
    ] * ROUNDS
    # Each site planned for itself: other spacing, other depth.
    networks, models, updates = {}, {}, {}
    for name in study.names:
        site, home = SiteName(name), study.site(name)
        statement = (home / "fingerprint" / "outgoing.json").read_bytes()
        networks[site] = shared_network.decode(statement).network
        training = home / "training"
        models[site] = load_file(next(training.glob("model-*.safetensors")))
        own = "update" if transfer is Transfer.FP32 else "own"
        updates[site] = load_file(next(training.glob(f"{own}-*.safetensors")))
        assert set(models[site]) == {spec.name for spec in manifest(networks[site])}
    assert networks["north"].stages < networks["valley"].stages
    plans = {name: snapshots[name].federation.plan for name in study.names}
    assert plans["north"].spacing_mm != plans["valley"].spacing_mm
    # The same average at both sites where layers are alike, and nothing else in common.
    groups = align(networks, minimum_sites=2)
    assert {Role.STEM, Role.ENCODER, Role.DECODER, Role.HEAD} <= {group.role for group in groups}
    shared = {site: set() for site in networks}
    for group in groups:
        values = []
        for site, tensor in group.members:
            shared[site].add(tensor)
            values.append(models[site][tensor])
        np.testing.assert_array_equal(values[0], values[1], err_msg=group.key)
    for site, network in networks.items():
        specs = [spec for spec in manifest(network) if spec.name in shared[site]]
        told = study_traffic(snapshots[site])
        assert told.round_up == change_bytes(specs, transfer)
        (update,) = study.site(site).glob("training/update-*.safetensors")
        if transfer is not Transfer.FP32:
            # What left is the changes of the shared part, rounded, and no byte more.
            assert update.stat().st_size <= told.round_up + 20_000  # names in its header
            assert told.round_up < 0.26 * change_bytes(specs, Transfer.FP32)
    for site, model in models.items():
        assert 0 < len(shared[site]) < len(model)
        for tensor, value in model.items():
            # What is local is this site's own, as it trained it last.
            if tensor not in shared[site]:
                np.testing.assert_array_equal(value, updates[site][tensor], err_msg=tensor)
    # What left for the coordinator holds shared tensors only, and no measurement.
    for path in (study.coordinator / "spool" / "blobs").iterdir():
        content = path.read_bytes()
        assert b"spacing" not in content
        assert b"decoder.stages.2" not in content or b"encoder.stages.3" not in content
    for name in study.names:
        models = snapshots[name].review.models
        zips = [Path(model.path) for model in models if model.kind in MODELS]
        assert len(zips) == 2
        assert all(zipfile.ZipFile(path).testzip() is None for path in zips)
