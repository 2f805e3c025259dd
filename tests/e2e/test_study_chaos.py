"""A whole study on real services whose processes are killed again and again, over a bad network."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from helpers.loopback import until
from helpers.plans import stock_plan, terms_of
from helpers.site_home import make_folder
from helpers.study_process import PASSPHRASE, Process, ended_with
from helpers.tcp_proxy import TcpProxy, Weather, tcp_proxy

from app.coordinator.service import resting_status
from app.coordinator.workspace import create_study, write_invitation
from app.site.joining import join_study
from app.system.clock import SystemClock

MIB = 1 << 20

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    sites: int
    mib: int
    rounds: int
    bytes_per_s: float
    faulty: float
    kill_every_mib: float

    @property
    def payload(self) -> int:
        """Bytes that the sites must send: an update each and round."""
        return self.sites * self.rounds * self.mib * MIB


SHORT = Size(sites=2, mib=1, rounds=3, bytes_per_s=8e6, faulty=0.05, kill_every_mib=2)
LONG = Size(sites=4, mib=24, rounds=20, bytes_per_s=20e6, faulty=0.01, kill_every_mib=15)


class RunningStudy:
    """A study with its coordinator and sites as processes, and a network that is this test's."""

    def __init__(self, folder: Path, size: Size, network: TcpProxy, port: int, seed: int) -> None:
        self.size, self.network = size, network
        self.home = folder / "coordinator"
        self.log = folder / "points.txt"
        self.coordinator = Process("coordinator", self.home, port, size.mib, self.log)
        self.sites = {
            f"site-{n}": Process("site", folder / f"site-{n}", seed + n, size.faulty, size.faulty)
            for n in range(size.sites)
        }
        self._folder = folder
        self._look_again_at = self._closed = 0

    async def open(self) -> None:
        """Make the study, let every site join, start them all."""
        folder, clock = self._folder, SystemClock()
        made = terms_of(stock_plan("ExperimentPlanner", ""))
        labels = "\n".join(f'"{name}" = {value}' for name, value in made.labels.items())
        (folder / "study.toml").write_text(
            'name = "Chaos"\npurpose = "p"\ncontact = "c"\nchannel_names = ["MRI"]\n'
            f"rounds = {self.size.rounds}\nepochs_per_round = 2\nminimum_cases = 5\n"
            f"minimum_sites = {self.size.sites}\nadmission = 'invitation'\n"
            f'configuration = "{made.configuration}"\n[labels]\n{labels}\n'
        )
        create_study(
            folder / "study.toml", self.home, host="127.0.0.1", port=self.network.port, clock=clock
        )
        await self.coordinator.start()
        for name in self.sites:
            invitation, home = folder / f"{name}.fedjoin", folder / name
            write_invitation(self.home, site=name, out=invitation, days=1, clock=clock)
            home.mkdir()
            data = make_folder(folder / f"data of {name}")
            with mock.patch.dict(os.environ, {"FEDNNUNET_PASSPHRASE": PASSPHRASE}):
                await join_study(
                    invitation, home=home, data=data, allow_fingerprint="Ada", clock=clock
                )
        # What enrolment passes is not counted among the points.
        await self.coordinator.stop()
        self.log.unlink(missing_ok=True)
        await self.coordinator.start()
        for site in self.sites.values():
            await site.start()

    @property
    def models(self) -> tuple[str, ...]:
        """Digests of the averages of all rounds that are closed."""
        return tuple(closed.model for closed in resting_status(self.home).closed_rounds)

    @property
    def finished(self) -> bool:
        """Whether every round is closed; looked up four times a second at most."""
        now = time.monotonic()
        if now >= self._look_again_at:
            self._look_again_at = now + 0.25
            self._closed = len(self.models)
        return self._closed == self.size.rounds

    def acknowledged(self) -> dict[str, set[tuple[int, str]]]:
        """What each site was told that the coordinator has: round and digest."""
        return {
            name: {
                (int(line.split()[0]), line.split()[1])
                for line in _lines(self._folder / name / "acknowledged.txt")
            }
            for name in self.sites
        }

    def check_nothing_is_lost(self, acknowledged: dict[str, set[tuple[int, str]]]) -> None:
        """Every acknowledged update is in the spool still, or in a closed round."""
        with contextlib.closing(sqlite3.connect(self.home / "spool" / "spool.sqlite")) as spool:
            kept = {tuple(row) for row in spool.execute("SELECT site, sha256 FROM received")}
        closed = len(self.models)  # after the spool: what closed meanwhile may have been cleared
        for name, updates in acknowledged.items():
            for number, sha256 in updates:
                assert number <= closed or (name, sha256) in kept, (name, number, sha256)
                assert number <= closed or (self.home / "spool" / "blobs" / sha256).is_file()

    async def work_mib(self, mib: float) -> None:
        """Wait until so much more has been sent: havoc by bytes treats a busy machine alike."""
        enough = self.network.to_server + mib * MIB
        while self.network.to_server < enough and not self.finished:  # noqa: ASYNC110 - a count
            await asyncio.sleep(0.05)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.asynccontextmanager
async def running_study(folder: Path, size: Size, *, seed: int = 0):
    folder.mkdir()
    port = free_port()
    async with tcp_proxy(port, Weather(bytes_per_s=size.bytes_per_s)) as network:
        study = RunningStudy(folder, size, network, port, seed)
        async with ended_with(*study.sites.values(), study.coordinator):
            await study.open()
            yield study


async def undisturbed(folder: Path, size: Size) -> tuple[tuple[str, ...], list[str]]:
    """Run the study in peace; return its models and the crash points that it passed."""
    import dataclasses

    calm = dataclasses.replace(size, faulty=0.0)
    async with running_study(folder, calm) as study:
        await until(lambda: study.finished, within_s=600)
        sent = study.network.to_server
        assert sent < 1.1 * size.payload + 2 * MIB, "an undisturbed study sends everything once"
        return study.models, _lines(study.log)


async def kill_the_coordinator(study: RunningStudy, points: deque[str], chance) -> list[str]:
    """At every point, and at random between them, until the study ends; return those passed."""
    size, passed = study.size, []
    while not study.finished:
        if points and chance.random() < 0.8:
            point = points.popleft()
            await study.coordinator.kill()
            await study.coordinator.start(point)
            waiting = asyncio.create_task(study.coordinator.process.wait())
            moving = asyncio.create_task(study.work_mib(1.5 * size.sites * size.mib))
            await asyncio.wait({waiting, moving}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                passed.append(point)
            else:
                points.append(point)
            for task in (waiting, moving):
                task.cancel()
        else:
            await study.work_mib(chance.uniform(0.5, 1.5) * size.kill_every_mib)
        known = study.acknowledged()
        await study.coordinator.kill()
        study.check_nothing_is_lost(known)
        await study.coordinator.start()
        if not points:
            return passed
        await study.work_mib(chance.uniform(0.0, 1.0) * size.kill_every_mib)
    return passed


async def kill_the_sites(study: RunningStudy, chance) -> None:
    """Now one, now another, in the middle of whatever it does."""
    while not study.finished:
        await study.work_mib(chance.uniform(0.5, 1.5) * study.size.kill_every_mib)
        name = chance.choice(sorted(study.sites))
        await study.sites[name].kill()
        await study.sites[name].start()


@pytest.mark.parametrize(
    ("size", "most_points", "seed"),
    [
        pytest.param(SHORT, 4, 1, id="short", marks=pytest.mark.timeout(600)),
        pytest.param(LONG, 1000, 2, id="long", marks=[pytest.mark.slow, pytest.mark.timeout(3600)]),
    ],
)
async def test_a_study_ends_with_the_same_bits_whoever_is_killed(
    tmp_path, record_property, size, most_points, seed
):
    chance = random.Random(seed)
    models, named = await undisturbed(tmp_path / "calm", size)
    assert {point.split()[1] for point in named} == {"fsync", "rename", "commit", "chunk", "answer"}
    chosen = set(chance.sample(named, min(most_points, len(named))))
    points = deque(point for point in named if point in chosen)

    async with running_study(tmp_path / "stormy", size, seed=seed) as study:
        killing = [
            asyncio.create_task(kill_the_coordinator(study, points, chance)),
            asyncio.create_task(kill_the_sites(study, random.Random(seed + 1))),
        ]
        try:
            await until(lambda: study.finished, within_s=3000)
        finally:
            await asyncio.wait(killing, timeout=60)
            for task in killing:
                task.cancel()
            await asyncio.wait(killing)
        passed = killing[0].result()
        killing[1].result()
        assert study.models == models, "bit-equal to the undisturbed study"
        study.check_nothing_is_lost(study.acknowledged())
        for name, updates in study.acknowledged().items():
            assert {number for number, _ in updates} == set(range(1, size.rounds + 1)), name
            assert len({sha256 for _, sha256 in updates}) == size.rounds, "trained twice"
        kills = sum(site.kills for site in study.sites.values())
        figures = {
            "points": f"{len(passed)} of {len(named)}",
            "coordinator_kills": study.coordinator.kills,
            "site_kills": kills,
            "resent": round(study.network.to_server / size.payload - 1, 3),
            "not_reached": sorted(points),
        }
    print(figures)
    record_property("figures", figures)
    assert study.coordinator.kills >= 3
    assert kills >= 1
    assert passed
    if size is LONG:
        assert figures["resent"] <= 0.5, figures
        assert len(passed) >= 0.9 * len(named), figures
