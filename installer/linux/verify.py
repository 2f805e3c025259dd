"""Try the Linux products in a bare Debian: no Python, no compiler, nothing but the base system.

    sudo python3 installer/verify_linux.py [--out DIR] [--work DIR] [--older DEB] [--suite bookworm]

Installs the .deb with apt, runs the self-test as an ordinary user under a virtual screen, opens an
invitation with xdg-open, installs again over the running service, removes everything, and looks for
files that stayed; with --older, installs that package, updates its running service, and removes all
again; then installs, tries and removes the self-extracting file without root. Prints a line per
question and exits with 1 when one has the wrong answer.

Needs debootstrap and root; everything happens in a chroot in namespaces of its own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from installer import product, verification
from installer.linux.build import DEPENDS, Products
from installer.product import COMMAND, INVITATION_TYPE, ROOT, Shell, Source
from installer.verification import Notes

HERE: Final = Path(__file__).resolve().parent

# Files that packages of Debian leave when they are purged; none of them is ours.
LEFT_BY_OTHERS: Final = (
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/usr/share/icons/hicolor",
    "/usr/share/mime",
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "/var/lib/dbus",
    "/var/lib/systemd",
    "/etc/machine-id",
    "/run",
)


def run_in(root: Path, products: Products, older: Path | None, shell: Shell) -> Notes:
    """Run verify.sh in the chroot and return what it found."""
    carried = {path.name: path for path in (products.package, products.portable)}
    if older is not None:
        carried["older.deb"] = older
    verification.carry(root, HERE / "verify.sh", carried)
    verification.give_names(root)
    libraries = " ".join(
        name.split(" ")[0] for name in DEPENDS if "|" not in name or "t64" not in name
    )
    values = {
        "PACKAGE": products.package.name,
        "PORTABLE": products.portable.name,
        "OLDER": "older.deb" if older is not None else "",
        "LIBRARIES": libraries,
    }
    return verification.run_script(root, values, shell)


# --- judging -------------------------------------------------------------------------------------


def judge(notes: Notes, version: str, *, updated: bool = False) -> None:
    """Answer all questions out of what verify.sh wrote down; `updated` from an older version."""
    ask, text, lines = notes.ask, notes.text, notes.lines
    tools = text("tools-that-should-be-missing")
    ask("no Python and no compiler were there", not tools, tools)
    ask("the version is told", f"fednnunet {version} (linux" in text("version"), text("version"))
    notes.ask_self_test("package", "self-test.json", "self-test.txt")
    notes.ask_self_test("self-extracting file", "portable.json", "portable-self-test.txt")
    ask(
        "an invitation has its type",
        f"standard::content-type: {INVITATION_TYPE}" in text("file-type"),
        text("file-type"),
    )
    ask("the program is its default", "fednnunet.desktop" in text("file-type"))
    ask(
        "xdg-open opens the window with the invitation, and its service runs",
        "fednnunet /home/tester/clinic.fedjoin" in text("opened-by.txt")
        and "FednnU-Net" in text("windows.txt")
        and '"study": null' in text("status.json"),
        "\n".join(text(name) for name in ("opened.log", "opened-by.txt", "status.json")),
    )
    ask("a service ran when the update came", text("services-before-update") not in ("", "0"))
    ask("the update ended it", text("processes-after-update") == "0")
    notes.ask_update("the update lost no file of the site", "update")
    stayed = left_behind(lines("files-before"), lines("files-after"))
    ask(
        "no file stayed after removal",
        bool(lines("files-after")) and not stayed,
        "\n".join(sorted(stayed)[:20]),
    )
    packages = lines("packages-after") - lines("packages-before")
    ask("no package stayed after removal", not packages, " ".join(sorted(packages)))
    ask("the workspace of the user stayed", ".local/share/fednnunet/" in text("home-after"))
    if updated:
        judge_upgrade(notes, version)
    ask(
        "the self-extracting file gave invitations their type",
        INVITATION_TYPE in text("portable-file-type"),
        text("portable-file-type"),
    )
    extra = {
        path
        for path in lines("home-after-portable") - lines("home-before-portable")
        if not path.startswith(("./.local/share/mime/", "./.local/share/applications/mimeinfo"))
    }
    ask(
        "the self-extracting file removed itself",
        bool(lines("home-after-portable")) and not extra,
        "\n".join(sorted(extra)),
    )


def judge_upgrade(notes: Notes, version: str) -> None:
    """Answer the questions about the update from an older version."""
    ask, text = notes.ask, notes.text
    notes.ask_newer(version)
    ask(
        "its service ran when the update came",
        text("services-before-upgrade") not in ("", "0") and "study" in text("older-status.json"),
        text("older-status.json"),
    )
    ask("the update from it ended that", text("processes-after-upgrade") == "0")
    notes.ask_update("the update from it lost no file of the site", "upgrade")
    ask(
        "the newer service goes on with its workspace",
        "study" in text("newer-status.json"),
        text("newer-status.json"),
    )
    ours = {path for path in notes.lines("files-after-upgrade") if COMMAND in path}
    ask(
        "removal ended the service and left no file of either version",
        text("processes-after-purge") == "0" and bool(text("files-after-upgrade")) and not ours,
        "\n".join(sorted(ours)[:20]),
    )


def left_behind(before: set[str], after: set[str]) -> set[str]:
    """Return the paths that removal left: everything with our name, and all that nobody explains."""
    extra = after - before
    ours = {path for path in extra if COMMAND in path}
    return ours | {path for path in extra if not path.startswith(LEFT_BY_OTHERS)}


def verify(options: argparse.Namespace) -> int:
    """Verify the products; see the top of this file."""
    verification.need_root()
    products = Products(out=options.out.resolve(), version=Source.of().version)
    for path in (products.package, products.portable):
        verification.need_product(path, "build_linux.py")
    older = options.older and verification.need_product(options.older.resolve(), "build_linux.py")
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    root = work / f"{options.suite}-root"
    shell = Shell(environment=os.environ)
    verification.make_root(root, options.suite, options.mirror, shell)
    notes = run_in(root, products, older, shell)
    judge(notes, products.version, updated=older is not None)
    status = verification.tell(notes, work / "verified")
    if not options.keep:
        shutil.rmtree(root)
    return status


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="verify_linux.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verification.add_options(parser, out=ROOT / "dist" / "linux", work=ROOT / "build" / "linux")
    parser.add_argument("--suite", default="bookworm", help="bookworm or trixie")
    options = parser.parse_args(arguments)
    return product.run_main(lambda _: verify(options), arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
