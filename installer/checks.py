"""Run every check of the project, one after the other, and say how each went.

All of them run even when one fails, so that one run shows everything. pytest's own closing line is
printed last: whoever reads only the end sees how many tests ran.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from installer.environment import command_of, python_of
from installer.machine import say

PYTEST_FOUND_NO_TESTS: Final = 5
# '=== 12 passed, 1 skipped in 3.21s ===', or without the bars when there is no terminal.
CLOSING_LINE: Final = re.compile(
    r"^=*\s*((\d+ (passed|failed|skipped|deselected|xfailed|xpassed|errors?|warnings?)(, )?)+"
    r"|no tests ran) in [\d.]+s.*$"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One command whose exit status says whether the project is in order."""

    name: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    may_find_no_tests: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a check ended; ``closing_line`` is pytest's, if it wrote one."""

    check: Check
    exit_status: int
    duration_s: float
    closing_line: str | None = None

    @property
    def passed(self) -> bool:
        if self.exit_status == PYTEST_FOUND_NO_TESTS and self.check.may_find_no_tests:
            return True
        return self.exit_status == 0


def project_checks(
    environment: Path, headless_environment: Path, pytest_arguments: Sequence[str]
) -> tuple[Check, ...]:
    """Name the checks, the quick ones first.

    ``pytest_arguments`` go to both suites. They may pick tests of which the headless one has none.
    """

    def tool(name: str, *arguments: str) -> tuple[str, ...]:
        return (str(command_of(environment, name)), *arguments)

    def pytest(folder: Path, *arguments: str) -> tuple[str, ...]:
        return (str(python_of(folder)), "-m", "pytest", *arguments, *pytest_arguments)

    # Shared cores: more threads than one per process only make the processes wait for each other.
    calm = (
        ("OMP_NUM_THREADS", "1"),
        ("MKL_NUM_THREADS", "1"),
        ("OPENBLAS_NUM_THREADS", "1"),
        ("LANG", "C.UTF-8"),
        ("PYTHONUTF8", "1"),
    )
    return (
        Check(name="ruff format", command=tool("ruff", "format", "--check", ".")),
        Check(name="ruff check", command=tool("ruff", "check", ".")),
        Check(name="mypy", command=tool("mypy")),
        Check(name="import contracts", command=tool("lint-imports")),
        Check(
            name="headless suite",
            command=pytest(headless_environment, "-m", "not nnunet and not window and not e2e"),
            environment=calm,
            may_find_no_tests=bool(pytest_arguments),
        ),
        Check(
            name="full suite",
            command=pytest(environment),
            environment=(*calm, ("QT_QPA_PLATFORM", "offscreen")),
        ),
    )


RunCommand = Callable[[Sequence[str], Mapping[str, str]], tuple[int, str | None]]


def run_checks(checks: Sequence[Check], run: RunCommand) -> list[Outcome]:
    """Run all checks in order and announce each."""
    outcomes = []
    for check in checks:
        say(f"== {check.name}: {' '.join(check.command)}")
        started = time.monotonic()
        exit_status, closing_line = run(check.command, {**os.environ, **dict(check.environment)})
        outcome = Outcome(
            check=check,
            exit_status=exit_status,
            duration_s=time.monotonic() - started,
            closing_line=closing_line,
        )
        outcomes.append(outcome)
        word = "passed" if outcome.passed else f"FAILED (exit status {exit_status})"
        say(f"== {check.name}: {word} after {outcome.duration_s:.0f} s\n")
    return outcomes


def run_in(folder: Path) -> RunCommand:
    """Return the way to run a command in ``folder`` while its output is shown and read."""

    def run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str | None]:
        closing_line = None
        with subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as child:
            assert child.stdout is not None  # noqa: S101 - told to Popen above
            for line in child.stdout:
                say(line.rstrip("\n"))
                if CLOSING_LINE.match(line.strip()):
                    closing_line = line.strip()
        return child.returncode, closing_line

    return run


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return the table of all checks, pytest's closing line of the last suite at its end."""
    lines = ["== summary"]
    for outcome in outcomes:
        word = "passed" if outcome.passed else "FAILED"
        counted = f"  {outcome.closing_line.strip('= ')}" if outcome.closing_line else ""
        lines.append(f"{outcome.check.name:<18} {word}  {outcome.duration_s:6.0f} s{counted}")
    closing_lines = [outcome.closing_line for outcome in outcomes if outcome.closing_line]
    return "\n".join([*lines, *closing_lines[-1:]])
