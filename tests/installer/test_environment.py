from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from installer import environment
from installer.environment import FolderState, Recipe, Stamp
from installer.machine import SetupProblem

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


class FakeInstaller:
    """Plays venv and pip: notes the calls, answers with exit statuses, raises when told to.

    A fake environment looks like a real one to all that reads its folder.
    """

    def __init__(self, *pip_statuses: int | BaseException) -> None:
        self.calls: list[list[str]] = []
        self.pauses: list[float] = []
        self.made = 0
        self._pip_statuses = list(pip_statuses)

    def make_environment(self, folder: Path) -> int:
        self.made += 1
        make_venv_like(folder)
        return 0

    def pip(self, folder: Path, arguments: Sequence[str]) -> int:
        self.calls.append(list(arguments))
        status = self._pip_statuses.pop(0) if self._pip_statuses else 0
        if isinstance(status, BaseException):
            raise status
        return status

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


def make_venv_like(folder: Path) -> None:
    scripts = environment.scripts_of(folder)
    scripts.mkdir(parents=True, exist_ok=True)
    environment.site_packages_of(folder).mkdir(parents=True, exist_ok=True)
    (folder / "pyvenv.cfg").write_text(f"command = /usr/bin/python3 -m venv {folder}\n")
    python = environment.python_of(folder)
    python.write_text(f"#!/bin/sh\necho {VERSION}\n")
    python.chmod(0o755)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A project with a space in its path."""
    root = tmp_path / "my project"
    root.mkdir()
    (root / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (root / "linux-cpu.txt").write_text(
        "# For Linux.\npip==26.3\nnumpy==2.4.6\nsetuptools==84.0\ntorch==2.13.0\ntorchvision==0.28.0\n"
    )
    return Recipe(
        folder=root / ".venv", lock=root / "linux-cpu.txt", pyproject=root / "pyproject.toml"
    )


def add_package(folder: Path, name: str, *, files: Sequence[str], record: bool = True) -> Path:
    site_packages = environment.site_packages_of(folder)
    info = site_packages / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: {name}\n")
    for file in files:
        (site_packages / file).parent.mkdir(parents=True, exist_ok=True)
        (site_packages / file).touch()
    if record:
        lines = [f"{file},sha256=x,1" for file in files]
        lines += [f"{info.name}/RECORD,,", f"{name}/__pycache__/x.pyc,,"]
        (info / "RECORD").write_text("\n".join(lines) + "\n")
    return info


# Stamps


def test_a_fresh_set_up_installs_tools_lock_and_project_in_this_order(recipe: Recipe):
    installer = FakeInstaller()
    assert environment.set_up(recipe, installer)
    assert installer.made == 1
    tools, lock, check, project = installer.calls
    assert tools == ["install", "--no-deps", "pip==26.3", "setuptools==84.0"]
    assert lock == ["install", "--no-deps", "--no-build-isolation", "-r", str(recipe.lock)]
    assert check == ["check"]
    assert project[-2:] == ["--editable", str(recipe.pyproject.parent)]
    assert environment.read_stamp(recipe.folder) == Stamp(
        digest=recipe.digest(), flavour="linux-cpu", torch_index=None
    )


def test_a_second_set_up_runs_nothing(recipe: Recipe):
    environment.set_up(recipe, FakeInstaller())
    second = FakeInstaller()
    assert not environment.set_up(recipe, second)
    assert (second.made, second.calls) == (0, [])


@pytest.mark.parametrize("file", ["lock", "pyproject"])
def test_a_changed_lock_or_pyproject_installs_again_in_the_same_environment(
    recipe: Recipe, file: str
):
    environment.set_up(recipe, FakeInstaller())
    path: Path = getattr(recipe, file)
    path.write_text(path.read_text() + "# changed\n")
    second = FakeInstaller()
    assert environment.set_up(recipe, second)
    assert second.made == 0
    assert len(second.calls) == 4
    assert not environment.set_up(recipe, FakeInstaller())


def test_the_digest_tells_where_one_file_ends(recipe: Recipe):
    before = recipe.digest()
    lock, pyproject = recipe.lock.read_bytes(), recipe.pyproject.read_bytes()
    recipe.lock.write_bytes(lock + pyproject[:3])
    recipe.pyproject.write_bytes(pyproject[3:])
    assert recipe.digest() != before


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"digest": "x"}', "\x00", '"text"'])
def test_a_damaged_stamp_is_no_stamp(tmp_path: Path, text: str):
    (tmp_path / environment.STAMP_NAME).write_text(text)
    assert environment.read_stamp(tmp_path) is None


# Interruptions


@pytest.mark.parametrize("call", range(4))
def test_an_interruption_at_any_step_leaves_no_stamp_and_is_made_up_for(recipe: Recipe, call: int):
    interrupted = FakeInstaller(*[0] * call, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        environment.set_up(recipe, interrupted)
    assert environment.read_stamp(recipe.folder) is None
    second = FakeInstaller()
    assert environment.set_up(recipe, second)
    # The environment is kept with all that was downloaded into it.
    assert second.made == 0
    assert len(second.calls) == 4


def test_an_interruption_while_updating_takes_the_old_stamp_away(recipe: Recipe):
    environment.set_up(recipe, FakeInstaller())
    recipe.lock.write_text(recipe.lock.read_text() + "scipy==1\n")
    with pytest.raises(KeyboardInterrupt):
        environment.set_up(recipe, FakeInstaller(0, KeyboardInterrupt()))
    recipe.lock.write_text(recipe.lock.read_text().replace("scipy==1\n", ""))
    assert environment.set_up(recipe, FakeInstaller())


def test_packages_installed_in_part_are_installed_again(recipe: Recipe, capsys):
    make_venv_like(recipe.folder)
    whole = add_package(recipe.folder, "whole", files=["whole/__init__.py"])
    torn = add_package(recipe.folder, "torn", files=["torn/__init__.py", "torn/core.py"])
    (torn.parent / "torn" / "core.py").unlink()
    unrecorded = add_package(recipe.folder, "unrecorded", files=["u.py"], record=False)
    aside = whole.parent / "~orch"
    aside.mkdir()
    environment.set_up(recipe, FakeInstaller())
    assert whole.exists()
    assert not torn.exists()
    assert not unrecorded.exists()
    assert not aside.exists()
    assert "installed only in part, again: torn, unrecorded" in capsys.readouterr().out


# What lies in the folder


def test_the_states_of_a_folder(tmp_path: Path):
    folder = tmp_path / ".venv"
    assert environment.folder_state(folder) is FolderState.MISSING
    folder.mkdir()
    assert environment.folder_state(folder) is FolderState.MISSING
    (folder / "bin").mkdir()
    (folder / "include").mkdir()
    assert environment.folder_state(folder) is FolderState.BROKEN, "venv was interrupted"
    make_venv_like(folder)
    assert environment.folder_state(folder) is FolderState.USABLE
    environment.python_of(folder).write_text("#!/bin/sh\necho 3.9\n")
    assert environment.folder_state(folder) is FolderState.BROKEN, "another Python"
    environment.python_of(folder).unlink()
    assert environment.folder_state(folder) is FolderState.BROKEN, "its Python was removed"


def test_a_moved_environment_is_made_anew(recipe: Recipe):
    environment.set_up(recipe, FakeInstaller())
    moved = recipe.pyproject.parent.rename(recipe.pyproject.parent.parent / "elsewhere")
    recipe = Recipe(
        folder=moved / ".venv", lock=moved / "linux-cpu.txt", pyproject=moved / "pyproject.toml"
    )
    assert environment.folder_state(recipe.folder) is FolderState.BROKEN
    second = FakeInstaller()
    environment.set_up(recipe, second)
    assert second.made == 1


def test_a_folder_that_is_no_environment_is_left_alone(recipe: Recipe):
    recipe.folder.mkdir()
    (recipe.folder / "thesis.docx").touch()
    installer = FakeInstaller()
    with pytest.raises(SetupProblem, match="in the way") as caught:
        environment.set_up(recipe, installer)
    assert "move it elsewhere" in caught.value.remedy
    assert (recipe.folder / "thesis.docx").exists()
    assert installer.calls == []


def test_a_file_in_the_way_is_left_alone(recipe: Recipe):
    recipe.folder.write_text("mine")
    with pytest.raises(SetupProblem, match="in the way"):
        environment.set_up(recipe, FakeInstaller())
    assert recipe.folder.read_text() == "mine"


# pip fails


def test_pip_is_tried_again_and_then_with_dependencies(recipe: Recipe):
    installer = FakeInstaller(0, 1, 0)
    assert environment.set_up(recipe, installer)
    assert installer.calls[1][:2] == ["install", "--no-deps"]
    assert installer.calls[2] == ["install", "-r", str(recipe.lock)]
    assert installer.pauses == [environment.PAUSE_BETWEEN_ATTEMPTS_S]


def test_pip_that_fails_every_time_is_a_problem_with_a_remedy(recipe: Recipe):
    installer = FakeInstaller(*[1] * environment.ATTEMPTS)
    with pytest.raises(SetupProblem, match="pip could not install") as caught:
        environment.set_up(recipe, installer)
    assert "run the same command again" in caught.value.remedy
    assert len(installer.calls) == environment.ATTEMPTS
    assert environment.read_stamp(recipe.folder) is None


def test_a_damaged_project_is_not_blamed_on_the_network(recipe: Recipe):
    installer = FakeInstaller(0, 0, 0, 1)
    with pytest.raises(SetupProblem, match="could not be installed into") as caught:
        environment.set_up(recipe, installer)
    assert "fresh copy" in caught.value.remedy
    assert len(installer.calls) == 4


def test_what_the_lock_lacks_for_this_machine_is_added(recipe: Recipe):
    installer = FakeInstaller(0, 0, 1)
    assert environment.set_up(recipe, installer)
    assert installer.calls[2] == ["check"]
    assert installer.calls[3] == ["install", "-r", str(recipe.lock)]


def test_a_full_disk_is_said_before_anything_is_made(recipe: Recipe, monkeypatch):
    usage = environment.shutil.disk_usage(recipe.lock.parent)._replace(free=10_000_000)
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _folder: usage)
    installer = FakeInstaller()
    with pytest.raises(SetupProblem, match=r"0\.0 GB free"):
        environment.set_up(recipe, installer)
    assert (installer.made, installer.calls) == (0, [])


# Which torch


def test_an_index_for_torch_is_handed_to_every_install(recipe: Recipe):
    installer = FakeInstaller()
    with_index = Recipe(
        folder=recipe.folder,
        lock=recipe.lock,
        pyproject=recipe.pyproject,
        torch_index="https://wheels.invalid/cpu",
    )
    environment.set_up(with_index, installer)
    option = "--extra-index-url=https://wheels.invalid/cpu"
    assert [option in call for call in installer.calls] == [True, True, False, False]


def test_another_build_of_torch_takes_the_old_one_out_first(recipe: Recipe):
    environment.set_up(recipe, FakeInstaller())
    cuda = recipe.lock.with_name("linux-cuda.txt")
    cuda.write_text(recipe.lock.read_text())
    installer = FakeInstaller()
    environment.set_up(
        Recipe(folder=recipe.folder, lock=cuda, pyproject=recipe.pyproject), installer
    )
    assert installer.calls[0] == ["uninstall", "--yes", "--quiet", "torch", "torchvision"]


def test_pins_are_found_by_whole_names(recipe: Recipe):
    text = recipe.lock.read_text()
    assert environment.pinned(text, ["torch"]) == ["torch==2.13.0"]
    assert environment.pinned(text, ["absent"]) == []


# The real installer's surroundings


def test_settings_that_would_mislead_pip_are_taken_out():
    child = environment.child_environment(
        {"PIP_TARGET": "/x", "PYTHONPATH": "/y", "PIP_USER": "1", "PIP_CERT": "/c", "PATH": "/bin"}
    )
    assert "PIP_TARGET" not in child
    assert "PYTHONPATH" not in child
    assert child["PIP_USER"] == "0"
    assert child["PIP_CERT"] == "/c"
    assert child["PATH"] == "/bin"


def test_large_downloads_are_told_and_small_ones_not(capsys):
    report = environment.PipReport(on_terminal=False)
    for line in (
        "Collecting torch==2.13.0",
        "  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (191.8 MB)",
        "  Downloading idna-3.20-py3-none-any.whl (70 kB)",
        "Collecting nvidia-cublas==13.1",
        "  Downloading nvidia_cublas-13.1-py3-none-manylinux_2_27_x86_64.whl (1.1 GB)",
        *(f"Collecting package-{number}==1" for number in range(10)),
        "Installing collected packages: torch, idna",
    ):
        report.take(line)
    report.close(failed=False)
    assert capsys.readouterr().out.splitlines() == [
        "    downloading torch-2.13.0 (191.8 MB)",
        "    downloading nvidia_cublas-13.1 (1.1 GB)",
        "    unpacking",
    ]


def test_the_last_lines_are_shown_when_pip_fails(capsys):
    report = environment.PipReport(on_terminal=False)
    for number in range(100):
        report.take(f"line {number}")
    report.close(failed=True)
    printed = capsys.readouterr().out
    assert "line 99" in printed
    assert "line 12" not in printed


def test_a_real_environment_is_recognised_and_repaired(tmp_path: Path):
    """One real venv: made, seen as usable, robbed of its pip, seen as broken."""
    folder = tmp_path / "with space" / ".venv"
    assert environment.ProcessInstaller().make_environment(folder) == 0
    assert environment.folder_state(folder) is FolderState.USABLE
    assert environment.forget_half_installed(environment.site_packages_of(folder)) == []
    assert environment.ProcessInstaller().pip(folder, ["check"]) == 0
    for info in environment.site_packages_of(folder).glob("pip*"):
        info.rename(info.with_name("moved-" + info.name))
    assert environment.folder_state(folder) is FolderState.BROKEN


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_two_set_ups_wait_for_each_other(tmp_path: Path):
    program = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from installer.environment import one_set_up_at_a_time\n"
        "with one_set_up_at_a_time(Path(sys.argv[2])):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program, str(root), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        entered = threading.Event()

        def second() -> None:
            with environment.one_set_up_at_a_time(tmp_path):
                entered.set()

        waiting = threading.Thread(target=second)
        waiting.start()
        assert not entered.wait(0.3)
        # Killed, not closed: the lock goes with the process.
        holder.kill()
        assert entered.wait(10)
        waiting.join()


def test_the_stamp_is_never_half_written(tmp_path: Path):
    stamp = Stamp(digest="d", flavour="linux-cpu", torch_index=None)
    environment.write_stamp(tmp_path, stamp)
    assert [path.name for path in tmp_path.iterdir()] == [environment.STAMP_NAME]
    assert json.loads((tmp_path / environment.STAMP_NAME).read_text())["digest"] == "d"
