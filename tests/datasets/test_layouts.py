"""Layouts told by file names alone."""

from __future__ import annotations

import random

import pytest

from app.datasets.layouts import LooseCase, LooseLayout, ending_of, recognise


def case(name: str, label: str | None, **images: str) -> LooseCase:
    return LooseCase(
        name=name, images={"" if k == "only" else k: v for k, v in images.items()}, label=label
    )


def layout(name: str, channels: tuple[str, ...], *cases: LooseCase, **changes) -> LooseLayout:
    return LooseLayout(
        **{
            "name": name,
            "file_ending": ".nii.gz",
            "channels": channels,
            "cases": cases,
            **changes,
        }
    )


LAYOUTS = {
    "image and label words": (
        ["brain1_image.nrrd", "brain1_label.nrrd", "breast1_image.nrrd", "breast1_label.nrrd"],
        layout(
            "pairs",
            ("",),
            case("brain1", "brain1_label.nrrd", only="brain1_image.nrrd"),
            case("breast1", "breast1_label.nrrd", only="breast1_image.nrrd"),
            file_ending=".nrrd",
        ),
    ),
    "label word behind": (
        ["p1.nii.gz", "p1_seg.nii.gz", "p2.nii.gz", "p2_seg.nii.gz"],
        layout(
            "pairs",
            ("",),
            case("p1", "p1_seg.nii.gz", only="p1.nii.gz"),
            case("p2", "p2_seg.nii.gz", only="p2.nii.gz"),
        ),
    ),
    "label word in front": (
        ["img_1.nii.gz", "mask_1.nii.gz"],
        layout("pairs", ("",), case("1", "mask_1.nii.gz", only="img_1.nii.gz")),
    ),
    "Slicer's two dots": (
        ["p1.nrrd", "p1.seg.nrrd"],
        layout("pairs", ("",), case("p1", "p1.seg.nrrd", only="p1.nrrd"), file_ending=".nrrd"),
    ),
    "several channels": (
        ["p1_t1.nii.gz", "p1_flair.nii.gz", "p1_seg.nii.gz"],
        layout(
            "pairs",
            ("flair", "t1"),
            case("p1", "p1_seg.nii.gz", t1="p1_t1.nii.gz", flair="p1_flair.nii.gz"),
        ),
    ),
    "a case without a label": (
        ["p1_t1.nii.gz", "p1_seg.nii.gz", "p2_t1.nii.gz"],
        layout(
            "pairs",
            ("t1",),
            case("p1", "p1_seg.nii.gz", t1="p1_t1.nii.gz"),
            case("p2", None, t1="p2_t1.nii.gz"),
        ),
    ),
    "a label without an image": (
        ["p1.nii.gz", "p1_seg.nii.gz", "p2_seg.nii.gz"],
        layout(
            "pairs",
            ("",),
            case("p1", "p1_seg.nii.gz", only="p1.nii.gz"),
            unmatched=("p2_seg.nii.gz",),
        ),
    ),
    "two folders": (
        ["images/a_1.nii.gz", "images/a_2.nii.gz", "labels/a_1.nii.gz"],
        layout(
            "two-folders",
            ("",),
            case("a_1", "labels/a_1.nii.gz", only="images/a_1.nii.gz"),
            case("a_2", None, only="images/a_2.nii.gz"),
        ),
    ),
    "two folders with channel numbers": (
        ["imgs/a_0000.nii.gz", "imgs/a_0001.nii.gz", "masks/a.nii.gz"],
        layout(
            "two-folders",
            ("0000", "0001"),
            LooseCase(
                name="a",
                images={"0000": "imgs/a_0000.nii.gz", "0001": "imgs/a_0001.nii.gz"},
                label="masks/a.nii.gz",
            ),
        ),
    ),
    "a folder per case, as BraTS": (
        [
            f"BraTS_00{n}/BraTS_00{n}_{what}.nii.gz"
            for n in (1, 2)
            for what in ("flair", "t1", "seg")
        ],
        layout(
            "case-folders",
            ("flair", "t1"),
            *(
                case(
                    f"BraTS_00{n}",
                    f"BraTS_00{n}/BraTS_00{n}_seg.nii.gz",
                    flair=f"BraTS_00{n}/BraTS_00{n}_flair.nii.gz",
                    t1=f"BraTS_00{n}/BraTS_00{n}_t1.nii.gz",
                )
                for n in (1, 2)
            ),
        ),
    ),
    "a folder per case with the same names": (
        [f"p{n}/{what}.nii.gz" for n in (1, 2, 3) for what in ("image", "label")][:-1],
        layout(
            "case-folders",
            ("",),
            case("p1", "p1/label.nii.gz", only="p1/image.nii.gz"),
            case("p2", "p2/label.nii.gz", only="p2/image.nii.gz"),
            case("p3", None, only="p3/image.nii.gz"),
        ),
    ),
    "BIDS": (
        [
            "sub-01/anat/sub-01_T1w.nii.gz",
            "sub-01/anat/sub-01_FLAIR.nii.gz",
            "derivatives/manual/sub-01/anat/sub-01_space-orig_dseg.nii.gz",
            "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz",
            "sub-02/ses-1/anat/sub-02_ses-1_FLAIR.nii.gz",
            "derivatives/manual/sub-02/ses-1/anat/sub-02_ses-1_label-lesion_mask.nii.gz",
        ],
        layout(
            "bids",
            ("FLAIR", "T1w"),
            case(
                "sub-01",
                "derivatives/manual/sub-01/anat/sub-01_space-orig_dseg.nii.gz",
                T1w="sub-01/anat/sub-01_T1w.nii.gz",
                FLAIR="sub-01/anat/sub-01_FLAIR.nii.gz",
            ),
            case(
                "sub-02_ses-1",
                "derivatives/manual/sub-02/ses-1/anat/sub-02_ses-1_label-lesion_mask.nii.gz",
                T1w="sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz",
                FLAIR="sub-02/ses-1/anat/sub-02_ses-1_FLAIR.nii.gz",
            ),
        ),
    ),
    "BIDS with contrast": (
        [
            "sub-01/anat/sub-01_T1w.nii.gz",
            "sub-01/anat/sub-01_ce-gd_T1w.nii.gz",
            "sub-01/anat/sub-01_seg.nii.gz",
        ],
        layout(
            "bids",
            ("ce-gd_T1w", "T1w"),
            LooseCase(
                name="sub-01",
                images={
                    "T1w": "sub-01/anat/sub-01_T1w.nii.gz",
                    "ce-gd_T1w": "sub-01/anat/sub-01_ce-gd_T1w.nii.gz",
                },
                label="sub-01/anat/sub-01_seg.nii.gz",
            ),
        ),
    ),
    "a second file ending": (
        ["p1.nrrd", "p1_seg.nrrd", "p2.mha"],
        layout(
            "pairs",
            ("",),
            case("p1", "p1_seg.nrrd", only="p1.nrrd"),
            file_ending=".nrrd",
            unmatched=("p2.mha",),
        ),
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_are_told_by_names(name):
    files, expected = LAYOUTS[name]
    assert recognise(files) == expected


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_order_of_the_files_does_not_matter(name):
    files, expected = LAYOUTS[name]
    shuffled = [*files, "notes.txt", "sheet.xlsx"]
    random.Random(4).shuffle(shuffled)
    assert recognise(shuffled) == expected


@pytest.mark.parametrize(
    "files", [[], ["notes.txt"], ["a.nii.gz", "b.nii.gz"], ["a_seg.nii.gz", "b_seg.nii.gz"]]
)
def test_folders_without_images_or_labels_are_not_recognised(files):
    assert recognise(files) is None


def test_the_ending_keeps_its_spelling():
    assert ending_of("scan.NII.GZ") == ".NII.GZ"
    assert ending_of("scan.gz") is None
