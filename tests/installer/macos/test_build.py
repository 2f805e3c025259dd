"""The macOS builder as far as it can be checked without a Mac."""

import plistlib
import struct
from pathlib import Path

import pytest

from installer.linux.build import filled
from installer.machine import SetupProblem
from installer.macos import build
from installer.macos.build import HERE, Notary
from installer.product import APPLICATION_ID, INVITATION_ENDING, INVITATION_TYPE, Shell, Source

SOURCE = Source(version="1.2.3", commit="a" * 40, made=1_700_000_000, clean=True)
MACH_O = struct.pack("<I", 0xFEEDFACF)


class Recorded(Shell):
    """Notes each command as words without the folder of the test."""

    def __init__(self, root: Path) -> None:
        super().__init__(environment={})
        object.__setattr__(self, "noted", [])
        object.__setattr__(self, "root", root)

    __slots__ = ("noted", "root")

    def run(self, *command, cwd=None):
        self.noted.append([str(word).replace(f"{self.root}/", "") for word in command])


@pytest.fixture
def application(tmp_path):
    inside = tmp_path / build.APPLICATION / "Contents"
    for place, content in {
        "MacOS/fednnunet": MACH_O,
        "Frameworks/torch/lib/libtorch.dylib": MACH_O,
        "Resources/resources/build.json": b"{}",
    }.items():
        path = inside / place
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    return tmp_path / build.APPLICATION


def test_the_property_list_declares_the_file_type():
    plist = plistlib.loads(filled(HERE / "Info.plist", {"VERSION": "1.2.3"}).encode())
    assert plist["CFBundleIdentifier"] == APPLICATION_ID
    assert plist["CFBundleShortVersionString"] == "1.2.3"
    (document,) = plist["CFBundleDocumentTypes"]
    (kind,) = plist["UTExportedTypeDeclarations"]
    assert document["LSItemContentTypes"] == [kind["UTTypeIdentifier"]]
    tags = kind["UTTypeTagSpecification"]
    assert tags["public.filename-extension"] == [INVITATION_ENDING.removeprefix(".")]
    assert tags["public.mime-type"] == [INVITATION_TYPE]


def test_the_entitlements_are_booleans():
    entitlements = plistlib.loads((HERE / "entitlements.plist").read_bytes())
    assert entitlements
    assert set(entitlements.values()) == {True}


def test_the_recipe_is_python():
    compile((HERE / "fednnunet.spec").read_text(encoding="utf-8"), "fednnunet.spec", "exec")


def test_a_signed_build_is_signed_inside_out_notarised_and_stapled(application, tmp_path):
    shell = Recorded(tmp_path)
    notary = Notary(identity="Developer ID", profile="hospital")
    build.package(application, tmp_path / "work", tmp_path / "a.dmg", notary, shell)
    steps = [
        words[0:2] if words[0] != "codesign" else ["codesign", words[-1]] for words in shell.noted
    ]
    app = build.APPLICATION
    assert steps == [
        ["codesign", f"{app}/Contents/Frameworks/torch/lib/libtorch.dylib"],
        ["codesign", f"{app}/Contents/MacOS/fednnunet"],
        ["codesign", app],
        ["codesign", app],
        ["ditto", "-c"],
        ["xcrun", "notarytool"],
        ["xcrun", "stapler"],
        ["ditto", app],
        ["hdiutil", "create"],
        ["codesign", "a.dmg"],
        ["xcrun", "notarytool"],
        ["xcrun", "stapler"],
        ["spctl", "--assess"],
    ]
    assert all("runtime" in words for words in shell.noted[:3])
    assert shell.noted[3][1:3] == ["--verify", "--deep"]


def test_an_unsigned_build_only_makes_the_image(application, tmp_path):
    shell = Recorded(tmp_path)
    build.package(application, tmp_path / "work", tmp_path / "a.dmg", None, shell)
    assert [words[0] for words in shell.noted] == ["ditto", "hdiutil"]
    assert (tmp_path / "work" / "image" / "Applications").readlink() == Path("/Applications")


def test_freezing_gets_property_list_and_icon(tmp_path):
    seen = {}

    class Played(Shell):
        def run(self, *command, cwd=None):
            seen.update(self.environment)

    found = build.freeze(
        Path("python"), tmp_path, SOURCE, tmp_path / "icon.icns", Played(environment={"A": "b"})
    )
    assert found == tmp_path / "frozen" / build.APPLICATION
    assert seen["A"] == "b"
    assert plistlib.loads(Path(seen["FEDNNUNET_PLIST"]).read_bytes())["CFBundleVersion"] == "1.2.3"


def test_identity_and_profile_come_together():
    assert Notary.of({}) is None
    both = {build.IDENTITY: "I", build.PROFILE: "P"}
    assert Notary.of(both) == Notary(identity="I", profile="P")
    with pytest.raises(SetupProblem, match="is not set"):
        Notary.of({build.IDENTITY: "I"})


def test_elsewhere_it_says_that_it_needs_a_mac(capsys, monkeypatch):
    monkeypatch.setattr(build.platform, "system", lambda: "Linux")
    assert build.main([]) == 1
    assert "on a Mac" in capsys.readouterr().err


def test_what_was_not_checked_is_said_plainly():
    assert "NOT CHECKED" in build.__doc__
