"""What a site is told to do, and what people see of a study."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from app.domain.ids import SiteName, StudyId
from app.domain.rounds import BlobRef, GlobalModel


class Step(enum.Enum):
    """What a site should do now; values as in `app.wire.messages.Step`."""

    WAIT = "wait"
    SEND_FINGERPRINT = "send fingerprint"
    PREPARE = "prepare"
    TRAIN = "train"
    PAUSE = "pause"
    FINISH = "finish"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSummary:
    """What every site may know of every other."""

    name: SiteName
    state: str
    connected: bool
    cases: int
    round: int
    epoch: int
    step: int
    steps: int
    silent_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSummary:
    """One closed round and the case-weighted figures of its updates."""

    number: int
    contributors: tuple[SiteName, ...]
    train_loss: float
    validation_loss: float | None
    pseudo_dice: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """Everything one site needs to know now; fields as in `app.wire.messages.Directive`.

    Small enough for one control message (64 KiB): only the newest closed rounds are in it.
    """

    serial: int
    step: Step
    study_state: str
    sentence: str
    sites: tuple[SiteSummary, ...]
    closed_rounds: tuple[RoundSummary, ...]
    plan: BlobRef | None = None
    merged: BlobRef | None = None
    base: BlobRef | None = None
    round: int = 0
    attempt: int = 0
    start_epoch: int = 0
    rounds: int = 0
    model: BlobRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStatus:
    """One site as its coordinator sees it; `problem` is an ErrorCode value or empty."""

    summary: SiteSummary
    has_fingerprint: bool
    fingerprint_cases: int
    phase: str
    problem: str
    problem_sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyStatus:
    """The whole study as its coordinator sees it. `round` is the open round, 0 when none is."""

    study: StudyId
    name: str
    serial: int
    state: str
    sentence: str
    sites: tuple[SiteStatus, ...]
    round: int
    rounds: int
    plan: BlobRef | None
    merged: BlobRef | None
    closed_rounds: tuple[RoundSummary, ...]
    models: tuple[GlobalModel, ...]
    model: BlobRef | None
