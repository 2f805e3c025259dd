"""What the parts of a site service share: its home, memory, log, workers and the joined study."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from app.control.messages import JobView
from app.domain.dataset import DatasetDescription
from app.domain.study import Method, Policy, StudyTerms
from app.federation.study_file import terms_from_json
from app.jobs.events import AnyEvent, Noted, Progressed
from app.jobs.runner import JobRunner
from app.site.audit import AuditLog
from app.site.board import Board
from app.site.home import SiteHome
from app.site.membership import Membership
from app.site.state import SiteStore
from app.system.clock import Clock
from app.system.settings import Settings
from app.wire.messages import AnyMessage, Blob, BlobKind, Report

logger = logging.getLogger(__name__)
_PROGRESS_EVERY_S: Final = 0.2
_ESTIMATE_AFTER_S: Final = 2.0
"""Before that a pace says more about starting up than about cases."""


class SiteLink(Protocol):
    """What the service asks of its link (see `app.site.link.Link`)."""

    sent_bytes: int
    received_bytes: int

    async def run(self) -> None: ...
    def report(self, report: Report) -> None: ...
    async def deliver(self, message: AnyMessage) -> None: ...
    async def upload(self, kind: BlobKind, path: Path, blob: Blob) -> None: ...
    async def download(self, blob: Blob, destination: Path) -> None: ...
    async def answers(self, within_s: float) -> bool: ...


@dataclass(slots=True, kw_only=True)
class JoinedStudy:
    """A study that this site has joined: who it is there, and what was agreed to."""

    membership: Membership
    terms: StudyTerms = field(init=False)

    def __post_init__(self) -> None:
        self.terms = terms_from_json(self.membership.terms)

    @property
    def labels(self) -> tuple[str, ...]:
        """Foreground labels in the study's order."""
        description = DatasetDescription(
            channel_names=self.terms.channel_names, labels=self.terms.labels, file_ending=""
        )
        return tuple(description.foreground)


@dataclass(slots=True, kw_only=True)
class SiteContext:
    """Shared by the desks of one service; `joined` changes when the site joins or leaves."""

    home: SiteHome
    store: SiteStore
    audit: AuditLog
    board: Board
    runner: JobRunner
    clock: Clock
    settings: Settings
    joined: JoinedStudy | None
    ended_unexpectedly: bool = False
    """The service before this one left its lock behind: it was killed, or the power failed."""

    @property
    def study(self) -> str | None:
        """Id of the joined study."""
        return None if self.joined is None else self.joined.membership.study

    @property
    def policy(self) -> Policy:
        """How the fingerprint is counted: the study's policy, the strict one without a study."""
        return Policy.MINIMAL if self.joined is None else self.joined.terms.policy

    @property
    def discloses(self) -> str:
        """What may leave before training; see `StudyTerms.discloses`."""
        return Policy.MINIMAL.value if self.joined is None else self.joined.terms.discloses

    @property
    def asymmetric(self) -> bool:
        """Whether this site plans for itself."""
        return self.joined is not None and self.joined.terms.method is Method.ASYM


class JobProgress:
    """Shows one job's progress as a `JobView`, at most five times a second."""

    def __init__(self, kind: str, show: Callable[[JobView], None], clock: Clock) -> None:
        self.view = JobView(kind=kind, running=True)
        self._show, self._clock = show, clock
        self._shown_at = self._began_at = clock.monotonic()
        show(self.view)

    def heard(self, event: AnyEvent) -> None:
        """Take note of an event of the worker."""
        match event:
            case Progressed(done=done, total=total, what=what):
                now = self._clock.monotonic()
                new_words = what != self.view.what
                if new_words:
                    self._began_at = now  # another part of the job has another pace
                self.view = JobView(
                    kind=self.view.kind,
                    running=True,
                    done=done,
                    total=total,
                    what=what,
                    seconds_left=self._left(done, total, now),
                )
                if new_words or done == total or now - self._shown_at >= _PROGRESS_EVERY_S:
                    self._shown_at = now
                    self._show(self.view)
            case Noted(text=text):
                logger.info("%s: %s", self.view.kind, text)
            case _:
                pass

    def _left(self, done: int, total: int, now: float) -> float | None:
        passed = now - self._began_at
        if done <= 0 or passed < _ESTIMATE_AFTER_S:
            return None
        return passed / done * (total - done)

    def ended(self, outcome: str, *, failed: bool) -> None:
        """Show how it ended."""
        self.view = JobView(
            kind=self.view.kind,
            running=False,
            done=self.view.done,
            total=self.view.total,
            what=self.view.what,
            outcome=outcome,
            failed=failed,
        )
        self._show(self.view)
