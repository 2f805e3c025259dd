"""Build the Windows setup program of the present commit, on Linux.

    python3 installer/build_windows.py [--out DIR] [--work DIR] [--packing small|quick|stored]

    FednnU-Net-Desktop-VERSION-windows-x64.exe     Windows 10 or newer, per user, offline
    FednnU-Net-Desktop-VERSION-windows-x64.json    size, hashes of every file
    SHA256SUMS.windows

`--packing small` compresses with LZMA: a third smaller, many minutes slower to build. Signed when
FEDNNUNET_SIGN_P12 names a certificate (see installer/signing.py): both launchers, the uninstaller's
stub aside, and the setup program. `installer/verify_windows.py` installs and tries the product under
Wine; nothing here can run on a real Windows.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from installer import product
from installer.linux.build import make_environment
from installer.machine import SetupProblem, say
from installer.manifest import digest_of, manifest_of
from installer.product import ROOT, Shell, Source
from installer.signing import AuthenticodeSigner
from installer.windows import tree as parts
from installer.windows.tree import MINGW, Icons, numbers_of

HERE: Final = Path(__file__).resolve().parent
LOCK: Final = ROOT / "installer" / "locks" / "windows.txt"
RUNTIME_LOCK: Final = ROOT / "installer" / "locks" / "windows-runtime.txt"
TOOLS: Final = {
    f"{MINGW}-gcc": "gcc-mingw-w64-x86-64-win32",
    f"{MINGW}-windres": "binutils-mingw-w64-x86-64",
    "makensis": "nsis",
}
ICON_SIZES: Final = ("16", "24", "32", "48", "64", "128", "256")
LARGEST_TREE: Final = 1_300_000_000
_FOR_WINDOWS: Final = (
    "--no-deps", "--only-binary=:all:", "--platform", "win_amd64",
    "--python-version", "3.11", "--implementation", "cp",
)  # fmt: skip


class Packing(enum.Enum):
    """How the setup program holds its files: LZMA, zlib, or as they are."""

    SMALL = "small"
    QUICK = "quick"
    STORED = "stored"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """Where the products of one build lie."""

    out: Path
    version: str

    @property
    def setup(self) -> Path:
        return self.out / f"FednnU-Net-Desktop-{self.version}-windows-x64.exe"

    @property
    def record(self) -> Path:
        return self.setup.with_suffix(".json")

    @property
    def sums(self) -> Path:
        return self.out / "SHA256SUMS.windows"


def installed_files(record: Path) -> list[str]:
    """Return the files that a setup program installs, by the record beside it."""
    return sorted(json.loads(record.read_text(encoding="utf-8"))["files"])


def download(work: Path, python: Path, shell: Shell) -> tuple[Path, Path]:
    """Fetch runtimes and wheels; return their folders. What is there already is not fetched again."""
    runtime, wheels = work / "runtime", work / "wheels"
    pip = (python, "-m", "pip")
    shell.run(*pip, "download", "--quiet", *_FOR_WINDOWS, "--dest", runtime, "-r", RUNTIME_LOCK)
    wheels.mkdir(exist_ok=True)
    # The only package that is published as source alone; it is pure Python.
    (source_only,) = [
        line
        for line in LOCK.read_text(encoding="utf-8").splitlines()
        if line.startswith("acvl-utils==")
    ]
    shell.run(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, source_only)
    shell.run(
        *pip, "download", "--quiet", *_FOR_WINDOWS, "--find-links", wheels, "--dest", wheels,
        "-r", LOCK,
    )  # fmt: skip
    return runtime, wheels


def one_wheel(folder: Path, name: str) -> Path:
    """Return the only wheel of a package in `folder`.

    Raises:
        SetupProblem: there is none, or several versions.
    """
    found = sorted(folder.glob(f"{name}-*.whl"))
    if len(found) != 1:
        raise SetupProblem(f"{folder} holds {len(found)} wheels of {name}", "remove that folder")
    return found[0]


def draw_icons(work: Path, python: Path, shell: Shell) -> Icons:
    """Draw the icons of program and invitation."""
    icons = Icons(program=work / "fednnunet.ico", invitation=work / "invitation.ico")
    for svg, target in (
        (ROOT / "resources/icons/application.svg", icons.program),
        (ROOT / "installer/linux/invitation.svg", icons.invitation),
    ):
        shell.run(python, "-m", "installer.drawing", svg, target, *ICON_SIZES, cwd=ROOT)
    return icons


def make_tree(
    tree: Path,
    work: Path,
    python: Path,
    source: Source,
    shell: Shell,
    signer: AuthenticodeSigner | None,
) -> None:
    """Put the whole folder together."""
    runtime, wheels = download(work, python, shell)
    listing = work / "wheels.txt"
    shell.run(python, "-m", "installer.windows.wheels", wheels, listing, cwd=ROOT)
    names = listing.read_text(encoding="utf-8").split()
    shutil.rmtree(tree, ignore_errors=True)
    panda3d, msvc = one_wheel(runtime, "panda3d"), one_wheel(runtime, "msvc_runtime")
    parts.put_runtime(tree, panda3d, msvc)
    parts.put_library(tree)
    parts.put_wheels(tree, python, [wheels / name for name in names], shell)
    parts.put_program(tree)
    parts.make_forwarder(tree, work, shell)
    launchers = parts.make_launchers(
        tree, work, draw_icons(work, python, shell), source.version, shell
    )
    if signer is not None:
        for launcher in launchers:
            signer.sign(launcher, shell)
    resources = tree / "program" / "resources"
    record = product.build_record(source, kind="windows", signed_by=signer.name if signer else "")
    (resources / product.BUILD_FILE).write_bytes(record)
    shell.run(
        python, "-m", "installer.windows.materials", resources, tree / "Lib" / "site-packages",
        source.version, source.date, msvc, cwd=ROOT,
    )  # fmt: skip
    parts.finish_wheels(tree)
    parts.compile_python(tree, python, shell)
    product.set_dates(tree, source.made)


def file_list(tree: Path) -> str:
    """Return the NSIS commands that install every file of the tree, in the order of their names.

    NSIS can walk a folder itself, but takes the files as the disk lists them: two builds would hold
    the same files in another order.
    """
    lines, folder = [], None
    for path in sorted(tree.rglob("*"), key=lambda path: (path.parent.as_posix(), path.name)):
        if path.is_file():
            if path.parent != folder:
                folder = path.parent
                inside = "\\".join(("$INSTDIR", *folder.relative_to(tree).parts))
                lines.append(f'SetOutPath "{inside}"')
            lines.append(f'File "{path.as_posix()}"')
    return "\n".join([*lines, 'SetOutPath "$INSTDIR"']) + "\n"


def make_setup(
    tree: Path, setup: Path, icon: Path, version: str, shell: Shell, *, packing: Packing
) -> None:
    """Compile the setup program with NSIS."""
    listing = tree.with_name(f"{tree.name}.nsh")
    listing.write_text(file_list(tree), encoding="utf-8")
    shell.run(
        "makensis", "-V2", "-WX", "-NOCD", "-INPUTCHARSET", "UTF8",
        f"-DFILES={listing}", f"-DOUT={setup}", f"-DVERSION={version}",
        f"-DNUMBERS={'.'.join(numbers_of(version))}",
        f"-DKIBIBYTES={product.size_of(tree) // 1024}", f"-DICON={icon}",
        *((f"-D{packing.name}",) if packing is not Packing.QUICK else ()), HERE / "setup.nsi",
    )  # fmt: skip


def build(options: argparse.Namespace) -> int:
    """Build everything; see the top of this file."""
    source = Source.of()
    shell = Shell(environment=source.environment(os.environ))
    product.need_tools(TOOLS, shutil.which)
    signer = AuthenticodeSigner.of(os.environ)
    work, products = (
        options.work.resolve(),
        Products(out=options.out.resolve(), version=source.version),
    )
    for folder in (work, products.out):
        folder.mkdir(parents=True, exist_ok=True)
    say(f"building {source.version} of commit {source.commit[:12]} ({source.date})")
    python = make_environment(options.environment.resolve(), options.torch_index)
    tree = work / "tree"
    make_tree(tree, work, python, source, shell, signer)
    size = product.size_of(tree)
    if size > LARGEST_TREE:
        raise SetupProblem(f"the product takes {size / 1e9:.2f} GB installed", "drop more of it")
    make_setup(
        tree,
        products.setup,
        work / "fednnunet.ico",
        source.version,
        shell,
        packing=Packing(options.packing),
    )
    if signer is not None:
        signer.sign(products.setup, shell)
    digest = digest_of(products.setup)
    record = {
        "version": source.version,
        "commit": source.commit,
        "signed_by": signer.name if signer else "",
        "installed_bytes": size,
        "setup_bytes": products.setup.stat().st_size,
        "format": 1,
        "files": manifest_of(tree),
        "products": {products.setup.name: digest},
    }
    products.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    products.sums.write_text(f"{digest}  {products.setup.name}\n", encoding="utf-8")
    say(f"{products.setup}  {products.setup.stat().st_size / 1e6:.0f} MB")
    say(f"installed size {size / 1e9:.2f} GB")
    say(
        f"signed by {signer.name}"
        if signer
        else "NOT SIGNED: FEDNNUNET_SIGN_P12 names no certificate"
    )
    say("try it with: python3 installer/verify_windows.py (as root, under Wine)")
    return 0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="build_windows.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "windows")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "windows")
    parser.add_argument(
        "--environment", type=Path, default=ROOT / "build" / "linux", help="of the tools; shared"
    )
    parser.add_argument(
        "--packing",
        choices=[each.value for each in Packing],
        default=Packing.QUICK.value,
        help="small (LZMA) for a release, stored to try something out",
    )
    parser.add_argument("--torch-index", metavar="URL")
    options = parser.parse_args(arguments)
    return product.run_main(lambda _: build(options), arguments)
