"""Hypothesis strategies for what goes over the wire."""

from __future__ import annotations

import typing

import msgspec
from hypothesis import strategies as st

from app.wire import messages


def _of(annotation: object) -> st.SearchStrategy:
    """A strategy for one field's type, bounds included."""
    meta = None
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, meta = typing.get_args(annotation)[:2]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        return st.lists(_of(arguments[0]), max_size=3).map(tuple)
    if origin is not None:  # a union with None
        return st.one_of(*[st.none() if part is type(None) else _of(part) for part in arguments])
    if annotation is int:
        low = meta.ge if meta and meta.ge is not None else 0
        return st.integers(low, meta.le if meta and meta.le is not None else 1 << 40)
    if annotation is str and meta and meta.pattern:
        return st.from_regex(meta.pattern, fullmatch=True)
    if annotation is str:
        return st.text(max_size=min(meta.max_length if meta else 50, 50))
    if annotation is bytes:
        return st.binary(min_size=meta.min_length, max_size=meta.max_length)
    if annotation is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if annotation is bool:
        return st.booleans()
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return struct(annotation)
    return st.sampled_from(list(annotation))


def struct(kind: type) -> st.SearchStrategy:
    """Values of a message or a part of one."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return st.builds(kind, **{name: _of(hints[name]) for name in kind.__struct_fields__})


def any_message() -> st.SearchStrategy:
    """Any message, every field within its bounds."""
    return st.one_of(*[struct(kind) for kind in typing.get_args(messages.AnyMessage)])


jsonable = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner, max_size=5)
    ),
    max_leaves=20,
)


@st.composite
def harmed(draw, sound: st.SearchStrategy[bytes]) -> bytes:
    """Sound bytes with a few changed, cut out or put in."""
    data = bytearray(draw(sound))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(("flip", "cut", "put", "drop"))):
            case "flip" if at < len(data):
                data[at] ^= draw(st.integers(1, 255))
            case "cut":
                del data[at:]
            case "drop":
                del data[at : at + draw(st.integers(1, 8))]
            case _:
                data[at:at] = draw(st.binary(max_size=8))
    return bytes(data)
