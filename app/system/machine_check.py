"""What this computer has for a study: processor, memory, disk, graphics card, clock.

Readings only; what is too little, and what to do about it, the window says.
"""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

import psutil

from app.domain.errors import SetupProblem
from app.system import gpu_package
from app.system.build import this_build
from app.system.clock import Clock
from app.system.gpu_package import Driver, DriverLibrary
from app.system.hardware import NvmlLibrary, NvmlProbe

_GIGABYTE: Final = 1e9
_TIMEX_BYTES: Final = 512
"""More than `struct timex` has on any Linux."""
_UNSYNCHRONISED: Final = 5
"""TIME_ERROR, what adjtimex(2) returns while no time server keeps the clock."""


class NvidiaLibrary(DriverLibrary, NvmlLibrary, Protocol):
    """`pynvml`, as far as it is read here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """One look at this computer.

    `cards_gb` is the memory of each card of the driver, None where it does not tell. `package` is
    the PyTorch of the GPU package in use, empty without one; `carries_cuda` says that the program
    needs none, `no_package` why none can be used (None: one can). `platform` is as
    `gpu_package.this_platform` names it. `now` is in seconds since the
    epoch, `built` the date of this program, None for a checkout. `kept` says whether a time server
    keeps the clock, None where the system does not tell.
    """

    processors: int
    memory_gb: float
    memory_free_gb: float
    disk_free_gb: float
    workspace: str
    driver: Driver | None
    cards_gb: tuple[float | None, ...]
    carries_cuda: bool
    package: str
    no_package: str | None
    platform: str
    now: float
    built: float | None
    kept: bool | None


def read_machine(
    workspace: Path, *, clock: Clock, nvml: NvidiaLibrary | None = None
) -> MachineFacts:
    """Look at this computer; takes up to a second, so never in the Qt thread.

    `workspace` names the disk whose free space counts; it need not exist. `nvml` is the module
    `pynvml`, or a recording of it in tests.
    """
    memory = psutil.virtual_memory()
    driver = gpu_package.find_driver(nvml)
    cards = NvmlProbe(nvml).read() if driver is not None and driver.cards else ()
    return MachineFacts(
        processors=os.cpu_count() or 1,
        memory_gb=memory.total / _GIGABYTE,
        memory_free_gb=memory.available / _GIGABYTE,
        disk_free_gb=psutil.disk_usage(str(_existing(workspace))).free / _GIGABYTE,
        workspace=str(workspace),
        driver=driver,
        cards_gb=tuple(card.memory_gb for card in cards),
        carries_cuda=gpu_package.carries_cuda(),
        package=_package_in_use(),
        no_package=gpu_package.why_no_card(driver),
        platform=gpu_package.this_platform(),
        now=clock.now(),
        built=_built(),
        kept=clock_is_kept(),
    )


def _existing(folder: Path) -> Path:
    """Return `folder`, or the nearest one above it that exists."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def _package_in_use() -> str:
    package = gpu_package.active_package()
    return "" if package is None else gpu_package.read_manifest(package).torch


def _built() -> float | None:
    try:
        made = this_build().made
        return datetime.fromisoformat(made).replace(tzinfo=UTC).timestamp() if made else None
    except (SetupProblem, ValueError):
        # A damaged build file is told by --version and by the self-test.
        return None


def clock_is_kept() -> bool | None:
    """Whether a time server keeps this computer's clock; None where the system does not tell."""
    if sys.platform != "linux":
        return None
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _UNSYNCHRONISED
