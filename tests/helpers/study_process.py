"""A coordinator service or a site service as a process of its own, to be killed; its jobs are played.

    python study_process.py coordinator HOME PORT MIB LOG [CRASH_POINT]
    python study_process.py site HOME SEED CORRUPT DOUBLE

Everything but planning and training is the real program: stores, spool, door, link, averaging. The
model is one tensor of so many MiB; training adds to it what site and round decide, so a study that
is killed again and again must end with the same bits as one that is left in peace.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
PASSPHRASE = "four words for tests"


# --- the coordinator's side ----------------------------------------------------------------------


def played(mib: int):
    """Play planning with a recorded plan, and draw a model of one tensor."""
    import numpy as np
    from helpers.plans import document_of, stock_plan
    from safetensors.numpy import save_file

    from app.domain.plans import PlanSummary
    from app.domain.rounds import TensorSpec
    from app.jobs.events import ModelDrawn, Planned
    from app.jobs.spec import PlanJob

    shape = (mib * 64, 4096)
    summary = PlanSummary(
        configuration="3d_fullres", spacing_mm=(1.0, 1.0, 1.0), patch=(8, 8, 8), batch_size=2,
        stages=2, features=(32,), normalisation=("ZScoreNormalization",), network="PlainConvUNet",
    )  # fmt: skip

    def play(job):
        if isinstance(job, PlanJob):
            Path(job.output).write_bytes(document_of(stock_plan("ExperimentPlanner", "")))
            return Planned(output=job.output, digest="0" * 64, summary=summary)
        random = np.random.default_rng(job.seed)
        save_file({"weight": random.random(shape, np.float32)}, job.output)
        spec = TensorSpec(name="weight", shape=shape)
        return ModelDrawn(output=job.output, sha256="0" * 64, size=1, tensors=(spec,))

    return play


async def serve_coordinator(folder: Path, port: int, mib: int) -> None:
    from helpers.loopback import until
    from helpers.played_jobs import PlayedRunner

    from app.coordinator.service import CoordinatorService
    from app.coordinator.spool import Spool
    from app.coordinator.store import StudyStore
    from app.coordinator.workspace import CoordinatorHome, open_members
    from app.federation.study_file import terms_from_json
    from app.system.clock import SystemClock

    home, clock = CoordinatorHome(folder=folder), SystemClock()
    store = StudyStore.open(home.database)
    members = open_members(home, store.identity, terms_from_json(store.terms), clock)
    spool = Spool(home.spool, study=store.identity, clock=clock, reserve_bytes=0)
    service = CoordinatorService(
        home=home, store=store, members=members, spool=spool, clock=clock,
        runner=PlayedRunner(played(mib)),
    )  # fmt: skip
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, service.stop)
    running = asyncio.create_task(service.run(host="127.0.0.1", port=port))
    await until(lambda: (service.port and service.port == port) or running.done())
    print("serving", flush=True)
    await running
    for opened in (spool, members, store):
        opened.close()


# --- a site's side -------------------------------------------------------------------------------


async def serve_site(home: Path, seed: int, corrupt: float, double: float) -> None:
    import numpy as np
    from helpers import scripted_runner
    from helpers.fault_link import Faults, faulty_links
    from helpers.loopback import QUICK
    from helpers.site_home import StillProbe
    from safetensors.numpy import load, save

    from app.site.service import NetworkConnections, SiteService, open_site
    from app.system.clock import SystemClock
    from app.wire.messages import BlobKind

    settings = dataclasses.replace(QUICK, first_delay_s=0.05, longest_delay_s=0.2)

    def trained(number: int, base: bytes) -> bytes:
        step = zlib.crc32(f"{home.name} in round {number}".encode()) / 2**32
        tensors = load(base)
        return save({name: tensor + np.float32(step) for name, tensor in tensors.items()})

    class Runner(scripted_runner.ScriptedRunner):
        """Takes a moment for each step, so that a kill may come in the middle of a round."""

        async def _gate(self, place):
            await asyncio.sleep(0.01)

    class Connections(NetworkConnections):
        """Notes every upload whose commit was acknowledged."""

        async def open(self, joined, listener):
            link = await super().open(joined, listener)
            link.settings = settings
            upload = link.upload

            async def noted(kind, path, blob):
                await upload(kind, path, blob)
                if kind is BlobKind.WEIGHTS:
                    with (home / "acknowledged.txt").open("a") as file:
                        file.write(f"{service.study.task.round} {blob.sha256}\n")

            link.upload = noted
            return link

    clock = SystemClock()
    scripted_runner.update_content = trained
    site = open_site(home, clock=clock, runner=Runner())
    service = SiteService(
        site,
        connections=Connections(home, clock),
        probe=StillProbe(),
        patience=lambda error, count: 0.05,
        sample_every_s=1.0,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, service.stop)
    with faulty_links(Faults(seed=seed, corrupt=corrupt, double=double)):
        print("serving", flush=True)
        await service.run()
    site.store.close()


# --- the test's side -----------------------------------------------------------------------------


class Process:
    """Starts, kills and restarts one of the two above."""

    def __init__(self, *words: object) -> None:
        self._words = [str(word) for word in words]
        self.process: asyncio.subprocess.Process | None = None
        self.kills = 0

    async def start(self, *more: str) -> None:
        """Start it; returns when it serves, or has already killed itself."""
        log = Path(self._words[1]).with_suffix(".log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, *self._words, *more,
            stdout=subprocess.PIPE,
            stderr=log,
            env={
                **os.environ,
                "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}",
                "FEDNNUNET_PASSPHRASE": PASSPHRASE,
            },
        )  # fmt: skip
        log.close()
        async with asyncio.timeout(60):
            line = await self.process.stdout.readline()
        assert line == b"serving\n" or await self.process.wait() == -signal.SIGKILL, line

    async def kill(self) -> None:
        """SIGKILL it at once and wait until it is gone."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        await self.process.wait()
        self.kills += 1

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()


@contextlib.asynccontextmanager
async def ended_with(*processes: Process) -> AsyncIterator[None]:
    """Stop every process at the end of the block."""
    try:
        yield
    finally:
        for process in processes:
            await process.stop()


def main() -> None:
    kind, home, *more = sys.argv[1:]
    if kind == "coordinator":
        port, mib, log, *armed = more
        from helpers.crash_points import watch

        watch(Path(log), *armed)
        asyncio.run(serve_coordinator(Path(home), int(port), int(mib)))
    else:
        seed, corrupt, double = more
        asyncio.run(serve_site(Path(home), int(seed), float(corrupt), float(double)))


if __name__ == "__main__":
    main()
