"""What goes over the control API of a coordinator service: status, commands, answers."""

from __future__ import annotations

from app.control.messages import Accepted, Refused, Struct


class StudySite(Struct, frozen=True):
    """One site as the coordinator sees it. `words` are the six words of its key.

    `problem` is an ErrorCode value, empty when there is none; its sentence says what keeps it back.
    """

    name: str
    state: str
    connected: bool
    words: str
    cases: int
    round: int
    epoch: int
    step: int
    steps: int
    silent_s: int
    problem: str = ""
    problem_sentence: str = ""


class OpenInvitation(Struct, frozen=True):
    """An invitation that nobody has used yet. `expires_at` in seconds since the epoch (UTC)."""

    site: str
    expires_at: float


class ClosedRound(Struct, frozen=True):
    """One averaged round; `held_out_dice` is its average's on cases that no site trained on."""

    number: int
    contributors: tuple[str, ...]
    train_loss: float
    validation_loss: float | None
    pseudo_dice: tuple[float | None, ...]
    model: str
    held_out_dice: tuple[float | None, ...] = ()
    held_out_cases: int = 0


class CoordinatorStatus(Struct, frozen=True, tag="coordinator-status"):
    """Everything `coordinator status` shows.

    `rounds` are those of the whole study, of all its `folds` in all its passes (`stages`);
    `best_rounds` has the best of each.
    """

    study: str
    study_id: str
    running: bool
    address: str
    state: str
    sentence: str
    rounds: int
    sites: tuple[StudySite, ...]
    invitations: tuple[OpenInvitation, ...]
    closed_rounds: tuple[ClosedRound, ...]
    plan_digest: str | None
    model_digest: str | None
    best_round: int | None = None
    folds: int = 1
    stages: int = 1
    best_rounds: tuple[int | None, ...] = ()


class GetStatus(Struct, frozen=True, tag="get-status"):
    """Ask for the status."""


class BeginStudy(Struct, frozen=True, tag="begin"):
    """Close the roster: go on with the sites that have joined."""


class ApproveSite(Struct, frozen=True, tag="approve"):
    """Admit a site whose six words were compared on the telephone."""

    site: str


class RevokeSite(Struct, frozen=True, tag="revoke"):
    """Exclude a site at once and for good."""

    site: str


class PauseStudy(Struct, frozen=True, tag="pause"):
    """Let every site stop at its next checkpoint and wait."""


class ResumeStudy(Struct, frozen=True, tag="resume"):
    """Go on after a pause."""


CoordinatorCommand = GetStatus | BeginStudy | ApproveSite | RevokeSite | PauseStudy | ResumeStudy


class CoordinatorRequest(Struct, frozen=True, tag="request"):
    """A command with a number that its answer repeats."""

    number: int
    command: CoordinatorCommand


class CoordinatorAnswer(Struct, frozen=True, tag="answer"):
    """The answer to the request with this number."""

    number: int
    answer: Accepted | Refused | CoordinatorStatus


CoordinatorServerMessage = CoordinatorStatus | CoordinatorAnswer
