"""Commands for the GPU package: install from a file, look at it, remove it."""

from __future__ import annotations

import argparse

from app.cli import DONE, FAILED
from app.cli.progress import progress_bar
from app.jobs import gpu_install
from app.system import gpu_package
from app.system.gpu_package import Driver


def install(parsed: argparse.Namespace) -> int:
    """Check driver and file, unpack, try on the card, and only then use it; else the CPU stays."""
    with progress_bar() as advance:
        sentence = gpu_install.install_package(
            parsed.file.absolute(),
            gpu_package.gpu_folder(),
            driver=gpu_package.find_driver(),
            sha256=parsed.sha256 or "",
            progress=advance,
        )
    _say(f"the GPU package is in use: {sentence}")
    _say("workers that start from now on compute on the graphics card")
    return DONE


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


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201
