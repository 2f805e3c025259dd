from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest

from app.domain.errors import ErrorCode, SetupProblem
from app.system.locks import Holder, HomeLock, holder_of


def test_a_second_service_is_refused_until_the_first_ends(tmp_path):
    with HomeLock(tmp_path):
        assert holder_of(tmp_path).pid == os.getpid()
        with pytest.raises(SetupProblem) as problem:
            HomeLock(tmp_path).acquire()
        assert problem.value.code is ErrorCode.SERVICE_RUNNING
        assert str(os.getpid()) in str(problem.value)
    assert holder_of(tmp_path) is None
    with HomeLock(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_stale(tmp_path):
    program = (
        "import sys; from pathlib import Path; from app.system.locks import HomeLock;"
        "HomeLock(Path(sys.argv[1])).acquire(); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout.readline().strip() == b"held"
        with pytest.raises(SetupProblem):
            HomeLock(tmp_path).acquire()
        child.kill()
    with HomeLock(tmp_path):
        assert holder_of(tmp_path).pid == os.getpid()


def test_a_process_id_that_was_given_again_does_not_hold(tmp_path):
    me = Holder.of_this_process()
    earlier = Holder(pid=me.pid, started=me.started - 3600)
    assert me.alive
    assert not earlier.alive
    (tmp_path / "service.lock").write_bytes(msgspec.json.encode(earlier))
    with HomeLock(tmp_path):
        pass


def test_a_damaged_lock_is_stale(tmp_path):
    (tmp_path / "service.lock").write_bytes(b"")
    with HomeLock(tmp_path) as lock:
        assert lock.replaced_stale
    with HomeLock(tmp_path) as lock:
        assert not lock.replaced_stale


def test_releasing_twice_does_not_take_the_next_holders_lock(tmp_path):
    first = HomeLock(tmp_path)
    first.acquire()
    first.release()
    with HomeLock(tmp_path):
        first.release()
        assert holder_of(tmp_path) is not None
