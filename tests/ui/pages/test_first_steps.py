"""The first steps alone: by keyboard, what is tried in the viewer, what is drawn."""

from __future__ import annotations

import pytest
from helpers.machines import ENOUGH, WITH_CARD
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QWidget

from app.ui.models.gpu import Unpacking
from app.ui.pages.first_steps import FirstSteps
from app.ui.presenters.first_steps import FirstStep, Gesture, sample_case
from app.ui.presenters.machine import present_machine
from app.ui.presenters.sample_study import SampleState
from app.ui.presenters.volumes import read_case
from app.ui.widgets.viewer_keys import MouseProfile


@pytest.fixture
def steps(qtbot, look):
    parent = QWidget()
    parent.resize(1280, 820)
    qtbot.addWidget(parent)
    parent.show()
    made = FirstSteps(parent, profile=MouseProfile.PACS)
    made.open()
    made.activateWindow()
    qtbot.waitUntil(made.isActiveWindow)
    yield made
    made.close()


def press(qtbot, steps, key, modifier=Qt.KeyboardModifier.NoModifier):
    """Press a key where the keyboard is."""
    qtbot.keyClick(steps.focusWidget(), key, modifier)


def shown(steps):
    paths, names = sample_case()
    steps.show_case(read_case(paths), names)
    return steps.viewer.view


def done(steps):
    return {gesture for gesture in Gesture if gesture in steps._done}


def test_enter_leads_through_all_steps_and_out(steps, qtbot):
    with qtbot.waitSignal(steps.case_wished):
        for step in FirstStep:
            assert steps.step is step
            if step is FirstStep.BEGIN:
                steps.next.setFocus()
            press(qtbot, steps, Qt.Key.Key_Return)
    assert not steps.isVisible()
    assert steps.result() == FirstSteps.DialogCode.Accepted


def test_back_next_and_skip_have_keys(steps, qtbot):
    # A mnemonic presses the button visibly, for a tenth of a second.
    alt = Qt.KeyboardModifier.AltModifier
    steps.go_to(FirstStep.COMPUTER)
    press(qtbot, steps, Qt.Key.Key_B, alt)
    qtbot.waitUntil(lambda: steps.step is FirstStep.HABITS)
    press(qtbot, steps, Qt.Key.Key_N, alt)
    qtbot.waitUntil(lambda: steps.step is FirstStep.COMPUTER)
    press(qtbot, steps, Qt.Key.Key_S, alt)
    qtbot.waitUntil(lambda: not steps.isVisible())


def test_escape_leaves_from_every_step(qtbot, look):
    parent = QWidget()
    parent.resize(1280, 820)
    qtbot.addWidget(parent)
    parent.show()
    for step in FirstStep:
        made = FirstSteps(parent, profile=MouseProfile.PACS)
        made.open()
        made.go_to(step)
        press(qtbot, made, Qt.Key.Key_Escape)
        assert not made.isVisible()


def test_every_step_is_reached_by_its_circle(steps, qtbot):
    steps.row.buttons[3].setFocus()
    press(qtbot, steps, Qt.Key.Key_Space)
    assert steps.step is FirstStep.BEGIN
    assert steps.invitation.hasFocus()
    assert not steps.skip.isVisible()


def test_the_sheet_of_keys_is_one_key_away(steps, qtbot):
    for step in FirstStep:
        steps.go_to(step)
        with qtbot.waitSignal(steps.keys_wished):
            press(qtbot, steps, Qt.Key.Key_F1)


def test_the_mouse_is_chosen_by_arrows(steps, qtbot):
    with qtbot.waitSignal(steps.profile_chosen) as chosen:
        press(qtbot, steps, Qt.Key.Key_Right)
    assert chosen.args == [MouseProfile.RESEARCH]
    texts = {gesture: parts[1].text() for gesture, parts in steps._tries.items()}
    assert texts[Gesture.GREYS].startswith("Shift and drag with the right button")


def test_the_big_choices_answer_to_enter(steps, qtbot):
    steps.go_to(FirstStep.BEGIN)
    with qtbot.waitSignal(steps.invitation_wished):
        press(qtbot, steps, Qt.Key.Key_Return)
    assert steps.isVisible()
    press(qtbot, steps, Qt.Key.Key_Tab)
    assert steps.sample.hasFocus()
    with qtbot.waitSignal(steps.sample_wished):
        press(qtbot, steps, Qt.Key.Key_Return)


def test_what_is_tried_by_keys_is_ticked(steps, qtbot):
    steps.go_to(FirstStep.LOOK)
    view = shown(steps)
    assert any(pane.hasFocus() for pane in view.panes.values())
    for key, modifier, gesture in (
        (Qt.Key.Key_Up, Qt.KeyboardModifier.NoModifier, Gesture.SCROLL),
        (Qt.Key.Key_Left, Qt.KeyboardModifier.ControlModifier, Gesture.CROSSHAIR),
        (Qt.Key.Key_BracketLeft, Qt.KeyboardModifier.NoModifier, Gesture.GREYS),
        (Qt.Key.Key_Space, Qt.KeyboardModifier.NoModifier, Gesture.LABELS),
        (Qt.Key.Key_M, Qt.KeyboardModifier.NoModifier, Gesture.PLANE),
    ):
        assert gesture not in done(steps)
        press(qtbot, steps, key, modifier)
        assert gesture in done(steps)
    sign, text, _ = steps._tries[Gesture.SCROLL]
    assert text.accessibleName().startswith("Done: ")
    assert sign._name == "check"
    press(qtbot, steps, Qt.Key.Key_Return)
    assert steps.step is FirstStep.BEGIN


def test_what_is_tried_by_mouse_is_ticked(steps, qtbot):
    steps.go_to(FirstStep.LOOK)
    pane = next(iter(shown(steps).panes.values()))
    begin, end = QPoint(40, 60), QPoint(70, 90)
    qtbot.mousePress(pane, Qt.MouseButton.LeftButton, pos=begin)
    qtbot.mouseMove(pane, end)
    qtbot.mouseRelease(pane, Qt.MouseButton.LeftButton, pos=end)
    qtbot.mouseDClick(pane, Qt.MouseButton.LeftButton, pos=end)
    assert {Gesture.PLANE} <= done(steps)


def test_the_labels_have_their_names(steps):
    steps.go_to(FirstStep.LOOK)
    view = shown(steps)
    z, y, x = view.crosshair
    assert "posterior" in view.describe((z, y, x)) or "anterior" in view.describe((z, y, x))


def test_the_check_of_this_computer_is_drawn(steps, qtbot):
    steps.go_to(FirstStep.COMPUTER)
    steps.draw_machine(present_machine(None, busy=True))
    assert not steps._again.isEnabled()
    assert not steps.gpu.isVisible()
    steps.draw_machine(present_machine(ENOUGH))
    names = [name.text() for _, name, _ in steps.lines.parts]
    assert names == ["Graphics card", "Processor", "Memory", "Disk", "Clock"]
    with qtbot.waitSignal(steps.look_wished):
        steps._again.click()
    steps.draw_machine(present_machine(WITH_CARD))
    assert steps.gpu.install.isVisible()
    with qtbot.waitSignal(steps.package_wished):
        steps.gpu.install.click()
    running = Unpacking(sentence="Unpacking", share=0.2)
    steps.draw_machine(present_machine(WITH_CARD, busy=True, running=running))
    assert not steps._again.isEnabled()


def test_the_sample_study_shows_how_far_it_is_and_then_leaves(steps):
    steps.go_to(FirstStep.BEGIN)
    steps.draw_sample(SampleState(running=True, sentence="North joins…", share=0.3))
    assert steps.progress.isVisible()
    assert not steps.sample.isEnabled()
    steps.draw_sample(SampleState(problem="No port is free."))
    assert steps._sample_said.isVisible()
    assert steps.sample.isEnabled()
    steps.draw_sample(SampleState(open=True))
    assert not steps.isVisible()
