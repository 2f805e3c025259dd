"""Reading the machine: processor, memory, disk, network and, through NVML, every NVIDIA card."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import psutil

from app.system.clock import Clock

logger = logging.getLogger(__name__)

_MEGABYTE: Final = 1e6
_GIGABYTE: Final = 1e9
_TAKES_MEMORY: Final = 256_000_000
"""Bytes on a card above which a program uses it; a desktop or a browser holds less."""
_THROTTLED: Final[tuple[tuple[int, str], ...]] = (
    (0x20 | 0x40, "too hot"),
    (0x04, "at its power limit"),
    (0x80, "short of power"),
    (0x08, "slowed by its hardware"),
)
"""NVML's bits of `nvmlClocksEventReasons` that mean less speed than the card could give.

Idle clocks (0x1), clocks that an administrator set (0x2, 0x100) and boards kept in step (0x10) are
as wished for. 0x08 comes along with 0x40 and 0x80 and says nothing more then.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardUser:
    """A program on a graphics card; `name` is the program's own, never its arguments."""

    pid: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CardReading:
    """One reading of one graphics card; a figure the driver does not give is None.

    `throttled` says why it runs slower than it could. `users` are programs that hold more than
    256 MB of its memory, as far as this process may see them.
    """

    name: str
    percent: float | None
    memory_percent: float | None
    temperature_c: float | None
    power_w: float | None
    memory_gb: float | None = None
    throttled: tuple[str, ...] = ()
    users: tuple[CardUser, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineReading:
    """One reading of the machine; `at` is in seconds since the epoch, rates in MB per second.

    `worker_cpu_percent` is of one processor, `cpu_percent` of all together. `worker_pids` are the
    worker and everything it started.
    """

    at: float
    cpu_percent: float
    memory_percent: float
    worker_memory_mb: float
    disk_free_gb: float
    memory_free_gb: float = 0.0
    worker_cpu_percent: float = 0.0
    disk_read_mb_s: float = 0.0
    disk_write_mb_s: float = 0.0
    network_in_mb_s: float = 0.0
    network_out_mb_s: float = 0.0
    cards: tuple[CardReading, ...] = ()
    worker_pids: frozenset[int] = frozenset()


class CardProbe(Protocol):
    """Reads the graphics cards."""

    def read(self) -> tuple[CardReading, ...]:
        """Return a reading of each card; empty where there is none."""
        ...


class NvmlProbe:
    """Every NVIDIA card through NVML; the library is loaded at the first reading.

    A computer without driver or card costs one failed call and is not asked again. `nvml` is the
    module `pynvml`, or a recording of it in tests.
    """

    def __init__(self, nvml: NvmlLibrary | None = None) -> None:
        self._nvml = nvml
        self._handles: list[object] = []
        self._absent = False

    def read(self) -> tuple[CardReading, ...]:
        if self._absent:
            return ()
        try:
            nvml = self._nvml = self._nvml or _load_nvml()
            if not self._handles:
                nvml.nvmlInit()
                count = nvml.nvmlDeviceGetCount()
                self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
            return tuple(_read_card(nvml, handle) for handle in self._handles)
        except Exception as exc:  # noqa: BLE001 - NVML raises a class per code, made at run time
            logger.info("no graphics card can be read (%s)", type(exc).__name__)
            self._absent = True
            return ()


class _Utilization(Protocol):
    @property
    def gpu(self) -> int: ...


class _Memory(Protocol):
    @property
    def used(self) -> int: ...
    @property
    def total(self) -> int: ...


class _Process(Protocol):
    @property
    def pid(self) -> int: ...
    @property
    def usedGpuMemory(self) -> int | None: ...  # noqa: N802 - NVML's name


class NvmlLibrary(Protocol):
    """The part of `pynvml` that is used here."""

    def nvmlInit(self) -> None: ...  # noqa: N802 - NVML's names
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802
    def nvmlDeviceGetHandleByIndex(self, index: int) -> object: ...  # noqa: N802
    def nvmlDeviceGetName(self, handle: object) -> str | bytes: ...  # noqa: N802
    def nvmlDeviceGetUtilizationRates(self, handle: object) -> _Utilization: ...  # noqa: N802
    def nvmlDeviceGetMemoryInfo(self, handle: object) -> _Memory: ...  # noqa: N802
    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int: ...  # noqa: N802
    def nvmlDeviceGetPowerUsage(self, handle: object) -> int: ...  # noqa: N802
    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: object) -> int: ...  # noqa: N802
    def nvmlDeviceGetComputeRunningProcesses(  # noqa: N802
        self, handle: object
    ) -> Sequence[_Process]: ...
    def nvmlDeviceGetGraphicsRunningProcesses(  # noqa: N802
        self, handle: object
    ) -> Sequence[_Process]: ...


def _load_nvml() -> NvmlLibrary:
    import pynvml

    library: NvmlLibrary = pynvml
    return library


def _asked(read: Callable[[], object]) -> object:
    """Return what psutil counts, None where this system does not tell."""
    try:
        return read()
    except (OSError, RuntimeError, NotImplementedError):
        return None


def _read_card(nvml: NvmlLibrary, handle: object) -> CardReading:
    name = nvml.nvmlDeviceGetName(handle)
    return CardReading(
        name=name.decode() if isinstance(name, bytes) else name,
        percent=_figure(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        memory_percent=_figure(lambda: _used_share(nvml.nvmlDeviceGetMemoryInfo(handle))),
        temperature_c=_figure(lambda: nvml.nvmlDeviceGetTemperature(handle, 0)),
        power_w=_figure(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
        memory_gb=_figure(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).total / _GIGABYTE),
        throttled=_why_throttled(
            int(_figure(lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)) or 0)
        ),
        users=_users(nvml, handle),
    )


def _used_share(memory: _Memory) -> float:
    return 100 * memory.used / memory.total


def _why_throttled(bits: int) -> tuple[str, ...]:
    if bits & (0x40 | 0x80):
        bits &= ~0x08
    return tuple(words for mask, words in _THROTTLED if bits & mask)


def _users(nvml: NvmlLibrary, handle: object) -> tuple[CardUser, ...]:
    """Return who uses the card; Windows' desktop driver gives no memory per program: nobody then.

    Inside a container the driver names processes of the host, which mean nothing here.
    """
    found: dict[int, CardUser] = {}
    for ask in (
        nvml.nvmlDeviceGetComputeRunningProcesses,
        nvml.nvmlDeviceGetGraphicsRunningProcesses,
    ):
        try:
            processes = ask(handle)
        except Exception:  # noqa: BLE001, S112 - NVML raises a class per code, made at run time
            continue
        for process in processes:
            if (process.usedGpuMemory or 0) < _TAKES_MEMORY:
                continue
            try:
                name = psutil.Process(process.pid).name()
            except psutil.NoSuchProcess:
                continue
            except psutil.AccessDenied:
                name = "another program"
            found[process.pid] = CardUser(pid=process.pid, name=name)
    return tuple(found.values())


def _figure(read: Callable[[], float]) -> float | None:
    """Return one figure, None where this card does not give it (e.g. power on laptops)."""
    try:
        return float(read())
    except Exception:  # noqa: BLE001 - NVML raises a class per code, made at run time
        return None


@dataclass(frozen=True, slots=True)
class _Counters:
    """What the computer has moved since it was started, in bytes."""

    at_s: float
    disk_read: int
    disk_written: int
    received: int
    sent: int


class MachineProbe:
    """Reads the whole machine. `home` names the disk whose free space counts.

    Rates are those between two readings; the first reading has none. For one thread at a time.
    """

    def __init__(self, *, home: Path, clock: Clock, card: CardProbe) -> None:
        self._home, self._clock, self._card = home, clock, card
        self._before: _Counters | None = None
        self._worker: dict[int, psutil.Process] = {}
        # The first call only starts the measurement: it covers the time since the last call.
        psutil.cpu_percent(interval=None)

    def read(self, worker_pid: int | None) -> MachineReading:
        """Return a reading now; the worker's children count as the worker."""
        before, now = self._before, self._counters()
        self._before = now

        def rate(start: int, end: int) -> float:
            passed = 0.0 if before is None else now.at_s - before.at_s
            # Counters of a network adapter that was unplugged begin anew.
            return max(0.0, (end - start) / passed / _MEGABYTE) if passed > 0 else 0.0

        memory = psutil.virtual_memory()
        worker_bytes, worker_cpu = self._read_worker(worker_pid)
        return MachineReading(
            at=self._clock.now(),
            cpu_percent=psutil.cpu_percent(interval=None),
            memory_percent=memory.percent,
            memory_free_gb=memory.available / _GIGABYTE,
            worker_memory_mb=worker_bytes / _MEGABYTE,
            worker_cpu_percent=worker_cpu,
            disk_free_gb=psutil.disk_usage(str(self._home)).free / _GIGABYTE,
            disk_read_mb_s=0.0 if before is None else rate(before.disk_read, now.disk_read),
            disk_write_mb_s=0.0 if before is None else rate(before.disk_written, now.disk_written),
            network_in_mb_s=0.0 if before is None else rate(before.received, now.received),
            network_out_mb_s=0.0 if before is None else rate(before.sent, now.sent),
            cards=self._card.read(),
            worker_pids=frozenset(self._worker),
        )

    def _counters(self) -> _Counters:
        disk, network = _asked(psutil.disk_io_counters), _asked(psutil.net_io_counters)
        # Against their types, both are None in a container that hides disks or network.
        return _Counters(
            self._clock.monotonic(),
            getattr(disk, "read_bytes", 0),
            getattr(disk, "write_bytes", 0),
            getattr(network, "bytes_recv", 0),
            getattr(network, "bytes_sent", 0),
        )

    def _read_worker(self, pid: int | None) -> tuple[int, float]:
        """Return resident bytes and processor use of a process and its children; 0 when gone.

        The same `psutil.Process` is asked each time: its processor use is that since the last call.
        """
        family: dict[int, psutil.Process] = {}
        if pid is not None:
            try:
                root = self._worker.get(pid) or psutil.Process(pid)
                family = {pid: root} | {
                    child.pid: self._worker.get(child.pid, child)
                    for child in root.children(recursive=True)
                }
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                family = {}
        self._worker = {}
        resident, used = 0, 0.0
        for number, process in family.items():
            try:
                resident += process.memory_info().rss
                used += process.cpu_percent(interval=None)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            self._worker[number] = process
        return resident, used
