"""What the About window shows: version, what the program stands on, licences."""

from __future__ import annotations

import platform

from msgspec import Struct

from app.system.build import installed_versions, this_build
from app.system.resources import resource
from app.ui.presenters.parts import Fact

_LICENCES = (
    ("Licences", ("LICENSES", "THIRD_PARTY.md")),
    ("Sample images", ("samples", "ATTRIBUTION.md")),
)


class AboutState(Struct, frozen=True, kw_only=True):
    """Texts of the About window; `licences` are titles and Markdown."""

    version: str
    facts: tuple[Fact, ...]
    licences: tuple[tuple[str, str], ...]


def present_about() -> AboutState:
    """Return what the program is; a text that an installation lacks is left out."""
    versions = {"Python": platform.python_version(), **installed_versions()}
    return AboutState(
        version=this_build().sentence,
        facts=tuple(Fact(name=name, value=version) for name, version in versions.items()),
        licences=tuple(
            (title, path.read_text(encoding="utf-8"))
            for title, parts in _LICENCES
            if (path := resource(*parts)).is_file()
        ),
    )
