"""The software bill of materials of a product (CycloneDX 1.6), and the licence texts inside it.

    python -m installer.sbom BUNDLE_RESOURCES VERSION DATE    run by the builders in the build environment

Writes BUNDLE_RESOURCES/sbom.cdx.json and BUNDLE_RESOURCES/LICENSES/packages/NAME/....
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import re
import shutil
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import Distribution
from pathlib import Path
from typing import Final

from installer.licences import (
    direct_dependencies,
    needed_packages,
    normal_name,
    stated_licence,
)

SPECIFICATION: Final = "1.6"
SBOM_FILE: Final = "sbom.cdx.json"
# SPDX expressions hold identifiers and these words; anything longer is a name or a text.
_SPDX: Final = re.compile(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*")
_LICENCE_FILE: Final = re.compile(r"(LICEN[CS]E|COPYING|NOTICE|AUTHORS)", re.IGNORECASE)
_NAMESPACE: Final = uuid.UUID("4f6cf2d0-6f0e-5d0e-9a53-6a8d1f0c7f11")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One thing inside a product, with its package URL."""

    name: str
    version: str
    purl: str
    licence: str
    needs: tuple[str, ...] = ()


def python_component(version: str) -> Component:
    return Component(
        name="CPython", version=version, purl=f"pkg:generic/cpython@{version}", licence="PSF-2.0"
    )


def distributions(
    names: Iterable[str] | None = None, folder: Path | None = None
) -> dict[str, Distribution]:
    """Return the packages of this environment, or of a site-packages folder, by normal name.

    Raises:
        KeyError: one of `names` is not there.
    """
    found = (
        importlib.metadata.distributions()
        if folder is None
        else importlib.metadata.distributions(path=[str(folder)])
    )
    all_of_them = {normal_name(one.metadata["Name"]): one for one in found}
    if names is None:
        return all_of_them
    return {name: all_of_them[name] for name in sorted({normal_name(name) for name in names})}


def package_components(packages: Mapping[str, Distribution]) -> list[Component]:
    """Return the packages as components, each with those of them that it needs."""
    purls = {name: purl_of(name, package.version) for name, package in packages.items()}
    components = []
    for name, package in sorted(packages.items()):
        lines = package.requires or []
        asked = {normal_name(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) for line in lines}
        components.append(
            Component(
                name=name,
                version=package.version,
                purl=purls[name],
                licence=stated_licence(package.metadata),
                needs=tuple(sorted(purls[other] for other in asked & purls.keys())),
            )
        )
    return components


def purl_of(name: str, version: str) -> str:
    """Return the package URL; a local part such as +cpu is escaped as the specification asks."""
    return f"pkg:pypi/{normal_name(name)}@{version.replace('+', '%2B')}"


def bill(components: Sequence[Component], *, version: str, made: str) -> dict[str, object]:
    """Return the bill of materials as CycloneDX JSON.

    The serial number is drawn from the content, so that two builds of one commit have the same.
    """
    ours = f"pkg:generic/fednnunet-desktop@{version}"
    content = repr([dataclasses.astuple(component) for component in components])
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPECIFICATION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, ours + content)}",
        "version": 1,
        "metadata": {
            "timestamp": made,
            "component": {
                "type": "application",
                "bom-ref": ours,
                "name": "FednnU-Net Desktop",
                "version": version,
                "purl": ours,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
        },
        "components": [
            {
                "type": "library",
                "bom-ref": component.purl,
                "name": component.name,
                "version": component.version,
                "purl": component.purl,
                "licenses": [_licence(component.licence)],
            }
            for component in components
        ],
        "dependencies": [
            {"ref": ours, "dependsOn": sorted(component.purl for component in components)},
            *(
                {"ref": component.purl, "dependsOn": list(component.needs)}
                for component in components
            ),
        ],
    }


def _licence(text: str) -> dict[str, object]:
    """An SPDX expression where the package gave one, else the name that it gave."""
    if _SPDX.fullmatch(text) and " " in text:
        return {"expression": text}
    return {"license": {"name": text}}


def copy_licence_texts(packages: Mapping[str, Distribution], target: Path) -> int:
    """Copy every licence file of the packages to `target`/NAME; return how many packages had one."""
    count = 0
    for name, package in sorted(packages.items()):
        texts = [
            file
            for file in package.files or []
            if ".dist-info" in file.parts[0] and _LICENCE_FILE.search("/".join(file.parts[1:]))
        ]
        for text in texts:
            place = target / name / Path(*text.parts[1:])
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(text.locate()), place)
        count += bool(texts)
    return count


def write(
    resources: Path,
    packages: Mapping[str, Distribution],
    *,
    version: str,
    made: str,
    extra: Iterable[Component],
) -> None:
    """Write the bill of materials and the licence texts of `packages` into a product."""
    components = [*extra, *package_components(packages)]
    text = json.dumps(bill(components, version=version, made=made), indent=1) + "\n"
    (resources / SBOM_FILE).write_text(text, encoding="utf-8")
    texts = copy_licence_texts(packages, resources / "LICENSES" / "packages")
    print(f"{len(components)} components in {SBOM_FILE}, licence texts of {texts} packages")


def system_libraries(lines: Iterable[str]) -> list[Component]:
    """Return the Debian packages in `lines`, each `name version` as dpkg-query prints it."""
    components = []
    for line in sorted(set(lines)):
        name, _, version = line.strip().partition(" ")
        if name and version:
            components.append(
                Component(
                    name=name,
                    version=version,
                    purl=f"pkg:deb/debian/{name}@{version.replace('+', '%2B')}",
                    licence=f"see /usr/share/doc/{name}/copyright of this Debian package",
                )
            )
    return components


def main(arguments: Sequence[str]) -> int:
    resources, version, made = Path(arguments[0]), arguments[1], arguments[2]
    packages = distributions(needed_packages(direct_dependencies()))
    extra = [python_component(platform.python_version()), *system_libraries(sys.stdin)]
    write(resources, packages, version=version, made=made, extra=extra)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
