"""The Windows builder without its builds: the setup script and the launchers on a tiny tree."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from installer import freezing, licences, product
from installer.machine import SetupProblem
from installer.product import INVITATION_ENDING, INVITATION_TYPE, Shell
from installer.windows import build, materials, tree, wheels
from installer.windows.tree import HERE, MINGW, Icons, exported_names, numbers_of

PE = b"MZ"


def need(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def shell() -> Shell:
    return Shell(environment=os.environ)


def icon() -> bytes:
    from installer.drawing import icon as make

    # A PNG of one pixel, as Windows takes it for any size.
    pixel = bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
        "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
    )
    return make([(16, pixel)])


# The setup program


def write_tree(folder: Path, places: list[str]) -> Path:
    for place in places:
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PE + place.encode())
    product.set_dates(folder, 1_700_000_000)
    return folder


TINY = ["fednnunet.exe", "fednnunet-desktop.exe", "python311.dll", "Lib/os.py", "Lib/a/x y.py"]


@pytest.mark.parametrize("packing", build.Packing)
def test_two_setup_programs_of_one_tree_are_the_same_bytes(tmp_path, packing):
    need("makensis")
    (tmp_path / "a.ico").write_bytes(icon())
    setups = []
    # Other folders, other names, and files that were written in another order.
    for name, places in (("tree", TINY), ("another-tree", TINY[::-1])):
        folder = write_tree(tmp_path / name / name, places)
        setup = build.Products(out=tmp_path / name, version="1.2.3").setup
        build.make_setup(folder, setup, tmp_path / "a.ico", "1.2.3", shell(), packing=packing)
        setups.append(setup.read_bytes())
    assert setups[0].startswith(PE)
    assert setups[0] == setups[1]


def test_the_setup_program_holds_every_file_in_its_place_and_in_order(tmp_path):
    folder = write_tree(tmp_path / "tree", TINY)
    assert build.file_list(folder).splitlines() == [
        'SetOutPath "$INSTDIR"',
        f'File "{folder}/fednnunet-desktop.exe"',
        f'File "{folder}/fednnunet.exe"',
        f'File "{folder}/python311.dll"',
        'SetOutPath "$INSTDIR\\Lib"',
        f'File "{folder}/Lib/os.py"',
        'SetOutPath "$INSTDIR\\Lib\\a"',
        f'File "{folder}/Lib/a/x y.py"',
        # Shortcuts start the program in the folder that was named last.
        'SetOutPath "$INSTDIR"',
    ]


def test_the_setup_script_needs_no_administrator_and_associates_invitations():
    script = (HERE / "setup.nsi").read_text(encoding="utf-8")
    assert "RequestExecutionLevel user" in script
    assert "HKLM" not in script
    assert f"Software\\Classes\\{INVITATION_ENDING}" in script
    assert f'"{INVITATION_TYPE}"' in script
    for written in ("DisplayName", "DisplayVersion", "UninstallString", "QuietUninstallString"):
        assert f'"{written}"' in script


def test_removal_names_what_it_removes_and_asks_about_the_workspace():
    script = (HERE / "setup.nsi").read_text(encoding="utf-8")
    # The installed folder may hold a person's own files: never the whole of it.
    assert 'RMDir /r "$INSTDIR"' not in script
    assert "MB_YESNO" in script
    assert "/SD IDYES" in script  # silent: it stays
    assert "/REMOVE-WORKSPACE" in script


# The tree


def test_the_launchers_compile_without_a_warning(tmp_path):
    need(f"{MINGW}-gcc", f"{MINGW}-windres")
    for name in ("fednnunet.ico", "invitation.ico"):
        (tmp_path / name).write_bytes(icon())
    icons = Icons(program=tmp_path / "fednnunet.ico", invitation=tmp_path / "invitation.ico")
    programs = tree.make_launchers(tmp_path, tmp_path, icons, "1.2.3", shell())
    assert [path.name for path in programs] == ["fednnunet.exe", "fednnunet-desktop.exe"]
    for path, subsystem in zip(programs, ("3", "2"), strict=True):  # console, windows
        listing = shell().ask(f"{MINGW}-objdump", "-p", path)
        assert f"Subsystem\t\t0000000{subsystem}" in listing
    first = programs[0].read_bytes()
    tree.make_launchers(tmp_path, tmp_path, icons, "1.2.3", shell())
    assert programs[0].read_bytes() == first


def test_the_stable_interface_is_forwarded_name_by_name(tmp_path):
    need(f"{MINGW}-gcc", f"{MINGW}-objdump")
    (tmp_path / "a.c").write_text(
        "__declspec(dllexport) int Py_One(void) { return 1; }\n"
        "__declspec(dllexport) int Py_Two = 2;\n"
    )
    library = tmp_path / "python311.dll"
    shell().run(f"{MINGW}-gcc", "-shared", "-o", library, tmp_path / "a.c")
    tree.make_forwarder(tmp_path, tmp_path, shell())
    listing = shell().ask(f"{MINGW}-objdump", "-p", tmp_path / "python3.dll")
    assert "python311.Py_One" in listing
    assert "python311.Py_Two" in listing
    # The same bytes wherever it is made.
    (tmp_path / "elsewhere").mkdir()
    shutil.copyfile(library, tmp_path / "elsewhere" / "python311.dll")
    tree.make_forwarder(tmp_path / "elsewhere", tmp_path / "elsewhere", shell())
    made = [(folder / "python3.dll").read_bytes() for folder in (tmp_path, tmp_path / "elsewhere")]
    assert made[0] == made[1]
    with pytest.raises(SetupProblem, match="exports nothing"):
        exported_names("")


def write_zip(path: Path, names: list[str]) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for name in names:
            zipped.writestr(name, name)
    return path


def test_the_runtime_is_taken_out_of_its_wheels(tmp_path):
    inside = "panda3d-1.data/data/deploy_libs"
    panda3d = write_zip(
        tmp_path / "p.whl",
        [f"{inside}/{name}" for name in ("python311.dll", "_ssl.pyd", "libssl-3.dll", "tk86t.dll")]
        + ["panda3d/core.pyd"],
    )
    dlls = ("vcruntime140.dll", "vcruntime140_1.dll", "msvcp140.dll")
    msvc = write_zip(tmp_path / "m.whl", [f"m.data/data/Scripts/{name}" for name in dlls])
    folder = tmp_path / "tree"
    tree.put_runtime(folder, panda3d, msvc)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "python311.dll", "python311._pth", "DLLs/_ssl.pyd", "DLLs/libssl-3.dll", *dlls,
    }  # fmt: skip
    assert (folder / "python311._pth").read_bytes().count(b"\r\n") == 4
    with pytest.raises(SetupProblem, match=r"lack .*msvcp140\.dll"):
        tree.put_runtime(tmp_path / "other", panda3d, write_zip(tmp_path / "e.whl", []))


def test_the_library_comes_without_tests_and_other_systems_modules(tmp_path):
    source = tmp_path / "library"
    for place in (
        "os.py",
        "test/test_os.py",
        "lib-dynload/a.so",
        "asyncio/base.py",
        "config-3.11-x/a",
    ):
        path = source / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    tree.put_library(tmp_path / "tree", source)
    found = {
        path.relative_to(tmp_path / "tree" / "Lib").as_posix()
        for path in (tmp_path / "tree").rglob("*.*")
        if path.is_file()
    }
    assert found == {"os.py", "asyncio/base.py"}


def test_notes_of_pip_go_and_a_missing_package_ends_the_build(tmp_path):
    packages = tmp_path / "Lib" / "site-packages"
    imported = freezing.imported_packages(freezing.ROOT / "app")
    held = imported - freezing.NEVER_CARRIED - {"jeepney"}  # on Linux only
    write_tree(packages, [f"{name}/__init__.py" for name in held])
    write_tree(packages, [f"a-1.dist-info/{name}" for name in ("METADATA", "RECORD", "INSTALLER")])
    tree.finish_wheels(tmp_path)
    assert [path.name for path in packages.glob("a-1.dist-info/*")] == ["METADATA"]
    shutil.rmtree(packages / "wakepy")
    with pytest.raises(SetupProblem, match=r"lacks packages that the program imports: wakepy$"):
        tree.finish_wheels(tmp_path)


def test_our_code_and_resources_come_along_whole(tmp_path):
    tree.put_program(tmp_path)
    assert (tmp_path / "program" / "app" / "worker" / "__main__.py").is_file()
    assert (tmp_path / "program" / "resources" / "LICENSES" / "THIRD_PARTY.md").is_file()
    assert not list(tmp_path.rglob("__pycache__"))
    # Pictures for the README.
    assert not (tmp_path / "program" / "resources" / "screenshots").exists()


@pytest.mark.parametrize(
    ("version", "numbers"), [("0.1.0", "0.1.0.0"), ("2", "2.0.0.0"), ("1.2.3rc4", "1.2.3.4")]
)
def test_versions_become_four_numbers(version, numbers):
    assert ".".join(numbers_of(version)) == numbers


# Wheels


def write_wheel(folder: Path, name: str, requires: list[str]) -> None:
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"
    text += "".join(f"Requires-Dist: {line}\n" for line in requires)
    with zipfile.ZipFile(folder / f"{name}-1-py3-none-any.whl", "w") as zipped:
        zipped.writestr(f"{name}-1.dist-info/METADATA", text)


def test_wheels_are_followed_with_the_markers_of_windows(tmp_path):
    pytest.importorskip("packaging")
    write_wheel(
        tmp_path,
        "program",
        [
            "only_linux; sys_platform == 'linux'",
            "only_windows; platform_system == 'Windows'",
            "with_extra[fast]",
            "tests; extra == 'test'",
        ],
    )
    write_wheel(tmp_path, "only_windows", [])
    write_wheel(tmp_path, "with_extra", ["quick; extra == 'fast'", "slow; extra == 'slow'"])
    write_wheel(tmp_path, "quick", ["program"])  # a circle
    # What the program itself asks for has markers too.
    direct = ["program>=1", "linux_alone; sys_platform == 'linux'"]
    found = wheels.needed(direct, wheels.wheels_in(tmp_path))
    assert [path.name.split("-")[0] for path in found] == [
        "only_windows", "program", "quick", "with_extra",
    ]  # fmt: skip
    with pytest.raises(KeyError, match="missing"):
        wheels.needed(["missing"], wheels.wheels_in(tmp_path))


def test_the_lock_of_windows_holds_all_that_the_program_asks_for_there():
    requirements = pytest.importorskip("packaging.requirements")
    locked = {line.partition("==")[0] for line in build.LOCK.read_text("utf-8").splitlines()}
    asked = [requirements.Requirement(line) for line in licences.direct_requirements()]
    wanted = {
        licences.normal_name(one.name)
        for one in asked
        if one.marker is None or one.marker.evaluate({**wheels.WINDOWS, "extra": ""})
    }
    assert wanted <= locked
    # The check has something to leave out.
    assert "jeepney" in {one.name for one in asked} - wanted - locked


def test_there_is_one_wheel_of_each_runtime(tmp_path):
    with pytest.raises(SetupProblem, match="holds 0 wheels of panda3d"):
        build.one_wheel(tmp_path, "panda3d")
    write_wheel(tmp_path, "panda3d", [])
    assert build.one_wheel(tmp_path, "panda3d").name.startswith("panda3d-1")


def test_the_materials_name_runtimes_and_packages(tmp_path):
    record = tmp_path / "packages" / "a-1.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: a\nVersion: 1\nLicense: MIT\n")
    msvc = tmp_path / "msvc_runtime-14.44.1-cp311-cp311-win_amd64.whl"
    words = [
        str(tmp_path),
        str(tmp_path / "packages"),
        "1.2.3",
        "2026-01-02T00:00:00+00:00",
        str(msvc),
    ]
    assert materials.main(words) == 0
    text = (tmp_path / "sbom.cdx.json").read_text(encoding="utf-8")
    for purl in ("pkg:pypi/a@1", "pkg:generic/cpython@3.11.9", "pkg:generic/msvc-runtime@14.44.1"):
        assert purl in text


def test_missing_tools_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    assert build.main(["--out", str(tmp_path), "--work", str(tmp_path)]) == 1
    assert "gcc-mingw-w64-x86-64-win32 nsis" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="the scripts are Linux's")
def test_the_verification_is_plain_shell():
    subprocess.run(["sh", "-n", str(HERE / "verify.sh")], check=True)
