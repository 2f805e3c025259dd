from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK
from helpers import snapshots

from app.datasets.geometry import Plane
from app.domain.errors import DataProblem
from app.ui.presenters.volumes import (
    CasePaths,
    file_stamp,
    lesions_of,
    place_to_look,
    read_case,
    worst_place,
)
from app.ui.widgets.case_viewer import CaseViewer


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


def test_of_a_case_that_was_not_segmented_the_parts_of_its_label_are_stepped_through():
    wanted = paths(prediction=None, labels=LABELS)
    loaded = read_case(wanted)
    parts = lesions_of(wanted, loaded)
    assert {one.label for one in parts} == {"anterior", "posterior"}
    assert all(loaded.reference[one.voxel] for one in parts)
    slices = (loaded.reference != 0).reshape(len(loaded.reference), -1).sum(axis=1)
    assert loaded.worst[0] == slices.argmax()


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


def test_further_channels_have_their_names():
    case = snapshots.dataset().held_out[0]
    other = snapshots.dataset().held_out[1]
    loaded = read_case(paths(more=case.channels, channel_names=("T1", "T2")))
    assert loaded.channel_names == ("T1", "T2")
    assert [volume.array.shape for volume in loaded.channels] == [loaded.coded[0].shape] * 2
    loaded = read_case(paths(more=other.channels, channel_names=("T1", "T2")))
    assert loaded.channel_names == ("T1",)
    assert loaded.remark == "T2 has another size than the first channel and is not shown."


def test_the_memory_of_a_case_counts_the_copies_of_the_viewer():
    loaded = read_case(paths(prediction=None))
    before = loaded.bytes_held
    assert before >= loaded.image.array.nbytes + loaded.reference.nbytes
    loaded.coded[0].prepare()
    assert loaded.bytes_held == before + loaded.coded[0].codes.nbytes


def huge(path: Path, size: tuple[int, int, int], kind: str = "MET_SHORT", width: int = 2) -> str:
    """Write a MetaImage of zeros that takes no room on the disk."""
    header = (
        f"ObjectType = Image\nNDims = 3\nDimSize = {size[0]} {size[1]} {size[2]}\n"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 0.5 0.5 0.7\n"
        f"BinaryData = True\nBinaryDataByteOrderMSB = False\nElementType = {kind}\n"
        "ElementDataFile = LOCAL\n"
    )
    with path.open("wb") as file:
        file.write(header.encode())
        file.truncate(len(header) + width * size[0] * size[1] * size[2])
    return str(path)


def shown_in_part(tmp_path, size, qtbot, *, with_label):
    """Read an image of that size with one bright voxel, and show it."""
    image, label = huge(tmp_path / "image.mha", size), None
    x, y, z = (count // 4 * 2 for count in size)
    spots = [(image, 2, 1000)]
    if with_label:
        label = huge(tmp_path / "label.mha", size, "MET_UCHAR", 1)
        spots.append((label, 1, 1))
    for path, width, value in spots:
        voxels = size[0] * size[1] * (size[2] - z) - y * size[0] - x
        with Path(path).open("r+b") as file:
            file.seek(-width * voxels, os.SEEK_END)
            file.write(value.to_bytes(width, "little"))
    wanted = CasePaths(
        case="huge", image=image, prediction=label, labels=(("Spot", (1,)),), voxel=(z, y, x)
    )
    loaded = read_case(wanted)
    viewer = CaseViewer()
    qtbot.addWidget(viewer)
    viewer.resize(900, 700)
    viewer.show()
    viewer.show_case(
        loaded.channels, *loaded.maps, coded=loaded.coded, names={1: "Spot"},
        voxel=loaded.voxel, step=loaded.step, remark=loaded.remark,
    )  # fmt: skip
    view = viewer.view
    assert loaded.step == 2
    assert loaded.voxel == view.crosshair == (z, y, x)
    assert "every second voxel" in viewer._remark.text()
    assert viewer._remark.isVisible()
    internal = (z // 2, y // 2, x // 2)
    text = f"voxel {x}, {y}, {z}   value 1000"
    assert view.describe(internal) == text + ("   prediction Spot" if with_label else "")
    assert "1/2 resolution" in view.panes[Plane.AXIAL].scene.content.corner
    assert loaded.image.geometry.point_of(internal) == pytest.approx((x / 2, y / 2, z * 0.7))
    if with_label:
        assert loaded.worst == (z, y, x)
        assert [one.voxel for one in lesions_of(wanted, loaded)] == [(z, y, x)]
    return loaded


def test_an_image_that_is_too_large_is_shown_in_part_and_that_is_said(tmp_path, qtbot, monkeypatch):
    monkeypatch.setattr("app.ui.presenters.volumes._LARGEST_BYTES", 40_000)
    loaded = shown_in_part(tmp_path, (41, 50, 60), qtbot, with_label=True)
    assert loaded.image.array.shape == (30, 25, 21)


@pytest.mark.slow
def test_15_gigabytes_are_shown_at_half_resolution(tmp_path, qtbot):
    loaded = shown_in_part(tmp_path, (2000, 2000, 1900), qtbot, with_label=False)
    assert loaded.bytes_held < 15.2e9 / 8 * 1.1
    assert "15.2 GB" in loaded.remark


def test_a_packed_image_that_does_not_fit_into_memory_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "packed.nii.gz"
    SimpleITK.WriteImage(SimpleITK.Image(40, 40, 40, SimpleITK.sitkInt16), str(path))
    memory = SimpleNamespace(available=1000, total=10**6)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    with pytest.raises(DataProblem) as caught:
        read_case(paths(image=str(path)))
    assert "does not fit into memory" in str(caught.value)
    assert caught.value.remedy


def small_image(*size: int, kind: int = SimpleITK.sitkInt16, components: int = 0):
    if components:
        return SimpleITK.Image(list(size), kind, components)
    made = SimpleITK.Image(list(size), kind)
    return made + 7 if len(size) < 4 else made


@pytest.mark.parametrize(
    ("name", "image", "panes"),
    [
        ("ct.nii.gz", small_image(9, 8, 7), 3),
        ("ct.nii", small_image(9, 8, 7, kind=SimpleITK.sitkFloat64), 3),
        ("mr.nrrd", small_image(9, 8, 7, kind=SimpleITK.sitkUInt16), 3),
        ("mr.mha", small_image(9, 8, 7, kind=SimpleITK.sitkUInt8), 3),
        ("one_slice.nii.gz", small_image(9, 8, 1), 1),
        ("radiograph.png", small_image(9, 8, kind=SimpleITK.sitkUInt8), 1),
        ("radiograph.mha", small_image(9, 8, kind=SimpleITK.sitkInt32), 1),
        ("one_row.nii.gz", small_image(9, 1, 1), 3),
        ("one_voxel.nii.gz", small_image(1, 1, 1), 3),
    ],
)
def test_images_of_every_kind_are_shown(tmp_path, qtbot, name, image, panes):
    path = tmp_path / name
    SimpleITK.WriteImage(image, str(path))
    loaded = read_case(CasePaths(case="x", image=str(path)))
    viewer = CaseViewer()
    qtbot.addWidget(viewer)
    viewer.resize(700, 600)
    viewer.show()
    viewer.show_case(loaded.channels, *loaded.maps, coded=loaded.coded, names={}, voxel=None)
    shown = [pane for pane in viewer.view.panes.values() if pane.isVisible()]
    assert len(shown) == panes
    assert all(not pane.grab().isNull() and pane.renders for pane in shown)
    assert viewer.view.describe((0, 0, 0)).endswith("value 7")


@pytest.mark.parametrize(
    ("name", "image", "words"),
    [
        ("time.nii.gz", small_image(5, 5, 5, 3), "4 dimensions"),
        ("colours.png", small_image(9, 8, kind=SimpleITK.sitkVectorUInt8, components=3), "colour"),
        ("vector.nrrd", small_image(5, 5, 5, kind=SimpleITK.sitkVectorFloat32, components=2), "2 values"),
        ("cut.nii", None, "bytes"),
        ("garbage.mha", None, "damaged"),
        ("empty.nrrd", None, "empty"),
        ("gone.nii.gz", None, "no such file"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused_with_a_sentence_and_a_remedy(tmp_path, name, image, words):
    path = tmp_path / name
    if image is not None:
        SimpleITK.WriteImage(image, str(path))
    elif name.startswith("cut"):
        SimpleITK.WriteImage(small_image(20, 20, 20), str(path))
        path.write_bytes(path.read_bytes()[:5000])
    elif name.startswith("garbage"):
        path.write_bytes(bytes(range(256)) * 20)
    elif name.startswith("empty"):
        path.touch()
    with pytest.raises(DataProblem) as caught:
        read_case(CasePaths(case="x", image=str(path)))
    assert words in str(caught.value)
    assert caught.value.remedy
