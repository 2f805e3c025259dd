"""Which wheels the Windows product holds: those of the lock that the running program needs there.

    python -m installer.windows.wheels FOLDER TARGET     run in a build environment

pip cannot resolve for Windows on Linux (it reads the markers of its own machine), so the lock has
resolved already, and this walks from the direct dependencies through the wheels' own metadata with
the markers of Windows. What only tests need falls out. Writes the file names, a line each.
"""

from __future__ import annotations

import email.parser
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from installer.licences import direct_requirements, normal_name

WINDOWS: Final[Mapping[str, str]] = {
    "implementation_name": "cpython",
    "implementation_version": "3.11.9",
    "os_name": "nt",
    "platform_machine": "AMD64",
    "platform_python_implementation": "CPython",
    "platform_release": "10",
    "platform_system": "Windows",
    "platform_version": "10.0.19045",
    "python_full_version": "3.11.9",
    "python_version": "3.11",
    "sys_platform": "win32",
}


def requirements_of(wheel: Path) -> list[str]:
    """Return the Requires-Dist lines of a wheel."""
    with zipfile.ZipFile(wheel) as zipped:
        (name,) = [
            name
            for name in zipped.namelist()
            if name.endswith(".dist-info/METADATA") and name.count("/") == 1
        ]
        metadata = email.parser.BytesParser().parsebytes(zipped.read(name), headersonly=True)
    return [str(line) for line in metadata.get_all("Requires-Dist") or []]


def needed(direct: Sequence[str], wheels: Mapping[str, Path]) -> list[Path]:
    """Return the wheels of `direct` and of all that they ask for on Windows, sorted by name.

    Raises:
        KeyError: one that is asked for is not among `wheels`.
    """
    from packaging.requirements import Requirement

    found: dict[str, frozenset[str]] = {}
    pending = [
        requirement
        for requirement in map(Requirement, direct)
        if requirement.marker is None or requirement.marker.evaluate({**WINDOWS, "extra": ""})
    ]
    while pending:
        wanted = pending.pop()
        name = normal_name(wanted.name)
        extras = frozenset(wanted.extras)
        if name in found and extras <= found[name]:
            continue
        found[name] = found.get(name, frozenset()) | extras
        for line in requirements_of(wheels[name]):
            requirement = Requirement(line)
            marker = requirement.marker
            environments = [{**WINDOWS, "extra": extra} for extra in ("", *found[name])]
            if marker is None or any(marker.evaluate(each) for each in environments):
                pending.append(requirement)
    return [wheels[name] for name in sorted(found)]


def wheels_in(folder: Path) -> dict[str, Path]:
    """Return distribution name -> wheel of a folder."""
    return {normal_name(path.name.split("-")[0]): path for path in sorted(folder.glob("*.whl"))}


def main(arguments: Sequence[str]) -> int:
    folder, target = Path(arguments[0]), Path(arguments[1])
    found = needed(direct_requirements(), wheels_in(folder))
    target.write_text("".join(f"{path.name}\n" for path in found), encoding="utf-8")
    print(f"{len(found)} wheels")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
