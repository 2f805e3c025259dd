"""What a process leaves behind when it dies: the tracebacks of every thread, in a file of its own.

Python's hooks write there what nobody caught; `faulthandler` writes there from a signal handler
when a library crashes the process, when nothing of Python can run any more.
"""

from __future__ import annotations

import faulthandler
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, TextIO

import app
from app.system.atomic import disk_errors, make_folder
from app.system.clock import Clock, SystemClock
from app.system.logs import redact, stamp

logger = logging.getLogger(__name__)

_LARGEST: Final = 1 << 20
_MOST_AT_ONCE: Final = 64 << 10


def crash_file(folder: Path, name: str) -> Path:
    """Return where the process `name` writes its last words."""
    return folder / f"{name}-crash.log"


@contextmanager
def watching_crashes(folder: Path, name: str, *, clock: Clock | None = None) -> Iterator[None]:
    """Write what nobody catches inside the block to ``folder/name-crash.log``.

    Raises:
        SetupProblem: the file cannot be written.
    """
    make_folder(folder)
    path = crash_file(folder, name)
    with disk_errors(path):
        too_large = path.exists() and path.stat().st_size > _LARGEST
        file = path.open("w" if too_large else "a", encoding="utf-8")
    hooks = _Hooks(file, SystemClock() if clock is None else clock)
    with file:
        was_enabled = faulthandler.is_enabled()
        faulthandler.enable(file, all_threads=True)
        hooks.install()
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:
            # Who called may well tell it in a sentence; where it came from would be gone.
            hooks.keep("the program", exc)
            raise
        finally:
            hooks.remove()
            faulthandler.disable()
            if was_enabled and sys.__stderr__ is not None:
                faulthandler.enable(sys.__stderr__)


class _Hooks:
    """Python's three hooks for what nobody caught; each still does what it did before."""

    def __init__(self, file: TextIO, clock: Clock) -> None:
        self._file, self._clock = file, clock
        self._lock = threading.Lock()
        self._before = (sys.excepthook, threading.excepthook, sys.unraisablehook)

    def install(self) -> None:
        sys.excepthook = self._uncaught
        threading.excepthook = self._uncaught_in_thread
        sys.unraisablehook = self._unraisable

    def remove(self) -> None:
        sys.excepthook, threading.excepthook, sys.unraisablehook = self._before

    def keep(self, where: str, error: BaseException) -> None:
        """Write an exception that goes on its way."""
        self._write(where, type(error), error, error.__traceback__)

    def _uncaught(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            self._write("the program", kind, error, trace)
        self._before[0](kind, error, trace)

    def _uncaught_in_thread(self, arguments: threading.ExceptHookArgs) -> None:
        if not issubclass(arguments.exc_type, SystemExit):
            self._write(
                "a thread", arguments.exc_type, arguments.exc_value, arguments.exc_traceback
            )
        self._before[1](arguments)

    def _unraisable(self, arguments: sys.UnraisableHookArgs) -> None:
        self._write(
            "a destructor or callback",
            arguments.exc_type,
            arguments.exc_value,
            arguments.exc_traceback,
        )
        self._before[2](arguments)

    def _write(
        self,
        where: str,
        kind: type[BaseException],
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        text = "".join(traceback.format_exception(kind, error, trace))[-_MOST_AT_ONCE:]
        head = f"{stamp(self._clock.now())} CRITICAL {__name__}: {where} ended"
        # The last words must never raise themselves: the disk may be why the process dies.
        with suppress(OSError, ValueError), self._lock:
            self._file.write(redact(f"{head} (version {app.__version__})\n{text}\n"))
            self._file.flush()
