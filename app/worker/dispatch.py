"""From a job to the room that does it. Rooms are imported when their job comes."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app.domain.dataset import Case
from app.domain.errors import DataProblem, ErrorCode, JobFailed
from app.jobs.events import (
    AnyEvent,
    Calibrated,
    CaseSegmented,
    CasesFound,
    Checked,
    Exported,
    Failed,
    Fingerprinted,
    FirstPassSegmented,
    HeldOutScored,
    LayoutConfirmed,
    ModelDrawn,
    ModelInspected,
    Planned,
    Preprocessed,
    Probed,
    Progressed,
    Result,
    Scored,
    Segmented,
    SessionEnded,
)
from app.jobs.spec import (
    AnyJob,
    CalibrateJob,
    CheckJob,
    ConvertJob,
    ExportJob,
    FingerprintJob,
    Finish,
    FirstPassJob,
    HeldOutJob,
    InitialModelJob,
    InspectModelJob,
    PlanJob,
    PreprocessJob,
    ProbeJob,
    ScoreJob,
    SegmentJob,
    TrainJob,
)
from app.system.atomic import write_atomic

if TYPE_CHECKING:
    from app.datasets.to_segment import FoundCases
    from app.domain.segmentation import SegmentationResult
    from app.worker.streams import Inbox

Tell = Callable[[AnyEvent], None]


def run(job: AnyJob, *, tell: Tell, inbox: Inbox) -> Result:
    """Do `job` in the room that it belongs to and return its result.

    Raises:
        FednnunetError: the room says why it cannot; JOB_STOPPED when the parent asked to stop.
    """
    result = _run(job, tell, inbox)
    # A room that was asked to stop may return what it has so far, which is not the result.
    if inbox.stopped() and not isinstance(job, TrainJob):
        raise JobFailed("the job was stopped", code=ErrorCode.JOB_STOPPED)
    return result


def _run(job: AnyJob, tell: Tell, inbox: Inbox) -> Result:
    match job:
        case CheckJob():
            return _check(job, tell, inbox)
        case ConvertJob():
            return _convert(job, tell, inbox)
        case FingerprintJob():
            return _fingerprint(job, tell, inbox)
        case PlanJob():
            return _plan(job)
        case InitialModelJob():
            return _draw(job)
        case PreprocessJob():
            return _preprocess(job, tell, inbox)
        case TrainJob():
            return _train(job, tell, inbox)
        case CalibrateJob():
            return _calibrate(job, tell, inbox)
        case SegmentJob():
            return _segment(job, tell, inbox)
        case InspectModelJob():
            return _inspect(job)
        case ScoreJob():
            return _score(job, tell, inbox)
        case HeldOutJob():
            return _score_weights(job, inbox)
        case FirstPassJob():
            return _segment_first_pass(job, tell, inbox)
        case ExportJob():
            return _export(job)
        case ProbeJob():
            return _probe(job)


def _check(job: CheckJob, tell: Tell, inbox: Inbox) -> Checked:
    from app.datasets.confirmed import check_folder

    study = None
    if job.channel_names is not None and job.labels is not None:
        study = (job.channel_names, job.labels)
    found = check_folder(
        Path(job.folder),
        study=study,
        minimum_cases=job.minimum_cases,
        processes=job.processes,
        progress=_progress(tell),
        stopped=inbox.stopped,
    )
    return Checked(report=found.report, dataset=found.dataset, proposal=found.proposal)


def _convert(job: ConvertJob, tell: Tell, inbox: Inbox) -> LayoutConfirmed:
    from app.datasets.confirmed import confirm

    confirmation = confirm(
        Path(job.folder),
        job.proposal,
        Path(job.output),
        progress=_progress(tell),
        stopped=inbox.stopped,
    )
    return LayoutConfirmed(
        output=job.output,
        cases=len(confirmation.cases),
        findings=len(confirmation.findings),
    )


def _fingerprint(job: FingerprintJob, tell: Tell, inbox: Inbox) -> Fingerprinted:
    from app.datasets.fingerprint_file import write_fingerprint
    from app.nnunet.fingerprint import extract

    fingerprint = extract(
        Path(job.folder),
        content_digest=job.content_digest,
        leave_out=frozenset(job.leave_out),
        processes=job.processes,
        progress=_progress(tell),
        stopped=inbox.stopped,
    )
    write_fingerprint(fingerprint, Path(job.output))
    return Fingerprinted(output=job.output, cases=len(fingerprint.cases))


def _plan(job: PlanJob) -> Planned:
    from app.federation.merging import decode_merged
    from app.federation.plan_rules import summarise
    from app.nnunet.planning import plan

    merged = decode_merged(Path(job.merged).read_bytes())
    package = plan(job.terms, merged, Path(job.workspace))
    write_atomic(Path(job.output), package.document)
    return Planned(
        output=job.output,
        digest=package.digest,
        summary=summarise(package.document, job.terms.configuration),
    )


def _draw(job: InitialModelJob) -> ModelDrawn:
    from app.nnunet.initial import draw

    blob, tensors = draw(
        Path(job.plan),
        configuration=job.configuration,
        seed=job.seed,
        output=Path(job.output),
    )
    for one in job.also:
        draw(
            Path(job.plan),
            configuration=one.configuration,
            seed=one.seed,
            output=Path(one.output),
        )
    return ModelDrawn(output=job.output, sha256=blob.sha256, size=blob.size, tensors=tensors)


def _preprocess(job: PreprocessJob, tell: Tell, inbox: Inbox) -> Preprocessed:
    from app.datasets.scan import scan
    from app.nnunet.convert import read_plan
    from app.nnunet.preprocessing import preprocess

    split = preprocess(
        read_plan(Path(job.plan)),
        scan(Path(job.folder)),
        workspace=Path(job.workspace),
        configuration=job.configuration,
        fold=job.fold,
        leave_out=frozenset(job.leave_out),
        seed=job.seed,
        processes=job.processes,
        progress=_progress(tell),
        stopped=inbox.stopped,
    )
    return Preprocessed(
        training_cases=len(split.training),
        validation_cases=len(split.validation),
        fold_cases=split.fold_cases,
    )


def _train(job: TrainJob, tell: Tell, inbox: Inbox) -> SessionEnded:
    from app.nnunet.session import TrainingSession

    def lost(failure: JobFailed) -> None:
        # The main thread waits for a rank that is dead, and cannot be woken.
        tell(Failed(code=failure.code.value, sentence=str(failure)))
        os._exit(1)

    session = TrainingSession(job, tell=tell, stopped=inbox.stopped, lost=lost)
    try:
        session.open()
        while (command := inbox.next_command()) is not None:
            if isinstance(command, Finish):
                return SessionEnded(epoch=session.epoch)
            session.train(command)
    finally:
        session.close()
    raise JobFailed("training was stopped", code=ErrorCode.JOB_STOPPED)


def _calibrate(job: CalibrateJob, tell: Tell, inbox: Inbox) -> Calibrated:
    from app.nnunet.calibration import calibrate

    return calibrate(job, progress=_progress(tell), stopped=inbox.stopped)


def _segment(job: SegmentJob, tell: Tell, inbox: Inbox) -> Segmented:
    from app.nnunet.segmentation import open_model, segment

    progress = _progress(tell)
    model = open_model(Path(job.model))
    found = _cases_of(job, model.channel_names, progress, inbox)
    labels = model.labels
    cases = found.cases
    if found.labels is not None and found.labels != labels:
        # References of other structures must not be compared with this model's.
        cases = tuple(Case(name=one.name, channels=one.channels, label=None) for one in cases)
    tell(CasesFound(cases=cases, labels=labels, origins=found.origins))
    results: list[SegmentationResult] = []

    def on_case(result: SegmentationResult) -> None:
        slices = found.slices.get(result.case)
        if slices is not None:
            result = _with_dicom_seg(result, slices, labels)
        results.append(result)
        tell(CaseSegmented(result=result))

    segment(
        model,
        cases,
        Path(job.output),
        device=job.device,
        mirroring=job.mirroring,
        step_size=job.step_size,
        threads=job.threads,
        progress=progress,
        stopped=inbox.stopped,
        on_case=on_case,
    )
    return Segmented(results=tuple(results))


def _cases_of(
    job: SegmentJob,
    channel_names: tuple[str, ...],
    progress: Callable[[int, int, str], None],
    inbox: Inbox,
) -> FoundCases:
    from app.datasets.to_segment import FoundCases, cases_to_segment, slices_of_confirmed

    if job.folder is not None and job.workspace is not None:
        return cases_to_segment(
            Path(job.folder),
            Path(job.workspace),
            channel_names=channel_names,
            progress=progress,
            stopped=inbox.stopped,
        )
    slices: dict[str, tuple[Path, ...]] = {}
    if job.confirmed is not None:
        # Without the series that cases were made of, NIfTI is what can be written.
        with suppress(DataProblem):
            slices = slices_of_confirmed(
                Path(job.confirmed), progress=progress, stopped=inbox.stopped
            )
    return FoundCases(cases=job.cases, labels=job.labels, slices=slices)


def _with_dicom_seg(
    result: SegmentationResult,
    slices: tuple[Path, ...],
    labels: dict[str, int | tuple[int, ...]],
) -> SegmentationResult:
    """Write the segmentation as DICOM SEG beside its NIfTI; one that is newer is kept."""
    from app.datasets.dicom_segmentation import write_segmentation
    from app.datasets.images import read_volume

    prediction = Path(result.prediction)
    output = prediction.with_name(f"{result.case}.seg.dcm")
    try:
        if not output.is_file() or output.stat().st_mtime_ns < prediction.stat().st_mtime_ns:
            write_segmentation(
                read_volume(prediction).array,
                slices,
                labels,
                output,
                model=f"nnU-Net {result.model_digest[:8]}",
                model_digest=result.model_digest,
            )
    except DataProblem as exc:
        # The NIfTI file is there all the same.
        return replace(result, warnings=(*result.warnings, f"no DICOM SEG was written: {exc}"))
    return replace(result, dicom_seg=str(output))


def _inspect(job: InspectModelJob) -> ModelInspected:
    from app.domain.dataset import BACKGROUND, IGNORE
    from app.nnunet.segmentation import open_model

    model = open_model(Path(job.model))
    return ModelInspected(
        digest=model.digest,
        channels=model.channel_names,
        labels=tuple(name for name in model.labels if name not in (BACKGROUND, IGNORE)),
        configuration=model.configuration,
        folds=len(model.weights),
        trainer=model.trainer,
    )


def _score(job: ScoreJob, tell: Tell, inbox: Inbox) -> Scored:
    from app.datasets.images import read_volume
    from app.review.score_cache import ScoreCache, score_all

    cache = ScoreCache(None if job.cache is None else Path(job.cache))
    found = score_all(
        job.pairs,
        job.alone,
        job.labels,
        cache=cache,
        read=read_volume,
        tolerance_mm=job.tolerance_mm,
        progress=_progress(tell),
        stopped=inbox.stopped,
    )
    write_atomic(Path(job.output), msgspec.json.encode(found.scores))
    return Scored(scores=found.scores, volumes=found.volumes, computed=found.computed)


def _score_weights(job: HeldOutJob, inbox: Inbox) -> HeldOutScored:
    from app.nnunet.held_out import score_weights

    return HeldOutScored(score=score_weights(job, stopped=inbox.stopped))


def _segment_first_pass(job: FirstPassJob, tell: Tell, inbox: Inbox) -> FirstPassSegmented:
    from app.nnunet.first_pass import segment_training_cases

    cases = segment_training_cases(job, progress=_progress(tell), stopped=inbox.stopped)
    return FirstPassSegmented(cases=cases)


def _export(job: ExportJob) -> Exported:
    from app.nnunet.export import export_model

    model = export_model(
        plan=Path(job.plan),
        folds={fold: Path(weights) for fold, weights in job.folds.items()},
        configuration=job.configuration,
        model_name=job.model_name,
        output=Path(job.output),
        first_pass={fold: Path(weights) for fold, weights in job.first_pass.items()},
    )
    return Exported(output=job.output, sha256=model.sha256)


def _probe(job: ProbeJob) -> Probed:
    from app.nnunet.probe import probe

    return probe(job.device, threads=job.threads)


def _progress(tell: Tell) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, what: str) -> None:
        tell(Progressed(done=done, total=total, what=what))

    return progress
