"""Starting the sample study from the window, with a played process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.domain.errors import SetupProblem
from app.system.sample_study import Beginning, note_beginning
from app.ui.presenters import sample_study
from app.ui.presenters.sample_study import COST, SampleState, SampleStudyStart


@pytest.fixture
def begun(qapp, tmp_path, monkeypatch):
    """Start it with a process that lives as long as this test."""
    monkeypatch.setattr(sample_study, "LOOK_MS", 5)
    commands: list[tuple[tuple[str, ...], Path]] = []

    def start(command, log) -> int:
        commands.append((tuple(command), log))
        return os.getpid()

    made = SampleStudyStart(tmp_path, start=start)
    made.commands = commands
    yield made
    made._timer.stop()


def test_the_cost_is_told_before():
    assert "15 minutes" in COST
    assert "1 GB of disk" in COST
    assert "all on this computer" in COST


def test_it_is_the_command_with_the_folder_that_the_command_uses(begun, tmp_path, monkeypatch):
    begun.begin()
    command, log = begun.commands[0]
    assert command[-3:] == ("demo", "--home", str(tmp_path))
    assert log == tmp_path / "logs" / "start.log"
    monkeypatch.setenv("FEDNNUNET_HOME", str(tmp_path))
    assert SampleStudyStart()._home == tmp_path / "sample-study"


def test_it_tells_each_step_until_its_window_is_there(begun, qtbot, tmp_path):
    note_beginning(tmp_path, Beginning(open=True))  # of an earlier time: no news
    begun.begin()
    assert begun.state.running
    begun.begin()
    assert len(begun.commands) == 1
    note_beginning(tmp_path, Beginning(step=3, steps=6, sentence="harbour joins"))
    qtbot.waitUntil(lambda: begun.state.share == 0.5)
    assert begun.state.sentence == "Harbour joins…"
    note_beginning(tmp_path, Beginning(open=True))
    qtbot.waitUntil(lambda: begun.state.open)
    assert not begun.state.running
    assert not begun._timer.isActive()


def test_why_it_cannot_begin_is_told(begun, qtbot, tmp_path):
    begun.begin()
    note_beginning(tmp_path, Beginning(problem="no port is free"))
    qtbot.waitUntil(lambda: not begun.state.running)
    assert begun.state.problem == "The sample study cannot begin: no port is free."
    begun.begin()
    assert begun.state.running


def test_a_process_that_is_gone_is_noticed(qtbot, qapp, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    start = SampleStudyStart(tmp_path, start=lambda _command, _log: gone.pid)
    start.begin()
    qtbot.waitUntil(lambda: not start.state.running)
    assert "start.log says why" in start.state.problem


def test_a_program_that_cannot_be_started_is_told(qapp, tmp_path):
    def broken(_command, _log):
        raise SetupProblem("the disk is full")

    start = SampleStudyStart(tmp_path, start=broken)
    start.begin()
    assert start.state == SampleState(problem="It cannot be started: the disk is full.")
