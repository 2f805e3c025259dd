"""Opening the window."""

from __future__ import annotations

import argparse

from app.cli.site_commands import home_of
from app.domain.errors import ErrorCode, SetupProblem


def open_window(parsed: argparse.Namespace) -> int:
    """Open the window on this user's site; an invitation file on the command line is shown first."""
    try:
        from app.ui.main import main
    except ImportError as exc:
        raise SetupProblem(
            f"the window needs a library that is missing: {exc}", code=ErrorCode.MISSING_LIBRARY
        ) from exc
    return main(home_of(parsed), invitation=parsed.invitation, theme=parsed.theme)
