"""Make a process kill itself at a named point: before or after a chunk, fsync, rename, commit, answer.

A point is named after what happens and the function of the program in which it happens, for example
"before commit in coordinator.spool.record". `watch` notes every point that a process passes, so a
test need not list them, and kills the process with SIGKILL at the armed one.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_STATEMENTS = ("INSERT", "UPDATE", "DELETE", "COMMIT", "REPLACE")


class _Watch:
    def __init__(self, log: Path, armed: str) -> None:
        self._log, self._armed = log, armed
        self._known: set[str] = set(log.read_text().splitlines()) if log.exists() else set()

    def passes(self, when: str, what: str) -> None:
        name = f"{when} {what} in {_place()}"
        if name == self._armed:
            os.kill(os.getpid(), signal.SIGKILL)
        if name not in self._known:
            self._known.add(name)
            with self._log.open("a") as file:
                file.write(name + "\n")

    def around(self, what: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            self.passes("before", what)
            result = real(*arguments, **options)
            self.passes("after", what)
            return result

        return watched


def _place() -> str:
    """The innermost function of the program that is running."""
    frame = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("app."):
            return f"{module.removeprefix('app.')}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "elsewhere"


def watch(log: Path, armed: str = "") -> None:
    """Watch this process from now on; call it before it opens anything."""
    from app.coordinator import server
    from app.system.partial_files import PartialFile
    from app.wire.messages import UploadCommitted

    watching = _Watch(log, armed)
    for owner, name, what in (
        (os, "fsync", "fsync"),
        (os, "fdatasync", "fsync"),
        (Path, "replace", "rename"),
        (PartialFile, "append", "chunk"),
    ):
        setattr(owner, name, watching.around(what, getattr(owner, name)))

    post = server._Session.post

    def watched_post(self: Any, message: Any) -> bool:
        if isinstance(message, UploadCommitted):
            watching.passes("before", "answer")
        return post(self, message)

    server._Session.post = watched_post

    class WatchedConnection(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            # A statement of its own is a commit; within a transaction the commit is.
            commits = sql.lstrip().upper().startswith(_STATEMENTS) and (
                not self.in_transaction or sql.upper().startswith("COMMIT")
            )
            if not commits or self.isolation_level is not None:
                return super().execute(sql, *arguments)
            watching.passes("before", "commit")
            result = super().execute(sql, *arguments)
            watching.passes("after", "commit")
            return result

        def __exit__(self, *exc: Any) -> Any:
            watching.passes("before", "commit")
            result = super().__exit__(*exc)
            watching.passes("after", "commit")
            return result

    connect = sqlite3.connect

    def watched_connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return connect(*arguments, **options, factory=WatchedConnection)

    sqlite3.connect = watched_connect
