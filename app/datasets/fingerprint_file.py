"""The local fingerprint as a file of the site's own workspace. It holds per-case values and stays."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.domain.errors import ErrorCode, SetupProblem
from app.domain.fingerprint import Fingerprint
from app.system.atomic import write_atomic


def write_fingerprint(fingerprint: Fingerprint, path: Path) -> None:
    """Write it durably, readable by this user only; raises SetupProblem when the disk refuses."""
    write_atomic(path, msgspec.json.encode(fingerprint))


def read_fingerprint(path: Path) -> Fingerprint:
    """Read what `write_fingerprint` wrote.

    Raises:
        SetupProblem: the file is gone or damaged; computing it again mends it.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Fingerprint)
    except (OSError, msgspec.DecodeError) as exc:
        raise SetupProblem(
            "the local fingerprint cannot be read back; compute it again",
            code=ErrorCode.FINGERPRINT_REFUSED,
        ) from exc
