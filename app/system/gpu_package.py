"""The GPU package: PyTorch for NVIDIA cards, in a folder of its own beside the installed program.

An installation carries PyTorch's CPU build and needs nothing else. A computer with an NVIDIA card
may get one more file, by network share or USB stick: a zip of the CUDA build, with a manifest that
names every file with its size and SHA-256. It is unpacked into a folder of its own, checked file by
file, tried, and only then named as the one that workers use; that naming is one atomic write. What
an interrupted unpacking left is used when it is started again. When anything does not fit - another
version of PyTorch, a missing file - workers compute with the CPU build as if there were no package.

Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Final, Protocol

import msgspec
from msgspec import Meta

from app.domain.errors import ErrorCode, JobFailed, SetupProblem
from app.system.atomic import disk_errors, make_folder, write_atomic
from app.system.paths import HOME_VARIABLE, default_home

logger = logging.getLogger(__name__)

PACKAGE_VARIABLE: Final = "FEDNNUNET_GPU_PACKAGE"
"""In a worker's environment: the folder that it imports torch from."""
FOLDER_VARIABLE: Final = "FEDNNUNET_GPU_FOLDER"
MANIFEST_FILE: Final = "manifest.json"
FILES: Final = "files/"
_ACTIVE_FILE: Final = "active.json"
_LARGEST_MANIFEST: Final = 32 << 20
_LARGEST_FILE: Final = 8 << 30
_LARGEST_PACKAGE: Final = 32 << 30
_BLOCK: Final = 1 << 20
_SPARE_BYTES: Final = 500_000_000
_PART: Final = re.compile(r"[A-Za-z0-9_+@=.,()~\- ]{1,200}")

_Version = Annotated[str, Meta(pattern=r"^[0-9][0-9A-Za-z.+]{0,40}$")]
_Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class PackedFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of a package; `path` is relative, with slashes."""

    path: Annotated[str, Meta(min_length=1, max_length=400)]
    size: Annotated[int, Meta(ge=0, le=_LARGEST_FILE)]
    sha256: _Sha256


class GpuManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a GPU package says of itself.

    `torch` is the version with its local part ("2.13.0+cu130"), `platform` as `this_platform`
    names it, `minimum_driver` NVIDIA's ("580.65.06"), `minimum_capability` the compute capability
    of the oldest card that it holds code for ("7.5").
    """

    format: Annotated[int, Meta(ge=1, le=1)] = 1
    torch: _Version
    python: _Version
    platform: Annotated[str, Meta(max_length=40)]
    cuda: _Version
    minimum_driver: _Version
    minimum_capability: _Version
    files: Annotated[tuple[PackedFile, ...], Meta(min_length=1, max_length=200_000)]

    @property
    def size(self) -> int:
        """Bytes of all files, unpacked."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a package of ours needs, and its size in GB on the stick and on the disk."""

    driver: str
    capability: str
    file_gb: float
    unpacked_gb: float


BUILT: Final = {
    "linux-x86_64": Needs(driver="580.65.06", capability="7.5", file_gb=2.6, unpacked_gb=5.0)
}
"""The packages that `installer/gpu.py` builds, by platform."""


class _Active(msgspec.Struct, frozen=True, kw_only=True):
    package: Annotated[str, Meta(pattern=r"^package-[0-9a-f]{16}$")]


class PackageRefused(SetupProblem):
    """Raised when a file is no GPU package, a damaged one, or one for another computer."""

    code = ErrorCode.MISSING_LIBRARY

    def __init__(self, reason: str) -> None:
        super().__init__(f"the GPU package cannot be used: {reason}")


# --- the computer --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One NVIDIA card: its name and compute capability."""

    name: str
    capability: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """The NVIDIA driver of this computer and its cards."""

    version: str
    cards: tuple[Card, ...]


class DriverLibrary(Protocol):
    """The part of `pynvml` that is used here."""

    def nvmlInit(self) -> None: ...  # noqa: N802 - NVML's names
    def nvmlShutdown(self) -> None: ...  # noqa: N802
    def nvmlSystemGetDriverVersion(self) -> str | bytes: ...  # noqa: N802
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802
    def nvmlDeviceGetHandleByIndex(self, index: int) -> object: ...  # noqa: N802
    def nvmlDeviceGetName(self, handle: object) -> str | bytes: ...  # noqa: N802
    def nvmlDeviceGetCudaComputeCapability(self, handle: object) -> tuple[int, int]: ...  # noqa: N802


def find_driver(nvml: DriverLibrary | None = None) -> Driver | None:
    """Return driver and cards, None where there is no NVIDIA driver."""
    if nvml is None:
        import pynvml

        nvml = pynvml
    try:
        nvml.nvmlInit()
        try:
            handles = [
                nvml.nvmlDeviceGetHandleByIndex(number)
                for number in range(nvml.nvmlDeviceGetCount())
            ]
            return Driver(
                version=_text(nvml.nvmlSystemGetDriverVersion()),
                cards=tuple(
                    Card(
                        name=_text(nvml.nvmlDeviceGetName(handle)),
                        capability=nvml.nvmlDeviceGetCudaComputeCapability(handle),
                    )
                    for handle in handles
                ),
            )
        finally:
            nvml.nvmlShutdown()
    except Exception as exc:  # noqa: BLE001 - NVML raises a class per code, made at run time
        logger.info("no NVIDIA driver answers (%s)", type(exc).__name__)
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def this_platform() -> str:
    """Return "linux-x86_64", "windows-x86_64" or the like."""
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    return f"{platform.system().lower()}-{machine}"


def this_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def bundled_torch() -> str | None:
    """Return the public version of PyTorch that the program carries, None without one."""
    try:
        return version("torch").partition("+")[0]
    except PackageNotFoundError:
        return None


def carries_cuda(torch: str | None = None, platform_name: str | None = None) -> bool:
    """Whether the program's own PyTorch computes on NVIDIA cards, so that it needs no package.

    PyTorch names its builds "+cpu" and "+cu130"; a plain version is CUDA's on Linux' registry and
    the processor's everywhere else.
    """
    if torch is None:
        try:
            torch = version("torch")
        except PackageNotFoundError:
            return False
    local = torch.partition("+")[2]
    where = this_platform() if platform_name is None else platform_name
    return local.startswith("cu") or (not local and where == "linux-x86_64")


def why_no_card(driver: Driver | None, platform_name: str | None = None) -> str | None:
    """Return why no package that we build can be used here, None when there is one that can.

    What a file at hand needs, its manifest says: `why_unfit`. This is for before there is one.
    """
    where = this_platform() if platform_name is None else platform_name
    needs = BUILT.get(where)
    if needs is None:
        return f"there is no GPU package for this kind of system yet ({where})"
    if driver is None or not driver.cards:
        return (
            "no NVIDIA graphics card answers; a card needs NVIDIA's driver, "
            f"version {needs.driver} or newer"
        )
    if _numbers(driver.version) < _numbers(needs.driver):
        return (
            f"the NVIDIA driver is version {driver.version}; "
            f"the GPU package needs {needs.driver} or newer"
        )
    if not any(card.capability >= _numbers(needs.capability) for card in driver.cards):
        names = ", ".join(card.name for card in driver.cards)
        return (
            f"the graphics card is too old ({names}); the GPU package needs compute capability "
            f"{needs.capability} or newer"
        )
    return None


def is_wanted(nvml: DriverLibrary | None = None) -> bool:
    """Whether a card lies idle that a package would use; looks at every file of one in use."""
    return (
        why_no_card(find_driver(nvml)) is None and not carries_cuda() and active_package() is None
    )


def why_unfit(
    manifest: GpuManifest, driver: Driver | None, *, torch: str | None = None
) -> str | None:
    """Return why a package cannot be used on this computer, None when it can."""
    ours = bundled_torch() if torch is None else torch
    if manifest.platform != this_platform():
        return f"it is for {manifest.platform}, this computer is {this_platform()}"
    if manifest.python != this_python():
        return f"it is for Python {manifest.python}, this program has {this_python()}"
    if manifest.torch.partition("+")[0] != ours:
        return f"it holds PyTorch {manifest.torch}, this program needs {ours}"
    if driver is None:
        return "this computer has no NVIDIA driver"
    if _numbers(driver.version) < _numbers(manifest.minimum_driver):
        return (
            f"the NVIDIA driver is version {driver.version}; "
            f"the package needs {manifest.minimum_driver} or newer"
        )
    needed = _numbers(manifest.minimum_capability)
    if not any(card.capability >= needed for card in driver.cards):
        names = ", ".join(card.name for card in driver.cards) or "none"
        return f"it has no code for the graphics cards of this computer ({names})"
    return None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


# --- where packages lie --------------------------------------------------------------------------


def gpu_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return where this user's GPU package lies; all sites of the user share it."""
    variables = os.environ if environment is None else environment
    named = variables.get(FOLDER_VARIABLE)
    if named:
        return Path(named).absolute()
    others = {name: value for name, value in variables.items() if name != HOME_VARIABLE}
    return default_home(environment=others) / "gpu"


def active_package(folder: Path | None = None) -> Path | None:
    """Return the folder that workers import torch from, None for the program's own.

    A package that does not fit the program any more, or lacks a file, counts as none.
    """
    named = os.environ.get(PACKAGE_VARIABLE)
    if named:
        return Path(named)
    package = _named_active(gpu_folder() if folder is None else folder)
    if package is None:
        return None
    try:
        manifest = read_manifest(package)
    except PackageRefused as exc:
        logger.info("%s", exc)
        return None
    if manifest.torch.partition("+")[0] != bundled_torch():
        logger.info("the GPU package holds PyTorch %s and is not used", manifest.torch)
        return None
    missing = sum(not _has_size(package / file.path, file.size) for file in manifest.files)
    if missing:
        logger.info("the GPU package lacks %d files and is not used", missing)
        return None
    return package


def _named_active(folder: Path) -> Path | None:
    try:
        active = msgspec.json.decode((folder / _ACTIVE_FILE).read_bytes(), type=_Active)
    except (OSError, msgspec.MsgspecError):
        return None
    package = folder / active.package
    return package if package.is_dir() else None


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def read_manifest(package: Path) -> GpuManifest:
    """Return the manifest of an unpacked package; raises PackageRefused when it is damaged."""
    try:
        return _decode((package / MANIFEST_FILE).read_bytes())
    except OSError as exc:
        raise PackageRefused("its manifest cannot be read") from exc


def _decode(data: bytes) -> GpuManifest:
    try:
        manifest = msgspec.json.decode(data, type=GpuManifest, strict=True)
    except msgspec.MsgspecError as exc:
        raise PackageRefused("its manifest is damaged") from exc
    seen: set[str] = set()
    for file in manifest.files:
        # Folded: on Windows and macOS two such names are one file.
        if not _is_safe(file.path) or file.path.casefold() in seen:
            raise PackageRefused(f"it names the file {file.path[:80]!r}")
        seen.add(file.path.casefold())
    if manifest.size > _LARGEST_PACKAGE:
        raise PackageRefused("it is too large")
    return manifest


def _is_safe(path: str) -> bool:
    """Whether a path stays inside the folder it is unpacked in, on every system."""
    parts = path.split("/")
    return path != MANIFEST_FILE and all(
        _PART.fullmatch(part) and part not in (".", "..") and not part.endswith((".", " "))
        for part in parts
    )


# --- unpacking, checking, choosing ---------------------------------------------------------------

Progress = Callable[[int, int, str], None]


def unpack(
    archive: Path,
    folder: Path,
    *,
    judge: Callable[[GpuManifest], str | None],
    progress: Progress = lambda _done, _total, _what: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Path:
    """Unpack a package file below `folder` and return its folder there; nothing uses it yet.

    Every file is hashed while it is written. Files that an interrupted run has left complete are
    hashed and kept. `judge` returns why the package cannot be used here. `progress` gets bytes.

    Raises:
        PackageRefused: the file is no package, is damaged, or does not fit this computer.
        SetupProblem: the disk is full or may not be written to.
        JobFailed: `stopped` said so; the next run goes on from here.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            data = _manifest_bytes(zipped)
            manifest = _decode(data)
            reason = judge(manifest)
            if reason is not None:
                raise PackageRefused(reason)
            _check_entries(zipped, manifest)
            name = f"package-{hashlib.sha256(data).hexdigest()[:16]}"
            done, incoming = folder / name, folder / f"incoming-{name}"
            if done.is_dir() and not damaged_files(done):
                return done
            make_folder(incoming)
            _check_space(incoming, manifest)
            written = 0
            for file in manifest.files:
                if stopped():
                    raise JobFailed("unpacking was stopped", code=ErrorCode.JOB_STOPPED)
                progress(written, manifest.size, "unpacking the GPU package")
                _unpack_one(zipped, file, incoming)
                written += file.size
            progress(manifest.size, manifest.size, "unpacking the GPU package")
    except FileNotFoundError as exc:
        raise PackageRefused("there is no such file") from exc
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as exc:
        raise PackageRefused("the file is damaged or not copied to its end") from exc
    write_atomic(incoming / MANIFEST_FILE, data)
    with disk_errors(done):
        shutil.rmtree(done, ignore_errors=True)
        incoming.rename(done)
    return done


def _manifest_bytes(zipped: zipfile.ZipFile) -> bytes:
    try:
        entry = zipped.getinfo(MANIFEST_FILE)
    except KeyError as exc:
        raise PackageRefused("it has no manifest") from exc
    if entry.file_size > _LARGEST_MANIFEST:
        raise PackageRefused("its manifest is too large")
    return zipped.read(entry)


def _check_entries(zipped: zipfile.ZipFile, manifest: GpuManifest) -> None:
    """The zip must hold exactly the files that the manifest names, in their sizes."""
    entries = {entry.filename: entry.file_size for entry in zipped.infolist()}
    del entries[MANIFEST_FILE]
    named = {FILES + file.path: file.size for file in manifest.files}
    if entries != named or len(zipped.infolist()) != len(named) + 1:
        raise PackageRefused("its files are not those that its manifest names")


def _check_space(incoming: Path, manifest: GpuManifest) -> None:
    there = sum(file.size for file in manifest.files if _has_size(incoming / file.path, file.size))
    needed = manifest.size - there + _SPARE_BYTES
    free = shutil.disk_usage(incoming).free
    if free < needed:
        raise SetupProblem(
            f"the GPU package needs {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free",
            code=ErrorCode.DISK_FULL,
        )


def _unpack_one(zipped: zipfile.ZipFile, file: PackedFile, incoming: Path) -> None:
    target = incoming / file.path
    if _has_size(target, file.size) and _digest(target) == file.sha256:
        return
    beside = target.with_name(f"{target.name}.part")
    digest = hashlib.sha256()
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipped.open(FILES + file.path) as source, beside.open("wb") as output:
            while block := source.read(_BLOCK):
                digest.update(block)
                output.write(block)
        if digest.hexdigest() != file.sha256:
            beside.unlink()
            raise PackageRefused(f"{file.path} is damaged")
        beside.replace(target)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def damaged_files(package: Path) -> tuple[str, ...]:
    """Return the files of an unpacked package that are missing or changed; hashes all of them."""
    try:
        manifest = read_manifest(package)
    except PackageRefused:
        return (MANIFEST_FILE,)
    return tuple(
        file.path
        for file in manifest.files
        if not _has_size(package / file.path, file.size)
        or _digest(package / file.path) != file.sha256
    )


def activate(package: Path) -> None:
    """Let workers that start from now on use `package`, then remove every other one.

    Raises:
        SetupProblem: the choice cannot be written; the earlier one stays.
    """
    folder = package.parent
    write_atomic(folder / _ACTIVE_FILE, msgspec.json.encode(_Active(package=package.name)))
    for other in (*folder.glob("package-*"), *folder.glob("incoming-*")):
        if other != package:
            # A worker may still have files of it open; what stays goes the next time.
            shutil.rmtree(other, ignore_errors=True)


def remove(folder: Path) -> bool:
    """Go back to the program's own PyTorch; returns whether there was a package.

    Raises:
        SetupProblem: it cannot be removed, e.g. while a worker uses it.
    """
    there = folder.is_dir()
    with disk_errors(folder):
        (folder / _ACTIVE_FILE).unlink(missing_ok=True)
        if there:
            shutil.rmtree(folder)
    return there


def enter_package(environment: Mapping[str, str] | None = None) -> Path | None:
    """Let this process import torch from the package that its starter names; a worker's first act."""
    named = (os.environ if environment is None else environment).get(PACKAGE_VARIABLE)
    if not named:
        return None
    if named not in sys.path:
        sys.path.insert(0, named)
    return Path(named)
