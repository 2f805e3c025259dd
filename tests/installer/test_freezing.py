"""What the frozen program will hold: every module that runs, nothing that a program never opens."""

import importlib.metadata
import re
from pathlib import Path

import pytest

from installer import freezing
from installer.licences import normal_name
from installer.machine import SetupProblem


@pytest.mark.nnunet
@pytest.mark.window
def test_every_imported_package_belongs_to_a_collected_distribution():
    owners = importlib.metadata.packages_distributions()
    collected = set(freezing.runtime_distributions())
    missing = {}
    for package in sorted(
        freezing.imported_packages(freezing.ROOT / "app") - freezing.NEVER_CARRIED
    ):
        names = {normal_name(name) for name in owners.get(package, [])}
        if not names & collected:
            missing[package] = names
    assert not missing


@pytest.fixture
def program(tmp_path):
    """A program that imports in all the ways ours does."""
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "a.py").write_text(
        "import os, numpy.linalg\nfrom app.room import b\nfrom . import c\n"
        "def later():\n    from jeepney.io import x\n    import torch_directml\n"
    )
    (tmp_path / "b.py").write_text("if True:\n    import wakepy as awake\n")
    return tmp_path


def test_imports_are_seen_wherever_they_stand(program):
    assert freezing.imported_packages(program) == {
        "jeepney", "numpy", "torch_directml", "wakepy",
    }  # fmt: skip


def test_a_package_that_is_imported_but_not_collected_ends_the_build(program):
    collected = ["numpy", "numpy.linalg", "jeepney.io", "wakepy"]
    freezing.check_collected(collected, system="linux", root=program)
    with pytest.raises(SetupProblem, match=r"imports: wakepy$"):
        freezing.check_collected(collected[:-1], system="linux", root=program)
    with pytest.raises(SetupProblem, match=r"imports: jeepney, wakepy$"):
        freezing.check_collected(["numpy"], system="linux", root=program)


def test_what_is_for_one_system_is_not_asked_of_another(program):
    freezing.check_collected(["numpy", "wakepy"], system="win32", root=program)


@pytest.mark.parametrize("system", ["linux", "macos"])
def test_the_recipes_look_at_what_was_collected(system):
    text = (freezing.ROOT / "installer" / system / "fednnunet.spec").read_text(encoding="utf-8")
    compile(text, "fednnunet.spec", "exec")
    assert "freezing.check_collected(name for name, _, _ in analysis.pure)" in text


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
        "numpy-2.4.dist-info/METADATA",
        "keyring-25.7.dist-info/entry_points.txt",
        "torch/nn/functional.py",
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
        "numpy-2.4.dist-info/RECORD",
        "pydicom/data/test_files/dicomdirtests/98892003/MR1/4919",
        "resources/screenshots/home.png",
    ],
)
def test_what_it_never_opens_is_dropped(place):
    assert not freezing.is_kept(place)


def test_entries_of_any_system_are_judged_by_their_place():
    entries = [("torch\\test\\a.py", "/s", "DATA"), ("torch\\lib\\a.dll", "/s", "BINARY")]
    assert freezing.kept(entries) == entries[1:]


def test_nothing_that_is_needed_is_excluded():
    needed = freezing.imported_packages(freezing.ROOT / "app")
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


@pytest.mark.window
def test_the_sample_case_of_the_first_steps_is_kept():
    from app.ui.presenters.first_steps import sample_case

    paths, _ = sample_case()
    site = Path(paths.image).parents[1]
    for path in (paths.image, paths.reference, site / "dataset.json"):
        assert freezing.is_kept(Path(path).relative_to(freezing.ROOT).as_posix())
