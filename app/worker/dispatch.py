"""From a job to the room that does it. Rooms are imported when their job comes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from app.domain.errors import ErrorCode, JobFailed
from app.jobs.events import (
    AnyEvent,
    ModelDrawn,
    Preprocessed,
    Progressed,
    Result,
    SessionEnded,
)
from app.jobs.spec import (
    AnyJob,
    CheckJob,
    ExportJob,
    FingerprintJob,
    Finish,
    InitialModelJob,
    PlanJob,
    PreprocessJob,
    ScoreJob,
    SegmentJob,
    TrainJob,
)

if TYPE_CHECKING:
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
        case InitialModelJob():
            return _draw(job)
        case PreprocessJob():
            return _preprocess(job, tell, inbox)
        case TrainJob():
            return _train(job, tell, inbox)
        case _:
            raise NotImplementedError


def _draw(job: InitialModelJob) -> ModelDrawn:
    from app.nnunet.initial import draw

    blob, tensors = draw(
        Path(job.plan),
        configuration=job.configuration,
        seed=job.seed,
        output=Path(job.output),
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
    return Preprocessed(training_cases=len(split.training), validation_cases=len(split.validation))


def _train(job: TrainJob, tell: Tell, inbox: Inbox) -> SessionEnded:
    from app.nnunet.session import TrainingSession

    session = TrainingSession(job, tell=tell, stopped=inbox.stopped)
    try:
        session.open()
        while (command := inbox.next_command()) is not None:
            if isinstance(command, Finish):
                return SessionEnded(epoch=session.epoch)
            session.train(command)
    finally:
        session.close()
    raise JobFailed("training was stopped", code=ErrorCode.JOB_STOPPED)


def _progress(tell: Tell) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, what: str) -> None:
        tell(Progressed(done=done, total=total, what=what))

    return progress
