"""Segmenting with a model zip: nnU-Net's own voxels, resumed work, and zips that mean harm."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK
import torch
from helpers import models, volumes

from app.domain.errors import DataProblem, ErrorCode, JobFailed
from app.nnunet import devices, segmentation
from app.nnunet.export import export_model
from app.nnunet.initial import draw
from app.nnunet.segmentation import RECORD, ModelRefused, open_model, segment

ROOT = f"{models.DATASET_NAME}/nnUNetTrainer__nnUNetPlans__{models.CONFIGURATION}"
CHECKPOINT = f"{ROOT}/fold_0/checkpoint_final.pth"
COMMANDS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return models.make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return models.write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    monkeypatch.setenv("nnUNet_compile", "f")


def _voxels(path):
    image = SimpleITK.ReadImage(str(path))
    geometry = (image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    return SimpleITK.GetArrayFromImage(image), geometry


def _plain_nnunet(commands, folder, zip_path, images, *options, folds=("0",)):
    """Install the zip and predict with nnU-Net's own commands, where `app` cannot be imported."""
    (folder / "blocked" / "app").mkdir(parents=True)
    (folder / "blocked" / "app" / "__init__.py").write_text("raise ImportError('not here')")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(folder / "blocked"),
        "nnUNet_raw": str(folder / "raw"),
        "nnUNet_preprocessed": str(folder / "preprocessed"),
        "nnUNet_results": str(folder / "results"),
    }
    for command in (
        ["nnUNetv2_install_pretrained_model_from_zip", str(zip_path)],
        [
            *("nnUNetv2_predict", "-i", str(images), "-o", str(folder / "predicted")),
            *("-d", models.DATASET_NAME, "-c", models.CONFIGURATION, "-f", *folds),
            *("-device", "cpu", *options),
        ],
    ):
        done = subprocess.run(
            [str(commands / command[0]), *command[1:]],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    return folder / "predicted"


def _assert_same_voxels(results, predicted):
    for result in results:
        mine, geometry = _voxels(result.prediction)
        theirs, their_geometry = _voxels(predicted / f"{result.case}.nii.gz")
        np.testing.assert_array_equal(mine, theirs)
        assert geometry == their_geometry
        # A network that answers one label everywhere would prove nothing.
        assert len(np.unique(mine)) == len(volumes.LABELS)


# The same voxels as plain nnU-Net


def test_default_options_give_the_voxels_of_plain_nnunet(model, cases, tmp_path):
    results = segment(model.zip, cases, tmp_path / "ours", device="cpu")
    images = Path(cases[0].channels[0]).parent
    predicted = _plain_nnunet(
        COMMANDS, tmp_path / "plain", model.zip, images, "-npp", "1", "-nps", "1"
    )
    _assert_same_voxels(results, predicted)


def test_quick_options_give_the_voxels_of_plain_nnunet(model, cases, tmp_path):
    results = segment(
        model.zip, cases, tmp_path / "ours", device="cpu", mirroring=False, step_size=0.75
    )
    images = Path(cases[0].channels[0]).parent
    options = ("-npp", "0", "-nps", "0", "--disable_tta", "-step_size", "0.75")
    predicted = _plain_nnunet(COMMANDS, tmp_path / "plain", model.zip, images, *options)
    _assert_same_voxels(results, predicted)
    with_mirroring = segment(model.zip, cases[:1], tmp_path / "other", device="cpu")
    assert not np.array_equal(
        _voxels(with_mirroring[0].prediction)[0], _voxels(results[0].prediction)[0]
    )


def test_five_folds_give_the_voxels_of_plain_nnunets_ensemble(model, cases, tmp_path):
    weights = {"0": model.weights}
    for fold in "1234":
        weights[fold] = tmp_path / f"{fold}.safetensors"
        draw(model.plan, configuration=models.CONFIGURATION, seed=int(fold), output=weights[fold])
    zipped = tmp_path / "five.zip"
    export_model(
        plan=model.plan,
        folds=weights,
        configuration=models.CONFIGURATION,
        model_name=models.DATASET_NAME,
        output=zipped,
    )
    assert len(open_model(zipped).weights) == 5
    results = segment(zipped, cases[:1], tmp_path / "ours", device="cpu", mirroring=False)
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(cases[0].channels[0], images)
    options = ("-npp", "0", "-nps", "0", "--disable_tta")
    predicted = _plain_nnunet(COMMANDS, tmp_path / "plain", zipped, images, *options, folds="01234")
    _assert_same_voxels(results, predicted)
    alone = segment(model.zip, cases[:1], tmp_path / "alone", device="cpu", mirroring=False)
    assert not np.array_equal(_voxels(alone[0].prediction)[0], _voxels(results[0].prediction)[0])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_environment_with_nothing_but_nnunet_gives_the_same_voxels(model, cases, tmp_path):
    """Install nnunetv2 and torch of our versions, and nothing else, into a new environment."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    commands = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    # Its own torch, so that the resolver does not take another build than ours.
    pins = [f"nnunetv2=={_version('nnunetv2')}", f"torch=={_version('torch').split('+')[0]}"]
    subprocess.run([str(commands / "python"), "-m", "pip", "install", "-q", *pins], check=True)
    results = segment(model.zip, cases, tmp_path / "ours", device="cpu")
    images = Path(cases[0].channels[0]).parent
    options = ("-npp", "1", "-nps", "1")
    predicted = _plain_nnunet(commands, tmp_path / "plain", model.zip, images, *options)
    _assert_same_voxels(results, predicted)


def _version(package):
    from importlib.metadata import version

    return version(package)


def test_results_lie_in_the_geometry_of_their_images(model, cases, tmp_path):
    told, heard = [], []
    results = segment(
        model.zip,
        cases,
        tmp_path / "out",
        device="cpu",
        mirroring=False,
        progress=lambda *words: told.append(words),
        on_case=heard.append,
    )
    assert [result.case for result in results] == [case.name for case in cases]
    assert heard == list(results)
    assert told == [(done, 3, "segmenting cases") for done in range(4)]
    for case, result in zip(cases, results, strict=True):
        image, geometry = _voxels(case.channels[0])
        labels, label_geometry = _voxels(result.prediction)
        assert labels.shape == image.shape
        for mine, theirs in zip(label_geometry, geometry, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-6)
        assert result.prediction == str(tmp_path / "out" / f"{case.name}.nii.gz")
        assert result.model_digest == open_model(model.zip).digest
        assert result.warnings == ()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [RECORD, *(f"{case.name}.nii.gz" for case in cases)]
    )


# Resuming and stopping


@pytest.fixture
def counted(monkeypatch):
    """Names of the cases that are really computed."""
    computed = []
    original = segmentation._Run.segment

    def counting(self, case, target):
        computed.append(case.name)
        return original(self, case, target)

    monkeypatch.setattr(segmentation._Run, "segment", counting)
    return computed


def _quick(model, cases, output, **options):
    return segment(model.zip, cases, output, **({"device": "cpu", "mirroring": False} | options))


def test_finished_cases_are_computed_again_only_when_something_changed(model, tmp_path, counted):
    cases = models.write_images(tmp_path / "images", count=2)
    first = _quick(model, cases, tmp_path / "out")
    assert _quick(model, cases, tmp_path / "out") == first
    assert counted == ["case_0", "case_1"]
    # Another option, a damaged result, another image, another model: each is computed anew.
    _quick(model, cases[:1], tmp_path / "out", step_size=1.0)
    _quick(model, cases[:1], tmp_path / "out")
    assert counted[2:] == ["case_0", "case_0"]
    Path(first[1].prediction).write_bytes(b"cut")
    assert _quick(model, cases, tmp_path / "out") == first
    assert counted[4:] == ["case_1"]
    os.utime(cases[0].channels[0], ns=(1, 1))
    _quick(model, cases, tmp_path / "out")
    assert counted[5:] == ["case_0"]
    other = models.make_model(tmp_path / "other", seed=4)
    _quick(other, cases, tmp_path / "out")
    assert counted[6:] == ["case_0", "case_1"]
    (tmp_path / "out" / RECORD).write_bytes(b"{")
    _quick(other, cases[:1], tmp_path / "out")
    assert counted[8:] == ["case_0"]


def test_a_stop_between_cases_keeps_the_finished_ones(model, cases, tmp_path, counted):
    finished = []
    with pytest.raises(JobFailed) as caught:
        _quick(
            model,
            cases,
            tmp_path / "out",
            on_case=finished.append,
            stopped=lambda: len(finished) == 2,
        )
    assert caught.value.code is ErrorCode.JOB_STOPPED
    assert counted == ["case_0", "case_1"]
    assert _quick(model, cases, tmp_path / "out")[:2] == tuple(finished)
    assert counted == ["case_0", "case_1", "case_2"]


def test_a_stop_within_a_case_leaves_no_result(model, cases, tmp_path):
    windows = []

    def stopped():
        # Asked before the case and before each window: the third window is refused.
        windows.append(None)
        return len(windows) > 3

    with pytest.raises(JobFailed) as caught:
        _quick(model, cases, tmp_path / "out", stopped=stopped)
    assert caught.value.code is ErrorCode.JOB_STOPPED
    assert list((tmp_path / "out").iterdir()) == []


def test_too_little_memory_on_the_device_goes_on_on_the_cpu(model, cases, tmp_path, monkeypatch):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    expected = _quick(model, cases[:2], tmp_path / "cpu")
    monkeypatch.setattr(devices, "choose", lambda _wish: torch.device("cuda", 0))
    monkeypatch.setattr(devices, "settle", lambda _device, threads: None)
    original = nnUNetPredictor.predict_logits_from_preprocessed_data
    tried = []

    def scarce(self, data):
        tried.append(self.device.type)
        if self.device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return original(self, data)

    monkeypatch.setattr(nnUNetPredictor, "predict_logits_from_preprocessed_data", scarce)
    results = _quick(model, cases[:2], tmp_path / "out", device="cuda")
    assert tried == ["cuda", "cpu"] * 2
    for result, other in zip(results, expected, strict=True):
        assert result.warnings == (
            "the graphics card has too little memory for this case: computed on the CPU",
        )
        np.testing.assert_array_equal(_voxels(result.prediction)[0], _voxels(other.prediction)[0])


# Cases that do not fit


def test_cases_that_do_not_fit_are_named(model, cases, tmp_path, capfd):
    two = replace(cases[0], channels=cases[0].channels * 2)
    with pytest.raises(DataProblem, match="case case_0 has 2 channels, the model needs 1"):
        _quick(model, [two], tmp_path / "out")
    with pytest.raises(DataProblem, match="cannot be the name of a file"):
        _quick(model, [replace(cases[0], name="../up")], tmp_path / "out")
    gone = replace(cases[0], channels=(str(tmp_path / "gone.nii.gz"),))
    with pytest.raises(DataProblem, match=r"case case_0: gone.nii.gz cannot be read"):
        _quick(model, [gone], tmp_path / "out")
    (tmp_path / "bad.nii.gz").write_bytes(b"\x1f\x8b no image")
    bad = replace(cases[0], channels=(str(tmp_path / "bad.nii.gz"),))
    with pytest.raises(DataProblem, match="case case_0 cannot be read") as caught:
        _quick(model, [bad], tmp_path / "out")
    assert caught.value.code is ErrorCode.CASE_UNREADABLE


# Models from elsewhere


def test_a_zip_of_a_stock_trainer_with_two_folds_is_an_ensemble(
    model, cases, tmp_path, monkeypatch
):
    """Checkpoints as `save_checkpoint` writes them hold numpy numbers, an optimizer and a device."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    content = json.loads(model.plan.read_text())
    # The trainer tells the kind of its training data by a file's name.
    prepared = tmp_path / "preprocessed" / "Dataset001_Study" / "nnUNetPlans_3d_fullres"
    prepared.mkdir(parents=True)
    (prepared / "case.b2nd").touch()
    plans = content["plans"] | {"continue_training": False}
    entries = _entries(model.zip)
    del entries[CHECKPOINT]
    for fold in (0, 1):
        torch.manual_seed(fold)
        trainer = nnUNetTrainer(
            plans=dict(plans),
            configuration=models.CONFIGURATION,
            fold=fold,
            dataset_json=content["dataset"],
            device=torch.device("cpu"),
        )
        trainer.initialize()
        trainer.logger.log("train_losses", np.float32(0.5), 0)
        trainer.logger.log("ema_fg_dice", np.float64(0.25), 0)
        trainer.save_checkpoint(str(tmp_path / "checkpoint.pth"))
        entries[CHECKPOINT.replace("fold_0", f"fold_{fold}")] = (
            tmp_path / "checkpoint.pth"
        ).read_bytes()
    entries[f"{ROOT}/fold_0/progress.png"] = b"picture"
    stock = _zip(tmp_path / "stock.zip", entries)
    opened = open_model(stock)
    assert len(opened.weights) == 2
    both = _quick(SimpleNamespace(zip=stock), cases[:1], tmp_path / "both")
    del entries[CHECKPOINT]
    one = _quick(
        SimpleNamespace(zip=_zip(tmp_path / "one.zip", entries)), cases[:1], tmp_path / "one"
    )
    assert not np.array_equal(_voxels(both[0].prediction)[0], _voxels(one[0].prediction)[0])


def _entries(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zip(path, entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


class _Program:
    """Runs on unpickling, if anybody is careless enough."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


def _saved(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _change_json(name, change):
    def apply(entries, _folder):
        content = json.loads(entries[f"{ROOT}/{name}"])
        change(content)
        entries[f"{ROOT}/{name}"] = json.dumps(content).encode()

    return apply


def _change_checkpoint(change):
    def apply(entries, _folder):
        content = torch.load(io.BytesIO(entries[CHECKPOINT]), weights_only=True)
        change(content)
        entries[CHECKPOINT] = _saved(content)

    return apply


def _put_program(entries, folder):
    content = torch.load(io.BytesIO(entries[CHECKPOINT]), weights_only=True)
    entries[CHECKPOINT] = _saved(content | {"logging": _Program(folder / "ran")})


def _architecture(plans):
    return plans["configurations"][models.CONFIGURATION]["architecture"]


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda e, _: e.update({"../outside": b""}), "would be unpacked outside its folder"),
        (lambda e, _: e.update({"/etc/passwd": b""}), "would be unpacked outside its folder"),
        (lambda e, _: e.update({"a\\..\\b": b""}), "would be unpacked outside its folder"),
        (lambda e, _: e.update({"C:/b": b""}), "would be unpacked outside its folder"),
        (_put_program, "checkpoint that is damaged or holds a program"),
        (lambda e, _: e.update({CHECKPOINT: b"cut"}), "checkpoint that is damaged"),
        (lambda e, _: e.pop(CHECKPOINT), "holds 0 trained folds"),
        (lambda e, _: e.pop(f"{ROOT}/dataset.json"), "lacks dataset.json"),
        (lambda e, _: e.pop(f"{ROOT}/plans.json"), "holds 0 models instead of one"),
        (lambda e, _: e.update({"Other/plans.json": b"{}"}), "holds 0 trained folds"),
        (
            lambda e, _: e.update({name.replace(ROOT, "Other"): e[name] for name in tuple(e)}),
            "holds 2 models instead of one",
        ),
        (lambda e, _: e.update({f"{ROOT}/plans.json": b"{"}), "plans.json that is not JSON"),
        (lambda e, _: e.update({f"{ROOT}/plans.json": b"[" * 9999}), "that is not JSON"),
        (lambda e, _: e.update({f"{ROOT}/plans.json": b"[]"}), "plans.json that is no table"),
        (lambda e, _: e.update({f"{ROOT}/dataset.json": b"{}"}), "does not write"),
        (
            _change_json("dataset.json", lambda d: d.update(file_ending="/../x.nii")),
            "cannot be used: the plan is refused: its entry dataset.file_ending",
        ),
        (
            _change_json("dataset.json", lambda d: d.update(channel_names={"7": "MR"})),
            "not numbered from 0",
        ),
        (
            _change_json("plans.json", lambda p: p.update(image_reader_writer="os")),
            "its entry plans.image_reader_writer",
        ),
        (
            _change_json(
                "plans.json",
                lambda p: _architecture(p).update(network_class_name="subprocess.Popen"),
            ),
            "network_class_name",
        ),
        (
            _change_json(
                "plans.json", lambda p: _architecture(p)["arch_kwargs"].update(conv_op="os.system")
            ),
            "conv_op",
        ),
        (_change_json("plans.json", lambda p: p.pop("configurations")), "cannot be used"),
        (_change_checkpoint(lambda c: c.pop("init_args")), "do not name the same configuration"),
        (
            _change_checkpoint(lambda c: c["init_args"].update(configuration="2d")),
            "has no '2d'",
        ),
        (_change_checkpoint(lambda c: c.pop("network_weights")), "without weights"),
        (
            _change_checkpoint(lambda c: c.update(inference_allowed_mirroring_axes=(0, 7))),
            "impossible mirroring axes",
        ),
    ],
)
def test_a_harmful_or_broken_zip_is_refused(model, tmp_path, harm, sentence):
    entries = _entries(model.zip)
    harm(entries, tmp_path)
    with pytest.raises(ModelRefused) as caught:
        open_model(_zip(tmp_path / "bad.zip", entries))
    assert sentence in str(caught.value)
    assert caught.value.code is ErrorCode.MODEL_FILE
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path.parent / "outside").exists()


def test_a_link_in_the_zip_is_refused(model, tmp_path):
    path = _zip(tmp_path / "bad.zip", _entries(model.zip))
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo(f"{ROOT}/fold_0/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc")
    with pytest.raises(ModelRefused, match="outside its folder"):
        open_model(path)


def test_files_that_are_no_zip_are_refused(model, tmp_path):
    with pytest.raises(ModelRefused, match="cannot be read"):
        open_model(tmp_path / "absent.zip")
    data = model.zip.read_bytes()
    for content in (b"", b"no zip", data[:-300], data[: len(data) // 2]):
        (tmp_path / "bad.zip").write_bytes(content)
        # A checkpoint is itself a zip: what is left of a cut file may end with that one.
        with pytest.raises(ModelRefused, match=r"is damaged or no zip file|holds 0 models"):
            open_model(tmp_path / "bad.zip")
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    (tmp_path / "bad.zip").write_bytes(flipped)
    with pytest.raises(ModelRefused, match="is damaged"):
        open_model(tmp_path / "bad.zip")


def test_limits_hold_before_memory_is_taken(model, tmp_path, monkeypatch):
    monkeypatch.setattr(segmentation, "_LARGEST_TEXT", 100)
    with pytest.raises(ModelRefused, match="of more than 100 bytes"):
        open_model(model.zip)
    monkeypatch.undo()
    monkeypatch.setattr(segmentation, "_LARGEST_CHECKPOINT", 1000)
    with pytest.raises(ModelRefused, match="a checkpoint of more than 1000 bytes"):
        open_model(model.zip)
    monkeypatch.undo()
    monkeypatch.setattr(segmentation, "_MOST_ENTRIES", 3)
    with pytest.raises(ModelRefused, match="holds 6 files, more than 3"):
        open_model(model.zip)


def test_a_zip_that_would_fill_the_disk_is_refused_by_its_own_words(model, tmp_path):
    entries = _entries(model.zip)
    root = next(name for name in entries if name.endswith("/plans.json")).rsplit("/", 1)[0]
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        archive.writestr(f"{root}/fold_1/checkpoint_final.pth", bytes(300 << 20))
    with pytest.raises(ModelRefused, match="would grow from"):
        open_model(path)


def test_weights_of_another_network_are_refused(model, cases, tmp_path):
    entries = _entries(model.zip)
    _change_checkpoint(lambda c: c["network_weights"].popitem())(entries, tmp_path)
    path = _zip(tmp_path / "bad.zip", entries)
    with pytest.raises(ModelRefused, match="do not fit the network"):
        _quick(SimpleNamespace(zip=path), cases, tmp_path / "out")
