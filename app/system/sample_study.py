"""The sample study on this computer: where its parts lie, and how far it has come in beginning.

The command that runs it is `cli/demo.py`. A window that starts that command as a process of its own
reads here how far it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from app.domain.errors import ErrorCode, SetupProblem
from app.system.atomic import write_atomic
from app.system.paths import default_home
from app.system.resources import resource

MINUTES: Final = 15
"""How long it trains on two processor cores (measured: 14 min 53 s)."""
DISK_GB: Final = 1
"""More than its folder takes (measured: 0.6 GB)."""
_SAMPLE: Final = "hippocampus"
_NOTE: Final = "beginning.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleStudy:
    """Where the sample study's parts lie below one home folder."""

    home: Path

    @property
    def coordinator(self) -> Path:
        return self.home / "coordinator"

    @property
    def model(self) -> Path:
        return self.home / "model.zip"

    @property
    def services(self) -> tuple[Path, ...]:
        """Home of every service: the coordinator's, then the sites'."""
        return (self.coordinator, *map(self.site, self.names))

    def site(self, name: str) -> Path:
        return self.home / "sites" / name

    def invitation(self, name: str) -> Path:
        return self.home / "invitations" / f"{name}.fedjoin"

    def log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"

    @property
    def parts(self) -> tuple[Path, ...]:
        """All that is ever written below `home`."""
        folders = ("coordinator", "sites", "invitations", "logs", "baselines")
        files = ("study.toml", self.model.name, _NOTE)
        return tuple(self.home / name for name in (*folders, *files))

    @property
    def begun(self) -> bool:
        """Whether a sample study was made here."""
        return (self.coordinator / "study.sqlite").exists()

    @property
    def names(self) -> tuple[str, ...]:
        """The sites, largest first."""
        folders = [folder for folder in sample_folder().iterdir() if folder.is_dir()]
        return tuple(
            folder.name
            for folder in sorted(folders, key=lambda f: -len(list((f / "labelsTr").iterdir())))
        )


def sample_folder() -> Path:
    """Folder of the sample images; raises SetupProblem when they were not installed."""
    folder = resource("samples", _SAMPLE)
    if not folder.is_dir():
        raise SetupProblem(
            "the sample images are not part of this installation", code=ErrorCode.MISSING_LIBRARY
        )
    return folder


def sample_study_home() -> Path:
    """Where this user's sample study lies, whoever starts it."""
    return default_home() / "sample-study"


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """How far the sample study has come in beginning.

    `step` of `steps` is under way, as `sentence` says; `open` once its window opens; `problem` says
    why it cannot begin, else it is empty.
    """

    step: int = 0
    steps: int = 1
    sentence: str = ""
    open: bool = False
    problem: str = ""


def note_beginning(home: Path, beginning: Beginning) -> None:
    """Tell whoever waits how far it is; raises SetupProblem when that cannot be written."""
    write_atomic(home / _NOTE, msgspec.json.encode(beginning))


def read_beginning(home: Path) -> Beginning | None:
    """Return how far it is, None when it has not begun."""
    try:
        return msgspec.json.decode((home / _NOTE).read_bytes(), type=Beginning)
    except (OSError, msgspec.MsgspecError):
        return None


def forget_beginning(home: Path) -> None:
    """Forget what was told before, so that nobody takes it for news."""
    (home / _NOTE).unlink(missing_ok=True)
