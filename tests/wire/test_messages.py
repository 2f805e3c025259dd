from __future__ import annotations

import typing

import msgspec
import pytest

from app.wire import messages

KINDS = typing.get_args(messages.AnyMessage)


def unbounded(annotation: object) -> bool:
    """Whether a value of this type could be as large as a peer likes."""
    if typing.get_origin(annotation) is typing.Annotated:
        base, meta = typing.get_args(annotation)[:2]
        bounds = (meta.max_length, meta.le, meta.pattern, meta.ge)
        inner = typing.get_args(base)
        return all(bound is None for bound in bounds) or any(map(unbounded, inner))
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        return True
    if origin is not None:
        return any(unbounded(part) for part in arguments if part is not type(None))
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return any(map(unbounded, hints(annotation).values()))
    return annotation in (str, bytes, int)


def hints(kind: type) -> dict[str, object]:
    return typing.get_type_hints(kind, include_extras=True)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_every_message_is_bounded(kind):
    assert [name for name, hint in hints(kind).items() if unbounded(hint)] == []


def test_the_check_above_can_fail():
    assert unbounded(str)
    assert unbounded(tuple[int, ...])
    assert unbounded(typing.Annotated[tuple[str, ...], msgspec.Meta(max_length=3)])


def test_tags_are_unique_and_every_message_is_frozen_and_strict():
    assert len({kind.__struct_config__.tag for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        config = kind.__struct_config__
        assert (config.frozen, config.forbid_unknown_fields) == (True, True), kind
