"""A coordinator's door as a process of its own, to be killed: ``python coordinator_process.py HOME PORT``.

Prints one line when it serves. The home must have been made by `helpers.loopback.make_door`.
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

    async def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            str(self.home),
            str(self.port),
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
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
