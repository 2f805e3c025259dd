"""What a dying process leaves behind, in processes that really die."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.system.crash import crash_file, watching_crashes

ROOT = Path(__file__).parents[2]
PATIENT = "Smi" + "th"

HEAD = """
import os, sys, threading
from pathlib import Path
from app.system.crash import watching_crashes
patient = "Smi" + "th"
with watching_crashes(Path(sys.argv[1]), "site"):
"""


def die(folder, body):
    program = HEAD + "".join(f"    {line}\n" for line in body.strip().splitlines())
    ended = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended, crash_file(folder, "site").read_text(encoding="utf-8")


def test_an_exception_that_nobody_caught_is_kept_without_paths(tmp_path):
    ended, told = die(tmp_path, "open(f'/data/{patient}/scan.nii.gz')")
    assert ended.returncode == 1
    assert "FileNotFoundError" in ended.stderr, "the terminal still hears of it"
    assert "CRITICAL app.system.crash: the program ended (version" in told
    assert "FileNotFoundError: [Errno 2] No such file or directory: '[path]'" in told
    assert PATIENT not in told


@pytest.mark.parametrize("ending", ["raise KeyboardInterrupt", "sys.exit(3)"])
def test_an_ending_that_somebody_wished_is_no_crash(tmp_path, ending):
    _, told = die(tmp_path, ending)
    assert told == ""


def test_an_exception_of_a_thread_is_kept_without_paths(tmp_path):
    ended, told = die(
        tmp_path,
        """
def read():
    open(f'/data/{patient}/scan.nii.gz')
thread = threading.Thread(target=read)
thread.start()
thread.join()
""",
    )
    assert ended.returncode == 0
    assert "CRITICAL app.system.crash: a thread ended (version" in told
    assert "FileNotFoundError: [Errno 2] No such file or directory: '[path]'" in told
    assert PATIENT not in told


def test_an_exception_in_a_destructor_is_kept(tmp_path):
    _, told = die(
        tmp_path,
        """
class Thing:
    def __del__(self):
        raise ValueError("broken")
thing = Thing()
del thing
""",
    )
    assert "a destructor or callback ended" in told
    assert "ValueError: broken" in told


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_crash_of_a_library_leaves_where_every_thread_was(tmp_path):
    ended, told = die(tmp_path, "os.kill(os.getpid(), 11)")
    assert ended.returncode == -11
    assert "Fatal Python error: Segmentation fault" in told
    assert "most recent call first" in told


def test_hooks_are_given_back(tmp_path):
    import threading

    before = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    with watching_crashes(tmp_path, "site"):
        assert sys.excepthook is not before[0]
    assert (sys.excepthook, threading.excepthook, sys.unraisablehook) == before


def test_a_file_of_many_crashes_begins_anew(tmp_path):
    path = crash_file(tmp_path, "site")
    path.write_bytes(b"x" * ((1 << 20) + 1))
    with watching_crashes(tmp_path, "site"):
        pass
    assert path.read_bytes() == b""
