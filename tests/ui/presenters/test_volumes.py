from __future__ import annotations

import os

import numpy as np
import pytest
import SimpleITK
from helpers import snapshots

from app.domain.errors import DataProblem
from app.ui.presenters.volumes import (
    CasePaths,
    file_stamp,
    lesions_of,
    place_to_look,
    read_case,
    worst_place,
)


def paths(**changes) -> CasePaths:
    case = snapshots.dataset().held_out[0]
    fields = {
        "case": case.name,
        "image": case.channels[0],
        "prediction": case.label,
        "reference": case.label,
    }
    return CasePaths(**{**fields, **changes})


def test_reads_image_and_maps():
    loaded = read_case(paths())
    assert loaded.image.array.ndim == 3
    assert loaded.prediction is not None
    assert loaded.prediction.shape == loaded.image.array.shape
    assert loaded.remark == ""
    z, y, x = loaded.voxel
    assert loaded.reference[z, y, x] != 0


def test_a_voxel_that_was_asked_for_wins():
    assert read_case(paths(voxel=(1, 2, 3))).voxel == (1, 2, 3)


def test_a_map_of_another_size_is_left_out_and_said():
    other = snapshots.dataset().held_out[1].label
    loaded = read_case(paths(reference=other))
    assert loaded.reference is None
    assert loaded.remark == "The label has another size than the image and is not shown."


def test_a_missing_image_is_a_problem_for_a_person(tmp_path):
    with pytest.raises(DataProblem) as caught:
        read_case(paths(image=str(tmp_path / "gone.nii.gz")))
    assert caught.value.remedy


def test_place_to_look_is_the_slice_with_most_errors():
    reference = np.zeros((5, 6, 7), np.uint8)
    reference[1:4, 2:4, 2:4] = 1
    prediction = reference.copy()
    prediction[3, 0:2, 5] = 2
    assert place_to_look(prediction, reference)[0] == 3
    assert place_to_look(prediction, reference)[2] == 5


def test_place_to_look_without_errors_is_the_fullest_slice():
    reference = np.zeros((5, 6, 7), np.uint8)
    reference[1, 2, 2] = 1
    reference[2, 2:4, 2:4] = 1
    assert place_to_look(reference, reference)[0] == 2
    assert place_to_look(None, reference)[0] == 2
    assert place_to_look(None, None) is None
    assert place_to_look(None, np.zeros((2, 2, 2))) is None


def test_place_to_look_lies_inside_a_bent_structure():
    ring = np.zeros((1, 9, 9), np.uint8)
    ring[0, 1:8, 1:8] = 1
    ring[0, 3:6, 3:6] = 0
    z, y, x = place_to_look(ring, None)
    assert ring[z, y, x] == 1


def moved(tmp_path, shift=3):
    case = snapshots.dataset().held_out[0]
    image = SimpleITK.ReadImage(case.label)
    made = SimpleITK.GetImageFromArray(np.roll(SimpleITK.GetArrayFromImage(image), shift, axis=2))
    made.CopyInformation(image)
    path = tmp_path / "moved.nii.gz"
    SimpleITK.WriteImage(made, str(path))
    return str(path)


LABELS = (("anterior", (1,)), ("posterior", (2,)))


def test_the_errors_are_there_largest_first(tmp_path):
    wanted = paths(prediction=moved(tmp_path), labels=LABELS)
    loaded = read_case(wanted)
    lesions = lesions_of(wanted, loaded)
    sizes = [one.voxels for one in lesions]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes
    for one in lesions[:4]:
        assert loaded.prediction[one.voxel] != loaded.reference[one.voxel]
    assert lesions_of(paths(), loaded) == ()


def test_without_a_reference_parts_of_the_segmentation_are_stepped_through():
    wanted = paths(reference=None, labels=LABELS)
    loaded = read_case(wanted)
    lesions = lesions_of(wanted, loaded)
    assert {one.label for one in lesions} == {"anterior", "posterior"}
    assert all(loaded.prediction[one.voxel] for one in lesions)


def test_it_opens_at_the_worst_slice_of_the_worst_structure(tmp_path):
    prediction = np.zeros((6, 8, 8), np.uint8)
    reference = prediction.copy()
    reference[1, :6, :6] = 1  # the largest error of all
    reference[4, 2:4, 2:4] = 2
    assert worst_place(prediction, reference, (2,))[0] == 4
    assert worst_place(prediction, reference, None)[0] == 1
    prediction[4] = reference[4]
    assert worst_place(prediction, reference, (2,))[0] == 1  # nothing is wrong with it


def test_a_file_that_changed_has_another_stamp(tmp_path):
    path = moved(tmp_path)
    before = file_stamp(paths(prediction=path))
    assert before == file_stamp(paths(prediction=path))
    os.utime(path, (1, 1))
    assert file_stamp(paths(prediction=path)) != before
    assert file_stamp(paths(image="/gone"))[0] is None
