from __future__ import annotations

import pytest

from app.domain.errors import ErrorCode, SetupProblem
from app.system.resources import resource, resources_folder


def test_checkout_wheel_and_frozen_program(tmp_path):
    package = tmp_path / "app"
    with pytest.raises(SetupProblem) as problem:
        resources_folder(package=package)
    assert problem.value.code is ErrorCode.MISSING_LIBRARY
    for place, frozen in [("resources", None), ("app/_resources", None), ("f/resources", "f")]:
        (tmp_path / place).mkdir(parents=True)
        found = resources_folder(
            package=package, frozen_at=str(tmp_path / frozen) if frozen else None
        )
        assert found == tmp_path / place


def test_the_licences_ship():
    assert resource("LICENSES", "CC-BY-SA-4.0.txt").is_file()
    with pytest.raises(SetupProblem, match="nowhere/none"):
        resource("nowhere", "none")
