from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from app.system import allocation
from app.system.allocation import keep_freed_memory

FAULTS = """
import resource, sys
from app.system.allocation import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def work():
    for _ in range(400):
        blocks = [bytes(300_000) for _ in range(4)]
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")


@needs_glibc
def test_freed_blocks_are_used_again_without_asking_the_system(project_root):
    def faults(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, how],
            cwd=project_root,
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout)

    assert faults("kept") < 100


@needs_glibc
def test_it_may_be_said_twice():
    assert keep_freed_memory()
    assert keep_freed_memory()


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(allocation.sys, "platform", "darwin")
    assert not keep_freed_memory()


def test_a_c_library_without_it_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not keep_freed_memory()
