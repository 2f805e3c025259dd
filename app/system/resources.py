"""Where the files that ship with the program are: in a checkout, a wheel or a frozen program."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Final

from app.domain.errors import ErrorCode, SetupProblem

_PACKAGE: Final = Path(__file__).resolve().parent.parent


def resources_folder(*, package: Path = _PACKAGE, frozen_at: str | None = None) -> Path:
    """Return the folder of the shipped files.

    Raises:
        SetupProblem: the installation lacks it.
    """
    frozen = frozen_at if frozen_at is not None else getattr(sys, "_MEIPASS", None)
    candidates = [package / "_resources", package.parent / "resources"]
    if frozen is not None:
        candidates.insert(0, Path(frozen) / "resources")
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise SetupProblem(
        f"the installation lacks its resources (looked in {', '.join(map(str, candidates))})",
        code=ErrorCode.MISSING_LIBRARY,
    )


@cache
def _shipped() -> Path:
    return resources_folder()


def resource(*parts: str) -> Path:
    """Return one shipped file or folder; raises SetupProblem when the installation lacks it."""
    path = _shipped().joinpath(*parts)
    if not path.exists():
        raise SetupProblem(
            f"the installation lacks {'/'.join(parts)}", code=ErrorCode.MISSING_LIBRARY
        )
    return path
