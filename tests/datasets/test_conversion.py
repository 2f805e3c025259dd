"""Converting cases: voxel counts, overlaps, and what is left out with a reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from helpers.dicom_files import DicomStudy, box, noise

from app.datasets.conversion import convert
from app.datasets.dicom_cases import propose_dicom
from app.datasets.dicom_index import index
from app.domain.errors import ErrorCode, JobFailed

SHAPE = (8, 20, 24)
LIVER = box(SHAPE, (1, 6), (4, 16), (4, 18))
TUMOUR = box(SHAPE, (3, 5), (10, 19), (6, 9))


def run(folder, change=lambda proposal: proposal, **options):
    tree = index(folder)
    proposal = change(propose_dicom(folder, tree))
    return convert(folder, tree, proposal, folder.parent / "out", **options)


def read(path):
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))


@pytest.fixture
def folder(tmp_path):
    study = DicomStudy(tmp_path / "in")
    images = study.series("ct", noise(), intercept=-24.0)
    study.segmentation("seg", images, {"liver": LIVER, "tumour": TUMOUR})
    return study.folder


def test_image_and_label_are_what_the_source_says(folder):
    done = run(folder)
    (case,) = done.training
    assert (read(case.channels[0]) == noise() - 24).all()
    label = read(case.label)
    assert (label == np.where(TUMOUR, 2, np.where(LIVER, 1, 0))).all()
    overlap = int((LIVER & TUMOUR).sum())
    (finding,) = done.findings
    assert finding.check == "overlap"
    assert finding.sentence == (
        f"“tumour” and “liver” overlap in {overlap} voxels; they are given to “tumour”, which has "
        "the higher value"
    )
    assert finding.voxel == (3, 10, 6)
    assert len(done.sources) == 9
    first, second = (SimpleITK.ReadImage(path) for path in (case.channels[0], case.label))
    for ask in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(first, ask)() == getattr(second, ask)()


def test_structures_can_be_joined_left_out_and_renumbered(folder):
    def joined(proposal):
        return replace(
            proposal,
            structures=tuple(replace(one, name="all", value=1) for one in proposal.structures),
        )

    def only_tumour(proposal):
        liver, tumour = proposal.structures
        return replace(proposal, structures=(replace(liver, value=0), replace(tumour, value=1)))

    done = run(folder, joined)
    assert (read(done.training[0].label) == (LIVER | TUMOUR)).all()
    assert done.findings == ()
    done = run(folder, only_tumour)
    assert (read(done.training[0].label) == TUMOUR).all()


def test_a_case_that_cannot_be_converted_is_left_out_with_the_reason(folder, tmp_path):
    other = DicomStudy(folder / "second")
    images = other.series("ct", noise())
    corners = np.array([[-35.0, 15.0, 101.4], [-30.0, 15.0, 101.4], [-30.0, 20.0, 101.4]])
    other.structure_set("rt", images, {"liver": [corners]})
    broken = DicomStudy(folder / "third")
    broken.segmentation("seg", broken.series("ct", noise()), {"liver": LIVER})
    slice_file = next((broken.folder / "ct").iterdir())
    slice_file.write_bytes(slice_file.read_bytes()[:-500])
    done = run(folder)
    assert len(done.training) == 1
    said = {one.case: one.sentence for one in done.findings if one.check == "not-converted"}
    assert said["case-0002"] == (
        "the case is left out: the label lies on another voxel grid than its image "
        "(0.47 voxels off)"
    )
    assert said["case-0003"].endswith("damaged, or packed in a way that cannot be read")


def test_an_image_without_a_label_is_written_as_held_out(folder):
    DicomStudy(folder / "z").series("ct", noise(seed=3))
    done = run(folder)
    (case,) = done.held_out
    assert case.label is None
    assert case.channels[0].endswith("imagesTs/case-0002_0000.nii.gz")
    assert (read(case.channels[0]) == noise(seed=3)).all()


def test_it_stops_when_asked(folder):
    with pytest.raises(JobFailed) as failed:
        run(folder, stopped=lambda: True)
    assert failed.value.code is ErrorCode.JOB_STOPPED
