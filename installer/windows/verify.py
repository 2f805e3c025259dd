"""Install, try, update and remove the Windows product under Wine 10, by script.

    sudo python3 installer/verify_windows.py [--out DIR] [--work DIR] [--mirror URL] [--keep]

Wine stands in for Windows as far as it goes: silent install, registry, file type, self-test of the
installed product (window included, on a virtual screen), update over the running program, removal.
Three small libraries stand in for what Wine lacks (installer/windows/standins.py); the product itself
is untouched. NOT shown by this: a real Windows, SmartScreen and virus scanners, the pages of the setup
program as a person clicks them, a double-click in Explorer (the command in the registry is run
instead), NVIDIA cards.

Needs debootstrap, mingw and root; everything happens in a chroot in namespaces of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from installer import environment, product
from installer.linux.verify import Answer, self_test_answer
from installer.machine import SetupProblem, say
from installer.product import INVITATION_TYPE, ROOT, Shell, Source
from installer.windows.build import Products

HERE: Final = Path(__file__).resolve().parent
SUITE: Final = "trixie"
PACKAGES: Final = ("wine", "wine64", "xvfb", "x11-apps", "fonts-dejavu-core", "fonts-liberation")
UCRTBASE: Final = Path("usr/lib/x86_64-linux-gnu/wine/x86_64-windows/ucrtbase.dll")
PEFILE: Final = "pefile==2024.8.26"


def make_root(root: Path, mirror: str | None, shell: Shell) -> None:
    """Make a Debian with Wine, or take the one that an earlier run kept beside it."""
    kept = root.with_name(f"{SUITE}-wine.tar")
    shutil.rmtree(root, ignore_errors=True)
    if kept.exists():
        root.mkdir(parents=True)
        shell.run("tar", "-C", root, "-xf", kept)
        return
    shell.run("debootstrap", "--variant=minbase", SUITE, root, *((mirror,) if mirror else ()))
    shutil.copyfile("/etc/resolv.conf", root / "etc" / "resolv.conf")
    inside = ("chroot", root, "/usr/bin/env", "DEBIAN_FRONTEND=noninteractive")
    shell.run(*inside, "apt-get", "update", "-q")
    shell.run(*inside, "apt-get", "install", "-q", "-y", "--no-install-recommends", *PACKAGES)
    shell.run("tar", "-C", root, "-cf", kept, ".")


def run_in(root: Path, products: Products, python: Path, shell: Shell) -> Path:
    """Make the stand-ins, run verify.sh in the chroot, and return the folder of what it found."""
    place = root / "verify"
    place.mkdir()
    shutil.copy2(products.setup, place)
    shutil.copyfile(HERE / "verify.sh", place / "verify.sh")
    shell.run(
        python, "-m", "installer.windows.standins", root / UCRTBASE, place / "standins", cwd=ROOT,
    )  # fmt: skip
    shell.run(
        "unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child",
        "chroot", root, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        f"SETUP={products.setup.name}", "/bin/sh", "/verify/verify.sh",
    )  # fmt: skip
    return place / "found"


def judge(found: Path, version: str) -> list[Answer]:
    """Return the answers to all questions out of what verify.sh wrote down."""

    def text(name: str) -> str:
        path = found / name
        return path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""

    answers: list[Answer] = []

    def ask(question: str, holds: bool, found_text: str = "") -> None:
        answers.append(Answer(question=question, holds=holds, found=found_text))

    registry = text("registry")
    command = r'fednnunet-desktop.exe" "%1"'
    ask("the silent installation ended", bool(text("install-seconds")), text("install-seconds"))
    ask("the version is told", f"fednnunet {version} (windows" in text("version"), text("version"))
    ask("an invitation has its type", INVITATION_TYPE in registry, registry)
    ask("a double-click would start the program with it", command in registry, registry)
    ask("the program is in the list of installed ones", f"{version}" in registry, registry)
    ask("the program is in the start menu", "FednnU-Net Desktop.lnk" in text("start-menu"))
    ask(
        *self_test_answer(
            "installed product", text("self-test.json"), text("self-test.txt"), frozen=False
        )
    )
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
        text("update-status") == "0",
        text("update-status"),
    )
    ask("the update ended what ran", not text("running-after-update"), text("running-after-update"))
    ask(
        "the program answers after the update",
        f"fednnunet {version}" in text("version-after-update"),
    )
    lost = {
        line
        for line in set(text("home-before-update").splitlines())
        - set(text("home-after-update").splitlines())
        if line.endswith((".sqlite", ".jsonl", ".json")) and not line.endswith("control.json")
    }
    ask(
        "the update lost no file of the site",
        bool(text("home-before-update")) and not lost,
        " ".join(sorted(lost)) or text("home-before-update"),
    )
    ask("no key stayed in the registry", not text("registry-after"), text("registry-after"))
    ask("no file of the program stayed", not text("files-after"), text("files-after"))
    ask("the workspace stayed", "./" in text("home-after"), text("home-after"))
    ask(
        "told to, removal took the workspace too",
        (found / "everything-after").exists() and not text("everything-after"),
        text("everything-after"),
    )
    return answers


def verify(options: argparse.Namespace) -> int:
    """Verify the product; see the top of this file."""
    if os.geteuid() != 0:
        raise SetupProblem("a chroot needs root", "run this with sudo")
    product.need_tools({"debootstrap": "debootstrap", "unshare": "util-linux"}, shutil.which)
    products = Products(out=options.out.resolve(), version=Source.of().version)
    if not products.setup.exists():
        raise SetupProblem(
            f"{products.setup} is missing", "run python3 installer/build_windows.py first"
        )
    work = options.work.resolve()
    tools = options.environment.resolve() / "environment"
    arguments = ["install", "--quiet", "--no-deps", PEFILE]
    environment.persistently(environment.ProcessInstaller(), tools, [arguments])
    shell = Shell(environment=os.environ)
    root = work / f"{SUITE}-root"
    make_root(root, options.mirror, shell)
    found = run_in(root, products, environment.python_of(tools), shell)
    answers = judge(found, products.version)
    kept = work / "verified"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(found, kept)
    say("")
    for answer in answers:
        say(f"[{'ok    ' if answer.holds else 'FAILED'}] {answer.question}")
        if answer.found and (not answer.holds or answer.found.startswith("window")):
            say(f"    {answer.found}")
    if not options.keep:
        shutil.rmtree(root)
    (kept / "answers.json").write_text(
        json.dumps({answer.question: answer.holds for answer in answers}, indent=1),
        encoding="utf-8",
    )
    return 0 if all(answer.holds for answer in answers) else 1


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="verify_windows.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "windows")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "windows")
    parser.add_argument("--environment", type=Path, default=ROOT / "build" / "linux")
    parser.add_argument("--mirror", metavar="URL", help="instead of debootstrap's own")
    parser.add_argument("--keep", action="store_true", help="leave the chroot for a look")
    options = parser.parse_args(arguments)
    return product.run_main(lambda _: verify(options), arguments)
