"""What `fednnunet --version` says."""

from __future__ import annotations

import platform


def version_text() -> str:
    """Return build, versions and where the licences lie, a line each.

    Raises:
        SetupProblem: the installation is damaged.
    """
    from app.system.build import installed_versions, this_build
    from app.system.resources import resource

    lines = [this_build().sentence, f"Python {platform.python_version()}, {platform.platform()}"]
    lines += [f"{name} {number}" for name, number in installed_versions().items()]
    lines.append(f"licences: {resource('LICENSES', 'THIRD_PARTY.md')}")
    lines.append("For research use only. Not a medical device.")
    return "\n".join(lines)
