"""Messages between site and coordinator. Control messages are small and bounded; bulk goes in blobs.

The study is level-triggered: a site reports what it has (`Report`), the coordinator answers with
what is to be done now (`Directive`), on every connect, every change and every minute. So no lost
message can hang a study. Bytes (fingerprints, plans, weights) travel as blobs named by their
SHA-256 (see `app.wire.blobs`).
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
from msgspec import Meta

PROTOCOL = 1
SUBPROTOCOL = "fednnunet.v1"

# \Z, not $: Python's $ also matches before a last line break.
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
StudyKey = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z")]
Text = Annotated[str, Meta(max_length=300)]
LongText = Annotated[str, Meta(max_length=2000)]
Size = Annotated[int, Meta(ge=0, le=8 << 30)]
Small = Annotated[int, Meta(ge=0, le=1_000_000)]
Nonce = Annotated[bytes, Meta(min_length=32, max_length=32)]
PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Proof = Annotated[bytes, Meta(min_length=32, max_length=32)]
FoldCases = Annotated[tuple[Small, ...], Meta(max_length=5)]
UploadId = Annotated[bytes, Meta(min_length=16, max_length=16)]


class Message(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="t", tag=True, forbid_unknown_fields=True
):
    """Base of all messages."""


class Blob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bytes named by their content."""

    sha256: Sha256
    size: Size


class HeldOut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Mean Dice per label over the held-out cases of one site, and how many cases they are."""

    cases: Annotated[int, Meta(ge=1, le=1_000_000)]
    dice: Annotated[tuple[float | None, ...], Meta(max_length=512)]


# --- opening a session -------------------------------------------------------------------------


class Challenge(Message, frozen=True):
    """Coordinator, first: prove who you are over this nonce and the certificate you saw."""

    nonce: Nonce
    study: StudyKey
    protocol_minimum: Small
    protocol_maximum: Small
    version: Text


class Enrol(Message, frozen=True):
    """Site, first time: `proof` is HMAC-SHA256(invitation secret, transcript)."""

    invitation: Annotated[bytes, Meta(min_length=16, max_length=16)]
    public_key: PublicKey
    proof: Proof
    signature: Signature
    version: Text


class Authenticate(Message, frozen=True):
    """Site, every later time: Ed25519 over the transcript (see app.wire.handshake)."""

    site: Name
    client_nonce: Nonce
    signature: Signature
    version: Text


class Welcome(Message, frozen=True):
    """Coordinator: the session is open; `pending` while the coordinator has not approved yet."""

    site: Name
    pending: bool


class Refusal(Message, frozen=True):
    """Coordinator: the session ends; `code` is an ErrorCode value, `sentence` is for a person."""

    code: Text
    sentence: Text


# --- site to coordinator -----------------------------------------------------------------------


class SitePhase(enum.Enum):
    """What a site is doing."""

    WAITING = "waiting"
    CHECKING = "checking"
    AWAITING_CONSENT = "awaiting consent"
    PREPARING = "preparing"
    TRAINING = "training"
    UPLOADING = "uploading"
    PAUSED = "paused"
    FAILED = "failed"


class Report(Message, frozen=True):
    """A site's whole state, sent on connect, on change and every minute.

    `problem` is an ErrorCode value when `phase` is FAILED. `audit_head` is the head of the site's
    audit log, kept by the coordinator as a witness. `identity` and `fold_cases` are as in
    `PlanAccepted`.
    """

    phase: SitePhase
    plan: Sha256 | None = None
    training_cases: Small = 0
    fold_cases: FoldCases = ()
    round: Small = 0
    attempt: Small = 0
    epoch: Small = 0
    step: Small = 0
    steps: Small = 0
    problem: Text | None = None
    audit_head: Sha256 | None = None
    identity: Sha256 | None = None


class FingerprintOffered(Message, frozen=True):
    """The blob `fingerprint` is uploaded; `receipt` is the digest of the operator's allowance."""

    fingerprint: Blob
    receipt: Sha256


class PlanAccepted(Message, frozen=True):
    """The site has preprocessed by this plan and is ready to train with so many cases.

    `identity` is the digest of `app.federation.identity` over what must be equal at every site;
    None where each site has a plan of its own. `fold_cases` are the training cases of each fold in
    a study of several, and empty in one of a single fold.
    """

    plan: Sha256
    training_cases: Small
    fold_cases: FoldCases = ()
    identity: Sha256 | None = None


class PlanRefused(Message, frozen=True):
    """The site will not use this plan; `code` is an ErrorCode value."""

    plan: Sha256
    code: Text
    sentence: Text


class UpdateOffered(Message, frozen=True):
    """The blob `weights` is uploaded: this site's update of a round."""

    round: Small
    attempt: Small
    base: Sha256
    weights: Blob
    cases: Annotated[int, Meta(ge=1, le=1_000_000)]
    train_loss: float
    validation_loss: float | None
    pseudo_dice: Annotated[tuple[float | None, ...], Meta(max_length=512)]
    epoch_seconds: float
    base_score: HeldOut | None = None


class ModelScored(Message, frozen=True):
    """How a fold's last average does on the held-out cases of this site's fold."""

    model: Sha256
    score: HeldOut


class UpdateFailed(Message, frozen=True):
    """The site trained but has nothing that may count (out of memory, not finite, ...)."""

    round: Small
    attempt: Small
    code: Text


class Left(Message, frozen=True):
    """The site leaves the study for good."""


# --- coordinator to site -----------------------------------------------------------------------


class Step(enum.Enum):
    """What a site should do now."""

    WAIT = "wait"
    SEND_FINGERPRINT = "send fingerprint"
    PREPARE = "prepare"
    TRAIN = "train"
    PAUSE = "pause"
    FINISH = "finish"
    STOP = "stop"


class SiteSummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every site may know of every other: name, state, cases, progress; ages in seconds."""

    name: Name
    state: Text
    connected: bool
    cases: Small
    round: Small
    epoch: Small
    step: Small
    steps: Small
    silent_s: Annotated[int, Meta(ge=0)]
    phase: Text = ""
    """What the site last said it is doing (a value of `SitePhase`)."""


class RoundSummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One closed round: who is in the average, and the case-weighted figures of its updates."""

    number: Small
    contributors: Annotated[tuple[Name, ...], Meta(max_length=500)]
    train_loss: float
    validation_loss: float | None
    pseudo_dice: Annotated[tuple[float | None, ...], Meta(max_length=512)]
    held_out_dice: Annotated[tuple[float | None, ...], Meta(max_length=512)] = ()
    held_out_cases: Annotated[int, Meta(ge=0, le=500_000_000)] = 0


class FoldEnd(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a fold that has ended leaves; fields as in `Directive` with FINISH.

    `stage` is the pass, from 0: a cascade trains every fold in each of two.
    """

    fold: Annotated[str, Meta(pattern=r"^[0-4]\Z")]
    model: Blob
    stage: Annotated[int, Meta(ge=0, le=1)] = 0
    merged: Blob | None = None
    score_wanted: bool = False
    best: Blob | None = None
    best_round: Small = 0


class Directive(Message, frozen=True):
    """Everything a site needs to know now. Receiving it twice, late or out of order harms nothing.

    `serial` grows with every change of the study; a site drops an older one. `plan` is present
    from PREPARE on; `base`, `round`, `attempt`, `start_epoch` with TRAIN; `model` with FINISH.
    A site that holds the model `delta_from` can make `base` from it and the smaller `delta`.
    With `score_base` it scores the base before it trains, with `score_wanted` the final model; then
    `best` is the average that did best on all sites' held-out cases, that of round `best_round`.

    Rounds count over the whole study: which fold one trains follows from its number and the terms.
    A finished study of several folds says in `folds` what each of them leaves, `model` is the last.
    While a cascade's second pass is prepared and trained, `folds` are those of the first.
    """

    serial: Annotated[int, Meta(ge=0)]
    step: Step
    study_state: Text
    sentence: Text
    sites: Annotated[tuple[SiteSummary, ...], Meta(max_length=500)]
    closed_rounds: Annotated[tuple[RoundSummary, ...], Meta(max_length=50)]
    plan: Blob | None = None
    merged: Blob | None = None
    base: Blob | None = None
    delta: Blob | None = None
    delta_from: Sha256 | None = None
    round: Small = 0
    attempt: Small = 0
    start_epoch: Small = 0
    rounds: Small = 0
    model: Blob | None = None
    score_base: bool = False
    score_wanted: bool = False
    best: Blob | None = None
    best_round: Small = 0
    folds: Annotated[tuple[FoldEnd, ...], Meta(max_length=10)] = ()
    audit_head: Sha256 | None = None


# --- blobs -------------------------------------------------------------------------------------


class BlobKind(enum.Enum):
    """What a blob is for; each kind has its own size limit."""

    FINGERPRINT = "fingerprint"
    PLAN = "plan"
    MERGED = "merged"
    WEIGHTS = "weights"


class UploadBegin(Message, frozen=True):
    """Site: may I send this blob?"""

    kind: BlobKind
    blob: Blob


class UploadState(Message, frozen=True):
    """Coordinator: go on at `offset`, or it is `complete`, or try again after `retry_after_s`."""

    upload: UploadId
    sha256: Sha256
    offset: Size
    complete: bool = False
    retry_after_s: Small = 0


class Acknowledged(Message, frozen=True):
    """Receiver: everything below `offset` is kept."""

    upload: UploadId
    generation: Small
    offset: Size


class Rejected(Message, frozen=True):
    """Receiver: rewind to `offset`; `generation` echoes the chunk's, so stale ones are ignored."""

    upload: UploadId
    generation: Small
    offset: Size


class UploadCommit(Message, frozen=True):
    """Site: the blob is complete; check it and keep it."""

    upload: UploadId
    sha256: Sha256


class UploadCommitted(Message, frozen=True):
    """Coordinator: the blob is durable, or (not `accepted`) it is refused with a sentence."""

    upload: UploadId
    sha256: Sha256
    accepted: bool
    code: Text = ""
    sentence: Text = ""


class DownloadBegin(Message, frozen=True):
    """Site: send me this blob from `offset` on; `upload` names the transfer."""

    upload: UploadId
    sha256: Sha256
    offset: Size


class DownloadState(Message, frozen=True):
    """Coordinator: the blob's size, or `known` False when there is no such blob for this site."""

    upload: UploadId
    sha256: Sha256
    size: Size
    known: bool


AnyMessage = (
    Challenge
    | Enrol
    | Authenticate
    | Welcome
    | Refusal
    | Report
    | FingerprintOffered
    | PlanAccepted
    | PlanRefused
    | UpdateOffered
    | ModelScored
    | UpdateFailed
    | Left
    | Directive
    | UploadBegin
    | UploadState
    | Acknowledged
    | Rejected
    | UploadCommit
    | UploadCommitted
    | DownloadBegin
    | DownloadState
)
