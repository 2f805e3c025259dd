"""Reading the machine: processor, memory, disk and, through NVML, one NVIDIA card."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import psutil

from app.system.clock import Clock

logger = logging.getLogger(__name__)

_MEGABYTE: Final = 1e6
_GIGABYTE: Final = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class CardReading:
    """One reading of one graphics card; a figure the driver does not give is None."""

    name: str
    percent: float | None
    memory_percent: float | None
    temperature_c: float | None
    power_w: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineReading:
    """One reading of the machine; `at` is in seconds since the epoch."""

    at: float
    cpu_percent: float
    memory_percent: float
    worker_memory_mb: float
    disk_free_gb: float
    card: CardReading | None


class CardProbe(Protocol):
    """Reads one graphics card."""

    def read(self) -> CardReading | None:
        """Return a reading, None where there is no such card."""
        ...


class NvmlProbe:
    """The first NVIDIA card through NVML; the library is loaded at the first reading.

    A computer without driver or card costs one failed call and is not asked again. `nvml` is the
    module `pynvml`, or a recording of it in tests.
    """

    def __init__(self, nvml: NvmlLibrary | None = None) -> None:
        self._nvml = nvml
        self._handle: object | None = None
        self._absent = False

    def read(self) -> CardReading | None:
        if self._absent:
            return None
        try:
            nvml = self._nvml = self._nvml or _load_nvml()
            if self._handle is None:
                nvml.nvmlInit()
                self._handle = nvml.nvmlDeviceGetHandleByIndex(0)
            return _read_card(nvml, self._handle)
        except Exception as exc:  # noqa: BLE001 - NVML raises a class per code, made at run time
            logger.info("no graphics card can be read (%s)", type(exc).__name__)
            self._absent = True
            return None


class _Utilization(Protocol):
    @property
    def gpu(self) -> int: ...


class _Memory(Protocol):
    @property
    def used(self) -> int: ...
    @property
    def total(self) -> int: ...


class NvmlLibrary(Protocol):
    """The part of `pynvml` that is used here."""

    def nvmlInit(self) -> None: ...  # noqa: N802 - NVML's names
    def nvmlDeviceGetHandleByIndex(self, index: int) -> object: ...  # noqa: N802
    def nvmlDeviceGetName(self, handle: object) -> str | bytes: ...  # noqa: N802
    def nvmlDeviceGetUtilizationRates(self, handle: object) -> _Utilization: ...  # noqa: N802
    def nvmlDeviceGetMemoryInfo(self, handle: object) -> _Memory: ...  # noqa: N802
    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> int: ...  # noqa: N802
    def nvmlDeviceGetPowerUsage(self, handle: object) -> int: ...  # noqa: N802


def _load_nvml() -> NvmlLibrary:
    import pynvml

    library: NvmlLibrary = pynvml
    return library


def _read_card(nvml: NvmlLibrary, handle: object) -> CardReading:
    name = nvml.nvmlDeviceGetName(handle)
    return CardReading(
        name=name.decode() if isinstance(name, bytes) else name,
        percent=_figure(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        memory_percent=_figure(lambda: _used_share(nvml.nvmlDeviceGetMemoryInfo(handle))),
        temperature_c=_figure(lambda: nvml.nvmlDeviceGetTemperature(handle, 0)),
        power_w=_figure(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
    )


def _used_share(memory: _Memory) -> float:
    return 100 * memory.used / memory.total


def _figure(read: Callable[[], float]) -> float | None:
    """Return one figure, None where this card does not give it (e.g. power on laptops)."""
    try:
        return float(read())
    except Exception:  # noqa: BLE001 - NVML raises a class per code, made at run time
        return None


class MachineProbe:
    """Reads the whole machine. `home` names the disk whose free space counts."""

    def __init__(self, *, home: Path, clock: Clock, card: CardProbe) -> None:
        self._home, self._clock, self._card = home, clock, card
        # The first call only starts the measurement: it covers the time since the last call.
        psutil.cpu_percent(interval=None)

    def read(self, worker_pid: int | None) -> MachineReading:
        """Return a reading now; the worker's children count as the worker."""
        return MachineReading(
            at=self._clock.now(),
            cpu_percent=psutil.cpu_percent(interval=None),
            memory_percent=psutil.virtual_memory().percent,
            worker_memory_mb=0.0 if worker_pid is None else _memory_of(worker_pid) / _MEGABYTE,
            disk_free_gb=psutil.disk_usage(str(self._home)).free / _GIGABYTE,
            card=self._card.read(),
        )


def _memory_of(pid: int) -> int:
    """Resident bytes of a process and its children; 0 when it is gone."""
    try:
        process = psutil.Process(pid)
        total: int = process.memory_info().rss
        for child in process.children(recursive=True):
            total += child.memory_info().rss
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    return total
