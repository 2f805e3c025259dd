from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QSettings, QTimer

from app.control.messages import Snapshot
from app.system.paths import WINDOW_SOCKET
from app.ui import main as main_module
from app.ui.main import (
    Sites,
    chosen_theme,
    closing_on_interrupt,
    settle_when_seen,
    start_service,
)
from app.ui.text import Page
from app.ui.theme import Theme

BARE = """
import time; begun = time.process_time()
from PySide6.QtCore import QEvent, QTimer
from PySide6.QtWidgets import QApplication, QLabel, QMainWindow
class Window(QMainWindow):
    painted = False
    def event(self, event):
        done = super().event(event)
        if event.type() is QEvent.Type.Paint and not self.painted:
            self.painted = True
            QTimer.singleShot(0, self, leave)
        return done
def leave():
    print(time.process_time() - begun)
    application.exit()
application = QApplication([])
window = Window()
window.setCentralWidget(QLabel("bare"))
window.resize(1280, 820)
window.show()
application.exec()
"""

OURS = """
import time; begun = time.process_time()
import os, sys
from pathlib import Path
from typing import ClassVar
from PySide6.QtCore import QObject
from PySide6.QtWidgets import QApplication
from app.ui import main, window
class Sites(QObject):
    def __init__(self, *args, **kwargs): super().__init__()
    def open(self): pass
    def settle(self, home):
        print(time.process_time() - begun)
        print(" ".join(sorted(sys.modules)))
        QApplication.instance().exit()
    def close(self): pass
main.Sites = Sites
class Bridge:
    def await_first(self, longest_s): pass
main.begin_attaching = lambda home, forwarded: Bridge()
main.main(Path(os.environ["XDG_CONFIG_HOME"]) / "nowhere", theme="dark")
"""

TOO_HEAVY = {
    "torch",
    "nnunetv2",
    "SimpleITK",
    "matplotlib",
    "scipy",
    "pandas",
    "pyqtgraph",
    "numpy",
    "websockets",
    "PySide6.QtNetwork",
    "app.control.client",
}


@pytest.fixture
def run(tmp_path, project_root: Path):
    """Run a script that prints its figures, apart from this process."""
    environment = {
        **os.environ,
        "QT_QPA_PLATFORM": "offscreen",
        "PYTHONPATH": str(project_root),
        "XDG_CONFIG_HOME": str(tmp_path),
    }

    def running(script: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.splitlines()

    return running


def test_first_frame_comes_within_three_times_a_bare_window(run):
    run(BARE), run(OURS)  # both from the same warm caches
    bare, ours = [], []
    # Processor time: with many processes for few cores, the clock tells of the others.
    for _ in range(5):
        bare.append(float(run(BARE)[0]))
        ours.append(float(run(OURS)[0]))
    ratio = statistics.median(ours) / statistics.median(bare)
    assert ratio <= 3, f"{ratio:.2f}: {sorted(ours)} against {sorted(bare)}"


def test_nothing_heavy_is_imported_before_the_first_frame(run):
    modules = set(run(OURS)[1].split())
    assert "app.ui.pages.home" in modules
    assert not TOO_HEAVY & modules
    assert not {module for module in modules if module.startswith(("app.nnunet", "app.worker"))}


def test_no_page_imports_torch(run):
    script = """
import sys, pkgutil, importlib, app.ui
for module in pkgutil.walk_packages(app.ui.__path__, "app.ui."):
    importlib.import_module(module.name)
print(" ".join(sorted(sys.modules)))
"""
    modules = set(run(script)[0].split())
    assert not {"torch", "nnunetv2", "matplotlib", "scipy", "pandas"} & modules


@pytest.mark.parametrize(
    ("asked", "saved", "theme"),
    [
        ("system", None, Theme.SYSTEM),
        ("system", "light", Theme.LIGHT),
        ("dark", "light", Theme.DARK),
        ("system", "purple", Theme.SYSTEM),
    ],
)
def test_the_command_line_wins_over_what_was_remembered(tmp_path, asked, saved, theme):
    settings = QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
    if saved:
        settings.setValue("theme", saved)
    assert chosen_theme(asked, settings) is theme


def test_a_service_is_started_for_its_home_and_detached(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(
        "app.jobs.detached.start_detached",
        lambda command, *, log: started.append((command, log)) or 7,
    )
    assert start_service(tmp_path) == 7
    ((command, log),) = started
    assert command[-4:] == ("site", "run", "--home", str(tmp_path))
    assert log.is_relative_to(tmp_path)


class QuietBridge(main_module.QObject):
    """A bridge that attaches to nothing."""

    made: ClassVar[list[QuietBridge]] = []

    from PySide6.QtCore import Signal

    snapshot_changed = Signal(object)
    away_changed = Signal(str)

    def __init__(self, home, *, start_service, forwarded=None):
        super().__init__()
        self.home, self.snapshot, self.away, self.commands = home, None, "", []
        self.is_open = False
        self.made.append(self)

    def open(self):
        self.is_open = True

    def close(self):
        self.is_open = False

    def request(self, command, on_reply):
        self.commands.append(command)

    def tell(self, snapshot: Snapshot):
        self.snapshot = snapshot
        self.snapshot_changed.emit(snapshot)


@pytest.fixture
def bridges(monkeypatch):
    QuietBridge.made = []
    monkeypatch.setattr("app.ui.bridge.ServiceBridge", QuietBridge)
    return QuietBridge.made


def test_one_site_is_attached_at_a_time(open_window, bridges, tmp_path):
    shown = open_window(None, sites=("North", "Harbour"))
    sites = Sites(shown.window, (tmp_path / "north", tmp_path / "harbour"))
    sites.open()
    shown.window.header.sites.setCurrentIndex(1)
    assert [(bridge.home.name, bridge.is_open) for bridge in bridges] == [
        ("north", False),
        ("harbour", True),
    ]
    sites.close()
    assert not bridges[1].is_open


def test_a_bridge_that_was_begun_before_the_window_is_taken_over(open_window, bridges, tmp_path):
    shown = open_window(None, sites=("North", "Harbour"))
    homes = (tmp_path / "north", tmp_path / "harbour")
    begun = main_module.begin_attaching(homes[0], None)
    sites = Sites(shown.window, homes, bridge=begun)
    sites.open()
    assert bridges == [begun]
    assert begun.is_open
    shown.window.header.sites.setCurrentIndex(1)
    assert [bridge.is_open for bridge in bridges] == [False, True]
    sites.close()


def test_the_tray_tells_what_was_known_before_it_was_there(
    open_window, bridges, notifiers, tmp_path
):
    from helpers import snapshots

    shown = open_window(None)
    sites = Sites(shown.window, (tmp_path,))
    sites.open()
    bridges[0].tell(snapshots.training())
    sites.settle(tmp_path)
    assert notifiers[0].told == []
    assert notifiers[0].states == ["Training round 3 of 6, 38 s left"]
    sites.close()


def test_what_can_wait_waits_for_the_page_that_somebody_went_on_to(open_window):
    window = open_window(None).window
    settled = []
    timer = settle_when_seen(window, lambda: settled.append(True))
    window.go_to(Page.DATA)
    assert not timer.isActive()
    window.first_frame_shown.emit()
    first = timer.timerId()
    window.go_to(Page.TRAINING)
    assert timer.isActive()
    assert timer.timerId() != first
    timer.timeout.emit()
    timer.stop()
    window.go_to(Page.DATA)
    assert not timer.isActive()
    assert settled == [True]


@pytest.mark.parametrize("new", [False, True])
def test_only_somebody_new_is_welcomed(open_window, bridges, notifiers, tmp_path, monkeypatch, new):
    shown = open_window(None)
    welcomed = []
    monkeypatch.setattr(shown.window, "welcome", lambda: welcomed.append(True))
    sites = Sites(shown.window, (tmp_path,), new=new)
    sites.open()
    sites.settle(tmp_path)
    assert welcomed == [True] * new
    sites.close()


def test_the_invitation_of_the_command_line_is_read_once_and_never_joined(
    open_window, bridges, tmp_path
):
    from helpers import snapshots

    shown = open_window(None)
    sites = Sites(shown.window, (tmp_path,), invitation=tmp_path / "a.fedjoin")
    sites.open()
    assert bridges[0].commands == []
    bridges[0].tell(snapshots.empty())
    bridges[0].tell(snapshots.checking())
    assert [type(command).__name__ for command in bridges[0].commands] == ["ReadInvitation"]
    sites.close()


def test_a_file_that_the_system_hands_over_is_read_when_a_service_can(
    open_window, bridges, tmp_path, qapp
):
    from helpers import snapshots
    from PySide6.QtGui import QFileOpenEvent

    shown = open_window(None)
    sites = Sites(shown.window, (tmp_path,))
    sites.open()
    qapp.installEventFilter(sites)
    qapp.sendEvent(qapp, QFileOpenEvent(str(tmp_path / "a.fedjoin")))
    assert bridges[0].commands == []
    bridges[0].tell(snapshots.empty())
    qapp.sendEvent(qapp, QFileOpenEvent(str(tmp_path / "b.fedjoin")))
    qapp.removeEventFilter(sites)
    assert [Path(command.path).name for command in bridges[0].commands] == [
        "a.fedjoin",
        "b.fedjoin",
    ]
    sites.close()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interrupt_in_the_terminal_closes_the_window(qapp):
    before = signal.getsignal(signal.SIGINT)
    QTimer.singleShot(50, lambda: os.kill(os.getpid(), signal.SIGINT))
    with closing_on_interrupt(qapp):
        assert qapp.exec() == 0
    assert signal.getsignal(signal.SIGINT) is before


class HeardNotifier(main_module.QObject):
    """A notifier that keeps what it is told."""

    from PySide6.QtCore import Signal

    opened = Signal(object)
    quit_wished = Signal()

    def __init__(self, *, in_tray=False):
        super().__init__()
        self.in_tray, self.told, self.states = in_tray, [], []

    def tell(self, notice):
        self.told.append(notice.title)

    def show_state(self, sentence):
        self.states.append(sentence)

    def close(self):
        pass


@pytest.fixture
def notifiers(monkeypatch):
    made = []

    def make():
        made.append(HeardNotifier(in_tray=len(made) == 0))
        return made[-1]

    monkeypatch.setattr("app.ui.notifier.Notifier", make)
    quits = main_module.QGuiApplication.quitOnLastWindowClosed()
    yield made
    main_module.QGuiApplication.setQuitOnLastWindowClosed(quits)


@pytest.mark.parametrize("looks", [False, True])
def test_events_are_told_outside_unless_somebody_looks(
    open_window, bridges, notifiers, tmp_path, monkeypatch, looks
):
    from helpers import snapshots

    shown = open_window(None)
    monkeypatch.setattr(shown.window, "isActiveWindow", lambda: looks)
    sites = Sites(shown.window, (tmp_path,))
    sites.open()
    sites.settle(tmp_path)
    before = snapshots.training()
    bridges[0].tell(before)
    assert notifiers[0].told == []
    closed = replace(before, federation=replace(before.federation, rounds=snapshots.rounds(3)))
    bridges[0].tell(closed)
    bridges[0].tell(closed)
    assert notifiers[0].told == ([] if looks else ["Round 3 is done"])
    assert [toast.message.sentence for toast in shown.window.toasts.toasts()] == ["Round 3 is done"]
    assert notifiers[0].states[-1] == "Training round 3 of 6, 38 s left"
    sites.close()


def test_the_program_stays_in_the_tray_while_a_study_runs(
    open_window, bridges, notifiers, tmp_path
):
    from helpers import snapshots

    shown = open_window(None)
    sites = Sites(shown.window, (tmp_path,))
    sites.open()
    sites.settle(tmp_path)
    assert shown.window.in_tray
    for snapshot, stays in (
        (snapshots.checked(), False),
        (snapshots.training(), True),
        (snapshots.finished(), False),
    ):
        bridges[0].tell(snapshot)
        assert main_module.QGuiApplication.quitOnLastWindowClosed() is not stays
    sites.close()


def test_a_second_start_brings_the_window_forward_with_its_invitation(
    open_window, bridges, notifiers, tmp_path
):
    from helpers import snapshots

    shown = open_window(None)
    sites = Sites(shown.window, (tmp_path,))
    sites.open()
    shown.window.hide()
    sites.take_call(None)
    assert shown.window.isVisible()
    sites.take_call(tmp_path / "early.fedjoin")
    assert bridges[0].commands == [], "no service can read it yet"
    bridges[0].tell(snapshots.empty())
    sites.take_call(tmp_path / "late.fedjoin")
    assert [Path(command.path).name for command in bridges[0].commands] == [
        "early.fedjoin",
        "late.fedjoin",
    ]
    sites.close()


@pytest.mark.skipif(sys.platform == "win32", reason="pipes have no file")
def test_a_start_asks_for_a_running_window_only_where_one_may_be(tmp_path, monkeypatch):
    asked = []

    class Running:
        def __init__(self, home):
            self.home = home

        def hand_over(self, invitation):
            asked.append((self.home, invitation))
            return True

    monkeypatch.setattr("app.ui.instance.WindowInstance", Running)
    assert not main_module._handed_over(tmp_path, None)
    assert asked == []
    (tmp_path / WINDOW_SOCKET).touch()
    assert main_module._handed_over(tmp_path, tmp_path / "a.fedjoin")
    assert asked == [(tmp_path, tmp_path / "a.fedjoin")]
