"""What a worker tells: JSON lines on its event stream, the last one a result or a failure."""

from __future__ import annotations

import msgspec

from app.domain.dataset import Case, DatasetFolder
from app.domain.findings import ValidationReport
from app.domain.layout_proposal import LayoutProposal
from app.domain.plans import PlanSummary
from app.domain.rounds import TensorSpec
from app.domain.segmentation import CaseScore, CaseVolumes, SegmentationResult
from app.domain.training import EpochRecord, HeldOutScore, StepRecord


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=True):
    """Base of all events."""


class Progressed(Event, frozen=True):
    """`done` of `total` units; `what` is a plain word for a person ("checking cases")."""

    done: int
    total: int
    what: str


class Stepped(Event, frozen=True):
    """One optimisation step is done."""

    record: StepRecord


class EpochEnded(Event, frozen=True):
    """One epoch, its validation included, is done."""

    record: EpochRecord


class SessionReady(Event, frozen=True):
    """A training session stands and waits for rounds; `epoch` study epochs lie behind it."""

    training_cases: int
    validation_cases: int
    device: str
    epoch: int
    tensors: tuple[TensorSpec, ...]


class UpdateWritten(Event, frozen=True):
    """The update of a round is on disk, durable; the last epoch's validation still goes on."""

    round: int
    attempt: int
    update: str
    sha256: str
    size: int


class BaseScored(Event, frozen=True):
    """The base of a round is scored on the fold's held-out cases, before the first step."""

    round: int
    attempt: int
    score: HeldOutScore


class RoundTrained(Event, frozen=True):
    """A round is trained and validated; its update is that of `UpdateWritten`.

    `base_score` is the base's, where it was asked for and could be had.
    """

    round: int
    attempt: int
    update: str
    sha256: str
    size: int
    cases: int
    epochs: tuple[EpochRecord, ...]
    base_score: HeldOutScore | None = None


class Checkpointed(Event, frozen=True):
    """Optimizer, schedule, random state and weights are on disk; a kill loses nothing before it."""

    epoch: int


class CasesFound(Event, frozen=True):
    """The cases that will be segmented; a reference that means other labels is left away.

    `origins` says where in its folder the DICOM series of a case lies.
    """

    cases: tuple[Case, ...]
    labels: dict[str, int | tuple[int, ...]]
    origins: dict[str, str] = {}


class CaseSegmented(Event, frozen=True):
    """One case has its prediction."""

    result: SegmentationResult


class Noted(Event, frozen=True):
    """A line for the log, without names or paths of cases."""

    text: str


class Failed(Event, frozen=True):
    """The job cannot go on. `code` is an ErrorCode value, `sentence` is for a person."""

    code: str
    sentence: str


class Checked(Event, frozen=True):
    """Result of a check; `dataset` is None where the layout was not recognised.

    `proposal` is what a folder without a dataset.json of its own seems to hold.
    """

    report: ValidationReport
    dataset: DatasetFolder | None
    proposal: LayoutProposal | None = None


class LayoutConfirmed(Event, frozen=True):
    """Result: a data set as confirmed lies at `output`; `findings` is how many remarks there are."""

    output: str
    cases: int
    findings: int


class Fingerprinted(Event, frozen=True):
    """Result: the local fingerprint lies at `output`."""

    output: str
    cases: int


class Planned(Event, frozen=True):
    """Result: the plan package lies at `output`."""

    output: str
    digest: str
    summary: PlanSummary


class ModelDrawn(Event, frozen=True):
    """Result: the first global model lies at `output`."""

    output: str
    sha256: str
    size: int
    tensors: tuple[TensorSpec, ...]


class Preprocessed(Event, frozen=True):
    """Result: cases are preprocessed; how many train and validate in the (first) chosen fold.

    `fold_cases` says how many train in each, where several are chosen.
    """

    training_cases: int
    validation_cases: int
    fold_cases: tuple[int, ...] = ()


class SessionEnded(Event, frozen=True):
    """Result: the session closed as asked."""

    epoch: int


class Calibrated(Event, frozen=True):
    """Result: median seconds of a training step and of a validation step at the plan's full size.

    `scaled` says that smaller patches were measured and the time was multiplied by their share.
    """

    device: str
    steps: int
    step_s: float
    validation_step_s: float
    batch_size: int
    patch: tuple[int, ...]
    scaled: bool
    real_images: bool


class Segmented(Event, frozen=True):
    """Result: all cases are segmented."""

    results: tuple[SegmentationResult, ...]


class ModelInspected(Event, frozen=True):
    """Result: what a model zip holds, all of it checked."""

    digest: str
    channels: tuple[str, ...]
    labels: tuple[str, ...]
    configuration: str
    folds: int
    trainer: str


class Scored(Event, frozen=True):
    """Result: scores of all pairs and volumes of the others, in the order given.

    `computed` of them were not found in the cache.
    """

    scores: tuple[CaseScore, ...]
    volumes: tuple[CaseVolumes, ...] = ()
    computed: int = 0


class HeldOutScored(Event, frozen=True):
    """Result: how weights do on the held-out cases of the fold."""

    score: HeldOutScore


class FirstPassSegmented(Event, frozen=True):
    """Result: every training case is segmented for a cascade's second pass."""

    cases: int


class Exported(Event, frozen=True):
    """Result: the model zip lies at `output`."""

    output: str
    sha256: str


class Probed(Event, frozen=True):
    """Result: what the worker computes with.

    `device` is torch's name ("cuda:0"), `device_name` a person's ("" for the processor), `cuda`
    the CUDA version torch was built for ("" for none). `torch_from` is the folder torch was
    imported from. `trainers` are the classes that nnU-Net found by name.
    """

    torch: str
    torch_from: str
    nnunet: str
    device: str
    device_name: str
    cuda: str
    torchvision: str
    trainers: tuple[str, ...]


Result = (
    Checked
    | LayoutConfirmed
    | Fingerprinted
    | Planned
    | ModelDrawn
    | Preprocessed
    | SessionEnded
    | Calibrated
    | Segmented
    | ModelInspected
    | Scored
    | HeldOutScored
    | FirstPassSegmented
    | Exported
    | Probed
)
AnyEvent = (
    Progressed
    | Stepped
    | EpochEnded
    | SessionReady
    | UpdateWritten
    | BaseScored
    | RoundTrained
    | Checkpointed
    | CasesFound
    | CaseSegmented
    | Noted
    | Failed
    | Result
)
