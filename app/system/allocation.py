"""How this process returns memory to the system: not after every chunk of a transfer."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

# glibc's malloc.h. Blocks up to the first size come from the heap instead of a mapping of their
# own, and the heap's free end is given back only beyond the second.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_MAPPED_FROM: Final = 8 << 20
_TRIMMED_FROM: Final = 32 << 20


def keep_freed_memory() -> bool:
    """Let the C library keep up to 32 MiB of freed memory; returns whether it can be told so.

    A chunk of 256 KiB is copied four times between file and socket. With glibc's defaults each
    copy is mapped, faulted in page by page and unmapped again: 21,093 page faults for a file of
    124 MiB against none (tests/benchmarks/transfer.py measures the speed). Other C libraries
    (musl, macOS, Windows) manage such blocks differently and are left alone.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    mallopt.restype = ctypes.c_int
    # Setting either also ends glibc's own adapting of both.
    return bool(mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)) and bool(
        mallopt(_M_TRIM_THRESHOLD, _TRIMMED_FROM)
    )
