"""Write the lock files in ``installer/locks``: every package with its exact version, per platform.

    python3 installer/lock.py              keep the pins that still fit pyproject.toml
    python3 installer/lock.py --upgrade    take the newest versions

uv resolves (pip would read the markers of the machine it runs on, uv those of the target). It is
installed into a throw-away environment; the locks do not depend on the machine that writes them.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
LOCKS: Final = ROOT / "installer" / "locks"
# The oldest Python we support; packages for it are a superset of those for newer ones.
PYTHON_VERSION: Final = "3.11"
UV_REQUIREMENT: Final = "uv>=0.9"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """One lock file: for whom it is and how uv is asked for it.

    ``without_cuda`` leaves out the NVIDIA libraries which torch names on Linux: its CPU build, which
    carries the same public version, takes none of them.
    """

    name: str
    audience: str
    extras: tuple[str, ...]
    uv_arguments: tuple[str, ...]
    leave_out: tuple[str, ...] = ()
    without_cuda: bool = False
    environment: tuple[tuple[str, str], ...] = ()


EVERYTHING: Final = ("window", "worker", "test")
LOCK_FILES: Final = (
    Lock(
        name="linux-cpu",
        audience="Linux on x86-64 without an NVIDIA GPU",
        extras=EVERYTHING,
        # uv's own 'linux' is older than what PySide6 is built for.
        uv_arguments=("--python-platform", "x86_64-manylinux_2_34"),
        without_cuda=True,
    ),
    Lock(
        name="linux-cuda",
        audience="Linux on x86-64 with an NVIDIA GPU",
        extras=EVERYTHING,
        uv_arguments=("--python-platform", "x86_64-manylinux_2_34"),
    ),
    Lock(
        name="windows",
        audience="Windows 10 or newer on x86-64",
        extras=EVERYTHING,
        uv_arguments=("--python-platform", "windows"),
    ),
    Lock(
        name="macos",
        audience="macOS 14 or newer on Apple silicon",
        extras=EVERYTHING,
        uv_arguments=("--python-platform", "aarch64-apple-darwin"),
        environment=(("MACOSX_DEPLOYMENT_TARGET", "14.0"),),
    ),
    Lock(
        name="headless",
        audience="any platform: the headless test environment, without PySide6 and torch",
        extras=("test",),
        uv_arguments=("--universal",),
        leave_out=("pytest-qt",),
    ),
)

PIN: Final = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)(?P<marker>\s*;[^#]*)?")
# Only torch asks for these. nvidia-ml-py, which reads the load of a GPU, is ours and small.
CUDA_PACKAGE: Final = re.compile(r"^(nvidia-(?!ml-py$)|cuda-|triton$)")


def tidy(resolved: str, lock: Lock) -> str:
    """Turn uv's output into the text of a lock file: a heading, then pins without local labels."""
    lines = [
        f"# For {lock.audience}.",
        "# Written by `python3 installer/lock.py`; edit pyproject.toml and run it again.",
    ]
    for line in resolved.splitlines():
        pin = PIN.match(line)
        if pin is None:
            continue
        name, version = pin["name"], pin["version"]
        if lock.without_cuda and CUDA_PACKAGE.match(name):
            continue
        public_version = version.partition("+")[0]
        lines.append(f"{name}=={public_version}{(pin['marker'] or '').rstrip()}")
    return "\n".join(lines) + "\n"


def resolve(uv: Path, lock: Lock, *, upgrade: bool, scratch: Path) -> str:
    """Ask uv for the pins of ``lock``.

    Raises:
        subprocess.CalledProcessError: uv found no set of versions that fits.
    """
    target = LOCKS / f"{lock.name}.txt"
    output = scratch / target.name
    if target.exists():
        # uv keeps the versions it finds in its output file wherever they still fit.
        output.write_text(target.read_text(encoding="utf-8"), encoding="utf-8")
    command = [str(uv), "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    command += ["--python-version", PYTHON_VERSION, *lock.uv_arguments]
    command += [f"--extra={extra}" for extra in lock.extras]
    command += [f"--no-emit-package={name}" for name in lock.leave_out]
    command += ["--upgrade"] if upgrade else []
    command += ["--output-file", str(output), "pyproject.toml", "installer/locks/tools.in"]
    environment = {**os.environ, **dict(lock.environment)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return tidy(output.read_text(encoding="utf-8"), lock)


def install_uv(folder: Path) -> Path:
    """Make a throw-away environment with uv in it and return uv's path."""
    venv.create(folder, with_pip=True)
    binaries = folder / ("Scripts" if sys.platform == "win32" else "bin")
    python = binaries / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", UV_REQUIREMENT], check=True)
    return binaries / "uv"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the lock files.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    parser.add_argument("--uv", type=Path, help="use this uv instead of installing one")
    parser.add_argument("names", nargs="*", help="only these locks, e.g. linux-cpu")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - {lock.name for lock in LOCK_FILES}
    if unknown:
        parser.error(f"no such lock: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        uv = options.uv or install_uv(scratch / "uv")
        for lock in LOCK_FILES:
            if options.names and lock.name not in options.names:
                continue
            text = resolve(uv, lock, upgrade=options.upgrade, scratch=scratch)
            (LOCKS / f"{lock.name}.txt").write_text(text, encoding="utf-8")
            print(f"{lock.name}: {text.count('==')} packages")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
