"""Texts that may name a patient, and ordinary ones that do not."""

from __future__ import annotations

import pytest
from helpers.image_folders import shared_data

from app.datasets.identifiers import suspicion

NUMBER = "a long number, as record numbers are"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("case_19540312", "a date"),
        ("scan-2019-01-02", "a date"),
        ("12.03.1954_ct", "a date"),
        ("31121999", "a date"),
        ("2019_01_02_liver", "a date"),
        ("pat_48810377", NUMBER),
        ("0048810377", NUMBER),
        ("MRN 7654321", NUMBER),
        ("1.2.840.113619.2.55.3", "a DICOM identifier"),
        ("Mustermann^Erika", "a person's name"),
        ("Mustermann_Xenia", "a person's name"),
        ("liver_anna_2", "a person's name"),
        ("MUELLER_HANS", "a person's name"),
        ("Đorđević-Ana Marija", "a person's name"),
        ("20201301", NUMBER),
    ],
)
def test_suspicion(text, what):
    assert suspicion(text) == what


@pytest.mark.parametrize(
    "text",
    [
        "case_001",
        "hippocampus_0000012",
        "BraTS20_Training_001",
        "BRATS_485",
        "TCGA-02-0006_1996",
        "sub-01_ses-02",
        "liver_20",
        "Left_Kidney_3",
        "Prostate_Siemens_4",
        "6.0.5:9e026117",
        "FSL5.0",
        "Time=93808.000",
        "TE=2.3;Time=142233.210;phase=1",
        "STEREOTAXIS",
        "5.0.10",
        "",
    ],
)
def test_ordinary_names_are_not_suspected(text):
    assert suspicion(text) is None


def test_names_of_the_real_files_are_not_suspected():
    names = [path.name.split(".")[0] for path in shared_data("hippocampus", "images").iterdir()]
    assert len(names) > 200
    assert [name for name in names if suspicion(name)] == []
