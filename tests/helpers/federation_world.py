"""A whole federation in one thread: a coordinator, sites, and a network that may do anything.

Sites behave as the site service does: they act on the newest instruction they know, keep on disk
what they finished, report on connect and on change, and send again what they are asked for again.
Training is a function of site and base model, so the right average of every round is known.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from helpers.studies import (
    FIRST,
    MERGED,
    PLAN,
    STUDY,
    TERMS,
    average_of,
    blob,
    first_of,
    fold_cases_of,
    later_firsts,
)

from app.domain.ids import SiteName
from app.domain.rounds import BlobRef, ModelUpdate
from app.domain.study import Method, StudyTerms
from app.federation.site_machine import SiteState
from app.federation.study import Study
from app.federation.study_events import (
    AlignSites,
    AverageRound,
    AveragingFailed,
    DropSession,
    Effect,
    Event,
    FingerprintArrived,
    MergeAndPlan,
    PlanAccepted,
    PlanMade,
    PlanningFailed,
    RoundAveraged,
    SiteAdmitted,
    SiteConnected,
    SiteDisconnected,
    SiteReport,
    SiteReported,
    SitesAligned,
    SiteShare,
    StudyFinished,
    TellSites,
    Tick,
    UpdateArrived,
    UpdateFailed,
)
from app.federation.study_machine import StudyState
from app.federation.study_record import StudyRecord
from app.federation.study_views import Instruction, Step

EPOCH_STEPS = 3


@dataclass
class Site:
    """One site: what lies on its disk, and what it knows since it started."""

    name: SiteName
    cases: int
    plan: BlobRef = PLAN
    terms: StudyTerms = TERMS
    # on disk
    prepared: bool = False
    trained: dict[tuple[int, int, str], ModelUpdate | None] = field(default_factory=dict)
    # in memory
    connected: bool = False
    told: Instruction | None = None
    steps: int = 0
    training: tuple[int, int, str] | None = None

    def restart(self) -> None:
        self.connected = False
        self.told = None
        self.steps = 0
        self.training = None

    def hear(self, told: Instruction) -> list[Event]:
        """Take an instruction, unless a newer one is known; return what is answered at once."""
        if self.told is not None and told.serial < self.told.serial:
            return []
        self.told = told
        if told.step is Step.SEND_FINGERPRINT:
            return [
                FingerprintArrived(
                    site=self.name,
                    fingerprint=fingerprint_of(self.name),
                    cases=self.cases,
                )
            ]
        if told.step is Step.PREPARE and self.prepared:
            return [self._accepted()]
        if told.step is Step.TRAIN:
            key = self._key()
            if key in self.trained:
                return [self._answer(key)]
            if self.training != key:
                self.training, self.steps = key, 0
        return [self.report()]

    def work(self, *, fails: bool = False) -> list[Event]:
        """Do one step of what is to be done."""
        told = self.told
        if told is None:
            return []
        if told.step is Step.PREPARE and not self.prepared:
            self.steps += 1
            if self.steps >= EPOCH_STEPS:
                self.prepared, self.steps = True, 0
                return [self._accepted()]
            return [self.report()]
        if told.step is Step.TRAIN and self._key() not in self.trained:
            key = self._key()
            self.training = key
            self.steps += 1
            if self.steps < EPOCH_STEPS and not fails:
                return [self.report()]
            self.steps = 0
            self.trained[key] = None if fails else self._train(told)
            return [self._answer(key)]
        return []

    def report(self) -> Event:
        told = self.told
        training = told is not None and told.step is Step.TRAIN
        return SiteReported(
            site=self.name,
            report=SiteReport(
                phase="training" if training else "waiting",
                plan=self.plan.sha256 if self.prepared else None,
                training_cases=self.cases if self.prepared else 0,
                fold_cases=fold_cases_of(self.terms, self.cases) if self.prepared else (),
                round=told.round if told else 0,
                step=self.steps,
            ),
        )

    def _key(self) -> tuple[int, int, str]:
        assert self.told is not None
        assert self.told.base is not None
        return self.told.round, self.told.attempt, self.told.base.sha256

    def _accepted(self) -> Event:
        return PlanAccepted(
            site=self.name,
            plan=self.plan.sha256,
            cases=self.cases,
            fold_cases=fold_cases_of(self.terms, self.cases),
        )

    def cases_in(self, round_number: int) -> int:
        """How many cases this site trains with in a round: its fold decides."""
        cases = fold_cases_of(self.terms, self.cases) or (self.cases,)
        return cases[self.terms.place_of(round_number).fold]

    def _train(self, told: Instruction) -> ModelUpdate:
        assert told.base is not None
        return ModelUpdate(
            round=told.round,
            attempt=told.attempt,
            site=self.name,
            base=told.base.sha256,
            weights=trained(self.name, told.base),
            cases=self.cases_in(told.round),
            train_loss=-0.1 * told.round,
            validation_loss=None,
            pseudo_dice=(0.5,),
            epoch_seconds=1.0,
        )

    def _answer(self, key: tuple[int, int, str]) -> Event:
        update = self.trained[key]
        if update is None:
            return UpdateFailed(site=self.name, round=key[0], attempt=key[1], code="gpu-memory")
        return UpdateArrived(update=update)


def fingerprint_of(site: SiteName) -> BlobRef:
    return blob(f"fingerprint of {site}")


def share_of(site: SiteName, model: BlobRef) -> SiteShare:
    """What an asymmetric study cuts of a model for one site."""
    return SiteShare(
        site=site,
        network=fingerprint_of(site),
        part=blob(f"part of {site}"),
        base=blob(f"{model.sha256} as {site} gets it"),
    )


def trained(site: SiteName, base: BlobRef) -> BlobRef:
    return blob(f"{site} trained from {base.sha256}")


class World:
    """The coordinator with its disk, the sites and the messages under way."""

    def __init__(self, terms: StudyTerms, names: list[str]) -> None:
        self.terms = terms
        self.asymmetric = terms.method is Method.ASYM
        self.now = 0.0
        self.study = Study.new(terms, STUDY)
        self.disk = self.study.save()
        self.jobs: list[Effect] = []
        self.sites = {
            SiteName(name): Site(
                name=SiteName(name),
                cases=5 + 7 * number,
                plan=fingerprint_of(SiteName(name)) if self.asymmetric else PLAN,
                terms=self.terms,
            )
            for number, name in enumerate(names)
        }
        self.to_coordinator: list[Event] = []
        self.to_site: list[tuple[SiteName, Instruction]] = []
        self.finished = 0
        self.highest_serial = 0

    # --- the coordinator -----------------------------------------------------------------------

    def tell(self, event: Event, *, crash: str = "") -> None:
        """Handle an event, save, perform the effects; `crash` is "before" or "after" saving."""
        before = self.study.serial
        effects = self.study.handle(event, self.now)
        if crash == "before":
            self.restart_coordinator()
            return
        if self.study.serial != before:
            self.disk = self.study.save()
        if crash == "after":
            self.restart_coordinator()
            return
        for effect in effects:
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, TellSites):
            for site in effect.sites if effect.sites is not None else self.study.members():
                self._send(site)
        elif isinstance(effect, AlignSites):
            if effect not in self.jobs:
                self.jobs.append(effect)
        elif isinstance(effect, MergeAndPlan | AverageRound):
            self.jobs.append(effect)
        elif isinstance(effect, DropSession):
            self.sites[effect.site].connected = False
        elif isinstance(effect, StudyFinished):
            self.finished += 1

    def _send(self, site: SiteName) -> None:
        if self.sites[site].connected:
            self.to_site.append((site, self.study.instruction_for(site, self.now)))

    def restart_coordinator(self) -> None:
        self.study = Study.load(self.disk)
        self.jobs = list(self.study.outstanding())
        for site in self.sites.values():
            site.connected = False

    def work_on_job(self, position: int, *, outcome: str = "good") -> None:
        """Finish one of our own jobs: "good", "site" (one site's part is bad) or "bad"."""
        if not self.jobs:
            return
        job = self.jobs.pop(position % len(self.jobs))
        if isinstance(job, MergeAndPlan):
            if outcome == "bad":
                self.tell(PlanningFailed(attempt=job.attempt, sentence="no memory"))
            else:
                self.tell(
                    PlanMade(
                        attempt=job.attempt,
                        plan=PLAN,
                        merged=MERGED,
                        base=FIRST,
                        later_bases=later_firsts(self.terms),
                        shares=self.shares(job.fingerprints, FIRST),
                    )
                )
        elif isinstance(job, AlignSites):
            if outcome == "good":
                late = [one for one in job.networks if one[0] in job.newcomers]
                self.tell(SitesAligned(model=job.model, shares=self.shares(late, job.model)))
        elif isinstance(job, AverageRound):
            if outcome == "good":
                model = average_of(job.updates)
                self.tell(
                    RoundAveraged(
                        round=job.round,
                        attempt=job.attempt,
                        model=model,
                        shares=self.shares(job.networks, model),
                    )
                )
                return
            blamed = job.updates[0].site if outcome == "site" else None
            self.tell(
                AveragingFailed(
                    round=job.round, attempt=job.attempt, sentence="damaged", site=blamed
                )
            )

    def shares(self, networks, model: BlobRef) -> tuple[SiteShare, ...]:
        if not self.asymmetric:
            return ()
        assert all(blob == fingerprint_of(site) for site, blob in networks)
        return tuple(share_of(site, model) for site, _ in networks)

    def base_of(self, site: SiteName, model: BlobRef) -> BlobRef:
        return share_of(site, model).base if self.asymmetric else model

    # --- the network ---------------------------------------------------------------------------

    def connect(self, name: SiteName) -> None:
        site = self.sites[name]
        if not site.connected and name in self.study.members():
            site.connected = True
            self.tell(SiteConnected(site=name))
            self.to_coordinator.append(site.report())
            self._send(name)

    def remind(self, name: SiteName) -> None:
        """Send a site its instruction, as the service does every minute."""
        if name in self.study.members():
            self._send(name)

    def disconnect(self, name: SiteName) -> None:
        if self.sites[name].connected:
            self.sites[name].connected = False
            self.tell(SiteDisconnected(site=name))

    def deliver_up(self, position: int, *, crash: str = "") -> None:
        if self.to_coordinator:
            self.tell(self.to_coordinator.pop(position % len(self.to_coordinator)), crash=crash)

    def deliver_down(self, position: int) -> None:
        if self.to_site:
            name, told = self.to_site.pop(position % len(self.to_site))
            self.to_coordinator += self.sites[name].hear(told)

    def work(self, name: SiteName, *, fails: bool = False) -> None:
        self.to_coordinator += self.sites[name].work(fails=fails)

    # --- what must hold at any time ------------------------------------------------------------

    def check(self) -> None:
        record = self.study.record
        loaded = Study.load(self.study.save())
        assert loaded.record == record
        assert self.study.serial >= self.highest_serial or self.study.save() == self.disk
        base = FIRST
        for number, closed in enumerate(record.closed, 1):
            model, place = closed.model, self.terms.place_of(number)
            if place.begins:
                base = first_of(self.terms, place.index)
            names = [site for site, _ in model.contributors]
            assert model.round == number
            assert len(names) >= self.terms.minimum_sites
            assert names == sorted(set(names)), "an update is counted twice"
            assert all(
                cases == self.sites[site].cases_in(number) for site, cases in model.contributors
            )
            # Equal to the undisturbed run with the same contributors.
            updates = tuple(
                ModelUpdate(
                    round=number,
                    attempt=1,
                    site=site,
                    base=self.base_of(site, base).sha256,
                    weights=trained(site, self.base_of(site, base)),
                    cases=cases,
                    train_loss=0.0,
                    validation_loss=None,
                    pseudo_dice=(),
                    epoch_seconds=1.0,
                )
                for site, cases in model.contributors
            )
            assert model.weights == average_of(updates)
            base = model.weights
        following = self.terms.place_of(len(record.closed) + 1)
        if following.begins and len(record.closed) < self.terms.total_rounds:
            base = first_of(self.terms, following.index)
        states = {site.name: site.state for site in record.sites}
        if record.round is not None and record.state is StudyState.TRAINING:
            assert record.round.number == len(record.closed) + 1
            assert record.round.base == base
            delivered = [update.site for update in record.round.updates]
            assert delivered == sorted(set(delivered))
            assert {n for n, s in states.items() if s is SiteState.DELIVERED} == set(delivered)
            asked = [ask.site for ask in record.round.asks]
            assert asked == sorted(set(asked))
            assert {n for n, s in states.items() if s is SiteState.WORKING} <= set(asked)
        else:
            assert not record.round or record.state is StudyState.STOPPED
        for name in self.sites:
            told = self.study.instruction_for(name, self.now)
            if told.step is Step.TRAIN:
                assert states[name] is SiteState.WORKING
                assert told.base == self.base_of(name, base)
                assert told.start_epoch == len(record.closed) * self.terms.epochs_per_round
                assert not (told.score_base and following.begins)
                self._check_first_pass(record, told, second=following.stage > 1)
        if record.state is StudyState.FINISHED and len(self.terms.trainings) > 1:
            self._check_ends(record)
        assert self.finished <= 1
        self.highest_serial = max(self.highest_serial, self.study.serial)

    def _last_averages(self, record: StudyRecord, count: int) -> list[BlobRef]:
        ends = range(self.terms.rounds - 1, count * self.terms.rounds, self.terms.rounds)
        return [record.closed[index].model.weights for index in ends]

    def _check_first_pass(self, record: StudyRecord, told: Instruction, *, second: bool) -> None:
        """A site that trains a second pass is told what every fold of the first one ended with."""
        ends = [end.model for end in told.folds]
        if not second:
            assert ends == []
        elif not self.asymmetric:
            assert ends == self._last_averages(record, len(self.terms.folds))
        else:
            assert len(ends) == len(self.terms.folds)

    def _check_ends(self, record: StudyRecord) -> None:
        """Every site is told the last average of every fold, as it gets it itself."""
        trained = [(one.stage, one.fold) for one in self.terms.trainings]
        last = self._last_averages(record, len(trained))
        for name in self.study.members():
            told = self.study.instruction_for(name, self.now)
            ends = {(end.stage, end.fold): end.model for end in told.folds}
            known = {
                fold: self.base_of(name, model)
                for fold, model in zip(trained, last, strict=True)
                if not self.asymmetric or fold in ends
            }
            assert ends == known
            # A site of an asymmetric study has none of the folds that ended before it came.
            assert list(ends) == trained[len(trained) - len(ends) :]

    # --- peace ---------------------------------------------------------------------------------

    def calm(self, turns: int = 200) -> bool:
        """Let everything flow and nobody fail; tell whether the study came to its end."""
        for _ in range(turns):
            if self.study.record.state is StudyState.FINISHED:
                return True
            self.now += 60.0
            self.tell(Tick())
            for name in self.sites:
                self.connect(name)
                self.remind(name)
            while self.to_site:
                self.deliver_down(0)
            for name in self.sites:
                for _ in range(EPOCH_STEPS):
                    self.work(name)
            while self.to_coordinator:
                self.deliver_up(0)
            while self.jobs:
                self.work_on_job(0)
            self.check()
        return self.study.record.state is StudyState.FINISHED

    def admit(self, name: SiteName) -> None:
        self.tell(SiteAdmitted(site=name))


def with_rounds(terms: StudyTerms, rounds: int, minimum_sites: int) -> StudyTerms:
    return replace(terms, rounds=rounds, minimum_sites=minimum_sites)
