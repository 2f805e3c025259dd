"""The bridge against the real control server."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from helpers import snapshots
from helpers.pretended_service import PretendedService

from app.control.messages import (
    Accepted,
    Changed,
    CheckFolder,
    Logged,
    Refused,
    Snapshot,
)
from app.domain.errors import DataProblem, ErrorCode, SetupProblem
from app.ui.bridge import ServiceBridge


@pytest.fixture
def home(tmp_path):
    return tmp_path


@pytest.fixture
def service(home):
    made = PretendedService(home, snapshots.training())
    yield made
    made.stop()


@pytest.fixture
def bridges(qapp):
    """Make bridges that are closed after the test."""
    made: list[ServiceBridge] = []

    def make(home: Path, start=lambda _home: None) -> ServiceBridge:
        bridge = ServiceBridge(home, start_service=start)
        made.append(bridge)
        return bridge

    yield make
    for bridge in made:
        bridge.close()


def test_attaches_and_shows_the_snapshot(home, service, bridges, qtbot):
    service.start()
    bridge = bridges(home)
    with qtbot.waitSignal(bridge.snapshot_changed, timeout=10_000) as told:
        bridge.open()
    assert told.args == [snapshots.training()]
    assert bridge.snapshot == snapshots.training()
    assert bridge.away == ""


def test_the_first_word_is_awaited_without_a_loop(home, service, bridges):
    service.start()
    bridge = bridges(home)
    told: list[Snapshot] = []
    bridge.snapshot_changed.connect(told.append)
    bridge.open()
    bridge.await_first(10.0)
    assert told == [snapshots.training()]


def test_a_service_that_is_not_there_keeps_nobody_waiting(home, bridges):
    bridge = bridges(home)
    bridge.open()
    bridge.await_first(60.0)
    assert bridge.snapshot is None
    assert bridge.away == "starting the service of this site…"


def test_events_keep_the_snapshot_true(home, service, bridges, qtbot):
    service.start()
    bridge = bridges(home)
    with qtbot.waitSignal(bridge.snapshot_changed, timeout=10_000):
        bridge.open()
    told: list[Snapshot] = []
    bridge.snapshot_changed.connect(told.append)
    for number in range(50):
        service.tell(Logged(line=snapshots.log_line(f"line {number}")))
    service.tell(Changed(data=snapshots.checking().data))
    qtbot.waitUntil(lambda: bridge.snapshot == service.held, timeout=10_000)
    # Fifty events do not make fifty drawings.
    assert len(told) < 15


def test_requests_are_answered_in_the_qt_thread(home, service, bridges, qtbot):
    service.start()
    bridge = bridges(home)
    with qtbot.waitSignal(bridge.snapshot_changed, timeout=10_000):
        bridge.open()
    replies: list[tuple[object, threading.Thread]] = []
    bridge.request(CheckFolder(), lambda reply: replies.append((reply, threading.current_thread())))
    qtbot.waitUntil(lambda: bool(replies), timeout=10_000)
    assert replies == [(Accepted(), threading.main_thread())]
    assert [request.command for request in service.requests] == [CheckFolder()]


def test_starts_a_service_where_none_runs(home, service, bridges, qtbot):
    started: list[Path] = []

    def start(where: Path) -> None:
        started.append(where)
        service.start()

    bridge = bridges(home, start)
    with qtbot.waitSignal(bridge.snapshot_changed, timeout=15_000):
        bridge.open()
    assert started == [home]
    assert bridge.away == ""


def test_says_why_a_service_cannot_be_started(home, bridges, qtbot):
    def start(_home: Path) -> None:
        raise SetupProblem("the disk is full", code=ErrorCode.DISK_FULL)

    bridge = bridges(home, start)
    with qtbot.waitSignal(bridge.away_changed, timeout=10_000) as told:
        bridge.open()
    assert told.args == ["the service of this site cannot be started: the disk is full"]


def test_without_a_service_requests_are_refused_in_words(home, bridges, qtbot):
    bridge = bridges(home)
    replies: list[object] = []
    bridge.request(CheckFolder(), replies.append)
    with qtbot.waitSignal(bridge.away_changed, timeout=10_000):
        bridge.open()
    bridge.request(CheckFolder(), replies.append)
    qtbot.waitUntil(lambda: len(replies) == 2, timeout=10_000)
    assert all(isinstance(reply, Refused) and reply.remedy for reply in replies)


def test_attaches_again_after_the_service_went_away(home, service, bridges, qtbot):
    service.start()
    bridge = bridges(home)
    with qtbot.waitSignal(bridge.snapshot_changed, timeout=10_000):
        bridge.open()
    with qtbot.waitSignal(bridge.away_changed, timeout=10_000) as told:
        service.stop()
    assert told.args == ["the service of this site went away; attaching again…"]
    assert bridge.snapshot is not None  # the last known state stays
    second = PretendedService(home, snapshots.finished())
    try:
        second.start()
        qtbot.waitUntil(lambda: bridge.snapshot == snapshots.finished(), timeout=15_000)
        assert bridge.away == ""
    finally:
        second.stop()


def test_closing_leaves_the_service_alone(home, service, bridges, qtbot):
    service.start()
    bridge = bridges(home)
    with qtbot.waitSignal(bridge.snapshot_changed, timeout=10_000):
        bridge.open()
    bridge.close()
    assert not bridge._thread.is_alive()
    assert service.requests == []  # above all no StopService
    another = bridges(home)
    with qtbot.waitSignal(another.snapshot_changed, timeout=10_000):
        another.open()
    assert another.snapshot == snapshots.training()


def test_nothing_arrives_after_closing(home, service, bridges, qtbot):
    service.start()
    bridge = bridges(home)
    with qtbot.waitSignal(bridge.snapshot_changed, timeout=10_000):
        bridge.open()
    service.tell(Logged(line=snapshots.log_line("late")))
    bridge.close()
    with qtbot.assertNotEmitted(bridge.snapshot_changed, wait=300):
        pass


def test_closing_before_opening_is_harmless(home, bridges):
    bridges(home).close()


def test_work_is_done_beside_the_window(home, bridges, qtbot):
    bridge = bridges(home)
    done: list[tuple[str, object]] = []

    def fail() -> None:
        raise DataProblem("unreadable", code=ErrorCode.CASE_UNREADABLE)

    bridge.compute(
        threading.current_thread,
        lambda r: done.append(("result", r)),
        lambda e: done.append(("", e)),
    )
    bridge.compute(fail, lambda r: done.append(("", r)), lambda e: done.append(("problem", str(e))))
    qtbot.waitUntil(lambda: len(done) == 2, timeout=10_000)
    assert done[0][1] is not threading.main_thread()
    assert done[1] == ("problem", "unreadable")


def test_a_bug_in_work_is_logged_and_told(home, bridges, qtbot, expected_log):
    expected_log("app.ui.bridge", "work beside the window failed")
    bridge = bridges(home)
    told: list[str] = []
    bridge.compute(lambda: 1 / 0, lambda _result: None, lambda error: told.append(str(error)))
    qtbot.waitUntil(lambda: bool(told), timeout=10_000)
    assert told == ["this could not be done; the log says why"]
