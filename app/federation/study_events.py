"""What a study is told (events) and what it wants done (effects).

Events from sites may come twice, late or out of order. Effects are performed after the study was
saved: save, then send.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.errors import ErrorCode
from app.domain.ids import Digest, SiteName
from app.domain.rounds import BlobRef, GlobalModel, ModelUpdate
from app.domain.training import HeldOutScore


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteReport:
    """A site's whole state as it says so itself; fields as in `app.wire.messages.Report`.

    `phase` is the value of wire's SitePhase; `problem` an ErrorCode value or None.
    """

    phase: str
    plan: Digest | None = None
    training_cases: int = 0
    fold_cases: tuple[int, ...] = ()
    round: int = 0
    attempt: int = 0
    epoch: int = 0
    step: int = 0
    steps: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteShare:
    """Asymmetric averaging: what one site shares (`part`), and its tensors of the newest average.

    `network` is the statement that it was made for; `part` is the blob of
    `app.federation.asymmetric.encode_part`, `base` a tensor file. Where changes travel, a site that
    holds the base `before` can make `base` from it and the smaller `change`.
    """

    site: SiteName
    network: BlobRef
    part: BlobRef
    base: BlobRef
    change: BlobRef | None = None
    before: Digest | None = None


# --- events: membership and link ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteAdmitted:
    """The coordinator admitted a site (by invitation or by hand)."""

    site: SiteName


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConnected:
    """An admitted site opened a session."""

    site: SiteName


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteDisconnected:
    """A site's session ended."""

    site: SiteName


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteReported:
    """A site said what it is doing."""

    site: SiteName
    report: SiteReport


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadProgressed:
    """Bytes of a site's upload arrived: a sign of progress. Once a minute is often enough."""

    site: SiteName


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A site leaves the study for good; what it sent and is not yet averaged is dropped."""

    site: SiteName


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """The coordinator excludes a site; its pending update is dropped and its session ended."""

    site: SiteName


# --- events: work ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FingerprintArrived:
    """A site's shared fingerprint is kept and was checked by `shared_codec.decode`."""

    site: SiteName
    fingerprint: BlobRef
    cases: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMade:
    """Answer to `MergeAndPlan`: plan package, merged fingerprint and first model are kept.

    In asymmetric averaging `plan` and `merged` are the table of all sites' networks, and `shares`
    has one entry for every site that was asked for. `later_bases` are the first models of the
    second and further folds.
    """

    attempt: int
    plan: BlobRef
    merged: BlobRef
    base: BlobRef
    shares: tuple[SiteShare, ...] = ()
    later_bases: tuple[BlobRef, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SitesAligned:
    """Answer to `AlignSites`: late sites' shares, cut from `model`."""

    model: BlobRef
    shares: tuple[SiteShare, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanningFailed:
    """Answer to `MergeAndPlan`; `site` is the one whose fingerprint does not fit, if it is one's."""

    attempt: int
    sentence: str
    site: SiteName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanAccepted:
    """A site preprocessed by this plan; it trains with so many cases, its weight.

    `fold_cases` says so for each fold, where a study has several.
    """

    site: SiteName
    plan: Digest
    cases: int
    fold_cases: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRefused:
    """A site will not use this plan; `code` is an ErrorCode value as the site sent it."""

    site: SiteName
    plan: Digest
    code: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateArrived:
    """A site's update is kept and its tensors' header was checked."""

    update: ModelUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelScored:
    """A site scored a fold's last average on its held-out cases; `model` is the one it got."""

    site: SiteName
    model: Digest
    score: HeldOutScore


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateFailed:
    """A site has nothing that may count for this round; `code` is an ErrorCode value."""

    site: SiteName
    round: int
    attempt: int
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundAveraged:
    """Answer to `AverageRound`: the average is kept, and what every site gets of it (`shares`)."""

    round: int
    attempt: int
    model: BlobRef
    shares: tuple[SiteShare, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragingFailed:
    """Answer to `AverageRound`; `site` is the one whose update cannot be used, if it is one's."""

    round: int
    attempt: int
    sentence: str
    site: SiteName | None = None


# --- events: the coordinator and time ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """Enrolment is over. With `without_missing`, sites without a fingerprint join later.

    May be told again, to go on without the missing ones.
    """

    without_missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """No site shall work until `Resume`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Go on after a pause, or try again after planning failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End the study before its last round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time passed. To be told at least once a minute."""


Event = (
    SiteAdmitted
    | SiteConnected
    | SiteDisconnected
    | SiteReported
    | UploadProgressed
    | Left
    | Revoked
    | FingerprintArrived
    | PlanMade
    | SitesAligned
    | PlanningFailed
    | PlanAccepted
    | PlanRefused
    | UpdateArrived
    | ModelScored
    | UpdateFailed
    | RoundAveraged
    | AveragingFailed
    | Begin
    | Pause
    | Resume
    | Stop
    | Tick
)


# --- effects -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeAndPlan:
    """Merge these fingerprints (in site order), plan, draw the first model; then say `PlanMade`."""

    attempt: int
    fingerprints: tuple[tuple[SiteName, BlobRef], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageRound:
    """Average these updates (in site order); then say `RoundAveraged` with the same attempt.

    In asymmetric averaging `networks` are the statements of all sites that take part now, for whom
    shares are to be made; `shares` are those that the updates were made by.
    """

    round: int
    attempt: int
    base: BlobRef
    updates: tuple[ModelUpdate, ...]
    networks: tuple[tuple[SiteName, BlobRef], ...] = ()
    shares: tuple[SiteShare, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignSites:
    """Make the shares of `newcomers` among all `networks` from `model`; then say `SitesAligned`.

    `stage` is the pass, from 0, whose networks they are.
    """

    model: BlobRef
    networks: tuple[tuple[SiteName, BlobRef], ...]
    newcomers: tuple[SiteName, ...]
    stage: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TellSites:
    """Send the present instruction to these connected sites, or to all when `sites` is None."""

    sites: tuple[SiteName, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What this site sent does not count; for the log, and for the site's eyes."""

    site: SiteName
    code: ErrorCode
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DropSession:
    """End this site's session and let it not come back."""

    site: SiteName
    code: ErrorCode
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFinished:
    """The last round is closed: this is the study's model."""

    model: GlobalModel


Effect = (
    MergeAndPlan | AlignSites | AverageRound | TellSites | Refused | DropSession | StudyFinished
)
