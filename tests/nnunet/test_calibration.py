"""Measured steps: of a plan with and without images, and of the largest network before a plan."""

import dataclasses
from pathlib import Path

import pytest
import torch
from helpers import volumes
from helpers.own_environment import own_environment
from helpers.plans import stock_plan, terms_of

from app.domain.errors import ErrorCode, JobFailed
from app.domain.study import StudyTerms
from app.federation.network import manifest
from app.federation.traffic import largest_network
from app.jobs.spec import CalibrateJob
from app.nnunet import calibration
from app.nnunet.calibration import calibrate, reference_plans
from app.nnunet.convert import PlanDocument, read_plan
from app.nnunet.initial import build_network
from app.nnunet.planning import describe_dataset
from app.nnunet.preprocessing import preprocess
from app.nnunet.weights import unique_tensors

TERMS = terms_of(stock_plan("ExperimentPlanner", ""))


@pytest.fixture(autouse=True)
def _own_environment():
    with own_environment():
        yield


def small(terms: StudyTerms = TERMS) -> StudyTerms:
    return dataclasses.replace(
        terms, channel_names=("MRI",), labels={"background": 0, "a": 1, "b": 2}, fold="0"
    )


@pytest.mark.parametrize("prepared", [True, False])
def test_a_plan_is_measured_with_its_images_or_with_noise(tmp_path, prepared, monkeypatch):
    # However busy this computer is, a step of so small a patch is affordable.
    monkeypatch.setattr(calibration, "_SHARE_OF_A_STEP", 0.1)
    plan = volumes.write_plan(tmp_path / "plan.json")
    workspace = tmp_path / "workspace"
    if prepared:
        data = volumes.dataset_folder(volumes.write_dataset(tmp_path / "data"))
        preprocess(read_plan(plan), data, workspace=workspace, configuration="3d_fullres", fold="0")
    told = []
    measured = calibrate(
        CalibrateJob(
            terms=small(), workspace=str(workspace), plan=str(plan), device="cpu", seconds=3.0
        ),
        progress=lambda *what: told.append(what),
    )
    patch = read_plan(plan).plans["configurations"]["3d_fullres"]["patch_size"]
    assert (measured.device, measured.patch) == ("cpu", tuple(patch))
    assert (measured.real_images, measured.scaled) == (prepared, False)
    assert 1 <= measured.steps <= calibration.MOST_STEPS
    assert 0 < measured.validation_step_s < 3 * measured.step_s
    assert told[-1][2] == "measuring training steps"


def test_a_chosen_batch_is_measured(tmp_path):
    plan = volumes.write_plan(tmp_path / "plan.json")
    measured = calibrate(
        CalibrateJob(
            terms=small(),
            workspace=str(tmp_path / "w"),
            plan=str(plan),
            device="cpu",
            seconds=1.0,
            batch_size=1,
        )
    )
    assert measured.batch_size == 1


def test_before_a_plan_a_share_of_the_largest_patch_is_measured(tmp_path):
    terms = dataclasses.replace(small(), configuration="2d")
    measured = calibrate(
        CalibrateJob(terms=terms, workspace=str(tmp_path), device="cpu", seconds=1.0, batch_size=1)
    )
    assert measured.patch == (512, 512)
    assert measured.scaled
    assert not measured.real_images
    assert measured.step_s > 0.5


def test_a_stopped_measurement_says_so(tmp_path):
    plan = volumes.write_plan(tmp_path / "plan.json")
    with pytest.raises(JobFailed) as caught:
        calibrate(
            CalibrateJob(
                terms=small(), workspace=str(tmp_path / "w"), plan=str(plan), device="cpu"
            ),
            stopped=lambda: True,
        )
    assert caught.value.code is ErrorCode.JOB_STOPPED


def test_a_cascade_is_measured_by_the_network_of_its_second_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "_SHARE_OF_A_STEP", 0.1)
    plan = volumes.write_plan(tmp_path / "plan.json", volumes.cascade_content())
    terms = dataclasses.replace(small(), configuration="3d_cascade_fullres", fold="0-4")
    measured = calibrate(
        CalibrateJob(
            terms=terms, workspace=str(tmp_path), plan=str(plan), device="cpu", seconds=2.0
        )
    )
    patch = read_plan(plan).plans["configurations"]["3d_fullres"]["patch_size"]
    assert measured.patch == tuple(patch)


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
@pytest.mark.parametrize("planner", ["ExperimentPlanner", "nnUNetPlannerResEncM"])
def test_the_reference_plan_is_the_network_whose_size_is_told_before_joining(
    configuration, planner
):
    terms = dataclasses.replace(small(), configuration=configuration, planner=planner)
    document = PlanDocument(
        plans=reference_plans(terms), dataset=describe_dataset(terms, 1), fingerprint={},
        versions={}, digest=read_digest(),
    )  # fmt: skip
    with torch.device("meta"):
        network = build_network(document, configuration)
    told = {spec.name: spec.shape for spec in manifest(largest_network(terms))}
    assert {name: tuple(t.shape) for name, t in unique_tensors(network).items()} == told


def read_digest():
    from app.domain.ids import digest_of

    return digest_of(Path(__file__).read_bytes())
