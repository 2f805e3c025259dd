from __future__ import annotations

import subprocess
import sys

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


def test_modules_are_imported_without_being_read_and_qt_works(project_root, monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=project_root,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == ["0 True", "still camel case False"]


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


def test_garbage_is_collected_again_once_the_start_is_over(project_root, monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    done = subprocess.run(
        [sys.executable, "-c", GARBAGE],
        cwd=project_root,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == ["False 0", "True True", "True"]
