"""How a job ended, in a sentence that a person can read."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Final

from app.domain.errors import ErrorCode, safe_text
from app.jobs.events import Failed, Result
from app.jobs.machine import JobEvent, JobState, advance

# Names of the jobs for people, by the kind that the spec carries.
WORK: Final = {
    "CheckJob": "checking the folder",
    "ConvertJob": "using the folder as confirmed",
    "FingerprintJob": "computing the fingerprint",
    "PlanJob": "planning",
    "InitialModelJob": "drawing the first model",
    "PreprocessJob": "preparing the images",
    "TrainJob": "training",
    "CalibrateJob": "measuring training steps",
    "SegmentJob": "segmenting",
    "InspectModelJob": "looking at the model",
    "ScoreJob": "scoring",
    "HeldOutJob": "scoring the average",
    "FirstPassJob": "segmenting the training cases for the second pass",
    "ExportJob": "exporting the model",
    "ProbeJob": "trying out this installation",
}

_BY_SIGNAL: Final = {
    "SIGKILL": "was ended by the operating system, probably because memory ran out",
    "SIGSEGV": "crashed inside a library (segmentation fault)",
    "SIGABRT": "crashed inside a library (abort)",
    "SIGBUS": "crashed because a file or shared memory could not be read, often a full disk",
    "SIGILL": "uses an instruction that this processor does not have",
    "SIGFPE": "crashed inside a library (arithmetic fault)",
    "SIGTERM": "was ended from outside",
    "SIGINT": "was interrupted from the keyboard",
    "SIGHUP": "was ended because its terminal was closed",
}

# Windows reports crashes as NTSTATUS values in the exit code.
_BY_NT_STATUS: Final = {
    0xC0000005: "crashed inside a library (access violation)",
    0xC0000017: "was ended because memory ran out",
    0xC000001D: "uses an instruction that this processor does not have",
    0xC0000409: "crashed inside a library (stack damage)",
    0xC000013A: "was interrupted from the keyboard",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """How a job ended. `code` is None exactly when it succeeded; `result` is None otherwise."""

    state: JobState
    sentence: str
    code: ErrorCode | None
    result: Result | None

    def __str__(self) -> str:
        return self.sentence


def outcome_of(
    kind: str,
    *,
    state: JobState,
    exit_code: int,
    failure: Failed | None,
    result: Result | None,
) -> JobOutcome:
    """Return how a job ended that was in `state` when its process went away.

    `exit_code` is as asyncio gives it: negative for a signal. A result counts only with exit
    code 0, because a child that dies after its result may have left files half written.
    """
    work = WORK.get(kind, kind)
    if result is not None and exit_code == 0:
        if state is JobState.STARTING:
            state = advance(state, JobEvent.FIRST_WORD)
        return JobOutcome(
            state=advance(state, JobEvent.ENDED_WELL),
            sentence=f"{work} is done",
            code=None,
            result=result,
        )
    died = _death(exit_code)
    event = JobEvent.DIED if died is not None and failure is None else JobEvent.ENDED_BADLY
    end = advance(state, event)
    if end is JobState.STOPPED or (
        failure is not None and failure.code == ErrorCode.JOB_STOPPED.value
    ):
        return JobOutcome(
            state=JobState.STOPPED,
            sentence=f"{work} was stopped as asked",
            code=ErrorCode.JOB_STOPPED,
            result=None,
        )
    if failure is not None:
        return JobOutcome(
            state=end, sentence=safe_text(failure.sentence), code=_code(failure.code), result=None
        )
    if died is not None:
        return JobOutcome(
            state=end, sentence=f"{work} {died}", code=ErrorCode.JOB_LOST, result=None
        )
    manner = "without its result" if exit_code == 0 else f"with exit code {exit_code}"
    return JobOutcome(
        state=end,
        sentence=f"{work} ended {manner} and did not say why",
        code=ErrorCode.JOB_FAILED,
        result=None,
    )


def _code(name: str) -> ErrorCode:
    try:
        return ErrorCode(name)
    except ValueError:
        return ErrorCode.JOB_FAILED


def _death(exit_code: int) -> str | None:
    """What a sudden death looks like to a person; None for an ordinary exit code."""
    if exit_code < 0:
        try:
            name = signal.Signals(-exit_code).name
        except ValueError:
            name = f"signal {-exit_code}"
        return _BY_SIGNAL.get(name, f"was ended by {name}")
    return _BY_NT_STATUS.get(exit_code)
