"""A real coordinator process is killed again and again while sites upload over a bad network."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import socket
import time

import pytest
from helpers.coordinator_process import CRASH_POINTS, CoordinatorProcess, coordinator_process
from helpers.fault_link import Faults, faulty_links
from helpers.loopback import QUICK, make_door, open_door, running_link, with_url, write_blob
from helpers.tcp_proxy import Weather, tcp_proxy

from app.domain.ids import SiteName
from app.wire.messages import BlobKind

MIB = 1 << 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("seed", "sites", "uploads", "mib", "kill_every_mib", "bytes_per_s"),
    [
        pytest.param(3, 2, 6, 4, 6, 5e6, id="short"),
        *(
            pytest.param(seed, 4, 4, 24, 14, 20e6, id=f"long-{seed}", marks=pytest.mark.slow)
            for seed in (1, 2, 3)
        ),
    ],
)
@pytest.mark.timeout(300)
async def test_no_acknowledged_upload_is_lost(
    tmp_path, record_property, seed, sites, uploads, mib, kill_every_mib, bytes_per_s
):
    home, port, chance = tmp_path / "coordinator", free_port(), random.Random(seed)
    names = [f"site-{n}" for n in range(sites)]
    async with open_door(make_door(home, port=port)) as door:
        members = [await door.join(name) for name in names]
    committed: dict[str, list[str]] = {name: [] for name in names}
    faults = Faults(seed=seed, corrupt=0.01, double=0.01)
    settings = dataclasses.replace(QUICK, first_delay_s=0.02, longest_delay_s=0.1)
    ready_s: list[float] = []

    async with (
        coordinator_process(home, port) as coordinator,
        tcp_proxy(port, Weather(bytes_per_s=bytes_per_s)) as network,
    ):

        async def work(name: str, member) -> None:
            membership, key = member
            async with running_link(
                with_url(membership, network.url), key, settings=settings
            ) as run:
                for number in range(uploads):
                    path = tmp_path / f"{name}-{number}"
                    blob = await asyncio.to_thread(
                        write_blob, path, mib * MIB, seed=hash((name, number))
                    )
                    await run.link.upload(BlobKind.WEIGHTS, path, blob)
                    committed[name].append(blob.sha256)

        async def havoc() -> None:
            # By bytes, not by time: a busy machine must not be killed more often per byte. About
            # a kill a second at 6 and 14 MiB/s.
            while True:
                enough = network.to_server + chance.uniform(0.5, 1.5) * kill_every_mib * MIB
                while network.to_server < enough:  # noqa: ASYNC110 - a count has no event
                    await asyncio.sleep(0.002)
                await coordinator.kill()
                began = time.monotonic()
                await coordinator.start()
                ready_s.append(time.monotonic() - began)

        with faulty_links(faults):
            killing = asyncio.create_task(havoc())
            try:
                await asyncio.gather(*map(work, names, members))
            finally:
                killing.cancel()
                await asyncio.wait({killing})
                if not killing.cancelled():
                    killing.result()

    total = sites * uploads * mib * MIB
    resent = faults.payload_bytes / total - 1
    figures = {
        "kills": coordinator.kills,
        "corrupted": faults.corrupted,
        "doubled": faults.doubled,
        "resent": round(resent, 3),
        "slowest_start_s": round(max(ready_s, default=0.0), 2),
    }
    print(figures)
    record_property("figures", figures)
    door = make_door(home)
    for name in names:
        assert len(committed[name]) == uploads
        assert door.spool.received(name) >= set(committed[name])
        for sha256 in committed[name]:
            door.spool.verify(sha256)
    assert list((home / "spool" / "partial").iterdir()) == []
    door.members.close()
    door.spool.close()
    assert coordinator.kills >= 3
    assert faults.corrupted
    assert faults.doubled
    assert resent <= 0.5


@pytest.mark.asyncio
@pytest.mark.timeout(120)
async def test_a_crash_at_any_point_loses_nothing(tmp_path):
    home, port = tmp_path / "coordinator", free_port()
    async with open_door(make_door(home, port=port)) as door:
        member = await door.join()
    blob = write_blob(tmp_path / "update", 3 * MIB)
    answered_late = write_blob(tmp_path / "second", MIB, seed=9)
    coordinator = CoordinatorProcess(home, port)
    try:
        async with running_link(*member) as run:
            for path, named in ((tmp_path / "update", blob), (tmp_path / "second", answered_late)):
                uploading = asyncio.create_task(run.link.upload(BlobKind.WEIGHTS, path, named))
                points = CRASH_POINTS[:-1] if named is blob else CRASH_POINTS[-1:]
                for point in points:
                    await coordinator.start(point)
                    await coordinator.crashed()
                    assert not uploading.done()
                await coordinator.start()
                async with asyncio.timeout(20):
                    await uploading
                await coordinator.kill()
            # The bytes that a crash between placing and recording sends again, and the chunks.
            assert run.link.sent_bytes < 4.5 * 3 * MIB
    finally:
        if coordinator.process is not None:
            await coordinator.stop()
    door = make_door(home)
    assert door.spool.received(SiteName("alpha")) == {blob.sha256, answered_late.sha256}
    for named in (blob, answered_late):
        door.spool.verify(named.sha256)
    door.members.close()
    door.spool.close()
