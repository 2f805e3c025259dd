"""The bill of materials of the Windows product, read from the wheels installed into its tree.

python -m installer.windows.materials RESOURCES SITE_PACKAGES VERSION DATE MSVC_WHEEL
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from installer import sbom
from installer.sbom import Component
from installer.windows.tree import PYTHON


def runtime_components(msvc: Path) -> list[Component]:
    """Return what is in the product beside the packages."""
    version = msvc.name.split("-")[1]
    return [
        sbom.python_component(PYTHON),
        Component(
            name="OpenSSL",
            version="3.0.13",
            purl="pkg:generic/openssl@3.0.13",
            licence="Apache-2.0",
        ),
        Component(
            name="Microsoft Visual C++ runtime",
            version=version,
            purl=f"pkg:generic/msvc-runtime@{version}",
            licence="Microsoft Visual Studio redistributable",
        ),
    ]


def main(arguments: Sequence[str]) -> int:
    resources, packages, version, made, msvc = arguments
    sbom.write(
        Path(resources),
        sbom.distributions(folder=Path(packages)),
        version=version,
        made=made,
        extra=runtime_components(Path(msvc)),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
