"""The invitation: a signed text file (.fedjoin) that a site operator opens to join a study.

It carries the study's own certificate authority, so no other certificate is ever trusted, and the
study's terms as bytes, so the operator agrees to exactly what the coordinator enforces. It is
signed by the authority's key. Opening it shows it; it never joins by itself.

What the signature is worth: whoever can replace the whole file can sign it with another key, as
the key comes in the file. It proves that the file is intact and speaks of one study; that it came
from the right people is what the six words on both screens are for.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Meta

from app.domain.errors import ErrorCode, OurMistake, PeerMistake, safe_text
from app.domain.ids import SiteName, StudyId
from app.wire.handshake import (
    INVITATION_BYTES,
    SECRET_BYTES,
    invitation_transcript,
    signature_holds,
)
from app.wire.messages import Name, Signature, Small, StudyKey, Text

MAX_INVITATION: Final = 16 * 1024
"""Bytes of the largest invitation file."""
SUFFIX: Final = ".fedjoin"
LONGEST_LIFE_S: Final = 14 * 24 * 3600
DEFAULT_LIFE_S: Final = 7 * 24 * 3600

_URL: Final = re.compile(
    r"wss://(?:\[[0-9a-fA-F:]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?)(?::(?P<port>[0-9]{1,5}))?/?"
)


def is_address(url: str) -> bool:
    """Whether an invitation may name this address: wss, a host, and a port that exists."""
    match = _URL.fullmatch(url)
    return match is not None and 0 < int(match["port"] or 443) < 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """What an invitation says. `terms` is the study's canonical JSON; times are seconds since 1970.

    `urls` are tried in order. `secret` proves the right to enrol and works once.
    """

    study: StudyId
    title: str
    site: SiteName
    urls: tuple[str, ...]
    authority_pem: str
    invitation: bytes
    secret: bytes
    issued_at: int
    not_after: int
    protocol_minimum: int
    protocol_maximum: int
    terms: bytes

    @property
    def terms_sha256(self) -> bytes:
        """SHA-256 of `terms`, which the enrolment signs."""
        return hashlib.sha256(self.terms).digest()

    def expired(self, now: float) -> bool:
        """Whether its time is over."""
        return now >= self.not_after


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    study: StudyKey
    title: Annotated[str, Meta(min_length=1, max_length=300)]
    site: Name
    urls: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=4)]
    authority_pem: Annotated[str, Meta(max_length=4000)]
    invitation: Annotated[bytes, Meta(min_length=INVITATION_BYTES, max_length=INVITATION_BYTES)]
    secret: Annotated[bytes, Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]
    issued_at: Annotated[int, Meta(ge=0, le=1 << 40)]
    not_after: Annotated[int, Meta(ge=0, le=1 << 40)]
    protocol_minimum: Small
    protocol_maximum: Small
    terms: Annotated[bytes, Meta(min_length=2, max_length=8000)]


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    fednnunet_invitation: Annotated[int, Meta(ge=1, le=1)]
    body: Annotated[str, Meta(max_length=MAX_INVITATION)]
    signature: Signature


_file_decoder: Final = msgspec.json.Decoder(_File, strict=True)
_body_decoder: Final = msgspec.json.Decoder(_Body, strict=True)


def seal(invitation: Invitation, sign: Callable[[bytes], bytes]) -> str:
    """Return the text of the invitation file; `sign` is that of the study's authority.

    Raises:
        OurMistake: the result could not be opened again, with the reason.
    """
    body = msgspec.json.encode(
        _Body(
            study=invitation.study,
            title=invitation.title,
            site=invitation.site,
            urls=invitation.urls,
            authority_pem=invitation.authority_pem,
            invitation=invitation.invitation,
            secret=invitation.secret,
            issued_at=invitation.issued_at,
            not_after=invitation.not_after,
            protocol_minimum=invitation.protocol_minimum,
            protocol_maximum=invitation.protocol_maximum,
            terms=invitation.terms,
        )
    )
    document = _File(
        fednnunet_invitation=1,
        body=base64.b64encode(body).decode(),
        signature=sign(invitation_transcript(body)),
    )
    text = msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"
    try:
        opened = unseal(text.encode())
    except PeerMistake as exc:
        raise OurMistake(f"this invitation could not be opened again: {exc}") from exc
    if opened != invitation:
        raise OurMistake("this invitation would be read differently from how it was written")
    return text


def unseal(data: bytes) -> Invitation:
    """Return the invitation in the bytes of a file, its signature checked, its expiry not.

    Raises:
        PeerMistake: too large, not an invitation, a field out of bounds, or not intact.
    """
    if len(data) > MAX_INVITATION:
        raise _refused(
            f"the file has {len(data)} bytes, more than the {MAX_INVITATION} of any invitation"
        )
    try:
        document = _file_decoder.decode(data)
        body = base64.b64decode(document.body, validate=True)
        content = _body_decoder.decode(body)
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError) as exc:
        raise _refused(f"the file is not an invitation: {safe_text(str(exc))}") from exc
    if not signature_holds(
        _authority_key(content.authority_pem), invitation_transcript(body), document.signature
    ):
        raise _refused("the invitation was changed after it was signed, or is not complete")
    for url in content.urls:
        if not is_address(url):
            raise _refused(
                f"the invitation names an address that is not a wss address: {safe_text(url)}"
            )
    if not content.issued_at < content.not_after <= content.issued_at + LONGEST_LIFE_S:
        raise _refused("the invitation's dates do not make sense")
    if content.protocol_minimum > content.protocol_maximum:
        raise _refused("the invitation's protocol versions do not make sense")
    return Invitation(
        study=StudyId(content.study),
        title=safe_text(content.title),
        site=SiteName(content.site),
        urls=content.urls,
        authority_pem=content.authority_pem,
        invitation=content.invitation,
        secret=content.secret,
        issued_at=content.issued_at,
        not_after=content.not_after,
        protocol_minimum=content.protocol_minimum,
        protocol_maximum=content.protocol_maximum,
        terms=content.terms,
    )


def _authority_key(pem: str) -> bytes:
    """The Ed25519 key of the one certificate in `pem`."""
    try:
        (certificate,) = x509.load_pem_x509_certificates(pem.encode())
        key = certificate.public_key()
    except Exception as exc:  # x509 raises many kinds on hostile bytes
        raise _refused("the invitation's certificate cannot be read") from exc
    if not isinstance(key, Ed25519PublicKey):
        raise _refused("the invitation's certificate is not of the kind that studies use")
    return key.public_bytes_raw()


def _refused(sentence: str) -> PeerMistake:
    return PeerMistake(sentence, code=ErrorCode.INVITATION)
