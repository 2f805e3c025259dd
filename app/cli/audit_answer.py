"""What `audit verify` says, of a site's log and of a coordinator's alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.cli import DONE, FAILED

if TYPE_CHECKING:
    from app.system.audit import BrokenEntry


def tell_audit(entries: int, broken: BrokenEntry | None) -> int:
    """Print whether a log holds; return the exit code."""
    if broken is not None:
        print(broken, flush=True)  # noqa: T201
        return FAILED
    words = "entry" if entries == 1 else "entries"
    print(f"the audit log holds: {entries} {words}", flush=True)  # noqa: T201
    return DONE
