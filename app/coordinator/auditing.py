"""The coordinator's audit log: who was let in, what came, what was made of it, and by which rounds.

Entries hold kinds, site names, hashes, sizes and error codes, never a path or an exception's text.
What the study became is noted from its present state, not from events: an entry that a kill
prevented is written at the next start, and none is written twice.
"""

from __future__ import annotations

import enum
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.domain.errors import ErrorCode
from app.domain.ids import Digest, SiteName, StudyId
from app.domain.rounds import ModelUpdate
from app.federation.study_views import StudyStatus
from app.system.audit import (
    AuditEntry,
    AuditLog,
    BrokenEntry,
    Fact,
    missing_head,
    read_witness,
    verify_log,
)
from app.system.clock import Clock
from app.wire.messages import Blob, Report, UpdateOffered

FACTS: Final = frozenset(
    {
        "attempt", "base", "cases", "code", "contributors", "key", "merged", "model", "pending",
        "plan", "receipt", "round", "sha256", "site", "site_head", "size", "study", "terms",
    }
)  # fmt: skip
"""The only names an entry may use."""
WITNESS_EVERY_S: Final = 10.0
"""At most one witness of a site in that time, however often its phase changes."""


class CoordinatorEntry(enum.Enum):
    """What an entry says happened."""

    STUDY_CREATED = "study created"
    SITE_INVITED = "site invited"
    SITE_ENROLLED = "site enrolled"
    SITE_APPROVED = "site approved"
    SITE_REVOKED = "site revoked"
    SITE_LEFT = "site left"
    FINGERPRINT_KEPT = "fingerprint kept"
    PLAN_MADE = "plan made"
    ROUND_OPENED = "round opened"
    UPDATE_KEPT = "update kept"
    REFUSED = "refused"
    ROUND_CLOSED = "round closed"
    MODEL_EXPORTED = "model exported"
    SITE_WITNESSED = "head of a site's log"


def audit_database(folder: Path) -> Path:
    """Return where the log of the study in `folder` lies."""
    return folder / "audit.sqlite"


def audit_copy(folder: Path) -> Path:
    """Return where its copy for people lies."""
    return folder / "audit.jsonl"


class StudyAudit:
    """The log of one study, on one thread; other processes may write to it at the same time."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._clock = clock
        self._database = sqlite3.connect(audit_database(folder), timeout=10)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._log = AuditLog(self._database, audit_copy(folder), facts=FACTS)
        self._noted = {_key(entry.kind, entry.facts) for entry in self._log.entries()}
        self._witnessed: dict[SiteName, tuple[tuple[object, ...], float]] = {}
        self._averaged: dict[int, tuple[str, ...]] = {}

    def close(self) -> None:
        self._database.close()

    @property
    def head(self) -> Digest:
        """Hash of the last entry, which every directive carries to the sites."""
        return self._log.head

    def append(self, kind: CoordinatorEntry, **facts: Fact) -> AuditEntry:
        """Write an entry."""
        return self._log.append(kind, now=self._clock.now(), **facts)

    # --- what sites send

    def enrolled(self, site: SiteName, *, public_key: bytes, pending: bool) -> None:
        key = hashlib.sha256(public_key).hexdigest()
        self._once(CoordinatorEntry.SITE_ENROLLED, site=site, key=key, pending=pending)

    def fingerprint_kept(
        self, site: SiteName, fingerprint: Blob, *, receipt: str, cases: int
    ) -> None:
        self._once(
            CoordinatorEntry.FINGERPRINT_KEPT,
            site=site,
            sha256=fingerprint.sha256,
            size=fingerprint.size,
            receipt=receipt,
            cases=cases,
        )

    def update_kept(self, site: SiteName, offer: UpdateOffered) -> None:
        self._once(
            CoordinatorEntry.UPDATE_KEPT,
            site=site,
            round=offer.round,
            attempt=offer.attempt,
            base=offer.base,
            sha256=offer.weights.sha256,
            size=offer.weights.size,
            cases=offer.cases,
        )

    def refused(self, site: SiteName, code: ErrorCode, round_number: int) -> None:
        """Note what does not count; once for each site, reason and round, so it cannot be flooded."""
        self._once(CoordinatorEntry.REFUSED, site=site, code=code.value, round=round_number)

    def reported(self, site: SiteName, report: Report) -> None:
        """Keep the head of the site's log when it and the site's phase or round have changed."""
        head = report.audit_head
        stand = (report.phase, report.round, report.attempt)
        known, at = self._witnessed.get(site, ((), 0.0))
        if head is None or stand == known:
            return
        if known and self._clock.monotonic() - at < WITNESS_EVERY_S:
            return
        self._witnessed[site] = (stand, self._clock.monotonic())
        self._once(CoordinatorEntry.SITE_WITNESSED, site=site, site_head=head)

    # --- what the study became

    def averaging(self, round_number: int, updates: Iterable[ModelUpdate]) -> None:
        """Remember what goes into a round, for the entry that closes it."""
        self._averaged[round_number] = tuple(
            f"{update.site} {update.weights.sha256}" for update in updates
        )

    def follow(self, study: StudyStatus) -> None:
        """Write what the study became and the log does not say yet."""
        if study.plan is not None:
            self._once(
                CoordinatorEntry.PLAN_MADE,
                plan=study.plan.sha256,
                size=study.plan.size,
                merged="" if study.merged is None else study.merged.sha256,
            )
        for closed, model in zip(study.closed_rounds, study.models, strict=True):
            self._once(
                CoordinatorEntry.ROUND_CLOSED,
                round=closed.number,
                contributors=self._averaged.pop(closed.number, closed.contributors),
                model=model.weights.sha256,
                size=model.weights.size,
            )
        if study.round:
            self._once(
                CoordinatorEntry.ROUND_OPENED,
                round=study.round,
                base="" if study.opened_from is None else study.opened_from.sha256,
            )

    def _once(self, kind: CoordinatorEntry, **facts: Fact) -> None:
        key = _key(kind.value, facts)
        if key not in self._noted:
            self.append(kind, **facts)
            self._noted.add(key)


@contextmanager
def open_audit(folder: Path, clock: Clock) -> Iterator[StudyAudit]:
    """Open the log of the study in `folder` for a block, as a command does."""
    log = StudyAudit(folder, clock)
    try:
        yield log
    finally:
        log.close()


_KEYS: Final = ("site", "round", "plan", "sha256", "code", "key", "site_head", "pending")
_OF_A_ROUND: Final = frozenset(
    {CoordinatorEntry.ROUND_OPENED.value, CoordinatorEntry.ROUND_CLOSED.value}
)


def _key(kind: str, facts: dict[str, Fact]) -> tuple[object, ...]:
    """Return what makes two entries say the same."""
    if kind in _OF_A_ROUND:
        return kind, facts.get("round")
    return kind, *(facts.get(name) for name in _KEYS)


# --- verifying ---------------------------------------------------------------------------------


def verify_study(
    folder: Path, *, study: StudyId, witness: Path | None
) -> tuple[int, BrokenEntry | None]:
    """Check the log of the study in `folder`, changing nothing: how many entries, the first bad one.

    `witness` is the copy of a site's log (its `audit.jsonl`), which keeps heads of this one.

    Raises:
        SetupProblem: there is no log.
        DataProblem: the witness cannot be read, or is itself broken.
    """
    entries, broken = verify_log(audit_database(folder), audit_copy(folder))
    if broken is None and witness is not None:
        broken = missing_head(entries, _heads_kept(read_witness(witness), study))
    return len(entries), broken


def _heads_kept(entries: Iterable[AuditEntry], study: StudyId) -> Iterator[Digest]:
    """Pick the heads of this study's coordinator from the log of a site, which may join others."""
    joined: Fact | None = None
    for entry in entries:
        joined = entry.facts.get("study", joined)
        head = entry.facts.get("coordinator_head")
        if isinstance(head, str) and joined == study:
            yield Digest(head)
