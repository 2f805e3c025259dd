"""The first steps with everything behind them, and when they are shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import snapshots
from helpers.nvml import RecordedNvml
from helpers.window_desk import StillClock
from msgspec.structs import replace
from PySide6.QtCore import Qt

from app.domain.errors import SetupProblem
from app.system import gpu_package
from app.system.paths import SITE_DATABASE
from app.ui import welcome
from app.ui.main import Sites, is_new
from app.ui.presenters.first_steps import FirstStep
from app.ui.presenters.machine_desk import MachineDesk
from app.ui.presenters.sample_study import SampleState, SampleStudyStart
from app.ui.text import Page
from app.ui.widgets.viewer_keys import MouseProfile
from app.ui.window import CARD_IDLE


class PlayedStart(SampleStudyStart):
    """Begins without a process."""

    def begin(self) -> None:
        self._show(SampleState(running=True, sentence="The sample study begins…"))


@pytest.fixture
def shown(open_window, tmp_path, monkeypatch, qtbot):
    """A window whose first steps have doubles behind them."""
    monkeypatch.setattr(gpu_package, "this_platform", lambda: "linux-x86_64")
    monkeypatch.setenv("FEDNNUNET_GPU_FOLDER", str(tmp_path / "gpu"))

    def machine(home: Path, *, clock) -> MachineDesk:
        return MachineDesk(
            home,
            clock=StillClock(snapshots.NOW),
            nvml=RecordedNvml(),
            try_out=lambda _package: "PyTorch",
        )

    monkeypatch.setattr(welcome, "MachineDesk", machine)
    monkeypatch.setattr(welcome, "SampleStudyStart", lambda: PlayedStart(tmp_path / "sample"))
    made = open_window(snapshots.empty())
    made.window.home = tmp_path / "home"
    yield made
    machine_desk = made.window._welcome._machine if made.window._welcome else None
    if machine_desk is not None:
        qtbot.waitUntil(lambda: not machine_desk.busy, timeout=10_000)


def steps_of(shown):
    return shown.window._welcome.steps if shown.window._welcome is not None else None


def told(shown) -> list[str]:
    return [toast.message.sentence for toast in shown.window.toasts.toasts()]


def press(qtbot, steps, key):
    """Press a key where the keyboard is in these steps."""
    qtbot.keyClick(steps.focusWidget(), key)


def test_a_run_by_keyboard_alone(shown, qtbot):
    window = shown.window
    window.welcome()
    steps = steps_of(shown)
    steps.activateWindow()
    qtbot.waitUntil(steps.isActiveWindow)
    press(qtbot, steps, Qt.Key.Key_Right)
    assert shown.settings.value("viewer/mouse") == MouseProfile.RESEARCH.name
    press(qtbot, steps, Qt.Key.Key_Return)
    assert steps.step is FirstStep.COMPUTER
    qtbot.waitUntil(lambda: bool(window._welcome._machine.state.lines), timeout=10_000)
    assert steps.lines.parts[0][1].text() == "Graphics card"
    press(qtbot, steps, Qt.Key.Key_Return)
    assert steps.step is FirstStep.LOOK
    view = steps.viewer.view
    assert view.profile is MouseProfile.RESEARCH
    before = view.crosshair
    press(qtbot, steps, Qt.Key.Key_Up)
    assert view.crosshair != before
    press(qtbot, steps, Qt.Key.Key_Return)
    assert steps.step is FirstStep.BEGIN
    press(qtbot, steps, Qt.Key.Key_Tab)
    press(qtbot, steps, Qt.Key.Key_Return)
    assert steps.progress.isVisible()
    press(qtbot, steps, Qt.Key.Key_Escape)
    assert steps_of(shown) is None
    window._welcome._start._show(SampleState(open=True, sentence="The sample study is open."))
    assert told(shown)[-1] == "The sample study is open."


def test_it_is_shown_once(shown):
    shown.window.welcome()
    steps_of(shown).reject()
    shown.window.welcome()
    assert steps_of(shown) is None


def test_the_menu_shows_it_again(shown):
    texts = {action.text(): action for action in shown.window.header.menu.actions()}
    texts["First steps: mouse, viewer, sample study"].trigger()
    assert steps_of(shown).step is FirstStep.HABITS
    steps_of(shown).reject()
    texts["Check this computer and its graphics card"].trigger()
    assert steps_of(shown).step is FirstStep.COMPUTER


def test_an_invitation_closes_it_and_is_shown(shown, qtbot):
    shown.window.show_first_steps()
    steps_of(shown).go_to(FirstStep.BEGIN)
    shown.answers.file = "/tmp/north.fedjoin"
    shown.service.replies = [snapshots.invitation()]
    steps = steps_of(shown)
    press(qtbot, steps, Qt.Key.Key_Return)
    assert steps_of(shown) is None
    assert shown.window.page is Page.FEDERATION


def test_a_sample_that_is_not_installed_is_told(shown, monkeypatch):
    def missing():
        raise SetupProblem("the installation lacks samples/hippocampus")

    monkeypatch.setattr(welcome, "sample_case", missing)
    shown.window.show_first_steps()
    steps_of(shown).go_to(FirstStep.LOOK)
    assert "lacks samples/hippocampus" in steps_of(shown).viewer._sentence.text()


def test_a_problem_of_the_sample_study_is_told_when_the_steps_are_closed(shown):
    shown.window.show_first_steps()
    steps_of(shown).reject()
    shown.window._welcome._start._show(SampleState(problem="No port is free."))
    assert told(shown)[-1] == "No port is free."


def test_the_window_of_another_computer_checks_none(shown):
    shown.window.home = None
    shown.window.show_first_steps(computer=True)
    assert "another computer" in steps_of(shown)._summary.text()
    assert not steps_of(shown).gpu.isVisible()


def test_removing_asks_first(shown, qtbot):
    window = shown.window
    window.show_first_steps(computer=True)
    machine = window._welcome._machine
    qtbot.waitUntil(lambda: not machine.busy, timeout=10_000)
    shown.answers.sure = False
    steps_of(shown).package_unwished.emit()
    assert not machine.busy
    assert shown.answers.asked[-1].startswith("Remove the GPU package?")
    shown.answers.sure = True
    steps_of(shown).package_unwished.emit()
    qtbot.waitUntil(lambda: not machine.busy, timeout=10_000)
    assert "is removed" in machine.state.gpu.result


def test_no_file_chosen_changes_nothing(shown, qtbot):
    window = shown.window
    window.show_first_steps(computer=True)
    qtbot.waitUntil(lambda: not window._welcome._machine.busy, timeout=10_000)
    steps_of(shown).package_wished.emit("")
    assert not window._welcome._machine.busy


@pytest.mark.parametrize(
    ("site", "invitation", "forwarded", "new"),
    [
        (False, None, None, True),
        (True, None, None, False),
        (False, Path("a.fedjoin"), None, False),
        (False, None, object(), False),
    ],
)
def test_only_a_newcomer_is_led(tmp_path, site, invitation, forwarded, new):
    if site:
        (tmp_path / SITE_DATABASE).write_bytes(b"")
    assert is_new([tmp_path], invitation=invitation, forwarded=forwarded) is new


class PlayedBridge:
    """Computes at once."""

    def compute(self, work, on_result, on_problem) -> None:
        on_result(work())


@pytest.mark.parametrize(
    ("cards", "device", "led", "wanted", "told_of"),
    [
        (1, "auto", False, True, True),
        (0, "auto", False, True, False),
        (1, "cpu", False, True, False),
        (1, "auto", True, True, False),
        (1, "auto", False, False, False),
    ],
)
def test_an_idle_card_is_told_of_once(
    open_window, tmp_path, monkeypatch, cards, device, led, wanted, told_of
):
    monkeypatch.setattr(gpu_package, "is_wanted", lambda: wanted)
    shown = open_window(None)
    base = snapshots.empty()
    devices = replace(base.training.devices, gpus_here=cards, device=device)
    snapshot = replace(base, training=replace(base.training, devices=devices))
    for _ in range(2):
        # Two starts of the program by one person.
        sites = Sites(shown.window, [tmp_path])
        sites._bridge, sites._card_seen = PlayedBridge(), led
        sites._tell_of_card(snapshot)
        sites._tell_of_card(snapshot)
        sites._bridge = None
    assert told(shown) == [CARD_IDLE.sentence] * told_of
