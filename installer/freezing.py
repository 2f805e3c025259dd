"""What goes into a frozen program, on Linux and macOS alike: read by the PyInstaller recipes.

PyInstaller follows import statements. What it cannot see is listed here: rooms of the program that
are imported by name, everything below nnU-Net (which looks classes up by walking its own folders),
and the data and records of packages that are read at run time.
"""

from __future__ import annotations

import ast
import dataclasses
import fnmatch
import importlib.metadata
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from installer.machine import SetupProblem

ROOT: Final = Path(__file__).resolve().parent.parent
ENTRY: Final = str(ROOT / "app" / "__main__.py")

# Collected with every sub-module: imported by name somewhere, by us or by nnU-Net's lookups.
WALKED_PACKAGES: Final = (
    "app",
    "nnunetv2",
    "dynamic_network_architectures",
    "batchgenerators",
    "batchgeneratorsv2",
    "acvl_utils",
    "keyring.backends",
    "imagecodecs",
)
LEFT_OUT_OF_WALKS: Final = ("*.tests", "*.tests.*", "*.test", "*.test.*", "*.examples*")

# nnU-Net walks its folders for classes and shows its own lines in tracebacks: it stays readable.
COLLECTION_MODE: Final = {"nnunetv2": "pyz+py"}

EXCLUDED: Final = [
    "IPython",
    "PyQt5",
    "PyQt6",
    "PySide6.QtOpenGL",
    "PySide6.QtOpenGLWidgets",
    "PySide6.QtQml",
    "PySide6.QtQuick",
    "PySide6.QtTest",
    "_pytest",
    "hf_xet",
    "hypothesis",
    "mypy",
    "py",
    "pytest",
    "pytestqt",
    "setuptools",
    "tensorboard",
    "tkinter",
    "triton",
]

# Imported where they are installed, and in no product: the program works without.
NEVER_CARRIED: Final = frozenset({"torch_directml"})
# Package -> the only system (as sys.platform) whose product holds it.
ONLY_ON: Final = {"jeepney": "linux"}

# What pip notes about its own work. RECORD holds sums of scripts, in which the path of the build
# environment stands, so two builds would differ by it.
NOTES_OF_PIP: Final = (
    "*.dist-info/RECORD",
    "*.dist-info/INSTALLER",
    "*.dist-info/REQUESTED",
    "*.dist-info/direct_url.json",
)
# Files of packages that a running program never opens, by their place in the bundle. What must
# stay is worth knowing: torch/bin/torch_shm_manager (torch does not import without it) and *.pyi
# (scikit-image reads them at run time to know what to load).
DROPPED: Final = (
    *NOTES_OF_PIP,
    "torch/test/*",
    "torch/include/*",
    "torch/share/*",
    "torch/lib/*.a",
    "torch/lib/libtorchbind_test.so",
    # Lines of tracebacks that nobody will see; the modules themselves are in the archive.
    "torch/testing/*.py",
    "pydicom/data/test_files/*",
    "resources/screenshots/*",
    "torch/bin/*",
    "torchvision/include/*",
    "numpy/*/tests/*",
    "scipy/*/tests/*",
    "matplotlib/tests/*",
    "skimage/**/tests/*",
    "pandas/tests/*",
    "sklearn/**/tests/*",
    "PySide6/Qt/qml/*",
    "PySide6/Qt/translations/*",
    "PySide6/Qt/plugins/platforms/libqeglfs.so",
    "PySide6/Qt/plugins/platforms/libqlinuxfb.so",
    "PySide6/Qt/plugins/egldeviceintegrations/*",
    # GTK's look would load the system's GTK beside the bundle's own glib.
    "PySide6/Qt/plugins/platformthemes/libqgtk3.so",
    "libatk-1.0.so.0",
    "libcairo*.so.2",
    "libdatrie.so.1",
    "libfribidi.so.0",
    "libgdk_pixbuf-2.0.so.0",
    "libgraphite2.so.3",
    "libharfbuzz.so.0",
    "libpango*-1.0.so.0",
    "libpixman-1.so.0",
    "libthai.so.0",
    # Built for CUDA, they do not load beside a CPU torch; app/nnunet/torchvision_shim.py stands in.
    "torchvision/*.so",
    "torchvision.libs/*",
    "libcudart*.so*",
    "libnvjpeg*.so*",
    # The system's own: they must not be older than what its graphics drivers were built with, and
    # with them the bundle would need the glibc of the machine that built it.
    "libstdc++.so.6",
    "libgcc_s.so.1",
    "libexpat.so.1",
)
# Libraries that come with the symbols of their makers' debuggers: 150 MB that nobody reads. Only
# these are stripped, because tools that patch libraries leave some that strip would break.
STRIPPED: Final = (
    "_CharLS.*.so",
    "cc3d/*.so",
    "kiwisolver/*.so",
    "libpython3.*.so.1.0",
    "msgpack/*.so",
    "python3.*/lib-dynload/*.so",
    "torch/lib/libtorch_cpu.so",
    "torch/lib/libtorch_python.so",
    "yaml/*.so",
)
KEPT_ANYWAY: Final = ("torch/bin/torch_shm_manager",)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Arguments of PyInstaller's analysis."""

    hidden_imports: list[str]
    datas: list[tuple[str, str]]


def collect() -> Parts:
    """Look into this environment, which must be the build environment."""
    from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

    hidden: list[str] = []
    for package in WALKED_PACKAGES:
        hidden += collect_submodules(package, filter=is_walked)
    datas = [(str(ROOT / "resources"), "resources")]
    for name in runtime_distributions():
        datas += copy_metadata(name)
    for package in ("nnunetv2", "highdicom", "pydicom"):
        datas += collect_data_files(package)
    return Parts(hidden_imports=sorted(set(hidden)), datas=datas)


def is_walked(module: str) -> bool:
    return not any(fnmatch.fnmatchcase(module, pattern) for pattern in LEFT_OUT_OF_WALKS)


def runtime_distributions() -> list[str]:
    """Return the packages that the running program needs, as far as they are installed here.

    Raises:
        importlib.metadata.PackageNotFoundError: a direct dependency is not installed.
    """
    from installer.licences import direct_dependencies, needed_packages

    direct = [name for name in direct_dependencies() if ONLY_ON.get(name) in (None, sys.platform)]
    for name in direct:
        importlib.metadata.distribution(name)
    return needed_packages(direct)


def imported_packages(root: Path) -> set[str]:
    """Return the packages that the modules below `root` import, at any depth of their code.

    Names are top-level ones; ours and the standard library's are left out.
    """
    found: set[str] = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - {"app", "installer"} - set(sys.stdlib_module_names)


def check_collected(
    modules: Iterable[str], *, system: str = sys.platform, root: Path = ROOT / "app"
) -> None:
    """Check that a product for `system` holds every package that the program imports.

    `modules` are the dotted names of what was collected; read from the result, because a package
    can be installed and still be left out, by an exclusion or by a marker for another system.

    Raises:
        SetupProblem: some are missing; the sentence names them.
    """
    held = {name.partition(".")[0] for name in modules}
    foreign = {package for package, only in ONLY_ON.items() if only != system}
    missing = imported_packages(root) - NEVER_CARRIED - foreign - held
    if missing:
        raise SetupProblem(
            f"the product lacks packages that the program imports: {', '.join(sorted(missing))}",
            "add them to pyproject.toml and the locks (installer/lock.py), or see EXCLUDED",
        )


def is_kept(place: str) -> bool:
    """Tell whether a file stays in the bundle; `place` is its path there, with slashes."""
    if place in KEPT_ANYWAY:
        return True
    return not any(fnmatch.fnmatchcase(place, pattern) for pattern in DROPPED)


def kept(entries: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Return PyInstaller's entries (place, source, kind) without those that are dropped."""
    return [entry for entry in entries if is_kept(entry[0].replace("\\", "/"))]
