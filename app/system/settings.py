"""What an operator may set for one home, as versioned JSON."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from app.domain.errors import ErrorCode, SetupProblem
from app.system.atomic import write_atomic

VERSION: Final = 1
SYSTEM_PROXY: Final = "system"
NO_PROXY: Final = "none"
_FILE: Final = "settings.json"
_LARGEST: Final = 64 << 10


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of one site service.

    `threads` None means one per processor; several services on one computer should share its
    processors out. `device` is "auto", "cpu", "cuda", "cuda:N" or "mps". `loader_processes` is
    nnU-Net's number of background augmenters (0: inside the worker). `gpus` is how many graphics
    cards one round may use (None: all), `batch_size` how many cases a step has (None: as the plan
    says). `proxy` is "system", "none" or
    an address such as "http://proxy:3128", which may hold a name and password: the file is private.
    """

    version: int = VERSION
    threads: int | None = None
    device: str = "auto"
    loader_processes: int = 0
    gpus: int | None = None
    batch_size: int | None = None
    low_priority: bool = True
    proxy: str = SYSTEM_PROXY

    @property
    def worker_threads(self) -> int:
        """How many processor threads one worker may use."""
        return self.threads if self.threads is not None else (os.cpu_count() or 1)


def load_settings(home: Path) -> Settings:
    """Return the settings of `home`; the defaults when none were saved.

    Raises:
        SetupProblem: the file is damaged or was written by a newer version of this program.
    """
    path = home / _FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Settings()
    except OSError as exc:
        raise SetupProblem(f"{path} cannot be read", code=ErrorCode.NO_PERMISSION) from exc
    if len(data) > _LARGEST:
        raise SetupProblem(f"{path} is damaged: it has {len(data)} bytes")
    try:
        settings = msgspec.json.decode(data, type=Settings)
    except msgspec.DecodeError as exc:
        raise SetupProblem(f"{path} is damaged: {exc}") from exc
    if settings.version != VERSION:
        raise SetupProblem(
            f"{path} has version {settings.version}, this program reads {VERSION}",
            code=ErrorCode.VERSION,
        )
    if settings.threads is not None and settings.threads < 1:
        raise SetupProblem(
            f"{path}: threads is {settings.threads}, it must be at least 1", code=ErrorCode.SETTING
        )
    for name, number in (("gpus", settings.gpus), ("batch_size", settings.batch_size)):
        if number is not None and number < 1:
            raise SetupProblem(
                f"{path}: {name} is {number}, it must be at least 1", code=ErrorCode.SETTING
            )
    return settings


def save_settings(home: Path, settings: Settings) -> None:
    """Write the settings of `home`; raises SetupProblem when it cannot be written."""
    write_atomic(home / _FILE, msgspec.json.format(msgspec.json.encode(settings), indent=2))
