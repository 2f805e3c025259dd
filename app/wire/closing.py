"""Why a session was closed, as websocket close codes that both ends know."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app.domain.errors import ErrorCode


class Closing(enum.IntEnum):
    """Private close codes (RFC 6455, 7.4.2)."""

    PROTOCOL = 4400
    NOT_AUTHENTICATED = 4401
    REVOKED = 4403
    REPLACED = 4408
    CONFLICT = 4409
    VERSION = 4426
    BUSY = 4429

    @property
    def final(self) -> bool:
        """Whether trying again cannot help until a person has done something."""
        return self in _FINAL


_FINAL: Final = frozenset(
    {Closing.NOT_AUTHENTICATED, Closing.REVOKED, Closing.CONFLICT, Closing.VERSION}
)

OF_CODE: Final[Mapping[ErrorCode, Closing]] = MappingProxyType(
    {
        ErrorCode.REVOKED: Closing.REVOKED,
        ErrorCode.VERSION: Closing.VERSION,
        ErrorCode.REFUSED: Closing.NOT_AUTHENTICATED,
        ErrorCode.INVITATION: Closing.NOT_AUTHENTICATED,
        ErrorCode.INVITATION_USED: Closing.NOT_AUTHENTICATED,
        ErrorCode.INVITATION_EXPIRED: Closing.NOT_AUTHENTICATED,
        ErrorCode.STUDY_STATE: Closing.CONFLICT,
    }
)


def closing_of(code: ErrorCode) -> Closing:
    """Return the close code that goes with an error; anything unforeseen may be tried again."""
    return OF_CODE.get(code, Closing.PROTOCOL)


def code_of(closing: int) -> ErrorCode:
    """Return the error that a final close code means when no `Refusal` came before it."""
    match closing:
        case Closing.REVOKED:
            return ErrorCode.REVOKED
        case Closing.VERSION:
            return ErrorCode.VERSION
        case Closing.CONFLICT:
            return ErrorCode.STUDY_STATE
        case _:
            return ErrorCode.REFUSED


def named(code: str) -> ErrorCode:
    """Return the error code that a peer named; PROTOCOL when it is none of ours."""
    try:
        return ErrorCode(code)
    except ValueError:
        return ErrorCode.PROTOCOL
