"""The command line: `fednnunet` for the window, its sub-commands for servers and scripts.

Rooms are imported when their command runs, so `--help` is instant and a coordinator needs neither
Qt nor torch. Exit codes: 0 done, 1 failed or blocked, 2 misuse.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

DONE: Final = 0
FAILED: Final = 1
MISUSE: Final = 2


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors are told in plain words on stderr."""
    from app.cli.parser import parse
    from app.domain.errors import FednnunetError

    try:
        parsed = parse(arguments)
    except SystemExit as exc:  # argparse has told the user
        return DONE if exc.code in (None, 0) else MISUSE
    command: Callable[..., int] = parsed.command
    try:
        return command(parsed)
    except FednnunetError as exc:
        print(f"{exc}\n  What you can do: {exc.remedy}", file=sys.stderr)  # noqa: T201
        return FAILED
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)  # noqa: T201
        return FAILED
    except BrokenPipeError:
        return FAILED
