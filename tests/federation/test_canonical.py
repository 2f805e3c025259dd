import contextlib

import pytest
from hypothesis import given, strategies as st

from app.federation.canonical import canonical, parse


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_what_is_written_reads_back_and_has_one_spelling(value):
    document = canonical(value)
    assert parse(document) == value
    assert canonical(dict(reversed(list(value.items())))) == document


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b'{"a":1,"a":2}', "twice"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":Infinity}', "Infinity"),
        (b'{"a":1e999}', "too large"),
        (b"[" * 100_000, "nests too deeply"),
        (b"\xff", "codec"),
        (b"{", "Expecting"),
        (b'{"a":' + b"1" * 5000 + b"}", "digits"),
    ],
)
def test_hostile_json_is_a_value_error(document, reason):
    with pytest.raises(ValueError, match=reason):
        parse(document)


def test_nan_is_never_written():
    with pytest.raises(ValueError, match="JSON"):
        canonical({"a": float("nan")})


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_value_error(document):
    with contextlib.suppress(ValueError):
        parse(document)
