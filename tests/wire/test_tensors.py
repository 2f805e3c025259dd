from __future__ import annotations

import json
import struct
import time
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load, save

from app.domain.errors import ErrorCode, PeerMistake
from app.domain.rounds import TensorSpec
from app.wire.tensors import MAX_HEADER, check_tensor_file, read_header

MANIFEST = (
    TensorSpec(name="encoder.0.weight", shape=(2, 3)),
    TensorSpec(name="encoder.0.bias", shape=(2,)),
    TensorSpec(name="head", shape=(1, 2, 2), dtype="F16"),
)


def arrays() -> dict[str, np.ndarray]:
    return {
        "encoder.0.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "encoder.0.bias": np.array([1.5, -2], dtype=np.float32),
        "head": np.ones((1, 2, 2), dtype=np.float16),
    }


def reader(data: bytes):
    return lambda offset, size: data[offset : offset + size]


def check(data: bytes, manifest=MANIFEST, **options):
    return check_tensor_file(reader(data), size=len(data), manifest=manifest, **options)


def raw(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def tensor(dtype: str, shape: list, begin: int, end: int) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_what_safetensors_writes_is_taken_and_described():
    data = save(arrays(), metadata={"format": "pt"})
    header = check(data)
    assert {entry.spec for entry in header.tensors} == set(MANIFEST)
    loaded = load(data)
    for entry in header.tensors:
        begin = header.data_start + entry.begin
        assert data[begin : header.data_start + entry.end] == loaded[entry.spec.name].tobytes()


ONE = (TensorSpec(name="w", shape=(2,)),)
GOOD = raw({"w": tensor("F32", [2], 0, 8)}, bytes(8))


def with_value(value: float) -> bytes:
    return raw({"w": tensor("F32", [2], 0, 8)}, struct.pack("<2f", 0, value))


HOSTILE = {
    "empty": (b"", "the file ends before its header"),
    "huge header": (struct.pack("<Q", 100 << 20), f"a header of 104857600 bytes is not between 2 and {MAX_HEADER}"),
    "padded header": (raw(b" " * 60_000 + b"{}"), "a header of 60002 bytes is too large for 1 tensors"),
    "cut header": (GOOD[:20], "the file ends within its header"),
    "not json": (raw(b"{w"), "the header cannot be read: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    "not utf-8": (raw(b'{"\xff":1}'), "the header cannot be read: 'utf-8' codec can't decode byte 0xff in position 2: invalid start byte"),
    "a list": (raw([]), "the header is not a table of tensors"),
    "deep": (raw(b"[" * 3000), None),
    "name twice": (raw(b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8)), "the header cannot be read: a name is given twice"),
    "NaN in header": (raw(b'{"w":NaN}'), "the header cannot be read: NaN is not a number"),
    "extra key": (raw({"w": {**tensor("F32", [2], 0, 8), "x": 1}}, bytes(8)), "“w” has no dtype, shape and offsets, or more than those"),
    "odd dtype": (raw({"w": tensor("BOOL", [2], 0, 2)}, bytes(2)), "“w” has a dtype that no study uses"),
    "true as number": (raw({"w": tensor("F32", [True, 2], 0, 8)}, bytes(8)), "“w” has a shape that is none"),
    "negative": (raw({"w": tensor("F32", [-2], 0, 8)}, bytes(8)), "“w” has a shape that is none"),
    "float offset": (raw({"w": tensor("F32", [2], 0, 8.0)}, bytes(8)), "“w” has offsets that are none"),
    "empty tensor": (raw({"w": tensor("F32", [0], 0, 0)}), "“w” has 0 bytes for 0 bytes of values"),
    "wrong bytes": (raw({"w": tensor("F32", [2], 0, 4)}, bytes(4)), "“w” has 4 bytes for 8 bytes of values"),
    "gap": (raw({"w": tensor("F32", [2], 4, 12)}, bytes(12)), "“w” begins at byte 4, not at 0"),
    "overlap": (raw({"v": tensor("F32", [2], 0, 8), "w": tensor("F32", [2], 4, 12)}, bytes(12)), "“w” begins at byte 4, not at 8"),
    "extra tensor": (raw({"../x": tensor("F32", [2], 0, 8)}, bytes(8)), "“../x” is not a tensor of this network"),
    "wrong shape": (raw({"w": tensor("F32", [1, 2], 0, 8)}, bytes(8)), "“w” has the shape [1, 2], not [2]"),
    "wrong dtype": (raw({"w": tensor("F16", [2], 0, 4)}, bytes(4)), "“w” is F16, not F32"),
    "missing": (raw({}), "“w” is missing"),
    "trailing": (GOOD + b"x", "the file has 78 bytes, its header describes 77"),
    "truncated": (GOOD[:-1], "the file has 76 bytes, its header describes 77"),
    "NaN": (with_value(float("nan")), "“w” holds a value that is not a number"),
    "infinite": (with_value(float("-inf")), "“w” holds a value that is not a number"),
    "1e30": (with_value(-1e30), "“w” holds 1e+30, more than 1e+04"),
    "metadata": (raw({"__metadata__": {"a": 1}, "w": tensor("F32", [2], 0, 8)}, bytes(8)), "the header's metadata is not a table of texts"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_a_sentence(name):
    data, sentence = HOSTILE[name]
    assert check(GOOD, ONE).tensors[0].spec == ONE[0]
    with pytest.raises(PeerMistake) as caught:
        check(data, ONE)
    assert caught.value.code is ErrorCode.TENSORS_REFUSED
    if sentence is not None:
        assert str(caught.value) == sentence


HALF = (TensorSpec(name="w", shape=(3,), dtype="F16"),)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (float("nan"), "“w” holds a value that is not a number"),
        (float("inf"), "“w” holds a value that is not a number"),
        (float("-inf"), "“w” holds a value that is not a number"),
        (-20000.0, "“w” holds 2e+04, more than 1e+04"),
        (20000.0, "“w” holds 2e+04, more than 1e+04"),
    ],
)
def test_halves_are_looked_at_too(value, sentence):
    def halves(*values):
        return raw({"w": tensor("F16", [3], 0, 6)}, struct.pack("<3e", *values))

    assert check(halves(-9000.0, 1e-7, -0.0), HALF).tensors[0].spec == HALF[0]
    with pytest.raises(PeerMistake) as caught:
        check(halves(0.5, value, -1.0), HALF)
    assert str(caught.value) == sentence


def test_hostile_headers_are_refused_in_50_ms_and_2_mib():
    many = b",".join(
        b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % n for n in range(20_000)
    )
    million = struct.pack("<Q", 60_000_000) + b'{"0":' + bytes(100)
    wide = tuple(TensorSpec(name=f"layer.{n}.weight", shape=(2, 2)) for n in range(300))
    for data in (million, raw(b"{" + many + b"}"), raw(b"[" * 60_000)):
        tracemalloc.start()
        began = time.perf_counter()
        with pytest.raises(PeerMistake):
            read_header(reader(data), size=len(data), manifest=wide)
        taken_s = time.perf_counter() - began
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert taken_s < 0.05
        assert peak < 2 << 20


def test_values_are_read_a_block_at_a_time():
    manifest = (TensorSpec(name="w", shape=(1_000_000,)),)
    data = save({"w": np.zeros(1_000_000, dtype=np.float32)})
    sizes = []

    def read(offset: int, size: int) -> bytes:
        sizes.append(size)
        return data[offset : offset + size]

    check_tensor_file(read, size=len(data), manifest=manifest)
    assert max(sizes) == 1 << 20
    assert sum(sizes) == len(data)
