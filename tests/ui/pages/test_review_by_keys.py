"""Thirty cases by keys alone, in the real window with the real verdict store; and killed while at it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import review_window
from helpers.review_window import MODEL, ReviewWindow
from PySide6.QtCore import QSettings, Qt

from app.domain.segmentation import Verdict
from app.review.verdicts import VerdictStore
from app.ui.pages.review import REASONS
from app.ui.presenters.verdicts import STORE_FILE

CASES = 30
CONTROL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def shown(look, tmp_path, qtbot):
    settings = QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
    made = ReviewWindow(look, tmp_path, CASES, settings)
    qtbot.addWidget(made.window)
    yield made
    made.close()


def reviews(home: Path, count: int = CASES):
    with VerdictStore(home / STORE_FILE) as store:
        cases = [f"case_{number:03d}" for number in range(count)]
        return {one.case: one for one in store.reviews(MODEL, cases)}


def test_thirty_cases_without_a_mouse(shown, tmp_path, qtbot):
    """Accept, flag for each reason, comment, undo, errors and models: every case gets its verdict."""
    expected: dict[str, tuple[Verdict, str]] = {}
    keys = 0

    def press(key, modifiers=Qt.KeyboardModifier.NoModifier):
        nonlocal keys
        keys += 1
        shown.press(key, modifiers)

    for number in range(CASES):
        case = shown.case
        assert case == f"case_{number:03d}"  # worst first, and always on to the next one
        match number % 5:
            case 0 | 1:
                press(Qt.Key.Key_A)
                expected[case] = (Verdict.ACCEPTED, "")
            case 2:
                reason = number % len(REASONS)
                press(Qt.Key.Key_F)
                press(Qt.Key(Qt.Key.Key_1.value + reason))
                expected[case] = (Verdict.FLAGGED, REASONS[reason])
            case 3:
                press(Qt.Key.Key_C)
                shown.type(f"look at {case}")
                press(Qt.Key.Key_Return)
                press(Qt.Key.Key_A)
                expected[case] = (Verdict.ACCEPTED, "")
            case _:
                press(Qt.Key.Key_A)
                press(Qt.Key.Key_Z, CONTROL)  # a slip: taken back, and the case is there again
                assert shown.case == case
                press(Qt.Key.Key_F)
                press(Qt.Key.Key_Return)  # the first reason
                expected[case] = (Verdict.FLAGGED, REASONS[0])
    found = reviews(tmp_path)
    assert {case: (one.verdict, one.decided.reason) for case, one in found.items()} == expected
    assert all(one.decided.reviewer and one.decided.at for one in found.values())
    for case, one in found.items():
        said = [entry.comment for entry in one.comments]
        assert said == ([f"look at {case}"] if int(case[-3:]) % 5 == 3 else [])
        # A comment is about the voxel under the crosshair.
        assert all(entry.voxel is not None for entry in one.comments)
    whole = "30 of 30 cases reviewed, 12 flagged"
    qtbot.waitUntil(lambda: shown.page._summary.text() == whole)
    # One key for what is right, two for what is wrong: far below what a mouse would need.
    assert keys <= 2.5 * CASES


def test_going_about_by_keys(shown, qtbot):
    shown.press(Qt.Key.Key_A)
    shown.press(Qt.Key.Key_N)
    assert shown.case == "case_002"
    shown.press(Qt.Key.Key_P)
    shown.press(Qt.Key.Key_P)
    assert shown.case == "case_000"
    shown.press(Qt.Key.Key_N, SHIFT)
    assert shown.case == "case_001"  # the next one without a verdict
    viewer = shown.page.viewer.view
    worst = viewer.crosshair
    viewer.go_to((0, 0, 0))
    shown.press(Qt.Key.Key_W)
    assert viewer.crosshair == worst


def kill_while_reviewing(home: Path, after: float, cases: int) -> tuple[list[str], str | None]:
    """Run the window in a process, kill it `after` seconds of work; what it said it had done."""
    script = Path(review_window.__file__)
    child = subprocess.Popen(
        [sys.executable, str(script), str(home), str(cases)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )
    with child:
        assert child.stdout.readline() == "ready\n"
        lines: list[str] = []
        wanted = int(after * cases)
        while len(lines) < wanted and (line := child.stdout.readline()):
            lines.append(line.strip())
        os.kill(child.pid, signal.SIGKILL)
        lines += [line.strip() for line in child.stdout if line.endswith("\n")]
    assert child.returncode == -signal.SIGKILL
    pressed = [line.removeprefix("pressed ") for line in lines if line.startswith("pressed ")]
    begun = lines[-1].split()[1] if lines and lines[-1].startswith("pressing ") else None
    return pressed, begun


def check_nothing_is_lost(home: Path, pressed: list[str], begun: str | None, cases: int) -> None:
    found = reviews(home, cases)
    for line in pressed:
        case, what = line.split()
        one = found[case]
        if what == "said":
            assert [entry.comment for entry in one.comments] == ["border unclear"]
        else:
            assert one.verdict.value == what
    done = {line.split()[0] for line in pressed}
    judged = {
        case for case, one in found.items() if one.verdict is not Verdict.UNREVIEWED or one.comments
    }
    # The key that was being pressed may or may not have come through; nothing else is there.
    assert judged - done <= {begun}


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_window_killed_at_any_moment_loses_no_verdict(tmp_path):
    chance = random.Random(7)
    for number in range(2):
        home = tmp_path / str(number)
        home.mkdir()
        pressed, begun = kill_while_reviewing(home, chance.uniform(0.1, 1.8), 24)
        check_nothing_is_lost(home, pressed, begun, 24)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_forty_windows_killed_at_random_lose_no_verdict(tmp_path):
    chance = random.Random(11)
    for number in range(40):
        home = tmp_path / str(number)
        home.mkdir()
        pressed, begun = kill_while_reviewing(home, chance.uniform(0.0, 2.0), 24)
        check_nothing_is_lost(home, pressed, begun, 24)
