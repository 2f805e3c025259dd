from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import builtins, inspect
from app.ui.quick_start import begin_start
begin_start()
begin_start()
read = []
inspect.getsource = read.append
import statistics, app.ui.presenters.parts
from PySide6.QtWidgets import QApplication, QLabel
from PySide6 import QtSvg
print(len(read), builtins.__import__ is builtins.__orig_import__)
application = QApplication([])
label = QLabel("text")
label.setText("still camel case")
print(label.text(), hasattr(label, "set_text"))
"""


@pytest.fixture
def printed(project_root, monkeypatch):
    """Run a script in a process of its own and return the lines that it prints."""
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")

    def run(script: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=project_root,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.splitlines()

    return run


def test_modules_are_imported_without_being_read_and_qt_works(printed):
    assert printed(SCRIPT) == ["0 True", "still camel case False"]


GARBAGE = """
import gc
from app.ui.quick_start import begin_start, end_start
begin_start()
print(gc.isenabled(), gc.get_freeze_count())
end_start()
print(gc.isenabled(), gc.get_freeze_count() > 1000)
kept = gc.get_freeze_count()
end_start()
print(gc.get_freeze_count() == kept)
"""


def test_garbage_is_collected_again_once_the_start_is_over(printed):
    assert printed(GARBAGE) == ["False 0", "True True", "True"]
