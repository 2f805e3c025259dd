"""A note on the desktop through D-Bus, for desktops without a tray (the freedesktop specification).

Other systems have a tray; there and without a session bus nothing is sent and the caller is told.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

logger = logging.getLogger(__name__)

_TIMEOUT_S: Final = 5.0
_NAME: Final = "org.freedesktop.Notifications"
_PATH: Final = "/org/freedesktop/Notifications"
_NORMAL, _CRITICAL = 1, 2
_BY_THE_SERVER: Final = -1
"""How long a note stays is the desktop's affair."""


def send_note(title: str, body: str, *, program: str, icon: str, urgent: bool = False) -> bool:
    """Show a note; True when the desktop has taken it. Waits up to some seconds: not for Qt's thread.

    `icon` is a file or the name of an icon. `body` is shown as plain text by every desktop as long
    as it holds no markup, which notes of ours never do.
    """
    if sys.platform != "linux" or not os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return False
    # Imported here: a note is rare, and other systems have no D-Bus.
    from jeepney import DBusAddress, DBusErrorResponse, new_method_call
    from jeepney.io.blocking import open_dbus_connection
    from jeepney.wrappers import unwrap_msg

    address = DBusAddress(_PATH, bus_name=_NAME, interface=_NAME)
    hints = {
        "urgency": ("y", _CRITICAL if urgent else _NORMAL),
        "desktop-entry": ("s", "fednnunet"),
    }
    call = new_method_call(
        address,
        "Notify",
        "susssasa{sv}i",
        (program, 0, icon, title, body, [], hints, _BY_THE_SERVER),
    )
    try:
        with open_dbus_connection(bus="SESSION") as connection:
            reply = connection.send_and_get_reply(call, timeout=_TIMEOUT_S)
            unwrap_msg(reply)
    except (OSError, TimeoutError, EOFError, ValueError, KeyError, DBusErrorResponse) as exc:
        logger.info("the desktop takes no notes: %s", type(exc).__name__)
        return False
    return True
