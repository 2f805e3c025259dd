"""Install, try, update and remove the Windows product under Wine 10, by script.

    sudo python3 installer/verify_windows.py [--out DIR] [--work DIR] [--older EXE] [--keep]

Wine stands in for Windows as far as it goes: silent install, registry, file type, self-test of the
installed product (window included, on a virtual screen), update over the running program, removal;
with --older also the update of an older version that runs.
Three small libraries stand in for what Wine lacks (installer/windows/standins.py); the product itself
is untouched. NOT shown by this: a real Windows, SmartScreen and virus scanners, the pages of the setup
program as a person clicks them, a double-click in Explorer (the command in the registry is run
instead), NVIDIA cards.

Needs debootstrap, mingw and root; everything happens in a chroot in namespaces of its own.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from installer import environment, product, verification
from installer.product import INVITATION_TYPE, ROOT, Shell, Source
from installer.verification import Notes
from installer.windows.build import Products, installed_files

HERE: Final = Path(__file__).resolve().parent
SUITE: Final = "trixie"
PACKAGES: Final = ("wine", "wine64", "xvfb", "x11-apps", "fonts-dejavu-core", "fonts-liberation")
UCRTBASE: Final = Path("usr/lib/x86_64-linux-gnu/wine/x86_64-windows/ucrtbase.dll")
PEFILE: Final = "pefile==2024.8.26"


def run_in(root: Path, products: Products, older: Path | None, python: Path, shell: Shell) -> Notes:
    """Make the stand-ins, run verify.sh in the chroot, and return what it found."""
    carried = {products.setup.name: products.setup}
    if older is not None:
        carried["older.exe"] = older
    place = verification.carry(root, HERE / "verify.sh", carried)
    shell.run(
        python, "-m", "installer.windows.standins", root / UCRTBASE, place / "standins", cwd=ROOT,
    )  # fmt: skip
    values = {
        "SETUP": products.setup.name,
        "OLDER": "older.exe" if older is not None else "",
    }
    return verification.run_script(root, values, shell)


def judge(notes: Notes, version: str, *, files: frozenset[str] | None = None) -> None:
    """Answer all questions out of what verify.sh wrote down.

    `files` are those that this version installs, when it was installed over an older one as well.
    """
    ask, text = notes.ask, notes.text
    registry = text("registry")
    command = r'fednnunet-desktop.exe" "%1"'
    ask("the silent installation ended", bool(text("install-seconds")), text("install-seconds"))
    ask("the version is told", f"fednnunet {version} (windows" in text("version"), text("version"))
    ask("an invitation has its type", INVITATION_TYPE in registry, registry)
    ask("a double-click would start the program with it", command in registry, registry)
    ask("the program is in the list of installed ones", f"{version}" in registry, registry)
    ask("the program is in the start menu", "FednnU-Net Desktop.lnk" in text("start-menu"))
    notes.ask_self_test("installed product", "self-test.json", "self-test.txt", frozen=False)
    ask(
        "the self-test wrote nothing into the installation",
        bool(text("files-installed")) and text("files-installed") == text("files-after-self-test"),
        f"{text('files-installed')} files, then {text('files-after-self-test')}",
    )
    ask(
        "the window opened with the invitation, and its service ran",
        "clinic.fedjoin" in text("running") and '"study": null' in text("status.json"),
        f"{text('running')} {text('status.json')} {text('invite.txt')}",
    )
    ask(
        "the update over the running program ended well",
        text("status-of-update") == "0",
        text("status-of-update"),
    )
    ask("the update ended what ran", not text("running-after-update"), text("running-after-update"))
    ask(
        "the program answers after the update",
        f"fednnunet {version}" in text("version-after-update"),
    )
    notes.ask_update("the update lost no file of the site", "update")
    ask("no key stayed in the registry", not text("registry-after"), text("registry-after"))
    ask("no file of the program stayed", not text("files-after"), text("files-after"))
    ask("the workspace stayed", "./" in text("home-after"), text("home-after"))
    ask(
        "told to, removal took the workspace too",
        (notes.folder / "everything-after").exists() and not text("everything-after"),
        text("everything-after"),
    )
    if files is not None:
        judge_upgrade(notes, version, files)


def judge_upgrade(notes: Notes, version: str, files: frozenset[str]) -> None:
    """Answer the questions about the update from an older version."""
    ask, text = notes.ask, notes.text
    notes.ask_newer(version)
    ask(
        "its window and its service ran when the update came",
        "fednnunet-desktop.exe" in text("running-before-upgrade")
        and "study" in text("older-status.json"),
        f"{text('running-before-upgrade')} {text('older-status.json')}",
    )
    ask(
        "the update from it ended well, and ended what ran",
        text("status-of-upgrade") == "0" and not text("running-after-upgrade"),
        f"{text('status-of-upgrade')} {text('running-after-upgrade')}",
    )
    notes.ask_update("the update from it lost no file of the site", "upgrade")
    installed = notes.lines("files-after-upgrade") - {"uninstall.exe"}
    ask(
        "the update left exactly the files of this version",
        installed == files,
        " ".join(sorted(installed ^ files)[:20]),
    )


def verify(options: argparse.Namespace) -> int:
    """Verify the product; see the top of this file."""
    verification.need_root()
    products = Products(out=options.out.resolve(), version=Source.of().version)
    verification.need_product(products.setup, "build_windows.py")
    older, files = None, None
    if options.older is not None:
        older = verification.need_product(options.older.resolve(), "build_windows.py")
        files = frozenset(installed_files(products.record))
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    tools = options.environment.resolve() / "environment"
    arguments = ["install", "--quiet", "--no-deps", PEFILE]
    environment.persistently(environment.ProcessInstaller(), tools, [arguments])
    shell = Shell(environment=os.environ)
    root = work / f"{SUITE}-wine"
    verification.make_root(root, SUITE, options.mirror, shell, packages=PACKAGES)
    notes = run_in(root, products, older, environment.python_of(tools), shell)
    judge(notes, products.version, files=files)
    status = verification.tell(notes, work / "verified")
    if not options.keep:
        shutil.rmtree(root)
    return status


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="verify_windows.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verification.add_options(parser, out=ROOT / "dist" / "windows", work=ROOT / "build" / "windows")
    parser.add_argument(
        "--environment", type=Path, default=ROOT / "build" / "linux", help="of the tools"
    )
    options = parser.parse_args(arguments)
    return product.run_main(lambda _: verify(options), arguments)
