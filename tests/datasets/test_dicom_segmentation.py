"""DICOM SEG as written: read back voxel by voxel and by position, with pydicom and highdicom."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from helpers.dicom_files import PATIENT, PATIENT_ID, SECRETS, DicomStudy, box, noise

from app.datasets.dicom_index import index
from app.datasets.dicom_labels import segmentation_structures
from app.datasets.dicom_segmentation import write_segmentation
from app.datasets.geometry import Geometry
from app.domain.errors import DataProblem, ErrorCode

SHAPE = (8, 20, 24)
LABELS = {"background": 0, "anterior": 1, "posterior": 5, "ignore": 6}
_OF_THE_PATIENT = {
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "ReferringPhysicianName",
    "InstitutionName",
    "StudyDate",
    "AccessionNumber",
    "ContributingEquipmentSequence",  # which scanner made the source
}
OBLIQUE = {"rows": (0.8, 0.6, 0.0), "columns": (0.0, 0.0, -1.0)}


def prediction(shape=SHAPE):
    found = np.zeros(shape, np.uint8)
    found[box(shape, (2, 3), (5, 12), (3, 9))] = 1
    found[box(shape, (5, 7), (4, 8), (2, 20))] = 5
    found[0, 0, 0] = 1  # a corner: an axis that is flipped or shifted shows
    return found


def series_of(folder: Path):
    (series,) = index(folder).series
    return series, tuple(folder / one.path for one in series.slices)


def write(folder, labels=LABELS, found=None):
    series, slices = series_of(folder / "images")
    output = folder / "made.seg.dcm"
    found = prediction() if found is None else found
    write_segmentation(found, slices, labels, output, model="nnU-Net abc", model_digest="d" * 64)
    return series, output


def by_position(path: Path, geometry: Geometry) -> dict[str, np.ndarray]:
    """Read masks with pydicom alone: each frame to where its position in the patient says."""
    seg = pydicom.dcmread(path)
    names = {int(one.SegmentNumber): str(one.SegmentLabel) for one in seg.SegmentSequence}
    masks = {name: np.zeros(geometry.shape, bool) for name in names.values()}
    direction = np.asarray(geometry.direction)
    for frame, groups in zip(
        seg.pixel_array.reshape(-1, seg.Rows, seg.Columns),
        seg.PerFrameFunctionalGroupsSequence,
        strict=True,
    ):
        place = np.asarray(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        offset = direction.T @ (place - np.asarray(geometry.origin_mm))
        z = offset[2] / geometry.spacing_mm[0]
        assert abs(z - round(z)) < 1e-3
        assert np.abs(offset[:2]).max() < 1e-3
        masks[names[int(number)]][round(z)] = frame.astype(bool)
    return masks


@pytest.mark.parametrize("way", [{}, OBLIQUE], ids=["axial", "oblique"])
def test_every_voxel_comes_back_at_its_place(tmp_path, way):
    DicomStudy(tmp_path / "images").series("ct", noise(SHAPE), **way)
    series, output = write(tmp_path)
    expected = {"anterior": prediction() == 1, "posterior": prediction() == 5}
    masks = by_position(output, series.geometry)
    assert masks.keys() == expected.keys()
    for name, mask in expected.items():
        assert (masks[name] == mask).all()
    # And as our own reader and highdicom read it.
    for structure in segmentation_structures(output, series.geometry):
        assert (structure.draw()[0] == expected[structure.found]).all()
    read = highdicom.seg.segread(output)
    assert [read.get_segment_description(n).segment_label for n in (1, 2)] == list(expected)
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in series_of(tmp_path / "images")[1]]
    back = read.get_pixels_by_source_instance(
        uids, ignore_spatial_locations=False, combine_segments=False
    )
    assert (back[..., 0] == expected["anterior"]).all()
    assert (back[..., 1] == expected["posterior"]).all()


def test_it_refers_to_its_source_and_carries_nothing_more_of_the_patient(tmp_path):
    study = DicomStudy(tmp_path / "images")
    sources = study.series("ct", noise(SHAPE))
    _, output = write(tmp_path)
    seg = pydicom.dcmread(output)
    assert (str(seg.PatientName), seg.PatientID) == (PATIENT, PATIENT_ID)
    assert seg.StudyInstanceUID == study.study
    assert seg.FrameOfReferenceUID == study.frame
    [referenced] = seg.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == sources[0].SeriesInstanceUID
    assert {one.ReferencedSOPInstanceUID for one in referenced.ReferencedInstanceSequence} == {
        one.SOPInstanceUID for one in sources
    }
    assert seg.SeriesInstanceUID != sources[0].SeriesInstanceUID
    # Whatever names a person, a place or a date of the patient stands so in the source series.
    for element in seg:
        if element.VR in ("PN", "DA", "SH", "LO") and element.keyword in _OF_THE_PATIENT:
            assert element.value == sources[0][element.tag].value, element.keyword
    assert seg.Manufacturer == "FednnU-Net Desktop"
    assert not seg.get("ContentCreatorName")
    told = {e.keyword for e in seg if any(secret.decode() in str(e.value) for secret in SECRETS)}
    assert told <= _OF_THE_PATIENT


def test_without_a_name_in_the_source_there_is_none_in_the_segmentation(tmp_path):
    study = DicomStudy(tmp_path / "images")
    for path in (study.folder / "ct").glob("*") if study.series("ct", noise(SHAPE)) else ():
        one = pydicom.dcmread(path)
        one.PatientName, one.PatientID = "", ""
        one.PatientBirthDate = ""
        one.save_as(path)
    _, output = write(tmp_path)
    seg = pydicom.dcmread(output)
    assert (str(seg.PatientName), str(seg.PatientID)) == ("", "")
    assert b"Quillfeather" not in output.read_bytes()


def test_a_series_that_says_nothing_of_its_patient_is_enough(tmp_path):
    """As de-identified ones are: what may be empty is not there at all."""
    study = DicomStudy(tmp_path / "images")
    study.series("ct", noise(SHAPE))
    for path in (study.folder / "ct").iterdir():
        one = pydicom.dcmread(path)
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID",
                        "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName",
                        "PositionReferenceIndicator", "InstitutionName"):  # fmt: skip
            delattr(one, keyword)
        one.save_as(path)
    series, output = write(tmp_path)
    masks = by_position(output, series.geometry)
    assert (masks["anterior"] == (prediction() == 1)).all()
    assert str(pydicom.dcmread(output).PatientName) == ""


def test_regions_are_segments_that_overlap(tmp_path):
    DicomStudy(tmp_path / "images").series("ct", noise(SHAPE))
    labels = {"background": 0, "whole": (1, 5), "core": (5,)}
    series, output = write(tmp_path, labels)
    masks = by_position(output, series.geometry)
    assert (masks["whole"] == (prediction() > 0)).all()
    assert (masks["core"] == (prediction() == 5)).all()


def test_an_empty_segmentation_is_written_too(tmp_path):
    DicomStudy(tmp_path / "images").series("ct", noise(SHAPE))
    series, output = write(tmp_path, found=np.zeros(SHAPE, np.uint8))
    assert not any(mask.any() for mask in by_position(output, series.geometry).values())


def test_what_does_not_fit_is_refused_and_nothing_is_left(tmp_path):
    DicomStudy(tmp_path / "images").series("ct", noise(SHAPE))
    with pytest.raises(DataProblem, match="8 slices, the segmentation 7") as caught:
        write(tmp_path, found=prediction()[:7])
    assert caught.value.code is ErrorCode.GEOMETRY_DIFFERS
    _, slices = series_of(tmp_path / "images")
    slices[3].unlink()
    with pytest.raises(DataProblem, match="cannot be read any more"):
        write_segmentation(
            prediction(), slices, LABELS, tmp_path / "x.dcm", model="m", model_digest="d"
        )
    assert not list(tmp_path.glob("*.dcm"))
    assert not list(tmp_path.glob(".dicom-seg-*"))


def test_a_real_series(tmp_path, real_data):
    folder = real_data / "dicom" / "study1" / "13_HCropVolume"
    series, slices = series_of(folder)
    found = np.zeros(series.geometry.shape, np.uint8)
    found[3:9, 10:20, 12:30], found[9:12, 15:25, 5:9] = 1, 5
    write_segmentation(
        found, slices, LABELS, tmp_path / "made.dcm", model="m", model_digest="d" * 64
    )
    masks = by_position(tmp_path / "made.dcm", series.geometry)
    assert (masks["anterior"] == (found == 1)).all()
    assert (masks["posterior"] == (found == 5)).all()
