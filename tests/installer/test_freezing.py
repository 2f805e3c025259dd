"""What the frozen program will hold: every module that runs, nothing that a program never opens."""

import ast
import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

from installer import freezing
from installer.licences import normal_name

OURS = {"app", "installer"}
# Imported where they are installed, and only there; the program works without.
OPTIONAL = {"torch_directml"}


def imported_packages(root: Path) -> set[str]:
    found: set[str] = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - OURS - set(sys.stdlib_module_names)


@pytest.mark.nnunet
@pytest.mark.window
def test_every_imported_package_belongs_to_a_collected_distribution():
    owners = importlib.metadata.packages_distributions()
    collected = set(freezing.runtime_distributions())
    missing = {}
    for package in sorted(imported_packages(freezing.ROOT / "app") - OPTIONAL):
        names = {normal_name(name) for name in owners.get(package, [])}
        if not names & collected:
            missing[package] = names
    assert not missing


def test_packages_that_are_walked_at_run_time_are_collected_whole():
    walked = {"nnunetv2", "dynamic_network_architectures", "batchgenerators", "batchgeneratorsv2"}
    assert walked | {"app"} <= set(freezing.WALKED_PACKAGES)
    assert freezing.COLLECTION_MODE["nnunetv2"] == "pyz+py"


@pytest.mark.parametrize(
    "place",
    [
        "torch/bin/torch_shm_manager",
        "torch/lib/libtorch_cpu.so",
        "skimage/filters/__init__.pyi",
        "PySide6/Qt/plugins/platforms/libqxcb.so",
        "PySide6/Qt/plugins/platforms/libqoffscreen.so",
        "resources/LICENSES/THIRD_PARTY.md",
        "nnunetv2/training/nnUNetTrainer/nnUNetTrainer.py",
        "libssl.so.3",
    ],
)
def test_what_a_running_program_reads_is_kept(place):
    assert freezing.is_kept(place)


@pytest.mark.parametrize(
    "place",
    [
        "torch/test/test_x.py",
        "torch/include/ATen/ATen.h",
        "torch/bin/protoc",
        "libstdc++.so.6",
        "PySide6/Qt/plugins/platformthemes/libqgtk3.so",
        "torchvision/_C.so",
    ],
)
def test_what_it_never_opens_is_dropped(place):
    assert not freezing.is_kept(place)


def test_entries_of_any_system_are_judged_by_their_place():
    entries = [("torch\\test\\a.py", "/s", "DATA"), ("torch\\lib\\a.dll", "/s", "BINARY")]
    assert freezing.kept(entries) == entries[1:]


def test_nothing_that_is_needed_is_excluded():
    needed = imported_packages(freezing.ROOT / "app")
    assert not {name for name in freezing.EXCLUDED if name in needed}
    ours = [path.read_text(encoding="utf-8") for path in (freezing.ROOT / "app").rglob("*.py")]
    for name in freezing.EXCLUDED:
        pattern = re.compile(
            rf"^\s*(import {re.escape(name)}|from {re.escape(name)}(\.\S+)? )\b", re.MULTILINE
        )
        assert not any(pattern.search(text) for text in ours), name


def test_modules_of_tests_are_left_out_of_walks():
    assert freezing.is_walked("nnunetv2.training.nnUNetTrainer.nnUNetTrainer")
    assert not freezing.is_walked("nnunetv2.tests.integration")
    assert not freezing.is_walked("batchgenerators.examples.brats2017")
