from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys, time
from app.ui.widgets import plotting
assert not plotting.is_loaded() and "pyqtgraph" not in sys.modules
plotting.load_beside()
plotting.load_beside()
until = time.monotonic() + 60
while not plotting.is_loaded():
    assert time.monotonic() < until, "pyqtgraph has not come"
    time.sleep(0.01)
assert "pyqtgraph" in sys.modules
plotting.load()
"""


def test_pyqtgraph_comes_beside_and_not_before_it_is_asked_for(project_root: Path):
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=project_root, check=True)


CLOSED_AT_ONCE = """
import atexit
from app.ui.widgets import plotting
atexit.register(lambda: print(plotting.is_loaded()))
plotting.load_beside()
"""


def test_a_program_that_ends_meanwhile_waits_for_the_import(project_root: Path):
    done = subprocess.run(
        [sys.executable, "-c", CLOSED_AT_ONCE],
        cwd=project_root,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split() == ["True"]
