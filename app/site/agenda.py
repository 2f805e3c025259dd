"""What this site does next: decided from what is wanted and what is on disk, never from memory.

Two lanes work beside each other: one on the operator's data (check, fingerprint, allowance), one
on the study (plan, preparation, rounds, model). Each function is pure; calling it again after
anything changed is always right, so a lost message or a restart cannot hang the site.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from app.site.fold_ends import best_of, ends_of, name_of
from app.site.rounds import RoundState, RoundTask
from app.site.state import (
    Allowance,
    CheckedFolder,
    FinalModel,
    FingerprintWish,
    Folder,
    LayoutWish,
    LocalFingerprint,
    Outgoing,
    Plan,
)
from app.wire.messages import Directive, SitePhase, Step


class WorkKind(enum.Enum):
    """One piece of work; the values are the names that windows know (`JobView.kind`)."""

    CHECK = "check"
    CONVERT = "convert"
    FINGERPRINT = "fingerprint"
    SHARE = "share"
    ALLOW = "allow"
    SEND_FINGERPRINT = "send fingerprint"
    TAKE_PLAN = "take plan"
    TELL_REFUSED = "tell refused"
    PREPARE = "prepare"
    TELL_ACCEPTED = "tell accepted"
    SEGMENT_COARSELY = "segment coarsely"
    OPEN_SESSION = "open session"
    CLOSE_SESSION = "close session"
    TRAIN = "train"
    DELIVER = "deliver"
    TELL_SPOILT = "tell spoilt"
    TAKE_MODEL = "take model"
    EXPORT = "export"
    EXPORT_PERSONAL = "export personal"
    SCORE_MODEL = "score model"
    TELL_SCORE = "tell score"
    EXPORT_BEST = "export best"


_LOOKING_AT_DATA: Final = frozenset(
    {WorkKind.CHECK, WorkKind.CONVERT, WorkKind.FINGERPRINT, WorkKind.SHARE}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A piece of work; two that are equal are the same work, which then is not begun anew."""

    kind: WorkKind
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What the data lane decides from. `study` is the joined study's id."""

    study: str | None
    policy: str
    folder: Folder | None
    checked: CheckedFolder | None
    wish: FingerprintWish | None
    local: LocalFingerprint | None
    outgoing: Outgoing | None
    blocked: str
    allowance: Allowance | None
    standing: bool
    layout: LayoutWish | None = None


def next_data_work(facts: DataFacts) -> Work | None:
    """Return what the data lane does next, None when it waits for the operator."""
    folder, checked = facts.folder, facts.checked
    if folder is None:
        return None
    if facts.layout is not None and facts.layout.path == folder.path:
        return Work(kind=WorkKind.CONVERT, key=f"{facts.layout.serial}")
    if checked is None or checked.serial != folder.serial or checked.study != facts.study:
        return Work(kind=WorkKind.CHECK, key=f"{folder.serial} {facts.study}")
    if checked.report.blocks or checked.dataset is None:
        return None
    digest, local = checked.report.content_digest, facts.local
    current = local is not None and local.content_digest == digest
    wished = 0 if facts.wish is None else facts.wish.serial
    if (local is None and wished) or (local is not None and local.serial != wished):
        return Work(kind=WorkKind.FINGERPRINT, key=f"{digest} {wished}")
    if facts.standing and not current:
        return Work(kind=WorkKind.FINGERPRINT, key=f"{digest} {wished}")
    if local is None or not current:
        return None
    outgoing = facts.outgoing
    if (
        outgoing is None
        or outgoing.content_digest != local.content_digest
        or outgoing.serial != local.serial
        or outgoing.study != facts.study
        or outgoing.policy != facts.policy
    ):
        return Work(kind=WorkKind.SHARE, key=f"{digest} {local.serial} {facts.study}")
    if facts.standing and facts.allowance is None and not facts.blocked:
        return Work(kind=WorkKind.ALLOW, key=outgoing.sha256)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """What the study lane decides from.

    `allowed` is an allowance that holds now; `fingerprint_unheard` that the coordinator still
    asks though it was sent, `score_unheard` that a score was not told just now. `session_stands`
    is True while a worker waits for rounds of the training at position `fold`, the one that comes
    next. `second_pass` is True where that one learns from what a cascade's first pass made of the
    training cases; `first_pass` names the models that segmented them, empty before that is done.
    """

    directive: Directive | None
    allowed: Allowance | None
    fingerprint_unheard: bool
    plan: Plan | None
    task: RoundTask | None
    paused: bool
    session_alive: bool
    session_stands: bool
    model: FinalModel | None
    has_update: bool
    score_unheard: bool = False
    fold: int = 0
    second_pass: bool = False
    first_pass: str = ""


def next_study_work(facts: StudyFacts) -> Work | None:
    """Return what the study lane does next, None when it waits for the coordinator or operator."""
    directive = facts.directive
    if directive is None:
        # The site has left, or is refused: nobody asks for training.
        return _close(facts)
    match directive.step:
        case Step.STOP:
            return _close(facts)
        case Step.FINISH:
            return _close(facts) or _finish(facts, directive)
        case Step.SEND_FINGERPRINT:
            allowed = facts.allowed
            if allowed is not None and (not allowed.sent or facts.fingerprint_unheard):
                return Work(kind=WorkKind.SEND_FINGERPRINT, key=allowed.digest)
            return None
        case Step.WAIT | Step.PREPARE | Step.TRAIN | Step.PAUSE:
            return _train(facts, directive)


def _close(facts: StudyFacts) -> Work | None:
    return Work(kind=WorkKind.CLOSE_SESSION) if facts.session_alive else None


def _finish(facts: StudyFacts, directive: Directive) -> Work | None:
    ends = ends_of(directive)
    if not ends:
        return None
    wanted, model = name_of([end.model for end in ends]), facts.model
    if model is None or model.sha256 != wanted:
        if facts.plan is None:
            # A site that joined late needs the plan to write a model that others can run.
            return None if directive.plan is None else _take_plan(directive)
        return Work(kind=WorkKind.TAKE_MODEL, key=wanted)
    if not model.exported:
        return Work(kind=WorkKind.EXPORT, key=wanted)
    if facts.has_update and not model.personal_exported:
        return Work(kind=WorkKind.EXPORT_PERSONAL, key=wanted)
    prepared = facts.plan is not None and facts.plan.prepared
    wishes = [end.model.sha256 for end in ends if end.score_wanted]
    unscored = [sha256 for sha256 in wishes if model.score_of(sha256) is None]
    if unscored and prepared:
        return Work(kind=WorkKind.SCORE_MODEL, key=unscored[0])
    if len(unscored) < len(wishes) and facts.score_unheard:
        return Work(kind=WorkKind.TELL_SCORE, key=wanted)
    best = best_of(ends)
    if best and name_of(best) != model.best:
        return Work(kind=WorkKind.EXPORT_BEST, key=name_of(best))
    return None


def _take_plan(directive: Directive) -> Work:
    sha256 = "" if directive.plan is None else directive.plan.sha256
    return Work(kind=WorkKind.TAKE_PLAN, key=sha256)


def _train(facts: StudyFacts, directive: Directive) -> Work | None:
    if directive.plan is None:
        return None
    plan, task = facts.plan, facts.task
    if plan is None or plan.sha256 != directive.plan.sha256:
        return _close(facts) or _take_plan(directive)
    if plan.refused_code:
        return None if plan.told else Work(kind=WorkKind.TELL_REFUSED, key=plan.sha256)
    asked = task if directive.step is Step.TRAIN else None
    if asked is not None:
        # What is trained is delivered even while the site is paused: it costs no computing.
        key = f"{asked.round} {asked.attempt} {asked.base}"
        if asked.state is RoundState.TRAINED:
            return Work(kind=WorkKind.DELIVER, key=key)
        if asked.state is RoundState.SPOILT:
            return Work(kind=WorkKind.TELL_SPOILT, key=key)
    if facts.paused or directive.step is Step.PAUSE:
        return _close(facts)
    if not plan.prepared:
        return Work(kind=WorkKind.PREPARE, key=plan.sha256)
    if not plan.told:
        return Work(kind=WorkKind.TELL_ACCEPTED, key=plan.sha256)
    if facts.second_pass:
        models = name_of([end.model for end in directive.folds]) if directive.folds else ""
        if not models:
            # The coordinator's sentence says why this site has no part in the second pass.
            return _close(facts)
        if facts.first_pass != models:
            # Not beside a session of the first pass, which would hold memory for nothing.
            return _close(facts) or Work(kind=WorkKind.SEGMENT_COARSELY, key=models)
    if asked is not None and asked.state in (RoundState.WANTED, RoundState.TRAINING):
        return Work(kind=WorkKind.TRAIN, key=f"{asked.round} {asked.base} {asked.start_epoch}")
    if not facts.session_stands:
        # The worker's imports take seconds: it stands ready when the round comes.
        return Work(kind=WorkKind.OPEN_SESSION, key=f"{plan.sha256} {facts.fold}")
    return None


def phase_of(
    *, data: Work | None, study: Work | None, facts: StudyFacts, failed: bool
) -> SitePhase:
    """Return how a report names what this site is doing."""
    if failed:
        return SitePhase.FAILED
    step = None if facts.directive is None else facts.directive.step
    match None if study is None else study.kind:
        case WorkKind.TRAIN:
            return SitePhase.TRAINING
        case WorkKind.DELIVER | WorkKind.TELL_SPOILT | WorkKind.SEND_FINGERPRINT:
            return SitePhase.UPLOADING
        case (
            WorkKind.TAKE_PLAN
            | WorkKind.PREPARE
            | WorkKind.TELL_ACCEPTED
            | WorkKind.SEGMENT_COARSELY
        ):
            return SitePhase.PREPARING
        case _:
            pass
    if facts.paused:
        return SitePhase.PAUSED
    if data is not None and data.kind in _LOOKING_AT_DATA:
        return SitePhase.CHECKING
    if step is Step.SEND_FINGERPRINT and facts.allowed is None:
        return SitePhase.AWAITING_CONSENT
    return SitePhase.WAITING
