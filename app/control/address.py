"""How a client finds a service on this computer: a file that only this user can read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from app.domain.errors import ErrorCode, SetupProblem
from app.system.locks import Holder

ADDRESS_FILE: Final = "control.json"
HOST: Final = "127.0.0.1"
LARGEST_SNAPSHOT: Final = 256 << 20
_LARGEST_TOKEN: Final = 4096


class ServiceAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a service listens, its secret, and which process wrote it."""

    port: int
    token: str
    holder: Holder


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardedService:
    """A service of another computer whose port is forwarded to this one (``ssh -L``).

    `token_file` is a copy of that service's ``control.json``, or holds just its token. It is read
    at every connect: a service that was started again has another token.
    """

    port: int
    token_file: Path

    @classmethod
    def parse(cls, address: str, token_file: Path) -> ForwardedService:
        """Read “127.0.0.1:7777”; the token never travels in the open, so no other host is dialled.

        Raises:
            SetupProblem: it is no such address.
        """
        host, _, port = address.rpartition(":")
        if host not in (HOST, "localhost") or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise SetupProblem(
                f"“{address[:80]}” is no forwarded port; it must look like {HOST}:7777 "
                f"(forward it with: ssh -L 7777:{HOST}:PORT SERVER)",
                code=ErrorCode.SETTING,
            )
        return cls(port=int(port), token_file=token_file)

    def token(self) -> str:
        """Return the service's token; raises SetupProblem when the file does not hold one."""
        try:
            text = self.token_file.read_bytes()[:_LARGEST_TOKEN].decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise SetupProblem(
                f"{self.token_file} cannot be read: copy the service's {ADDRESS_FILE} there",
                code=ErrorCode.NO_PERMISSION,
            ) from exc
        if text.startswith("{"):
            try:
                return msgspec.json.decode(text, type=ServiceAddress).token
            except msgspec.DecodeError as exc:
                raise SetupProblem(f"{self.token_file} is no {ADDRESS_FILE}") from exc
        return text


def authorization(token: str) -> str:
    """Return the value of the Authorization header that opens a service."""
    return f"Bearer {token}"


def read_address(home: Path) -> ServiceAddress | None:
    """Return where the last service of `home` listens or listened; it may have crashed since."""
    try:
        return msgspec.json.decode((home / ADDRESS_FILE).read_bytes(), type=ServiceAddress)
    except (OSError, msgspec.DecodeError):
        return None


def find_service(home: Path) -> ServiceAddress | None:
    """Return where the living service of `home` listens, None when none runs."""
    address = read_address(home)
    return address if address is not None and address.holder.alive else None
