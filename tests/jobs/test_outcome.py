import signal
import typing

import pytest

from app.domain.errors import ErrorCode
from app.jobs import spec
from app.jobs.events import Failed, Fingerprinted
from app.jobs.machine import JobState
from app.jobs.outcome import WORK, JobOutcome, outcome_of

DONE = Fingerprinted(output="there", cases=3)
FULL = Failed(code="disk-full", sentence="the disk is full")


def outcome(**changes) -> JobOutcome:
    facts = {"state": JobState.RUNNING, "exit_code": 0, "failure": None, "result": None}
    return outcome_of("TrainJob", **(facts | changes))


def test_every_kind_of_job_has_a_name_for_people():
    assert set(WORK) == {kind.__name__ for kind in typing.get_args(spec.AnyJob)}


@pytest.mark.parametrize(
    ("facts", "state", "code", "sentence"),
    [
        ({"result": DONE}, JobState.SUCCEEDED, None, "training is done"),
        (
            {"result": DONE, "state": JobState.STOPPING},
            JobState.SUCCEEDED,
            None,
            "training is done",
        ),
        (
            {"failure": FULL, "exit_code": 1},
            JobState.FAILED,
            ErrorCode.DISK_FULL,
            "the disk is full",
        ),
        # A child that said why before it died failed; it was not lost.
        ({"failure": FULL, "exit_code": -9}, JobState.FAILED, ErrorCode.DISK_FULL, FULL.sentence),
        (
            {"failure": Failed(code="?", sentence="odd\x07"), "exit_code": 1},
            JobState.FAILED,
            ErrorCode.JOB_FAILED,
            "odd�",
        ),
        (
            {"failure": Failed(code="job-stopped", sentence="x"), "exit_code": 1},
            JobState.STOPPED,
            ErrorCode.JOB_STOPPED,
            "training was stopped as asked",
        ),
        (
            {"failure": FULL, "exit_code": 1, "state": JobState.STOPPING},
            JobState.STOPPED,
            ErrorCode.JOB_STOPPED,
            "training was stopped as asked",
        ),
        (
            {"exit_code": -signal.SIGTERM, "state": JobState.STOPPING},
            JobState.STOPPED,
            ErrorCode.JOB_STOPPED,
            "training was stopped as asked",
        ),
        (
            {"exit_code": -signal.SIGKILL},
            JobState.LOST,
            ErrorCode.JOB_LOST,
            "training was ended by the operating system, probably because memory ran out",
        ),
        (
            {"exit_code": -signal.SIGSEGV, "state": JobState.STARTING},
            JobState.LOST,
            ErrorCode.JOB_LOST,
            "training crashed inside a library (segmentation fault)",
        ),
        (
            {"exit_code": -signal.SIGUSR1},
            JobState.LOST,
            ErrorCode.JOB_LOST,
            "training was ended by SIGUSR1",
        ),
        ({"exit_code": -99}, JobState.LOST, ErrorCode.JOB_LOST, "training was ended by signal 99"),
        (
            {"exit_code": 0xC0000005},
            JobState.LOST,
            ErrorCode.JOB_LOST,
            "training crashed inside a library (access violation)",
        ),
        (
            {"exit_code": 3},
            JobState.FAILED,
            ErrorCode.JOB_FAILED,
            "training ended with exit code 3 and did not say why",
        ),
        (
            {"exit_code": 0},
            JobState.FAILED,
            ErrorCode.JOB_FAILED,
            "training ended without its result and did not say why",
        ),
        # Files may be half written when a child falls over after its result.
        (
            {"exit_code": 1, "result": DONE},
            JobState.FAILED,
            ErrorCode.JOB_FAILED,
            "training ended with exit code 1 and did not say why",
        ),
    ],
)
def test_an_outcome_states_itself(facts, state, code, sentence):
    ended = outcome(**facts)
    assert (ended.state, ended.code, str(ended)) == (state, code, sentence)
    assert (ended.result is DONE) is (state is JobState.SUCCEEDED)
