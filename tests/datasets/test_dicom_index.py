"""What lies in a DICOM tree, and which series make no volume."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from helpers.dicom_files import DicomStudy, box, noise

from app.datasets.dicom_index import index
from app.domain.errors import ErrorCode, JobFailed

SHAPE = (8, 20, 24)
SAME_PLACE = (
    "several of its images lie at the same place, as time points, echoes or repeated scans do"
)
OBLIQUE = {"rows": (0.8, 0.6, 0.0), "columns": (0.0, 0.0, -1.0)}


def only(tree):
    (series,) = tree.series
    return series


def test_slices_are_ordered_by_position_whatever_their_names(tmp_path):
    written = DicomStudy(tmp_path).series("ct", noise(), **OBLIQUE)
    series = only(index(tmp_path))
    normal = np.cross(OBLIQUE["rows"], OBLIQUE["columns"])
    along = [np.dot(one.position_mm, normal) for one in series.slices]
    assert along == sorted(along)
    assert series.fault == ""
    assert series.geometry.shape == SHAPE
    assert series.geometry.spacing_mm == pytest.approx((3.0, 0.8, 0.7), abs=1e-3)
    assert series.geometry.origin_mm == pytest.approx(
        [float(part) for part in written[0].ImagePositionPatient], abs=1e-3
    )
    assert np.array(series.geometry.direction)[:, 0] == pytest.approx([0.8, 0.6, 0.0])
    assert np.array(series.geometry.direction)[:, 2] == pytest.approx(normal)
    assert series.detail == "CT, 24 x 20 x 8 voxels of 0.7 x 0.8 x 3 mm"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"leave_out": (3, 4)},
            "slices are missing: from slice 3 to 4 there are 9.00 mm, elsewhere 3.00 mm",
        ),
        (
            {"offsets": [(0, 0, 0.5 * (n == 5)) for n in range(8)]},
            "slices are unevenly spaced: from slice 5 to 6 there are 3.50 mm, elsewhere 3.00 mm",
        ),
        (
            {"offsets": [(0, 0.3 * n, 0) for n in range(8)]},
            "its slices are shifted sideways, as a tilted gantry does",
        ),
        (
            {"offsets": [(0, 0, -3.0 * (n % 2)) for n in range(8)]},
            SAME_PLACE,
        ),
    ],
    ids=["missing", "uneven", "tilted", "same place"],
)
def test_what_makes_no_volume_has_a_reason(tmp_path, changes, fault):
    DicomStudy(tmp_path).series("ct", noise(), **changes)
    series = only(index(tmp_path))
    assert (series.fault, series.geometry) == (fault, None)


def test_a_tree_of_mixed_studies_falls_into_its_parts(tmp_path):
    first, second = DicomStudy(tmp_path / "a" / "deep"), DicomStudy(tmp_path / "b")
    images = first.series("t1", noise(), modality="MR", description="T1 post")
    second.series("localizer", noise((3, 10, 10)))
    # A localizer with two orientations in one folder, beside another study's images.
    shutil.copytree(first.folder / "t1", tmp_path / "b" / "copy")
    first.segmentation("seg", images, {"one": box(SHAPE, (2, 4), (5, 9), (3, 6))})
    (tmp_path / "readme.txt").write_text("not DICOM")
    (tmp_path / "short.dcm").write_bytes(b"DICM")
    tree = index(tmp_path)
    assert [one.path.split("/")[0] for one in tree.series] == ["a", "b"]
    assert [len(one.slices) for one in tree.series] == [8, 3]  # copies count once
    assert tree.series[0].study != tree.series[1].study
    (label,) = tree.labels
    assert (label.structures, label.structure_set) == (("one",), False)
    assert label.refers_to == (tree.series[0].uid,)
    assert set(tree.other) == {"readme.txt", "short.dcm"}


def test_a_localizer_is_no_volume(tmp_path):
    DicomStudy(tmp_path).series("s", noise(), image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    assert only(index(tmp_path)).fault == "it is a localizer"


def test_reading_stops_when_asked(tmp_path):
    DicomStudy(tmp_path).series("ct", noise())
    seen = []
    with pytest.raises(JobFailed) as failed:
        index(
            tmp_path,
            progress=lambda done, total, what: seen.append((done, total, what)),
            stopped=lambda: len(seen) >= 3,
        )
    assert failed.value.code is ErrorCode.JOB_STOPPED
    assert seen[-1] == (2, 8, "reading DICOM headers")


def test_odd_values_of_a_patient_are_neither_warned_of_nor_logged(tmp_path, caplog, expected_log):
    import pydicom

    from app.datasets.dicom_labels import segmentation_structures

    study = DicomStudy(tmp_path)
    images = study.series("ct", noise())
    seg = study.segmentation("seg", images, {"one": box(SHAPE, (2, 4), (5, 9), (3, 6))})
    uid = images[0].FrameOfReferenceUID.encode()
    for path in (*(tmp_path / "ct").iterdir(), seg):
        path.write_bytes(path.read_bytes().replace(uid, b"Zephyrine" + uid[9:]))
    expected_log("pydicom", "Zephyrine")
    with pytest.warns(UserWarning, match="Zephyrine"):
        str(pydicom.dcmread(seg))  # so it would be
    caplog.set_level(0)
    caplog.clear()
    (series,) = index(tmp_path).series
    (structure,) = segmentation_structures(seg, series.geometry)
    assert structure.draw()[0].sum() == 24
    assert caplog.records == []
