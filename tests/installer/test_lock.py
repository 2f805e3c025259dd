"""The locks agree with pyproject.toml and with each other, and the tool that writes them works."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from installer import lock
from installer.lock import LOCK_FILES, Lock

ROOT = Path(__file__).parents[2]
NAMES = [each.name for each in LOCK_FILES]
FULL_NAMES = [name for name in NAMES if name != "headless"]


def pins_of(name: str) -> dict[str, Version]:
    text = (lock.LOCKS / f"{name}.txt").read_text(encoding="utf-8")
    pins = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            assert specifier.operator == "=="
            assert requirement.name not in pins
            pins[canonicalize_name(requirement.name)] = Version(specifier.version)
    return pins


def direct_requirements(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


PLATFORMS = {"linux-cpu": "linux", "linux-cuda": "linux", "windows": "win32", "macos": "darwin"}


def is_wanted(requirement: Requirement, lock_file: Lock) -> bool:
    """Whether the lock's platform asks for it; the headless lock serves every platform."""
    platform = PLATFORMS.get(lock_file.name)
    if requirement.marker is None or platform is None:
        return True
    return requirement.marker.evaluate({"sys_platform": platform})


def test_a_marker_decides_for_the_platform_of_the_lock():
    only_linux = Requirement("jeepney; sys_platform == 'linux'")
    assert {each.name for each in LOCK_FILES if is_wanted(only_linux, each)} == {
        "linux-cpu",
        "linux-cuda",
        "headless",
    }


@pytest.mark.parametrize("lock_file", LOCK_FILES, ids=NAMES)
def test_a_lock_satisfies_every_direct_dependency(lock_file: Lock):
    pins = pins_of(lock_file.name)
    for requirement in direct_requirements(*lock_file.extras):
        name = canonicalize_name(requirement.name)
        if name in lock_file.leave_out or not is_wanted(requirement, lock_file):
            assert name not in pins
        else:
            assert name in pins, f"run installer/lock.py: {name} is not in {lock_file.name}"
            assert requirement.specifier.contains(pins[name]), requirement


@pytest.mark.parametrize("lock_file", LOCK_FILES, ids=NAMES)
def test_a_lock_holds_the_tools_of_the_set_up(lock_file: Lock):
    pins = pins_of(lock_file.name)
    lines = (lock.LOCKS / "tools.in").read_text(encoding="utf-8").splitlines()
    for line in lines:
        text = line.partition("#")[0].strip()
        if text:
            requirement = Requirement(text)
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_the_same_package_has_the_same_version_everywhere():
    versions: dict[str, set[Version]] = {}
    for name in NAMES:
        for package, version in pins_of(name).items():
            versions.setdefault(package, set()).add(version)
    assert {package for package, found in versions.items() if len(found) > 1} == set()


@pytest.mark.parametrize("name", NAMES)
def test_no_pin_names_one_build(name: str):
    """torch==2.13.0+cpu exists on few machines; torch==2.13.0 fits that build and the others."""
    assert all(version.local is None for version in pins_of(name).values())


@pytest.mark.parametrize("name", FULL_NAMES)
def test_pyside_stays_below_the_version_that_uses_up_none(name: str):
    assert pins_of(name)["pyside6-essentials"] < Version("6.12")


def test_only_the_lock_for_cuda_has_cuda():
    for name in NAMES:
        libraries = [package for package in pins_of(name) if lock.CUDA_PACKAGE.match(package)]
        assert bool(libraries) == (name == "linux-cuda"), name
        assert "nvidia-ml-py" in pins_of(name)


def test_the_headless_lock_has_neither_qt_nor_torch():
    pins = pins_of("headless")
    assert not pins.keys() & {"torch", "nnunetv2", "pyside6-essentials", "shiboken6", "pytest-qt"}


# The tool


def test_the_tool_keeps_pins_and_markers_and_drops_the_rest():
    resolved = (
        "# comment of uv\n"
        "--index-url https://somewhere.invalid\n"
        "colorama==0.4.6 ; sys_platform == 'win32'\n"
        "nvidia-cublas==13.1\n"
        "nvidia-ml-py==13.6\n"
        "torch==2.13.0+cpu\n"
        "triton==3.7\n"
    )
    cpu = Lock(name="x", audience="tests", extras=(), uv_arguments=(), without_cuda=True)
    assert lock.tidy(resolved, cpu).splitlines()[2:] == [
        "colorama==0.4.6 ; sys_platform == 'win32'",
        "nvidia-ml-py==13.6",
        "torch==2.13.0",
    ]
    cuda = Lock(name="x", audience="tests", extras=(), uv_arguments=())
    assert "triton==3.7" in lock.tidy(resolved, cuda)


def test_an_unknown_lock_is_misuse(capsys):
    with pytest.raises(SystemExit) as caught:
        lock.main(["linux-quantum"])
    assert caught.value.code == 2
    assert "no such lock: linux-quantum" in capsys.readouterr().err
