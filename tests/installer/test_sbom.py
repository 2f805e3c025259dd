import importlib.metadata
import json
import re
import sys

import pytest

from installer import sbom
from installer.freezing import runtime_distributions
from installer.licences import normal_name
from installer.sbom import (
    Component,
    bill,
    distributions,
    package_components,
    purl_of,
    system_libraries,
)

pytestmark = pytest.mark.nnunet  # the environment of the whole program


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resources")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(sys, "stdin", ["libssl3 3.0.16-1~deb12u1\n"])
    assert sbom.main([str(folder), "1.2.3", "2026-01-02T03:04:05+00:00"]) == 0
    monkeypatch.undo()
    return folder, json.loads((folder / "sbom.cdx.json").read_text(encoding="utf-8"))


def test_everything_that_runs_is_in_the_bill(document):
    _, content = document
    named = {component["name"]: component["version"] for component in content["components"]}
    for name in runtime_distributions():
        assert named[normal_name(name)] == importlib.metadata.version(name)
    assert named["CPython"] == ".".join(map(str, sys.version_info[:3]))
    assert named["libssl3"] == "3.0.16-1~deb12u1"
    assert {"torch", "nnunetv2", "pyside6-essentials", "simpleitk", "keyring"} <= set(named)
    assert not {"pytest", "mypy", "ruff"} & set(named)


def test_the_bill_is_cyclonedx(document):
    _, content = document
    assert (content["bomFormat"], content["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", content["serialNumber"])
    references = [component["bom-ref"] for component in content["components"]]
    assert len(references) == len(set(references))
    known = {*references, content["metadata"]["component"]["bom-ref"]}
    for entry in content["dependencies"]:
        assert {entry["ref"], *entry["dependsOn"]} <= known
    for component in content["components"]:
        assert component["purl"].startswith("pkg:")
        assert component["version"]
        (licence,) = component["licenses"]
        assert licence.keys() in ({"expression"}, {"license"})
    needs = {entry["ref"]: entry["dependsOn"] for entry in content["dependencies"]}
    torch = next(reference for reference in references if reference.startswith("pkg:pypi/torch@"))
    assert any(need.startswith("pkg:pypi/sympy@") for need in needs[torch])


def test_licence_texts_come_along(document):
    folder, _ = document
    texts = folder / "LICENSES" / "packages"
    assert list((texts / "numpy").rglob("LICENSE*"))
    assert len(list(texts.iterdir())) > 60


def test_two_bills_of_one_environment_are_the_same():
    components = package_components(distributions(["numpy"]))
    first = bill(components, version="1", made="now")
    assert first == bill(components, version="1", made="now")
    other = [Component(name="numpy", version="0", purl="pkg:pypi/numpy@0", licence="BSD")]
    assert first["serialNumber"] != bill(other, version="1", made="now")["serialNumber"]


def test_a_local_version_is_escaped():
    assert purl_of("Torch", "2.13.0+cpu") == "pkg:pypi/torch@2.13.0%2Bcpu"
    assert system_libraries(["", "a 1+b"])[0].purl == "pkg:deb/debian/a@1%2Bb"


def test_a_package_that_is_not_there_ends_the_build():
    with pytest.raises(KeyError, match="no-such-package"):
        distributions(["no_such.package"])
