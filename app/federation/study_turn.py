"""One event's work on a study: note what it says, then draw every conclusion from it.

Rules of rounds: a round asks every ready site, closes when all that were asked delivered, and does
not wait for a site that showed no progress for the study's deadline, as long as `minimum_sites`
delivered. Such a site is absent, visibly, until it shows progress again; then it is asked to join
the present round from the present model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from app.domain.errors import ErrorCode, OurMistake, safe_text
from app.domain.ids import Digest, SiteName
from app.domain.rounds import BlobRef, GlobalModel, ModelUpdate
from app.domain.study import Method, StudyTerms
from app.domain.training import HeldOutScore
from app.federation import round_machine, site_machine, study_machine
from app.federation.best_round import (
    case_weighted_mean,
    case_weighted_means,
    is_plausible,
    with_score,
)
from app.federation.round_machine import RoundEvent, RoundState
from app.federation.site_machine import SiteEvent, SiteState
from app.federation.study_events import (
    AlignSites,
    AverageRound,
    AveragingFailed,
    Begin,
    DropSession,
    Effect,
    Event,
    FingerprintArrived,
    Left,
    MergeAndPlan,
    ModelScored,
    Pause,
    PlanAccepted,
    PlanMade,
    PlanningFailed,
    PlanRefused,
    Refused,
    Resume,
    Revoked,
    RoundAveraged,
    SiteAdmitted,
    SiteConnected,
    SiteDisconnected,
    SiteReport,
    SiteReported,
    SitesAligned,
    SiteShare,
    Stop,
    StudyFinished,
    TellSites,
    Tick,
    UpdateArrived,
    UpdateFailed,
    UploadProgressed,
)
from app.federation.study_machine import StudyEvent, StudyState
from app.federation.study_record import (
    Ask,
    ClosedRound,
    OpenRound,
    Presence,
    SiteRecord,
    StudyRecord,
)

MAXIMUM_TRIES: Final = 3
"""How often a site may fail in one round before a round without quorum pauses the study."""
DISCONNECTED_GRACE_S: Final = 600.0
"""How long the first round waits for a site that lost its line while it prepared."""
_PREPARED_PHASES: Final = frozenset({"waiting", "training", "uploading"})
_OVER: Final = frozenset({StudyState.FINISHED, StudyState.STOPPED})


class UnexpectedStudyEvent(OurMistake):
    """Raised when our own service tells a study something that cannot have happened."""

    def __init__(self, state: StudyState, event: Event, reason: str) -> None:
        super().__init__(
            f"a study that is {state.value} cannot take {type(event).__name__}: {reason}"
        )
        self.state, self.event, self.reason = state, event, reason


class Turn:
    """One event's work on a copy of the state; nothing of it is seen until `Study` takes it."""

    def __init__(
        self,
        terms: StudyTerms,
        record: StudyRecord,
        presence: dict[SiteName, Presence],
        now: float,
    ) -> None:
        self.terms = terms
        self.record = record
        self.now = now
        self.presence = dict(presence)
        self.sites = {site.name: site for site in record.sites}
        self.effects: list[Effect] = []
        for name in self.sites:
            if name not in self.presence:
                self.presence[name] = Presence(
                    connected=False, report=None, heard_s=now, progress_s=now
                )

    def take(self, event: Event) -> None:
        """Note what the event says; what follows from it is `settle`'s part."""
        match event:
            case SiteAdmitted():
                self._admitted(event.site)
            case SiteConnected():
                if self._known(event.site):
                    self._seen(event.site, connected=True)
                    self._progressed(event.site)
                    self.effects.append(TellSites(sites=(event.site,)))
            case SiteDisconnected():
                if event.site in self.sites:
                    self._see(event.site, connected=False)
            case SiteReported():
                self._reported(event)
            case UploadProgressed():
                if self._known(event.site):
                    self._seen(event.site)
                    self._progressed(event.site)
            case Left():
                self._withdraw(event.site)
            case Revoked():
                if event.site in self.sites:
                    self._withdraw(event.site)
                    self.effects.append(
                        DropSession(
                            site=event.site,
                            code=ErrorCode.REVOKED,
                            sentence="The coordinator has excluded this site from the study.",
                        )
                    )
            case FingerprintArrived():
                self._fingerprint_arrived(event)
            case PlanMade():
                self._plan_made(event)
            case SitesAligned():
                self._sites_aligned(event)
            case PlanningFailed():
                self._planning_failed(event)
            case PlanAccepted():
                self._plan_accepted(event)
            case PlanRefused():
                self._plan_refused(event)
            case UpdateArrived():
                self._update_arrived(event.update)
            case ModelScored():
                self._model_scored(event)
            case UpdateFailed():
                self._update_failed(event)
            case RoundAveraged():
                self._round_averaged(event)
            case AveragingFailed():
                self._averaging_failed(event)
            case Begin():
                self._begin(event)
            case Pause():
                if self.record.state not in _OVER and not self.record.paused:
                    self.record = replace(self.record, paused=True, paused_because="")
            case Resume():
                self._resume()
            case Stop():
                if self.record.state not in _OVER:
                    self._move(StudyEvent.STOPPED)
                    self.record = replace(self.record, paused=False, paused_because="")
            case Tick():
                # Asked for again until it is done: the work on it may have failed.
                self._align_late_sites()

    def settle(self) -> None:
        """Draw every conclusion that the present state and time allow."""
        if not self._at_work():
            return
        self._miss_silent_sites()
        before = None
        while before != (self.record, self.sites) and self._at_work():
            before = (self.record, dict(self.sites))
            if self.record.state is StudyState.FINGERPRINTING:
                self._try_to_plan()
            if self.record.state in (StudyState.PREPARING, StudyState.TRAINING):
                if self.record.round is None:
                    self._try_to_open()
                elif self.record.round.state is RoundState.COLLECTING:
                    self._try_to_average(self.record.round)

    def finish(self) -> StudyRecord:
        """Return the record with the sites as they are now."""
        return replace(self.record, sites=tuple(self.sites.values()))

    def _at_work(self) -> bool:
        return not self.record.paused and self.record.state not in _OVER

    # --- membership ----------------------------------------------------------------------------

    def _admitted(self, name: SiteName) -> None:
        site = self.sites.get(name)
        if site is None:
            self.sites[name] = SiteRecord(name=name)
        elif site.state is SiteState.WITHDRAWN:
            state = site_machine.advance(site.state, SiteEvent.READMITTED)
            self.sites[name] = SiteRecord(name=name, state=state)
        if name not in self.presence:
            self.presence[name] = Presence(
                connected=False, report=None, heard_s=self.now, progress_s=self.now
            )

    def _known(self, name: SiteName) -> bool:
        """Tell whether a site takes part; refuse what it sent when it does not."""
        site = self.sites.get(name)
        if site is not None and site.state is not SiteState.WITHDRAWN:
            return True
        self._refuse(name, ErrorCode.REVOKED, "this site does not take part in the study")
        return False

    def _withdraw(self, name: SiteName) -> None:
        site = self.sites.get(name)
        if site is None or site.state is SiteState.WITHDRAWN:
            return
        self.sites[name] = SiteRecord(
            name=name, state=site_machine.advance(site.state, SiteEvent.LEFT)
        )
        self.record = replace(
            self.record,
            shares=tuple(one for one in self.record.shares if one.site != name),
            fold_shares=tuple(
                tuple(one for one in shares if one.site != name)
                for shares in self.record.fold_shares
            ),
        )
        if self.record.state is StudyState.PLANNING and name in self.record.roster:
            self._move(StudyEvent.FINGERPRINT_MISSING)
            self.record = replace(self.record, roster=())
        opened = self.record.round
        if opened is not None:
            delivered = any(update.site == name for update in opened.updates)
            opened = replace(
                opened,
                asks=tuple(ask for ask in opened.asks if ask.site != name),
                updates=tuple(update for update in opened.updates if update.site != name),
            )
            if delivered and opened.state is RoundState.AVERAGING:
                opened = _moved(opened, RoundEvent.UPDATE_WITHDRAWN)
            self.record = replace(self.record, round=opened)

    # --- presence ------------------------------------------------------------------------------

    def _see(
        self,
        name: SiteName,
        *,
        connected: bool | None = None,
        report: SiteReport | None = None,
        progress: bool = False,
    ) -> None:
        """Note that a site was heard of; `None` leaves what was known."""
        known = self.presence[name]
        self.presence[name] = Presence(
            connected=known.connected if connected is None else connected,
            report=known.report if report is None else report,
            heard_s=self.now,
            progress_s=self.now if progress else known.progress_s,
        )

    def _seen(self, name: SiteName, *, connected: bool | None = None) -> None:
        self._see(name, connected=connected)

    def _progressed(self, name: SiteName) -> None:
        """Give a site a fresh deadline, and take it back when it was absent."""
        self._see(name, progress=True)
        site = self.sites[name]
        if site.state is not SiteState.ABSENT:
            return
        plan = self.record.plan_of(site, self.terms.method)
        if plan is None or site.prepared != plan.sha256:
            self._move_site(name, SiteEvent.RETURNED_JOINED)
            return
        self._move_site(name, SiteEvent.RETURNED_READY)
        opened = self._under_way()
        if opened is not None and opened.state is RoundState.COLLECTING and self._has_base(name):
            self._ask(name)

    def _reported(self, event: SiteReported) -> None:
        if not self._known(event.site):
            return
        before = self.presence[event.site].report
        self._see(event.site, report=event.report)
        if event.report != before:
            self._progressed(event.site)
        plan = self.record.plan_of(self.sites[event.site], self.terms.method)
        if (
            plan is not None
            and self.record.state in (StudyState.PREPARING, StudyState.TRAINING)
            and self.sites[event.site].state is SiteState.JOINED
            and event.report.plan == plan.sha256
            and min((event.report.training_cases, *event.report.fold_cases)) > 0
            and self._says_each_fold(event.report.fold_cases)
            and event.report.phase in _PREPARED_PHASES
        ):
            # Its PlanAccepted was lost on the way; the report says the same.
            self._prepared(
                event.site, plan.sha256, event.report.training_cases, event.report.fold_cases
            )

    def _miss_silent_sites(self) -> None:
        limit_s = self.terms.progress_deadline_minutes * 60
        first = self.record.state is StudyState.PREPARING
        for name, site in tuple(self.sites.items()):
            waited_for = site.state is SiteState.WORKING or (
                first and site.state is SiteState.JOINED and not site.refused_plan
            )
            if waited_for and self.now - self.presence[name].progress_s >= limit_s:
                self._move_site(name, SiteEvent.MISSED)

    # --- fingerprints and plan -----------------------------------------------------------------

    def _begin(self, event: Begin) -> None:
        if self.record.state is StudyState.ENROLLING:
            self._move(StudyEvent.BEGUN)
        if event.without_missing and self.record.state is StudyState.FINGERPRINTING:
            self.record = replace(self.record, without_missing=True)

    def _fingerprint_arrived(self, event: FingerprintArrived) -> None:
        if not self._known(event.site):
            return
        self._progressed(event.site)
        site = self.sites[event.site]
        if site.fingerprint is not None:
            if site.fingerprint != event.fingerprint:
                self._refuse(
                    event.site,
                    ErrorCode.FINGERPRINT_REFUSED,
                    "another fingerprint of this site is kept already; one is used per study",
                )
        elif (
            self.record.state not in (StudyState.ENROLLING, StudyState.FINGERPRINTING)
            and self.terms.method is not Method.ASYM
        ):
            self._refuse(
                event.site,
                ErrorCode.STUDY_STATE,
                "the study is planned already; this site joins with the plan as it is",
            )
        elif event.fingerprint.sha256 == site.rejected:
            self._refuse(
                event.site,
                ErrorCode.FINGERPRINT_REFUSED,
                site.problem_sentence or "this fingerprint did not fit the study",
            )
        elif event.cases < self.terms.minimum_cases:
            self._refuse(
                event.site,
                ErrorCode.TOO_FEW_CASES,
                f"a fingerprint of {event.cases} cases is below the study's minimum of "
                f"{self.terms.minimum_cases}",
            )
        else:
            self.sites[event.site] = replace(
                self.sites[event.site],
                fingerprint=event.fingerprint,
                fingerprint_cases=event.cases,
                problem="",
                problem_sentence="",
            )
            self._align_late_sites()

    def _align_late_sites(self) -> None:
        """Have the shares of sites made that sent their network after the others were aligned."""
        if self.record.plan is not None and self.record.state not in _OVER:
            effect = align_sites(self.finish(), self.terms)
            if effect is not None:
                self.effects.append(effect)

    def _sites_aligned(self, event: SitesAligned) -> None:
        if self.record.state in _OVER:
            return
        if event.model == self.record.base(self.terms):
            new = [one for one in event.shares if self.record.share_of(one.site) is None]
            self._take_shares((*self.record.shares, *new))
        # A round closed meanwhile, or another site came: what is missing is made anew.
        self._align_late_sites()

    def _take_shares(self, shares: Iterable[SiteShare]) -> None:
        """Keep the shares of sites that still take part with the network they were made for."""
        networks = dict(self.finish().networks)
        valid = [share for share in shares if networks.get(share.site) == share.network]
        self.record = replace(
            self.record, shares=tuple(sorted(valid, key=lambda share: share.site))
        )

    def _try_to_plan(self) -> None:
        members = [site for site in self.sites.values() if site.state is not SiteState.WITHDRAWN]
        sent = [site for site in members if site.fingerprint is not None]
        complete = len(sent) == len(members) or self.record.without_missing
        if not complete or len(sent) < self.terms.minimum_sites:
            return
        self._move(StudyEvent.FINGERPRINTS_COMPLETE)
        self.record = replace(
            self.record,
            planning=self.record.planning + 1,
            roster=tuple(sorted(site.name for site in sent)),
            failure="",
        )
        self.effects.append(merge_and_plan(self.finish()))

    def _plan_made(self, event: PlanMade) -> None:
        record = self.record
        if event.attempt > record.planning:
            raise UnexpectedStudyEvent(record.state, event, "no such planning was asked for")
        if 1 + len(event.later_bases) != len(self.terms.trainings):
            raise UnexpectedStudyEvent(record.state, event, "every fold needs a first model")
        if event.attempt < record.planning or record.state is StudyState.STOPPED:
            return
        if record.state is StudyState.PLANNING:
            self._move(StudyEvent.PLANNED)
            self.record = replace(
                self.record,
                plan=event.plan,
                merged=event.merged,
                first_model=event.base,
                later_first_models=event.later_bases,
            )
            self._take_shares(event.shares)
            self._align_late_sites()
            for name in self.sites:
                self._see_progress_of(name)
        elif record.plan is not None and record.plan != event.plan:
            raise UnexpectedStudyEvent(record.state, event, "another plan was made already")

    def _planning_failed(self, event: PlanningFailed) -> None:
        record = self.record
        if event.attempt > record.planning:
            raise UnexpectedStudyEvent(record.state, event, "no such planning was asked for")
        if event.attempt < record.planning or record.state is not StudyState.PLANNING:
            return
        sentence = safe_text(event.sentence)
        if event.site is None:
            self._move(StudyEvent.PLANNING_FAILED)
            self.record = replace(self.record, failure=f"Planning failed: {sentence}", roster=())
            return
        site = self.sites[event.site]
        self.sites[event.site] = replace(
            self.sites[event.site],
            fingerprint=None,
            fingerprint_cases=0,
            rejected=site.fingerprint.sha256 if site.fingerprint else site.rejected,
            problem=ErrorCode.FINGERPRINT_REFUSED.value,
            problem_sentence=sentence,
        )
        self._refuse(event.site, ErrorCode.FINGERPRINT_REFUSED, sentence)
        self._move(StudyEvent.FINGERPRINT_MISSING)
        self.record = replace(self.record, roster=())

    def _plan_accepted(self, event: PlanAccepted) -> None:
        if not self._known(event.site):
            return
        self._progressed(event.site)
        plan = self.record.plan_of(self.sites[event.site], self.terms.method)
        if plan is None or event.plan != plan.sha256:
            self._refuse(
                event.site, ErrorCode.PLANS_REFUSED, "the accepted plan is not the study's plan"
            )
        elif min((event.cases, *event.fold_cases)) < 1:
            self._refuse(
                event.site, ErrorCode.TOO_FEW_CASES, "a site without training cases cannot train"
            )
        elif not self._says_each_fold(event.fold_cases):
            self._refuse(
                event.site,
                ErrorCode.PROTOCOL,
                f"the site declared its cases of {len(event.fold_cases)} folds, the study has "
                f"{len(self.terms.folds)}",
            )
        elif self.record.state in (StudyState.PREPARING, StudyState.TRAINING):
            self._prepared(event.site, event.plan, event.cases, event.fold_cases)

    def _says_each_fold(self, fold_cases: tuple[int, ...]) -> bool:
        """Tell whether a site that accepts the plan says how many cases it trains in each fold."""
        folds = len(self.terms.folds)
        return len(fold_cases) == (folds if folds > 1 else 0)

    def _prepared(
        self, name: SiteName, plan: Digest, cases: int, fold_cases: tuple[int, ...]
    ) -> None:
        self.sites[name] = replace(
            self.sites[name],
            prepared=plan,
            cases=cases,
            fold_cases=fold_cases,
            refused_plan=False,
            problem="",
            problem_sentence="",
        )
        if self.sites[name].state is SiteState.JOINED:
            self._move_site(name, SiteEvent.PREPARED)

    def _plan_refused(self, event: PlanRefused) -> None:
        if not self._known(event.site):
            return
        self._progressed(event.site)
        site = self.sites[event.site]
        plan = self.record.plan_of(site, self.terms.method)
        if plan is None or event.plan != plan.sha256 or site.state is not SiteState.JOINED:
            return
        self.sites[event.site] = replace(
            self.sites[event.site],
            refused_plan=True,
            problem=safe_text(event.code, 60),
            problem_sentence=safe_text(event.sentence),
        )

    # --- rounds --------------------------------------------------------------------------------

    def _try_to_open(self) -> None:
        ready = [
            name
            for name, site in self.sites.items()
            if site.state is SiteState.READY and self._has_base(name)
        ]
        if len(ready) < self.terms.minimum_sites:
            return
        if self.record.state is StudyState.PREPARING and any(
            site.state is SiteState.JOINED
            and not site.refused_plan
            and self._worth_waiting_for(name)
            for name, site in self.sites.items()
        ):
            return
        base = self.record.base(self.terms)
        if base is None:
            raise OurMistake("a round cannot open before the first model is drawn")
        self._move(StudyEvent.ROUND_OPENED)
        self.record = replace(
            self.record,
            round=OpenRound(
                number=len(self.record.closed) + 1,
                state=RoundState.COLLECTING,
                base=base,
                asks=(),
            ),
        )
        for name in ready:
            self._ask(name)

    def _under_way(self) -> OpenRound | None:
        """Return the open round; a stopped study has none, though its record keeps the last."""
        return self.record.round if self.record.state is StudyState.TRAINING else None

    def _worth_waiting_for(self, name: SiteName) -> bool:
        presence = self.presence[name]
        return presence.connected or self.now - presence.heard_s < DISCONNECTED_GRACE_S

    def _has_base(self, name: SiteName) -> bool:
        """Tell whether a site can be asked: in asymmetric averaging its share must be made first."""
        return self.record.base_of(name, self.terms) is not None

    def _ask(self, name: SiteName) -> None:
        """Ask a ready site to train the open round; a new attempt when its last one failed."""
        opened = self.record.round
        if opened is None:
            raise OurMistake("a site cannot be asked without an open round")
        before = opened.ask_of(name)
        if before is None:
            ask = Ask(site=name)
        elif before.failed:
            ask = Ask(site=name, attempt=before.attempt + 1, tries=before.tries + 1)
        else:
            ask = before
        others = tuple(one for one in opened.asks if one.site != name)
        asks = tuple(sorted((*others, ask), key=lambda one: one.site))
        self.record = replace(self.record, round=replace(opened, asks=asks))
        self._move_site(name, SiteEvent.ASKED)
        self._see_progress_of(name)

    def _try_to_average(self, opened: OpenRound) -> None:
        outstanding = sum(site.state is SiteState.WORKING for site in self.sites.values())
        delivered = len(opened.updates)
        if delivered + outstanding < self.terms.minimum_sites:
            if self._ask_more(opened):
                return
            if not outstanding:
                self._pause_when_hopeless(opened)
            return
        if outstanding:
            return
        opened = replace(
            _moved(opened, RoundEvent.UPDATES_COMPLETE), averaging=opened.averaging + 1
        )
        self.record = replace(self.record, round=opened)
        self.effects.append(average_round(self.finish(), self.terms))

    def _ask_more(self, opened: OpenRound) -> bool:
        """Ask who can help out a round that is short of sites; tell whether anybody was asked."""
        asked = False
        for name, site in tuple(self.sites.items()):
            ask = opened.ask_of(name)
            fresh = ask is None or not ask.failed or ask.tries < MAXIMUM_TRIES
            if site.state is SiteState.READY and fresh and self._has_base(name):
                self._ask(name)
                asked = True
        return asked

    def _pause_when_hopeless(self, opened: OpenRound) -> None:
        """Pause when sites keep failing and no other site can make the round complete."""
        failing = [ask for ask in opened.asks if ask.failed and ask.tries >= MAXIMUM_TRIES]
        hoped_for = sum(
            site.state is SiteState.ABSENT
            or (site.state is SiteState.JOINED and not site.refused_plan)
            for site in self.sites.values()
        )
        if not failing or len(opened.updates) + hoped_for >= self.terms.minimum_sites:
            return
        names = ", ".join(f"{ask.site} ({ask.failed})" for ask in failing)
        self.record = replace(
            self.record,
            paused=True,
            paused_because=safe_text(
                f"Round {opened.number} is short of updates, for these sites failed "
                f"{MAXIMUM_TRIES} times: {names}."
            ),
        )

    def _update_arrived(self, update: ModelUpdate) -> None:
        name = update.site
        if not self._known(name):
            return
        self._progressed(name)
        opened = self._under_way()
        if opened is None or update.round != opened.number:
            if (name, update.weights.sha256) in self.record.last_updates:
                return
            self._refuse(name, ErrorCode.STUDY_STATE, f"round {update.round} is not open")
            return
        kept = next((one for one in opened.updates if one.site == name), None)
        if kept is not None:
            if kept.weights != update.weights:
                self._refuse(
                    name,
                    ErrorCode.STUDY_STATE,
                    f"another update of this site is kept for round {update.round} already",
                )
            return
        ask = opened.ask_of(name)
        base = self.record.base_of(name, self.terms)
        place = self.terms.place_of(opened.number)
        cases = self.sites[name].cases_in(place.fold)
        if opened.state is not RoundState.COLLECTING:
            self._refuse(
                name, ErrorCode.STUDY_STATE, f"round {update.round} is being averaged already"
            )
        elif ask is None or self.sites[name].state is not SiteState.WORKING:
            self._refuse(
                name, ErrorCode.STUDY_STATE, f"this site is not asked to train round {update.round}"
            )
        elif update.attempt != ask.attempt or base is None or update.base != base.sha256:
            self._refuse(
                name,
                ErrorCode.STUDY_STATE,
                f"the update of round {update.round} was trained for another attempt or model",
            )
        elif not _figures_are_finite(update):
            self._refuse(
                name, ErrorCode.NOT_FINITE, f"the update of round {update.round} has no finite loss"
            )
            self._lose(name, ErrorCode.NOT_FINITE.value)
        elif update.cases != cases:
            self._refuse(
                name,
                ErrorCode.PROTOCOL,
                f"the update of round {update.round} claims {update.cases} cases, the site "
                f"declared {cases}",
            )
            self._lose(name, ErrorCode.PROTOCOL.value)
        else:
            updates = sorted((*opened.updates, update), key=lambda one: one.site)
            self.record = replace(self.record, round=replace(opened, updates=tuple(updates)))
            self._move_site(name, SiteEvent.UPDATE_KEPT)
            self.sites[name] = replace(self.sites[name], problem="", problem_sentence="")
            if update.base_score is not None and not place.begins:
                self._note_score(name, update.base_score, opened.number - 1)

    def _model_scored(self, event: ModelScored) -> None:
        """Keep a site's score of a fold's last average; one of another model says nothing here."""
        if not self._known(event.site) or self.record.state is not StudyState.FINISHED:
            return
        for fold in range(len(self.terms.trainings)):
            last = self.record.last_of_fold(event.site, fold, self.terms)
            if last is not None and last.sha256 == event.model:
                self._note_score(event.site, event.score, (fold + 1) * self.terms.rounds)

    def _note_score(self, site: SiteName, score: HeldOutScore, number: int) -> None:
        """Put a site's score of the average of a closed round to it.

        A score that cannot be one is left out: it says nothing of the weights that came with it.
        """
        if not is_plausible(score, labels=self.terms.foreground):
            return
        closed = list(self.record.closed)
        closed[number - 1] = with_score(closed[number - 1], site, score)
        self.record = replace(self.record, closed=tuple(closed))

    def _update_failed(self, event: UpdateFailed) -> None:
        if not self._known(event.site):
            return
        self._progressed(event.site)
        opened = self._under_way()
        ask = opened.ask_of(event.site) if opened else None
        if (
            opened is not None
            and opened.state is RoundState.COLLECTING
            and event.round == opened.number
            and ask is not None
            and event.attempt == ask.attempt
            and self.sites[event.site].state is SiteState.WORKING
        ):
            self._lose(event.site, safe_text(event.code, 60) or ErrorCode.JOB_FAILED.value)

    def _lose(self, name: SiteName, code: str, sentence: str = "") -> None:
        """Note that a site has nothing that counts for its present ask."""
        opened = self.record.round
        if opened is None:
            raise OurMistake("without an open round no update can be lost")
        asks = tuple(replace(ask, failed=code) if ask.site == name else ask for ask in opened.asks)
        updates = tuple(update for update in opened.updates if update.site != name)
        self.record = replace(self.record, round=replace(opened, asks=asks, updates=updates))
        self._move_site(name, SiteEvent.UPDATE_LOST)
        self.sites[name] = replace(self.sites[name], problem=code, problem_sentence=sentence)

    def _round_averaged(self, event: RoundAveraged) -> None:
        opened = self._averaging(event, event.round, event.attempt)
        if opened is None:
            return
        _moved(opened, RoundEvent.AVERAGED)
        model = GlobalModel(
            round=opened.number,
            weights=event.model,
            contributors=tuple((update.site, update.cases) for update in opened.updates),
        )
        self.record = replace(
            self.record,
            round=None,
            closed=(*self.record.closed, _closed(model, opened.updates)),
            last_updates=tuple((one.site, one.weights.sha256) for one in opened.updates),
        )
        self._take_shares(event.shares)
        if self.terms.place_of(opened.number).ends and opened.number < self.terms.total_rounds:
            self._end_fold()
        self._align_late_sites()
        for name, site in tuple(self.sites.items()):
            if site.state in (SiteState.WORKING, SiteState.DELIVERED):
                self._move_site(name, SiteEvent.ROUND_CLOSED)
        if opened.number >= self.terms.total_rounds:
            self._move(StudyEvent.ROUNDS_DONE)
            self.record = replace(self.record, paused=False, paused_because="")
            self.effects.append(StudyFinished(model=model))

    def _end_fold(self) -> None:
        """Keep what sites share of a fold's last average; the next one's first model is cut anew."""
        if self.terms.method is Method.ASYM:
            kept = (*self.record.fold_shares, self.record.shares)
            self.record = replace(self.record, fold_shares=kept, shares=())

    def _averaging_failed(self, event: AveragingFailed) -> None:
        opened = self._averaging(event, event.round, event.attempt)
        if opened is None:
            return
        if event.site is not None and not any(one.site == event.site for one in opened.updates):
            raise UnexpectedStudyEvent(
                self.record.state, event, "this site's update is not in the average"
            )
        self.record = replace(self.record, round=_moved(opened, RoundEvent.UPDATE_WITHDRAWN))
        sentence = safe_text(event.sentence)
        if event.site is None:
            self.record = replace(
                self.record, paused=True, paused_because=f"Round {opened.number} paused: {sentence}"
            )
            return
        self._lose(event.site, ErrorCode.TENSORS_REFUSED.value, sentence)
        self._refuse(event.site, ErrorCode.TENSORS_REFUSED, sentence)

    def _averaging(
        self, event: RoundAveraged | AveragingFailed, number: int, attempt: int
    ) -> OpenRound | None:
        """Return the round that an answer of our averaging speaks of, None when it is stale."""
        opened = self.record.round
        newest = opened.number if opened else len(self.record.closed)
        if number > newest or (
            opened is not None and number == newest and attempt > opened.averaging
        ):
            raise UnexpectedStudyEvent(self.record.state, event, "no such average was asked for")
        current = (
            opened is not None
            and number == opened.number
            and attempt == opened.averaging
            and opened.state is RoundState.AVERAGING
            and self.record.state is StudyState.TRAINING
        )
        return opened if current else None

    # --- the coordinator -----------------------------------------------------------------------

    def _resume(self) -> None:
        if self.record.state is StudyState.FAILED:
            self._move(StudyEvent.RETRIED)
            self.record = replace(self.record, failure="")
        elif not self.record.paused:
            return
        self.record = replace(self.record, paused=False, paused_because="")
        for name in self.sites:
            self._see_progress_of(name)
        opened = self.record.round
        if opened is not None:
            # A person looked at it: sites that failed get their tries anew.
            asks = tuple(replace(ask, tries=0) for ask in opened.asks)
            self.record = replace(self.record, round=replace(opened, asks=asks))

    # --- small changes -------------------------------------------------------------------------

    def _move(self, event: StudyEvent) -> None:
        self.record = replace(self.record, state=study_machine.advance(self.record.state, event))

    def _move_site(self, name: SiteName, event: SiteEvent) -> None:
        self.sites[name] = replace(
            self.sites[name], state=site_machine.advance(self.sites[name].state, event)
        )

    def _see_progress_of(self, name: SiteName) -> None:
        """Start a site's deadline anew without having heard of it."""
        self.presence[name] = replace(self.presence[name], progress_s=self.now)

    def _refuse(self, name: SiteName, code: ErrorCode, sentence: str) -> None:
        self.effects.append(Refused(site=name, code=code, sentence=sentence))
        if name in self.sites:
            self.effects.append(TellSites(sites=(name,)))


def _moved(opened: OpenRound, event: RoundEvent) -> OpenRound:
    return replace(opened, state=round_machine.advance(opened.state, event))


def merge_and_plan(record: StudyRecord) -> MergeAndPlan:
    blobs = {site.name: site.fingerprint for site in record.sites}
    fingerprints: list[tuple[SiteName, BlobRef]] = []
    for name in record.roster:
        blob = blobs[name]
        if blob is None:
            raise OurMistake(f"site {name} is on the roster without a fingerprint")
        fingerprints.append((name, blob))
    return MergeAndPlan(attempt=record.planning, fingerprints=tuple(fingerprints))


def align_sites(record: StudyRecord, terms: StudyTerms) -> AlignSites | None:
    """Return the work on late sites' shares, None when nobody waits for one."""
    base = record.base(terms)
    if terms.method is not Method.ASYM or record.plan is None or base is None:
        return None
    newcomers = tuple(name for name, _ in record.networks if record.share_of(name) is None)
    if not newcomers:
        return None
    return AlignSites(
        model=base, networks=record.networks, newcomers=newcomers, stage=record.stage(terms)
    )


def average_round(record: StudyRecord, terms: StudyTerms) -> AverageRound:
    opened = record.round
    if opened is None:
        raise OurMistake("without an open round there is nothing to average")
    asymmetric = terms.method is Method.ASYM
    return AverageRound(
        round=opened.number,
        attempt=opened.averaging,
        base=opened.base,
        updates=opened.updates,
        networks=record.networks if asymmetric else (),
        shares=record.shares,
    )


def _figures_are_finite(update: ModelUpdate) -> bool:
    figures = [update.train_loss, update.epoch_seconds, *update.pseudo_dice]
    figures.append(update.validation_loss)
    return all(figure is None or math.isfinite(figure) for figure in figures)


def _closed(model: GlobalModel, updates: tuple[ModelUpdate, ...]) -> ClosedRound:
    cases = [update.cases for update in updates]
    train_loss = case_weighted_mean([update.train_loss for update in updates], cases)
    if train_loss is None:
        raise OurMistake("a round without updates cannot close")
    return ClosedRound(
        model=model,
        train_loss=train_loss,
        validation_loss=case_weighted_mean([update.validation_loss for update in updates], cases),
        pseudo_dice=case_weighted_means([update.pseudo_dice for update in updates], cases),
    )
