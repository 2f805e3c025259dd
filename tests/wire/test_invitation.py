from __future__ import annotations

import base64
import dataclasses
import json

import msgspec
import pytest

from app.domain.errors import ErrorCode, OurMistake, PeerMistake
from app.domain.ids import SiteName, StudyId
from app.system import tls
from app.wire.handshake import SigningKey, invitation_transcript
from app.wire.invitation import MAX_INVITATION, Invitation, seal, unseal

STUDY = StudyId("0123456789abcdef0123456789abcdef")
NOW = 1_800_000_000
AUTHORITY = tls.create_authority(STUDY, now=NOW)
INVITATION = Invitation(
    study=STUDY,
    title="Hippocampus at three sites",
    site=SiteName("alpha"),
    urls=("wss://coordinator.example:8443", "wss://[2001:db8::1]:8443/"),
    authority_pem=AUTHORITY.certificate_pem,
    invitation=bytes(range(16)),
    secret=bytes(range(16, 32)),
    issued_at=NOW,
    not_after=NOW + 7 * 86400,
    protocol_minimum=1,
    protocol_maximum=1,
    terms=json.dumps({"purpose": "é" * 500}).encode(),
)


def sealed(**changes: object) -> bytes:
    return seal(dataclasses.replace(INVITATION, **changes), AUTHORITY.key.sign).encode()


def forged(change, *, key=AUTHORITY.key) -> bytes:
    """A file whose body was changed and signed again."""
    document = json.loads(sealed())
    body = json.loads(base64.b64decode(document["body"]))
    change(body)
    raw = msgspec.json.encode(body)
    document["body"] = base64.b64encode(raw).decode()
    document["signature"] = base64.b64encode(key.sign(invitation_transcript(raw))).decode()
    return json.dumps(document).encode()


def refused(data: bytes) -> str:
    with pytest.raises(PeerMistake) as caught:
        unseal(data)
    assert caught.value.code is ErrorCode.INVITATION
    return str(caught.value)


def test_an_invitation_comes_back_as_it_was():
    data = sealed()
    assert unseal(data) == INVITATION
    assert len(data) < 8 * 1024 < MAX_INVITATION
    assert "secret" not in repr(data[:100])


def test_it_expires():
    assert not INVITATION.expired(INVITATION.not_after - 1)
    assert INVITATION.expired(INVITATION.not_after)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda body: body.update(study="x"), "the file is not an invitation: Expected `str` matching regex '^[0-9a-f]{32}\\\\Z' - at `$.study`"),
        (lambda body: body.update(more=1), "the file is not an invitation: Object contains unknown field `more`"),
        (lambda body: body.pop("secret"), "the file is not an invitation: Object missing required field `secret`"),
        (lambda body: body.update(urls=["ws://plain.example"]), "the invitation names an address that is not a wss address: ws://plain.example"),
        (lambda body: body.update(urls=["wss://u:p@h/"]), "the invitation names an address that is not a wss address: wss://u:p@h/"),
        (lambda body: body.update(urls=["wss://h/path"]), "the invitation names an address that is not a wss address: wss://h/path"),
        (lambda body: body.update(urls=["wss://h:65536"]), "the invitation names an address that is not a wss address: wss://h:65536"),
        (lambda body: body.update(urls=[]), "the file is not an invitation: Expected `array` of length >= 1 - at `$.urls`"),
        (lambda body: body.update(not_after=NOW), "the invitation's dates do not make sense"),
        (lambda body: body.update(not_after=NOW + 15 * 86400), "the invitation's dates do not make sense"),
        (lambda body: body.update(protocol_minimum=2), "the invitation's protocol versions do not make sense"),
        (lambda body: body.update(authority_pem="no"), "the invitation's certificate cannot be read"),
        (lambda body: body.update(authority_pem=2 * AUTHORITY.certificate_pem), "the invitation's certificate cannot be read"),
    ],
)  # fmt: skip
def test_a_signed_body_that_makes_no_sense_is_refused(change, sentence):
    assert refused(forged(change)) == sentence


def test_a_changed_or_foreign_signature_is_refused():
    broken = "the invitation was changed after it was signed, or is not complete"
    assert refused(forged(lambda body: None, key=SigningKey.generate())) == broken
    document = json.loads(sealed())
    body = base64.b64decode(document["body"]).replace(
        b"coordinator.example", b"coordinator.exampIe"
    )
    document["body"] = base64.b64encode(body).decode()
    assert refused(json.dumps(document).encode()) == broken


def test_what_is_not_an_invitation_is_refused():
    assert refused(b"") == "the file is not an invitation: Input data was truncated"
    assert refused(b" " * (MAX_INVITATION + 1)).startswith(
        f"the file has {MAX_INVITATION + 1} bytes"
    )
    assert refused(sealed()[:-30]).startswith("the file is not an invitation: ")
    document = json.loads(sealed())
    assert refused(json.dumps({**document, "fednnunet_invitation": 2}).encode()).startswith(
        "the file is not"
    )
    assert refused(json.dumps({**document, "body": "*"}).encode()).startswith("the file is not")
    assert refused(b"[" * 10_000).startswith("the file is not")


def test_one_that_could_not_be_opened_again_is_not_made():
    for changes in (
        {"urls": ("http://x",)},
        {"not_after": NOW},
        {"title": "a\u202eb"},
        {"terms": b"x" * 9000},
    ):
        with pytest.raises(OurMistake):
            sealed(**changes)
