"""What goes over the control API: the snapshot of a site service, its changes, commands, answers."""

# No annotations as text here: msgspec would compile the hundreds that a snapshot has one by one, in
# every process that attaches to a service.

import enum

import msgspec

from app.domain.dataset import DatasetFolder
from app.domain.findings import ValidationReport
from app.domain.layout_proposal import ChannelAnswer, LayoutProposal, StructureAnswer
from app.domain.plans import PlanSummary
from app.domain.segmentation import (
    CaseScore,
    CaseSource,
    CaseVolumes,
    ModelKind,
    SegmentationResult,
)
from app.domain.training import EpochRecord, StepRecord


class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all parts of a snapshot."""


class JobView(Struct, frozen=True):
    """A job that runs, or how the last one of its kind ended."""

    kind: str
    running: bool
    done: int = 0
    total: int = 0
    what: str = ""
    outcome: str = ""
    failed: bool = False
    seconds_left: float | None = None
    """Estimated from the pace so far; None while too little is done to tell."""


class ServiceView(Struct, frozen=True):
    """The service itself. Times are seconds since the epoch (UTC)."""

    version: str
    pid: int
    home: str
    started_at: float
    problem: str = ""
    remedy: str = ""
    starts_at_login: bool = False
    """This service is started when this user logs in (see `SetStartAtLogin`)."""
    awake_sentence: str = ""
    """Said while a round runs: that the computer is kept from sleeping, or that it cannot be."""


class DataView(Struct, frozen=True):
    """The chosen folder and what the check said of it."""

    folder: str | None = None
    job: JobView | None = None
    report: ValidationReport | None = None
    dataset: DatasetFolder | None = None
    proposal: LayoutProposal | None = None
    """What a folder without its own dataset.json seems to hold, until a person confirms it."""
    proposal_digest: str | None = None
    confirmed: bool = False
    """The layout was confirmed: `dataset` lies in the workspace, `folder` is the source."""


class HistogramView(Struct, frozen=True):
    """Bars of a histogram: edges has one entry more than counts."""

    label: str
    unit: str
    edges: tuple[float, ...]
    counts: tuple[float, ...]


class OutgoingField(Struct, frozen=True):
    """One row of “what leaves”: the field, what it is for, how it could point at a patient."""

    field: str
    value: str
    purpose: str
    risk: str
    """One of "aggregate", "count of one", "per case", "single voxel"."""


class CaseRow(Struct, frozen=True):
    """One case as the local fingerprint has it (never leaves)."""

    case: str
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    left_out: bool = False
    note: str = ""


class AllowanceView(Struct, frozen=True):
    """The receipt of an operator's permission to share exactly these bytes."""

    operator: str
    allowed_at: float
    digest: str
    receipt: str
    sent: bool = False


class FingerprintView(Struct, frozen=True):
    """The local fingerprint, what would leave, the permission, and what came back."""

    job: JobView | None = None
    cases: tuple[CaseRow, ...] = ()
    policy: str = "minimal"
    outgoing: str | None = None
    """The exact outgoing bytes (UTF-8 JSON)."""
    outgoing_digest: str | None = None
    fields: tuple[OutgoingField, ...] = ()
    pictures: tuple[HistogramView, ...] = ()
    """Drawn from the outgoing bytes, never from the images."""
    outliers: tuple[str, ...] = ()
    blocked: str = ""
    """Why it cannot be shared (too few cases, stale), empty when it can."""
    allowance: AllowanceView | None = None
    merged_pictures: tuple[HistogramView, ...] = ()
    merged_sentence: str = ""
    """What the federation changes for this site."""


class LinkState(enum.Enum):
    """The link to the coordinator."""

    NONE = "no study"
    CONNECTING = "connecting"
    PENDING = "waiting for approval"
    CONNECTED = "connected"
    OFFLINE = "offline"
    REFUSED = "refused"


class SiteRow(Struct, frozen=True):
    """One site of the study as the coordinator tells it.

    `doing` is one word for a table: joined, ready, preparing, training, uploading, delivered,
    paused, failed, absent or left. `absent_since` is set for a site that is absent or not
    connected: when it was last heard, in seconds since the epoch; None when nobody knows.
    """

    name: str
    state: str
    connected: bool
    cases: int
    round: int
    epoch: int
    step: int
    steps: int
    silent_s: int
    here: bool
    doing: str = ""
    absent_since: float | None = None


class RoundRow(Struct, frozen=True):
    """One closed round; `held_out_dice` is its average's on all sites' held-out cases."""

    number: int
    contributors: tuple[str, ...]
    train_loss: float
    validation_loss: float | None
    pseudo_dice: tuple[float | None, ...]
    held_out_dice: tuple[float | None, ...] = ()
    held_out_cases: int = 0


class TrafficView(Struct, frozen=True):
    """How much a study moves between a site and its coordinator, in bytes; up is away from here.

    Before the plan is made the network's size is that of the largest one the planner makes.
    """

    transfer: str
    """ "fp32", "fp16" or "int8"."""
    round_up: int
    round_down: int
    study_up: int
    study_down: int
    estimated: bool
    sentence: str
    finish_at: float | None = None
    """When the study would end if it began now (UTC); None where this computer's pace is unknown."""


class StudyView(Struct, frozen=True):
    """The joined study."""

    name: str
    purpose: str
    contact: str
    coordinator: str
    site: str
    words: str
    """Six words that both screens show for this site's key."""
    labels: tuple[str, ...]
    """Foreground labels in the order of every pseudo-Dice tuple."""
    method: str
    policy: str
    rounds: int
    """Of all folds of all passes together."""
    epochs_per_round: int
    iterations_per_epoch: int
    validation_iterations: int
    minimum_sites: int
    traffic: TrafficView | None = None
    folds: int = 1
    stages: int = 1
    """Passes over the folds: two in a cascade."""


class DoctorRow(Struct, frozen=True):
    """What the connection doctor found at one layer; `state` is ok, warning, failed or skipped."""

    step: str
    state: str
    sentence: str
    remedy: str = ""


class NetworkLayer(Struct, frozen=True):
    """Layers of this site's network of one role at one resolution.

    `role` is a value of `app.federation.network.Role`, `scale` the stride to full resolution per
    axis. Of `weights` numbers `shared` go round, with `sites` other sites.
    """

    role: str
    scale: tuple[int, ...]
    weights: int
    shared: int
    sites: int


class NetworkView(Struct, frozen=True):
    """How much of this site's own network goes round, where every site has one of its own."""

    sentence: str
    percent: int
    layers: tuple[NetworkLayer, ...]


class FederationView(Struct, frozen=True):
    """Study, link and sites."""

    link: LinkState = LinkState.NONE
    link_sentence: str = ""
    study: StudyView | None = None
    study_state: str = ""
    sentence: str = ""
    sites: tuple[SiteRow, ...] = ()
    rounds: tuple[RoundRow, ...] = ()
    plan: PlanSummary | None = None
    plan_digest: str | None = None
    network: NetworkView | None = None
    sent_bytes: int = 0
    received_bytes: int = 0
    doctor: tuple[DoctorRow, ...] = ()
    """What the last examination of the connection found, in the order of the layers."""
    doctor_ticket: str = ""
    """Plain text for hospital IT, without secrets."""
    doctor_running: bool = False
    proxy: str = "system"
    """The chosen proxy without name and password: "system", "none" or an address."""


class CardSample(Struct, frozen=True):
    """One reading of one graphics card; a figure that the driver does not give is None.

    `throttled` says in plain words why the card runs slower than it could ("too hot"); empty when
    it does not. `others` are names of programs other than this site's training on the card.
    """

    name: str
    percent: float | None = None
    memory_percent: float | None = None
    memory_gb: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    throttled: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


class DeviceSample(Struct, frozen=True):
    """One reading of the machine. `cards` is empty where there is no card that can be read.

    Rates are megabytes per second of the whole computer since the reading before. `cpu_percent` is
    of all processors together.
    """

    at: float
    cpu_percent: float
    memory_percent: float
    worker_memory_mb: float
    disk_free_gb: float
    memory_free_gb: float = 0.0
    worker_cpu_percent: float = 0.0
    """Of one processor: 200 means two of them, all processes of the worker together."""
    disk_read_mb_s: float = 0.0
    disk_write_mb_s: float = 0.0
    network_in_mb_s: float = 0.0
    network_out_mb_s: float = 0.0
    cards: tuple[CardSample, ...] = ()


class LogLine(Struct, frozen=True):
    """One line of the log, without names and paths; `level` is info, warning or error."""

    at: float
    level: str
    source: str
    """Which part of the program speaks, e.g. "site.study_desk"."""
    text: str


class StopCosts(Struct, frozen=True):
    """What stopping would cost now, as numbers and as one sentence for each way to stop."""

    checkpoint_at: float | None = None
    """When this site's training was last safe on disk; None before the first checkpoint."""
    lost_s: float = 0.0
    """Seconds of training that stopping now throws away: they are done again."""
    next_checkpoint_s: float | None = None
    """Seconds until the next checkpoint; None when nothing is trained or it cannot be told."""
    pause: str = ""
    """Cost of `PauseTraining()`: “Last checkpoint 3 minutes ago; stopping now loses 2 minutes …”"""
    pause_at_checkpoint: str = ""
    """Cost of `PauseTraining(at_checkpoint=True)`."""
    resume: str = ""
    """What `ResumeTraining` does now; empty when nothing is paused."""
    leave: str = ""
    """Cost of `LeaveStudy`."""
    switch_off: str = ""
    """Answers “may I switch this computer off?”."""

    @property
    def switch_off_asked(self) -> str:
        """The question with its answer, as a person reads it; empty where there is no answer."""
        return f"May I switch this computer off? {self.switch_off}" if self.switch_off else ""


class ScheduleView(Struct, frozen=True):
    """When this site trains. Times are minutes after midnight, local time; see `SetSchedule`."""

    from_minute: int | None = None
    to_minute: int | None = None
    weekends: bool = False
    yield_card: bool = False
    resting: bool = False
    """Training waits now because of the schedule."""
    sentence: str = ""
    """What the schedule says now: “Trains from 20:00 to 07:00; waits until 20:00.”"""
    resumes_at: float | None = None
    """When training goes on, in seconds since the epoch; None when that depends on others."""


class Alarm(Struct, frozen=True):
    """Something that keeps training from going well, and what to do. The worst comes first.

    `code` is a stable word of `app.site.stall.StallCode`, e.g. "loader-starved"; `severity` is
    "stopped" (nothing goes on), "slow" or "notice".
    """

    code: str
    severity: str
    sentence: str
    remedy: str
    since: float


class Interruption(Struct, frozen=True):
    """An unplanned end of training, and what it cost; the newest comes first.

    `lost_steps` steps of `epoch` are done again: no finished epoch is ever lost or counted twice.
    """

    at: float
    what: str
    """One of "worker lost", "service lost", "computer lost"."""
    sentence: str
    """“The computer went off at 03:12 …; 41 steps (2 minutes) of epoch 7 are trained again.”"""
    epoch: int
    lost_steps: int
    lost_s: float


class SpeedView(Struct, frozen=True):
    """Is this speed normal for this computer? `verdict`: unknown, usual, slow or fast.

    While nothing is trained it judges what was measured with the study's own plan.

    `usual_s` is the median step of this very plan and device in this computer's own history;
    `table_s` what the kept table expects of such a card, None where it has no entry.
    """

    verdict: str = "unknown"
    sentence: str = ""
    step_s: float | None = None
    usual_s: float | None = None
    table_s: float | None = None


class DevicesView(Struct, frozen=True):
    """What training computes with here: what was chosen (`SetDevices`), and what is offered."""

    device: str = "auto"
    gpus: int | None = None
    """How many graphics cards one round may use; None means all."""
    gpus_here: int = 0
    batch_size: int | None = None
    """Cases per step at this site; None means the plan's."""
    plan_batch_size: int = 0
    offered_batch_size: int | None = None
    """A smaller one that is offered because the last round did not fit into memory."""
    sentence: str = ""


class CalibrationView(Struct, frozen=True):
    """How long rounds and the study take here: by a few measured steps, or by training itself.

    Once the study trains here its own pace counts (`trained`), so that this and `SpeedView` are of
    one measure.
    """

    at: float
    device: str
    seconds_per_step: float
    seconds_per_round: float
    seconds_of_study: float
    """What is left of it, without waiting for other sites."""
    finish_at: float
    sentence: str
    seconds_per_epoch: float = 0.0
    trained: bool = False
    rough: bool = False
    """Measured with another plan or smaller patches than those of the study."""


class TrainingView(Struct, frozen=True):
    """Training at this site. `steps` holds the current and last epoch's steps only.

    `rounds` and `total_epochs` are those of all `folds` in all passes (`stages`) together; `round` and
    `epoch` count so too.
    `epochs` is the whole history, every round of the study. That of this site's own training
    without the federation is `ReviewView.baseline`.
    """

    sentence: str = ""
    phase: str = "waiting"
    job: JobView | None = None
    round: int = 0
    rounds: int = 0
    folds: int = 1
    stages: int = 1
    epoch: int = 0
    total_epochs: int = 0
    step: int = 0
    steps_per_epoch: int = 0
    seconds_left: float | None = None
    """Estimated seconds until this site's part of the round is done."""
    device: str = ""
    paused: bool = False
    pausing: bool = False
    """A pause is wished for; it begins at the next checkpoint."""
    epochs: tuple[EpochRecord, ...] = ()
    steps: tuple[StepRecord, ...] = ()
    last_checkpoint_at: float | None = None
    round_expected_at: float | None = None
    """When the open round should have every site's update; None when it cannot be told."""
    costs: StopCosts = StopCosts()
    schedule: ScheduleView = ScheduleView()
    alarms: tuple[Alarm, ...] = ()
    interruptions: tuple[Interruption, ...] = ()
    speed: SpeedView = SpeedView()
    devices: DevicesView = DevicesView()
    calibration: CalibrationView | None = None
    calibration_job: JobView | None = None
    samples: tuple[DeviceSample, ...] = ()
    log: tuple[LogLine, ...] = ()


class ModelView(Struct, frozen=True):
    """A model that can segment here; the zip of a round's average is made when it is first used."""

    name: str
    path: str
    digest: str
    round: int
    kind: ModelKind = ModelKind.FILE


class RunState(enum.Enum):
    """How far a run over cases is."""

    RUNNING = "running"
    UNFINISHED = "unfinished"
    """Stopped, failed or interrupted: begun again it goes on with what is missing."""
    DONE = "done"


class RunView(Struct, frozen=True):
    """One model over some cases: what was asked, and what there is of it.

    `cases` names all that were asked for; `results` those that are segmented.
    """

    serial: int
    model: ModelView
    source: CaseSource
    folder: str | None
    mirroring: bool
    device: str
    begun_at: float
    state: RunState
    output: str
    labels: dict[str, int | tuple[int, ...]] = {}
    cases: tuple[str, ...] = ()
    results: tuple[SegmentationResult, ...] = ()
    scores: tuple[CaseScore, ...] = ()
    volumes: tuple[CaseVolumes, ...] = ()
    origins: dict[str, str] = {}
    """Where in the folder the DICOM series of a case lies."""
    outcome: str = ""
    """How it ended, for a person; empty while it runs."""


class BaselineView(Struct, frozen=True):
    """Training without the federation: by the study's plan and epochs, on this site's cases alone.

    `offered` is False with the reason in `why_not`. `epoch` of `total_epochs` lie behind it.
    """

    offered: bool = False
    why_not: str = ""
    job: JobView | None = None
    epoch: int = 0
    total_epochs: int = 0
    epochs: tuple[EpochRecord, ...] = ()
    done: bool = False


class ModelInspection(Struct, frozen=True):
    """What a model zip holds; `problem` is empty when it can segment here."""

    path: str
    digest: str = ""
    channels: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    configuration: str = ""
    folds: int = 0
    trainer: str = ""
    problem: str = ""
    remedy: str = ""


class ReviewView(Struct, frozen=True):
    """Models, segmentations and scores of this site (verdicts live in the review store).

    `results`, `scores`, `labels` and `output` are those of the newest run.
    """

    job: JobView | None = None
    models: tuple[ModelView, ...] = ()
    results: tuple[SegmentationResult, ...] = ()
    scores: tuple[CaseScore, ...] = ()
    labels: dict[str, int | tuple[int, ...]] = {}
    output: str | None = None
    runs: tuple[RunView, ...] = ()
    """Oldest first; a model that segments the same cases again takes its earlier run's place."""
    held_out: int = 0
    """Cases of the site's folder that nobody trains on."""
    validation: int = 0
    """Cases that the study's fold keeps out of training."""
    inspected: ModelInspection | None = None
    """The last model file that a person asked about."""
    baseline: BaselineView = BaselineView()


class Snapshot(Struct, frozen=True, tag="snapshot"):
    """Everything a window shows."""

    service: ServiceView
    data: DataView
    fingerprint: FingerprintView
    federation: FederationView
    training: TrainingView
    review: ReviewView


# --- events ------------------------------------------------------------------------------------


class Changed(Struct, frozen=True, tag="changed"):
    """Sections that changed, whole; None means unchanged."""

    service: ServiceView | None = None
    data: DataView | None = None
    fingerprint: FingerprintView | None = None
    federation: FederationView | None = None
    training: TrainingView | None = None
    review: ReviewView | None = None


class StepTaken(Struct, frozen=True, tag="step"):
    """One training step; append it to `training.steps` (drop those of epochs before the last)."""

    record: StepRecord
    seconds_left: float | None = None


class EpochFinished(Struct, frozen=True, tag="epoch"):
    """One epoch; append it to `training.epochs`."""

    record: EpochRecord


class Sampled(Struct, frozen=True, tag="sample"):
    """One device reading; append it to `training.samples` (the last 600 are kept)."""

    sample: DeviceSample


class Logged(Struct, frozen=True, tag="log"):
    """One line of the log; append it to `training.log` (the last 500 are kept)."""

    line: LogLine


# --- commands ----------------------------------------------------------------------------------


class ChooseFolder(Struct, frozen=True, tag="choose-folder"):
    """Make `folder` the data of this site and check it."""

    folder: str


class CheckFolder(Struct, frozen=True, tag="check-folder"):
    """Check the chosen folder again."""


class ConfirmLayout(Struct, frozen=True, tag="confirm-layout"):
    """Use the folder as proposed, with these answers; DICOM is converted, then it is checked.

    `digest` says which proposal the answers are about. `channels` are those to use, in the order
    of their numbers; `structures` those to keep, others are left out; `leave_out` names cases of
    the proposal. `pseudonyms` renames cases to case-0001, …, as DICOM cases always are.
    """

    digest: str
    channels: tuple[ChannelAnswer, ...]
    structures: tuple[StructureAnswer, ...]
    leave_out: tuple[str, ...] = ()
    pseudonyms: bool = False


class ProposeLayout(Struct, frozen=True, tag="propose-layout"):
    """Forget the confirmed layout and look at the folder anew."""


class ComputeFingerprint(Struct, frozen=True, tag="compute-fingerprint"):
    """Compute the local fingerprint without the named cases."""

    leave_out: tuple[str, ...] = ()


class AllowFingerprint(Struct, frozen=True, tag="allow-fingerprint"):
    """Permit sharing of exactly the bytes with this digest."""

    operator: str
    digest: str


class WithdrawAllowance(Struct, frozen=True, tag="withdraw-allowance"):
    """Take the permission back (what was sent cannot be called back)."""


class ReadInvitation(Struct, frozen=True, tag="read-invitation"):
    """Read an invitation file; answered by `InvitationView`. Nothing is joined."""

    path: str


class JoinStudy(Struct, frozen=True, tag="join-study"):
    """Join the study of an invitation file that a person has read."""

    path: str


class RunDoctor(Struct, frozen=True, tag="run-doctor"):
    """Examine the connection, of an invitation file or (None) of the joined study.

    Joins nothing and uses up no invitation. The answer comes as `FederationView.doctor`.
    """

    path: str | None = None


class SetProxy(Struct, frozen=True, tag="set-proxy"):
    """Connect by "system" settings, without a proxy ("none"), or by an address."""

    proxy: str


class SetDevices(Struct, frozen=True, tag="set-devices"):
    """Train with this device, so many graphics cards (None: all), cases per step (None: the plan's).

    It holds from the next round on; a round that is being trained goes on as it began.
    """

    device: str = "auto"
    gpus: int | None = None
    batch_size: int | None = None


class Calibrate(Struct, frozen=True, tag="calibrate"):
    """Measure a few steps of training; answered in `TrainingView.calibration`.

    With `path` the study of that invitation is measured, before it is joined.
    """

    path: str | None = None


class LeaveStudy(Struct, frozen=True, tag="leave-study"):
    """Leave the study."""


class PauseTraining(Struct, frozen=True, tag="pause-training"):
    """Pause this site; `StopCosts` says what each way costs.

    At once, the unfinished epoch is done again after the pause. `at_checkpoint` first lets the
    epoch end, so that nothing is lost; until then `TrainingView.pausing` is set.
    """

    at_checkpoint: bool = False


class ResumeTraining(Struct, frozen=True, tag="resume-training"):
    """Go on after a pause, or take back one that waits for its checkpoint."""


class SetSchedule(Struct, frozen=True, tag="set-schedule"):
    """Train only when this allows it; with no value given, at any time.

    `from_minute` and `to_minute` (minutes after midnight, local time) are given together and may
    span midnight; `weekends` adds Saturday and Sunday as whole days. `yield_card` rests while
    another program uses the graphics card.
    """

    from_minute: int | None = None
    to_minute: int | None = None
    weekends: bool = False
    yield_card: bool = False


class SetStartAtLogin(Struct, frozen=True, tag="set-start-at-login"):
    """Start this site's service when this user logs in, or no longer."""

    on: bool


class PrepareReport(Struct, frozen=True, tag="prepare-report"):
    """Collect what a problem report would hold; answered by `ReportView`. Nothing is saved."""


class SegmentCases(Struct, frozen=True, tag="segment"):
    """Segment cases with a model: with `folder` the images (or DICOM series) of that folder.

    Without it those of `source`. The same wish again goes on with what is missing. `device` is
    "auto", "cpu", "cuda", "cuda:N", "mps", or empty for the site's own setting.
    """

    model: str
    folder: str | None = None
    mirroring: bool = False
    source: CaseSource = CaseSource.HELD_OUT
    device: str = ""


class InspectModel(Struct, frozen=True, tag="inspect-model"):
    """Look at a model zip from elsewhere without running anything in it.

    The answer comes as `ReviewView.inspected`.
    """

    path: str


class ForgetRun(Struct, frozen=True, tag="forget-run"):
    """Remove a run and the segmentations that it made; verdicts stay."""

    serial: int


class TrainBaseline(Struct, frozen=True, tag="train-baseline"):
    """Train this site alone by the study's plan, or go on with it where it was stopped."""


class StopJob(Struct, frozen=True, tag="stop-job"):
    """Stop the running job of this kind; finished work is kept."""

    kind: str


class StopService(Struct, frozen=True, tag="stop-service"):
    """End the service (training stops; it goes on when the service starts again)."""


AnyCommand = (
    ChooseFolder
    | CheckFolder
    | ConfirmLayout
    | ProposeLayout
    | ComputeFingerprint
    | AllowFingerprint
    | WithdrawAllowance
    | ReadInvitation
    | JoinStudy
    | RunDoctor
    | SetProxy
    | SetDevices
    | Calibrate
    | LeaveStudy
    | PauseTraining
    | ResumeTraining
    | SetSchedule
    | SetStartAtLogin
    | PrepareReport
    | SegmentCases
    | InspectModel
    | ForgetRun
    | TrainBaseline
    | StopJob
    | StopService
)


class Request(Struct, frozen=True, tag="request"):
    """A command with a number that its answer repeats."""

    number: int
    command: AnyCommand


class InvitationView(Struct, frozen=True, tag="invitation"):
    """What an invitation says. `problem` is empty when it can be joined."""

    study: str
    purpose: str
    contact: str
    coordinator: str
    site: str
    policy: str
    expires_at: float
    rounds: int
    """Of all folds of all passes together."""
    method: str
    problem: str = ""
    remedy: str = ""
    traffic: TrafficView | None = None
    folds: int = 1
    stages: int = 1


class ReportFile(Struct, frozen=True):
    """One file of a problem report, exactly as it would be in the zip."""

    name: str
    text: str


class ReportView(Struct, frozen=True, tag="report"):
    """A problem report to look at before it is saved; `app.system.problem_report` makes the zip."""

    files: tuple[ReportFile, ...]


class Accepted(Struct, frozen=True, tag="accepted"):
    """The command is done or under way."""


class Refused(Struct, frozen=True, tag="refused"):
    """The command cannot be done: a sentence and a remedy."""

    code: str
    sentence: str
    remedy: str


AnyReply = Accepted | Refused | InvitationView | ReportView


class Answer(Struct, frozen=True, tag="answer"):
    """The answer to the request with this number."""

    number: int
    answer: AnyReply


ServerMessage = Snapshot | Changed | StepTaken | EpochFinished | Sampled | Logged | Answer
