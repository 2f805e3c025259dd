from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from installer import bootstrap, environment, machine

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "installer" / "bootstrap.py"


@pytest.fixture(autouse=True)
def _no_choices_from_outside(monkeypatch):
    monkeypatch.delenv(bootstrap.TORCH_INDEX_VARIABLE, raising=False)


# Arguments


def test_what_is_not_ours_goes_on_in_its_order():
    options, rest = bootstrap.parse_arguments(
        ["demo", "--headless", "--home", "/a b/c", "--cpu", "--json", "x.json", "--baselines"]
    )
    assert options.command == "demo"
    assert options.cpu
    assert rest == ["--headless", "--home", "/a b/c", "--json", "x.json", "--baselines"]


def test_pytest_arguments_go_on():
    _, rest = bootstrap.parse_arguments(["test", "--slow", "-k", "a or b", "tests/domain"])
    assert rest == ["--slow", "-k", "a or b", "tests/domain"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["setup", "--headless"],
        ["setup", "--cpu", "--gpu"],
        ["demo", "--torch-index"],
    ],
)
def test_misuse_ends_with_2(arguments: list[str], capsys):
    with pytest.raises(SystemExit) as caught:
        bootstrap.parse_arguments(arguments)
    assert caught.value.code == 2
    assert "usage: bootstrap.py" in capsys.readouterr().err


def test_options_are_not_abbreviated():
    """--c must reach pytest as it is, not turn into --cpu."""
    options, rest = bootstrap.parse_arguments(["test", "--c"])
    assert not options.cpu
    assert rest == ["--c"]


def test_the_index_for_torch_comes_from_the_option_or_the_variable(monkeypatch):
    assert bootstrap.parse_arguments(["setup"])[0].torch_index is None
    monkeypatch.setenv(bootstrap.TORCH_INDEX_VARIABLE, "https://one.invalid")
    assert bootstrap.parse_arguments(["setup"])[0].torch_index == "https://one.invalid"
    options, _ = bootstrap.parse_arguments(["setup", "--torch-index", "https://two.invalid"])
    assert options.torch_index == "https://two.invalid"


# Which lock


@pytest.mark.parametrize(
    ("arguments", "system", "nvidia", "earlier", "lock"),
    [
        ([], "Windows", True, None, "windows"),
        (["--gpu"], "Darwin", False, None, "macos"),
        ([], "Linux", False, None, "linux-cpu"),
        ([], "Linux", True, None, "linux-cuda"),
        (["--cpu"], "Linux", True, "linux-cuda", "linux-cpu"),
        (["--gpu"], "Linux", False, "linux-cpu", "linux-cuda"),
        # A choice once made holds, though a driver has come or gone.
        ([], "Linux", True, "linux-cpu", "linux-cpu"),
        ([], "Linux", False, "linux-cuda", "linux-cuda"),
        ([], "Linux", True, "something-else", "linux-cuda"),
    ],
)
def test_the_lock_fits_the_machine(arguments, system, nvidia, earlier, lock):
    options, _ = bootstrap.parse_arguments(["setup", *arguments])
    chosen = bootstrap.choose_lock(options, system=system, nvidia=nvidia, earlier=earlier)
    assert chosen == lock
    assert bootstrap.recipe_for(Path("/x/.venv"), chosen).lock.exists()


# Commands


class Started(Exception):
    """Raised in place of running the program."""


@pytest.fixture
def started(monkeypatch, tmp_path):
    """Play a finished set-up; collect the command that would run and what was asked of Qt."""
    seen = {}

    def set_up(_options, *, needs_window):
        seen["needs_window"] = needs_window
        return tmp_path

    def run_program(command):
        seen["command"] = command
        return 7

    monkeypatch.setattr(bootstrap, "set_up", set_up)
    monkeypatch.setattr(bootstrap, "run_program", run_program)
    return seen


def demo(*arguments: str) -> int:
    return bootstrap.run_demo(*bootstrap.parse_arguments(["demo", *arguments]))


def test_demo_runs_the_program_with_its_arguments(started, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "has_screen", lambda *_args, **_named: True)
    assert demo("--home", "/a b") == 7
    program = str(environment.command_of(tmp_path, "fednnunet"))
    assert started["command"] == [program, "demo", "--home", "/a b"]
    assert started["needs_window"] is True


def test_headless_needs_no_libraries_for_a_window(started, monkeypatch):
    monkeypatch.setattr(machine, "has_screen", lambda *_args, **_named: True)
    demo("--headless")
    assert started["needs_window"] is False
    assert started["command"][1:] == ["demo", "--headless"]


def test_without_a_screen_demo_is_headless_and_says_so(started, monkeypatch, capsys):
    monkeypatch.setattr(machine, "has_screen", lambda *_args, **_named: False)
    demo("--json", "x")
    assert started["command"][1:] == ["demo", "--headless", "--json", "x"]
    assert "no screen here" in capsys.readouterr().out


def test_a_problem_is_two_sentences_and_1(monkeypatch, capsys):
    def set_up(_options, *, needs_window):
        raise machine.SetupProblem("the disk is full", "free some space")

    monkeypatch.setattr(bootstrap, "set_up", set_up)
    assert bootstrap.main(["setup"]) == 1
    assert capsys.readouterr().err == "\nthe disk is full\nfree some space\n"


def test_an_interruption_is_a_sentence_and_1(monkeypatch, capsys):
    def set_up(_options, *, needs_window):
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap, "set_up", set_up)
    assert bootstrap.main(["setup"]) == 1
    assert "the same command goes on from here" in capsys.readouterr().err


# As a script


def run_script(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        # -S -I: nothing but the standard library is there, as on a fresh machine.
        [sys.executable, "-S", "-I", str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env=variables or None,
        check=False,
    )


def test_the_script_runs_on_the_standard_library_alone():
    finished = run_script("--help")
    assert finished.returncode == 0, finished.stderr
    assert "demo" in finished.stdout


def test_the_set_up_imports_nothing_outside_the_standard_library():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import installer.bootstrap, installer.checks, installer.environment, installer.machine\n"
        "names = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(names - set(sys.stdlib_module_names) - {'installer', '__main__'}))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-S", "-I", "-c", program, str(ROOT)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert finished.stdout == "[]\n", finished.stderr


def test_an_old_python_gets_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    monkeypatch.setenv(bootstrap.RESTARTED_VARIABLE, "1")
    assert bootstrap.main(["setup"]) == 1
    assert "this is Python 3.9" in capsys.readouterr().err


def test_an_old_python_hands_over_to_a_newer_one(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "setup", "--cpu"])
    monkeypatch.delenv(bootstrap.RESTARTED_VARIABLE, raising=False)
    # A shim that finds nothing behind it, and a Python that works.
    for name, text in (("python3.13", "exit 127"), ("python3.12", 'echo "$@"; exit 5')):
        (tmp_path / name).write_text(
            f'#!/bin/sh\n[ "$1" = -c ] && [ {name} = python3.12 ] && exit 0\n{text}\n'
        )
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert bootstrap.restart_with_supported_python() == 5
    assert capfd.readouterr().out.splitlines() == [
        "starting again with python3.12",
        f"{SCRIPT} setup --cpu",
    ]


def test_this_python_is_not_restarted():
    assert bootstrap.restart_with_supported_python() is None
