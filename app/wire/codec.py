"""Messages as bytes: msgpack, strict, bounded. The only place that meets bytes of a peer."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from app.domain.errors import ErrorCode, OurMistake, PeerMistake, safe_text
from app.wire.messages import AnyMessage

MAX_MESSAGE: Final = 64 * 1024
"""Bytes of the largest control message; everything larger travels as a blob."""

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[AnyMessage]] = msgspec.msgpack.Decoder(
    AnyMessage, strict=True
)


def encode(message: AnyMessage) -> bytes:
    """Return `message` as bytes.

    Raises:
        OurMistake: it is larger than `MAX_MESSAGE`; the caller must say less or use a blob.
    """
    data = _encoder.encode(message)
    if len(data) > MAX_MESSAGE:
        raise OurMistake(
            f"a {type(message).__name__} message of {len(data)} bytes is larger than {MAX_MESSAGE}",
            code=ErrorCode.TOO_LARGE,
        )
    return data


def decode(data: bytes) -> AnyMessage:
    """Return the message in `data`, which came from a peer.

    Raises:
        PeerMistake: it is too large, not msgpack, not a known message, breaks a bound, or holds
            a number that is not finite.
    """
    if len(data) > MAX_MESSAGE:
        raise PeerMistake(
            f"a message of {len(data)} bytes is larger than {MAX_MESSAGE}",
            code=ErrorCode.TOO_LARGE,
        )
    try:
        message = _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise PeerMistake(f"a message cannot be read: {safe_text(str(exc))}") from exc
    except UnicodeDecodeError as exc:
        raise PeerMistake("a message holds text that is not UTF-8") from exc
    if not _finite(message):
        raise PeerMistake(f"a {type(message).__name__} message holds a number that is not finite")
    return message


def _finite(value: object) -> bool:
    """Whether no number in `value` is NaN or infinite; msgspec's bounds let NaN through."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, msgspec.Struct):
        return all(_finite(getattr(value, name)) for name in value.__struct_fields__)
    if isinstance(value, tuple):
        return all(_finite(item) for item in value)
    return True
