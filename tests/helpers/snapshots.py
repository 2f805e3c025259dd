"""Snapshots as a site service tells them at stages of the sample study; real sample files."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

from msgspec.structs import replace

from app.control.messages import (
    Alarm,
    AllowanceView,
    BaselineView,
    CalibrationView,
    CardSample,
    CaseRow,
    DataView,
    DeviceSample,
    DevicesView,
    DoctorRow,
    FederationView,
    FingerprintView,
    HistogramView,
    Interruption,
    InvitationView,
    JobView,
    LinkState,
    LogLine,
    ModelView,
    NetworkLayer,
    NetworkView,
    OutgoingField,
    ReviewView,
    RoundRow,
    RunState,
    RunView,
    ScheduleView,
    ServiceView,
    SiteRow,
    Snapshot,
    SpeedView,
    StudyView,
    TrafficView,
    TrainingView,
)
from app.domain.dataset import Case, DatasetDescription, DatasetFolder
from app.domain.findings import Finding, Severity, ValidationReport
from app.domain.ids import digest_of
from app.domain.layout_proposal import (
    LayoutProposal,
    ProposedCase,
    ProposedChannel,
    ProposedStructure,
    Source,
    SourceKind,
    UnusedSource,
)
from app.domain.plans import PlanSummary
from app.domain.segmentation import (
    CaseScore,
    CaseSource,
    LabelScore,
    ModelKind,
    SegmentationResult,
)
from app.domain.training import EpochRecord, StepRecord
from app.site.costs import CostFacts, stop_costs

SAMPLES = Path(__file__).resolve().parents[2] / "resources" / "samples" / "hippocampus"
NORTH = SAMPLES / "north"
NOW = 1_795_443_600.0  # 23 November 2026, 14:20 UTC
LABELS = ("anterior", "posterior")
ROUNDS, EPOCHS_PER_ROUND, STEPS = 6, 2, 20


def service() -> ServiceView:
    return ServiceView(
        version="0.1.0", pid=4242, home="/home/operator/.local/share/fednnunet", started_at=NOW
    )


def empty() -> Snapshot:
    """A service that was just started."""
    return Snapshot(
        service=service(),
        data=DataView(),
        fingerprint=FingerprintView(),
        federation=FederationView(),
        training=TrainingView(),
        review=ReviewView(),
    )


def dataset() -> DatasetFolder:
    def cases(images: str, labels: str) -> tuple[Case, ...]:
        return tuple(
            Case(
                name=path.name.removesuffix("_0000.nii.gz"),
                channels=(str(path),),
                label=str(NORTH / labels / path.name.replace("_0000", "")),
            )
            for path in sorted((NORTH / images).glob("*_0000.nii.gz"))
        )

    return DatasetFolder(
        root=str(NORTH),
        layout="nnU-Net: imagesTr, labelsTr, dataset.json",
        description=DatasetDescription(
            channel_names=("MRI",),
            labels={"background": 0, "anterior": 1, "posterior": 2},
            file_ending=".nii.gz",
        ),
        training=cases("imagesTr", "labelsTr"),
        held_out=cases("imagesTs", "labelsTs"),
    )


def report(*findings: Finding) -> ValidationReport:
    return ValidationReport(
        folder=str(NORTH),
        cases=24,
        content_digest="5f" * 32,
        findings=findings,
    )


REMARK = Finding(
    check="mixed-spacing",
    severity=Severity.MAY_HARM,
    case="hippocampus_143",
    path="imagesTr/hippocampus_143_0000.nii.gz",
    sentence="slices are 2.4 mm thick; the other cases have 1.2 mm",
    remedy="Check that this series belongs to the study, or leave the case out.",
)
HARMLESS = Finding(
    check="identifier",
    severity=Severity.HARMLESS,
    case="hippocampus_221",
    path="imagesTr/hippocampus_221_0000.nii.gz",
    sentence="the file’s description field holds a text of 12 characters",
    remedy="Nothing to do: file descriptions never leave this computer.",
)
BLOCKER = Finding(
    check="label-values",
    severity=Severity.BLOCKS,
    case="hippocampus_024",
    path="labelsTr/hippocampus_024.nii.gz",
    sentence="the label holds the value 4 in 17 voxels, which no structure of this study has",
    remedy="Correct the voxels in your labelling program and check again.",
    voxel=(20, 24, 18),
)


def checking() -> Snapshot:
    """The folder was chosen, its check runs."""
    job = JobView(kind="check", running=True, done=11, total=24, what="checking cases")
    return replace(empty(), data=DataView(folder=str(NORTH), job=job))


def blocked() -> Snapshot:
    """The check found something that blocks training."""
    return replace(
        empty(),
        data=DataView(
            folder=str(NORTH),
            job=JobView(kind="check", running=False, done=24, total=24, outcome="24 cases checked"),
            report=report(BLOCKER, REMARK, HARMLESS),
            dataset=dataset(),
        ),
    )


def checked() -> Snapshot:
    """The check found one remark."""
    return replace(
        empty(),
        data=DataView(
            folder=str(NORTH),
            job=JobView(kind="check", running=False, done=24, total=24, outcome="24 cases checked"),
            report=report(REMARK, HARMLESS),
            dataset=dataset(),
        ),
    )


def layout_proposal() -> LayoutProposal:
    """A DICOM folder with structure sets, two of them named by different people."""

    def case(number: int, *, second: bool = True, label: bool = True) -> ProposedCase:
        def series(name: str, detail: str) -> Source:
            return Source(
                kind=SourceKind.SERIES,
                path=f"study{number:02}/{name}/00001.dcm",
                files=108,
                detail=detail,
            )

        structures = Source(kind=SourceKind.RTSTRUCT, path=f"study{number:02}/rt/structures.dcm")
        return ProposedCase(
            name=f"case-{number:04}",
            found=f"study{number:02}",
            channels=(
                series("ct", "CT, 512 x 512, 108 slices"),
                series("pet", "PT, 256 x 256, 108 slices") if second else None,
            ),
            labels=(structures,) if label else (),
        )

    return LayoutProposal(
        layout="dicom",
        file_ending=".nii.gz",
        values_fixed=False,
        channels=(
            ProposedChannel(found="CT", name="CT", cases=12),
            ProposedChannel(found="PT", name="PET", cases=11),
        ),
        structures=(
            ProposedStructure(found="Liver", name="liver", value=1, cases=11),
            ProposedStructure(found="LIVER_2", name="liver", value=1, cases=1),
            ProposedStructure(found="GTV", name="tumour", value=2, cases=9),
            ProposedStructure(found="External", name="external", value=0, cases=12),
        ),
        cases=tuple(case(n, second=n != 3, label=n != 12) for n in range(1, 13)),
        unused=(
            UnusedSource(
                source=Source(kind=SourceKind.SEG, path="study03/seg/left.dcm"),
                reason="its image is not in this folder",
                missed=True,
            ),
        ),
    )


def proposed() -> Snapshot:
    """A folder whose layout waits to be confirmed."""
    proposal = layout_proposal()
    needs = Finding(
        check="layout",
        severity=Severity.BLOCKS,
        sentence="this is a DICOM folder; its layout has to be confirmed before it is used",
        remedy="Look at the proposed layout and confirm it.",
    )
    return replace(
        empty(),
        data=DataView(
            folder="/data/liver",
            job=JobView(kind="check", running=False, done=12, total=12, outcome="12 cases found"),
            report=report(needs),
            proposal=proposal,
            proposal_digest=proposal.digest,
        ),
    )


def study() -> StudyView:
    return StudyView(
        name="Hippocampus sample study",
        purpose="Segment the anterior and posterior hippocampus on T1-weighted MR, across three "
        "hospitals with different scanners.",
        contact="Study office, Harbour University Hospital",
        coordinator="wss://localhost:8443",
        site="north",
        words="amber canyon velvet orbit lantern maple",
        labels=LABELS,
        method="ffe",
        policy="minimal",
        rounds=ROUNDS,
        epochs_per_round=EPOCHS_PER_ROUND,
        iterations_per_epoch=STEPS,
        validation_iterations=5,
        minimum_sites=3,
        traffic=traffic(finish_at=NOW + 40 * 86_400),
    )


DOCTOR = (
    ("Invitation", "ok", "the invitation of the study is valid", ""),
    ("Name (DNS)", "ok", "localhost is 127.0.0.1", ""),
    ("Network (TCP)", "ok", "port 8443 answers after 4 ms", ""),
    ("Proxy", "skipped", "no proxy is in use", ""),
    (
        "Certificate (TLS)",
        "failed",
        (
            "the certificate was issued by “Hospital Inspection CA”, not by the study’s authority; "
            "a device on the way reads the traffic"
        ),
        "Ask the IT department to exempt this address from inspection.",
    ),
    ("Clock", "warning", "this computer’s clock is 95 s behind", "Set the clock by the network."),
    ("Websocket", "skipped", "not tested, because the certificate is not right", ""),
)


def examined() -> Snapshot:
    """The connection doctor found an inspecting device."""
    base = joined()
    rows = tuple(
        DoctorRow(step=step, state=state, sentence=sentence, remedy=remedy)
        for step, state, sentence, remedy in DOCTOR
    )
    return replace(
        base,
        federation=replace(
            base.federation,
            link=LinkState.OFFLINE,
            link_sentence="the certificate is not the study’s",
            doctor=rows,
            doctor_ticket="FednnU-Net connection test\nCertificate (TLS): failed",
        ),
    )


def invitation(problem: str = "", remedy: str = "") -> InvitationView:
    about = study()
    return InvitationView(
        study=about.name,
        purpose=about.purpose,
        contact=about.contact,
        coordinator=about.coordinator,
        site=about.site,
        policy=about.policy,
        expires_at=NOW + 6 * 86_400,
        rounds=about.rounds,
        method=about.method,
        problem=problem,
        remedy=remedy,
        traffic=traffic(),
    )


def traffic(*, finish_at: float | None = None) -> TrafficView:
    """A study of 50 rounds with 31 million weights, sent as changes of 1 byte each."""
    return TrafficView(
        transfer="int8",
        round_up=31_300_000,
        round_down=31_300_000,
        study_up=1_565_000_000,
        study_down=1_783_000_000,
        estimated=finish_at is None,
        sentence="",
        finish_at=finish_at,
    )


def site_row(name: str, *, here: bool = False, **changes: object) -> SiteRow:
    row = SiteRow(
        name=name,
        state="joined",
        connected=True,
        cases={"north": 24, "harbour": 16, "valley": 10}[name],
        round=0,
        epoch=0,
        step=0,
        steps=0,
        silent_s=4,
        here=here,
    )
    return replace(row, **changes)


def joined(base: Snapshot | None = None) -> Snapshot:
    """The folder is fine, the study joined, nothing shared yet."""
    return replace(
        base or checked(),
        federation=FederationView(
            link=LinkState.CONNECTED,
            link_sentence="connected since 13:02",
            study=study(),
            study_state="enrolling",
            sentence="waiting for the fingerprints of 3 of 3 sites",
            sites=(
                site_row("harbour"),
                site_row("north", here=True),
                site_row("valley", connected=False, silent_s=840),
            ),
            sent_bytes=18_204,
            received_bytes=9_712,
        ),
    )


def layer(role: str, scale: int, weights: int, shared: int, sites: int) -> NetworkLayer:
    return NetworkLayer(
        role=role, scale=(scale, scale, scale), weights=weights, shared=shared, sites=sites
    )


NETWORK = NetworkView(
    sentence="78 % of your network is shared with 4 of 5 other sites.",
    percent=78,
    layers=(
        layer("stem", 1, 960, 96, 4),
        layer("encoder", 1, 27_744, 27_744, 4),
        layer("encoder", 2, 166_272, 166_272, 4),
        layer("encoder", 4, 664_320, 664_320, 3),
        layer("encoder", 8, 2_655_744, 2_655_744, 2),
        layer("bottleneck", 16, 5_531_520, 0, 0),
        layer("decoder", 8, 5_309_952, 5_309_952, 2),
        layer("decoder", 4, 1_327_872, 1_327_872, 3),
        layer("decoder", 2, 332_160, 332_160, 4),
        layer("decoder", 1, 83_136, 83_136, 4),
        layer("upsampling", 8, 655_616, 0, 0),
        layer("upsampling", 4, 262_272, 262_272, 3),
        layer("upsampling", 2, 65_600, 65_600, 4),
        layer("upsampling", 1, 16_416, 16_416, 4),
        layer("head", 1, 99, 0, 0),
    ),
)


def asymmetric() -> Snapshot:
    """A study in which every site has a network of its own, while it trains."""
    made = training()
    federation = replace(
        made.federation,
        study=replace(study(), method="asymfedavg", policy="network"),
        network=NETWORK,
    )
    return replace(made, federation=federation)


OUTGOING = {
    "policy": "minimal",
    "channel_names": ["MRI"],
    "cases": 24,
    "spacing": [{"10000": 24}, {"10000": 24}, {"12000": 23, "24000": 1}],
    "size": [
        {"32": 2, "34": 5, "36": 9, "38": 6, "40": 2},
        {"47": 3, "49": 6, "51": 10, "53": 5},
        {"31": 4, "34": 8, "36": 7, "38": 5},
    ],
    "extent": [{"360000": 11, "380000": 13}, {"490000": 9, "510000": 15}, {"408000": 24}],
    "share_kept": {"998": 4, "1000": 20},
    "channels": [
        {
            "foreground_cases": 24,
            "sum_of_means": 4211876543210,
            "sum_of_mean_squares": 1311876543210987,
            "histogram": {str(300_000 + 16 * n): 1_048_576 // (1 + abs(n - 20)) for n in range(48)},
        }
    ],
}


def _bars(
    label: str, unit: str, low: float, width: float, counts: tuple[float, ...]
) -> HistogramView:
    edges = tuple(low + width * number for number in range(len(counts) + 1))
    return HistogramView(label=label, unit=unit, edges=edges, counts=counts)


def pictures(scale: float = 1.0) -> tuple[HistogramView, ...]:
    bell = tuple(
        round(scale * 240 * math.exp(-(((number - 22) / 9) ** 2)) + scale * 8)
        for number in range(48)
    )
    return (
        _bars("Spacing z", "mm", 0.9, 0.1, (0, 0, 0, 23, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)),
        _bars("Size y", "voxels", 46, 2, (3, 6, 10, 5)),
        _bars("MRI intensity", "grey value", 20, 12, bell),
    )


FIELDS = (
    ("format", "1", "version of this document"),
    ("policy", "minimal", "says which fields follow"),
    ("channel_names", "MRI", "must be the study's channels"),
    ("cases", "24", "weighs this site; the planner reads the total"),
    ("spacing.z", "1.2 mm: 23 cases, 2.4 mm: 1 case", "the study's target spacing (median)"),
    ("spacing.y", "1 mm: 24 cases", "the study's target spacing (median)"),
    ("spacing.x", "1 mm: 24 cases", "the study's target spacing (median)"),
    ("size.z", "5 values from 31 to 38 voxels", "patch size and network depth (median)"),
    ("size.y", "4 values from 47 to 53 voxels", "patch size and network depth (median)"),
    ("size.x", "5 values from 32 to 40 voxels", "patch size and network depth (median)"),
    (
        "share_kept",
        "0.998: 4 cases, 1: 20 cases",
        "whether empty borders are ignored when normalising (median)",
    ),
    ("MRI.foreground_cases", "24", "divides the sums below"),
    ("MRI.sum_of_means", "4211876543210", "the study's mean intensity"),
    ("MRI.sum_of_mean_squares", "1311876543210987", "the study's standard deviation"),
    (
        "MRI.histogram",
        "48 bins from 219 to 780, every case with the same weight",
        "the study's median and the percentiles at which intensities are cut",
    ),
)


def fingerprint() -> FingerprintView:
    """Computed, not yet allowed."""
    outgoing = json.dumps(OUTGOING, sort_keys=True, separators=(",", ":"))
    return FingerprintView(
        job=JobView(
            kind="fingerprint", running=False, done=24, total=24, outcome="24 cases measured"
        ),
        cases=tuple(
            CaseRow(
                case=case.name,
                spacing_mm=(1.0, 1.0, 2.4 if case.name.endswith("143") else 1.2),
                shape=(36 + number % 5, 49 + number % 4, 34 + number % 3),
                note="the only case with 2.4 mm slices" if case.name.endswith("143") else "",
            )
            for number, case in enumerate(dataset().training)
        ),
        outgoing=outgoing,
        outgoing_digest=digest_of(outgoing.encode()),
        fields=tuple(
            OutgoingField(field=field, value=value, purpose=purpose, risk="aggregate")
            for field, value, purpose in FIELDS
        ),
        pictures=pictures(),
        outliers=("one of 24 cases has 2.4 mm slices; it can be left out below",),
    )


def fingerprinting() -> Snapshot:
    return replace(
        joined(),
        fingerprint=FingerprintView(
            job=JobView(kind="fingerprint", running=True, done=7, total=24, what="measuring cases")
        ),
    )


def to_allow() -> Snapshot:
    """The fingerprint waits for the operator."""
    return replace(joined(), fingerprint=fingerprint())


def allowed(*, sent: bool = True) -> FingerprintView:
    view = fingerprint()
    return replace(
        view,
        allowance=AllowanceView(
            operator="Dr. A. Example",
            allowed_at=NOW - 5400,
            digest=view.outgoing_digest or "",
            receipt="No. 1 of this site’s log",
            sent=sent,
        ),
        merged_pictures=pictures(2.1),
        merged_sentence="Your images will be brought from 1.0 × 1.0 × 1.2 mm to "
        "1.0 × 1.0 × 1.0 mm; intensities are scaled image by image, as at all sites.",
    )


def plan() -> PlanSummary:
    return PlanSummary(
        configuration="3d_fullres",
        spacing_mm=(1.0, 1.0, 1.0),
        patch=(40, 56, 40),
        batch_size=2,
        stages=4,
        features=(32, 64, 128, 256),
        normalisation=("ZScoreNormalization",),
        network="PlainConvUNet",
        parameters=5_600_000,
    )


def epochs(number: int) -> tuple[EpochRecord, ...]:
    records = []
    average: float | None = None
    for epoch in range(1, number + 1):
        wave = 0.02 * math.sin(epoch * 1.7)
        dice = (
            max(0.0, 0.82 - 0.75 * math.exp(-epoch / 3.2) + wave),
            max(0.0, 0.78 - 0.78 * math.exp(-epoch / 3.9) - wave) if epoch > 1 else None,
        )
        mean = sum(value or 0.0 for value in dice) / 2
        average = mean if average is None else 0.9 * average + 0.1 * mean
        records.append(
            EpochRecord(
                round=(epoch - 1) // EPOCHS_PER_ROUND + 1,
                epoch=epoch,
                train_loss=0.6 - 1.25 * (1 - math.exp(-epoch / 4)) + wave,
                validation_loss=0.55 - 1.1 * (1 - math.exp(-epoch / 4.5)) - wave,
                pseudo_dice=dice,
                pseudo_dice_average=average,
                learning_rate=0.01 * (1 - (epoch - 1) / (ROUNDS * EPOCHS_PER_ROUND)) ** 0.9,
                seconds=41.5 + epoch % 3,
            )
        )
    return tuple(records)


def steps(epoch: int, last: int) -> tuple[StepRecord, ...]:
    def step(of: int, number: int) -> StepRecord:
        return StepRecord(
            round=(of - 1) // EPOCHS_PER_ROUND + 1,
            epoch=of,
            step=number,
            steps_per_epoch=STEPS,
            loss=0.1 - 0.09 * of - 0.004 * number + 0.05 * math.sin(3 * number),
            seconds=1.9,
        )

    return tuple(step(epoch - 1, number) for number in range(1, STEPS + 1)) + tuple(
        step(epoch, number) for number in range(1, last + 1)
    )


def samples(number: int = 120, *, card: bool = False) -> tuple[DeviceSample, ...]:
    return tuple(
        DeviceSample(
            at=NOW - number + second,
            cpu_percent=72 + 20 * math.sin(second / 7),
            memory_percent=48 + second / 60,
            worker_memory_mb=1480 + second,
            disk_free_gb=212.4,
            memory_free_gb=15.8,
            worker_cpu_percent=104 + 20 * math.sin(second / 9),
            disk_read_mb_s=3.1,
            network_in_mb_s=0.2,
            network_out_mb_s=1.4,
            cards=(
                CardSample(
                    name="NVIDIA RTX A4000",
                    percent=88 + 9 * math.sin(second / 5),
                    memory_percent=61.0,
                    memory_gb=16.9,
                    temperature_c=67.0,
                    power_w=118.0,
                ),
            )
            if card
            else (),
        )
        for second in range(number)
    )


def rounds(number: int) -> tuple[RoundRow, ...]:
    done = epochs(number * EPOCHS_PER_ROUND)
    return tuple(
        RoundRow(
            number=closed,
            contributors=("harbour", "north", "valley") if closed != 2 else ("harbour", "north"),
            train_loss=done[closed * EPOCHS_PER_ROUND - 1].train_loss,
            validation_loss=done[closed * EPOCHS_PER_ROUND - 1].validation_loss,
            pseudo_dice=done[closed * EPOCHS_PER_ROUND - 1].pseudo_dice,
        )
        for closed in range(1, number + 1)
    )


def log_line(text: str, *, at: float = NOW, level: str = "info") -> LogLine:
    return LogLine(at=at, level=level, source="site.service", text=text)


LOG = tuple(
    LogLine(at=NOW - 1200 + 140 * number, level=level, source="site.study_desk", text=text)
    for number, (level, text) in enumerate(
        (
            ("info", "the plan was accepted; its digest is the one the coordinator announced"),
            ("info", "24 cases prepared: 19 to train on, 5 to validate on"),
            ("info", "the training session is ready on the processor with 1 thread"),
            ("info", "round 1: update delivered (22.4 MB)"),
            ("warning", "the coordinator did not answer; trying again in 5 s"),
            ("info", "round 2: update delivered (22.4 MB)"),
            ("info", "round 3 begins from the shared model of round 2"),
        )
    )
)


# What the service says while no step is taken.
RESTING = CostFacts(
    now=NOW,
    joined=True,
    training=False,
    checkpoint_at=NOW - 150,
    lost_s=0.0,
    next_checkpoint_s=None,
)
COSTS = stop_costs(dataclasses.replace(RESTING, training=True, lost_s=22.0, next_checkpoint_s=15.0))
SPEED = SpeedView(
    verdict="usual",
    sentence="this speed is normal for this computer: a step takes 1.9 s, usually 1.8 s",
    step_s=1.9,
    usual_s=1.8,
    table_s=2.1,
)


def training(*, card: bool = False) -> Snapshot:
    """Round 3 of 6 runs here; one site is done, one is behind."""
    base = joined()
    return replace(
        base,
        fingerprint=allowed(),
        federation=replace(
            base.federation,
            study_state="training",
            sentence="round 3 of 6 runs: 1 of 3 sites has delivered",
            sites=(
                site_row(
                    "harbour",
                    state="delivered",
                    doing="delivered",
                    round=3,
                    epoch=6,
                    step=20,
                    steps=20,
                ),
                site_row(
                    "north",
                    here=True,
                    state="training",
                    doing="training",
                    round=3,
                    epoch=6,
                    step=12,
                    steps=20,
                ),
                site_row(
                    "valley",
                    state="training",
                    doing="training",
                    round=3,
                    epoch=5,
                    step=18,
                    steps=20,
                    silent_s=35,
                ),
            ),
            rounds=rounds(2),
            plan=plan(),
            plan_digest="9a7c" * 16,
            sent_bytes=67_402_118,
            received_bytes=90_155_204,
        ),
        training=TrainingView(
            sentence="Round 3 of 6: this site trains, about 40 s left; waiting for 2 of 3 sites.",
            phase="training",
            job=JobView(kind="train", running=True, done=12, total=20, what="training"),
            round=3,
            rounds=ROUNDS,
            epoch=6,
            total_epochs=ROUNDS * EPOCHS_PER_ROUND,
            step=12,
            steps_per_epoch=STEPS,
            seconds_left=38.0,
            device="cpu",
            epochs=epochs(5),
            steps=steps(6, 12),
            last_checkpoint_at=NOW - 150,
            round_expected_at=NOW + 110,
            costs=COSTS,
            speed=SPEED,
            samples=samples(card=card),
            log=LOG,
        ),
    )


def folds() -> Snapshot:
    """As `training`, in a study of three folds of two rounds: the third round begins the second."""
    base = training()
    return replace(
        base,
        federation=replace(
            base.federation,
            study=replace(base.federation.study, folds=3),
            sentence="fold 2 of 3, round 1 of 2: waiting for 2 of 3 sites",
        ),
        training=replace(
            base.training,
            folds=3,
            sentence="Fold 2 of 3, round 1 of 2: this site trains, about 40 s left; "
            "waiting for 2 of 3 sites.",
        ),
    )


def cascade() -> Snapshot:
    """As `training`, in a cascade of three folds of one round: the third round ends the first pass."""
    base = training()
    return replace(
        base,
        federation=replace(
            base.federation,
            study=replace(base.federation.study, folds=3, stages=2),
            sentence="First pass, fold 3 of 3, round 1 of 1: waiting for 2 of 3 sites.",
        ),
        training=replace(
            base.training,
            folds=3,
            stages=2,
            sentence="First pass, fold 3 of 3, round 1 of 1: training, about 40 s left.",
        ),
    )


def troubled() -> Snapshot:
    """Trains on two cards with this site alone as reference; slow, one site away, work was lost."""
    running = training()
    view = running.training
    cards = tuple(
        replace(
            one,
            cards=tuple(
                CardSample(
                    name="NVIDIA RTX A4000",
                    percent=91.0 - 60 * number,
                    memory_percent=61.0,
                    memory_gb=9.8,
                    temperature_c=88.0 - 20 * number,
                    power_w=118.0,
                    throttled=("too hot",) if number == 0 else (),
                    others=("matlab",) if number else (),
                )
                for number in range(2)
            ),
        )
        for one in view.samples
    )
    return replace(
        running,
        federation=replace(
            running.federation,
            sites=tuple(
                replace(
                    site, connected=False, doing="absent", absent_since=NOW - 4700, silent_s=4700
                )
                if site.name == "valley"
                else site
                for site in running.federation.sites
            ),
        ),
        review=replace(
            running.review, baseline=BaselineView(epochs=epochs(12), total_epochs=12, done=True)
        ),
        training=replace(
            view,
            samples=cards,
            alarms=(
                Alarm(
                    code="no-step",
                    severity="stopped",
                    sentence="no step has ended for 4 minutes; a step usually takes 2 seconds",
                    remedy="Wait two more minutes; then pause and resume, which goes on from the "
                    "last checkpoint.",
                    since=NOW - 240,
                ),
                Alarm(
                    code="throttled",
                    severity="slow",
                    sentence="the graphics card runs slower because it is too hot (88 °C)",
                    remedy="Let air in: check fans, filters and the room.",
                    since=NOW - 600,
                ),
            ),
            interruptions=(
                Interruption(
                    at=NOW - 40_000,
                    what="computer lost",
                    sentence="the computer went off at 03:12; 41 steps (2 minutes) of epoch 4 are "
                    "trained again",
                    epoch=4,
                    lost_steps=41,
                    lost_s=120.0,
                ),
                Interruption(
                    at=NOW - 90_000,
                    what="worker lost",
                    sentence="the training program ended unexpectedly",
                    epoch=2,
                    lost_steps=3,
                    lost_s=6.0,
                ),
            ),
            schedule=ScheduleView(
                from_minute=1200,
                to_minute=420,
                weekends=True,
                yield_card=True,
                sentence="Trains from 20:00 to 07:00 and on weekends.",
            ),
            speed=SpeedView(
                verdict="slow",
                sentence="steps take twice as long as usual on this computer",
                step_s=3.9,
                usual_s=1.9,
            ),
        ),
    )


def paused() -> Snapshot:
    running = training()
    return replace(
        running,
        training=replace(
            running.training,
            paused=True,
            phase="paused",
            sentence="Paused by the operator at the checkpoint of epoch 5.",
            job=JobView(kind="train", running=False, outcome="stopped"),
            costs=stop_costs(dataclasses.replace(RESTING, paused=True)),
            round_expected_at=None,
        ),
    )


def refused() -> Snapshot:
    running = training()
    return replace(
        running,
        federation=replace(
            running.federation,
            link=LinkState.REFUSED,
            link_sentence="the coordinator has shut this site out",
        ),
    )


def scores() -> tuple[CaseScore, ...]:
    def score(
        name: str, dice: float | None, distance: float | None, **changes: object
    ) -> LabelScore:
        fields = {
            "label": name,
            "dice": dice,
            "hausdorff95_mm": distance,
            "surface_dice": dice,
            "reference_ml": 1.62,
            "prediction_ml": 1.55,
            "reference_components": 1,
            "prediction_components": 1,
        }
        return LabelScore(**{**fields, **changes})

    cases = [case.name for case in dataset().held_out]
    return (
        CaseScore(
            case=cases[0],
            labels=(score("anterior", 0.81, 1.4), score("posterior", 0.78, 1.9)),
        ),
        CaseScore(
            case=cases[1],
            labels=(
                score("anterior", 0.52, 4.1, prediction_components=3),
                score("posterior", 0.61, 3.6),
            ),
        ),
        CaseScore(
            case=cases[2],
            labels=(
                score("anterior", 0.84, 1.2),
                score("posterior", 0.0, None, reference_ml=0.0, reference_components=0),
            ),
        ),
        CaseScore(
            case=cases[3],
            labels=(score("anterior", None, None, reference_ml=0.0, prediction_ml=0.0),),
        ),
        CaseScore(
            case=cases[4],
            labels=(score("anterior", 0.79, 1.6), score("posterior", 0.80, 1.7)),
        ),
    )


def segmenting() -> Snapshot:
    done = finished()
    begun = run(
        1,
        MODELS[2],
        state=RunState.RUNNING,
        outcome="",
        results=(),
        begun_at=NOW,
    )
    return replace(
        done,
        review=replace(
            done.review,
            results=(),
            scores=(),
            runs=(begun,),
            baseline=BaselineView(
                offered=True,
                total_epochs=12,
            ),
            job=JobView(kind="segment", running=True, done=2, total=5, what="segmenting cases"),
        ),
    )


def finished() -> Snapshot:
    """All rounds are closed; the held-out cases are segmented and scored."""
    running = training()
    held_out = dataset().held_out
    # The sample folder keeps no segmentations: the label of the next case of equal standing
    # would not fit, so each case's own label stands in for its segmentation in pictures.
    return replace(
        running,
        federation=replace(
            running.federation,
            study_state="finished",
            sentence="the study is finished: all 6 rounds are closed",
            rounds=rounds(ROUNDS),
            sites=tuple(
                replace(site, state="finished", round=ROUNDS, epoch=0, step=0, steps=0)
                for site in running.federation.sites
            ),
        ),
        training=replace(
            running.training,
            sentence="All 6 rounds are done.",
            phase="finished",
            job=JobView(kind="train", running=False, outcome="finished"),
            round=ROUNDS,
            epoch=12,
            step=STEPS,
            seconds_left=None,
            epochs=epochs(12),
            steps=steps(12, STEPS),
            costs=stop_costs(RESTING),
            round_expected_at=None,
        ),
        review=ReviewView(
            job=JobView(kind="score", running=False, done=5, total=5, outcome="5 cases scored"),
            models=MODELS,
            results=results("6" * 64),
            scores=scores(),
            labels=LABEL_VALUES,
            output="/home/operator/.local/share/fednnunet/segmentations/0002",
            runs=(
                run(1, MODELS[0], scores=worse(scores())),
                run(2, MODELS[2], scores=scores()),
            ),
            held_out=len(held_out),
            validation=4,
            baseline=BaselineView(
                why_not="this site's baseline is trained", epoch=12, total_epochs=12, done=True
            ),
        ),
    )


LABEL_VALUES = {"background": 0, "anterior": 1, "posterior": 2}
MODELS = (
    ModelView(
        name="Hippocampus, trained at north alone",
        path="/m/baseline.zip",
        digest="b" * 64,
        round=0,
        kind=ModelKind.BASELINE,
    ),
    ModelView(
        name="Hippocampus, personalised for north",
        path="/m/personal.zip",
        digest="5" * 64,
        round=6,
        kind=ModelKind.PERSONAL,
    ),
    ModelView(
        name="Hippocampus, global model",
        path="/m/global.zip",
        digest="6" * 64,
        round=6,
        kind=ModelKind.FINAL,
    ),
)


def results(digest: str) -> tuple[SegmentationResult, ...]:
    return tuple(
        SegmentationResult(
            case=case.name,
            channels=case.channels,
            prediction=case.label or "",
            reference=case.label,
            model_digest=digest,
        )
        for case in dataset().held_out
    )


def run(serial: int, model: ModelView, **changes: object) -> RunView:
    fields = {
        "serial": serial,
        "model": model,
        "source": CaseSource.HELD_OUT,
        "folder": None,
        "mirroring": False,
        "device": "auto",
        "begun_at": NOW - 3600 + 600 * serial,
        "state": RunState.DONE,
        "output": f"/home/operator/.local/share/fednnunet/segmentations/{serial:04d}",
        "labels": LABEL_VALUES,
        "cases": tuple(case.name for case in dataset().held_out),
        "results": results(model.digest),
        "outcome": "5 cases scored",
    }
    return RunView(**{**fields, **changes})


def worse(better: tuple[CaseScore, ...], by: float = 0.06) -> tuple[CaseScore, ...]:
    """Scores of a model that is a little worse, but better at posterior."""

    def changed(label: LabelScore) -> LabelScore:
        if label.dice is None:
            return label
        sign = 1 if label.label == "posterior" else -1
        return dataclasses.replace(label, dice=max(0.0, min(1.0, label.dice + sign * by)))

    return tuple(
        dataclasses.replace(case, labels=tuple(map(changed, case.labels))) for case in better
    )


def with_run(base: Snapshot, **changes: object) -> Snapshot:
    """Change the newest run of a snapshot."""
    *others, newest = base.review.runs
    return replace(base, review=replace(base.review, runs=(*others, replace(newest, **changes))))


def to_measure(*, card: bool = False) -> Snapshot:
    """Joined and planned; nothing was trained or measured yet."""
    base = training()
    devices = DevicesView(gpus_here=4 if card else 0, plan_batch_size=2)
    return replace(base, training=TrainingView(sentence=WAITS, devices=devices))


def measuring() -> Snapshot:
    base = to_measure(card=True)
    job = JobView(
        kind="calibrate", running=True, done=11, total=30, what="measuring steps", seconds_left=25.0
    )
    return replace(base, training=replace(base.training, calibration_job=job))


def measured() -> Snapshot:
    """A measurement that is slower than this computer's history; 2 of 4 cards were chosen."""
    base = to_measure(card=True)
    devices = DevicesView(gpus=2, gpus_here=4, plan_batch_size=12)
    return replace(
        base,
        training=replace(
            base.training,
            devices=devices,
            calibration=calibration(),
            speed=SpeedView(
                verdict="slow",
                sentence="A step takes 0.41 s; usual on this computer are 0.25 s. Something slows "
                "it down: another program, heat, or a disk that is busy.",
                step_s=0.41,
                usual_s=0.25,
            ),
        ),
    )


def calibration(*, trained: bool = False, rough: bool = False) -> CalibrationView:
    epoch_s = 43.0 if trained else 118.0
    return CalibrationView(
        at=NOW - 7200,
        device="cpu" if trained else "cuda (NVIDIA RTX A4000)",
        seconds_per_step=1.9 if trained else 0.41,
        seconds_per_round=2 * epoch_s,
        seconds_of_study=8 * epoch_s if trained else 50 * 2 * epoch_s,
        finish_at=NOW + (8 * epoch_s if trained else 50 * 2 * epoch_s),
        sentence="",
        seconds_per_epoch=epoch_s,
        trained=trained,
        rough=rough,
    )


def no_memory() -> Snapshot:
    """The third round did not fit into memory; a smaller batch is offered."""
    base = training(card=True)
    devices = DevicesView(
        gpus_here=1,
        plan_batch_size=2,
        offered_batch_size=1,
        sentence="Round 3 did not fit into memory and is not counted at this site. Steps of 1 "
        "instead of 2 patches need less memory and learn a little less evenly.",
    )
    view = replace(base.training, devices=devices, calibration=calibration(trained=True))
    return replace(base, training=replace(view, phase="waiting", step=0))


def smaller_batch() -> Snapshot:
    """The offer was taken; two cards, of which a step of one patch keeps one."""
    base = training(card=True)
    devices = DevicesView(gpus_here=2, plan_batch_size=4, batch_size=2)
    view = replace(base.training, devices=devices, calibration=calibration(trained=True))
    return replace(base, training=view)


WAITS = "This site is ready; waiting for 1 of 3 sites to be ready."


STAGES = {
    "empty": empty,
    "checking": checking,
    "blocked": blocked,
    "checked": checked,
    "proposed": proposed,
    "joined": joined,
    "examined": examined,
    "fingerprinting": fingerprinting,
    "to-allow": to_allow,
    "training": training,
    "folds": folds,
    "cascade": cascade,
    "asymmetric": asymmetric,
    "paused": paused,
    "refused": refused,
    "troubled": troubled,
    "segmenting": segmenting,
    "finished": finished,
    "to-measure": to_measure,
    "measuring": measuring,
    "measured": measured,
    "no-memory": no_memory,
    "smaller-batch": smaller_batch,
}
