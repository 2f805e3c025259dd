"""One service per home folder, even after a crash left its lock behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from app.domain.errors import ErrorCode, SetupProblem
from app.system.atomic import PRIVATE_FILE, disk_errors, make_folder, write_atomic

_LOCK: Final = "service.lock"
_GUARD: Final = ".service.guard"
_SAME_START_S: Final = 2.0
"""Start times of one process as read at two moments may differ by the clock's corrections."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lock: a process id alone could since have been given to another program."""

    pid: int
    started: float

    @classmethod
    def of_this_process(cls) -> Holder:
        import psutil

        process = psutil.Process()
        return cls(pid=process.pid, started=process.create_time())

    @property
    def alive(self) -> bool:
        """True while that very process runs."""
        import psutil  # a client asks only when it cannot connect

        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return abs(process.create_time() - self.started) <= _SAME_START_S
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            # It runs as somebody else; a lock in this user's home was not written by it.
            return False


def holder_of(home: Path) -> Holder | None:
    """Return the living process that holds `home`, or None when it is free or its lock stale."""
    try:
        holder = msgspec.json.decode((home / _LOCK).read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None
    return holder if holder.alive else None


class HomeLock:
    """The claim of one service on one home folder; use it as a context manager."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.replaced_stale = False
        """The holder before died without giving its lock back; true after `acquire`."""
        self._held = False

    def acquire(self) -> None:
        """Take the lock; a stale one is replaced.

        Raises:
            SetupProblem: another living service holds it (SERVICE_RUNNING), or the home cannot be
                written.
        """
        make_folder(self.home)
        with _alone(self.home / _GUARD):
            holder = holder_of(self.home)
            if holder is not None:
                raise SetupProblem(
                    f"a service already runs for {self.home} (process {holder.pid})",
                    code=ErrorCode.SERVICE_RUNNING,
                )
            self.replaced_stale = (self.home / _LOCK).exists()
            write_atomic(self.home / _LOCK, msgspec.json.encode(Holder.of_this_process()))
            self._held = True

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._held:
            self._held = False
            (self.home / _LOCK).unlink(missing_ok=True)

    def __enter__(self) -> HomeLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the operating system's lock on `path` inside the block.

    Two services that start at once would else both find the same stale lock and both replace it.
    """
    with disk_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        # Closing gives the operating system's lock back on every platform.
        os.close(handle)
