from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtNetwork import QLocalSocket

from app.ui.instance import WindowInstance, _server_name

SECOND = """
import sys
from pathlib import Path
from PySide6.QtCore import QCoreApplication
from app.ui.instance import WindowInstance
application = QCoreApplication([])
invitation = Path(sys.argv[2]) if len(sys.argv) > 2 else None
print(WindowInstance(Path(sys.argv[1])).hand_over(invitation))
"""
CRASHED = """
import os, sys
from pathlib import Path
from PySide6.QtCore import QCoreApplication
from app.ui.instance import WindowInstance
application = QCoreApplication([])
instance = WindowInstance(Path(sys.argv[1]))
assert instance.listen()
print("listening", flush=True)
application.exec()
"""


@pytest.fixture
def first(qtbot, tmp_path):
    made = WindowInstance(tmp_path)
    assert made.listen()
    yield made
    made.close()


@pytest.fixture
def start(project_root: Path):
    """Start a script of another process with arguments."""
    environment = {
        **os.environ,
        "QT_QPA_PLATFORM": "offscreen",
        "PYTHONPATH": str(project_root),
        "OMP_NUM_THREADS": "1",
    }
    running: list[subprocess.Popen[str]] = []

    def started(script: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield started
    for process in running:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_a_second_start_hands_its_invitation_to_the_first(first, start, qtbot, tmp_path):
    calls = []
    first.called.connect(calls.append)
    invitation = tmp_path / "north.fedjoin"
    second = start(SECOND, str(tmp_path), str(invitation))
    qtbot.waitUntil(lambda: second.poll() is not None, timeout=20_000)
    assert second.stdout is not None
    assert second.stdout.read().strip() == "True"
    assert calls == [invitation]


def test_a_start_without_an_invitation_only_calls_to_the_front(first, start, qtbot, tmp_path):
    calls = []
    first.called.connect(calls.append)
    second = start(SECOND, str(tmp_path))
    qtbot.waitUntil(lambda: second.poll() is not None, timeout=20_000)
    assert calls == [None]


def test_the_first_start_finds_nobody(qtbot, tmp_path):
    assert not WindowInstance(tmp_path).hand_over(None)


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes end with their process")
def test_a_socket_that_a_crash_left_is_taken_over(start, qtbot, tmp_path):
    crashed = start(CRASHED, str(tmp_path))
    assert crashed.stdout is not None
    assert crashed.stdout.readline().strip() == "listening"
    os.kill(crashed.pid, signal.SIGKILL)
    crashed.wait()
    assert (tmp_path / "window.socket").exists()
    again = WindowInstance(tmp_path)
    assert not again.hand_over(None)
    assert again.listen()
    again.close()


@pytest.mark.parametrize(
    "told",
    [
        b"no json\n",
        b"[]\n",
        b'"text"\n',
        b"{}\n",
        b"\xff\xfe\n",
        b"x" * (32 << 10),
        json.dumps({"path": "elsewhere"}).encode() + b"\n",
    ],
)
def test_what_is_no_call_is_cut_off(first, qtbot, tmp_path, told):
    calls = []
    first.called.connect(calls.append)
    socket = QLocalSocket()
    socket.connectToServer(_server_name(tmp_path))
    assert socket.waitForConnected(2000)
    socket.write(told)
    qtbot.waitUntil(
        lambda: socket.state() is QLocalSocket.LocalSocketState.UnconnectedState, timeout=5000
    )
    assert calls == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_only_this_user_may_call(first, tmp_path):
    assert (tmp_path / "window.socket").stat().st_mode & 0o077 == 0


def test_a_long_home_has_a_short_name(tmp_path):
    deep = tmp_path / ("x" * 120)
    assert len(_server_name(deep)) < 60
    assert _server_name(deep) != _server_name(tmp_path / ("y" * 120))
