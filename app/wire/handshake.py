"""Proving who one is: transcripts, signatures, the invitation's proof, six words for two screens.

Every transcript starts with its own domain and holds its fields length-prefixed in a fixed order,
so a signature made for one purpose says nothing in another. No clock takes part: freshness comes
from nonces. The leaf certificate's hash that the site saw is signed, so a machine in the middle
cannot pass a signature on, even when the site trusts its certificate.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.domain.errors import ErrorCode, PeerMistake
from app.domain.ids import SiteName, StudyId

NONCE_BYTES: Final = 32
SECRET_BYTES: Final = 16
INVITATION_BYTES: Final = 16

_AUTHENTICATE: Final = b"fednnunet/1/authenticate\0"
_ENROL: Final = b"fednnunet/1/enrol\0"
_INVITATION: Final = b"fednnunet/1/invitation\0"
_PROOF_KEY: Final = b"fednnunet/1/proof-key\0"
_WORDS: Final = b"fednnunet/1/words\0"

# Four letters, consonant-vowel-consonant-vowel: 16 x 4 x 8 x 4 = 2048 words, 11 bits each. They
# are read over the telephone in many languages, so no c/k/q, no w/v and no silent letters; the
# idea of pronounceable identifiers is Wilkerson's proquints (arXiv:0901.4016).
_FIRST: Final = "bdfghjklmnprstvz"
_THIRD: Final = "bdgklmrt"
_VOWELS: Final = "aeio"


class Signer(Protocol):
    """Who can sign with a site's or a study's key."""

    @property
    def public_key(self) -> bytes:
        """The 32 bytes of the Ed25519 public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the Ed25519 signature of `message`."""
        ...


class SigningKey:
    """An Ed25519 key in memory. Only its 32-byte seed is ever stored."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @classmethod
    def generate(cls) -> SigningKey:
        """Draw a new key."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes; they belong in `app.system.secrets` and nowhere else."""
        return self._seed

    @property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def signature_holds(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is that of `message` under `public_key`; never raises."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def transcript(domain: bytes, *fields: bytes) -> bytes:
    """Return `domain` and the fields, each with its length (4 bytes) before it."""
    parts = [domain]
    for field in fields:
        parts.append(struct.pack(">I", len(field)))
        parts.append(field)
    return b"".join(parts)


def authenticate_transcript(
    *,
    study: StudyId,
    nonce: bytes,
    leaf_sha256: bytes,
    protocol: int,
    site: SiteName,
    client_nonce: bytes,
) -> bytes:
    """Return what a site signs to open a session (see `messages.Authenticate`)."""
    return transcript(
        _AUTHENTICATE,
        study.encode(),
        nonce,
        leaf_sha256,
        str(protocol).encode(),
        site.encode(),
        client_nonce,
    )


def enrol_transcript(
    *,
    study: StudyId,
    nonce: bytes,
    leaf_sha256: bytes,
    protocol: int,
    invitation: bytes,
    public_key: bytes,
    terms_sha256: bytes,
) -> bytes:
    """Return what a site signs and proves to enrol (see `messages.Enrol`).

    `terms_sha256` binds the terms that its operator read: other terms, no enrolment.
    """
    return transcript(
        _ENROL,
        study.encode(),
        nonce,
        leaf_sha256,
        str(protocol).encode(),
        invitation,
        public_key,
        terms_sha256,
    )


def invitation_transcript(body: bytes) -> bytes:
    """Return what the study's key signs of an invitation."""
    return transcript(_INVITATION, body)


def proof_key(secret: bytes) -> bytes:
    """Return what the coordinator keeps of an invitation's secret: the key of its proof."""
    return hashlib.sha256(_PROOF_KEY + secret).digest()


def proof(key: bytes, message: bytes) -> bytes:
    """Return the HMAC-SHA256 of an enrolment transcript under `proof_key(secret)`."""
    return hmac.digest(key, message, "sha256")


def proof_holds(key: bytes, message: bytes, given: bytes) -> bool:
    """Whether `given` is the proof of `message`, compared in constant time."""
    return hmac.compare_digest(proof(key, message), given)


def six_words(public_key: bytes) -> str:
    """Return 66 bits of the key's hash as six words, the same on both screens."""
    if len(public_key) != 32:
        raise PeerMistake(
            f"a public key has 32 bytes, not {len(public_key)}", code=ErrorCode.REFUSED
        )
    number = int.from_bytes(hashlib.sha256(_WORDS + public_key).digest()[:9]) >> 6
    return " ".join(_word(number >> shift & 0x7FF) for shift in range(55, -1, -11))


def _word(index: int) -> str:
    return (
        _FIRST[index >> 7] + _VOWELS[index >> 5 & 3] + _THIRD[index >> 2 & 7] + _VOWELS[index & 3]
    )
