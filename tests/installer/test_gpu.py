import json
import zipfile

import pytest

from app.system.gpu_package import damaged_files, unpack
from installer import gpu
from installer.gpu import LINUX, pack, packed_files, torch_version, wanted_packages
from installer.machine import SetupProblem
from installer.manifest import digest_of


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    for path, text in {
        "torch/version.py": "from x import y\n__version__ = '2.13.0+cu130'\n",
        "torch/lib/libtorch_cuda.so": "kernels",
        "torch/bin/torch_shm_manager": "needed",
        "torch/include/a.h": "dropped",
        "torch/__pycache__/version.pyc": "dropped",
        "nvidia/cu13/lib/libcudart.so.13": "runtime",
        "bin/torchrun": "dropped",
    }.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder


def test_the_program_unpacks_what_the_builder_packs(tree, tmp_path):
    target = tmp_path / LINUX.file_name
    pack(tree, target, flavour=LINUX, made=1_700_000_000)
    seen = []
    package = unpack(target, tmp_path / "gpu", judge=seen.append)
    assert damaged_files(package) == ()
    assert {file.path for file in seen[0].files} == {
        "torch/version.py",
        "torch/lib/libtorch_cuda.so",
        "torch/bin/torch_shm_manager",
        "nvidia/cu13/lib/libcudart.so.13",
    }
    assert (seen[0].torch, seen[0].cuda) == ("2.13.0+cu130", "13.0")
    assert seen[0].minimum_driver == "580.65.06"


def test_two_packages_of_one_tree_are_the_same_bytes(tree, tmp_path):
    for name in ("a", "b"):
        pack(tree, tmp_path / name, flavour=LINUX, made=1_700_000_000)
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b")


def test_the_manifest_comes_first_so_that_a_copy_can_be_judged_early(tree, tmp_path):
    pack(tree, tmp_path / "a", flavour=LINUX, made=1_700_000_000)
    with zipfile.ZipFile(tmp_path / "a") as zipped:
        assert zipped.namelist()[0] == "manifest.json"
        assert json.loads(zipped.read("manifest.json"))["platform"] == "linux-x86_64"


def test_a_tree_without_torch_or_with_links_is_refused(tree):
    (tree / "torch" / "link").symlink_to("version.py")
    with pytest.raises(SetupProblem, match="torch/link is a link"):
        packed_files(tree)
    (tree / "torch" / "version.py").unlink()
    with pytest.raises(SetupProblem, match="holds no PyTorch"):
        torch_version(tree)


def test_the_package_holds_what_the_cpu_build_lacks_and_torch():
    wanted = wanted_packages()
    assert {"torch", "triton", "nvidia-cudnn-cu13", "nvidia-cublas", "nvidia-nccl-cu13"} <= set(
        wanted
    )
    assert not {"nvidia-ml-py", "numpy", "nnunetv2", "pytest", "torchvision"} & set(wanted)


def test_one_command_packs_a_folder(tree, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FEDNNUNET_GPG_KEY", raising=False)
    words = ["--tree", str(tree), "--out", str(tmp_path / "o"), "--work", str(tmp_path / "w")]
    assert gpu.main(words) == 0
    target = tmp_path / "o" / LINUX.file_name
    sums = (tmp_path / "o" / "SHA256SUMS.gpu").read_text()
    assert sums == f"{digest_of(target)}  {target.name}\n"
    assert "NOT SIGNED" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_real_packages_can_be_had(tmp_path):
    assert gpu.main(["--out", str(tmp_path / "o"), "--work", str(tmp_path / "w")]) == 0
    assert (tmp_path / "o" / LINUX.file_name).stat().st_size > 1e9
