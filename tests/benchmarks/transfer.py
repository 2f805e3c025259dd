"""Measure uploads against raw TLS, and the memory that both ends need.

    python tests/benchmarks/transfer.py [--mib 124] [--runs 5] [--sites 10] [--json]

Speed: an upload through the real link, door and spool (chunk checksums, journal, forcing out every
8 MiB, digest of the whole file, rename) against one blocking TLS 1.3 socket that sends the same
bytes, run just before; medians of such pairs, in two places:
- `ratio`: the coordinator's home lies in memory (tmpfs), the raw receiver drops the bytes. This is
  what protocol and checks cost. The project's limit is 0.4.
- `kept_ratio`: the home lies on the disk, the raw receiver writes the same bytes beside it and
  forces them out before it answers. A disk that is slower than the network slows both.
`cpu_ratio` compares the CPU seconds of both ends in memory. `transfer_ratio` ends with the last
acknowledgement, before commit. The coordinator and the raw receiver are processes of their own.
Before each part, as much memory as it will fill is written once and given back: a virtual machine
whose host has not yet given it that memory takes ten times as long for the first touch of a page,
which would be measured instead.
Where this is allowed (root on Linux), all processes of a pair run before anything else on the
machine: a transfer needs two cores at once, and what it waits for a busy one is not its own cost.
Memory: growth of the coordinator while `--sites` sites upload at once, and of this process while it
is the network process of one site. Limits: coordinator at most 150 MiB over its base, site at most
120 MiB in all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from helpers.coordinator_process import coordinator_process  # noqa: E402
from helpers.loopback import make_door, open_door, running_link, until, write_blob  # noqa: E402

from app.site.connecting import LinkSettings  # noqa: E402
from app.system import tls  # noqa: E402
from app.system.blob_transfer import FileSender  # noqa: E402
from app.wire.messages import BlobKind  # noqa: E402

MIB = 1 << 20
SETTINGS = LinkSettings()
RAW_RECEIVER = """
import os, socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain(sys.argv[1], sys.argv[2])
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
buffer = bytearray(1 << 18)
view = memoryview(buffer)
while True:
    connection, _ = listening.accept()
    with context.wrap_socket(connection, server_side=True) as secure, open(sys.argv[3], "wb") as kept:
        size, keeps = secure.recv(20).split()
        left = int(size)
        while left:
            count = secure.recv_into(buffer)
            left -= count
            if keeps == b"1":
                kept.write(view[:count])
        if keeps == b"1":
            kept.flush()
            os.fdatasync(kept.fileno())
        secure.sendall(b"done")
"""
MEMORY = Path("/dev/shm")


class MemoryWatch:
    """Samples a process's resident memory every 20 ms; `grown` is its peak over the start."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.base = self.peak = self._process.memory_info().rss
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.peak = max(self.peak, self._process.memory_info().rss)

    @property
    def grown_mib(self) -> float:
        return (self.peak - self.base) / MIB


def send_raw(port: int, path: Path, size: int, authority_pem: str, *, keeps: bool) -> float:
    """Send the file over one TLS socket; return the seconds until the other end had it."""
    context = tls.client_context(authority_pem)
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        path.open("rb") as file,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        began = time.perf_counter()
        secure.sendall(f"{size} {keeps:d}".encode().ljust(20))
        while block := file.read(1 << 18):
            secure.sendall(block)
        assert secure.recv(4) == b"done"
        return time.perf_counter() - began


def touch_memory(folder: Path, mib: int) -> None:
    """Fill so much of the page cache once and give it back (see the top of this file)."""
    path, block = folder / "touched", os.urandom(MIB)
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(block)
    path.unlink()


def run_before_others() -> None:
    """Have this process and its children scheduled first, if the system lets us."""
    with contextlib.suppress(AttributeError, OSError):  # not Linux; not root
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def measure(*, mib: int, runs: int, sites: int) -> dict[str, float]:
    """Run everything; all figures are in the units that their names say."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as disk:
        if MEMORY.is_dir():
            with tempfile.TemporaryDirectory(dir=MEMORY) as memory:
                found = await measure_in(Path(memory), mib=mib, runs=runs, sites=2, keeps=False)
            figures |= found
        else:  # not Linux
            figures |= await measure_in(Path(disk) / "a", mib=mib, runs=runs, sites=2, keeps=False)
        found = await measure_in(Path(disk) / "b", mib=mib, runs=runs, sites=sites, keeps=True)
        figures["kept_ratio"] = found.pop("ratio")
        figures["disk_mb_per_s"] = found.pop("raw_tls_mb_per_s")
        figures |= {name: found[name] for name in found if name not in figures}
    return figures


async def measure_in(
    folder: Path, *, mib: int, runs: int, sites: int, keeps: bool
) -> dict[str, float]:
    """Measure with everything in `folder`; memory too when there are sites for it."""
    folder.mkdir(exist_ok=True)
    home, port = folder / "coordinator", free_port()
    async with open_door(make_door(home, port=port)) as door:
        members = [await door.join(f"site-{n}") for n in range(sites)]
        certificate, authority_pem = door.certificate, door.authority.certificate_pem
    files = []
    for number in range(runs):
        path = folder / f"file-{number}"
        files.append((path, write_blob(path, mib * MIB, seed=number)))
    await asyncio.to_thread(touch_memory, folder, mib * (runs + sites + 1))
    async with coordinator_process(home, port) as coordinator:
        pid = coordinator.process.pid
        figures = await speed(
            files, members[0], certificate, authority_pem, pid, keeps=keeps, beside=folder
        )
        if sites > 2:
            figures |= await memory(files[:1], members, pid)
    return figures


def cpu_s(*pids: int) -> float:
    """CPU seconds that these processes have used."""
    used = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(one.user + one.system for one in used)


@contextlib.contextmanager
def last_acknowledgement() -> Iterator[list[float]]:
    """Note when the coordinator had acknowledged the last byte, before check and commit."""
    times: list[float] = []
    real = FileSender.run

    async def run(self: FileSender) -> None:
        await real(self)
        times.append(time.perf_counter())

    FileSender.run = run
    try:
        yield times
    finally:
        FileSender.run = real


async def speed(
    files, member, certificate, authority_pem: str, pid: int, *, keeps: bool, beside: Path
) -> dict[str, float]:
    raw = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs on the loop yet
        [
            *(sys.executable, "-c", RAW_RECEIVER),
            *(certificate.certificate, certificate.key, beside / "raw"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    raw_s, whole_s, moving_s, raw_cpu_s, own_cpu_s = [], [], [], [], []
    try:
        raw_port = int(raw.stdout.readline())
        async with running_link(*member, settings=SETTINGS) as run:
            await until(lambda: run.link.connected)
            for path, blob in files:
                before = cpu_s(os.getpid(), raw.pid)
                raw_s.append(
                    await asyncio.to_thread(
                        send_raw, raw_port, path, blob.size, authority_pem, keeps=keeps
                    )
                )
                raw_cpu_s.append(cpu_s(os.getpid(), raw.pid) - before)
                before = cpu_s(os.getpid(), pid)
                began = time.perf_counter()
                with last_acknowledgement() as at:
                    await run.link.upload(BlobKind.WEIGHTS, path, blob)
                moving_s.append(at[-1] - began)
                own_cpu_s.append(cpu_s(os.getpid(), pid) - before)
                whole_s.append(time.perf_counter() - began)
    finally:
        raw.kill()
        raw.wait()
        raw.stdout.close()
    size_mb = files[0][1].size / 1e6
    return {
        "raw_tls_mb_per_s": size_mb / statistics.median(raw_s),
        "upload_mb_per_s": size_mb / statistics.median(whole_s),
        "ratio": statistics.median(a / b for a, b in zip(raw_s, whole_s, strict=True)),
        "cpu_ratio": sum(raw_cpu_s) / sum(own_cpu_s),
        "best_ratio": max(a / b for a, b in zip(raw_s, whole_s, strict=True)),
        "transfer_ratio": statistics.median(a / b for a, b in zip(raw_s, moving_s, strict=True)),
    }


async def memory(files, members, pid: int) -> dict[str, float]:
    """Let every site upload the same file at once; memory of both processes."""
    path, blob = files[0]

    async def work(member) -> None:
        async with running_link(*member, settings=SETTINGS) as run:
            await run.link.upload(BlobKind.WEIGHTS, path, blob)

    with MemoryWatch(os.getpid()) as own:
        await work(members[1])
    began = time.perf_counter()
    with MemoryWatch(pid) as theirs:
        await asyncio.gather(*map(work, members[2:]))
    taken_s = time.perf_counter() - began
    return {
        "sites_at_once": len(members) - 2,
        "all_sites_mb_per_s": (len(members) - 2) * blob.size / 1e6 / taken_s,
        "coordinator_grown_mib": theirs.grown_mib,
        "site_process_mib": own.peak / MIB,
        "site_process_grown_mib": own.grown_mib,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=124)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--sites", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    run_before_others()
    figures = asyncio.run(measure(mib=options.mib, runs=options.runs, sites=options.sites + 2))
    figures = {name: round(value, 3) for name, value in figures.items()}
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
