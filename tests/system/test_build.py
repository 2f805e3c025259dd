import msgspec
import pytest

from app import __version__
from app.domain.errors import SetupProblem
from app.system.build import BUILD_FILE, Build, installed_versions, this_build

BUILT = Build(
    version="1.2.3", kind="linux", commit="0123456789abcdef", made="2026-01-02T03:04:05+00:00"
)


def test_a_checkout_says_that_it_is_one(tmp_path):
    assert this_build(tmp_path) == Build(version=__version__, kind="source")
    assert "runs from its source" in this_build(tmp_path).sentence


@pytest.mark.parametrize(("signer", "words"), [("", "not signed"), ("A B", "signed by A B")])
def test_a_build_says_what_it_was_made_of_and_whether_it_is_signed(tmp_path, signer, words):
    build = msgspec.structs.replace(BUILT, signed_by=signer)
    (tmp_path / BUILD_FILE).write_bytes(msgspec.json.encode(build))
    assert this_build(tmp_path) == build
    assert build.sentence == (
        f"fednnunet 1.2.3 (linux, commit 0123456789ab of 2026-01-02T03:04:05+00:00, {words})"
    )


def test_a_damaged_record_is_a_damaged_installation(tmp_path):
    (tmp_path / BUILD_FILE).write_text('{"version": 3}', encoding="utf-8")
    with pytest.raises(SetupProblem, match="installation is damaged"):
        this_build(tmp_path)


def test_only_installed_packages_have_versions():
    found = installed_versions()
    assert found["numpy"]
    assert all(found.values())
