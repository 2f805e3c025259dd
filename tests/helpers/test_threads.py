from __future__ import annotations

import subprocess
import sys
import threading

from helpers.threads import Leftovers


def test_a_living_thread_is_named():
    leftovers = Leftovers()
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="forgotten", daemon=True)
    thread.start()
    try:
        assert leftovers.complaints(patience_s=0.05) == ["thread left running: forgotten"]
    finally:
        stop.set()
        thread.join()
    assert leftovers.complaints(patience_s=0.05) == []


def test_a_thread_that_is_about_to_end_is_waited_for():
    leftovers = Leftovers()
    thread = threading.Timer(0.1, lambda: None)
    thread.start()
    assert leftovers.complaints() == []


def test_a_living_child_is_named_and_ended():
    leftovers = Leftovers()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (complaint,) = leftovers.complaints(patience_s=0.2)
    assert f"child process left running: {child.pid} " in complaint
    child.wait(10)
    assert child.returncode != 0
    assert leftovers.complaints(patience_s=0.0) == []


def test_what_ran_before_is_nobodys_fault():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert Leftovers().complaints(patience_s=0.0) == []
    finally:
        stop.set()
        thread.join()
