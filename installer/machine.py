"""Look at the machine before anything is installed: Python, architecture, system libraries, GPU.

Every function takes what it asks the machine with as an argument, so that the tests can play a
machine without libraries, without root, without apt.
"""

from __future__ import annotations

import ctypes
import dataclasses
import importlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

# PySide6 is built against this version: Ubuntu 22.04, Debian 12, RHEL 9 and newer.
OLDEST_GLIBC: Final = (2, 34)


class SetupProblem(Exception):
    """Raised when the machine cannot take the program; ``remedy`` says what a person does next."""

    def __init__(self, sentence: str, remedy: str) -> None:
        super().__init__(sentence, remedy)
        self.sentence, self.remedy = sentence, remedy

    def __str__(self) -> str:
        return self.sentence


def say(line: str) -> None:
    """Print at once: children write to the same terminal."""
    print(line, flush=True)


# Python and architecture


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the program has to know of a computer. ``glibc`` is None where there is none."""

    system: str
    architecture: str
    python: tuple[int, int]
    bits: int
    glibc: tuple[int, int] | None = None

    @classmethod
    def this_one(cls) -> Machine:
        name, version = platform.libc_ver()
        glibc = None
        if name == "glibc":
            major, minor = version.split(".")[:2]
            glibc = (int(major), int(minor))
        return cls(
            system=platform.system(),
            architecture=platform.machine(),
            python=(sys.version_info.major, sys.version_info.minor),
            bits=64 if sys.maxsize > 2**32 else 32,
            glibc=glibc,
        )


def check_machine(machine: Machine) -> None:
    """Refuse a machine that some dependency has no build for.

    Raises:
        SetupProblem: with the first thing that does not fit.
    """
    if machine.bits != 64:
        raise SetupProblem(
            "this Python is a 32-bit program; PyTorch needs 64 bits",
            "install the 64-bit Python 3.11, 3.12 or 3.13 and start this command with it",
        )
    if machine.system == "Darwin" and machine.architecture != "arm64":
        raise SetupProblem(
            "this Mac (or this Python) is for Intel processors, which PyTorch no longer supports",
            "use a Mac with Apple silicon and a Python built for it, or a Linux or Windows machine",
        )
    if machine.system == "Linux":
        if machine.glibc is None:
            raise SetupProblem(
                "this Linux does not use glibc, for which the dependencies are built",
                "use Debian 12, Ubuntu 22.04, RHEL 9 or newer",
            )
        if machine.glibc < OLDEST_GLIBC:
            found = ".".join(str(part) for part in machine.glibc)
            raise SetupProblem(
                f"this Linux has glibc {found}; the dependencies need 2.34 or newer",
                "use Debian 12, Ubuntu 22.04, RHEL 9 or newer",
            )


def has_nvidia_driver(
    *,
    exists: Callable[[str], bool] = os.path.exists,
    which: Callable[[str], str | None] = shutil.which,
) -> bool:
    """Tell whether an NVIDIA driver is loaded or its tool installed."""
    return exists("/proc/driver/nvidia/version") or which("nvidia-smi") is not None


def has_screen(environment: Mapping[str, str], *, system: str) -> bool:
    """Tell whether a window can open: always on Windows and macOS, with a display server on Linux.

    Who sets QT_QPA_PLATFORM chose where Qt draws and is taken at their word.
    """
    if system != "Linux":
        return True
    names = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    return any(environment.get(name) for name in names)


# System libraries


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SystemLibrary:
    """A shared library that Qt loads, and the Debian package which brings it."""

    soname: str
    debian_package: str


# Read with ldd in a bare Debian 12: first what Qt needs even without a screen, then the X11 plugin.
QT_LIBRARIES: Final = tuple(
    SystemLibrary(soname=soname, debian_package=package)
    for soname, package in (
        ("libEGL.so.1", "libegl1"),
        ("libGL.so.1", "libgl1"),
        ("libX11.so.6", "libx11-6"),
        ("libdbus-1.so.3", "libdbus-1-3"),
        ("libfontconfig.so.1", "libfontconfig1"),
        ("libfreetype.so.6", "libfreetype6"),
        ("libglib-2.0.so.0", "libglib2.0-0"),
        ("libxkbcommon.so.0", "libxkbcommon0"),
        ("libbrotlidec.so.1", "libbrotli1"),
        ("libgssapi_krb5.so.2", "libgssapi-krb5-2"),
        ("libX11-xcb.so.1", "libx11-xcb1"),
        ("libxkbcommon-x11.so.0", "libxkbcommon-x11-0"),
        ("libxcb-cursor.so.0", "libxcb-cursor0"),
        ("libxcb-icccm.so.4", "libxcb-icccm4"),
        ("libxcb-image.so.0", "libxcb-image0"),
        ("libxcb-keysyms.so.1", "libxcb-keysyms1"),
        ("libxcb-randr.so.0", "libxcb-randr0"),
        ("libxcb-render.so.0", "libxcb-render0"),
        ("libxcb-render-util.so.0", "libxcb-render-util0"),
        ("libxcb-shape.so.0", "libxcb-shape0"),
        ("libxcb-shm.so.0", "libxcb-shm0"),
        ("libxcb-sync.so.1", "libxcb-sync1"),
        ("libxcb-util.so.1", "libxcb-util1"),
        ("libxcb-xfixes.so.0", "libxcb-xfixes0"),
        ("libxcb-xkb.so.1", "libxcb-xkb1"),
        ("libxcb-glx.so.0", "libxcb-glx0"),
    )
)
FONT_PACKAGE: Final = "fonts-dejavu-core"
FONT_FOLDERS: Final = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
)
FONT_ENDINGS: Final = (".ttf", ".otf", ".ttc")


def missing_libraries(load: Callable[[str], object] = ctypes.CDLL) -> tuple[SystemLibrary, ...]:
    """Return the libraries that the dynamic linker does not find."""
    missing = []
    for library in QT_LIBRARIES:
        try:
            load(library.soname)
        except OSError:
            missing.append(library)
    return tuple(missing)


def has_fonts(folders: Sequence[str] = FONT_FOLDERS) -> bool:
    """Tell whether any font is installed; Qt brings none and draws boxes without."""
    for folder in folders:
        for path in Path(folder).expanduser().rglob("*"):
            if path.suffix.lower() in FONT_ENDINGS:
                return True
    return False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackageNeeds:
    """What a Linux lacks, in the words of Debian's packages and of the dynamic linker."""

    debian_packages: tuple[str, ...]
    sonames: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.debian_packages)


def window_needs(
    *, load: Callable[[str], object] = ctypes.CDLL, fonts: Callable[[], bool] = has_fonts
) -> PackageNeeds:
    """Return what the window lacks on this Linux."""
    missing = missing_libraries(load)
    packages = [library.debian_package for library in missing]
    if not fonts():
        packages.append(FONT_PACKAGE)
    return PackageNeeds(
        debian_packages=tuple(packages), sonames=tuple(library.soname for library in missing)
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackageManager:
    """Debian's apt, if this machine has it and we may use it.

    ``run`` takes a command and returns its exit status.
    """

    has_apt: bool
    is_root: bool
    has_sudo: bool
    run: Callable[[Sequence[str]], int]

    @classmethod
    def of_this_machine(cls) -> PackageManager:
        return cls(
            has_apt=shutil.which("apt-get") is not None,
            # Windows has no user number; nobody is root there and no apt either.
            is_root=sys.platform != "win32" and os.geteuid() == 0,
            has_sudo=shutil.which("sudo") is not None,
            run=run_apt,
        )

    def may_install(self, *, on_request: bool) -> bool:
        """Tell whether packages are installed without asking: as root, or asked for and sudo there."""
        return self.has_apt and (self.is_root or (on_request and self.has_sudo))

    def install_line(self, packages: Sequence[str]) -> str:
        """Return the line that a person copies into a terminal; without sudo it is root's."""
        names = " ".join(shlex.quote(package) for package in packages)
        prefix = "sudo " if self.has_sudo and not self.is_root else ""
        return f"{prefix}apt-get install -y --no-install-recommends {names}"

    def install(self, packages: Sequence[str]) -> bool:
        """Install Debian packages; False when apt failed, which has then said why."""
        prefix = [] if self.is_root else ["sudo"]
        if self.run([*prefix, "apt-get", "update", "-q"]) != 0:
            return False
        command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
        return self.run([*prefix, *command]) == 0


def run_apt(command: Sequence[str]) -> int:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # apt's hundreds of lines help nobody when it works; when it does not, its errors do.
    finished = subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=False
    )
    return finished.returncode


def provide_packages(needs: PackageNeeds, manager: PackageManager, *, on_request: bool) -> bool:
    """Install what is missing where we may, else print the one line that does it.

    Returns whether everything is there afterwards. Never raises: without these libraries only the
    window does not open.
    """
    if not needs:
        say("system libraries: all there")
        return True
    names = " ".join(needs.debian_packages)
    if manager.may_install(on_request=on_request):
        say(f"system libraries: installing {names}")
        if manager.install(needs.debian_packages):
            return True
        say("system libraries: apt-get could not install them (see above)")
    if manager.has_apt:
        who = "" if manager.is_root or manager.has_sudo else " as root"
        say(f"system libraries: the window needs some that are missing. To install them{who}:")
        say(f"    {manager.install_line(needs.debian_packages)}")
    elif shutil.which("dnf"):
        capabilities = " ".join(f"'{soname}()(64bit)'" for soname in needs.sonames)
        say("system libraries: the window needs some that are missing. To install them:")
        say(f"    sudo dnf install {capabilities or 'dejavu-sans-fonts'}")
    else:
        say("system libraries: the window needs these, by your distribution's packages:")
        say(f"    {' '.join(needs.sonames) or 'any TrueType font'}")
    say("    (--headless works without them)")
    return False


# ensurepip


def has_ensurepip() -> bool:
    """Tell whether this Python can put pip into a new environment. Debian packages that apart."""
    importlib.invalidate_caches()
    return importlib.util.find_spec("ensurepip") is not None


def venv_package(executable: str, python: tuple[int, int]) -> str:
    """Name Debian's package with ensurepip for ``executable``: python3-venv for the default Python."""
    default = Path("/usr/bin/python3")
    if default.exists() and default.resolve() == Path(executable).resolve():
        return "python3-venv"
    return f"python{python[0]}.{python[1]}-venv"


def provide_ensurepip(
    manager: PackageManager,
    *,
    on_request: bool,
    package: str,
    present: Callable[[], bool] = has_ensurepip,
) -> None:
    """Make sure that an environment can be made.

    Raises:
        SetupProblem: ensurepip is missing and could not be installed.
    """
    if present():
        return
    if manager.may_install(on_request=on_request):
        say(f"Python lacks ensurepip: installing {package}")
        if manager.install([package]) and present():
            return
    line = manager.install_line([package])
    who = "" if manager.is_root or manager.has_sudo else " as root"
    remedy = f"run this line{who}, then start again:\n    {line}"
    if not manager.has_apt:
        remedy = "install your distribution's package with Python's venv module, then start again"
    raise SetupProblem("this Python cannot make an environment: its ensurepip is missing", remedy)
