from __future__ import annotations

from PySide6.QtWidgets import QLabel, QWidget

from app.ui.widgets.dialogs import CaseWindow, ChoiceDialog, KeySheet


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


def test_each_way_has_its_costs_and_the_first_is_the_main_one(qtbot, look):
    parent = QWidget()
    qtbot.addWidget(parent)
    options = [("safe", "Pause later", "Nothing is lost."), ("now", "Pause now", "2 minutes.")]
    dialog = ChoiceDialog(parent, "Pause training", options)
    dialog.show()
    texts = {text.text() for text in dialog.findChildren(QLabel)}
    assert {"Nothing is lost.", "2 minutes."} <= texts
    assert dialog.buttons["safe"].property("primary") == "true"
    dialog.buttons["now"].click()
    assert dialog.chosen == "now"
    assert dialog.isHidden()


def test_declining_chooses_nothing(qtbot, look):
    parent = QWidget()
    qtbot.addWidget(parent)
    dialog = ChoiceDialog(parent, "Pause training", [("now", "Pause now", "2 minutes.")])
    dialog.show()
    dialog.reject()
    assert dialog.chosen == ""
