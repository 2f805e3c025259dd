"""The private record beside a confirmed data set."""

from __future__ import annotations

import os
import sys

import pytest

from app.datasets.confirmation import (
    RECORD_NAME,
    Confirmation,
    ConfirmedCase,
    confirmation_findings,
    converted_files,
    read_confirmation,
    source_file,
    write_confirmation,
)
from app.domain.errors import DataProblem, ErrorCode
from app.domain.findings import Finding, Severity

REMARK = Finding(check="overlap", severity=Severity.MAY_HARM, sentence="s", remedy="r", case="c")


@pytest.fixture
def workspace(tmp_path):
    source, workspace = tmp_path / "source", tmp_path / "workspace"
    source.mkdir()
    workspace.mkdir()
    for name in ("a", "b"):
        (source / name).write_bytes(b"image")
    write_confirmation(
        workspace,
        Confirmation(
            source=str(source),
            layout="dicom",
            cases=(ConfirmedCase(name="case-0001", found="a"),),
            findings=(REMARK,),
            sources=tuple(source_file(source, name) for name in ("a", "b")),
        ),
    )
    return workspace


def test_it_is_read_back_and_private(workspace):
    assert read_confirmation(workspace).cases[0].found == "a"
    assert converted_files(workspace) == tuple(
        str(workspace.parent / "source" / name) for name in ("a", "b")
    )
    if sys.platform != "win32":
        assert (workspace / RECORD_NAME).stat().st_mode & 0o777 == 0o600


def test_a_folder_without_a_record_has_nothing_to_say(tmp_path):
    assert read_confirmation(tmp_path) is None
    assert confirmation_findings(tmp_path) == ()
    assert converted_files(tmp_path) == ()


@pytest.mark.parametrize("change", ["touched", "gone", "longer"])
def test_a_changed_source_blocks(workspace, change):
    assert confirmation_findings(workspace) == (REMARK,)
    path = workspace.parent / "source" / "b"
    if change == "touched":
        os.utime(path, ns=(1, 1))
    elif change == "gone":
        path.unlink()
    else:
        path.write_bytes(b"another image")
    remark, changed = confirmation_findings(workspace)
    assert remark == REMARK
    assert (changed.check, changed.severity) == ("source-changed", Severity.BLOCKS)
    assert changed.sentence == (
        "1 file(s) of the chosen folder changed or are gone since it was converted, e.g. b"
    )


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", ErrorCode.FOLDER_LAYOUT),
        (
            b'{"source":"/","layout":"dicom","cases":[],"findings":[],"version":9}',
            ErrorCode.VERSION,
        ),
    ],
)
def test_a_damaged_or_newer_record_is_a_sentence(workspace, content, code):
    (workspace / RECORD_NAME).write_bytes(content)
    with pytest.raises(DataProblem) as problem:
        read_confirmation(workspace)
    assert problem.value.code is code
    assert converted_files(workspace) == ()
