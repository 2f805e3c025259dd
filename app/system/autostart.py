"""Starting the site service when its user logs in, in the way of each system.

Linux: a user unit of systemd where systemd runs the session (it also starts the service again after
a crash, and without a login where the administrator lets the user linger), else an XDG autostart
entry. macOS: a LaunchAgent. Windows: a value of the registry's Run key. Nothing here needs an
administrator; removing is forgetting the file or the value.
"""

from __future__ import annotations

import hashlib
import os
import plistlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from app.domain.errors import ErrorCode, SetupProblem
from app.system.atomic import disk_errors, make_folder, write_atomic
from app.system.paths import default_home

_TITLE: Final = "FednnU-Net Desktop: site service"
_READABLE: Final = 0o644
_RUN_KEY: Final = r"Software\Microsoft\Windows\CurrentVersion\Run"
_DESKTOP_SPECIAL: Final = ('"', "`", "$", "\\")


class Autostart(Protocol):
    """One way to start a program at login."""

    @property
    def enabled(self) -> bool:
        """Whether it is set up."""
        ...

    def enable(self, command: Sequence[str]) -> None:
        """Start `command` at the next login; raises SetupProblem when it cannot be written."""
        ...

    def disable(self) -> None:
        """Start it no longer; harmless when it was not set up."""
        ...


def autostart_of(
    home: Path,
    *,
    platform: str = sys.platform,
    environment: Mapping[str, str] | None = None,
    person: Path | None = None,
) -> Autostart:
    """Return this computer's way for the service of `home`."""
    variables = os.environ if environment is None else environment
    user = Path.home() if person is None else person
    name = _name(home)
    if platform == "win32":
        return RunKey(name)
    if platform == "darwin":
        return LaunchAgent(user / "Library" / "LaunchAgents", f"org.{name.replace('-', '.')}")
    base = variables.get("XDG_CONFIG_HOME")
    config = Path(base) if base and Path(base).is_absolute() else user / ".config"
    runtime = variables.get("XDG_RUNTIME_DIR")
    if runtime and (Path(runtime) / "systemd").is_dir():
        return UserUnit(config / "systemd" / "user", name)
    return DesktopEntry(config / "autostart", name)


def _name(home: Path) -> str:
    """Return a name of its own for each home; the usual one stays plain."""
    if home == default_home():
        return "fednnunet-site"
    return f"fednnunet-site-{hashlib.sha256(str(home).encode()).hexdigest()[:8]}"


class UserUnit:
    """A user unit of systemd, enabled by the link that ``systemctl --user enable`` makes."""

    def __init__(self, folder: Path, name: str) -> None:
        self._unit = folder / f"{name}.service"
        self._link = folder / "default.target.wants" / self._unit.name

    @property
    def enabled(self) -> bool:
        return self._unit.is_file() and self._link.is_symlink()

    def enable(self, command: Sequence[str]) -> None:
        make_folder(self._link.parent)
        write_atomic(self._unit, unit_text(command).encode(), mode=_READABLE)
        with disk_errors(self._link):
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(self._unit)

    def disable(self) -> None:
        with disk_errors(self._unit):
            self._link.unlink(missing_ok=True)
            self._unit.unlink(missing_ok=True)


def unit_text(command: Sequence[str]) -> str:
    """Return the unit. A second service that finds the first one running is no failure to mend."""
    words = " ".join(_unit_word(word) for word in command)
    return f"""[Unit]
Description={_TITLE}

[Service]
ExecStart={words}
Restart=on-abnormal
RestartSec=10
KillMode=mixed
TimeoutStopSec=90

[Install]
WantedBy=default.target
"""


def _unit_word(word: str) -> str:
    """Quote one word by systemd.service(5): specifiers and variables are not meant."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


class DesktopEntry:
    """An entry of the XDG autostart folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._entry = folder / f"{name}.desktop"

    @property
    def enabled(self) -> bool:
        return self._entry.is_file()

    def enable(self, command: Sequence[str]) -> None:
        make_folder(self._entry.parent)
        write_atomic(self._entry, entry_text(command).encode(), mode=_READABLE)

    def disable(self) -> None:
        with disk_errors(self._entry):
            self._entry.unlink(missing_ok=True)


def entry_text(command: Sequence[str]) -> str:
    """Return the desktop entry."""
    words = " ".join(_entry_word(word) for word in command)
    return f"""[Desktop Entry]
Type=Application
Name={_TITLE}
Exec={words}
NoDisplay=true
Terminal=false
X-GNOME-Autostart-enabled=true
"""


def _entry_word(word: str) -> str:
    """Quote one word by the Desktop Entry Specification, whose values are escaped once more."""
    for special in reversed(_DESKTOP_SPECIAL):
        word = word.replace(special, f"\\{special}")
    return '"' + word.replace("\\", "\\\\").replace("%", "%%") + '"'


class LaunchAgent:
    """A property list in the user's LaunchAgents."""

    def __init__(self, folder: Path, label: str) -> None:
        self._label = label
        self._file = folder / f"{label}.plist"

    @property
    def enabled(self) -> bool:
        return self._file.is_file()

    def enable(self, command: Sequence[str]) -> None:
        make_folder(self._file.parent)
        content = {
            "Label": self._label,
            "ProgramArguments": list(command),
            "RunAtLoad": True,
            # Started again after a crash, not after it ended in peace.
            "KeepAlive": {"Crashed": True},
            "ProcessType": "Background",
        }
        write_atomic(self._file, plistlib.dumps(content), mode=_READABLE)

    def disable(self) -> None:
        with disk_errors(self._file):
            self._file.unlink(missing_ok=True)


class Registry(Protocol):
    """The values of the current user's Run key."""

    def read(self, name: str) -> str | None: ...
    def write(self, name: str, value: str) -> None: ...
    def remove(self, name: str) -> None: ...


class RunKey:
    """A value of the registry's Run key."""

    def __init__(self, name: str, registry: Registry | None = None) -> None:
        self._name = name
        self._registry = WindowsRegistry() if registry is None else registry

    @property
    def enabled(self) -> bool:
        return self._registry.read(self._name) is not None

    def enable(self, command: Sequence[str]) -> None:
        self._registry.write(self._name, command_line(command))

    def disable(self) -> None:
        self._registry.remove(self._name)


def command_line(command: Sequence[str]) -> str:
    """Return `command` as one line that Windows splits into the same words again.

    Backslashes mean themselves except before a quotation mark, where each must be doubled.
    """
    words = []
    for word in command:
        quoted, backslashes = "", 0
        for character in word:
            if character == "\\":
                backslashes += 1
                continue
            quoted += "\\" * (2 * backslashes + 1 if character == '"' else backslashes) + character
            backslashes = 0
        words.append(f'"{quoted}{2 * backslashes * chr(92)}"')
    return " ".join(words)


if sys.platform == "win32":
    import winreg

    class WindowsRegistry:
        """The real one."""

        def read(self, name: str) -> str | None:
            try:
                with winreg.OpenKey(winreg.HKEY_CURRENT_USER, _RUN_KEY) as key:
                    value, _ = winreg.QueryValueEx(key, name)
            except OSError:
                return None
            return str(value)

        def write(self, name: str, value: str) -> None:
            try:
                with winreg.CreateKey(winreg.HKEY_CURRENT_USER, _RUN_KEY) as key:
                    winreg.SetValueEx(key, name, 0, winreg.REG_SZ, value)
            except OSError as exc:
                raise _forbidden() from exc

        def remove(self, name: str) -> None:
            try:
                with winreg.OpenKey(
                    winreg.HKEY_CURRENT_USER, _RUN_KEY, 0, winreg.KEY_SET_VALUE
                ) as key:
                    winreg.DeleteValue(key, name)
            except FileNotFoundError:
                return
            except OSError as exc:
                raise _forbidden() from exc

else:

    class WindowsRegistry:
        """Stands where Windows has its registry; elsewhere nothing is kept there."""

        def read(self, name: str) -> str | None:  # noqa: ARG002
            return None

        def write(self, name: str, value: str) -> None:  # noqa: ARG002
            raise _forbidden()

        def remove(self, name: str) -> None: ...


def _forbidden() -> SetupProblem:
    return SetupProblem(
        "this user may not change what starts at login", code=ErrorCode.NO_PERMISSION
    )
