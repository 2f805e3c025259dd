"""Federation: before joining the invitation, afterwards the study, its sites and rounds."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from app.control.messages import (
    FederationView,
    InvitationView,
    LinkState,
    Snapshot,
    TrafficView,
)
from app.ui import text
from app.ui.models.doctor import DoctorLine, DoctorState
from app.ui.models.network import NetworkState
from app.ui.models.rows import Table
from app.ui.presenters.fingerprint import POLICY_SENTENCES, plan_facts
from app.ui.presenters.network import present_network
from app.ui.presenters.parts import LINK_WORDS, Badge, Fact, Progress, failure_of, progress_of
from app.ui.presenters.study_tables import rounds_table, sites_table
from app.ui.text import (
    Tone,
    count,
    duration,
    length,
    moment,
    sentence_case,
    site_title,
    size,
)

DOCTOR_SIGNS: Final = {
    "ok": ("check", Tone.GOOD),
    "warning": ("warning", Tone.WARNING),
    "failed": ("problem", Tone.DANGER),
    "skipped": ("waiting", Tone.NEUTRAL),
}
ASYMMETRIC: Final = "asymfedavg"
METHOD_WORDS: Final = {
    "ffe": "One common plan, all layers averaged",
    ASYMMETRIC: "Own plan at each site, common layers averaged",
}
TRANSFER_WORDS: Final = {
    "fp32": "all weights, 4 bytes each",
    "fp16": "changes of weights, 2 bytes each",
    "int8": "changes of weights, 1 byte each",
}


class InvitationState(Struct, frozen=True, kw_only=True):
    """An invitation that was read, before anything is joined."""

    path: str
    title: str
    facts: tuple[Fact, ...]
    sharing: str
    problem: str
    remedy: str
    can_join: bool
    can_measure: bool
    """Whether a few measured steps would tell when the study ends here."""


class FederationState(Struct, frozen=True, kw_only=True):
    """What the Federation page draws; `study_title` is empty before joining."""

    attached: bool
    study_title: str
    purpose: str
    sentence: str
    facts: tuple[Fact, ...]
    words: str
    link: Badge
    link_sentence: str
    sites: Table
    rounds: Table
    plan: tuple[Fact, ...]
    plan_title: str
    network: NetworkState
    traffic: str
    doctor: DoctorState
    pause: PauseState
    come_back: str
    measuring: Progress | None
    """A measurement of this computer that runs."""
    unmeasured: str
    """Why the last one failed."""


class PauseState(Struct, frozen=True, kw_only=True):
    """The button that takes this site out of the rounds for a while; no text, no button."""

    text: str = ""
    resumes: bool = False


def present_invitation(path: str, view: InvitationView, *, now: float) -> InvitationState:
    """Return an invitation as the operator reads it before joining."""
    until = f"{moment(view.expires_at)}"
    if view.expires_at > now:
        until += f" ({duration(view.expires_at - now)} from now)"
    return InvitationState(
        path=path,
        title=view.study,
        facts=(
            Fact(name="Purpose", value=view.purpose),
            Fact(name="Who runs it", value=view.contact),
            Fact(name="Coordinator", value=view.coordinator),
            Fact(name="This site is called", value=site_title(view.site)),
            Fact(name="How it trains", value=method_words(view.method)),
            Fact(name="Length", value=length(view.rounds, view.folds, view.stages)),
            *traffic_facts(view.traffic),
            Fact(name="Valid until", value=until),
        ),
        sharing=POLICY_SENTENCES.get(view.policy, ""),
        problem=sentence_case(view.problem),
        remedy=view.remedy,
        can_join=not view.problem,
        can_measure=not view.problem
        and view.traffic is not None
        and view.traffic.finish_at is None,
    )


def traffic_facts(view: TrafficView | None) -> tuple[Fact, ...]:
    """Return what the study moves over this site's line, and when it would end here."""
    if view is None:
        return ()
    upto = "up to " if view.estimated else ""
    ends = "Not known yet: this computer's pace has not been measured"
    if view.finish_at is not None:
        ends = f"{moment(view.finish_at)} at this computer's pace; waiting for others comes on top"
    return (
        Fact(
            name="Each round",
            value=f"Sends {upto}{size(view.round_up)}, receives {upto}{size(view.round_down)} "
            f"({TRANSFER_WORDS.get(view.transfer, view.transfer)})",
        ),
        Fact(
            name="Whole study",
            value=f"Sends {upto}{size(view.study_up)}, receives {upto}{size(view.study_down)}",
        ),
        Fact(name="Ends", value=ends),
    )


def present_doctor(view: FederationView, *, attached: bool) -> DoctorState:
    """Return what the connection doctor found, in the order of the layers."""
    lines = []
    for row in view.doctor:
        icon, tone = DOCTOR_SIGNS.get(row.state, ("info", Tone.NEUTRAL))
        lines.append(
            DoctorLine(
                step=row.step,
                state=row.state,
                icon=icon,
                tone=tone,
                sentence=sentence_case(row.sentence),
                remedy=row.remedy,
            )
        )
    hint = ""
    if view.doctor_running:
        hint = text.DOCTOR_RUNS
    elif not lines:
        hint = text.DOCTOR_HINT
    return DoctorState(
        hint=hint,
        lines=tuple(lines),
        ticket=view.doctor_ticket,
        can_run=attached and not view.doctor_running,
    )


def method_words(method: str) -> str:
    """Return the method in plain words."""
    return METHOD_WORDS.get(method.casefold(), method)


def present_federation(snapshot: Snapshot | None) -> FederationState:
    """Return what the Federation page draws."""
    view = snapshot.federation if snapshot is not None else FederationView()
    link_text, tone = LINK_WORDS[view.link]
    measurement = None if snapshot is None else snapshot.training.calibration_job
    study = view.study
    facts: tuple[Fact, ...] = ()
    if study is not None:
        facts = (
            Fact(name="Run by", value=study.contact),
            Fact(name="Coordinator", value=study.coordinator),
            Fact(name="This site", value=site_title(study.site)),
            Fact(name="How it trains", value=method_words(study.method)),
            Fact(
                name="Length",
                value=f"{length(study.rounds, study.folds, study.stages)}, "
                f"{count(study.epochs_per_round, 'epoch')} each, "
                f"{count(study.iterations_per_epoch, 'step')} per epoch",
            ),
            Fact(name="Begins with", value=f"{count(study.minimum_sites, 'site')} or more"),
            *traffic_facts(study.traffic),
        )
    return FederationState(
        attached=snapshot is not None,
        study_title=study.name if study is not None else "",
        purpose=study.purpose if study is not None else "",
        sentence=sentence_case(view.sentence),
        facts=facts,
        words=study.words if study is not None else "",
        link=Badge(text=link_text, tone=tone),
        link_sentence=sentence_case(view.link_sentence),
        sites=sites_table(view),
        doctor=present_doctor(view, attached=snapshot is not None),
        rounds=rounds_table(view),
        plan=plan_facts(view.plan, view.plan_digest),
        plan_title=text.OWN_PLAN
        if study is not None and study.method == ASYMMETRIC
        else text.COMMON_PLAN,
        network=present_network(view.network),
        traffic=f"Sent {size(view.sent_bytes)}, received {size(view.received_bytes)}",
        pause=pause_of(snapshot),
        come_back=text.COME_BACK if view.link is LinkState.REFUSED else "",
        measuring=progress_of(measurement),
        unmeasured=failure_of(measurement),
    )


def pause_of(snapshot: Snapshot | None) -> PauseState:
    """Return what the pause button offers: a refused site can only be tried again or leave."""
    if snapshot is None or snapshot.federation.study is None:
        return PauseState()
    if snapshot.federation.link is LinkState.REFUSED:
        return PauseState(text="Try again", resumes=True)
    training = snapshot.training
    if training.paused:
        return PauseState(text="Resume", resumes=True)
    if training.pausing:
        return PauseState(text="Do not pause", resumes=True)
    return PauseState(text="Pause…")
