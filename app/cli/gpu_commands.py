"""Commands for the GPU package: install from a file, look at it, remove it."""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

from app.cli import DONE, FAILED
from app.cli.progress import progress_bar
from app.domain.errors import ErrorCode, FednnunetError, OurMistake, SetupProblem
from app.system import gpu_package
from app.system.gpu_package import Driver, GpuManifest, PackageRefused


def install(parsed: argparse.Namespace) -> int:
    """Check driver and file, unpack, try on the card, and only then use it; else the CPU stays."""
    archive, folder = parsed.file.absolute(), gpu_package.gpu_folder()
    driver = gpu_package.find_driver()
    if parsed.sha256 is not None:
        _check_digest(archive, parsed.sha256)

    def judge(manifest: GpuManifest) -> str | None:
        return gpu_package.why_unfit(manifest, driver)

    with progress_bar() as advance:
        package = gpu_package.unpack(archive, folder, judge=judge, progress=advance)
    try:
        sentence = try_package(package)
    except FednnunetError as exc:
        raise SetupProblem(
            f"the GPU package does not work on this computer ({exc}); the program goes on without it",
            code=ErrorCode.MISSING_LIBRARY,
        ) from exc
    gpu_package.activate(package)
    _say(f"the GPU package is in use: {sentence}")
    _say("workers that start from now on compute on the graphics card")
    return DONE


def try_package(package: Path, *, device: str = "cuda") -> str:
    """Let a worker compute with an unpacked package; returns what it computed with.

    Raises:
        JobFailed: it does not work.
        SetupProblem: the worker took torch from somewhere else.
    """
    from app.jobs.events import Probed
    from app.jobs.runner import JobRunner, run_job
    from app.jobs.spec import ProbeJob

    before = os.environ.get(gpu_package.PACKAGE_VARIABLE)
    os.environ[gpu_package.PACKAGE_VARIABLE] = str(package)
    try:
        with tempfile.TemporaryDirectory(prefix="fednnunet-gpu-") as scratch:
            runner = JobRunner(folder=Path(scratch) / "jobs")
            found = asyncio.run(run_job(runner, ProbeJob(device=device)))
    finally:
        if before is None:
            del os.environ[gpu_package.PACKAGE_VARIABLE]
        else:
            os.environ[gpu_package.PACKAGE_VARIABLE] = before
    if not isinstance(found, Probed):
        raise OurMistake(f"a probe gave {type(found).__name__}")
    if Path(found.torch_from) != package:
        raise SetupProblem(f"PyTorch was taken from {found.torch_from}")
    return f"PyTorch {found.torch} on {found.device_name or 'the processor'}"


def status(parsed: argparse.Namespace) -> int:
    """Tell driver, cards and package; with --verify every file is hashed. Exit code 1: damaged."""
    driver = gpu_package.find_driver()
    for line in driver_lines(driver):
        _say(line)
    package = gpu_package.active_package()
    if package is None:
        _say("GPU package: none in use; workers compute on the processor")
        return DONE
    manifest = gpu_package.read_manifest(package)
    _say(f"GPU package: PyTorch {manifest.torch}, {manifest.size / 1e9:.1f} GB in {package}")
    reason = gpu_package.why_unfit(manifest, driver)
    if reason is not None:
        _say(f"  workers compute on the processor: {reason}")
    if parsed.verify:
        damaged = gpu_package.damaged_files(package)
        if damaged:
            _say(f"  {len(damaged)} files are damaged, the first is {damaged[0]}; install it again")
            return FAILED
        _say(f"  all {len(manifest.files)} files are intact")
    return DONE


def driver_lines(driver: Driver | None) -> list[str]:
    """Return what a person should know about driver and cards."""
    if driver is None:
        return [
            "NVIDIA driver: none; the program computes on the processor and needs no GPU package"
        ]
    return [
        f"NVIDIA driver: {driver.version}",
        *(
            f"  {card.name}, compute capability {'.'.join(map(str, card.capability))}"
            for card in driver.cards
        ),
    ]


def remove(_: argparse.Namespace) -> int:
    """Remove the GPU package; workers that start from now on compute on the processor."""
    there = gpu_package.remove(gpu_package.gpu_folder())
    _say("the GPU package is removed" if there else "there was no GPU package")
    return DONE


def _check_digest(archive: Path, expected: str) -> None:
    """Compare the file with the sum that its builder published."""
    import hashlib

    try:
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise PackageRefused(f"it cannot be read ({exc.strerror})") from exc
    if found != expected.strip().lower():
        raise PackageRefused(f"its SHA-256 is {found}, not the one given")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201
