"""Certificates of a study: its own authority, the coordinator's certificate, TLS 1.3 contexts.

A study trusts nothing but its own authority, whose certificate travels in the invitation; the
system's certificates are never consulted, so a middlebox that replaces certificates is always
noticed. The authority's key also signs invitations.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.domain.errors import ErrorCode, SetupProblem
from app.domain.ids import StudyId
from app.system.atomic import make_folder, write_atomic
from app.wire.handshake import SigningKey

# Clocks of hospital computers are off by hours; a certificate made just now must be valid there.
_BACKDATED: Final = datetime.timedelta(hours=48)
_LIFE: Final = datetime.timedelta(days=3650)
_CERTIFICATE_FILE: Final = "coordinator.crt"
_KEY_FILE: Final = "coordinator.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A study's certificate authority: its key, which also signs invitations, and certificate."""

    key: SigningKey
    certificate_pem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificate:
    """The coordinator's certificate and key as files, as Python's ssl wants them.

    `leaf_sha256` is the SHA-256 of the certificate in DER: what a site sees and signs.
    """

    certificate: Path
    key: Path
    leaf_sha256: bytes


# --- making ------------------------------------------------------------------------------------


def create_authority(study: StudyId, *, now: float) -> Authority:
    """Draw a key and make a study's authority; its certificate is valid from 48 h before `now`."""
    key = SigningKey.generate()
    private = Ed25519PrivateKey.from_private_bytes(key.seed)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "FednnU-Net study"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"study {study}"),
        ]
    )
    start, end = _validity(now)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False
        )
        .sign(private, None)
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return Authority(key=key, certificate_pem=pem)


def issue_server_certificate(
    authority: Authority, *, hosts: Sequence[str], now: float, folder: Path
) -> ServerCertificate:
    """Make the coordinator's certificate for `hosts` (names or addresses) and write it to `folder`.

    Raises:
        SetupProblem: no host is given, or the folder cannot be written.
    """
    if not hosts:
        raise SetupProblem("the coordinator's certificate needs at least one host name")
    issuer = x509.load_pem_x509_certificate(authority.certificate_pem.encode())
    signer = Ed25519PrivateKey.from_private_bytes(authority.key.seed)
    private = ec.generate_private_key(ec.SECP256R1())
    start, end = _validity(now)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])]))
        .issuer_name(issuer.subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, None)
    )
    make_folder(folder)
    write_atomic(
        folder / _KEY_FILE,
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    write_atomic(folder / _CERTIFICATE_FILE, certificate.public_bytes(serialization.Encoding.PEM))
    return load_server_certificate(folder)


def load_server_certificate(folder: Path) -> ServerCertificate:
    """Return the certificate that `issue_server_certificate` wrote to `folder`.

    Raises:
        SetupProblem: it is not there or cannot be read.
    """
    path = folder / _CERTIFICATE_FILE
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise SetupProblem("the coordinator's certificate is missing or damaged") from exc
    return ServerCertificate(
        certificate=path,
        key=folder / _KEY_FILE,
        leaf_sha256=certificate.fingerprint(hashes.SHA256()),
    )


# --- contexts ----------------------------------------------------------------------------------


def server_context(certificate: ServerCertificate) -> ssl.SSLContext:
    """Return the coordinator's TLS context: TLS 1.3 only, no session tickets.

    Raises:
        SetupProblem: the key or certificate cannot be loaded.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Resumption buys nothing on connections that last for days, and a ticket sent to a peer that
    # only wrote and closed is one more way to lose its last words to a reset.
    context.num_tickets = 0
    try:
        context.load_cert_chain(certificate.certificate, certificate.key)
    except (OSError, ssl.SSLError) as exc:
        raise SetupProblem("the coordinator's certificate or key cannot be loaded") from exc
    return context


def client_context(authority_pem: str) -> ssl.SSLContext:
    """Return a site's TLS context: TLS 1.3 only, the study's authority and nothing else trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = True
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(cadata=authority_pem)
    except (ssl.SSLError, ValueError) as exc:
        raise SetupProblem(
            "the study's certificate cannot be read", code=ErrorCode.INVITATION
        ) from exc
    return context


def leaf_sha256(connection: ssl.SSLObject) -> bytes:
    """Return the SHA-256 of the certificate that the other end showed on `connection`."""
    return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").digest()


def issuer_of(der: bytes) -> str:
    """Return the issuer's name of a certificate in DER, for a person to read; never raises."""
    try:
        issuer = x509.load_der_x509_certificate(der).issuer
        return issuer.rfc4514_string()[:200]
    except ValueError:
        return "an unreadable certificate"


# --- parts -------------------------------------------------------------------------------------


def _validity(now: float) -> tuple[datetime.datetime, datetime.datetime]:
    today = datetime.datetime.fromtimestamp(now, tz=datetime.UTC).replace(microsecond=0)
    return today - _BACKDATED, today + _LIFE


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
