"""From DICOM objects to cases: which series is which channel, and which label belongs where."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from helpers.dicom_files import PATIENT, DicomStudy, box, noise

from app.datasets.dicom_cases import channel_of, propose_dicom
from app.datasets.dicom_index import Series, index
from app.domain.layout_proposal import SourceKind

SHAPE = (8, 20, 24)
MASK = box(SHAPE, (2, 4), (5, 9), (3, 6))
STUDY = (("CT",), {"background": 0, "Liver": 2, "spleen": 1})


def propose(folder, **options):
    return propose_dicom(folder, index(folder), **options)


@pytest.mark.parametrize(
    ("modality", "description", "channel"),
    [
        ("CT", "T1 post", "CT"),
        ("PT", "", "PET"),
        ("MR", "T1post", "T1c"),
        ("MR", "AX_T1_+C", "T1c"),
        ("MR", "t1 mprage sag", "T1"),
        ("MR", "FLAIR_reg", "FLAIR"),
        ("MR", "ax T2 TSE", "T2"),
        ("MR", "ep2d_diff ADC", "ADC"),
        ("MR", PATIENT, "MRI"),
    ],
)
def test_a_description_is_searched_for_words_and_never_taken_over(modality, description, channel):
    series = Series(
        study="s", uid="u", frame_of_reference="f", modality=modality, description=description,
        slices=(), geometry=None,
    )  # fmt: skip
    assert channel_of(series) == channel


def test_series_on_one_grid_are_channels_and_others_are_unused(tmp_path):
    for number in range(3):
        study = DicomStudy(tmp_path / f"p{number}")
        study.series("a-t1", noise(), modality="MR", description="T1")
        flair = study.series("b-flair", noise(seed=1), modality="MR", description="FLAIR")
        study.series("c-t2", noise(), modality="MR", description="T2", origin=(0.0, 0.0, 0.0))
        study.segmentation("z-seg", flair, {"tumour": MASK})
    found = propose(tmp_path)
    assert [(one.found, one.name, one.cases) for one in found.channels] == [
        ("FLAIR", "FLAIR", 3),
        ("T1", "T1", 3),
    ]
    assert [one.name for one in found.cases] == ["case-0001", "case-0002", "case-0003"]
    (flair_source, t1_source) = found.cases[1].channels
    assert flair_source.path.startswith("p1/b-flair/")
    assert (t1_source.kind, t1_source.files) == (SourceKind.SERIES, 8)
    assert [(one.source.path.split("/")[1], one.reason) for one in found.unused] == [
        ("c-t2", "no label belongs to it")
    ] * 3
    assert PATIENT not in str(found)


def test_labels_without_their_series_and_labels_twice_are_named(tmp_path):
    study, other = DicomStudy(tmp_path / "p"), DicomStudy(tmp_path / "q")
    images = study.series("ct", noise())
    study.segmentation("a-seg", images, {"one": MASK})
    study.segmentation("b-seg", images, {"one": MASK})
    study.segmentation("c-seg", images, {"two": MASK})
    study.structure_set("d-rt", images, {"three": []})
    gone = other.series("gone", noise(), leave_out=range(8))
    assert gone == []
    kept = other.series("ct", noise(), leave_out=(4,))
    other.structure_set("rt", kept, {"one": []})
    found = propose(tmp_path)
    (case,) = found.cases
    assert [one.path for one in case.labels] == ["p/a-seg", "p/c-seg", "p/d-rt"]
    assert [(one.found, one.value) for one in found.structures] == [
        ("one", 1), ("three", 2), ("two", 3),
    ]  # fmt: skip
    reasons = {one.source.path: (one.reason, one.missed) for one in found.unused}
    missing = "slices are missing: from slice 4 to 5 there are 6.00 mm, elsewhere 3.00 mm"
    assert reasons == {
        "p/b-seg": ("another label of this case has its structures", True),
        "q/rt": (f"the series it was drawn on cannot be used: {missing}", True),
        min(path for path in reasons if path.startswith("q/ct/")): (missing, True),
    }


def test_label_files_find_the_nearest_series_on_whose_voxels_they_lie(tmp_path):
    for name in ("p", "q"):
        # Two patients scanned in the very same place: only folders tell them apart.
        DicomStudy(tmp_path / name).series("ct", noise())
        image = SimpleITK.GetImageFromArray(MASK.astype(np.uint8) * 3)
        image.SetSpacing((0.7, 0.8, 3.0))
        image.SetOrigin((-40.0, 12.5, 100.0))
        SimpleITK.WriteImage(image, str(tmp_path / name / "label.nii.gz"))
    image.SetOrigin((-40.3, 12.5, 100.0))
    SimpleITK.WriteImage(image, str(tmp_path / "other.nii.gz"))
    found = propose(tmp_path)
    assert [(case.found, case.labels[0].path) for case in found.cases] == [
        ("p/ct", "p/label.nii.gz"),
        ("q/ct", "q/label.nii.gz"),
    ]
    assert [(one.found, one.name) for one in found.structures] == [("value 3", "value 3")]
    (unused,) = found.unused
    assert (unused.source.path, unused.reason) == (
        "other.nii.gz", "it lies on the voxels of no series",
    )  # fmt: skip


def test_the_studys_names_and_values_are_taken_where_they_fit(tmp_path):
    study = DicomStudy(tmp_path)
    images = study.series("mr", noise(), modality="MR")
    study.segmentation("seg", images, {"couch": MASK, "liver": MASK})
    found = propose(tmp_path, study=STUDY)
    assert [(one.found, one.name) for one in found.channels] == [("MRI", "CT")]
    assert [(one.found, one.name, one.value, one.cases) for one in found.structures] == [
        ("couch", "couch", 0, 1),
        ("liver", "Liver", 2, 1),
        ("spleen", "spleen", 1, 0),
    ]
    assert found.labels == {"background": 0, "spleen": 1, "Liver": 2}


def test_images_without_a_label_are_held_out_when_they_have_every_channel(tmp_path):
    first, second = DicomStudy(tmp_path / "b"), DicomStudy(tmp_path / "a")
    first.segmentation("seg", first.series("ct", noise()), {"one": MASK})
    second.series("ct", noise())
    second.series("mr", noise((4, 9, 9)), modality="MR")
    found = propose(tmp_path)
    assert [(case.name, case.found, len(case.labels)) for case in found.cases] == [
        ("case-0001", "b/ct", 1),
        ("case-0002", "a/ct", 0),
    ]
    assert [one.source.path.split("/")[1] for one in found.unused] == ["mr"]


def test_without_labels_there_are_no_cases_and_without_dicom_no_proposal(tmp_path):
    assert propose(tmp_path) is None
    DicomStudy(tmp_path).series("ct", noise())
    found = propose(tmp_path)
    assert (found.cases, found.channels, len(found.unused)) == ((), (), 1)
