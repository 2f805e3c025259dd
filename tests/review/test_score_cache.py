"""Scores are computed once for what they were made of, whatever the files are called."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from app.datasets.images import read_volume
from app.domain.errors import ErrorCode, JobFailed
from app.review import score_cache
from app.review.score_cache import ScoreCache, score_all

LABELS = {"background": 0, "liver": 1, "whole": (1, 2)}


def write(path: Path, seed: int) -> str:
    values = np.random.default_rng(seed).integers(0, 3, (4, 6, 5)).astype(np.uint8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(path))
    return str(path)


@pytest.fixture
def pairs(tmp_path):
    return tuple(
        (
            f"case{n}",
            write(tmp_path / f"r{n}.nii.gz", n),
            write(tmp_path / f"p{n}.nii.gz", n + 10),
        )
        for n in range(3)
    )


@pytest.fixture
def reads():
    """The paths that were read as images."""
    return []


@pytest.fixture
def score(tmp_path, reads):
    def run(pairs, alone=(), *, labels=LABELS, folder=tmp_path / "cache", **options):
        def read(path):
            reads.append(path.name)
            return read_volume(path)

        # A cache of its own for each call: as after a restart.
        return score_all(pairs, alone, labels, cache=ScoreCache(folder), read=read, **options)

    return run


def test_the_second_run_computes_nothing(score, pairs, reads):
    first = score(pairs, (("alone", pairs[0][2]),))
    assert first.computed == 4
    assert len(reads) == 7
    reads.clear()
    again = score(pairs, (("alone", pairs[0][2]),))
    assert again.computed == 0
    assert reads == []
    assert (again.scores, again.volumes) == (first.scores, first.volumes)


def test_content_counts_and_not_names(score, pairs, reads, tmp_path):
    score(pairs)
    case, reference, prediction = pairs[0]
    moved = shutil.copy(prediction, tmp_path / "renamed.nii.gz")
    known = score((("another name", reference, str(moved)),))
    assert known.computed == 0
    assert known.scores[0].case == "another name"
    write(Path(prediction), 99)
    assert score(((case, reference, prediction),)).computed == 1


@pytest.mark.parametrize("change", [{"tolerance_mm": 2.0}, {"labels": {"liver": 2}}])
def test_other_settings_are_another_score(score, pairs, change):
    score(pairs)
    assert score(pairs, **change).computed == 3


def test_other_definitions_are_another_score(score, pairs, monkeypatch):
    score(pairs)
    monkeypatch.setattr(score_cache, "DEFINITIONS", score_cache.DEFINITIONS + 1)
    assert score(pairs).computed == 3


def test_damaged_entries_count_as_none_and_are_mended(score, pairs, tmp_path):
    score(pairs)
    for number, path in enumerate(sorted((tmp_path / "cache").iterdir())):
        path.write_bytes((b"", b"{", b'{"case":1}')[number])
    assert score(pairs).computed == 3
    assert score(pairs).computed == 0


def test_no_name_of_a_case_is_in_the_cache(score, pairs, tmp_path):
    score(pairs)
    content = b"".join(path.read_bytes() for path in (tmp_path / "cache").iterdir())
    assert b"case0" not in content
    assert str(tmp_path).encode() not in content


def test_a_cache_that_cannot_be_written_costs_time_only(score, pairs, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert score(pairs, folder=tmp_path / "file").computed == 3
    assert score(pairs, folder=None).computed == 3


def test_volumes_and_pieces_of_a_case_without_reference(score, pairs):
    [measured] = score((), (("alone", pairs[0][2]),)).volumes
    array = read_volume(Path(pairs[0][2])).array
    assert [one.label for one in measured.labels] == ["liver", "whole"]
    assert measured.labels[0].ml == pytest.approx((array == 1).sum() / 1000)
    assert measured.labels[1].ml == pytest.approx((array > 0).sum() / 1000)
    assert measured.labels[1].components == 1


def test_it_stops_between_cases_and_keeps_what_is_done(score, pairs):
    asked = iter([False, False, True])
    with pytest.raises(JobFailed) as caught:
        score(pairs, stopped=lambda: next(asked))
    assert caught.value.code is ErrorCode.JOB_STOPPED
    assert score(pairs).computed == 1
