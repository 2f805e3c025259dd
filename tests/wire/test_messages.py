import msgspec
import pytest
from msgspec import UNSET

from app.wire import messages

BLOB = messages.Blob(sha256="ab" * 32, size=9)


@pytest.mark.parametrize("kind", messages.AnyMessage.__args__, ids=lambda kind: kind.__name__)
def test_every_message_refuses_what_it_does_not_know(kind):
    assert kind.__struct_config__.forbid_unknown_fields
    assert kind.__struct_config__.frozen
    assert kind.__struct_config__.tag == kind.__name__


def bounded(kind) -> bool:
    """Whether a type can only hold a bounded number of bytes."""
    match kind:
        case msgspec.inspect.StrType():
            return kind.max_length is not None or kind.pattern is not None
        case msgspec.inspect.BytesType():
            return kind.max_length is not None
        case msgspec.inspect.VarTupleType() | msgspec.inspect.ListType():
            return kind.max_length is not None and bounded(kind.item_type)
        case msgspec.inspect.IntType():
            return kind.ge is not None
        case msgspec.inspect.UnionType():
            return all(bounded(part) for part in kind.types)
        case msgspec.inspect.StructType():
            return all(bounded(field.type) for field in kind.fields)
        case _:
            return True


@pytest.mark.parametrize("kind", messages.AnyMessage.__args__, ids=lambda kind: kind.__name__)
def test_every_field_is_bounded(kind):
    for field in msgspec.inspect.type_info(kind).fields:
        assert bounded(field.type), field.name


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": "AB" * 32},
        {"sha256": "ab" * 31},
        {"size": -1},
        {"size": (8 << 30) + 1},
        {"size": 1.5},
        {"extra": 1},
    ],
)
def test_blobs_outside_their_bounds_are_refused(changes):
    fields = {
        name: value for name, value in msgspec.to_builtins(BLOB).items() if value is not UNSET
    }
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields | changes, messages.Blob, strict=True)
