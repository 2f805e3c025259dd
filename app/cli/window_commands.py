"""Opening the window."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.cli.site_commands import home_of
from app.domain.errors import ErrorCode, SetupProblem


def open_window(parsed: argparse.Namespace) -> int:
    """Open the window on this user's site; an invitation file on the command line is shown first.

    With ``--attach`` it shows the site of another computer through a forwarded port.
    """
    try:
        from app.ui.quick_start import begin_start

        begin_start()
        from app.ui.main import main
    except ImportError as exc:
        raise SetupProblem(
            f"the window needs a library that is missing: {exc}", code=ErrorCode.MISSING_LIBRARY
        ) from exc
    home, forwarded = home_of(parsed), None
    if parsed.attach is not None:
        from app.control.address import ForwardedService

        if parsed.token_file is None:
            raise SetupProblem("--attach needs --token-file", code=ErrorCode.SETTING)
        forwarded = ForwardedService.parse(parsed.attach, parsed.token_file.absolute())
        # What a person notes about another computer's cases stays apart from this site's.
        home = home / "attached" / f"port-{forwarded.port}"
    with window_log(home):
        return main(home, invitation=parsed.invitation, theme=parsed.theme, forwarded=forwarded)


@contextmanager
def window_log(home: Path) -> Iterator[None]:
    """Keep what a window of `home` logs, and its last words, beside the service's."""
    from app.system.crash import watching_crashes
    from app.system.logs import start_logging, stop_logging

    folder = home / "logs"
    log = start_logging(folder, "window")
    try:
        with watching_crashes(folder, "window"):
            yield
    finally:
        stop_logging(log)
