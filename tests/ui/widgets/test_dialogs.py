from __future__ import annotations

from PySide6.QtWidgets import QLabel, QWidget

from app.ui.widgets.dialogs import CaseWindow, KeySheet


def test_case_window_waits_for_its_case(qtbot, look):
    parent = QWidget()
    qtbot.addWidget(parent)
    window = CaseWindow(parent)
    window.begin("case 7")
    assert window.isVisible()
    assert window.windowTitle() == "case 7"
    assert window.viewer._sentence.text() == "Reading case 7…"
    window.close()


def test_key_sheet_shows_groups(qtbot, look):
    parent = QWidget()
    qtbot.addWidget(parent)
    sheet = KeySheet(parent, [("Review", [("A", "Accept"), ("F", "Flag")])])
    said = [text.text() for text in sheet.findChildren(QLabel)]
    assert {"Review", "A", "Accept", "F", "Flag"} <= set(said)
