from __future__ import annotations

from helpers import snapshots
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QWidget

from app.ui.presenters.volumes import CasePaths, read_case
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


def test_parts_are_stepped_through_and_told(qtbot, look):
    parent = QWidget()
    qtbot.addWidget(parent)
    window = CaseWindow(parent)
    window.begin("case 7")
    assert [button.isVisible() for button in window._tools] == [False, False, False]
    case = snapshots.dataset().training[0]
    loaded = read_case(CasePaths(case=case.name, image=case.channels[0]))
    window.viewer.show_case(loaded.channels, None, None, names={}, voxel=(4, 4, 4))
    window.show_opened((4, 4, 4))
    window.show_parts([((1, 2, 3), "Part 1 of 2: A"), ((5, 6, 7), "Part 2 of 2: A")])
    assert window.words.text() == "2 parts of labels, L for the largest"
    qtbot.waitUntil(window.isActiveWindow)
    seen = []
    none, shift = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier
    large, worst = Qt.Key.Key_L, Qt.Key.Key_W
    for key, held in ((large, none), (large, none), (large, none), (large, shift), (worst, none)):
        qtbot.keyClick(window.viewer.view, key, held)
        seen.append(window.viewer.view.crosshair)
    assert seen == [(1, 2, 3), (5, 6, 7), (5, 6, 7), (1, 2, 3), (4, 4, 4)]
    assert window.words.text() == "Part 1 of 2: A"
    with qtbot.waitSignal(window.step_wished) as wished:
        qtbot.keyClicks(window.viewer.view, "n")
    assert wished.args == [1]
    with qtbot.waitSignal(window.step_wished) as wished:
        qtbot.keyClicks(window.viewer.view, "p")
    assert wished.args == [-1]
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
