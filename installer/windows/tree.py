"""The folder that the Windows setup program installs, put together from wheels and a signed runtime.

python311.dll, *.dll      CPython 3.11.9 as the Python Software Foundation signed it, and
                          Microsoft's C++ runtime
fednnunet.exe             launchers, compiled here; see launcher.c
fednnunet-desktop.exe
python3.dll               forwards the stable interface to python311.dll, made here
python311._pth            where modules are looked for; nothing of another Python is
DLLs                      CPython's compiled modules
Lib                       its library in Python, Lib/site-packages the wheels
program                   app and resources
"""

from __future__ import annotations

import dataclasses
import fnmatch
import re
import shutil
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from installer.freezing import NOTES_OF_PIP, check_collected
from installer.machine import SetupProblem, say
from installer.product import ROOT, Shell

HERE: Final = Path(__file__).resolve().parent
PYTHON: Final = "3.11.9"
"""CPython's version in the runtime wheel."""
MINGW: Final = "x86_64-w64-mingw32"
PATHS: Final = "Lib\nDLLs\nLib\\site-packages\nprogram\n"

# Parts of the library that nothing of ours reaches, and what belongs to another system.
LIBRARY_DROPPED: Final = frozenset(
    {
        "__pycache__",
        "ensurepip",
        "idlelib",
        "lib-dynload",
        "lib2to3",
        "site-packages",
        "test",
        "tests",
        "tkinter",
        "turtledemo",
    }
)
RUNTIME_DROPPED: Final = (
    "tcl86t.dll",
    "tk86t.dll",
    "_tkinter.pyd",
    "api-ms-win-*.dll",
    "winsound.pyd",
)
# Files of wheels that a running program never opens. *.pyi must stay: scikit-image reads them.
WHEELS_DROPPED: Final = (
    "bin/*",
    "torch/bin/*",
    "torch/include/*",
    "torch/share/*",
    "torch/test/*",
    "torch/lib/*.lib",
    "*.lib",
    "*/tests/*",
    "pydicom/data/test_files/*",
    # huggingface_hub's quicker downloads; it does without, and nothing here downloads.
    "hf_xet/*",
    "hf_xet-*",
    "PySide6/*.exe",
    "PySide6/*.lib",
    "PySide6/QtDesigner*",
    "PySide6/QtHelp*",
    "PySide6/QtQml*",
    "PySide6/QtQuick*",
    "PySide6/QtSql*",
    "PySide6/QtUiTools*",
    "PySide6/Qt6Designer*",
    "PySide6/Qt6Help*",
    "PySide6/Qt6Labs*",
    "PySide6/Qt6Lottie*",
    "PySide6/Qt6Qml*",
    "PySide6/Qt6Quick*",
    "PySide6/Qt6Shader*",
    "PySide6/Qt6Sql*",
    "PySide6/Qt6Test*",
    "PySide6/QtTest*",
    "PySide6/opengl32sw.dll",
    "PySide6/glue/*",
    "PySide6/include/*",
    "PySide6/metatypes/*",
    "PySide6/qml/*",
    "PySide6/resources/*",
    "PySide6/scripts/*",
    "PySide6/support/*",
    "PySide6/translations/*",
    "PySide6/typesystems/*",
    "PySide6/plugins/designer/*",
    "PySide6/plugins/qmltooling/*",
    "PySide6/plugins/sqldrivers/*",
)
KEPT_ANYWAY: Final = ("numpy/testing/tests/*", "torch/testing/*")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Icons:
    """The two icons of the launchers, as .ico files."""

    program: Path
    invitation: Path


def put_runtime(tree: Path, panda3d: Path, msvc: Path) -> None:
    """Take CPython's runtime out of the panda3d wheel and Microsoft's out of msvc-runtime.

    Raises:
        SetupProblem: the wheels hold something else than expected.
    """
    (tree / "DLLs").mkdir(parents=True)
    with zipfile.ZipFile(panda3d) as zipped:
        for name in zipped.namelist():
            folder, _, file = name.rpartition("/")
            if not folder.endswith("deploy_libs") or _dropped(file.lower(), RUNTIME_DROPPED):
                continue
            if file.endswith(".pyd") or file.startswith(
                ("libffi", "libssl", "libcrypto", "sqlite3")
            ):
                (tree / "DLLs" / file).write_bytes(zipped.read(name))
            elif file.lower() == "python311.dll":
                (tree / file.lower()).write_bytes(zipped.read(name))
    with zipfile.ZipFile(msvc) as zipped:
        for name in zipped.namelist():
            folder, _, file = name.rpartition("/")
            if folder.endswith("data/Scripts") and file.endswith(".dll"):
                (tree / file.lower()).write_bytes(zipped.read(name))
    needed = ("python311.dll", "vcruntime140.dll", "vcruntime140_1.dll", "msvcp140.dll")
    missing = [name for name in needed if not (tree / name).exists()]
    if missing or not (tree / "DLLs" / "_ssl.pyd").exists():
        raise SetupProblem(
            f"the runtime wheels lack {', '.join(missing) or '_ssl.pyd'}",
            "compare installer/locks/windows-runtime.txt with installer/windows/tree.py",
        )
    (tree / "python311._pth").write_text(PATHS, encoding="utf-8", newline="\r\n")


def put_library(tree: Path, library: Path | None = None) -> None:
    """Copy CPython's library in Python, which is the same on every system, from this machine's.

    Raises:
        SetupProblem: this machine's Python is another one.
    """
    source = Path(sysconfig.get_path("stdlib")) if library is None else library
    if library is None and sysconfig.get_python_version() != "3.11":
        raise SetupProblem("this Python is not 3.11", "start this with python3.11")

    def leave_out(_folder: str, names: list[str]) -> set[str]:
        return {name for name in names if name in LIBRARY_DROPPED or name.startswith("config-")}

    shutil.copytree(source, tree / "Lib", ignore=leave_out)


def put_wheels(tree: Path, python: Path, wheels: Sequence[Path], shell: Shell) -> None:
    """Install Windows' wheels into the tree, and drop what a running program never opens."""
    target = tree / "Lib" / "site-packages"
    shell.run(
        python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile",
        "--target", target, "--platform", "win_amd64", "--python-version", "3.11",
        "--implementation", "cp", "--only-binary=:all:", *wheels,
    )  # fmt: skip
    dropped = 0
    for path in sorted(target.rglob("*"), reverse=True):
        place = path.relative_to(target).as_posix()
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif _dropped(place, WHEELS_DROPPED) and not _dropped(place, KEPT_ANYWAY):
            dropped += path.stat().st_size
            path.unlink()
    say(f"dropped {dropped / 1e6:.0f} MB of the wheels")


def finish_wheels(tree: Path) -> None:
    """Remove pip's notes, which the bill of materials was made from, and look for what is missing.

    Raises:
        SetupProblem: a package that the program imports is not there.
    """
    packages = tree / "Lib" / "site-packages"
    for path in packages.glob("*.dist-info/*"):
        if _dropped(path.relative_to(packages).as_posix(), NOTES_OF_PIP):
            path.unlink()
    check_collected((path.name for path in packages.iterdir()), system="win32")


def put_program(tree: Path) -> None:
    """Copy our own code and resources."""
    for name in ("app", "resources"):
        shutil.copytree(
            ROOT / name,
            tree / "program" / name,
            ignore=shutil.ignore_patterns("__pycache__", "screenshots"),
        )


def compile_python(tree: Path, python: Path, shell: Shell) -> None:
    """Compile every module, so that the first start is quick and nothing is written later.

    Unchecked by date: installers and update tools change dates, and the files are never edited.
    """
    shell.run(
        python, "-m", "compileall", "-q", "-j", "2", "--invalidation-mode", "unchecked-hash",
        # Left out: what is written for another Python.
        "-x", r"(/lib2to3/|bad_coding|badsyntax|/templates/|py312_)",
        "-s", tree, "-p", "", tree / "Lib", tree / "program",
    )  # fmt: skip


def exported_names(listing: str) -> list[str]:
    """Return the names that a library exports, out of what `objdump -p` prints.

    Raises:
        SetupProblem: there is no such table.
    """
    _, _, table = listing.partition("[Ordinal/Name Pointer] Table")
    # Newer binutils also show ordinals and addresses in front of the name.
    line = r"^\s+\[\s*\d+\](?:\s+\+base\[\s*\d+\])?(?:\s+[0-9a-f]{4,})?\s+([A-Za-z_]\w*)$"
    found = re.findall(line, table, re.MULTILINE)
    if not found:
        raise SetupProblem("python311.dll exports nothing that objdump shows", "see binutils")
    return found


def make_forwarder(tree: Path, work: Path, shell: Shell) -> None:
    """Make python3.dll, which modules of the stable interface load; the runtime wheel lacks it."""
    names = exported_names(shell.ask(f"{MINGW}-objdump", "-p", tree / "python311.dll"))
    definition = work / "python3.def"
    lines = ["LIBRARY python3.dll", "EXPORTS", *(f"  {name} = python311.{name}" for name in names)]
    definition.write_text("\n".join(lines) + "\n", encoding="utf-8")
    # The address is the linker's usual one; left to itself it draws one from the output's path.
    shell.run(
        f"{MINGW}-gcc", "-shared", "-nostdlib", "-Wl,--entry=0", "-Wl,--no-insert-timestamp",
        "-Wl,--image-base=0x180000000",
        "-o", tree / "python3.dll", definition,
    )  # fmt: skip


def make_launchers(tree: Path, work: Path, icons: Icons, version: str, shell: Shell) -> list[Path]:
    """Compile both launchers with icon and version; return them."""
    for name, path in (("fednnunet.ico", icons.program), ("invitation.ico", icons.invitation)):
        if path != work / name:
            shutil.copyfile(path, work / name)
    text = (HERE / "launcher.rc").read_text(encoding="utf-8")
    numbers = ",".join(numbers_of(version))
    script = work / "launcher.rc"
    script.write_text(
        text.replace("@NUMBERS@", numbers).replace("@VERSION@", version), encoding="utf-8"
    )
    resource = work / "launcher.o"
    shell.run(f"{MINGW}-windres", "--include-dir", work, script, resource)
    common = ("-O2", "-Wall", "-Wextra", "-Werror", "-municode", "-s", "-static",
              "-Wl,--no-insert-timestamp", "-Wl,--dynamicbase", "-Wl,--nxcompat")  # fmt: skip
    programs = []
    for name, options in (
        ("fednnunet.exe", ()),
        ("fednnunet-desktop.exe", ("-mwindows", "-DWINDOWED")),
    ):
        program = tree / name
        shell.run(
            f"{MINGW}-gcc", *common, *options, "-o", program, HERE / "launcher.c", resource,
            "-lshell32",
        )  # fmt: skip
        programs.append(program)
    return programs


def numbers_of(version: str) -> list[str]:
    """Return a version as the four numbers that Windows wants: 0.1.0 is 0, 1, 0, 0."""
    parts = re.findall(r"\d+", version)[:4]
    return [*parts, *["0"] * (4 - len(parts))]


def _dropped(place: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(place, pattern) for pattern in patterns)
