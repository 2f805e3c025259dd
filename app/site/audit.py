"""What left this site, when and by whose permission: the kinds and facts of a site's audit log.

Entries hold kinds, ids, hashes, sizes and the operator's name, never a case, path or file name.
`coordinator_head` is the head of the coordinator's log as a directive told it: kept here, it shows
when the coordinator's log was cut or written anew (see `app.system.audit`).
"""

from __future__ import annotations

import enum
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from app.domain.ids import Digest
from app.site.home import SiteHome
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


def verify_site(home: Path, *, witness: Path | None) -> tuple[int, audit.BrokenEntry | None]:
    """Check a site's log, changing nothing: return how many entries it has and the first bad one.

    `witness` is the copy of the coordinator's log (its `audit.jsonl`), which keeps heads of this.

    Raises:
        SetupProblem: there is no log.
        DataProblem: the witness cannot be read, or is itself broken.
    """
    layout = SiteHome(root=home)
    entries, broken = audit.verify_log(layout.database, layout.audit)
    if broken is None and witness is not None:
        kept = audit.read_witness(witness)
        broken = audit.missing_head(entries, _heads_kept(kept, _memberships(entries)))
    return len(entries), broken


def _memberships(entries: Iterable[audit.AuditEntry]) -> frozenset[tuple[audit.Fact, audit.Fact]]:
    """Return the (study, site) pairs under which this log was written."""
    joined = AuditKind.STUDY_JOINED.value
    return frozenset(
        (entry.facts.get("study", ""), entry.facts.get("site", ""))
        for entry in entries
        if entry.kind == joined
    )


def _heads_kept(
    entries: Iterable[audit.AuditEntry], here: frozenset[tuple[audit.Fact, audit.Fact]]
) -> Iterator[Digest]:
    """Pick the heads of this site from the log of a coordinator, which has many sites."""
    study: audit.Fact = ""
    for entry in entries:
        study = entry.facts.get("study", study)
        head = entry.facts.get("site_head")
        if isinstance(head, str) and (study, entry.facts.get("site", "")) in here:
            yield Digest(head)
