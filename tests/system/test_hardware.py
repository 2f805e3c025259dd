from __future__ import annotations

import os

import pytest
from helpers.clock import HandClock
from helpers.nvml import RecordedNvml

from app.system.hardware import CardReading, CardUser, MachineProbe, NvmlProbe


def test_every_card_is_read_in_units_for_people():
    card = CardReading(
        name="NVIDIA H100 80GB HBM3",
        percent=87.0,
        memory_percent=25.0,
        memory_gb=85.520809984,
        temperature_c=54.0,
        power_w=412.345,
    )
    assert NvmlProbe(RecordedNvml(cards=2)).read() == (card, card)


def test_a_figure_that_a_card_lacks_is_none():
    lacking = RecordedNvml(lacks=frozenset({"power", "utilization", "reasons", "processes"}))
    (reading,) = NvmlProbe(lacking).read()
    assert (reading.power_w, reading.percent, reading.temperature_c) == (None, None, 54.0)
    assert (reading.throttled, reading.users) == ((), ())


def test_a_machine_without_a_card_is_asked_once():
    nvml = RecordedNvml(present=False)
    probe = NvmlProbe(nvml)
    assert probe.read() == ()
    assert probe.read() == ()
    assert nvml.inits == 1


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0x1, ()),
        (0x2 | 0x100 | 0x10, ()),
        (0x20, ("too hot",)),
        (0x40 | 0x08, ("too hot",)),
        (0x04, ("at its power limit",)),
        (0x80 | 0x08, ("short of power",)),
        (0x04 | 0x20, ("too hot", "at its power limit")),
        (0x08, ("slowed by its hardware",)),
    ],
)
def test_why_a_card_is_slower_than_it_could_be(bits, words):
    nvml = RecordedNvml()
    nvml.reasons = bits
    assert NvmlProbe(nvml).read()[0].throttled == words


def test_programs_on_a_card_are_those_that_hold_its_memory():
    nvml, here = RecordedNvml(), os.getpid()
    gone = 2**22 + 1
    nvml.computing = [(here, 3_000_000_000), (gone, 3_000_000_000), (1, None)]
    nvml.drawing = [(os.getppid(), 40_000_000)]
    (user,) = NvmlProbe(nvml).read()[0].users
    assert isinstance(user, CardUser)
    assert user.pid == here
    assert "python" in user.name
    assert "/" not in user.name


def test_the_machine_is_read(tmp_path):
    clock = HandClock(now=5.0)
    probe = MachineProbe(home=tmp_path, clock=clock, card=NvmlProbe(RecordedNvml()))
    reading = probe.read(os.getpid())
    assert reading.at == 5.0
    assert 0 <= reading.cpu_percent <= 100
    assert 0 < reading.memory_percent <= 100
    assert 0 < reading.memory_free_gb < 100_000
    assert 1 < reading.worker_memory_mb < 100_000
    assert os.getpid() in reading.worker_pids
    assert reading.disk_free_gb > 0
    assert len(reading.cards) == 1
    assert reading.disk_read_mb_s == reading.network_in_mb_s == 0, "there is nothing to compare to"
    assert probe.read(None).worker_memory_mb == 0
    assert probe.read(2**22 + 1).worker_memory_mb == 0


def test_rates_are_those_between_two_readings(tmp_path, monkeypatch):
    from types import SimpleNamespace

    moved = {"disk": (0, 0), "network": (0, 0)}
    monkeypatch.setattr(
        "psutil.disk_io_counters",
        lambda: SimpleNamespace(read_bytes=moved["disk"][0], write_bytes=moved["disk"][1]),
    )
    monkeypatch.setattr(
        "psutil.net_io_counters",
        lambda: SimpleNamespace(bytes_recv=moved["network"][0], bytes_sent=moved["network"][1]),
    )
    clock = HandClock(now=5.0)
    probe = MachineProbe(home=tmp_path, clock=clock, card=NvmlProbe(RecordedNvml(present=False)))
    probe.read(None)
    moved = {"disk": (4_000_000, 2_000_000), "network": (1_000_000, 6_000_000)}
    clock.advance(2.0)
    reading = probe.read(None)
    assert (reading.disk_read_mb_s, reading.disk_write_mb_s) == (2.0, 1.0)
    assert (reading.network_in_mb_s, reading.network_out_mb_s) == (0.5, 3.0)
    moved = {"disk": (0, 0), "network": (0, 0)}
    clock.advance(1.0)
    assert probe.read(None).network_out_mb_s == 0, "an adapter was unplugged"


def test_a_computer_that_hides_disks_and_network_is_read_all_the_same(tmp_path, monkeypatch):
    def hidden():
        raise NotImplementedError("no /proc/diskstats")

    monkeypatch.setattr("psutil.disk_io_counters", hidden)
    monkeypatch.setattr("psutil.net_io_counters", lambda: None)
    clock = HandClock(now=5.0)
    probe = MachineProbe(home=tmp_path, clock=clock, card=NvmlProbe(RecordedNvml(present=False)))
    probe.read(None)
    clock.advance(1.0)
    assert probe.read(None).disk_read_mb_s == 0


@pytest.mark.gpu
def test_the_real_card_is_read():
    cards = NvmlProbe().read()
    assert cards, "there is a card, but NVML does not give it"
    for card in cards:
        assert card.name
        assert card.percent is None or 0 <= card.percent <= 100
        assert card.memory_percent is not None
        assert 0 < card.memory_percent <= 100
        assert card.temperature_c is None or 0 < card.temperature_c < 130
