"""The shape of the house: what is loaded when, what is tested where, what is never written."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APP = ROOT / "app"
HEAVY = ("torch", "nnunetv2", "SimpleITK", "matplotlib", "scipy", "pandas")
QT = ("PySide6", "shiboken6", "pyqtgraph")

# Imports the modules named as arguments, then prints the top names of all that is loaded.
LOAD_PROGRAM = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def loaded_after(*modules: str) -> set[str]:
    finished = subprocess.run(
        [sys.executable, "-c", LOAD_PROGRAM, *modules],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return set(json.loads(finished.stdout))


def modules_below(folder: Path) -> list[str]:
    found = []
    for path in sorted(folder.rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


@pytest.mark.window
def test_the_window_loads_nothing_heavy():
    loaded = loaded_after("app.__main__", "app.ui.main", *modules_below(APP / "ui"))
    assert "PySide6" in loaded
    assert not loaded & set(HEAVY)


def test_the_start_of_the_command_line_loads_neither_qt_nor_anything_heavy():
    loaded = loaded_after("app.__main__", "app.cli")
    assert not loaded & {*HEAVY, *QT}


@pytest.mark.parametrize("room", ["coordinator", "site", "control", "wire", "federation", "domain"])
def test_services_load_neither_qt_nor_anything_heavy(room: str):
    loaded = loaded_after(*modules_below(APP / room))
    assert not loaded & {*HEAVY, *QT}


# Every module has its tests


def test_every_module_has_its_own_test_file():
    missing = []
    for path in sorted(APP.rglob("*.py")):
        inside = path.relative_to(APP)
        # Docstrings of rooms hold no code, and app/__main__.py only calls the command line.
        if path.name in ("__init__.py", "__main__.py"):
            continue
        expected = ROOT / "tests" / inside.parent / f"test_{path.name}"
        if not expected.exists():
            missing.append(f"app/{inside.as_posix()}: {expected.relative_to(ROOT).as_posix()}")
    assert missing == []


def test_rooms_introduce_themselves():
    for path in APP.rglob("__init__.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{path} does not say what its room is for"


def test_there_is_no_room_for_odds_and_ends():
    for path in [*APP.rglob("*.py"), *(ROOT / "installer").rglob("*.py")]:
        assert path.stem not in {"utils", "util", "common", "misc", "helpers"}


# The doors


def contracts() -> list[dict[str, object]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return settings["tool"]["importlinter"]["contracts"]


def test_every_module_that_a_contract_names_exists():
    """A contract about a module of the past would hold for ever."""
    for contract in contracts():
        for key in ("source_modules", "forbidden_modules", "protected_modules", "containers"):
            for module in contract.get(key, []):
                if module.partition(".")[0] == "app":
                    path = ROOT / Path(*module.split("."))
                    assert path.is_dir() or path.with_suffix(".py").exists(), module


def test_every_room_has_a_place_among_the_layers():
    layers = next(each for each in contracts() if each["containers"] == ["app"])
    assert layers["exhaustive"] is True
    named = {room.strip() for line in layers["layers"] for room in line.split("|")}
    rooms = {path.parent.name for path in APP.glob("*/__init__.py")}
    rooms |= {path.stem for path in APP.glob("*.py") if path.name != "__init__.py"}
    assert rooms <= named


# What a person may read


def test_every_error_code_has_a_remedy_in_a_sentence():
    from app.domain.errors import REMEDIES, ErrorCode

    assert set(REMEDIES) == set(ErrorCode)
    for code, remedy in REMEDIES.items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code.value), code
        assert remedy[0].isupper(), code
        assert remedy.endswith("."), code


# What is never written


def test_no_type_is_left_unchecked():
    """One unchecked line is where the next hundred begin."""
    guilty = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in (APP, ROOT / "installer")
        for path in sorted(folder.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"#\s*(type:\s*ignore|mypy:|pyright:)", line)
    ]
    assert guilty == []


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def test_no_tracked_file_names_a_package_registry():
    # In pieces, so that this file does not name them either.
    hosts = [
        "py" + "pi.org",
        "python" + "hosted.org",
        "download." + "pytorch.org",
        "registry." + "npmjs",
        "deb." + "debian.org",
        "archive." + "ubuntu.com",
        "conda." + "anaconda.org",
    ]
    pattern = re.compile("|".join(re.escape(host) for host in hosts).encode(), re.IGNORECASE)
    guilty = [
        path.relative_to(ROOT).as_posix()
        for path in tracked_files()
        if path.suffix != ".gz" and path.is_file() and pattern.search(path.read_bytes())
    ]
    assert guilty == []


def test_ci_runs_the_same_command_as_a_person():
    script = ROOT / ".ci" / "run"
    lines = [line.strip() for line in script.read_text(encoding="utf-8").splitlines()]
    commands = [line for line in lines if line and not line.startswith("#")]
    assert lines[0] == "#!/usr/bin/env bash"
    assert commands == [
        "set -euo pipefail",
        'cd "$(dirname "${BASH_SOURCE[0]}")/.."',
        'exec python3 installer/bootstrap.py test "$@"',
    ]
    assert os.access(script, os.X_OK)
