"""From an exception to the sentence that a person reads. The traceback stays in the log."""

from __future__ import annotations

import errno
from typing import Final

from app.domain.errors import ErrorCode, FednnunetError
from app.jobs.events import Failed

_DISK_FULL: Final = "the disk is full"
_MEMORY_FULL: Final = "this computer has not enough free memory for the job"
_GPU_MEMORY: Final = "the graphics card has not enough free memory for the job"
# Words of libraries that raise no exception class of their own for these.
_GPU_MEMORY_WORDS: Final = (
    "CUDA out of memory",
    "MPS backend out of memory",
    "CUBLAS_STATUS_ALLOC",
)
_MEMORY_WORDS: Final = (
    "can't allocate memory",
    "not enough memory",
    "Cannot allocate memory",
    "bad_alloc",
)
# Windows has no quota error.
_DISK_NUMBERS: Final = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
_FORBIDDEN_NUMBERS: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_DISK_WORDS: Final = ("No space left on device", "os error 28", "not enough space on the disk")


def failure_of(exc: BaseException) -> Failed:
    """Return what to tell the service about `exc`."""
    if isinstance(exc, FednnunetError):
        return Failed(code=exc.code.value, sentence=str(exc))
    if isinstance(exc, OSError):
        return _of_system(exc)
    text = str(exc)
    # By name: this side must not import torch only to ask.
    if type(exc).__name__ == "OutOfMemoryError" or _any_in(_GPU_MEMORY_WORDS, text):
        return _failed(ErrorCode.GPU_MEMORY, _GPU_MEMORY)
    if isinstance(exc, MemoryError) or _any_in(_MEMORY_WORDS, text):
        return _failed(ErrorCode.MEMORY_FULL, _MEMORY_FULL)
    if _any_in(_DISK_WORDS, text):
        return _failed(ErrorCode.DISK_FULL, _DISK_FULL)
    if isinstance(exc, ImportError):
        name = exc.name or "a library"
        return _failed(ErrorCode.MISSING_LIBRARY, f"{name} is missing or cannot be loaded")
    return _failed(
        ErrorCode.JOB_FAILED, f"the worker met an error it does not know: {type(exc).__name__}"
    )


def _of_system(exc: OSError) -> Failed:
    if exc.errno in _DISK_NUMBERS:
        return _failed(ErrorCode.DISK_FULL, _DISK_FULL)
    if exc.errno in _FORBIDDEN_NUMBERS:
        return _failed(ErrorCode.NO_PERMISSION, "this user may not read or write a needed file")
    if exc.errno == errno.ENOMEM:
        return _failed(ErrorCode.MEMORY_FULL, _MEMORY_FULL)
    # No path in the sentence: it may name a case.
    reason = exc.strerror or type(exc).__name__
    return _failed(ErrorCode.JOB_FAILED, f"a file could not be used: {reason}")


def _any_in(words: tuple[str, ...], text: str) -> bool:
    return any(word in text for word in words)


def _failed(code: ErrorCode, sentence: str) -> Failed:
    return Failed(code=code.value, sentence=sentence)
