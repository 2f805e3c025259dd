"""Installing the GPU package: the steps that command line and window share."""

import hashlib
import os
from pathlib import Path

import pytest
from helpers.gpu_packages import small_package

from app.domain.errors import ErrorCode, JobFailed, SetupProblem
from app.jobs.gpu_install import (
    SUMS_FILE,
    check_sum,
    install_package,
    published_sum,
    try_package,
)
from app.system import gpu_package
from app.system.gpu_package import Card, Driver, PackageRefused

DRIVER = Driver(version="580.95.05", cards=(Card(name="Card A", capability=(9, 0)),))


@pytest.fixture(autouse=True)
def _a_program_with_torch(monkeypatch):
    monkeypatch.setattr(gpu_package, "bundled_torch", lambda: "9.9.9")
    monkeypatch.setattr(gpu_package, "this_platform", lambda: "linux-x86_64")
    monkeypatch.setattr(gpu_package, "this_python", lambda: "3.11")


@pytest.fixture
def archive(tmp_path):
    return small_package(tmp_path)


def test_it_is_used_only_after_it_has_computed(archive, tmp_path):
    seen, told = [], []

    def try_out(package: Path) -> str:
        seen.append(gpu_package.active_package(tmp_path / "gpu"))
        return f"PyTorch in {package.name}"

    sentence = install_package(
        archive,
        tmp_path / "gpu",
        driver=DRIVER,
        progress=lambda _done, _total, what: told.append(what),
        try_out=try_out,
    )
    package = gpu_package.active_package(tmp_path / "gpu")
    assert seen == [None]
    assert sentence == f"PyTorch in {package.name}"
    assert list(dict.fromkeys(told)) == [
        "unpacking the GPU package",
        "computing on the graphics card",
    ]


def test_what_does_not_compute_is_not_used(archive, tmp_path):
    def broken(_: Path) -> str:
        raise JobFailed("it crashed")

    with pytest.raises(SetupProblem, match=r"it crashed\); the program goes on without it"):
        install_package(archive, tmp_path / "gpu", driver=DRIVER, try_out=broken)
    assert gpu_package.active_package(tmp_path / "gpu") is None


def test_the_sum_beside_the_file_counts_when_none_is_given(archive, tmp_path):
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    (tmp_path / SUMS_FILE).write_text(f"{digest}  a.fedgpu\n{'0' * 64}  b.fedgpu\n")
    assert published_sum(archive) == digest
    assert published_sum(tmp_path / "c.fedgpu") == ""
    told = []
    install_package(
        archive,
        tmp_path / "gpu",
        driver=DRIVER,
        progress=lambda done, total, what: told.append((done, total, what)),
        try_out=lambda _: "",
    )
    size = archive.stat().st_size
    assert told[0] == (size, size, "checking the file against its sum")
    (tmp_path / SUMS_FILE).write_text(f"{'0' * 64} *a.fedgpu\n")
    with pytest.raises(PackageRefused, match="its SHA-256 is"):
        install_package(archive, tmp_path / "other", driver=DRIVER, try_out=lambda _: "")
    assert not (tmp_path / "other").exists()


def test_checking_stops_when_it_is_told_to(archive):
    with pytest.raises(JobFailed) as stopped:
        check_sum(archive, "0" * 64, stopped=lambda: True)
    assert stopped.value.code is ErrorCode.JOB_STOPPED


def test_a_stopped_installation_goes_on_where_it_was(archive, tmp_path):
    answers = iter([False, True])
    with pytest.raises(JobFailed):
        install_package(
            archive,
            tmp_path / "gpu",
            driver=DRIVER,
            stopped=lambda: next(answers),
            try_out=lambda _: "",
        )
    left = [path for path in (tmp_path / "gpu").rglob("*") if path.is_file()]
    assert len(left) == 1
    before = left[0].stat().st_ino
    install_package(archive, tmp_path / "gpu", driver=DRIVER, try_out=lambda _: "")
    package = gpu_package.active_package(tmp_path / "gpu")
    # The file itself was kept, not written again.
    assert before in {path.stat().st_ino for path in package.rglob("*") if path.is_file()}


@pytest.mark.nnunet
@pytest.mark.e2e
@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a right there")
def test_a_worker_takes_torch_from_the_package(tmp_path):
    import importlib.util

    real = Path(importlib.util.find_spec("torch").origin).parent
    package = tmp_path / "package"
    package.mkdir()
    (package / "torch").symlink_to(real)
    assert try_package(package, device="cpu").startswith("PyTorch ")
    assert gpu_package.PACKAGE_VARIABLE not in os.environ
