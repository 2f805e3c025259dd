"""Writing files so that a power cut leaves the old one or the new one, never half of one."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.domain.errors import ErrorCode, FednnunetError, SetupProblem

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700


def disk_problem(error: OSError, path: Path) -> FednnunetError:
    """Return what a person should read of a failed write to `path`."""
    if error.errno in _FULL:
        return SetupProblem(f"the disk that holds {path.parent} is full", code=ErrorCode.DISK_FULL)
    if error.errno in _FORBIDDEN:
        return SetupProblem(f"this user may not write to {path}", code=ErrorCode.NO_PERMISSION)
    reason = error.strerror or type(error).__name__
    return SetupProblem(f"{path} cannot be written: {reason}", code=ErrorCode.WORKSPACE)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into a SetupProblem about `path`."""
    try:
        yield
    except OSError as exc:
        raise disk_problem(exc, path) from exc


def make_folder(path: Path) -> Path:
    """Make `path`, readable by this user only, with its parents; return it.

    Raises:
        SetupProblem: the disk is full, the place is forbidden, or a file is in the way.
    """
    with disk_errors(path):
        path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    return path


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable (Windows keeps them durable by itself)."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def move_durable(written: Path, target: Path) -> None:
    """Put a finished file in the place of `target`: fsync, rename, fsync the folder. Raises OSError."""
    with written.open("rb+") as file:
        os.fsync(file.fileno())
    written.replace(target)
    sync_folder(target.parent)


def write_atomic(path: Path, data: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Replace `path` by `data`: write beside it, fsync, rename, fsync the folder.

    The file never has wider permissions than `mode`, not even for a moment.

    Raises:
        SetupProblem: the disk is full or the place is forbidden; the old file is untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with disk_errors(path):
        try:
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            sync_folder(path.parent)
        finally:
            beside.unlink(missing_ok=True)


def append_durable(path: Path, data: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Append `data` to `path` and make it durable; raises SetupProblem as `write_atomic` does."""
    with disk_errors(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode)
        with os.fdopen(handle, "ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
