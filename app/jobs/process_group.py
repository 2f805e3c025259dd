"""A child and everything it starts, ended together.

nnU-Net starts augmenters that outlive a trainer which is killed, so a child is never ended alone.
POSIX: a process group of its own. Windows: a job object that kills its processes when closed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final, Protocol

NICENESS: Final = 10
_LOWEST: Final = 19


class ProcessGroup(Protocol):
    """All processes that a child started, the child included."""

    def lower_priority(self) -> None:
        """Let the desktop go first."""
        ...

    def ask_to_end(self) -> None:
        """Send the system's polite signal, where it has one."""
        ...

    def kill(self) -> None:
        """End whatever still runs; harmless when nothing does."""
        ...


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _EXTENDED_LIMITS = 9
    _KILL_ON_CLOSE = 0x2000
    _BELOW_NORMAL = 0x4000
    _SET_INFORMATION = 0x0200
    _TERMINATE_AND_QUOTA = 0x0001 | 0x0100

    class _BasicLimits(ctypes.Structure):
        _fields_ = (
            ("PerProcessUserTimeLimit", ctypes.c_int64),
            ("PerJobUserTimeLimit", ctypes.c_int64),
            ("LimitFlags", wintypes.DWORD),
            ("MinimumWorkingSetSize", ctypes.c_size_t),
            ("MaximumWorkingSetSize", ctypes.c_size_t),
            ("ActiveProcessLimit", wintypes.DWORD),
            ("Affinity", ctypes.c_size_t),
            ("PriorityClass", wintypes.DWORD),
            ("SchedulingClass", wintypes.DWORD),
        )

    class _ExtendedLimits(ctypes.Structure):
        _fields_ = (
            ("BasicLimitInformation", _BasicLimits),
            ("IoInfo", ctypes.c_uint64 * 6),
            ("ProcessMemoryLimit", ctypes.c_size_t),
            ("JobMemoryLimit", ctypes.c_size_t),
            ("PeakProcessMemoryUsed", ctypes.c_size_t),
            ("PeakJobMemoryUsed", ctypes.c_size_t),
        )

    class WindowsJobObject:
        """A job object; it also ends its processes when this process dies."""

        def __init__(self, pid: int) -> None:
            kernel = ctypes.WinDLL("kernel32", use_last_error=True)
            kernel.CreateJobObjectW.restype = wintypes.HANDLE
            kernel.OpenProcess.restype = wintypes.HANDLE
            self._kernel: Any = kernel
            self._job = wintypes.HANDLE(kernel.CreateJobObjectW(None, None))
            limits = _ExtendedLimits()
            limits.BasicLimitInformation.LimitFlags = _KILL_ON_CLOSE
            kernel.SetInformationJobObject(
                self._job, _EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits)
            )
            self._process = wintypes.HANDLE(
                kernel.OpenProcess(_TERMINATE_AND_QUOTA | _SET_INFORMATION, False, pid)
            )
            if not kernel.AssignProcessToJobObject(self._job, self._process):
                raise OSError(ctypes.get_last_error(), "AssignProcessToJobObject")

        def lower_priority(self) -> None:
            self._kernel.SetPriorityClass(self._process, _BELOW_NORMAL)

        def ask_to_end(self) -> None:
            # A closed standard input was the polite request; Windows has no second one.
            return

        def kill(self) -> None:
            self._kernel.TerminateJobObject(self._job, 1)
            self._kernel.CloseHandle(self._process)
            self._kernel.CloseHandle(self._job)

    def process_group(pid: int) -> ProcessGroup:
        """Return the group of a child that was just started."""
        return WindowsJobObject(pid)

else:

    class PosixProcessGroup:
        """The process group that a child leads (it was started with a group of its own)."""

        def __init__(self, pid: int) -> None:
            self._id = pid

        def lower_priority(self) -> None:
            wanted = min(_LOWEST, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
            # The child may have ended already.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.setpriority(os.PRIO_PGRP, self._id, wanted)
            # Linux may share the processors out by session (sched(7), "The autogroup feature"):
            # there the priority of a process counts inside its session only, and a child that
            # leads a session of its own would take as much as the whole desktop.
            with contextlib.suppress(OSError):
                Path(f"/proc/{self._id}/autogroup").write_text(f"{wanted}\n", encoding="ascii")

        def ask_to_end(self) -> None:
            self._signal(signal.SIGTERM)

        def kill(self) -> None:
            self._signal(signal.SIGKILL)

        def _signal(self, number: signal.Signals) -> None:
            # macOS answers EPERM for a group in which only zombies are left.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._id, number)

    def process_group(pid: int) -> ProcessGroup:
        """Return the group of a child that was just started."""
        return PosixProcessGroup(pid)
