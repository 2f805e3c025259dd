"""Fail a test that leaves a thread or a child process running."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import psutil

PATIENCE_S = 3.0
# Started once per process by libraries and kept on purpose.
LASTING_CHILDREN = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")
LASTING_THREADS = ("pytest_timeout", "tqdm_monitor", "QThread", "Dummy-")


class Leftovers:
    """Remembers what runs before a test and tells what runs beyond it."""

    def __init__(self) -> None:
        self._threads = set(threading.enumerate())
        self._children = set(child_ids())

    def complaints(self, *, patience_s: float = PATIENCE_S) -> list[str]:
        """Wait until everything new has ended, then name what has not; ends left children."""
        until = time.monotonic() + patience_s
        complaints = [
            f"thread left running: {thread.name}"
            for thread in threading.enumerate()
            if thread not in self._threads and not self._has_ended(thread, until)
        ]
        for child_id in child_ids():
            if child_id not in self._children:
                complaints += end_child(child_id, until)
        return complaints

    @staticmethod
    def _has_ended(thread: threading.Thread, until: float) -> bool:
        if thread is threading.current_thread() or thread.name.startswith(LASTING_THREADS):
            return True
        thread.join(max(0.0, until - time.monotonic()))
        return not thread.is_alive()


def child_ids() -> list[int]:
    """Return the numbers of this process's children, dead ones not yet waited for among them."""
    tasks = Path("/proc/self/task")
    # Reading a file per thread is a hundred times quicker than psutil's look at every process.
    files = [task / "children" for task in tasks.iterdir()] if tasks.is_dir() else []
    if not files or not files[0].exists():
        return [child.pid for child in psutil.Process().children()]
    ids: list[int] = []
    for file in files:
        try:
            ids += [int(word) for word in file.read_text().split()]
        except OSError:
            continue  # that thread has ended meanwhile
    return ids


def end_child(child_id: int, until: float) -> list[str]:
    """Wait for a child, end it if it goes on, and return what to complain about.

    The exit status is left for whoever started it: fetching it here would take it from them.
    """
    try:
        child = psutil.Process(child_id)
        command = " ".join(child.cmdline())
        if any(word in command for word in LASTING_CHILDREN):
            return []
        while child.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > until:
                child.kill()
                return [f"child process left running: {child_id} {command[:200]}"]
            time.sleep(0.02)
    except psutil.NoSuchProcess:
        return []
    return []
