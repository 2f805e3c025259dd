"""What a study remembers, as plain frozen values, and their bytes on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from app.domain.errors import FednnunetError, OurMistake
from app.domain.ids import Digest, SiteName, StudyId
from app.domain.rounds import BlobRef, GlobalModel, ModelUpdate, SiteScore
from app.domain.study import Method, StudyTerms
from app.federation.round_machine import RoundState
from app.federation.site_machine import SiteState
from app.federation.study_events import SiteReport, SiteShare
from app.federation.study_file import terms_from_json, terms_to_json
from app.federation.study_machine import StudyState

FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRecord:
    """One site. `cases` is its weight: the training cases it declared when it accepted the plan.

    `fold_cases` are those of each fold where a study has several: folds split the cases differently.
    `rejected` is the digest of a fingerprint that did not fit. `problem` is an ErrorCode value,
    empty when there is none.
    """

    name: SiteName
    state: SiteState = SiteState.JOINED
    fingerprint: BlobRef | None = None
    fingerprint_cases: int = 0
    rejected: Digest | None = None
    prepared: Digest | None = None
    refused_plan: bool = False
    cases: int = 0
    fold_cases: tuple[int, ...] = ()
    problem: str = ""
    problem_sentence: str = ""

    def cases_in(self, fold: int) -> int:
        """Return the training cases of the fold at this position."""
        return self.fold_cases[fold] if self.fold_cases else self.cases


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One site asked to train a round.

    `attempt` grows with every new try of this site in this round; an update for another attempt
    does not count. `tries` counts since the study was last resumed. `failed` is the ErrorCode
    value of the last try when it failed.
    """

    site: SiteName
    attempt: int = 1
    tries: int = 1
    failed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRound:
    """The round under way; `averaging` counts the averages started for it."""

    number: int
    state: RoundState
    base: BlobRef
    asks: tuple[Ask, ...]
    updates: tuple[ModelUpdate, ...] = ()
    averaging: int = 0

    def ask_of(self, site: SiteName) -> Ask | None:
        """Return how a site was asked, None when it was not."""
        return next((ask for ask in self.asks if ask.site == site), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedRound:
    """A closed round and the case-weighted figures of its updates.

    `scores` come later: each site's, of the round's average on its held-out cases, in site order.
    """

    model: GlobalModel
    train_loss: float
    validation_loss: float | None
    pseudo_dice: tuple[float | None, ...]
    scores: tuple[SiteScore, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """All that a study must remember over a restart.

    `serial` grows with every change. `roster` are the sites whose fingerprints the plan was made
    from, `last_updates` the digests of the updates in the newest average. `paused_because` is the
    reason when the study paused itself. `shares` are empty unless averaging is asymmetric.
    `later_first_models` are those that the second and further folds begin from; `fold_shares` the
    shares of the last average of each fold that was followed by another.
    """

    study: StudyId
    serial: int = 0
    state: StudyState = StudyState.ENROLLING
    paused: bool = False
    paused_because: str = ""
    failure: str = ""
    without_missing: bool = False
    sites: tuple[SiteRecord, ...] = ()
    roster: tuple[SiteName, ...] = ()
    planning: int = 0
    plan: BlobRef | None = None
    merged: BlobRef | None = None
    first_model: BlobRef | None = None
    later_first_models: tuple[BlobRef, ...] = ()
    round: OpenRound | None = None
    closed: tuple[ClosedRound, ...] = ()
    last_updates: tuple[tuple[SiteName, Digest], ...] = ()
    shares: tuple[SiteShare, ...] = ()
    fold_shares: tuple[tuple[SiteShare, ...], ...] = ()

    def share_of(self, site: SiteName) -> SiteShare | None:
        """Return what a site shares in asymmetric averaging, None before that is known."""
        return next((share for share in self.shares if share.site == site), None)

    def plan_of(self, site: SiteRecord, method: Method) -> BlobRef | None:
        """Return what a site prepares by: the study's plan, or its own in asymmetric averaging.

        A site's own plan stays at home; it goes by the statement of its network.
        """
        if method is Method.ASYM and self.plan is not None:
            return site.fingerprint
        return self.plan

    def base_of(self, site: SiteName, terms: StudyTerms) -> BlobRef | None:
        """Return what a site trains the next round from; None when it cannot train yet."""
        if terms.method is Method.ASYM:
            share = self.share_of(site)
            if share is None or self.lacks_first_pass(site, terms):
                return None
            return share.base
        return self.base(terms)

    def stage(self, terms: StudyTerms) -> int:
        """Return which pass the next round to close belongs to, from 0."""
        return terms.training_at(len(self.closed) + 1).stage

    def lacks_first_pass(self, site: SiteName, terms: StudyTerms) -> bool:
        """Tell whether a site cannot train a cascade's second pass, for want of models of the first.

        In asymmetric averaging a site has none of the folds that ended before it came, so nobody
        could segment the cases that these held out.
        """
        if terms.method is not Method.ASYM or self.stage(terms) == 0:
            return False
        return any(self.last_share(site, fold) is None for fold in range(len(terms.folds)))

    def last_of_fold(self, site: SiteName, fold: int, terms: StudyTerms) -> BlobRef | None:
        """Return a fold's last average as a site gets it; None before there is one for it.

        In asymmetric averaging a site has none of the folds that ended before it came.
        """
        closed = self.closed_of_fold(fold, terms)
        if len(closed) < terms.rounds:
            return None
        if terms.method is not Method.ASYM:
            return closed[-1].model.weights
        share = self.last_share(site, fold)
        return None if share is None else share.base

    def last_share(self, site: SiteName, fold: int) -> SiteShare | None:
        """Return what a site shares of the last average of a fold that has ended."""
        if fold >= len(self.fold_shares):
            return self.share_of(site)
        return next((share for share in self.fold_shares[fold] if share.site == site), None)

    def closed_of_fold(self, fold: int, terms: StudyTerms) -> tuple[ClosedRound, ...]:
        """Return the closed rounds of the fold at this position."""
        return self.closed[fold * terms.rounds : (fold + 1) * terms.rounds]

    @property
    def networks(self) -> tuple[tuple[SiteName, BlobRef], ...]:
        """The statements of all sites that take part and sent one, in site order."""
        found = [(site.name, site.fingerprint) for site in self.members]
        return tuple(sorted((name, blob) for name, blob in found if blob is not None))

    def base(self, terms: StudyTerms) -> BlobRef | None:
        """Return the newest shared model: the last average, or a first model where a fold begins."""
        done = len(self.closed)
        if self.closed and (done % terms.rounds or done >= terms.total_rounds):
            return self.closed[-1].model.weights
        firsts = (self.first_model, *self.later_first_models)
        fold = done // terms.rounds
        return firsts[fold] if fold < len(firsts) else None

    @property
    def members(self) -> tuple[SiteRecord, ...]:
        """The sites that take part, in order of admission."""
        return tuple(site for site in self.sites if site.state is not SiteState.WITHDRAWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """What is known of a site's line. Not saved: times are monotonic seconds of this run."""

    connected: bool
    report: SiteReport | None
    heard_s: float
    progress_s: float


class _Saved(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: int
    terms: str
    record: StudyRecord


def write(terms: StudyTerms, record: StudyRecord) -> bytes:
    """Write a study as canonical JSON."""
    saved = _Saved(format=FORMAT, terms=terms_to_json(terms).decode(), record=record)
    return msgspec.json.encode(saved, order="sorted")


def read(document: bytes) -> tuple[StudyTerms, StudyRecord]:
    """Read what `write` wrote.

    Raises:
        OurMistake: the bytes are damaged or of another version of this program.
    """
    try:
        saved = msgspec.json.decode(document, type=_Saved, strict=True)
        terms = terms_from_json(saved.terms.encode())
    except (msgspec.DecodeError, UnicodeError, RecursionError, FednnunetError) as exc:
        raise OurMistake(f"the saved study cannot be read: {exc}") from exc
    if saved.format != FORMAT:
        raise OurMistake(f"the saved study has format {saved.format}, this program reads {FORMAT}")
    return terms, saved.record
