"""The record of a confirmed layout, beside the dataset.json that was made from it.

It is the one private map from case names to where the cases were found, and it stays in the
site's workspace. With it a check can say what the conversion remarked, and that source files have
changed since.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from app.domain.errors import DataProblem, ErrorCode
from app.domain.findings import Finding, Severity
from app.system.atomic import write_atomic

RECORD_NAME: Final = "confirmed.json"
_VERSION: Final = 1


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was converted, as it was then; the path is relative to the source folder."""

    path: str
    size: int
    modified_ns: int


class ConfirmedCase(msgspec.Struct, frozen=True, kw_only=True):
    """What a case was called, or where it was found."""

    name: str
    found: str


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """A confirmed layout. `sources` are the files whose converted copies are used."""

    source: str
    layout: str
    cases: tuple[ConfirmedCase, ...]
    findings: tuple[Finding, ...]
    sources: tuple[SourceFile, ...] = ()
    version: int = _VERSION


def write_confirmation(workspace: Path, confirmation: Confirmation) -> None:
    """Write the record, readable by this user only; raises SetupProblem as `write_atomic`."""
    write_atomic(workspace / RECORD_NAME, msgspec.json.encode(confirmation))


def read_confirmation(workspace: Path) -> Confirmation | None:
    """Read the record; None where the folder has none.

    Raises:
        DataProblem: it is damaged, or a newer program wrote it.
    """
    try:
        data = (workspace / RECORD_NAME).read_bytes()
    except OSError:
        return None
    try:
        confirmation = msgspec.json.decode(data, type=Confirmation)
    except msgspec.DecodeError as exc:
        raise DataProblem(
            f"{RECORD_NAME} of the workspace is damaged", code=ErrorCode.FOLDER_LAYOUT
        ) from exc
    if confirmation.version > _VERSION:
        raise DataProblem(
            f"{RECORD_NAME} of the workspace was written by a newer program",
            code=ErrorCode.VERSION,
        )
    return confirmation


def source_file(folder: Path, path: str) -> SourceFile:
    """Take note of a source file as it is now; one that is gone has the size -1."""
    try:
        status = (folder / path).stat()
    except OSError:
        return SourceFile(path=path, size=-1, modified_ns=0)
    return SourceFile(path=path, size=status.st_size, modified_ns=status.st_mtime_ns)


def converted_files(workspace: Path) -> tuple[str, ...]:
    """Return the absolute paths of the source files whose copies lie in a workspace."""
    try:
        confirmation = read_confirmation(workspace)
    except DataProblem:
        return ()
    if confirmation is None:
        return ()
    return tuple(os.path.join(confirmation.source, one.path) for one in confirmation.sources)  # noqa: PTH118 - thousands of text paths


def confirmation_findings(workspace: Path) -> tuple[Finding, ...]:
    """Return what the conversion remarked, and whether the source files have changed since.

    Empty for a folder that is no workspace.

    Raises:
        DataProblem: as `read_confirmation`.
    """
    confirmation = read_confirmation(workspace)
    if confirmation is None:
        return ()
    folder = Path(confirmation.source)
    changed = [one for one in confirmation.sources if source_file(folder, one.path) != one]
    if not changed:
        return confirmation.findings
    return (
        *confirmation.findings,
        Finding(
            check="source-changed",
            severity=Severity.BLOCKS,
            sentence=f"{len(changed)} file(s) of the chosen folder changed or are gone since it "
            f"was converted, e.g. {Path(changed[0].path).name}",
            remedy="Look at the folder's layout anew and confirm it.",
        ),
    )
