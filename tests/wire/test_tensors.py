import json
import struct
import time

import numpy as np
import pytest
from hypothesis import given, strategies as st
from safetensors.numpy import load, save

from app.domain.errors import ErrorCode, PeerMistake
from app.domain.rounds import TensorSpec
from app.wire.tensors import MAX_HEADER, check_header, read_header, write_header

MANIFEST = (
    TensorSpec(name="encoder.weight", shape=(2, 3)),
    TensorSpec(name="encoder.bias", shape=(2,)),
)
TENSORS = {
    "encoder.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "encoder.bias": np.ones(2, np.float32),
}
GOOD = save(TENSORS)


def parse(data: bytes):
    return read_header(lambda offset, size: data[offset : offset + size], len(data))


def with_table(table: object, body: bytes = b"\0" * 32) -> bytes:
    header = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(header)) + header + body


def entry(dtype="F32", shape=(8,), offsets=(0, 32)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_what_safetensors_writes_is_read():
    header = parse(GOOD)
    check_header(header, MANIFEST)
    place = header.place("encoder.weight")
    assert np.frombuffer(GOOD[place.begin : place.end], "<f4").tolist() == list(range(6))


def test_what_we_write_safetensors_reads():
    body = b"".join(TENSORS[spec.name].tobytes() for spec in MANIFEST)
    data = write_header(MANIFEST) + body
    assert parse(data).specs == MANIFEST
    loaded = load(data)
    assert all((loaded[name] == array).all() for name, array in TENSORS.items())


HOSTILE = {
    "empty file": b"",
    "header of 90 MB": struct.pack("<Q", 90 << 20) + b"{}",
    "header beyond the file": struct.pack("<Q", 100) + b"{}",
    "no JSON": with_table(b"{]"),
    "no UTF-8": with_table(b"\xff\xfe\xfd"),
    "a list": with_table([1]),
    "no tensor": with_table({}),
    "a name twice": with_table(
        b'{"a":{"dtype":"F32","shape":[8],"data_offsets":[0,32]},'
        b'"a":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}'
    ),
    "a gap": with_table({"a": entry(shape=(4,), offsets=(16, 32))}),
    "an overlap": with_table({"a": entry(), "b": entry()}, b"\0" * 64),
    "too many bytes": with_table({"a": entry()}, b"\0" * 33),
    "too few bytes": with_table({"a": entry()}, b"\0" * 31),
    "bytes that are not the shape's": with_table({"a": entry(shape=(7,))}),
    "another type": with_table({"a": entry(dtype="I64", shape=(4,))}),
    "an object": with_table({"a": entry(dtype="O", shape=(4,))}),
    "a negative shape": with_table({"a": entry(shape=(-8,))}),
    "an empty tensor": with_table({"a": entry(shape=(0,), offsets=(0, 0))}, b""),
    "an offset that overflows": with_table({"a": entry(offsets=(0, 1 << 70))}),
    "an unknown field": with_table({"a": {**entry(), "x": 1}}),
    "deep JSON": with_table(b"[" * 100_000),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_headers_are_refused_in_a_sentence(data):
    with pytest.raises(PeerMistake, match="the tensor file has") as caught:
        parse(data)
    assert caught.value.code is ErrorCode.TENSORS_REFUSED


def test_a_million_empty_tensors_are_refused_at_once():
    table = {f"t{number}": entry(shape=(1,), offsets=(0, 4)) for number in range(20_000)}
    data = with_table(table)
    started = time.process_time()
    with pytest.raises(PeerMistake):
        parse(data)
    assert len(data) > MAX_HEADER or time.process_time() - started < 1.0


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (MANIFEST[:1], "foreign tensor"),
        ((*MANIFEST, TensorSpec(name="head", shape=(1,))), "no tensor 'head'"),
        ((TensorSpec(name="encoder.weight", shape=(3, 2)), MANIFEST[1]), "of shape"),
        ((TensorSpec(name="encoder.weight", shape=(2, 3), dtype="F16"), MANIFEST[1]), "type"),
    ],
)
def test_other_tensors_than_the_models_are_refused(manifest, reason):
    with pytest.raises(PeerMistake, match=reason):
        check_header(parse(GOOD), manifest)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_header_or_a_documented_error(data):
    try:
        header = parse(data)
    except PeerMistake:
        return
    assert header.places


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_flipped_byte_never_escapes_the_file(position, flip):
    data = bytearray(GOOD)
    data[position] ^= flip
    try:
        header = parse(bytes(data))
    except PeerMistake:
        return
    assert all(8 <= place.begin <= place.end <= len(data) for place in header.places)
