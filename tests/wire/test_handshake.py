from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from app.domain.errors import PeerMistake
from app.domain.ids import SiteName, StudyId
from app.wire import handshake
from app.wire.handshake import SigningKey

STUDY = StudyId("0123456789abcdef0123456789abcdef")
AUTHENTICATE = {
    "study": STUDY, "nonce": bytes(32), "leaf_sha256": bytes(32), "protocol": 1,
    "site": SiteName("alpha"), "client_nonce": bytes(32),
}  # fmt: skip
ENROL = {
    "study": STUDY, "nonce": bytes(32), "leaf_sha256": bytes(32), "protocol": 1,
    "invitation": bytes(16), "public_key": bytes(32), "terms_sha256": bytes(32),
}  # fmt: skip


def changed(value):
    match value:
        case bytes():
            return value[:-1] + b"x"
        case int():
            return value + 1
        case str():
            return value[:-1] + "f" + value[-1:]


@pytest.mark.parametrize(
    ("make", "fields"),
    [(handshake.authenticate_transcript, AUTHENTICATE), (handshake.enrol_transcript, ENROL)],
)
def test_every_field_is_in_the_transcript(make, fields):
    key = SigningKey.generate()
    signature = key.sign(make(**fields))
    assert handshake.signature_holds(key.public_key, make(**fields), signature)
    for name, value in fields.items():
        other = make(**{**fields, name: changed(value)})
        assert not handshake.signature_holds(key.public_key, other, signature), name


@given(st.lists(st.binary(max_size=9), max_size=4), st.lists(st.binary(max_size=9), max_size=4))
def test_different_fields_never_make_the_same_transcript(one, other):
    same = handshake.transcript(b"d\0", *one) == handshake.transcript(b"d\0", *other)
    assert same == (one == other)


def test_a_signature_says_nothing_in_another_domain():
    body = b"x" * 40
    key = SigningKey.generate()
    signature = key.sign(handshake.invitation_transcript(body))
    assert not handshake.signature_holds(key.public_key, body, signature)
    domains = {
        handshake.invitation_transcript(b"")[:20],
        handshake.authenticate_transcript(**AUTHENTICATE)[:20],
        handshake.enrol_transcript(**ENROL)[:20],
    }
    assert len(domains) == 3


def test_a_proof_needs_the_secret_and_the_transcript():
    key = handshake.proof_key(b"secret")
    proof = handshake.proof(key, b"message")
    assert handshake.proof_holds(key, b"message", proof)
    assert not handshake.proof_holds(key, b"massage", proof)
    assert not handshake.proof_holds(handshake.proof_key(b"Secret"), b"message", proof)
    assert not handshake.proof_holds(key, b"message", proof[:-1])


def test_a_key_is_its_seed():
    key = SigningKey.generate()
    again = SigningKey(key.seed)
    assert (len(key.seed), again.public_key) == (32, key.public_key)
    assert handshake.signature_holds(key.public_key, b"m", again.sign(b"m"))
    assert not handshake.signature_holds(b"short", b"m", key.sign(b"m"))
    assert not handshake.signature_holds(key.public_key, b"m", b"short")


def test_six_words_are_the_same_on_both_screens_and_differ_between_keys():
    assert handshake.six_words(bytes(32)) == "heta gadi bali koro nala dita"
    words = {handshake.six_words(SigningKey.generate().public_key) for _ in range(50)}
    assert len(words) == 50
    assert all(re.fullmatch(r"[a-z]{4}( [a-z]{4}){5}", text) for text in words)
    with pytest.raises(PeerMistake):
        handshake.six_words(b"short")


def test_there_are_2048_words_all_different():
    assert len({handshake._word(index) for index in range(2048)}) == 2048
