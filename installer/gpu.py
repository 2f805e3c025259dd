"""Build the GPU package: PyTorch's CUDA build in one hash-checked file, for a USB stick or a share.

    python3 installer/build_gpu.py [--out DIR] [--work DIR] [--index URL]     downloads about 2.7 GB
    python3 installer/build_gpu.py --tree DIR                                 packs a folder that is there

    fednnunet-gpu-cu130-linux-x86_64.fedgpu
    SHA256SUMS.gpu

The packages are those of installer/locks/linux-cuda.txt that the CPU build lacks, and torch itself.
`app/system/gpu_package.py` says what the file holds; resources/help/gpu-package.md is for IT.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shutil
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from installer import product
from installer.machine import SetupProblem, say
from installer.manifest import digest_of
from installer.product import ROOT, Shell, Source
from installer.signing import GpgSigner

LOCKS: Final = ROOT / "installer" / "locks"
PIN: Final = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)")
# Never opened by a running program; see also installer/freezing.py.
DROPPED: Final = (
    "torch/test/",
    "torch/include/",
    "torch/share/",
    "torch/bin/protoc",
    "bin/",
)
_BLOCK: Final = 1 << 20
FORMAT: Final = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flavour:
    """One kind of GPU package.

    `minimum_driver` is that of the CUDA version (NVIDIA's release notes, table of CUDA toolkits and
    drivers); `minimum_capability` the oldest card that PyTorch's wheels hold code for.
    """

    cuda: str
    platform: str
    minimum_driver: str
    minimum_capability: str

    @property
    def file_name(self) -> str:
        return f"fednnunet-gpu-cu{self.cuda.replace('.', '')}-{self.platform}.fedgpu"


LINUX: Final = Flavour(
    cuda="13.0", platform="linux-x86_64", minimum_driver="580.65.06", minimum_capability="7.5"
)
PYTHON: Final = "3.11"
"""Of the installed program; the package's compiled modules fit no other."""


def pins(lock: Path) -> dict[str, str]:
    """Return name -> version of a lock file."""
    found = {}
    for line in lock.read_text(encoding="utf-8").splitlines():
        match = PIN.match(line)
        if match is not None:
            found[match["name"]] = match["version"]
    return found


def wanted_packages() -> dict[str, str]:
    """Return what the CUDA build needs beyond the CPU build, and torch itself."""
    cuda, cpu = pins(LOCKS / "linux-cuda.txt"), pins(LOCKS / "linux-cpu.txt")
    return {name: number for name, number in cuda.items() if name not in cpu or name == "torch"}


def download(tree: Path, work: Path, index: str | None, shell: Shell) -> None:
    """Fill `tree` with the packages; pip keeps what it has downloaded, so this can be repeated."""
    wheels = work / "wheels"
    address = ("--index-url", index) if index else ()
    requirements = [f"{name}=={number}" for name, number in wanted_packages().items()]
    shell.run(
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:",
        "--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_27_x86_64",
        "--platform", "manylinux2014_x86_64",
        "--python-version", PYTHON, "--implementation", "cp",
        "--dest", wheels, *address, *requirements,
    )  # fmt: skip
    shutil.rmtree(tree, ignore_errors=True)
    shell.run(
        sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-compile",
        "--target", tree, *sorted(wheels.glob("*.whl")),
    )  # fmt: skip


def torch_version(tree: Path) -> str:
    """Return the version of the torch in `tree`, with its local part.

    Raises:
        SetupProblem: there is none.
    """
    text = ""
    path = tree / "torch" / "version.py"
    if path.exists():
        text = path.read_text(encoding="utf-8")
    match = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
    if match is None:
        raise SetupProblem(f"{tree} holds no PyTorch", "give a folder with the folder torch in it")
    return match[1]


def packed_files(tree: Path) -> list[Path]:
    """Return the files that go into the package, sorted by their place."""
    found = []
    for path in tree.rglob("*"):
        place = path.relative_to(tree).as_posix()
        if path.is_symlink():
            raise SetupProblem(f"{place} is a link", "a package holds files only")
        dropped = place.startswith(DROPPED) or "/__pycache__/" in f"/{place}"
        if path.is_file() and not dropped:
            found.append(path)
    return sorted(found, key=lambda path: path.relative_to(tree).as_posix())


def pack(tree: Path, target: Path, *, flavour: Flavour, made: int) -> None:
    """Write the package file: a zip with its manifest first, the same bytes for the same tree.

    Raises:
        SetupProblem: the tree holds no PyTorch, or links.
    """
    files = packed_files(tree)
    say(f"{len(files)} files, hashing")
    manifest = {
        "format": FORMAT,
        "torch": torch_version(tree),
        "python": PYTHON,
        "platform": flavour.platform,
        "cuda": flavour.cuda,
        "minimum_driver": flavour.minimum_driver,
        "minimum_capability": flavour.minimum_capability,
        "files": [
            {
                "path": path.relative_to(tree).as_posix(),
                "size": path.stat().st_size,
                "sha256": digest_of(path),
            }
            for path in files
        ],
    }
    date = time.gmtime(made)[:6]
    beside = target.with_name(f"{target.name}.part")
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as zipped:
        zipped.writestr(_entry("manifest.json", date), json.dumps(manifest, indent=1))
        for path in files:
            entry = _entry(f"files/{path.relative_to(tree).as_posix()}", date)
            entry.file_size = path.stat().st_size
            with path.open("rb") as source, zipped.open(entry, "w") as output:
                shutil.copyfileobj(source, output, _BLOCK)
    beside.replace(target)


def _entry(name: str, date: tuple[int, ...]) -> zipfile.ZipInfo:
    year, month, day, hour, minute, second = date
    entry = zipfile.ZipInfo(name, (year, month, day, hour, minute, second))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def build(options: argparse.Namespace) -> int:
    """Build the package; see the top of this file."""
    source = Source.of()
    shell = Shell(environment=source.environment(os.environ))
    out, work = options.out.resolve(), options.work.resolve()
    for folder in (out, work):
        folder.mkdir(parents=True, exist_ok=True)
    tree = options.tree
    if tree is None:
        tree = work / "tree"
        download(tree, work, options.index, shell)
    target = out / LINUX.file_name
    pack(tree.resolve(), target, flavour=LINUX, made=source.made)
    sums = out / "SHA256SUMS.gpu"
    sums.write_text(f"{digest_of(target)}  {target.name}\n", encoding="utf-8")
    signer = GpgSigner.of(os.environ)
    if signer is not None:
        signer.sign_beside(sums, shell)
    say(
        f"{target}  {target.stat().st_size / 1e6:.0f} MB, {product.size_of(tree) / 1e6:.0f} MB installed"
    )
    say(f"signed by {signer.name}" if signer else "NOT SIGNED: FEDNNUNET_GPG_KEY names no key")
    return 0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="build_gpu.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "gpu")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "gpu")
    parser.add_argument("--tree", type=Path, help="pack this folder instead of downloading")
    parser.add_argument("--index", metavar="URL", help="where PyTorch's CUDA build is published")
    options = parser.parse_args(arguments)
    return product.run_main(lambda _: build(options), arguments)
