import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest

from app.system import versions


@pytest.mark.nnunet
def test_the_versions_are_those_of_the_installed_packages():
    found = versions.library_versions()
    assert found["nnunetv2"] == version("nnunetv2")
    assert version("torch").startswith(f"{found['torch']}.")
    assert found["torch"].count(".") == 1


def test_a_missing_library_has_no_version(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(versions, "version", missing)
    assert versions.library_versions() == {"nnunetv2": "", "torch": ""}


def test_reading_them_imports_neither():
    code = (
        "import sys; from app.system.versions import library_versions; library_versions();"
        "print([n for n in ('torch', 'nnunetv2') if n in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
