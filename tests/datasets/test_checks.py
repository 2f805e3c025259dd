"""Every seeded fault gives exactly one row, the right one; a sound folder gives none."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers.image_folders import ImageFolder, shared_data, write_image

from app.datasets import checks, facts, scan
from app.datasets.checks import Room, check
from app.datasets.digest import content_digest
from app.domain.errors import ErrorCode
from app.domain.findings import Finding, Severity, ValidationReport

PLENTY = Room(free_disk=10**12, free_memory=10**12)
BLOCKS, MAY_HARM, HARMLESS = Severity.BLOCKS, Severity.MAY_HARM, Severity.HARMLESS


def run(folder: Path, **changes) -> ValidationReport:
    report, _ = check(folder, **{"room": PLENTY, **changes})
    return report


@pytest.fixture
def folder(tmp_path):
    return ImageFolder(tmp_path / "data")


def truncate(path: Path, share: float = 0.6) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def change_voxels(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    changed = SimpleITK.GetImageFromArray(change(SimpleITK.GetArrayFromImage(image)))
    changed.CopyInformation(image)
    SimpleITK.WriteImage(changed, str(path))


def with_value(value: float, *, at=(3, 3, 3)) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[at] = value
        return array

    return change


def shear(path: Path) -> None:
    """Tilt the third axis in a NIfTI header's sform, as a tilted gantry does."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<hh", raw, 252, 0, 1)  # no qform, an sform
    struct.pack_into("<12f", raw, 280, 1, 0.4, 0, 0, 0, 1, 0, 0, 0, 0, 3, 0)
    path.write_bytes(gzip.compress(bytes(raw)))


def describe_header(path: Path, *, descrip: str = "", aux_file: str = "") -> None:
    raw = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("80s24s", raw, 148, descrip.encode(), aux_file.encode())
    path.write_bytes(gzip.compress(bytes(raw)))


def rename_case(folder: ImageFolder, old: str, new: str) -> None:
    for part in ("imagesTr", "labelsTr"):
        for path in (folder.root / part).glob(f"{old}*"):
            path.rename(path.with_name(path.name.replace(old, new)))


@dataclass
class Fault:
    """One thing to break, and the one row that must come of it."""

    seed: Callable[[ImageFolder], object]
    check: str
    severity: Severity
    sentence: str
    case: str | None = "case_002"
    path: str | None = None
    voxel: tuple[int, int, int] | None = None


IMAGE, IMAGE_1 = "imagesTr/case_002_0000.nii.gz", "imagesTr/case_002_0001.nii.gz"
LABEL = "labelsTr/case_002.nii.gz"

FAULTS = {
    "missing channel": Fault(
        lambda f: f.image(channel=1).unlink(),
        "missing-channel",
        BLOCKS,
        "channel 1 (T2) is missing: there is no case_002_0001.nii.gz",
        path=IMAGE_1,
    ),
    "missing label": Fault(
        lambda f: f.label().unlink(),
        "missing-label",
        BLOCKS,
        "the label is missing: there is no case_002.nii.gz",
        path=LABEL,
    ),
    "extra channel": Fault(
        lambda f: shutil.copy(f.image(), f.image(channel=2)),
        "extra-channel",
        BLOCKS,
        "case_002_0002.nii.gz is a channel that dataset.json does not name",
        path="imagesTr/case_002_0002.nii.gz",
    ),
    "extra label": Fault(
        lambda f: shutil.copy(f.label(), f.label("case_099")),
        "extra-label",
        MAY_HARM,
        "case_099.nii.gz is a label without an image",
        case="case_099",
        path="labelsTr/case_099.nii.gz",
    ),
    "no channel number": Fault(
        lambda f: shutil.copy(f.image(), f.root / "imagesTr" / "case_099.nii.gz"),
        "file-name",
        BLOCKS,
        "case_099.nii.gz has no channel number such as _0000 in its name",
        case="case_099",
        path="imagesTr/case_099.nii.gz",
    ),
    "zero-byte image": Fault(
        lambda f: f.image().write_bytes(b""),
        "empty-file",
        BLOCKS,
        "channel 0 (T1) cannot be used: the file is empty (0 bytes)",
        path=IMAGE,
    ),
    "zero-byte label": Fault(
        lambda f: f.label().write_bytes(b""),
        "empty-file",
        BLOCKS,
        "the label cannot be used: the file is empty (0 bytes)",
        path=LABEL,
    ),
    "not an image": Fault(
        lambda f: f.image().write_text("this is a text"),
        "unreadable-file",
        BLOCKS,
        "channel 0 (T1) cannot be used: it is damaged, or not in the format its name says",
        path=IMAGE,
    ),
    "not orthonormal": Fault(
        lambda f: shear(f.image(channel=1)),
        "not-orthonormal",
        BLOCKS,
        "channel 1 (T2) cannot be used: its voxel axes are not at right angles",
        path=IMAGE_1,
    ),
    "four dimensions": Fault(
        lambda f: write_4d(f.image()),
        "not-3d",
        BLOCKS,
        "channel 0 (T1) cannot be used: it has 4 dimensions (3 volumes in one file)",
        path=IMAGE,
    ),
    "colour": Fault(
        lambda f: write_colour(f.image()),
        "colour-image",
        BLOCKS,
        "channel 0 (T1) cannot be used: it holds 3 values per voxel, as colour images do",
        path=IMAGE,
    ),
    "shape of label": Fault(
        lambda f: write_image(f.label(), f.label_voxels()[:, :, :-1]),
        "shape-differs",
        BLOCKS,
        "shape of case_002.nii.gz (9 x 8 x 6) differs from that of case_002_0000.nii.gz "
        "(10 x 8 x 6)",
        path=LABEL,
    ),
    "spacing of channel": Fault(
        lambda f: write_image(f.image(channel=1), f.voxels(2, 1), spacing_mm=(3.1, 1, 1)),
        "spacing-differs",
        BLOCKS,
        "spacing of case_002_0001.nii.gz (1 x 1 x 3.1 mm) differs from that of "
        "case_002_0000.nii.gz (1 x 1 x 3 mm)",
        path=IMAGE_1,
    ),
    "origin of label": Fault(
        lambda f: write_image(f.label(), f.label_voxels(), origin_mm=(-10, 5, 3)),
        "origin-differs",
        MAY_HARM,
        "origin of case_002.nii.gz ((-10.00, 5.00, 3.00)) differs from that of "
        "case_002_0000.nii.gz ((-10.00, 5.00, 2.00))",
        path=LABEL,
    ),
    "direction of label": Fault(
        lambda f: write_image(f.label(), f.label_voxels(), direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1)),
        "direction-differs",
        MAY_HARM,
        "direction of case_002.nii.gz (RAS) differs from that of case_002_0000.nii.gz (LPS)",
        path=LABEL,
    ),
    "mixed orientation": Fault(
        lambda f: [
            write_image(path, array, direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1))
            for path, array in (
                (f.image(), f.voxels(2)),
                (f.image(channel=1), f.voxels(2, 1)),
                (f.label(), f.label_voxels()),
            )
        ],
        "mixed-orientation",
        MAY_HARM,
        "the voxels are stored as RAS, those of 5 other cases as LPS",
        path=IMAGE,
    ),
    "NaN": Fault(
        lambda f: change_voxels(f.image(), with_value(np.nan, at=(1, 2, slice(3, 5)))),
        "not-finite",
        MAY_HARM,
        "case_002_0000.nii.gz has 2 voxels that are not numbers (NaN or infinite); they are taken as 0",
        path=IMAGE,
        voxel=(1, 2, 3),
    ),
    "infinity": Fault(
        lambda f: change_voxels(f.image(channel=1), with_value(-np.inf, at=(5, 0, 0))),
        "not-finite",
        MAY_HARM,
        "case_002_0001.nii.gz has 1 voxels that are not numbers (NaN or infinite); they are taken as 0",
        path=IMAGE_1,
        voxel=(5, 0, 0),
    ),
    "constant image": Fault(
        lambda f: change_voxels(f.image(), lambda a: np.full_like(a, 7)),
        "constant-image",
        MAY_HARM,
        "all voxels of case_002_0000.nii.gz are 7",
        path=IMAGE,
    ),
    "unexpected label": Fault(
        lambda f: change_voxels(f.label(), with_value(7, at=(2, 2, slice(2, 4)))),
        "unexpected-label",
        BLOCKS,
        "the label holds values that dataset.json does not name: 7 (2 voxels)",
        path=LABEL,
        voxel=(2, 2, 2),
    ),
    "fractional label": Fault(
        lambda f: change_voxels(f.label(), lambda a: with_value(0.5)(a.astype(np.float32))),
        "fractional-label",
        BLOCKS,
        "the label holds values that are not whole numbers: 0.5 (1 voxels)",
        path=LABEL,
        voxel=(3, 3, 3),
    ),
    "NaN in label": Fault(
        lambda f: change_voxels(f.label(), lambda a: with_value(np.nan)(a.astype(np.float32))),
        "not-finite",
        MAY_HARM,
        "case_002.nii.gz has 1 voxels that are not numbers (NaN or infinite); they are taken as 0",
        path=LABEL,
        voxel=(3, 3, 3),
    ),
    "missing label value": Fault(
        lambda f: change_voxels(f.label(), lambda a: np.where(a == 2, 1, a).astype(a.dtype)),
        "missing-label-value",
        HARMLESS,
        "“posterior” (2) has no voxel here; 5 of 6 cases have it",
        path=LABEL,
    ),
    "empty label": Fault(
        lambda f: change_voxels(f.label(), np.zeros_like),
        "empty-label",
        MAY_HARM,
        "nothing is labelled in this case",
        path=LABEL,
    ),
    "label never used": Fault(
        lambda f: f.describe(labels={**f.labels, "middle": 3}),
        "label-never-used",
        MAY_HARM,
        "“middle” (3) is labelled in no case",
        case=None,
    ),
    "duplicate case": Fault(
        lambda f: [shutil.copy(f.image("case_001", c), f.image(channel=c)) for c in (0, 1)],
        "duplicate-case",
        MAY_HARM,
        "has the same voxels as case_001",
        path=IMAGE,
    ),
    "held out though trained on": Fault(
        lambda f: f.add_case("case_100", seed=1, test=True),
        "duplicate-case",
        MAY_HARM,
        "has the same voxels as case_001",
        case="case_100",
        path="imagesTs/case_100_0000.nii.gz",
    ),
    "absurd spacing": Fault(
        lambda f: [
            write_image(path, array, spacing_mm=(0.003, 0.001, 0.001))
            for path, array in (
                (f.image(), f.voxels(2)),
                (f.image(channel=1), f.voxels(2, 1)),
                (f.label(), f.label_voxels()),
            )
        ],
        "absurd-spacing",
        MAY_HARM,
        "voxels of 0.001 x 0.001 x 0.003 mm are hardly those of a patient",
        path=IMAGE,
    ),
    "date in name": Fault(
        lambda f: rename_case(f, "case_002", "case_19540312"),
        "identifier-in-name",
        MAY_HARM,
        "the case's name holds what looks like a date",
        case="case_19540312",
        path="imagesTr/case_19540312_0000.nii.gz",
    ),
    "name in descrip": Fault(
        lambda f: describe_header(f.image(), descrip="Mustermann^Erika"),
        "identifier-in-header",
        MAY_HARM,
        "the header field descrip of case_002_0000.nii.gz holds what looks like a person's name",
        path=IMAGE,
    ),
    "number in aux_file": Fault(
        lambda f: describe_header(f.image(channel=1), aux_file="pid 48810377"),
        "identifier-in-header",
        MAY_HARM,
        "the header field aux_file of case_002_0001.nii.gz holds what looks like a long number, "
        "as record numbers are",
        path=IMAGE_1,
    ),
    "wrong numTraining": Fault(
        lambda f: f.describe(numTraining=60),
        "training-count",
        HARMLESS,
        "dataset.json says numTraining 60, but there are 6 cases",
        case=None,
    ),
}


def write_4d(path: Path) -> None:
    import SimpleITK

    volumes = np.random.default_rng(0).normal(size=(3, 6, 8, 10)).astype(np.float32)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(volumes, isVector=False), str(path))


def write_colour(path: Path) -> None:
    import SimpleITK

    colours = np.random.default_rng(0).integers(0, 255, (6, 8, 10, 3)).astype(np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(colours, isVector=True), str(path))


def test_a_sound_folder_has_no_findings(folder):
    folder.add_case("case_100", seed=100, test=True)
    report, dataset = check(folder.root, room=PLENTY)
    assert report.findings == ()
    assert not report.blocks
    assert report.cases == 6
    assert dataset == scan.scan(folder.root)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_gives_exactly_one_row(folder, name):
    fault = FAULTS[name]
    fault.seed(folder)
    (row,) = run(folder.root).findings
    assert row == Finding(
        check=fault.check,
        severity=fault.severity,
        case=fault.case,
        path=fault.path,
        voxel=fault.voxel,
        sentence=fault.sentence,
        remedy=row.remedy,
    )
    assert row.remedy.endswith(".")


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".gipl", ".nii"])
@pytest.mark.parametrize("which", ["image", "label"])
def test_a_cut_off_file_of_every_format_gives_exactly_one_row(tmp_path, ending, which):
    folder = ImageFolder(tmp_path, channel_names=("MRI",), file_ending=ending)
    path = folder.image() if which == "image" else folder.label()
    truncate(path, 0.8)
    (row,) = run(folder.root).findings
    assert (row.check, row.severity, row.case) == ("cut-off-file", BLOCKS, "case_002")


@pytest.mark.parametrize("ending", [".nrrd", ".nii"])
def test_a_nan_that_reaches_training_blocks(tmp_path, ending):
    folder = ImageFolder(tmp_path, file_ending=ending)
    change_voxels(folder.image(), with_value(np.nan, at=(1, 2, slice(3, 5))))
    (row,) = run(folder.root).findings
    assert (row.check, row.severity, row.voxel, row.sentence) == (
        "not-finite",
        BLOCKS,
        (1, 2, 3),
        f"case_002_0000{ending} has 2 voxels that are not numbers (NaN or infinite)",
    )


def test_voxels_that_do_not_match_their_checksum_are_found(folder):
    # Larger than the reader's buffer: it must not see the end while it reads the header.
    write_image(folder.image(), np.random.default_rng(0).normal(size=(40, 50, 60)))
    raw = bytearray(folder.image().read_bytes())
    raw[-8] ^= 0x10  # the checksum of the voxels
    folder.image().write_bytes(bytes(raw))
    (row,) = run(folder.root).findings
    assert (row.check, row.case) == ("cut-off-file", "case_002")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda a: a.clip(0),
            (
                "values of case_002_0000.nii.gz go from 0 to {high}, so nothing in it is fat or air: "
                "they are hardly Hounsfield units"
            ),
        ),
        (
            with_value(-32000),
            (
                "values of case_002_0000.nii.gz go from -32000 to {high}, which no scanner writes: "
                "they are hardly Hounsfield units"
            ),
        ),
    ],
)
def test_a_ct_that_is_not_in_hounsfield_units(tmp_path, change, sentence):
    folder = ImageFolder(tmp_path, channel_names=("CT",))
    assert run(folder.root).findings == ()
    change_voxels(folder.image(), change)
    (row,) = run(folder.root).findings
    high = folder.voxels(2).max()
    assert (row.check, row.severity, row.sentence) == (
        "hounsfield",
        MAY_HARM,
        sentence.format(high=high),
    )


def test_all_faults_are_found_at_once(folder):
    expected = {"missing-channel", "unexpected-label", "not-finite", "empty-file"}
    FAULTS["missing channel"].seed(folder)
    folder.label("case_000").write_bytes(b"")
    change_voxels(folder.image("case_003"), with_value(np.nan))
    change_voxels(folder.label("case_004"), with_value(9))
    assert {row.check for row in run(folder.root).findings} == expected


def test_rows_come_worst_first(folder):
    FAULTS["missing label value"].seed(folder)
    folder.label("case_005").unlink()
    change_voxels(folder.label("case_001"), np.zeros_like)
    assert [row.severity for row in run(folder.root).findings] == [BLOCKS, MAY_HARM, HARMLESS]


@pytest.mark.parametrize(
    ("cases", "minimum", "severity", "sentence"),
    [
        (4, 5, BLOCKS, "there are 4 labelled cases; 5 are needed"),
        (6, 10, BLOCKS, "there are 6 labelled cases; 10 are needed"),
        (4, 3, MAY_HARM, "there are 4 cases, too few for nnU-Net's 5 folds"),
    ],
)
def test_too_few_cases(tmp_path, cases, minimum, severity, sentence):
    folder = ImageFolder(tmp_path, cases=cases)
    (row,) = run(folder.root, minimum_cases=minimum).findings
    assert (row.check, row.severity, row.sentence) == ("too-few-cases", severity, sentence)


def test_channels_that_are_not_the_studys(folder):
    (row,) = run(folder.root, study=(("T1", "FLAIR"), folder.labels)).findings
    assert (row.check, row.severity, row.sentence) == (
        "study-channels",
        BLOCKS,
        "the folder has the channels T1, T2; the study expects T1, FLAIR",
    )


def test_labels_that_are_not_the_studys(folder):
    study = (folder.channel_names, {"background": 0, "posterior": 1, "anterior": 2})
    (row,) = run(folder.root, study=study).findings
    assert (row.check, row.severity, row.sentence) == (
        "study-labels",
        BLOCKS,
        "the labels differ from the study's: posterior 2 instead of 1, anterior 1 instead of 2",
    )


def test_the_studys_own_channels_and_labels_are_fine(folder):
    assert run(folder.root, study=(("t1", "t2"), folder.labels)).findings == ()


def test_a_folder_where_nothing_is_labelled_blocks(folder):
    for number in range(folder.cases):
        change_voxels(folder.label(f"case_{number:03d}"), np.zeros_like)
    report = run(folder.root)
    assert [row.check for row in report.findings if row.severity is BLOCKS] == ["no-foreground"]
    assert sum(row.check == "empty-label" for row in report.findings) == folder.cases


def test_a_rare_structure_is_not_missed_in_each_case_without_it(folder):
    for number in range(1, folder.cases):
        change_voxels(
            folder.label(f"case_{number:03d}"), lambda a: np.where(a == 2, 1, a).astype(a.dtype)
        )
    assert run(folder.root).findings == ()


@pytest.mark.parametrize(
    ("room", "name", "severity"),
    [
        (Room(free_disk=20_000, free_memory=10**12), "disk-space", MAY_HARM),
        (Room(free_disk=2_000, free_memory=10**12), "disk-space", BLOCKS),
        (Room(free_disk=10**12, free_memory=10_000), "memory", MAY_HARM),
    ],
)
def test_a_computer_without_room_for_preprocessing(folder, room, name, severity):
    # 6 cases of 480 voxels with 2 float32 channels and a label: 25,920 bytes
    (row,) = run(folder.root, room=room).findings
    assert (row.check, row.severity) == (name, severity)


def test_regions_count_as_structures(tmp_path):
    folder = ImageFolder(tmp_path)
    folder.describe(
        labels={"background": 0, "whole": [1, 2], "core": [2]}, regions_class_order=[1, 2]
    )
    assert run(folder.root).findings == ()


def test_faults_of_held_out_cases_do_not_block(folder):
    folder.add_case("case_100", seed=100, test=True)
    folder.image("case_100", part="imagesTs").write_bytes(b"")
    report = run(folder.root)
    assert [(row.check, row.severity, row.case) for row in report.findings] == [
        ("empty-file", MAY_HARM, "case_100")
    ]
    assert not report.blocks


def test_held_out_cases_need_no_label(folder):
    folder.add_case("case_100", seed=100, test=True)
    folder.label("case_100", part="labelsTs").unlink()
    assert run(folder.root).findings == ()


def test_a_folder_that_is_not_recognised_becomes_a_row(tmp_path):
    report, dataset = check(tmp_path / "nothing", room=PLENTY)
    assert dataset is None
    (row,) = report.findings
    assert (row.check, row.severity, row.sentence) == (
        ErrorCode.FOLDER_MISSING.value,
        BLOCKS,
        f"there is no folder {tmp_path / 'nothing'}",
    )


def test_checking_changes_no_file(folder):
    def tree() -> dict[str, tuple[bytes, int]]:
        return {
            str(path): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in folder.root.rglob("*")
            if path.is_file()
        }

    before = tree()
    FAULTS["missing label"].seed(folder)
    before.pop(str(folder.label()))
    run(folder.root)
    assert tree() == before


def test_progress_counts_the_cases_and_comes_from_the_callers_thread(folder):
    told: list[tuple[int, int, str, int]] = []
    run(
        folder.root,
        processes=2,
        progress=lambda done, total, what: told.append((done, total, what, threading.get_ident())),
    )
    own = threading.get_ident()
    assert told == [
        (0, 0, "looking for cases", own),
        *((done, 6, "checking cases", own) for done in range(1, 7)),
    ]


def test_stopping_ends_the_check_between_files(folder, monkeypatch):
    read: list[Path] = []

    def image_facts(path: Path, *, label: bool) -> facts.ImageFacts:
        read.append(path)
        return real(path, label=label)

    real = facts.image_facts
    monkeypatch.setattr(facts, "image_facts", image_facts)
    with pytest.raises(facts.ExaminationStopped) as stopped:
        run(folder.root, stopped=lambda: len(read) >= 4)
    assert len(read) == 4
    assert stopped.value.code is ErrorCode.JOB_STOPPED


def test_more_processes_find_the_same(folder):
    for name in ("missing label", "NaN", "extra channel"):
        FAULTS[name].seed(folder)
    assert run(folder.root, processes=3) == run(folder.root, processes=1)


def test_the_report_carries_the_digest_of_the_folder(folder):
    assert run(folder.root).content_digest == content_digest(scan.scan(folder.root))


def test_a_permission_that_lacks_is_named(folder, monkeypatch):
    opened = Path.open

    def refuse(self: Path, *args, **kwargs):
        if self == folder.image():
            raise PermissionError(13, "Permission denied")
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    (row,) = run(folder.root).findings
    assert (row.check, row.case, row.remedy) == (
        "unreadable-file",
        "case_002",
        "Ask IT for read permission on this file.",
    )


def test_the_findings_of_every_check_can_be_produced_and_every_fault_is_distinct():
    seeded = {fault.check for fault in FAULTS.values()}
    assert len(FAULTS) >= 20
    assert seeded >= {
        name
        for name, *_ in checks._STRAY_CHECKS.values()
        if name != "unmatched-file"  # only loose layouts: tests/datasets/test_layouts.py
    }


def test_the_sample_sites_are_sound():
    sites = sorted((Path(__file__).parents[2] / "resources/samples/hippocampus").iterdir())
    sites = [site for site in sites if site.is_dir()]
    assert [site.name for site in sites] == ["harbour", "north", "valley"]
    for site in sites:
        assert run(site).findings == ()


def test_the_real_hippocampus_folder_lacks_one_label():
    (row,) = run(shared_data("hippocampus")).findings
    assert (row.check, row.case) == ("missing-label", "hippocampus_118")


def test_listed_cases_are_checked_where_they_lie(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    document = json.loads((folder.root / "dataset.json").read_text())
    document["dataset"] = {
        f"case_{n:03d}": {
            "images": [str(folder.image(f"case_{n:03d}", c)) for c in (0, 1)],
            "label": str(folder.label(f"case_{n:03d}")),
        }
        for n in range(6)
    }
    document["dataset"]["case_001"]["images"].pop()
    (elsewhere / "dataset.json").write_text(json.dumps(document))
    (row,) = run(elsewhere).findings
    assert (row.check, row.case, row.sentence) == (
        "missing-channel",
        "case_001",
        "channel 1 (T2) is not listed",
    )
