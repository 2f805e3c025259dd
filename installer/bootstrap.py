"""Start here on a fresh machine: `python3 installer/bootstrap.py demo`.

    setup   make the environment .venv with the command fednnunet in it
    demo    the same, then run the sample study in a window (--headless: without one);
            what else is given goes on to `fednnunet demo`: --home, --json, --baselines ...
    test    the same, then run every check of the project;
            what else is given goes on to pytest: --slow, -k ...

Needs Python 3.11, 3.12 or 3.13 and nothing else. Every command can be interrupted and called again.
"""

# Nothing above main() may need a Python newer than 3.7: an old one gets a sentence, no traceback.
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from installer.environment import Recipe

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED_PYTHONS = ((3, 11), (3, 12), (3, 13))
TORCH_INDEX_VARIABLE = "FEDNNUNET_TORCH_INDEX"
RESTARTED_VARIABLE = "FEDNNUNET_SETUP_RESTARTED"


def restart_with_supported_python() -> int | None:
    """Run this command again with a Python that fits, if one is installed beside an unfit one.

    Returns that run's exit status, or None when this Python fits or no other does.
    """
    if sys.version_info[:2] in SUPPORTED_PYTHONS or RESTARTED_VARIABLE in os.environ:
        return None
    for major, minor in reversed(SUPPORTED_PYTHONS):
        command = [f"python{major}.{minor}"]
        if sys.platform == "win32":
            command = ["py", f"-{major}.{minor}"]
        try:
            # A version manager's shim may be on the path without the version behind it.
            probe = subprocess.run(
                [*command, "-c", ""],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
        except OSError:
            continue
        if probe.returncode == 0:
            print(f"starting again with {' '.join(command)}", flush=True)
            environment = {**os.environ, RESTARTED_VARIABLE: "1"}
            arguments = [str(Path(__file__).resolve()), *sys.argv[1:]]
            return subprocess.run([*command, *arguments], env=environment, check=False).returncode
    return None


# Arguments


def parse_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split what is ours from what goes on to `fednnunet demo` or pytest, in its order."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="bootstrap.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("setup", "make the environment and the command fednnunet"),
        ("demo", "set up, then run the sample study"),
        ("test", "set up, then run every check"),
    ):
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        which_torch = command.add_mutually_exclusive_group()
        which_torch.add_argument("--cpu", action="store_true", help="PyTorch without CUDA")
        which_torch.add_argument("--gpu", action="store_true", help="PyTorch with CUDA")
        command.add_argument(
            "--torch-index",
            metavar="URL",
            default=os.environ.get(TORCH_INDEX_VARIABLE) or None,
            help="look for PyTorch here too, e.g. for its CPU build on Linux, much the smaller one "
            f"(default: the variable {TORCH_INDEX_VARIABLE})",
        )
        command.add_argument(
            "--install-system-libraries",
            action="store_true",
            help="let apt-get install what Qt needs, with sudo; root need not ask",
        )
    options, rest = parser.parse_known_args(arguments)
    if options.command == "setup" and rest:
        parser.error(f"setup takes no {' '.join(rest)}")
    return options, rest


def choose_lock(
    options: argparse.Namespace, *, system: str, nvidia: bool, earlier: str | None
) -> str:
    """Return the name of the lock for this machine.

    On Linux that depends on the GPU: asked for on the command line, else what an earlier set-up
    took, else by whether there is an NVIDIA driver.
    """
    if system == "Windows":
        return "windows"
    if system == "Darwin":
        return "macos"
    if options.cpu or options.gpu:
        return "linux-cuda" if options.gpu else "linux-cpu"
    if earlier in ("linux-cpu", "linux-cuda"):
        return str(earlier)
    return "linux-cuda" if nvidia else "linux-cpu"


# Commands


def set_up(options: argparse.Namespace, *, needs_window: bool) -> Path:
    """Make ``.venv`` as it should be and return its folder.

    Raises:
        SetupProblem: the machine or the network does not allow it; the sentence is for the person.
    """
    import platform

    from installer import environment, machine

    here = machine.Machine.this_one()
    machine.check_machine(here)
    machine.say(
        f"Python {platform.python_version()} on {here.system} ({here.architecture}), folder {ROOT}"
    )
    manager = machine.PackageManager.of_this_machine()
    on_request = options.install_system_libraries
    if here.system == "Linux":
        package = machine.venv_package(sys.executable, here.python)
        machine.provide_ensurepip(manager, on_request=on_request, package=package)
        if needs_window:
            machine.provide_packages(machine.window_needs(), manager, on_request=on_request)
    folder = ROOT / ".venv"
    stamp = environment.read_stamp(folder)
    lock = choose_lock(
        options,
        system=here.system,
        nvidia=machine.has_nvidia_driver(),
        earlier=stamp.flavour if stamp else None,
    )
    torch_index = options.torch_index
    if torch_index is None and stamp is not None and stamp.flavour == lock:
        torch_index = stamp.torch_index
    fill(recipe_for(folder, lock, torch_index))
    return folder


def recipe_for(folder: Path, lock: str, torch_index: str | None = None) -> Recipe:
    from installer.environment import Recipe

    return Recipe(
        folder=folder,
        lock=ROOT / "installer" / "locks" / f"{lock}.txt",
        pyproject=ROOT / "pyproject.toml",
        torch_index=torch_index,
    )


def fill(recipe: Recipe) -> None:
    """Bring one environment to its recipe and say how long that took."""
    import time

    from installer import environment, machine

    started = time.monotonic()
    with environment.one_set_up_at_a_time(ROOT):
        changed = environment.set_up(recipe, environment.ProcessInstaller())
    took = f"ready after {time.monotonic() - started:.0f} s" if changed else "ready"
    machine.say(f"{recipe.folder.name}: {took}")


def run_setup(options: argparse.Namespace) -> int:
    from installer import environment, machine

    folder = set_up(options, needs_window=True)
    machine.say(f"The program is {environment.command_of(folder, 'fednnunet')}")
    return 0


def run_demo(options: argparse.Namespace, rest: list[str]) -> int:
    import platform

    from installer import environment, machine

    headless = "--headless" in rest
    if not headless and not machine.has_screen(os.environ, system=platform.system()):
        machine.say("no screen here (DISPLAY is not set): running with --headless")
        rest = ["--headless", *rest]
        headless = True
    folder = set_up(options, needs_window=not headless)
    return run_program([str(environment.command_of(folder, "fednnunet")), "demo", *rest])


def run_program(command: Sequence[str]) -> int:
    """Run the program in our place, so that signals and the terminal are its own.

    Windows cannot replace a process; there we wait for it.
    """
    sys.stdout.flush()
    if os.name != "nt":
        os.execv(command[0], list(command))  # noqa: S606 - no shell is what is wanted
    return subprocess.run(command, check=False).returncode


def run_test(options: argparse.Namespace, rest: list[str]) -> int:
    import platform
    import shutil

    from installer import checks, machine

    if platform.system() == "Linux" and shutil.which("Xvfb") is None:
        manager = machine.PackageManager.of_this_machine()
        screen = machine.PackageNeeds(debian_packages=("xvfb",))
        machine.say("Xvfb, the screen for window tests, is missing")
        machine.provide_packages(screen, manager, on_request=options.install_system_libraries)
    folder = set_up(options, needs_window=True)
    headless_folder = ROOT / ".venv-headless"
    fill(recipe_for(headless_folder, "headless"))
    outcomes = checks.run_checks(
        checks.project_checks(folder, headless_folder, rest), checks.run_in(ROOT)
    )
    machine.say(checks.summary(outcomes))
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it worked, 1 when it did not, 2 when it was called wrongly."""
    restarted = restart_with_supported_python()
    if restarted is not None:
        return restarted
    if sys.version_info[:2] not in SUPPORTED_PYTHONS:
        print(f"this is Python {sys.version_info[0]}.{sys.version_info[1]}", file=sys.stderr)
        print("install Python 3.11, 3.12 or 3.13 and start this with it", file=sys.stderr)
        return 1
    # Started as a file, Python looks for modules beside it; `installer` lies one folder up.
    sys.path.insert(0, str(ROOT))
    from installer.machine import SetupProblem

    options, rest = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    try:
        if options.command == "setup":
            return run_setup(options)
        if options.command == "demo":
            return run_demo(options, rest)
        return run_test(options, rest)
    except SetupProblem as problem:
        print(f"\n{problem}\n{problem.remedy}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
