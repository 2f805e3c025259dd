"""Write ``resources/LICENSES/THIRD_PARTY.md``: what the program stands on, and under which licences.

    .venv/bin/python installer/licences.py

Reads the environment it runs in, so it is started with the project's own Python after a set-up.
Only what the running program needs is listed, not the tools of its developers.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageMetadata
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = ROOT / "resources" / "LICENSES" / "THIRD_PARTY.md"
EXTRAS: Final = ("window", "worker")
REQUIREMENT_NAME: Final = re.compile(r"^[A-Za-z0-9._-]+")
HEADING: Final = """\
# Licences of what the program stands on

Written by `installer/licences.py` from the packages' own statements, in the versions of
`installer/locks/linux-cpu.txt`. The set-up installs each of them unchanged from its own publisher;
its licence text lies in the environment, in the folder `NAME.dist-info`. PySide6 and shiboken6
(Qt for Python) and connected-components-3d are used under the LGPL: they are separate, replaceable
files. The images of the sample study are under CC-BY-SA 4.0, see `resources/samples/ATTRIBUTION.md`.

| package | version | licence |
| --- | --- | --- |
"""


def normal_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed_packages(direct: Iterable[str]) -> list[str]:
    """Return the names of ``direct`` and of all they ask for, as far as they are installed here.

    Optional parts (extras) of a package count only where something else asks for the same package;
    what is for another platform is not installed and falls out by itself.
    """
    pending = [normal_name(name) for name in direct]
    found: dict[str, None] = {}
    while pending:
        name = pending.pop()
        if name in found:
            continue
        try:
            asked = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found[name] = None
        for requirement in asked:
            match = REQUIREMENT_NAME.match(requirement)
            if match is not None and "extra ==" not in requirement:
                pending.append(normal_name(match[0]))
    return sorted(found)


def licence_of(name: str) -> str:
    """Return what a package says of its licence: the SPDX expression, else the classifier."""
    return stated_licence(importlib.metadata.metadata(name))


def stated_licence(metadata: PackageMetadata) -> str:
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classified = [
        value.rpartition("::")[2].strip()
        for value in metadata.get_all("Classifier") or []
        if value.startswith("License ::")
    ]
    stated = [value for value in classified if value not in ("OSI Approved", "DFSG approved")]
    if stated:
        return ", ".join(stated)
    # Some put the whole text into the field; its first line names it.
    lines = [line for text in metadata.get_all("License") or [] for line in text.split("\n")]
    named = [line.strip() for line in lines if line.strip()]
    return named[0] if named else "see its folder"


def direct_requirements() -> list[str]:
    """Return what the running program asks for, as pyproject.toml writes it, with its markers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in EXTRAS:
        lines += project["optional-dependencies"][extra]
    return lines


def direct_dependencies() -> list[str]:
    """Return the names in `direct_requirements`, those for other systems included."""
    matches = [REQUIREMENT_NAME.match(line) for line in direct_requirements()]
    return [match[0] for match in matches if match is not None]


def document() -> str:
    """Return the text of the document for the environment that this runs in."""
    rows = []
    for name in needed_packages(direct_dependencies()):
        version = importlib.metadata.version(name).partition("+")[0]
        rows.append(f"| {name} | {version} | {licence_of(name)} |\n")
    return HEADING + "".join(rows)


def main() -> int:
    text = document()
    TARGET.write_text(text, encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {text.count(chr(10)) - HEADING.count(chr(10))} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
