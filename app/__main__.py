"""The command `fednnunet`."""

from __future__ import annotations

import multiprocessing
import sys
from importlib import import_module

_WORKER = ["-m", "app.worker"]


def main() -> int:
    """Run the command line; a frozen program's workers and their helper processes branch off first.

    A frozen program has no Python beside it that would know `-m`, so it answers to the very words
    by which `app.jobs.runner` starts a worker elsewhere.
    """
    multiprocessing.freeze_support()
    if getattr(sys, "frozen", False) and sys.argv[1:3] == _WORKER:
        code: int = import_module("app.worker.__main__").main(sys.argv[3:])
        return code
    from app.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
