"""Which build of the program this is: what an installer was made of, or a checkout."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec

from app import __version__
from app.domain.errors import ErrorCode, SetupProblem
from app.system.resources import resources_folder

BUILD_FILE: Final = "build.json"
"""Written into the resources by the installers' builders."""
_SHOWN: Final = ("nnunetv2", "torch", "PySide6-Essentials", "numpy", "SimpleITK", "websockets")


class Build(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a builder says of its product.

    `kind` is "linux", "windows", "macos", or "source" for a checkout. `commit` is the source's,
    `made` the date of that commit (ISO 8601), so that a build can be repeated. `signed_by` is
    empty for an unsigned build.
    """

    version: str
    kind: str
    commit: str = ""
    made: str = ""
    signed_by: str = ""

    @property
    def sentence(self) -> str:
        """One line for a person."""
        if self.kind == "source":
            return f"fednnunet {self.version} (not installed: runs from its source)"
        signed = f"signed by {self.signed_by}" if self.signed_by else "not signed"
        return (
            f"fednnunet {self.version} ({self.kind}, commit {self.commit[:12]} of {self.made}, "
            f"{signed})"
        )


def this_build(folder: Path | None = None) -> Build:
    """Return what this program was built from; `folder` is that of its resources.

    Raises:
        SetupProblem: the installation is damaged.
    """
    path = (resources_folder() if folder is None else folder) / BUILD_FILE
    if not path.is_file():
        return Build(version=__version__, kind="source")
    try:
        return msgspec.json.decode(path.read_bytes(), type=Build)
    except (OSError, msgspec.MsgspecError) as exc:
        raise SetupProblem(
            f"the installation is damaged: {BUILD_FILE} cannot be read",
            code=ErrorCode.MISSING_LIBRARY,
        ) from exc


def installed_versions() -> dict[str, str]:
    """Return the versions of the packages that matter, as far as they are installed."""
    found = {}
    for name in _SHOWN:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
