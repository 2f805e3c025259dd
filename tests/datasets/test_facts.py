"""What is remembered of a file once its voxels are gone."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.image_folders import write_image
from hypothesis import given, settings, strategies as st

from app.datasets import facts as facts_module
from app.datasets.facts import ExaminationStopped, examine, image_facts
from app.datasets.images import Fault
from app.domain.dataset import Case
from app.domain.errors import DataProblem, ErrorCode, JobFailed


def test_facts_of_an_image(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4) - 5
    facts = image_facts(write_image(tmp_path / "a.nii.gz", array), label=False)
    assert (facts.minimum, facts.maximum, facts.voxels) == (-5, 18, 24)
    assert (facts.not_finite, facts.values, facts.problem) == (0, (), None)


@pytest.mark.parametrize("ending", [".nrrd", ".nii", ".nii.gz"])
def test_extremes_leave_out_what_is_no_number(tmp_path, ending):
    array = np.full((2, 3, 4), 7.0, np.float32)
    array[1, 2, 3], array[0, 1, 2] = np.inf, np.nan
    facts = image_facts(write_image(tmp_path / f"a{ending}", array), label=False)
    # SimpleITK puts 0 in their place when it reads NIfTI.
    assert (facts.minimum, facts.maximum) == (7 if ending == ".nrrd" else 0, 7)
    assert (facts.not_finite, facts.first_not_finite) == (2, (0, 1, 2))
    assert facts.read_as_zero is (ending == ".nii.gz")


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32])
@settings(deadline=None, max_examples=25)
@given(found=st.lists(st.integers(-3, 9) | st.just(100_000), min_size=24, max_size=24))
def test_label_values_are_counted_with_the_first_voxel(tmp_path_factory, kind, found):
    low, high = (0, 200) if kind is np.uint8 else (-3, 32000)
    array = np.clip(np.asarray(found), low, high).astype(kind).reshape(2, 3, 4)
    path = write_image(tmp_path_factory.mktemp("label") / "label.nrrd", array)
    expected = tuple(
        (float(value), int((array == value).sum()), tuple(np.argwhere(array == value)[0].tolist()))
        for value in np.unique(array)
    )
    assert image_facts(path, label=True).values == expected


def test_an_image_taken_for_a_label_lists_its_most_frequent_values_only(tmp_path):
    array = np.arange(20 * 20 * 20, dtype=np.float32).reshape(20, 20, 20) % 1500
    assert len(image_facts(write_image(tmp_path / "a.nrrd", array), label=True).values) == 1024


def test_equal_pixels_have_equal_digests_and_others_do_not(tmp_path):
    array = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    other = array.copy()
    other[2, 3, 4] += 1
    digests = [
        image_facts(write_image(tmp_path / name, voxels), label=False).pixels_sha256
        for name, voxels in (
            ("a.nii.gz", array),
            ("b.nrrd", array),
            ("c.nrrd", other),
            ("d.nrrd", array.reshape(3, 5, 4)),
        )
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_file_that_cannot_be_read_is_a_fact(tmp_path):
    facts = image_facts(tmp_path / "gone.nii.gz", label=True)
    assert facts.problem is not None
    assert facts.problem.fault is Fault.MISSING


@pytest.mark.parametrize(
    ("error", "fault", "reason"),
    [
        (OSError(5, "Input/output error"), Fault.FORMAT, "the disk reports “Input/output error”"),
        (MemoryError(), Fault.MEMORY, "it does not fit into memory"),
        (
            DataProblem("too large", code=ErrorCode.MEMORY_FULL),
            Fault.MEMORY,
            "it does not fit into memory",
        ),
    ],
)
def test_what_goes_wrong_between_two_reads_is_a_fact(tmp_path, monkeypatch, error, fault, reason):
    def fail(*_args, **_kwargs):
        raise error

    path = write_image(tmp_path / "a.nrrd", np.zeros((2, 3, 4), np.uint8))
    monkeypatch.setattr(facts_module, "read_volume", fail)
    problem = image_facts(path, label=False).problem
    assert problem is not None
    assert (problem.fault, problem.reason) == (fault, reason)


def test_a_case_is_read_file_by_file_until_it_is_stopped(tmp_path):
    path = str(write_image(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.uint8)))
    case = Case(name="a", channels=(path, path), label=path)
    facts = examine(case, stopped=lambda: False)
    assert len(facts.readable_channels) == 2
    assert facts.label is not None
    answers = iter([False, True])
    with pytest.raises(ExaminationStopped) as stopped:
        examine(case, stopped=lambda: next(answers))
    assert isinstance(stopped.value, JobFailed)
    assert stopped.value.code is ErrorCode.JOB_STOPPED
    assert str(stopped.value) == "the check was stopped"
