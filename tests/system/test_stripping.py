"""Nothing that might name a patient stays; what the program says of itself does."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from app.system.stripping import REMOVED, Stripper, vocabulary

PRIVATE = [
    "Smith",
    "SMITH_JOHN",
    "Jane Doe",
    "Müller^Hans",
    "hippocampus_017",
    "case-0017",
    "0017",
    "sub-0173",
    "MRN0012345",
    "19670304",
    "1967-03-04",
    "1.2.840.113619.2.55.3",
    "/data/Smith_John/scan.nii.gz",
    "relative/Smith/scan.nii.gz",
    "C:\\Users\\smith\\x.nii",
    "\\\\server\\share\\Smith",
    "file:///home/smith/a.dcm",
    "smith@hospital.example",
    "J.S.",
    "Ærøskøbing",
    "山田太郎",
]


@pytest.mark.parametrize("secret", PRIVATE)
@pytest.mark.parametrize(
    "line",
    [
        "2026-11-24 19:24:16,149 WARNING app.site.service: round 3 failed for {}: try again",
        "FileNotFoundError: [Errno 2] No such file or directory: '{}'",
        "KeyError: '{}'",
        "{}",
        "case {} has 3 labels",
        '  File "{}", line 3, in read',
        "2026-11-24 19:24:16,149 WARNING app.{}: round 3",
    ],
)
def test_seeded_names_paths_and_cases_never_come_out(line, secret):
    for told in (Stripper().own(line.format(secret)), Stripper().foreign(line.format(secret))):
        rest = told.replace(REMOVED, " ").replace("[path]", " ")
        for part in re.findall(r"\w{2,}", secret):
            # Words such as “case” or “data” are the program's own and name nobody.
            if part not in vocabulary():
                assert part not in re.findall(r"\w+", rest), told


def test_what_the_program_says_stays():
    lines = (
        "2026-11-24 19:24:16,149 INFO app.site.study_desk: round 3 is trained: update of 22404 bytes\n"
        "2026-11-24 19:24:16,149 INFO app.jobs.runner: job 0004-train started as process 2464\n"
        "Traceback (most recent call last):\n"
        '  File "app/site/service.py", line 312, in command\n'
        '  File "lib/python3.11/site-packages/torch/nn/modules/conv.py", line 552, in forward\n'
    )
    assert Stripper().own(lines) == lines


def test_lines_of_code_go_with_what_they_hold():
    text = '  File "/v/app/site/service.py", line 3, in command\n    read("Smith")\n    ^^^^^^\nOSError\n'
    assert Stripper().own(text) == '  File "app/site/service.py", line 3, in command\nOSError\n'


def test_a_file_that_only_looks_like_code_goes():
    assert "Smith" not in Stripper().own('  File "/data/app/Smith.py", line 3, in x')


def test_words_of_the_program_go_when_they_name_somebody_here():
    line = "2026-11-24 19:24:16,149 INFO app.site.service: training of Training with 173 steps"
    assert "training" in Stripper().own(line)
    told = Stripper(["Training", "173"]).own(line)
    assert "raining" not in told
    assert "173" not in told


def test_numbers_stay_only_where_this_program_speaks():
    assert Stripper().sentence("round 12 of 50, 3.25 seconds") == "round 12 of 50, 3.25 seconds"
    assert Stripper().foreign("epoch 12 of case 173") == f"epoch {REMOVED} of case {REMOVED}\n"
    assert REMOVED in Stripper().sentence("round 123456")
    assert REMOVED in Stripper().sentence("round 007")


def test_the_vocabulary_holds_no_first_name_or_surname_that_is_common():
    common = {
        "Smith", "Johnson", "Brown", "Jones", "Miller", "Davis", "Wilson", "Müller", "Schmidt",
        "Fischer", "Weber", "Garcia", "Martinez", "Rossi", "Dubois", "Nguyen", "Wang", "Kim",
        "James", "Mary", "John", "Maria", "Anna", "Peter", "Thomas", "Hans", "Jane", "Doe",
    }  # fmt: skip
    assert common & vocabulary() == set()
    assert not any(len(word) == 1 and word not in "as" for word in vocabulary())


@given(st.text(st.characters(categories=["L", "N"]), min_size=2, max_size=20))
def test_no_unknown_word_ever_stays(word):
    if word in vocabulary() or re.fullmatch(r"[1-9]\d{0,4}", word) or not word.isprintable():
        return
    told = Stripper().own(
        f"2026-11-24 19:24:16,149 INFO app.site.service: round 3 of {word} and '{word}/x'\n{word}\n"
    )
    assert word not in re.findall(r"\w+", told)
