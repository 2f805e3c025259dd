from __future__ import annotations

from pathlib import Path

import pytest

from app.system.paths import default_home

USER = Path("/people/anna")


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "/people/anna/.local/share/fednnunet"),
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/fednnunet"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "/people/anna/.local/share/fednnunet"),
        ("darwin", {}, "/people/anna/Library/Application Support/FednnU-Net"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/FednnU-Net"),
        ("win32", {}, "/people/anna/AppData/Local/FednnU-Net"),
        ("win32", {"LOCALAPPDATA": "/local", "FEDNNUNET_HOME": "/mine"}, "/mine"),
    ],
)
def test_each_platform_has_its_place(platform, environment, expected):
    found = default_home(platform=platform, environment=environment, user=USER)
    assert found == Path(expected)


def test_a_relative_home_is_made_absolute():
    assert default_home(environment={"FEDNNUNET_HOME": "here"}) == Path.cwd() / "here"
