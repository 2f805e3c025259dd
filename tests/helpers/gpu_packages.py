"""A GPU package small enough for tests."""

from __future__ import annotations

from pathlib import Path

from installer.gpu import LINUX, pack

MADE = 1_700_000_000


def small_package(folder: Path) -> Path:
    """Pack a PyTorch of two files below `folder`; return the package file."""
    tree = folder / "tree"
    (tree / "torch").mkdir(parents=True)
    (tree / "torch" / "version.py").write_text("__version__ = '9.9.9+cu130'\n")
    (tree / "torch" / "__init__.py").write_text("")
    pack(tree, folder / "a.fedgpu", flavour=LINUX, made=MADE)
    return folder / "a.fedgpu"
