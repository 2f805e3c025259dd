"""How a client finds a service on this computer: a file that only this user can read."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from app.system.locks import Holder

ADDRESS_FILE: Final = "control.json"
HOST: Final = "127.0.0.1"


class ServiceAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a service listens, its secret, and which process wrote it."""

    port: int
    token: str
    holder: Holder


def authorization(token: str) -> str:
    """Return the value of the Authorization header that opens a service."""
    return f"Bearer {token}"


def find_service(home: Path) -> ServiceAddress | None:
    """Return where the living service of `home` listens, None when none runs."""
    try:
        address = msgspec.json.decode((home / ADDRESS_FILE).read_bytes(), type=ServiceAddress)
    except (OSError, msgspec.DecodeError):
        return None
    return address if address.holder.alive else None
