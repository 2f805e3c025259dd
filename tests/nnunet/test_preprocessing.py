import dataclasses
import json
import os
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import volumes
from helpers.own_environment import own_environment

from app.domain.errors import DataProblem, ErrorCode, JobFailed, PeerMistake, SetupProblem
from app.nnunet.convert import read_plan
from app.nnunet.preprocessing import chosen_split, preprocess, splits_of

CONFIGURATION = "3d_fullres"


@pytest.fixture(scope="module", autouse=True)
def _own_environment():
    with own_environment():
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return volumes.write_dataset(tmp_path_factory.mktemp("images"))


@pytest.fixture
def data(images, tmp_path):
    """A private copy: some tests change files."""
    return volumes.dataset_folder(shutil.copytree(images, tmp_path / "data"))


@pytest.fixture
def plan(tmp_path):
    return read_plan(volumes.write_plan(tmp_path / "plan.json"))


@pytest.fixture
def prepared(tmp_path):
    return tmp_path / "workspace/nnUNet_preprocessed/Dataset001_Study"


def run(plan, data, tmp_path, **changes):
    done = []
    facts = {
        "workspace": tmp_path / "workspace",
        "configuration": CONFIGURATION,
        "fold": "0",
        "progress": lambda done_count, total, what: done.append((done_count, total, what)),
    }
    return preprocess(plan, data, **(facts | changes)), done


def cases_of(folder):
    return sorted(path.name.removesuffix("_seg.b2nd") for path in folder.glob("*_seg.b2nd"))


def file_facts(folder):
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_cases_are_prepared_as_stock_nnunet_does(plan, data, tmp_path, prepared, monkeypatch):
    import blosc2
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    before = file_facts(tmp_path / "data")
    split, done = run(plan, data, tmp_path)
    assert done == [(number, 6, "preparing images") for number in range(7)]
    assert len(split.training) == 4
    assert len(split.validation) == 2
    assert file_facts(tmp_path / "data") == before
    # The same from nnU-Net's own `run`, over the same dataset.json.
    ours = prepared / "nnUNetPlans_3d_fullres"
    kept = ours.rename(prepared / "ours")
    for name, value in (("raw", "raw"), ("preprocessed", "preprocessed")):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / f"workspace/nnUNet_{value}"))
    preprocessor = DefaultPreprocessor(verbose=False)
    preprocessor.show_progress_bar = False
    preprocessor.run("Dataset001_Study", CONFIGURATION, "nnUNetPlans", 1)
    assert cases_of(kept) == cases_of(ours) == [f"case_{number:03d}" for number in range(6)]
    for path in kept.glob("*.b2nd"):
        expected = blosc2.open(str(ours / path.name), mode="r")[:]
        assert np.array_equal(blosc2.open(str(path), mode="r")[:], expected)
    # The pickles hold an index of foreground voxels that training draws from.
    assert (kept / "case_000.pkl").read_bytes() == (ours / "case_000.pkl").read_bytes()


def test_what_nnunet_reads_is_written_and_images_are_not_copied(plan, data, tmp_path, prepared):
    run(plan, data, tmp_path, leave_out=frozenset({"case_001"}))
    dataset = json.loads((prepared / "dataset.json").read_text())
    assert dataset["numTraining"] == 5
    assert "case_001" not in dataset["dataset"]
    assert dataset["dataset"]["case_000"]["label"] == data.training[0].label
    assert dataset["overwrite_image_reader_writer"] == "SimpleITKIO"
    raw = tmp_path / "workspace/nnUNet_raw/Dataset001_Study"
    assert [path.name for path in raw.rglob("*")] == ["dataset.json"]
    assert json.loads((prepared / "nnUNetPlans.json").read_text())["dataset_name"] == (
        "Dataset001_Study"
    )
    assert json.loads((prepared / "dataset_fingerprint.json").read_text()) == plan.fingerprint
    assert len(json.loads((prepared / "splits_final.json").read_text())) == 5
    assert cases_of(prepared / "nnUNetPlans_3d_fullres") == [
        "case_000", "case_002", "case_003", "case_004", "case_005",
    ]  # fmt: skip


def test_a_second_run_does_nothing_again(plan, data, tmp_path, prepared):
    run(plan, data, tmp_path)
    before = file_facts(prepared / "nnUNetPlans_3d_fullres")
    _, done = run(plan, data, tmp_path)
    assert done == [(6, 6, "preparing images")]
    assert file_facts(prepared / "nnUNetPlans_3d_fullres") == before


def test_only_what_changed_is_done_again(plan, data, tmp_path, prepared):
    run(plan, data, tmp_path)
    before = file_facts(prepared / "nnUNetPlans_3d_fullres")
    os.utime(data.training[2].channels[0], ns=(1, 1))
    _, done = run(plan, data, tmp_path)
    assert done == [(5, 6, "preparing images"), (6, 6, "preparing images")]
    after = file_facts(prepared / "nnUNetPlans_3d_fullres")
    changed = {
        path.name.split(".")[0].removesuffix("_seg")
        for path in after
        if after[path] != before.get(path)
    }
    assert changed == {"case_002"}


def test_another_plan_prepares_everything_anew(plan, data, tmp_path):
    run(plan, data, tmp_path)
    other = read_plan(volumes.write_plan(tmp_path / "other.json", patch=(32, 32, 32)))
    _, done = run(other, data, tmp_path)
    assert done[0] == (0, 6, "preparing images")


def test_a_case_that_left_is_removed(plan, data, tmp_path, prepared):
    run(plan, data, tmp_path)
    smaller = dataclasses.replace(data, training=data.training[:5])
    split, _ = run(plan, smaller, tmp_path, fold="all")
    names = tuple(case.name for case in data.training[:5])
    assert split.training == split.validation == names
    assert cases_of(prepared / "nnUNetPlans_3d_fullres") == list(names)


def test_a_study_of_several_folds_knows_the_training_cases_of_each(plan, data, tmp_path):
    split, _ = run(plan, data, tmp_path, fold="0-4")
    alone, _ = run(plan, data, tmp_path, fold="0")
    assert (split.training, split.validation) == (alone.training, alone.validation)
    # Six cases: one fold leaves out two of them.
    assert split.fold_cases == (4, 5, 5, 5, 5)
    assert alone.fold_cases == ()


def test_a_stop_keeps_what_is_done_and_a_half_written_case_is_mended(
    plan, data, tmp_path, prepared
):
    asked = []

    def stopped():
        asked.append(None)
        return len(asked) > 2

    with pytest.raises(JobFailed) as caught:
        run(plan, data, tmp_path, stopped=stopped)
    assert caught.value.code is ErrorCode.JOB_STOPPED
    folder = prepared / "nnUNetPlans_3d_fullres"
    assert cases_of(folder) == ["case_000", "case_001"]
    # Killed while writing the third case.
    shutil.copy(folder / "case_000.b2nd", folder / "case_002.b2nd")
    (folder / "case_002_seg.b2nd").write_bytes(b"half")
    _, done = run(plan, data, tmp_path)
    assert [count for count, _, _ in done] == [2, 3, 4, 5, 6]
    assert len(cases_of(folder)) == 6


def test_several_processes_prepare_the_same(plan, data, tmp_path, prepared):
    import blosc2

    run(plan, data, tmp_path)
    folder = prepared / "nnUNetPlans_3d_fullres"
    expected = {path.name: blosc2.open(str(path), mode="r")[:] for path in folder.glob("*.b2nd")}
    shutil.rmtree(folder)
    _, done = run(plan, data, tmp_path, processes=2)
    assert done[-1] == (6, 6, "preparing images")
    for name, array in expected.items():
        assert np.array_equal(blosc2.open(str(folder / name), mode="r")[:], array)


def test_a_case_that_nnunet_cannot_read_is_named(plan, data, tmp_path, expected_log):
    expected_log("app.nnunet.preprocessing", "a case could not be prepared")
    with open(data.training[1].channels[0], "wb") as file:  # noqa: PTH123 - a str
        file.write(b"not an image")
    with pytest.raises(DataProblem, match=r"case case_001 could not be prepared: \w+") as caught:
        run(plan, data, tmp_path)
    assert caught.value.code is ErrorCode.CASE_UNREADABLE


def test_a_full_disk_is_not_blamed_on_the_case(plan, data, tmp_path, prepared, monkeypatch):
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    def refuse(_data, _seg, _properties, target, **_options):
        Path(f"{target}.b2nd").write_bytes(b"half")
        raise RuntimeError("Error while creating the NDArray")  # as blosc2 says it

    monkeypatch.setattr(nnUNetDatasetBlosc2, "save_case", refuse)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=4096))
    with pytest.raises(SetupProblem, match=r"the disk that holds .* is full") as caught:
        run(plan, data, tmp_path)
    assert caught.value.code is ErrorCode.DISK_FULL
    assert list((prepared / "nnUNetPlans_3d_fullres").iterdir()) == []


def test_a_problem_comes_whole_out_of_another_process():
    problem = DataProblem("case 7 is odd", code=ErrorCode.CASE_UNREADABLE)
    back = pickle.loads(pickle.dumps(problem))
    assert (str(back), back.code) == (str(problem), problem.code)


def test_a_file_that_vanished_is_named(plan, data, tmp_path):
    os.unlink(data.training[3].label)  # noqa: PTH108 - a str
    with pytest.raises(DataProblem) as caught:
        run(plan, data, tmp_path)
    assert str(caught.value) == "case case_003: case_003.nii.gz is no longer there"


def test_no_case_left(plan, data, tmp_path):
    everyone = frozenset(case.name for case in data.training)
    with pytest.raises(DataProblem, match="no labelled case is left to train on") as caught:
        run(plan, data, tmp_path, leave_out=everyone)
    assert caught.value.code is ErrorCode.TOO_FEW_CASES


def test_a_configuration_that_the_plan_lacks(plan, data, tmp_path):
    with pytest.raises(PeerMistake, match="the plans have no configuration 2d") as caught:
        run(plan, data, tmp_path, configuration="2d")
    assert caught.value.code is ErrorCode.PLANS_REFUSED


def test_five_or_more_cases_split_as_nnunet_splits_them():
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    names = [f"case_{number}" for number in range(7)]
    assert splits_of(names[::-1], seed=12345) == generate_crossval_split(names, 12345, 5)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_fewer_cases_leave_one_out(count):
    names = [f"case_{number}" for number in range(count)]
    for fold, split in enumerate(splits_of(names, seed=12345)):
        assert split["val"] == [names[fold % count]]
        assert sorted(split["train"] + split["val"]) == names


def test_a_single_case_trains_and_validates():
    splits = splits_of(["only"], seed=12345)
    assert splits == [{"train": ["only"], "val": ["only"]}] * 5
    assert chosen_split(splits, ["only"], "3").training == ("only",)
