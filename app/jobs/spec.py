"""What a worker is asked to do. One frozen value per kind of job, written to a spec file.

Paths are absolute. `threads` is the number of CPU threads a job may use; the runner also sets it
in the child's environment (OMP_NUM_THREADS and the like) together with nnU-Net's folders.
"""

from __future__ import annotations

import msgspec

from app.domain.dataset import Case
from app.domain.layout_proposal import LayoutProposal
from app.domain.study import StudyTerms, Transfer


class Job(msgspec.Struct, frozen=True, kw_only=True, tag_field="job", tag=True):
    """Base of all jobs."""

    threads: int = 1


class CheckJob(Job, frozen=True):
    """Scan and check a folder; study labels and channels are compared when given."""

    folder: str
    processes: int = 1
    channel_names: tuple[str, ...] | None = None
    labels: dict[str, int | tuple[int, ...]] | None = None
    minimum_cases: int = 5


class ConvertJob(Job, frozen=True):
    """Make `output` the data set that a person confirmed; DICOM is converted into it."""

    folder: str
    proposal: LayoutProposal
    output: str


class FingerprintJob(Job, frozen=True):
    """Compute the local fingerprint of a checked folder, without the cases in `leave_out`."""

    folder: str
    content_digest: str
    output: str
    leave_out: tuple[str, ...] = ()
    processes: int = 1


class PlanJob(Job, frozen=True):
    """Plan once from the merged fingerprint (`merged`: its JSON); writes the plan package."""

    terms: StudyTerms
    merged: str
    workspace: str
    output: str


class FirstModel(msgspec.Struct, frozen=True, kw_only=True):
    """One more first model to draw: of which configuration, with which seed, and where to."""

    configuration: str
    seed: int
    output: str


class InitialModelJob(Job, frozen=True):
    """Draw the first global model of a plan with the study's seed; writes safetensors.

    `also` are those of further folds and passes: a worker's start costs more than a model.
    """

    plan: str
    configuration: str
    seed: int
    output: str
    also: tuple[FirstModel, ...] = ()


class PreprocessJob(Job, frozen=True):
    """Preprocess the local cases by the shared plan into the worker's own workspace.

    `fold` is as in a study file: one, or a range of those that are trained.
    """

    plan: str
    folder: str
    workspace: str
    configuration: str
    fold: str
    leave_out: tuple[str, ...] = ()
    seed: int = 12345
    processes: int = 1


class TrainJob(Job, frozen=True):
    """Open a training session that lives until `Finish` or `Stop` comes on its standard input.

    `device` is "cpu", "cuda", "cuda:N", "mps" or "auto". `loader_processes` is nnU-Net's number of
    background augmenters (0: in this process). When `checkpoint` exists the session goes on
    from it. Epochs count over the whole study: `epochs_before` lie before this session's fold, whose
    `total_epochs` the learning rate spans. `batch_size` is cases per step (None: the plan's). `gpus` is how many graphics cards
    train together (None: all that torch sees); on a CPU, how many processes do.
    """

    plan: str
    workspace: str
    configuration: str
    fold: str
    total_epochs: int
    iterations_per_epoch: int
    validation_iterations: int
    seed: int
    checkpoint: str
    device: str = "auto"
    loader_processes: int = 0
    batch_size: int | None = None
    gpus: int | None = None
    epochs_before: int = 0


class CalibrateJob(Job, frozen=True):
    """Measure a few training steps of a plan, or (plan None) of the largest network of `terms`.

    With prepared images in `workspace` the steps are real ones, else their images are noise.
    """

    terms: StudyTerms
    workspace: str
    plan: str | None = None
    device: str = "auto"
    loader_processes: int = 0
    batch_size: int | None = None
    seconds: float = 60.0


class SegmentJob(Job, frozen=True):
    """Segment cases with a model zip by nnU-Net's own predictor, in the images' geometry.

    Either `cases`, whose references have the meaning `labels` (None: that of the model), or all of
    `folder`, DICOM series included, which are converted below `workspace`. `confirmed` is the
    data set in this site's home that the cases come from: where it was made of DICOM, segmentations
    are written as DICOM SEG too.
    """

    model: str
    output: str
    cases: tuple[Case, ...] = ()
    folder: str | None = None
    workspace: str | None = None
    confirmed: str | None = None
    labels: dict[str, int | tuple[int, ...]] | None = None
    device: str = "auto"
    mirroring: bool = False
    step_size: float = 0.5


class InspectModelJob(Job, frozen=True):
    """Look at a model zip without running anything in it."""

    model: str


class ScoreJob(Job, frozen=True):
    """Score predictions against references: pairs of (case, reference path, prediction path).

    `alone` are (case, prediction path) without a reference: their volumes are measured. Scores
    are kept in the folder `cache` by the content of what they were made of.
    """

    pairs: tuple[tuple[str, str, str], ...]
    labels: dict[str, int | tuple[int, ...]]
    output: str
    alone: tuple[tuple[str, str], ...] = ()
    cache: str | None = None
    tolerance_mm: float = 1.0


class HeldOutJob(Job, frozen=True):
    """Score weights on the held-out cases of the fold, which `workspace` holds prepared."""

    plan: str
    workspace: str
    configuration: str
    fold: str
    weights: str
    device: str = "auto"


class FirstPassJob(Job, frozen=True):
    """Segment every training case for a cascade's second pass, with the fold that held it out.

    `folds` gives the weights of each fold of the first pass; `workspace` holds the cases prepared for
    both passes and gets the result.
    """

    plan: str
    workspace: str
    folds: dict[str, str]
    device: str = "auto"


class ExportJob(Job, frozen=True):
    """Write a model zip that plain nnU-Net installs and runs; `folds` gives the weights of each.

    `first_pass` gives those of a cascade's first pass.
    """

    plan: str
    folds: dict[str, str]
    configuration: str
    model_name: str
    output: str
    first_pass: dict[str, str] = {}


class ProbeJob(Job, frozen=True):
    """Find out what this installation computes with, and prove that it does, on `device`."""

    device: str = "auto"


AnyJob = (
    CheckJob
    | ConvertJob
    | FingerprintJob
    | PlanJob
    | InitialModelJob
    | PreprocessJob
    | TrainJob
    | CalibrateJob
    | SegmentJob
    | InspectModelJob
    | ScoreJob
    | HeldOutJob
    | FirstPassJob
    | ExportJob
    | ProbeJob
)


# Commands to a living training session, one JSON line each on its standard input.


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="command", tag=True):
    """Base of all commands."""


class TrainRound(Command, frozen=True):
    """Train `epochs` epochs from `base` and write the update to `update` (both safetensors).

    `base` None goes on from the session's own weights (local baseline). `start_epoch` is the
    number of study epochs that lie before this round: a site that missed rounds aligns its
    schedule by it.

    Unless `transfer` is FP32 the update holds rounded changes from `base`: what rounding took away
    before is read from `remainder_before` (None: nothing), what it takes now goes to `remainder`,
    and the weights themselves go to `own`. Only the tensors named in `sent` are in such an update
    (None: all), those named in `whole` as they are.

    With `score_base` the base is first scored on the fold's held-out cases.

    With `proximal_mu` above 0 training is held near the tensors of `anchor` (FedProx).
    """

    round: int
    attempt: int
    epochs: int
    start_epoch: int
    base: str | None
    update: str
    transfer: Transfer = Transfer.FP32
    remainder_before: str | None = None
    remainder: str | None = None
    own: str | None = None
    sent: tuple[str, ...] | None = None
    whole: tuple[str, ...] = ()
    score_base: bool = False
    proximal_mu: float = 0.0
    anchor: str | None = None


class Finish(Command, frozen=True):
    """End the session in peace."""


AnyCommand = TrainRound | Finish
