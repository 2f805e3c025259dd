from __future__ import annotations

import pytest
from PySide6.QtWidgets import QLabel, QPushButton, QWidget

from app.ui.presenters.parts import Fact
from app.ui.text import NOT_FOR_CARE
from app.ui.widgets.about import AboutDialog, ReportDialog


@pytest.fixture
def parent(qtbot, look):
    made = QWidget()
    qtbot.addWidget(made)
    return made


def test_about_says_research_use_versions_and_licences(parent):
    dialog = AboutDialog(
        parent,
        version="fednnunet 1",
        facts=[Fact(name="Python", value="3.11")],
        licences={"Licences": "# Licences\n\n| a | b |\n|---|---|\n| x | MIT |"},
    )
    dialog.show()
    texts = {label.text() for label in dialog.findChildren(QLabel)}
    assert {NOT_FOR_CARE, "fednnunet 1", "3.11"} <= texts
    assert [dialog.tabs.tabText(n) for n in range(dialog.tabs.count())] == ["Versions", "Licences"]
    dialog.close()


def test_a_report_shows_every_file_whole_before_it_is_saved(parent, qtbot):
    files = [("README.txt", "read me"), ("logs/site.log", "a line\nanother")]
    dialog = ReportDialog(parent, files)
    dialog.show()
    shown = []
    for row, _ in enumerate(files):
        dialog.names.setCurrentRow(row)
        shown.append((dialog.names.currentItem().text(), dialog.text.toPlainText()))
    assert shown == files
    save = next(b for b in dialog.findChildren(QPushButton) if "zip" in b.text())
    with qtbot.waitSignal(dialog.save_wished):
        save.click()
    dialog.close()
