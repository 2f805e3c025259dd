# ruff: noqa: N802 - NVML's names
"""A recording of NVML: what `pynvml` said of one card, and of cards that say less."""

from __future__ import annotations

from types import SimpleNamespace


class NotSupported(Exception):
    """As pynvml's class for a figure that this card does not give."""


class RecordedNvml:
    """One H100 as read with nvidia-ml-py 12: figures in the units NVML uses."""

    def __init__(
        self, *, lacks: frozenset[str] = frozenset(), present: bool = True, cards: int = 1
    ) -> None:
        self.lacks, self.present, self.cards = lacks, present, cards
        self.reasons = 0
        self.computing: list[tuple[int, int | None]] = []
        """(process id, bytes on the card) of programs that compute."""
        self.drawing: list[tuple[int, int | None]] = []
        self.inits = 0
        self.driver = "580.95.05"

    def nvmlInit(self):
        self.inits += 1
        if not self.present:
            raise NotSupported("driver not loaded")

    def nvmlShutdown(self):
        self.inits -= 1

    def nvmlSystemGetDriverVersion(self):
        return self.driver

    def nvmlDeviceGetCudaComputeCapability(self, handle):
        return (9, 0)

    def nvmlDeviceGetCount(self):
        return self.cards

    def nvmlDeviceGetHandleByIndex(self, index):
        return ("card", index)

    def nvmlDeviceGetName(self, handle):
        return "NVIDIA H100 80GB HBM3"

    def nvmlDeviceGetUtilizationRates(self, handle):
        self._give("utilization")
        return SimpleNamespace(gpu=87, memory=41)

    def nvmlDeviceGetMemoryInfo(self, handle):
        self._give("memory")
        return SimpleNamespace(total=85_520_809_984, used=21_380_202_496, free=64_140_607_488)

    def nvmlDeviceGetTemperature(self, handle, sensor):
        self._give("temperature")
        return 54

    def nvmlDeviceGetPowerUsage(self, handle):
        self._give("power")
        return 412_345

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle):
        self._give("reasons")
        return self.reasons

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        self._give("processes")
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.computing]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle):
        self._give("processes")
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.drawing]

    def _give(self, what):
        if what in self.lacks:
            raise NotSupported(what)
