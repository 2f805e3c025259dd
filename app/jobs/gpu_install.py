"""Installing the GPU package from a file: check, unpack, try on the card, and only then use it.

The command line and the window install by the same steps. Whatever fails, the program goes on
computing on the processor; what was unpacked so far is used when the same file comes again.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.domain.errors import ErrorCode, FednnunetError, JobFailed, OurMistake, SetupProblem
from app.jobs.events import Probed
from app.jobs.runner import JobRunner, run_job
from app.jobs.spec import ProbeJob
from app.system import gpu_package
from app.system.gpu_package import Driver, GpuManifest, PackageRefused, Progress

SUMS_FILE: Final = "SHA256SUMS.gpu"
"""Beside a package file: its sum, as its builder published it."""
_LARGEST_SUMS: Final = 64 << 10
_BLOCK: Final = 1 << 20


def install_package(
    archive: Path,
    folder: Path,
    *,
    driver: Driver | None,
    sha256: str = "",
    progress: Progress = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
    try_out: Callable[[Path], str] | None = None,
) -> str:
    """Install a package file below `folder` and return what was computed with as a proof.

    `sha256` is the sum that IT was given; without one, that of a `SHA256SUMS.gpu` beside the file
    counts. `try_out` is `try_package`, or its double.

    Raises:
        PackageRefused: the file has another sum, is damaged, or does not fit this computer.
        SetupProblem: the disk is full, or the package does not work on this computer.
        JobFailed: `stopped` said so; the next run goes on from here.
    """
    expected = sha256.strip().lower() or published_sum(archive)
    if expected:
        check_sum(archive, expected, progress=progress, stopped=stopped)

    def judge(manifest: GpuManifest) -> str | None:
        return gpu_package.why_unfit(manifest, driver)

    package = gpu_package.unpack(archive, folder, judge=judge, progress=progress, stopped=stopped)
    progress(0, 0, "computing on the graphics card")
    try:
        sentence = (try_package if try_out is None else try_out)(package)
    except FednnunetError as exc:
        raise SetupProblem(
            f"the GPU package does not work on this computer ({exc}); the program goes on without it",
            code=ErrorCode.MISSING_LIBRARY,
        ) from exc
    gpu_package.activate(package)
    return sentence


def try_package(package: Path, *, device: str = "cuda") -> str:
    """Let a worker compute with an unpacked package; returns what it computed with.

    Raises:
        JobFailed: it does not work.
        SetupProblem: the worker took torch from somewhere else.
    """
    with tempfile.TemporaryDirectory(prefix="fednnunet-gpu-") as scratch:
        runner = JobRunner(folder=Path(scratch) / "jobs", package=package)
        found = asyncio.run(run_job(runner, ProbeJob(device=device)))
    if not isinstance(found, Probed):
        raise OurMistake(f"a probe gave {type(found).__name__}")
    if Path(found.torch_from) != package:
        raise SetupProblem(f"PyTorch was taken from {found.torch_from}")
    return f"PyTorch {found.torch} on {found.device_name or 'the processor'}"


def published_sum(archive: Path) -> str:
    """Return the sum of `archive` from the list beside it, empty when there is none."""
    try:
        with (archive.parent / SUMS_FILE).open("rb") as file:
            lines = file.read(_LARGEST_SUMS).decode("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        # As sha256sum writes: the sum, a space, a space or an asterisk, the name.
        found, _, name = line.partition(" ")
        if name.lstrip(" *") == archive.name:
            return found.strip().lower()
    return ""


def check_sum(
    archive: Path,
    expected: str,
    *,
    progress: Progress = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Compare the file with the sum that its builder published.

    Raises:
        PackageRefused: it has another one, or cannot be read.
        JobFailed: `stopped` said so.
    """
    digest = hashlib.sha256()
    done = 0
    try:
        total = archive.stat().st_size
        with archive.open("rb") as file:
            while block := file.read(_BLOCK):
                if stopped():
                    raise JobFailed("checking the file was stopped", code=ErrorCode.JOB_STOPPED)
                digest.update(block)
                done += len(block)
                progress(done, total, "checking the file against its sum")
    except OSError as exc:
        raise PackageRefused(f"it cannot be read ({exc.strerror})") from exc
    if digest.hexdigest() != expected:
        raise PackageRefused(f"its SHA-256 is {digest.hexdigest()}, not the one given")
