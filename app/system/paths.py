"""Where this program keeps its own things on each kind of computer."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

HOME_VARIABLE: Final = "FEDNNUNET_HOME"
WINDOW_SOCKET: Final = "window.socket"
"""In a site's home while a window shows it; a later start of the program calls that window."""
SITE_DATABASE: Final = "site.sqlite"
"""In a site's home once its service has run: whoever has one is no newcomer."""
_NAME: Final = "FednnU-Net"


def default_home(
    *,
    platform: str = sys.platform,
    environment: Mapping[str, str] | None = None,
    user: Path | None = None,
) -> Path:
    """Return the folder of this user's site service; it need not exist.

    ``FEDNNUNET_HOME`` wins; then ``%LOCALAPPDATA%`` on Windows, ``Application Support`` on macOS
    and the XDG data home elsewhere.
    """
    variables = os.environ if environment is None else environment
    named = variables.get(HOME_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    person = Path.home() if user is None else user
    if platform == "win32":
        local = variables.get("LOCALAPPDATA")
        return (Path(local) if local else person / "AppData" / "Local") / _NAME
    if platform == "darwin":
        return person / "Library" / "Application Support" / _NAME
    data = variables.get("XDG_DATA_HOME")
    # The XDG specification says that a relative path there is to be ignored.
    base = Path(data) if data and Path(data).is_absolute() else person / ".local" / "share"
    return base / "fednnunet"
