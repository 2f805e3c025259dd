from __future__ import annotations

import sys
from pathlib import Path

import pytest

from installer import checks
from installer.checks import Check

FULL, HEADLESS = Path("/p/.venv"), Path("/p/.venv-headless")


def test_the_checks_come_in_order_and_use_the_right_environment():
    planned = checks.project_checks(FULL, HEADLESS, ())
    assert [each.name for each in planned] == [
        "ruff format",
        "ruff check",
        "mypy",
        "import contracts",
        "headless suite",
        "full suite",
    ]
    headless, full = planned[-2:]
    assert headless.command[0].startswith(f"{HEADLESS}/")
    assert "not nnunet and not window and not e2e" in headless.command
    assert full.command[0].startswith(f"{FULL}/")
    assert ("QT_QPA_PLATFORM", "offscreen") in full.environment
    assert ("OMP_NUM_THREADS", "1") in headless.environment


def test_pytest_arguments_reach_both_suites():
    *_, headless, full = checks.project_checks(FULL, HEADLESS, ("--slow", "-k", "a b"))
    assert headless.command[-3:] == full.command[-3:] == ("--slow", "-k", "a b")


def outcomes_of(*statuses: tuple[int, str | None], may_find_no_tests: bool = False):
    planned = [
        Check(name=f"check {number}", command=("x",), may_find_no_tests=may_find_no_tests)
        for number in range(len(statuses))
    ]
    answers = iter(statuses)
    return checks.run_checks(planned, lambda _command, _environment: next(answers))


def test_all_checks_run_though_the_first_fails():
    outcomes = outcomes_of((1, None), (0, None), (2, "1 failed in 0.1s"))
    assert [each.passed for each in outcomes] == [False, True, False]


def test_finding_no_tests_fails_unless_the_person_picked_some():
    assert not outcomes_of((5, None))[0].passed
    assert outcomes_of((5, None), may_find_no_tests=True)[0].passed
    assert not outcomes_of((1, None), may_find_no_tests=True)[0].passed


def test_the_summary_ends_with_the_last_closing_line():
    outcomes = outcomes_of(
        (0, None), (0, "=== 5 passed in 1s ==="), (1, "=== 1 failed, 7 passed in 2.5s ===")
    )
    lines = checks.summary(outcomes).splitlines()
    assert lines[0] == "== summary"
    assert lines[2].startswith("check 1")
    assert "passed" in lines[2]
    assert "FAILED" in lines[3]
    assert lines[-1] == "=== 1 failed, 7 passed in 2.5s ==="


@pytest.mark.parametrize(
    "line",
    [
        "12 passed in 3.21s",
        "===== 12 passed, 1 skipped in 3.21s =====",
        "== 1 failed, 12 passed, 3 deselected, 2 warnings in 130.00s (0:02:10) ==",
        "=== 1 error in 0.10s ===",
        "=== no tests ran in 0.01s ===",
    ],
)
def test_closing_lines_are_recognised(line: str):
    assert checks.CLOSING_LINE.match(line)


@pytest.mark.parametrize(
    "line", ["tests/x.py ...  [ 50%]", "passed in time", "12 cases passed in 3s"]
)
def test_other_lines_are_not(line: str):
    assert not checks.CLOSING_LINE.match(line)


def test_a_command_is_run_where_it_should_with_its_output_shown_and_read(tmp_path, capsys):
    program = "import os; print(os.getcwd()); print('== 3 passed in 0.5s =='); raise SystemExit(3)"
    status, closing_line = checks.run_in(tmp_path)([sys.executable, "-c", program], {})
    assert (status, closing_line) == (3, "== 3 passed in 0.5s ==")
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path)
