from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from installer import machine
from installer.machine import Machine, PackageManager, PackageNeeds, SetupProblem

LINUX = Machine(system="Linux", architecture="x86_64", python=(3, 11), bits=64, glibc=(2, 36))


class FakeApt:
    """Stands for apt-get: notes what it is asked for and answers with an exit status."""

    def __init__(self, *exit_statuses: int) -> None:
        self.commands: list[list[str]] = []
        self._exit_statuses = list(exit_statuses)

    def __call__(self, command: Sequence[str]) -> int:
        self.commands.append(list(command))
        return self._exit_statuses.pop(0) if self._exit_statuses else 0

    def manager(self, *, root: bool = False, sudo: bool = False) -> PackageManager:
        return PackageManager(has_apt=True, is_root=root, has_sudo=sudo, run=self)


def nothing_loads(soname: str) -> object:
    raise OSError(f"{soname}: cannot open shared object file")


# Which machine


def test_this_machine_is_accepted():
    machine.check_machine(Machine.this_one())
    assert Machine.this_one().python == sys.version_info[:2]


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (Machine(system="Windows", architecture="x86", python=(3, 12), bits=32), "32-bit"),
        (Machine(system="Darwin", architecture="x86_64", python=(3, 12), bits=64), "Intel"),
        (
            Machine(system="Linux", architecture="x86_64", python=(3, 11), bits=64, glibc=(2, 31)),
            "glibc 2.31",
        ),
        (Machine(system="Linux", architecture="x86_64", python=(3, 11), bits=64), "not use glibc"),
    ],
)
def test_a_machine_without_builds_is_refused_with_a_remedy(refused: Machine, words: str):
    with pytest.raises(SetupProblem, match=words) as caught:
        machine.check_machine(refused)
    assert caught.value.remedy


def test_windows_and_apple_silicon_are_accepted():
    machine.check_machine(Machine(system="Windows", architecture="AMD64", python=(3, 13), bits=64))
    machine.check_machine(Machine(system="Darwin", architecture="arm64", python=(3, 12), bits=64))
    machine.check_machine(LINUX)


def test_a_screen_is_a_display_server_on_linux_and_always_there_elsewhere():
    assert not machine.has_screen({}, system="Linux")
    assert not machine.has_screen({"DISPLAY": ""}, system="Linux")
    assert machine.has_screen({"DISPLAY": ":0"}, system="Linux")
    assert machine.has_screen({"WAYLAND_DISPLAY": "wayland-0"}, system="Linux")
    assert machine.has_screen({"QT_QPA_PLATFORM": "offscreen"}, system="Linux")
    assert machine.has_screen({}, system="Windows")


def test_a_driver_is_seen_by_its_file_or_its_tool():
    def nowhere(_name: str) -> None:
        return None

    assert not machine.has_nvidia_driver(exists=lambda _path: False, which=nowhere)
    assert machine.has_nvidia_driver(exists=lambda _path: True, which=nowhere)
    assert machine.has_nvidia_driver(exists=lambda _path: False, which=lambda name: f"/bin/{name}")


# System libraries


def test_missing_libraries_are_those_the_linker_refuses():
    def load(soname: str) -> object:
        if soname in ("libEGL.so.1", "libxcb-cursor.so.0"):
            return nothing_loads(soname)
        return object()

    assert [each.debian_package for each in machine.missing_libraries(load)] == [
        "libegl1",
        "libxcb-cursor0",
    ]


def test_a_bare_machine_needs_every_library_and_a_font():
    needs = machine.window_needs(load=nothing_loads, fonts=lambda: False)
    assert needs.debian_packages[-1] == "fonts-dejavu-core"
    assert len(needs.debian_packages) == len(machine.QT_LIBRARIES) + 1
    assert len(set(needs.debian_packages)) == len(needs.debian_packages)
    assert needs.sonames == tuple(each.soname for each in machine.QT_LIBRARIES)


def test_a_complete_machine_needs_nothing():
    assert not machine.window_needs(load=lambda soname: soname, fonts=lambda: True)


def test_fonts_are_found_in_folders_below(tmp_path):
    assert not machine.has_fonts([str(tmp_path), str(tmp_path / "absent")])
    (tmp_path / "truetype").mkdir()
    (tmp_path / "truetype" / "README").touch()
    assert not machine.has_fonts([str(tmp_path)])
    (tmp_path / "truetype" / "Sans.TTF").touch()
    assert machine.has_fonts([str(tmp_path)])


# Installing them

NEEDS = PackageNeeds(debian_packages=("libegl1", "libgl1"), sonames=("libEGL.so.1", "libGL.so.1"))


def test_root_installs_without_asking(capsys):
    apt = FakeApt()
    assert machine.provide_packages(NEEDS, apt.manager(root=True), on_request=False)
    assert [command[:2] for command in apt.commands] == [
        ["apt-get", "update"],
        ["apt-get", "install"],
    ]
    assert apt.commands[1][-2:] == ["libegl1", "libgl1"]
    assert "installing libegl1 libgl1" in capsys.readouterr().out


def test_anyone_else_gets_the_line_and_nothing_is_run(capsys):
    apt = FakeApt()
    assert not machine.provide_packages(NEEDS, apt.manager(sudo=True), on_request=False)
    assert apt.commands == []
    printed = capsys.readouterr().out
    assert "sudo apt-get install -y --no-install-recommends libegl1 libgl1\n" in printed


def test_on_request_sudo_is_used():
    apt = FakeApt()
    assert machine.provide_packages(NEEDS, apt.manager(sudo=True), on_request=True)
    assert [command[0] for command in apt.commands] == ["sudo", "sudo"]


def test_a_failed_apt_leaves_the_line_and_goes_on(capsys):
    apt = FakeApt(0, 100)
    assert not machine.provide_packages(NEEDS, apt.manager(root=True), on_request=False)
    printed = capsys.readouterr().out
    assert "    apt-get install -y --no-install-recommends libegl1 libgl1\n" in printed


def test_without_apt_the_libraries_are_named(capsys, monkeypatch):
    monkeypatch.setattr(machine.shutil, "which", lambda _name: None)
    manager = PackageManager(has_apt=False, is_root=True, has_sudo=False, run=FakeApt())
    assert not machine.provide_packages(NEEDS, manager, on_request=True)
    assert "libEGL.so.1 libGL.so.1" in capsys.readouterr().out


def test_with_dnf_the_line_asks_for_the_sonames(capsys, monkeypatch):
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    manager = PackageManager(has_apt=False, is_root=False, has_sudo=True, run=FakeApt())
    assert not machine.provide_packages(NEEDS, manager, on_request=True)
    assert (
        "sudo dnf install 'libEGL.so.1()(64bit)' 'libGL.so.1()(64bit)'" in capsys.readouterr().out
    )


def test_nothing_missing_runs_nothing():
    apt = FakeApt()
    assert machine.provide_packages(
        PackageNeeds(debian_packages=()), apt.manager(root=True), on_request=True
    )
    assert apt.commands == []


# ensurepip


def test_a_missing_ensurepip_stops_with_the_exact_line():
    apt = FakeApt()
    with pytest.raises(SetupProblem, match="ensurepip") as caught:
        machine.provide_ensurepip(
            apt.manager(sudo=True), on_request=False, package="python3-venv", present=lambda: False
        )
    line = "sudo apt-get install -y --no-install-recommends python3-venv"
    assert line in caught.value.remedy
    assert apt.commands == []


def test_without_sudo_the_line_is_for_root():
    with pytest.raises(SetupProblem) as caught:
        machine.provide_ensurepip(
            FakeApt().manager(), on_request=True, package="python3-venv", present=lambda: False
        )
    assert "this line as root" in caught.value.remedy
    assert "    apt-get install" in caught.value.remedy


def test_root_gets_ensurepip_installed():
    apt = FakeApt()
    machine.provide_ensurepip(
        apt.manager(root=True),
        on_request=False,
        package="python3-venv",
        present=lambda: len(apt.commands) == 2,
    )
    assert apt.commands[1][-1] == "python3-venv"


def test_an_installation_that_brought_no_ensurepip_is_a_problem_still():
    apt = FakeApt()
    with pytest.raises(SetupProblem):
        machine.provide_ensurepip(
            apt.manager(root=True), on_request=False, package="p", present=lambda: False
        )


def test_a_python_beside_the_default_one_has_a_package_of_its_own():
    assert machine.venv_package("/opt/python3.12/bin/python3.12", (3, 12)) == "python3.12-venv"
