import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from app.jobs.process_group import NICENESS, process_group

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX process groups")

FAMILY = (
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(child.pid, flush=True); time.sleep(600)"
)


@pytest.fixture
def family():
    parent = subprocess.Popen(
        [sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, start_new_session=True, text=True
    )
    grandchild = psutil.Process(int(parent.stdout.readline()))
    yield parent, grandchild
    process_group(parent.pid).kill()
    parent.wait(5)
    parent.stdout.close()


def test_killing_takes_the_grandchild_too(family):
    parent, grandchild = family
    process_group(parent.pid).kill()
    assert parent.wait(5) == -9
    wait_gone(grandchild)


def test_the_whole_group_yields_to_the_desktop(family):
    parent, grandchild = family
    process_group(parent.pid).lower_priority()
    assert psutil.Process(parent.pid).nice() == lowered()
    assert grandchild.nice() == lowered()


def test_a_group_that_is_gone_is_no_error(family):
    parent, grandchild = family
    group = process_group(parent.pid)
    group.kill()
    parent.wait(5)
    wait_gone(grandchild)
    group.lower_priority()
    group.ask_to_end()
    group.kill()


def lowered() -> int:
    """Niceness of a worker of these tests, which may run at a low priority themselves."""
    return min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)


def wait_gone(process: psutil.Process) -> None:
    until = time.monotonic() + 5
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "the grandchild survived"
        time.sleep(0.01)


@pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="this kernel shares by process alone"
)
def test_a_session_of_its_own_yields_as_a_whole(family):
    parent, _ = family
    process_group(parent.pid).lower_priority()
    assert Path(f"/proc/{parent.pid}/autogroup").read_text().split()[-1] == str(lowered())
