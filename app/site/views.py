"""The sentences and tables of the Federation and Training sections, from plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app.control.messages import (
    FederationView,
    LinkState,
    NetworkLayer,
    NetworkView,
    RoundRow,
    SiteRow,
    StudyView,
    TrafficView,
)
from app.domain.errors import safe_text
from app.domain.plans import PlanSummary
from app.domain.study import StudyTerms
from app.domain.training import StepRecord
from app.federation.alignment import Coverage
from app.site.agenda import Work, WorkKind
from app.site.context import JoinedStudy, SiteLink
from app.site.rounds import RoundState, RoundTask
from app.site.state import Plan
from app.wire.messages import Directive, RoundSummary, SitePhase, SiteSummary, Step

_TELLING_SHARE: Final = 0.05
"""Before that, a pace says more about starting up than about training."""


def study_view(joined: JoinedStudy, traffic: TrafficView | None = None) -> StudyView:
    """Return what the study is, as this site joined it."""
    terms, membership = joined.terms, joined.membership
    return StudyView(
        name=terms.name,
        purpose=terms.purpose,
        contact=terms.contact,
        coordinator=membership.urls[0],
        site=membership.site,
        words=membership.words,
        labels=joined.labels,
        method=terms.method.value,
        policy=terms.discloses,
        rounds=terms.total_rounds,
        folds=len(terms.folds),
        stages=len(terms.passes),
        epochs_per_round=terms.epochs_per_round,
        iterations_per_epoch=terms.iterations_per_epoch,
        validation_iterations=terms.validation_iterations,
        minimum_sites=terms.minimum_sites,
        traffic=traffic,
    )


def federation_view(
    *,
    joined: JoinedStudy | None,
    link: LinkState,
    link_sentence: str,
    directive: Directive | None,
    rounds: Sequence[RoundSummary],
    plan: Plan | None,
    summary: PlanSummary | None,
    coverage: Coverage | None = None,
    transfer: SiteLink | None,
    heard_at: float | None = None,
    traffic: TrafficView | None = None,
) -> FederationView:
    """Return the Federation section; a peer's words are made safe to show.

    `heard_at` is when the directive came, in seconds since the epoch; None when it was kept from
    before a restart.
    """
    if joined is None:
        return FederationView()
    here = joined.membership.site
    return FederationView(
        link=link,
        link_sentence=link_sentence,
        study=study_view(joined, traffic),
        study_state="" if directive is None else safe_text(directive.study_state),
        sentence="" if directive is None else safe_text(directive.sentence),
        sites=()
        if directive is None
        else tuple(_site_row(site, here=here, heard_at=heard_at) for site in directive.sites),
        rounds=tuple(
            RoundRow(
                number=one.number,
                contributors=one.contributors,
                train_loss=one.train_loss,
                validation_loss=one.validation_loss,
                pseudo_dice=one.pseudo_dice,
                held_out_dice=one.held_out_dice,
                held_out_cases=one.held_out_cases,
            )
            for one in rounds
        ),
        plan=summary,
        network=None if coverage is None else network_view(coverage),
        plan_digest=None if plan is None else plan.sha256,
        sent_bytes=0 if transfer is None else transfer.sent_bytes,
        received_bytes=0 if transfer is None else transfer.received_bytes,
    )


def _site_row(site: SiteSummary, *, here: str, heard_at: float | None) -> SiteRow:
    doing = _doing(site)
    away = heard_at is not None and (doing == "absent" or not site.connected) and site.silent_s
    return SiteRow(
        name=site.name,
        state=safe_text(site.state),
        connected=site.connected,
        cases=site.cases,
        round=site.round,
        epoch=site.epoch,
        step=site.step,
        steps=site.steps,
        silent_s=site.silent_s,
        here=site.name == here,
        doing=doing,
        absent_since=heard_at - site.silent_s if heard_at is not None and away else None,
    )


def _doing(site: SiteSummary) -> str:
    """Return one word for what a site does: its own of its phase while the coordinator waits."""
    if site.state in ("absent", "delivered"):
        return site.state
    if site.state == "withdrawn":
        return "left"
    if site.phase in ("preparing", "uploading", "paused", "failed"):
        return site.phase
    return "training" if site.state == "working" else safe_text(site.state)


def round_expected_at(
    directive: Directive | None,
    *,
    here: str,
    epochs_per_round: int,
    began_at: float | None,
    heard_at: float | None,
    own_end: float | None,
) -> float | None:
    """Return when every site that is waited for should be done, in seconds since the epoch.

    Each site's pace is taken from how much of the round it had done at `heard_at` since
    `began_at`; `own_end` is this site's own estimate. None when one of them cannot be told.
    """
    if directive is None or directive.step not in (Step.TRAIN, Step.WAIT):
        return None
    ends: list[float] = []
    for site in directive.sites:
        if site.state != "working":
            continue
        end = own_end if site.name == here else None
        if end is None and site.connected and began_at is not None and heard_at is not None:
            done = _share_done(site, epochs_per_round)
            end = began_at + (heard_at - began_at) / done if done >= _TELLING_SHARE else None
        if end is None:
            return None
        ends.append(end)
    return max(ends, default=None)


def _share_done(site: SiteSummary, epochs_per_round: int) -> float:
    """Return the trained share of the site's round; its epochs count over the whole study."""
    if not site.steps or not site.round or not epochs_per_round:
        return 0.0
    before = (site.round - 1) * epochs_per_round
    steps = (site.epoch - 1 - before) * site.steps + site.step
    return min(1.0, max(0.0, steps / (epochs_per_round * site.steps)))


def network_view(coverage: Coverage) -> NetworkView:
    """Return how much of this site's network goes round, for the picture of it."""
    return NetworkView(
        sentence=str(coverage),
        percent=coverage.percent,
        layers=tuple(
            NetworkLayer(
                role=layer.role.value,
                scale=layer.scale,
                weights=layer.weights,
                shared=layer.shared,
                sites=layer.sites,
            )
            for layer in coverage.layers
        ),
    )


def training_sentence(
    *,
    joined: JoinedStudy | None,
    phase: SitePhase,
    work: Work | None,
    directive: Directive | None,
    task: RoundTask | None,
    step: StepRecord | None,
    seconds_left: float | None,
    paused: bool,
    rests: str = "",
    expected: str = "",
    link: LinkState,
    problem: str,
    blocked: str,
) -> str:
    """Return the one sentence that says whether it works, how long still, and who is waited for.

    `expected` is the time of day at which the round should have every update.
    """
    if joined is None:
        return "No study is joined."
    if problem:
        return f"Stopped: {problem}."
    terms = joined.terms
    kind = None if work is None else work.kind
    if kind is WorkKind.TRAIN and task is not None:
        return _training(task, step, seconds_left, terms)
    if kind in _DOING:
        return _DOING[kind]
    if paused:
        return "Training is paused at this site; resume it when you are ready."
    if rests and (directive is None or directive.step is Step.TRAIN):
        return rests
    if directive is None:
        if link is LinkState.PENDING:
            return "Waiting for the coordinator to approve this site."
        return "Waiting for the coordinator."
    if phase is SitePhase.AWAITING_CONSENT:
        if blocked:
            return f"The fingerprint cannot be shared yet: {blocked}."
        return "Waiting for you: look at the fingerprint and allow it to be shared."
    match directive.step:
        case Step.FINISH:
            return "The study is finished; its model is ready for review."
        case Step.STOP:
            return f"The study has ended: {safe_text(directive.sentence)}"
        case Step.PAUSE:
            return "The coordinator has paused the study."
        case Step.TRAIN if task is not None:
            return _part_done(task, directive, terms, expected)
        case _:
            sentence = safe_text(directive.sentence)
            if task is not None and task.state is RoundState.DELIVERED:
                return _part_done(task, directive, terms, expected)
            return sentence or "Waiting for the coordinator."


_DOING: dict[WorkKind | None, str] = {
    WorkKind.SEND_FINGERPRINT: "Sending the allowed fingerprint.",
    WorkKind.TAKE_PLAN: "Fetching the study's plan.",
    WorkKind.PREPARE: "Preparing the images by the study's plan.",
    WorkKind.SEGMENT_COARSELY: "Segmenting this site's training cases for the second pass; what "
    "comes out stays here.",
    WorkKind.TELL_ACCEPTED: "Telling the coordinator that this site is ready.",
    WorkKind.DELIVER: "Sending this site's update.",
    WorkKind.TELL_SPOILT: "Telling the coordinator that this round gave nothing that counts.",
    WorkKind.TAKE_MODEL: "Fetching the final model.",
    WorkKind.EXPORT: "Writing the final model so that it can segment here.",
    WorkKind.EXPORT_PERSONAL: "Writing this site's own model so that it can segment here.",
    WorkKind.SCORE_MODEL: "Scoring the final model on the cases that were held out here.",
    WorkKind.TELL_SCORE: "Telling the coordinator how the final model does here.",
    WorkKind.EXPORT_BEST: "Taking the study's best average so that it can segment here.",
}


def _training(
    task: RoundTask, step: StepRecord | None, seconds_left: float | None, terms: StudyTerms
) -> str:
    sentence = f"{terms.place_of(task.round).title}: training"
    if step is not None and step.round == task.round:
        sentence += f", {step.step} of {step.steps_per_epoch} iterations"
        if seconds_left is not None:
            sentence += f", {_duration(seconds_left)} left"
    return sentence + "."


def _part_done(task: RoundTask, directive: Directive, terms: StudyTerms, expected: str) -> str:
    place = terms.place_of(task.round).title
    if task.state is RoundState.TOLD:
        return f"{place}: this site gave no update; it goes on with the next."
    late = [site.name for site in directive.sites if site.state == "working"]
    if not late:
        return f"{place}: your part is done, waiting for the average."
    return (
        f"{place}: your part is done, waiting for {len(late)} of "
        f"{len(directive.sites)} sites{', expected ' if expected else ''}{expected}."
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
