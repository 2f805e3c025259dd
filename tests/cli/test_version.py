import platform
from pathlib import Path

from app import __version__
from app.cli.version import version_text


def test_it_names_build_versions_and_the_page_of_licences():
    lines = version_text().splitlines()
    assert lines[0] == f"fednnunet {__version__} (not installed: runs from its source)"
    assert lines[1].startswith(f"Python {platform.python_version()}")
    assert any(line.startswith("numpy ") for line in lines)
    (page,) = [line.removeprefix("licences: ") for line in lines if line.startswith("licences: ")]
    assert "numpy" in Path(page).read_text(encoding="utf-8")
    assert "research use only" in lines[-1]
