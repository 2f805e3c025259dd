"""What left this site, when and by whose permission: the kinds and facts of a site's audit log.

Entries hold kinds, ids, hashes, sizes and the operator's name, never a case, path or file name.
`coordinator_head` is the head of the coordinator's log as a directive told it: kept here, it shows
when the coordinator's log was cut or written anew (see `app.system.audit`).
"""

from __future__ import annotations

import enum
import sqlite3
from pathlib import Path
from typing import Final

from app.system import audit

FACTS: Final = frozenset(
    {
        "allowance", "app_version", "attempt", "base", "cases", "code", "coordinator_head",
        "digest", "operator", "plan", "policy", "receipt", "round", "sha256", "site", "size",
        "standing", "study",
    }
)  # fmt: skip
"""The only names an entry may use: what is not listed cannot be logged by mistake."""


class AuditKind(enum.Enum):
    """What an entry says happened."""

    STUDY_JOINED = "study joined"
    STUDY_LEFT = "study left"
    FINGERPRINT_ALLOWED = "fingerprint allowed"
    ALLOWANCE_WITHDRAWN = "allowance withdrawn"
    ALLOWANCE_VOID = "allowance void: the data changed"
    FINGERPRINT_SENT = "fingerprint sent"
    PLAN_ACCEPTED = "plan accepted"
    PLAN_REFUSED = "plan refused"
    ROUND_BEGUN = "round begun"
    UPDATE_SENT = "update sent"
    UPDATE_SPOILT = "update spoilt"
    MODEL_RECEIVED = "model received"


class AuditLog(audit.AuditLog):
    """The audit log of one site."""

    def __init__(self, database: sqlite3.Connection, copy: Path) -> None:
        super().__init__(database, copy, facts=FACTS)
