"""A coordinator's door as a process of its own, to be killed.

    python coordinator_process.py HOME PORT [CRASH_POINT]

Prints one line when it serves. The home must have been made by `helpers.loopback.make_door`. With
a crash point it kills itself (SIGKILL) when it gets there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

TESTS = Path(__file__).parents[1]


# What a coordinator does between a chunk's arrival and its answer to a commit, in order.
CRASH_POINTS = (
    "before a chunk is written",
    "after a chunk is written",
    "before bytes are forced out",
    "after bytes are forced out",
    "before a file is checked",
    "before a file is placed",
    "after a file is placed",
    "before a commit is recorded",
    "after a commit is recorded",
    "before a commit is answered",
)


def arm(point: str) -> None:
    """Make this process kill itself at `point`."""
    from app.coordinator import server
    from app.coordinator.spool import Spool
    from app.system import partial_files
    from app.system.partial_files import PartialFile
    from app.wire.messages import UploadCommitted

    when, what = point.split(" ", 1)
    owner, name = {
        "a chunk is written": (PartialFile, "append"),
        "bytes are forced out": (partial_files, "force_data"),
        "a file is checked": (Spool, "check_and_place"),
        "a file is placed": (PartialFile, "commit"),
        "a commit is recorded": (Spool, "record"),
        "a commit is answered": (server._Session, "post"),
    }[what]
    real = getattr(owner, name)

    def crashing(*arguments, **options):
        answers = not (name == "post" and not isinstance(arguments[1], UploadCommitted))
        if when == "before" and answers:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments, **options)
        if when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, crashing)


async def serve(home: Path, port: int) -> None:
    from helpers.loopback import make_door, open_door

    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with open_door(make_door(home, port=port)):
        print("serving", flush=True)
        await stopped.wait()


class CoordinatorProcess:
    """Starts, kills and restarts the process above."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port = home, port
        self.process: asyncio.subprocess.Process | None = None
        self.kills = 0

    async def start(self, crash_point: str | None = None) -> None:
        """Start it, to crash at a point or to go on; returns when it serves."""
        environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            str(self.home),
            str(self.port),
            *([] if crash_point is None else [crash_point]),
            stdout=subprocess.PIPE,
            env=environment,
        )
        async with asyncio.timeout(30):
            line = await self.process.stdout.readline()
        assert line == b"serving\n", line

    async def kill(self) -> None:
        """SIGKILL it at once and wait until it is gone."""
        self.process.kill()
        await self.process.wait()
        self.kills += 1

    async def crashed(self) -> None:
        """Wait until it has killed itself."""
        async with asyncio.timeout(30):
            assert await self.process.wait() == -signal.SIGKILL

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()


@contextlib.asynccontextmanager
async def coordinator_process(home: Path, port: int) -> AsyncIterator[CoordinatorProcess]:
    """Run one until the block ends."""
    process = CoordinatorProcess(home, port)
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


if __name__ == "__main__":
    if len(sys.argv) > 3:
        arm(sys.argv[3])
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
