import errno

import pytest
import torch

from app.domain.errors import DataProblem, ErrorCode, JobFailed
from app.jobs.events import Failed
from app.worker.failures import failure_of


class OutOfMemoryError(RuntimeError):
    """Stands for torch.cuda.OutOfMemoryError, which only a full card raises."""


@pytest.mark.parametrize(
    ("exc", "code", "sentence"),
    [
        (DataProblem("case 7 has no label"), ErrorCode.DATA_BLOCKS, "case 7 has no label"),
        (JobFailed("stopped", code=ErrorCode.JOB_STOPPED), ErrorCode.JOB_STOPPED, "stopped"),
        (OSError(errno.ENOSPC, "No space left"), ErrorCode.DISK_FULL, "the disk is full"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/data/patient"),
            ErrorCode.NO_PERMISSION,
            "this user may not read or write a needed file",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "/data/patient"),
            ErrorCode.JOB_FAILED,
            "a file could not be used: No such file or directory",
        ),
        (
            OSError(errno.ENOMEM, "Cannot allocate memory"),
            ErrorCode.MEMORY_FULL,
            "this computer has not enough free memory for the job",
        ),
        (
            MemoryError(),
            ErrorCode.MEMORY_FULL,
            "this computer has not enough free memory for the job",
        ),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            ErrorCode.MEMORY_FULL,
            "this computer has not enough free memory for the job",
        ),
        (
            OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
            ErrorCode.GPU_MEMORY,
            "the graphics card has not enough free memory for the job",
        ),
        (
            RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
            ErrorCode.GPU_MEMORY,
            "the graphics card has not enough free memory for the job",
        ),
        (
            RuntimeError("Error while serializing: I/O error: No space left on device"),
            ErrorCode.DISK_FULL,
            "the disk is full",
        ),
        (
            ModuleNotFoundError("No module named 'nnunetv2'", name="nnunetv2"),
            ErrorCode.MISSING_LIBRARY,
            "nnunetv2 is missing or cannot be loaded",
        ),
        (
            IndexError("list index out of range in /data/patient"),
            ErrorCode.JOB_FAILED,
            "the worker met an error it does not know: IndexError",
        ),
    ],
)
def test_every_exception_becomes_a_sentence(exc, code, sentence):
    assert failure_of(exc) == Failed(code=code.value, sentence=sentence)


def test_torch_still_calls_it_by_that_name():
    assert torch.cuda.OutOfMemoryError.__name__ == "OutOfMemoryError"
    assert issubclass(torch.cuda.OutOfMemoryError, RuntimeError)


def test_a_real_allocation_that_cannot_be_served():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55, dtype=torch.uint8)
    assert failure_of(caught.value).code == ErrorCode.MEMORY_FULL.value
