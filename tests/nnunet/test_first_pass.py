"""A cascade against stock nnU-Net: what the first pass leaves the second, and what that one learns."""

from __future__ import annotations

import importlib
import json
import multiprocessing.pool
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import blosc2
import numpy as np
import pytest
import SimpleITK
import torch
from helpers import volumes
from helpers.own_environment import own_environment

from app.domain.dataset import Case
from app.domain.errors import DataProblem, ErrorCode, JobFailed, SetupProblem
from app.domain.folds import CASCADE, COARSE, SINGLE_FOLDS
from app.jobs.spec import FirstPassJob, HeldOutJob, TrainJob, TrainRound
from app.nnunet import first_pass
from app.nnunet.convert import read_plan
from app.nnunet.environment import enter
from app.nnunet.export import export_model
from app.nnunet.first_pass import segment_training_cases, segmented_folder
from app.nnunet.held_out import score_weights
from app.nnunet.initial import draw
from app.nnunet.preprocessing import preprocess
from app.nnunet.segmentation import ModelRefused, open_model, segment
from app.nnunet.session import TrainingSession, seed_everything
from app.nnunet.stock_trainer import make_trainer
from app.nnunet.weights import read_into, unique_tensors

SEED = 4711
PLAIN_NNUNET = """\
import json, sys
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
from nnunetv2.model_sharing.entry_points import install_from_zip_entry_point

commands = {"install": install_from_zip_entry_point, "predict": predict_entry_point}
for name, *arguments in json.loads(sys.argv[1]):
    sys.argv = [name, *arguments]
    commands[name]()
"""


@pytest.fixture(scope="module", autouse=True)
def _own_environment():
    with own_environment():
        os.environ.update(nnUNet_compile="f", nnUNet_n_proc_DA="0")
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A plan of a cascade, the models of its first pass, and images prepared for both passes."""
    root = tmp_path_factory.mktemp("cascade")
    plan = volumes.write_plan(root / "plan.json", volumes.cascade_content())
    data = volumes.dataset_folder(volumes.write_dataset(root / "data"))
    workspace = root / "workspace"
    preprocess(read_plan(plan), data, workspace=workspace, configuration=CASCADE, fold="0-4")
    folds = {}
    for number, fold in enumerate(SINGLE_FOLDS):
        weights = root / f"coarse-{fold}.safetensors"
        draw(plan, configuration=COARSE, seed=100 + number, output=weights)
        folds[fold] = str(weights)
    labels = enter(workspace).preprocessed_dataset / "gt_segmentations"
    shutil.copytree(root / "data" / "labelsTr", labels)
    return SimpleNamespace(root=root, plan=plan, data=data, workspace=workspace, folds=folds)


def job(prepared, **changes) -> FirstPassJob:
    facts = {
        "plan": str(prepared.plan),
        "workspace": str(prepared.workspace),
        "folds": prepared.folds,
        "device": "cpu",
    }
    return FirstPassJob(**(facts | changes))


def folder_of(prepared) -> Path:
    folders = enter(prepared.workspace)
    return segmented_folder(folders.results_dataset, read_plan(prepared.plan))


def splits_of(prepared) -> list[dict[str, list[str]]]:
    base = enter(prepared.workspace).preprocessed_dataset
    return json.loads((base / "splits_final.json").read_text())


def found(folder: Path) -> dict[str, np.ndarray]:
    return {
        path.name.removesuffix(".b2nd"): blosc2.open(str(path), mode="r")[:]
        for path in sorted(folder.glob("*.b2nd"))
    }


@pytest.fixture(scope="module")
def segmented(prepared):
    """What the first pass made of the training cases, as arrays by case."""
    told = []
    cases = segment_training_cases(job(prepared), progress=lambda *said: told.append(said[:2]))
    assert cases == volumes.CASES
    assert told == [(done, cases) for done in range(cases + 1)]
    return found(folder_of(prepared))


def stock_trainer(prepared, configuration: str, fold: int):
    folders = enter(prepared.workspace)
    return make_trainer(
        read_plan(prepared.plan).plans_for(),
        configuration=configuration,
        fold=str(fold),
        dataset=json.loads((folders.preprocessed_dataset / "dataset.json").read_text()),
        device=torch.device("cpu"),
    )


def plain_validation(prepared, fold: int, weights: str, monkeypatch) -> dict[str, np.ndarray]:
    """Let a stock trainer validate a fold of the first pass; return what it leaves the second.

    Its pool of processes becomes one of threads: the same functions, without starting Python anew.
    """
    context = SimpleNamespace(Pool=multiprocessing.pool.ThreadPool)
    for module in (
        "nnunetv2.training.nnUNetTrainer.nnUNetTrainer",
        "nnunetv2.evaluation.evaluate_predictions",
    ):
        pretended = SimpleNamespace(get_context=lambda _: context)
        monkeypatch.setattr(importlib.import_module(module), "multiprocessing", pretended)
    trainer = stock_trainer(prepared, COARSE, fold)
    trainer.initialize()
    read_into(trainer.network, Path(weights))
    left = Path(trainer.output_folder_base) / "predicted_next_stage" / CASCADE
    shutil.rmtree(left, ignore_errors=True)
    trainer.perform_actual_validation()
    return found(left)


def test_the_folder_is_where_a_stock_trainer_of_the_second_pass_looks(prepared):
    trainer = stock_trainer(prepared, CASCADE, 0)
    assert Path(trainer.folder_with_segs_from_previous_stage) == folder_of(prepared)


def test_each_case_is_as_the_stock_validation_of_the_fold_that_held_it_out_leaves_it(
    prepared, segmented, monkeypatch
):
    splits = splits_of(prepared)
    held_out = {name: fold for fold, split in enumerate(splits) for name in split["val"]}
    assert set(segmented) == set(held_out)
    kept = folder_of(prepared)
    bytes_of = {path.name: path.read_bytes() for path in kept.glob("*.b2nd")}
    for fold in range(5):
        plain = plain_validation(prepared, fold, prepared.folds[str(fold)], monkeypatch)
        assert set(plain) == set(splits[fold]["val"])
        for name, array in plain.items():
            assert array.shape == (volumes.SIDE,) * 3
            assert array.dtype == segmented[name].dtype
            np.testing.assert_array_equal(array, segmented[name])
            # To the last byte, so that a stock loader reads the same blocks.
            assert (kept / f"{name}.b2nd").read_bytes() == bytes_of[f"{name}.b2nd"]
    # Models of other folds see other things, so the comparison above tells folds apart.
    other = plain_validation(prepared, 0, prepared.folds["3"], monkeypatch)
    assert any(not np.array_equal(array, segmented[name]) for name, array in other.items())
    # What the comparison left is not the job's own any more.
    shutil.rmtree(kept)
    kept.with_name(f"{kept.name}.done.json").unlink()
    segment_training_cases(job(prepared))


@pytest.fixture
def counted(monkeypatch):
    """Names of cases in the order in which they are computed."""
    names = []
    compute = first_pass._Model.segment

    def count(self, name, output):
        names.append(name)
        compute(self, name, output)

    monkeypatch.setattr(first_pass._Model, "segment", count)
    return names


@pytest.fixture
def own_copy(prepared, segmented, tmp_path):
    """The prepared study in a workspace that a test may change."""
    workspace = tmp_path / "workspace"
    shutil.copytree(prepared.workspace, workspace)
    return SimpleNamespace(**(vars(prepared) | {"workspace": workspace}))


def test_what_is_done_is_not_done_again(own_copy, counted):
    segment_training_cases(job(own_copy))
    assert counted == []
    lost = sorted(found(folder_of(own_copy)))[2]
    (folder_of(own_copy) / f"{lost}.b2nd").unlink()
    segment_training_cases(job(own_copy))
    assert counted == [lost]


def test_a_stop_keeps_finished_cases_and_the_rest_comes_later(own_copy, counted, segmented):
    folder = folder_of(own_copy)
    shutil.rmtree(folder)
    with pytest.raises(JobFailed) as stopped:
        segment_training_cases(job(own_copy), stopped=lambda: len(counted) == 2)
    assert stopped.value.code is ErrorCode.JOB_STOPPED
    assert sorted(found(folder)) == sorted(counted)
    (folder / "half.b2nd").write_bytes(b"what a kill left")
    segment_training_cases(job(own_copy))
    assert sorted(counted) == sorted(segmented)
    again = found(folder)
    assert again.keys() == segmented.keys()
    assert all(np.array_equal(again[name], segmented[name]) for name in again)
    # No scratch folder of a killed run or a finished one is left beside it.
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [CASCADE]


def test_another_model_of_a_fold_segments_the_cases_of_that_fold_anew(own_copy, counted):
    folds = own_copy.folds | {"2": own_copy.folds["4"]}
    segment_training_cases(job(own_copy, folds=folds))
    assert counted == splits_of(own_copy)[2]["val"]


def test_a_case_that_no_fold_held_out_is_named(own_copy):
    folds = {fold: weights for fold, weights in own_copy.folds.items() if fold != "1"}
    with pytest.raises(SetupProblem, match="no fold of the first pass held out case case_"):
        segment_training_cases(job(own_copy, folds=folds))


# --- the second pass ---------------------------------------------------------------------------


def training(prepared, folder: Path, **changes) -> TrainJob:
    facts = {
        "plan": str(prepared.plan),
        "workspace": str(prepared.workspace),
        "configuration": CASCADE,
        "fold": "0",
        "total_epochs": 2,
        "iterations_per_epoch": 2,
        "validation_iterations": 1,
        "seed": SEED,
        "checkpoint": str(folder / "checkpoint.pth"),
        "device": "cpu",
    }
    return TrainJob(**(facts | changes))


def test_a_second_pass_of_one_site_is_plain_nnunets_to_the_bit(prepared, segmented, tmp_path):
    base = tmp_path / "base.safetensors"
    draw(prepared.plan, configuration=CASCADE, seed=SEED, output=base)
    session = TrainingSession(training(prepared, tmp_path))
    session.open()
    for number in (1, 2):
        trained = session.train(
            TrainRound(
                round=number,
                attempt=1,
                epochs=1,
                start_epoch=number - 1,
                base=str(base),
                update=str(tmp_path / f"update-{number}.safetensors"),
                score_base=number == 2,
            )
        )
        base = Path(trained.update)
    weights = {name: one.clone() for name, one in unique_tensors(session.network).items()}
    session.close()
    assert trained.base_score is not None
    assert trained.base_score.cases == len(splits_of(prepared)[0]["val"])
    # Image and one channel for each of the two labels.
    stem = "encoder.stages.0.0.convs.0.conv.weight"
    assert weights[stem].shape[1] == 3

    seed_everything(SEED)
    plain = stock_trainer(prepared, CASCADE, 0)
    plain.num_epochs, plain.num_iterations_per_epoch = 2, 2
    plain.num_val_iterations_per_epoch = 1
    plain.logger.plot_progress_png = lambda *_: None
    plain.run_training()
    expected = unique_tensors(plain.network)
    assert [name for name in weights if not torch.equal(weights[name], expected[name])] == []
    first = TrainingSession(training(prepared, tmp_path, checkpoint=str(tmp_path / "no.pth")))
    first.open()
    drawn = unique_tensors(first.network)
    first.close()
    # The comparison is only worth something if training moved the weights that read the first pass.
    assert not torch.equal(drawn[stem][:, 1:], weights[stem][:, 1:])


def test_a_second_pass_is_scored_with_what_the_first_one_made(prepared, segmented, tmp_path):
    weights = tmp_path / "fine.safetensors"
    draw(prepared.plan, configuration=CASCADE, seed=1, output=weights)
    score = score_weights(
        HeldOutJob(
            plan=str(prepared.plan),
            workspace=str(prepared.workspace),
            configuration=CASCADE,
            fold="1",
            weights=str(weights),
            device="cpu",
        )
    )
    assert score.cases == len(splits_of(prepared)[1]["val"])


def test_a_second_pass_does_not_begin_before_its_cases_are_segmented(own_copy, tmp_path):
    name = splits_of(own_copy)[0]["train"][0]
    (folder_of(own_copy) / f"{name}.b2nd").unlink()
    with pytest.raises(SetupProblem, match="not segmented by the first pass yet"):
        TrainingSession(training(own_copy, tmp_path)).open()


def test_a_single_case_has_no_model_that_could_segment_it(prepared, tmp_path):
    data = volumes.dataset_folder(volumes.write_dataset(tmp_path / "data", cases=1))
    with pytest.raises(DataProblem, match="needs a second labelled case") as refused:
        preprocess(
            read_plan(prepared.plan),
            data,
            workspace=tmp_path / "workspace",
            configuration=CASCADE,
            fold="0-4",
        )
    assert refused.value.code is ErrorCode.TOO_FEW_CASES


# --- the model ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    fine = {}
    for number in (0, 1):
        fine[str(number)] = folder / f"fine-{number}.safetensors"
        draw(prepared.plan, configuration=CASCADE, seed=200 + number, output=fine[str(number)])
    coarse = {fold: Path(prepared.folds[fold]) for fold in ("0", "1", "2")}
    zipped = folder / "cascade.zip"
    export_model(
        plan=prepared.plan,
        folds=fine,
        configuration=CASCADE,
        model_name="Dataset512_Balls",
        output=zipped,
        first_pass=coarse,
    )
    return SimpleNamespace(zip=zipped, fine=fine, coarse=coarse)


def plain_nnunet(*commands: list[str], home: Path) -> None:
    """Run nnU-Net's own commands, one after the other, in a Python that imports nothing of ours."""
    folders = {name: str(home / name) for name in ("raw", "preprocessed", "results")}
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_NNUNET, json.dumps(commands)],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "OMP_NUM_THREADS": "1",
            "nnUNet_compile": "f",
            **{f"nnUNet_{name}": path for name, path in folders.items()},
        },
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_plain_nnunet_installs_the_zip_and_predicts_the_same_voxels(model, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    array, _ = volumes.volume(40)
    picture = SimpleITK.GetImageFromArray(array[:28, :30, :])
    picture.SetSpacing((1.1, 0.9, 1.2))
    SimpleITK.WriteImage(picture, str(images / "new_0000.nii.gz"))
    case = Case(name="new", channels=(str(images / "new_0000.nii.gz"),), label=None)
    ours = segment(model.zip, (case,), tmp_path / "ours", device="cpu")

    coarse, fine = str(tmp_path / "coarse"), str(tmp_path / "fine")
    predict = ["predict", "-i", str(images), "-d", "Dataset512_Balls", "-device", "cpu"]
    predict += ["-npp", "0", "-nps", "0"]
    plain_nnunet(
        ["install", str(model.zip)],
        [*predict, "-o", coarse, "-c", COARSE, "-f", "0", "1", "2"],
        [*predict, "-o", fine, "-c", CASCADE, "-f", "0", "1", "-prev_stage_predictions", coarse],
        home=tmp_path,
    )
    mine = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(ours[0].prediction))
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(f"{fine}/new.nii.gz"))
    np.testing.assert_array_equal(mine, theirs)
    first = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(f"{coarse}/new.nii.gz"))
    assert len(np.unique(mine)) > 1
    assert not np.array_equal(first, theirs)
    assert [path.name for path in (tmp_path / "ours").iterdir() if path.is_dir()] == []


def test_a_cascade_zip_is_opened_with_both_passes(model):
    opened = open_model(model.zip)
    assert opened.configuration == CASCADE
    assert len(opened.weights) == 2
    assert opened.first_pass is not None
    assert opened.first_pass.configuration == COARSE
    assert len(opened.first_pass.weights) == 3
    assert opened.channels == 1


def test_the_readme_of_a_cascade_says_how_to_predict_with_both_passes(model):
    with zipfile.ZipFile(model.zip) as archive:
        name = f"Dataset512_Balls/nnUNetTrainer__nnUNetPlans__{CASCADE}/README.txt"
        lines = [line for line in archive.read(name).decode().splitlines() if "_predict" in line]
    start = "  nnUNetv2_predict -i IMAGES"
    common = "-d Dataset512_Balls -p nnUNetPlans"
    assert lines == [
        f"{start} -o COARSE {common} -c {COARSE} -f 0 1 2",
        f"{start} -o RESULTS {common} -c {CASCADE} -f 0 1 -prev_stage_predictions COARSE",
    ]


def test_a_second_pass_alone_is_refused(prepared, model, tmp_path):
    export_model(
        plan=prepared.plan,
        folds=model.fine,
        configuration=CASCADE,
        model_name="Dataset512_Balls",
        output=tmp_path / "half.zip",
    )
    with pytest.raises(ModelRefused, match="second pass of a cascade without the first"):
        open_model(tmp_path / "half.zip")
