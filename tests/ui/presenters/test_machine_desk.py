"""The GPU package through the window's desk: a synthetic package, a played driver, real files."""

from __future__ import annotations

import hashlib
import threading

import pytest
from helpers.nvml import RecordedNvml

from app.domain.errors import JobFailed, SetupProblem
from app.system import gpu_package, machine_check
from app.system.clock import SystemClock
from app.ui.presenters.machine_desk import MachineDesk
from app.ui.text import Tone
from installer.gpu import LINUX, pack

WORKS = "PyTorch 9.9.9+cu130 on NVIDIA H100 80GB HBM3"


@pytest.fixture(autouse=True)
def _a_program_with_torch(monkeypatch, tmp_path):
    monkeypatch.setenv("FEDNNUNET_GPU_FOLDER", str(tmp_path / "gpu"))
    monkeypatch.delenv(gpu_package.PACKAGE_VARIABLE, raising=False)
    monkeypatch.setattr(gpu_package, "bundled_torch", lambda: "9.9.9")
    monkeypatch.setattr(gpu_package, "this_platform", lambda: "linux-x86_64")
    monkeypatch.setattr(gpu_package, "this_python", lambda: "3.11")
    monkeypatch.setattr(gpu_package, "carries_cuda", lambda: False)
    assert machine_check.gpu_package is gpu_package


@pytest.fixture
def archive(tmp_path):
    tree = tmp_path / "tree"
    (tree / "torch").mkdir(parents=True)
    (tree / "torch" / "version.py").write_text("__version__ = '9.9.9+cu130'\n")
    for number in range(4):
        (tree / "torch" / f"lib{number}.so").write_bytes(bytes(range(256)) * 4000)
    pack(tree, tmp_path / "a.fedgpu", flavour=LINUX, made=1_700_000_000)
    return tmp_path / "a.fedgpu"


@pytest.fixture
def make(qapp, tmp_path):
    made = []

    def making(nvml: RecordedNvml, try_out=lambda _package: WORKS) -> MachineDesk:
        desk = MachineDesk(tmp_path / "home", clock=SystemClock(), nvml=nvml, try_out=try_out)
        made.append(desk)
        return desk

    yield making
    for desk in made:
        thread = desk._thread
        desk.close()
        if thread is not None:
            thread.join(10)


@pytest.fixture
def ended(qtbot):
    def waiting(desk: MachineDesk) -> None:
        qtbot.waitUntil(lambda: not desk.busy, timeout=20_000)

    return waiting


def test_the_look_happens_beside_the_window(make, ended):
    desk = make(RecordedNvml())
    threads = []
    real, desk._read = desk._read, lambda: threads.append(threading.current_thread()) or real()
    desk.look()
    assert desk.busy
    assert desk.state.sentence == "Looking at this computer…"
    ended(desk)
    assert threads != [threading.main_thread()]
    assert desk.state.gpu.can_install
    assert "NVIDIA H100 80GB HBM3 with 86 GB" in desk.state.lines[0].sentence


def test_it_is_installed_used_and_removed(make, ended, archive, tmp_path):
    desk = make(RecordedNvml())
    told = []
    desk.changed.connect(
        lambda: told.append(desk.state.gpu.running and desk.state.gpu.running.sentence)
    )
    desk.install(archive, hashlib.sha256(archive.read_bytes()).hexdigest())
    ended(desk)
    assert gpu_package.active_package() is not None
    gpu = desk.state.gpu
    assert (gpu.result, gpu.result_tone) == (f"The GPU package works: {WORKS}.", Tone.GOOD)
    assert gpu.can_remove
    assert told[0] == "Checking the file…"
    assert "Computing on the graphics card…" in told
    assert any(one and one.startswith("Checking the file against its sum: ") for one in told)
    desk.remove()
    ended(desk)
    assert gpu_package.active_package() is None
    assert desk.state.gpu.can_install
    assert "is removed" in desk.state.gpu.result


def test_a_stopped_installation_goes_on_where_it_was(make, ended, archive, tmp_path, monkeypatch):
    desk = make(RecordedNvml())
    reached = threading.Event()
    real = gpu_package._unpack_one

    def slow(zipped, file, incoming):
        real(zipped, file, incoming)
        reached.set()
        assert desk._stopped.wait(10)

    monkeypatch.setattr(gpu_package, "_unpack_one", slow)
    desk.install(archive)
    assert reached.wait(10)
    desk.stop()
    ended(desk)
    assert desk.state.gpu.result.startswith("Stopped. Choose the same file again")
    assert desk.state.gpu.result_tone is Tone.INFO
    assert gpu_package.active_package() is None
    left = {path.stat().st_ino for path in (tmp_path / "gpu").rglob("*") if path.is_file()}
    assert len(left) == 1
    monkeypatch.setattr(gpu_package, "_unpack_one", real)
    desk.install(archive)
    ended(desk)
    kept = {path.stat().st_ino for path in gpu_package.active_package().rglob("*")}
    assert left < kept


def test_a_damaged_file_changes_nothing_and_says_why(make, ended, archive):
    desk = make(RecordedNvml())
    data = bytearray(archive.read_bytes())
    archive.write_bytes(data[: len(data) // 2])
    desk.install(archive)
    ended(desk)
    gpu = desk.state.gpu
    assert "damaged or not copied to its end" in gpu.result
    assert gpu.result_tone is Tone.DANGER
    assert gpu_package.active_package() is None


def test_another_sum_is_refused(make, ended, archive):
    desk = make(RecordedNvml())
    desk.install(archive, "0" * 64)
    ended(desk)
    assert "its SHA-256 is" in desk.state.gpu.result


def test_an_old_driver_is_refused_with_the_version_that_is_needed(make, ended, archive):
    nvml = RecordedNvml()
    nvml.driver = "535.183.01"
    desk = make(nvml)
    desk.look()
    ended(desk)
    assert not desk.state.gpu.can_install
    assert "580.65.06 or newer" in desk.state.gpu.detail
    desk.install(archive)
    ended(desk)
    assert "the package needs 580.65.06 or newer" in desk.state.gpu.result


def test_what_does_not_compute_is_not_used(make, ended, archive):
    def broken(_package):
        raise JobFailed("it crashed")

    desk = make(RecordedNvml(), broken)
    desk.install(archive)
    ended(desk)
    assert "it crashed); the program goes on without it" in desk.state.gpu.result
    assert gpu_package.active_package() is None


def test_a_look_that_fails_is_told_and_can_be_repeated(make, ended, monkeypatch):
    desk = make(RecordedNvml())

    def broken():
        raise SetupProblem("the disk cannot be read")

    real, desk._read = desk._read, broken
    desk.look()
    ended(desk)
    assert desk.state.sentence.startswith("The disk cannot be read.")
    assert not desk.state.busy
    desk._read = real
    desk.look()
    ended(desk)
    assert desk.state.sentence.startswith("This computer")


def test_one_thing_at_a_time(make, ended, archive):
    desk = make(RecordedNvml())
    desk.look()
    first = desk._thread
    desk.look()
    assert desk._thread is first
    ended(desk)


@pytest.mark.gpu
@pytest.mark.nnunet
def test_the_real_card_is_named(make, ended):
    desk = MachineDesk(make(RecordedNvml())._home, clock=SystemClock())
    desk.look()
    ended(desk)
    assert desk.state.lines[0].sentence.startswith("NVIDIA")
