import hashlib
import json
import os
import re
import sys
import zipfile

import msgspec
import pytest

from app.domain.errors import ErrorCode, JobFailed, SetupProblem
from app.system import gpu_package
from app.system.gpu_package import (
    PACKAGE_VARIABLE,
    Card,
    Driver,
    GpuManifest,
    PackageRefused,
    activate,
    active_package,
    damaged_files,
    enter_package,
    find_driver,
    gpu_folder,
    remove,
    unpack,
    why_unfit,
)

CONTENT = {
    "torch/__init__.py": b"__version__ = '9.9.9+cu130'\n",
    "torch/lib/libtorch.so": bytes(range(256)) * 40,
    "nvidia/cu13/lib/libcudart.so.13": b"runtime",
}
DRIVER = Driver(version="580.95.05", cards=(Card(name="Card A", capability=(9, 0)),))


@pytest.fixture(autouse=True)
def _a_program_with_torch(monkeypatch):
    monkeypatch.setattr(gpu_package, "bundled_torch", lambda: "9.9.9")
    monkeypatch.delenv(PACKAGE_VARIABLE, raising=False)


def manifest(content=CONTENT, **changes):
    facts = {
        "format": 1,
        "torch": "9.9.9+cu130",
        "python": gpu_package.this_python(),
        "platform": gpu_package.this_platform(),
        "cuda": "13.0",
        "minimum_driver": "580.65.06",
        "minimum_capability": "7.5",
        "files": [
            {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for path, data in content.items()
        ],
    }
    return facts | changes


def write_package(path, *, content=CONTENT, described=None, extra=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("manifest.json", json.dumps(described or manifest(content)))
        for name, data in {**content, **(extra or {})}.items():
            zipped.writestr(f"files/{name}", data)
    return path


@pytest.fixture
def archive(tmp_path):
    return write_package(tmp_path / "a.fedgpu")


def fits(_):
    return None


def decoded(**changes) -> GpuManifest:
    return msgspec.convert(manifest(**changes), GpuManifest)


# Unpacking


def test_a_package_is_unpacked_and_used_once_it_is_chosen(archive, tmp_path):
    folder, told = tmp_path / "gpu", []
    package = unpack(archive, folder, judge=fits, progress=lambda *a: told.append(a))
    assert {path: (package / path).read_bytes() for path in CONTENT} == CONTENT
    size = sum(map(len, CONTENT.values()))
    assert told[-1] == (size, size, "unpacking the GPU package")
    assert damaged_files(package) == ()
    assert active_package(folder) is None
    activate(package)
    assert active_package(folder) == package


def test_what_an_interrupted_run_left_is_used_again(archive, tmp_path, monkeypatch):
    folder, calls = tmp_path / "gpu", []

    def stopped():
        calls.append(None)
        return len(calls) > 2

    with pytest.raises(JobFailed) as failure:
        unpack(archive, folder, judge=fits, stopped=stopped)
    assert failure.value.code is ErrorCode.JOB_STOPPED
    (incoming,) = folder.iterdir()
    kept = [path for path in incoming.rglob("*") if path.is_file()]
    assert len(kept) == 2
    (incoming / "torch/lib/libtorch.so").write_bytes(b"?" * len(CONTENT["torch/lib/libtorch.so"]))
    opened = []
    really = zipfile.ZipFile.open
    monkeypatch.setattr(
        zipfile.ZipFile, "open", lambda z, n, *a, **k: opened.append(n) or really(z, n, *a, **k)
    )
    package = unpack(archive, folder, judge=fits)
    written = {name for name in opened if isinstance(name, str)}
    # The intact file is kept, the damaged and the missing one are written.
    assert written == {"files/torch/lib/libtorch.so", "files/nvidia/cu13/lib/libcudart.so.13"}
    assert damaged_files(package) == ()
    assert [path.name for path in folder.iterdir()] == [package.name]


def test_unpacking_the_same_again_changes_nothing(archive, tmp_path):
    package = unpack(archive, tmp_path / "gpu", judge=fits)
    before = (package / "torch/__init__.py").stat().st_mtime_ns
    assert unpack(archive, tmp_path / "gpu", judge=fits) == package
    assert (package / "torch/__init__.py").stat().st_mtime_ns == before


def test_a_new_package_replaces_the_old_one_in_one_step(archive, tmp_path):
    folder = tmp_path / "gpu"
    old = unpack(archive, folder, judge=fits)
    activate(old)
    content = {**CONTENT, "torch/new.py": b""}
    new = unpack(write_package(tmp_path / "b.fedgpu", content=content), folder, judge=fits)
    assert active_package(folder) == old
    activate(new)
    assert active_package(folder) == new
    assert not old.exists()
    assert remove(folder)
    assert active_package(folder) is None
    assert not folder.exists()
    assert not remove(folder)


# Refusals


def altered(name, **changes):
    described = manifest()
    described["files"][0] |= changes
    return pytest.param(described, id=name)


@pytest.mark.parametrize(
    "described",
    [
        altered("outside", path="../torch/__init__.py"),
        altered("absolute", path="/torch/__init__.py"),
        altered("drive", path="C:/torch"),
        altered("backslash", path="..\\torch"),
        altered("manifest", path="manifest.json"),
        altered("dot", path="torch/./__init__.py"),
        altered("trailing dot", path="torch./__init__.py"),
        altered("control", path="torch/\n"),
        altered("same on windows", path="NVIDIA/cu13/lib/libcudart.so.13"),
        altered("negative", size=-1),
        altered("digest", sha256="0" * 63),
        pytest.param({**manifest(), "format": 2}, id="format"),
        pytest.param({**manifest(), "surprise": 1}, id="unknown"),
        pytest.param({**manifest(), "files": []}, id="empty"),
    ],
)
def test_a_hostile_manifest_is_refused_and_nothing_is_written(described, tmp_path):
    archive = write_package(tmp_path / "a.fedgpu", described=described)
    with pytest.raises(PackageRefused):
        unpack(archive, tmp_path / "gpu", judge=fits)
    assert not (tmp_path / "gpu").exists()


@pytest.mark.parametrize("extra", [{"torch/evil.py": b"x"}, {"../evil": b"x"}])
def test_a_file_that_the_manifest_does_not_name_is_refused(extra, tmp_path):
    archive = write_package(tmp_path / "a.fedgpu", extra=extra)
    with pytest.raises(PackageRefused, match="not those that its manifest names"):
        unpack(archive, tmp_path / "gpu", judge=fits)
    assert not (tmp_path / "evil").exists()


def test_a_changed_file_is_refused(tmp_path):
    changed = {**CONTENT, "nvidia/cu13/lib/libcudart.so.13": b"RUNTIME"}
    archive = write_package(tmp_path / "a.fedgpu", content=changed, described=manifest())
    with pytest.raises(PackageRefused, match=r"libcudart\.so\.13 is damaged"):
        unpack(archive, tmp_path / "gpu", judge=fits)
    assert active_package(tmp_path / "gpu") is None


def test_what_is_no_package_is_refused(archive, tmp_path):
    with pytest.raises(PackageRefused, match="no such file"):
        unpack(tmp_path / "nothing", tmp_path / "gpu", judge=fits)
    (tmp_path / "half").write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(PackageRefused, match="not copied to its end"):
        unpack(tmp_path / "half", tmp_path / "gpu", judge=fits)
    with zipfile.ZipFile(tmp_path / "other", "w") as zipped:
        zipped.writestr("readme", "hello")
    with pytest.raises(PackageRefused, match="no manifest"):
        unpack(tmp_path / "other", tmp_path / "gpu", judge=fits)
    with pytest.raises(PackageRefused, match="not for us"):
        unpack(archive, tmp_path / "gpu", judge=lambda _: "it is not for us")


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    archive, tmp_path, monkeypatch
):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(gpu_package.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SetupProblem, match=r"the disk has 0\.0 GB free") as problem:
        unpack(archive, tmp_path / "gpu", judge=fits)
    assert problem.value.code is ErrorCode.DISK_FULL


# Which package counts


def test_a_package_that_lacks_a_file_or_fits_no_more_counts_as_none(archive, tmp_path, monkeypatch):
    folder = tmp_path / "gpu"
    package = unpack(archive, folder, judge=fits)
    activate(package)
    monkeypatch.setattr(gpu_package, "bundled_torch", lambda: "10.0.0")
    assert active_package(folder) is None
    monkeypatch.setattr(gpu_package, "bundled_torch", lambda: "9.9.9")
    (package / "torch/lib/libtorch.so").unlink()
    assert active_package(folder) is None
    assert damaged_files(package) == ("torch/lib/libtorch.so",)
    (package / "manifest.json").write_text("{}")
    assert active_package(folder) is None
    (folder / "active.json").write_text('{"package": "../elsewhere"}')
    assert active_package(folder) is None


def test_a_starter_may_name_a_package(monkeypatch, tmp_path):
    monkeypatch.setenv(PACKAGE_VARIABLE, str(tmp_path))
    assert active_package(tmp_path / "gpu") == tmp_path
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert enter_package() == tmp_path
    assert enter_package() == tmp_path
    assert sys.path[0] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1
    assert enter_package({}) is None


def test_all_sites_of_a_user_share_one_package(tmp_path):
    with_home = gpu_folder(
        {"FEDNNUNET_HOME": "/site/a", "XDG_DATA_HOME": "/d", "LOCALAPPDATA": "/d"}
    )
    assert with_home == gpu_folder({"XDG_DATA_HOME": "/d", "LOCALAPPDATA": "/d"})
    assert with_home.name == "gpu"
    assert gpu_folder({"FEDNNUNET_GPU_FOLDER": str(tmp_path)}) == tmp_path


# Driver and cards


@pytest.mark.parametrize(
    ("changes", "driver", "reason"),
    [
        ({}, DRIVER, None),
        ({"minimum_driver": "580.95.05"}, DRIVER, None),
        ({}, None, "no NVIDIA driver"),
        ({"minimum_driver": "590.1"}, DRIVER, "version 580.95.05; the package needs 590.1"),
        ({"minimum_capability": "10.0"}, DRIVER, r"no code for .* \(Card A\)"),
        ({}, Driver(version="600", cards=()), r"no code for .* \(none\)"),
        ({"platform": "beos-ppc"}, DRIVER, "it is for beos-ppc"),
        ({"python": "3.9"}, DRIVER, "it is for Python 3.9"),
        ({"torch": "9.9.8+cu130"}, DRIVER, r"it holds PyTorch 9\.9\.8\+cu130"),
    ],
)
def test_a_package_is_judged_by_driver_card_and_program(changes, driver, reason):
    found = why_unfit(decoded(**changes), driver)
    if reason is None:
        assert found is None
    else:
        assert re.search(reason, found)


class Nvml:
    """A recording of a computer with two cards."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken, self.open = broken, 0

    def nvmlInit(self):  # noqa: N802
        if self.broken:
            raise RuntimeError("no driver")
        self.open += 1

    def nvmlShutdown(self):  # noqa: N802
        self.open -= 1

    def nvmlSystemGetDriverVersion(self):  # noqa: N802
        return b"580.95.05"

    def nvmlDeviceGetCount(self):  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return f"Card {handle}"

    def nvmlDeviceGetCudaComputeCapability(self, handle):  # noqa: N802
        return (8, handle)


def test_driver_and_cards_are_read_and_the_library_is_closed():
    nvml = Nvml()
    assert find_driver(nvml) == Driver(
        version="580.95.05",
        cards=(Card(name="Card 0", capability=(8, 0)), Card(name="Card 1", capability=(8, 1))),
    )
    assert nvml.open == 0
    assert find_driver(Nvml(broken=True)) is None


def test_the_tests_never_see_a_persons_package():
    assert os.environ["FEDNNUNET_GPU_FOLDER"] == os.devnull
    assert active_package() is None


def test_what_is_needed_before_there_is_a_file_is_what_the_builder_writes_into_one():
    from installer.gpu import LINUX

    needs = gpu_package.BUILT[LINUX.platform]
    assert (needs.driver, needs.capability) == (LINUX.minimum_driver, LINUX.minimum_capability)


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        (DRIVER, None),
        (None, "no NVIDIA graphics card answers; a card needs NVIDIA's driver, version 580.65.06"),
        (Driver(version="580.95.05", cards=()), "no NVIDIA graphics card answers"),
        (
            Driver(version="535.183.01", cards=DRIVER.cards),
            "the NVIDIA driver is version 535.183.01; the GPU package needs 580.65.06 or newer",
        ),
        (
            Driver(version="580.95.05", cards=(Card(name="Card B", capability=(6, 1)),)),
            "the graphics card is too old (Card B); the GPU package needs compute capability 7.5",
        ),
    ],
)
def test_why_no_package_can_be_used_is_said_before_there_is_a_file(driver, reason):
    said = gpu_package.why_no_card(driver, "linux-x86_64")
    assert said is None if reason is None else said.startswith(reason)


def test_a_platform_without_a_package_says_so():
    said = gpu_package.why_no_card(DRIVER, "windows-x86_64")
    assert said == "there is no GPU package for this kind of system yet (windows-x86_64)"


@pytest.mark.parametrize(
    ("torch", "where", "answer"),
    [
        ("2.13.0+cpu", "linux-x86_64", False),
        ("2.13.0+cu130", "linux-x86_64", True),
        ("2.13.0", "linux-x86_64", True),
        ("2.13.0", "windows-x86_64", False),
        ("2.13.0", "darwin-arm64", False),
    ],
)
def test_whether_the_program_itself_computes_on_cards(torch, where, answer):
    assert gpu_package.carries_cuda(torch, where) is answer


@pytest.mark.parametrize(
    ("driver", "carries", "in_use", "wanted"),
    [
        (DRIVER, False, None, True),
        (None, False, None, False),
        (DRIVER, True, None, False),
        (DRIVER, False, "package", False),
    ],
)
def test_a_package_is_wanted_where_a_card_lies_idle(monkeypatch, driver, carries, in_use, wanted):
    monkeypatch.setattr(gpu_package, "this_platform", lambda: "linux-x86_64")
    monkeypatch.setattr(gpu_package, "find_driver", lambda _nvml: driver)
    monkeypatch.setattr(gpu_package, "carries_cuda", lambda: carries)
    monkeypatch.setattr(gpu_package, "active_package", lambda: in_use)
    assert gpu_package.is_wanted() is wanted
