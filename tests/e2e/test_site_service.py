"""The site service as a process of its own: killed, started again, stopped, found twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from helpers.recorder import eventually
from helpers.site_home import tree_digest

from app.control.client import ControlClient, find_service
from app.control.messages import (
    Accepted,
    ChooseFolder,
    ComputeFingerprint,
    LinkState,
    StopService,
)
from app.domain.ids import digest_of
from app.system.resources import resource

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX"),
]


@contextlib.contextmanager
def service(home: Path):
    """A running site service; killed with its group at the end if it still runs."""
    home.mkdir(exist_ok=True)
    log = (home / "console.txt").open("ab")
    with (
        log,
        subprocess.Popen(
            [sys.executable, "-m", "app", "site", "run", "--home", str(home), "--threads", "1"],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=Path(__file__).parents[2],
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


async def attached(home: Path) -> ControlClient:
    await eventually(lambda: find_service(home) is not None, timeout_s=30, what="service is up")
    return await ControlClient.connect(home)


def workers(process) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


async def test_a_killed_service_takes_its_workers_along_and_goes_on_when_started(tmp_path):
    home, folder = tmp_path / "home", resource("samples", "hippocampus", "valley")
    before = tree_digest(folder)
    with service(home) as process:
        async with await attached(home) as client:
            assert client.snapshot.federation.link is LinkState.NONE
            assert await client.request(ChooseFolder(folder=str(folder))) == Accepted()
            await eventually(
                lambda: client.snapshot.data.job is not None and bool(workers(process)),
                timeout_s=30,
                what="check runs",
            )
            children = workers(process)
            process.kill()
            process.wait()
            async for _ in client.events():  # the connection ends with the service
                pass
        await eventually(
            lambda: (
                not any(child.is_running() and child.status() != "zombie" for child in children)
            ),
            timeout_s=20,
            what="workers are gone",
        )
    assert (home / "service.lock").exists()

    with service(home) as process:
        async with await attached(home) as client:
            # Nobody asks again: what was wished for is on disk.
            await eventually(
                lambda: client.snapshot.data.report is not None, timeout_s=60, what="checked"
            )
            assert client.snapshot.data.report.cases == 10
            assert await client.request(ComputeFingerprint()) == Accepted()
            await eventually(
                lambda: client.snapshot.fingerprint.outgoing is not None,
                timeout_s=60,
                what="fingerprint",
            )
            shown = client.snapshot.fingerprint
            assert digest_of(shown.outgoing.encode()) == shown.outgoing_digest
            assert await client.request(StopService()) == Accepted()
        async with asyncio.timeout(30):
            assert await asyncio.to_thread(process.wait) == 0
    assert find_service(home) is None
    assert not (home / "service.lock").exists()
    assert tree_digest(folder) == before
    # Neither folder nor case has got into the log.
    log = (home / "logs" / "site.log").read_text()
    assert str(folder) not in log
    assert "hippocampus_" not in log


async def test_one_service_per_home_and_a_signal_ends_it_in_peace(tmp_path):
    home = tmp_path / "home"
    with service(home) as process:
        async with await attached(home) as client:
            second = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-m", "app", "site", "run", "--home", str(home)],
                capture_output=True,
                text=True,
                cwd=Path(__file__).parents[2],
                timeout=60,
            )
            assert second.returncode == 1
            assert f"process {process.pid}" in second.stderr
            assert find_service(home).holder.pid == process.pid
            os.kill(process.pid, signal.SIGTERM)
            async for _ in client.events():
                pass
        async with asyncio.timeout(30):
            assert await asyncio.to_thread(process.wait) == 0
    assert find_service(home) is None
