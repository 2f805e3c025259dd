from __future__ import annotations

import errno
import os
import stat
import sys

import pytest

from app.domain.errors import ErrorCode, SetupProblem
from app.system import atomic
from app.system.atomic import append_durable, disk_problem, make_folder, write_atomic


def test_a_file_is_replaced_whole_and_private(tmp_path):
    path = tmp_path / "state"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_is_durable_before_it_has_its_name(tmp_path, monkeypatch):
    order = []
    real_sync, real_replace = os.fsync, atomic.Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: order.append("fsync") or real_sync(handle))
    monkeypatch.setattr(
        atomic.Path, "replace", lambda a, b: order.append("rename") or real_replace(a, b)
    )
    write_atomic(tmp_path / "state", b"x")
    assert order[:2] == ["fsync", "rename"]
    assert order[2:] == ([] if sys.platform == "win32" else ["fsync"])


def test_a_full_disk_leaves_the_old_file_and_no_remains(tmp_path, monkeypatch):
    path = tmp_path / "state"
    write_atomic(path, b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SetupProblem) as problem:
        write_atomic(path, b"new")
    assert problem.value.code is ErrorCode.DISK_FULL
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, ErrorCode.DISK_FULL),
        (errno.EDQUOT, ErrorCode.DISK_FULL),
        (errno.EACCES, ErrorCode.NO_PERMISSION),
        (errno.EROFS, ErrorCode.NO_PERMISSION),
        (errno.EIO, ErrorCode.WORKSPACE),
    ],
)
def test_each_cause_has_its_code(tmp_path, number, code):
    problem = disk_problem(OSError(number, os.strerror(number)), tmp_path / "x")
    assert problem.code is code
    assert str(tmp_path) in str(problem)


def test_appending_keeps_what_was_there(tmp_path):
    append_durable(tmp_path / "log", b"a\n")
    append_durable(tmp_path / "log", b"b\n")
    assert (tmp_path / "log").read_bytes() == b"a\nb\n"


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SetupProblem, match="file"):
        make_folder(tmp_path / "file" / "below")
