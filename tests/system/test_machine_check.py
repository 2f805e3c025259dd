import ctypes
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from helpers.nvml import RecordedNvml

from app.system import gpu_package, machine_check
from app.system.build import Build
from app.system.gpu_package import Card
from app.system.machine_check import clock_is_kept, read_machine


@dataclass
class Still:
    time: float = 1_700_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def test_a_computer_without_a_card(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDNNUNET_GPU_FOLDER", str(tmp_path / "gpu"))
    monkeypatch.setattr(gpu_package, "this_platform", lambda: "linux-x86_64")
    facts = read_machine(tmp_path / "not" / "yet", clock=Still(), nvml=RecordedNvml(present=False))
    assert (facts.driver, facts.cards_gb, facts.package) == (None, (), "")
    assert facts.no_package.startswith("no NVIDIA graphics card answers")
    assert facts.memory_gb > facts.memory_free_gb > 0
    assert facts.disk_free_gb > 0
    assert facts.processors >= 1
    assert facts.now == 1_700_000_000.0
    assert not (tmp_path / "not").exists()


def test_cards_come_with_their_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDNNUNET_GPU_FOLDER", str(tmp_path / "gpu"))
    monkeypatch.setattr(gpu_package, "this_platform", lambda: "linux-x86_64")
    facts = read_machine(tmp_path, clock=Still(), nvml=RecordedNvml(cards=2))
    card = Card(name="NVIDIA H100 80GB HBM3", capability=(9, 0))
    assert facts.driver == gpu_package.Driver(version="580.95.05", cards=(card, card))
    assert facts.cards_gb == pytest.approx((85.52, 85.52), abs=0.01)
    assert facts.no_package is None


def test_a_card_that_hides_its_memory_is_a_card(tmp_path):
    nvml = RecordedNvml(lacks=frozenset({"memory"}))
    assert read_machine(tmp_path, clock=Still(), nvml=nvml).cards_gb == (None,)


def test_the_date_of_the_build_is_read_as_a_day(tmp_path, monkeypatch):
    build = Build(version="1.0", kind="linux", commit="a", made="2026-11-20")
    monkeypatch.setattr(machine_check, "this_build", lambda: build)
    facts = read_machine(tmp_path, clock=Still(), nvml=RecordedNvml(present=False))
    assert facts.built == 1_795_132_800.0


@pytest.mark.parametrize(("state", "kept"), [(0, True), (5, False), (-1, None)])
def test_the_kernel_tells_whether_a_time_server_keeps_the_clock(monkeypatch, state, kept):
    monkeypatch.setattr(machine_check.sys, "platform", "linux")
    library = SimpleNamespace(adjtimex=lambda _buffer: state)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: library)
    assert clock_is_kept() is kept


def test_other_systems_do_not_tell(monkeypatch):
    monkeypatch.setattr(machine_check.sys, "platform", "win32")
    assert clock_is_kept() is None
