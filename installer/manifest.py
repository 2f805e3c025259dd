"""What lies in a product, file by file, and whether two builds of one commit are the same.

    python3 installer/compare_builds.py FIRST SECOND      two folders, or two records of builds

A record (the .json beside a product) also holds the sums of the products themselves. Only the files in EXCEPTIONS may differ; each names its reason.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_BLOCK: Final = 1 << 20
FORMAT: Final = 1

EXCEPTIONS: Final[Mapping[str, str]] = {
    "*.asc": "a signature holds its own date",
    "_gpgorigin": "a signature holds its own date",
}
"""Pattern of a path -> why it may differ between two builds of one commit."""


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def manifest_of(folder: Path) -> dict[str, str]:
    """Return path -> SHA-256 of every file below `folder`, for a link its target; sorted."""
    found = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[place] = f"link to {path.readlink().as_posix()}"
        elif path.is_file():
            found[place] = digest_of(path)
    return found


def write_manifest(manifest: Mapping[str, str], path: Path) -> None:
    content = {"format": FORMAT, "files": dict(sorted(manifest.items()))}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_manifest(path: Path) -> dict[str, str]:
    """Return the manifest of a folder, or the one that a build wrote into a file.

    The products of that build count as files of a folder `products`.

    Raises:
        ValueError: the file is something else.
    """
    if path.is_dir():
        return manifest_of(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get("format") != FORMAT:
        raise ValueError(f"{path} is no manifest that this program reads")
    products = {f"products/{name}": value for name, value in content.get("products", {}).items()}
    return {str(place): str(value) for place, value in {**content["files"], **products}.items()}


def differences(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """Return a sentence per file that only one build has or that differs without an excuse."""
    found = []
    for place in sorted(first.keys() | second.keys()):
        if first.get(place) == second.get(place) or excuse_of(place) is not None:
            continue
        if place not in second:
            found.append(f"only in the first: {place}")
        elif place not in first:
            found.append(f"only in the second: {place}")
        else:
            found.append(f"differs: {place}")
    return found


def excuse_of(place: str) -> str | None:
    """Return why a file may differ; None when it must not."""
    for pattern, reason in EXCEPTIONS.items():
        if fnmatch.fnmatchcase(place.rpartition("/")[2], pattern):
            return reason
    return None


def main(arguments: Sequence[str]) -> int:
    """Compare two builds; exit status 0 when they are the same, 1 when not, 2 on misuse."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    first, second = (read_manifest(Path(word)) for word in arguments)
    found = differences(first, second)
    for line in found:
        print(line)
    print(f"{len(first)} and {len(second)} files, {len(found)} differences")
    return 1 if found else 0
