"""The command `fednnunet`."""

from __future__ import annotations

import multiprocessing
import sys


def main() -> int:
    """Run the command line; a frozen worker's helper processes branch off first."""
    multiprocessing.freeze_support()
    from app.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
