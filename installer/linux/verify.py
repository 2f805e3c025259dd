"""Try the Linux products in a bare Debian: no Python, no compiler, nothing but the base system.

    sudo python3 installer/verify_linux.py [--out DIR] [--work DIR] [--suite bookworm] [--mirror URL]

Installs the .deb with apt, runs the self-test as an ordinary user under a virtual screen, opens an
invitation with xdg-open, installs again over the running service, removes everything, and looks for
files that stayed; then installs, tries and removes the self-extracting file without root. Prints a
line per question and exits with 1 when one has the wrong answer.

Needs debootstrap and root; everything happens in a chroot in namespaces of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from installer import product
from installer.linux.build import DEPENDS, SLOWEST_WINDOW, Products, window_of
from installer.machine import SetupProblem, say
from installer.product import COMMAND, INVITATION_TYPE, ROOT, Shell, Source

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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One question of the verification: what was asked, whether it holds, what was found."""

    question: str
    holds: bool
    found: str


def make_root(root: Path, suite: str, mirror: str | None, shell: Shell) -> None:
    """Make a bare Debian, or take the one that an earlier run kept beside it."""
    kept = root.with_name(f"{suite}-base.tar")
    shutil.rmtree(root, ignore_errors=True)
    if not kept.exists():
        address = (mirror,) if mirror else ()
        shell.run("debootstrap", "--variant=minbase", suite, root, *address)
        shell.run("tar", "-C", root, "-cf", kept, ".")
        return
    root.mkdir(parents=True)
    shell.run("tar", "-C", root, "-xf", kept)


def run_in(root: Path, products: Products, shell: Shell) -> Path:
    """Run verify.sh in the chroot and return the folder of what it found."""
    place = root / "verify"
    place.mkdir()
    for path in (products.package, products.portable):
        os.link(path, place / path.name) if same_disk(path, place) else shutil.copy2(path, place)
    shutil.copyfile(HERE / "verify.sh", place / "verify.sh")
    if Path("/etc/resolv.conf").exists():
        shutil.copyfile("/etc/resolv.conf", root / "etc" / "resolv.conf")
    libraries = " ".join(
        name.split(" ")[0] for name in DEPENDS if "|" not in name or "t64" not in name
    )
    shell.run(
        "unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child",
        "chroot", root, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
        f"PACKAGE={products.package.name}", f"PORTABLE={products.portable.name}",
        f"LIBRARIES={libraries}", "/bin/sh", "/verify/verify.sh",
    )  # fmt: skip
    return place / "found"


def same_disk(first: Path, second: Path) -> bool:
    return first.stat().st_dev == second.stat().st_dev


# --- judging -------------------------------------------------------------------------------------


def judge(found: Path, version: str) -> list[Answer]:
    """Return the answers to all questions out of what verify.sh wrote down."""

    def text(name: str) -> str:
        path = found / name
        return path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""

    def lines(name: str) -> set[str]:
        return set(text(name).splitlines())

    answers: list[Answer] = []

    def ask(question: str, holds: bool, found_text: str = "") -> None:
        answers.append(Answer(question=question, holds=holds, found=found_text))

    tools = text("tools-that-should-be-missing")
    ask("no Python and no compiler were there", not tools, tools)
    ask("the version is told", f"fednnunet {version} (linux" in text("version"), text("version"))
    for name, what in (("self-test.json", "package"), ("portable.json", "self-extracting file")):
        ask(*self_test_answer(what, text(name), text("self-test.txt")))
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
    ask("a service ran when the update came", text("services-before-update") != "0")
    ask("the update ended it", text("processes-after-update") == "0")
    lost = {line.split("  ", 1)[-1] for line in lines("home-before-update")} - lines(
        "home-after-update"
    )
    lost = {path for path in lost if is_state(path)}
    ask("the update lost no file of the site", not lost, "\n".join(sorted(lost)))
    stayed = left_behind(lines("files-before"), lines("files-after"))
    ask("no file stayed after removal", not stayed, "\n".join(sorted(stayed)[:20]))
    packages = lines("packages-after") - lines("packages-before")
    ask("no package stayed after removal", not packages, " ".join(sorted(packages)))
    ask("the workspace of the user stayed", ".local/share/fednnunet/" in text("home-after"))
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
    ask("the self-extracting file removed itself", not extra, "\n".join(sorted(extra)))
    return answers


def self_test_answer(
    what: str, report: str, shown: str, *, frozen: bool = True
) -> tuple[str, bool, str]:
    """Return question, answer and figures of one self-test."""
    question = f"the self-test of the {what} passes"
    if not report:
        return question, False, shown[-2000:]
    found = json.loads(report)
    failed = [step for step in found["steps"] if not step["ok"]]
    if failed:
        return question, False, json.dumps(failed, indent=1)
    frame = window_of(found)
    figures = f"window {frame['seconds']:.2f} s, {frame['ratio']:.2f} times an empty one"
    return question, frame["ratio"] <= SLOWEST_WINDOW and found["frozen"] is frozen, figures


def is_state(path: str) -> bool:
    """Tell whether a file of the site's home must outlive an update: not what a live service owns."""
    return not path.endswith(("control.json", ".lock", "-wal", "-shm", "holder.json"))


def left_behind(before: set[str], after: set[str]) -> set[str]:
    """Return the paths that removal left: everything with our name, and all that nobody explains."""
    extra = after - before
    ours = {path for path in extra if COMMAND in path}
    return ours | {path for path in extra if not path.startswith(LEFT_BY_OTHERS)}


def verify(options: argparse.Namespace) -> int:
    """Verify the products; see the top of this file."""
    if os.geteuid() != 0:
        raise SetupProblem("a chroot needs root", "run this with sudo")
    product.need_tools({"debootstrap": "debootstrap", "unshare": "util-linux"}, shutil.which)
    products = Products(out=options.out.resolve(), version=Source.of().version)
    for path in (products.package, products.portable):
        if not path.exists():
            raise SetupProblem(f"{path} is missing", "run python3 installer/build_linux.py first")
    root = options.work.resolve() / f"{options.suite}-root"
    shell = Shell(environment=os.environ)
    make_root(root, options.suite, options.mirror, shell)
    answers = judge(run_in(root, products, shell), products.version)
    say("")
    for answer in answers:
        say(f"[{'ok    ' if answer.holds else 'FAILED'}] {answer.question}")
        if answer.found and (not answer.holds or "window" in answer.found[:6]):
            say(f"    {answer.found}")
    if not options.keep:
        shutil.rmtree(root)
    return 0 if all(answer.holds for answer in answers) else 1


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="verify_linux.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "linux")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "linux")
    parser.add_argument("--suite", default="bookworm", help="bookworm or trixie")
    parser.add_argument("--mirror", metavar="URL", help="instead of debootstrap's own")
    parser.add_argument("--keep", action="store_true", help="leave the chroot for a look")
    options = parser.parse_args(arguments)
    run: Callable[[Sequence[str]], int] = lambda _: verify(options)  # noqa: E731
    return product.run_main(run, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
