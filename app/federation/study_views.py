"""What a site is told to do, and what people see of a study: pure functions of its record."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from app.domain.folds import ALL_FOLDS
from app.domain.ids import SiteName, StudyId
from app.domain.rounds import BlobRef, GlobalModel
from app.domain.study import Method, StudyTerms
from app.federation.best_round import best_round, held_out_cases, held_out_dice
from app.federation.round_machine import RoundState
from app.federation.site_machine import SiteState
from app.federation.study_machine import StudyState
from app.federation.study_record import ClosedRound, OpenRound, Presence, SiteRecord, StudyRecord

_TOLD_CHARACTERS: Final = 300
_TOLD_SITES: Final = 250
_TOLD_ROUNDS: Final = 50
_TOLD_ROUNDS_BYTES: Final = 20_000

Presences = Mapping[SiteName, Presence]


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
    phase: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSummary:
    """One closed round and the case-weighted figures of its updates."""

    number: int
    contributors: tuple[SiteName, ...]
    train_loss: float
    validation_loss: float | None
    pseudo_dice: tuple[float | None, ...]
    held_out_dice: tuple[float | None, ...] = ()
    held_out_cases: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldEnd:
    """What a finished study leaves of one fold: its last average, and the best if it is another.

    `merged` is what a site shares of it, in asymmetric averaging. `stage` counts passes from 0.
    """

    fold: str
    model: BlobRef
    stage: int = 0
    score_wanted: bool = False
    best: BlobRef | None = None
    best_round: int = 0
    merged: BlobRef | None = None


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
    score_base: bool = False
    score_wanted: bool = False
    best: BlobRef | None = None
    best_round: int = 0
    folds: tuple[FoldEnd, ...] = ()


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
    """The whole study as its coordinator sees it. `round` is the open round, 0 when none is.

    `best_rounds` has the best of each fold, as far as it is known; `opened_from` is the average that
    the open round began from, None where that is a first model.
    """

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
    best_round: int | None = None
    folds: int = 1
    stages: int = 1
    best_rounds: tuple[int | None, ...] = ()
    opened_from: BlobRef | None = None


def instruction(
    terms: StudyTerms, record: StudyRecord, presence: Presences, site: SiteName, now: float
) -> Instruction:
    """What this site should do now; STOP for one that is no member."""
    member = next((one for one in record.sites if one.name == site), None)
    summaries = _summaries(record, presence, now)
    if len(summaries) > _TOLD_SITES:
        here = tuple(one for one in summaries if one.name == site)
        others = tuple(one for one in summaries if one.name != site)
        summaries = (*here, *others)[:_TOLD_SITES]
    plain = Instruction(
        serial=record.serial,
        step=Step.WAIT,
        study_state=_state_text(record),
        sentence=_short(_sentence(terms, record)),
        sites=summaries,
        closed_rounds=_newest_rounds(record.closed),
        rounds=terms.total_rounds,
    )
    if member is None or member.state is SiteState.WITHDRAWN:
        return replace(
            plain,
            step=Step.STOP,
            sentence="This site does not take part in the study.",
            sites=(),
            closed_rounds=(),
        )
    asymmetric = terms.method is Method.ASYM
    share = record.share_of(site)
    plan = record.plan_of(member, terms.method)
    merged = share.part if share else None
    plain = replace(plain, plan=plan, merged=merged if asymmetric else record.merged)
    if record.state is StudyState.STOPPED:
        return replace(plain, step=Step.STOP)
    if record.state is StudyState.FINISHED:
        return _finish(plain, terms, record, site)
    if record.paused:
        return replace(plain, step=Step.PAUSE)
    if record.state in (StudyState.ENROLLING, StudyState.FINGERPRINTING):
        if member.fingerprint is None:
            return replace(plain, step=Step.SEND_FINGERPRINT)
        return plain
    if asymmetric and member.fingerprint is None:
        return replace(plain, step=Step.SEND_FINGERPRINT)
    if plan is None:
        return plain
    if record.stage(terms):
        # What the second pass reads was made with the models that the first one ended with.
        plain = replace(plain, folds=_first_pass(terms, record, site))
    if member.prepared != plan.sha256:
        if member.refused_plan:
            reason = member.problem_sentence or "it refused the plan"
            return replace(
                plain, sentence=_short(f"This site waits and takes part in no round: {reason}.")
            )
        return replace(plain, step=Step.PREPARE)
    if record.lacks_first_pass(site, terms):
        return replace(
            plain,
            sentence="This site came after a fold of the first pass had ended, so it has no model "
            "that could segment its images for the second pass, and takes part in no round of it.",
        )
    ask = record.round.ask_of(site) if record.round else None
    if record.round is None or ask is None or member.state is not SiteState.WORKING:
        return plain
    return replace(
        plain,
        step=Step.TRAIN,
        base=record.base_of(site, terms),
        round=record.round.number,
        attempt=ask.attempt,
        start_epoch=(record.round.number - 1) * terms.epochs_per_round,
        score_base=not terms.place_of(record.round.number).begins
        and _is_scored(terms, record.round.number - 1),
    )


def _is_scored(terms: StudyTerms, number: int) -> bool:
    """Tell whether sites score the average of a round before they train on from it."""
    if not terms.score_every or terms.fold == ALL_FOLDS or number < 1:
        return False
    place = terms.place_of(number)
    return place.round % terms.score_every == 0 or place.ends


def _finish(
    plain: Instruction, terms: StudyTerms, record: StudyRecord, site: SiteName
) -> Instruction:
    """Tell a site what a finished study leaves of every fold that it can have a model of."""
    ends = _ends(terms, record, site, len(terms.trainings))
    plain = replace(plain, step=Step.FINISH, model=ends[-1].model if ends else None)
    if len(terms.trainings) > 1:
        return replace(plain, folds=ends)
    return (
        plain
        if not ends
        else replace(
            plain,
            score_wanted=ends[0].score_wanted,
            best=ends[0].best,
            best_round=ends[0].best_round,
        )
    )


def _first_pass(terms: StudyTerms, record: StudyRecord, site: SiteName) -> tuple[FoldEnd, ...]:
    """Return what the folds of a cascade's first pass leave a site; nothing unless it is all of them."""
    ends = _ends(terms, record, site, len(terms.folds))
    if len(ends) < len(terms.folds):
        return ()
    # The site needs their models; how they do is asked at the end.
    return tuple(replace(end, score_wanted=False, best=None, best_round=0) for end in ends)


def _ends(
    terms: StudyTerms, record: StudyRecord, site: SiteName, count: int
) -> tuple[FoldEnd, ...]:
    """Return what the first `count` trainings leave a site, as far as it can have a model of them."""
    found = (_end_of_fold(terms, record, site, index) for index in range(count))
    return tuple(end for end in found if end is not None)


def _end_of_fold(
    terms: StudyTerms, record: StudyRecord, site: SiteName, index: int
) -> FoldEnd | None:
    """Return what a fold leaves a site: the last average, and the best if it is another.

    In asymmetric averaging an earlier average is no use to a site, whose own layers went on.
    """
    model = record.last_of_fold(site, index, terms)
    if model is None:
        return None
    closed = record.closed_of_fold(index, terms)
    final = closed[-1]
    wanted = _is_scored(terms, final.model.round) and all(one.site != site for one in final.scores)
    training = terms.trainings[index]
    end = FoldEnd(fold=training.fold, stage=training.stage, model=model, score_wanted=wanted)
    if terms.method is Method.ASYM:
        share = record.last_share(site, index)
        return replace(end, merged=None if share is None else share.part)
    if training.stage + 1 < len(terms.passes):
        # The second pass learned from what the last averages of the first made, and from no other.
        return replace(end, best=model, best_round=final.model.round)
    best = best_round(closed, minimum_sites=terms.minimum_sites)
    # Before the last average is scored as well nobody knows which one is the best.
    if best is None or len(final.scores) < terms.minimum_sites:
        return end
    return replace(end, best=best.model.weights, best_round=best.model.round)


def best_of_folds(terms: StudyTerms, record: StudyRecord) -> tuple[ClosedRound | None, ...]:
    """Return the round of each fold whose average does best, as far as it is known.

    Of a cascade's first pass that is the last one: the second pass learned from what it made.
    """
    return tuple(
        _last_of(record.closed_of_fold(index, terms), terms)
        if training.stage + 1 < len(terms.passes)
        else best_round(record.closed_of_fold(index, terms), minimum_sites=terms.minimum_sites)
        for index, training in enumerate(terms.trainings)
    )


def _last_of(closed: tuple[ClosedRound, ...], terms: StudyTerms) -> ClosedRound | None:
    return closed[-1] if len(closed) == terms.rounds else None


def status(terms: StudyTerms, record: StudyRecord, presence: Presences, now: float) -> StudyStatus:
    """Everything the coordinator's people may see."""
    best = [None if one is None else one.model.round for one in best_of_folds(terms, record)]
    statuses = []
    for site, summary in zip(record.sites, _summaries(record, presence, now), strict=True):
        here = presence.get(site.name)
        report = here.report if here else None
        problem = site.problem or (report.problem if report else None) or ""
        statuses.append(
            SiteStatus(
                summary=summary,
                has_fingerprint=site.fingerprint is not None,
                fingerprint_cases=site.fingerprint_cases,
                phase=report.phase if report else "",
                problem=problem,
                problem_sentence=site.problem_sentence,
            )
        )
    return StudyStatus(
        study=record.study,
        name=terms.name,
        serial=record.serial,
        state=_state_text(record),
        sentence=_sentence(terms, record),
        sites=tuple(statuses),
        round=record.round.number if record.round else 0,
        rounds=terms.total_rounds,
        plan=record.plan,
        merged=record.merged,
        closed_rounds=tuple(_round_summary(one) for one in record.closed),
        models=tuple(one.model for one in record.closed),
        model=record.closed[-1].model.weights if record.closed else None,
        best_round=best[0] if len(best) == 1 else None,
        folds=len(terms.folds),
        stages=len(terms.passes),
        best_rounds=tuple(best),
        opened_from=None
        if record.round is None or terms.place_of(record.round.number).begins
        else record.round.base,
    )


def _summaries(record: StudyRecord, presence: Presences, now: float) -> tuple[SiteSummary, ...]:
    summaries = []
    for site in record.sites:
        here = presence.get(site.name)
        report = here.report if here else None
        summaries.append(
            SiteSummary(
                name=site.name,
                state=site.state.value,
                connected=here is not None and here.connected,
                cases=site.cases or site.fingerprint_cases,
                round=report.round if report else 0,
                epoch=report.epoch if report else 0,
                step=report.step if report else 0,
                steps=report.steps if report else 0,
                silent_s=max(0, int(now - here.heard_s)) if here else 0,
                phase=report.phase if report else "",
            )
        )
    return tuple(summaries)


def _sentence(terms: StudyTerms, record: StudyRecord) -> str:
    members = record.members
    if record.state is StudyState.STOPPED:
        return "The study was stopped."
    if record.state is StudyState.FINISHED:
        folds = f"{len(terms.folds)} folds, " if len(terms.folds) > 1 else ""
        if len(terms.passes) > 1:
            folds = f"{len(terms.passes)} passes of {folds}"
        return f"The study is finished: {folds}{terms.total_rounds} rounds are closed."
    if record.paused:
        return record.paused_because or "The coordinator has paused the study."
    if record.state is StudyState.FAILED:
        return record.failure
    if record.state in (StudyState.ENROLLING, StudyState.FINGERPRINTING):
        sent = sum(site.fingerprint is not None for site in members)
        text = f"{sent} of {_sites(len(members))} sent a fingerprint"
        if record.state is StudyState.ENROLLING:
            return f"Sites are joining: {text}."
        if len(members) < terms.minimum_sites:
            return f"{text}; the study needs {_sites(terms.minimum_sites)}."
        return f"Waiting for fingerprints: {text}."
    if record.state is StudyState.PLANNING:
        return f"Planning from {_sites(len(record.roster))} and their images' fingerprints."
    ready = sum(site.state is SiteState.READY for site in members)
    if record.round is None:
        number = len(record.closed) + 1
        needed = terms.minimum_sites
        text = f"{ready} of {_sites(len(members))} ready"
        if ready < needed:
            text += f", {needed} needed"
        return f"{terms.place_of(number).title} opens soon: {text}."
    return _round_sentence(terms, record.round, members)


def _round_sentence(terms: StudyTerms, opened: OpenRound, members: tuple[SiteRecord, ...]) -> str:
    head = f"{terms.place_of(opened.number).title}: "
    if opened.state is RoundState.AVERAGING:
        return head + f"averaging the updates of {_sites(len(opened.updates))}."
    outstanding = sum(site.state is SiteState.WORKING for site in members)
    asked = outstanding + len(opened.updates)
    absent = sum(site.state is SiteState.ABSENT for site in members)
    tail = f"; {absent} absent" if absent else ""
    if outstanding:
        return head + f"waiting for {outstanding} of {_sites(asked)}{tail}."
    missing = terms.minimum_sites - len(opened.updates)
    return head + f"{_sites(missing)} more needed to go on{tail}."


def _round_summary(closed: ClosedRound) -> RoundSummary:
    return RoundSummary(
        number=closed.model.round,
        contributors=tuple(site for site, _ in closed.model.contributors),
        train_loss=closed.train_loss,
        validation_loss=closed.validation_loss,
        pseudo_dice=closed.pseudo_dice,
        held_out_dice=held_out_dice(closed),
        held_out_cases=held_out_cases(closed),
    )


def _newest_rounds(closed: tuple[ClosedRound, ...]) -> tuple[RoundSummary, ...]:
    """Return as many of the newest rounds as leave room in one control message."""
    room = _TOLD_ROUNDS_BYTES
    told: list[RoundSummary] = []
    for one in reversed(closed[-_TOLD_ROUNDS:]):
        summary = _round_summary(one)
        room -= 100 + sum(len(site) + 2 for site in summary.contributors)
        room -= 9 * (len(summary.pseudo_dice) + len(summary.held_out_dice))
        if room < 0 and told:
            break
        told.append(summary)
    return tuple(reversed(told))


def _short(sentence: str) -> str:
    """Cut a sentence to what a control message holds."""
    return sentence if len(sentence) <= _TOLD_CHARACTERS else sentence[: _TOLD_CHARACTERS - 1] + "…"


def _state_text(record: StudyRecord) -> str:
    return "paused" if record.paused else record.state.value


def _sites(number: int) -> str:
    return "1 site" if number == 1 else f"{number} sites"
