"""The Linux builder without its builds: texts, limits, and the real packaging of a small tree."""

import configparser
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from installer import product
from installer.linux import build
from installer.linux.build import DEPENDS, HERE, Products, filled
from installer.machine import QT_LIBRARIES, SetupProblem
from installer.manifest import digest_of
from installer.product import INVITATION_ENDING, INVITATION_TYPE, Shell, Source

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the Linux products are built there"
)
SOURCE = Source(version="1.2.3", commit="a" * 40, made=1_700_000_000, clean=True)


def need(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def shell() -> Shell:
    return Shell(environment=SOURCE.environment(os.environ))


@pytest.fixture
def bundle(tmp_path):
    """A program of two files in place of the frozen one, which takes minutes and a gigabyte."""
    folder = tmp_path / "frozen" / "fednnunet"
    (folder / "_internal").mkdir(parents=True)
    program = folder / "fednnunet"
    program.write_text('#!/bin/sh\necho "started with $*"\n')
    program.chmod(0o755)
    (folder / "_internal" / "data").write_text("data")
    return folder


# Texts


def test_the_desktop_entry_opens_invitations():
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string(filled(HERE / "fednnunet.desktop", {"COMMAND": "fednnunet"}))
    entry = parser["Desktop Entry"]
    assert entry["Exec"] == "fednnunet %f"
    assert entry["MimeType"] == f"{INVITATION_TYPE};"
    assert entry["Name"] == product.NAME
    assert entry["Terminal"] == "false"


def test_the_desktop_entry_is_valid(tmp_path):
    need("desktop-file-validate")
    path = tmp_path / "fednnunet.desktop"
    path.write_text(filled(HERE / "fednnunet.desktop", {"COMMAND": "fednnunet"}))
    subprocess.run(["desktop-file-validate", str(path)], check=True)


def test_the_file_type_is_known_by_its_ending(tmp_path):
    document = ElementTree.fromstring((HERE / "fednnunet.xml").read_text(encoding="utf-8"))
    space = "{http://www.freedesktop.org/standards/shared-mime-info}"
    (kind,) = document.findall(f"{space}mime-type")
    assert kind.get("type") == INVITATION_TYPE
    assert kind.find(f"{space}glob").get("pattern") == f"*{INVITATION_ENDING}"
    need("update-mime-database")
    (tmp_path / "packages").mkdir()
    shutil.copy(HERE / "fednnunet.xml", tmp_path / "packages")
    subprocess.run(["update-mime-database", str(tmp_path)], check=True)
    assert f"*{INVITATION_ENDING}" in (tmp_path / "globs2").read_text()


def test_the_appstream_data_are_valid(tmp_path):
    need("appstreamcli")
    name = "org.fednnunet.Desktop.metainfo.xml"
    (tmp_path / name).write_text(filled(HERE / name, {"VERSION": "1.2.3", "DATE": "2026-01-02"}))
    command = ["appstreamcli", "validate", "--no-net", str(tmp_path / name)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize(
    "script", ["prerm", "postinst", "postrm", "install.sh", "uninstall.sh", "verify.sh"]
)
def test_scripts_are_plain_shell(script):
    path = HERE / script
    subprocess.run(["sh", "-n", str(path)], check=True)
    assert path.read_text().startswith("#!/bin/sh\n")
    assert "set -e" in path.read_text()


def test_a_name_without_a_value_ends_the_build():
    with pytest.raises(SetupProblem, match=r"fednnunet\.desktop has a name without a value"):
        filled(HERE / "fednnunet.desktop", {})


def test_the_package_asks_for_every_library_that_qt_loads():
    asked = {name for line in DEPENDS for name in line.replace(" | ", " ").split()}
    # These two come along inside: Python's and QtNetwork's own.
    inside = {"libbrotli1", "libgssapi-krb5-2"}
    needed = {library.debian_package for library in QT_LIBRARIES} - inside
    assert needed <= asked


# Packaging a small tree


@pytest.fixture
def package(bundle, tmp_path):
    need("dpkg-deb")
    products = Products(out=tmp_path, version="1.2.3")
    build.make_package(bundle, tmp_path / "work", products, SOURCE, shell())
    return products.package


def test_the_package_holds_the_program_and_what_a_desktop_needs(package):
    listing = subprocess.run(
        ["dpkg-deb", "--contents", str(package)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    paths = {line.split(" ./", 1)[1] for line in listing if " ./" in line}
    assert {
        "opt/fednnunet/fednnunet",
        "opt/fednnunet/_internal/data",
        "usr/bin/fednnunet -> /opt/fednnunet/fednnunet",
        "usr/share/applications/fednnunet.desktop",
        "usr/share/mime/packages/fednnunet.xml",
        "usr/share/metainfo/org.fednnunet.Desktop.metainfo.xml",
        "usr/share/icons/hicolor/scalable/apps/fednnunet.svg",
        "usr/share/icons/hicolor/scalable/mimetypes/application-x-fednnunet-invitation.svg",
        "usr/share/doc/fednnunet/copyright",
    } <= paths
    assert all("root/root" in line for line in listing)
    assert all("2023-11-14 22:13" in line for line in listing)


def test_the_package_describes_itself(package):
    fields = subprocess.run(
        ["dpkg-deb", "--field", str(package)], capture_output=True, text=True, check=True
    ).stdout
    assert "Version: 1.2.3\n" in fields
    assert "libegl1" in fields
    assert "research use only" in fields


def test_two_packages_of_one_tree_are_the_same_bytes(bundle, package, tmp_path):
    again = Products(out=tmp_path / "again", version="1.2.3")
    again.out.mkdir()
    build.make_package(bundle, tmp_path / "work", again, SOURCE, shell())
    assert digest_of(again.package) == digest_of(package)


@pytest.mark.parametrize(("to_be_signed", "ending"), [(False, ".zst"), (True, ".xz")])
def test_a_package_to_be_signed_has_members_that_the_signer_sees(
    bundle, tmp_path, to_be_signed, ending
):
    need("dpkg-deb", "ar")
    products = Products(out=tmp_path, version="1.2.3")
    work = tmp_path / "work"
    build.make_package(bundle, work, products, SOURCE, shell(), to_be_signed=to_be_signed)
    members = shell().ask("ar", "t", products.package).split()
    assert members == ["debian-binary", f"control.tar{ending}", f"data.tar{ending}"]


@pytest.fixture
def portable(bundle, tmp_path):
    need("makeself")
    products = Products(out=tmp_path, version="1.2.3")
    build.make_portable(bundle, tmp_path / "work", products, SOURCE, shell())
    return products.portable


def test_the_self_extracting_file_installs_updates_and_removes_itself(portable, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}

    def run(*command: object) -> str:
        finished = subprocess.run(
            [str(word) for word in command],
            env=environment, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return finished.stdout

    folder = home / ".local" / "opt" / "fednnunet"
    for _ in range(2):  # a second time over the first
        assert "installed in" in run("sh", portable, "--quiet", "--nochown")
        assert run(home / ".local/bin/fednnunet", "--version") == "started with --version\n"
    desktop = (home / ".local/share/applications/fednnunet.desktop").read_text()
    assert f'Exec="{folder}/fednnunet" %f' in desktop
    workspace = home / ".local/share/fednnunet"
    workspace.mkdir()
    (workspace / "site.sqlite").write_text("precious")
    assert "the workspace stays" in run(folder / "uninstall.sh")
    assert (workspace / "site.sqlite").read_text() == "precious"
    assert not folder.exists()
    run("sh", portable, "--quiet", "--nochown")
    run(folder / "uninstall.sh", "--remove-workspace")
    left = [path for path in home.rglob("*") if path.is_file() and "mime" not in str(path)]
    assert left == []


def test_the_self_extracting_file_spares_a_folder_that_is_not_its_own(portable, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("precious")
    finished = subprocess.run(
        ["sh", str(portable), "--quiet", "--nochown", "--", "--folder", str(theirs)],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode != 0
    assert "is in the way" in finished.stderr
    assert (theirs / "thesis.txt").read_text() == "precious"


def test_two_self_extracting_files_of_one_tree_are_the_same_bytes(bundle, portable, tmp_path):
    again = Products(out=tmp_path / "again", version="1.2.3")
    again.out.mkdir()
    build.make_portable(bundle, tmp_path / "work", again, SOURCE, shell())
    assert digest_of(again.portable) == digest_of(portable)


# Limits


def report(ratio: float) -> dict[str, object]:
    facts = {"seconds": 1.5, "bare_seconds": 1.0, "ratio": ratio}
    return {"steps": [{"step": "keys", "facts": {}}, {"step": "window", "facts": facts}]}


def test_a_window_that_is_too_slow_ends_the_build(tmp_path):
    path = tmp_path / "report.json"

    class Played(Shell):
        def run(self, *_, **__):
            path.write_text(json.dumps(report(ratio)))

    for ratio in (1.5, 3.0):
        assert build.self_test(Path("p"), path, Played(environment={})) == report(ratio)
    ratio = 3.1
    with pytest.raises(SetupProblem, match=r"3\.1 times as long"):
        build.self_test(Path("p"), path, Played(environment={}))


def test_a_bundle_that_is_too_large_ends_the_build(bundle, monkeypatch):
    assert build.check_size(bundle) == product.size_of(bundle)
    monkeypatch.setattr(build, "LARGEST_BUNDLE", 10)
    with pytest.raises(SetupProblem, match=r"the bundle takes 0\.00 GB"):
        build.check_size(bundle)


def test_the_command_line(capsys):
    assert build.parse([]).out == product.ROOT / "dist" / "linux"
    options = build.parse(["--out", "O", "--work", "W", "--no-self-test", "--torch-index", "U"])
    assert (options.out, options.no_self_test, options.torch_index) == (Path("O"), True, "U")
    with pytest.raises(SystemExit):
        build.parse(["--what"])


def test_the_recipe_is_python():
    compile((HERE / "fednnunet.spec").read_text(encoding="utf-8"), "fednnunet.spec", "exec")
