"""JSON with one spelling per value: sorted keys, no spaces, no doubled keys, no NaN.

Bytes that are hashed, signed or compared between sites must not depend on who wrote them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def canonical(value: Mapping[str, object] | Sequence[object]) -> bytes:
    """Write `value` as canonical UTF-8 JSON.

    Raises:
        ValueError: it holds a NaN or an infinity.
        TypeError: it holds something that JSON has no word for.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def parse(document: bytes) -> Json:
    """Read JSON from an untrusted end.

    Raises:
        ValueError: it is not UTF-8 JSON, doubles a key, nests too deeply or holds NaN or infinity.
    """
    try:
        value: Json = json.loads(
            document.decode("utf-8"),
            object_pairs_hook=_without_doubles,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except RecursionError as exc:
        raise ValueError("the JSON nests too deeply") from exc
    return value


def _without_doubles(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:  # infinity, from an exponent that is too large
        raise ValueError(f"the number {text[:40]} is too large")
    return number
