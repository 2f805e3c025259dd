"""Starting a service that outlives whoever started it: closing a window never stops training."""

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
    make_folder(log.parent)
    ours = str(Path(app.__file__).parents[1])
    path = os.pathsep.join(part for part in (ours, os.environ.get("PYTHONPATH", "")) if part)
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            close_fds=True,
            env={**os.environ, "PYTHONPATH": path},
            **_APART,
        )
    # Nobody here waits for it: it is not ours any more. (Python would warn that it still runs.)
    process.returncode = 0
    return process.pid
