"""A service without a process: it holds a snapshot, records commands, answers at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.control.messages import Accepted, AnyCommand, InvitationView, Refused, Snapshot
from app.domain.errors import FednnunetError
from app.domain.segmentation import SegmentationResult, Verdict
from app.review.verdicts import CaseReview
from app.ui.presenters.review import Opinion


class RecordedService:
    """Stands in for `ServiceBridge`; `replies` are given in turn, then everything is accepted."""

    def __init__(self, snapshot: Snapshot | None = None, away: str = "") -> None:
        self.snapshot, self.away = snapshot, away
        self.commands: list[AnyCommand] = []
        self.replies: list[Accepted | Refused | InvitationView] = []

    def request(self, command: AnyCommand, on_reply: Callable[[object], None]) -> None:
        self.commands.append(command)
        on_reply(self.replies.pop(0) if self.replies else Accepted())

    def compute(
        self,
        work: Callable[[], object],
        on_result: Callable[[object], None],
        on_problem: Callable[[FednnunetError], None],
    ) -> None:
        try:
            result = work()
        except FednnunetError as exc:
            on_problem(exc)
        else:
            on_result(result)


class MemoryBook:
    """Verdicts in memory."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Opinion]] = []

    def opinions(self, results: Sequence[SegmentationResult]) -> dict[str, Opinion]:
        return dict(self.said)

    def reviews(self, results: Sequence[SegmentationResult]) -> tuple[CaseReview, ...]:
        said = self.opinions(results)
        return tuple(
            CaseReview(
                case=one.case,
                verdict=said.get(one.case, Opinion()).verdict,
                decided=None,
                comments=(),
            )
            for one in results
        )

    def judge(
        self,
        result: SegmentationResult,
        verdict: Verdict,
        comment: str,
        voxel: tuple[int, int, int] | None,
        reason: str = "",
    ) -> None:
        opinion = Opinion(verdict=verdict, comment=comment, reason=reason)
        self.said.append((result.case, opinion))

    def take_back(self) -> str | None:
        return self.said.pop()[0] if self.said else None

    def close(self) -> None:
        pass


class StillClock:
    """A clock whose hands a test turns."""

    def __init__(self, now: float) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time
