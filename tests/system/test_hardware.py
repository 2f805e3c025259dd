from __future__ import annotations

import os

from helpers.clock import HandClock
from helpers.nvml import RecordedNvml

from app.system.hardware import CardReading, MachineProbe, NvmlProbe


def test_a_card_is_read_in_units_for_people():
    assert NvmlProbe(RecordedNvml()).read() == CardReading(
        name="NVIDIA H100 80GB HBM3",
        percent=87.0,
        memory_percent=25.0,
        temperature_c=54.0,
        power_w=412.345,
    )


def test_a_figure_that_a_card_lacks_is_none():
    reading = NvmlProbe(RecordedNvml(lacks=frozenset({"power", "utilization"}))).read()
    assert (reading.power_w, reading.percent, reading.temperature_c) == (None, None, 54.0)


def test_a_machine_without_a_card_is_asked_once():
    nvml = RecordedNvml(present=False)
    probe = NvmlProbe(nvml)
    assert probe.read() is None
    assert probe.read() is None
    assert nvml.inits == 1


def test_the_machine_is_read(tmp_path):
    probe = MachineProbe(home=tmp_path, clock=HandClock(now=5.0), card=NvmlProbe(RecordedNvml()))
    reading = probe.read(os.getpid())
    assert reading.at == 5.0
    assert 0 <= reading.cpu_percent <= 100
    assert 0 < reading.memory_percent <= 100
    assert 1 < reading.worker_memory_mb < 100_000
    assert reading.disk_free_gb > 0
    assert reading.card is not None
    assert probe.read(None).worker_memory_mb == 0
    assert probe.read(2**22 + 1).worker_memory_mb == 0
