"""What each system reads at login, written as it wants it."""

from __future__ import annotations

import configparser
import plistlib
import shlex
import stat
import sys
from pathlib import Path

import pytest

from app.domain.errors import SetupProblem
from app.system.autostart import (
    DesktopEntry,
    LaunchAgent,
    RunKey,
    UserUnit,
    autostart_of,
    command_line,
    entry_text,
    unit_text,
)
from app.system.paths import default_home

COMMAND = ("/opt/Fed nnU-Net/fednnunet", "site", "run", "--home", '/home/o"x/100 % $HOME\\a')


class Registry:
    def __init__(self):
        self.values = {}

    def read(self, name):
        return self.values.get(name)

    def write(self, name, value):
        self.values[name] = value

    def remove(self, name):
        self.values.pop(name, None)


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: UserUnit(folder / "user", "fednnunet-site"),
        lambda folder: DesktopEntry(folder / "autostart", "fednnunet-site"),
        lambda folder: LaunchAgent(folder / "LaunchAgents", "org.fednnunet.site"),
        lambda _folder: RunKey("fednnunet-site", Registry()),
    ],
    ids=["systemd", "xdg", "macos", "windows"],
)
def test_every_way_is_set_up_and_taken_back(make, tmp_path):
    way = make(tmp_path)
    assert not way.enabled
    way.disable()
    for _ in range(2):
        way.enable(COMMAND)
        assert way.enabled
    way.disable()
    assert not way.enabled
    assert [path for path in tmp_path.rglob("*") if path.is_file() or path.is_symlink()] == []


def test_the_unit_says_what_systemd_must_run(tmp_path):
    UserUnit(tmp_path, "fednnunet-site").enable(COMMAND)
    unit = tmp_path / "fednnunet-site.service"
    link = tmp_path / "default.target.wants" / "fednnunet-site.service"
    assert link.resolve() == unit.resolve()
    assert unit.read_text() == unit_text(COMMAND)
    lines = configparser.ConfigParser(interpolation=None)
    lines.optionxform = str
    lines.read_string(unit_text(COMMAND))
    assert lines["Service"]["ExecStart"] == (
        '"/opt/Fed nnU-Net/fednnunet" "site" "run" "--home" "/home/o\\"x/100 %% $$HOME\\\\a"'
    )
    # A second service ends with code 1; only signals and hangs are worth a restart.
    assert lines["Service"]["Restart"] == "on-abnormal"
    assert lines["Install"]["WantedBy"] == "default.target"
    if sys.platform != "win32":
        assert stat.S_IMODE(unit.stat().st_mode) == 0o644


def test_the_desktop_entry_is_quoted_twice():
    (line,) = [line for line in entry_text(COMMAND).splitlines() if line.startswith("Exec=")]
    value = line.removeprefix("Exec=")
    # First the escapes of every value, then the quoting of Exec, which is a shell's; Python's
    # leaves the dollar its backslash.
    words = shlex.split(value.replace("\\\\", "\\"))
    assert [word.replace("%%", "%").replace("\\$", "$") for word in words] == list(COMMAND)


def test_the_launch_agent_is_a_property_list(tmp_path):
    LaunchAgent(tmp_path, "org.fednnunet.site").enable(COMMAND)
    content = plistlib.loads((tmp_path / "org.fednnunet.site.plist").read_bytes())
    assert content["ProgramArguments"] == list(COMMAND)
    assert (content["RunAtLoad"], content["KeepAlive"]) == (True, {"Crashed": True})


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("plain", '"plain"'),
        ("C:\\Program Files\\x.exe", '"C:\\Program Files\\x.exe"'),
        ("C:\\data\\", '"C:\\data\\\\"'),
        ('say "hi"', '"say \\"hi\\""'),
        ('a\\"b', '"a\\\\\\"b"'),
    ],
)
def test_a_command_line_is_split_by_windows_into_the_same_words(word, quoted):
    assert command_line([word]) == quoted
    assert split_as_windows_does(command_line([word, "next"])) == [word, "next"]


def split_as_windows_does(line):
    """Split by the rules of Microsoft's C run-time, for lines whose words are all quoted."""
    words, word, inside, position = [], "", False, 0
    while position < len(line):
        run = 0
        while position < len(line) and line[position] == "\\":
            run, position = run + 1, position + 1
        if position < len(line) and line[position] == '"':
            word += "\\" * (run // 2)
            if run % 2:
                word += '"'
            elif inside:
                words.append(word)
                word, inside = "", False
            else:
                inside = True
            position += 1
            continue
        word += "\\" * run
        if position < len(line) and (inside or line[position] != " "):
            word += line[position]
        if not run or position < len(line):
            position += 1
    return words


@pytest.mark.parametrize(
    ("platform", "environment", "kind", "place"),
    [
        ("win32", {}, RunKey, None),
        ("darwin", {}, LaunchAgent, "Library/LaunchAgents/org.fednnunet.site.plist"),
        ("linux", {}, DesktopEntry, ".config/autostart/fednnunet-site.desktop"),
        ("linux", {"XDG_CONFIG_HOME": "/c"}, DesktopEntry, "/c/autostart/fednnunet-site.desktop"),
        ("linux", {"XDG_RUNTIME_DIR": "systemd"}, UserUnit, ".config/systemd/user/fednnunet-site.service"),
    ],
)  # fmt: skip
def test_each_system_has_its_way(platform, environment, kind, place, tmp_path):
    if "XDG_RUNTIME_DIR" in environment:
        (tmp_path / "run" / "systemd").mkdir(parents=True)
        environment = {"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    way = autostart_of(default_home(), platform=platform, environment=environment, person=tmp_path)
    assert isinstance(way, kind)
    if place is not None:
        files = {value for value in vars(way).values() if isinstance(value, Path)}
        assert tmp_path / place in files


def test_each_home_has_an_entry_of_its_own(tmp_path):
    ways = [
        autostart_of(home, platform="linux", environment={}, person=tmp_path)
        for home in (default_home(), tmp_path / "one", tmp_path / "other")
    ]
    for way in ways:
        way.enable(COMMAND)
    assert len(list((tmp_path / ".config" / "autostart").iterdir())) == 3
    ways[1].disable()
    assert [way.enabled for way in ways] == [True, False, True]


@pytest.mark.skipif(sys.platform == "win32", reason="there is a registry")
def test_without_a_registry_it_is_told():
    with pytest.raises(SetupProblem, match="login"):
        RunKey("fednnunet-site").enable(COMMAND)
    RunKey("fednnunet-site").disable()
    assert not RunKey("fednnunet-site").enabled
