"""Bytes of a peer become a value or a documented error, nothing else. Long form with --slow."""

from __future__ import annotations

import base64
import dataclasses
import json
import struct

import msgspec
import pytest
from helpers.strategies import any_message, harmed, jsonable
from hypothesis import example, given, strategies as st

from app.domain.errors import PeerMistake
from app.domain.ids import SiteName, StudyId
from app.domain.rounds import TensorSpec
from app.system import tls
from app.wire import codec
from app.wire.blobs import (
    HEADER_BYTES,
    BlobReceiver,
    ChunkHeader,
    checksum,
    pack_header,
    payload_intact,
    unpack_header,
)
from app.wire.invitation import Invitation, seal, unseal
from app.wire.tensors import Header, check_tensor_file, parse_header

STUDY = StudyId("0123456789abcdef0123456789abcdef")
AUTHORITY = tls.create_authority(STUDY, now=1_800_000_000)
INVITATION = Invitation(
    study=STUDY,
    title="Fuzz",
    site=SiteName("alpha"),
    urls=("wss://h:1",),
    authority_pem=AUTHORITY.certificate_pem,
    invitation=bytes(16),
    secret=bytes(16),
    issued_at=1,
    not_after=1000,
    protocol_minimum=1,
    protocol_maximum=1,
    terms=b"{}",
)
SEALED = seal(INVITATION, AUTHORITY.key.sign).encode()
MANIFEST = (TensorSpec(name="w", shape=(2, 3)), TensorSpec(name="b", shape=(3,), dtype="F16"))
SOUND_HEADER = {
    "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "F16", "shape": [3], "data_offsets": [24, 30]},
}

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text() | st.integers(0, 99), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(
    st.binary(max_size=300)
    | plain.map(msgspec.msgpack.encode)
    | harmed(any_message().map(codec.encode))
)
def test_message(data):
    try:
        message = codec.decode(data)
    except PeerMistake:
        return
    assert codec.decode(codec.encode(message)) == message


def chunk(payload: bytes, offset: int) -> bytes:
    frame = bytearray(HEADER_BYTES) + payload
    header = ChunkHeader(
        upload=bytes(16),
        generation=0,
        offset=offset,
        length=len(payload),
        checksum=checksum(payload),
    )
    pack_header(header, frame)
    return bytes(frame)


sound_chunk = st.builds(chunk, st.binary(min_size=1, max_size=50), st.integers(0, (1 << 64) - 1))


@given(sound_chunk | harmed(sound_chunk) | st.binary(max_size=200))
def test_chunk(frame):
    receiver = BlobReceiver(size=60, offset=10)
    try:
        header = unpack_header(frame)
        receiver.judge(header, intact=payload_intact(header, frame))
    except PeerMistake:
        return
    assert header.offset + header.length <= 60
    assert len(frame) == HEADER_BYTES + header.length


@given(
    st.binary(max_size=300)
    | jsonable.map(lambda value: json.dumps(value).encode())
    | harmed(st.just(json.dumps(SOUND_HEADER).encode()))
)
@example(b'{"w":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}')
@example(b'{"w":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}')
def test_tensor_header(data):
    try:
        header = parse_header(data, length=len(data))
    except PeerMistake:
        return
    assert isinstance(header, Header)
    assert header.file_size == header.data_start + sum(
        entry.end - entry.begin for entry in header.tensors
    )


sound_header = json.dumps(SOUND_HEADER).encode()
sound_file = struct.pack("<Q", len(sound_header)) + sound_header + bytes(30)


@given(harmed(st.just(sound_file)) | st.binary(max_size=100))
def test_tensor_file(data):
    try:
        header = check_tensor_file(
            lambda at, size: data[at : at + size], size=len(data), manifest=MANIFEST
        )
    except PeerMistake:
        return
    assert header.file_size == len(data)
    assert {entry.spec for entry in header.tensors} == set(MANIFEST)


body_of = st.builds(
    lambda value: json.dumps(
        {**json.loads(SEALED), "body": base64.b64encode(json.dumps(value).encode()).decode()}
    ).encode(),
    jsonable,
)


@given(
    st.binary(max_size=300)
    | jsonable.map(lambda value: json.dumps(value).encode())
    | harmed(st.just(SEALED))
    | body_of
)
def test_invitation(data):
    try:
        invitation = unseal(data)
    except PeerMistake:
        return
    # Only the frame around the signed body may have changed, as white space.
    assert invitation == INVITATION


resealed = st.fixed_dictionaries(
    {},
    optional={
        "title": st.text(max_size=320),
        "authority_pem": harmed(st.just(AUTHORITY.certificate_pem.encode())).map(
            lambda data: data.decode("latin-1")
        ),
        "urls": st.lists(st.text(max_size=30).map("wss://{}".format), max_size=5).map(tuple),
        "issued_at": st.integers(0, 1 << 41),
        "not_after": st.integers(0, 1 << 41),
        "terms": st.binary(max_size=9000),
    },
)


@given(resealed)
def test_signed_invitation(changes):
    from app.domain.errors import OurMistake

    invitation = dataclasses.replace(INVITATION, **changes)
    try:
        text = seal(invitation, AUTHORITY.key.sign)
    except OurMistake:
        return
    assert unseal(text.encode()) == invitation


pytestmark = pytest.mark.filterwarnings("error")
