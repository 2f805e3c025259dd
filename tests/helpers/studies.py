"""A study with sites that do at once what they are told; tests take single steps away from that."""

from __future__ import annotations

from dataclasses import replace

from app.domain.ids import SiteName, StudyId, digest_of
from app.domain.rounds import BlobRef, ModelUpdate
from app.domain.study import StudyTerms
from app.federation.study import Study
from app.federation.study_events import (
    AverageRound,
    Begin,
    Effect,
    Event,
    FingerprintArrived,
    MergeAndPlan,
    PlanAccepted,
    PlanMade,
    Refused,
    RoundAveraged,
    SiteAdmitted,
    SiteConnected,
    SiteReport,
    SiteReported,
    UpdateArrived,
)
from app.federation.study_file import EXAMPLE, parse_study
from app.federation.study_views import Instruction, Step

STUDY = StudyId("0123456789abcdef" * 2)
TERMS = replace(parse_study(EXAMPLE), rounds=3, epochs_per_round=2, minimum_sites=2)
DEADLINE_S = TERMS.progress_deadline_minutes * 60


def blob(text: str) -> BlobRef:
    return BlobRef(sha256=digest_of(text.encode()), size=len(text) + 1)


PLAN, MERGED, FIRST = blob("plan"), blob("merged"), blob("first model")


def later_firsts(terms: StudyTerms) -> tuple[BlobRef, ...]:
    """The first models of the second and further folds, of every pass."""
    return tuple(
        blob(f"first model of fold {one.fold}" + (f" of pass {one.stage}" if one.stage else ""))
        for one in terms.trainings[1:]
    )


def first_of(terms: StudyTerms, fold: int) -> BlobRef:
    return (FIRST, *later_firsts(terms))[fold]


def fold_cases_of(terms: StudyTerms, cases: int) -> tuple[int, ...]:
    """As many cases as the first fold trains with, and other numbers in the others."""
    folds = len(terms.folds)
    return tuple(cases + index for index in range(folds)) if folds > 1 else ()


def average_of(updates: tuple[ModelUpdate, ...]) -> BlobRef:
    """Stand for the average: it depends on base, weights and contributors, and on nothing else."""
    return blob(
        "average of " + ", ".join(f"{u.site}:{u.cases}:{u.weights.sha256}" for u in updates)
    )


class Bench:
    """Drives one study; time stands still unless a test moves `now`."""

    def __init__(self, terms: StudyTerms = TERMS) -> None:
        self.study = Study.new(terms, STUDY)
        self.now = 1000.0
        self.cases: dict[SiteName, int] = {}

    def tell(self, event: Event) -> tuple[Effect, ...]:
        return self.study.handle(event, self.now)

    def told(self, site: str) -> Instruction:
        return self.study.instruction_for(SiteName(site), self.now)

    def state_of(self, site: str) -> str:
        statuses = self.study.view(self.now).sites
        return next(one.summary.state for one in statuses if one.summary.name == site)

    def restart(self) -> tuple[Effect, ...]:
        self.study = Study.load(self.study.save())
        return self.study.outstanding()

    # --- steps of a healthy study --------------------------------------------------------------

    def join(self, *sites: str, cases: int = 10) -> None:
        for site in sites:
            self.tell(SiteAdmitted(site=SiteName(site)))
            self.tell(SiteConnected(site=SiteName(site)))
            self.cases[SiteName(site)] = cases

    def share(self, *sites: str) -> tuple[Effect, ...]:
        effects: tuple[Effect, ...] = ()
        for site in sites:
            effects += self.tell(
                FingerprintArrived(
                    site=SiteName(site), fingerprint=blob(f"fingerprint of {site}"), cases=10
                )
            )
        return effects

    def plan(self) -> tuple[Effect, ...]:
        attempt = self.study.record.planning
        return self.tell(
            PlanMade(
                attempt=attempt,
                plan=PLAN,
                merged=MERGED,
                base=FIRST,
                later_bases=later_firsts(self.study.terms),
            )
        )

    def accept(self, *sites: str) -> tuple[Effect, ...]:
        effects: tuple[Effect, ...] = ()
        for site in sites:
            effects += self.tell(
                PlanAccepted(
                    site=SiteName(site),
                    plan=PLAN.sha256,
                    cases=self.cases[SiteName(site)],
                    fold_cases=self.fold_cases(site),
                )
            )
        return effects

    def fold_cases(self, site: str) -> tuple[int, ...]:
        return fold_cases_of(self.study.terms, self.cases[SiteName(site)])

    def train(self, *sites: str) -> None:
        """Bring a study to its first round with these sites, of 10, 20, 30, ... cases."""
        for number, site in enumerate(sites, 1):
            self.join(site, cases=10 * number)
        self.share(*sites)
        self.tell(Begin())
        self.plan()
        self.accept(*sites)

    def update(self, site: str, **changes: object) -> ModelUpdate:
        told = self.told(site)
        assert told.step is Step.TRAIN
        assert told.base is not None
        update = ModelUpdate(
            round=told.round,
            attempt=told.attempt,
            site=SiteName(site),
            base=told.base.sha256,
            weights=blob(f"{site} from {told.base.sha256}"),
            cases=self.cases_in(site, told.round),
            train_loss=-0.5,
            validation_loss=None,
            pseudo_dice=(0.5, None),
            epoch_seconds=60.0,
        )
        return replace(update, **changes)

    def cases_in(self, site: str, round_number: int) -> int:
        fold_cases = self.fold_cases(site)
        index = self.study.terms.place_of(round_number).fold
        return fold_cases[index] if fold_cases else self.cases[SiteName(site)]

    def deliver(self, *sites: str) -> tuple[Effect, ...]:
        effects: tuple[Effect, ...] = ()
        for site in sites:
            effects += self.tell(UpdateArrived(update=self.update(site)))
        return effects

    def average(self, effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
        asked = only(effects, AverageRound)
        return self.tell(
            RoundAveraged(round=asked.round, attempt=asked.attempt, model=average_of(asked.updates))
        )

    def report(self, site: str, **report: object) -> tuple[Effect, ...]:
        words = SiteReport(phase="training")
        return self.tell(SiteReported(site=SiteName(site), report=replace(words, **report)))


def only(effects: tuple[Effect, ...], kind: type) -> Effect:
    """Return the one effect of a kind."""
    (found,) = [effect for effect in effects if isinstance(effect, kind)]
    return found


def refusals(effects: tuple[Effect, ...]) -> list[str]:
    return [effect.sentence for effect in effects if isinstance(effect, Refused)]


def planned(effects: tuple[Effect, ...]) -> list[str]:
    return [site for site, _ in only(effects, MergeAndPlan).fingerprints]
