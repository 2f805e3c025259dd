"""From a loose or DICOM folder to a data set that all rooms use, without touching the source."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from helpers import volumes
from helpers.dicom_files import SECRETS, DicomStudy, box
from helpers.site_home import tree_digest

from app.datasets.confirmed import answered, check_folder, confirm, propose
from app.datasets.digest import content_digest
from app.datasets.scan import scan
from app.domain.errors import DataProblem, ErrorCode, JobFailed, SetupProblem
from app.domain.findings import Severity
from app.domain.layout_proposal import ChannelAnswer, StructureAnswer

SHAPE = (12, 24, 24)
LIVER, TUMOUR = box(SHAPE, (2, 9), (4, 18), (4, 18)), box(SHAPE, (4, 7), (15, 21), (6, 12))


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """Five patients in one tree: two with SEG, two with RTSTRUCT, one with NIfTI, and a stray."""
    root = tmp_path_factory.mktemp("hospital") / "export"
    for number in range(5):
        study = DicomStudy(root / f"disk{number % 2}" / f"{number}")
        random = np.random.default_rng(number)
        array = (200 * LIVER + 300 * TUMOUR + random.normal(-300, 150, SHAPE)).astype(np.int16)
        images = study.series("ct", array, spacing=(3.0, 1.0, 1.0), origin=(number, -5.0, 20.0))
        if number < 2:
            study.segmentation("labels/seg", images, {"liver": LIVER, "tumour": TUMOUR})
        elif number < 4:
            study.structure_set("rt", images, _regions(images))
        else:
            label = SimpleITK.GetImageFromArray((LIVER + 1 * (LIVER & TUMOUR)).astype(np.uint8))
            label.SetSpacing((1.0, 1.0, 3.0))
            label.SetOrigin((number, -5.0, 20.0))
            SimpleITK.WriteImage(label, str(study.folder / "label.nii.gz"))
    scout = ("ORIGINAL", "PRIMARY", "LOCALIZER")
    DicomStudy(root / "scout").series("s", np.zeros((3, 8, 8)), image_type=scout)
    return root


def _regions(images):
    """Contours half a voxel outside of the masks, which so hold exactly their voxels."""
    found = {}
    for name, mask in {"liver": LIVER, "tumour": TUMOUR}.items():
        found[name] = []
        for number in np.flatnonzero(mask.any(axis=(1, 2))):
            rows, columns = np.nonzero(mask[number])
            x0, y0, z0 = (float(part) for part in images[number].ImagePositionPatient)
            left, right = columns.min() - 0.5 + x0, columns.max() + 0.5 + x0
            top, bottom = rows.min() - 0.5 + y0, rows.max() + 0.5 + y0
            found[name].append(
                np.array(
                    [(left, top, z0), (right, top, z0), (right, bottom, z0), (left, bottom, z0)]
                )
            )
    return found


def answer(proposal, **options):
    """Say of the hospital's proposal what a person would."""
    names = {"value 1": ("liver", 1), "value 2": ("tumour", 2)}
    names |= {"liver": ("liver", 1), "tumour": ("tumour", 2)}
    return answered(
        proposal,
        channels=[ChannelAnswer(found="CT", name="CT")],
        structures=[
            StructureAnswer(found=one.found, name=names[one.found][0], value=names[one.found][1])
            for one in proposal.structures
        ],
        **options,
    )


def test_a_dicom_tree_is_confirmed_checked_and_described_and_stays_as_it_was(hospital, tmp_path):
    from app.nnunet.fingerprint import extract

    before = tree_digest(hospital)
    first = check_folder(hospital)
    assert first.dataset is None
    assert [(one.check, one.severity) for one in first.report.findings] == [
        ("layout-to-confirm", Severity.BLOCKS),
    ]
    assert [len(case.labels) for case in first.proposal.cases] == [1] * 5
    workspace = tmp_path / "work"
    confirm(hospital, answer(first.proposal), workspace)
    again = check_folder(workspace)
    assert again.proposal is None
    assert again.report.cases == 5
    assert {one.check for one in again.report.findings} == {"overlap"}
    assert not again.report.blocks
    drawn = np.where(TUMOUR, 2, np.where(LIVER, 1, 0))
    in_file = np.where(LIVER & TUMOUR, 2, np.where(LIVER, 1, 0))
    sources = {case.name: case.labels[0].path for case in first.proposal.cases}
    for case in again.dataset.training:
        label = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(case.label))
        expected = in_file if sources[case.name].endswith(".nii.gz") else drawn
        assert (label == expected).all(), sources[case.name]
    fingerprint = extract(workspace, content_digest=again.report.content_digest)
    assert [case.case for case in fingerprint.cases] == [f"case-{n:04d}" for n in range(1, 6)]
    assert {case.spacing_mm for case in fingerprint.cases} == {(3.0, 1.0, 1.0)}
    assert tree_digest(hospital) == before
    # Nothing that was derived names the patient, the physician or the hospital; unpacked, too.
    import gzip

    derived = [path for path in workspace.rglob("*") if path.is_file()]
    assert len(derived) == 12
    for path in derived:
        data = path.read_bytes()
        data += gzip.decompress(data) if path.suffix == ".gz" else b""
        assert not [secret for secret in SECRETS if secret in data], path.name
    assert not [secret for secret in SECRETS if secret in repr(first.proposal).encode()]


@pytest.mark.nnunet
def test_a_confirmed_dicom_tree_is_preprocessed(hospital, tmp_path):
    pytest.importorskip("torch")
    from app.federation.plan_rules import pack
    from app.nnunet.convert import read_plan
    from app.nnunet.preprocessing import preprocess

    workspace = tmp_path / "work"
    proposal = propose(hospital)
    kept = [case.name for case in proposal.cases if case.labels[0].path.endswith("label.nii.gz")]
    confirm(hospital, answer(proposal, leave_out=kept), workspace)
    content = volumes.plan_content(cases=4)
    content["dataset"]["channel_names"] = {"0": "CT"}
    content["dataset"]["labels"] = {"background": 0, "liver": 1, "tumour": 2}
    plan = tmp_path / "plan.json"
    plan.write_bytes(
        pack(
            content["plans"], content["dataset"], content["fingerprint"], content["versions"]
        ).document
    )
    environment = dict(os.environ)
    try:
        split = preprocess(
            read_plan(plan),
            scan(workspace),
            workspace=tmp_path / "nnunet",
            configuration="3d_fullres",
            fold="0",
        )
    finally:
        os.environ.clear()
        os.environ.update(environment)
    assert len(split.training) + len(split.validation) == 4
    assert len(list((tmp_path / "nnunet").rglob("case-*.b2nd"))) == 8


def test_a_changed_source_changes_the_digest_and_blocks(hospital, tmp_path):
    source, workspace = tmp_path / "source", tmp_path / "work"
    shutil.copytree(hospital, source)
    confirm(source, answer(propose(source)), workspace)
    before = content_digest(scan(workspace))
    assert content_digest(scan(workspace)) == before
    os.utime(next(path for path in source.rglob("rt")), ns=(7, 7))
    assert content_digest(scan(workspace)) != before
    assert "source-changed" in {one.check for one in check_folder(workspace).report.findings}


def test_a_stopped_or_failed_conversion_leaves_nothing(hospital, tmp_path):
    proposal, workspace = answer(propose(hospital)), tmp_path / "work"
    seen = []

    def progress(done, total, what):
        seen.append((done, what))

    with pytest.raises(JobFailed) as stopped:
        confirm(
            hospital,
            proposal,
            workspace,
            progress=progress,
            stopped=lambda: (2, "converting cases") in seen,
        )
    assert stopped.value.code is ErrorCode.JOB_STOPPED
    assert list(workspace.iterdir()) == []
    elsewhere = tmp_path / "empty"
    elsewhere.mkdir()
    with pytest.raises(DataProblem, match="no case can be used; the case is left out: its CT is"):
        confirm(elsewhere, proposal, workspace)
    assert list(workspace.iterdir()) == []


def test_a_workspace_with_other_files_or_in_the_source_is_refused(hospital, tmp_path):
    proposal = answer(propose(hospital))
    (tmp_path / "thesis.doc").write_text("do not delete")
    with pytest.raises(SetupProblem, match=r"did not make, e\.g\. thesis\.doc"):
        confirm(hospital, proposal, tmp_path)
    with pytest.raises(SetupProblem, match="must not lie in the folder"):
        confirm(hospital, proposal, hospital / "work")
    assert (tmp_path / "thesis.doc").exists()


def test_dicom_without_usable_labels_says_what_is_missed(tmp_path):
    study = DicomStudy(tmp_path)
    images = study.series("ct", np.zeros(SHAPE), leave_out=(5,))
    study.structure_set("rt", images, {"liver": []})
    found = check_folder(tmp_path)
    assert found.proposal is None
    main, *missed = found.report.findings
    assert main.check == "no-cases"
    assert [one.path.split("/")[0] for one in missed] == ["ct", "rt"]
    assert "slices are missing: from slice 5 to 6 there are 6.00 mm" in missed[0].sentence


# Loose files.


@pytest.fixture
def loose(tmp_path):
    data, folder = volumes.write_dataset(tmp_path / "data"), tmp_path / "loose"
    shutil.copytree(data / "imagesTr", folder / "images")
    shutil.copytree(data / "labelsTr", folder / "labels")
    return folder


def test_a_loose_folder_is_proposed_and_used_where_it_lies(loose, tmp_path):
    before = tree_digest(loose)
    found = check_folder(loose)
    proposal = found.proposal
    assert (proposal.layout, proposal.values_fixed) == ("two-folders", True)
    assert [one.cases for one in proposal.channels] == [6]
    assert [(one.found, one.value) for one in proposal.structures] == [
        ("label 1", 1),
        ("label 2", 2),
    ]
    assert proposal.cases[0].channels[0].path == "images/case_000_0000.nii.gz"
    assert proposal.cases[0].labels[0].path == "labels/case_000.nii.gz"
    changed = answered(
        proposal,
        channels=[ChannelAnswer(found=proposal.channels[0].found, name="T1")],
        structures=[
            StructureAnswer(found="label 1", name="front", value=1),
            StructureAnswer(found="label 2", name="back", value=2),
        ],
        leave_out=("case_003",),
        pseudonyms=True,
    )
    workspace = tmp_path / "work"
    confirmation = confirm(loose, changed, workspace)
    dataset = scan(workspace)
    assert dataset.description.channel_names == ("T1",)
    assert dataset.description.labels == {"background": 0, "front": 1, "back": 2}
    assert [case.name for case in dataset.training] == [f"case-{n:04d}" for n in range(1, 6)]
    assert dataset.training[3].label == str(loose / "labels" / "case_004.nii.gz")
    assert confirmation.cases[3].found == "case_004"
    assert check_folder(workspace).report.findings == ()
    assert tree_digest(loose) == before
    assert sorted(path.name for path in workspace.iterdir()) == ["confirmed.json", "dataset.json"]


def test_the_studys_names_are_proposed(loose):
    study = (("MR",), {"background": 0, "front": 1, "back": 2, "middle": 3})
    proposal = propose(loose, study=study)
    assert [one.name for one in proposal.channels] == ["MR"]
    assert proposal.labels == study[1]


def test_a_folder_that_describes_itself_has_no_proposal(tmp_path):
    assert propose(volumes.write_dataset(tmp_path / "data", cases=1)) is None
    (tmp_path / "empty").mkdir()
    assert propose(tmp_path / "empty") is None
    assert propose(tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("channels", "structures", "options", "sentence"),
    [
        ([("x", "T1")], [], {}, "“x” is not in the proposed layout"),
        ([("", "T1")], [("liver", "liver", 1)], {}, "“liver” is not in the proposed layout"),
        ([("", "T1")], [], {"leave_out": ["nobody"]}, "“nobody” is not in the proposed layout"),
        ([], [], {}, "each channel must be used once, and at least one"),
        ([("", " ")], [], {}, "each channel needs a name of its own"),
        ([("", "T1")], [("label 1", "a", 2)], {}, "“label 1” has the value 1 in the label files"),
        (
            [("", "T1")],
            [("label 1", "a", 1), ("label 2", "a", 2)],
            {},
            "“a” cannot have two values",
        ),
        ([("", "T1")], [("label 1", "", 1), ("label 2", "a", 2)], {}, "“label 1” needs a name"),
    ],
)
def test_answers_that_do_not_fit_are_refused(loose, channels, structures, options, sentence):
    proposal = propose(loose)
    only = proposal.channels[0].found
    with pytest.raises(DataProblem) as problem:
        answered(
            proposal,
            channels=[ChannelAnswer(found=found or only, name=name) for found, name in channels],
            structures=[StructureAnswer(found=f, name=n, value=v) for f, n, v in structures],
            **options,
        )
    assert str(problem.value).startswith(sentence)
    assert problem.value.code is ErrorCode.DATASET_DESCRIPTION


def test_dicom_answers_must_give_values_without_gaps_and_one_name_each(hospital):
    proposal = propose(hospital)
    channels = [ChannelAnswer(found="CT", name="CT")]

    def structures(**values):
        return [StructureAnswer(found=one, name=one, value=value) for one, value in values.items()]

    with pytest.raises(DataProblem, match="without a gap: 1 is missing"):
        answered(proposal, channels=channels, structures=structures(liver=2))
    with pytest.raises(DataProblem, match="two structures have the same value"):
        answered(proposal, channels=channels, structures=structures(liver=1, tumour=1))
    kept = answered(proposal, channels=channels, structures=structures(liver=1))
    assert kept.labels == {"background": 0, "liver": 1}
    assert replace(kept, structures=()).labels == {"background": 0}
