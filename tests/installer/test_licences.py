from __future__ import annotations

import sys

import pytest

from installer import licences, lock


def rows() -> dict[str, tuple[str, str]]:
    text = licences.TARGET.read_text(encoding="utf-8")
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {name: (version, licence) for name, version, licence in cells[2:]}


def test_the_list_names_the_versions_of_the_lock():
    pins = dict(
        line.split("==")
        for line in (lock.LOCKS / "linux-cpu.txt").read_text().split()
        if "==" in line
    )
    listed = rows()
    assert {name: version for name, (version, _) in listed.items() if pins[name] != version} == {}
    assert listed.keys() >= {"torch", "nnunetv2", "pyside6-essentials", "simpleitk", "websockets"}


def test_every_package_states_a_licence():
    for name, (_, licence) in rows().items():
        assert licence not in ("", "see its folder", "UNKNOWN"), name


@pytest.mark.nnunet
@pytest.mark.window
@pytest.mark.skipif(sys.platform != "linux" or sys.version_info[:2] != (3, 11), reason="other lock")
def test_the_list_is_what_the_environment_gives():
    """When this fails, run installer/licences.py again."""
    assert licences.document() == licences.TARGET.read_text(encoding="utf-8")


def test_dependencies_of_dependencies_are_found():
    needed = licences.needed_packages(["hypothesis", "of-no-such-package"])
    assert "sortedcontainers" in needed
    assert "of-no-such-package" not in needed
