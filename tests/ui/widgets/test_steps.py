from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from app.ui.widgets.steps import StepRow


def test_steps_say_their_state_and_can_be_pressed_by_key(qtbot, look):
    row = StepRow(["Data", "Training"])
    qtbot.addWidget(row)
    row.show()
    row.draw([("done", "24 cases"), ("now", "Round 3 of 6")])
    assert [button.accessibleName() for button in row.buttons] == [
        "Step 1, Data: done. 24 cases",
        "Step 2, Training: now. Round 3 of 6",
    ]
    with qtbot.waitSignal(row.step_chosen) as told:
        QTest.keyClick(row.buttons[1], Qt.Key.Key_Space)
    assert told.args == [1]


def test_marks_look_different(qtbot, look):
    pictures = set()
    for mark in ("done", "now", "needs you", "to do"):
        row = StepRow(["Data"])
        qtbot.addWidget(row)
        row.resize(160, 80)
        row.draw([(mark, "")])
        image = row.grab().toImage()
        pictures.add(bytes(image.constBits()))
    assert len(pictures) == 4
