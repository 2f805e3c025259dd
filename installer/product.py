"""What all builders share: the product's names, which commit it is made of, and its record."""

from __future__ import annotations

import dataclasses
import datetime
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from installer.machine import SetupProblem, say

ROOT: Final = Path(__file__).resolve().parent.parent
NAME: Final = "FednnU-Net Desktop"
COMMAND: Final = "fednnunet"
APPLICATION_ID: Final = "org.fednnunet.Desktop"
PUBLISHER: Final = "The FednnU-Net Desktop developers"
SUMMARY: Final = "Train one nnU-Net across hospitals while every image stays at home"
INVITATION_ENDING: Final = ".fedjoin"
INVITATION_TYPE: Final = "application/x-fednnunet-invitation"
BUILD_FILE: Final = "build.json"
"""Read by `app.system.build`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The state of the source that a product is made of.

    `made` is the commit's date in seconds since 1970: every date in a product is this one, so
    that two builds of one commit are the same.
    """

    version: str
    commit: str
    made: int
    clean: bool

    @classmethod
    def of(cls, root: Path = ROOT) -> Source:
        """Read version and commit of a checkout.

        Raises:
            SetupProblem: it is no git checkout.
        """
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return cls(
            version=str(project["version"]),
            commit=_git(root, "rev-parse", "HEAD"),
            made=int(_git(root, "log", "-1", "--format=%ct")),
            clean=not _git(root, "status", "--porcelain"),
        )

    @property
    def date(self) -> str:
        """The commit's date as ISO 8601, in UTC."""
        return datetime.datetime.fromtimestamp(self.made, datetime.UTC).isoformat()

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return an environment in which tools write the same bytes every time."""
        return {
            **given,
            "SOURCE_DATE_EPOCH": str(self.made),
            "PYTHONHASHSEED": "0",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
        }


def _git(root: Path, *words: str) -> str:
    try:
        finished = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=False
        )
    except OSError as exc:
        raise SetupProblem(
            "git is needed to name the commit that is built", "install git, then start again"
        ) from exc
    if finished.returncode != 0:
        raise SetupProblem(
            f"{root} is no git checkout: {finished.stderr.strip()}",
            "build from a clone of the project",
        )
    return finished.stdout.strip()


def build_record(source: Source, *, kind: str, signed_by: str) -> bytes:
    """Return what the product says of itself, see `app.system.build.Build`."""
    record = {
        "version": source.version,
        "kind": kind,
        "commit": source.commit + ("" if source.clean else "-changed"),
        "made": source.date,
        "signed_by": signed_by,
    }
    return (json.dumps(record, indent=2) + "\n").encode()


# Steps of a build


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """Runs the tools of a build; a test gives another `run`."""

    environment: Mapping[str, str]
    run_command: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run

    def run(self, *command: str | Path, cwd: Path | None = None) -> None:
        """Run a command and show what it prints.

        Raises:
            SetupProblem: it is missing or failed.
        """
        words = [str(word) for word in command]
        say(f"$ {' '.join(words)}")
        try:
            finished = self.run_command(words, env=dict(self.environment), cwd=cwd, check=False)
        except OSError as exc:
            raise _unstarted(words[0], exc) from exc
        if finished.returncode != 0:
            raise _failed(words, finished.returncode)

    def feed(self, text: str, *command: str | Path, cwd: Path | None = None) -> None:
        """Run a command with `text` on its standard input.

        Raises:
            SetupProblem: it is missing or failed.
        """
        words = [str(word) for word in command]
        say(f"$ {' '.join(words)}")
        try:
            finished = self.run_command(
                words, env=dict(self.environment), cwd=cwd, check=False, input=text, text=True
            )
        except OSError as exc:
            raise _unstarted(words[0], exc) from exc
        if finished.returncode != 0:
            raise _failed(words, finished.returncode)

    def ask(self, *command: str | Path) -> str:
        """Return what a command prints; nothing when it is missing or failed."""
        words = [str(word) for word in command]
        try:
            finished = self.run_command(
                words,
                env=dict(self.environment),
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except OSError:
            return ""
        return finished.stdout if finished.returncode == 0 else ""


def _unstarted(command: str, exc: OSError) -> SetupProblem:
    return SetupProblem(f"{command} cannot be started: {exc.strerror}", "install it")


def _failed(words: Sequence[str], status: int) -> SetupProblem:
    return SetupProblem(
        f"{' '.join(words)} failed with exit status {status}", "see the lines above"
    )


def need_tools(tools: Mapping[str, str], which: Callable[[str], str | None]) -> None:
    """Check that the tools of a build are installed; `tools` is command -> Debian package.

    Raises:
        SetupProblem: some are missing; the sentence holds the line that installs them.
    """
    missing = sorted({package for command, package in tools.items() if which(command) is None})
    if missing:
        raise SetupProblem(
            "tools of this build are missing", f"run: apt-get install -y {' '.join(missing)}"
        )


def set_dates(folder: Path, made: int) -> None:
    """Give every file and folder below `folder` the date `made`."""
    import os

    for path in sorted(folder.rglob("*"), reverse=True):
        os.utime(path, (made, made), follow_symlinks=False)
    os.utime(folder, (made, made))


def size_of(folder: Path) -> int:
    """Return the bytes of all files below `folder`; links count nothing."""
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )


def run_main(build: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run a builder; a SetupProblem becomes its sentence, its remedy and exit status 1."""
    try:
        return build(arguments)
    except SetupProblem as problem:
        print(f"\n{problem}\n{problem.remedy}", file=sys.stderr)
        return 1
