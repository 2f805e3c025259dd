"""What the verifications of the Linux and the Windows products share: a bare Debian, and judging.

A shell script runs in a chroot in namespaces of its own and writes a file per question; out of these
files come answers. See installer/linux/verify.py and installer/windows/verify.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from installer import product
from installer.linux.build import SLOWEST_WINDOW, window_of
from installer.machine import SetupProblem, say
from installer.product import Shell

TOOLS: Final = {"debootstrap": "debootstrap", "unshare": "util-linux"}
PLACE: Final = "verify"
"""Folder of a root in which products, script and what it found lie."""
# What a running service owns and makes anew; every other file of a site must outlive an update.
_OF_THE_SERVICE: Final = ("control.json", ".lock", "-wal", "-shm", "holder.json")


# --- a bare system -------------------------------------------------------------------------------


def need_root() -> None:
    """Check that a chroot can be made.

    Raises:
        SetupProblem: we are not root, or tools are missing.
    """
    if os.geteuid() != 0:
        raise SetupProblem("a chroot needs root", "run this with sudo")
    product.need_tools(TOOLS, shutil.which)


def make_root(
    root: Path, suite: str, mirror: str | None, shell: Shell, *, packages: Sequence[str] = ()
) -> None:
    """Make a bare Debian with `packages`, or take the one that an earlier run kept beside it."""
    kept = root.with_name(f"{root.name}.tar")
    shutil.rmtree(root, ignore_errors=True)
    if kept.exists():
        root.mkdir(parents=True)
        shell.run("tar", "-C", root, "-xf", kept)
        return
    shell.run("debootstrap", "--variant=minbase", suite, root, *((mirror,) if mirror else ()))
    if packages:
        give_names(root)
        inside = ("chroot", root, "/usr/bin/env", "DEBIAN_FRONTEND=noninteractive")
        shell.run(*inside, "apt-get", "update", "-q")
        shell.run(*inside, "apt-get", "install", "-q", "-y", "--no-install-recommends", *packages)
    shell.run("tar", "-C", root, "-cf", kept, ".")


def give_names(root: Path) -> None:
    """Let the root find hosts as this machine does."""
    if Path("/etc/resolv.conf").exists():
        shutil.copyfile("/etc/resolv.conf", root / "etc" / "resolv.conf")


def carry(root: Path, script: Path, products: Mapping[str, Path]) -> Path:
    """Put script and products into the root, each under its name; return the folder they lie in."""
    place = root / PLACE
    place.mkdir()
    for name, path in products.items():
        on_one_disk = path.stat().st_dev == place.stat().st_dev
        (os.link if on_one_disk else shutil.copy2)(path, place / name)
    shutil.copyfile(script, place / "verify.sh")
    return place


def run_script(root: Path, values: Mapping[str, str], shell: Shell) -> Notes:
    """Run the script in the root, in namespaces of its own, and return what it found."""
    shell.run(
        "unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child",
        "chroot", root, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
        *(f"{name}={value}" for name, value in values.items()), "/bin/sh", f"/{PLACE}/verify.sh",
    )  # fmt: skip
    return Notes(root / PLACE / "found")


# --- judging -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One question of a verification: what was asked, whether it holds, what was found."""

    question: str
    holds: bool
    found: str
    worth_telling: bool = False
    """Whether `found` is told even when the answer is the right one."""


class Notes:
    """The files that a script wrote, a file per question, and the answers read out of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers: list[Answer] = []

    def text(self, name: str) -> str:
        """Return what was written under a name; nothing when nothing was."""
        path = self.folder / name
        return path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""

    def lines(self, name: str) -> set[str]:
        return set(self.text(name).splitlines())

    def ask(self, question: str, holds: bool, found: str = "") -> None:
        self.answers.append(Answer(question=question, holds=holds, found=found))

    def ask_self_test(self, what: str, report: str, shown: str, *, frozen: bool = True) -> None:
        """Ask for the self-test's report in `report`; `shown` is what it printed."""
        answer = self_test_answer(what, self.text(report), self.text(shown), frozen=frozen)
        self.answers.append(answer)

    def ask_newer(self, version: str) -> None:
        """Ask whether the update that was noted as `upgrade` made another version `version`."""
        older, newer = self.text("version-of-older"), self.text("version-after-upgrade")
        self.ask(
            "an older version was brought up to this one",
            older.startswith("fednnunet ") and older != newer and f"fednnunet {version} (" in newer,
            f"{older}, then {newer}",
        )

    def ask_update(self, question: str, name: str) -> None:
        """Ask whether the files of the site noted before an update are there after it."""
        before, after = (
            {line.split("  ", 1)[-1] for line in self.lines(f"home-{when}-{name}")}
            for when in ("before", "after")
        )
        lost = {path for path in before - after if not path.endswith(_OF_THE_SERVICE)}
        self.ask(question, bool(before) and not lost, "\n".join(sorted(lost)) or str(len(before)))


def self_test_answer(what: str, report: str, shown: str, *, frozen: bool) -> Answer:
    """Judge one self-test by its report; `shown` stands in where it wrote none."""
    question = f"the self-test of the {what} passes"
    if not report:
        return Answer(question=question, holds=False, found=shown[-2000:])
    found = json.loads(report)
    failed = [step for step in found["steps"] if not step["ok"]]
    if failed:
        return Answer(question=question, holds=False, found=json.dumps(failed, indent=1))
    frame = window_of(found)
    seconds = sum(float(step["seconds"]) for step in found["steps"])
    return Answer(
        question=question,
        holds=frame["ratio"] <= SLOWEST_WINDOW and found["frozen"] is frozen,
        found=f"{len(found['steps'])} steps in {seconds:.0f} s, window {frame['seconds']:.2f} s, "
        f"{frame['ratio']:.2f} times an empty one",
        worth_telling=True,
    )


def tell(notes: Notes, kept: Path) -> int:
    """Print a line per answer, keep the notes in `kept`, and return the exit status.

    No answer at all is no success.
    """
    say("")
    for answer in notes.answers:
        say(f"[{'ok    ' if answer.holds else 'FAILED'}] {answer.question}")
        if answer.found and (answer.worth_telling or not answer.holds):
            say(f"    {answer.found}")
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(notes.folder, kept)
    verdicts = {answer.question: answer.holds for answer in notes.answers}
    (kept / "answers.json").write_text(json.dumps(verdicts, indent=1) + "\n", encoding="utf-8")
    right = sum(verdicts.values())
    say(f"{right} of {len(verdicts)} questions have the right answer; the notes lie in {kept}")
    return 0 if verdicts and right == len(verdicts) else 1


# --- the command line ----------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser, *, out: Path, work: Path) -> None:
    """Add the options that both verifications take."""
    parser.add_argument("--out", type=Path, default=out, help="where the products lie")
    parser.add_argument("--work", type=Path, default=work, help="where the root is made")
    parser.add_argument(
        "--older", type=Path, metavar="FILE", help="an older product, to update from it as well"
    )
    parser.add_argument("--mirror", metavar="URL", help="instead of debootstrap's own")
    parser.add_argument("--keep", action="store_true", help="leave the chroot for a look")


def need_product(path: Path, builder: str) -> Path:
    """Return `path`.

    Raises:
        SetupProblem: there is no such file.
    """
    if not path.exists():
        raise SetupProblem(f"{path} is missing", f"run python3 installer/{builder} first")
    return path
