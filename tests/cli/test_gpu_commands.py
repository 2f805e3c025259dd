"""The commands for the GPU package, with played drivers and the real worker."""

import hashlib

import pytest
from helpers.gpu_packages import small_package

from app.cli import DONE, FAILED, run
from app.domain.errors import JobFailed
from app.jobs import gpu_install
from app.system import gpu_package
from app.system.gpu_package import Card, Driver

DRIVER = Driver(version="580.95.05", cards=(Card(name="Card A", capability=(9, 0)),))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDNNUNET_GPU_FOLDER", str(tmp_path / "gpu"))
    monkeypatch.setattr(gpu_package, "bundled_torch", lambda: "9.9.9")
    monkeypatch.setattr(gpu_package, "this_platform", lambda: "linux-x86_64")
    monkeypatch.setattr(gpu_package, "this_python", lambda: "3.11")
    monkeypatch.setattr(gpu_package, "find_driver", lambda: DRIVER)
    monkeypatch.setattr(gpu_install, "try_package", lambda package: "PyTorch 9.9.9 on Card A")
    return tmp_path / "gpu"


@pytest.fixture
def archive(tmp_path):
    return small_package(tmp_path)


def test_a_package_is_installed_shown_checked_and_removed(folder, archive, capsys):
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert run(["gpu-package", "install", str(archive), "--sha256", digest.upper()]) == DONE
    assert "in use: PyTorch 9.9.9 on Card A" in capsys.readouterr().out
    assert run(["gpu-package", "status", "--verify"]) == DONE
    told = capsys.readouterr().out
    assert "NVIDIA driver: 580.95.05\n  Card A, compute capability 9.0\n" in told
    assert "all 2 files are intact" in told
    package = gpu_package.active_package()
    (package / "torch" / "version.py").write_text("__version__ = '9.9.9+cu131'\n")
    assert run(["gpu-package", "status", "--verify"]) == FAILED
    assert "the first is torch/version.py" in capsys.readouterr().out
    assert run(["gpu-package", "remove"]) == DONE
    assert run(["gpu-package", "remove"]) == DONE
    assert capsys.readouterr().out == "the GPU package is removed\nthere was no GPU package\n"
    assert not folder.exists()


def test_a_package_that_does_not_work_is_not_used(folder, archive, monkeypatch, capsys):
    def broken(_):
        raise JobFailed("trying out this installation crashed inside a library")

    monkeypatch.setattr(gpu_install, "try_package", broken)
    assert run(["gpu-package", "install", str(archive)]) == FAILED
    told = capsys.readouterr().err
    assert "crashed inside a library); the program goes on without it" in told
    assert gpu_package.active_package() is None


def test_a_file_with_another_sum_is_refused_unopened(folder, archive, capsys):
    assert run(["gpu-package", "install", str(archive), "--sha256", "0" * 64]) == FAILED
    assert "its SHA-256 is" in capsys.readouterr().err
    assert not folder.exists()
    missing = str(archive.with_name("none"))
    assert run(["gpu-package", "install", missing, "--sha256", "0" * 64]) == FAILED
    assert "cannot be read" in capsys.readouterr().err


def test_a_computer_without_a_card_refuses_and_needs_nothing(folder, archive, monkeypatch, capsys):
    monkeypatch.setattr(gpu_package, "find_driver", lambda: None)
    assert run(["gpu-package", "install", str(archive)]) == FAILED
    assert "this computer has no NVIDIA driver" in capsys.readouterr().err
    assert run(["gpu-package", "status"]) == DONE
    told = capsys.readouterr().out
    assert "needs no GPU package" in told
    assert "workers compute on the processor" in told


def test_a_package_whose_driver_is_gone_says_so(folder, archive, monkeypatch, capsys):
    assert run(["gpu-package", "install", str(archive)]) == DONE
    monkeypatch.setattr(gpu_package, "find_driver", lambda: None)
    assert run(["gpu-package", "status"]) == DONE
    assert "on the processor: this computer has no NVIDIA driver" in capsys.readouterr().out
