"""Starting what outlives whoever started it: a service, or a program for looking at images.

Closing a window never stops training, nor what somebody draws in another program.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import app
from app.system.atomic import make_folder

if sys.platform == "win32":
    _APART: Final[dict[str, Any]] = {
        "creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
    }
else:
    _APART: Final[dict[str, Any]] = {"start_new_session": True}


_OURS: Final = frozenset(
    {
        "PYTHONPATH",
        "PYTHONHOME",
        "QT_PLUGIN_PATH",
        "QT_QPA_PLATFORM_PLUGIN_PATH",
        "QML2_IMPORT_PATH",
    }
)


def fednnunet_command() -> tuple[str, ...]:
    """Return the words that start this program's command line, from a checkout or frozen."""
    if getattr(sys, "frozen", False):
        return (sys.executable,)
    # -P: a folder called `app` in the current directory must not be imported instead of ours.
    return (sys.executable, "-P", "-m", "app")


def worker_python() -> tuple[str, ...]:
    """Return the words before `-m app.worker SPEC`; a frozen program answers to these itself."""
    if getattr(sys, "frozen", False):
        return (sys.executable,)
    return (sys.executable, "-P")


def start_detached(command: Sequence[str], *, log: Path) -> int:
    """Start `command` in a session of its own, its output appended to `log`; return its process id.

    It does not hang on this process's terminal, group or standard streams.

    Raises:
        SetupProblem: the log's folder cannot be made.
        OSError: the program cannot be started.
    """
    ours = str(Path(app.__file__).parents[1])
    path = os.pathsep.join(part for part in (ours, os.environ.get("PYTHONPATH", "")) if part)
    return _start(command, {**os.environ, "PYTHONPATH": path}, log)


def start_foreign(command: Sequence[str], *, log: Path) -> int:
    """Start somebody else's program as `start_detached` does, without our libraries in its way.

    3D Slicer brings a Python and a Qt of its own, which must not find ours.

    Raises:
        SetupProblem: the log's folder cannot be made.
        OSError: the program cannot be started.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OURS}
    if getattr(sys, "frozen", False):
        # PyInstaller keeps what the system had under this name.
        before = environment.pop("LD_LIBRARY_PATH_ORIG", None)
        environment.pop("LD_LIBRARY_PATH", None)
        if before is not None:
            environment["LD_LIBRARY_PATH"] = before
    return _start(command, environment, log)


def _start(command: Sequence[str], environment: dict[str, str], log: Path) -> int:
    make_folder(log.parent)
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            close_fds=True,
            env=environment,
            **_APART,
        )
    # Nobody here waits for it: it is not ours any more. (Python would warn that it still runs.)
    process.returncode = 0
    return process.pid
