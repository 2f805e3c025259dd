"""Starting this program's own services from a command, each as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Final

from app.domain.errors import SetupProblem

_START_S: Final = 60.0
_POLL_S: Final = 0.1


async def start_service(words: tuple[str, ...], *, home: Path, log: Path) -> None:
    """Start `fednnunet WORDS` unless the service of `home` runs; return when it can be attached.

    Raises:
        SetupProblem: it did not start; its log is named.
    """
    from app.control.server import find_service
    from app.jobs.detached import fednnunet_command, start_detached

    if find_service(home) is not None:
        return
    pid = start_detached([*fednnunet_command(), *words], log=log)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_START_S):
            while _lives(pid):
                if find_service(home) is not None:
                    return
                await asyncio.sleep(_POLL_S)
    raise SetupProblem(f"“fednnunet {' '.join(words)}” did not start; {log} says why")


def _lives(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
