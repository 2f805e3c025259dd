"""Make, repair and fill the program's environments: ``.venv`` and ``.venv-headless``.

A stamp inside the environment is written last. While it matches the lock file, pyproject.toml and
the folder, a set-up has nothing to do; without it, whatever an interrupted set-up left is looked
over and completed. pip keeps what it has downloaded, so nothing is fetched twice.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import enum
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from installer.machine import SetupProblem, say

STAMP_NAME: Final = "fednnunet-setup.json"
# Installed before the rest, so that the pip that downloads is the one we know.
TOOLS: Final = ("pip", "setuptools")
TORCH_PACKAGES: Final = ("torch", "torchvision")
ATTEMPTS: Final = 3
PAUSE_BETWEEN_ATTEMPTS_S: Final = 5.0
# Measured: 2.3 GB with the CPU build of torch, about 7 GB with CUDA; pip needs room to unpack.
FREE_SPACE_BYTES: Final = {"headless": 1_000_000_000, "linux-cuda": 12_000_000_000}
FREE_SPACE_DEFAULT_BYTES: Final = 4_000_000_000
# Unpacking more of them takes long enough to say so.
FEW_PACKAGES: Final = 10
# Settings of a person's pip or Python that would send packages somewhere else.
MISLEADING_VARIABLES: Final = (
    "PIP_PREFIX",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_ROOT",
    "PIP_TARGET",
    "PIP_USER",
    "PYTHONHOME",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "__PYVENV_LAUNCHER__",
)


# What is to be there


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """An environment as it should be: where, from which lock, with torch from which index.

    ``torch_index`` is an address given by the person, searched beside pip's own index: there the
    CPU build of torch has a higher version than the one for CUDA.
    """

    folder: Path
    lock: Path
    pyproject: Path
    torch_index: str | None = None

    @property
    def flavour(self) -> str:
        """Name the lock without its ending: 'linux-cpu', 'headless'."""
        return self.lock.stem

    def digest(self) -> str:
        """Return the digest that changes whenever the environment has to be looked over."""
        digest = hashlib.sha256()
        parts = [self.lock.read_bytes(), self.pyproject.read_bytes()]
        choices = (self.flavour, self.torch_index, str(self.folder), sys.version_info[:2])
        parts.append(repr(choices).encode())
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What a finished set-up leaves behind: the digest it met and the choices it was given."""

    digest: str
    flavour: str
    torch_index: str | None


def read_stamp(folder: Path) -> Stamp | None:
    """Return the stamp in an environment, or None when no set-up has finished there."""
    try:
        values = json.loads((folder / STAMP_NAME).read_text(encoding="utf-8"))
        return Stamp(
            digest=str(values["digest"]),
            flavour=str(values["flavour"]),
            torch_index=values["torch_index"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_stamp(folder: Path, stamp: Stamp) -> None:
    half_written = folder / f"{STAMP_NAME}.new"
    half_written.write_text(json.dumps(dataclasses.asdict(stamp)) + "\n", encoding="utf-8")
    half_written.replace(folder / STAMP_NAME)


def pinned(lock_text: str, names: Sequence[str]) -> list[str]:
    """Return the lock's lines for ``names``, such as ``pip==26.3``."""
    wanted = set(names)
    lines = [line.strip() for line in lock_text.splitlines()]
    return [line for line in lines if line.partition("==")[0] in wanted]


# What is there


class FolderState(enum.Enum):
    """What lies where the environment should be."""

    MISSING = "missing"
    FOREIGN = "foreign"
    BROKEN = "broken"
    USABLE = "usable"


# All that `python -m venv` may have made before it was interrupted.
VENV_ENTRIES: Final = frozenset(
    {".gitignore", "bin", "include", "lib", "lib64", "pyvenv.cfg", "share"}
)


def folder_state(folder: Path, *, answers: Mapping[Path, str] | None = None) -> FolderState:
    """Look at the environment's folder without changing it.

    ``answers`` stands in for asking the environment's Python for its version (tests).
    """
    if not folder.exists():
        return FolderState.MISSING
    if not folder.is_dir():
        return FolderState.FOREIGN
    entries = {entry.name.lower() for entry in folder.iterdir()}
    if not entries:
        return FolderState.MISSING
    if "pyvenv.cfg" not in entries:
        return FolderState.BROKEN if entries <= {*VENV_ENTRIES, "scripts"} else FolderState.FOREIGN
    if made_elsewhere(folder):
        return FolderState.BROKEN
    python = python_of(folder)
    version = ask_version(python) if answers is None else answers.get(python)
    expected = f"{sys.version_info.major}.{sys.version_info.minor}"
    return FolderState.USABLE if version == expected else FolderState.BROKEN


def made_elsewhere(folder: Path) -> bool:
    """Tell whether the folder was moved since it was made: its commands hold the old path."""
    text = (folder / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "command":
            return not value.strip().endswith(f" {folder}")
    return False


def scripts_of(folder: Path) -> Path:
    return folder / ("Scripts" if sys.platform == "win32" else "bin")


def python_of(folder: Path) -> Path:
    return scripts_of(folder) / ("python.exe" if sys.platform == "win32" else "python")


def command_of(folder: Path, name: str) -> Path:
    """Return the path of a command that a package put into the environment."""
    return scripts_of(folder) / (f"{name}.exe" if sys.platform == "win32" else name)


def ask_version(python: Path) -> str | None:
    """Return 'major.minor' of an environment whose Python starts and has pip, else None."""
    program = "import sys, pip; print('%d.%d' % sys.version_info[:2])"
    try:
        finished = subprocess.run(
            [str(python), "-I", "-c", program],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return finished.stdout.strip() if finished.returncode == 0 else None


def site_packages_of(folder: Path) -> Path:
    if sys.platform == "win32":
        return folder / "Lib" / "site-packages"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return folder / "lib" / version / "site-packages"


def forget_half_installed(site_packages: Path) -> list[str]:
    """Remove the records of packages that an interrupted pip left incomplete; return their names.

    pip believes a ``*.dist-info`` folder. Killed half-way it may leave one without all the files it
    lists, and would then never install them; without the folder it starts that package again. What
    pip had moved aside (``~name``) goes as well.
    """
    for leftover in sorted(site_packages.glob("~*")):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
    forgotten = []
    for record_folder in sorted(site_packages.glob("*.dist-info")):
        if not is_complete(record_folder):
            forgotten.append(record_folder.name.partition("-")[0])
            shutil.rmtree(record_folder)
    return forgotten


def is_complete(record_folder: Path) -> bool:
    """Tell whether every file that a ``*.dist-info`` folder lists is there."""
    try:
        lines = (record_folder / "RECORD").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    site_packages = record_folder.parent
    for row in csv.reader(lines):
        # Compiled files come and go.
        if row and not row[0].endswith(".pyc") and not (site_packages / row[0]).exists():
            return False
    return bool(lines)


# Making it so


class Installer(Protocol):
    """Runs commands for a set-up: the real one starts processes, the tests' one plays them."""

    def make_environment(self, folder: Path) -> int:
        """Run ``python -m venv`` and return its exit status."""

    def pip(self, folder: Path, arguments: Sequence[str]) -> int:
        """Run the environment's pip and return its exit status."""

    def pause(self, seconds: float) -> None:
        """Wait before pip is tried again."""


def set_up(recipe: Recipe, installer: Installer) -> bool:
    """Bring an environment to what ``recipe`` says; return whether there was anything to do.

    Safe to interrupt at any point and to call again.

    Raises:
        SetupProblem: something else lies in the folder, the disk is too full, or pip failed on
            every attempt.
    """
    folder = recipe.folder
    state = folder_state(folder)
    stamp = read_stamp(folder)
    digest = recipe.digest()
    if state is FolderState.USABLE and stamp is not None and stamp.digest == digest:
        return False
    if state is FolderState.FOREIGN:
        raise SetupProblem(
            f"{folder} is in the way: it is not an environment made by this command",
            "move it elsewhere, then start again",
        )
    check_free_space(recipe)
    if state is FolderState.BROKEN:
        say(f"{folder.name}: unfinished or of another Python, made anew")
        shutil.rmtree(folder)
    if state is not FolderState.USABLE:
        say(f"{folder.name}: making the environment")
        if installer.make_environment(folder) != 0:
            raise SetupProblem(
                f"Python could not make an environment in {folder}",
                "see the lines above; the folder must be writable and on a local disk",
            )
    elif stamp is None:
        say(f"{folder.name}: an earlier set-up did not finish, going on with it")
    else:
        say(f"{folder.name}: the list of dependencies has changed")
    if stamp is not None and (stamp.flavour, stamp.torch_index) != (
        recipe.flavour,
        recipe.torch_index,
    ):
        # CPU and CUDA builds of torch share their public version; pip would keep the one it finds.
        # Before the stamp goes: interrupted here, the next set-up knows that it has to do this.
        installer.pip(folder, ["uninstall", "--yes", "--quiet", *TORCH_PACKAGES])
    # From here on the environment is between two states, and says so by having no stamp.
    (folder / STAMP_NAME).unlink(missing_ok=True)
    forgotten = forget_half_installed(site_packages_of(folder))
    if forgotten:
        say(f"{folder.name}: installed only in part, again: {', '.join(forgotten)}")
    install(recipe, installer)
    write_stamp(
        folder,
        Stamp(digest=digest, flavour=recipe.flavour, torch_index=recipe.torch_index),
    )
    return True


def install(recipe: Recipe, installer: Installer) -> None:
    """Fill the environment from the lock, then put the project itself in, editable.

    Raises:
        SetupProblem: pip failed on every attempt, or the project itself is damaged.
    """
    folder, lock_text = recipe.folder, recipe.lock.read_text(encoding="utf-8")
    count = sum("==" in line for line in lock_text.splitlines())
    say(f"{folder.name}: installing {count} packages from {recipe.lock.name}")
    index = [f"--extra-index-url={recipe.torch_index}"] if recipe.torch_index else []
    tools = pinned(lock_text, TOOLS)
    # The lock is complete, so nothing needs resolving, and the build tools are pinned too.
    exact = ["install", "--no-deps", *index]
    with_dependencies = ["install", *index, "-r", str(recipe.lock)]
    persistently(installer, folder, [[*exact, *tools]])
    persistently(
        installer,
        folder,
        # The first fails where a source package needs a build tool that the lock lacks.
        [[*exact, "--no-build-isolation", "-r", str(recipe.lock)], with_dependencies],
    )
    if installer.pip(folder, ["check"]) != 0:
        # On a Python newer than the locks', or with torch's CUDA build from the CPU lock, a few
        # more packages are needed: pip finds them, within the pins.
        say(f"{folder.name}: adding what this machine needs beyond the lock")
        persistently(installer, folder, [with_dependencies])
    say(f"{folder.name}: installing the program itself")
    project = str(recipe.pyproject.parent)
    editable = ["install", "--no-deps", "--no-build-isolation", "--editable", project]
    if installer.pip(folder, editable) != 0:
        raise SetupProblem(
            f"the program in {project} could not be installed into {folder} (see the lines above)",
            "get a fresh copy of this folder, or undo what was changed in pyproject.toml",
        )


def persistently(installer: Installer, folder: Path, ways: Sequence[Sequence[str]]) -> None:
    """Try pip with one way after the other, then the last one again: networks come back.

    Raises:
        SetupProblem: it failed every time.
    """
    for attempt in range(ATTEMPTS):
        if installer.pip(folder, ways[min(attempt, len(ways) - 1)]) == 0:
            return
        if attempt + 1 < ATTEMPTS:
            say("pip did not finish (see above); trying again, what is downloaded is kept")
            installer.pause(PAUSE_BETWEEN_ATTEMPTS_S * (attempt + 1))
    raise SetupProblem(
        "pip could not install the dependencies (see the lines above)",
        "check the network or the proxy, then run the same command again; it goes on from here",
    )


def check_free_space(recipe: Recipe) -> None:
    """Refuse a disk on which the environment has no room.

    Raises:
        SetupProblem: less is free than the packages take, counted without what is there already.
    """
    needed = FREE_SPACE_BYTES.get(recipe.flavour, FREE_SPACE_DEFAULT_BYTES)
    if recipe.folder.exists():
        return
    free = shutil.disk_usage(recipe.folder.parent).free
    if free < needed:
        raise SetupProblem(
            f"the disk of {recipe.folder.parent} has {free / 1e9:.1f} GB free; "
            f"the dependencies take up to {needed / 1e9:.0f} GB",
            "free some space or move this folder to a larger disk, then start again",
        )


# The real installer


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return ``environment`` without what would lead pip astray."""
    kept = {key: value for key, value in environment.items() if key not in MISLEADING_VARIABLES}
    # PIP_USER=0 rather than unset: a configuration file may say user = true.
    return {
        **kept,
        "PIP_USER": "0",
        "PIP_REQUIRE_VIRTUALENV": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONUTF8": "1",
    }


class ProcessInstaller:
    """Runs venv and pip as children and shows a line per larger download."""

    def make_environment(self, folder: Path) -> int:
        command = [sys.executable, "-m", "venv", str(folder)]
        return subprocess.run(
            command, env=child_environment(os.environ), stdin=subprocess.DEVNULL, check=False
        ).returncode

    def pip(self, folder: Path, arguments: Sequence[str]) -> int:
        command = [str(python_of(folder)), "-m", "pip", *arguments]
        report = PipReport(on_terminal=sys.stdout.isatty())
        with subprocess.Popen(
            command,
            env=child_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as child:
            assert child.stdout is not None  # noqa: S101 - told to Popen above
            for line in child.stdout:
                report.take(line.rstrip())
        report.close(failed=child.returncode != 0 and arguments[0] != "check")
        return child.returncode

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


class PipReport:
    """Turns pip's many lines into few: large downloads, and the last lines when it failed."""

    DOWNLOAD = re.compile(
        r"Downloading (?P<file>\S+?)(-py\S+|-cp\S+|\.tar\.gz)? \((?P<size>[\d.]+ [kMG]B)\)"
    )
    LAST_LINES = 25

    def __init__(self, *, on_terminal: bool) -> None:
        self._on_terminal = on_terminal
        self._lines: list[str] = []
        self._packages = 0
        self._status_shown = False

    def take(self, line: str) -> None:
        self._lines = [*self._lines[-self.LAST_LINES :], line]
        if line.lstrip().startswith(("Collecting ", "Requirement already satisfied: ")):
            self._packages += 1
            if self._on_terminal:
                name = line.split()[-1 if line.startswith("Collecting") else 3]
                self._show_status(f"    {self._packages:3d}  {name.partition('=')[0]}")
        download = self.DOWNLOAD.search(line)
        if download and (download["size"].endswith("GB") or is_large(download["size"])):
            self._clear_status()
            say(f"    downloading {download['file']} ({download['size']})")
        if line.startswith("Installing collected packages") and self._packages > FEW_PACKAGES:
            self._clear_status()
            say("    unpacking")

    def close(self, *, failed: bool) -> None:
        self._clear_status()
        if failed:
            for line in self._lines[-self.LAST_LINES :]:
                say(f"    {line}")

    def _show_status(self, text: str) -> None:
        sys.stdout.write(f"\r{text[:78]:<78}")
        sys.stdout.flush()
        self._status_shown = True

    def _clear_status(self) -> None:
        if self._status_shown:
            sys.stdout.write("\r" + " " * 78 + "\r")
            self._status_shown = False


def is_large(size: str) -> bool:
    """Tell whether a size as pip writes it is worth a line."""
    value, unit = size.split()
    return unit == "MB" and float(value) >= 20


@contextlib.contextmanager
def one_set_up_at_a_time(root: Path) -> Iterator[None]:
    """Hold a lock file, so that two set-ups of one folder do not mix; the second one waits.

    The system drops the lock with the process, however that ends.
    """
    folder = root / "build"
    folder.mkdir(exist_ok=True)
    with (folder / "setup.lock").open("a+b") as lock_file:
        if sys.platform == "win32":
            import msvcrt

            lock_file.seek(0)
            msvcrt.locking(lock_file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            try:
                fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another set-up is running in this folder; waiting for it")
                fcntl.flock(lock_file, fcntl.LOCK_EX)
        yield
