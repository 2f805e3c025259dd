from __future__ import annotations

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
