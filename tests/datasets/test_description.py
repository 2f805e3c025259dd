"""dataset.json: what is read from it, and which entry a refusal names."""

from __future__ import annotations

import json

import pytest

from app.datasets.description import (
    DescriptionProblem,
    check_labels,
    encode_description,
    parse_description,
    read_description,
    read_description_file,
)
from app.domain.dataset import Case, DatasetDescription
from app.domain.errors import DataProblem, ErrorCode

SOUND = {
    "channel_names": {"0": "T1", "1": "T2"},
    "labels": {"background": 0, "liver": 1, "tumour": 2},
    "numTraining": 3,
    "file_ending": ".nii.gz",
}
DECATHLON = {
    "name": "Hippocampus",
    "modality": {"0": "MRI"},
    "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
    "training": [
        {"image": "./imagesTr/hippocampus_001.nii.gz", "label": "./labelsTr/hippocampus_001.nii.gz"}
    ],
    "test": ["./imagesTs/hippocampus_002.nii.gz"],
}


def changed(**entries):
    return {key: value for key, value in {**SOUND, **entries}.items() if value is not None}


def test_a_sound_description():
    file = parse_description(SOUND)
    assert file.description == DatasetDescription(
        channel_names=("T1", "T2"),
        labels={"background": 0, "liver": 1, "tumour": 2},
        file_ending=".nii.gz",
    )
    assert file.training_count == 3
    assert file.listed is None


def test_regions_and_ignore():
    file = parse_description(
        changed(
            labels={"background": 0, "whole": [1, 2], "core": 2, "ignore": 3},
            regions_class_order=[1, 2],
        )
    )
    assert file.description.labels["whole"] == (1, 2)
    assert file.description.regions_class_order == (1, 2)


def test_the_decathlons_own_form():
    file = parse_description(DECATHLON)
    assert file.decathlon
    assert file.description.labels == {"background": 0, "Anterior": 1, "Posterior": 2}
    assert [case.name for case in file.listed or ()] == ["hippocampus_001"]
    assert [case.name for case in file.listed_held_out] == ["hippocampus_002"]


@pytest.mark.parametrize(
    ("entries", "entry", "what"),
    [
        ({"channel_names": None}, "channel_names", "is missing"),
        ({"channel_names": {}}, "channel_names", 'must name the channels, as in {"0": "CT"}'),
        (
            {"channel_names": {"0": "T1", "2": "T2"}},
            "channel_names.1",
            "must be the name of that channel; channels are numbered 0, 1, 2, …",
        ),
        ({"labels": None}, "labels", "is missing"),
        (
            {"labels": {"0": "background", "1": "liver"}},
            "labels",
            'is written the old way ("1": "liver"); nnU-Net needs "liver": 1',
        ),
        (
            {"labels": {"background": 0, "liver": "1"}},
            "labels.liver",
            "must be a whole number from 0, or a list of them, not '1'",
        ),
        (
            {"labels": {"background": 0, "liver": True}},
            "labels.liver",
            "must be a whole number from 0, or a list of them, not True",
        ),
        (
            {"labels": {"background": 0, "liver": 1.5}},
            "labels.liver",
            "must be a whole number from 0, or a list of them, not 1.5",
        ),
        ({"labels": {"liver": 1}}, "labels.background", "must be there and be 0"),
        (
            {"labels": {"background": 0, "liver": 2}},
            "labels",
            "must use the values 0, 1, 2, … without a gap: 1 is missing",
        ),
        (
            {"labels": {"background": 0}},
            "labels",
            "must name at least one structure besides background",
        ),
        (
            {"labels": {"background": 0, "ignore": 1, "liver": 2}},
            "labels.ignore",
            "must be the highest value",
        ),
        (
            {"labels": {"background": 0, "whole": [1, 2], "core": 2}},
            "regions_class_order",
            "must list 2 values, one for each region, because labels has regions",
        ),
        ({"regions_class_order": "12"}, "regions_class_order", "must be a list of label values"),
        ({"file_ending": None}, "file_ending", "is missing"),
        (
            {"file_ending": ".jpg"},
            "file_ending",
            "is '.jpg'; nnU-Net reads .nii.gz, .nii, .nrrd, .mha, .gipl, .tiff, .tif, .png, .bmp",
        ),
        ({"numTraining": "3"}, "numTraining", "must be a whole number, not '3'"),
        ({"dataset": []}, "dataset", "must list the cases, or be left out"),
        (
            {"dataset": {"a": {"images": "x", "label": "y"}}},
            "dataset.a",
            'must be {"images": [file, …], "label": file}',
        ),
    ],
)
def test_a_wrong_entry_is_named(entries, entry, what):
    with pytest.raises(DescriptionProblem) as problem:
        parse_description(changed(**entries))
    assert (problem.value.entry, problem.value.what) == (entry, what)
    assert str(problem.value) == f"dataset.json: “{entry}” {what}"
    assert problem.value.code is ErrorCode.DATASET_DESCRIPTION


@pytest.mark.parametrize(
    ("entries", "entry"),
    [
        ({"labels": {"background": 0}}, "labels"),
        ({"training": [{"image": 3}]}, "training.0"),
        ({"test": "all"}, "test"),
        ({"modality": None}, "modality"),
    ],
)
def test_a_wrong_entry_of_the_decathlon_is_named(entries, entry):
    document = {k: v for k, v in {**DECATHLON, **entries}.items() if v is not None}
    with pytest.raises(DescriptionProblem) as problem:
        parse_description(document)
    assert problem.value.entry == entry


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "dataset.json is not valid JSON (line 1, column 2)"),
        (b'{\n "labels": }', "dataset.json is not valid JSON (line 2, column 12)"),
        (b"[" * 100_000, "dataset.json is not valid JSON"),
        (b"[]", "dataset.json must hold one JSON object"),
        (b"\xff\xfe\x00", "dataset.json is not a text file in UTF-8"),
    ],
)
def test_a_file_that_is_no_json_object(tmp_path, content, sentence):
    path = tmp_path / "dataset.json"
    path.write_bytes(content)
    with pytest.raises(DescriptionProblem) as problem:
        read_description(path)
    assert str(problem.value) == sentence


def test_a_missing_file(tmp_path):
    with pytest.raises(DataProblem) as problem:
        read_description(tmp_path / "dataset.json")
    assert problem.value.code is ErrorCode.DESCRIPTION_MISSING
    assert str(problem.value) == f"there is no dataset.json in {tmp_path}"


def test_a_byte_order_mark_is_no_fault(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(SOUND).encode())
    assert read_description(path).channel_names == ("T1", "T2")


def test_environment_variables_in_listed_paths_are_filled_in_as_nnunet_does(monkeypatch):
    monkeypatch.setenv("IMAGES", "/mnt/images")
    file = parse_description(
        changed(dataset={"a": {"images": ["$IMAGES/a.nii.gz"], "label": "${IMAGES}/l.nii.gz"}})
    )
    (case,) = file.listed or ()
    assert (case.images, case.label) == (("/mnt/images/a.nii.gz",), "/mnt/images/l.nii.gz")


@pytest.mark.parametrize("by_map", [True, False])
def test_what_is_written_is_read_again(tmp_path, by_map):
    description = DatasetDescription(
        channel_names=("CT",),
        labels={"background": 0, "whole": (1, 2), "core": (2,)},
        file_ending=".nrrd",
        regions_class_order=(1, 2),
    )
    case = Case(name="a", channels=("/data/a_0000.nrrd",), label="/data/a.nrrd")
    path = tmp_path / "dataset.json"
    path.write_bytes(encode_description(description, [case], by_map=by_map))
    file = read_description_file(path)
    assert file.description == description
    assert file.training_count == 1
    listed = [(one.name, one.images, one.label) for one in file.listed or ()]
    assert listed == ([("a", case.channels, case.label)] if by_map else [])


def test_labels_that_nnunet_takes():
    check_labels({"background": 0, "liver": 1, "ignore": 2})
