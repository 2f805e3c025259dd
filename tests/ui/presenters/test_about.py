from __future__ import annotations

import platform

from app.ui.presenters.about import present_about


def test_versions_and_licences_are_those_of_this_installation():
    about = present_about()
    facts = {fact.name: fact.value for fact in about.facts}
    assert facts["Python"] == platform.python_version()
    assert "PySide6-Essentials" in facts
    licences = dict(about.licences)
    assert "nnunetv2" in licences["Licences"]
    assert "fednnunet" in about.version
